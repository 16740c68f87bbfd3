//! The gate's system calls: putting the filter in force, and its notifications.
//!
//! Invariant: all `unsafe` of the program is here, but for the fork of a shim (`shim::server`). What runs
//! between fork and exec allocates nothing and calls nothing but the kernel, until the exec itself.
//! Deliberately absent: what a notification means (`call`), and what it is answered (`decide`).
//!
//! Sources: seccomp(2), seccomp_unotify(2), `linux/seccomp.h`, `samples/seccomp/user-trap.c`.

#![expect(unsafe_code, reason = "no safe interface to seccomp(2) exists")]

use std::ffi::CString;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::libc;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    recvmsg, sendmsg,
};

use super::filter::Instruction;
use crate::shim::wire::Gated;

/// What the child says with its listener.
const KILLABLE: u8 = b'k';
const PLAIN: u8 = b'p';
/// What it says where there is none.
const FAILED: u8 = b'f';

/// What is executed under the filter.
#[derive(Debug)]
pub(in crate::shim) struct Program {
    pub(in crate::shim) file: CString,
    pub(in crate::shim) argv: Vec<CString>,
    pub(in crate::shim) env: Vec<CString>,
}

/// Where the listener of a command comes from, once it was spawned.
#[derive(Debug)]
pub(in crate::shim) struct Arming {
    ours: UnixStream,
}

/// Why there is no listener.
#[derive(Debug)]
pub(in crate::shim) enum NoListener {
    /// The child could not install the filter.
    Install,
    /// It did not come so far.
    NotReached,
    Receive(io::Error),
}

/// Makes `command` execute `program`, under `filter`, after everything else that it was told.
pub(super) fn arm(command: &mut Command, filter: Vec<Instruction>, program: Program) -> io::Result<Arming> {
    let (ours, theirs) = UnixStream::pair()?;
    let enter = move || {
        match install(&filter) {
            Ok((listener, killable)) => send(&theirs, Some(&listener), if killable { KILLABLE } else { PLAIN })?,
            Err(error) => {
                let _ = send(&theirs, None, FAILED);
                return Err(error);
            }
        }
        // Not left to std, whose exec runs by `sh` what is no program. A shim has one thread, so that
        // memory may be asked for here.
        let Err(error) = nix::unistd::execve(&program.file, &program.argv, &program.env);
        Err(error.into())
    };
    // SAFETY: a shim has one thread, so no lock is held across the fork, and the closure only makes
    // system calls before it executes another program.
    unsafe { command.pre_exec(enter) };
    Ok(Arming { ours })
}

/// In the child: no new privileges, then the filter. `true`: a call that the shim has received can
/// only be interrupted by a signal that kills (Linux 5.19 and later).
fn install(filter: &[Instruction]) -> io::Result<(OwnedFd, bool)> {
    nix::sys::prctl::set_no_new_privs()?;
    let length = u16::try_from(filter.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = libc::sock_fprog { len: length, filter: filter.as_ptr().cast_mut().cast() };
    let attempt = |flags: libc::c_ulong| {
        // SAFETY: `program` and the instructions that it points to live throughout the call, which
        // only reads them; `Instruction` has the layout of `sock_filter`.
        let listener = unsafe {
            libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, std::ptr::from_ref(&program))
        };
        if listener < 0 { Err(io::Error::last_os_error()) } else { RawFd::try_from(listener).map_err(io::Error::other) }
    };
    let killable = attempt(libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV);
    let (listener, killable) = match killable {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            (attempt(libc::SECCOMP_FILTER_FLAG_NEW_LISTENER)?, false)
        }
        other => (other?, true),
    };
    // SAFETY: the kernel has just made this descriptor, and nobody else knows of it.
    Ok((unsafe { OwnedFd::from_raw_fd(listener) }, killable))
}

fn send(socket: &UnixStream, listener: Option<&OwnedFd>, word: u8) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = listener.map(|listener| [listener.as_fd()]);
    if let Some(descriptors) = &descriptors {
        control.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    sendmsg(socket, &[IoSlice::new(&[word])], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

impl Arming {
    /// The listener. To be called when the command was spawned, or failed to be, and is dropped.
    pub(in crate::shim) fn listener(self) -> Result<Listener, NoListener> {
        let mut word = [0];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(&self.ours, &mut [IoSliceMut::new(&mut word)], &mut control, RecvFlags::CMSG_CLOEXEC);
        let received = received.map_err(|error| NoListener::Receive(error.into()))?;
        let mut descriptors = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        });
        let listener = descriptors.next().and_then(|mut descriptors| descriptors.next());
        match (received.bytes, word[0], listener) {
            (1, word @ (KILLABLE | PLAIN), Some(listener)) => {
                Listener::new(listener, word == KILLABLE).map_err(NoListener::Receive)
            }
            (1, FAILED, _) => Err(NoListener::Install),
            _ => Err(NoListener::NotReached),
        }
    }
}

/// A call that waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Notification {
    pub(super) id: u64,
    /// The thread that makes it, as this process numbers it.
    pub(super) tid: u32,
    pub(super) number: u32,
    pub(super) arguments: [u64; 6],
}

/// What a call that waits is answered.
#[derive(Clone, Copy, Debug)]
pub(super) enum Reply {
    /// The kernel does it.
    Continue,
    /// It fails with this errno.
    Fail(i32),
}

/// The descriptor of notifications, and buffers as large as this kernel wants them.
#[derive(Debug)]
pub(in crate::shim) struct Listener {
    descriptor: OwnedFd,
    gated: Gated,
    notification: Box<[u64]>,
    reply: Box<[u64]>,
}

/// Words of `seccomp_notif` and `seccomp_notif_resp` as they were at first.
const NOTIFICATION_WORDS: usize = 10;
const REPLY_WORDS: usize = 3;
const SYNC_WAKE_UP: u64 = 1;

impl Listener {
    fn new(descriptor: OwnedFd, wait_killable: bool) -> io::Result<Self> {
        let mut sizes = [0u16; 3];
        // SAFETY: the kernel writes a `seccomp_notif_sizes`, which is three numbers of 16 bits.
        let asked = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_NOTIF_SIZES, 0, sizes.as_mut_ptr()) };
        if asked < 0 {
            return Err(io::Error::last_os_error());
        }
        let words = |size: u16, least: usize| vec![0; usize::from(size).div_ceil(8).max(least)].into_boxed_slice();
        // SAFETY: the argument is a number. A kernel before 6.6 says EINVAL, and all works as before.
        let set = unsafe { libc::ioctl(descriptor.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SET_FLAGS, SYNC_WAKE_UP) };
        Ok(Self {
            descriptor,
            gated: Gated { wait_killable, sync_wake: set == 0 },
            notification: words(sizes[0], NOTIFICATION_WORDS),
            reply: words(sizes[1], REPLY_WORDS),
        })
    }

    /// What of the kernel's newer abilities is in use.
    pub(super) fn gated(&self) -> Gated {
        self.gated
    }

    /// The next notification; `None`: the call that there was is gone. Does not wait if poll(2) has
    /// found one: the kernel counts calls, also those that are gone.
    pub(super) fn receive(&mut self) -> io::Result<Option<Notification>> {
        // The kernel wants to find zeros.
        self.notification.fill(0);
        // SAFETY: the buffer is aligned and as large as the kernel said that it fills.
        let received = unsafe {
            libc::ioctl(self.descriptor.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_RECV, self.notification.as_mut_ptr())
        };
        if received < 0 {
            let error = io::Error::last_os_error();
            return match error.raw_os_error() {
                Some(libc::ENOENT | libc::EINTR) => Ok(None),
                _ => Err(error),
            };
        }
        // id; pid and flags; number and architecture; instruction pointer; arguments.
        let [id, process, call, _, rest @ ..] = &*self.notification else { return Ok(None) };
        let Some(arguments) = rest.first_chunk() else { return Ok(None) };
        Ok(Some(Notification { id: *id, tid: low(*process), number: low(*call), arguments: *arguments }))
    }

    /// Whether the call still waits: only then is what was read of its process about it.
    pub(super) fn is_valid(&self, id: u64) -> bool {
        // SAFETY: the kernel reads eight bytes.
        let checked = unsafe {
            libc::ioctl(self.descriptor.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_ID_VALID, std::ptr::from_ref(&id))
        };
        checked == 0
    }

    /// Answers a call. `false`: it does not wait any more.
    pub(super) fn send(&mut self, id: u64, reply: Reply) -> bool {
        let (error, flags) = match reply {
            Reply::Continue => (0, 1),
            Reply::Fail(errno) => (-errno, 0),
        };
        // id; value; error and flags.
        self.reply[0] = id;
        self.reply[2] = u64::from(error.cast_unsigned()) | flags << 32;
        // SAFETY: the buffer is aligned and as large as the kernel said that it reads.
        let sent = unsafe {
            libc::ioctl(self.descriptor.as_raw_fd(), libc::SECCOMP_IOCTL_NOTIF_SEND, self.reply.as_mut_ptr())
        };
        sent == 0
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// The lower half: both machines are little-endian.
fn low(word: u64) -> u32 {
    const HALF: u64 = 0xFFFF_FFFF;
    (word & HALF) as u32
}

/// What is claimed beside each `unsafe` above (the layout of instructions: `filter`). Miri does not know these system
/// calls, so they are asked of the kernel.
#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::mem::{align_of, size_of};

    use super::*;

    /// Bytes of the argument of an ioctl, as its number says (`asm-generic/ioctl.h`).
    fn argument(number: libc::c_ulong) -> usize {
        usize::try_from(number >> 16 & 0x3FFF).unwrap()
    }

    fn listener() -> Listener {
        Listener::new(File::open("/dev/null").unwrap().into(), false).unwrap()
    }

    #[test]
    fn the_sizes_of_notifications_are_three_numbers_of_16_bits() {
        let mut sizes = [u16::MAX; 8];
        // SAFETY: there is room for more than the kernel is believed to write.
        let asked = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_NOTIF_SIZES, 0, sizes.as_mut_ptr()) };
        assert_eq!(asked, 0);
        assert!(sizes[..3].iter().all(|size| (1..4096).contains(size)), "{sizes:?}");
        assert_eq!(sizes[3..], [u16::MAX; 5], "and no more");
    }

    #[test]
    fn buffers_are_aligned_and_as_large_as_the_kernel_says() {
        let Listener { notification, reply, .. } = listener();
        let size = |words: &[u64]| size_of_val(words);
        assert!(size(&notification) >= argument(libc::SECCOMP_IOCTL_NOTIF_RECV), "{}", notification.len());
        assert!(size(&reply) >= argument(libc::SECCOMP_IOCTL_NOTIF_SEND), "{}", reply.len());
        for buffer in [&notification, &reply] {
            assert_eq!(buffer.as_ptr().addr() % align_of::<u64>(), 0);
        }
        assert!(align_of::<libc::seccomp_notif>() <= align_of::<u64>());
        assert_eq!(size_of::<libc::seccomp_notif>(), NOTIFICATION_WORDS * size_of::<u64>());
        assert_eq!(size_of::<libc::seccomp_notif_resp>(), REPLY_WORDS * size_of::<u64>());
    }

    #[test]
    fn the_number_of_a_call_is_eight_bytes_that_are_only_read() {
        const WRITE: libc::c_ulong = 1;
        assert_eq!(argument(libc::SECCOMP_IOCTL_NOTIF_ID_VALID), size_of::<u64>());
        // Seen from the process: it writes, the kernel reads.
        assert_eq!(libc::SECCOMP_IOCTL_NOTIF_ID_VALID >> 30, WRITE);
        assert!(!listener().is_valid(1), "/dev/null has no calls");
    }

    #[test]
    fn flags_are_a_number_and_what_does_not_know_them_does_without() {
        assert!(!listener().gated().sync_wake);
    }

    #[test]
    fn a_listener_is_its_owners_alone_and_goes_with_it() {
        let mut command = Command::new("/bin/true");
        let [file, argument] = [c"/bin/true"; 2].map(ToOwned::to_owned);
        let program = Program { file, argv: vec![argument], env: Vec::new() };
        let machine = super::super::table::Machine::here().unwrap();
        let arming = arm(&mut command, super::super::filter::program(machine), program).unwrap();
        let mut child = command.spawn().unwrap();
        drop(command);
        let listener = arming.listener().unwrap();
        let link = format!("/proc/self/fd/{}", listener.descriptor.as_raw_fd());
        assert!(std::fs::read_link(&link).unwrap().to_string_lossy().contains("seccomp"), "{link}");
        // It makes no call that waits.
        assert!(child.wait().unwrap().success());
        // Of the child's copy nothing is left: the last owner is here.
        let mut poll = [rustix::event::PollFd::new(&listener.descriptor, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut poll, None).unwrap();
        assert_eq!(poll[0].revents(), rustix::event::PollFlags::HUP, "nobody is left who could call");
    }
}
