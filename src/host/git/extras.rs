//! Paths that an attempt was let on to after it began: what each was at that moment.
//!
//! They lie over the baseline: where a path is in both, these say what it was. Each is appended to
//! `extras` in the attempt's directory, synced, so that recovery finds it.
//!
//! Invariant: a record is whole and checked or not there; of two about a path the later one counts.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use crate::core::call::There;
use crate::core::change::{Entry, Mode, ObjectId};
use crate::core::path::RepoPath;

use super::baseline::{BaseEntry, decode_entry, encode_entry};
use super::error::GitError;
use super::files::Stat;

const HEADER: &[u8] = b"supervise extras 1";
const FILE: &str = "extras";

/// What a path was at one moment. Only git's part of the house looks inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base {
    pub(super) held: Held,
    /// The deepest directory above it that was there; `None`: the root.
    pub(super) above: Option<RepoPath>,
    /// What HEAD had there.
    pub(super) committed: Option<Entry>,
    /// The file system's time before the look.
    pub(super) since: (i64, u32),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Held {
    Nothing,
    /// A directory, or a socket and the like: nothing that could be put back.
    Directory,
    Content(BaseEntry),
}

impl Base {
    #[must_use]
    pub fn there(&self) -> There {
        match self.held {
            Held::Nothing => There::Nothing,
            Held::Directory => There::Directory,
            Held::Content(_) => There::File,
        }
    }

    /// What git would have recorded.
    #[must_use]
    pub fn entry(&self) -> Option<Entry> {
        self.content().map(|c| c.entry)
    }

    pub(super) fn content(&self) -> Option<&BaseEntry> {
        match &self.held {
            Held::Content(entry) => Some(entry),
            Held::Nothing | Held::Directory => None,
        }
    }

    /// Is it certainly what it was?
    pub(super) fn still(&self, stat: Option<&Stat>) -> bool {
        match (self.content(), stat) {
            (Some(base), Some(stat)) => base.stat == Some(*stat) && !stat.racy(self.since),
            (None, None) => true,
            _ => false,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Extras(BTreeMap<RepoPath, Base>);

impl Extras {
    pub(super) fn get(&self, path: &RepoPath) -> Option<&Base> {
        self.0.get(path)
    }

    pub(super) fn has(&self, path: &RepoPath) -> bool {
        self.0.contains_key(path)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&RepoPath, &Base)> {
        self.0.iter()
    }

    /// Was the directory there, as far as these can tell? `None`: they cannot.
    pub(super) fn had_dir(&self, dir: &RepoPath) -> Option<bool> {
        let missing = |at: &RepoPath| self.get(at).is_some_and(|b| b.held == Held::Nothing);
        if std::iter::successors(Some(dir.clone()), RepoPath::parent).any(|at| missing(&at)) {
            return Some(false);
        }
        let there = |b: &Base| b.above.as_ref().is_some_and(|above| above.is_within(dir));
        let beneath = self.0.iter().filter(|(path, _)| path.is_within(dir));
        let mut told =
            beneath.map(|(path, b)| if path == dir { b.held == Held::Directory } else { there(b) }).peekable();
        told.peek()?;
        Some(told.any(|there| there))
    }

    /// Appends the record to the file in `dir` and takes it up.
    pub(super) fn insert(&mut self, dir: &Path, path: &RepoPath, base: Base) -> Result<(), GitError> {
        let failed = || GitError::io(format!("remembering what `{path}` was"));
        let mut file = open(dir).map_err(failed())?;
        let length = file.metadata().map_err(failed())?.len();
        let mut bytes = Vec::new();
        if length == 0 {
            frame(HEADER, &mut bytes);
        }
        frame(&encode(path, &base), &mut bytes);
        if let Err(e) = file.write_all(&bytes).and_then(|()| file.sync_data()) {
            // What follows half a record could not be read again.
            let _ = file.set_len(length);
            return Err(failed()(e));
        }
        self.0.insert(path.clone(), base);
        Ok(())
    }

    /// What the file in `dir` holds; a record cut short by a crash is cut off. `None`: it is not such a
    /// file.
    pub(super) fn load(dir: &Path) -> Option<Self> {
        let path = dir.join(FILE);
        let bytes = match fs::read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Some(Self::default()),
            read => read.ok()?,
        };
        let mut extras = Self::default();
        let mut rest = bytes.as_slice();
        let mut whole = 0;
        while let Some((payload, next)) = unframe(rest) {
            if whole == 0 {
                (payload == HEADER).then_some(())?;
            } else {
                let (path, base) = decode(payload)?;
                extras.0.insert(path, base);
            }
            whole = bytes.len() - next.len();
            rest = next;
        }
        if whole < bytes.len() {
            File::options().write(true).open(&path).and_then(|f| f.set_len(whole as u64)).ok()?;
        }
        Some(extras)
    }
}

/// Opens the file in the attempt's directory `dir`; both are made if need be.
pub(super) fn open(dir: &Path) -> std::io::Result<File> {
    fs::create_dir_all(dir)?;
    File::options().create(true).append(true).open(dir.join(FILE))
}

/// Length, checksum, payload.
fn frame(payload: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{:08x}{:08x}", payload.len(), crc32fast::hash(payload)).as_bytes());
    out.extend_from_slice(payload);
}

fn unframe(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let number = |b: &[u8]| u32::from_str_radix(std::str::from_utf8(b).ok()?, 16).ok();
    let (head, rest) = bytes.split_at_checked(16)?;
    let (payload, rest) = rest.split_at_checked(usize::try_from(number(&head[..8])?).ok()?)?;
    (crc32fast::hash(payload) == number(&head[8..])?).then_some((payload, rest))
}

fn encode(path: &RepoPath, base: &Base) -> Vec<u8> {
    let committed = base.committed.map_or_else(|| "-".to_owned(), |e| format!("{:o} {}", e.mode.bits(), e.id));
    let held = match &base.held {
        Held::Nothing => "nothing".to_owned(),
        Held::Directory => "directory".to_owned(),
        Held::Content(entry) => encode_entry(entry),
    };
    let since = format!("{} {}", base.since.0, base.since.1);
    let above = base.above.as_ref().map_or(&[] as &[u8], RepoPath::as_bytes);
    [path.as_bytes(), above, since.as_bytes(), committed.as_bytes(), held.as_bytes()].join(&0)
}

fn decode(payload: &[u8]) -> Option<(RepoPath, Base)> {
    let mut fields = payload.split(|b| *b == 0);
    let path = RepoPath::new(fields.next()?).ok()?;
    let above = match fields.next()? {
        b"" => None,
        above => Some(RepoPath::new(above).ok()?),
    };
    let mut text = || std::str::from_utf8(fields.next()?).ok();
    let (seconds, nanos) = text()?.split_once(' ')?;
    let since = (seconds.parse().ok()?, nanos.parse().ok()?);
    let committed = match text()? {
        "-" => None,
        line => {
            let (mode, id) = line.split_once(' ')?;
            let mode = Mode::from_bits(u32::from_str_radix(mode, 8).ok()?)?;
            Some(Entry { mode, id: ObjectId::from_hex(id)? })
        }
    };
    let held = match text()? {
        "nothing" => Held::Nothing,
        "directory" => Held::Directory,
        line => Held::Content(decode_entry(path.clone(), line)?),
    };
    Some((path, Base { held, above, committed, since }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_back_up_to_the_one_that_was_cut_short() {
        let path = |p: &[u8]| RepoPath::new(p).unwrap();
        let id = ObjectId::from_hex("4b825dc642cb6eb9a060e54bf8d69288fbee4904").unwrap();
        let entry = Entry { mode: Mode::Symlink, id };
        let content = |p: &[u8]| {
            Held::Content(BaseEntry { path: path(p), entry, stat: Some(Stat::default()), kept: Some(1 << 31) })
        };
        let base =
            |held, above: Option<&[u8]>, committed| Base { held, above: above.map(path), committed, since: (-3, 7) };
        let dir = tempfile::tempdir().unwrap();
        let mut all = Extras::default();
        let mut stages = vec![all.clone()];
        for (name, base) in [
            (b"a\nb/\xff".as_slice(), base(Held::Nothing, Some(b"a\nb"), None)),
            (b"c/d", base(content(b"c/d"), None, Some(entry))),
            (b"e", base(Held::Directory, None, None)),
            (b"a\nb/\xff", base(content(b"a\nb/\xff"), Some(b"a\nb"), None)),
        ] {
            all.insert(dir.path(), &path(name), base).unwrap();
            stages.push(all.clone());
        }
        assert_eq!(Extras::load(dir.path()), Some(all));
        let file = dir.path().join(FILE);
        let bytes = fs::read(&file).unwrap();
        let mut reached = 0;
        for cut in 0..=bytes.len() {
            fs::write(&file, &bytes[..cut]).unwrap();
            let loaded = Extras::load(dir.path()).unwrap();
            reached = (reached..stages.len()).find(|i| stages[*i] == loaded).unwrap();
            // What was cut off does not spoil what is added.
            let mut more = loaded.clone();
            more.insert(dir.path(), &path(b"z"), base(Held::Nothing, None, None)).unwrap();
            assert_eq!(Extras::load(dir.path()), Some(more), "cut at {cut}");
        }
        assert_eq!(reached, stages.len() - 1);
        fs::write(&file, b"00000003352441c2abc").unwrap();
        assert_eq!(Extras::load(dir.path()), None);
    }

    #[test]
    fn a_directory_was_there_if_something_was_found_in_it() {
        let path = |p: &str| RepoPath::new(p.as_bytes()).unwrap();
        let base = |held, above: &str| Base {
            held,
            above: (!above.is_empty()).then(|| path(above)),
            committed: None,
            since: (0, 0),
        };
        let extras = Extras(BTreeMap::from([
            (path("old/x"), base(Held::Nothing, "old")),
            (path("new"), base(Held::Nothing, "")),
            (path("new/y"), base(Held::Nothing, "new")),
            (path("deep/a/b"), base(Held::Nothing, "deep")),
            (path("dir"), base(Held::Directory, "")),
        ]));
        for (dir, expected) in [
            ("old", Some(true)),
            ("new", Some(false)),
            ("new/z", Some(false)),
            ("deep", Some(true)),
            ("deep/a", Some(false)),
            ("dir", Some(true)),
            ("other", None),
        ] {
            assert_eq!(extras.had_dir(&path(dir)), expected, "{dir}");
        }
    }
}
