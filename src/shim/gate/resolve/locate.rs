//! What a directory or file, held by descriptor, is to the workspace.
//!
//! Invariant: "beneath an anchor" is said only of a directory that the anchor's own descriptor leads
//! to without a link, by device and inode, at this moment; "outside" only where every directory above
//! it is known not to be an anchor. What is neither is [`Unresolved::Elsewhere`].
//!
//! Deliberately absent: how the process came there (`walk`).

use std::collections::BTreeMap;

use rustix::fs::{Mode, ResolveFlags};

use super::Unresolved;
use super::anchors::{Anchors, MAX_DEPTH, Spot};
use super::mounts::{self, Mount};
use super::node::{FIND, Facts, Identity, Node, PATH_MAX, facts_at, unresolved};
use super::process::{self, Process};

/// The most directories that are remembered, twice.
const CACHE: usize = 4096;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Location {
    /// At this path of this anchor; empty: the anchor.
    Beneath(Spot),
    Outside,
    /// It has no name: deleted, or never linked; a pipe, a socket.
    Nameless,
}

/// Where directories were found; a hint that is checked before it is used. Of two generations the
/// older is forgotten when the younger is full.
#[derive(Debug, Default)]
struct Cache {
    young: BTreeMap<Identity, Spot>,
    old: BTreeMap<Identity, Spot>,
}

impl Cache {
    fn get(&mut self, identity: Identity) -> Option<Spot> {
        if let Some(spot) = self.young.get(&identity) {
            return Some(spot.clone());
        }
        let spot = self.old.remove(&identity)?;
        self.put(identity, spot.clone());
        Some(spot)
    }

    fn put(&mut self, identity: Identity, spot: Spot) {
        if self.young.len() >= CACHE {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(identity, spot);
    }

    fn forget(&mut self, identity: Identity) {
        self.young.remove(&identity);
        self.old.remove(&identity);
    }
}

#[derive(Debug)]
pub(super) struct Map {
    pub(super) anchors: Anchors,
    cache: Cache,
}

impl Map {
    pub(super) fn new(anchors: Anchors) -> Self {
        Self { anchors, cache: Cache::default() }
    }

    pub(super) fn of(&mut self, process: &Process<'_>, node: &Node) -> Result<Location, Unresolved> {
        if node.facts.is_dir() { self.of_dir(process, node) } else { self.of_file(process, node) }
    }

    fn of_dir(&mut self, process: &Process<'_>, dir: &Node) -> Result<Location, Unresolved> {
        if let Some(spot) = self.known(&dir.facts) {
            return Ok(Location::Beneath(spot));
        }
        if dir.facts.links == 0 {
            return Ok(Location::Nameless);
        }
        if self.anchors.is_foreign(dir.facts.device()) {
            return Ok(Location::Outside);
        }
        let text = dir.text().ok();
        if let Some(text) = &text
            && let Some(spot) = self.by_text(text, &dir.facts)
        {
            return Ok(Location::Beneath(spot));
        }
        let device = dir.facts.device();
        if !self.anchors.devices().contains(&device) {
            return Ok(Location::Outside);
        }
        // Within one mount the kernel's text is exact.
        let exact = text.as_ref().is_some_and(|t| t.starts_with(b"/")) && !self.anchors.is_mounted_on(device);
        if exact && self.anchors.on(device).all(|(_, anchor)| anchor.facts().mount == dir.facts.mount) {
            return Ok(Location::Outside);
        }
        self.climb(process, dir, text.as_deref())
    }

    /// Without a look at its name: an anchor, or one that was found before and is still there.
    fn known(&mut self, dir: &Facts) -> Option<Spot> {
        if let Some(index) = self.anchors.by_identity(dir.identity) {
            return Some((index, Vec::new()));
        }
        let spot = self.cache.get(dir.identity)?;
        if self.is_at(&spot, dir.identity) {
            return Some(spot);
        }
        self.cache.forget(dir.identity);
        None
    }

    fn is_at(&self, (index, rel): &Spot, identity: Identity) -> bool {
        self.anchors.get(*index).has(rel, identity)
    }

    /// Where a directory was when last seen, unless that is too long ago.
    pub(super) fn hint(&mut self, identity: Identity) -> Option<Spot> {
        match self.anchors.by_identity(identity) {
            Some(index) => Some((index, Vec::new())),
            None => self.cache.get(identity),
        }
    }

    fn prove(&mut self, spot: Spot, dir: &Facts) -> Option<Spot> {
        if !self.is_at(&spot, dir.identity) {
            return None;
        }
        self.cache.put(dir.identity, spot.clone());
        Some(spot)
    }

    fn by_text(&mut self, text: &[u8], dir: &Facts) -> Option<Spot> {
        let spots = self.anchors.spots_of(text);
        spots.into_iter().find_map(|spot| self.prove(spot, dir))
    }

    /// By the directories above it, up to the top of its mount; from there by the mount table.
    fn climb(&mut self, process: &Process<'_>, dir: &Node, text: Option<&[u8]>) -> Result<Location, Unresolved> {
        let mut at = dir.again().map_err(unresolved)?;
        for depth in 0..MAX_DEPTH {
            if let Some((index, above)) = self.anchors.spot(at.facts.identity).or_else(|| self.known(&at.facts)) {
                let rest = text.ok_or(Unresolved::TooLong)?;
                let rest = mounts::tail(rest, depth).ok_or(Unresolved::Elsewhere)?;
                let spot = (index, mounts::join(&above, rest));
                return self.prove(spot, &dir.facts).map(Location::Beneath).ok_or(Unresolved::Elsewhere);
            }
            if at.facts.mount_root {
                return self.above(process, dir, text, &at.facts, depth);
            }
            let up = at.up().map_err(unresolved)?;
            if up.facts.is_same_place(&at.facts) {
                return Err(Unresolved::Elsewhere);
            }
            at = up;
        }
        Err(Unresolved::TooLong)
    }

    /// `depth` directories below the top of a mount; no anchor is among them.
    fn above(
        &mut self,
        process: &Process<'_>,
        dir: &Node,
        text: Option<&[u8]>,
        top: &Facts,
        depth: usize,
    ) -> Result<Location, Unresolved> {
        let device = dir.facts.device();
        // A mount with the same top as those of our own: no anchor is above it.
        if !self.anchors.is_mounted_on(device) && self.anchors.on(device).all(|(_, a)| a.top == top.identity) {
            return Ok(Location::Outside);
        }
        let rest = text.ok_or(Unresolved::TooLong)?;
        let rest = mounts::tail(rest, depth).ok_or(Unresolved::Elsewhere)?;
        let ours = own_mounts()?;
        let Some(root) = root_of(process, top.mount, &ours)? else { return Err(Unresolved::Elsewhere) };
        let path = mounts::join(&root, rest);
        match self.by_disk(&path, device, &ours) {
            None => Ok(Location::Outside),
            Some(spot) => self.prove(spot, &dir.facts).map(Location::Beneath).ok_or(Unresolved::Elsewhere),
        }
    }

    /// `path` is one within the file system of `device`: which anchor is it beneath?
    fn by_disk(&self, path: &[u8], device: u64, ours: &[Mount]) -> Option<Spot> {
        let anchors = self.anchors.on(device).filter_map(|(index, anchor)| {
            let mount = ours.iter().find(|mount| mount.id == anchor.facts().mount)?;
            let text = anchor.text().ok()?;
            let on_disk = mounts::join(&mount.root, mounts::beneath(&text, &mount.point)?);
            Some((index, mounts::beneath(path, &on_disk)?.to_vec()))
        });
        let mounted = self.anchors.mounted().filter(|(identity, _)| identity.0 == device).filter_map(|(_, rel)| {
            let at = self.anchors.get(0).dir(rel).ok()?;
            let mount = ours.iter().find(|mount| mount.id == at.facts.mount)?;
            Some((0, mounts::join(rel, mounts::beneath(path, &mount.root)?)))
        });
        anchors.chain(mounted).min_by_key(|(_, rel)| rel.len())
    }

    fn of_file(&mut self, process: &Process<'_>, file: &Node) -> Result<Location, Unresolved> {
        if let Some(index) = self.anchors.by_identity(file.facts.identity) {
            return Ok(Location::Beneath((index, Vec::new())));
        }
        if file.facts.links == 0 {
            return Ok(Location::Nameless);
        }
        let text = file.text().map_err(unresolved)?;
        if !text.starts_with(b"/") {
            return Ok(Location::Nameless);
        }
        // One that is mounted by itself has the name of its mount point there, and another on disk.
        if !file.facts.mount_root
            && let Some(found) = self.file_by_text(process, file, &text)?
        {
            return Ok(found);
        }
        let ours = own_mounts()?;
        let root = root_of(process, file.facts.mount, &ours)?;
        let path = match root {
            Some(root) if file.facts.mount_root => root,
            // The kernel's text of a file in a mount of ours.
            Some(root) => match ours.iter().find(|mount| mount.id == file.facts.mount) {
                Some(mount) => mounts::join(&root, mounts::beneath(&text, &mount.point).ok_or(Unresolved::Elsewhere)?),
                None => return self.unplaced(file),
            },
            None => return self.unplaced(file),
        };
        let device = file.facts.device();
        let Some((index, rel)) = self.by_disk(&path, device, &ours) else {
            // Where files and directories have different devices (overlayfs) the anchors are not found.
            return if self.anchors.devices().contains(&device) { Ok(Location::Outside) } else { self.unplaced(file) };
        };
        if self.file_is_at(&(index, rel.clone()), file) {
            return Ok(Location::Beneath((index, rel)));
        }
        Err(Unresolved::Elsewhere)
    }

    /// By the directory that the kernel names, looked up where we are, then where the process is.
    fn file_by_text(
        &mut self,
        process: &Process<'_>,
        file: &Node,
        text: &[u8],
    ) -> Result<Option<Location>, Unresolved> {
        for spot in self.anchors.spots_of(text) {
            if self.file_is_at(&spot, file) {
                return Ok(Some(Location::Beneath(spot)));
            }
        }
        // Where the process's root lies beneath that of its mount namespace, the text begins above it.
        let mut top = process.root_node()?;
        for _ in top.text().map_err(unresolved)?.split(|b| *b == b'/').filter(|part| !part.is_empty()) {
            top = top.up().map_err(unresolved)?;
        }
        let (above, name) = split(text.strip_prefix(b"/").unwrap_or(text));
        let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        let dir = if above.is_empty() {
            Ok(top)
        } else {
            rustix::fs::openat2(&top.fd, above, FIND, Mode::empty(), how).and_then(Node::new)
        };
        let Ok(dir) = dir else { return Ok(None) };
        if !facts_at(&dir.fd, name).is_ok_and(|found| found.is_same_place(&file.facts)) {
            return Ok(None);
        }
        Ok(Some(match self.of_dir(process, &dir)? {
            Location::Beneath((index, rel)) => Location::Beneath((index, mounts::join(&rel, name))),
            other => other,
        }))
    }

    fn file_is_at(&self, (index, rel): &Spot, file: &Node) -> bool {
        let (above, name) = split(rel);
        !name.is_empty()
            && rel.len() < PATH_MAX
            && self
                .anchors
                .get(*index)
                .dir(above)
                .is_ok_and(|dir| facts_at(&dir.fd, name).is_ok_and(|found| found.identity == file.facts.identity))
    }

    fn unplaced(&self, file: &Node) -> Result<Location, Unresolved> {
        if self.anchors.devices().contains(&file.facts.device()) {
            return Err(Unresolved::Elsewhere);
        }
        Ok(Location::Outside)
    }
}

fn own_mounts() -> Result<Vec<Mount>, Unresolved> {
    let table = process::read(rustix::fs::CWD, "/proc/thread-self/mountinfo").map_err(unresolved)?;
    Ok(mounts::parse(&table).collect())
}

/// What of its file system a mount shows.
fn root_of(process: &Process<'_>, mount: u64, ours: &[Mount]) -> Result<Option<Vec<u8>>, Unresolved> {
    if let Some(found) = ours.iter().find(|m| m.id == mount) {
        return Ok(Some(found.root.clone()));
    }
    let table = process.mounts()?;
    Ok(mounts::parse(&table).find(|m| m.id == mount).map(|m| m.root))
}

/// The directory and the last name.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    path.iter().rposition(|b| *b == b'/').map_or((b"", path), |at| (&path[..at], &path[at + 1..]))
}
