//! What one process means: its root, its working directory, its descriptors, its number in procfs.
//!
//! Invariant: everything is opened through `/proc/TID` of our own procfs, so it is the thing itself
//! and not a name for it, in whichever namespaces the process lives.
//!
//! Deliberately absent: following a path from there (`walk`).

use std::cell::OnceCell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::node::{FIND, Facts, Node, facts_at, facts_through, unresolved};
use super::{Base, Unresolved};

/// The most of a status or mountinfo file that is read.
const FILE_MAX: usize = 4 << 20;

#[derive(Debug)]
pub(super) struct Process<'w> {
    proc: BorrowedFd<'w>,
    tid: u32,
    root: OnceCell<OwnedFd>,
    root_facts: OnceCell<Facts>,
}

impl<'w> Process<'w> {
    /// The thread `tid`, as numbered in the procfs `proc`.
    pub(super) fn new(proc: BorrowedFd<'w>, tid: u32) -> Self {
        Self { proc, tid, root: OnceCell::new(), root_facts: OnceCell::new() }
    }

    pub(super) fn root(&self) -> Result<BorrowedFd<'_>, Unresolved> {
        if let Some(root) = self.root.get() {
            return Ok(root.as_fd());
        }
        let root = self.open("root").map_err(gone)?;
        Ok(self.root.get_or_init(|| root).as_fd())
    }

    pub(super) fn root_node(&self) -> Result<Node, Unresolved> {
        let fd = rustix::io::fcntl_dupfd_cloexec(self.root()?, 0).map_err(unresolved)?;
        Node::new(fd).map_err(unresolved)
    }

    pub(super) fn is_root(&self, facts: &Facts) -> Result<bool, Unresolved> {
        if let Some(root) = self.root_facts.get() {
            return Ok(root.is_same_place(facts));
        }
        let root = match self.root.get() {
            Some(root) => facts_at(root, b""),
            None => facts_through(self.proc, &format!("{}/root", self.tid)),
        };
        let root = root.map_err(gone)?;
        Ok(self.root_facts.get_or_init(|| root).is_same_place(facts))
    }

    pub(super) fn base(&self, base: Base) -> Result<OwnedFd, Unresolved> {
        match base {
            Base::Cwd => self.open("cwd").map_err(gone),
            Base::Fd(number) if number < 0 => Err(Unresolved::Missing),
            Base::Fd(number) => self.open(&format!("fd/{number}")).map_err(unresolved),
        }
    }

    /// What the descriptor is open on. One that is not open is [`Unresolved::Missing`]: EBADF.
    pub(super) fn fd(&self, number: i32) -> Result<Node, Unresolved> {
        Node::new(self.base(Base::Fd(number))?).map_err(unresolved)
    }

    fn open(&self, what: &str) -> Result<OwnedFd, Errno> {
        rustix::fs::openat(self.proc, format!("{}/{what}", self.tid), FIND, Mode::empty())
    }

    /// The lines of its mount table; mount points are given from its root.
    pub(super) fn mounts(&self) -> Result<Vec<u8>, Unresolved> {
        read(self.proc, &format!("{}/mountinfo", self.tid)).map_err(gone)
    }

    /// What `self` (process) and `thread-self` (process and thread) stand for in `procfs`, which may
    /// be that of another pid namespace than ours. Where the process is not in it, they lead nowhere.
    pub(super) fn numbers_in(&self, procfs: &Node) -> Result<(u32, u32), Unresolved> {
        // In our own procfs, and a process's first thread: it is the number that we have.
        if facts_at(self.proc, b"").is_ok_and(|own| own.identity == procfs.facts.identity)
            && Pid::from_raw(self.tid.cast_signed()).is_some_and(|pid| pidfd_open(pid, PidfdFlags::empty()).is_ok())
        {
            return Ok((self.tid, self.tid));
        }
        let here = Numbers::parse(&read(self.proc, &format!("{}/status", self.tid)).map_err(gone)?);
        let namespace = facts_through(self.proc, &format!("{}/ns/pid", self.tid)).map_err(gone)?.identity;
        for level in 0..here.threads.len() {
            let (Some(&group), Some(&thread)) = (here.groups.get(level), here.threads.get(level)) else { break };
            let task = format!("{group}/task/{thread}");
            let Ok(status) = read(procfs.fd.as_fd(), &format!("{task}/status")) else { continue };
            let there = Numbers::parse(&status);
            if there.threads != here.threads[level..] || there.groups != here.groups[level..] {
                continue;
            }
            // A namespace beside it can hold a process with the same numbers.
            if facts_through(&procfs.fd, &format!("{task}/ns/pid")).is_ok_and(|ns| ns.identity == namespace) {
                return Ok((group, thread));
            }
        }
        Err(Unresolved::Missing)
    }
}

/// A process's numbers in the pid namespaces it is in, from that of the reader's procfs inwards.
#[derive(Debug, Default, PartialEq, Eq)]
struct Numbers {
    groups: Vec<u32>,
    threads: Vec<u32>,
}

impl Numbers {
    /// From a status file (proc_pid_status(5)).
    fn parse(status: &[u8]) -> Self {
        let mut found = Self::default();
        for line in status.split(|b| *b == b'\n') {
            let Ok(line) = std::str::from_utf8(line) else { continue };
            if let Some(list) = line.strip_prefix("NStgid:") {
                found.groups = list.split_ascii_whitespace().filter_map(|n| n.parse().ok()).collect();
            } else if let Some(list) = line.strip_prefix("NSpid:") {
                found.threads = list.split_ascii_whitespace().filter_map(|n| n.parse().ok()).collect();
            }
        }
        found
    }
}

/// A file of procfs, whole; one that is longer than [`FILE_MAX`] is an error.
pub(super) fn read(dir: BorrowedFd<'_>, path: &str) -> Result<Vec<u8>, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOFOLLOW;
    let file: OwnedFd = rustix::fs::openat(dir, path, flags, Mode::empty())?;
    let mut text = Vec::with_capacity(4096);
    loop {
        if text.len() > FILE_MAX {
            return Err(Errno::FBIG);
        }
        if text.spare_capacity_mut().is_empty() {
            text.reserve(text.len());
        }
        match rustix::io::read(&file, rustix::buffer::spare_capacity(&mut text)) {
            Ok(0) => return Ok(text),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// A process without a root or a working directory has ended.
fn gone(error: Errno) -> Unresolved {
    Unresolved::Unreadable(if error == Errno::NOENT { Errno::SRCH } else { error }.raw_os_error())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_from_a_status_file() {
        let status = b"Name:\ta b\nTgid:\t7\nNStgid:\t7\t3\nNSpid:\t9\t4\nNSpgid:\t7\t3\n";
        assert_eq!(Numbers::parse(status), Numbers { groups: vec![7, 3], threads: vec![9, 4] });
        assert_eq!(Numbers::parse(b"\xff\xfe\nNSpid\n"), Numbers::default());
    }
}
