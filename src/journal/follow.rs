//! Reading a journal while it is written.
//!
//! Invariant: what is given is whole and in order, each record once. A line that is not whole yet is
//! kept for the next look; one that is unsound is the torn end, unless a sound one follows it.
//!
//! Deliberately absent: waiting for more, which is up to whoever looks.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};

use super::JournalError;
use super::line::{self, Entry, Header, MAX_LINE};
use super::read::header;

/// The most records that one look gives.
const MAX_BATCH: usize = 1024;

/// A place in a journal.
#[derive(Debug)]
pub struct Follow {
    path: PathBuf,
    input: BufReader<File>,
    /// The beginning of a line that is not whole yet.
    line: Vec<u8>,
    number: u64,
    next_seq: u64,
    /// The line that was unsound.
    torn: Option<u64>,
}

impl Follow {
    /// Opens the journal at `path`, whose header must be there.
    pub fn open(path: &Path) -> Result<(Self, Header), JournalError> {
        let file = File::open(path).map_err(|source| JournalError::Read { path: path.to_owned(), source })?;
        let mut follow = Self {
            path: path.to_owned(),
            input: BufReader::with_capacity(1 << 16, file),
            line: Vec::new(),
            number: 0,
            next_seq: 1,
            torn: None,
        };
        if !follow.read_line()? {
            return Err(JournalError::NoHeader { path: path.to_owned() });
        }
        let header = header(path, &follow.line)?;
        follow.line.clear();
        Ok((follow, header))
    }

    /// What has been written since the last look, or a part of it; empty: nothing more is there now.
    pub fn more(&mut self) -> Result<Vec<Entry>, JournalError> {
        let mut entries = Vec::new();
        while entries.len() < MAX_BATCH && self.read_line()? {
            let sound = line::is_sound(&self.line);
            match self.torn {
                Some(line) if sound => return Err(JournalError::Damaged { path: self.path.clone(), line }),
                None if !sound => self.torn = Some(self.number),
                None => entries.push(self.entry()?),
                Some(_) => {}
            }
            self.line.clear();
        }
        Ok(entries)
    }

    fn entry(&mut self) -> Result<Entry, JournalError> {
        let (path, number, expected) = (|| self.path.clone(), self.number, self.next_seq);
        let entry = line::read_record(&self.line).map_err(|source| JournalError::Unreadable {
            path: path(),
            line: number,
            source,
        })?;
        if entry.seq != expected {
            return Err(JournalError::Gap { path: path(), line: number, expected, found: entry.seq });
        }
        self.next_seq += 1;
        Ok(entry)
    }

    /// Adds to the line; `true`: it is whole, and without its line feed.
    fn read_line(&mut self) -> Result<bool, JournalError> {
        let room = (MAX_LINE + 1).saturating_sub(self.line.len()) as u64;
        let read = self.input.by_ref().take(room).read_until(b'\n', &mut self.line);
        read.map_err(|source| JournalError::Read { path: self.path.clone(), source })?;
        if self.line.last() != Some(&b'\n') {
            return match self.line.len() {
                size if size > MAX_LINE => Err(JournalError::TooLong { size }),
                _ => Ok(false),
            };
        }
        self.line.pop();
        self.number += 1;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::ids::RunId;
    use crate::core::moment::Moment;
    use crate::core::record::{Fact, Record};
    use crate::journal::{Journal, read};
    use jiff::Timestamp;
    use std::io::Write as _;

    #[test]
    fn every_record_comes_once_however_the_bytes_come() {
        let directory = tempfile::tempdir().unwrap();
        let (whole, grown) = (directory.path().join("whole"), directory.path().join("grown"));
        let run = RunId::new("r").unwrap();
        let mut journal = Journal::create(&whole, &Header::new(run, Timestamp::UNIX_EPOCH)).unwrap();
        let records: Vec<Record> =
            (0..5).map(|n| Record { at: Moment(n), fact: Fact::PhaseOpened { phase: 0 } }).collect();
        let _ = journal.append(&records, (), Timestamp::UNIX_EPOCH).unwrap();
        let bytes = std::fs::read(&whole).unwrap();
        let header = bytes.iter().position(|b| *b == b'\n').unwrap() + 1;
        for piece in [1, 7, 1000] {
            let mut file = File::create(&grown).unwrap();
            file.write_all(&bytes[..header - 1]).unwrap();
            assert!(matches!(Follow::open(&grown), Err(JournalError::NoHeader { .. })));
            file.write_all(b"\n").unwrap();
            let (mut follow, _) = Follow::open(&grown).unwrap();
            let mut entries = Vec::new();
            for part in bytes[header..].chunks(piece) {
                file.write_all(part).unwrap();
                entries.extend(follow.more().unwrap());
            }
            assert_eq!(entries, read(&whole).unwrap().entries, "in pieces of {piece}");
            // A torn end is no record; a sound line after it shows that it was no end.
            file.write_all(b"{\"seq\":6,\n").unwrap();
            assert_eq!(follow.more().unwrap(), []);
            file.write_all(&bytes[header..]).unwrap();
            assert!(matches!(follow.more(), Err(JournalError::Damaged { line: 7, .. })));
        }
    }
}
