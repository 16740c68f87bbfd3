//! The loop: gathers events, lets the core decide, writes the journal, performs effects.
//!
//! Invariant: one turn is `decide → append → apply`, for every event and then until the core has
//! nothing to add; then one sync; then the effects are performed, and only those that the journal
//! gave back. What only ends processes does not wait for the sync. Everything slow (git, spawning, syncing, verifying) happens off the loop
//! and comes back as news. There is no timer but the core's next deadline and the coalesced writing
//! of the snapshot.
//!
//! Deliberately absent: every decision. What to do is the core's; how it looks is the observer's.

mod catching;
mod control;
mod effects;
mod gate;
mod measure;
mod outside;
mod register;
mod trees;

pub use register::Contests;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::control::Rejection;
use crate::core::agent::Plan;
use crate::core::call::{CallId, Target};
use crate::core::effect::{Effect, Ending, Telling};
use crate::core::event::{Event, Preparation};
use crate::core::facts::{self, PathFacts};
use crate::core::ids::{AgentId, AttemptId, RunId};
use crate::core::moment::Moment;
use crate::core::path::RepoPath;
use crate::core::reason::{EndReason, Interrupt};
use crate::core::record::{Fact, Layers, Record, RunOpened, RunOutcome};
use crate::core::supervisor::{Step, Supervisor};
use crate::core::view::RunView;
use crate::journal::{Appended, Entry, Header, Journal, JournalError};
use crate::runner::{Progress, Reader};
use crate::session::analysis::Analysis;
use crate::session::{GitHooks, Session};

use super::clock::Clock;
use super::control::{Control, Socket};
use super::failpoint;
use super::feed::Feeds;
use super::git::{Base, GitError, Repository, ScratchWorktree};
use super::git_thread::GitThread;
use super::limits;
use super::lookups::{Lookups, LookupsError};
use super::past;
use super::process::{self, Launcher, SpawnError, Tree, TreeKey, TreeNews};
use super::resume::Left;
use super::signals::Signals;
use super::state::RunDir;
use super::watch::{Wake, Watch};

/// Everything a run needs that was found out before it.
#[derive(Debug)]
pub struct Setup {
    pub session: Session,
    pub repository: Repository,
    pub run: RunId,
    pub run_dir: RunDir,
    pub clock: Clock,
    pub layers: Layers,
    /// The supervisor's own environment, from which agents get theirs.
    pub environment: BTreeMap<OsString, OsString>,
    /// One temporary directory for all agents of the run.
    pub shared_tmp: PathBuf,
    /// The directory in which each tree gets a cgroup; `None`: it gets none.
    pub cgroups: Option<PathBuf>,
    /// Where others ask about the run; `None`: nobody can.
    pub control: Option<Socket>,
    /// A directory of the run's for the watch's marks.
    pub cookies: PathBuf,
    /// What an earlier supervisor left of the run; `None`: it is a new one.
    pub earlier: Option<Earlier>,
}

/// A run of an earlier supervisor, of which nothing lives any more.
#[derive(Debug)]
pub struct Earlier {
    pub journal: Journal,
    pub supervisor: Supervisor,
    pub left: Vec<Left>,
    /// Nothing more is to be started.
    pub closes: bool,
}

/// Who watches a run go by. Called on the loop: must not block.
pub trait Observer {
    /// A record is in the journal.
    fn recorded(&mut self, entry: &Entry);
    /// An agent's output told something. Gives it in a few words.
    fn progress(&mut self, id: &AttemptId, progress: &Progress) -> String;
    /// The text of the snapshot file for this view.
    fn snapshot(&mut self, view: &RunView) -> Vec<u8>;
    /// What an agent's log is told about a call that failed.
    fn telling(&mut self, telling: &Telling) -> String;
    /// Why an attempt ended, for the agent that goes on with it.
    fn why(&mut self, reason: &EndReason) -> String;
    /// The document of the run, for whoever asks.
    fn document(&mut self, view: &RunView) -> serde_json::Value;
    /// The same of what an agent of the plan contends for, and with whom.
    fn contests(&mut self, plan: &Plan, analysis: &Analysis) -> Contests;
}

/// A run that came to its end.
#[derive(Debug)]
pub struct Finished {
    pub view: RunView,
    pub outcome: RunOutcome,
    /// Could the tree be compared with its state at the start? If not, nobody can say whether paths
    /// changed that no agent accounts for.
    pub surveyed: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    #[error("the journal failed; everything that ran was ended, and its files are as the agents left them")]
    Journal(#[from] JournalError),
    /// The work of an attempt cannot be kept, committed or put back; the run can be taken up where it is.
    #[error(
        "the disk takes nothing more; everything that ran was ended, and its files are as the agents left them: {error}"
    )]
    Disk { error: String },
    #[error("cannot start the thread that git runs on")]
    GitThread(#[source] io::Error),
    #[error("the thread `{0}` ended by a bug in supervise; everything that ran was ended")]
    ThreadDied(&'static str),
    #[error("cannot prepare to launch processes")]
    Launcher(#[source] io::Error),
    #[error("cannot write the plan of the run")]
    Plan(#[source] io::Error),
    #[error("cannot listen for signals")]
    Signals(#[source] io::Error),
    #[error("cannot look paths up")]
    Lookups(#[from] LookupsError),
    #[error("cannot answer on the control socket")]
    Control(#[source] io::Error),
    #[error("cannot read the repository")]
    Git(#[from] GitError),
    #[error("the supervisor did not come to rest after {MAX_TURNS} turns: a bug in supervise")]
    Restless,
}

/// News of the loop: answers, and what trees say.
#[derive(Debug)]
enum News {
    Core(Event),
    /// An attempt's claim was compared with git; and what of it the gate has to ask about.
    Prepared(AttemptId, Preparation, Vec<RepoPath>),
    /// What is known of the paths of a call that waits.
    Facts {
        key: TreeKey,
        call: CallId,
        targets: Vec<Target>,
        facts: Result<Vec<PathFacts>, GitError>,
    },
    /// What a path was before the call that waits.
    Kept {
        held: gate::Held,
        path: RepoPath,
        again: bool,
        base: Result<Base, GitError>,
    },
    Watch(Wake),
    /// The watch has not answered this cookie in time.
    Undrained(u64),
    /// A tree that is gone, against its baseline; and what somebody else is known to have written of it.
    Compared(AttemptId, Result<facts::Measured, GitError>, Vec<RepoPath>),
    /// The disk is full, or read-only, and this could not be done.
    Disk(String),
    /// A thread is gone, because of a bug; this is its name.
    Died(&'static str),
    /// Who was seen writing what, where there is no gate.
    Caught(Vec<(TreeKey, RepoPath, PathFacts)>),
    Spawned(TreeKey, Result<Tree, SpawnError>),
    Tree(TreeKey, TreeNews),
    /// The tree could not be compared with its state at the start.
    SurveyFailed(GitError),
    /// Somebody who wants to join was looked at.
    Drafted(Result<Box<register::Drafted>, Rejection>),
    /// A throwaway checkout for a verify command, or why there is none.
    Worktree(AttemptId, Result<ScratchWorktree, GitError>),
}

/// Turns without an event in a row that the core may take to come to rest.
const MAX_TURNS: usize = 100_000;
/// Events taken into one turn, so that one sync serves many of them.
const MAX_BATCH: usize = 256;
/// News that can wait for the loop before their senders do.
const NEWS_QUEUE: usize = 1024;
/// Changes of the snapshot within this time are written together.
const SNAPSHOT_DELAY: Duration = Duration::from_millis(500);
/// The next snapshot waits so many times as long as this one took: one of ten thousand agents takes its time.
const SNAPSHOT_REST: u32 = 50;
/// How long trees may take to end when the journal has failed.
const ABANDON_WAIT: Duration = Duration::from_secs(30);

struct Driver<'o> {
    supervisor: Supervisor,
    journal: Journal,
    /// Its plan is the one that the run was opened with.
    session: Arc<Session>,
    run: RunId,
    run_dir: RunDir,
    clock: Clock,
    environment: BTreeMap<OsString, OsString>,
    shared_tmp: PathBuf,
    workspace: PathBuf,
    launcher: Rc<Launcher>,
    cgroups: Option<PathBuf>,
    git: GitThread<News>,
    lookups: Lookups<News>,
    watch: Option<Watch>,
    layers: Layers,
    /// Directories that no agent writes.
    forbidden: Vec<PathBuf>,
    /// Other repositories in the workspace.
    nested: Vec<RepoPath>,
    sight: gate::Sight,
    news: mpsc::Sender<News>,
    trees: BTreeMap<TreeKey, Tree>,
    /// Ends asked for before the tree was reported as started.
    early_ends: BTreeMap<TreeKey, Ending>,
    /// Trees that are being started.
    starting: BTreeSet<TreeKey>,
    readers: BTreeMap<AttemptId, Reader>,
    /// The latest attempt of each agent that has one running.
    latest: BTreeMap<AgentId, AttemptId>,
    /// The final message of each attempt whose tree is gone, for its commit.
    messages: BTreeMap<AttemptId, String>,
    verifies: BTreeMap<AttemptId, trees::Verifying>,
    observer: &'o mut dyn Observer,
    snapshot_due: Option<Moment>,
    snapshot_delay: Duration,
    owed: control::Owed,
    joining: register::Joining,
    feeds: Feeds,
    /// A thread whose answers will never come.
    died: Option<&'static str>,
    /// What the disk did not take.
    disk: Option<String>,
    surveyed: bool,
    outcome: Option<RunOutcome>,
    /// Attempts of an earlier supervisor.
    left: BTreeMap<AttemptId, Left>,
}

/// Supervises the session until every agent has ended. Wants a tokio `LocalSet`.
pub async fn run(setup: Setup, observer: &mut dyn Observer) -> Result<Finished, DriverError> {
    let Setup {
        session,
        mut repository,
        run,
        run_dir,
        clock,
        mut layers,
        environment,
        shared_tmp,
        cgroups,
        control,
        cookies,
        earlier,
    } = setup;
    let launcher = Launcher::new(process::OWN_BINARY).map_err(DriverError::Launcher)?;
    let launcher = Rc::new(launcher.of_run(&run));
    let mut signals = Signals::listen().map_err(DriverError::Signals)?;
    let mut control = control.map(Socket::serve).transpose().map_err(DriverError::Control)?;
    let (news, mut inbox) = mpsc::channel(NEWS_QUEUE);
    let watch = watch_over(&repository, &cookies, &news);
    layers.watch = watch.is_some();
    let head = repository.head()?;
    let nested = repository.open_run(&run, session.git_hooks == GitHooks::Run)?;
    let (supervisor, journal, first, left, events) = match earlier {
        None => {
            let opened = RunOpened {
                run: run.clone(),
                session: session.name.clone(),
                base: head.commit,
                branch: head.branch,
                layers,
                agents: session.plan.agents.iter().map(|a| a.id.clone()).collect(),
            };
            let mut plan = session.plan.clone();
            plan.fits = limits::agents_at_once();
            plan.stop_at = session.stop_at.map(|time| clock.next(time));
            if !layers.gate {
                for agent in &mut plan.agents {
                    agent.claim.lock_late_at_start();
                }
            }
            past::keep(&run_dir, &session, &plan).map_err(DriverError::Plan)?;
            let journal = Journal::create(&run_dir.journal(), &Header::new(run.clone(), clock.opened()))?;
            let supervisor = Supervisor::new(plan);
            let first = supervisor.open(clock.now(), opened);
            (supervisor, journal, first, Vec::new(), Vec::new())
        }
        Some(Earlier { journal, mut supervisor, left, closes }) => {
            if let Some(hour) = supervisor.plan().stop_at {
                supervisor.stop_at(clock.again(hour));
            }
            take_up(&mut repository, &supervisor, &left, &run_dir);
            let first = supervisor.resume(clock.now(), layers);
            let close = closes.then_some(Event::Interrupted(Interrupt::Reset));
            (supervisor, journal, first, left, [Event::Resumed].into_iter().chain(close).collect())
        }
    };
    let workspace = repository.workspace().to_owned();
    let forbidden = gate::forbidden(&repository);
    let lookups = Lookups::start(&repository, news.clone(), News::Died("lookups"))?;
    let git = GitThread::start("git", repository, news.clone(), News::Died("git")).map_err(DriverError::GitThread)?;
    let mut driver = Driver {
        supervisor,
        journal,
        session: Arc::new(session),
        run,
        run_dir,
        clock,
        environment,
        shared_tmp,
        workspace,
        launcher,
        cgroups,
        git,
        lookups,
        watch,
        layers,
        forbidden,
        nested,
        sight: gate::Sight::default(),
        news,
        trees: BTreeMap::new(),
        early_ends: BTreeMap::new(),
        starting: BTreeSet::new(),
        readers: BTreeMap::new(),
        latest: left.iter().map(|left| (left.attempt.id.agent.clone(), left.attempt.id.clone())).collect(),
        messages: left
            .iter()
            .filter_map(|left| Some((left.attempt.id.clone(), left.attempt.message.clone()?)))
            .collect(),
        verifies: BTreeMap::new(),
        observer,
        snapshot_due: None,
        snapshot_delay: SNAPSHOT_DELAY,
        owed: control::Owed::default(),
        joining: register::Joining::default(),
        feeds: Feeds::default(),
        died: None,
        disk: None,
        surveyed: true,
        outcome: None,
        left: left.into_iter().map(|left| (left.attempt.id.clone(), left)).collect(),
    };
    for left in driver.left.values() {
        driver.sight.outside.takes_up(&left.attempt.id, &left.attempt.wrote);
    }
    let outcome = match driver.run((first, events), &mut inbox, &mut signals, &mut control).await {
        Ok(outcome) => outcome,
        Err(error) => {
            driver.abandon(&mut inbox).await;
            // What git was asked for is in the journal; it is not cut off in the middle. Nobody hears
            // its answers any more.
            inbox.close();
            driver.lookups.finish();
            driver.git.finish();
            return Err(error);
        }
    };
    driver.write_snapshot();
    driver.feeds = Feeds::default();
    if let Some(control) = control {
        control.finish().await;
    }
    let (view, surveyed) = (driver.supervisor.view(), driver.surveyed);
    inbox.close();
    driver.lookups.finish();
    driver.git.finish();
    #[expect(clippy::expect_used, reason = "the opening record was applied before anything else")]
    let view = view.expect("an opened run has a view");
    Ok(Finished { view, outcome, surveyed })
}

/// Makes git know the attempts of an earlier supervisor. One whose baseline is not whole cannot be measured, which
/// is said when it is tried.
fn take_up(repository: &mut Repository, supervisor: &Supervisor, left: &[Left], run_dir: &RunDir) {
    if let Some(opened) = supervisor.opened() {
        repository.expect_branch(opened.branch.clone());
    }
    for Left { attempt, .. } in left {
        let claim = supervisor.claim(&attempt.id.agent).unwrap_or_default();
        if let Err(error) = repository.adopt(&attempt.id, &claim, &run_dir.attempt(&attempt.id)) {
            tracing::warn!(id = %attempt.id, %error, "an attempt cannot be taken up");
        }
    }
}

/// Starts to watch the workspace. A watch that cannot be had is said on standard error, and its layer is
/// off: the comparison of trees at the end still sees every change.
fn watch_over(repository: &Repository, cookies: &Path, news: &mpsc::Sender<News>) -> Option<Watch> {
    let mut rules = match repository.beside() {
        Ok(rules) => rules,
        Err(error) => {
            tracing::warn!(%error, "the workspace is not watched");
            return None;
        }
    };
    let ignored = move |dir: &RepoPath| rules.prunes(dir);
    let news = news.clone();
    // Told once until the loop looks, so few are on their way; the loop has closed its end before it
    // waits for the watch to end.
    let wake = move |wake| drop(news.blocking_send(News::Watch(wake)));
    match Watch::start(repository.workspace(), cookies, ignored, wake) {
        Ok(watch) => Some(watch),
        Err(error) => {
            tracing::warn!(%error, "the workspace is not watched");
            None
        }
    }
}

impl Driver<'_> {
    async fn run(
        &mut self,
        (first, events): (Record, Vec<Event>),
        inbox: &mut mpsc::Receiver<News>,
        signals: &mut Signals,
        control: &mut Option<Control>,
    ) -> Result<RunOutcome, DriverError> {
        let first = self.write(Step { records: vec![first], effects: Vec::new() })?;
        self.turn(vec![first], events).await?;
        loop {
            if let Some(outcome) = self.outcome {
                return Ok(outcome);
            }
            let deadlines = [self.supervisor.next_deadline(), self.snapshot_due, self.look_due()];
            let deadline = deadlines.into_iter().flatten().min();
            let due = deadline.map(|moment| self.clock.instant(moment));
            let wake = async move {
                match due {
                    Some(instant) => tokio::time::sleep_until(instant).await,
                    None => std::future::pending().await,
                }
            };
            let mut events = Vec::new();
            tokio::select! {
                interrupt = signals.next() => events.push(Event::Interrupted(interrupt)),
                () = wake => {}
                call = Control::next(control) => {
                    events.extend(self.called(call));
                }
                news = inbox.recv() => {
                    // The driver holds a sender, so the channel never closes.
                    let mut next = news;
                    while let Some(news) = next {
                        events.extend(self.hear(news));
                        next = if events.len() < MAX_BATCH { inbox.try_recv().ok() } else { None };
                    }
                }
            }
            if let Some(name) = self.died {
                return Err(DriverError::ThreadDied(name));
            }
            if let Some(error) = self.disk.take() {
                return Err(DriverError::Disk { error });
            }
            if self.look_due().is_some_and(|due| due <= self.now()) {
                self.look();
            }
            events.extend(self.looked());
            self.turn(Vec::new(), events).await?;
            self.feeds.flush();
            self.tell_joined();
            self.owed.pay();
            if self.snapshot_due.is_some_and(|due| due <= self.now()) {
                self.write_snapshot();
            }
        }
    }

    fn now(&self) -> Moment {
        self.clock.now()
    }

    /// One turn: the events, then turns until the core rests, then what only ends processes, then one sync,
    /// then the other effects.
    async fn turn(&mut self, mut pending: Vec<Appended<Vec<Effect>>>, events: Vec<Event>) -> Result<(), DriverError> {
        for event in events {
            let step = self.supervisor.decide(self.now(), &event);
            pending.push(self.write(step)?);
        }
        let mut turns = 0;
        loop {
            let step = self.supervisor.decide(self.now(), &Event::Turn);
            if step.records.is_empty() && step.effects.is_empty() {
                break;
            }
            pending.push(self.write(step)?);
            turns += 1;
            if turns > MAX_TURNS {
                return Err(DriverError::Restless);
            }
        }
        // A tree is not ended before its calls have their answers, which wait for the disk.
        if !pending.iter().any(|appended| appended.has(|effect| matches!(effect, Effect::Answer { .. }))) {
            for appended in &mut pending {
                for effect in appended.take_at_once(Effect::is_of_processes) {
                    self.perform(effect);
                }
            }
        }
        pending.retain(|appended| !appended.is_idle());
        if pending.is_empty() {
            return Ok(()); // nothing to do yet: these records go to the disk with the next ones
        }
        let point = self.journal.sync_point();
        let synced = match tokio::task::spawn_blocking(move || point.sync()).await {
            Ok(result) => result?,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        };
        for appended in pending {
            // The sync began after everything here was appended, so it covers all of it.
            if let Ok(committed) = appended.commit(synced) {
                for effect in committed.take() {
                    self.perform(effect);
                }
            }
        }
        Ok(())
    }

    /// Appends a step's records to the journal and applies them; its effects stay with the journal.
    fn write(&mut self, step: Step) -> Result<Appended<Vec<Effect>>, DriverError> {
        let wall = self.clock.wall();
        let appended = failpoint::around(|| self.journal.append(&step.records, step.effects, wall))?;
        for entry in self.journal.entries(&step.records, wall) {
            self.supervisor.apply(&entry.record);
            self.owed_checkpoint(&entry.record.fact);
            if let Fact::TreeEnded { id, summary, .. } = &entry.record.fact
                && let Some(message) = &summary.message
            {
                self.messages.insert(id.clone(), message.clone());
            }
            match &entry.record.fact {
                Fact::AgentRequeued { id, .. } => self.forget(id),
                Fact::AgentEnded { agent, .. } => {
                    if let Some(id) = self.latest.remove(agent) {
                        self.forget(&id);
                    }
                }
                Fact::AttemptStarted { id, .. } => drop(self.latest.insert(id.agent.clone(), id.clone())),
                _ => {}
            }
            self.observer.recorded(&entry);
            self.feeds.recorded(&entry);
        }
        if !step.records.is_empty() && self.snapshot_due.is_none() {
            self.snapshot_due = Some(self.now() + self.snapshot_delay);
        }
        Ok(appended)
    }

    /// The attempt is over.
    fn forget(&mut self, id: &AttemptId) {
        self.sight.outside.ends(id);
        self.sight.protected.remove(id);
        self.messages.remove(id);
        self.left.remove(id);
    }

    /// Writes the projection for other programs. It is a convenience: nothing reads it back, and a
    /// disk too full for it will be noticed by the journal.
    fn write_snapshot(&mut self) {
        self.snapshot_due = None;
        let began = self.now();
        let Some(view) = self.supervisor.view() else { return };
        let text = self.observer.snapshot(&view);
        if let Err(error) = self.run_dir.write_snapshot(&text) {
            tracing::warn!(%error, "cannot write orchestrator.json");
        }
        self.snapshot_delay = SNAPSHOT_DELAY.max(self.now().since(began) * SNAPSHOT_REST);
    }

    /// The journal cannot be written: end everything, keep every file as it is.
    async fn abandon(&mut self, inbox: &mut mpsc::Receiver<News>) {
        for tree in self.trees.values() {
            tree.end(Ending::Orderly { grace: Duration::from_secs(2) });
        }
        let all_gone = async {
            while !(self.trees.is_empty() && self.starting.is_empty()) {
                match inbox.recv().await {
                    Some(News::Tree(key, TreeNews::Ended { .. } | TreeNews::ShimLost { .. })) => {
                        self.trees.remove(&key);
                    }
                    Some(News::Spawned(key, outcome)) => {
                        self.starting.remove(&key);
                        if let Ok(tree) = outcome {
                            tree.end(Ending::AtOnce);
                            self.trees.insert(key, tree);
                        }
                    }
                    Some(_) => {}
                    None => return,
                }
            }
        };
        if tokio::time::timeout(ABANDON_WAIT, all_gone).await.is_err() {
            tracing::error!("some processes did not end in time; their shims end them when this process is gone");
        }
    }
}
