//! Appending: a journal is begun once, and effects come out when their records are safe.

use supervise::core::effect::{Effect, Ending, Part, Telling};
use supervise::core::ids::{Attempt, AttemptId};
use supervise::core::reason::BusyReason;
use supervise::journal::{Journal, JournalError};

use crate::facts::{agent, one_of_each, path};
use crate::{Kept, header, records_of, wall};

#[test]
fn effects_come_out_only_after_a_sync_that_covers_them() {
    let kept = Kept::nothing();
    let mut journal = kept.begin();
    let records = one_of_each();

    let first = journal.append(&records[..1], vec![Effect::Survey], wall()).unwrap();
    let point = journal.sync_point();
    let second = journal.append(&records[1..3], Vec::<Effect>::new(), wall()).unwrap();
    let synced = std::thread::spawn(move || point.sync()).join().unwrap().unwrap();
    assert_eq!(first.commit(synced).unwrap().take(), [Effect::Survey]);
    let second = second.commit(synced).unwrap_err();
    let later = journal.sync_point().sync().unwrap();
    assert_eq!(second.commit(later).unwrap().take(), []);
}

/// An intent to end processes is as good as on the disk: a machine that goes down takes them with it.
#[test]
fn effects_of_processes_come_out_before_any_sync_and_the_others_after_it() {
    let kept = Kept::nothing();
    let mut journal = kept.begin();
    let before = journal.sync_point().sync().unwrap();
    let id = || AttemptId { agent: agent("a"), attempt: Attempt(1) };
    let end = |part| Effect::End { id: id(), part, how: Ending::AtOnce };
    let tell = || Effect::Tell { id: id(), text: Telling::Busied { path: path(b"f"), why: BusyReason::Stale } };
    let effects = vec![Effect::Survey, tell(), end(Part::Agent), Effect::Unpin { id: id() }, end(Part::Verify)];

    let records = one_of_each();
    let mut appended = journal.append(&records[..2], effects, wall()).unwrap();
    assert!(appended.has(Effect::is_of_processes) && appended.has(|effect| *effect == Effect::Survey));
    assert!(!appended.has(|effect| matches!(effect, Effect::Answer { .. })));
    assert_eq!(appended.take_at_once(Effect::is_of_processes), [tell(), end(Part::Agent), end(Part::Verify)]);
    assert_eq!(records_of(&kept.read().unwrap()), records[..2], "the kernel has their records");
    assert!(!appended.has(Effect::is_of_processes) && !appended.is_idle());
    assert_eq!(appended.take_at_once(Effect::is_of_processes), [], "each comes out once");

    let appended = appended.commit(before).unwrap_err();
    let synced = journal.sync_point().sync().unwrap();
    assert_eq!(appended.commit(synced).unwrap().take(), [Effect::Survey, Effect::Unpin { id: id() }]);

    let mut appended = journal.append(&records[2..3], vec![end(Part::Agent)], wall()).unwrap();
    assert_eq!(appended.take_at_once(Effect::is_of_processes), [end(Part::Agent)]);
    assert!(appended.is_idle(), "nothing is left that waits for a sync");
}

#[test]
fn a_journal_is_never_begun_twice() {
    let kept = Kept::of(&[]);
    for file in [&kept.file, &kept.directory.path().join("no/j")] {
        assert!(matches!(Journal::create(file, &header()), Err(JournalError::Create { .. })));
    }
}
