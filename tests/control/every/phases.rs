//! A run in phases, as it is told while it goes on, when its supervisor is dead, and when it is over.

use std::time::Duration;

use super::typed::Session;
use super::{Run, TestRepo, eventually, go, head, patient, scripted};

/// `rest` comes after `first`, and `tail` in the second phase after `next`, which waits for a file of its own.
fn story(repo: &TestRepo) -> String {
    let next = "echo 1 > next; until test -e \"$SUPERVISE_TEST_GO\".next; do sleep 0.02; done";
    head(repo, "")
        + "[[phase]]\nname = \"one\"\non_failure = \"continue\"\n[[phase]]\nname = \"two\"\n"
        + &patient("first", "[\"first\"]", "echo 1 > first", "phase = \"one\"")
        + &scripted("rest", "[\"rest\"]", "echo 1 > rest", "phase = \"one\"\ndepends_on = [\"first\"]")
        + &scripted("next", "[\"next\"]", next, "phase = \"two\"")
        + &scripted("tail", "[\"tail\"]", "echo 1 > tail", "phase = \"two\"\ndepends_on = [\"next\"]")
}

fn looks(session: &mut Session<'_>) {
    for line in ["list", "status", "status next", "timeline"] {
        session.asks(line);
    }
}

#[test]
fn of_a_run_in_phases() {
    let repo = TestRepo::new();
    let run = Run::start(&repo, &story(&repo), "first");
    assert!(eventually(Duration::from_secs(30), || repo.exists("first")));
    let mut session = Session::of(&repo);
    looks(&mut session);
    session.types("complete --phase one");
    go(&repo);
    let next = || run.agent("next").is_some_and(|next| next["state"] == "RUNNING") && repo.exists("next");
    assert!(eventually(Duration::from_secs(30), next), "{:?}", run.agent("next"));
    looks(&mut session);
    session.types("complete --phase two --format json");
    run.kill();
    repo.assert_no_survivors();
    looks(&mut session);
    std::fs::write(repo.tmp().join("go.next"), "").unwrap();
    session.types("resume");
    looks(&mut session);
    insta::assert_snapshot!("a_run_in_phases", session.told);
}
