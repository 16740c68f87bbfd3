//! The workspace as it is: the bench's own look at it, which shares no code with what it measures.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::acts::metadata::ATTRIBUTE;

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Directory(Metadata),
    Link(PathBuf),
    File { content: Vec<u8>, executable: bool, metadata: Metadata },
}

/// What git does not record of a file or directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Metadata {
    mode: u32,
    owner: (u32, u32),
    modified: Option<SystemTime>,
    /// The value of the attribute that writers set.
    attribute: Option<Vec<u8>>,
}

/// All paths of the workspace but git's.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot(BTreeMap<String, Entry>);

/// How a path differs between two snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Difference {
    /// Git would record it.
    Content,
    Metadata,
    /// A directory came or went.
    Directory,
}

impl Snapshot {
    pub(crate) fn take(root: &Path) -> io::Result<Self> {
        let mut found = BTreeMap::new();
        let mut dirs = vec![PathBuf::new()];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(root.join(&dir))? {
                let entry = entry?;
                let inside = dir.join(entry.file_name());
                if inside == Path::new(".git") {
                    continue;
                }
                let what = look(&entry.path())?;
                if matches!(what, Entry::Directory(_)) {
                    dirs.push(inside.clone());
                }
                found.insert(inside.to_string_lossy().into_owned(), what);
            }
        }
        Ok(Self(found))
    }

    pub(crate) fn differences(&self, after: &Self) -> BTreeMap<String, Difference> {
        let paths = self.0.keys().chain(after.0.keys());
        paths.filter_map(|p| Some((p.clone(), difference(self.0.get(p), after.0.get(p))?))).collect()
    }
}

fn look(path: &Path) -> io::Result<Entry> {
    let found = fs::symlink_metadata(path)?;
    if found.is_symlink() {
        return Ok(Entry::Link(fs::read_link(path)?));
    }
    let metadata = Metadata {
        mode: found.mode(),
        owner: (found.uid(), found.gid()),
        modified: found.modified().ok(),
        attribute: attribute(path),
    };
    if found.is_dir() {
        return Ok(Entry::Directory(metadata));
    }
    Ok(Entry::File { content: fs::read(path)?, executable: found.permissions().mode() & 0o100 != 0, metadata })
}

fn attribute(path: &Path) -> Option<Vec<u8>> {
    let mut value = [0_u8; 64];
    let length = rustix::fs::getxattr(path, ATTRIBUTE, &mut value[..]).ok()?;
    Some(value[..length].to_vec())
}

fn difference(before: Option<&Entry>, after: Option<&Entry>) -> Option<Difference> {
    match (before, after) {
        (a, b) if a == b => None,
        (Some(Entry::Directory(a)), Some(Entry::Directory(b))) => {
            // Whatever is made in it makes it newer; older it becomes by hand alone.
            let same = Metadata { modified: a.modified, ..b.clone() } == *a && b.modified >= a.modified;
            (!same).then_some(Difference::Metadata)
        }
        (Some(Entry::Directory(_)), None) | (None, Some(Entry::Directory(_))) => Some(Difference::Directory),
        (Some(Entry::File { content: a, executable: x, .. }), Some(Entry::File { content: b, executable: y, .. }))
            if (a, x) == (b, y) =>
        {
            Some(Difference::Metadata)
        }
        _ => Some(Difference::Content),
    }
}
