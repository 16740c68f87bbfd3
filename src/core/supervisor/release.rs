//! The end of an attempt or an agent, as a change of the state: what it held is free, and those who
//! waited for it are looked at again.
//!
//! Invariant: whoever gives back a lease goes through [`Supervisor::release`], and an agent's end
//! reaches each of its dependents once.

use std::collections::BTreeSet;

use super::Supervisor;
use super::again::why_requeued;
use super::state::{Lifecycle, Stage, Wait};
use super::timers::Timer;
use crate::core::effect::Purpose;
use crate::core::ids::{AgentId, Attempt};
use crate::core::lifecycle::State;
use crate::core::moment::Moment;
use crate::core::path::RepoPath;
use crate::core::queue::Seat;
use crate::core::reason::EndReason;
use crate::core::record::RequeueReason;

impl Supervisor {
    pub(super) fn requeued(&mut self, at: Moment, seat: Seat, why: &RequeueReason, not_before: Moment) {
        self.keep_salvage(seat, false);
        self.remember_earlier(seat, why_requeued(why));
        self.release(seat);
        let run = &mut self.agents[seat];
        run.latest.ended_at = Some(at);
        self.waiting.insert(seat);
        match why {
            RequeueReason::RateLimit | RequeueReason::Resumed => {
                run.lifecycle = Lifecycle::Waiting(Wait::Turn);
                self.join_if_ready(seat);
            }
            RequeueReason::Busy { .. } | RequeueReason::Conflict { .. } | RequeueReason::Outranked { .. } => {
                run.requeues += 1;
                run.lifecycle = Lifecycle::Waiting(Wait::Turn);
                let first = run.added.is_empty();
                match why {
                    RequeueReason::Busy { paths } => run.added.extend(paths.iter().cloned()),
                    RequeueReason::Conflict { path, .. } => run.added.extend([path.clone()]),
                    _ => {}
                }
                if first && !run.added.is_empty() {
                    self.queue.stand_alone(seat);
                }
                self.join_if_ready(seat);
            }
            RequeueReason::Retry(_) => {
                run.retries += 1;
                run.lifecycle = Lifecycle::Waiting(Wait::Backoff { until: not_before });
                self.timers.set(Timer::Backoff(seat), not_before);
            }
        }
    }

    pub(super) fn agent_ended(&mut self, at: Moment, agent: &AgentId, state: State, reason: Option<&EndReason>) {
        let Some(&seat) = self.seats.get(agent) else { return };
        if matches!(self.agents[seat].lifecycle, Lifecycle::Ended { .. }) {
            return;
        }
        let before = self.agents[seat].state();
        let was_live = self.agents[seat].live().is_some();
        let completed = state == State::Completed;
        if was_live {
            self.keep_salvage(seat, completed);
            if !completed {
                self.remember_earlier(seat, reason.cloned());
            }
            self.leave_place_line(seat);
            if self.agents[seat].latest.started_at.is_some() {
                self.agents[seat].latest.ended_at = Some(at);
            }
        }
        let held = self.agents[seat].live().map(|live| live.held.clone()).unwrap_or_default();
        self.release(seat);
        self.queue.leave(seat);
        self.waiting.remove(&seat);
        self.dirty.remove(&seat);
        self.doomed.remove(&seat);
        self.to_note.remove(&seat);
        self.timers.clear(&Timer::Backoff(seat));
        self.agents[seat].lifecycle = Lifecycle::Ended { state, reason: reason.cloned() };
        self.check_edge(seat, before);

        let phase = self.agent_plan(seat).rank.phase;
        self.phases.left[phase] = self.phases.left[phase].saturating_sub(1);
        if !completed {
            self.phases.failed[phase] += 1;
        }
        if matches!(state, State::Failed | State::Timeout) {
            self.failures = self.failures.saturating_add(1);
        }
        if matches!(reason, Some(EndReason::Survivors { .. })) {
            self.doom_rivals(seat, &held, agent);
            self.haunted.insert(seat, held);
        }
        if completed {
            self.satisfy_dependents(seat, |edge_waits| edge_waits);
        } else {
            self.disappoint_dependents(seat);
        }
    }

    /// Gives lease, locks and slot back, and lets whoever waited for them be looked at again.
    pub(super) fn release(&mut self, seat: Seat) {
        if self.agents[seat].live().is_none() {
            return;
        }
        let runner = self.agent_plan(seat).runner.clone();
        self.timers.clear_watches(seat);
        self.leases.release(seat, &runner);
        self.queue.wake(seat);
        self.queue.wake_runner(&runner);
        let preparing = self.agents[seat].live().is_some_and(|live| live.stage == Stage::Preparing);
        if !preparing {
            // Something has ended: claims that were dirty may be clean now.
            for seat in std::mem::take(&mut self.dirty) {
                self.agents[seat].lifecycle = Lifecycle::Waiting(Wait::Turn);
                self.join_if_ready(seat);
            }
        }
    }

    pub(super) fn join_if_ready(&mut self, seat: Seat) {
        if self.is_ready(seat) {
            self.queue.join(seat);
        }
    }

    /// It started, or completed: edges for which that is enough are satisfied.
    pub(super) fn satisfy_dependents(&mut self, seat: Seat, enough: impl Fn(bool) -> bool) {
        for n in 0..self.dependents[seat].len() {
            let edge = self.dependents[seat][n].clone();
            if enough(edge.wait_for_completion) {
                self.satisfy(edge.dependent);
            }
        }
    }

    fn satisfy(&mut self, dependent: Seat) {
        let run = &mut self.agents[dependent];
        run.unmet = run.unmet.saturating_sub(1);
        if run.unmet == 0 {
            self.join_if_ready(dependent);
        }
    }

    /// It ended without completing.
    pub(super) fn disappoint_dependents(&mut self, seat: Seat) {
        let started = self.agents[seat].started;
        let on = self.agent_plan(seat).id.clone();
        for n in 0..self.dependents[seat].len() {
            let edge = self.dependents[seat][n].clone();
            if started && !edge.wait_for_completion {
                continue;
            }
            if self.agent_plan(edge.dependent).runs_anyway() {
                self.satisfy(edge.dependent);
            } else if self.waiting.contains(&edge.dependent) {
                self.doomed.entry(edge.dependent).or_insert_with(|| on.clone());
            }
        }
    }

    /// Processes of it live on, so its locks pass to nobody: whoever waits for an overlapping claim
    /// will not start.
    fn doom_rivals(&mut self, seat: Seat, held: &BTreeSet<RepoPath>, agent: &AgentId) {
        let claim = &self.agent_plan(seat).claim;
        let is_rival = |&other: &Seat| {
            let (theirs, added) = (&self.agent_plan(other).claim, &self.agents[other].added);
            let meets = |path: &RepoPath| theirs.locks(path) || added.contains(path);
            claim.excludes(theirs) || held.iter().any(meets) || added.iter().any(|path| claim.locks(path))
        };
        let rivals: Vec<Seat> = self.waiting.iter().copied().filter(is_rival).collect();
        for rival in rivals {
            self.doomed.entry(rival).or_insert_with(|| agent.clone());
        }
    }

    pub(super) fn leave_place_line(&mut self, seat: Seat) {
        self.placing.retain(|&other| other != seat);
    }

    /// Remembers the attempt if its work stays beside the branch.
    fn keep_salvage(&mut self, seat: Seat, completed: bool) {
        let run = &mut self.agents[seat];
        let Lifecycle::Live(live) = &run.lifecycle else { return };
        let kept = match live.frozen {
            Some((Purpose::Salvage, _)) => true,
            Some((Purpose::Completion, _)) => !completed,
            None => !completed && live.checkpoint.is_some(),
        };
        if kept {
            run.salvage.push(Attempt(run.attempts));
        }
    }
}
