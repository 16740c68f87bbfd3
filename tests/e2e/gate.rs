//! The gate, end to end: real processes that write, real seccomp, real git.
//!
//! Agents here are small shell and Python programs. They meet through files in a directory outside the
//! workspace (`$F`): `flag NAME` makes one, `await NAME` waits for it.

mod conflicts;
mod git;
mod late;
mod locks;
mod outside;
mod tools;
mod undeclared;

use std::fs;
use std::path::PathBuf;
use std::process::Child;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Ended, TestRepo, eventually, finish, run_dir, text};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What scripts of agents may use. `try WHAT` notes in `$F/WHAT` how the command after it ended, and what it said;
/// `persist COMMAND` runs it until it succeeds.
const PRELUDE: &str = r#"
flag() { echo "${2:-}" > "$F/$1"; }
await() {
  n=0
  until [ -e "$F/$1" ]; do
    n=$((n+1)); [ $n -lt 1200 ] || { echo "waited in vain for $1" >&2; exit 91; }
    sleep 0.05
  done
}
try() { what=$1; shift; sh -c "$*" > "$F/$what.new" 2>&1; echo "exit $?" >> "$F/$what.new"; mv "$F/$what.new" "$F/$what"; }
persist() {
  n=0
  until sh -c "$1" 2>> "$F/refused"; do
    n=$((n+1)); [ $n -lt 600 ] || { echo "tried in vain: $1" >&2; exit 92; }
    sleep 0.05
  done
}
"#;

/// An agent that runs a script, with further keys of its table.
fn agent(id: &str, files: &[&str], script: &str, more: &str) -> String {
    format!(
        "[[agent]]\nid = \"{id}\"\ncommand = [\"sh\", \"-c\", '''{PRELUDE}\n{script}''']\nfiles = {files:?}\n{more}\n"
    )
}

/// A session of these agents, with further keys for all of them.
fn session(repo: &TestRepo, defaults: &str, agents: &[String]) -> String {
    let meeting = meeting(repo);
    format!(
        "[session]\nname = \"gate\"\nmax_concurrent = 8\n[defaults]\ngrace = \"500ms\"\ntimeout = \"100s\"\n\
         env = {{ F = {:?} }}\n{defaults}\n{}",
        meeting.to_str().unwrap(),
        agents.concat()
    )
}

/// Where agents and the test meet.
fn meeting(repo: &TestRepo) -> PathBuf {
    let meeting = repo.tmp().join("meeting");
    if !meeting.exists() {
        fs::create_dir(&meeting).unwrap();
        std::os::unix::fs::chown(&meeting, repo.user(), repo.user()).unwrap();
    }
    meeting
}

/// What an agent said to the meeting under this name, once it has.
#[track_caller]
fn heard(repo: &TestRepo, name: &str) -> String {
    let file = meeting(repo).join(name);
    assert!(eventually(PATIENCE, || file.exists()), "nobody said {name:?}");
    fs::read_to_string(file).unwrap()
}

/// Lets agents that await it go on.
fn flag(repo: &TestRepo, name: &str) {
    fs::write(meeting(repo).join(name), "").unwrap();
}

/// Runs the agents to their end under the gate.
#[track_caller]
fn run(repo: &TestRepo, defaults: &str, agents: &[String]) -> Ended {
    finished(repo, start(repo, defaults, agents))
}

fn start(repo: &TestRepo, defaults: &str, agents: &[String]) -> Child {
    repo.start(&session(repo, defaults, agents), &["--format", "json"])
}

/// The end of a run that had its gate, and left no process behind.
#[track_caller]
fn finished(repo: &TestRepo, child: Child) -> Ended {
    let ended = finish(child, PATIENCE * 2);
    assert!(matches!(ended.code, Some(0 | 1)), "{ended:?}");
    assert_eq!(ended.json()["layers"]["gate"], true, "{}", ended.stderr);
    repo.assert_no_survivors();
    ended
}

#[track_caller]
fn assert_state(ended: &Ended, id: &str, state: &str, reason: Option<&str>) {
    let agent = ended.agent(id);
    let kind = agent["reason"]["kind"].as_str();
    assert_eq!((agent["state"].as_str(), kind), (Some(state), reason), "{agent:#}\n{}", ended.stderr);
}

/// An agent's own log of errors, of this attempt.
fn log(repo: &TestRepo, id: &str, attempt: u32) -> String {
    text(&run_dir(repo), &format!("agents/{id}/{attempt}/stderr.log"))
}

/// A file of the salvage of an agent.
#[track_caller]
fn salvaged(repo: &TestRepo, ended: &Ended, id: &str, path: &str) -> String {
    let agent = ended.agent(id);
    let salvage = agent["salvage"].as_str().unwrap_or_else(|| panic!("no salvage: {agent:#}")).to_owned();
    repo.git(&["show", &format!("{salvage}:{path}")])
}

/// The records of this kind of the latest run.
fn records(repo: &TestRepo, kind: &str) -> Vec<Value> {
    repo.records().into_iter().filter(|record| record["kind"] == kind).collect()
}

/// The same of a run that may not have written anything yet.
fn records_so_far(repo: &TestRepo, kind: &str) -> Vec<String> {
    let output = repo.supervise().args(["timeline", "--format", "json"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().filter(|line| line.contains(&format!("\"kind\":\"{kind}\""))).map(str::to_owned).collect()
}

/// Every change of this agent is known for certain to be its own.
#[track_caller]
fn assert_certain(repo: &TestRepo, id: &str) {
    let sets: Vec<Value> = records(repo, "write_set").into_iter().filter(|set| set["agent"] == id).collect();
    assert!(!sets.is_empty(), "no write set of {id}");
    for write in sets.iter().flat_map(|set| set["writes"].as_array().unwrap()) {
        assert_eq!(write["attribution"], "certain", "{write:#}");
    }
}

/// The one conflict of a run, as its document has it.
#[track_caller]
fn only_conflict(ended: &Ended) -> Value {
    let json = ended.json();
    let conflicts = json["conflicts"].as_array().unwrap();
    assert_eq!(conflicts.len(), 1, "{conflicts:#?}");
    conflicts[0].clone()
}

fn names(list: &[&str]) -> Value {
    json!(list)
}
