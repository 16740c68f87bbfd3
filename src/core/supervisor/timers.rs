//! What is due when.
//!
//! Invariant: a timer is set at most once at a time; the earliest is found without looking at the
//! others. The idea of one deadline for all timers is from `quinn-proto`.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::ids::RunnerName;
use crate::core::moment::Moment;
use crate::core::queue::Seat;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// The longest run of an attempt, or of its verify command.
    Timeout(Seat),
    /// The next look at how long it has been quiet.
    Idle(Seat),
    Checkpoint(Seat),
    /// The next look at an agent that others wait for.
    Lock(Seat),
    /// The pause before an agent's next attempt is over.
    Backoff(Seat),
    /// A runner's pause is over.
    Runner(RunnerName),
    /// Nothing more is started.
    StopAt,
}

impl Timer {
    fn moved(self, moved: impl Fn(Seat) -> Seat) -> Self {
        match self {
            Self::Timeout(seat) => Self::Timeout(moved(seat)),
            Self::Idle(seat) => Self::Idle(moved(seat)),
            Self::Checkpoint(seat) => Self::Checkpoint(moved(seat)),
            Self::Lock(seat) => Self::Lock(moved(seat)),
            Self::Backoff(seat) => Self::Backoff(moved(seat)),
            Self::Runner(_) | Self::StopAt => self,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Timers {
    at: BTreeMap<Timer, Moment>,
    queue: BTreeSet<(Moment, Timer)>,
}

impl Timers {
    pub(super) fn set(&mut self, timer: Timer, at: Moment) {
        self.clear(&timer);
        self.at.insert(timer.clone(), at);
        self.queue.insert((at, timer));
    }

    pub(super) fn clear(&mut self, timer: &Timer) {
        if let Some((timer, at)) = self.at.remove_entry(timer) {
            self.queue.remove(&(at, timer));
        }
    }

    pub(super) fn is_set(&self, timer: &Timer) -> bool {
        self.at.contains_key(timer)
    }

    /// All that watch a running tree of this agent.
    pub(super) fn clear_watches(&mut self, seat: Seat) {
        for timer in [Timer::Timeout(seat), Timer::Idle(seat), Timer::Checkpoint(seat), Timer::Lock(seat)] {
            self.clear(&timer);
        }
    }

    pub(super) fn clear_all(&mut self) {
        *self = Self::default();
    }

    /// Places in the total order have changed.
    pub(super) fn make_room(&mut self, moved: impl Fn(Seat) -> Seat) {
        let at = std::mem::take(&mut self.at).into_iter();
        self.at = at.map(|(timer, at)| (timer.moved(&moved), at)).collect();
        self.queue = self.at.iter().map(|(timer, at)| (*at, timer.clone())).collect();
    }

    pub(super) fn next(&self) -> Option<Moment> {
        self.queue.first().map(|(at, _)| *at)
    }

    pub(super) fn due(&self, now: Moment) -> impl Iterator<Item = &Timer> {
        self.queue.iter().take_while(move |(at, _)| *at <= now).map(|(_, timer)| timer)
    }

    /// Is the end of some pause (of an agent or a runner) still to come?
    pub(super) fn any_pause(&self) -> bool {
        self.at.keys().any(|timer| matches!(timer, Timer::Backoff(_) | Timer::Runner(_)))
    }
}
