//! Whose a change is, told by the claims alone.
//!
//! Invariant: only a path inside the attempt's own claim can go into its commit, and never one that
//! another live attempt may have written as well. Comparing trees names no writer, so nothing here
//! is ever `Certain`.

use std::collections::BTreeSet;

use super::change::{Attribution, Change, Mode};
use super::claim::Claim;
use super::path::RepoPath;
use super::record::{Fate, Write};

/// Judges what an attempt with `claim` changed. `others` are the claims of the other attempts that
/// hold a lease; `dirty` are the paths that already differed from git when it began.
#[must_use]
pub fn judge(claim: &Claim, others: &[&Claim], dirty: &BTreeSet<RepoPath>, changes: &[Change]) -> Vec<Write> {
    changes
        .iter()
        .map(|change| {
            let (attribution, fate) = verdict(claim, others, dirty, &change.path);
            // A commit of another repository is not ours to record, nor to put back.
            let fate = if is_nested(change) { Fate::Leave } else { fate };
            Write { change: change.clone(), attribution, fate }
        })
        .collect()
}

fn is_nested(change: &Change) -> bool {
    change.after.or(change.before).is_some_and(|entry| entry.mode == Mode::Submodule)
}

fn verdict(claim: &Claim, others: &[&Claim], dirty: &BTreeSet<RepoPath>, path: &RepoPath) -> (Attribution, Fate) {
    let exclusive = claim.exclusive_matches(path);
    let late = || {
        claim.late_matches(path)
            && !others.iter().any(|other| other.exclusive_matches(path) || other.late_matches(path))
    };
    if !exclusive && !late() {
        return (Attribution::Unknown, Fate::Leave);
    }
    if dirty.contains(path) {
        (Attribution::Inferred, Fate::SalvageOnly)
    } else {
        (Attribution::Inferred, Fate::Commit)
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

    fn check(path: &str, expected: (Attribution, Fate)) {
        let path = RepoPath::new(path.as_bytes()).unwrap();
        let mine = Claim {
            exclusive: patterns(&["mine", "dirty", "denied"]),
            late: patterns(&["late", "contested"]),
            shared: patterns(&["read"]),
            deny: patterns(&["denied"]),
        };
        let other = Claim { late: patterns(&["contested"]), exclusive: patterns(&["theirs"]), ..Claim::default() };
        let dirty = [RepoPath::new(b"dirty").unwrap()].into();
        let after = Entry { mode: Mode::File, id: ObjectId::from_bytes(&[7; 20]).unwrap() };
        let change = Change { path: path.clone(), before: None, after: Some(after) };
        let writes = judge(&mine, &[&other], &dirty, std::slice::from_ref(&change));
        assert_eq!(writes, [Write { change, attribution: expected.0, fate: expected.1 }], "{path}");
    }

    #[test]
    fn only_what_the_claim_covers_is_committed() {
        check("mine", (Attribution::Inferred, Fate::Commit));
        check("late", (Attribution::Inferred, Fate::Commit));
        check("contested", (Attribution::Unknown, Fate::Leave));
        check("theirs", (Attribution::Unknown, Fate::Leave));
        check("read", (Attribution::Unknown, Fate::Leave));
        check("elsewhere", (Attribution::Unknown, Fate::Leave));
        check("denied", (Attribution::Unknown, Fate::Leave));
        check("dirty", (Attribution::Inferred, Fate::SalvageOnly));
    }
}
