//! Without a gate: of which paths it is asked who is writing them, and when.
//!
//! Such a question looks into every process of every agent. So a path that nobody was found to be writing is asked
//! about again only after a while: else what somebody writes all the time, a build or a log, would be asked about
//! without a pause, and keep what has to act upon an answer from running.
//!
//! Invariant: one question at a time; a path that was not asked about lately waits for no other path than those
//! of the question that is being answered; what waits to be asked about again is bounded, and what is beyond, or
//! beyond one question, is not asked about.
//!
//! Deliberately absent: the answer (`lookups`), and what follows from it (`core`).

use std::collections::BTreeSet;
use std::time::Duration;

use crate::core::moment::Moment;
use crate::core::path::RepoPath;

/// The most paths of one question.
const MOST: usize = 256;
/// How long a path waits that was asked about lately.
const AGAIN: Duration = Duration::from_millis(10);
/// Half of what counts as lately.
const GENERATION: Duration = Duration::from_millis(50);
/// The most paths of a generation.
const MAX_GENERATION: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Catching {
    /// What it is asked about at this moment; empty: nothing.
    asked: Vec<RepoPath>,
    /// To be asked about again, and when.
    again: BTreeSet<RepoPath>,
    again_at: Option<Moment>,
    /// Asked about lately, in vain: two generations, of which the older is forgotten when the younger is old.
    lately: [BTreeSet<RepoPath>; 2],
    began: Moment,
}

impl Catching {
    /// May something be asked now?
    pub(super) fn is_free(&self) -> bool {
        self.asked.is_empty()
    }

    /// When something is to be asked although nothing was seen.
    pub(super) fn due(&self) -> Option<Moment> {
        self.again_at.filter(|_| self.is_free())
    }

    /// What it is to be asked about now: of what was `seen` since, and of what waits.
    pub(super) fn ask(&mut self, now: Moment, seen: impl IntoIterator<Item = RepoPath>) -> Vec<RepoPath> {
        self.grow_old(now);
        let is_due = self.again_at.is_some_and(|at| at <= now);
        let mut paths = Vec::new();
        for path in seen {
            if !self.lately.iter().any(|lately| lately.contains(&path)) {
                paths.push(path);
            } else if self.again.len() < MOST {
                self.again.insert(path);
            }
        }
        if is_due {
            self.again_at = None;
            paths.extend(std::mem::take(&mut self.again));
        } else if !self.again.is_empty() {
            self.again_at.get_or_insert(now + AGAIN);
        }
        paths.truncate(MOST);
        self.asked.clone_from(&paths);
        paths
    }

    /// The question has its answer: of these paths somebody was found to be writing them.
    pub(super) fn answered(&mut self, now: Moment, found: &BTreeSet<&RepoPath>) {
        self.grow_old(now);
        let in_vain = std::mem::take(&mut self.asked).into_iter().filter(|path| !found.contains(path));
        let room = MAX_GENERATION.saturating_sub(self.lately[0].len());
        self.lately[0].extend(in_vain.take(room));
    }

    fn grow_old(&mut self, now: Moment) {
        if now.since(self.began) >= GENERATION {
            self.lately[1] = std::mem::take(&mut self.lately[0]);
            // Both are too old.
            if now.since(self.began) >= GENERATION * 2 {
                self.lately[1].clear();
            }
            self.began = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(texts: &[&str]) -> Vec<RepoPath> {
        texts.iter().map(|text| RepoPath::new(text.as_bytes()).unwrap()).collect()
    }

    fn nobody() -> BTreeSet<&'static RepoPath> {
        BTreeSet::new()
    }

    #[test]
    fn what_is_written_all_the_time_is_asked_about_now_and_then() {
        let mut catching = Catching::default();
        let mut asked = 0;
        for ms in 0..1000 {
            let now = Moment(ms);
            asked += usize::from(!catching.ask(now, paths(&["log"])).is_empty());
            catching.answered(now, &nobody());
        }
        assert!((50..=110).contains(&asked), "{asked} times in a second");
    }

    #[test]
    fn another_path_does_not_wait_for_it() {
        let mut catching = Catching::default();
        assert_eq!(catching.due(), None);
        assert_eq!(catching.ask(Moment(5), paths(&["log", "a"])), paths(&["log", "a"]));
        assert!(!catching.is_free(), "one at a time");
        let a = &paths(&["a"])[0];
        catching.answered(Moment(6), &[a].into());
        assert!(catching.is_free(), "it has found somebody");
        assert_eq!(catching.ask(Moment(6), paths(&["log", "a", "b"])), paths(&["a", "b"]));
        catching.answered(Moment(7), &nobody());
        assert_eq!(catching.due(), Some(Moment(16)));
        assert_eq!(catching.ask(Moment(16), paths(&["c"])), paths(&["c", "log"]));
        assert_eq!(catching.due(), None);
        catching.answered(Moment(16), &nobody());
        // Long after it was asked about it is as new.
        assert_eq!(catching.ask(Moment(200), paths(&["log"])), paths(&["log"]));
    }

    #[test]
    fn a_flood_is_cut_to_one_question_and_forgotten_no_later_than_it_is_old() {
        let mut catching = Catching::default();
        let flood = |from: usize| (from..from + 10_000).map(|n| RepoPath::new(n.to_string().as_bytes()).unwrap());
        for round in 0..100_usize {
            let now = Moment(round as u64);
            assert_eq!(catching.ask(now, flood(round)).len(), MOST);
            catching.answered(now, &nobody());
            assert!(catching.again.len() <= MOST);
            assert!(catching.lately.iter().all(|lately| lately.len() <= MAX_GENERATION));
        }
        catching.answered(Moment(1000), &nobody());
        assert!(catching.lately.iter().all(BTreeSet::is_empty));
    }
}
