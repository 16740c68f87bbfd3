//! One line of the file: a header or a record, with its place, its time and its checksum.
//!
//! Invariant: a line is one JSON object and ends in `,"crc":"xxxxxxxx"}` and a line feed; the
//! checksum (CRC-32, IEEE 802.3) covers every byte before `,"crc"`. JSON escapes control characters,
//! so no text of an agent can end a line.

use std::fmt;

use jiff::Timestamp;
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{self, DeserializeSeed, Deserializer, EnumAccess, IgnoredAny, IntoDeserializer as _};
use serde::de::{MapAccess, VariantAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::JournalError;
use super::wire::{In, Out, Wire as _, via};
use crate::core::ids::RunId;
use crate::core::record::{Fact, Record};

/// The format that is written here, and the newest that is read.
pub const VERSION: u32 = 1;

/// The longest line, in bytes: the write set of some hundred thousand paths.
pub const MAX_LINE: usize = 256 << 20;

/// What the first line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub version: u32,
    pub run: RunId,
    /// When the run was opened, the zero of its records.
    pub created: Timestamp,
    /// The version of the program that wrote it.
    pub program: String,
}

impl Header {
    /// A header of the present format and program; `created` is cut to whole milliseconds.
    #[must_use]
    pub fn new(run: RunId, created: Timestamp) -> Self {
        let created = Timestamp::from_millisecond(created.as_millisecond()).unwrap_or(created);
        Self { version: VERSION, run, created, program: env!("CARGO_PKG_VERSION").to_owned() }
    }
}

#[derive(Serialize, Deserialize)]
struct HeaderForm {
    /// Always `supervise`: what this file is, for whoever finds it.
    journal: String,
    version: u32,
    #[serde(with = "via")]
    run: RunId,
    #[serde(with = "via")]
    created: Timestamp,
    program: String,
}

const NAME: &str = "supervise";

/// A record with its place in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// From 1, without gaps.
    pub seq: u64,
    /// When it was written down, by the wall clock; whole milliseconds.
    pub at: Timestamp,
    pub record: Record,
}

const SEAL: usize = r#","crc":"00000000"}"#.len();

/// Appends the header's line to `out`.
pub(super) fn write_header(out: &mut Vec<u8>, header: &Header) -> Result<(), JournalError> {
    let form = HeaderForm {
        journal: NAME.to_owned(),
        version: header.version,
        run: header.run.clone(),
        created: header.created,
        program: header.program.clone(),
    };
    let start = out.len();
    serde_json::to_writer(&mut *out, &form).map_err(|source| JournalError::Encode { source })?;
    out.pop();
    seal(out, start);
    Ok(())
}

/// Appends the record's line to `out`. `at` is the wall time as [`wall_text`] gives it.
pub(super) fn write_record(out: &mut Vec<u8>, seq: u64, at: &str, record: &Record) -> Result<(), JournalError> {
    let start = out.len();
    write_open(out, seq, at, record)?;
    seal(out, start);
    match out.len() - start {
        size if size > MAX_LINE => Err(JournalError::TooLong { size }),
        _ => Ok(()),
    }
}

/// `{"seq":…,"at":…,"t":…,"kind":…` with all of the fact's fields, and no closing brace.
fn write_open(out: &mut Vec<u8>, seq: u64, at: &str, record: &Record) -> Result<(), JournalError> {
    use std::io::Write as _;
    // Writing into memory does not fail.
    let _ = write!(out, r#"{{"seq":{seq},"at":"{at}","t":{},"kind":"#, record.at.0);
    let form = out.len();
    serde_json::to_writer(&mut *out, &Out(&record.fact)).map_err(|source| JournalError::Encode { source })?;
    // serde's form is `{"KIND":{FIELDS}}`; the line's is `"KIND",FIELDS`.
    let Some(colon) = out[form..].windows(2).position(|pair| pair == b":{") else {
        return Err(JournalError::Encode { source: serde::ser::Error::custom("a fact without fields") });
    };
    out.truncate(out.len() - 2);
    out[form + colon] = b',';
    out.remove(form + colon + 1);
    out.remove(form);
    Ok(())
}

/// RFC 3339 in UTC with three digits of the second.
pub(super) fn wall_text(at: Timestamp) -> String {
    format!("{at:.3}")
}

/// The record as programs that follow a run get it: the journal's line without its checksum and
/// without the line feed.
pub fn event_line(entry: &Entry) -> Result<String, JournalError> {
    let mut out = Vec::with_capacity(256);
    write_open(&mut out, entry.seq, &wall_text(entry.at), &entry.record)?;
    out.push(b'}');
    Ok(String::from_utf8_lossy(&out).into_owned())
}

fn seal(out: &mut Vec<u8>, start: usize) {
    use std::io::Write as _;
    let sum = crc32fast::hash(&out[start..]);
    let _ = writeln!(out, r#","crc":"{sum:08x}"}}"#);
}

/// Is this line (without its line feed) whole and unharmed?
pub(super) fn is_sound(line: &[u8]) -> bool {
    let Some(cut) = line.len().checked_sub(SEAL) else { return false };
    let (body, tail) = line.split_at(cut);
    let sum = tail
        .strip_prefix(br#","crc":""#)
        .and_then(|t| t.strip_suffix(br#""}"#))
        .and_then(|hex| std::str::from_utf8(hex).ok())
        .and_then(|hex| u32::from_str_radix(hex, 16).ok());
    sum == Some(crc32fast::hash(body))
}

/// What the first line turned out to be.
pub(super) enum FirstLine {
    Header(Header),
    Newer(u32),
    Foreign,
}

pub(super) fn read_header(line: &[u8]) -> FirstLine {
    /// What every version's header has.
    #[derive(Deserialize)]
    struct Any {
        journal: String,
        version: u32,
    }
    match serde_json::from_slice::<Any>(line) {
        Ok(any) if any.journal != NAME => return FirstLine::Foreign,
        Ok(any) if any.version > VERSION => return FirstLine::Newer(any.version),
        Ok(_) => {}
        Err(_) => return FirstLine::Foreign,
    }
    match serde_json::from_slice::<HeaderForm>(line) {
        Ok(form) => FirstLine::Header(Header {
            version: form.version,
            run: form.run,
            created: form.created,
            program: form.program,
        }),
        Err(_) => FirstLine::Foreign,
    }
}

/// Reads a sound line.
pub(super) fn read_record(line: &[u8]) -> Result<Entry, serde_json::Error> {
    let mut input = serde_json::Deserializer::from_slice(line);
    let entry = input.deserialize_map(Line)?;
    input.end()?;
    Ok(entry)
}

/// A record's line, read in one go: its place in the journal, and then the fact's fields.
struct Line;

impl<'de> Visitor<'de> for Line {
    type Value = Entry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a record that begins with seq, at, t and kind")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entry, A::Error> {
        let seq = next(&mut map, "seq")?;
        let In(at) = next(&mut map, "at")?;
        let In(t) = next(&mut map, "t")?;
        let kind = next(&mut map, "kind")?;
        let fact = Fact::from_wire(Tagged { kind, fields: map })?;
        Ok(Entry { seq, at, record: Record { at: t, fact } })
    }
}

/// The value of this key, which comes next; what is not known here may stand before it.
fn next<'de, A: MapAccess<'de>, T: Deserialize<'de>>(map: &mut A, key: &'static str) -> Result<T, A::Error> {
    while let Some(found) = map.next_key::<&str>()? {
        if found == key {
            return map.next_value();
        }
        map.next_value::<IgnoredAny>()?;
    }
    Err(de::Error::missing_field(key))
}

/// The rest of a line as an enum of serde: its kind is the variant, and what follows are the variant's
/// fields. (An internally tagged enum would first copy every line into a tree of values.)
struct Tagged<'de, A> {
    kind: &'de str,
    fields: A,
}

impl<'de, A: MapAccess<'de>> Deserializer<'de> for Tagged<'de, A> {
    type Error = A::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, A::Error> {
        visitor.visit_enum(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de, A: MapAccess<'de>> EnumAccess<'de> for Tagged<'de, A> {
    type Error = A::Error;
    type Variant = Fields<A>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Fields<A>), A::Error> {
        let kind: StrDeserializer<'de, A::Error> = self.kind.into_deserializer();
        Ok((seed.deserialize(kind)?, Fields(self.fields)))
    }
}

struct Fields<A>(A);

impl<'de, A: MapAccess<'de>> VariantAccess<'de> for Fields<A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        Err(de::Error::custom("a fact has fields"))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, A::Error> {
        seed.deserialize(MapAccessDeserializer::new(self.0))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, _visitor: V) -> Result<V::Value, A::Error> {
        Err(de::Error::custom("a fact has named fields"))
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, A::Error> {
        visitor.visit_map(self.0)
    }
}
