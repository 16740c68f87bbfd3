//! Whose a change is, and what becomes of it.
//!
//! With the gate, what a tree wrote is known: a change of a path that it was let write is `Certain`, any
//! other is nobody's. Without it, claims are all there is: comparing trees names no writer.
//!
//! Invariant: only a path that the attempt had a lock on can go into its commit, never one that
//! another live attempt may have written as well, and never (unless its session says so) one that
//! somebody outside every tree wrote too.

use std::collections::{BTreeMap, BTreeSet};

use super::agent::{OnOutsideEdit, OnUndeclared};
use super::change::{Attribution, Change, Mode};
use super::claim::Claim;
use super::event::Measured;
use super::path::RepoPath;
use super::record::{Admission, Fate, Write};

/// What is known of an attempt when its changes are judged.
#[derive(Debug)]
pub struct Evidence<'a> {
    pub claim: &'a Claim,
    /// The claims of the other attempts that hold a lease.
    pub others: &'a [&'a Claim],
    /// Paths that already differed from git when it began.
    pub dirty: &'a BTreeSet<RepoPath>,
    /// Paths that it locked one by one.
    pub locked: &'a BTreeSet<RepoPath>,
    pub admitted: &'a BTreeMap<RepoPath, Admission>,
    /// What the gate let it write; `None`: there is no gate.
    pub seen: Option<&'a BTreeSet<RepoPath>>,
    /// Without a gate: what it was seen to write, as far as anybody looked in time.
    pub caught: &'a BTreeSet<RepoPath>,
    pub on_undeclared: OnUndeclared,
    pub on_outside_edit: OnOutsideEdit,
}

/// Judges what an attempt changed. Of what it did beyond its claim only what it is known to have
/// written is among the result.
#[must_use]
pub fn judge(evidence: &Evidence<'_>, measured: &Measured) -> Vec<Write> {
    let outside: BTreeSet<&RepoPath> = measured.outside.iter().collect();
    let known = |change: &&Change| evidence.seen.unwrap_or(evidence.caught).contains(&change.path);
    let changes = measured.own.iter().chain(measured.beyond.iter().filter(known));
    let mut writes: Vec<Write> = changes
        .map(|change| {
            let outside = outside.contains(&change.path);
            let (attribution, fate) = evidence.verdict(&change.path, outside, measured.untold);
            // A commit of another repository is not ours to record, nor to put back.
            let fate = if is_nested(change) { Fate::Leave } else { fate };
            Write { change: change.clone(), attribution, fate }
        })
        .collect();
    writes.extend(undone(evidence, measured));
    writes.sort_by(|a, b| a.change.path.cmp(&b.change.path));
    writes.dedup_by(|a, b| a.change.path == b.change.path);
    writes
}

/// The same, with each path of `known` no surer than it was known before.
#[must_use]
pub fn weaken(mut writes: Vec<Write>, known: &BTreeMap<RepoPath, Attribution>) -> Vec<Write> {
    for write in &mut writes {
        let before = known.get(&write.change.path).copied().unwrap_or(write.attribution);
        write.attribution = write.attribution.max(before);
    }
    writes
}

/// What it is known to have written of its own, somebody outside every tree wrote as well, and is as it was before:
/// whose hand undid its work cannot be known, so it is not taken for done. A change from nothing to nothing.
fn undone<'e>(evidence: &'e Evidence<'_>, measured: &'e Measured) -> impl Iterator<Item = Write> + 'e {
    let changed: BTreeSet<&RepoPath> = measured.own.iter().chain(&measured.beyond).map(|change| &change.path).collect();
    let wrote = evidence.seen.unwrap_or(evidence.caught);
    let fails = evidence.on_outside_edit == OnOutsideEdit::Fail;
    let undone =
        move |path: &&RepoPath| fails && wrote.contains(*path) && !changed.contains(path) && evidence.owns(path);
    measured.outside.iter().filter(undone).map(|path| Write {
        change: Change { path: path.clone(), before: None, after: None },
        attribution: Attribution::Certain,
        fate: Fate::Mixed,
    })
}

fn is_nested(change: &Change) -> bool {
    change.after.or(change.before).is_some_and(|entry| entry.mode == Mode::Submodule)
}

impl Evidence<'_> {
    fn verdict(&self, path: &RepoPath, outside: bool, untold: bool) -> (Attribution, Fate) {
        match self.seen {
            Some(seen) if seen.contains(path) => (Attribution::Certain, self.fate_of_own(path, outside)),
            Some(_) if untold => self.inferred(path, outside),
            // Nobody's: the gate lets no write of a tree pass unseen.
            Some(_) => (Attribution::Unknown, Fate::Leave),
            None => self.inferred(path, outside),
        }
    }

    fn fate_of_own(&self, path: &RepoPath, outside: bool) -> Fate {
        match (self.owns(path), self.admitted.get(path), self.on_undeclared) {
            (true, ..) if outside => self.mixed(),
            (true, ..) => self.clean_or_not(path),
            (false, Some(Admission::Provisional), OnUndeclared::Deny | OnUndeclared::Kill) if !outside => {
                Fate::SalvageOnly
            }
            (false, Some(Admission::Provisional), OnUndeclared::Claim) if !outside => self.clean_or_not(path),
            _ => Fate::Leave,
        }
    }

    /// What it was let write with a warning is none of it, even where its claim matches by chance (what git ignores).
    fn owns(&self, path: &RepoPath) -> bool {
        let warned = || self.admitted.get(path) == Some(&Admission::Warned);
        self.locked.contains(path) || (self.claim.exclusive_matches(path) && !warned())
    }

    fn inferred(&self, path: &RepoPath, outside: bool) -> (Attribution, Fate) {
        let caught = self.caught.contains(path);
        let attribution = if caught { Attribution::Certain } else { Attribution::Inferred };
        let late = || {
            let theirs = |other: &&Claim| other.exclusive_matches(path) || other.late_matches(path);
            self.claim.late_matches(path) && !self.others.iter().any(theirs)
        };
        // `locked` are paths that joined its claim in an earlier attempt.
        if self.owns(path) || late() {
            (attribution, if outside { self.mixed() } else { self.clean_or_not(path) })
        } else {
            (if caught { attribution } else { Attribution::Unknown }, Fate::Leave)
        }
    }

    fn mixed(&self) -> Fate {
        match self.on_outside_edit {
            OnOutsideEdit::Fail => Fate::Mixed,
            OnOutsideEdit::Commit => Fate::CommitMixed,
        }
    }

    fn clean_or_not(&self, path: &RepoPath) -> Fate {
        if self.dirty.contains(path) { Fate::SalvageOnly } else { Fate::Commit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::change::{Entry, ObjectId};
    use crate::core::claim::Pattern;

    fn patterns(texts: &[&str]) -> Vec<Pattern> {
        texts.iter().map(|t| Pattern::new(t).unwrap()).collect()
    }

    fn path(text: &str) -> RepoPath {
        RepoPath::new(text.as_bytes()).unwrap()
    }

    fn change(text: &str) -> Change {
        let after = Entry { mode: Mode::File, id: ObjectId::from_bytes(&[7; 20]).unwrap() };
        Change { path: path(text), before: None, after: Some(after) }
    }

    /// The one change, judged; `seen`: with the gate, which saw it or not; `outside`: written by others.
    fn judged(text: &str, seen: Option<bool>, outside: bool, policy: (OnUndeclared, OnOutsideEdit)) -> Option<Write> {
        let mine = Claim {
            exclusive: patterns(&["mine", "dirty", "denied", "by-chance"]),
            late: patterns(&["late", "contested", "taken"]),
            shared: patterns(&["read"]),
            deny: patterns(&["denied"]),
        };
        let other = Claim { late: patterns(&["contested"]), exclusive: patterns(&["theirs"]), ..Claim::default() };
        let wrote = seen.map(|seen| if seen { BTreeSet::from([path(text)]) } else { BTreeSet::new() });
        let admitted = BTreeMap::from([
            (path("beside"), Admission::Provisional),
            (path("warned"), Admission::Warned),
            (path("by-chance"), Admission::Warned),
        ]);
        let evidence = Evidence {
            claim: &mine,
            others: &[&other],
            dirty: &BTreeSet::from([path("dirty")]),
            locked: &BTreeSet::from([path("taken")]),
            admitted: &admitted,
            seen: wrote.as_ref(),
            caught: &BTreeSet::from([path("late"), path("theirs")]),
            on_undeclared: policy.0,
            on_outside_edit: policy.1,
        };
        let outside = if outside { vec![path(text)] } else { Vec::new() };
        let own = text != "elsewhere";
        let (own, beyond) = if own { (vec![change(text)], vec![]) } else { (vec![], vec![change(text)]) };
        let mut writes = judge(&evidence, &Measured { own, beyond, outside, untold: false });
        assert!(writes.len() <= 1);
        writes.pop()
    }

    fn check(text: &str, seen: Option<bool>, outside: bool, expected: (Attribution, Fate)) {
        let write = judged(text, seen, outside, Default::default()).expect("a verdict");
        assert_eq!((write.attribution, write.fate), expected, "{text} {seen:?} {outside}");
    }

    #[test]
    fn without_the_gate_only_what_the_claim_covers_is_committed() {
        check("mine", None, false, (Attribution::Inferred, Fate::Commit));
        check("late", None, false, (Attribution::Certain, Fate::Commit));
        check("mine", None, true, (Attribution::Inferred, Fate::Mixed));
        check("contested", None, false, (Attribution::Unknown, Fate::Leave));
        check("theirs", None, false, (Attribution::Certain, Fate::Leave));
        check("read", None, false, (Attribution::Unknown, Fate::Leave));
        check("denied", None, false, (Attribution::Unknown, Fate::Leave));
        check("dirty", None, false, (Attribution::Inferred, Fate::SalvageOnly));
        assert_eq!(judged("elsewhere", None, false, Default::default()), None);
    }

    #[test]
    fn with_the_gate_what_was_not_seen_is_nobodys() {
        let yes = Some(true);
        check("mine", yes, false, (Attribution::Certain, Fate::Commit));
        check("mine", Some(false), false, (Attribution::Unknown, Fate::Leave));
        check("taken", yes, false, (Attribution::Certain, Fate::Commit));
        check("late", yes, false, (Attribution::Certain, Fate::Leave));
        check("dirty", yes, false, (Attribution::Certain, Fate::SalvageOnly));
        check("beside", yes, false, (Attribution::Certain, Fate::SalvageOnly));
        check("warned", yes, false, (Attribution::Certain, Fate::Leave));
        check("by-chance", yes, false, (Attribution::Certain, Fate::Leave));
        check("elsewhere", yes, false, (Attribution::Certain, Fate::Leave));
        assert_eq!(judged("elsewhere", Some(false), false, Default::default()), None);
        check("mine", yes, true, (Attribution::Certain, Fate::Mixed));
        check("beside", yes, true, (Attribution::Certain, Fate::Leave));
    }

    #[test]
    fn what_somebody_else_put_back_is_undone() {
        let claim = Claim { exclusive: patterns(&["mine"]), ..Claim::default() };
        let wrote = BTreeSet::from([path("mine/a"), path("mine/b"), path("mine/c"), path("other")]);
        let (none, nothing) = (BTreeSet::new(), BTreeMap::new());
        let mut evidence = Evidence {
            claim: &claim,
            others: &[],
            dirty: &none,
            locked: &none,
            admitted: &nothing,
            seen: Some(&wrote),
            caught: &none,
            on_undeclared: OnUndeclared::Deny,
            on_outside_edit: OnOutsideEdit::Fail,
        };
        let outside = ["mine/a", "mine/b", "mine/unseen", "other"].map(path).to_vec();
        let measured = Measured { own: vec![change("mine/a")], outside, ..Measured::default() };
        let mixed = |evidence: &Evidence<'_>| {
            let writes = judge(evidence, &measured).into_iter().filter(|write| write.fate == Fate::Mixed);
            writes.map(|write| (write.change.path.clone(), write.is_undone())).collect::<Vec<_>>()
        };
        assert_eq!(mixed(&evidence), [(path("mine/a"), false), (path("mine/b"), true)], "`mine/c` it put back itself");
        evidence.on_outside_edit = OnOutsideEdit::Commit;
        assert_eq!(mixed(&evidence), []);
    }

    #[test]
    fn policies_decide_about_leftovers_and_mixed_paths() {
        let fate = |text, outside, undeclared, edit| {
            judged(text, Some(true), outside, (undeclared, edit)).expect("a verdict").fate
        };
        let (fail, commit) = (OnOutsideEdit::Fail, OnOutsideEdit::Commit);
        assert_eq!(fate("beside", false, OnUndeclared::Claim, fail), Fate::Commit);
        assert_eq!(fate("beside", false, OnUndeclared::Warn, fail), Fate::Leave);
        assert_eq!(fate("mine", true, OnUndeclared::Deny, commit), Fate::CommitMixed);
    }
}
