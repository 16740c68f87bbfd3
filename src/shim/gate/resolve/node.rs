//! What the file system says of one file or directory, asked by descriptor.
//!
//! Invariant: nothing here follows a symbolic link, opens what it looks at for reading or writing, or
//! triggers an automount; network file systems answer from what they have cached.
//!
//! Deliberately absent: paths of more than one component.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Statx, StatxAttributes, StatxFlags};
use rustix::io::Errno;

use super::Unresolved;
use crate::core::call::There;

/// Device and inode. Two names of one file share it; nothing else does while the file exists.
pub(super) type Identity = (u64, u64);

/// To find a file, not to use it: a FIFO is not waited for, a device not woken.
pub(super) const FIND: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

/// The longest path that the kernel takes, its NUL byte included (path_resolution(7)).
pub(super) const PATH_MAX: usize = 4096;

const MASK: StatxFlags = StatxFlags::TYPE.union(StatxFlags::INO).union(StatxFlags::NLINK).union(StatxFlags::MNT_ID);

#[derive(Clone, Copy, Debug)]
pub(super) struct Facts {
    pub(super) identity: Identity,
    /// The number that the mount has in mountinfo.
    pub(super) mount: u64,
    /// Names of it on disk; 0: none is left, or it never had one.
    pub(super) links: u64,
    pub(super) kind: FileType,
    /// It is what is mounted at this place, so `..` leads out of the mount.
    pub(super) mount_root: bool,
}

impl Facts {
    fn of(raw: &Statx) -> Self {
        Self {
            identity: (rustix::fs::makedev(raw.stx_dev_major, raw.stx_dev_minor), raw.stx_ino),
            mount: raw.stx_mnt_id,
            links: u64::from(raw.stx_nlink),
            kind: FileType::from_raw_mode(raw.stx_mode.into()),
            mount_root: raw.stx_attributes.contains(StatxAttributes::MOUNT_ROOT),
        }
    }

    pub(super) fn device(&self) -> u64 {
        self.identity.0
    }

    pub(super) fn is_dir(&self) -> bool {
        self.kind == FileType::Directory
    }

    pub(super) fn is_link(&self) -> bool {
        self.kind == FileType::Symlink
    }

    pub(super) fn there(&self) -> There {
        if self.is_dir() { There::Directory } else { There::File }
    }

    /// The same directory of the same mount: `..` means the same in both.
    pub(super) fn is_same_place(&self, other: &Self) -> bool {
        self.identity == other.identity && self.mount == other.mount
    }
}

/// A file or directory, held.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) fd: OwnedFd,
    pub(super) facts: Facts,
}

impl Node {
    pub(super) fn new(fd: OwnedFd) -> Result<Self, Errno> {
        let facts = facts_at(&fd, b"")?;
        Ok(Self { fd, facts })
    }

    /// What `name` is in this directory; a link is itself meant.
    pub(super) fn child(&self, name: &[u8]) -> Result<Self, Errno> {
        Self::new(rustix::fs::openat(&self.fd, name, FIND | OFlags::NOFOLLOW, Mode::empty())?)
    }

    pub(super) fn up(&self) -> Result<Self, Errno> {
        Self::new(rustix::fs::openat(&self.fd, "..", FIND | OFlags::DIRECTORY, Mode::empty())?)
    }

    pub(super) fn again(&self) -> Result<Self, Errno> {
        Ok(Self { fd: rustix::io::fcntl_dupfd_cloexec(&self.fd, 0)?, facts: self.facts })
    }

    /// Its path as the kernel prints it: from our root, or from the top of a mount namespace that is
    /// not ours. Only a hint: what it says is checked by identity.
    pub(super) fn text(&self) -> Result<Vec<u8>, Errno> {
        let link = format!("/proc/self/fd/{}", self.fd.as_raw_fd());
        rustix::fs::readlinkat(CWD, link, Vec::with_capacity(256)).map(std::ffi::CString::into_bytes)
    }

    pub(super) fn is_on(&self, magic: u32) -> Result<bool, Errno> {
        rustix::fs::fstatfs(&self.fd).map(|found| u64::try_from(found.f_type).is_ok_and(|t| t == u64::from(magic)))
    }
}

/// What `name` is in `dir`; the directory itself where the name is empty.
pub(super) fn facts_at(dir: impl AsFd, name: &[u8]) -> Result<Facts, Errno> {
    let mut flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT | AtFlags::STATX_DONT_SYNC;
    if name.is_empty() {
        flags |= AtFlags::EMPTY_PATH;
    }
    rustix::fs::statx(dir, name, flags, MASK).map(|raw| Facts::of(&raw))
}

/// The same; `None`: nothing is there.
pub(super) fn facts_if_there(dir: impl AsFd, name: &[u8]) -> Result<Option<Facts>, Errno> {
    match facts_at(dir, name) {
        Ok(facts) => Ok(Some(facts)),
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What a link of procfs is a door to.
pub(super) fn facts_through(proc: impl AsFd, link: &str) -> Result<Facts, Errno> {
    let flags = AtFlags::NO_AUTOMOUNT | AtFlags::STATX_DONT_SYNC;
    rustix::fs::statx(proc, link, flags, MASK).map(|raw| Facts::of(&raw))
}

/// What the kernel says of it when the process's own call goes on; or that we do not know.
pub(super) fn unresolved(error: Errno) -> Unresolved {
    match error {
        Errno::NOENT | Errno::NOTDIR => Unresolved::Missing,
        Errno::NAMETOOLONG => Unresolved::TooLong,
        Errno::LOOP => Unresolved::Loop,
        other => Unresolved::Unreadable(other.raw_os_error()),
    }
}
