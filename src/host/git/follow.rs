//! The index step of placing: entries that were the old HEAD's become the new one's.
//!
//! Invariant: an entry that the user made his own (staged, intended, unmerged) stays and is told; the
//! file changes by one rename, under `index.lock`.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::core::change::ObjectId;
use crate::core::effect::PlaceIntent;
use crate::core::ids::AttemptId;
use crate::core::path::RepoPath;
use crate::host::failpoint;

use super::Repository;
use super::cachetree::CacheTree;
use super::error::GitError;
use super::index::Index;
use super::index_write::NewItem;
use super::objects::TREE_MODE;
use super::trees::{Step, Trees};

impl Repository {
    /// The index step. Gives the paths whose entries were not what the old HEAD had.
    pub(super) fn follow(
        &mut self,
        id: Option<&AttemptId>,
        intent: &PlaceIntent,
        steps: &[Step],
    ) -> Result<Vec<RepoPath>, GitError> {
        let index = self.index()?;
        let (take, left) = sort_out(&index, steps);
        if !take.is_empty() {
            if index.expanded {
                self.follow_by_git(&take)?;
            } else {
                let edits: Vec<(&[u8], Option<NewItem>)> = take
                    .iter()
                    .map(|(path, _, new)| {
                        let stat = id.and_then(|id| self.attempts.get(id)).and_then(|s| s.measured.get(path));
                        let stat = stat.filter(|now| now.entry == *new).and_then(|now| now.stat);
                        (path.as_bytes(), new.map(|entry| NewItem { entry, stat }))
                    })
                    .collect();
                let (old, new) = (self.tree_of(intent.old.as_ref())?, self.tree_of(Some(&intent.new))?);
                let mut cache = index.tree.clone();
                if let Some(cache) = &mut cache {
                    let mut trees = Trees::new(&self.objects);
                    refresh(cache, &mut trees, (old, new), &take, &index)?;
                    for path in &left {
                        cache.invalidate(path.as_bytes());
                    }
                }
                self.write_index(&index.rewrite(&edits, cache.as_ref()))?;
            }
        }
        self.index = None;
        Ok(left)
    }

    fn write_index(&self, bytes: &[u8]) -> Result<(), GitError> {
        let failed = || GitError::io("writing the index");
        let path = self.index_path();
        let new = PrivateFile(self.git_dir.join("supervise-index.new"));
        let mut file = File::create(new.path()).map_err(failed())?;
        file.write_all(bytes).map_err(failed())?;
        if let Ok(old) = fs::metadata(&path) {
            file.set_permissions(old.permissions()).map_err(failed())?;
        }
        failpoint::around(|| fs::rename(new.path(), &path)).map_err(failed())
    }

    /// A copy of the index for `git` to work on.
    pub(super) fn private_index(&self) -> Result<PrivateFile, GitError> {
        let private = PrivateFile(self.git_dir.join(&self.scratch_name));
        match fs::copy(self.index_path(), private.path()) {
            Ok(_) => Ok(private),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(private),
            Err(e) => Err(GitError::io("copying the index")(e)),
        }
    }

    /// The index step for an index that only git can write.
    fn follow_by_git(&self, take: &[&Step]) -> Result<(), GitError> {
        let private = self.private_index()?;
        let mut input = Vec::new();
        // Removals first, or a directory could not take the place of a file.
        for (path, _, new) in take.iter().filter(|s| s.2.is_none()).chain(take.iter().filter(|s| s.2.is_some())) {
            let line = match new {
                Some(e) => format!("{:o} {} 0\t", e.mode.bits(), e.id),
                None => format!("0 {} 0\t", "0".repeat(self.objects.hash_len * 2)),
            };
            input.extend_from_slice(line.as_bytes());
            input.extend_from_slice(path.as_bytes());
            input.push(0);
        }
        let git = self.objects.git.with("GIT_INDEX_FILE", private.path());
        git.run(&["update-index", "-z", "--index-info"], &input)?;
        fs::rename(private.path(), self.index_path()).map_err(GitError::io("writing the index"))
    }
}

/// Which entries are the old HEAD's (or the new one's already), and which are the user's own.
fn sort_out<'s>(index: &Index, steps: &'s [Step]) -> (Vec<&'s Step>, Vec<RepoPath>) {
    let mut take: Vec<&Step> = Vec::with_capacity(steps.len());
    let mut left = Vec::new();
    for step in steps {
        let (path, old, new) = step;
        let same = match index.find(path.as_bytes()).map(|i| index.item(i)) {
            None => old.is_none() || new.is_none(),
            Some(Some(item)) => {
                item.stage == 0 && item.entry().is_some() && (item.entry() == *old || item.entry() == *new)
            }
            Some(None) => false,
        };
        if same { take.push(step) } else { left.push(path.clone()) }
    }
    // A file cannot be added where the user's entries make a directory, or the other way round.
    let gone = |take: &[&Step], p: &[u8]| take.iter().any(|(q, _, new)| new.is_none() && q.as_bytes() == p);
    let blocked: Vec<RepoPath> = take
        .iter()
        .filter(|(path, old, new)| {
            let added = new.is_some() && old.is_none();
            added
                && (index.beneath(path.as_bytes()).any(|i| !gone(&take, index.path(i)))
                    || std::iter::successors(path.parent(), RepoPath::parent)
                        .any(|dir| index.find(dir.as_bytes()).is_some() && !gone(&take, dir.as_bytes())))
        })
        .map(|(path, _, _)| path.clone())
        .collect();
    take.retain(|(path, _, _)| !blocked.contains(path));
    left.extend(blocked);
    left.sort();
    take.sort_by(|a, b| a.0.cmp(&b.0));
    (take, left)
}

/// Brings the cache of trees from the old HEAD to the new one where it was the old HEAD's.
fn refresh(
    cache: &mut CacheTree,
    trees: &mut Trees<'_>,
    (old, new): (Option<ObjectId>, Option<ObjectId>),
    take: &[&Step],
    index: &Index,
) -> Result<(), GitError> {
    let steps: Vec<(&[u8], i64)> = take
        .iter()
        .map(|(path, _, new)| {
            let had = index.find(path.as_bytes()).is_some();
            (path.as_bytes(), i64::from(new.is_some()) - i64::from(had))
        })
        .collect();
    refresh_level(cache, trees, old, new, &steps).map(drop)
}

/// True: the node is valid again.
fn refresh_level(
    node: &mut CacheTree,
    trees: &mut Trees<'_>,
    old: Option<ObjectId>,
    new: Option<ObjectId>,
    steps: &[(&[u8], i64)],
) -> Result<bool, GitError> {
    let mut good = node.valid.is_some() && node.valid.map(|(id, _)| id) == old;
    let mut at = 0;
    while at < steps.len() {
        let Some(cut) = steps[at].0.iter().position(|b| *b == b'/') else {
            at += 1;
            continue;
        };
        let name = &steps[at].0[..cut];
        let beneath: Vec<(&[u8], i64)> = steps[at..]
            .iter()
            .map_while(|(p, d)| p.strip_prefix(name)?.strip_prefix(b"/").map(|rest| (rest, *d)))
            .collect();
        at += beneath.len();
        let sub_old = trees.item(old.as_ref(), name)?.filter(|i| i.mode == TREE_MODE).map(|i| i.id);
        let sub_new = trees.item(new.as_ref(), name)?.filter(|i| i.mode == TREE_MODE).map(|i| i.id);
        match (node.child_mut(name), sub_new) {
            (Some(child), Some(_)) => good &= refresh_level(child, trees, sub_old, sub_new, &beneath)?,
            (Some(_), None) => node.remove(name),
            (None, None) => {}
            (None, Some(_)) => good = false,
        }
    }
    let delta: i64 = steps.iter().map(|(_, d)| d).sum();
    node.valid = match (node.valid, new) {
        (Some((_, count)), Some(new)) if good => u32::try_from(i64::from(count) + delta).ok().map(|count| (new, count)),
        _ => None,
    };
    Ok(node.valid.is_some())
}

/// A file of ours in the git directory, gone when this is dropped.
#[derive(Debug)]
pub(super) struct PrivateFile(PathBuf);

impl PrivateFile {
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for PrivateFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
        let _ = fs::remove_file(self.0.with_extension("tmp.lock"));
    }
}
