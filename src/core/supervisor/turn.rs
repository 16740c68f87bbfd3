//! What follows from the state as a whole.
//!
//! Invariant: every step changes the state so that the same step does not follow again, and each
//! kind of step can follow only so often (an agent ends once, a phase closes once, an attempt opens
//! when a slot is free), so repeated turns come to rest.

use std::collections::VecDeque;

use super::answers::end;
use super::policy::SHORTEST_LOOK;
use super::state::{Lifecycle, Stage, Wait};
use super::timers::Timer;
use super::{Step, Supervisor};
use crate::core::effect::{Effect, Ending, Part};
use crate::core::ids::{AgentId, Attempt, AttemptId};
use crate::core::moment::Moment;
use crate::core::queue::Seat;
use crate::core::reason::{EndReason, Limit, WaitReason};
use crate::core::record::{Fact, StopCause};

impl Supervisor {
    /// One kind of consequence at a time: each is found with the ones before it applied.
    pub(super) fn turn(&self, now: Moment, step: &mut Step) {
        let kinds: [fn(&Self, Moment, &mut Step); 9] = [
            Self::due,
            Self::close_moot,
            Self::check_conflicts,
            Self::stop_at_limits,
            Self::end_waiting,
            Self::skip_doomed,
            Self::move_phases,
            Self::start_next,
            Self::give_up_dirty,
        ];
        for kind in kinds {
            kind(self, now, step);
            if !step.is_empty() {
                return;
            }
        }
        self.note_waits(now, step);
    }

    fn due(&self, now: Moment, step: &mut Step) {
        for timer in self.timers.due(now) {
            match timer {
                Timer::Timeout(seat) => self.time_out(now, *seat, step),
                Timer::Idle(seat) => {
                    let Some(live) = self.agents[*seat].live() else { continue };
                    let Some(idle) = self.agent_plan(*seat).idle_timeout else { continue };
                    step.note(now, Fact::Sampled { id: live.id.clone(), next: now + idle.max(SHORTEST_LOOK) });
                    step.ask(Effect::Sample { id: live.id.clone() });
                }
                Timer::Lock(seat) => {
                    let Some(live) = self.agents[*seat].live() else { continue };
                    let next = now + self.agent_plan(*seat).lock_timeout.max(SHORTEST_LOOK);
                    step.note(now, Fact::LockWatched { id: live.id.clone(), next });
                    if self.queue.is_waited_for(*seat) {
                        step.ask(Effect::Sample { id: live.id.clone() });
                    }
                }
                Timer::Checkpoint(seat) => {
                    let Some(live) = self.agents[*seat].live() else { continue };
                    step.note(now, Fact::CheckpointIntended { id: live.id.clone() });
                    step.ask(Effect::Checkpoint { id: live.id.clone() });
                }
                Timer::Backoff(seat) => {
                    let agent = self.agent_plan(*seat).id.clone();
                    step.note(now, Fact::AgentWaits { agent, reason: WaitReason::Slot });
                }
                Timer::Runner(runner) => step.note(now, Fact::RunnerResumed { runner: runner.clone() }),
                Timer::StopAt => {
                    step.note(now, Fact::StopRequested { by: StopCause::Limit(Limit::StopAt) });
                }
            }
        }
    }

    fn time_out(&self, now: Moment, seat: Seat, step: &mut Step) {
        let Some(live) = self.agents[seat].live() else { return };
        let plan = self.agent_plan(seat);
        let (part, reason) = match (&live.stage, plan.verify) {
            (Stage::Verifying { .. }, Some(after)) => (Part::Verify, EndReason::VerifyTimeout { after }),
            _ => (Part::Agent, EndReason::Timeout { after: plan.timeout }),
        };
        end(now, &live.id, part, Ending::Orderly { grace: plan.grace }, reason, step);
    }

    fn stop_at_limits(&self, now: Moment, step: &mut Step) {
        let all_ended = self.waiting.is_empty() && self.leases.is_empty();
        if self.stop.is_some() || all_ended {
            return;
        }
        let limit = if self.plan.max_failures.is_some_and(|most| self.failures >= most.get()) {
            Limit::Failures
        } else if self.plan.max_tokens.is_some_and(|most| self.tokens >= most) {
            Limit::Tokens
        } else {
            return;
        };
        step.note(now, Fact::StopRequested { by: StopCause::Limit(limit) });
    }

    /// The run, or a phase, is stopping: what has not started never will.
    fn end_waiting(&self, now: Moment, step: &mut Step) {
        if self.stop.is_none() && self.phases.closing.is_empty() {
            return;
        }
        for (seat, live) in self.all_live().filter(|(_, live)| live.stage == Stage::Preparing) {
            if let Some(reason) = self.not_started(seat) {
                self.end_agent(now, live, Some(reason), step);
            }
        }
        for &seat in &self.waiting {
            if let Some(reason) = self.not_started(seat) {
                self.end_waiting_agent(now, seat, reason, step);
            }
        }
    }

    pub(super) fn end_waiting_agent(&self, now: Moment, seat: Seat, reason: EndReason, step: &mut Step) {
        let agent = self.agent_plan(seat).id.clone();
        step.note(now, Fact::AgentEnded { agent, state: reason.state(), reason: Some(reason) });
    }

    /// Skips those whose dependencies did not complete, and those who depend on them in turn.
    fn skip_doomed(&self, now: Moment, step: &mut Step) {
        let mut found = self.doomed.clone();
        let mut open: VecDeque<(Seat, AgentId)> = self.doomed.iter().map(|(s, on)| (*s, on.clone())).collect();
        while let Some((seat, on)) = open.pop_front() {
            self.end_waiting_agent(now, seat, EndReason::DependencyFailed { on }, step);
            let id = &self.agent_plan(seat).id;
            for edge in &self.dependents[seat] {
                let skips = !self.agent_plan(edge.dependent).runs_anyway();
                let satisfied = self.agents[seat].started && !edge.wait_for_completion;
                let new = !found.contains_key(&edge.dependent) && self.waiting.contains(&edge.dependent);
                if skips && !satisfied && new {
                    found.insert(edge.dependent, id.clone());
                    open.push_back((edge.dependent, id.clone()));
                }
            }
        }
    }

    fn move_phases(&self, now: Moment, step: &mut Step) {
        let phase = self.phases.current;
        if self.phases.all_ended() {
            return;
        }
        if let Some(stopped_by) = self.phases.stopped_by {
            for &seat in &self.waiting {
                self.end_waiting_agent(now, seat, EndReason::PhaseFailed { phase: stopped_by }, step);
            }
            if !step.is_empty() {
                return;
            }
        }
        if self.phases.left[phase] == 0 {
            let last = self.phases.after(phase) == self.phases.left.len();
            if last && self.conflicts.iter().any(|conflict| conflict.verification.is_none()) {
                // The run is not over before every contested file was looked at.
                return;
            }
            step.note(now, Fact::PhaseEnded { phase, completed: self.phases.failed[phase] == 0 });
            if last {
                step.ask(Effect::Survey);
            }
        } else if !self.phases.is_open {
            step.note(now, Fact::PhaseOpened { phase });
        }
    }

    fn start_next(&self, now: Moment, step: &mut Step) {
        let (Some(seat), Some(slot)) = (self.queue.candidate(), self.leases.free_slot()) else { return };
        let run = &self.agents[seat];
        let id = AttemptId { agent: self.agent_plan(seat).id.clone(), attempt: Attempt(run.attempts).next() };
        step.note(now, Fact::AttemptOpened { id: id.clone(), slot });
        step.ask(Effect::Prepare { id });
    }

    /// Dirty claims are looked at again whenever something has ended. When nothing is left that could
    /// end, they stay dirty.
    fn give_up_dirty(&self, now: Moment, step: &mut Step) {
        if self.dirty.is_empty() || !self.leases.is_empty() || self.timers.any_pause() {
            return;
        }
        for &seat in &self.dirty {
            if let Lifecycle::Waiting(Wait::Clean { paths, more }) = &self.agents[seat].lifecycle {
                let reason = EndReason::DirtyClaim { paths: paths.clone(), more: *more };
                self.end_waiting_agent(now, seat, reason, step);
            }
        }
    }

    fn note_waits(&self, now: Moment, step: &mut Step) {
        for &seat in &self.to_note {
            if let Some(reason) = self.wait_reason(seat) {
                step.note(now, Fact::AgentWaits { agent: self.agent_plan(seat).id.clone(), reason });
            }
        }
    }
}
