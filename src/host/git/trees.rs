//! Trees of commits: looking paths up, changing a few, comparing two.
//!
//! Invariant: a changed tree shares every untouched subtree with the one it came from, and holds no
//! empty directory.

use std::collections::BTreeMap;

use crate::core::change::{Entry, Mode, ObjectId};
use crate::core::path::RepoPath;

use super::error::GitError;
use super::objects::{Objects, TREE_MODE, TreeItem};

/// A path and what is to be there; `None`: nothing.
pub(super) type Edit = (RepoPath, Option<Entry>);

impl TreeItem {
    pub(super) fn entry(&self) -> Option<Entry> {
        Mode::from_bits(self.mode).map(|mode| Entry { mode, id: self.id })
    }

    /// The order of git: directories as if their names ended in `/`.
    fn sort_key(&self) -> (Vec<u8>, bool) {
        let mut key = self.name.clone();
        if self.mode == TREE_MODE {
            key.push(b'/');
        }
        (key, self.mode == TREE_MODE)
    }
}

/// A reader of trees that remembers those it has read.
#[derive(Debug)]
pub(super) struct Trees<'o> {
    objects: &'o Objects,
    read: BTreeMap<ObjectId, Vec<TreeItem>>,
}

impl<'o> Trees<'o> {
    pub(super) fn new(objects: &'o Objects) -> Self {
        Self { objects, read: BTreeMap::new() }
    }

    pub(super) fn items(&mut self, tree: &ObjectId) -> Result<&[TreeItem], GitError> {
        if !self.read.contains_key(tree) {
            let items = self.objects.read_tree(tree)?;
            self.read.insert(*tree, items);
        }
        Ok(self.read.get(tree).map_or(&[], Vec::as_slice))
    }

    /// What `tree` holds at `path`, directories too.
    pub(super) fn item(&mut self, tree: Option<&ObjectId>, path: &[u8]) -> Result<Option<TreeItem>, GitError> {
        let Some(mut tree) = tree.copied() else { return Ok(None) };
        let mut parts = path.split(|b| *b == b'/').peekable();
        while let Some(part) = parts.next() {
            let Some(item) = self.items(&tree)?.iter().find(|i| i.name == part) else { return Ok(None) };
            if parts.peek().is_none() {
                return Ok(Some(item.clone()));
            }
            if item.mode != TREE_MODE {
                return Ok(None);
            }
            tree = item.id;
        }
        Ok(None)
    }

    /// What `tree` holds at `path`, if that is no directory.
    pub(super) fn entry(&mut self, tree: Option<&ObjectId>, path: &RepoPath) -> Result<Option<Entry>, GitError> {
        Ok(self.item(tree, path.as_bytes())?.and_then(|i| i.entry()))
    }

    /// `tree` with the edits made; `None`: nothing is left in it. Edits of a file and of paths beneath
    /// it may come together: the one that is set wins.
    pub(super) fn edit(&mut self, tree: Option<&ObjectId>, edits: &[Edit]) -> Result<Option<ObjectId>, GitError> {
        let flat: Vec<(&[u8], Option<Entry>)> = edits.iter().map(|(p, e)| (p.as_bytes(), *e)).collect();
        self.edit_level(tree, &flat)
    }

    fn edit_level(
        &mut self,
        tree: Option<&ObjectId>,
        edits: &[(&[u8], Option<Entry>)],
    ) -> Result<Option<ObjectId>, GitError> {
        let old: Vec<TreeItem> = match tree {
            Some(tree) => self.items(tree)?.to_vec(),
            None => Vec::new(),
        };
        let mut items: BTreeMap<Vec<u8>, TreeItem> = old.into_iter().map(|i| (i.name.clone(), i)).collect();
        let mut deeper: BTreeMap<&[u8], Vec<(&[u8], Option<Entry>)>> = BTreeMap::new();
        for (path, entry) in edits {
            match path.iter().position(|b| *b == b'/') {
                Some(cut) => deeper.entry(&path[..cut]).or_default().push((&path[cut + 1..], *entry)),
                None => match entry {
                    Some(e) => {
                        let item = TreeItem { mode: e.mode.bits(), name: path.to_vec(), id: e.id };
                        items.insert(path.to_vec(), item);
                    }
                    // A directory of this name is not what was removed.
                    None if items.get(*path).is_some_and(|i| i.mode != TREE_MODE) => {
                        items.remove(*path);
                    }
                    None => {}
                },
            }
        }
        for (name, edits) in deeper {
            let sub = items.get(name).filter(|i| i.mode == TREE_MODE).map(|i| i.id);
            if sub.is_none() && edits.iter().all(|(_, e)| e.is_none()) {
                continue;
            }
            match self.edit_level(sub.as_ref(), &edits)? {
                Some(id) => {
                    items.insert(name.to_vec(), TreeItem { mode: TREE_MODE, name: name.to_vec(), id });
                }
                None => {
                    items.remove(name);
                }
            }
        }
        if items.is_empty() {
            return Ok(None);
        }
        let mut items: Vec<TreeItem> = items.into_values().collect();
        items.sort_by_cached_key(TreeItem::sort_key);
        self.objects.write_tree(&items).map(Some)
    }

    /// The paths at which two trees differ, with both sides. Directories are gone into only where
    /// they differ.
    pub(super) fn diff(
        &mut self,
        old: Option<&ObjectId>,
        new: Option<&ObjectId>,
    ) -> Result<Vec<(RepoPath, Option<Entry>, Option<Entry>)>, GitError> {
        let mut out = Vec::new();
        self.diff_level(&mut Vec::new(), old.copied(), new.copied(), &mut out)?;
        Ok(out)
    }

    fn diff_level(
        &mut self,
        prefix: &mut Vec<u8>,
        old: Option<ObjectId>,
        new: Option<ObjectId>,
        out: &mut Vec<(RepoPath, Option<Entry>, Option<Entry>)>,
    ) -> Result<(), GitError> {
        if old == new {
            return Ok(());
        }
        let mut sides: BTreeMap<Vec<u8>, (Option<TreeItem>, Option<TreeItem>)> = BTreeMap::new();
        for item in old.map(|t| self.items(&t).map(<[_]>::to_vec)).transpose()?.unwrap_or_default() {
            let name = item.name.clone();
            sides.entry(name).or_default().0 = Some(item);
        }
        for item in new.map(|t| self.items(&t).map(<[_]>::to_vec)).transpose()?.unwrap_or_default() {
            let name = item.name.clone();
            sides.entry(name).or_default().1 = Some(item);
        }
        for (name, (old, new)) in sides {
            if old == new {
                continue;
            }
            let base = prefix.len();
            if base > 0 {
                prefix.push(b'/');
            }
            prefix.extend_from_slice(&name);
            let (was, is) = (old.as_ref().and_then(TreeItem::entry), new.as_ref().and_then(TreeItem::entry));
            if let (true, Ok(path)) = (was.is_some() || is.is_some(), RepoPath::new(prefix)) {
                out.push((path, was, is));
            }
            let sub = |item: &Option<TreeItem>| item.as_ref().filter(|i| i.mode == TREE_MODE).map(|i| i.id);
            self.diff_level(prefix, sub(&old), sub(&new), out)?;
            prefix.truncate(base);
        }
        Ok(())
    }
}
