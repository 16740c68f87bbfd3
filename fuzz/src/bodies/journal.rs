//! A journal on disk.
//!
//! The first byte says what the rest is: the file as it lies there; or facts, one a line, which are given places
//! and checksums, and perhaps harmed afterwards as the next three bytes say. What is read is written and read
//! back as the same, shows without commands to the terminal, and of a harmed file it is a prefix.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use supervise::core::moment::Moment;
use supervise::core::record::{Fact, Record};
use supervise::journal::{Entry, Follow, Journal, JournalError, Replay, event_line, read};
use supervise::render::Setting;
use supervise::render::event::EventLines;
use supervise::render::style::Palette;

use super::{assert_lines, assert_one_line};

pub fn journal(data: &[u8]) {
    let [how, rest @ ..] = data else { return };
    let place = Place::new();
    match how % 3 {
        0 => {
            place.put(rest);
            look(&place);
        }
        1 => {
            place.put(&sealed(rest));
            look(&place);
        }
        _ => {
            let [a, b, c, rest @ ..] = rest else { return };
            harm(&place, &sealed(rest), usize::from(u16::from_le_bytes([*a, *b])), *c);
        }
    }
}

/// Files of one look, in memory where that can be had.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let within = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        Self { directory: tempfile::tempdir_in(within).expect("there is room for a file") }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("journal.jsonl")
    }

    fn put(&self, content: &[u8]) {
        fs::write(self.file(), content).expect("there is room for a file");
    }
}

fn wall() -> Timestamp {
    Timestamp::from_second(1_795_500_000).expect("it is a time")
}

/// `"kind":"…",…` of each line as a record of a journal.
fn sealed(facts: &[u8]) -> Vec<u8> {
    let head =
        br#"{"journal":"supervise","version":1,"run":"r","created":"2026-11-24T00:00:00.000Z","program":"0.1.0""#;
    let mut out = Vec::new();
    seal(&mut out, head);
    for (fact, seq) in facts.split(|b| *b == b'\n').filter(|line| !line.is_empty()).zip(1..) {
        let place = format!(r#"{{"seq":{seq},"at":"2026-11-24T00:00:00.000Z","t":{seq},"#);
        seal(&mut out, &[place.as_bytes(), fact].concat());
    }
    out
}

fn seal(out: &mut Vec<u8>, body: &[u8]) {
    out.extend_from_slice(body);
    writeln!(out, r#","crc":"{:08x}"}}"#, crc32fast::hash(body)).expect("writing to memory");
}

fn look(place: &Place) {
    let file = place.file();
    match read(&file) {
        Ok(replay) => {
            assert_eq!(followed(&file), replay.entries, "following gives something else");
            again(place, &replay);
            show(&replay.entries);
            goes_on(&file, &replay);
        }
        Err(error) => {
            assert!(!error.help().is_empty());
            let _ = Follow::open(&file).and_then(|(mut follow, _)| follow.more());
        }
    }
}

fn followed(file: &Path) -> Vec<Entry> {
    let (mut follow, _) = Follow::open(file).expect("what can be read can be followed");
    let mut entries = Vec::new();
    loop {
        let more = follow.more().expect("what can be read can be followed");
        if more.is_empty() {
            return entries;
        }
        entries.extend(more);
    }
}

/// A second journal of the same records.
fn again(place: &Place, replay: &Replay) {
    let file = place.directory.path().join("again.jsonl");
    let mut journal = Journal::create(&file, &replay.header).expect("a header can be written");
    for entry in &replay.entries {
        let _ = journal.append(std::slice::from_ref(&entry.record), (), entry.at).expect("a record can be written");
    }
    let copy = read(&file).expect("what was written can be read");
    assert_eq!((&copy.entries, copy.torn), (&replay.entries, None), "what was written is not what is read");
}

/// What the timeline makes of them, for programs and for people.
fn show(entries: &[Entry]) {
    let mut lines = EventLines::new(Setting {
        start: wall(),
        zone: TimeZone::UTC,
        phases: vec![None],
        git_dir: ".git".to_owned(),
        git: "git".to_owned(),
        palette: Palette::Plain,
        width: 80,
        notes: Vec::new(),
    });
    for entry in entries {
        let event = event_line(entry).expect("what was read can be written");
        assert!(serde_json::from_str::<serde_json::Value>(&event).is_ok(), "an event is JSON: {event}");
        if let Some(line) = lines.line(&entry.record) {
            // The opening of a run takes several lines.
            assert_lines(&line);
            line.lines().for_each(assert_one_line);
        }
    }
}

/// A torn end is cut off, and the next record follows what is sound.
fn goes_on(file: &Path, replay: &Replay) {
    let mut before = Vec::new();
    let (mut journal, _) = Journal::reopen(file, |entry| before.push(entry)).expect("what can be read goes on");
    let record = Record { at: Moment(1), fact: Fact::PhaseOpened { phase: 0 } };
    let _ = journal.append(std::slice::from_ref(&record), (), wall()).expect("a record can be written");
    let after = read(file).expect("it is as good as before");
    assert_eq!(before, replay.entries);
    assert_eq!(after.entries[..before.len()], before, "going on has changed what was there");
    assert_eq!(after.entries.last().map(|entry| &entry.record), Some(&record));
    assert_eq!(after.torn, None);
}

/// Cuts a good file, or changes a byte of it.
fn harm(place: &Place, whole: &[u8], at: usize, how: u8) {
    place.put(whole);
    let Ok(good) = read(&place.file()) else { return };
    let at = at % whole.len();
    let mut harmed = whole.to_vec();
    match how {
        0 => harmed.truncate(at),
        bits => harmed[at] ^= bits,
    }
    place.put(&harmed);
    match read(&place.file()) {
        Ok(replay) => {
            assert!(good.entries.starts_with(&replay.entries), "not a prefix: {:?}", replay.entries);
            goes_on(&place.file(), &replay);
        }
        Err(JournalError::NoHeader { .. }) => {
            assert!(!harmed.contains(&b'\n') || how != 0, "a whole header is not seen");
        }
        Err(error) => assert!(how != 0, "a cut is no damage: {error}"),
    }
}
