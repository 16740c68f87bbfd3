//! Whether writes can be judged before they land on this machine: tried out, not guessed.
//!
//! A real gated tree in a directory of its own: its agent starts a process that starts another and is
//! gone, which enters a user namespace and opens two files for writing, one that is its own and one that
//! is denied.
//!
//! Invariant: the gate counts as active only if the first file was written and told of, and the second
//! neither written nor kept secret. Nothing is left behind, and the answer comes in bounded time.
//! Deliberately absent: what is done without a gate (`cli`, `driver`).

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::core::call::{RefusalReason, RefusedPath};
use crate::shim::clock;
use crate::shim::wire::{ANSWER_WITHIN, Frames, GateTerms, Gated, Launch, Order, PatternText, Report, Step};

/// The first argument that makes the binary the agent of the trial.
pub const ARGUMENT: &str = "gate-trial";
const MIDDLE: &str = "middle";
const INNER: &str = "inner";

/// The two files.
const OWN: &str = "own";
const DENIED: &str = "denied";

/// How long all of it may take; it takes some 20 ms.
const BOUND: Duration = Duration::from_secs(5);

/// How long a shim may take to be gone.
const LAST_MOMENT: Duration = Duration::from_secs(2);

/// Writes are judged before they land, and this is what of the kernel's abilities is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActiveGate {
    /// It was tried from within a user namespace; `false`: this user cannot have one.
    pub user_namespace: bool,
    /// A held call is interrupted by nothing but a signal that kills.
    pub wait_killable: bool,
    /// The shim is woken on the writer's processor, which makes a call cheap.
    pub sync_wake: bool,
}

/// Why writes cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum GateUnavailable {
    #[error("cannot make a directory for the trial in `{}`", .path.display())]
    Directory { path: PathBuf, source: io::Error },
    #[error("cannot start the trial")]
    Start(#[source] io::Error),
    #[error("the kernel does not have user notifications of seccomp (5.9 and later have), or forbids them here")]
    Kernel(#[source] io::Error),
    #[error("the trial came to no end")]
    NoAnswer,
    #[error("the trial failed: {0}")]
    Unsound(Unsound),
}

/// What a trial showed that must not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsound {
    #[error("its agent did not run as it should")]
    Agent,
    #[error("the agent's own file could not be written (errno {0})")]
    OwnRefused(i32),
    #[error("a denied file was written")]
    DeniedWritten,
    #[error("a denied file was refused with errno {0}, not with EACCES")]
    DeniedOtherwise(i32),
    #[error("a write was not told of")]
    NotTold,
}

pub type GateProbe = Result<ActiveGate, GateUnavailable>;

/// Tries it out, in a new directory within `directory`, with shims started from `binary`
/// ([`super::process::OWN_BINARY`], save in tests). To be called before the first tree is launched: the
/// launcher's sweep does not know this one.
pub fn probe(binary: &Path, directory: &Path) -> GateProbe {
    let scratch =
        Scratch::make(directory).map_err(|source| GateUnavailable::Directory { path: directory.to_owned(), source })?;
    let told = run(binary, &scratch.0)?;
    told.judge(&scratch.0)
}

/// A directory that goes with its owner.
struct Scratch(PathBuf);

impl Scratch {
    fn make(within: &Path) -> io::Result<Self> {
        for number in 0..64 {
            let path = within.join(format!("supervise-gate-{}-{number}", std::process::id()));
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What the trial has told.
#[derive(Debug, Default)]
struct Told {
    gated: Option<Gated>,
    output: Vec<u8>,
    own: bool,
    denied: bool,
    ended: bool,
}

fn run(binary: &Path, scratch: &Path) -> Result<Told, GateUnavailable> {
    let (mut ours, theirs) = UnixStream::pair().map_err(GateUnavailable::Start)?;
    let mut command = Command::new(binary);
    command.arg0("supervise").arg(crate::shim::ARGUMENT).env_clear().current_dir("/");
    command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()).stderr(Stdio::null());
    let shim = command.spawn().map_err(GateUnavailable::Start)?;
    // The command holds the other end of the socket.
    drop(command);
    let told = converse(&mut ours, scratch);
    drop(ours);
    conclude(shim);
    told
}

fn converse(socket: &mut UnixStream, scratch: &Path) -> Result<Told, GateUnavailable> {
    let deadline = clock::now() + BOUND;
    socket.write_all(&Order::Launch(Box::new(launch(scratch))).encode()).map_err(GateUnavailable::Start)?;
    let mut frames = Frames::default();
    let mut told = Told::default();
    let mut buffer = [0; 4096];
    loop {
        while let Some(report) = frames.next_report().map_err(|_| GateUnavailable::NoAnswer)? {
            told.hear(report)?;
        }
        if told.ended {
            return Ok(told);
        }
        let left = deadline.saturating_duration_since(clock::now());
        if left.is_zero() {
            return Err(GateUnavailable::NoAnswer);
        }
        socket.set_read_timeout(Some(left)).map_err(GateUnavailable::Start)?;
        match socket.read(&mut buffer) {
            Ok(0) => return Err(GateUnavailable::NoAnswer),
            Ok(read) => frames.push(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return Err(GateUnavailable::NoAnswer),
        }
    }
}

impl Told {
    fn hear(&mut self, report: Report) -> Result<(), GateUnavailable> {
        match report {
            Report::Started { gated, .. } => self.gated = gated,
            Report::NotStarted { step, errno } => {
                let error = io::Error::from_raw_os_error(errno);
                let kernel = step == Step::Gate;
                return Err(if kernel { GateUnavailable::Kernel(error) } else { GateUnavailable::Start(error) });
            }
            Report::Output(bytes) => self.output.extend(bytes),
            Report::Wrote(paths) => self.own |= paths.iter().any(|(path, _)| path.as_bytes() == OWN.as_bytes()),
            Report::Refused(refusals) => {
                self.denied |= refusals.iter().any(|(refusal, _)| {
                    let denied =
                        matches!(&refusal.path, RefusedPath::Inside(path) if path.as_bytes() == DENIED.as_bytes());
                    denied && refusal.why == RefusalReason::Denied
                });
            }
            Report::Ended { .. } => self.ended = true,
            Report::Gap(_) | Report::Alive | Report::Ask { .. } | Report::Untold(_) | Report::Flushed(_) => {}
        }
        Ok(())
    }

    fn judge(&self, scratch: &Path) -> GateProbe {
        let unsound = |what| Err(GateUnavailable::Unsound(what));
        let text = std::str::from_utf8(&self.output).unwrap_or_default();
        let mut numbers = text.split_ascii_whitespace().map(str::parse::<i32>);
        let (Some(Ok(namespace)), Some(Ok(own)), Some(Ok(denied)), Some(gated)) =
            (numbers.next(), numbers.next(), numbers.next(), self.gated)
        else {
            return unsound(Unsound::Agent);
        };
        if own != 0 {
            return unsound(Unsound::OwnRefused(own));
        }
        if denied == 0 || scratch.join(DENIED).exists() {
            return unsound(Unsound::DeniedWritten);
        }
        if denied != nix::libc::EACCES {
            return unsound(Unsound::DeniedOtherwise(denied));
        }
        if !(self.own && self.denied) {
            return unsound(Unsound::NotTold);
        }
        Ok(ActiveGate {
            user_namespace: namespace == 1,
            wait_killable: gated.wait_killable,
            sync_wake: gated.sync_wake,
        })
    }
}

/// The tree of the trial: this binary again, under the shim.
fn launch(scratch: &Path) -> Launch {
    let pattern = |text: &str| PatternText { text: text.into(), file: true };
    Launch {
        program: super::process::OWN_BINARY.into(),
        argv: vec!["supervise".into(), ARGUMENT.into()],
        env: Vec::new(),
        cwd: scratch.to_owned(),
        stdin: None,
        stdout: scratch.join("stdout.log"),
        stderr: scratch.join("stderr.log"),
        log_limit: 1 << 16,
        exit_record: scratch.join("exit.json"),
        forward: true,
        leftover_grace: Duration::ZERO,
        cgroup: None,
        gate: Some(GateTerms {
            workspace: scratch.to_owned(),
            forbidden: Vec::new(),
            nested: Vec::new(),
            exclusive: vec![pattern(OWN)],
            deny: vec![pattern(DENIED)],
            own: Vec::new(),
            protected: Vec::new(),
            scratch: Vec::new(),
            answer_within: ANSWER_WITHIN,
        }),
    }
}

/// A shim whose socket is closed ends its tree and itself; one that does not is killed.
fn conclude(mut shim: Child) {
    let pid = i32::try_from(shim.id()).ok().and_then(Pid::from_raw);
    if let Some(Ok(handle)) = pid.map(|pid| pidfd_open(pid, PidfdFlags::empty())) {
        wait_for(&handle, clock::now() + LAST_MOMENT);
    }
    if !matches!(shim.try_wait(), Ok(Some(_))) {
        let _ = shim.kill();
        let _ = shim.wait();
    }
}

fn wait_for(process: &OwnedFd, deadline: Instant) {
    loop {
        let left = deadline.saturating_duration_since(clock::now());
        let Ok(timeout) = Timespec::try_from(left) else { return };
        match poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => {}
            Ok(_) | Err(_) => return,
        }
    }
}

/// `supervise gate-trial`: the agent of the trial, and what it starts.
pub fn child() -> ExitCode {
    let done = match std::env::args().nth(2).as_deref() {
        None => lead(),
        Some(MIDDLE) => again(INNER, Stdio::inherit()).map(drop),
        Some(INNER) => attempt(),
        Some(_) => Err(io::ErrorKind::InvalidInput.into()),
    };
    if done.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Waits for its grandchild by the pipe that it inherits, and passes on what it says.
fn lead() -> io::Result<()> {
    let mut middle = again(MIDDLE, Stdio::piped())?;
    let mut said = Vec::new();
    if let Some(pipe) = middle.stdout.take() {
        pipe.take(64).read_to_end(&mut said)?;
    }
    middle.wait()?;
    io::stdout().write_all(&said)
}

fn again(role: &str, stdout: Stdio) -> io::Result<Child> {
    Command::new(super::process::OWN_BINARY).args([ARGUMENT, role]).stdin(Stdio::null()).stdout(stdout).spawn()
}

/// Says whether it is in a user namespace, and with which errno each of the opens failed.
fn attempt() -> io::Result<()> {
    let namespace = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER).is_ok();
    let open = |name: &str| match OpenOptions::new().write(true).create_new(true).open(name) {
        Ok(_) => 0,
        Err(error) => error.raw_os_error().unwrap_or(-1),
    };
    let said = format!("{} {} {}\n", u8::from(namespace), open(OWN), open(DENIED));
    io::stdout().write_all(said.as_bytes())
}
