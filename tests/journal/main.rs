//! The journal against everything that can happen to a file: cuts, flipped bytes, gaps, other
//! programs' files, newer versions; and every fact there is, to text and back.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod any;
mod facts;
mod form;
mod harm;
mod writing;

use std::fs;
use std::path::PathBuf;

use jiff::Timestamp;
use supervise::core::ids::RunId;
use supervise::core::record::Record;
use supervise::journal::{Header, Journal, JournalError, Replay, read};

fn wall() -> Timestamp {
    "2026-11-24T12:04:31.250Z".parse().unwrap()
}

fn header() -> Header {
    let mut header = Header::new(RunId::new("20261124T120431-4f2a").unwrap(), wall());
    "0.1.0".clone_into(&mut header.program);
    header
}

/// The file of a journal, in a scratch directory.
struct Kept {
    directory: tempfile::TempDir,
    file: PathBuf,
}

impl Kept {
    /// Not there yet.
    fn nothing() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("journal.jsonl");
        Self { directory, file }
    }

    /// Written by somebody.
    fn holding(content: &[u8]) -> Self {
        let kept = Self::nothing();
        kept.put(content);
        kept
    }

    /// A journal with `records`, one batch each.
    fn of(records: &[Record]) -> Self {
        let kept = Self::nothing();
        let mut journal = kept.begin();
        for record in records {
            let synced = {
                let appended = journal.append(std::slice::from_ref(record), (), wall()).unwrap();
                let synced = journal.sync_point().sync().unwrap();
                appended.commit(synced).unwrap().take();
                synced
            };
            assert_eq!(journal.append(&[], 7, wall()).unwrap().commit(synced).unwrap().take(), 7);
        }
        kept
    }

    fn begin(&self) -> Journal {
        Journal::create(&self.file, &header()).unwrap()
    }

    fn read(&self) -> Result<Replay, JournalError> {
        read(&self.file)
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(&self.file).unwrap()
    }

    fn text(&self) -> String {
        String::from_utf8(self.bytes()).unwrap()
    }

    /// Has this instead of what it had.
    fn put(&self, content: &[u8]) {
        fs::write(&self.file, content).unwrap();
    }
}

fn records_of(replay: &Replay) -> Vec<Record> {
    replay.entries.iter().map(|e| e.record.clone()).collect()
}

/// A line with its checksum.
fn sealed(body: &str) -> Vec<u8> {
    format!("{body},\"crc\":\"{:08x}\"}}\n", crc32fast::hash(body.as_bytes())).into_bytes()
}
