//! One real agent program, started by the runners' command line in a repository of its own.
//!
//! Invariant: nothing of the user's reaches it: a fresh home, a fresh repository, and of the
//! environment only PATH and what a case sets.

#![cfg(test)]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use supervise::core::ids::{AgentId, Attempt, AttemptId, RunId, RunnerName, Slot};
use supervise::core::reason::Exit;
use supervise::core::record::Summary;
use supervise::runner::{Context, Progress, Reader, command_line};
use supervise::session::template::Template;
use supervise::session::{Launch, RunnerKind};

/// The longest that one run of an agent may take.
const LONGEST_RUN: Duration = Duration::from_mins(1);

pub(crate) struct Agent {
    dir: Arc<tempfile::TempDir>,
    launch: Launch,
    /// Its id; its files in the scratch directory start with it.
    name: String,
}

#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) progress: Vec<Progress>,
    pub(crate) summary: Summary,
    /// Did the prompt go through standard input?
    pub(crate) by_stdin: bool,
    #[expect(dead_code, reason = "shown when a test fails")]
    stderr: String,
}

impl Agent {
    pub(crate) fn new(kind: RunnerKind, program: &Path) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        for name in ["home", "tmp", "work", "attempt"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let launch = Launch {
            runner: RunnerName::new("under-test"),
            kind,
            command: Some(vec![Template::text(program.to_str().unwrap())]),
            args: Vec::new(),
            model: None,
            prompt: None,
            env: BTreeMap::new(),
            env_pass: vec!["PATH".to_owned()],
            env_clear: true,
            cwd: None,
            log_limit: 1 << 20,
            verify: None,
            commit_message: Template::text("unused"),
        };
        let agent = Self { dir, launch, name: "a".to_owned() };
        agent.init();
        agent
    }

    /// Another agent of the same kind in the same tree, with the same home.
    pub(crate) fn beside(&self) -> Self {
        Self { dir: Arc::clone(&self.dir), launch: self.launch.clone(), name: format!("{}x", self.name) }
    }

    fn init(&self) {
        let git = Command::new("git").args(["init", "-q"]).current_dir(self.workspace()).status().unwrap();
        assert!(git.success());
    }

    /// As the program sees it, without symbolic links on the way.
    pub(crate) fn workspace(&self) -> PathBuf {
        self.dir.path().join("work").canonicalize().unwrap()
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// The temporary directory of all agents in the tree.
    pub(crate) fn tmp(&self) -> PathBuf {
        self.dir.path().join("tmp")
    }

    fn scratch(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("{}.{name}", self.name))
    }

    pub(crate) fn file(&self, path: &str) -> String {
        std::fs::read_to_string(self.workspace().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    pub(crate) fn args(&mut self, args: &[String]) {
        self.launch.args = args.iter().map(|a| Template::text(a)).collect();
    }

    pub(crate) fn env(&mut self, env: Vec<(String, String)>) {
        self.launch.env.extend(env.into_iter().map(|(name, value)| (name, Template::text(&value))));
    }

    /// Runs the agent on this prompt to its end.
    pub(crate) fn run(&mut self, prompt: &str) -> Outcome {
        self.launch.prompt = Some(Template::text(prompt));
        let environment: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
        let id = AttemptId { agent: AgentId::new(&self.name).unwrap(), attempt: Attempt::FIRST };
        let line = command_line(&Context {
            launch: &self.launch,
            id: &id,
            slot: Slot(3),
            run: &RunId::new("r1").unwrap(),
            workspace: &self.workspace(),
            attempt_dir: &self.dir.path().join("attempt"),
            shared_tmp: &self.tmp(),
            environment: &environment,
            again: None,
        })
        .unwrap();
        assert!(line.forward);
        for (file, content) in &line.files {
            std::fs::write(file, content).unwrap();
        }
        let (stdout, stderr) = (self.scratch("stdout"), self.scratch("stderr"));
        let mut child = Command::new(&line.argv[0])
            .args(&line.argv[1..])
            .env_clear()
            .envs(line.env)
            .current_dir(&line.cwd)
            .stdin(if line.stdin.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(std::fs::File::create(&stdout).unwrap())
            .stderr(std::fs::File::create(&stderr).unwrap())
            .spawn()
            .unwrap();
        if let (Some(mut pipe), Some(text)) = (child.stdin.take(), &line.stdin) {
            pipe.write_all(text).unwrap();
        }
        let status = wait(child);
        let mut reader = Reader::new(self.launch.kind);
        let progress = reader.feed(&std::fs::read(stdout).unwrap());
        let exit = status.code().map_or_else(|| status.signal().map_or(Exit::Lost, Exit::Signal), Exit::Code);
        let stderr = String::from_utf8_lossy(&std::fs::read(stderr).unwrap()).into_owned();
        let by_stdin = line.stdin.is_some();
        Outcome { code: status.code(), progress, summary: reader.finish(exit), by_stdin, stderr }
    }
}

/// The child's end. One that takes too long is killed, and fails the test.
fn wait(mut child: Child) -> ExitStatus {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    let (sender, ended) = std::sync::mpsc::channel();
    let waiter = std::thread::spawn(move || sender.send(child.wait()));
    let Ok(status) = ended.recv_timeout(LONGEST_RUN) else {
        // Not reaped yet, so the number is still its own.
        let _ = kill(pid, Signal::SIGKILL);
        let _ = waiter.join();
        panic!("the agent did not end within {LONGEST_RUN:?}");
    };
    status.unwrap()
}
