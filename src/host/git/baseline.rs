//! The workspace as an attempt found it: path, mode and content id of everything its claim matches.
//!
//! Kept in memory while the attempt lives and in its directory for recovery. Content that git could
//! not give back byte for byte is copied into `kept/` beside it.
//!
//! Invariant: entries are sorted; a file on disk either ends in its checksum or is no baseline.

use std::fs;
use std::io::Write;
use std::path::Path;

use crate::core::change::{Entry, Mode, ObjectId};
use crate::core::path::RepoPath;

use super::error::GitError;
use super::extras::Extras;
use super::files::Stat;

const HEADER: &[u8] = b"supervise baseline 1";

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Baseline {
    /// HEAD when the attempt began; `None`: unborn.
    pub(super) head: Option<ObjectId>,
    /// The file system's time before the first look: whatever changed since then may hide.
    pub(super) since: (i64, u32),
    pub(super) entries: Vec<BaseEntry>,
    /// Directories that were there, as far as the claim leads to them; see `Walk::dirs`.
    pub(super) dirs: Vec<RepoPath>,
    /// What the attempt was let on to later; kept in a file of its own.
    pub(super) extras: Extras,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BaseEntry {
    pub(super) path: RepoPath,
    pub(super) entry: Entry,
    /// `None`: git has it, but it is not on disk (sparse checkout).
    pub(super) stat: Option<Stat>,
    /// Number of the file in `kept/` that holds its bytes; `None`: the object does.
    pub(super) kept: Option<u32>,
}

impl Baseline {
    /// Was the directory, or something beneath it, there?
    pub(super) fn had_dir(&self, dir: &RepoPath) -> bool {
        let first = self.dirs.partition_point(|d| d < dir);
        let inside = [dir.as_bytes(), b"/"].concat();
        let next = self.dirs.partition_point(|d| d.as_bytes() < inside.as_slice());
        self.dirs.get(first) == Some(dir) || self.dirs.get(next).is_some_and(|d| d.as_bytes().starts_with(&inside))
    }

    /// What the path was; `None`: nothing that git would record.
    pub(super) fn find(&self, path: &RepoPath) -> Option<&BaseEntry> {
        if let Some(extra) = self.extras.get(path) {
            return extra.content();
        }
        self.entries.binary_search_by(|e| e.path.cmp(path)).ok().map(|i| &self.entries[i])
    }

    /// Writes it to `file`; synced where something was kept, as only then it cannot be made again.
    pub(super) fn save(&self, file: &mut fs::File) -> Result<(), GitError> {
        let bytes = self.encode();
        let sync = self.entries.iter().any(|e| e.kept.is_some());
        let result = file.write_all(&bytes).and_then(|()| if sync { file.sync_data() } else { Ok(()) });
        result.map_err(GitError::io("writing the baseline"))
    }

    /// `None`: there is none, or it is damaged.
    pub(super) fn load(path: &Path) -> Option<Self> {
        Self::decode(&fs::read(path).ok()?)
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + self.entries.len() * 160);
        let mut field = |bytes: &[u8]| {
            out.extend_from_slice(bytes);
            out.push(0);
        };
        field(HEADER);
        field(self.head.map_or_else(|| "-".to_owned(), |h| h.to_string()).as_bytes());
        field(format!("{} {} {} {}", self.since.0, self.since.1, self.entries.len(), self.dirs.len()).as_bytes());
        for e in &self.entries {
            field(e.path.as_bytes());
            field(encode_entry(e).as_bytes());
        }
        for dir in &self.dirs {
            field(dir.as_bytes());
        }
        let sum = crc32fast::hash(&out);
        out.extend_from_slice(format!("{sum:08x}\n").as_bytes());
        out
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, sum) = bytes.split_at_checked(bytes.len().checked_sub(9)?)?;
        if format!("{:08x}\n", crc32fast::hash(body)).as_bytes() != sum {
            return None;
        }
        let mut fields = body.split(|b| *b == 0);
        if fields.next()? != HEADER {
            return None;
        }
        let text = |field: &[u8]| std::str::from_utf8(field).ok().map(str::to_owned);
        let head = text(fields.next()?)?;
        let head = if head == "-" { None } else { Some(ObjectId::from_hex(&head)?) };
        let line = text(fields.next()?)?;
        let mut numbers = line.split(' ');
        let since = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
        let (count, dir_count): (usize, usize) = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
        let mut entries = Vec::new();
        for _ in 0..count {
            let path = RepoPath::new(fields.next()?).ok()?;
            entries.push(decode_entry(path, &text(fields.next()?)?)?);
        }
        let mut dirs = Vec::new();
        for _ in 0..dir_count {
            dirs.push(RepoPath::new(fields.next()?).ok()?);
        }
        Some(Self { head, since, entries, dirs, extras: Extras::default() })
    }
}

/// All of it but the path, on one line.
pub(super) fn encode_entry(e: &BaseEntry) -> String {
    let stat = e.stat.map_or_else(
        || "-".to_owned(),
        |s| {
            format!(
                "{} {} {} {} {} {} {} {} {} {}",
                s.size, s.mtime.0, s.mtime.1, s.ctime.0, s.ctime.1, s.ino, s.dev, s.mode, s.uid, s.gid
            )
        },
    );
    let kept = e.kept.map_or_else(|| "-".to_owned(), |k| k.to_string());
    format!("{:o} {} {kept} {stat}", e.entry.mode.bits(), e.entry.id)
}

pub(super) fn decode_entry(path: RepoPath, line: &str) -> Option<BaseEntry> {
    let mut parts = line.split(' ');
    let mode = Mode::from_bits(u32::from_str_radix(parts.next()?, 8).ok()?)?;
    let id = ObjectId::from_hex(parts.next()?)?;
    let kept = match parts.next()? {
        "-" => None,
        n => Some(n.parse().ok()?),
    };
    let size = parts.next()?;
    let stat = if size == "-" {
        None
    } else {
        let mut next = || parts.next();
        Some(Stat {
            size: size.parse().ok()?,
            mtime: (next()?.parse().ok()?, next()?.parse().ok()?),
            ctime: (next()?.parse().ok()?, next()?.parse().ok()?),
            ino: next()?.parse().ok()?,
            dev: next()?.parse().ok()?,
            mode: next()?.parse().ok()?,
            uid: next()?.parse().ok()?,
            gid: next()?.parse().ok()?,
        })
    };
    Some(BaseEntry { path, entry: Entry { mode, id }, stat, kept })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_baseline_reads_what_it_wrote_and_nothing_cut_short() {
        let path = |b: &[u8]| RepoPath::new(b).unwrap();
        let id = ObjectId::from_hex("4b825dc642cb6eb9a060e54bf8d69288fbee4904").unwrap();
        let stat = Stat {
            size: 1 << 40,
            mtime: (-5, 999_999_999),
            ctime: (17, 0),
            ino: u64::MAX,
            dev: 3,
            mode: 0o100_755,
            uid: 0,
            gid: 9,
        };
        let entry =
            |p: &[u8], stat, kept| BaseEntry { path: path(p), entry: Entry { mode: Mode::Executable, id }, stat, kept };
        let baseline = Baseline {
            head: Some(id),
            since: (12, 34),
            entries: vec![entry(b"a\nb/\xff", Some(stat), Some(7)), entry(b"z", None, None)],
            dirs: vec![path(b"empty dir")],
            extras: Extras::default(),
        };
        let bytes = baseline.encode();
        assert_eq!(Baseline::decode(&bytes), Some(baseline));
        for cut in 0..bytes.len() {
            assert_eq!(Baseline::decode(&bytes[..cut]), None, "cut at {cut}");
        }
    }
}
