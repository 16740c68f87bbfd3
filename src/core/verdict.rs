//! What a write to one path is: allowed, somebody else's, undeclared.
//!
//! Invariant: a pure function of the claims, the locks and the facts of the path; the first rule that
//! matches decides. What a verdict leads to (denied, ended, locked) is not here: that is the policy's.
//!
//! Deliberately absent: what the shim decides by itself before anybody is asked (git's own
//! directories, `deny`, the exclusive claim, the runner's scratch); those rules stand here too, as the
//! shim may ask all the same.

use std::collections::{BTreeMap, BTreeSet};

use super::agent::IgnoredPaths;
use super::call::{Target, There, Touch};
use super::claim::{Claim, Pattern};
use super::conflict::Lock;
use super::facts::{Ignored, PathFacts};
use super::path::RepoPath;
use super::record::Admission;

/// One running agent's part in the question.
#[derive(Clone, Copy, Debug)]
pub struct Party<'a, Id> {
    pub id: Id,
    pub claim: &'a Claim,
    /// Paths that it locked one by one.
    pub locked: &'a BTreeSet<RepoPath>,
    /// Paths that it may write without a lock.
    pub admitted: &'a BTreeMap<RepoPath, Admission>,
}

/// Everything that a verdict depends on.
#[derive(Debug)]
pub struct Question<'a, Id> {
    pub target: &'a Target,
    pub facts: &'a PathFacts,
    pub writer: Party<'a, Id>,
    /// The others that hold a lease.
    pub others: &'a [Party<'a, Id>],
    /// Ignored files that were made in this run.
    pub made: &'a BTreeSet<RepoPath>,
    pub ignored: IgnoredPaths,
    /// Somebody else wrote the path since the writer's attempt last looked.
    pub stale: bool,
    /// It is the verify command that writes, which has no claims of its own.
    pub verify: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<Id> {
    /// The writer's `deny` matches.
    Deny,
    /// In its exclusive lock.
    Own,
    /// Admitted before, and held since.
    Admitted,
    /// Git ignores it, and it lies in this directory, all of which is ignored.
    IgnoredBeneath(RepoPath),
    /// Git ignores it alone, and nothing was there before this run.
    IgnoredNew,
    /// In its late claim, and free.
    Late,
    /// In its lock or late claim, and changed since it looked.
    Stale,
    /// In its late claim, and held by another.
    Held(Id),
    /// Locked by another.
    Conflict { holder: Id, lock: Lock, pattern: Option<String> },
    /// A directory on the way to a path that its claim matches.
    OnTheWay,
    /// A new file beside a path that its claim matches; or a new directory that is to be renamed to what git ignores.
    Provisional,
    /// No rule allows it.
    Undeclared(Undeclared),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undeclared {
    NoClaim,
    /// An ignored file that was there before the run.
    Protected,
    /// `ignored = "enforce"`.
    Enforced,
    /// By a verify command.
    Verify,
}

impl<Id: Copy> Question<'_, Id> {
    #[must_use]
    pub fn verdict(&self) -> Verdict<Id> {
        let path = &self.target.path;
        if self.verify {
            let free = self.lock_of_another().is_none();
            let ignored = if free { self.ignored_rule().or_else(|| self.in_the_making()) } else { None };
            return ignored.unwrap_or(Verdict::Undeclared(Undeclared::Verify));
        }
        if self.writer.claim.deny.iter().any(|pattern| pattern.matches(path)) {
            return Verdict::Deny;
        }
        if self.owns(path) {
            return if self.stale && changes_content(self.target.touch) { Verdict::Stale } else { Verdict::Own };
        }
        // What git ignores is judged anew: another may have locked it since.
        if self.writer.admitted.get(path).is_some_and(|how| *how != Admission::Ignored) {
            return Verdict::Admitted;
        }
        let late = covers(&self.writer.claim.late, path, &self.facts.ignored);
        if !late
            && self.lock_of_another().is_none()
            && let Some(verdict) = self.ignored_rule()
        {
            return verdict;
        }
        if late {
            let holder = self.lock_of_another().map(|(holder, ..)| holder);
            return match holder.or_else(|| self.admitted_to_another()) {
                Some(holder) => Verdict::Held(holder),
                None if self.stale && changes_content(self.target.touch) => Verdict::Stale,
                None => Verdict::Late,
            };
        }
        if let Some((holder, lock, pattern)) = self.lock_of_another() {
            return Verdict::Conflict { holder, lock, pattern };
        }
        self.beside_the_claim()
    }

    /// An exclusive claim matches, or the path was locked by itself.
    fn owns(&self, path: &RepoPath) -> bool {
        covers(&self.writer.claim.exclusive, path, &self.facts.ignored) || self.writer.locked.contains(path)
    }

    /// What the rules on ignored paths say; `None`: git does not ignore it.
    fn ignored_rule(&self) -> Option<Verdict<Id>> {
        let path = &self.target.path;
        let verdict = match &self.facts.ignored {
            Ignored::No | Ignored::Making(_) => return None,
            _ if self.ignored == IgnoredPaths::Enforce && !self.verify => Verdict::Undeclared(Undeclared::Enforced),
            Ignored::Beneath(directory) => Verdict::IgnoredBeneath(directory.clone()),
            Ignored::File if self.facts.there == There::Nothing || self.made.contains(path) => Verdict::IgnoredNew,
            Ignored::File => Verdict::Undeclared(Undeclared::Protected),
        };
        Some(verdict)
    }

    /// What the rules say on a directory that is to be renamed to what git ignores. What was there before, or is
    /// another's, is not in the making: `None`.
    fn in_the_making(&self) -> Option<Verdict<Id>> {
        let Ignored::Making(making) = &self.facts.ignored else { return None };
        if self.ignored == IgnoredPaths::Enforce && !self.verify {
            return None;
        }
        let (touch, nothing) = (self.target.touch, self.facts.there == There::Nothing);
        if self.writer.admitted.get(making) != Some(&Admission::Provisional) {
            let begins = self.target.path == *making && touch == Touch::MakeDirectory && nothing;
            return begins.then_some(Verdict::Provisional);
        }
        Some(match touch {
            Touch::MakeDirectory | Touch::RemoveDirectory => Verdict::OnTheWay,
            // A verify command's files are judged by nobody at its end.
            _ if nothing && !self.verify => Verdict::Provisional,
            _ => Verdict::Admitted,
        })
    }

    fn lock_of_another(&self) -> Option<(Id, Lock, Option<String>)> {
        let (path, ignored) = (&self.target.path, &self.facts.ignored);
        self.others.iter().find_map(|other| {
            if other.locked.contains(path) {
                return Some((other.id, Lock::Late, None));
            }
            let by = |patterns: &[Pattern], lock| {
                covering(patterns, path, ignored).map(|pattern| (other.id, lock, Some(pattern.as_str().to_owned())))
            };
            // What it may not write itself it has no lock on.
            let denied = other.claim.deny.iter().any(|pattern| pattern.matches(path));
            let exclusive = if denied { None } else { by(&other.claim.exclusive, Lock::Exclusive) };
            exclusive.or_else(|| by(&other.claim.shared, Lock::Shared))
        })
    }

    fn others_reach_beneath(&self, path: &RepoPath) -> bool {
        self.others
            .iter()
            .any(|other| other.claim.locks_beneath(path) || other.locked.iter().any(|locked| locked.is_within(path)))
    }

    /// Another one that writes the path although it has no lock on it: it may be at it this moment.
    fn admitted_to_another(&self) -> Option<Id> {
        let writes = |other: &&Party<'_, Id>| {
            other.admitted.get(&self.target.path).is_some_and(|how| *how != Admission::Ignored)
        };
        self.others.iter().find(writes).map(|other| other.id)
    }

    fn beside_the_claim(&self) -> Verdict<Id> {
        let (path, touch) = (&self.target.path, self.target.touch);
        let directory = matches!(touch, Touch::MakeDirectory | Touch::RemoveDirectory);
        // Mode and times of a directory are nothing to git, but they could shut others out.
        let known_of_it = touch == Touch::Change && self.facts.there == There::Directory;
        let Party { claim, locked, .. } = self.writer;
        let reaches = || claim.reaches_beneath(path) || locked.iter().any(|own| own.is_within(path));
        if (directory || (known_of_it && !self.others_reach_beneath(path))) && reaches() {
            return Verdict::OnTheWay;
        }
        if let Some(verdict) = self.in_the_making() {
            return verdict;
        }
        let makes = matches!(touch, Touch::Open | Touch::Make | Touch::MoveIn);
        let parent = path.parent();
        let beside = || claim.reaches_beside(path) || locked.iter().any(|own| own.parent() == parent);
        if makes && self.facts.there == There::Nothing && self.admitted_to_another().is_none() && beside() {
            return Verdict::Provisional;
        }
        Verdict::Undeclared(Undeclared::NoClaim)
    }
}

pub(crate) fn changes_content(touch: Touch) -> bool {
    !matches!(touch, Touch::MakeDirectory | Touch::RemoveDirectory | Touch::Alias)
}

fn covers(patterns: &[Pattern], path: &RepoPath, ignored: &Ignored) -> bool {
    covering(patterns, path, ignored).is_some()
}

/// Claims match what git ignores only where they mean to: where their literal beginning is ignored.
fn covering<'p>(patterns: &'p [Pattern], path: &RepoPath, ignored: &Ignored) -> Option<&'p Pattern> {
    patterns.iter().filter(|pattern| pattern.matches(path)).find(|pattern| {
        let begins = |test: &dyn Fn(&RepoPath) -> bool| pattern.literal_prefix().is_some_and(|prefix| test(&prefix));
        match ignored {
            Ignored::No | Ignored::Making(_) => true,
            Ignored::File => begins(&|prefix| prefix == path),
            Ignored::Beneath(directory) => begins(&|prefix| prefix.is_within(directory)),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RepoPath {
        RepoPath::new(text.as_bytes()).unwrap()
    }

    fn claim(exclusive: &[&str], late: &[&str], shared: &[&str]) -> Claim {
        let patterns = |texts: &[&str]| texts.iter().map(|t| Pattern::new(t).unwrap()).collect();
        Claim {
            exclusive: patterns(exclusive),
            late: patterns(late),
            shared: patterns(shared),
            deny: patterns(&["**/*.lock"]),
        }
    }

    /// `at`: `=` there is a file, `/` a directory, `+` nothing.
    struct Case {
        at: &'static str,
        touch: Touch,
        ignored: Ignored,
        stale: bool,
        verify: bool,
    }

    fn judge(case: &Case) -> Verdict<&'static str> {
        let writer = claim(&["src/a.rs", "docs/*.md", "target/own/**"], &["late/**", "target/late"], &[]);
        let other = claim(&["src/b.rs", "late/held.rs", "target/theirs"], &[], &["models/"]);
        let (there, text) = case.at.split_at(1);
        let there = match there {
            "=" => There::File,
            "/" => There::Directory,
            _ => There::Nothing,
        };
        let target = Target { path: path(text), touch: case.touch, there };
        let facts = PathFacts { there, ignored: case.ignored.clone() };
        let none = BTreeSet::new();
        let locked = BTreeSet::from([path("src/other.rs")]);
        let admitted = ["src/.tmp", "targetA1b2C3"].map(|name| (path(name), Admission::Provisional));
        let admitted = BTreeMap::from(admitted);
        let theirs = BTreeMap::from([(path("late/draft"), Admission::Warned)]);
        let made = BTreeSet::from([path("made.log")]);
        Question {
            target: &target,
            facts: &facts,
            writer: Party { id: "me", claim: &writer, locked: &none, admitted: &admitted },
            others: &[Party { id: "you", claim: &other, locked: &locked, admitted: &theirs }],
            made: &made,
            ignored: IgnoredPaths::Allow,
            stale: case.stale,
            verify: case.verify,
        }
        .verdict()
    }

    #[expect(clippy::needless_pass_by_value, reason = "reads as a table")]
    fn check(at: &'static str, touch: Touch, ignored: Ignored, expected: Verdict<&'static str>) {
        assert_eq!(judge(&Case { at, touch, ignored, stale: false, verify: false }), expected, "{at} {touch:?}");
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        use Touch::{Change, MakeDirectory, MoveIn, Open, Remove};
        let no = || Ignored::No;
        let beneath = || Ignored::Beneath(path("target"));
        check("=src/x.lock", Open, no(), Verdict::Deny);
        check("=src/a.rs", Open, no(), Verdict::Own);
        check("+docs/new.md", MoveIn, no(), Verdict::Own);
        check("=src/.tmp", Open, no(), Verdict::Admitted);
        check("+target/x", Open, beneath(), Verdict::IgnoredBeneath(path("target")));
        check("+target/own/x", Open, beneath(), Verdict::Own);
        check("+docs/ignored.md", Open, Ignored::File, Verdict::IgnoredNew);
        check("=made.log", Open, Ignored::File, Verdict::IgnoredNew);
        check("=.env", Remove, Ignored::File, Verdict::Undeclared(Undeclared::Protected));
        check("=docs/secret.md", Open, Ignored::File, Verdict::Undeclared(Undeclared::Protected));
        check("=late/free.rs", Open, no(), Verdict::Late);
        check("=late/held.rs", Open, no(), Verdict::Held("you"));
        check("+late/draft", Open, no(), Verdict::Held("you"));
        check("+target/late", Open, beneath(), Verdict::Late);
        let conflict = |lock, pattern: Option<&str>| Verdict::Conflict {
            holder: "you",
            lock,
            pattern: pattern.map(str::to_owned),
        };
        check("=src/b.rs", Open, no(), conflict(Lock::Exclusive, Some("src/b.rs")));
        check("+models/x", Open, no(), conflict(Lock::Shared, Some("models/")));
        check("=src/other.rs", Remove, no(), conflict(Lock::Late, None));
        check("+target", MakeDirectory, no(), Verdict::OnTheWay);
        check("+docs", MakeDirectory, no(), Verdict::OnTheWay);
        check("+docs/deep", MakeDirectory, no(), Verdict::Undeclared(Undeclared::NoClaim));
        check("/docs", Change, no(), Verdict::OnTheWay);
        check("/src", Change, no(), Verdict::Undeclared(Undeclared::NoClaim));
        check("/models", Change, no(), Verdict::Undeclared(Undeclared::NoClaim));
        check("+src/sedX1", Open, no(), Verdict::Provisional);
        check("+docs/.note.swp", Open, no(), Verdict::Provisional);
        check("=src/c.rs", Open, no(), Verdict::Undeclared(Undeclared::NoClaim));
        // A directory in the making, from its first moment; not one that was there.
        let (mine, old) = (|| Ignored::Making(path("targetA1b2C3")), || Ignored::Making(path("target2024Q1")));
        check("+targetA1b2C3/x", Open, mine(), Verdict::Provisional);
        check("=targetA1b2C3/x", Open, mine(), Verdict::Admitted);
        check("+targetA1b2C3/deep", MakeDirectory, mine(), Verdict::OnTheWay);
        check("/targetA1b2C3", Remove, mine(), Verdict::Admitted);
        check("+target2024Q1", MakeDirectory, old(), Verdict::Provisional);
        check("+target2024Q1/x", Open, old(), Verdict::Undeclared(Undeclared::NoClaim));
        check("/target2024Q1", Remove, old(), Verdict::Undeclared(Undeclared::NoClaim));
        check("+other/c.rs", Open, no(), Verdict::Undeclared(Undeclared::NoClaim));
    }

    #[test]
    fn a_verify_command_writes_nothing_but_what_git_ignores_and_nobody_has_locked() {
        let verify = |at, ignored| judge(&Case { at, touch: Touch::Open, ignored, stale: false, verify: true });
        let beneath = || Ignored::Beneath(path("target"));
        assert_eq!(verify("+target/x", beneath()), Verdict::IgnoredBeneath(path("target")));
        assert_eq!(verify("+target/theirs", beneath()), Verdict::Undeclared(Undeclared::Verify));
        assert_eq!(verify("=src/a.rs", Ignored::No), Verdict::Undeclared(Undeclared::Verify));
        assert_eq!(verify("=.env", Ignored::File), Verdict::Undeclared(Undeclared::Protected));
        let making = |name| Ignored::Making(path(name));
        assert_eq!(verify("+targetA1b2C3/x", making("targetA1b2C3")), Verdict::Admitted);
        assert_eq!(verify("+target2024Q1/x", making("target2024Q1")), Verdict::Undeclared(Undeclared::Verify));
    }

    #[test]
    fn what_changed_since_it_was_read_is_busy_once() {
        let stale = |at, touch| judge(&Case { at, touch, ignored: Ignored::No, stale: true, verify: false });
        assert_eq!(stale("=src/a.rs", Touch::Open), Verdict::Stale);
        assert_eq!(stale("=late/free.rs", Touch::Open), Verdict::Stale);
        assert_eq!(stale("=late/held.rs", Touch::Open), Verdict::Held("you"));
        assert_eq!(stale("+docs", Touch::MakeDirectory), Verdict::OnTheWay);
    }
}
