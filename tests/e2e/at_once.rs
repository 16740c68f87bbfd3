//! Supervisors that are started on one repository at the same moment: exactly one of them wins.

use std::io::PipeWriter;
use std::process::{Child, Stdio};
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use crate::support::{TestRepo, eventually, finish, signal, text};

const PATIENCE: Duration = Duration::from_secs(60);
const CONTENDERS: usize = 6;
const ROUNDS: usize = 5;

/// What each of them does: its agent says that it was started, and waits.
fn session(name: &str) -> String {
    format!(
        "[session]\nname = \"{name}\"\n[[agent]]\nid = \"a\"\nfiles = [\"a\"]\ncommand = [\"sh\", \"-c\", \
         '''echo {name} >> ../tmp/started; echo {name} >> a; until test -e ../tmp/go; do sleep 0.02; done''']\n"
    )
}

/// A process that becomes `supervise WORDS` when the gate is let go of.
fn contender(repo: &TestRepo, gate: &std::io::PipeReader, words: &[&str]) -> Child {
    let mut command = repo.command("sh");
    command.args(["-c", "echo >> ../tmp/ready; read line; exec \"$@\"", "sh"]);
    command.arg(repo.supervise().get_program()).args(words).stdin(gate.try_clone().unwrap());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits until all stand at the gate, and lets them go.
fn let_go(repo: &TestRepo, gate: PipeWriter) -> Timestamp {
    assert!(eventually(PATIENCE, || lines(repo, "ready").len() == CONTENDERS), "they stand at the gate");
    std::fs::remove_file(repo.tmp().join("ready")).unwrap();
    drop(gate);
    Timestamp::now()
}

fn lines(repo: &TestRepo, file: &str) -> Vec<String> {
    text(&repo.tmp(), file).lines().map(str::to_owned).collect()
}

fn runs(repo: &TestRepo) -> usize {
    std::fs::read_dir(repo.path().join(".git/supervise/runs")).map_or(0, Iterator::count)
}

/// Waits until all but one have ended, and gives that one with its number, after a look at the others: each ended
/// with 3 and named process, time and session of the one.
fn judged(mut contenders: Vec<Child>, from: Timestamp, session_of: impl Fn(usize) -> String) -> (usize, Child) {
    let mut over = [false; CONTENDERS];
    let all_but_one = || {
        for (child, over) in contenders.iter_mut().zip(&mut over) {
            *over |= child.try_wait().unwrap().is_some();
        }
        over.iter().filter(|over| **over).count() >= CONTENDERS - 1
    };
    assert!(eventually(PATIENCE, all_but_one), "the others end");
    let at = over.iter().position(|over| !over).unwrap_or_else(|| panic!("all of them ended"));
    let winner = contenders.remove(at);
    for child in contenders {
        let told = finish(child, PATIENCE).expect(3);
        let said = told.stderr.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ");
        assert_eq!(told.stdout, "");
        let named = said.split_once("is running in this repository (process ").unwrap_or_else(|| panic!("{said}")).1;
        let (pid, named) = named.split_once(", since ").unwrap_or_else(|| panic!("{said}"));
        let (since, named) = named.split_once(", session ").unwrap_or_else(|| panic!("{said}"));
        assert_eq!(pid, winner.id().to_string(), "{said}");
        assert!(named.starts_with(&format!("{})", session_of(at))), "{at}: {said}");
        let since: DateTime = since.parse().unwrap();
        let since = TimeZone::system().to_timestamp(since).unwrap().as_second();
        assert!((from.as_second()..=Timestamp::now().as_second()).contains(&since), "{said}");
    }
    (at, winner)
}

#[test]
fn of_runs_that_are_begun_at_once_exactly_one_is() {
    let repo = TestRepo::with(&[("a", "base\n")]);
    let sessions: Vec<String> = (0..CONTENDERS).map(|n| format!("session-{n}")).collect();
    for name in &sessions {
        std::fs::write(repo.tmp().join(name), session(name)).unwrap();
    }
    let files: Vec<String> = sessions.iter().map(|name| repo.tmp().join(name).display().to_string()).collect();
    let mut expected = Vec::new();
    for round in 1..=ROUNDS {
        let (gate, key) = std::io::pipe().unwrap();
        let contenders = files.iter().map(|file| contender(&repo, &gate, &["run", file])).collect();
        let from = let_go(&repo, key);
        let (won, winner) = judged(contenders, from, |at| sessions[at].clone());
        std::fs::write(repo.tmp().join("go"), "").unwrap();
        let ended = finish(winner, PATIENCE).expect(0);
        std::fs::remove_file(repo.tmp().join("go")).unwrap();
        assert!(ended.stdout.starts_with(&format!("session-{won}  COMPLETED")), "{}", ended.stdout);
        expected.push(sessions[won].clone());
        assert_eq!((lines(&repo, "started"), runs(&repo)), (expected.clone(), round), "nothing else was started");
    }
    assert_eq!(repo.read("a"), format!("base\n{}\n", expected.join("\n")));
    assert_eq!((repo.subjects().len(), repo.status()), (ROUNDS, String::new()));
    repo.assert_no_survivors();
}

/// Each time the one before was killed, so that its lock file still names it.
#[test]
fn of_those_who_take_a_dead_run_up_at_once_exactly_one_does() {
    let repo = TestRepo::with(&[("a", "base\n")]);
    let first = repo.start(&session("dead"), &[]);
    let mut before = first;
    for round in 1..=ROUNDS {
        assert!(eventually(PATIENCE, || lines(&repo, "started").len() == round), "the agent runs");
        signal(&before, "KILL");
        before.wait().unwrap();
        let (gate, key) = std::io::pipe().unwrap();
        let contenders = (0..CONTENDERS).map(|_| contender(&repo, &gate, &["resume"])).collect();
        let from = let_go(&repo, key);
        before = judged(contenders, from, |_| "dead".to_owned()).1;
    }
    std::fs::write(repo.tmp().join("go"), "").unwrap();
    finish(before, PATIENCE).expect(0);
    assert_eq!((lines(&repo, "started").len(), runs(&repo)), (ROUNDS + 1, 1));
    assert_eq!((repo.read("a"), repo.subjects().len()), ("base\ndead\n".to_owned(), 1));
    let ends = repo.records().iter().filter(|record| record["kind"] == "agent_ended").count();
    assert_eq!((ends, repo.status()), (1, String::new()));
    repo.assert_no_survivors();
}
