//! What follows from an answer to an effect, or from news about one attempt.
//!
//! Invariant: an answer about an attempt that is not live, or that does not wait for it, changes
//! nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use super::closing::Case;
use super::contest::part_of;
use super::policy::{self, MOST_PLACE_TRIES, SHORTEST_LOOK};
use super::state::{AgentRun, Conflict, Stage};
use super::{Step, Supervisor};
use crate::core::agent::OnDenied;
use crate::core::attribution::{self, Evidence};
use crate::core::call::RefusedPath;
use crate::core::change::ObjectId;
use crate::core::effect::{Effect, Ending, Part, Purpose};
use crate::core::event::{Event, Measured, PlaceRefusal, Preparation};
use crate::core::ids::{AgentId, AttemptId};
use crate::core::moment::Moment;
use crate::core::path::RepoPath;
use crate::core::queue::Seat;
use crate::core::reason::{DenialReason, EndReason, Exit, Interrupt, Quiet, for_reading};
use crate::core::record::{Admission, Fact, Fate, ProcessId, RunOutcome, StopCause, Summary, Trouble, Write};
use crate::core::steer::Stop;

impl Supervisor {
    pub(super) fn answer(&self, now: Moment, event: &Event, step: &mut Step) {
        let Some((seat, live)) = attempt_of(event).and_then(|id| self.live(id)) else { return };
        let writes = &self.agents[seat].latest.writes;
        let case = Case { now, seat, live, writes, frozen: live.frozen.map(|(_, commit)| commit) };
        match (event, &live.stage) {
            (Event::Prepared { outcome, .. }, Stage::Preparing) => self.prepared(case, outcome, step),
            (Event::Returned { outcome, .. }, Stage::Returning) => self.returned(case, outcome, step),
            (Event::ThreadKnown { thread, .. }, Stage::Starting | Stage::Running)
                if !live.thread.is_confirmed || live.thread.name.as_ref() != Some(thread) =>
            {
                case.note(step, Fact::ThreadKnown { id: live.id.clone(), thread: thread.clone() });
            }
            (Event::Spawned { process, .. }, Stage::Starting) => self.spawned(case, process, step),
            (Event::SpawnFailed { error, .. }, Stage::Starting) => {
                let failed = || EndReason::SpawnFailed { error: error.clone() };
                let reason = live.ending.clone().unwrap_or_else(failed);
                if live.returned.is_empty() {
                    self.finish_failed(case, &reason, step);
                } else {
                    Self::cut_off(case, reason, step);
                }
            }
            (Event::TreeEnded { exit, summary, .. }, Stage::Starting | Stage::Running) => {
                self.tree_ended(case, *exit, summary, step);
            }
            (Event::ShimLost { .. }, Stage::Starting | Stage::Running) => {
                self.tree_ended(case, Exit::Lost, &Summary::default(), step);
            }
            (Event::Survived { count, .. }, Stage::Starting | Stage::Running | Stage::Verifying { .. }) => {
                case.note(step, Fact::Trouble { id: live.id.clone(), what: Trouble::Survivors { count: *count } });
            }
            (Event::ShimLost { .. }, Stage::Verifying { .. }) => self.fail(case, &EndReason::ShimLost, step),
            (Event::Wrote { part, paths, .. }, _) => self.wrote(case, *part, paths, step),
            (Event::Refused { part, refusal, .. }, _) => self.refused_locally(case, *part, refusal, step),
            (Event::Caught { target, facts, .. }, Stage::Running) if live.ending.is_none() => {
                self.caught(case, target, facts, step);
            }
            (Event::NotKept { part, path, error, .. }, _) => self.not_kept(case, *part, path, error, step),
            (Event::Sampled { quiet, .. }, Stage::Running) if live.ending.is_none() => {
                self.sampled(case, *quiet, step);
            }
            (Event::Checkpointed { outcome, .. }, _) if live.checkpointing => checkpointed(case, outcome, step),
            (Event::Measured { outcome, .. }, Stage::Measuring) => self.measured(case, outcome, step),
            (Event::Frozen { purpose: Purpose::Completion, outcome, .. }, Stage::Freezing) => {
                self.frozen_to_complete(case, outcome, step);
            }
            (Event::Frozen { purpose: Purpose::Salvage, outcome, .. }, Stage::Closing | Stage::Parting) => {
                self.frozen_to_salvage(case, outcome, step);
            }
            (Event::Verified { exit, tail, .. }, Stage::Verifying { since }) => {
                let (id, took) = (live.id.clone(), now.since(*since));
                step.note(now, Fact::Verified { id, exit: *exit, took, tail: tail.clone() });
                self.verified(case, *exit, step);
            }
            (Event::PlacePrepared { outcome, .. }, Stage::Placing { .. }) if self.is_placing(seat) => match outcome {
                Ok(intent) => {
                    step.note(now, Fact::PlaceIntended { id: live.id.clone(), intent: intent.clone() });
                    step.ask(Effect::Place { id: live.id.clone(), intent: intent.clone() });
                }
                Err(refusal) => self.refused(case, refusal, step),
            },
            (Event::Placed { outcome, .. }, Stage::Placing { intent: Some(_) }) => match outcome {
                Ok(placement) => {
                    let (id, index_left) = (live.id.clone(), placement.index_left.clone());
                    step.note(now, Fact::Placed { id, commit: placement.commit, index_left });
                    self.ask_next_place(step);
                    self.part(case, step);
                }
                Err(refusal) => self.refused(case, refusal, step),
            },
            (Event::Restored { restored, left, .. }, Stage::Closing) => {
                let (id, restored, left) = (live.id.clone(), restored.clone(), left.clone());
                step.note(now, Fact::Restored { id, restored, left });
                if let Some(reason) = &live.failing {
                    self.finish_failed(case, reason, step);
                }
            }
            _ => {}
        }
    }

    /// The first interrupt ends what runs in order, the second at once; more change nothing.
    pub(super) fn interrupt(&self, now: Moment, by: Interrupt, step: &mut Step) {
        let first = self.interrupted().is_none();
        if !first && self.kill.is_some() {
            return;
        }
        if first {
            step.note(now, Fact::StopRequested { by: StopCause::Interrupt(by) });
        } else {
            step.note(now, Fact::KillRequested { by });
        }
        for (seat, live) in self.all_live() {
            let part = match live.stage {
                Stage::Running => Part::Agent,
                Stage::Verifying { .. } => Part::Verify,
                _ => continue,
            };
            if first && live.ending.is_some() {
                continue;
            }
            let how = if first { Ending::Orderly { grace: self.agent_plan(seat).grace } } else { Ending::AtOnce };
            let reason = live.ending.clone().unwrap_or(EndReason::Interrupted(by));
            end(now, &live.id, part, how, reason, step);
        }
    }

    pub(super) fn survey_done(&self, now: Moment, unattributed: &[RepoPath], step: &mut Step) {
        if !self.phases.all_ended() {
            return;
        }
        let outcome = if let Some(by) = self.interrupted() {
            RunOutcome::Interrupted(by)
        } else if self.phases.failed.iter().all(|&failed| failed == 0) {
            RunOutcome::Completed
        } else {
            RunOutcome::Failed
        };
        // What agents left in the tree, or the user in the index, is reported with those agents.
        let mut known: BTreeSet<RepoPath> = self.agents.iter().flat_map(AgentRun::in_tree).collect();
        known.extend(self.agents.iter().flat_map(|run| run.latest.index_left.iter().cloned()));
        let unattributed = unattributed.iter().filter(|path| !known.contains(path)).cloned().collect();
        step.note(now, Fact::Surveyed { unattributed });
        step.note(now, Fact::RunEnded { outcome });
        step.ask(Effect::Close { outcome });
    }

    fn prepared(&self, case: Case<'_>, outcome: &Preparation, step: &mut Step) {
        let id = case.live.id.clone();
        match outcome {
            // Nothing more is started since this moment: the next turn ends the attempt.
            Preparation::Ready { .. } if self.not_started(case.seat).is_some() => {}
            Preparation::Ready { dirty } => {
                case.note(step, Fact::AttemptStarted { id, dirty: dirty.clone() });
                self.begin(case, step);
            }
            Preparation::Dirty { paths } => {
                let (dirty, more) = for_reading(paths.iter().cloned());
                case.note(step, Fact::AttemptReturned { id, dirty, more });
            }
            Preparation::Failed { error } => {
                let reason = EndReason::Git { error: error.clone() };
                self.end_agent(case.now, case.live, Some(reason), step);
            }
        }
    }

    fn spawned(&self, case: Case<'_>, process: &ProcessId, step: &mut Step) {
        let id = &case.live.id;
        case.note(step, Fact::AttemptSpawned { id: id.clone(), process: process.clone() });
        if let Some(by) = self.interrupted() {
            let orderly = Ending::Orderly { grace: self.agent_plan(case.seat).grace };
            let how = if self.kill.is_some() { Ending::AtOnce } else { orderly };
            end(case.now, id, Part::Agent, how, EndReason::Interrupted(by), step);
        }
    }

    fn tree_ended(&self, case: Case<'_>, exit: Exit, summary: &Summary, step: &mut Step) {
        let Case { now, live, .. } = case;
        step.note(now, Fact::TreeEnded { id: live.id.clone(), exit, summary: summary.clone() });
        let limited = policy::failure(live, exit, summary) == Some(EndReason::RateLimited);
        if let (true, Some(limit)) = (limited, summary.rate_limit) {
            let runner = &self.agent_plan(case.seat).runner;
            let paused_until = self.runners.get(runner).and_then(|r| r.paused_until);
            if let Some(until) = self.pause_for(runner, limit).map(|pause| now + pause)
                && paused_until.is_none_or(|already| limit.lifts_after.is_some() && already < until)
            {
                step.note(now, Fact::RunnerPaused { runner: runner.clone(), until });
            }
        }
        // A checkpoint and the end of the same attempt would write the same reference.
        if !live.checkpointing {
            step.ask(Effect::Measure { id: live.id.clone() });
        }
    }

    fn sampled(&self, case: Case<'_>, signs: Quiet, step: &mut Step) {
        let quiet = signs.of_all();
        let plan = self.agent_plan(case.seat);
        let id = &case.live.id;
        let how = Ending::Orderly { grace: plan.grace };
        let rest = |limit: Duration| limit.saturating_sub(quiet).max(SHORTEST_LOOK);
        let (idle, after) = (plan.idle_timeout, plan.lock_timeout);
        let waited_for = self.queue.is_waited_for(case.seat);
        if let Some(after) = idle.filter(|&idle| quiet >= idle) {
            return end(case.now, id, Part::Agent, how, EndReason::IdleTimeout { after, quiet: Some(signs) }, step);
        }
        if waited_for && quiet >= after {
            return end(case.now, id, Part::Agent, how, EndReason::LockTimeout { after }, step);
        }
        if let Some(idle) = idle {
            case.note(step, Fact::Sampled { id: id.clone(), next: case.now + rest(idle) });
        }
        if waited_for {
            case.note(step, Fact::LockWatched { id: id.clone(), next: case.now + rest(after) });
        }
    }

    fn measured(&self, case: Case<'_>, outcome: &Result<Measured, String>, step: &mut Step) {
        let (live, id, plan) = (case.live, case.live.id.clone(), self.agent_plan(case.seat));
        let measured = match (outcome, &live.failing) {
            (Ok(measured), _) => measured,
            (Err(error), failing) => {
                let what = Trouble::MeasureFailed { error: error.clone() };
                case.note(step, Fact::Trouble { id, what });
                let reason = EndReason::Git { error: error.clone() };
                return match failing {
                    Some(reason) => self.finish_failed(case, reason, step),
                    None => self.fail(case, &reason, step),
                };
            }
        };
        let others = self.leases.holders().filter(|&holder| holder != case.seat);
        let others: Vec<_> = others.map(|holder| &self.agent_plan(holder).claim).collect();
        let evidence = Evidence {
            claim: &plan.claim,
            others: &others,
            dirty: &live.dirty,
            locked: &live.locked,
            admitted: &live.admitted,
            seen: self.opened.as_ref().is_some_and(|opened| opened.layers.gate).then_some(&live.wrote),
            caught: &live.wrote,
            on_undeclared: plan.on_undeclared,
            on_outside_edit: plan.on_outside_edit,
        };
        let mut measured = measured.clone();
        if evidence.seen.is_none() {
            // What a stray agent was caught writing here is in the file with its holder's work.
            let strayed = self.conflicts.iter().filter(|conflict| conflict.found.holder == live.id);
            measured.outside.extend(strayed.map(|conflict| conflict.found.path.clone()));
        }
        let mut writes = live.judged(attribution::judge(&evidence, &measured));
        if evidence.seen.is_none() {
            // It was kept before its holder, whose unfinished work is in the file as well: that is committed, and said.
            let won = |conflict: &&Conflict| conflict.found.writer == live.id && conflict.keeps_writer();
            let won: BTreeSet<_> = self.conflicts.iter().filter(won).map(|conflict| &conflict.found.path).collect();
            for write in
                writes.iter_mut().filter(|write| write.fate == Fate::Commit && won.contains(&write.change.path))
            {
                write.fate = Fate::CommitMixed;
            }
        }
        case.note(step, Fact::WriteSet { id, writes: writes.clone() });
        let case = Case { writes: &writes, ..case };
        if let Some(reason) = &live.failing {
            self.salvage(case, reason, step);
        } else if let Some(reason) = self.shortfall(case) {
            self.fail(case, &reason, step);
        } else if writes.iter().any(|w| w.fate.commits()) {
            step.ask(case.freeze(Purpose::Completion, Fate::commits));
        } else {
            self.verify_or_place(case, step);
        }
    }

    /// Why an attempt whose tree ended well will not complete all the same.
    fn shortfall(&self, case: Case<'_>) -> Option<EndReason> {
        let (live, plan) = (case.live, self.agent_plan(case.seat));
        let of = |want: &dyn Fn(&Write) -> bool| {
            for_reading(case.writes.iter().filter(|write| want(write)).map(|write| write.change.path.clone()))
        };
        let (mixed, more) = of(&|write| write.fate == Fate::Mixed);
        if !mixed.is_empty() {
            return Some(EndReason::OutsideEdit { paths: mixed, more });
        }
        if !live.busy.is_empty() {
            return Some(EndReason::Busy { paths: live.busy.iter().cloned().collect() });
        }
        let (leftovers, more) = of(&|write| {
            let provisional = live.admitted.get(&write.change.path) == Some(&Admission::Provisional);
            provisional && write.fate == Fate::SalvageOnly && write.change.after.is_some()
        });
        if !leftovers.is_empty() {
            return Some(EndReason::Leftovers { paths: leftovers, more });
        }
        let denied = &self.agents[case.seat].latest.denied;
        let refused: BTreeSet<&RefusedPath> = denied.keys().map(|(path, _)| path).collect();
        let (paths, more) = for_reading(refused.into_iter().cloned());
        let wrote_nothing = live.wrote.is_empty() && !case.writes.iter().any(|write| write.fate.commits());
        // `git diff` wants to refresh the index: who was refused nothing but git's files may only have looked.
        if denied.keys().any(|(_, why)| *why != DenialReason::Git) && wrote_nothing {
            return Some(EndReason::AllDenied { paths, more });
        }
        if !denied.is_empty() && plan.on_denied == OnDenied::Fail {
            return Some(EndReason::Denied { paths, more });
        }
        let nothing = case.writes.iter().all(|write| write.fate == Fate::Leave);
        (plan.expect_changes && nothing).then_some(EndReason::NoChanges)
    }

    /// Somebody wants an agent's locks back.
    pub(super) fn release_asked(&self, now: Moment, agent: &AgentId, step: &mut Step) {
        let Some(&seat) = self.seats.get(agent) else { return };
        let Some(live) = self.agents[seat].live().filter(|live| live.ending.is_none()) else { return };
        if let Some(part) = part_of(live) {
            let how = Ending::Orderly { grace: self.agent_plan(seat).grace };
            end(now, &live.id, part, how, EndReason::LocksReleased, step);
        }
    }

    fn frozen_to_complete(&self, case: Case<'_>, outcome: &Result<ObjectId, String>, step: &mut Step) {
        match outcome {
            Ok(commit) => {
                let (id, purpose) = (case.live.id.clone(), Purpose::Completion);
                case.note(step, Fact::Frozen { id, purpose, commit: *commit });
                self.verify_or_place(Case { frozen: Some(*commit), ..case }, step);
            }
            Err(error) => self.fail(case, &EndReason::Git { error: error.clone() }, step),
        }
    }

    fn frozen_to_salvage(&self, case: Case<'_>, outcome: &Result<ObjectId, String>, step: &mut Step) {
        let id = case.live.id.clone();
        match (outcome, &case.live.failing) {
            (Ok(commit), failing) => {
                case.note(step, Fact::Frozen { id, purpose: Purpose::Salvage, commit: *commit });
                match failing {
                    Some(reason) => self.restore(Case { frozen: Some(*commit), ..case }, reason, step),
                    None => self.complete(case, true, step),
                }
            }
            (Err(error), failing) => {
                let what = Trouble::SalvageFailed { error: error.clone() };
                case.note(step, Fact::Trouble { id, what });
                match failing {
                    // What the commit to be placed holds is kept; the rest is only in the tree now.
                    Some(reason) => self.finish_failed(case, reason, step),
                    None => self.complete(case, false, step),
                }
            }
        }
    }

    fn verified(&self, case: Case<'_>, exit: Exit, step: &mut Step) {
        match &case.live.ending {
            Some(reason) => self.fail(case, reason, step),
            None if exit.success() => self.place(case, step),
            None => self.fail(case, &EndReason::VerifyFailed { exit }, step),
        }
    }

    /// Its work is frozen, or there is none: verify it, or go on to the branch.
    pub(super) fn verify_or_place(&self, case: Case<'_>, step: &mut Step) {
        if self.agent_plan(case.seat).verify.is_none() {
            self.place(case, step);
        } else if let Some(by) = self.interrupted() {
            self.fail(case, &EndReason::Interrupted(by), step);
        } else if self.agents[case.seat].stop > Some(Stop::Graceful) {
            self.fail(case, &EndReason::Stopped, step);
        } else {
            let (id, slot) = (case.live.id.clone(), case.live.slot);
            case.note(step, Fact::VerifyStarted { id: id.clone() });
            step.ask(Effect::Verify { id, slot, commit: case.frozen });
        }
    }

    /// It joins the line for the branch, and begins at once if nobody is ahead.
    fn place(&self, case: Case<'_>, step: &mut Step) {
        match case.frozen {
            Some(commit) if self.placing.is_empty() => {
                step.ask(Effect::PreparePlace { id: case.live.id.clone(), commit });
            }
            Some(_) => {}
            None => self.part(case, step),
        }
    }

    pub(super) fn is_placing(&self, seat: Seat) -> bool {
        self.placing.front() == Some(&seat)
    }

    /// The first of the line leaves it: the next begins.
    fn ask_next_place(&self, step: &mut Step) {
        let next = self.placing.get(1).and_then(|&seat| self.agents[seat].live());
        if let Some((live, (_, commit))) = next.and_then(|live| Some((live, live.frozen?))) {
            step.ask(Effect::PreparePlace { id: live.id.clone(), commit });
        }
    }

    fn refused(&self, case: Case<'_>, refusal: &PlaceRefusal, step: &mut Step) {
        let id = case.live.id.clone();
        let reason = match refusal {
            PlaceRefusal::NotBegun => match case.frozen {
                Some(commit) => return step.ask(Effect::PreparePlace { id, commit }),
                None => EndReason::SupervisorDied,
            },
            PlaceRefusal::Moved => {
                case.note(step, Fact::Trouble { id: id.clone(), what: Trouble::PlaceMoved });
                if let (true, Some(commit)) = (case.live.moved + 1 < MOST_PLACE_TRIES, case.frozen) {
                    return step.ask(Effect::PreparePlace { id, commit });
                }
                EndReason::Git { error: format!("somebody else committed each of {MOST_PLACE_TRIES} times") }
            }
            PlaceRefusal::BranchMoved => EndReason::BranchMoved,
            PlaceRefusal::ChangedUnderneath { paths } => {
                let (paths, more) = for_reading(paths.iter().cloned());
                EndReason::ChangedUnderneath { paths, more }
            }
            PlaceRefusal::Hook { error } => EndReason::Hook { error: error.clone() },
            PlaceRefusal::Git { error } => EndReason::Git { error: error.clone() },
        };
        self.ask_next_place(step);
        self.fail(case, &reason, step);
    }
}

fn checkpointed(case: Case<'_>, outcome: &Result<Option<ObjectId>, String>, step: &mut Step) {
    let id = case.live.id.clone();
    if let Err(error) = outcome {
        let what = Trouble::CheckpointFailed { error: error.clone() };
        case.note(step, Fact::Trouble { id: id.clone(), what });
    }
    let commit = outcome.clone().unwrap_or(None);
    case.note(step, Fact::Checkpointed { id: id.clone(), commit });
    if case.live.stage == Stage::Measuring {
        step.ask(Effect::Measure { id });
    }
}

/// The attempt that an event is about.
fn attempt_of(event: &Event) -> Option<&AttemptId> {
    match event {
        Event::Turn
        | Event::Resumed
        | Event::Interrupted(_)
        | Event::Surveyed { .. }
        | Event::OutsideWrite { .. }
        | Event::ResolveAsked { .. }
        | Event::ReleaseAsked { .. }
        | Event::StopAsked { .. }
        | Event::CompleteAsked { .. }
        | Event::CheckpointAsked { .. }
        | Event::GrantAsked { .. }
        | Event::RegisterAsked { .. }
        | Event::ConflictChecked { .. } => None,
        Event::Prepared { id, .. }
        | Event::Spawned { id, .. }
        | Event::SpawnFailed { id, .. }
        | Event::Returned { id, .. }
        | Event::ThreadKnown { id, .. }
        | Event::TreeEnded { id, .. }
        | Event::ShimLost { id }
        | Event::Survived { id, .. }
        | Event::Sampled { id, .. }
        | Event::Asked { id, .. }
        | Event::Wrote { id, .. }
        | Event::Refused { id, .. }
        | Event::Caught { id, .. }
        | Event::NotKept { id, .. }
        | Event::Measured { id, .. }
        | Event::Frozen { id, .. }
        | Event::Checkpointed { id, .. }
        | Event::Verified { id, .. }
        | Event::PlacePrepared { id, .. }
        | Event::Placed { id, .. }
        | Event::Restored { id, .. } => Some(id),
    }
}

/// Asks for the end of a tree, the cause first.
pub(super) fn end(now: Moment, id: &AttemptId, part: Part, how: Ending, reason: EndReason, step: &mut Step) {
    step.note(now, Fact::EndIntended { id: id.clone(), part, how, reason });
    step.ask(Effect::End { id: id.clone(), part, how });
}
