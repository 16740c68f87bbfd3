//! Looking at a run from outside, and asking its supervisor: real runs, live and over, the real
//! socket, and peers that behave in every wrong way.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "tests")]

mod again;
mod background;
mod complete;
mod dead;
mod diff;
mod every;
mod join;
mod list;
mod live;
mod protocol;
mod runs;
mod salvage;
mod steer;
mod subscribe;
#[path = "../e2e/support.rs"]
#[expect(dead_code, reason = "shared with the tests of the whole program")]
mod support;
mod told;

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Child;
use std::time::Duration;

use serde_json::{Value, json};

use support::{Ended, TestRepo, eventually};

/// A run that goes on until it is told to end.
struct Run<'r> {
    repo: &'r TestRepo,
    child: Option<Child>,
}

impl<'r> Run<'r> {
    /// Starts the session and waits until this agent runs.
    fn start(repo: &'r TestRepo, session: &str, agent: &str) -> Self {
        let run = Self { repo, child: Some(repo.start(session, &[])) };
        let running = || run.agent(agent).is_some_and(|found| found["state"] == "RUNNING" && found["pid"].is_u64());
        assert!(eventually(Duration::from_secs(30), running), "{agent} does not run");
        run
    }

    fn agent(&self, id: &str) -> Option<Value> {
        let answer = ask(self.repo, &json!({"version": 1, "request": {"kind": "status"}}).to_string())?;
        let agents = answer["reply"]["run"]["agents"].as_array()?.clone();
        agents.into_iter().find(|agent| agent["id"] == id)
    }

    fn child(&self) -> &Child {
        self.child.as_ref().unwrap()
    }

    /// Waits for the run to end by itself.
    fn finish(mut self) -> Ended {
        support::finish(self.child.take().unwrap(), Duration::from_secs(30))
    }

    /// Kills the supervisor; its shims end what it ran.
    fn kill(mut self) {
        support::signal(self.child(), "KILL");
        self.child.take().unwrap().wait().unwrap();
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn socket(repo: &TestRepo) -> PathBuf {
    repo.path().join(".git/supervise/control.sock")
}

/// Sends a line and gives the answer; `None`: there was none.
fn ask(repo: &TestRepo, line: &str) -> Option<Value> {
    let mut stream = UnixStream::connect(socket(repo)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // Who is refused early is not listened to any more.
    let _ = stream.write_all(format!("{line}\n").as_bytes());
    let mut answer = String::new();
    // One that closes before it has read everything looks like a fault, after its answer.
    let _ = stream.read_to_string(&mut answer);
    serde_json::from_str(&answer).ok()
}

fn supervise(repo: &TestRepo, args: &[&str]) -> Ended {
    Ended::of(&repo.supervise().args(args).output().unwrap())
}

/// An agent that runs until the file `go` is there.
fn patient(id: &str, files: &str, script: &str, more: &str) -> String {
    let wait = "while ! test -e \"$SUPERVISE_TEST_GO\"; do sleep 0.02; done";
    format!("[[agent]]\nid = \"{id}\"\ncommand = [\"sh\", \"-c\", '''{script}; {wait}''']\nfiles = {files}\n{more}\n")
}

/// An agent that does this and ends.
fn scripted(id: &str, files: &str, script: &str, more: &str) -> String {
    format!("[[agent]]\nid = \"{id}\"\ncommand = [\"sh\", \"-c\", '''{script}''']\nfiles = {files}\n{more}\n")
}

/// The head of a session, with the place of the file that patient agents wait for.
fn head(repo: &TestRepo, more: &str) -> String {
    let go = repo.tmp().join("go");
    format!(
        "[session]\nname = \"looked-at\"\n{more}\n[defaults]\nenv = {{ SUPERVISE_TEST_GO = \"{}\" }}\n",
        go.display()
    )
}

/// Lets patient agents end.
fn go(repo: &TestRepo) {
    std::fs::write(repo.tmp().join("go"), "").unwrap();
}

/// What differs from run to run, made the same.
fn normal(text: &str, repo: &TestRepo) -> String {
    let current = std::fs::read_to_string(repo.path().join(".git/supervise/current")).unwrap_or_default();
    let text = text.replace(current.trim(), "RUN").replace(&repo.path().display().to_string(), "REPO");
    let mut out = String::new();
    for word in text.split_inclusive(|c: char| c.is_whitespace() || ",;()".contains(c)) {
        let bare = word.trim_end_matches(|c: char| c.is_whitespace() || ",;()".contains(c));
        let tail = &word[bare.len()..];
        let digits = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
        let is_time = bare.len() == 8 && bare.split(':').all(digits) && bare.split(':').count() == 3;
        let number = bare.trim_end_matches("ms").trim_end_matches('s');
        let is_span = bare.ends_with('s') && number.split('.').all(digits) && !number.is_empty();
        let is_pid = digits(bare) && out.ends_with("pid ");
        let is_oid = bare.len() == 7 && bare.chars().all(|c| c.is_ascii_hexdigit());
        match () {
            () if is_time => out.push_str("TIME"),
            () if is_span => out.push_str("SPAN"),
            () if is_pid => out.push_str("PID"),
            () if is_oid => out.push_str("COMMIT"),
            () => out.push_str(bare),
        }
        out.push_str(tail);
    }
    // Columns are as wide as what stands in them.
    let lines = out.lines().map(|line| {
        let indent = &line[..line.len() - line.trim_start().len()];
        let words: Vec<&str> = line.split_whitespace().collect();
        format!("{indent}{}", words.join(" "))
    });
    lines.collect::<Vec<_>>().join("\n")
}
