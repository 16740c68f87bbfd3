//! Every entry beneath a directory.
//!
//! Invariant: parents come before what they hold, names of one directory in order; no link and no
//! mount is entered.

use std::os::fd::OwnedFd;

use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::Unresolved;
use super::mounts::join;
use super::node::{Node, PATH_MAX, facts_at, unresolved};
use crate::core::call::There;

/// More than `most` entries, or a path that has become too long: [`Unresolved::TooLarge`].
pub(super) fn entries(top: &Node, most: usize) -> Result<Vec<(Vec<u8>, There)>, Unresolved> {
    let mut found = Vec::new();
    // Directories to be listed, and entries to be told, the next one last.
    let mut rest = vec![(Vec::new(), There::Directory)];
    while let Some((path, there)) = rest.pop() {
        let dir = if there == There::Directory { list(top, &path)? } else { None };
        let beneath = dir.map(|fd| {
            let told = found.len() + usize::from(!path.is_empty());
            names(fd, &path, most.saturating_sub(told + rest.len()))
        });
        if !path.is_empty() {
            found.push((path, there));
        }
        rest.extend(beneath.transpose()?.unwrap_or_default());
    }
    Ok(found)
}

/// Opens a directory beneath `top`; `None`: it is gone, or something is mounted there.
fn list(top: &Node, path: &[u8]) -> Result<Option<OwnedFd>, Unresolved> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let path = if path.is_empty() { b"." } else { path };
    if path.len() >= PATH_MAX {
        return Err(Unresolved::TooLarge);
    }
    match rustix::fs::openat2(&top.fd, path, flags, Mode::empty(), how) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => Ok(None),
        Err(error) => Err(unresolved(error)),
    }
}

/// The last name first.
fn names(fd: OwnedFd, above: &[u8], room: usize) -> Result<Vec<(Vec<u8>, There)>, Unresolved> {
    let mut found = Vec::new();
    let mut dir = Dir::new(fd).map_err(unresolved)?;
    while let Some(entry) = dir.read() {
        let entry = entry.map_err(unresolved)?;
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            continue;
        }
        if found.len() >= room {
            return Err(Unresolved::TooLarge);
        }
        let there = match entry.file_type() {
            FileType::Directory => There::Directory,
            FileType::Unknown => match facts_at(dir.fd().map_err(unresolved)?, name) {
                Ok(facts) => facts.there(),
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(unresolved(error)),
            },
            _ => There::File,
        };
        found.push((join(above, name), there));
    }
    found.sort_unstable_by(|a, b| b.cmp(a));
    Ok(found)
}
