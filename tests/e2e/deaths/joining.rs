//! A supervisor that dies while an agent joins its run: it has joined, and runs once, or it has not, and whoever
//! asked was not told that it had.

use std::process::Stdio;
use std::time::Duration;

use super::{Outcome, Tried, assert_same_end, dies_at_each, outcome};
use crate::support::{Ended, TestRepo, eventually, finish, run_dir, text};

const PATIENCE: Duration = Duration::from_secs(60);

/// Adds to its own file, and waits.
fn script(id: &str) -> String {
    format!("echo {id} >> {id}; until test -e ../tmp/go; do sleep 0.02; done")
}

fn session() -> String {
    format!("[[agent]]\nid = \"first\"\nfiles = [\"first\"]\ncommand = [\"sh\", \"-c\", {:?}]\n", script("first"))
}

/// Asks that `late` may join, which starts at once, or comes after `first`.
fn register(repo: &TestRepo, waits: bool) -> Ended {
    let mut command = repo.supervise();
    command.args(["register", "--name", "late", "--files", "late"]);
    if waits {
        command.args(["--depends-on", "first"]);
    }
    Ended::of(&command.args(["--", "sh", "-c", &script("late")]).output().unwrap())
}

/// A supervisor has the run, `first` runs, and has added to its file.
fn first_runs(repo: &TestRepo) {
    let runs = || {
        let told = Ended::of(&repo.supervise().args(["status", "first", "--format", "json"]).output().unwrap());
        // Before it is opened there is nothing to be told.
        let states =
            (told.code == Some(0)).then(|| (told.json()["state"].clone(), told.agent("first")["state"].clone()));
        states == Some(("RUNNING".into(), "RUNNING".into())) && repo.read("first").contains("first")
    };
    assert!(eventually(PATIENCE, runs), "the first one runs");
}

fn go(repo: &TestRepo) {
    std::fs::write(repo.tmp().join("go"), "").unwrap();
}

fn has_joined(repo: &TestRepo) -> bool {
    let journal = text(&run_dir(repo), "journal.jsonl");
    journal.lines().any(|line| line.contains("\"kind\":\"agent_registered\"") && line.contains("\"late\""))
}

fn files() -> TestRepo {
    TestRepo::with(&[("first", "base\n"), ("late", "base\n")])
}

/// `false`: whoever asked was answered before the supervisor came to this point.
fn dies_at(point: usize, waits: bool, undisturbed: &Outcome) -> bool {
    let died = format!("{point} of joining");
    let repo = files();
    let from = repo.tmp().join("from");
    let mut command = repo.supervise();
    command.arg("run").arg(repo.session(&session())).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env("SUPERVISE_DIES_AT", point.to_string()).env("SUPERVISE_DIES_FROM", &from);
    let mut child = command.spawn().unwrap();
    first_runs(&repo);
    std::fs::write(from, "").unwrap();
    let told = register(&repo, waits);
    if told.code == Some(0) {
        // What comes now is no part of it; who answers once more has not come to the point before.
        std::fs::remove_file(repo.tmp().join("from")).unwrap();
        repo.ask(&["status"]);
    }
    if told.code == Some(0) && child.try_wait().unwrap().is_none() {
        go(&repo);
        finish(child, PATIENCE).expect(0);
        assert_same_end(&repo, undisturbed, &died);
        return false;
    }
    assert_eq!(finish(child, PATIENCE).code, None, "died at {died}: by a signal");
    repo.assert_no_survivors();
    let joined = has_joined(&repo);
    if told.code == Some(0) {
        assert!(joined, "died at {died}: it was told that it had joined");
    } else {
        assert!(told.stdout.is_empty() && !told.stderr.is_empty(), "died at {died}: {told:?}");
    }

    let mut command = repo.supervise();
    let resumed = command.arg("resume").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    first_runs(&repo);
    let again = register(&repo, waits);
    let said = again.stderr.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ");
    assert_eq!(said.contains("there is an agent `late` in this run already"), joined, "died at {died}: {said}");
    assert_eq!(again.code, Some(if joined { 2 } else { 0 }), "died at {died}: {said}");
    go(&repo);
    finish(resumed, PATIENCE).expect(0);
    assert_same_end(&repo, undisturbed, &died);
    true
}

#[test]
fn a_supervisor_that_dies_anywhere_while_an_agent_joins_has_taken_it_or_has_not() {
    for waits in [false, true] {
        let repo = files();
        let child = repo.start(&session(), &[]);
        first_runs(&repo);
        register(&repo, waits).expect(0);
        go(&repo);
        finish(child, PATIENCE).expect(0);
        let undisturbed = outcome(&repo);
        assert_eq!((repo.read("first").as_str(), repo.read("late").as_str()), ("base\nfirst\n", "base\nlate\n"));
        assert_eq!((undisturbed.ends.len(), undisturbed.commits.len()), (2, 2));
        // Two files are renamed and a record is written, before the answer.
        let first_beyond = dies_at_each(Tried::as_asked(), |point| dies_at(point, waits, &undisturbed));
        assert!(first_beyond > 6, "only {first_beyond} points");
    }
}
