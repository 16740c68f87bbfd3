//! Writing an index file: the bytes of the old one with a few entries replaced.
//!
//! Invariant: entries that were not asked for are copied, byte for byte; only the sizes of racily
//! clean ones are zeroed, so that git reads those files again (as it does itself).

use std::ops::Range;

use crate::core::change::{Entry, Mode};

use super::cachetree::CacheTree;
use super::files::Stat;
use super::hash::checksum;
use super::index::{ASSUME_UNCHANGED, EXTENDED, Index, NUMBERS, SKIP_WORKTREE, half, low, low_signed, racy, word};

/// A new entry: what it is, and what lstat(2) said when its content was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct NewItem {
    pub(super) entry: Entry,
    pub(super) stat: Option<Stat>,
}

impl Index {
    /// A new index file in which each path of `edits` (sorted) has its new entry, or none.
    pub(super) fn rewrite(&self, edits: &[(&[u8], Option<NewItem>)], tree: Option<&CacheTree>) -> Vec<u8> {
        let mut out = Writer::new(self.version, self.hash, self.bytes.len() + edits.len() * 128);
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
            let written =
                if self.version < 4 { bulk + at - first } else { out.copy_v4(&self.bytes[at..], self.path(i)) };
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
    /// Bytes of an object name, and of the checksum.
    hash: usize,
    count: usize,
    previous: Vec<u8>,
}

impl Writer {
    fn new(version: u32, hash: usize, capacity: usize) -> Self {
        let mut bytes = Vec::with_capacity(capacity);
        bytes.extend_from_slice(b"DIRC\0\0\0\0\0\0\0\0");
        Self { bytes, version, hash, count: 0, previous: Vec::new() }
    }

    fn copy_v4(&mut self, entry: &[u8], path: &[u8]) -> usize {
        let hash = self.hash;
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
            for word in words {
                self.bytes.extend_from_slice(&word.to_be_bytes());
            }
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
        let sum = checksum(&self.bytes, self.hash);
        self.bytes.extend_from_slice(&sum);
        self.bytes
    }
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
