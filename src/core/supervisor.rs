//! The heart: events in, records and effects out.
//!
//! The driver's turn is `decide` → journal → `apply` → perform. `decide` changes nothing; `apply`
//! is the only way the state changes, in the live run, in replay and in the simulator.

use super::agent::Plan;
use super::effect::Effect;
use super::event::Event;
use super::moment::Moment;
use super::record::{Fact, Record, RunOpened};
use super::view::RunView;

/// The state of one run.
#[derive(Clone, Debug)]
pub struct Supervisor {
    plan: Plan,
}

/// What follows from an event: facts to write down, then things to do. Nothing has happened yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "a step is nothing until its records are journalled and applied"]
pub struct Step {
    pub records: Vec<Record>,
    pub effects: Vec<Effect>,
}

impl Supervisor {
    /// A run in which nothing has happened. The first record to apply is [`Supervisor::open`]'s.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        Self { plan }
    }

    /// The record that opens the run.
    #[must_use]
    pub fn open(&self, now: Moment, opened: RunOpened) -> Record {
        Record { at: now, fact: Fact::RunOpened(opened) }
    }

    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What follows from `event` at `now`.
    pub fn decide(&self, now: Moment, event: &Event) -> Step {
        let _ = (now, event);
        Step::default()
    }

    /// Makes a fact part of the state.
    pub fn apply(&mut self, record: &Record) {
        let _ = record;
    }

    /// When [`Event::Turn`] is due at the latest, if nothing happens before.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        None
    }

    /// The run as it is shown; `None` before it was opened.
    #[must_use]
    pub fn view(&self) -> Option<RunView> {
        None
    }
}
