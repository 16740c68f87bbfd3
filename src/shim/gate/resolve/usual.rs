//! The usual case in a few questions to the kernel: a process that sees our own mounts names a file in
//! a directory that was found before.
//!
//! Invariant: what is answered here is what the long way (`walk`, then `locate`) would answer, and as
//! well proven; [`Unusual`] sends the caller there. A name is looked up beneath an anchor's own descriptor
//! and without a link, which is the process's own way where its root, or the directory that it begins
//! in, is the very mount that the anchor is in.
//!
//! Deliberately absent: links, `..`, `.`, procfs, other mount namespaces, and all that is not in the
//! kernel's cache.

use std::os::fd::BorrowedFd;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::anchors::Spot;
use super::locate::Map;
use super::mounts::join;
use super::node::{FIND, Facts, PATH_MAX, facts_at, facts_if_there, facts_through};
use super::{Base, Last};

/// It must be asked the long way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unusual;

impl From<Errno> for Unusual {
    fn from(_: Errno) -> Self {
        Self
    }
}

/// Where the name is, and what is there.
pub(super) fn find(
    map: &mut Map,
    proc: BorrowedFd<'_>,
    tid: u32,
    base: Base,
    path: &[u8],
    last: Last,
) -> Result<(Spot, Option<Facts>), Unusual> {
    if path.len() >= PATH_MAX {
        return Err(Unusual);
    }
    let relative = path.strip_prefix(b"/");
    let mut parts = relative.unwrap_or(path).split(|b| *b == b'/');
    if parts.any(|part| matches!(part, b"" | b"." | b"..")) {
        return Err(Unusual);
    }
    let at = path.iter().rposition(|b| *b == b'/');
    let (above, name) = at.map_or((&b""[..], path), |at| (&path[..at], &path[at + 1..]));
    let (spot, start) = if relative.is_some() {
        (absolute(map, proc, tid, above)?, None)
    } else {
        let (spot, start) = begin(map, proc, tid, base, above)?;
        (spot, Some(start))
    };
    let there = look(map, &spot, start.filter(|_| above.is_empty()).as_ref(), name)?;
    // What is not there may be the name of something forbidden.
    if there.is_none() && map.anchors.has_absent() {
        return Err(Unusual);
    }
    if there.is_some_and(|facts| facts.mount_root || (facts.is_link() && last == Last::Follow)) {
        return Err(Unusual);
    }
    let (index, rel) = spot;
    Ok(((index, join(&rel, name)), there))
}

/// From a root that is our own, through the path of an anchor that still leads there.
fn absolute(map: &Map, proc: BorrowedFd<'_>, tid: u32, above: &[u8]) -> Result<Spot, Unusual> {
    let (index, rel) = map.anchors.known_texts(above).ok_or(Unusual)?;
    let root = facts_through(proc, &format!("{tid}/root"))?;
    let same = root.is_same_place(map.anchors.root()) && map.anchors.get(index).is_where_it_was();
    if same { Ok((index, rel)) } else { Err(Unusual) }
}

/// From the directory that a relative path begins in, if it lies in an anchor's own mount.
fn begin(map: &mut Map, proc: BorrowedFd<'_>, tid: u32, base: Base, above: &[u8]) -> Result<(Spot, Facts), Unusual> {
    let link = match base {
        Base::Cwd => format!("{tid}/cwd"),
        Base::Fd(number) if number >= 0 => format!("{tid}/fd/{number}"),
        Base::Fd(_) => return Err(Unusual),
    };
    let start = facts_through(proc, &link)?;
    if !start.is_dir() {
        return Err(Unusual);
    }
    let (index, rel) = map.hint(start.identity).ok_or(Unusual)?;
    let anchor = map.anchors.get(index);
    if anchor.facts().mount != start.mount {
        return Err(Unusual);
    }
    // That no link leads there is seen when the whole is opened.
    let known = above.is_empty()
        || rel.is_empty()
        || facts_at(anchor.fd(), &rel).is_ok_and(|found| found.is_same_place(&start));
    if known { Ok(((index, join(&rel, above)), start)) } else { Err(Unusual) }
}

/// Directories below an anchor up to which asking about each is cheaper than to open the last, and to close it.
const FEW: usize = 2;

/// The same, asked from the anchor about each name of the way.
fn look_step_by_step(map: &mut Map, spot: &Spot, start: Option<&Facts>, name: &[u8]) -> Result<Option<Facts>, Unusual> {
    let (index, rel) = spot;
    let ends = rel.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at).chain([rel.len()]);
    let anchor = map.anchors.get(*index).fd();
    let way: Vec<Facts> = ends.map(|end| facts_at(anchor, &rel[..end])).collect::<Result<_, _>>()?;
    let dir = way.last().filter(|_| way.iter().all(Facts::is_dir)).ok_or(Unusual)?;
    let there = facts_if_there(anchor, &join(rel, name))?;
    same_directory(map, spot, start, dir).then_some(there).ok_or(Unusual)
}

/// What is at the name in the directory at `spot`, which is one that was found there before: `start`,
/// if given.
fn look(map: &mut Map, spot: &Spot, start: Option<&Facts>, name: &[u8]) -> Result<Option<Facts>, Unusual> {
    let (index, rel) = spot;
    if rel.is_empty() {
        return Ok(facts_if_there(map.anchors.get(*index).fd(), name)?);
    }
    if rel.split(|b| *b == b'/').count() <= FEW {
        return look_step_by_step(map, spot, start, name);
    }
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::CACHED;
    let flags = FIND | OFlags::DIRECTORY;
    let dir = rustix::fs::openat2(map.anchors.get(*index).fd(), rel.as_slice(), flags, Mode::empty(), how)?;
    let there = facts_if_there(&dir, name)?;
    same_directory(map, spot, start, &facts_at(&dir, b"")?).then_some(there).ok_or(Unusual)
}

/// Is it the directory that was found at `spot` before, and the one that the process begins in?
fn same_directory(map: &mut Map, spot: &Spot, start: Option<&Facts>, dir: &Facts) -> bool {
    start.is_none_or(|start| start.is_same_place(dir)) && map.hint(dir.identity).as_ref() == Some(spot)
}
