//! What a gate has to tell and has not told yet: writes that it let through, calls that it refused.
//!
//! Invariant: no writer waits for the telling. What is kept is bounded: writes are summed up by path,
//! at most [`MAX_WROTE`] paths, and what is beyond is counted ([`Report::Untold`]); refusals that are
//! alike are counted, at most [`MAX_REFUSED`] kinds, and what is beyond is told without its path.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::core::call::{Refusal, RefusalReason, RefusedPath, Tally, Touch};
use crate::core::path::RepoPath;
use crate::shim::wire::Report;

/// The most paths that are kept for a supervisor that does not read: some 20 MB.
pub(super) const MAX_WROTE: usize = 131_072;

/// The most kinds of refusals that are kept.
pub(super) const MAX_REFUSED: usize = 4096;

/// Told at the latest after this time, or when there are so many paths.
pub(super) const TELL_EVERY: Duration = Duration::from_millis(100);
pub(super) const TELL_AT: usize = 256;

/// Bytes of paths in one report.
pub(super) const MAX_BYTES: usize = 64 << 10;

#[derive(Debug, Default)]
pub(super) struct Tidings {
    wrote: BTreeMap<RepoPath, Tally>,
    untold: u64,
    /// What must be told in its order: that a path was busy, between the writes before and after. As
    /// many as paths were ever stale, at the most.
    in_order: VecDeque<Report>,
    refused: BTreeMap<(String, Option<RepoPath>, Touch, RefusalReason), u32>,
    /// When the oldest of it came.
    since: Option<Instant>,
}

impl Tidings {
    pub(super) fn wrote(&mut self, now: Instant, path: &RepoPath, tally: Tally) {
        self.since.get_or_insert(now);
        if let Some(sum) = self.wrote.get_mut(path) {
            sum.add(tally);
        } else if self.wrote.len() < MAX_WROTE {
            self.wrote.insert(path.clone(), tally);
        } else {
            self.untold += 1;
        }
    }

    pub(super) fn refused(&mut self, now: Instant, refusal: Refusal) {
        self.since.get_or_insert(now);
        let Refusal { path, touch, why } = refusal;
        let (text, inside) = match path {
            RefusedPath::Inside(path) => (String::new(), Some(path)),
            RefusedPath::Other(text) => (text, None),
        };
        let mut key = (text, inside, touch, why);
        if self.refused.len() >= MAX_REFUSED && !self.refused.contains_key(&key) {
            key = ("further paths".to_owned(), None, touch, why);
        }
        let count = self.refused.entry(key).or_default();
        *count = count.saturating_add(1);
    }

    /// A path was answered EBUSY because it had changed.
    pub(super) fn busy(&mut self, now: Instant, path: &RepoPath, touch: Touch) {
        self.since.get_or_insert(now);
        if let Some(tally) = self.wrote.remove(path) {
            self.in_order.push_back(Report::Wrote(vec![(path.clone(), tally)]));
        }
        let refusal = Refusal { path: RefusedPath::Inside(path.clone()), touch, why: RefusalReason::Stale };
        self.in_order.push_back(Report::Refused(vec![(refusal, 1)]));
    }

    /// When something must be told.
    pub(super) fn due(&self) -> Option<Instant> {
        let full = self.wrote.len() >= TELL_AT;
        self.since.map(|since| if full { since } else { since + TELL_EVERY })
    }

    /// The next report, if one is due, or if there is any and `all` is wanted.
    pub(super) fn take(&mut self, now: Instant, all: bool) -> Option<Report> {
        if !all && self.due().is_none_or(|due| due > now) {
            return None;
        }
        let report = self.next();
        if self.wrote.is_empty() && self.refused.is_empty() && self.in_order.is_empty() && self.untold == 0 {
            self.since = None;
        }
        report
    }

    fn next(&mut self) -> Option<Report> {
        if let Some(report) = self.in_order.pop_front() {
            return Some(report);
        }
        let mut bytes = 0;
        if !self.wrote.is_empty() {
            let mut batch = Vec::new();
            while batch.len() < TELL_AT
                && bytes < MAX_BYTES
                && let Some((path, tally)) = self.wrote.pop_first()
            {
                bytes += path.as_bytes().len();
                batch.push((path, tally));
            }
            return Some(Report::Wrote(batch));
        }
        if self.untold > 0 {
            return Some(Report::Untold(std::mem::take(&mut self.untold)));
        }
        let mut batch = Vec::new();
        while batch.len() < TELL_AT
            && bytes < MAX_BYTES
            && let Some(((text, inside, touch, why), count)) = self.refused.pop_first()
        {
            bytes += text.len() + inside.as_ref().map_or(0, |path| path.as_bytes().len());
            let path = inside.map_or(RefusedPath::Other(text), RefusedPath::Inside);
            batch.push((Refusal { path, touch, why }, count));
        }
        if batch.is_empty() { None } else { Some(Report::Refused(batch)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::call::There;

    fn path(text: &str) -> RepoPath {
        RepoPath::new(text.as_bytes()).unwrap()
    }

    #[test]
    fn what_was_busy_is_told_between_the_writes_around_it() {
        let now = crate::shim::clock::now();
        let mut tidings = Tidings::default();
        let write = Tally::of(Touch::Open, There::File);
        tidings.wrote(now, &path("a"), write);
        tidings.wrote(now, &path("b"), write);
        tidings.busy(now, &path("a"), Touch::Open);
        tidings.wrote(now, &path("a"), write);
        let stale = Refusal { path: RefusedPath::Inside(path("a")), touch: Touch::Open, why: RefusalReason::Stale };
        let expected = [
            Report::Wrote(vec![(path("a"), write)]),
            Report::Refused(vec![(stale, 1)]),
            Report::Wrote(vec![(path("a"), write), (path("b"), write)]),
        ];
        for report in expected {
            assert_eq!(tidings.take(now, true), Some(report));
        }
        assert_eq!((tidings.take(now, true), tidings.due()), (None, None));
    }

    fn refusal(text: &str) -> Refusal {
        Refusal { path: RefusedPath::Inside(path(text)), touch: Touch::Open, why: RefusalReason::Denied }
    }

    #[test]
    fn writes_are_summed_up_and_told_after_a_while() {
        let start = crate::shim::clock::now();
        let mut tidings = Tidings::default();
        assert_eq!((tidings.due(), tidings.take(start, true)), (None, None));
        let open = Tally::of(Touch::Open, There::Nothing);
        for _ in 0..3 {
            tidings.wrote(start, &path("a"), open);
        }
        tidings.refused(start, refusal("b"));
        tidings.refused(start, refusal("b"));
        assert_eq!(tidings.take(start, false), None);
        let due = tidings.due().unwrap();
        assert_eq!(due, start + TELL_EVERY);
        let sum = Tally { closes: 3, creates: 3, ..Tally::default() };
        assert_eq!(tidings.take(due, false), Some(Report::Wrote(vec![(path("a"), sum)])));
        assert_eq!(tidings.take(due, false), Some(Report::Refused(vec![(refusal("b"), 2)])));
        assert_eq!((tidings.due(), tidings.take(due, true)), (None, None));
    }

    #[test]
    fn what_a_deaf_supervisor_costs_is_bounded() {
        let start = crate::shim::clock::now();
        let mut tidings = Tidings::default();
        for number in 0..MAX_WROTE + 5 {
            tidings.wrote(start, &path(&number.to_string()), Tally::default());
        }
        for number in 0..MAX_REFUSED + 5 {
            tidings.refused(start, refusal(&number.to_string()));
        }
        let (mut paths, mut untold, mut refused) = (0, 0, 0);
        while let Some(report) = tidings.take(start, true) {
            match report {
                Report::Wrote(batch) => paths += batch.len(),
                Report::Untold(count) => untold += count,
                Report::Refused(batch) => refused += batch.iter().map(|(_, count)| count).sum::<u32>(),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((paths, untold, refused as usize), (MAX_WROTE, 5, MAX_REFUSED + 5));
    }
}
