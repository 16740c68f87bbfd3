//! What follows when a person stops agents, completes the run, or wants a checkpoint now.
//!
//! Invariant: what [`Supervisor::stopping`] and its like say is what follows from the event that is
//! sent next; nobody whom a person stopped is started again.

use super::answers::end;
use super::contest::part_of;
use super::state::{Lifecycle, Live, Stage};
use super::{Step, Supervisor};
use crate::core::change::ObjectId;
use crate::core::effect::{Effect, Ending};
use crate::core::ids::{AgentId, AttemptId};
use crate::core::moment::Moment;
use crate::core::queue::Seat;
use crate::core::reason::EndReason;
use crate::core::record::{Fact, StopCause};
use crate::core::steer::{Completing, Stop, Stopping};

impl Supervisor {
    /// What it comes to if the agent is stopped like this; `None`: there is no such agent.
    #[must_use]
    pub fn stopping(&self, agent: &AgentId, how: Stop) -> Option<Stopping> {
        let seat = *self.seats.get(agent)?;
        Some(match &self.agents[seat].lifecycle {
            Lifecycle::Ended { .. } => Stopping::Over,
            Lifecycle::Live(live) if live.stage != Stage::Preparing => {
                let ends = live.ending.is_some() || (how > Stop::Graceful && part_of(live).is_some());
                if ends { Stopping::Ending } else { Stopping::Finishing }
            }
            _ => Stopping::NotStarted,
        })
    }

    /// What it comes to if nothing more is started, of this phase or of all.
    #[must_use]
    pub fn completing(&self, phase: Option<usize>) -> Completing {
        let mut completing = Completing::default();
        for seat in 0..self.agents.len() {
            let plan = self.agent_plan(seat);
            if phase.is_some_and(|phase| plan.rank.phase != phase) {
                continue;
            }
            match self.stopping(&plan.id, Stop::Graceful) {
                Some(Stopping::NotStarted) => completing.skipped.push(plan.id.clone()),
                Some(Stopping::Ending | Stopping::Finishing) => completing.running.push(plan.id.clone()),
                _ => {}
            }
        }
        completing
    }

    /// Attempts of which a checkpoint can be made now, or is just being made; of this agent, or of all.
    #[must_use]
    pub fn checkpointable(&self, agent: Option<&AgentId>) -> Vec<AttemptId> {
        let of = |live: &&Live| agent.is_none_or(|agent| live.id.agent == *agent);
        let lives = self.all_live().map(|(_, live)| live).filter(of);
        lives.filter(|live| live.checkpointing || freezable(live)).map(|live| live.id.clone()).collect()
    }

    /// The latest checkpoint of a live attempt.
    #[must_use]
    pub fn checkpoint_of(&self, id: &AttemptId) -> Option<ObjectId> {
        self.live(id)?.1.checkpoint
    }

    /// Is the whole run being stopped, or completed?
    #[must_use]
    pub fn stop_cause(&self) -> Option<StopCause> {
        self.stop
    }

    /// Was it asked for that what runs be killed?
    #[must_use]
    pub fn is_killed(&self) -> bool {
        self.kill.is_some()
    }

    /// Has this phase been completed by hand, or has it ended?
    #[must_use]
    pub fn phase_is_closing(&self, phase: usize) -> bool {
        self.phases.closing.contains(&phase) || phase < self.phases.current
    }

    pub(super) fn stop_asked(&self, now: Moment, agents: &[AgentId], how: Stop, step: &mut Step) {
        let mut seats: Vec<Seat> = agents.iter().filter_map(|agent| self.seats.get(agent).copied()).collect();
        seats.sort_unstable();
        seats.dedup();
        for seat in seats {
            match &self.agents[seat].lifecycle {
                Lifecycle::Ended { .. } => {}
                Lifecycle::Live(live) if live.stage == Stage::Preparing => {
                    self.end_agent(now, live, Some(EndReason::Stopped), step);
                }
                Lifecycle::Live(live) => self.stop_live(now, seat, live, how, step),
                _ => self.end_waiting_agent(now, seat, EndReason::Stopped, step),
            }
        }
    }

    fn stop_live(&self, now: Moment, seat: Seat, live: &Live, how: Stop, step: &mut Step) {
        if self.agents[seat].stop < Some(how) {
            step.note(now, Fact::AgentStopRequested { agent: live.id.agent.clone(), how });
        }
        let Some(part) = part_of(live) else { return };
        let ending = match how {
            Stop::Orderly if live.ending.is_none() => Ending::Orderly { grace: self.agent_plan(seat).grace },
            Stop::AtOnce if self.agents[seat].stop != Some(Stop::AtOnce) => Ending::AtOnce,
            _ => return,
        };
        let reason = live.ending.clone().unwrap_or(EndReason::Stopped);
        end(now, &live.id, part, ending, reason, step);
    }

    pub(super) fn complete_asked(&self, now: Moment, phase: Option<usize>, step: &mut Step) {
        match phase {
            None if self.stop.is_none() => step.note(now, Fact::StopRequested { by: StopCause::Complete }),
            Some(phase) if phase < self.phases.left.len() && !self.phase_is_closing(phase) => {
                step.note(now, Fact::PhaseStopRequested { phase });
            }
            _ => {}
        }
    }

    pub(super) fn checkpoint_asked(&self, now: Moment, agent: Option<&AgentId>, step: &mut Step) {
        for (_, live) in self.all_live() {
            if agent.is_none_or(|agent| live.id.agent == *agent) && !live.checkpointing && freezable(live) {
                step.note(now, Fact::CheckpointIntended { id: live.id.clone() });
                step.ask(Effect::Checkpoint { id: live.id.clone() });
            }
        }
    }

    /// Why this agent, which has not started, will not be; `None`: it may.
    pub(super) fn not_started(&self, seat: Seat) -> Option<EndReason> {
        match self.stop {
            Some(StopCause::Interrupt(by)) => Some(EndReason::Interrupted(by)),
            Some(StopCause::Limit(limit)) => Some(EndReason::LimitReached(limit)),
            Some(StopCause::Complete) => Some(EndReason::Closed),
            None => self.phases.closing.contains(&self.agent_plan(seat).rank.phase).then_some(EndReason::Closed),
        }
    }
}

/// Does it run, and is it to go on?
fn freezable(live: &Live) -> bool {
    live.stage == Stage::Running && live.ending.is_none() && live.process.is_some()
}
