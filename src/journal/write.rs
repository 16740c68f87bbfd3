//! Appending, and the proof that a sync gives.
//!
//! Invariant: effects go in with their records ([`Journal::append`]) and come out only after a sync
//! that began later ([`Appended::commit`]), so an intent is on the disk before its act; save those that
//! lose their meaning when the machine goes down ([`Appended::take_at_once`]), whose intent is with the
//! kernel, which outlives this process. A batch is one `write(2)` to a file opened with `O_APPEND`, and a
//! batch that fails leaves nothing behind.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jiff::Timestamp;

use super::line::{self, Header};
use super::read::{self, Extent};
use super::{Entry, JournalError};
use crate::core::record::Record;

/// Buffers larger than this are given back after a batch.
const KEEP_BUFFER: usize = 1 << 20;

/// The journal of one run, open for appending. There is one writer: the supervisor.
#[derive(Debug)]
pub struct Journal {
    path: Arc<PathBuf>,
    file: Arc<File>,
    next_seq: u64,
    len: u64,
    /// Shared with the sync points: a failed sync ends the writing.
    poisoned: Arc<AtomicBool>,
    buffer: Vec<u8>,
}

/// Effects whose records are in the file, but perhaps not yet on the disk.
#[derive(Debug)]
#[must_use = "its effects are lost unless it is committed and they are taken"]
pub struct Appended<E> {
    upto: u64,
    effects: E,
}

/// Effects whose records are on the disk.
#[derive(Debug)]
#[must_use = "its effects are lost unless they are taken"]
pub struct Committed<E> {
    effects: E,
}

/// A sync of all that had been appended when it was made; may run on another thread.
#[derive(Debug)]
pub struct SyncPoint {
    path: Arc<PathBuf>,
    file: Arc<File>,
    poisoned: Arc<AtomicBool>,
    upto: u64,
}

/// The proof that the journal is on the disk up to some byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Synced {
    upto: u64,
}

impl Journal {
    /// Makes the file (mode 0600), which may not exist yet, with its header on the disk.
    pub fn create(path: &Path, header: &Header) -> Result<Self, JournalError> {
        let failed = |source| JournalError::Create { path: path.to_owned(), source };
        let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(path).map_err(failed)?;
        let mut journal = Self::over(path, file, 1, 0);
        line::write_header(&mut journal.buffer, header)?;
        journal.write_buffer()?;
        journal.file.sync_all().map_err(failed)?;
        let directory = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(directory).and_then(|d| d.sync_all()).map_err(failed)?;
        Ok(journal)
    }

    /// Opens the journal of an earlier run to go on with it, and gives away each entry that it holds. A torn
    /// tail is cut off the file.
    pub fn reopen(path: &Path, each: impl FnMut(Entry)) -> Result<(Self, Extent), JournalError> {
        let extent = read::read_each(path, each)?;
        let failed = |source| JournalError::Write { path: path.to_owned(), source };
        let file = OpenOptions::new().append(true).open(path).map_err(failed)?;
        if extent.torn.is_some() {
            file.set_len(extent.len).and_then(|()| file.sync_all()).map_err(failed)?;
        }
        Ok((Self::over(path, file, extent.entries + 1, extent.len), extent))
    }

    fn over(path: &Path, file: File, next_seq: u64, len: u64) -> Self {
        Self {
            path: Arc::new(path.to_owned()),
            file: Arc::new(file),
            next_seq,
            len,
            poisoned: Arc::default(),
            buffer: Vec::new(),
        }
    }

    /// The sequence number of the next record.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Writes `records` in one call, with `wall` as the time on each, and keeps `effects` until they
    /// are committed. Without records nothing is written, and the effects wait for what was
    /// appended before.
    pub fn append<E>(&mut self, records: &[Record], effects: E, wall: Timestamp) -> Result<Appended<E>, JournalError> {
        if self.poisoned.load(Ordering::Acquire) {
            return Err(JournalError::Poisoned { path: self.path.to_path_buf() });
        }
        if !records.is_empty() {
            let at = line::wall_text(wall);
            self.buffer.clear();
            for (record, seq) in records.iter().zip(self.next_seq..) {
                line::write_record(&mut self.buffer, seq, &at, record)?;
            }
            self.write_buffer()?;
            self.next_seq += records.len() as u64;
        }
        Ok(Appended { upto: self.len, effects })
    }

    /// `records` as entries, right after the [`Journal::append`] that wrote them at `wall`.
    #[must_use]
    pub fn entries(&self, records: &[Record], wall: Timestamp) -> Vec<Entry> {
        let first = self.next_seq - records.len() as u64;
        records.iter().zip(first..).map(|(r, seq)| Entry { seq, at: wall, record: r.clone() }).collect()
    }

    /// A sync of all that has been appended so far, to be run here or on another thread.
    #[must_use]
    pub fn sync_point(&self) -> SyncPoint {
        SyncPoint {
            path: Arc::clone(&self.path),
            file: Arc::clone(&self.file),
            poisoned: Arc::clone(&self.poisoned),
            upto: self.len,
        }
    }

    fn write_buffer(&mut self) -> Result<(), JournalError> {
        let result = (&*self.file).write_all(&self.buffer);
        let size = self.buffer.len() as u64;
        self.buffer.clear();
        self.buffer.shrink_to(KEEP_BUFFER);
        let Err(source) = result else {
            self.len += size;
            return Ok(());
        };
        // Half a batch in the middle of the file would be damage: take it out again.
        if self.file.set_len(self.len).is_err() {
            self.poisoned.store(true, Ordering::Release);
        }
        let path = self.path.to_path_buf();
        Err(match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                JournalError::NoSpace { path, source }
            }
            _ => JournalError::Write { path, source },
        })
    }
}

impl SyncPoint {
    /// Blocks until everything appended before [`Journal::sync_point`] is on the disk
    /// (fdatasync(2)). After an error nothing can be said of any record since the last success:
    /// the journal takes no more, and the run has to stop.
    pub fn sync(self) -> Result<Synced, JournalError> {
        match self.file.sync_data() {
            Ok(()) => Ok(Synced { upto: self.upto }),
            Err(source) => {
                self.poisoned.store(true, Ordering::Release);
                Err(JournalError::Sync { path: self.path.to_path_buf(), source })
            }
        }
    }
}

impl<E> Appended<E> {
    /// Turns into [`Committed`] what `synced` covers; gives itself back where the sync began before
    /// its records were appended.
    pub fn commit(self, synced: Synced) -> Result<Committed<E>, Self> {
        if self.upto <= synced.upto { Ok(Committed { effects: self.effects }) } else { Err(self) }
    }
}

impl<T> Appended<Vec<T>> {
    /// Are there no effects, so that nothing needs a sync yet?
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.effects.is_empty()
    }

    /// Is there such an effect?
    #[must_use]
    pub fn has(&self, such: impl FnMut(&T) -> bool) -> bool {
        self.effects.iter().any(such)
    }

    /// The effects, in their order, that need no record once the machine has gone down.
    pub fn take_at_once(&mut self, mut meaningless_after: impl FnMut(&T) -> bool) -> Vec<T> {
        self.effects.extract_if(.., |effect| meaningless_after(effect)).collect()
    }
}

impl<E> Committed<E> {
    /// The effects, which may now be performed.
    pub fn take(self) -> E {
        self.effects
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::moment::Moment;
    use crate::core::record::Fact;

    fn check(options: &OpenOptions, path: &str, expected: &str) {
        let file = options.open(path).unwrap();
        let mut journal = Journal::over(Path::new(path), file, 1, 0);
        let records = [Record { at: Moment(0), fact: Fact::PhaseOpened { phase: 0 } }];
        let error = journal.append(&records, (), Timestamp::UNIX_EPOCH).unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert_eq!(journal.next_seq(), 1);
        // A device cannot be cut back to what it was, so nothing more is written to it.
        let again = journal.append(&records, (), Timestamp::UNIX_EPOCH).unwrap_err();
        assert!(matches!(again, JournalError::Poisoned { .. }), "{again}");
    }

    #[test]
    fn failures_to_write_are_told_apart() {
        check(OpenOptions::new().append(true), "/dev/full", "no space left for /dev/full");
        check(OpenOptions::new().read(true), "/dev/null", "/dev/null cannot be written");
    }

    #[test]
    fn a_failed_sync_ends_the_writing() {
        // A pipe takes bytes and cannot be synced.
        let (reader, writer) = io::pipe().unwrap();
        let file = File::from(std::os::fd::OwnedFd::from(writer));
        let mut journal = Journal::over(Path::new("pipe"), file, 1, 0);
        let records = [Record { at: Moment(0), fact: Fact::PhaseOpened { phase: 0 } }];
        let _ = journal.append(&records, (), Timestamp::UNIX_EPOCH).unwrap();
        assert!(matches!(journal.sync_point().sync(), Err(JournalError::Sync { .. })));
        let again = journal.append(&records, (), Timestamp::UNIX_EPOCH);
        assert!(matches!(again, Err(JournalError::Poisoned { .. })));
        drop(reader);
    }

    #[test]
    fn half_a_batch_is_cut_off_when_the_run_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("j");
        let run = crate::core::ids::RunId::new("r").unwrap();
        let journal = Journal::create(&path, &Header::new(run, Timestamp::UNIX_EPOCH)).unwrap();
        let sound = std::fs::read(&path).unwrap();
        // As if the machine had died in the middle of a write.
        (&*journal.file).write_all(b"{\"seq\":1,\"at\"").unwrap();
        let records = [Record { at: Moment(0), fact: Fact::PhaseOpened { phase: 0 } }];
        drop(journal);
        let (mut journal, extent) = Journal::reopen(&path, drop).unwrap();
        assert_eq!((extent.entries, extent.torn.is_some()), (0, true));
        assert_eq!(std::fs::read(&path).unwrap(), sound);
        let _ = journal.append(&records, (), Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(read::read(&path).unwrap().entries.len(), 1);
    }
}
