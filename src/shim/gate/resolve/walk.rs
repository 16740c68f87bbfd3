//! Follows a path as the kernel does for another process: to a name in a directory that is held, or
//! to a thing that has no name on the way there.
//!
//! Invariant: the directory comes from descriptors, never from text. `..` stops at the process's own
//! root, an absolute link starts there, and `self` of a procfs is that process. One question to the
//! kernel answers most paths; what it will not answer (links under a relative path, procfs, `..`, a
//! directory that is not in its cache) is walked component by component.
//!
//! Deliberately absent: what a directory is to the workspace (`locate`).

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::anchors::Anchors;
use super::node::{FIND, Facts, Node, PATH_MAX, facts_if_there, unresolved};
use super::process::Process;
use super::{Base, Last, Unresolved};

/// The kernel's own bound (path_resolution(7)).
const MAX_LINKS: u32 = 40;

/// The most components of one path, those of its links included.
const MAX_STEPS: u32 = 16_384;

const PROC_MAGIC: u32 = 0x9fa0;
const AUTOFS_MAGIC: u32 = 0x0187;

/// The inode of the top directory of every procfs.
const PROC_TOP: u64 = 1;

/// Where a path ends.
#[derive(Debug)]
pub(super) enum End {
    /// At a name in a directory; nothing need be there.
    Name { dir: Node, name: Vec<u8>, there: Option<Facts> },
    /// At something that was not reached by a name: by `.`, `..`, a magic link.
    Thing(Node),
}

/// Follows `path` as the process would.
pub(super) fn follow(
    process: &Process<'_>,
    base: Base,
    path: &[u8],
    last: Last,
    anchors: &Anchors,
) -> Result<End, Unresolved> {
    if path.is_empty() {
        return Err(Unresolved::Missing);
    }
    if path.len() >= PATH_MAX {
        return Err(Unresolved::TooLong);
    }
    if path.contains(&0) {
        return Err(Unresolved::Unreadable(Errno::INVAL.raw_os_error()));
    }
    let start = if path[0] == b'/' { None } else { Some(process.base(base)?) };
    if let Some((dir, name)) = parent(process, start.as_ref(), path, anchors)? {
        let there = facts_if_there(&dir.fd, name).map_err(unresolved)?;
        if !(last == Last::Follow && there.is_some_and(|t| t.is_link())) {
            return Ok(End::Name { dir, name: name.to_vec(), there });
        }
        return Walk::new(process, dir, name, last).run();
    }
    let start = match start {
        Some(start) => Node::new(start).map_err(unresolved)?,
        None => process.root_node()?,
    };
    Walk::new(process, start, path, last).run()
}

/// The directory of the last name, if one question to the kernel finds it, and finds what the process
/// would find.
fn parent<'p>(
    process: &Process<'_>,
    start: Option<&OwnedFd>,
    path: &'p [u8],
    anchors: &Anchors,
) -> Result<Option<(Node, &'p [u8])>, Unresolved> {
    let (above, name) = path.iter().rposition(|b| *b == b'/').map_or((&b""[..], path), |at| path.split_at(at + 1));
    if matches!(name, b"" | b"." | b"..") {
        return Ok(None);
    }
    let found = match start {
        Some(base) if above.is_empty() => rustix::io::fcntl_dupfd_cloexec(base, 0).and_then(Node::new).ok(),
        Some(base) => ask_from(process, base.as_fd(), above, anchors.root())?,
        None => ask(process.root()?, above, ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS),
    };
    let Some(dir) = found.filter(|dir| dir.facts.is_dir()) else { return Ok(None) };
    // `/proc/self` has led to ourselves.
    if !anchors.devices().contains(&dir.facts.device()) && dir.is_on(PROC_MAGIC).map_err(unresolved)? {
        return Ok(None);
    }
    Ok(Some((dir, name)))
}

/// `..` may lead above the process's root, and an absolute link starts there: the kernel does both right
/// where that root is ours.
fn ask_from(
    process: &Process<'_>,
    base: BorrowedFd<'_>,
    above: &[u8],
    root: &Facts,
) -> Result<Option<Node>, Unresolved> {
    if !above.split(|b| *b == b'/').any(|part| part == b"..")
        && let Some(found) = ask(base, above, ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)
    {
        return Ok(Some(found));
    }
    Ok(if process.is_root(root)? { ask(base, above, ResolveFlags::NO_MAGICLINKS) } else { None })
}

/// Only from the kernel's cache: what must be read from a disk or a server, or mounted first, is
/// walked to.
fn ask(from: BorrowedFd<'_>, path: &[u8], how: ResolveFlags) -> Option<Node> {
    let how = how | ResolveFlags::CACHED;
    let fd = rustix::fs::openat2(from, path, FIND | OFlags::DIRECTORY, Mode::empty(), how).ok()?;
    Node::new(fd).ok()
}

struct Walk<'a, 'w> {
    process: &'a Process<'w>,
    at: Node,
    pending: VecDeque<Vec<u8>>,
    last: Last,
    /// The path ends in a slash: what it names must be a directory.
    directory: bool,
    links: u32,
    steps: u32,
}

impl<'a, 'w> Walk<'a, 'w> {
    fn new(process: &'a Process<'w>, at: Node, path: &[u8], last: Last) -> Self {
        let mut walk = Self { process, at, pending: VecDeque::new(), last, directory: false, links: 0, steps: 0 };
        walk.push(path);
        walk
    }

    /// Puts the components of `path` before what is left to walk.
    fn push(&mut self, path: &[u8]) {
        self.directory |= self.pending.is_empty() && path.ends_with(b"/");
        for part in path.rsplit(|b| *b == b'/').filter(|part| !part.is_empty()) {
            self.pending.push_front(part.to_vec());
        }
    }

    fn run(mut self) -> Result<End, Unresolved> {
        while let Some(part) = self.pending.pop_front() {
            self.steps += 1;
            if self.steps > MAX_STEPS {
                return Err(Unresolved::Loop);
            }
            if !self.at.facts.is_dir() {
                return Err(Unresolved::Missing);
            }
            match part.as_slice() {
                b"." => {}
                b".." => self.up()?,
                _ if self.pending.is_empty() => {
                    if let Step::Arrived(there) = self.last_name(&part)? {
                        return Ok(End::Name { dir: self.at, name: part, there });
                    }
                }
                _ => self.down(&part)?,
            }
        }
        if self.directory && !self.at.facts.is_dir() {
            return Err(Unresolved::Missing);
        }
        Ok(End::Thing(self.at))
    }

    fn up(&mut self) -> Result<(), Unresolved> {
        if !self.process.is_root(&self.at.facts)? {
            self.at = self.at.up().map_err(unresolved)?;
        }
        Ok(())
    }

    fn down(&mut self, name: &[u8]) -> Result<(), Unresolved> {
        let next = match self.at.child(name) {
            Ok(next) => next,
            // It would be mounted first; what would be there then is not known.
            Err(Errno::NOENT) if self.at.is_on(AUTOFS_MAGIC).unwrap_or(false) => {
                return Err(Unresolved::Unreadable(Errno::NOENT.raw_os_error()));
            }
            Err(error) => return Err(unresolved(error)),
        };
        if next.facts.is_link() {
            return self.link(name);
        }
        self.at = next;
        Ok(())
    }

    fn last_name(&mut self, name: &[u8]) -> Result<Step, Unresolved> {
        let there = facts_if_there(&self.at.fd, name).map_err(unresolved)?;
        match there {
            Some(facts) if facts.is_link() && (self.last == Last::Follow || self.directory) => {
                self.link(name)?;
                Ok(Step::Link)
            }
            Some(facts) if self.directory && !facts.is_dir() => Err(Unresolved::Missing),
            there => Ok(Step::Arrived(there)),
        }
    }

    fn link(&mut self, name: &[u8]) -> Result<(), Unresolved> {
        self.links += 1;
        if self.links > MAX_LINKS {
            return Err(Unresolved::Loop);
        }
        let text = if self.at.is_on(PROC_MAGIC).map_err(unresolved)? {
            match self.proc_link(name)? {
                ProcLink::Text(text) => text,
                ProcLink::Thing(node) => {
                    self.at = node;
                    return Ok(());
                }
            }
        } else {
            text(&self.at, name)?
        };
        if text.is_empty() {
            return Err(Unresolved::Missing);
        }
        if text[0] == b'/' {
            self.at = self.process.root_node()?;
        }
        self.push(&text);
        Ok(())
    }

    /// A link of procfs is text that depends on the reader, or a door to a thing.
    fn proc_link(&self, name: &[u8]) -> Result<ProcLink, Unresolved> {
        if self.at.facts.identity.1 == PROC_TOP && matches!(name, b"self" | b"thread-self") {
            let (group, thread) = self.process.numbers_in(&self.at)?;
            let text = if name == b"self" { group.to_string() } else { format!("{group}/task/{thread}") };
            return Ok(ProcLink::Text(text.into_bytes()));
        }
        let magic = rustix::fs::openat2(&self.at.fd, name, FIND, Mode::empty(), ResolveFlags::NO_MAGICLINKS);
        if magic.is_err_and(|error| error == Errno::LOOP) {
            let thing = rustix::fs::openat(&self.at.fd, name, FIND, Mode::empty()).and_then(Node::new);
            return thing.map(ProcLink::Thing).map_err(unresolved);
        }
        text(&self.at, name).map(ProcLink::Text)
    }
}

enum Step {
    /// At the last name: what is there.
    Arrived(Option<Facts>),
    /// The walk goes on where it leads.
    Link,
}

enum ProcLink {
    Text(Vec<u8>),
    Thing(Node),
}

fn text(dir: &Node, name: &[u8]) -> Result<Vec<u8>, Unresolved> {
    let text = rustix::fs::readlinkat(&dir.fd, name, Vec::with_capacity(256)).map_err(unresolved)?;
    Ok(text.into_bytes())
}
