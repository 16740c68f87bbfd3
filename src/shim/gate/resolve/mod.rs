//! Which path of the workspace another process means, asked while that process stands still in a
//! system call.
//!
//! Invariant: the answer rests on devices and inodes of directories reached through `/proc/TID`, so it
//! holds in other mount, pid and user namespaces, in a chroot, through links, `..`, directory
//! descriptors and bind mounts. What is not proven is an error, never a guess. Nothing is opened for
//! reading or writing save directories that are listed, and no search is without a bound.
//!
//! Deliberately absent: whether the process may (`core`), and what happens between the answer and the
//! call: another thread of the process can still exchange what the path means.

mod anchors;
mod locate;
mod mounts;
mod node;
mod process;
mod tree;
mod usual;
mod walk;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};

use self::anchors::{Anchors, Spot};
use self::locate::{Location, Map};
use self::node::{FIND, Facts, Node, unresolved};
use self::process::Process;
use self::walk::End;
use crate::core::call::There;
use crate::core::path::RepoPath;

/// Where a relative path begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// The working directory (`AT_FDCWD`).
    Cwd,
    /// What this descriptor of the process is open on.
    Fd(i32),
}

/// What a symbolic link as the last component means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// What it leads to, whether that exists or not.
    Follow,
    /// The link.
    NoFollow,
}

/// What a path is to the workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Inside(RepoPath),
    /// The workspace itself.
    Root,
    /// A forbidden directory or something beneath one, wherever it lies; or `.git` in the root.
    Git,
    Outside,
    /// Something that has no path: an unlinked file, a pipe, a socket.
    Nameless,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    pub place: Place,
    pub there: There,
    /// Device and inode of what is there.
    pub identity: Option<(u64, u64)>,
    /// How many names it has; 0 where nothing is.
    pub links: u64,
}

/// Why it is not known what a path means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unresolved {
    /// The kernel says so itself when the call goes on.
    #[error("a directory of the path does not exist")]
    Missing,
    /// An errno.
    #[error("the process or a directory cannot be read (errno {0})")]
    Unreadable(i32),
    #[error("too many symbolic links")]
    Loop,
    #[error("the path is too long")]
    TooLong,
    #[error("too many entries")]
    TooLarge,
    /// On a device of the workspace, yet no path of it could be proven or excluded.
    #[error("the path may lie in the workspace, and could not be found there")]
    Elsewhere,
}

/// The workspace as a gate sees it.
#[derive(Debug)]
pub struct Workspace {
    map: Map,
    /// The last answer came from mounts of our own, so the usual case is worth a try.
    usual: bool,
    proc: OwnedFd,
}

impl Workspace {
    /// `forbidden` are the git directories and those of the supervisor; relative ones are in `root`, and
    /// they need not exist yet (while one does not, every question costs one more system call). What is
    /// mounted within `root` is looked at now; a file system that is mounted elsewhere already, and
    /// within `root` only later, counts as outside.
    pub fn open(root: &Path, forbidden: &[PathBuf]) -> io::Result<Self> {
        let proc = rustix::fs::openat(CWD, "/proc", FIND | OFlags::DIRECTORY, Mode::empty())?;
        let map = Map::new(Anchors::open(root, forbidden, proc.as_fd())?);
        Ok(Self { map, usual: true, proc })
    }

    /// What the thread `tid` means by `path`. A path of no bytes is [`Unresolved::Missing`]; a
    /// descriptor that it stands for in some calls is for [`Self::resolve_fd`].
    pub fn resolve(&mut self, tid: u32, base: Base, path: &[u8], last: Last) -> Result<Resolved, Unresolved> {
        self.map.anchors.look_again();
        if self.usual
            && let Ok((spot, there)) = usual::find(&mut self.map, self.proc.as_fd(), tid, base, path, last)
        {
            return named(&self.map, spot, there.as_ref());
        }
        let process = Process::new(self.proc.as_fd(), tid);
        let end = walk::follow(&process, base, path, last, &self.map.anchors)?;
        if let End::Name { dir, .. } = &end
            && self.map.anchors.devices().contains(&dir.facts.device())
        {
            self.usual = self.map.anchors.is_mounted_as(dir.facts.mount);
        }
        end_of(&mut self.map, &process, end)
    }

    /// What a descriptor of the thread `tid` is open on.
    pub fn resolve_fd(&mut self, tid: u32, fd: i32) -> Result<Resolved, Unresolved> {
        self.map.anchors.look_again();
        let process = Process::new(self.proc.as_fd(), tid);
        let node = process.fd(fd)?;
        thing(&mut self.map, &process, &node)
    }

    /// Every entry beneath the directory, relative to it, parents first; links are not followed. None
    /// for what is not a directory; more than `most`: [`Unresolved::TooLarge`].
    pub fn beneath(
        &mut self,
        tid: u32,
        base: Base,
        path: &[u8],
        most: usize,
    ) -> Result<Vec<(Vec<u8>, There)>, Unresolved> {
        let process = Process::new(self.proc.as_fd(), tid);
        let top = match walk::follow(&process, base, path, Last::NoFollow, &self.map.anchors)? {
            End::Thing(node) => node,
            End::Name { there: None, .. } => return Err(Unresolved::Missing),
            End::Name { dir, name, .. } => dir.child(&name).map_err(unresolved)?,
        };
        if top.facts.is_dir() { tree::entries(&top, most) } else { Ok(Vec::new()) }
    }
}

fn end_of(map: &mut Map, process: &Process<'_>, end: End) -> Result<Resolved, Unresolved> {
    let (dir, name, there) = match end {
        End::Thing(node) => return thing(map, process, &node),
        End::Name { dir, name, there } => (dir, name, there),
    };
    // It is another thing than the one that the directory has under this name.
    if there.is_some_and(|facts| facts.mount_root) {
        let node = dir.child(&name).map_err(unresolved)?;
        return thing(map, process, &node);
    }
    if there.is_none() && map.anchors.is_absent(&dir, &name) {
        return Ok(resolved(Place::Git, None));
    }
    match map.of(process, &dir)? {
        Location::Beneath((index, rel)) => named(map, (index, mounts::join(&rel, &name)), there.as_ref()),
        Location::Outside => match there.and_then(|facts| map.anchors.by_identity(facts.identity)) {
            Some(index) => named(map, (index, Vec::new()), there.as_ref()),
            None => Ok(resolved(Place::Outside, there.as_ref())),
        },
        // Nothing can be made in a directory that was removed.
        Location::Nameless => Err(Unresolved::Missing),
    }
}

/// The name at `spot`, and what is there.
fn named(map: &Map, spot: Spot, there: Option<&Facts>) -> Result<Resolved, Unresolved> {
    let anchor = there.and_then(|facts| map.anchors.by_identity(facts.identity));
    let place = spot_place(map, anchor.map_or(spot, |index| (index, Vec::new())))?;
    Ok(resolved(place, there))
}

fn thing(map: &mut Map, process: &Process<'_>, node: &Node) -> Result<Resolved, Unresolved> {
    let place = match map.of(process, node)? {
        Location::Beneath(spot) => spot_place(map, spot)?,
        Location::Outside => Place::Outside,
        Location::Nameless => Place::Nameless,
    };
    Ok(resolved(place, Some(&node.facts)))
}

fn spot_place(map: &Map, (index, rel): Spot) -> Result<Place, Unresolved> {
    if map.anchors.get(index).forbidden || mounts::beneath(&rel, b".git").is_some() {
        return Ok(Place::Git);
    }
    if rel.is_empty() {
        return Ok(Place::Root);
    }
    RepoPath::new(&rel).map(Place::Inside).map_err(|_| Unresolved::Elsewhere)
}

fn resolved(place: Place, there: Option<&Facts>) -> Resolved {
    Resolved {
        place,
        there: there.map_or(There::Nothing, Facts::there),
        identity: there.map(|facts| facts.identity),
        links: there.map_or(0, |facts| facts.links),
    }
}
