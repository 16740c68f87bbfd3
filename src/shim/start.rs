//! Launching the agent: a clean process for it to start from, and the agent itself.
//!
//! Invariant: the agent gets no descriptor but its three, no blocked signal, and exactly the given
//! environment. It leads a process group of its own, in the shim's session.

use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, PipeReader, PipeWriter, Write};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::SigSet;
use rustix::fs::{MemfdFlags, OFlags, fcntl_setfl, memfd_create};

use super::ending::kill_all;
use super::gate::Gate;
use super::gate::sys::{NoListener, Program};
use super::logs::Log;
use super::tree;
use super::wire::{Launch, Step};

/// A launched agent and what belongs to it.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) pid: u32,
    pub(super) start: u64,
    pub(super) stdout: (PipeReader, Log),
    /// `None`: it goes where standard output goes.
    pub(super) stderr: Option<(PipeReader, Log)>,
    /// The cgroup that it is in.
    pub(super) cgroup: Option<PathBuf>,
    /// What judges its writes.
    pub(super) gate: Option<Gate>,
}

/// What went wrong, and at which step.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) step: Step,
    pub(super) errno: i32,
}

fn at(step: Step) -> impl Fn(io::Error) -> Refusal {
    move |error| Refusal { step, errno: error.raw_os_error().unwrap_or(nix::libc::EIO) }
}

/// Makes this process fit to be a shim, and takes the socket from standard input.
pub(super) fn become_shim() -> io::Result<UnixStream> {
    close_strangers()?;
    // The mask is inherited by the agent; the shim blocks signals only after the launch.
    SigSet::empty().thread_set_mask()?;
    // Fails where it leads a session already, which is as good.
    let _ = nix::unistd::setsid();
    nix::sys::prctl::set_child_subreaper(true)?;
    nix::sys::prctl::set_name(c"supervise-shim")?;
    Ok(io::stdin().as_fd().try_clone_to_owned()?.into())
}

/// Closes whatever descriptors the supervisor itself was started with: std marks all that it opens as
/// close-on-exec, others do not.
pub(super) fn close_strangers() -> io::Result<()> {
    let open = fs::read_dir("/proc/self/fd")?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    for number in open.collect::<Vec<RawFd>>() {
        if number > 2 {
            // The descriptor of the listing itself is among them, and closed already.
            let _ = nix::unistd::close(number);
        }
    }
    Ok(())
}

/// Starts the agent.
pub(super) fn start(launch: Launch) -> Result<Started, Refusal> {
    match fs::remove_file(&launch.exit_record) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(Step::Prepare)(error)),
        _ => {}
    }
    let (stdout, out_end) = log_and_pipe(&launch.stdout, launch.log_limit).map_err(at(Step::Stdout))?;
    let (stderr, err_end) = if launch.stderr == launch.stdout {
        (None, out_end.try_clone().map_err(at(Step::Stderr))?)
    } else {
        let (stderr, end) = log_and_pipe(&launch.stderr, launch.log_limit).map_err(at(Step::Stderr))?;
        (Some(stderr), end)
    };
    let mut gate = launch.gate.as_ref().map(Gate::prepare).transpose().map_err(at(Step::Gate))?;
    let program = gate.as_ref().map(|_| program(&launch)).transpose().map_err(at(Step::Exec))?;
    let stdin = launch.stdin.map_or(Ok(Stdio::null()), |bytes| prompt(&bytes)).map_err(at(Step::Stdin))?;

    let mut arguments = launch.argv.into_iter();
    let mut command = Command::new(&launch.program);
    command.arg0(arguments.next().unwrap_or_else(|| launch.program.clone().into()));
    command.args(arguments).env_clear().envs(launch.env).current_dir(&launch.cwd).process_group(0);
    command.stdin(stdin).stdout(out_end).stderr(err_end);
    let arming = gate.as_ref().zip(program).map(|(gate, program)| gate.arm(&mut command, program)).transpose();
    let arming = arming.map_err(at(Step::Gate))?;

    // The agent is born in the cgroup because the shim is there at that moment. A cgroup that cannot
    // be had is not an error: the tree is held without it.
    let cgroup = launch.cgroup.filter(|cgroup| enter(cgroup).is_ok());
    let spawned = command.spawn();
    // A shim that cannot get out again must not kill by cgroup: it would be among the killed.
    let cgroup = cgroup.filter(|cgroup| cgroup.parent().is_some_and(|home| move_to(home).is_ok()));
    drop(command);
    if let (Some(gate), Some(arming)) = (&mut gate, arming) {
        match gate.listen(arming) {
            Ok(()) => {}
            Err(NoListener::NotReached) if spawned.is_err() => {}
            Err(no_listener) => return Err(ungated(no_listener, spawned)),
        }
    }
    let pid = spawned.map_err(at(Step::Exec))?.id();
    // It cannot be gone: nobody has waited for it.
    let start = tree::look(pid).map_or(0, |process| process.start);
    Ok(Started { pid, start, stdout, stderr, cgroup, gate })
}

/// What came of a child that is not gated. Should it run (which the kernel does not do to us), it
/// does not go on: it has made no call yet that concerns the gate, or waits in its first.
fn ungated(why: NoListener, spawned: io::Result<Child>) -> Refusal {
    let error = match (why, spawned) {
        (_, Ok(mut child)) => {
            kill_all(|| tree::descendants(std::process::id()), true);
            let _ = child.wait();
            io::ErrorKind::BrokenPipe.into()
        }
        (NoListener::Receive(error), Err(_)) | (_, Err(error)) => error,
    };
    at(Step::Gate)(error)
}

/// The program as execve(2) takes it.
fn program(launch: &Launch) -> io::Result<Program> {
    let text = |text: &OsStr| CString::new(text.as_bytes()).map_err(io::Error::from);
    let variable = |(name, value): &(OsString, OsString)| {
        CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()).map_err(io::Error::from)
    };
    let mut argv = launch.argv.iter().map(|argument| text(argument)).collect::<io::Result<Vec<_>>>()?;
    if argv.is_empty() {
        argv.push(text(launch.program.as_os_str())?);
    }
    let env = launch.env.iter().map(variable).collect::<io::Result<_>>()?;
    Ok(Program { file: text(launch.program.as_os_str())?, argv, env })
}

fn log_and_pipe(path: &Path, limit: u64) -> io::Result<((PipeReader, Log), PipeWriter)> {
    let log = Log::create(path, limit)?;
    let (reader, writer) = io::pipe()?;
    fcntl_setfl(&reader, OFlags::NONBLOCK)?;
    Ok(((reader, log), writer))
}

/// The prompt as a file without a name: written at once, so that no loop has to feed a pipe, and read
/// to an end like one.
fn prompt(bytes: &[u8]) -> io::Result<Stdio> {
    let mut file = File::from(memfd_create("prompt", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    // Opened again: at the beginning, and for reading only.
    Ok(File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))?.into())
}

fn enter(cgroup: &Path) -> io::Result<()> {
    fs::create_dir(cgroup).or_else(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Ok(()),
        _ => Err(error),
    })?;
    move_to(cgroup)
}

/// Moves this process; "0" means the writer (cgroups(7)).
fn move_to(cgroup: &Path) -> io::Result<()> {
    fs::write(cgroup.join("cgroup.procs"), "0")
}
