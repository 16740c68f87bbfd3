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

use super::node::{FIND, Node, unresolved};
use super::{Base, Unresolved};

/// The most of a status or mountinfo file that is read.
const FILE_MAX: usize = 4 << 20;

#[derive(Debug)]
pub(super) struct Process<'w> {
    proc: BorrowedFd<'w>,
    tid: u32,
    root: OnceCell<Node>,
}

impl<'w> Process<'w> {
    /// The thread `tid`, as numbered in the procfs `proc`.
    pub(super) fn new(proc: BorrowedFd<'w>, tid: u32) -> Self {
        Self { proc, tid, root: OnceCell::new() }
    }

    pub(super) fn root(&self) -> Result<&Node, Unresolved> {
        if let Some(root) = self.root.get() {
            return Ok(root);
        }
        let root = self.open("root").map_err(gone)?;
        Ok(self.root.get_or_init(|| root))
    }

    pub(super) fn base(&self, base: Base) -> Result<Node, Unresolved> {
        match base {
            Base::Cwd => self.open("cwd").map_err(gone),
            Base::Fd(number) => self.fd(number),
        }
    }

    /// What the descriptor is open on. One that is not open is [`Unresolved::Missing`]: EBADF.
    pub(super) fn fd(&self, number: i32) -> Result<Node, Unresolved> {
        if number < 0 {
            return Err(Unresolved::Missing);
        }
        self.open(&format!("fd/{number}")).map_err(unresolved)
    }

    fn open(&self, what: &str) -> Result<Node, Errno> {
        let path = format!("{}/{what}", self.tid);
        Node::new(rustix::fs::openat(self.proc, path, FIND, Mode::empty())?)
    }

    /// The lines of its mount table; mount points are given from its root.
    pub(super) fn mounts(&self) -> Result<Vec<u8>, Unresolved> {
        read(self.proc, &format!("{}/mountinfo", self.tid)).map_err(gone)
    }

    /// What `self` (process) and `thread-self` (process and thread) stand for in `procfs`, which may
    /// be that of another pid namespace than ours. Where the process is not in it, they lead nowhere.
    pub(super) fn numbers_in(&self, procfs: &Node) -> Result<(u32, u32), Unresolved> {
        let here = Numbers::parse(&read(self.proc, &format!("{}/status", self.tid)).map_err(gone)?);
        let namespace = self.open("ns/pid").map_err(gone)?.facts.identity;
        for level in 0..here.threads.len() {
            let (Some(&group), Some(&thread)) = (here.groups.get(level), here.threads.get(level)) else { break };
            let task = format!("{group}/task/{thread}");
            let Ok(status) = read(procfs.fd.as_fd(), &format!("{task}/status")) else { continue };
            let there = Numbers::parse(&status);
            if there.threads != here.threads[level..] || there.groups != here.groups[level..] {
                continue;
            }
            // A namespace beside it can hold a process with the same numbers.
            let ns = rustix::fs::openat(&procfs.fd, format!("{task}/ns/pid"), FIND, Mode::empty()).and_then(Node::new);
            if ns.is_ok_and(|ns| ns.facts.identity == namespace) {
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
