//! Who else writes: what the gate let through, against what the watch saw.
//!
//! Every call that a gate lets through leads to events of inotify(7) that can be told beforehand; what
//! is seen beyond them was done by somebody outside every tree.
//!
//! Invariant: a path is called somebody else's only when, for some kind of event, more were seen than
//! all trees together were let cause, counted after every tree has told what it was let do. Events may
//! be fewer than the calls (the kernel merges some, calls fail), so this can miss an edit, and never
//! makes one up.
//!
//! Deliberately absent: when to look (`gate`), and what follows (`core`).

use std::collections::{BTreeMap, BTreeSet};

use crate::core::call::Tally;
use crate::core::ids::AttemptId;
use crate::core::path::RepoPath;

#[derive(Debug, Default)]
pub(super) struct Outside {
    /// What trees were let do, and what the supervisor did itself.
    explained: BTreeMap<RepoPath, Tally>,
    /// What was seen beyond that, and is known.
    beyond: BTreeMap<RepoPath, Tally>,
    attempts: BTreeMap<AttemptId, Attempt>,
}

/// What is remembered of a running attempt.
#[derive(Debug, Default)]
struct Attempt {
    wrote: BTreeSet<RepoPath>,
    /// What was beyond explanation before it began.
    before: BTreeMap<RepoPath, Tally>,
    /// The watch's epoch when it began; `None`: there is no watch.
    epoch: Option<u64>,
    /// Its gate could not tell all that it let through.
    gaps: bool,
}

impl Outside {
    pub(super) fn begins(&mut self, id: &AttemptId, epoch: Option<u64>) {
        let attempt = Attempt { before: self.beyond.clone(), epoch, ..Attempt::default() };
        self.attempts.insert(id.clone(), attempt);
    }

    /// An attempt of an earlier supervisor: what was not told to that one nobody will tell.
    pub(super) fn takes_up(&mut self, id: &AttemptId, wrote: &[RepoPath]) {
        let attempt = Attempt { wrote: wrote.iter().cloned().collect(), gaps: true, ..Attempt::default() };
        self.attempts.insert(id.clone(), attempt);
    }

    pub(super) fn ends(&mut self, id: &AttemptId) {
        self.attempts.remove(id);
    }

    /// A tree was let do this.
    pub(super) fn allowed(&mut self, id: &AttemptId, calls: &[(RepoPath, Tally)]) {
        for (path, tally) in calls {
            let known = self.explained.entry(path.clone()).or_default();
            known.add(*tally);
            // A file that is renamed while it is open is closed under its new name.
            known.add(Tally { closes: tally.moves_in, ..Tally::default() });
        }
        if let Some(attempt) = self.attempts.get_mut(id) {
            attempt.wrote.extend(calls.iter().map(|(path, _)| path.clone()));
        }
    }

    /// A tree was let do more than its gate could tell.
    pub(super) fn gap(&mut self, id: &AttemptId) {
        if let Some(attempt) = self.attempts.get_mut(id) {
            attempt.gaps = true;
        }
    }

    /// The supervisor is going to put these back: each is moved into its place, or removed, and with it
    /// directories that the attempt made, or it removed.
    pub(super) fn puts_back(&mut self, id: &AttemptId, paths: &[RepoPath]) {
        let made = self.attempts.get(id).map(|attempt| attempt.wrote.clone()).unwrap_or_default();
        let above = paths.iter().flat_map(|path| std::iter::successors(path.parent(), RepoPath::parent));
        let all: BTreeSet<RepoPath> = paths.iter().cloned().chain(above).chain(made).collect();
        // A process that was being started at that moment can hold the new file open until it executes: then it is
        // closed under its name.
        let own = Tally { closes: 1, moves_in: 1, deletes: 1, creates: 1, ..Tally::default() };
        for path in all {
            self.explained.entry(path).or_default().add(own);
        }
    }

    /// The supervisor is going to put work of an earlier attempt back at these paths, or to take it away again;
    /// from here on it is this attempt's.
    pub(super) fn returns<'p>(&mut self, id: &AttemptId, paths: impl Iterator<Item = &'p RepoPath> + Clone) {
        let above = paths.clone().flat_map(|path| std::iter::successors(path.parent(), RepoPath::parent));
        let all: BTreeSet<RepoPath> = paths.clone().cloned().chain(above).collect();
        // Once there and once back; git removes a file before it makes the new one.
        let own = Tally { closes: 2, moves_in: 2, deletes: 2, creates: 2, ..Tally::default() };
        for path in all {
            self.explained.entry(path).or_default().add(own);
        }
        if let Some(attempt) = self.attempts.get_mut(id) {
            attempt.wrote.extend(paths.cloned());
        }
    }

    pub(super) fn wrote(&self, id: &AttemptId) -> Vec<RepoPath> {
        self.attempts.get(id).map(|attempt| attempt.wrote.iter().cloned().collect()).unwrap_or_default()
    }

    pub(super) fn has_gaps(&self, id: &AttemptId) -> bool {
        self.attempts.get(id).is_some_and(|attempt| attempt.gaps)
    }

    /// Was everything seen since the attempt began?
    pub(super) fn saw_all(&self, id: &AttemptId, epoch: Option<u64>) -> bool {
        self.attempts.get(id).is_some_and(|attempt| attempt.epoch.is_some() && attempt.epoch == epoch && !attempt.gaps)
    }

    /// Which of what the attempt wrote somebody else wrote, too, since it began. All trees that may have
    /// written these have told of it.
    pub(super) fn of_attempt(&self, id: &AttemptId, seen: &[(RepoPath, Tally)]) -> Vec<RepoPath> {
        let Some(attempt) = self.attempts.get(id).filter(|attempt| !attempt.gaps) else { return Vec::new() };
        let since = |path: &RepoPath, tally: Tally| {
            let before = attempt.before.get(path).copied().unwrap_or_default();
            !self.unexplained(path, tally).beyond(before).is_empty()
        };
        seen.iter().filter(|(path, tally)| since(path, *tally)).map(|(path, _)| path.clone()).collect()
    }

    /// Which of these were written by somebody else since this was last asked. All trees have told.
    pub(super) fn news(&mut self, seen: Vec<(RepoPath, Tally)>) -> Vec<RepoPath> {
        let mut news = Vec::new();
        for (path, tally) in seen {
            let now = self.unexplained(&path, tally);
            let known = self.beyond.get(&path).copied().unwrap_or_default();
            if !now.beyond(known).is_empty() {
                self.beyond.insert(path.clone(), now);
                news.push(path);
            }
        }
        news
    }

    fn unexplained(&self, path: &RepoPath, seen: Tally) -> Tally {
        seen.beyond(self.explained.get(path).copied().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::call::{There, Touch};
    use crate::core::ids::{AgentId, Attempt as Number};

    fn path(text: &str) -> RepoPath {
        RepoPath::new(text.as_bytes()).unwrap()
    }

    fn id() -> AttemptId {
        AttemptId { agent: AgentId::new("a").unwrap(), attempt: Number::FIRST }
    }

    fn closes(n: u32) -> Vec<(RepoPath, Tally)> {
        vec![(path("f"), Tally { closes: n, ..Tally::default() })]
    }

    #[test]
    fn what_no_tree_was_let_do_is_somebody_elses() {
        let mut outside = Outside::default();
        outside.begins(&id(), Some(7));
        let write = Tally::of(Touch::Open, There::File);
        outside.allowed(&id(), &[(path("f"), write), (path("f"), write)]);
        assert_eq!(outside.of_attempt(&id(), &closes(2)), []);
        assert_eq!(outside.of_attempt(&id(), &closes(3)), [path("f")]);
        assert_eq!(outside.news(closes(3)), [path("f")]);
        assert_eq!(outside.news(closes(3)), [], "known by now");
        outside.begins(&id(), Some(7));
        assert_eq!(outside.of_attempt(&id(), &closes(3)), [], "it was there before");
        assert_eq!(outside.of_attempt(&id(), &closes(4)), [path("f")]);
        assert!(outside.saw_all(&id(), Some(7)) && !outside.saw_all(&id(), Some(8)));
        outside.gap(&id());
        assert_eq!(outside.of_attempt(&id(), &closes(4)), [], "nothing can be said after a gap");
        assert!(!outside.saw_all(&id(), Some(7)));
    }

    #[test]
    fn a_file_may_be_renamed_before_it_is_closed() {
        let mut outside = Outside::default();
        outside.begins(&id(), Some(7));
        outside.allowed(&id(), &[(path("f"), Tally::of(Touch::MoveIn, There::File))]);
        let seen = |closes| vec![(path("f"), Tally { moves_in: 1, closes, ..Tally::default() })];
        assert_eq!(outside.of_attempt(&id(), &seen(1)), []);
        assert_eq!(outside.of_attempt(&id(), &seen(2)), [path("f")]);
    }

    #[test]
    fn what_the_supervisor_puts_back_is_its_own() {
        let mut outside = Outside::default();
        outside.begins(&id(), None);
        outside.allowed(&id(), &[(path("empty"), Tally::of(Touch::MakeDirectory, There::Nothing))]);
        outside.puts_back(&id(), &[path("f"), path("made/too/g")]);
        let gone = Tally { deletes: 1, ..Tally::default() };
        let made = Tally { creates: 1, deletes: 1, ..Tally::default() };
        assert_eq!(outside.news(vec![(path("made"), gone), (path("made/too"), gone), (path("empty"), made)]), []);
        assert_eq!(outside.news(vec![(path("f"), Tally { moves_in: 1, closes: 1, ..Tally::default() })]), []);
        assert_eq!(outside.news(vec![(path("f"), Tally { moves_in: 2, ..Tally::default() })]), [path("f")]);
    }
}
