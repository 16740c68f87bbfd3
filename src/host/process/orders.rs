//! Orders on their way to a shim's gate.
//!
//! Invariant: handing one over never waits, and what is kept is bounded. Each answer stays in its
//! place. What is withdrawn goes first, and is granted by no answer behind it; then stale paths, so that what
//! an answer allows is not written before they are known, and lines for the log before the answers that they
//! explain.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::core::call::{Answer, CallId, Grant};
use crate::core::path::RepoPath;
use crate::shim::wire::Order;

/// The most answers that are kept: more calls than this do not wait in a tree.
const MAX_ANSWERS: usize = 4096;

/// The most stale paths that are kept, which is more than a shim remembers.
const MAX_STALE: usize = 65_536;

/// The most lines for the agent's log that are kept, and characters of each.
const MAX_NOTES: usize = 4096;
const MAX_NOTE: usize = 4096;

/// The most stale paths in one order.
const STALE_AT_ONCE: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Orders {
    kept: Mutex<Kept>,
    more: Notify,
}

#[derive(Debug, Default)]
struct Kept {
    answers: VecDeque<(CallId, Answer, Vec<Grant>)>,
    stale: BTreeSet<RepoPath>,
    notes: VecDeque<String>,
    flush: Option<u64>,
    withdraw: bool,
}

impl Orders {
    /// `false`: there is no room.
    pub(super) fn answer(&self, call: CallId, answer: Answer, grants: Vec<Grant>) -> bool {
        let mut kept = self.kept();
        let fits = kept.answers.len() < MAX_ANSWERS;
        if fits {
            kept.answers.push_back((call, answer, grants));
            self.more.notify_one();
        }
        fits
    }

    /// `false`: there is not room for all.
    pub(super) fn stale(&self, paths: Vec<RepoPath>) -> bool {
        let mut kept = self.kept();
        let mut fits = true;
        for path in paths {
            fits = kept.stale.len() < MAX_STALE || kept.stale.contains(&path);
            if !fits {
                break;
            }
            kept.stale.insert(path);
        }
        self.more.notify_one();
        fits
    }

    /// `false`: there is no room.
    pub(super) fn note(&self, line: &str) -> bool {
        let mut kept = self.kept();
        let fits = kept.notes.len() < MAX_NOTES;
        if fits {
            kept.notes.push_back(line.chars().take(MAX_NOTE).collect());
            self.more.notify_one();
        }
        fits
    }

    pub(super) fn flush(&self, number: u64) {
        self.kept().flush = Some(number);
        self.more.notify_one();
    }

    /// Answers that were not taken yet grant nothing.
    pub(super) fn withdraw(&self) {
        let mut kept = self.kept();
        kept.answers.iter_mut().for_each(|(_, _, grants)| grants.clear());
        kept.withdraw = true;
        self.more.notify_one();
    }

    /// Waits for the next one. May be dropped while it waits: nothing is lost.
    pub(super) async fn next(&self) -> Order {
        loop {
            if let Some(order) = self.take() {
                return order;
            }
            self.more.notified().await;
        }
    }

    /// The next line for the agent's log, if there is one.
    pub(super) fn take_note(&self) -> Option<Order> {
        self.kept().notes.pop_front().map(note)
    }

    fn take(&self) -> Option<Order> {
        let mut kept = self.kept();
        if std::mem::take(&mut kept.withdraw) {
            return Some(Order::Withdraw);
        }
        if !kept.stale.is_empty() {
            let rest = kept.stale.iter().nth(STALE_AT_ONCE).cloned();
            let rest = rest.map(|first| kept.stale.split_off(&first)).unwrap_or_default();
            return Some(Order::Stale(std::mem::replace(&mut kept.stale, rest).into_iter().collect()));
        }
        // Whoever reads why a call failed finds it before what the failure led to.
        if let Some(line) = kept.notes.pop_front() {
            return Some(note(line));
        }
        if let Some((call, answer, grants)) = kept.answers.pop_front() {
            return Some(Order::Answer { call, answer, grants });
        }
        kept.flush.take().map(Order::Flush)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn note(line: String) -> Order {
    Order::Note(line.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_withdrawn_is_granted_by_no_answer_behind() {
        let orders = Orders::default();
        let path = RepoPath::new(b"build/x").unwrap();
        assert!(orders.answer(CallId(1), Answer::Allow, vec![Grant::Path(path.clone())]));
        assert!(orders.stale(vec![path]));
        orders.withdraw();
        assert_eq!(orders.take(), Some(Order::Withdraw));
        assert!(matches!(orders.take(), Some(Order::Stale(_))));
        let answer = Order::Answer { call: CallId(1), answer: Answer::Allow, grants: vec![] };
        assert_eq!((orders.take(), orders.take()), (Some(answer), None));
    }

    #[test]
    fn stale_paths_go_first_and_none_is_lost() {
        let orders = Orders::default();
        let path = |number: usize| RepoPath::new(number.to_string().as_bytes()).unwrap();
        assert!(orders.answer(CallId(1), Answer::Allow, vec![]));
        assert!(orders.stale((0..MAX_STALE).map(path).collect()));
        assert!(orders.stale(vec![path(7)]));
        assert!(!orders.stale(vec![path(MAX_STALE)]));
        let mut told = 0;
        loop {
            match orders.take() {
                Some(Order::Stale(paths)) => told += paths.len(),
                Some(Order::Answer { call: CallId(1), answer: Answer::Allow, .. }) => break,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((told, orders.take()), (MAX_STALE, None));
        assert!((0..MAX_ANSWERS as u64).all(|call| orders.answer(CallId(call), Answer::Busy, vec![])));
        assert!(!orders.answer(CallId(0), Answer::Busy, vec![]));
    }
}
