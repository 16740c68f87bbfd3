//! Reading a journal back, after a crash too.
//!
//! Invariant: the entries given back are a prefix of what was written. Only the end may be torn: an
//! unsound line with a sound one after it is damage, and an error.
//!
//! Deliberately absent: cutting the file, which [`super::Journal::reopen`] does.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::path::Path;
use std::sync::mpsc;

use super::JournalError;
use super::line::{self, Entry, FirstLine, Header, MAX_LINE};

/// What a journal holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    pub header: Header,
    /// In order; their sequence numbers are 1, 2, 3…
    pub entries: Vec<Entry>,
    /// The length of the sound part of the file, in bytes.
    pub len: u64,
    /// The rest of it, if there is one: a record that was being written when the machine or the
    /// program died. It was never synced, so nothing was done because of it.
    pub torn: Option<Torn>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Torn {
    /// Where it begins, in bytes from the start of the file.
    pub offset: u64,
}

/// What a journal holds beside its entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extent {
    pub header: Header,
    /// How many entries there are.
    pub entries: u64,
    /// As in [`Replay`].
    pub len: u64,
    pub torn: Option<Torn>,
}

/// Reads the whole journal at `path`. The file is not changed.
pub fn read(path: &Path) -> Result<Replay, JournalError> {
    let mut entries = Vec::new();
    let Extent { header, len, torn, .. } = read_each(path, |entry| entries.push(entry))?;
    Ok(Replay { header, entries, len, torn })
}

/// Reads the whole journal at `path`, and gives each entry away as soon as it is read: a long one need not be in
/// memory as a whole. The file is not changed.
pub fn read_each(path: &Path, mut each: impl FnMut(Entry)) -> Result<Extent, JournalError> {
    let failed = |source| JournalError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let long = file.metadata().map_err(failed)?.len() >= LONG;
    let lines = Lines { input: BufReader::with_capacity(1 << 18, file), buffer: Vec::new() };
    if long { read_ahead(path, lines, each) } else { read_lines(path, lines, &mut each) }
}

/// Bytes from which on another thread reads ahead.
const LONG: u64 = 4 << 20;
/// Entries that are handed over at once, and how often they may be before they are taken.
const BATCH: usize = 1024;
const AHEAD: usize = 4;

/// Reads on one thread what is taken on this one.
fn read_ahead(path: &Path, lines: Lines<File>, mut each: impl FnMut(Entry)) -> Result<Extent, JournalError> {
    std::thread::scope(|scope| {
        let (batches, taken) = mpsc::sync_channel::<Vec<Entry>>(AHEAD);
        let read = move || {
            let mut batch = Vec::with_capacity(BATCH);
            let extent = read_lines(path, lines, &mut |entry| {
                batch.push(entry);
                if batch.len() == BATCH {
                    // Nobody takes it any more only where taking has panicked.
                    let _ = batches.send(std::mem::replace(&mut batch, Vec::with_capacity(BATCH)));
                }
            });
            let _ = batches.send(batch);
            extent
        };
        let thread = std::thread::Builder::new().name("journal".to_owned()).spawn_scoped(scope, read);
        let thread = thread.map_err(|source| JournalError::Read { path: path.to_owned(), source })?;
        taken.into_iter().flatten().for_each(&mut each);
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn read_lines(path: &Path, mut lines: Lines<File>, each: &mut impl FnMut(Entry)) -> Result<Extent, JournalError> {
    let failed = |source| JournalError::Read { path: path.to_owned(), source };
    let (header, mut len) = match lines.next().map_err(failed)? {
        Some(first) if first.ended => (header(path, first.text)?, first.text.len() as u64 + 1),
        _ => return Err(JournalError::NoHeader { path: path.to_owned() }),
    };
    let mut entries = 0;
    let mut number = 1;
    while let Some(line) = lines.next().map_err(failed)? {
        number += 1;
        if !line.ended || !line::is_sound(line.text) {
            let mut damaged = line.ended && ends_in_sound(line.text);
            while let (false, Some(later)) = (damaged, lines.next().map_err(failed)?) {
                damaged = later.ended && (line::is_sound(later.text) || ends_in_sound(later.text));
            }
            if damaged {
                return Err(JournalError::Damaged { path: path.to_owned(), line: number });
            }
            return Ok(Extent { header, entries, len, torn: Some(Torn { offset: len }) });
        }
        let entry = line::read_record(line.text).map_err(|source| JournalError::Unreadable {
            path: path.to_owned(),
            line: number,
            source,
        })?;
        entries += 1;
        if entry.seq != entries {
            let (expected, found) = (entries, entry.seq);
            return Err(JournalError::Gap { path: path.to_owned(), line: number, expected, found });
        }
        len += line.text.len() as u64 + 1;
        each(entry);
    }
    Ok(Extent { header, entries, len, torn: None })
}

pub(super) fn header(path: &Path, text: &[u8]) -> Result<Header, JournalError> {
    let path = path.to_owned();
    match line::read_header(text) {
        FirstLine::Header(header) if line::is_sound(text) => Ok(header),
        FirstLine::Header(_) => Err(JournalError::Damaged { path, line: 1 }),
        FirstLine::Newer(found) => Err(JournalError::NewerVersion { path, found }),
        FirstLine::Foreign => Err(JournalError::NotAJournal { path }),
    }
}

/// Did a line feed get lost before a sound record? Inside of texts JSON escapes the quotes.
fn ends_in_sound(text: &[u8]) -> bool {
    const OPENING: &[u8] = br#"{"seq":"#;
    (1..text.len()).any(|at| text[at..].starts_with(OPENING) && line::is_sound(&text[at..]))
}

struct Lines<R> {
    input: BufReader<R>,
    buffer: Vec<u8>,
}

struct Line<'a> {
    /// Without its line feed.
    text: &'a [u8],
    ended: bool,
}

impl<R: std::io::Read> Lines<R> {
    /// The next line, of at most [`MAX_LINE`] bytes (what is longer comes in pieces, none sound).
    fn next(&mut self) -> std::io::Result<Option<Line<'_>>> {
        self.buffer.clear();
        let read = self.input.by_ref().take(MAX_LINE as u64 + 1).read_until(b'\n', &mut self.buffer)?;
        if read == 0 {
            return Ok(None);
        }
        let ended = self.buffer.last() == Some(&b'\n');
        let text = &self.buffer[..read - usize::from(ended)];
        Ok(Some(Line { text, ended }))
    }
}
