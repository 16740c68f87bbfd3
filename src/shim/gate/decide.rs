//! What the shim decides without asking: the claim that it was given, and what was granted since.
//!
//! Invariant: a call goes on only if everything that it concerns is allowed; the first refusal decides.
//! What the rules do not settle is asked; nothing is allowed by default but what is not the
//! workspace's.
//! Deliberately absent: locks of other agents, late claims, ignored files: those are the supervisor's.

use std::collections::BTreeSet;

use super::resolve::Place;
use super::sight::Sighting;
use crate::core::call::{Grant, RefusalReason, Touch};
use crate::core::claim::Pattern;
use crate::core::path::RepoPath;

/// The most paths that are remembered as stale.
pub(super) const MAX_STALE: usize = 65_536;

#[derive(Debug, Default)]
pub(super) struct Rules {
    pub(super) exclusive: Vec<Pattern>,
    pub(super) deny: Vec<Pattern>,
    /// Directories of git and of the supervisor, where they lie in the workspace.
    pub(super) forbidden: Vec<RepoPath>,
    /// Other repositories in the workspace: each, and what is beneath it.
    pub(super) nested: Vec<RepoPath>,
    /// Matched by `exclusive`, and asked about all the same.
    pub(super) protected: BTreeSet<RepoPath>,
    /// The runner's own: each, and what is beneath it.
    pub(super) scratch: Vec<RepoPath>,
    paths: BTreeSet<RepoPath>,
    beneath: BTreeSet<RepoPath>,
    stale: BTreeSet<RepoPath>,
}

/// What the rules say of one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ruling {
    NotOurs,
    Allowed,
    Refused(RefusalReason),
    Open,
}

/// What becomes of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Go,
    /// Something of it changed through somebody else; said once.
    Busy,
    Refuse {
        at: usize,
        why: RefusalReason,
    },
    /// Only the supervisor knows about these (positions in what was judged).
    Ask(Vec<usize>),
}

impl Rules {
    pub(super) fn grant(&mut self, grant: Grant) {
        match grant {
            Grant::Path(path) => self.paths.insert(path),
            Grant::Beneath(path) => self.beneath.insert(path),
        };
    }

    /// Somebody may have a lock on what was granted.
    pub(super) fn withdraw(&mut self) {
        self.paths.clear();
        self.beneath.clear();
    }

    /// Paths that changed through somebody else.
    pub(super) fn spoil(&mut self, paths: Vec<RepoPath>) {
        for path in paths {
            if self.stale.len() >= MAX_STALE {
                break;
            }
            self.stale.insert(path);
        }
    }

    /// Judges a call. `settled`: these were allowed by the supervisor.
    pub(super) fn decide(&mut self, all: &[Sighting], settled: &BTreeSet<usize>) -> Verdict {
        let mut ask = Vec::new();
        let mut stale = false;
        for (at, sighting) in all.iter().enumerate() {
            match self.judge(sighting) {
                Ruling::Refused(why) => return Verdict::Refuse { at, why },
                Ruling::Open if !settled.contains(&at) => ask.push(at),
                Ruling::NotOurs => {}
                Ruling::Open | Ruling::Allowed => stale |= self.is_stale(sighting),
            }
        }
        if !ask.is_empty() {
            return Verdict::Ask(ask);
        }
        if !stale {
            return Verdict::Go;
        }
        for path in all.iter().filter(|sighting| sighting.content).filter_map(Sighting::path) {
            self.stale.remove(path);
        }
        Verdict::Busy
    }

    /// Whether it is the workspace's at all.
    pub(super) fn is_ours(&self, sighting: &Sighting) -> bool {
        self.judge(sighting) != Ruling::NotOurs
    }

    fn judge(&self, sighting: &Sighting) -> Ruling {
        let path = match &sighting.place {
            Place::Inside(path) => path,
            Place::Git => return Ruling::Refused(RefusalReason::Git),
            // It holds the repository, so it stays where it is.
            Place::Root if moves(sighting.touch) => return Ruling::Refused(RefusalReason::Git),
            Place::Root | Place::Outside | Place::Nameless => return Ruling::NotOurs,
        };
        let concerns_one = |of: &[RepoPath]| of.iter().any(|closed| concerns(closed, path, sighting.touch));
        if concerns_one(&self.forbidden) {
            Ruling::Refused(RefusalReason::Git)
        } else if concerns_one(&self.nested) {
            Ruling::Refused(RefusalReason::Nested)
        } else if matches(&self.deny, path) {
            Ruling::Refused(RefusalReason::Denied)
        } else if self.is_granted(path) || (matches(&self.exclusive, path) && !self.protected.contains(path)) {
            Ruling::Allowed
        } else {
            Ruling::Open
        }
    }

    fn is_granted(&self, path: &RepoPath) -> bool {
        self.paths.contains(path)
            || self.scratch.iter().any(|scratch| path.is_within(scratch))
            || self.beneath.iter().any(|top| path.is_within(top))
    }

    fn is_stale(&self, sighting: &Sighting) -> bool {
        let stale = |path| self.stale.contains(path);
        !self.stale.is_empty() && sighting.content && sighting.path().is_some_and(stale)
    }
}

impl Sighting {
    /// Its path in the workspace.
    pub(super) fn path(&self) -> Option<&RepoPath> {
        if let Place::Inside(path) = &self.place { Some(path) } else { None }
    }
}

fn matches(patterns: &[Pattern], path: &RepoPath) -> bool {
    patterns.iter().any(|pattern| pattern.matches(path))
}

/// Whether touching `path` so concerns a directory that is closed to all: in it, or a move of what it lies in.
fn concerns(closed: &RepoPath, path: &RepoPath, touch: Touch) -> bool {
    path.is_within(closed) || (moves(touch) && closed.is_within(path))
}

/// May it give a directory another name, or give its name away?
fn moves(touch: Touch) -> bool {
    matches!(touch, Touch::MoveIn | Touch::MoveOut | Touch::MakeDirectory | Touch::RemoveDirectory)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::call::{Tally, There};

    fn path(text: &str) -> RepoPath {
        RepoPath::new(text.as_bytes()).unwrap()
    }

    fn rules() -> Rules {
        let patterns = |texts: &[&str]| texts.iter().map(|text| Pattern::new(text).unwrap()).collect();
        let mut rules = Rules {
            exclusive: patterns(&["src/", "docs/*.md"]),
            deny: patterns(&["**/*.lock"]),
            forbidden: vec![path("sub/.git")],
            scratch: vec![path(".codex")],
            ..Rules::default()
        };
        rules.nested = vec![path("src/sub"), path("src-1"), path("src/deep/er/sub")];
        rules.protected.insert(path("src/.env"));
        rules.grant(Grant::Path(path("granted")));
        rules.grant(Grant::Beneath(path("target")));
        rules
    }

    fn sighting(touch: Touch, place: Place) -> Sighting {
        Sighting { place, touch, there: There::File, tally: Tally::default(), content: touch != Touch::Change }
    }

    fn inside(touch: Touch, text: &str) -> Sighting {
        sighting(touch, Place::Inside(path(text)))
    }

    fn check(all: &[Sighting], expected: &Verdict) {
        assert_eq!(rules().decide(all, &BTreeSet::new()), *expected, "{all:?}");
    }

    fn refused(at: usize, why: RefusalReason) -> Verdict {
        Verdict::Refuse { at, why }
    }

    #[test]
    fn one_path() {
        use Touch::{Change, MoveOut, Open, Remove, RemoveDirectory};
        let of = |touch, text, expected: Verdict| check(&[inside(touch, text)], &expected);
        of(Open, "src/a.rs", Verdict::Go);
        of(Remove, "docs/a.md", Verdict::Go);
        of(Open, "docs/a/b.md", Verdict::Ask(vec![0]));
        of(Open, "src/Cargo.lock", refused(0, RefusalReason::Denied));
        of(Open, "other", Verdict::Ask(vec![0]));
        of(Open, "src/.env", Verdict::Ask(vec![0]));
        of(Open, "granted", Verdict::Go);
        of(Open, "granted/x", Verdict::Ask(vec![0]));
        of(Open, "target", Verdict::Go);
        of(Open, "target/debug/x", Verdict::Go);
        of(Open, "target/x.lock", refused(0, RefusalReason::Denied));
        of(Open, ".codex/x", Verdict::Go);
        of(Open, "sub/.git/HEAD", refused(0, RefusalReason::Git));
        of(MoveOut, "sub", refused(0, RefusalReason::Git));
        of(Change, "sub", Verdict::Ask(vec![0]));
        for (touch, text) in [(Open, "src/sub/x"), (Remove, "src/sub"), (Open, "src-1/x"), (MoveOut, "src/deep")] {
            of(touch, text, refused(0, RefusalReason::Nested));
        }
        for (touch, text) in [(Open, "src/subject"), (MoveOut, "src/dee"), (Open, "src/deep/x")] {
            of(touch, text, Verdict::Go);
        }
        for place in [Place::Outside, Place::Nameless, Place::Root] {
            check(&[sighting(Change, place)], &Verdict::Go);
        }
        check(&[sighting(Change, Place::Git)], &refused(0, RefusalReason::Git));
        check(&[sighting(MoveOut, Place::Root)], &refused(0, RefusalReason::Git));
        check(&[sighting(RemoveDirectory, Place::Root)], &refused(0, RefusalReason::Git));
        check(&[], &Verdict::Go);
    }

    #[test]
    fn all_paths_of_a_call_must_be_allowed() {
        use Touch::{MoveIn, MoveOut};
        let pair = |from, to| [inside(MoveOut, from), inside(MoveIn, to)];
        check(&pair("src/a", "src/b"), &Verdict::Go);
        check(&pair("src/a", "b"), &Verdict::Ask(vec![1]));
        check(&pair("a", "src/b"), &Verdict::Ask(vec![0]));
        check(&pair("a", "b"), &Verdict::Ask(vec![0, 1]));
        check(&pair("a", "b.lock"), &refused(1, RefusalReason::Denied));
        check(&[inside(MoveOut, "src/a"), sighting(MoveIn, Place::Outside)], &Verdict::Go);
        let settled = BTreeSet::from([0]);
        assert_eq!(rules().decide(&pair("a", "b"), &settled), Verdict::Ask(vec![1]));
        assert_eq!(rules().decide(&pair("a", "src/b"), &settled), Verdict::Go);
        assert_eq!(rules().decide(&pair("a.lock", "src/b"), &settled), refused(0, RefusalReason::Denied));
    }

    #[test]
    fn what_is_stale_is_busy_once() {
        let mut rules = rules();
        rules.spoil(vec![path("src/a"), path("src/b"), path("late")]);
        let none = BTreeSet::new();
        let mut decide = |all: &[Sighting], settled: &BTreeSet<usize>| rules.decide(all, settled);
        // Attributes may be changed without having read anything.
        assert_eq!(decide(&[inside(Touch::Change, "src/a")], &none), Verdict::Go);
        let open = |text| [inside(Touch::Open, text)];
        assert_eq!(decide(&open("src/c"), &none), Verdict::Go);
        assert_eq!(decide(&open("src/a"), &none), Verdict::Busy);
        assert_eq!(decide(&open("src/a"), &none), Verdict::Go);
        let rename = [inside(Touch::MoveOut, "src/t"), inside(Touch::MoveIn, "src/b")];
        assert_eq!(decide(&rename, &none), Verdict::Busy);
        assert_eq!(decide(&rename, &none), Verdict::Go);
        // Also where the supervisor allows it.
        assert_eq!(decide(&open("late"), &none), Verdict::Ask(vec![0]));
        let settled = BTreeSet::from([0]);
        assert_eq!(decide(&open("late"), &settled), Verdict::Busy);
        assert_eq!(decide(&open("late"), &settled), Verdict::Go);
    }
}
