//! One look at a scope: what is on disk, beside what the index and HEAD hold.
//!
//! Invariant: a file is read only where lstat(2) leaves a doubt; an index entry whose stat matches
//! vouches for its content (racy entries excepted).

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::core::change::{Entry, Mode, ObjectId};
use crate::core::path::RepoPath;

use super::Repository;
use super::cachetree::CacheTree;
use super::error::GitError;
use super::files::{Root, Stat};
use super::ignore::IgnoreRules;
use super::index::{Index, Item};
use super::objects::{Objects, Stored, TREE_MODE};
use super::scope::Scope;
use super::trees::Trees;
use super::walk::{self, Known, Walk, What};

/// How often a file that changes while it is read is read again.
pub(super) const TRIES: u32 = 3;

/// A path of the scope that is on disk, in the index, or both.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) path: RepoPath,
    /// `None`: not on disk.
    pub(super) stat: Option<Stat>,
    pub(super) item: Option<Item>,
    /// The stat vouches that the index entry's content is on disk.
    pub(super) clean: bool,
    pub(super) ignored: bool,
    pub(super) nested: bool,
}

#[derive(Debug)]
pub(super) struct Look {
    pub(super) seen: Vec<Seen>,
    pub(super) dirs: Vec<RepoPath>,
    pub(super) passed: Vec<RepoPath>,
    pub(super) index: Arc<Index>,
}

/// The ignore rules and the index, for a walk.
struct Oracle<'o> {
    index: &'o Index,
    rules: &'o mut IgnoreRules,
    root: &'o Root,
}

impl Known for Oracle<'_> {
    fn tracked(&self, path: &[u8]) -> bool {
        self.index.find(path).is_some()
    }

    fn tracked_beneath(&self, dir: &[u8]) -> bool {
        !self.index.beneath(dir).is_empty()
    }

    fn ignored(&mut self, path: &RepoPath, dir: bool) -> Result<bool, GitError> {
        self.rules.ignores(self.root, path, dir).map_err(GitError::io("reading the ignore rules"))
    }
}

impl Repository {
    pub(super) fn look(&mut self, scope: &Scope) -> Result<Look, GitError> {
        if scope.is_empty() {
            return Ok(Look { seen: Vec::new(), dirs: Vec::new(), passed: Vec::new(), index: Arc::default() });
        }
        let index = self.index()?;
        let mut oracle = Oracle { index: &index, rules: &mut self.ignore, root: &self.root };
        let Walk { found, dirs, passed } = walk::walk(&self.root, scope, &mut oracle)?;
        self.look_for_attributes(&index, found.iter().any(|f| f.path.as_bytes().ends_with(b".gitattributes")));
        let index_time = index.stamp.map_or((0, 0), |s| s.mtime);
        let mut seen = Vec::with_capacity(found.len());
        for f in found.into_iter().filter(|f| f.what != What::Nested || scope.matches(&f.path)) {
            let item = index.find(f.path.as_bytes()).and_then(|i| index.item(i));
            let nested = f.what == What::Nested;
            let clean =
                !nested && item.as_ref().is_some_and(|i| i.stage == 0 && i.matches(&f.stat, index_time, self.filemode));
            let ignored = f.what == What::Content { ignored: true };
            seen.push(Seen { path: f.path, stat: Some(f.stat), item, clean, ignored, nested });
        }
        let on_disk = seen.len();
        let mut ranges = Vec::new();
        match scope.roots() {
            None => ranges.push(0..index.len()),
            Some(roots) => {
                for root in roots {
                    ranges.extend(index.find(root.as_bytes()).map(|i| i..i + 1));
                    ranges.push(index.beneath(root.as_bytes()));
                }
            }
        }
        for i in ranges.into_iter().flatten() {
            let Ok(path) = RepoPath::new(index.path(i)) else { continue };
            let (Some(item), true) = (index.item(i), scope.matches(&path)) else { continue };
            if seen[..on_disk].binary_search_by(|s| s.path.cmp(&path)).is_ok() {
                continue;
            }
            // An empty directory is what a submodule looks like before it is fetched.
            let clean = item.skip_worktree
                || (item.mode == Mode::Submodule.bits()
                    && self
                        .root
                        .lstat(&path)
                        .map_err(GitError::io(format!("looking at `{path}`")))?
                        .is_some_and(|s| s.is_dir()));
            seen.push(Seen { path, stat: None, item: Some(item), clean, ignored: false, nested: false });
        }
        if seen.len() > on_disk {
            seen.sort_by(|a, b| a.path.cmp(&b.path));
            seen.dedup_by(|a, b| a.path == b.path);
        }
        Ok(Look { seen, dirs, passed, index })
    }

    /// What git would record of it now, stored; `None`: nothing is there.
    pub(super) fn store_seen(&self, seen: &Seen, before: Option<Mode>) -> Result<Option<Stored>, GitError> {
        if seen.nested {
            return Ok(Some(Stored { entry: self.nested_entry(&seen.path)?, raw: false }));
        }
        let Some(stat) = &seen.stat else {
            let entry = seen.item.as_ref().filter(|_| seen.clean).and_then(Item::entry);
            return Ok(entry.map(|entry| Stored { entry, raw: false }));
        };
        let before = before.or_else(|| seen.item.and_then(|i| Mode::from_bits(i.mode)));
        self.store_steady(&seen.path, Some(*stat), before)
    }

    /// Stores what is at a path where this was seen; `None`: no file or link is there, or no more. One that
    /// changes while it is read is read again, a few times.
    pub(super) fn store_steady(
        &self,
        path: &RepoPath,
        mut stat: Option<Stat>,
        before: Option<Mode>,
    ) -> Result<Option<Stored>, GitError> {
        let mut tries = 1;
        loop {
            let Some((seen, mode)) = stat.and_then(|s| self.mode_of(&s, before).map(|mode| (s, mode))) else {
                return Ok(None);
            };
            match self.objects.store(&self.root, path, &seen, mode) {
                Err(GitError::Unsteady(_)) if tries < TRIES => tries += 1,
                Err(GitError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
                stored => return stored.map(Some),
            }
            stat = self.root.lstat(path).map_err(GitError::io(format!("looking at `{path}`")))?;
        }
    }

    /// The mode of a file, where `core.fileMode` is off what it was before.
    pub(super) fn mode_of(&self, stat: &Stat, before: Option<Mode>) -> Option<Mode> {
        let mode = stat.entry_mode()?;
        if self.filemode || mode == Mode::Symlink {
            return Some(mode);
        }
        Some(before.filter(|m| matches!(m, Mode::File | Mode::Executable)).unwrap_or(Mode::File))
    }

    /// The commit that a repository inside the workspace has checked out.
    fn nested_entry(&self, path: &RepoPath) -> Result<Entry, GitError> {
        let dir = self.root.path().join(path.as_path());
        let id = if let Ok(lib) = git2::Repository::open(&dir) {
            lib.refname_to_id("HEAD").ok().and_then(|id| ObjectId::from_bytes(id.as_bytes()))
        } else {
            let out = self.objects.git.at(&dir).try_run(&["rev-parse", "-q", "--verify", "HEAD"], b"")?;
            ObjectId::from_hex(String::from_utf8_lossy(&out.stdout).trim())
        };
        let id = id
            .or_else(|| ObjectId::from_bytes(&vec![0; self.objects.hash_len]))
            .ok_or_else(|| GitError::Object(path.to_string()))?;
        Ok(Entry { mode: Mode::Submodule, id })
    }

    /// Paths of the scope that are not as HEAD has them: staged, unstaged, untracked and not ignored.
    pub(super) fn changed(&mut self, scope: &Scope) -> Result<Vec<RepoPath>, GitError> {
        let head = self.head()?;
        let tree = self.tree_of(head.commit.as_ref())?;
        let look = self.look(scope)?;
        self.changed_in(&look, tree, scope)
    }

    /// The same for a look already taken.
    pub(super) fn changed_in(
        &self,
        look: &Look,
        tree: Option<ObjectId>,
        scope: &Scope,
    ) -> Result<Vec<RepoPath>, GitError> {
        if scope.is_empty() {
            return Ok(Vec::new());
        }
        let mut out: BTreeSet<RepoPath> = staged(&self.objects, &look.index, tree, scope)?.into_iter().collect();
        for seen in &look.seen {
            if !seen.ignored && !out.contains(&seen.path) && self.differs_from_index(seen)? {
                out.insert(seen.path.clone());
            }
        }
        Ok(out.into_iter().filter(|p| scope.matches(p)).collect())
    }

    fn differs_from_index(&self, seen: &Seen) -> Result<bool, GitError> {
        let Some(item) = &seen.item else { return Ok(true) };
        if item.stage != 0 || item.intent_to_add {
            return Ok(true);
        }
        if seen.clean || (item.skip_worktree && seen.stat.is_none()) {
            return Ok(false);
        }
        if seen.stat.is_none() {
            return Ok(true);
        }
        if seen.nested && item.mode != Mode::Submodule.bits() {
            return Ok(true);
        }
        match self.store_seen(seen, None) {
            Ok(stored) => Ok(stored.map(|s| s.entry) != item.entry()),
            // What cannot be read, or does not hold still, is not known to be as git has it.
            Err(GitError::Io { .. } | GitError::Unsteady(_)) => Ok(true),
            Err(e) => Err(e),
        }
    }
}

/// Paths of the scope at which the index differs from HEAD's tree.
pub(super) fn staged(
    objects: &Objects,
    index: &Index,
    tree: Option<ObjectId>,
    scope: &Scope,
) -> Result<Vec<RepoPath>, GitError> {
    let mut compare = Staged { index, scope, trees: Trees::new(objects), out: Vec::new() };
    compare.dir(b"", index.tree.as_ref(), tree)?;
    Ok(compare.out)
}

struct Staged<'s> {
    index: &'s Index,
    scope: &'s Scope,
    trees: Trees<'s>,
    out: Vec<RepoPath>,
}

impl Staged<'_> {
    fn push(&mut self, path: &[u8]) {
        self.out.extend(RepoPath::new(path).ok());
    }

    fn dir(&mut self, dir: &[u8], cache: Option<&CacheTree>, tree: Option<ObjectId>) -> Result<(), GitError> {
        let known = cache.and_then(|c| c.valid);
        if (known.is_some() && known.map(|(id, _)| id) == tree) || !self.scope.touches(dir) {
            return Ok(());
        }
        let prefix = if dir.is_empty() { Vec::new() } else { [dir, b"/"].concat() };
        let items = match tree {
            Some(tree) => self.trees.items(&tree)?.to_vec(),
            None => Vec::new(),
        };
        let mut files: BTreeSet<&[u8]> = BTreeSet::new();
        let mut dirs: BTreeSet<&[u8]> = BTreeSet::new();
        for item in &items {
            let path = [prefix.as_slice(), &item.name].concat();
            if item.mode == TREE_MODE {
                dirs.insert(&item.name);
                self.dir(&path, cache.and_then(|c| c.child(&item.name)), Some(item.id))?;
                continue;
            }
            files.insert(&item.name);
            let same = || {
                let item_now = self.index.find(&path).and_then(|i| self.index.item(i));
                item_now.is_some_and(|i| i.stage == 0 && i.mode == item.mode && i.id == item.id && !i.intent_to_add)
            };
            if self.scope.touches(&path) && !same() {
                self.push(&path);
            }
        }
        // What the index has in this directory and the tree does not.
        let range = self.index.beneath(dir);
        let mut at = range.start;
        while at < range.end {
            let path = self.index.path(at).to_vec();
            let rest = &path[prefix.len()..];
            if let Some(cut) = rest.iter().position(|b| *b == b'/') {
                let sub = &path[..prefix.len() + cut];
                if !dirs.contains(&rest[..cut]) {
                    self.dir(sub, None, None)?;
                }
                at = self.index.beneath(sub).end.max(at + 1);
            } else {
                let intent = self.index.item(at).is_some_and(|i| i.intent_to_add);
                if !files.contains(rest) && !intent && self.scope.touches(&path) {
                    self.push(&path);
                }
                at += 1;
            }
        }
        Ok(())
    }
}
