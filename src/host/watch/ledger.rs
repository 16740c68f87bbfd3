//! What the watch has seen and not yet passed on: tallies, touched paths, gaps, cookies.
//!
//! Invariant: its memory is bounded. When the table of paths is full it is emptied, and that is a gap
//! like any other: the epoch is raised, and everything has to be looked at.
//!
//! A tally never holds more than was seen: what was only found by listing a new directory is touched, and not
//! counted, because an event may come for it as well.
//!
//! Deliberately absent: inotify, threads.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::{Degraded, Seen, SeenKind, Touched, Wake, WatchStats};
use crate::core::call::Tally;
use crate::core::path::RepoPath;

/// The most memory for paths with their tallies, in bytes by our own reckoning.
const MAX_BYTES: usize = 12 << 20;

/// What an entry costs besides its name: the name's header, key and entry in the map (which is two
/// thirds full), and its place in the list of touched paths.
const ENTRY: usize = 112;

/// A path that can be looked up by its bytes, without making one.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key(RepoPath);

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        // The order of paths is that of their bytes, as `Borrow` demands.
        self.0.as_bytes()
    }
}

#[derive(Debug, Default)]
struct Entry {
    tally: Tally,
    /// It is in the list of touched paths.
    fresh: bool,
    whole: bool,
}

/// What was said, and not yet answered by [`Ledger::take`].
#[derive(Debug, PartialEq, Eq)]
enum Telling {
    Nothing,
    Told,
    /// A gap is still to be said.
    Gap,
}

#[derive(Debug)]
pub(super) struct Ledger {
    entries: BTreeMap<Key, Entry>,
    bytes: usize,
    max_bytes: usize,
    /// In order of their first event.
    fresh: Vec<RepoPath>,
    everything: bool,
    epoch: u64,
    /// A walk of everything is under way.
    walking: bool,
    degraded: Option<Degraded>,
    telling: Telling,
    cookies: BTreeSet<u64>,
    /// Read from the queue, and to be passed on.
    due: Vec<u64>,
    pub(super) stats: WatchStats,
}

impl Ledger {
    pub(super) fn new() -> Self {
        Self::bounded(MAX_BYTES)
    }

    fn bounded(max_bytes: usize) -> Self {
        Self {
            entries: BTreeMap::new(),
            bytes: 0,
            max_bytes,
            fresh: Vec::new(),
            everything: false,
            epoch: 0,
            walking: false,
            degraded: None,
            telling: Telling::Nothing,
            cookies: BTreeSet::new(),
            due: Vec::new(),
            stats: WatchStats::default(),
        }
    }

    /// Something happened to `path`. `counted`: an event said so, and there is no doubt about the path.
    /// `whole`: all beneath it may have changed too, without events of their own.
    pub(super) fn note(&mut self, path: &[u8], kind: SeenKind, counted: bool, whole: bool) {
        let at = (Bound::Included(path), Bound::Included(path));
        let mut found = self.entries.range_mut::<[u8], _>(at).next();
        if found.is_none() {
            if !self.insert(path) {
                return;
            }
            found = self.entries.range_mut::<[u8], _>(at).next();
        }
        let Some((key, entry)) = found else { return };
        if counted {
            entry.tally.add(tally_of(kind));
        }
        if !self.everything {
            entry.whole |= whole;
            if !entry.fresh {
                entry.fresh = true;
                self.fresh.push(key.0.clone());
            }
        }
    }

    /// `false`: this is no path of the workspace.
    fn insert(&mut self, path: &[u8]) -> bool {
        let Ok(path) = RepoPath::new(path) else { return false };
        let cost = path.as_bytes().len() + ENTRY;
        if self.bytes + cost > self.max_bytes {
            self.gap();
            self.entries.clear();
            self.bytes = 0;
        }
        self.bytes += cost;
        self.entries.insert(Key(path), Entry::default());
        true
    }

    /// Something was, or may have been, missed.
    pub(super) fn gap(&mut self) {
        self.epoch += 1;
        self.stats.gaps += 1;
        self.telling = Telling::Gap;
        self.everything = true;
        self.forget_fresh();
    }

    fn forget_fresh(&mut self) -> Vec<Seen> {
        let fresh = std::mem::take(&mut self.fresh);
        let settle = |path: RepoPath| {
            let mut whole = false;
            if let Some(entry) = self.entries.get_mut(path.as_bytes()) {
                (whole, entry.whole, entry.fresh) = (entry.whole, false, false);
            }
            Seen { path, whole }
        };
        fresh.into_iter().map(settle).collect()
    }

    /// From now on, and until the walk has ended, nothing is certain.
    pub(super) fn walk_begins(&mut self) {
        self.gap();
        self.walking = true;
        self.degraded = None;
        self.stats.unwatched = 0;
        self.stats.unreadable = 0;
    }

    /// Whoever looked while the walk went on may have missed what happened in directories that it had not yet
    /// come to: hence a second gap.
    pub(super) fn walk_ends(&mut self) {
        self.gap();
        self.walking = false;
    }

    /// From now on, and until the next walk, not everything is seen.
    pub(super) fn degrade(&mut self, why: Degraded) {
        // One gap says it for all that follow: while it lasts, no two looks at the epoch are equal.
        if self.degraded.is_none() {
            self.gap();
        }
        self.degraded.get_or_insert(why);
    }

    pub(super) fn degraded(&self) -> Option<&Degraded> {
        self.degraded.as_ref()
    }

    /// See [`super::Watch::epoch`].
    pub(super) fn epoch(&mut self) -> u64 {
        if self.walking || self.degraded.is_some() {
            self.epoch += 1;
        }
        self.epoch
    }

    pub(super) fn take(&mut self) -> Touched {
        if self.telling == Telling::Told {
            self.telling = Telling::Nothing;
        }
        let seen = self.forget_fresh();
        if std::mem::take(&mut self.everything) { Touched::Everything } else { Touched::Paths(seen) }
    }

    pub(super) fn tallies(&self, paths: &[RepoPath]) -> Vec<Tally> {
        let tally = |path: &RepoPath| self.entries.get(path.as_bytes()).map(|e| e.tally).unwrap_or_default();
        paths.iter().map(tally).collect()
    }

    pub(super) fn stats(&self) -> WatchStats {
        let (paths, bytes) = (self.entries.len(), self.bytes);
        WatchStats { paths, bytes, degraded: self.degraded.clone(), ..self.stats.clone() }
    }

    pub(super) fn expect_cookie(&mut self, cookie: u64) {
        self.cookies.insert(cookie);
    }

    /// A cookie that could not be made. `false`: it was answered already.
    pub(super) fn forget_cookie(&mut self, cookie: u64) -> bool {
        self.cookies.remove(&cookie)
    }

    pub(super) fn cookie_seen(&mut self, cookie: u64) {
        if self.cookies.remove(&cookie) {
            self.due.push(cookie);
        }
    }

    /// Cookies may have been lost with other events: all that are out by now count as seen. What they stood
    /// for is covered by the gap.
    pub(super) fn cookies_lost(&mut self) {
        self.due.extend(std::mem::take(&mut self.cookies));
    }

    pub(super) fn cookies_are_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// What is to be said now; with `cookies` those that are due as well. At most one wake-up for
    /// touched paths is on its way at a time.
    pub(super) fn wakes(&mut self, cookies: bool, out: &mut Vec<Wake>) {
        match self.telling {
            Telling::Gap => out.push(Wake::Gap),
            Telling::Nothing if !self.fresh.is_empty() => out.push(Wake::Touched),
            Telling::Nothing | Telling::Told => {}
        }
        if !out.is_empty() {
            self.telling = Telling::Told;
        }
        if cookies {
            out.extend(self.due.drain(..).map(Wake::Cookie));
        }
    }
}

fn tally_of(kind: SeenKind) -> Tally {
    let none = Tally::default();
    match kind {
        SeenKind::ClosedAfterWrite => Tally { closes: 1, ..none },
        SeenKind::Created => Tally { creates: 1, ..none },
        SeenKind::MovedIn => Tally { moves_in: 1, ..none },
        SeenKind::MovedOut => Tally { moves_out: 1, ..none },
        SeenKind::Deleted => Tally { deletes: 1, ..none },
        SeenKind::Modified | SeenKind::Attributes | SeenKind::Found => none,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> RepoPath {
        RepoPath::new(text.as_bytes()).unwrap()
    }

    fn note(ledger: &mut Ledger, path: &str, kind: SeenKind) {
        ledger.note(path.as_bytes(), kind, true, false);
    }

    fn wakes(ledger: &mut Ledger, cookies: bool) -> Vec<Wake> {
        let mut out = Vec::new();
        ledger.wakes(cookies, &mut out);
        out
    }

    fn seen(names: &[&str]) -> Touched {
        Touched::Paths(names.iter().map(|name| Seen { path: path(name), whole: false }).collect())
    }

    #[test]
    fn touched_paths_come_once_and_tallies_stay() {
        let mut ledger = Ledger::new();
        for kind in [SeenKind::Created, SeenKind::Modified, SeenKind::ClosedAfterWrite] {
            note(&mut ledger, "b", kind);
        }
        note(&mut ledger, "a", SeenKind::Attributes);
        ledger.note(b"found", SeenKind::Found, false, false);
        assert_eq!(ledger.take(), seen(&["b", "a", "found"]));
        assert_eq!(ledger.take(), seen(&[]));
        note(&mut ledger, "b", SeenKind::ClosedAfterWrite);
        assert_eq!(ledger.take(), seen(&["b"]));
        let tallies = ledger.tallies(&[path("b"), path("a"), path("found"), path("other")]);
        assert_eq!(tallies[0], Tally { closes: 2, creates: 1, ..Tally::default() });
        assert!(tallies[1..].iter().all(|tally| tally.is_empty()));
        assert_eq!(ledger.epoch(), 0);
    }

    #[test]
    fn a_directory_that_went_away_is_touched_with_all_beneath_once() {
        let mut ledger = Ledger::new();
        ledger.note(b"d", SeenKind::MovedOut, true, true);
        note(&mut ledger, "d", SeenKind::Created);
        assert_eq!(ledger.take(), Touched::Paths(vec![Seen { path: path("d"), whole: true }]));
        note(&mut ledger, "d", SeenKind::Attributes);
        assert_eq!(ledger.take(), seen(&["d"]));
    }

    #[test]
    fn one_wake_is_under_way_at_a_time() {
        let mut ledger = Ledger::new();
        assert_eq!(wakes(&mut ledger, true), []);
        note(&mut ledger, "a", SeenKind::Created);
        assert_eq!(wakes(&mut ledger, true), [Wake::Touched]);
        note(&mut ledger, "b", SeenKind::Created);
        assert_eq!(wakes(&mut ledger, true), []);
        ledger.take();
        assert_eq!(wakes(&mut ledger, true), []);
        note(&mut ledger, "b", SeenKind::Deleted);
        assert_eq!(wakes(&mut ledger, true), [Wake::Touched]);
        // A gap is always told; it stands for touched paths as well.
        ledger.gap();
        assert_eq!(wakes(&mut ledger, true), [Wake::Gap]);
        assert_eq!(ledger.take(), Touched::Everything);
        assert_eq!(ledger.take(), seen(&[]));
    }

    #[test]
    fn a_full_table_is_a_gap() {
        let mut ledger = Ledger::bounded(10 * (ENTRY + 2));
        for n in 10..20 {
            note(&mut ledger, &n.to_string(), SeenKind::Created);
        }
        assert_eq!((ledger.epoch(), ledger.stats().paths), (0, 10));
        note(&mut ledger, "20", SeenKind::Created);
        assert_eq!((ledger.epoch(), ledger.stats().paths), (1, 1));
        assert_eq!(ledger.take(), Touched::Everything);
        assert!(ledger.tallies(&[path("10")])[0].is_empty());
        note(&mut ledger, "20", SeenKind::Created);
        assert_eq!(ledger.take(), seen(&["20"]));
        assert_eq!(ledger.tallies(&[path("20")])[0].creates, 2);
    }

    #[test]
    fn no_two_epochs_are_equal_while_something_is_in_doubt() {
        let mut ledger = Ledger::new();
        assert_eq!(ledger.epoch(), ledger.epoch());
        ledger.walk_begins();
        assert_ne!(ledger.epoch(), ledger.epoch());
        let within = ledger.epoch();
        ledger.walk_ends();
        assert_ne!(ledger.epoch(), within);
        assert_eq!(ledger.epoch(), ledger.epoch());
        ledger.degrade(Degraded::Missing);
        assert_ne!(ledger.epoch(), ledger.epoch());
        ledger.walk_begins();
        ledger.walk_ends();
        assert_eq!(ledger.epoch(), ledger.epoch());
    }

    #[test]
    fn every_cookie_is_answered_once() {
        let mut ledger = Ledger::new();
        (1..=4).for_each(|n| ledger.expect_cookie(n));
        ledger.cookie_seen(2);
        ledger.cookie_seen(9);
        assert_eq!(wakes(&mut ledger, false), []);
        assert_eq!(wakes(&mut ledger, true), [Wake::Cookie(2)]);
        assert!(ledger.forget_cookie(1) && !ledger.forget_cookie(2));
        ledger.cookies_lost();
        ledger.cookie_seen(3);
        assert!(ledger.cookies_are_due());
        assert_eq!(wakes(&mut ledger, true), [Wake::Cookie(3), Wake::Cookie(4)]);
    }
}
