//! `supervise shims`: a shim that has started already, and of which each shim is a copy.
//!
//! Loading the program and settling its addresses costs more than all that a shim does for an agent that ends at
//! once, and memory for each. So it is done once, by this process, which forks at the supervisor's word (a fork
//! server, as Python's `multiprocessing` calls it). Its children are its siblings (CLONE_PARENT, clone(2)): the
//! supervisor waits for them, and descends from nobody else's mistakes.
//!
//! Standard input is a socket of packets to the supervisor. Each request is a byte with one descriptor, the shim's
//! own socket, and is answered by [`Answer`]. When the other end closes, this process ends; what it forked does not.
//!
//! Invariant: one thread, no children, nothing kept from one request to the next.
//! Deliberately absent: what a shim is told and does (`run`).

#![expect(unsafe_code, reason = "no safe interface to clone(2) exists")]

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

use nix::libc;
use nix::sys::signal::SigSet;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, recvmsg, send};

use super::start::close_strangers;

/// The first argument that makes the binary a fork server.
pub const ARGUMENT: &str = "shims";

/// What a request is answered: the shim's process number, or an errno, made negative.
pub type Answer = i32;

/// `supervise shims`, and in its copies a shim. Exit code 0: the supervisor needs it no more.
pub fn main() -> ExitCode {
    match serve() {
        Ok(Role::Server) => ExitCode::SUCCESS,
        Ok(Role::Shim) => super::main(),
        // There is nobody to tell: the supervisor sees the end of the socket.
        Err(_) => ExitCode::FAILURE,
    }
}

enum Role {
    Server,
    Shim,
}

fn serve() -> io::Result<Role> {
    close_strangers()?;
    // Ctrl-C is meant for the supervisor. A shim takes the mask off, and what is pending is not inherited.
    SigSet::all().thread_set_mask()?;
    nix::sys::prctl::set_name(c"supervise-shims")?;
    let requests = io::stdin();
    while let Some(socket) = next_request(requests.as_fd())? {
        let answer: Answer = match fork()? {
            Forked::Child => {
                // Closes the way to the supervisor, which is not a shim's.
                nix::unistd::dup2_stdin(&socket)?;
                return Ok(Role::Shim);
            }
            Forked::Parent { answer } => answer,
        };
        drop(socket);
        send(requests.as_fd(), &answer.to_ne_bytes(), SendFlags::NOSIGNAL)?;
    }
    Ok(Role::Server)
}

/// The socket of the shim that is wanted; `None`: none will be any more.
fn next_request(requests: impl AsFd) -> io::Result<Option<OwnedFd>> {
    loop {
        let mut word = [0];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        match recvmsg(&requests, &mut [IoSliceMut::new(&mut word)], &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(received) if received.bytes == 0 => return Ok(None),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let socket = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        // Without one there was no room for a descriptor here, which has few.
        return socket.map(Some).ok_or_else(|| io::Error::from_raw_os_error(libc::EMFILE));
    }
}

enum Forked {
    Child,
    Parent { answer: Answer },
}

/// fork(2), whose child is a child of our parent. Not the C library's, which cannot do this; what that does beyond
/// the system call is for processes of several threads.
fn fork() -> io::Result<Forked> {
    // The exit signal is our own, SIGCHLD. All further arguments are of flags that are not set, so that
    // their order, which differs between machines, does not matter.
    //
    // SAFETY: without CLONE_VM the child has its own copy of all memory, and goes on from here on its own copy of
    // the stack. This process has one thread, so nothing in the copy is half-way through another's hands.
    let forked = unsafe { libc::syscall(libc::SYS_clone, libc::CLONE_PARENT, 0, 0, 0, 0) };
    match forked {
        0 => Ok(Forked::Child),
        pid if pid > 0 => Ok(Forked::Parent { answer: Answer::try_from(pid).map_err(io::Error::other)? }),
        _ => Ok(Forked::Parent { answer: -io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO) }),
    }
}

/// What is claimed beside the `unsafe` above, which is a system call that Miri does not know.
#[cfg(test)]
mod tests {
    use std::hint::black_box;
    use std::io::Read as _;

    use super::*;

    #[test]
    fn a_copy_has_its_own_memory_and_another_parent() {
        let (mut reads, writes) = io::pipe().unwrap();
        let mut number = Box::new(1_u8);
        match fork().unwrap() {
            Forked::Child => {
                // Nothing but system calls: other threads of the tests may have been half-way through something.
                *number = 2;
                let parent = nix::unistd::getppid().as_raw().to_ne_bytes();
                let _ = rustix::io::write(&writes, &[**black_box(&number)]);
                let _ = rustix::io::write(&writes, &parent);
                // SAFETY: it ends this process at once.
                unsafe { libc::_exit(0) }
            }
            Forked::Parent { answer } => assert!(answer > 0, "{answer}"),
        }
        drop(writes);
        let mut told = Vec::new();
        reads.read_to_end(&mut told).unwrap();
        assert_eq!((told[0], **black_box(&number)), (2, 1));
        assert_eq!(told[1..], nix::unistd::getppid().as_raw().to_ne_bytes(), "a sibling");
    }
}
