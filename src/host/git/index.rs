//! The index file, read in its own bytes (gitformat-index(5), versions 2 to 4).
//!
//! libgit2 reads and writes an index of 100,000 entries too, in some 60 ms each way: it makes an
//! object of every entry and checks a slow hash. Here entries stay where they are in the file, and
//! a rewrite copies all but the few that change.
//!
//! Invariant: damage of any kind is an error and never a panic.
//!
//! Deliberately absent: split and sparse indexes (`git` expands them first), checking the checksum
//! (git does not either), writing (`index_write`).

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
pub(super) const NUMBERS: usize = 40;
pub(super) const ASSUME_UNCHANGED: u16 = 0x8000;
pub(super) const EXTENDED: u16 = 0x4000;
const STAGE: u16 = 0x3000;
pub(super) const SKIP_WORKTREE: u16 = 0x4000;
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
pub(super) fn low(v: u64) -> u32 {
    v as u32
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the index keeps the low 32 bits")]
pub(super) fn low_signed(v: i64) -> u32 {
    v as u32
}

/// Could a file with this mtime have changed in the instant in which the index was written? Ten
/// milliseconds are allowed for the coarse clock of file systems.
pub(super) fn racy(mtime: (u32, u32), index: (i64, u32)) -> bool {
    let (secs, nanos) = (i64::from(mtime.0), i64::from(mtime.1));
    let index_nanos = i64::from(index.1) - 10_000_000;
    if secs != index.0 && secs != index.0 - 1 {
        return secs > index.0;
    }
    (secs - index.0) * 1_000_000_000 + nanos >= index_nanos
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) at: u32,
    pub(super) name: u32,
    pub(super) len: u32,
}

/// A parsed index; the default one is empty.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) bytes: Vec<u8>,
    pub(super) version: u32,
    pub(super) slots: Vec<Slot>,
    /// Version 4 keeps names compressed; here they are whole.
    names: Vec<u8>,
    pub(super) tree: Option<CacheTree>,
    /// Resolve-undo, kept as it is.
    pub(super) undo: Option<Range<usize>>,
    pub(super) stamp: Option<Stamp>,
    /// Bytes of an object name.
    pub(super) hash: usize,
    /// Are any `.gitattributes` tracked?
    pub(super) attributes: bool,
    /// It is a copy that git made of an index that only git can write.
    pub(super) expanded: bool,
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
    Ours(Box<Index>),
    /// It needs git itself, for this reason.
    Foreign(&'static str),
}

impl Index {
    /// Reads the file; a missing one is an empty index.
    pub(super) fn read(path: &Path, hash: usize) -> Result<Parsed, GitError> {
        // Stamp first: if the file is replaced in between, the next look reads it again.
        let stamp = stamp(path).map_err(GitError::io("reading the index"))?;
        if stamp.is_none() {
            return Ok(Parsed::Ours(Box::new(Self { version: 2, hash, ..Self::default() })));
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
        let mut index = Self { bytes, version, slots: Vec::with_capacity(count), stamp, hash, ..Self::default() };
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
        Ok(Parsed::Ours(Box::new(index)))
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
        // A split index has entries without names, for those that it replaces.
        if next > end {
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
}

pub(super) fn word(b: &[u8], at: usize) -> Option<u32> {
    b.get(at..)?.first_chunk().map(|c| u32::from_be_bytes(*c))
}

pub(super) fn half(b: &[u8], at: usize) -> Option<u16> {
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

#[cfg(test)]
mod tests {
    use super::super::index_write::NewItem;
    use super::*;

    fn sample(version: u32) -> Vec<u8> {
        let id = ObjectId::from_hex("4b825dc642cb6eb9a060e54bf8d69288fbee4904").unwrap();
        let new = |mode| Some(NewItem { entry: Entry { mode, id }, stat: None });
        let empty = Index { version, hash: 20, ..Index::default() };
        let long = [b"dir/".as_slice(), &[b'x'; 5000]].concat();
        let edits: [(&[u8], _); 4] = [
            (b"a", new(Mode::File)),
            (b"dir/b", new(Mode::Symlink)),
            (&long, new(Mode::File)),
            (b"z\n", new(Mode::Executable)),
        ];
        empty.rewrite(&edits, Some(&CacheTree::default()))
    }

    fn parse(bytes: Vec<u8>) -> Option<Index> {
        match Index::parse(bytes, None, 20) {
            Ok(Parsed::Ours(index)) => Some(*index),
            _ => None,
        }
    }

    #[test]
    fn every_version_reads_what_was_written_and_survives_damage() {
        for version in [2, 3, 4] {
            let bytes = sample(version);
            let index = parse(bytes.clone()).unwrap();
            let paths: Vec<usize> = (0..index.len()).map(|i| index.path(i).len()).collect();
            assert_eq!(paths, [1, 5, 5004, 2]);
            assert_eq!(index.rewrite(&[], index.tree.as_ref()), bytes);
            assert_eq!(index.beneath(b"dir"), 1..3);
            assert_eq!((index.find(b"dir/b"), index.find(b"dir"), index.find(b"zz")), (Some(1), None, None));
            let without = parse(index.rewrite(&[(b"dir/b", None)], None)).unwrap();
            assert_eq!((without.len(), without.path(1).len()), (3, 5004));
            for cut in (0..bytes.len()).filter(|n| *n < 400 || n % 97 == 0) {
                let _ = parse(bytes[..cut].to_vec());
                let mut flipped = bytes.clone();
                flipped[cut] ^= 0xff;
                if let Some(index) = parse(flipped) {
                    assert!((0..index.len()).filter_map(|i| index.item(i)).count() <= index.len());
                    let _ = index.rewrite(&[(b"new", None)], index.tree.as_ref());
                }
            }
        }
    }
}
