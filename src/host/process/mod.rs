//! Process trees, seen from the supervisor: launch one under a shim, hear from it, end it.
//!
//! Invariant: a successful [`Launcher::spawn`] is answered by exactly one [`TreeNews::Ended`] or
//! [`TreeNews::ShimLost`], the last news of its tree, at a moment when the shim is gone and waited
//! for and (`survivors` apart) nothing of the tree is alive. Nothing here scans `/proc` on the way of
//! a tree that ends well.
//! Deliberately absent: when and why to end a tree (`core`), and what its output means (`runner`).

mod orders;
mod program;
mod server;
mod sweep;
mod watch;

use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch as channel};

use crate::core::call::{Answer, CallId, Grant, Refusal, Tally, Target};
use crate::core::effect::{Ending, Part};
use crate::core::ids::{AttemptId, RunId};
use crate::core::path::RepoPath;
use crate::core::reason::{Exit, Quiet};
use crate::core::record::ProcessId;
use crate::host::failpoint;
use crate::shim::clock;
use crate::shim::ending::KILL_BOUND;
use crate::shim::tree;
use crate::shim::wire::{Frames, GateTerms, Gated, Launch, MAX_ORDER, Order, Report, Step};

use self::orders::Orders;
use self::server::{NoShim, Server, Shim};

/// The file that a shim is started from: this binary, even after it was replaced on disk.
pub const OWN_BINARY: &str = "/proc/self/exe";

/// What a shim may take to end its tree beyond the grace and its own bound on killing: joining logs on
/// a slow disk.
const MARGIN: Duration = Duration::from_secs(10);

/// How long a shim may take to start its agent.
const HANDSHAKE: Duration = Duration::from_secs(30);

/// Which tree.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TreeKey {
    pub id: AttemptId,
    pub part: Part,
}

/// What to launch, and where its output goes.
#[derive(Clone, Debug)]
pub struct TreeSpec {
    pub key: TreeKey,
    /// The first is the program: a path, or a name that is looked for in the PATH of `env`.
    pub argv: Vec<OsString>,
    /// The complete environment.
    pub env: Vec<(OsString, OsString)>,
    pub cwd: PathBuf,
    /// What it reads on standard input; `None`: `/dev/null`.
    pub stdin: Option<Vec<u8>>,
    /// Log files; their directories exist. Where both are the same path, both streams are one: one log
    /// in the order of writing, one [`TreeNews::Output`].
    pub stdout: PathBuf,
    pub stderr: PathBuf,
    /// Bytes kept of each log: half from its beginning, half from its end.
    pub log_limit: u64,
    /// Where the shim writes its exit record.
    pub exit_record: PathBuf,
    /// Tell what comes on standard output, as [`TreeNews::Output`].
    pub forward: bool,
    /// From SIGTERM to SIGKILL for what the leader leaves behind when it ends.
    pub leftover_grace: Duration,
    /// A cgroup v2 directory to make for this tree, inside one that [`super::cgroup::probe`] gave.
    /// Where it cannot be made the tree runs without.
    pub cgroup: Option<PathBuf>,
    /// What its writes are judged by before they land; `None`: they are not. Where a gate is asked for
    /// and cannot be had, the tree is not launched.
    pub gate: Option<GateTerms>,
}

/// What a tree has to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TreeNews {
    /// Bytes of standard output, in order, cut anywhere.
    Output(Vec<u8>),
    /// So many bytes of it are missing here (never in the log): they came faster than they were taken.
    Gap(u64),
    /// A call waits for [`Tree::answer`], for seconds at most. All writes that the gate let through
    /// before were told before.
    Asked { call: CallId, targets: Vec<Target> },
    /// What the gate let through since the last time, by path. A path can be there without a count:
    /// something was done to it that the watch does not tell.
    Wrote(Vec<(RepoPath, Tally)>),
    /// So many calls that it let through are missing there: nobody read for too long.
    Untold(u64),
    /// What it refused by itself, and how often.
    Refused(Vec<(Refusal, u32)>),
    /// All that the gate let through before [`Tree::flush`] was told before.
    Flushed(u64),
    /// The tree is gone, the logs are closed and the exit record is written.
    Ended {
        exit: Exit,
        /// Processes that could not be ended (of another user, or stuck in the kernel); 0 but for those.
        survivors: u32,
    },
    /// The shim died without an exit record; what was left of its tree was ended.
    ShimLost { survivors: u32 },
}

/// What comes out of the channel.
pub type News = (TreeKey, TreeNews);

/// Why a tree was not launched. Nothing of it runs.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    #[error("the command is empty")]
    NoCommand,
    #[error("an argument or environment variable of the command holds a NUL byte")]
    Nul,
    #[error("program `{}` was not found in PATH `{}`", .program.display(), .path.display())]
    NotInPath { program: PathBuf, path: PathBuf },
    #[error("program `{}` does not exist", .program.display())]
    NoProgram { program: PathBuf },
    #[error("`{}` is not an executable file", .program.display())]
    NotExecutable { program: PathBuf },
    #[error("`{}` cannot be executed: not a program of this machine, and no `#!` line", .program.display())]
    BadFormat { program: PathBuf },
    #[error("the interpreter that the first line of `{}` names does not exist", .program.display())]
    NoInterpreter { program: PathBuf },
    #[error("the directory to run in, `{}`, is not there or cannot be entered", .cwd.display())]
    NoDirectory { cwd: PathBuf },
    #[error("the command line and environment are larger than the kernel takes")]
    TooLong,
    #[error("the prompt is larger than {MAX_ORDER} bytes")]
    PromptTooLarge,
    #[error("the limit on processes, open files or memory is reached")]
    Exhausted(#[source] io::Error),
    #[error("cannot write the log `{}`", .path.display())]
    Log { path: PathBuf, source: io::Error },
    #[error("cannot prepare the launch")]
    Prepare(#[source] io::Error),
    #[error("the kernel does not let writes be judged before they land")]
    Gate(#[source] io::Error),
    #[error("cannot execute `{}`", .program.display())]
    Exec { program: PathBuf, source: io::Error },
    #[error("cannot start the shim")]
    Shim(#[source] io::Error),
    #[error("the shim ended, or did not answer, before it had started the agent")]
    NoAnswer,
    /// The exception: of a shim that died while it started the agent, so many processes live.
    #[error("the shim ended before it had started the agent, and left {survivors} processes that could not be ended")]
    Survivors { survivors: u32 },
}

/// What agents and shims have in their environment: the run that they belong to.
pub const RUN_VARIABLE: &str = "SUPERVISE_RUN";

/// Launches trees. There is one in a supervisor.
#[derive(Debug)]
pub struct Launcher {
    shim: PathBuf,
    /// Started with the first tree.
    server: Mutex<Option<Server>>,
    boot: String,
    bound: Duration,
    run: Option<RunId>,
}

/// A launched tree. Dropping it lets the tree run on, and its news come.
#[derive(Debug)]
pub struct Tree {
    process: ProcessId,
    shim: u32,
    endings: channel::Sender<Option<Ending>>,
    orders: Arc<Orders>,
    gated: Option<Gated>,
    activity: Arc<Activity>,
    sampled: Mutex<Sampled>,
}

/// When a tree was last heard of.
#[derive(Debug)]
struct Activity {
    since: Instant,
    /// Milliseconds from `since` to the last output.
    output: AtomicU64,
    /// The same to the last report of the gate.
    writes: AtomicU64,
}

#[derive(Clone, Copy, Debug)]
struct Sampled {
    at: Instant,
    ticks: u64,
    /// When it was last seen to use the processor.
    busy: Instant,
}

/// Clock ticks of proc_pid_stat(5) in a second: `USER_HZ`, the same on all that Linux runs on today.
const TICKS_PER_SECOND: u32 = 100;

impl Launcher {
    /// `shim` is the file that shims are started from: [`OWN_BINARY`], save in tests.
    ///
    /// From here on this process is a child subreaper, and takes SIGCHLD (which its parent may have
    /// had it ignore, so that no exit status would ever be seen). Must be called inside the runtime.
    pub fn new(shim: impl Into<PathBuf>) -> io::Result<Self> {
        nix::sys::prctl::set_child_subreaper(true)?;
        drop(tokio::signal::unix::signal(tokio::signal::unix::SignalKind::child())?);
        let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned();
        Ok(Self { shim: shim.into(), server: Mutex::new(None), boot, bound: KILL_BOUND + MARGIN, run: None })
    }

    /// Marks its shims as those of this run, so that they are found when this process is gone.
    #[must_use]
    pub fn of_run(self, run: &RunId) -> Self {
        Self { run: Some(run.clone()), ..self }
    }

    /// Changes how long a shim may take to end its tree, beyond the grace, before it is killed.
    #[must_use]
    pub fn with_bound(self, bound: Duration) -> Self {
        Self { bound, ..self }
    }

    /// Launches a tree. Its news come through `news` until the one that says that it has ended.
    pub async fn spawn(&self, spec: TreeSpec, news: mpsc::Sender<News>) -> Result<Tree, SpawnError> {
        let key = spec.key.clone();
        let (exit_record, logs) = (spec.exit_record.clone(), [spec.stdout.clone(), spec.stderr.clone()]);
        let launch = prepare(spec)?;
        let (mut shim, mut socket) = self.start_shim().map_err(starting)?;
        let order = Order::Launch(Box::new(launch));
        let mut frames = Frames::default();
        let answer = match tokio::time::timeout(HANDSHAKE, shake_hands(&mut socket, &mut frames, &order)).await {
            Ok(Ok(report)) => Some(report),
            Ok(Err(_)) | Err(_) => None,
        };
        let Some(Report::Started { pid, start, gated }) = answer else {
            if answer.is_none() {
                shim.kill();
            }
            gone(&mut shim).await;
            return Err(match answer {
                Some(report) => refusal(&report, order),
                None => match sweep::sweep().await {
                    0 => SpawnError::NoAnswer,
                    survivors => SpawnError::Survivors { survivors },
                },
            });
        };

        let now = clock::now();
        let activity = Arc::new(Activity { since: now, output: AtomicU64::new(0), writes: AtomicU64::new(0) });
        let (endings, asked) = channel::channel(None);
        let orders = Arc::new(Orders::default());
        let shim_pid = shim.id();
        let watcher = watch::Watcher {
            key,
            leader: (pid, start),
            shim,
            socket,
            frames,
            news,
            asked,
            orders: Arc::clone(&orders),
            activity: Arc::clone(&activity),
            exit_record,
            logs,
            bound: self.bound,
        };
        tokio::spawn(watcher.run());
        Ok(Tree {
            process: ProcessId { pid, start, boot: self.boot.clone() },
            shim: shim_pid,
            endings,
            orders,
            gated,
            activity,
            sampled: Mutex::new(Sampled { at: now, ticks: 0, busy: now }),
        })
    }

    /// A shim, and the way to it. Registered as a shim until it was waited for; where nobody waits (the runtime
    /// went down) it stays so: its number is not free before.
    fn start_shim(&self) -> io::Result<(Shim, UnixStream)> {
        // The list is held meanwhile: a sweep that meets a shim must find it there.
        let mut shims = sweep::shims();
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        let forked = failpoint::around(|| match server.as_ref().map_or(Err(NoShim::Gone), fork) {
            // There was none yet, or somebody has killed or stopped it, which costs no more than another.
            Err(NoShim::Gone | NoShim::Silent) => {
                *server = None;
                fork(server.insert(Server::start(&self.shim, self.run.as_ref()).map_err(NoShim::Refused)?))
            }
            forked => forked,
        });
        if let Err(NoShim::Gone | NoShim::Silent) = forked {
            *server = None;
        }
        let (shim, ours) = forked?;
        shims.insert(shim.id());
        Ok((shim, UnixStream::from_std(ours)?))
    }
}

/// Each try has a socket of its own: should an answer come too late, that shim hears of nobody and ends.
fn fork(server: &Server) -> Result<(Shim, StdStream), NoShim> {
    let (ours, theirs) = StdStream::pair().map_err(NoShim::Refused)?;
    ours.set_nonblocking(true).map_err(NoShim::Refused)?;
    Ok((server.fork(theirs.as_fd())?, ours))
}

/// Waits until the shim has ended; one that does not is killed. From then on its number is free.
async fn gone(shim: &mut Shim) {
    watch::wait_for(shim).await;
    sweep::shims().remove(&shim.id());
}

impl Tree {
    /// The agent's first process.
    #[must_use]
    pub fn process(&self) -> &ProcessId {
        &self.process
    }

    /// The process that all of the tree descends from.
    #[must_use]
    pub fn root(&self) -> u32 {
        self.shim
    }

    /// Ends the tree. May be called again to hurry; a later, milder wish changes nothing. A shim that
    /// does not do it in time is killed and its tree swept.
    pub fn end(&self, how: Ending) {
        self.endings.send_modify(|ending| {
            *ending = Some(match (*ending, how) {
                (None, how) => how,
                (Some(Ending::AtOnce), _) | (_, Ending::AtOnce) => Ending::AtOnce,
                (Some(Ending::Orderly { grace: a }), Ending::Orderly { grace: b }) => {
                    Ending::Orderly { grace: a.min(b) }
                }
            });
        });
    }

    /// What the gate makes use of; `None`: there is none.
    #[must_use]
    pub fn gated(&self) -> Option<Gated> {
        self.gated
    }

    /// What a call that was asked about is told, and what the tree need not ask about any more. Does
    /// not wait. `false`: too many answers are on their way, and this one is not.
    pub fn answer(&self, call: CallId, answer: Answer, grants: Vec<Grant>) -> bool {
        self.orders.answer(call, answer, grants)
    }

    /// These paths changed through somebody else: the tree's next write to each is told EBUSY, once.
    /// Does not wait. `false`: there are too many, and some will not be told.
    pub fn stale(&self, paths: Vec<RepoPath>) -> bool {
        self.orders.stale(paths)
    }

    /// What was granted with answers so far is asked about again. Does not wait.
    pub fn withdraw(&self) {
        self.orders.withdraw();
    }

    /// Asks for [`TreeNews::Flushed`]. Does not wait. Of several that are on their way only the last is
    /// answered for certain.
    pub fn flush(&self, number: u64) {
        self.orders.flush(number);
    }

    /// Puts a line into the agent's log. Does not wait. `false`: there is no room.
    pub fn note(&self, line: &str) -> bool {
        self.orders.note(line)
    }

    /// How long there was no output, no report of the gate, and since the last sample (or the launch) no use of the processor
    /// beyond 1 % of a core. Looks at every process of the tree: not for every second.
    pub fn sample(&self) -> Quiet {
        let now = clock::now();
        let ticks = tree::cpu_ticks(self.shim);
        let mut sampled = self.sampled.lock().unwrap_or_else(PoisonError::into_inner);
        let used = Duration::from_secs(ticks.saturating_sub(sampled.ticks)) / TICKS_PER_SECOND;
        let busy =
            if used * 100 >= now.duration_since(sampled.at).max(Duration::from_millis(1)) { now } else { sampled.busy };
        *sampled = Sampled { at: now, ticks, busy };
        let activity = &self.activity;
        Quiet {
            output: activity.since(&activity.output, now),
            writes: self.gated.is_some().then(|| activity.since(&activity.writes, now)),
            cpu: now.saturating_duration_since(busy),
        }
    }
}

impl Activity {
    fn printed(&self) {
        self.output.store(self.elapsed(), Ordering::Relaxed);
    }

    fn wrote(&self) {
        self.writes.store(self.elapsed(), Ordering::Relaxed);
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(clock::now().duration_since(self.since).as_millis()).unwrap_or(u64::MAX)
    }

    /// How long ago that was.
    fn since(&self, last: &AtomicU64, now: Instant) -> Duration {
        now.saturating_duration_since(self.since + Duration::from_millis(last.load(Ordering::Relaxed)))
    }
}

/// Checks what can be checked before a process is started, so that the message can be plain.
fn prepare(spec: TreeSpec) -> Result<Launch, SpawnError> {
    use crate::shim::wire::passable;
    let name = spec.argv.first().ok_or(SpawnError::NoCommand)?;
    let variables = spec.env.iter().flat_map(|(name, value)| [name, value]);
    if !spec.argv.iter().chain(variables).all(|text| passable(text)) {
        return Err(SpawnError::Nul);
    }
    if spec.stdin.as_ref().is_some_and(|prompt| prompt.len() > MAX_ORDER / 2) {
        return Err(SpawnError::PromptTooLarge);
    }
    if !spec.cwd.is_dir() {
        return Err(SpawnError::NoDirectory { cwd: spec.cwd });
    }
    let path = spec.env.iter().rfind(|(name, _)| name == "PATH").map(|(_, path)| path.as_os_str());
    let program = program::find(Path::new(name), path, &spec.cwd)?;
    let launch = Launch {
        program,
        argv: spec.argv,
        env: spec.env,
        cwd: spec.cwd,
        stdin: spec.stdin,
        stdout: spec.stdout,
        stderr: spec.stderr,
        log_limit: spec.log_limit,
        exit_record: spec.exit_record,
        forward: spec.forward,
        leftover_grace: spec.leftover_grace,
        cgroup: spec.cgroup,
        gate: spec.gate,
    };
    Ok(launch)
}

async fn shake_hands(socket: &mut UnixStream, frames: &mut Frames, order: &Order) -> io::Result<Report> {
    let launch = order.encode();
    if launch.len() > MAX_ORDER {
        return Ok(Report::NotStarted { step: Step::Exec, errno: nix::libc::E2BIG });
    }
    socket.write_all(&launch).await?;
    let mut buffer = [0; 1024];
    loop {
        if let Some(report) = frames.next_report().map_err(io::Error::other)? {
            return Ok(report);
        }
        match socket.read(&mut buffer).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => frames.push(&buffer[..read]),
        }
    }
}

fn starting(error: io::Error) -> SpawnError {
    if is_exhaustion(&error) { SpawnError::Exhausted(error) } else { SpawnError::Shim(error) }
}

fn is_exhaustion(error: &io::Error) -> bool {
    use nix::libc::{EAGAIN, EMFILE, ENFILE, ENOMEM};
    matches!(error.raw_os_error(), Some(EAGAIN | EMFILE | ENFILE | ENOMEM))
}

/// What a shim's refusal means. The program and the directory were there a moment ago.
fn refusal(report: &Report, order: Order) -> SpawnError {
    use nix::libc::{E2BIG, EACCES, ENOENT, ENOEXEC, ENOTDIR};
    let (Report::NotStarted { step, errno }, Order::Launch(launch)) = (report, order) else {
        return SpawnError::NoAnswer;
    };
    let source = io::Error::from_raw_os_error(*errno);
    if is_exhaustion(&source) {
        return SpawnError::Exhausted(source);
    }
    let Launch { program, cwd, stdout, stderr, .. } = *launch;
    match (step, *errno) {
        (Step::Prepare | Step::Stdin, _) => SpawnError::Prepare(source),
        (Step::Gate, _) => SpawnError::Gate(source),
        (Step::Stdout, _) => SpawnError::Log { path: stdout, source },
        (Step::Stderr, _) => SpawnError::Log { path: stderr, source },
        (Step::Exec, E2BIG) => SpawnError::TooLong,
        (Step::Exec, ENOEXEC) => SpawnError::BadFormat { program },
        (Step::Exec, ENOENT | ENOTDIR | EACCES) if !can_enter(&cwd) => SpawnError::NoDirectory { cwd },
        (Step::Exec, ENOENT) if program.exists() => SpawnError::NoInterpreter { program },
        (Step::Exec, ENOENT) => SpawnError::NoProgram { program },
        (Step::Exec, EACCES) => SpawnError::NotExecutable { program },
        (Step::Exec, _) => SpawnError::Exec { program, source },
    }
}

fn can_enter(directory: &Path) -> bool {
    rustix::fs::access(directory, rustix::fs::Access::EXEC_OK).is_ok() && directory.is_dir()
}
