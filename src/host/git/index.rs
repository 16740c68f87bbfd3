//! The index file, read and rewritten in its own bytes (gitformat-index(5), versions 2 to 4, SHA-1).
//!
//! libgit2 reads and writes an index of 100,000 entries too, in some 60 ms each way: it makes an
//! object of every entry and checks a slow hash. Here entries stay where they are in the file, and
//! a rewrite copies all but the few that change.
//!
//! Invariant: a rewrite keeps every entry that it was not told to replace, byte for byte, except
//! that sizes of racily clean entries are zeroed, as git does.
//!
//! Deliberately absent: split and sparse indexes, and other hashes (`plumbing` asks git).

use std::fs;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::core::change::{Entry, Mode, ObjectId};

use super::cachetree::CacheTree;
use super::error::GitError;
use super::files::Stat;

/// Bytes of an entry before its object name: ten 32-bit numbers.
const NUMBERS: usize = 40;
pub(super) const ASSUME_UNCHANGED: u16 = 0x8000;
const EXTENDED: u16 = 0x4000;
const STAGE: u16 = 0x3000;
const SKIP_WORKTREE: u16 = 0x4000;
const INTENT_TO_ADD: u16 = 0x2000;

/// What identifies one version of the index file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) mtime: (i64, u32),
    size: u64,
    ino: u64,
}

/// One entry, decoded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    pub(super) mode: u32,
    pub(super) id: ObjectId,
    pub(super) stage: u16,
    pub(super) assume_unchanged: bool,
    pub(super) skip_worktree: bool,
    pub(super) intent_to_add: bool,
    /// mtime, ctime, ino, size, as far as the index keeps them.
    pub(super) mtime: (u32, u32),
    pub(super) ctime: (u32, u32),
    pub(super) ino: u32,
    pub(super) size: u32,
}

impl Item {
    /// What the entry says is at its path; `None`: something we do not know, or only an intent.
    pub(super) fn entry(&self) -> Option<Entry> {
        if self.intent_to_add {
            return None;
        }
        Mode::from_bits(self.mode).map(|mode| Entry { mode, id: self.id })
    }

    /// Does lstat(2) say that the file is still what the index holds? False means: read it.
    pub(super) fn matches(&self, stat: &Stat, index: (i64, u32), filemode: bool) -> bool {
        let kind = stat.entry_mode().map(Mode::bits);
        let kind_ok = kind == Some(self.mode)
            || (!filemode && stat.is_file() && (self.mode == 0o100_644 || self.mode == 0o100_755));
        kind_ok
            && !self.intent_to_add
            && self.size == low(stat.size)
            && self.ino == low(stat.ino)
            && self.mtime == (low_signed(stat.mtime.0), stat.mtime.1)
            && self.ctime == (low_signed(stat.ctime.0), stat.ctime.1)
            && !racy(self.mtime, index)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the index keeps the low 32 bits")]
fn low(v: u64) -> u32 {
    v as u32
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the index keeps the low 32 bits")]
fn low_signed(v: i64) -> u32 {
    v as u32
}

/// Could a file with this mtime have changed in the instant in which the index was written? Ten
/// milliseconds are allowed for the coarse clock of file systems.
fn racy(mtime: (u32, u32), index: (i64, u32)) -> bool {
    let (secs, nanos) = (i64::from(mtime.0), i64::from(mtime.1));
    let index_nanos = i64::from(index.1) - 10_000_000;
    if secs != index.0 && secs != index.0 - 1 {
        return secs > index.0;
    }
    (secs - index.0) * 1_000_000_000 + nanos >= index_nanos
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    at: u32,
    name: u32,
    len: u32,
}

/// A parsed index.
#[derive(Debug)]
pub(super) struct Index {
    bytes: Vec<u8>,
    version: u32,
    slots: Vec<Slot>,
    /// Version 4 keeps names compressed; here they are whole.
    names: Vec<u8>,
    pub(super) tree: Option<CacheTree>,
    /// Resolve-undo, kept as it is.
    undo: Option<Range<usize>>,
    pub(super) stamp: Option<Stamp>,
    /// Bytes of an object name.
    hash: usize,
    /// Are any `.gitattributes` tracked?
    pub(super) attributes: bool,
    /// It is a copy that git made of an index that only git can write.
    pub(super) expanded: bool,
}

/// A new entry: what it is, and what lstat(2) said when its content was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct NewItem {
    pub(super) entry: Entry,
    pub(super) stat: Option<Stat>,
}

/// The stamp of the file at `path`; `None`: there is no index.
pub(super) fn stamp(path: &Path) -> io::Result<Option<Stamp>> {
    match fs::symlink_metadata(path) {
        Ok(m) => Ok(Some(Stamp {
            mtime: (m.mtime(), u32::try_from(m.mtime_nsec()).unwrap_or(0)),
            size: m.size(),
            ino: m.ino(),
        })),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// How an index file can be dealt with.
#[derive(Debug)]
pub(super) enum Parsed {
    Ours(Index),
    /// It needs git itself, for this reason.
    Foreign(&'static str),
}

impl Index {
    /// Reads the file; a missing one is an empty index.
    pub(super) fn read(path: &Path, hash: usize) -> Result<Parsed, GitError> {
        // Stamp first: if the file is replaced in between, the next look reads it again.
        let stamp = stamp(path).map_err(GitError::io("reading the index"))?;
        if stamp.is_none() {
            return Ok(Parsed::Ours(Self {
                bytes: Vec::new(),
                version: 2,
                slots: Vec::new(),
                names: Vec::new(),
                tree: None,
                undo: None,
                stamp,
                hash,
                attributes: false,
                expanded: false,
            }));
        }
        let bytes = fs::read(path).map_err(GitError::io("reading the index"))?;
        Self::parse(bytes, stamp, hash)
    }

    fn parse(bytes: Vec<u8>, stamp: Option<Stamp>, hash: usize) -> Result<Parsed, GitError> {
        let bad = || GitError::Index("its header is damaged");
        if bytes.len() < 12 + hash || &bytes[..4] != b"DIRC" {
            return Err(bad());
        }
        let version = word(&bytes, 4).ok_or_else(bad)?;
        let count = word(&bytes, 8).ok_or_else(bad)? as usize;
        if !(2..=4).contains(&version) {
            return Ok(Parsed::Foreign("its version is unknown"));
        }
        let end = bytes.len() - hash;
        if count > end / (NUMBERS + hash + 4) {
            return Err(bad());
        }
        let mut index = Self {
            bytes,
            version,
            slots: Vec::with_capacity(count),
            names: Vec::new(),
            tree: None,
            undo: None,
            stamp,
            hash,
            attributes: false,
            expanded: false,
        };
        let mut at = 12;
        for _ in 0..count {
            at = index.parse_entry(at, end).ok_or(GitError::Index("an entry is damaged"))?;
        }
        while at < end {
            let sig: [u8; 4] = index.bytes[at..].first_chunk().copied().ok_or(GitError::Index("cut short"))?;
            let len = word(&index.bytes, at + 4).ok_or(GitError::Index("cut short"))? as usize;
            let body = at + 8..at.saturating_add(8).saturating_add(len);
            if body.end > end {
                return Err(GitError::Index("an extension is cut short"));
            }
            match &sig {
                b"TREE" => index.tree = CacheTree::parse(&index.bytes[body.clone()], hash),
                b"REUC" => index.undo = Some(at..body.end),
                b"link" => return Ok(Parsed::Foreign("it is split")),
                b"sdir" => return Ok(Parsed::Foreign("it is sparse")),
                _ if sig[0].is_ascii_uppercase() => {} // optional: caches that git makes anew
                _ => return Ok(Parsed::Foreign("it has an unknown extension")),
            }
            at = body.end;
        }
        Ok(Parsed::Ours(index))
    }

    fn parse_entry(&mut self, at: usize, end: usize) -> Option<usize> {
        let flags = half(&self.bytes, at + NUMBERS + self.hash)?;
        let mut start = at + NUMBERS + self.hash + 2;
        if flags & EXTENDED != 0 {
            start += 2;
        }
        if start >= end {
            return None;
        }
        let (name, len, next) = if self.version == 4 {
            let (strip, used) = varint(&self.bytes[start..end])?;
            let tail_at = start + used;
            let tail_len = self.bytes[tail_at..end].iter().position(|b| *b == 0)?;
            let previous = self.slots.last().map_or(0..0, |s| s.name as usize..(s.name + s.len) as usize);
            let keep = previous.len().checked_sub(strip)?;
            let name = self.names.len();
            self.names.extend_from_within(previous.start..previous.start + keep);
            self.names.extend_from_slice(&self.bytes[tail_at..tail_at + tail_len]);
            (name, keep + tail_len, tail_at + tail_len + 1)
        } else {
            let stored = usize::from(flags & 0x0fff);
            let len = if stored < 0x0fff { stored } else { self.bytes[start..end].iter().position(|b| *b == 0)? };
            let next = at + ((start - at + len + 8) & !7);
            (start, len, next)
        };
        if next > end || len == 0 {
            return None;
        }
        let narrow = |v: usize| u32::try_from(v).ok();
        self.slots.push(Slot { at: narrow(at)?, name: narrow(name)?, len: narrow(len)? });
        self.attributes = self.attributes || self.path(self.slots.len() - 1).ends_with(b".gitattributes");
        Some(next)
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn path(&self, i: usize) -> &[u8] {
        let slot = self.slots[i];
        let range = slot.name as usize..(slot.name + slot.len) as usize;
        if self.version == 4 { &self.names[range] } else { &self.bytes[range] }
    }

    pub(super) fn item(&self, i: usize) -> Option<Item> {
        let at = self.slots[i].at as usize;
        let b = &self.bytes;
        let flags_at = at + NUMBERS + self.hash;
        let flags = half(b, flags_at)?;
        let more = if flags & EXTENDED == 0 { 0 } else { half(b, flags_at + 2)? };
        Some(Item {
            ctime: (word(b, at)?, word(b, at + 4)?),
            mtime: (word(b, at + 8)?, word(b, at + 12)?),
            ino: word(b, at + 20)?,
            mode: word(b, at + 24)?,
            size: word(b, at + 36)?,
            id: ObjectId::from_bytes(b.get(at + NUMBERS..flags_at)?)?,
            stage: (flags & STAGE) >> 12,
            assume_unchanged: flags & ASSUME_UNCHANGED != 0,
            skip_worktree: more & SKIP_WORKTREE != 0,
            intent_to_add: more & INTENT_TO_ADD != 0,
        })
    }

    /// The position of the first entry at or after `path`.
    pub(super) fn lower_bound(&self, path: &[u8]) -> usize {
        self.partition(|p| p < path)
    }

    fn partition(&self, before: impl Fn(&[u8]) -> bool) -> usize {
        let (mut low, mut high) = (0, self.slots.len());
        while low < high {
            let mid = usize::midpoint(low, high);
            if before(self.path(mid)) {
                low = mid + 1;
            } else {
                high = mid;
            }
        }
        low
    }

    /// The first entry (of up to three stages) for exactly this path.
    pub(super) fn find(&self, path: &[u8]) -> Option<usize> {
        let i = self.lower_bound(path);
        (i < self.len() && self.path(i) == path).then_some(i)
    }

    /// The entries beneath the directory `dir` (not `dir` itself).
    pub(super) fn beneath(&self, dir: &[u8]) -> Range<usize> {
        if dir.is_empty() {
            return 0..self.len();
        }
        let mut key = dir.to_vec();
        key.push(b'/');
        let start = self.lower_bound(&key);
        key.pop();
        key.push(b'/' + 1);
        start..self.lower_bound(&key)
    }

    /// A new index file in which each path of `edits` (sorted) has its new entry, or none.
    pub(super) fn rewrite(&self, edits: &[(&[u8], Option<NewItem>)], tree: Option<&CacheTree>) -> Vec<u8> {
        let mut out = Writer::new(self.version, self.bytes.len() + edits.len() * 128);
        let stamp = self.stamp.map(|s| s.mtime);
        let mut next = 0;
        for (path, new) in edits {
            let at = self.lower_bound(path);
            self.copy(next..at, stamp, &mut out);
            next = at;
            let mut flags = None;
            while next < self.len() && self.path(next) == *path {
                flags = self.raw_flags(next);
                next += 1;
            }
            if let Some(new) = new {
                out.add(path, new, flags);
            }
        }
        self.copy(next..self.len(), stamp, &mut out);
        if let Some(tree) = tree {
            out.extension(*b"TREE", &tree.encode());
        }
        if let Some(undo) = &self.undo {
            out.bytes.extend_from_slice(&self.bytes[undo.clone()]);
        }
        out.finish()
    }

    /// The flags that a user set on an entry and that a new one for the path keeps.
    fn raw_flags(&self, i: usize) -> Option<(u16, u16)> {
        let at = self.slots[i].at as usize;
        let flags_at = at + NUMBERS + self.hash;
        let flags = half(&self.bytes, flags_at)?;
        let more = if flags & EXTENDED == 0 { 0 } else { half(&self.bytes, flags_at + 2)? };
        Some((flags & ASSUME_UNCHANGED, more & SKIP_WORKTREE))
    }

    fn copy(&self, range: Range<usize>, stamp: Option<(i64, u32)>, out: &mut Writer) {
        if range.is_empty() {
            return;
        }
        let bulk = out.bytes.len();
        let first = self.slots[range.start].at as usize;
        if self.version < 4 {
            let last = self.slots[range.end - 1];
            let end = last.at as usize + ((last.name - last.at + last.len + 8) & !7) as usize;
            out.bytes.extend_from_slice(&self.bytes[first..end]);
        }
        for i in range.clone() {
            let slot = self.slots[i];
            let at = slot.at as usize;
            let written = if self.version < 4 {
                bulk + at - first
            } else {
                out.copy_v4(&self.bytes[at..], self.path(i), self.hash)
            };
            let mtime = (word(&self.bytes, at + 8).unwrap_or(0), word(&self.bytes, at + 12).unwrap_or(0));
            let gitlink = word(&self.bytes, at + 24) == Some(Mode::Submodule.bits());
            if !gitlink && stamp.is_some_and(|s| racy(mtime, s)) {
                out.bytes[written + 36..written + 40].fill(0);
            }
        }
        out.count += range.len();
    }
}

/// Builds an index file.
struct Writer {
    bytes: Vec<u8>,
    version: u32,
    count: usize,
    previous: Vec<u8>,
}

impl Writer {
    fn new(version: u32, capacity: usize) -> Self {
        let mut bytes = Vec::with_capacity(capacity);
        bytes.extend_from_slice(b"DIRC\0\0\0\0\0\0\0\0");
        Self { bytes, version, count: 0, previous: Vec::new() }
    }

    fn copy_v4(&mut self, entry: &[u8], path: &[u8], hash: usize) -> usize {
        let extended = half(entry, NUMBERS + hash).is_some_and(|f| f & EXTENDED != 0);
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&entry[..NUMBERS + hash + if extended { 4 } else { 2 }]);
        self.name(path, at);
        at
    }

    fn add(&mut self, path: &[u8], new: &NewItem, flags: Option<(u16, u16)>) {
        let at = self.bytes.len();
        let (mut low_flags, mut more) = flags.unwrap_or((0, 0));
        if self.version == 2 {
            more = 0;
        }
        if let Some(s) = &new.stat {
            let words = [
                low_signed(s.ctime.0),
                s.ctime.1,
                low_signed(s.mtime.0),
                s.mtime.1,
                low(s.dev),
                low(s.ino),
                0,
                s.uid,
                s.gid,
            ];
            words.iter().for_each(|w| self.bytes.extend_from_slice(&w.to_be_bytes()));
            self.bytes.extend_from_slice(&low(s.size).to_be_bytes());
        } else {
            self.bytes.extend_from_slice(&[0; 40]);
        }
        self.bytes[at + 24..at + 28].copy_from_slice(&new.entry.mode.bits().to_be_bytes());
        self.bytes.extend_from_slice(new.entry.id.as_bytes());
        if more != 0 {
            low_flags |= EXTENDED;
        }
        low_flags |= u16::try_from(path.len()).unwrap_or(0x0fff).min(0x0fff);
        self.bytes.extend_from_slice(&low_flags.to_be_bytes());
        if more != 0 {
            self.bytes.extend_from_slice(&more.to_be_bytes());
        }
        self.name(path, at);
        self.count += 1;
    }

    fn name(&mut self, path: &[u8], entry_at: usize) {
        if self.version == 4 {
            let same = path.iter().zip(&self.previous).take_while(|(a, b)| a == b).count();
            put_varint(self.previous.len() - same, &mut self.bytes);
            self.bytes.extend_from_slice(&path[same..]);
            self.bytes.push(0);
            self.previous.clear();
            self.previous.extend_from_slice(path);
        } else {
            self.bytes.extend_from_slice(path);
            let pad = 8 - (self.bytes.len() - entry_at) % 8;
            self.bytes.extend_from_slice(&[0; 8][..pad]);
        }
    }

    fn extension(&mut self, sig: [u8; 4], body: &[u8]) {
        self.bytes.extend_from_slice(&sig);
        self.bytes.extend_from_slice(&u32::try_from(body.len()).unwrap_or(0).to_be_bytes());
        self.bytes.extend_from_slice(body);
    }

    fn finish(mut self) -> Vec<u8> {
        self.bytes[4..8].copy_from_slice(&self.version.to_be_bytes());
        self.bytes[8..12].copy_from_slice(&u32::try_from(self.count).unwrap_or(0).to_be_bytes());
        let sum = super::hash::sha1(&self.bytes);
        self.bytes.extend_from_slice(&sum);
        self.bytes
    }
}

fn word(b: &[u8], at: usize) -> Option<u32> {
    b.get(at..)?.first_chunk().map(|c| u32::from_be_bytes(*c))
}

fn half(b: &[u8], at: usize) -> Option<u16> {
    b.get(at..)?.first_chunk().map(|c| u16::from_be_bytes(*c))
}

/// git's offset encoding (gitformat-pack(5)): value and bytes used.
fn varint(b: &[u8]) -> Option<(usize, usize)> {
    let mut value = usize::from(*b.first()? & 0x7f);
    let mut used = 1;
    while b[used - 1] & 0x80 != 0 {
        let byte = *b.get(used)?;
        value = value.checked_add(1)?.checked_mul(128)?.checked_add(usize::from(byte & 0x7f))?;
        used += 1;
    }
    Some((value, used))
}

#[expect(clippy::cast_possible_truncation, reason = "masked to seven bits")]
fn put_varint(mut value: usize, out: &mut Vec<u8>) {
    let mut digits = vec![(value & 0x7f) as u8];
    value >>= 7;
    while value != 0 {
        value -= 1;
        digits.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.extend(digits.iter().rev());
}
