//! How records are written: the first released format for ever, the words that came after it, and what a
//! later program may add.

use std::fs;
use std::path::Path;

use supervise::core::ids::{Attempt, AttemptId, Slot};
use supervise::core::moment::Moment;
use supervise::core::record::{Fact, Record};
use supervise::journal::{event_line, read};

use crate::facts::{agent, one_of_each, one_of_each_added};
use crate::{Kept, header, records_of, sealed};

const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/journal/v1.jsonl");

/// Words that came after the fixture, in the forms that it has: this is how they are written.
#[test]
fn words_that_were_added_are_written_like_this() {
    let written = Kept::of(&one_of_each_added()).text();
    let check = |times: usize, text: &str| assert_eq!(written.matches(text).count(), times, "{text}\n{written}");
    check(2, r#"{"kind":"survivors","count":2}"#);
    check(9, r#""why":{"kind":"unresolved"}"#);
    check(9, r#""path":{"other":"/etc/�"}"#);
    check(1, r#""why":{"kind":"conflict","conflict":3,"holder":"docs.api"}"#);
    check(1, r#""why":{"kind":"held","by":"docs.api"}"#);
    check(1, r#""why":{"kind":"read","by":"docs.api"}"#);
    check(1, r#""why":{"kind":"stale"}"#);
    check(1, r#""how":"claimed""#);
    check(1, r#""how":"provisional""#);
    check(1, r#""attribution":"certain","fate":"commit_mixed""#);
    check(1, r#""holder":{"agent":"docs.api","attempt":1}"#);
    check(1, r#""lock":"shared","pattern":"src/","writer_priority":1,"holder_priority":5,"holder_first":true"#);
    check(1, r#""resolution":"requeue_holder","by":{"policy":"priority"}"#);
    check(1, r#""resolution":"moot","by":"nobody""#);
    check(1, r#""outcome":{"kind":"unknown","error":"gone"}"#);
    check(1, r#""reason":{"kind":"open_files","fit":24}"#);
    check(1, r#""reason":{"kind":"denied","paths":[],"more":22}"#);
    check(1, r#""dirty":[{"bytes":"7372632fff6f64640a2e7273"}],"more":7"#);
    check(2, r#""more":"#);
    check(1, r#""kind":"agent_registered","agent":"agent-9","plan":{"id":"agent-9","name":"nine "#);
}

#[test]
fn the_first_released_format_is_read_for_ever() {
    let replay = read(Path::new(FIXTURE)).unwrap();
    assert_eq!(replay.header, header());
    assert_eq!(records_of(&replay), one_of_each());
}

/// Writing has not changed either; a change that is meant needs a new version and a new fixture.
#[test]
fn the_first_released_format_is_what_is_written() {
    assert_eq!(Kept::of(&one_of_each()).text(), fs::read_to_string(FIXTURE).unwrap());
}

#[test]
fn unknown_fields_are_ignored() {
    let kept = Kept::of(&[]);
    let line = r#"{"seq":1,"x":[{"y":1}],"at":"2026-11-24T00:00:00Z","t":5,"kind":"attempt_opened","agent":"a","new":{"deep":[]},"attempt":1,"slot":0"#;
    kept.put(&[kept.bytes(), sealed(line)].concat());
    let id = AttemptId { agent: agent("a"), attempt: Attempt(1) };
    let expected = Record { at: Moment(5), fact: Fact::AttemptOpened { id, slot: Slot(0) } };
    assert_eq!(records_of(&kept.read().unwrap()), [expected]);
}

#[test]
fn followers_get_the_line_without_its_checksum() {
    let entries = read(Path::new(FIXTURE)).unwrap().entries;
    let opened = entries.iter().find(|e| matches!(e.record.fact, Fact::AttemptOpened { .. })).unwrap();
    assert_eq!(
        event_line(opened).unwrap(),
        r#"{"seq":14,"at":"2026-11-24T12:04:31.250Z","t":130,"kind":"attempt_opened","agent":"agent-1","attempt":2,"slot":3}"#
    );
}
