//! Which paths an operation is about: an agent's exclusive and late claim, or the whole workspace.
//!
//! Invariant: everything that matches lies at or beneath one of the roots, so a walk of the roots
//! sees it all, and a narrow claim never costs a walk of the whole tree.

use crate::core::claim::{Claim, Pattern};
use crate::core::path::RepoPath;

#[derive(Clone, Debug)]
pub(super) struct Scope {
    claim: Option<Claim>,
    /// Sorted, none beneath another; empty with `whole`.
    roots: Vec<RepoPath>,
    whole: bool,
}

impl Scope {
    /// What `claim` lets its agent write.
    pub(super) fn of(claim: &Claim) -> Self {
        let mut roots = Vec::new();
        for pattern in writable(claim) {
            match pattern.literal_prefix() {
                Some(prefix) => roots.push(prefix),
                None => return Self { claim: Some(claim.clone()), roots: Vec::new(), whole: true },
            }
        }
        Self { claim: Some(claim.clone()), roots: outermost(roots), whole: false }
    }

    /// Everything.
    pub(super) fn whole() -> Self {
        Self { claim: None, roots: Vec::new(), whole: true }
    }

    /// These paths and what is beneath them.
    pub(super) fn paths(paths: &[RepoPath]) -> Self {
        Self { claim: None, roots: outermost(paths.to_vec()), whole: false }
    }

    /// What any of the claims lets its agent write, for one look on behalf of many.
    pub(super) fn union<'c>(claims: impl Iterator<Item = &'c Claim>) -> Self {
        let mut roots = Vec::new();
        for pattern in claims.flat_map(writable) {
            match pattern.literal_prefix() {
                Some(prefix) => roots.push(prefix),
                None => return Self::whole(),
            }
        }
        Self { claim: None, roots: outermost(roots), whole: false }
    }

    /// Can nothing be in it?
    pub(super) fn is_empty(&self) -> bool {
        !self.whole && self.roots.is_empty()
    }

    /// `None`: the whole workspace.
    pub(super) fn roots(&self) -> Option<&[RepoPath]> {
        (!self.whole).then_some(&self.roots)
    }

    /// Is it about a claim that matches this very path?
    pub(super) fn names(&self, path: &RepoPath) -> bool {
        self.claim.is_some() && self.matches(path)
    }

    pub(super) fn matches(&self, path: &RepoPath) -> bool {
        self.claim.as_ref().is_none_or(|c| c.exclusive_matches(path) || c.late_matches(path))
    }

    /// May something at or beneath `dir` (empty: the root) be in scope?
    pub(super) fn touches(&self, dir: &[u8]) -> bool {
        if self.whole || dir.is_empty() {
            return true;
        }
        let is_root = |path: &[u8]| self.roots.binary_search_by(|r| r.as_bytes().cmp(path)).is_ok();
        let above = dir.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(i, _)| &dir[..i]);
        if is_root(dir) || above.into_iter().any(is_root) {
            return true;
        }
        let inside = [dir, b"/"].concat();
        let first = self.roots.partition_point(|r| r.as_bytes() < inside.as_slice());
        self.roots.get(first).is_some_and(|r| r.as_bytes().starts_with(&inside))
    }

    /// Claims match ignored paths only through patterns whose literal prefix is itself ignored.
    pub(super) fn admits_ignored(&self, path: &RepoPath, ignored: &mut dyn FnMut(&RepoPath) -> bool) -> bool {
        let Some(claim) = &self.claim else { return false };
        writable(claim).any(|p| p.literal_prefix().is_some_and(|prefix| path.is_within(&prefix) && ignored(&prefix)))
    }

    /// The same for a directory that would have to be walked.
    pub(super) fn admits_ignored_dir(&self, dir: &RepoPath, ignored: &mut dyn FnMut(&RepoPath) -> bool) -> bool {
        let Some(claim) = &self.claim else { return false };
        writable(claim).any(|p| {
            p.literal_prefix()
                .is_some_and(|prefix| (dir.is_within(&prefix) || prefix.is_within(dir)) && ignored(&prefix))
        })
    }
}

fn writable(claim: &Claim) -> impl Iterator<Item = &Pattern> {
    claim.exclusive.iter().chain(&claim.late)
}

fn outermost(mut roots: Vec<RepoPath>) -> Vec<RepoPath> {
    roots.sort();
    let mut out: Vec<RepoPath> = Vec::with_capacity(roots.len());
    let mut seen = std::collections::BTreeSet::new();
    for root in roots {
        // Byte order does not keep a directory next to what is beneath it (`a`, `a.b`, `a/b`).
        let mut above = root.parent();
        let mut covered = seen.contains(&root);
        while let Some(dir) = above.filter(|_| !covered) {
            covered = seen.contains(&dir);
            above = dir.parent();
        }
        if !covered {
            seen.insert(root.clone());
            out.push(root);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_touches_what_leads_to_it_and_what_is_in_it() {
        let pattern = |p: &str| Pattern::new(p).unwrap();
        let claim = Claim {
            exclusive: vec![pattern("a/b/*.rs"), pattern("a.b"), pattern("a/b/c"), pattern("z/y.txt")],
            late: vec![pattern("m/n/")],
            ..Claim::default()
        };
        let scope = Scope::of(&claim);
        let roots: Vec<String> = scope.roots().unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(roots, ["a.b", "a/b", "m/n", "z/y.txt"]);
        for (dir, expected) in [
            ("", true),
            ("a", true),
            ("a/b", true),
            ("a/b/x/y", true),
            ("a.b", true),
            ("a.c", false),
            ("a/c", false),
            ("ab", false),
            ("m", true),
            ("m/n/o", true),
            ("m/nn", false),
            ("z/y.txt", true),
            ("z/y", false),
        ] {
            assert_eq!(scope.touches(dir.as_bytes()), expected, "{dir}");
        }
        assert!(Scope::of(&Claim::default()).is_empty());
        assert!(Scope::whole().touches(b"anything"));
    }
}
