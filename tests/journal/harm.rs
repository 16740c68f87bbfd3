//! Whatever can happen to the file: cut, changed, another program's, a newer version's. What is read is a
//! valid prefix, or an error with the place.

use supervise::core::record::Record;
use supervise::journal::{Journal, JournalError};

use crate::facts::one_of_each;
use crate::{Kept, records_of, sealed, wall};

#[test]
fn a_cut_at_every_byte_leaves_a_valid_prefix() {
    let records: Vec<Record> = one_of_each().into_iter().step_by(5).collect();
    let kept = Kept::of(&records);
    let whole = kept.bytes();
    let ends: Vec<usize> = whole.iter().zip(1..).filter(|(b, _)| **b == b'\n').map(|(_, end)| end).collect();
    for cut in 0..whole.len() {
        kept.put(&whole[..cut]);
        let complete = ends.iter().filter(|end| **end <= cut).count();
        match kept.read() {
            Err(JournalError::NoHeader { .. }) => assert_eq!(complete, 0, "cut at {cut}"),
            Ok(replay) => {
                assert_eq!(records_of(&replay), records[..complete - 1], "cut at {cut}");
                let sound = ends[complete - 1];
                assert_eq!(replay.len, sound as u64);
                assert_eq!(replay.torn.map(|t| t.offset), (sound < cut).then_some(sound as u64), "cut at {cut}");
            }
            Err(other) => panic!("cut at {cut}: {other}"),
        }
    }
}

#[test]
fn a_torn_tail_is_cut_off_and_the_run_goes_on() {
    let records = one_of_each();
    let kept = Kept::of(&records[..5]);
    let whole = kept.bytes();
    kept.put(&whole[..whole.len() - 9]);

    let mut read = Vec::new();
    let (mut journal, extent) = Journal::reopen(&kept.file, |entry| read.push(entry.record)).unwrap();
    assert_eq!(read, records[..4]);
    assert_eq!((extent.entries, extent.torn.is_some()), (4, true));
    assert_eq!(journal.next_seq(), 5);
    let _ = journal.append(&records[4..], (), wall()).unwrap();
    let replay = kept.read().unwrap();
    assert_eq!(records_of(&replay), records);
    assert_eq!(replay.torn, None);
}

#[test]
fn a_changed_byte_is_an_error_wherever_sound_records_follow() {
    let records = one_of_each()[..6].to_vec();
    let kept = Kept::of(&records);
    let whole = kept.bytes();
    let last_line = whole[..whole.len() - 1].iter().rposition(|b| *b == b'\n').unwrap() + 1;
    for at in 0..whole.len() {
        let mut harmed = whole.clone();
        harmed[at] ^= 0x04;
        kept.put(&harmed);
        match kept.read() {
            Ok(replay) => {
                assert!(at >= last_line, "byte {at} was changed and nobody noticed");
                assert_eq!(records_of(&replay), records[..5]);
                assert!(replay.torn.is_some());
            }
            Err(_) => assert!(at < last_line, "byte {at}"),
        }
    }
}

fn check_error(content: &[u8], expected: &str) {
    let kept = Kept::holding(content);
    let error = kept.read().unwrap_err();
    let text = error.to_string().replace(&kept.directory.path().display().to_string(), "DIR");
    assert_eq!(text, expected);
    assert!(!error.help().is_empty());
}

#[test]
fn foreign_newer_and_unreadable_files_are_named() {
    let head = sealed(
        r#"{"journal":"supervise","version":1,"run":"r","created":"2026-11-24T00:00:00.000Z","program":"0.1.0","later":{}"#,
    );
    let record = |seq: u32, rest: &str| sealed(&format!(r#"{{"seq":{seq},"at":"2026-11-24T00:00:00Z","t":1,{rest}"#));
    let with = |lines: &[Vec<u8>]| [&head[..], &lines.concat()].concat();

    check_error(b"", "DIR/journal.jsonl has no complete first line: the run ended before it began");
    check_error(b"hello\n", "DIR/journal.jsonl is not a journal of supervise");
    check_error(
        br#"{"journal":"supervise","version":2,"shape":"unknown"}
"#,
        "DIR/journal.jsonl has format version 2; this program reads up to 1",
    );
    check_error(
        &with(&[record(1, r#""kind":"phase_opened","phase":0"#), record(3, r#""kind":"phase_opened","phase":0"#)]),
        "DIR/journal.jsonl, line 3: record 3 where 2 was due",
    );
    check_error(
        &with(&[record(1, r#""kind":"from_the_future","x":0"#)]),
        "DIR/journal.jsonl, line 2: a record that this program cannot read",
    );
    check_error(
        &with(&[b"garbage\n".to_vec(), record(1, r#""kind":"phase_opened","phase":0"#)]),
        "DIR/journal.jsonl, line 2: the checksum is wrong, and valid records follow",
    );
}

/// One that is read ahead of whoever takes its entries.
#[test]
fn a_long_journal_is_read_and_judged_as_a_short_one() {
    let few = one_of_each();
    let many: Vec<Record> = few.iter().cycle().take(40_000).cloned().collect();
    let kept = Kept::of(&many);
    let whole = kept.bytes();
    assert!(whole.len() > 5 << 20, "{} bytes", whole.len());
    assert!(records_of(&kept.read().unwrap()) == many);

    kept.put(&whole[..whole.len() - 9]);
    let torn = kept.read().unwrap();
    assert!(records_of(&torn) == many[..many.len() - 1]);
    assert!(torn.torn.is_some());

    let mut harmed = whole.clone();
    harmed[whole.len() / 2] ^= 0x04;
    kept.put(&harmed);
    assert!(matches!(kept.read(), Err(JournalError::Damaged { line, .. }) if line > 10_000));
}
