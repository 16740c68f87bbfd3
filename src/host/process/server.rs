//! The supervisor's end of its fork server (`shim::server`), and the shims that come of it.
//!
//! Invariant: a shim is a child of this process from its first moment, and stays its zombie until
//! [`Shim::has_ended`] has seen its end: until then its number is nobody else's.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recv,
    sendmsg, socketpair,
};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};

use super::RUN_VARIABLE;
use crate::core::ids::RunId;
use crate::shim::server::{ARGUMENT, Answer};

/// How long the answer to a request may take: the fork of a small process, on a busy machine.
const BOUND: Duration = Duration::from_secs(5);

/// A process that forks shims. Dropping it ends it; the shims go on.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    socket: OwnedFd,
}

/// Why there is no shim.
#[derive(Debug)]
pub(super) enum NoShim {
    /// The server has ended: whoever starts another one may ask that.
    Gone,
    /// It does not answer (somebody has stopped it).
    Silent,
    Refused(io::Error),
}

impl Server {
    /// Starts one from the file `binary`, whose shims are marked as those of `run`.
    pub(super) fn start(binary: &Path, run: Option<&RunId>) -> io::Result<Self> {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        set_socket_timeout(&ours, Timeout::Recv, Some(BOUND))?;
        let mut command = Command::new(binary);
        command.arg0("supervise").arg(ARGUMENT).env_clear().current_dir("/");
        command.envs(run.map(|run| (RUN_VARIABLE, run.as_str())));
        command.stdin(theirs).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Self { child: command.spawn()?, socket: ours })
    }

    /// A shim that talks through `socket`.
    pub(super) fn fork(&self, socket: BorrowedFd<'_>) -> Result<Shim, NoShim> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let sockets = [socket];
        control.push(SendAncillaryMessage::ScmRights(&sockets));
        sendmsg(&self.socket, &[IoSlice::new(b"f")], &mut control, SendFlags::NOSIGNAL).map_err(NoShim::of)?;
        let mut answer = Answer::default().to_ne_bytes();
        loop {
            match recv(&self.socket, &mut answer, RecvFlags::empty()) {
                Ok((_, read)) if read == answer.len() => break,
                Ok(_) => return Err(NoShim::Gone),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Err(NoShim::Silent),
                Err(error) => return Err(NoShim::of(error)),
            }
        }
        let answer = Answer::from_ne_bytes(answer);
        match Pid::from_raw(answer) {
            Some(pid) if answer > 0 => Ok(Shim { pid, reaped: false }),
            _ => Err(NoShim::Refused(io::Error::from_raw_os_error(-answer))),
        }
    }
}

impl NoShim {
    fn of(error: Errno) -> Self {
        match error {
            Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN => Self::Gone,
            error => Self::Refused(error.into()),
        }
    }
}

impl From<NoShim> for io::Error {
    fn from(why: NoShim) -> Self {
        match why {
            NoShim::Gone => Self::new(io::ErrorKind::BrokenPipe, "the fork server ends as soon as it is started"),
            NoShim::Silent => Self::new(io::ErrorKind::TimedOut, "the fork server does not answer"),
            NoShim::Refused(error) => error,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It holds nothing, and nobody waits for an answer: dropping needs a way that none can hold up.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A shim process.
#[derive(Debug)]
pub(super) struct Shim {
    pid: Pid,
    reaped: bool,
}

impl Shim {
    pub(super) fn id(&self) -> u32 {
        self.pid.as_raw_pid().unsigned_abs()
    }

    pub(super) fn kill(&mut self) {
        if !self.has_ended() {
            let _ = kill_process(self.pid, Signal::KILL);
        }
    }

    /// Whether it has ended; then its status is taken and its number free.
    pub(super) fn has_ended(&mut self) -> bool {
        if !self.reaped {
            self.reaped = matches!(waitpid(Some(self.pid), WaitOptions::NOHANG), Ok(Some(_)) | Err(Errno::CHILD));
        }
        self.reaped
    }
}
