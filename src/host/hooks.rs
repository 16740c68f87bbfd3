//! Running hooks: commands of the session and of the user that are told what happened.
//!
//! Invariant: [`Hooks::post`] never waits, and nothing that a hook does or fails to do reaches the run.
//! Each runs under a shim of its own, as agents do, so that its whole tree is ended when its first
//! process ends or its time is over; at most `MOST_AT_ONCE` run, at most `MOST_WAITING` wait. When
//! [`Hooks::finish`] has returned, nothing of any hook is left.
//!
//! Deliberately absent: what there is to tell (`core::attention`, `cli`), and any right of a hook over the
//! run: like agents, it cannot ask the control socket.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

use super::process::{Launcher, TreeKey, TreeNews, TreeSpec};
use crate::core::effect::{Ending, Part};
use crate::core::ids::{AgentId, Attempt, AttemptId, RunId};
use crate::core::reason::Exit;
use crate::session::{Hook, HookPoint};

/// The bound of every run.
pub const BOUND: Duration = Duration::from_secs(30);
/// From SIGTERM to SIGKILL, for one whose time is over or that left something behind.
const GRACE: Duration = Duration::from_secs(2);
const MOST_AT_ONCE: usize = 4;
const MOST_WAITING: usize = 256;
/// Bytes kept of the output of each, and of all together.
const MOST_OUTPUT: u64 = 16 << 10;
const MOST_LOG: u64 = 1 << 20;

/// What hooks run with.
#[derive(Debug)]
pub struct Setup {
    pub hooks: Vec<Hook>,
    pub run: RunId,
    /// The directory of the run, for `hooks.log`.
    pub run_dir: PathBuf,
    /// Where they start.
    pub workspace: PathBuf,
    pub environment: BTreeMap<OsString, OsString>,
    /// How long one may run, and how long the end of the run waits for all.
    pub bound: Duration,
}

/// The hooks of one run.
#[derive(Debug)]
pub struct Hooks {
    wanted: Vec<Hook>,
    bound: Duration,
    queue: mpsc::Sender<Job>,
    server: JoinHandle<()>,
    hurry: watch::Sender<bool>,
    warned: bool,
}

/// One command that is to run once.
#[derive(Clone, Debug)]
struct Job {
    hook: Hook,
    agent: Option<AgentId>,
    /// What it reads on standard input.
    text: Vec<u8>,
}

/// What all jobs share.
struct Room {
    launcher: Launcher,
    setup: Setup,
    name: AgentId,
    /// For logs on their way into `hooks.log`.
    scratch: PathBuf,
    hurry: watch::Receiver<bool>,
}

impl Hooks {
    /// Gets ready; wants a tokio `LocalSet`.
    pub fn start(launcher: Launcher, setup: Setup) -> io::Result<Self> {
        let scratch = setup.run_dir.join("hooks");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&scratch)?;
        let (queue, jobs) = mpsc::channel(MOST_WAITING);
        let (hurry, asked) = watch::channel(false);
        let (wanted, bound) = (setup.hooks.clone(), setup.bound);
        let name = AgentId::new("hook").map_err(io::Error::other)?;
        let room = Room { launcher, setup, name, scratch, hurry: asked };
        let server = tokio::task::spawn_local(serve(Rc::new(room), jobs));
        Ok(Self { wanted, bound, queue, server, hurry, warned: false })
    }

    /// Does anybody wait for this?
    #[must_use]
    pub fn wants(&self, point: HookPoint) -> bool {
        self.wanted.iter().any(|hook| hook.point == point)
    }

    /// Something happened, to one agent or not; `text` is what the hooks read. Does not wait: what finds
    /// no place any more is dropped.
    pub fn post(&mut self, point: HookPoint, agent: Option<&AgentId>, text: &[u8]) {
        for hook in self.wanted.iter().filter(|hook| hook.point == point) {
            let job = Job { hook: hook.clone(), agent: agent.cloned(), text: text.to_vec() };
            if self.queue.try_send(job).is_err() && !std::mem::replace(&mut self.warned, true) {
                tracing::warn!("hooks are slower than what happens: some are not run");
            }
        }
    }

    /// The run is over: `end` is the text for `on_run_end`, if there is one. Waits for all hooks, at most
    /// for the bound or until `hurry`, and then for as long as it takes to end them.
    pub async fn finish(self, end: Option<Vec<u8>>, hurry: impl Future<Output = ()>) {
        let Self { wanted, bound, queue, mut server, hurry: ends, .. } = self;
        let all = async {
            for hook in wanted.iter().filter(|hook| hook.point == HookPoint::RunEnd) {
                let Some(text) = end.clone() else { break };
                // These are never dropped: one in the queue's last place waits for it.
                let _ = queue.send(Job { hook: hook.clone(), agent: None, text }).await;
            }
            drop(queue);
            let _ = (&mut server).await;
        };
        let in_time = tokio::select! {
            done = timeout(bound, all) => done.is_ok(),
            () = hurry => false,
        };
        if !in_time {
            ends.send_replace(true);
            let _ = server.await;
        }
    }
}

async fn serve(room: Rc<Room>, mut jobs: mpsc::Receiver<Job>) {
    let mut running = JoinSet::new();
    let mut complained = BTreeSet::new();
    let mut number = 0;
    loop {
        tokio::select! {
            job = jobs.recv(), if running.len() < MOST_AT_ONCE => {
                let Some(job) = job else { break };
                number += 1;
                running.spawn_local(Rc::clone(&room).run(job, number));
            }
            Some(done) = running.join_next() => complain(&done, &mut complained),
        }
    }
    while let Some(done) = running.join_next().await {
        complain(&done, &mut complained);
    }
    // Empty, unless something could not be removed.
    let _ = fs::remove_dir(&room.scratch);
}

/// Says once for each key that a hook of it failed; the rest is in the log.
fn complain(done: &Result<Done, tokio::task::JoinError>, complained: &mut BTreeSet<HookPoint>) {
    if let Ok((point, Err(why))) = done
        && complained.insert(*point)
    {
        tracing::warn!("hook {}: {why} (hooks.log of the run)", point.name());
    }
}

/// Which it was, and why it did not end well.
type Done = (HookPoint, Result<(), String>);

impl Room {
    async fn run(self: Rc<Self>, job: Job, number: u32) -> Done {
        let point = job.hook.point;
        if *self.hurry.borrow() {
            return (point, Ok(())); // the run does not wait for it any more
        }
        let log = self.scratch.join(format!("{number}.log"));
        let record = self.scratch.join(format!("{number}.json"));
        let began = Instant::now();
        let title = format!("{} {:?}", point.name(), job.hook.command.argv());
        let outcome = self.launch(self.spec(job, number, &log, &record)).await;
        let ended = outcome.as_ref().map_or_else(Clone::clone, |()| "succeeded".to_owned());
        let header = format!("== {title}: {ended} after {:.1}s\n", began.elapsed().as_secs_f32());
        let all = self.setup.run_dir.join("hooks.log");
        let kept = tokio::task::spawn_blocking(move || keep(&all, &header, &log, &record)).await;
        if let Ok(Err(error)) = kept {
            tracing::debug!(%error, "hooks.log cannot be written");
        }
        (point, outcome)
    }

    fn spec(&self, job: Job, number: u32, log: &Path, record: &Path) -> TreeSpec {
        let mut env = self.setup.environment.clone();
        env.insert("SUPERVISE_RUN".into(), self.setup.run.as_str().into());
        env.insert("SUPERVISE_HOOK".into(), job.hook.point.name().into());
        env.insert("GIT_OPTIONAL_LOCKS".into(), "0".into());
        env.remove(&OsString::from("SUPERVISE_ID"));
        if let Some(agent) = &job.agent {
            env.insert("SUPERVISE_ID".into(), agent.as_str().into());
        }
        TreeSpec {
            key: TreeKey { id: self.name(number), part: Part::Agent },
            argv: job.hook.command.argv().into_iter().map(OsString::from).collect(),
            env: env.into_iter().collect(),
            cwd: self.setup.workspace.clone(),
            stdin: Some(job.text),
            stdout: log.to_owned(),
            stderr: log.to_owned(),
            log_limit: MOST_OUTPUT,
            exit_record: record.to_owned(),
            forward: false,
            leftover_grace: GRACE,
            cgroup: None,
            gate: None,
        }
    }

    /// Tells the news of one tree apart, nothing more.
    fn name(&self, number: u32) -> AttemptId {
        AttemptId { agent: self.name.clone(), attempt: Attempt(number) }
    }

    fn outcome(&self, exit: Exit, late: bool, hurried: bool) -> Result<(), String> {
        match exit {
            _ if late => Err(format!("was ended after {:?}", self.setup.bound)),
            _ if hurried => Err("was ended with the run".to_owned()),
            Exit::Code(0) => Ok(()),
            Exit::Code(code) => Err(format!("failed with exit code {code}")),
            Exit::Signal(signal) => Err(format!("failed with signal {signal}")),
            Exit::Lost => Err("nobody saw it end".to_owned()),
        }
    }

    async fn launch(&self, spec: TreeSpec) -> Result<(), String> {
        let (to_us, mut news) = mpsc::channel(16);
        let tree = self.launcher.spawn(spec, to_us).await.map_err(|error| error.to_string())?;
        let mut hurry = self.hurry.clone();
        let over = Instant::now() + self.setup.bound;
        let (mut late, mut hurried) = (false, false);
        loop {
            tokio::select! {
                said = news.recv() => match said {
                    Some((_, TreeNews::Ended { exit, .. })) => break self.outcome(exit, late, hurried),
                    Some((_, TreeNews::ShimLost { .. })) | None => break Err("nobody saw it end".to_owned()),
                    Some(_) => {}
                },
                () = sleep_until(over), if !late => {
                    late = true;
                    tree.end(Ending::Orderly { grace: GRACE });
                }
                _ = hurry.wait_for(|hurry| *hurry), if !hurried => {
                    hurried = true;
                    tree.end(Ending::AtOnce);
                }
            }
        }
    }
}

/// Moves what a hook said to the end of the log of all, as long as there is room.
fn keep(all: &Path, header: &str, log: &Path, record: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(all)?;
    if file.metadata()?.len() < MOST_LOG {
        let mut said = header.as_bytes().to_vec();
        // One that could not be started said nothing.
        if let Ok(log) = fs::File::open(log) {
            log.take(2 * MOST_OUTPUT).read_to_end(&mut said)?;
        }
        if said.last() != Some(&b'\n') {
            said.push(b'\n');
        }
        file.write_all(&said)?;
    }
    for done in [log, record] {
        match fs::remove_file(done) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
