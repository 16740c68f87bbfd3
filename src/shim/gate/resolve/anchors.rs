//! The directories that matter: the root of the workspace, and what belongs to git or the supervisor.
//!
//! Invariant: an anchor is held open, so its device and inode are nobody else's; its path is read
//! anew whenever it matters.
//!
//! Deliberately absent: finding out what lies beneath which (`locate`).

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::node::{FIND, Facts, Identity, Node, facts_at};
use super::{mounts, process};

/// The most directories between one and the top of its mount.
pub(super) const MAX_DEPTH: usize = 4096;

#[derive(Debug)]
pub(super) struct Anchor {
    node: Node,
    /// Its path when last read; it may have been moved since.
    text: RefCell<Vec<u8>>,
    /// What is at the top of the mount it is in.
    pub(super) top: Identity,
    pub(super) forbidden: bool,
}

impl Anchor {
    fn open(path: &Path, forbidden: bool) -> Result<Self, Errno> {
        let node = Node::new(rustix::fs::openat(CWD, path, FIND, Mode::empty())?)?;
        let mut top = node.facts.identity;
        if node.facts.is_dir() && !node.facts.mount_root {
            let mut at = node.up()?;
            for _ in 0..MAX_DEPTH {
                if at.facts.mount_root {
                    break;
                }
                at = at.up()?;
            }
            top = at.facts.identity;
        }
        let text = RefCell::new(node.text()?);
        Ok(Self { node, text, top, forbidden })
    }

    pub(super) fn facts(&self) -> &Facts {
        &self.node.facts
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.node.fd.as_fd()
    }

    /// Its path, as of now.
    pub(super) fn text(&self) -> Result<Vec<u8>, Errno> {
        let text = self.node.text()?;
        self.text.borrow_mut().clone_from(&text);
        Ok(text)
    }

    /// Does the path that it had still lead to it?
    pub(super) fn is_where_it_was(&self) -> bool {
        facts_at(CWD, &self.text.borrow()).is_ok_and(|found| found.is_same_place(&self.node.facts))
    }

    /// Is this what the anchor has at `rel`, with no link on the way?
    pub(super) fn has(&self, rel: &[u8], identity: Identity) -> bool {
        // Where they are few, asking about each is cheaper than opening the last.
        let mut slashes = rel.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at);
        let (first, second) = (slashes.next(), slashes.next());
        if rel.is_empty() || second.is_some() {
            return self.dir(rel).is_ok_and(|found| found.facts.identity == identity);
        }
        first.is_none_or(|at| facts_at(self.fd(), &rel[..at]).is_ok_and(|found| found.is_dir()))
            && facts_at(self.fd(), rel).is_ok_and(|found| found.is_dir() && found.identity == identity)
    }

    /// The directory `rel`, if no link leads there.
    pub(super) fn dir(&self, rel: &[u8]) -> Result<Node, Errno> {
        if rel.is_empty() {
            return self.node.again();
        }
        let open = |how| rustix::fs::openat2(&self.node.fd, rel, FIND | OFlags::DIRECTORY, Mode::empty(), how);
        let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let found: Result<OwnedFd, Errno> = match open(how | ResolveFlags::CACHED) {
            Err(Errno::AGAIN | Errno::INVAL) => open(how),
            found => found,
        };
        Node::new(found?)
    }
}

/// A directory of an anchor: which one, and the path beneath it.
pub(super) type Spot = (usize, Vec<u8>);

#[derive(Debug)]
pub(super) struct Anchors {
    /// The workspace is the first.
    all: Vec<Anchor>,
    /// Our own root.
    root: Facts,
    devices: Vec<u64>,
    /// Devices of which nothing is in the workspace.
    foreign: BTreeSet<u64>,
    /// Forbidden, and not there when last looked for.
    absent: Vec<PathBuf>,
    /// What is mounted within the workspace, as we see it, and where.
    mounted: Vec<(Identity, Vec<u8>)>,
}

impl Anchors {
    pub(super) fn open(root: &Path, forbidden: &[PathBuf], proc: BorrowedFd<'_>) -> io::Result<Self> {
        let workspace = Anchor::open(root, false)?;
        if !workspace.facts().is_dir() {
            return Err(Errno::NOTDIR.into());
        }
        let path = workspace.text()?;
        let devices = vec![workspace.facts().device()];
        let root = facts_at(CWD, b"/")?;
        let mut anchors = Self {
            all: vec![workspace],
            root,
            devices,
            foreign: BTreeSet::new(),
            absent: Vec::new(),
            mounted: Vec::new(),
        };
        let mut absent = Vec::new();
        for forbidden in forbidden {
            let full = if forbidden.is_absolute() {
                forbidden.clone()
            } else {
                Path::new(OsStr::from_bytes(&path)).join(forbidden)
            };
            if !anchors.forbid(&full)? {
                absent.push(full);
            }
        }
        anchors.forbid(&Path::new(OsStr::from_bytes(&path)).join(".git"))?;
        // What lies beneath another is forbidden with it.
        absent.retain(|path| !anchors.spots_of(path.as_os_str().as_bytes()).iter().any(|(i, _)| *i > 0));
        anchors.absent = absent;
        anchors.find_mounted(&path, proc)?;
        Ok(anchors)
    }

    /// Is there something to forbid? (The workspace itself never is.)
    fn forbid(&mut self, path: &Path) -> Result<bool, Errno> {
        match Anchor::open(path, true) {
            Ok(anchor) => {
                if self.by_identity(anchor.facts().identity).is_none() {
                    self.add_device(anchor.facts().device());
                    self.all.push(anchor);
                }
                Ok(true)
            }
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn find_mounted(&mut self, root: &[u8], proc: BorrowedFd<'_>) -> Result<(), Errno> {
        let table = process::read(proc, "thread-self/mountinfo").or_else(|_| process::read(proc, "self/mountinfo"))?;
        for mount in mounts::parse(&table) {
            let Some(rel) = mounts::beneath(&mount.point, root).filter(|rel| !rel.is_empty()) else {
                self.foreign.insert(mount.device);
                continue;
            };
            // One that cannot be reached is hidden, or not ours to see.
            let Ok(dir) = self.all[0].dir(rel) else { continue };
            self.add_device(dir.facts.device());
            self.mounted.push((dir.facts.identity, rel.to_vec()));
        }
        self.foreign.retain(|device| !self.devices.contains(device));
        Ok(())
    }

    fn add_device(&mut self, device: u64) {
        self.foreign.remove(&device);
        if !self.devices.contains(&device) {
            self.devices.push(device);
        }
    }

    /// Devices on which something of ours lies.
    pub(super) fn devices(&self) -> &[u64] {
        &self.devices
    }

    /// Is it known that nothing of ours lies on it?
    pub(super) fn is_foreign(&self, device: u64) -> bool {
        self.foreign.contains(&device)
    }

    /// Our own root directory.
    pub(super) fn root(&self) -> &Facts {
        &self.root
    }

    pub(super) fn get(&self, index: usize) -> &Anchor {
        &self.all[index]
    }

    pub(super) fn by_identity(&self, identity: Identity) -> Option<usize> {
        self.all.iter().position(|anchor| anchor.facts().identity == identity)
    }

    /// An anchor, or what is mounted in the workspace.
    pub(super) fn spot(&self, identity: Identity) -> Option<Spot> {
        if let Some(index) = self.by_identity(identity) {
            return Some((index, Vec::new()));
        }
        self.mounted.iter().find(|(mounted, _)| *mounted == identity).map(|(_, rel)| (0, rel.clone()))
    }

    pub(super) fn on(&self, device: u64) -> impl Iterator<Item = (usize, &Anchor)> {
        self.all.iter().enumerate().filter(move |(_, anchor)| anchor.facts().device() == device)
    }

    /// Is it the number of a mount that an anchor is in?
    pub(super) fn is_mounted_as(&self, mount: u64) -> bool {
        self.all.iter().any(|anchor| anchor.facts().mount == mount)
    }

    pub(super) fn is_mounted_on(&self, device: u64) -> bool {
        self.mounted.iter().any(|(identity, _)| identity.0 == device)
    }

    pub(super) fn mounted(&self) -> impl Iterator<Item = &(Identity, Vec<u8>)> {
        self.mounted.iter()
    }

    /// Is it where it was in the workspace, of which `root` is the path? (Cheaper than to read its path.)
    fn is_still_in(&self, root: &[u8], anchor: &Anchor) -> bool {
        mounts::beneath(&anchor.text.borrow(), root)
            .is_some_and(|rel| !rel.is_empty() && self.all[0].has(rel, anchor.facts().identity))
    }

    /// Where `text` lies beneath anchors, the nearest first. Only a hint.
    pub(super) fn spots_of(&self, text: &[u8]) -> Vec<Spot> {
        let Ok(root) = self.all[0].text() else { return Vec::new() };
        let mut found = Vec::new();
        for (index, anchor) in self.all.iter().enumerate() {
            if index > 0 && !self.is_still_in(&root, anchor) && anchor.text().is_err() {
                continue;
            }
            if let Some(rel) = mounts::beneath(text, &anchor.text.borrow()) {
                found.push((index, rel.to_vec()));
            }
        }
        found.sort_by_key(|(_, rel)| rel.len());
        found
    }

    /// The nearest anchor that `text` was beneath when its path was last read.
    pub(super) fn known_texts(&self, text: &[u8]) -> Option<Spot> {
        let anchors = self.all.iter().enumerate();
        let found = anchors.filter_map(|(i, a)| Some((i, mounts::beneath(text, &a.text.borrow())?.to_vec())));
        found.min_by_key(|(_, rel)| rel.len())
    }

    /// Forbidden things that have come into being since.
    pub(super) fn look_again(&mut self) {
        if self.absent.is_empty() {
            return;
        }
        for path in std::mem::take(&mut self.absent) {
            if !self.forbid(&path).unwrap_or(false) {
                self.absent.push(path);
            }
        }
    }

    pub(super) fn has_absent(&self) -> bool {
        !self.absent.is_empty()
    }

    /// Is it the name of something forbidden that is not there?
    pub(super) fn is_absent(&self, dir: &Node, name: &[u8]) -> bool {
        self.absent.iter().any(|path| {
            path.file_name().is_some_and(|n| n.as_bytes() == name)
                && path
                    .parent()
                    .and_then(|parent| rustix::fs::openat(CWD, parent, FIND, Mode::empty()).ok())
                    .and_then(|fd| Node::new(fd).ok())
                    .is_some_and(|parent| parent.facts.identity == dir.facts.identity)
        })
    }
}
