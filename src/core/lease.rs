//! Granted claims: who holds which slot, and with it its locks.
//!
//! Invariant: slots are unique, and the one granted is the lowest that is free. That no two leases
//! conflict is the queue's doing: it asks before it lets an agent start.

use std::collections::{BTreeMap, BTreeSet};

use super::ids::{RunnerName, Slot};
use super::queue::Seat;

/// The leases of a run, by holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leases {
    limit: u32,
    held: BTreeMap<Seat, Slot>,
    /// Slots below `unused` that were given back.
    returned: BTreeSet<u32>,
    /// No slot from here on was ever granted.
    unused: u32,
    of_runner: BTreeMap<RunnerName, u32>,
}

impl Leases {
    pub(crate) fn new(limit: u32) -> Self {
        Self { limit, held: BTreeMap::new(), returned: BTreeSet::new(), unused: 0, of_runner: BTreeMap::new() }
    }

    /// The slot that the next lease gets; `None`: all are taken.
    pub(crate) fn free_slot(&self) -> Option<Slot> {
        let fresh = (self.unused < self.limit).then_some(self.unused);
        self.returned.first().copied().or(fresh).map(Slot)
    }

    pub(crate) fn grant(&mut self, seat: Seat, slot: Slot, runner: &RunnerName) {
        let known = self.returned.remove(&slot.0);
        debug_assert!(known || slot.0 >= self.unused, "slot {slot:?} is held already");
        self.returned.extend(self.unused..slot.0);
        self.unused = self.unused.max(slot.0.saturating_add(1));
        let held_before = self.held.insert(seat, slot);
        debug_assert!(held_before.is_none(), "one agent holds one lease");
        *self.of_runner.entry(runner.clone()).or_default() += 1;
    }

    pub(crate) fn release(&mut self, seat: Seat, runner: &RunnerName) {
        let Some(slot) = self.held.remove(&seat) else { return };
        self.returned.insert(slot.0);
        if let Some(count) = self.of_runner.get_mut(runner) {
            *count = count.saturating_sub(1);
        }
    }

    /// Who holds a lease, in rank order.
    pub(crate) fn holders(&self) -> impl Iterator<Item = Seat> + '_ {
        self.held.keys().copied()
    }

    /// Places in the total order have changed.
    pub(crate) fn make_room(&mut self, moved: impl Fn(Seat) -> Seat) {
        self.held = std::mem::take(&mut self.held).into_iter().map(|(seat, slot)| (moved(seat), slot)).collect();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// How many leases agents of this runner hold.
    pub(crate) fn of_runner(&self, runner: &RunnerName) -> u32 {
        self.of_runner.get(runner).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_free_slot_is_granted() {
        let runner = RunnerName::new("command");
        let mut leases = Leases::new(3);
        for seat in 0..3 {
            let slot = leases.free_slot().unwrap();
            assert_eq!(slot.0, u32::try_from(seat).unwrap());
            leases.grant(seat, slot, &runner);
        }
        assert_eq!(leases.free_slot(), None);
        assert_eq!(leases.of_runner(&runner), 3);
        leases.release(2, &runner);
        leases.release(0, &runner);
        assert_eq!(leases.free_slot(), Some(Slot(0)));
        leases.grant(7, Slot(0), &runner);
        assert_eq!(leases.free_slot(), Some(Slot(2)));
        assert_eq!(leases.holders().collect::<Vec<_>>(), [1, 7]);
    }
}
