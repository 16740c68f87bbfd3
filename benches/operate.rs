//! How soon an operator has an answer, beside the limits; it fails where one is not met.
//!
//! `cargo bench --bench operate`: `supervise status` of a run in which 100 agents run, and `supervise resume` of a
//! run whose journal has 1,000,000 records, until the record that takes it up is written.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints, and stops at the first failure")]
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock, and waits for others")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use supervise::core::ids::{AgentId, Attempt, AttemptId};
use supervise::core::path::RepoPath;
use supervise::core::record::{Fact, Record};
use supervise::journal::Journal;

const AGENTS: usize = 100;
const ASKED: usize = 50;
const STATUS_LIMIT: Duration = Duration::from_millis(20);

const RECORDS: usize = 1_000_000;
/// Records written at once, and different paths in all.
const BATCH: usize = 1_000;
const PATHS: usize = 20_000;
const RESUMED: usize = 3;
const RESUME_LIMIT: Duration = Duration::from_secs(2);

const PATIENCE: Duration = Duration::from_mins(2);

fn main() -> ExitCode {
    // `cargo test --benches` calls it too; then there is nothing to measure.
    if !std::env::args().any(|arg| arg == "--bench") {
        return ExitCode::SUCCESS;
    }
    let status = row("status, 100 agents running (median of 50)", status(), STATUS_LIMIT);
    let resume = row("resume, 1,000,000 records (median of 3)", resume(), RESUME_LIMIT);
    if status && resume { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn row(what: &str, took: Duration, limit: Duration) -> bool {
    let met = took <= limit;
    println!("{what:<45} {took:>10.1?} {limit:>10.1?}  {}", if met { "met" } else { "NOT MET" });
    met
}

/// A scratch repository.
struct Repo(tempfile::TempDir);

impl Repo {
    fn new() -> Self {
        let repo = Self(tempfile::tempdir().unwrap());
        fs::create_dir(repo.path()).unwrap();
        repo.git(&["init", "-q", "-b", "main"]);
        repo.git(&["config", "user.name", "bench"]);
        repo.git(&["config", "user.email", "bench@example.invalid"]);
        repo.git(&["commit", "-q", "--allow-empty", "-m", "begin"]);
        repo
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("work")
    }

    fn git(&self, arguments: &[&str]) {
        assert!(Command::new("git").current_dir(self.path()).args(arguments).status().unwrap().success());
    }

    fn supervise(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_supervise"));
        command.current_dir(self.path()).args(arguments).stdin(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// A run of so many agents that do nothing, once all of them run.
    fn run(&self, agents: usize) -> Child {
        let mut session = format!("[session]\nmax_concurrent = {agents}\n");
        for n in 0..agents {
            session += &format!("[[agent]]\nid = \"a{n}\"\nfiles = [\"f{n}\"]\ncommand = [\"sleep\", \"1000\"]\n");
        }
        let file = self.0.path().join("session.toml");
        fs::write(&file, session).unwrap();
        let child = self.supervise(&["run"]).arg(file).stdout(Stdio::null()).spawn().unwrap();
        let end = Instant::now() + PATIENCE;
        while self.journal().is_none_or(|journal| spawned(&journal) < agents) {
            assert!(Instant::now() < end, "the agents do not run");
            std::thread::sleep(Duration::from_millis(20));
        }
        child
    }

    fn journal(&self) -> Option<PathBuf> {
        let state = self.path().join(".git/supervise");
        let run = fs::read_to_string(state.join("current")).ok()?;
        Some(state.join("runs").join(run.trim()).join("journal.jsonl"))
    }
}

fn spawned(journal: &Path) -> usize {
    fs::read_to_string(journal).unwrap_or_default().matches(r#""kind":"attempt_spawned""#).count()
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn status() -> Duration {
    let repo = Repo::new();
    let run = repo.run(AGENTS);
    let ask = || {
        let began = Instant::now();
        let answer = repo.supervise(&["status"]).output().unwrap();
        let took = began.elapsed();
        assert!(String::from_utf8_lossy(&answer.stdout).matches("RUNNING").count() >= AGENTS, "all of them run");
        took
    };
    let took = median((0..ASKED).map(|_| ask()).collect());
    kill(run);
    took
}

fn resume() -> Duration {
    let repo = Repo::new();
    kill(repo.run(1));
    let journal = repo.journal().unwrap();
    lengthen(&journal);
    let sound = fs::read(&journal).unwrap();
    let take_up = || {
        fs::write(&journal, &sound).unwrap();
        let began = Instant::now();
        let mut child = repo.supervise(&["resume", "--format", "jsonl"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let took = began.elapsed();
        assert!(line.contains("run_resumed"), "{line}");
        kill(child);
        took
    };
    median((0..RESUMED).map(|_| take_up()).collect())
}

/// As if the agent had been let write for a long time.
fn lengthen(journal: &Path) {
    let mut last = None;
    let (mut journal, _) = Journal::reopen(journal, |entry| last = Some(entry)).unwrap();
    let last = last.unwrap();
    let id = AttemptId { agent: AgentId::new("a0").unwrap(), attempt: Attempt::FIRST };
    let record = |n: usize| {
        let path = RepoPath::new(format!("some/directory/file-{}", n % PATHS).as_bytes()).unwrap();
        Record { at: last.record.at, fact: Fact::Wrote { id: id.clone(), paths: vec![path] } }
    };
    for first in (0..RECORDS).step_by(BATCH) {
        let records: Vec<Record> = (first..first + BATCH).map(record).collect();
        let _appended = journal.append(&records, (), last.at).unwrap();
    }
    let _ = journal.sync_point().sync().unwrap();
}
