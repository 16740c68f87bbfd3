//! What an attempt changed: the workspace against the attempt's baseline, and elsewhere against HEAD.
//!
//! Invariant: a file is hashed again only where its stat, or a doubt about its stat, says that it may
//! have changed. Everything that was hashed is stored, so freezing has little left to do. Without doubt
//! nothing is walked but the claim.

use std::collections::BTreeMap;
use std::io;

use crate::core::change::{Change, Entry};
use crate::core::facts::{Doubt, Measured};
use crate::core::ids::AttemptId;
use crate::core::path::RepoPath;

use super::Repository;
use super::attempt::{Now, touch};
use super::error::GitError;
use super::extras;
use super::look::Seen;
use super::scope::Scope;
use super::trees::Trees;

/// What is found on the way.
#[derive(Debug, Default)]
struct Findings {
    changes: Vec<Change>,
    measured: BTreeMap<RepoPath, Now>,
}

impl Findings {
    fn add(&mut self, path: &RepoPath, before: Option<Entry>, now: Now) {
        if now.entry != before {
            self.changes.push(Change { path: path.clone(), before, after: now.entry });
            self.measured.insert(path.clone(), now);
        }
    }
}

impl Repository {
    /// What differs from the attempt's baseline within its exclusive and late claim and at the paths
    /// that it was let on to; beyond these, what is neither as HEAD has it nor as it was when the run was
    /// opened: at the paths of `touched`, or, under doubt, in the whole workspace.
    ///
    /// Nested repositories count as one entry. Ignored paths are among the changes where the claim
    /// reaches them on purpose or the attempt was let on to them; what is ignored beyond is not looked at.
    pub fn measure(&mut self, id: &AttemptId, doubt: Doubt, touched: &[RepoPath]) -> Result<Measured, GitError> {
        let state = self.state(id)?;
        let scope = Scope::of(&state.claim);
        if scope.is_empty() && state.baseline.extras.is_empty() && touched.is_empty() && doubt == Doubt::None {
            return Ok(Measured::default());
        }
        let file = extras::open(&state.dir).map_err(GitError::io("opening the baseline"))?;
        let since = touch(&file).map_err(GitError::io("touching the baseline"))?;
        let mut own = Findings::default();
        self.compare_claim(id, &scope, since, &mut own)?;
        self.compare_extras(id, since, &mut own)?;
        own.changes.sort_by(|a, b| a.path.cmp(&b.path));
        let elsewhere = match doubt {
            Doubt::Whole => Scope::whole(),
            Doubt::None => self.places(touched)?,
        };
        let mut beyond = Findings { measured: own.measured, ..Findings::default() };
        self.compare_beyond(id, (&scope, &elsewhere), since, &mut beyond)?;
        if let Some(state) = self.attempts.get_mut(id) {
            state.measured = beyond.measured;
        }
        Ok(Measured { own: own.changes, beyond: beyond.changes })
    }

    fn compare_claim(
        &mut self,
        id: &AttemptId,
        scope: &Scope,
        since: (i64, u32),
        out: &mut Findings,
    ) -> Result<(), GitError> {
        let look = self.look(scope)?;
        let state = self.state(id)?;
        let baseline = &state.baseline;
        let extra = |path: &RepoPath| baseline.extras.has(path);
        let lost = Now { entry: None, stat: None, since, ignored: false };
        let mut gone = baseline.entries.iter().filter(|e| e.stat.is_some() && !extra(&e.path)).peekable();
        for seen in look.seen.iter().filter(|s| s.stat.is_some() && !extra(&s.path)) {
            while let Some(base) = gone.next_if(|b| b.path < seen.path) {
                out.add(&base.path, Some(base.entry), lost);
            }
            gone.next_if(|b| b.path == seen.path);
            let base = baseline.find(&seen.path);
            if let (Some(base), Some(stat), false) = (base, seen.stat, seen.nested)
                && base.stat == Some(stat)
                && !stat.racy(baseline.since)
            {
                continue;
            }
            let before = base.map(|b| b.entry);
            let known = state.measured.get(&seen.path).filter(|n| !seen.nested && n.vouches_for(seen.stat));
            let after = match (known, &seen.item) {
                (Some(now), _) => now.entry,
                (None, Some(item)) if seen.clean => item.entry(),
                _ => self.store_seen(seen, before.map(|b| b.mode))?.map(|s| s.entry),
            };
            out.add(&seen.path, before, Now { entry: after, stat: seen.stat, since, ignored: seen.ignored });
        }
        for base in gone {
            out.add(&base.path, Some(base.entry), lost);
        }
        Ok(())
    }

    /// As files: a directory at such a path is nothing.
    fn compare_extras(&mut self, id: &AttemptId, since: (i64, u32), out: &mut Findings) -> Result<(), GitError> {
        let state = self.state(id)?;
        let mut doubtful = Vec::new();
        for (path, base) in state.baseline.extras.iter() {
            let stat = self.root.lstat(path).map_err(GitError::io(format!("looking at `{path}`")))?;
            let stat = stat.filter(|s| s.entry_mode().is_some());
            if !base.still(stat.as_ref()) {
                doubtful.push((path.clone(), base.entry(), stat));
            }
        }
        for (path, before, stat) in doubtful {
            let ignored = self.is_ignored(&path, stat.as_ref())?;
            let known = self.state(id)?.measured.get(&path).filter(|n| n.vouches_for(stat));
            let entry = match (known, stat) {
                (Some(now), _) => now.entry,
                (None, None) => None,
                (None, Some(_)) => self.store_path(&path, before.map(|b| b.mode))?,
            };
            out.add(&path, before, Now { entry, stat, since, ignored });
        }
        Ok(())
    }

    /// Touched paths as a scope. What is a directory now was made on the way: what is in it was touched
    /// by itself.
    fn places(&mut self, touched: &[RepoPath]) -> Result<Scope, GitError> {
        if touched.is_empty() {
            return Ok(Scope::paths(&[]));
        }
        let index = self.index()?;
        let mut paths = Vec::with_capacity(touched.len());
        for path in touched {
            let stat = self.root.lstat(path).map_err(GitError::io(format!("looking at `{path}`")))?;
            let replaced = || index.find(path.as_bytes()).is_some();
            if !stat.is_some_and(|s| s.is_dir()) || replaced() {
                paths.push(path.clone());
            }
        }
        Ok(Scope::paths(&paths))
    }

    fn compare_beyond(
        &mut self,
        id: &AttemptId,
        (own, elsewhere): (&Scope, &Scope),
        since: (i64, u32),
        out: &mut Findings,
    ) -> Result<(), GitError> {
        if elsewhere.is_empty() {
            return Ok(());
        }
        let head = self.head()?.commit;
        let tree = self.tree_of(head.as_ref())?;
        let look = self.look(elsewhere)?;
        let changed = self.changed_in(&look, tree, elsewhere)?;
        let mut trees = Trees::new(&self.objects);
        let baseline = &self.state(id)?.baseline;
        for path in changed {
            let known = baseline.extras.has(&path) || own.matches(&path);
            if known || self.is_as_at_start(&path)? {
                continue;
            }
            let before = trees.entry(tree.as_ref(), &path)?;
            let at = look.seen.binary_search_by(|s| s.path.cmp(&path)).ok();
            let seen = at.and_then(|i| look.seen.get(i));
            let entry = match self.entry_of(seen, before) {
                // Whoever may not read it has not written it either, as far as one can tell.
                Err(GitError::Io { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {
                    tracing::warn!(%path, "it cannot be read, and is not compared");
                    continue;
                }
                // Somebody else is at it: this attempt's tree is gone.
                Err(GitError::Unsteady(_)) => {
                    tracing::warn!(%path, "it does not hold still, and is not compared");
                    continue;
                }
                entry => entry?,
            };
            out.add(&path, before, Now { entry, stat: seen.and_then(|s| s.stat), since, ignored: false });
        }
        Ok(())
    }

    fn entry_of(&self, seen: Option<&Seen>, before: Option<Entry>) -> Result<Option<Entry>, GitError> {
        let Some(seen) = seen else { return Ok(None) };
        if let Some(item) = seen.item.as_ref().filter(|_| seen.clean) {
            return Ok(item.entry());
        }
        Ok(self.store_seen(seen, before.map(|b| b.mode))?.map(|s| s.entry))
    }
}
