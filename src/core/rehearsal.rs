//! A run as it would unfold: the supervisor's own decisions, told that every agent completes.
//!
//! Invariant: who starts after whom, in which slot, and why others wait is what [`Supervisor`] decides and
//! nothing that is decided here. Agents that run at the same time end at the same time, since how long one
//! takes is not known: the waves are an order and no time.
//!
//! Deliberately absent: conflicts, failures, dirty claims, limits of the session and rate limits.

use std::collections::VecDeque;

use super::agent::Plan;
use super::effect::Effect;
use super::event::{Event, Measured, Preparation};
use super::ids::{AgentId, AttemptId, RunId, Slot};
use super::moment::Moment;
use super::reason::{Exit, WaitReason};
use super::record::{Fact, Layers, ProcessId, RunOpened, Summary};
use super::supervisor::{Step, Supervisor};

/// The most waiting agents of a wave of which it is found out why they wait, first in line first.
pub const MOST_WAITING: usize = 100;

/// Agents that run at the same time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wave {
    /// In the order in which they start.
    pub starts: Vec<Start>,
    /// Who waits meanwhile, and why; at most [`MOST_WAITING`].
    pub waits: Vec<(AgentId, WaitReason)>,
    /// How many wait in all.
    pub waiting: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    pub agent: AgentId,
    pub slot: Slot,
    /// Why it did not start a wave earlier; `None`: nothing kept it, or that was not found out.
    pub waited: Option<WaitReason>,
}

/// The waves of a plan. Every agent is in exactly one.
#[must_use]
pub fn rehearse(plan: &Plan) -> Vec<Wave> {
    let mut stage = Stage::new(plan);
    let mut waves: Vec<Wave> = Vec::new();
    loop {
        let mut wave = Wave { starts: stage.turn(), ..Wave::default() };
        if wave.starts.is_empty() {
            return waves; // all has ended: what runs is ended between two waves, so nothing else would change
        }
        if let Some(before) = waves.last() {
            for start in &mut wave.starts {
                let reason = before.waits.iter().find(|(agent, _)| *agent == start.agent);
                start.waited = reason.map(|(_, reason)| reason.clone());
            }
        }
        (wave.waits, wave.waiting) = stage.waits();
        waves.push(wave);
        stage.end_all();
    }
}

/// A supervisor, and a world in which everything goes well and no time passes.
struct Stage {
    supervisor: Supervisor,
    running: Vec<AttemptId>,
    events: VecDeque<Event>,
}

const NOW: Moment = Moment::ZERO;

impl Stage {
    fn new(plan: &Plan) -> Self {
        let mut plan = Plan { stop_at: None, max_failures: None, max_tokens: None, ..plan.clone() };
        plan.checkpoint_interval = None;
        for agent in &mut plan.agents {
            // Made-up ends change no file, and there is nothing to verify.
            agent.expect_changes = false;
            agent.verify = None;
        }
        let agents = plan.agents.iter().map(|agent| agent.id.clone()).collect();
        let mut supervisor = Supervisor::new(plan);
        #[expect(clippy::expect_used, reason = "a constant")]
        let run = RunId::new("rehearsal").expect("a well-formed run id");
        let layers = Layers::default();
        let opened = RunOpened { run, session: String::new(), base: None, branch: None, layers, agents };
        let opening = supervisor.open(NOW, opened);
        supervisor.apply(&opening);
        Self { supervisor, running: Vec::new(), events: VecDeque::new() }
    }

    /// Lets the supervisor come to rest; gives who started.
    fn turn(&mut self) -> Vec<Start> {
        let mut starts = Vec::new();
        loop {
            while let Some(event) = self.events.pop_front() {
                let step = self.supervisor.decide(NOW, &event);
                self.take(step, &mut starts);
            }
            let step = self.supervisor.decide(NOW, &Event::Turn);
            if step.is_empty() {
                return starts;
            }
            self.take(step, &mut starts);
        }
    }

    fn take(&mut self, step: Step, starts: &mut Vec<Start>) {
        for record in &step.records {
            self.supervisor.apply(record);
            if let Fact::AttemptOpened { id, slot } = &record.fact {
                starts.push(Start { agent: id.agent.clone(), slot: *slot, waited: None });
                self.running.push(id.clone());
            }
        }
        for effect in step.effects {
            self.events.extend(answer(effect));
        }
    }

    fn waits(&self) -> (Vec<(AgentId, WaitReason)>, usize) {
        (self.supervisor.waits().take(MOST_WAITING).collect(), self.supervisor.waiting())
    }

    fn end_all(&mut self) {
        for id in std::mem::take(&mut self.running) {
            self.events.push_back(Event::TreeEnded { id, exit: Exit::Code(0), summary: Summary::default() });
        }
    }
}

/// What comes back where everything goes well; the end of a tree comes with the end of its wave.
fn answer(effect: Effect) -> Option<Event> {
    match effect {
        Effect::Prepare { id } => Some(Event::Prepared { id, outcome: Preparation::Ready { dirty: Vec::new() } }),
        Effect::Spawn { id, .. } => {
            Some(Event::Spawned { id, process: ProcessId { pid: 0, start: 0, boot: String::new() } })
        }
        Effect::Measure { id } => Some(Event::Measured { id, outcome: Ok(Measured::default()) }),
        Effect::Survey => Some(Event::Surveyed { unattributed: Vec::new() }),
        _ => None,
    }
}
