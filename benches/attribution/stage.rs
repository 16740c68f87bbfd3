//! One scenario under the real supervisor: a scratch repository, a session file, the run, and all that
//! can be known of it afterwards.
//!
//! Invariant: the supervisor is the release binary and is told nothing that a user's session would not
//! tell it. Deliberately absent: any judgement (`judge`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::desk::{self, Deed, KEEPER, STRAY, done_of, own, process_state, theirs, wait_for, write_whole};
use crate::fault::Fault;
use crate::ground::{GRANTED, RULES, furnish, occupy, rule};
use crate::scenario::{Cast, Scenario};
use crate::snapshot::{Difference, Snapshot};
use crate::writer;

/// The longest that a run may take.
const LONGEST: Duration = Duration::from_mins(6);

pub(crate) const SUPERVISE: &str = env!("CARGO_BIN_EXE_supervise");

/// Which of the two ways to see writes is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layer {
    /// The gate and the watch.
    Gate,
    /// The watch alone.
    Watch,
}

impl Layer {
    pub(crate) const BOTH: [Self; 2] = [Self::Gate, Self::Watch];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gate => "gate",
            Self::Watch => "watch",
        }
    }
}

/// All that is known of a run.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) party: Vec<Part>,
    /// What `run --format json` printed.
    pub(crate) document: Value,
    /// Of the journal's `write_set` records: agent, path, attribution.
    pub(crate) write_sets: Vec<(String, String, String)>,
    /// What differs in the workspace between the beginning and the end of the run.
    pub(crate) changed: BTreeMap<String, Difference>,
    /// What the run committed to the branch.
    pub(crate) committed: BTreeSet<String>,
    pub(crate) took: Duration,
    /// What the supervisor told people.
    pub(crate) progress: String,
}

/// One agent, as it was.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) agent: String,
    pub(crate) deeds: Vec<Deed>,
    /// It came to the end of its work, and was not ended before.
    pub(crate) done: bool,
}

pub(crate) fn perform(scenario: &Scenario, layer: Layer, quick: bool, keep: bool) -> Result<Outcome, Fault> {
    let mut dir = tempfile::tempdir()?;
    dir.disable_cleanup(keep);
    // Agents see the workspace by its real name.
    let top = dir.path().canonicalize()?;
    let (root, sync) = (top.join("workspace"), top.join("sync"));
    if keep {
        eprintln!("{}, {}: {}", layer.name(), scenario.name, top.display());
    }
    fs::create_dir(&sync)?;
    build(&root, scenario)?;
    let before = Snapshot::take(&root)?;
    let session = top.join("session.toml");
    fs::write(&session, session_text(scenario, &root, &sync, quick)?)?;
    let started = Instant::now();
    let mut running = Running::start(&top, &root, &session, layer)?;
    match scenario.cast {
        Cast::PairUnattended => unattended(&mut running, &scenario.party(), &sync)?,
        Cast::PairGranted => grant(&mut running, &root, &sync)?,
        Cast::Pair | Cast::Eight => {}
    }
    let status = running.wait()?;
    let took = started.elapsed();
    let progress = fs::read_to_string(top.join("progress"))?;
    // 0 and 1 are ends of a run, whatever became of its agents.
    if !matches!(status.code(), Some(0 | 1)) {
        return Err(Fault::Run { status, stderr: progress });
    }
    let document: Value = serde_json::from_slice(&fs::read(top.join("document"))?)?;
    let run = document["run"].as_str().ok_or(Fault::Missing("run"))?;
    let journal = fs::read_to_string(root.join(".git/supervise/runs").join(run).join("journal.jsonl"))?;
    let base = document["base"].as_str().ok_or(Fault::Missing("base"))?;
    let committed = git(&root, &["diff", "--name-only", "--no-renames", base, "HEAD"])?;
    let party = scenario.party().into_iter().map(|agent| {
        let (deeds, done) = (desk::read_account(&sync, &agent)?, done_of(&sync, &agent).exists());
        Ok(Part { agent, deeds, done })
    });
    Ok(Outcome {
        party: party.collect::<io::Result<_>>()?,
        write_sets: write_sets(&journal)?,
        changed: before.differences(&Snapshot::take(&root)?),
        committed: committed.lines().map(ToOwned::to_owned).collect(),
        document,
        took,
        progress,
    })
}

fn build(root: &Path, scenario: &Scenario) -> Result<(), Fault> {
    scenario.areas().iter().try_for_each(|area| furnish(root, area))?;
    if scenario.ignores {
        rule(root)?;
    }
    git(root, &["init", "-q", "-b", "main"])?;
    for (key, value) in [("user.name", "Bench"), ("user.email", "bench@example.invalid"), ("gc.auto", "0")] {
        git(root, &["config", key, value])?;
    }
    git(root, &["add", "-A"])?;
    git(root, &["commit", "-q", "-m", "Begin"])?;
    if scenario.ignores {
        occupy(root)?;
    }
    Ok(())
}

fn git(root: &Path, args: &[&str]) -> Result<String, Fault> {
    let mut command = Command::new("git");
    command.current_dir(root).args(args).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    let out = command.output()?;
    if out.status.success() {
        return Ok(String::from_utf8_lossy(&out.stdout).into_owned());
    }
    Err(Fault::Git { args: args.join(" "), stderr: String::from_utf8_lossy(&out.stderr).into_owned() })
}

/// Nobody is to be ended for a write: the policies refuse, and let everybody live.
fn session_text(scenario: &Scenario, root: &Path, sync: &Path, quick: bool) -> Result<String, Fault> {
    let party = scenario.party();
    let mut text = format!(
        "[session]\nname = \"attribution\"\nmax_concurrent = {}\n\n[defaults]\ntimeout = \"5m\"\ngrace = \"2s\"\n\
         on_undeclared = \"deny\"\non_conflict = \"deny\"\n",
        party.len()
    );
    let program = std::env::current_exe()?;
    for agent in &party {
        let mut command = vec![program.clone().into_os_string()];
        command.extend(writer::arguments(scenario.name, root, sync, agent, scenario.size(quick)));
        let command: Vec<String> = command.iter().map(|arg| quoted(&arg.to_string_lossy())).collect();
        let mut files = vec![quoted(&format!("{}/**", own(agent)))];
        if scenario.ignores && agent == STRAY {
            files.push(quoted(RULES));
        }
        if agent == KEEPER {
            files.push(quoted(&format!("{}/**", theirs(agent))));
        }
        text += &format!(
            "\n[[agent]]\nid = {}\ncommand = [{}]\nfiles = [{}]\n",
            quoted(agent),
            command.join(", "),
            files.join(", ")
        );
    }
    Ok(text)
}

/// As a TOML string, in which `{{` would begin a placeholder.
fn quoted(text: &str) -> String {
    Value::String(text.replace("{{", "{{{{")).to_string()
}

/// Stops the supervisor once all writers are there, and lets it go on once they have done their work.
fn unattended(running: &mut Running, party: &[String], sync: &Path) -> Result<(), Fault> {
    running.wait_until(|| party.iter().all(|agent| sync.join(format!("{agent}.here")).exists()))?;
    let pid = running.pid();
    // The shims have process groups of their own: this stops the supervisor alone.
    kill(pid, Signal::SIGSTOP).map_err(io::Error::from)?;
    let done = (|| {
        wait_for(|| process_state(&pid.to_string()) == Some('T'))?;
        write_whole(&sync.join("go"), "")?;
        wait_for(|| party.iter().all(|agent| done_of(sync, agent).exists()))
    })();
    kill(pid, Signal::SIGCONT).map_err(io::Error::from)?;
    // If they were ended meanwhile, that is a result.
    if done.as_ref().is_err_and(|e| e.kind() != io::ErrorKind::TimedOut) { Ok(done?) } else { Ok(()) }
}

/// Grants `keeper` a path once it was free to all, and somebody wrote beside it.
fn grant(running: &mut Running, root: &Path, sync: &Path) -> Result<(), Fault> {
    running.wait_until(|| sync.join("ready").exists())?;
    let mut command = Command::new(SUPERVISE);
    command.arg("-C").arg(root).args(["grant", KEEPER, GRANTED]);
    let out = command.output()?;
    if !out.status.success() {
        let stderr = String::from_utf8_lossy(&out.stderr).into_owned();
        return Err(Fault::Grant { status: out.status, stderr });
    }
    Ok(write_whole(&sync.join("granted"), "")?)
}

/// The supervisor; if the bench gives up, it ends.
struct Running(Child);

impl Running {
    fn start(top: &Path, root: &Path, session: &Path, layer: Layer) -> Result<Self, Fault> {
        let mut command = Command::new(SUPERVISE);
        command.arg("-C").arg(root).arg("run").arg(session).args(["--format", "json"]);
        if layer == Layer::Watch && knows_no_gate()? {
            command.arg("--no-gate");
        }
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1").stdin(Stdio::null());
        command.stdout(File::create(top.join("document"))?).stderr(File::create(top.join("progress"))?);
        Ok(Self(command.spawn()?))
    }

    fn pid(&self) -> Pid {
        // Process ids of Linux fit.
        Pid::from_raw(i32::try_from(self.0.id()).unwrap_or_default())
    }

    fn wait(&mut self) -> Result<ExitStatus, Fault> {
        self.wait_until(|| false)?;
        Ok(self.0.wait()?)
    }

    /// Until it is so, or the supervisor has ended.
    fn wait_until(&mut self, mut so: impl FnMut() -> bool) -> Result<(), Fault> {
        let deadline = Instant::now() + LONGEST;
        while !so() && self.0.try_wait()?.is_none() {
            if Instant::now() > deadline {
                return Err(Fault::Endless { seconds: LONGEST.as_secs() });
            }
            desk::pause(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            // Its shims end their trees by themselves.
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

/// A version without the gate has no switch for it either.
fn knows_no_gate() -> Result<bool, Fault> {
    let help = Command::new(SUPERVISE).args(["run", "--help"]).output()?;
    Ok(String::from_utf8_lossy(&help.stdout).contains("--no-gate"))
}

fn write_sets(journal: &str) -> Result<Vec<(String, String, String)>, Fault> {
    let mut found = Vec::new();
    for line in journal.lines() {
        let record: Value = serde_json::from_str(line)?;
        if record["kind"] != "write_set" {
            continue;
        }
        let agent = record["agent"].as_str().ok_or(Fault::Missing("agent"))?;
        for write in record["writes"].as_array().ok_or(Fault::Missing("writes"))? {
            let path = write["path"].as_str().ok_or(Fault::Missing("path"))?;
            let attribution = write["attribution"].as_str().ok_or(Fault::Missing("attribution"))?;
            found.push((agent.to_owned(), path.to_owned(), attribution.to_owned()));
        }
    }
    Ok(found)
}

/// Where scratch repositories are made.
pub(crate) fn scratch() -> PathBuf {
    std::env::temp_dir()
}

/// Is this the agent that also does what it may not?
pub(crate) fn strays(agent: &str) -> bool {
    agent == STRAY
}
