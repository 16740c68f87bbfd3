//! How a fact changes the state.
//!
//! Invariant: the only way the state changes; it never fails, and a record that does not fit (of an
//! attempt that is not live) changes nothing. Every change of an agent's state is a legal one.

use super::Supervisor;
use super::policy;
use super::state::{Latest, Lifecycle, Live, Noted, Stage, Wait};
use super::timers::Timer;
use crate::core::effect::Purpose;
use crate::core::ids::{AgentId, AttemptId, RunnerName};
use crate::core::lifecycle::State;
use crate::core::moment::Moment;
use crate::core::queue::{Obstacle, Seat};
use crate::core::reason::{BusyReason, EndReason, Exit, WaitReason};
use crate::core::record::{Admission, Fact, Record, RunOpened, Summary, Trouble, Usage};
use crate::core::view::{Began, VerifyView};

impl Supervisor {
    /// Makes a fact part of the state.
    pub fn apply(&mut self, record: &Record) {
        let at = record.at;
        match &record.fact {
            Fact::RunOpened(opened) => self.run_opened(opened),
            Fact::RunResumed { layers, reopened } => self.run_resumed(*layers, reopened),
            Fact::PhaseOpened { phase } => self.phase_opened(*phase),
            Fact::PhaseEnded { phase, completed } => self.phase_ended(*phase, *completed),
            Fact::StopRequested { by } => {
                if self.interrupted().is_none() {
                    self.stop = Some(*by);
                }
                self.timers.clear(&Timer::StopAt);
            }
            Fact::KillRequested { by } => self.kill = Some(*by),
            Fact::PhaseStopRequested { phase } => {
                self.phases.closing.insert(*phase);
            }
            Fact::AgentStopRequested { agent, how } => {
                if let Some(&seat) = self.seats.get(agent) {
                    let stop = &mut self.agents[seat].stop;
                    *stop = (*stop).max(Some(*how));
                }
            }
            Fact::Granted { agent, pattern } => self.granted(agent, pattern),
            Fact::AgentRegistered(plan) => self.registered(plan),
            Fact::RunnerPaused { runner, until } => self.runner_paused(at, runner, *until),
            Fact::RunnerResumed { runner } => {
                if let Some(known) = self.runners.get_mut(runner) {
                    known.paused_until = None;
                }
                self.timers.clear(&Timer::Runner(runner.clone()));
                self.queue.wake_runner(runner);
            }
            Fact::AgentWaits { agent, reason } => self.agent_waits(agent, reason),
            Fact::AgentEnded { agent, state, reason } => self.agent_ended(at, agent, *state, reason.as_ref()),
            Fact::Surveyed { unattributed } => self.unattributed.clone_from(unattributed),
            Fact::RunEnded { outcome } => {
                self.ended = Some((at, *outcome));
                self.timers.clear_all();
            }
            Fact::ConflictFound(found) => self.conflict_found(at, found),
            Fact::ConflictAnalysed { conflict, analysis } => {
                if let Some(known) = self.conflict_mut(*conflict) {
                    known.analysis = Some(analysis.clone());
                }
            }
            Fact::ConflictRecommended { conflict, recommendation } => {
                if let Some(known) = self.conflict_mut(*conflict) {
                    known.recommendation = Some(*recommendation);
                }
            }
            Fact::ConflictResolved { conflict, resolution, by } => {
                self.conflict_resolved(*conflict, *resolution, *by);
            }
            Fact::ConflictChecked { conflict } => {
                self.unchecked.remove(conflict);
            }
            Fact::ConflictVerified { conflict, outcome } => {
                if let Some(known) = self.conflict_mut(*conflict) {
                    known.verification = Some(outcome.clone());
                }
            }
            Fact::OutsideWrite { paths } => {
                self.last_writes.extend(paths.iter().map(|path| (path.clone(), (at, None))));
            }
            Fact::AttemptOpened { id, slot } => self.attempt_opened(id, *slot),
            Fact::AttemptReturned { id, .. }
            | Fact::AttemptStarted { id, .. }
            | Fact::ReturnIntended { id, .. }
            | Fact::Continued { id, .. }
            | Fact::BegunAnew { id, .. }
            | Fact::AttemptSpawned { id, .. }
            | Fact::ThreadKnown { id, .. }
            | Fact::EndIntended { id, .. }
            | Fact::Sampled { id, .. }
            | Fact::LockWatched { id, .. }
            | Fact::Wrote { id, .. }
            | Fact::Denied { id, .. }
            | Fact::Busied { id, .. }
            | Fact::Locked { id, .. }
            | Fact::Admitted { id, .. }
            | Fact::TreeEnded { id, .. }
            | Fact::WriteSet { id, .. }
            | Fact::CheckpointIntended { id }
            | Fact::Checkpointed { id, .. }
            | Fact::Frozen { id, .. }
            | Fact::VerifyStarted { id }
            | Fact::Verified { id, .. }
            | Fact::PlaceIntended { id, .. }
            | Fact::Placed { id, .. }
            | Fact::Restored { id, .. }
            | Fact::AttemptFailed { id, .. }
            | Fact::Trouble { id, .. }
            | Fact::AgentRequeued { id, .. } => {
                if let Some((seat, _)) = self.live(id) {
                    self.apply_live(at, seat, &record.fact);
                }
            }
        }
        self.settle(at);
    }

    /// A fact about a live attempt.
    fn apply_live(&mut self, at: Moment, seat: Seat, fact: &Fact) {
        let before = self.agents[seat].state();
        match fact {
            Fact::AttemptReturned { dirty, more, .. } => {
                self.release(seat);
                self.agents[seat].lifecycle = Lifecycle::Waiting(Wait::Clean { paths: dirty.clone(), more: *more });
                self.agents[seat].noted = Noted::Waiting;
                self.waiting.insert(seat);
                self.dirty.insert(seat);
            }
            Fact::AgentRequeued { why, not_before, .. } => self.requeued(at, seat, why, *not_before),
            Fact::TreeEnded { exit, summary, .. } => self.tree_gone(at, seat, *exit, summary),
            Fact::AttemptStarted { dirty, .. } => {
                let run = &mut self.agents[seat];
                let first = !run.started;
                run.started = true;
                run.latest = Latest { started_at: Some(at), ..Latest::default() };
                if let Lifecycle::Live(live) = &mut run.lifecycle {
                    run.attempts = live.id.attempt.0;
                    live.dirty = dirty.iter().cloned().collect();
                    live.stage = Stage::Starting;
                    live.started = at;
                    live.earlier = run.earlier.take().map(Box::new);
                }
                if first {
                    self.satisfy_dependents(seat, |edge_waits| !edge_waits);
                }
            }
            Fact::ReturnIntended { paths, .. } => {
                self.last_writes.extend(paths.iter().map(|path| (path.clone(), (at, Some(seat)))));
            }
            Fact::Continued { from, .. } => self.agents[seat].latest.began = Some(Began::Continued { from: *from }),
            Fact::BegunAnew { from, why, .. } => {
                self.agents[seat].latest.began = Some(Began::Anew { instead_of: *from, why: why.clone() });
            }
            // A tree that is being ended already is not watched any more.
            Fact::AttemptSpawned { .. } if self.agents[seat].live().is_some_and(|live| live.ending.is_none()) => {
                self.watch(at, seat);
                if self.queue.is_waited_for(seat) {
                    let timeout = self.agent_plan(seat).lock_timeout;
                    self.timers.set(Timer::Lock(seat), at + timeout);
                }
            }
            Fact::LockWatched { next, .. } => self.timers.set(Timer::Lock(seat), *next),
            Fact::Wrote { paths, .. } => {
                self.last_writes.extend(paths.iter().map(|path| (path.clone(), (at, Some(seat)))));
            }
            Fact::Restored { restored, .. } => {
                self.last_writes.extend(restored.iter().map(|path| (path.clone(), (at, None))));
            }
            Fact::Admitted { path, how: Admission::Ignored, .. } => {
                self.made.insert(path.clone());
            }
            Fact::Denied { path, touch, why, .. } => {
                self.agents[seat].latest.denied.entry((path.clone(), why.clone())).or_insert(*touch);
            }
            Fact::EndIntended { .. } | Fact::Verified { .. } => self.timers.clear_watches(seat),
            Fact::Sampled { next, .. } => self.timers.set(Timer::Idle(seat), *next),
            Fact::CheckpointIntended { .. } => self.timers.clear(&Timer::Checkpoint(seat)),
            Fact::Checkpointed { .. } => {
                let running = self.agents[seat].live().is_some_and(|l| l.stage == Stage::Running && l.ending.is_none());
                if let (true, Some(interval)) = (running, self.plan.checkpoint_interval) {
                    self.timers.set(Timer::Checkpoint(seat), at + interval);
                }
            }
            Fact::VerifyStarted { .. } => {
                if let Some(limit) = self.agent_plan(seat).verify {
                    self.timers.set(Timer::Timeout(seat), at + limit);
                }
            }
            Fact::Placed { commit, .. } => {
                self.leave_place_line(seat);
                self.head = Some(*commit);
            }
            Fact::AttemptFailed { .. } => self.leave_place_line(seat),
            _ => {}
        }
        let has_verify = self.agent_plan(seat).verify.is_some();
        let run = &mut self.agents[seat];
        let mut joins_place_line = false;
        if let Lifecycle::Live(live) = &mut run.lifecycle {
            advance(at, live, &mut run.latest, has_verify, fact);
            joins_place_line = matches!(live.stage, Stage::Placing { .. });
        }
        if joins_place_line && !self.placing.contains(&seat) {
            self.placing.push_back(seat);
        }
        self.check_edge(seat, before);
    }

    /// Looks for the next candidate, now that something has changed.
    fn settle(&mut self, at: Moment) {
        if self.stop.is_some() || self.opened.is_none() {
            self.queue.close();
            return;
        }
        let mut queue = std::mem::replace(&mut self.queue, crate::core::queue::Queue::empty());
        let parked = self.with_look(|look| queue.settle(look));
        self.queue = queue;
        for seat in parked {
            if let Some(Obstacle::Lease(holder)) = self.queue.obstacle(seat) {
                self.watch_lock(at, holder);
            }
            if self.lock_note(seat).is_some() {
                self.to_note.insert(seat);
            } else {
                self.to_note.remove(&seat);
            }
        }
    }

    /// Somebody waits for what this agent holds.
    fn watch_lock(&mut self, at: Moment, holder: Seat) {
        let runs = self.agents[holder].live().is_some_and(|l| l.stage == Stage::Running && l.ending.is_none());
        if runs && !self.timers.is_set(&Timer::Lock(holder)) {
            let timeout = self.agent_plan(holder).lock_timeout;
            self.timers.set(Timer::Lock(holder), at + timeout);
        }
    }

    fn run_opened(&mut self, opened: &RunOpened) {
        self.head = opened.base;
        self.opened = Some(opened.clone());
        if let Some(stop_at) = self.plan.stop_at {
            self.timers.set(Timer::StopAt, stop_at);
        }
        for seat in 0..self.agents.len() {
            let before = self.agents[seat].state();
            self.agents[seat].lifecycle = Lifecycle::Waiting(Wait::Turn);
            self.check_edge(seat, before);
            self.waiting.insert(seat);
        }
    }

    fn phase_opened(&mut self, phase: usize) {
        self.phases.current = phase;
        self.phases.is_open = true;
        let ready: Vec<Seat> = self.waiting.iter().copied().filter(|&seat| self.is_ready(seat)).collect();
        for seat in ready {
            self.queue.join(seat);
        }
    }

    fn phase_ended(&mut self, phase: usize, completed: bool) {
        if !completed && self.plan.phases[phase].on_failure == crate::core::agent::OnPhaseFailure::Stop {
            self.phases.stopped_by.get_or_insert(phase);
        }
        self.phases.current = self.phases.after(phase);
        self.phases.is_open = false;
        if self.phases.all_ended() {
            self.timers.clear_all();
        }
    }

    fn runner_paused(&mut self, at: Moment, runner: &RunnerName, until: Moment) {
        let known = self.runners.entry(runner.clone()).or_default();
        let from = known.paused_until.unwrap_or(at);
        known.pauses += u32::from(known.paused_until.is_none());
        known.paused_for = known.paused_for.saturating_add(until.since(from));
        known.paused_until = Some(until);
        self.timers.set(Timer::Runner(runner.clone()), until);
        self.queue.pause(runner);
    }

    fn agent_waits(&mut self, agent: &AgentId, reason: &WaitReason) {
        let Some(&seat) = self.seats.get(agent) else { return };
        self.to_note.remove(&seat);
        let run = &mut self.agents[seat];
        run.noted = if reason.state() == State::Blocked { Noted::Locked } else { Noted::Waiting };
        if matches!(run.lifecycle, Lifecycle::Waiting(Wait::Backoff { .. })) {
            self.timers.clear(&Timer::Backoff(seat));
            self.agents[seat].lifecycle = Lifecycle::Waiting(Wait::Turn);
            self.join_if_ready(seat);
        }
    }

    fn attempt_opened(&mut self, id: &AttemptId, slot: crate::core::ids::Slot) {
        let Some(&seat) = self.seats.get(&id.agent) else { return };
        if !self.waiting.remove(&seat) {
            return;
        }
        let before = self.agents[seat].state();
        self.to_note.remove(&seat);
        self.queue.leave(seat);
        let runner = self.agent_plan(seat).runner.clone();
        self.leases.grant(seat, slot, &runner);
        self.agents[seat].noted = Noted::Waiting;
        let added = self.agents[seat].added.clone();
        self.agents[seat].lifecycle = Lifecycle::Live(Box::new(Live::new(id.clone(), slot, added)));
        self.check_edge(seat, before);
    }

    /// Begins to watch a tree that has just been started.
    fn watch(&mut self, at: Moment, seat: Seat) {
        let plan = self.agent_plan(seat);
        let (timeout, idle) = (plan.timeout, plan.idle_timeout);
        self.timers.set(Timer::Timeout(seat), at + timeout);
        if let Some(idle) = idle {
            self.timers.set(Timer::Idle(seat), at + idle);
        }
        if let Some(interval) = self.plan.checkpoint_interval {
            self.timers.set(Timer::Checkpoint(seat), at + interval);
        }
    }

    fn tree_gone(&mut self, at: Moment, seat: Seat, exit: Exit, summary: &Summary) {
        // Only its first write of each path was told; it may have written any of them until now.
        let wrote = self.agents[seat].live().into_iter().flat_map(|live| &live.wrote);
        self.last_writes.extend(wrote.map(|path| (path.clone(), (at, Some(seat)))));
        self.timers.clear_watches(seat);
        let runner = self.agent_plan(seat).runner.clone();
        let failing = self.agents[seat].live().and_then(|live| policy::failure(live, exit, summary));
        let gives_up = failing == Some(EndReason::RateLimited)
            && summary.rate_limit.is_none_or(|limit| self.pause_for(&runner, limit).is_none());
        if exit.success()
            && let Some(known) = self.runners.get_mut(&runner)
        {
            known.pauses = 0;
            known.paused_for = std::time::Duration::ZERO;
        }
        let run = &mut self.agents[seat];
        if let Some(usage) = summary.usage {
            let sum = run.usage.get_or_insert_with(Usage::default);
            sum.input_tokens = sum.input_tokens.saturating_add(usage.input_tokens);
            sum.output_tokens = sum.output_tokens.saturating_add(usage.output_tokens);
            let used = usage.input_tokens.saturating_add(usage.output_tokens);
            self.tokens = self.tokens.saturating_add(used);
        }
        run.latest.exit = Some(exit);
        run.latest.message.clone_from(&summary.message);
        run.latest.needs.clone_from(&summary.needs);
        if let Lifecycle::Live(live) = &mut run.lifecycle {
            live.gives_up = gives_up;
            live.failing = failing;
            live.loses_thread(exit, summary);
        }
    }

    pub(super) fn check_edge(&self, seat: Seat, before: State) {
        let after = self.agents[seat].state();
        debug_assert!(
            before == after || before.may_become(after),
            "{}: {before} may not become {after}",
            self.agent_plan(seat).id
        );
    }
}

/// What a fact means for the attempt itself: how far it is, and what it is known by.
fn advance(at: Moment, live: &mut Live, latest: &mut Latest, has_verify: bool, fact: &Fact) {
    match fact {
        Fact::AttemptSpawned { process, .. } => {
            live.process = Some(process.clone());
            live.stage = Stage::Running;
        }
        Fact::ReturnIntended { paths, .. } => live.takes_over(paths),
        Fact::Continued { thread, .. } => {
            live.continues(thread);
            live.stage = Stage::Starting;
        }
        Fact::BegunAnew { .. } => live.begins_anew(),
        Fact::ThreadKnown { thread, .. } => {
            live.thread.name = Some(thread.clone());
            live.thread.is_confirmed = true;
        }
        Fact::EndIntended { reason, .. } => {
            live.ending.get_or_insert_with(|| reason.clone());
        }
        Fact::TreeEnded { .. } => {
            live.process = None;
            live.stage = Stage::Measuring;
        }
        Fact::Wrote { paths, .. } => {
            for path in paths {
                live.busy.remove(path);
                live.wrote.insert(path.clone());
            }
        }
        Fact::Busied { path, why, .. } => {
            live.busy.insert(path.clone());
            if *why == BusyReason::Stale {
                live.refreshed.insert(path.clone(), at);
            }
        }
        Fact::Locked { path, .. } => {
            live.locked.insert(path.clone());
            live.held.insert(path.clone());
        }
        Fact::Admitted { path, how, .. } => {
            live.admitted.insert(path.clone(), *how);
            if *how != Admission::Ignored {
                live.held.insert(path.clone());
            }
            if *how == Admission::Warned {
                latest.warned.insert(path.clone());
            }
        }
        Fact::CheckpointIntended { .. } => live.checkpointing = true,
        Fact::Checkpointed { commit, .. } => {
            live.checkpointing = false;
            live.checkpoint = commit.or(live.checkpoint);
        }
        Fact::WriteSet { writes, .. } => {
            live.stage = match &live.failing {
                Some(_) => Stage::Closing,
                None if writes.iter().any(|w| w.fate.commits()) || has_verify => Stage::Freezing,
                None => Stage::Parting,
            };
            latest.writes.clone_from(writes);
        }
        Fact::Frozen { purpose, commit, .. } => {
            live.frozen = Some((*purpose, *commit));
            if *purpose == Purpose::Completion && !has_verify {
                live.stage = Stage::Placing { intent: None };
            }
        }
        Fact::VerifyStarted { .. } => live.stage = Stage::Verifying { since: at },
        Fact::Verified { exit, took, tail, .. } => {
            let ok = exit.success() && live.ending.is_none();
            latest.verify = Some(VerifyView { ok, took: *took, tail: tail.clone() });
            if ok {
                let frozen = live.frozen.is_some();
                live.stage = if frozen { Stage::Placing { intent: None } } else { Stage::Parting };
            }
        }
        Fact::PlaceIntended { intent, .. } => live.stage = Stage::Placing { intent: Some(intent.clone()) },
        // Whatever it was being ended for: this must not be tried again, nor completed.
        Fact::Trouble { what: Trouble::Survivors { count }, .. } => {
            live.ending = Some(EndReason::Survivors { count: *count });
        }
        Fact::Trouble { what: Trouble::PlaceMoved, .. } => {
            live.moved += 1;
            live.stage = Stage::Placing { intent: None };
        }
        Fact::Placed { commit, index_left, .. } => {
            // Where git ignores all that it changed, the branch stays where it was.
            let stays = matches!(&live.stage, Stage::Placing { intent: Some(intent) } if intent.old == Some(*commit));
            latest.commit = if stays { None } else { Some(*commit) };
            latest.index_left.clone_from(index_left);
            live.stage = Stage::Parting;
        }
        Fact::AttemptFailed { reason, .. } => {
            live.failing = Some(reason.clone());
            live.stage = Stage::Closing;
        }
        Fact::Restored { left, .. } => {
            latest.restored = true;
            latest.not_restored.clone_from(left);
        }
        _ => {}
    }
}
