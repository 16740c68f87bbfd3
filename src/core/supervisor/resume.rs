//! A run whose supervisor is gone, or that was interrupted, is taken up again.
//!
//! Invariant: nothing is believed of a tree that nobody saw end: its attempt is salvaged and the agent begins
//! anew. What the journal says was done is not done twice; what it only intends is finished or done again, and
//! doing it again is harmless.
//!
//! Deliberately absent: ending what is left of old trees, and telling what others wrote since (`host`).

use std::collections::BTreeSet;

use super::closing::Case;
use super::state::{AgentRun, Lifecycle, Live, Phases, Stage, Wait};
use super::timers::Timer;
use super::{Step, Supervisor};
use crate::core::agent::OnPhaseFailure;
use crate::core::effect::{Effect, Purpose};
use crate::core::ids::{AgentId, Attempt, AttemptId};
use crate::core::lifecycle::State;
use crate::core::moment::Moment;
use crate::core::path::RepoPath;
use crate::core::queue::{Queue, Seat};
use crate::core::reason::EndReason;
use crate::core::record::{Fact, Layers, ProcessId, Record, RunOutcome};

/// An attempt of an earlier supervisor whose work is not settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsettled {
    pub id: AttemptId,
    /// The agent's process, while its end was not seen.
    pub process: Option<ProcessId>,
    /// Its tree was seen to end, and its gate had told all.
    pub tree_ended: bool,
    /// What the gate let it write.
    pub wrote: Vec<RepoPath>,
    /// What somebody outside every tree was seen writing since it began.
    pub outside: Vec<RepoPath>,
    /// The final message of the agent.
    pub message: Option<String>,
}

impl Supervisor {
    /// Can the run be taken up again? Not one that came to its end by itself.
    #[must_use]
    pub fn can_resume(&self) -> bool {
        self.opened.is_some() && matches!(self.ended, None | Some((_, RunOutcome::Interrupted(_))))
    }

    /// Attempts that were launched and are not over, in rank order.
    #[must_use]
    pub fn unsettled(&self) -> Vec<Unsettled> {
        let launched = self.all_live().filter(|(_, live)| live.stage != Stage::Preparing);
        let unsettled = launched.map(|(seat, live)| {
            let outside = self.last_writes.iter().filter(|(_, (at, by))| by.is_none() && *at > live.started);
            Unsettled {
                id: live.id.clone(),
                process: live.process.clone(),
                tree_ended: !matches!(live.stage, Stage::Returning | Stage::Starting | Stage::Running),
                wrote: live.wrote.iter().cloned().collect(),
                outside: outside.map(|(path, _)| path.clone()).collect(),
                message: self.agents[seat].latest.message.clone(),
            }
        });
        unsettled.collect()
    }

    /// Agents that are to run yet once the run is taken up again, in rank order; none where it cannot be.
    #[must_use]
    pub fn unfinished(&self) -> Vec<AgentId> {
        let is_left = |run: &AgentRun| {
            let has_ended = matches!(run.lifecycle, Lifecycle::Ended { .. });
            self.can_resume() && (!has_ended || self.reopens() && was_cut_off(run))
        };
        let seats = (0..self.agents.len()).filter(|&seat| is_left(&self.agents[seat]));
        seats.map(|seat| self.agent_plan(seat).id.clone()).collect()
    }

    /// Starts nothing more from this moment on, instead of the plan's. To be called before the run is taken up.
    pub fn stop_at(&mut self, at: Moment) {
        self.plan.stop_at = Some(at);
        if self.timers.is_set(&Timer::StopAt) {
            self.timers.set(Timer::StopAt, at);
        }
    }

    /// The record that takes the run up again: agents that were interrupted are to run after all. After it
    /// [`crate::core::event::Event::Resumed`] is due.
    #[must_use]
    pub fn resume(&self, now: Moment, layers: Layers) -> Record {
        let seats = (0..self.agents.len()).filter(|&seat| self.reopens() && was_cut_off(&self.agents[seat]));
        let reopened = seats.map(|seat| self.agent_plan(seat).id.clone()).collect();
        Record { at: now, fact: Fact::RunResumed { layers, reopened } }
    }

    /// Are agents that were cut off to run after all? Not where the run was stopping by itself, say at a limit, when its
    /// supervisor died.
    fn reopens(&self) -> bool {
        self.interrupted().is_some() || self.ended.is_some()
    }

    /// What is to be done about the attempts that are not over.
    pub(super) fn take_up(&self, now: Moment, step: &mut Step) {
        for (seat, live) in self.all_live() {
            let writes = &self.agents[seat].latest.writes;
            let case = Case { now, seat, live, writes, frozen: live.frozen.map(|(_, commit)| commit) };
            self.take_up_attempt(case, step);
        }
        for (seat, run) in self.agents.iter().enumerate() {
            // Whether the reference of what is on the branch was dropped is not in the journal.
            let attempt = Attempt(run.attempts);
            let completed = matches!(run.lifecycle, Lifecycle::Ended { state: State::Completed, .. });
            if completed && run.started && !run.salvage.contains(&attempt) {
                step.ask(Effect::Unpin { id: AttemptId { agent: self.agent_plan(seat).id.clone(), attempt } });
            }
        }
        if self.phases.all_ended() {
            step.ask(Effect::Survey);
        }
    }

    fn take_up_attempt(&self, case: Case<'_>, step: &mut Step) {
        let live = case.live;
        let id = live.id.clone();
        match (&live.stage, live.frozen) {
            (Stage::Preparing, _) => step.ask(Effect::Prepare { id }),
            (Stage::Returning | Stage::Starting | Stage::Running, _) => {
                Self::cut_off(case, EndReason::SupervisorDied, step);
            }
            (Stage::Freezing, Some(_)) => self.verify_or_place(case, step),
            (Stage::Measuring | Stage::Freezing, _) | (Stage::Closing, None) => step.ask(Effect::Measure { id }),
            (Stage::Verifying { .. }, _) => match &live.ending {
                Some(reason) => self.fail(case, reason, step),
                None => self.verify_or_place(case, step),
            },
            (Stage::Placing { intent: Some(intent) }, _) => {
                step.ask(Effect::FinishPlace { id, intent: intent.clone() });
            }
            (Stage::Placing { intent: None }, Some((_, commit))) if self.is_placing(case.seat) => {
                step.ask(Effect::PreparePlace { id, commit });
            }
            (Stage::Placing { intent: None }, _) => {}
            (Stage::Parting, Some((Purpose::Salvage, _))) => self.complete(case, true, step),
            (Stage::Parting, _) => self.part(case, step),
            (Stage::Closing, Some((purpose, _))) => {
                let reason = live.failing.clone().unwrap_or(EndReason::SupervisorDied);
                if self.agents[case.seat].latest.restored {
                    self.finish_failed(case, &reason, step);
                } else if purpose == Purpose::Salvage {
                    self.restore(case, &reason, step);
                } else {
                    self.salvage(case, &reason, step);
                }
            }
        }
    }

    pub(super) fn run_resumed(&mut self, layers: Layers, reopened: &[AgentId]) {
        if let Some(opened) = &mut self.opened {
            opened.layers = layers;
        }
        for run in &mut self.agents {
            if let Lifecycle::Live(live) = &mut run.lifecycle {
                begin_again(live);
            }
        }
        // Whoever takes the run up has ended what was left.
        self.haunted.clear();
        let decided = self.conflicts.iter().filter(|c| c.resolution.is_some() && c.verification.is_none());
        self.unchecked.extend(decided.map(|conflict| conflict.found.conflict));
        if self.reopens() {
            self.reopen(reopened);
        }
    }

    /// The run is not stopping any more, and these have not ended after all. What follows from who has ended is
    /// found anew: phases, dependencies, lines.
    fn reopen(&mut self, reopened: &[AgentId]) {
        let reopened: BTreeSet<Seat> = reopened.iter().filter_map(|id| self.seats.get(id).copied()).collect();
        let fresh = Self::new(self.plan.clone());
        (self.stop, self.kill, self.ended) = (None, None, None);
        (self.waiting, self.dirty, self.doomed, self.to_note) = <_>::default();
        (self.failures, self.queue) = (0, Queue::new(&self.plan, &self.order));
        let open = self.phases.is_open.then_some(self.phases.current);
        let closing = std::mem::take(&mut self.phases.closing);
        self.phases = Phases { closing, ..Phases::new(&self.plan) };
        for (seat, new) in fresh.agents.iter().enumerate() {
            let before = self.agents[seat].state();
            let run = &mut self.agents[seat];
            run.unmet = new.unmet;
            let ended = matches!(run.lifecycle, Lifecycle::Ended { .. });
            if run.live().is_none() && (!ended || reopened.contains(&seat)) {
                if !matches!(run.lifecycle, Lifecycle::Waiting(Wait::Backoff { .. })) {
                    run.lifecycle = Lifecycle::Waiting(Wait::Turn);
                }
                self.waiting.insert(seat);
            }
            if !self.agents[seat].added.is_empty() {
                self.queue.stand_alone(seat);
            }
            self.check_edge(seat, before);
        }
        self.count_ends();
        self.find_phase(open);
        let ready: Vec<Seat> = self.waiting.iter().copied().filter(|&seat| self.is_ready(seat)).collect();
        for seat in ready {
            self.queue.join(seat);
        }
        let paused: Vec<_> = self.runners.iter().filter(|(_, r)| r.paused_until.is_some()).collect();
        for (runner, known) in paused {
            self.queue.pause(runner);
            self.timers.set(Timer::Runner(runner.clone()), known.paused_until.unwrap_or(Moment::ZERO));
        }
        if let Some(stop_at) = self.plan.stop_at {
            self.timers.set(Timer::StopAt, stop_at);
        }
    }

    /// What the ends and starts of agents mean for phases and for those who depend on them.
    fn count_ends(&mut self) {
        for seat in 0..self.agents.len() {
            if self.agents[seat].started {
                self.satisfy_dependents(seat, |edge_waits| !edge_waits);
            }
            let Lifecycle::Ended { state, .. } = self.agents[seat].lifecycle else { continue };
            let phase = self.agent_plan(seat).rank.phase;
            self.phases.left[phase] = self.phases.left[phase].saturating_sub(1);
            self.phases.failed[phase] += usize::from(state != State::Completed);
            self.failures += u32::from(matches!(state, State::Failed | State::Timeout));
            if state == State::Completed {
                self.satisfy_dependents(seat, |edge_waits| edge_waits);
            } else {
                self.disappoint_dependents(seat);
            }
        }
    }

    fn find_phase(&mut self, open: Option<usize>) {
        let phases = &mut self.phases;
        phases.current = phases.left.iter().position(|&left| left > 0).unwrap_or(phases.left.len());
        phases.is_open = open == Some(phases.current);
        let stops = |phase: &usize| self.plan.phases[*phase].on_failure == OnPhaseFailure::Stop;
        phases.stopped_by = (0..phases.current).filter(|&phase| phases.failed[phase] > 0).find(stops);
    }
}

/// Did the agent end by nothing but an interrupt, or the death of the supervisor?
fn was_cut_off(run: &AgentRun) -> bool {
    let reason = match &run.lifecycle {
        Lifecycle::Ended { reason, .. } => reason.as_ref(),
        _ => None,
    };
    // Whom somebody stopped stays stopped.
    run.stop.is_none() && matches!(reason, Some(EndReason::Interrupted(_) | EndReason::SupervisorDied))
}

/// Of an attempt that is not over: what was only in the old supervisor's memory is gone.
fn begin_again(live: &mut Live) {
    live.checkpointing = false;
    if matches!(live.ending, Some(EndReason::Interrupted(_))) {
        live.ending = None;
    }
    if matches!(live.failing, Some(EndReason::Interrupted(_))) {
        live.failing = Some(EndReason::SupervisorDied);
    }
    if matches!(live.stage, Stage::Freezing | Stage::Closing) && live.frozen.is_none() {
        live.stage = Stage::Measuring;
    }
}
