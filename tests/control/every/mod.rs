//! What every command prints, for people and for programs, of a run that goes on, of one whose supervisor was
//! killed, and of one that is over.

mod again;
mod phases;
mod same;
mod steer;
mod typed;

use std::time::Duration;

use super::support::{TestRepo, eventually};
use super::{Run, go, head, patient, scripted};
use typed::Session;

/// `bad` has failed, `api` runs, `tests` waits for its files, `docs` for both.
fn story(repo: &TestRepo) -> String {
    head(repo, "max_concurrent = 1")
        + &scripted("bad", "[\"bad\"]", "echo 1 > bad; echo wrong >&2; exit 3", "priority = 1")
        + &patient("api", "[\"src/\"]", "echo building; echo new > src/api", "priority = 2\nname = \"The API\"")
        + &scripted("docs", "[\"docs/\"]", "echo 1 > docs/x", "depends_on = [\"api\", \"tests\"]")
        + &scripted("tests", "[\"src/t\"]", "echo 1 > src/t", "")
}

fn begun(repo: &TestRepo) -> Run<'_> {
    let run = Run::start(repo, &story(repo), "api");
    let kept = || run.agent("bad").is_some_and(|bad| bad["salvage"].is_string());
    assert!(eventually(Duration::from_secs(30), kept), "{:?}", run.agent("bad"));
    assert!(eventually(Duration::from_secs(30), || repo.read("src/api") == "new\n"));
    let blocked = || run.agent("tests").is_some_and(|tests| tests["state"] == "BLOCKED");
    assert!(eventually(Duration::from_secs(30), blocked), "{:?}", run.agent("tests"));
    run
}

/// Looks at everything that can be looked at.
fn looks(session: &mut Session<'_>) {
    for line in [
        "list",
        "status",
        "status api",
        "diff",
        "diff --stat",
        "conflicts",
        "salvage list",
        "runs list",
        "salvage show bad",
        "logs api",
        "logs bad --stderr",
        "timeline",
    ] {
        session.asks(line);
    }
}

/// Asks for what changes a run.
fn wishes(session: &mut Session<'_>) {
    session.types("register --name more --files more/ --depends-on api -- true");
    session.types("register --name again --files more/ --depends-on api --format json -- true");
    for line in [
        "checkpoint",
        "grant docs extra/",
        "resolve --keep api --terminate docs",
        "release-locks tests",
        "stop docs",
        "stop docs --graceful",
        "stop docs --force",
        "complete",
        "salvage apply bad",
        "salvage drop bad/1",
        "runs prune --keep 10",
        "wait tests --timeout 1ms",
    ] {
        session.asks(line);
    }
}

#[test]
fn of_a_run_that_goes_on() {
    let repo = TestRepo::with(&[("src/api", "old\n"), ("docs/y", "")]);
    let run = begun(&repo);
    let mut session = Session::of(&repo);
    looks(&mut session);
    let attached = session.begins("attach");
    wishes(&mut session);
    for line in ["resume", "retry", "reset"] {
        session.asks(line);
    }
    go(&repo);
    run.finish().expect(1);
    session.ends(attached);
    insta::assert_snapshot!("a_run_that_goes_on", session.told);
    session.covers_every_command();
}

#[test]
fn of_a_run_whose_supervisor_was_killed() {
    let repo = TestRepo::with(&[("src/api", "old\n"), ("docs/y", "")]);
    begun(&repo).kill();
    repo.assert_no_survivors();
    let mut session = Session::of(&repo);
    looks(&mut session);
    wishes(&mut session);
    for line in ["stop --all", "complete --phase code", "attach", "wait", "retry", "reset"] {
        session.asks(line);
    }
    go(&repo);
    session.asks("resume");
    session.types("status");
    insta::assert_snapshot!("a_run_that_was_cut_off", session.told);
    session.covers_every_command();
}

#[test]
fn of_a_run_that_is_over() {
    let repo = TestRepo::with(&[("src/api", "old\n"), ("docs/y", "")]);
    let run = begun(&repo);
    go(&repo);
    run.finish().expect(1);
    let mut session = Session::of(&repo);
    looks(&mut session);
    wishes(&mut session);
    for line in ["stop --all", "complete --phase code", "attach", "wait", "resume", "reset", "retry"] {
        session.asks(line);
    }
    session.types("status");
    insta::assert_snapshot!("a_run_that_is_over", session.told);
    session.covers_every_command();
}
