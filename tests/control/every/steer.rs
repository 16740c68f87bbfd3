//! What is printed by those that steer a run, each time that they do so: on agents of their own, and on runs.

use std::time::Duration;

use super::typed::Session;
use super::{Run, TestRepo, eventually, go, head, patient, scripted};
use crate::supervise;
use crate::support::text;

const LONG: Duration = Duration::from_secs(30);

/// An agent that runs until it is ended.
fn sleeps(id: &str) -> String {
    scripted(id, &format!("[\"{id}\"]"), &format!("echo 1 > {id}; exec sleep 1000"), "grace = \"1s\"")
}

/// An agent that runs on when it has written.
fn waits(id: &str) -> String {
    patient(id, &format!("[\"{id}\"]"), &format!("echo 1 > {id}"), "grace = \"1s\"")
}

/// One that writes into the file of another when it is let, and leaves the decision to a person.
fn intrudes(id: &str, holder: &str) -> String {
    let script = format!(
        "until test -e \"$SUPERVISE_TEST_GO\".{id}; do sleep 0.02; done; \
                          until echo {id} > {holder}; do sleep 0.1; done"
    );
    let more = "on_conflict = \"manual\"\ngrace = \"1s\"\nwait_for_completion = false";
    patient(id, &format!("[\"{id}\"]"), &script, more)
}

const SLEEP: [&str; 6] = ["stopped", "ended", "killed", "gone", "released", "let-go"];
const WAIT: [&str; 4] = ["graceful", "soft", "granted", "given"];

/// Starts them all at once, and waits until those who write at once have done so.
fn begin<'r>(repo: &'r TestRepo, agents: &str, writers: &[&str], last: &str) -> Run<'r> {
    let run = Run::start(repo, &(head(repo, "max_concurrent = 10") + agents), last);
    let written = || writers.iter().all(|id| repo.exists(id));
    assert!(eventually(LONG, written), "somebody has not written: {}", repo.ask(&["list"]));
    run
}

/// Lets this one write into a file that is another's, and waits until that is found.
fn intrude(repo: &TestRepo, id: &str, number: usize) {
    std::fs::write(repo.tmp().join(format!("go.{id}")), "").unwrap();
    let found = || {
        let conflicts = supervise(repo, &["conflicts", "--format", "json"]).expect(0).json();
        conflicts["conflicts"][number - 1]["recommendation"].is_string()
    };
    assert!(eventually(LONG, found), "no conflict {number} is found");
}

fn until(run: &Run<'_>, id: &str, state: &str) {
    let there = || run.agent(id).is_some_and(|agent| agent["state"] == state);
    assert!(eventually(LONG, there), "{id}: {:?}", run.agent(id));
}

#[test]
fn of_agents_that_are_steered() {
    let repo = TestRepo::new();
    let agents = [SLEEP.map(sleeps).concat(), WAIT.map(waits).concat()].concat();
    let run = begin(&repo, &agents, &[&SLEEP[..], &WAIT].concat(), "given");
    let mut session = Session::of(&repo);
    for line in [
        "stop stopped",
        "stop ended --format json",
        "stop graceful --graceful",
        "stop soft --graceful --format json",
        "stop killed --force",
        "stop gone --force --format json",
        "release-locks released",
        "release-locks let-go --format json",
        "grant granted more/",
        "grant given other/ --format json",
        "checkpoint granted",
        "checkpoint given --format json",
    ] {
        session.types(line);
    }
    go(&repo);
    run.finish().expect(1);
    session.asks("status");
    insta::assert_snapshot!("agents_that_are_steered", session.told);
    repo.assert_no_survivors();
}

#[test]
fn of_conflicts_that_a_person_decides() {
    let repo = TestRepo::new();
    let holders = ["holder", "keeper", "owner"];
    let intruders = [("loses", "holder"), ("wins", "keeper"), ("yields", "owner")];
    let agents = holders.map(waits).concat() + &intruders.map(|(id, holder)| intrudes(id, holder)).concat();
    let run = begin(&repo, &agents, &holders, "yields");
    if supervise(&repo, &["status", "--format", "json"]).expect(0).json()["layers"]["gate"] != true {
        eprintln!("left out: without the gate no write is refused, and nobody is certain to have written");
        return;
    }
    let mut session = Session::of(&repo);
    intrude(&repo, "loses", 1);
    for line in ["conflicts", "status loses", "list"] {
        session.asks(line);
    }
    session.types("resolve --keep holder --terminate loses");
    until(&run, "loses", "TERMINATED");
    intrude(&repo, "wins", 2);
    session.types("resolve 2 --keep wins --terminate keeper --format json");
    assert!(eventually(LONG, || text(&repo.path(), "keeper") == "wins\n"), "who was kept writes");
    intrude(&repo, "yields", 3);
    session.types("resolve 3 --wait");
    until(&run, "yields", "BLOCKED");
    session.asks("conflicts");
    go(&repo);
    run.finish().expect(1);
    for line in ["conflicts", "status"] {
        session.asks(line);
    }
    insta::assert_snapshot!("conflicts_that_a_person_decides", session.told);
    repo.assert_no_survivors();
}

#[test]
fn of_runs_that_are_completed_and_stopped() {
    let mut told = String::new();
    for (line, code) in [
        ("complete", 1),
        ("complete --format json", 1),
        ("stop --all", 143),
        ("stop --all --format json", 143),
        ("stop --all --graceful", 1),
        ("stop --all --graceful --format json", 1),
        ("stop --all --force", 143),
        ("stop --all --force --format json", 143),
    ] {
        let repo = TestRepo::new();
        let after = scripted("after", "[\"after\"]", "echo 1 > after", "depends_on = [\"runs\"]");
        let run = Run::start(&repo, &(head(&repo, "") + &waits("runs") + &after), "runs");
        assert!(eventually(LONG, || repo.exists("runs")));
        let mut session = Session::of(&repo);
        session.types(line);
        // Who may finish is let.
        if code == 1 {
            go(&repo);
        }
        run.finish().expect(code);
        session.types("status");
        told += &session.told;
        repo.assert_no_survivors();
    }
    insta::assert_snapshot!("runs_that_are_completed_and_stopped", told);
}
