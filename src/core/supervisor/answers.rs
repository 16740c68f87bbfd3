//! What follows from an answer to an effect, or from news about one attempt.
//!
//! Invariant: an answer about an attempt that is not live, or that does not wait for it, changes
//! nothing.

use super::policy::{self, MOST_PLACE_TRIES};
use super::state::{Live, Stage, paths};
use super::{Step, Supervisor};
use crate::core::attribution;
use crate::core::change::{Attribution, Change, ObjectId};
use crate::core::effect::{Effect, Ending, Part, Purpose};
use crate::core::event::{Event, PlaceRefusal, Preparation};
use crate::core::ids::AttemptId;
use crate::core::moment::Moment;
use crate::core::path::RepoPath;
use crate::core::queue::Seat;
use crate::core::reason::{EndReason, Exit, Interrupt, MAX_PATHS_IN_REASON};
use crate::core::record::{Fact, Fate, ProcessId, RunOutcome, StopCause, Summary, Trouble, Write};

impl Supervisor {
    pub(super) fn answer(&self, now: Moment, event: &Event, step: &mut Step) {
        let id = match event {
            Event::Turn | Event::Interrupted(_) | Event::Surveyed { .. } => return,
            Event::Prepared { id, .. }
            | Event::Spawned { id, .. }
            | Event::SpawnFailed { id, .. }
            | Event::TreeEnded { id, .. }
            | Event::ShimLost { id }
            | Event::Sampled { id, .. }
            | Event::Measured { id, .. }
            | Event::Frozen { id, .. }
            | Event::Checkpointed { id, .. }
            | Event::Verified { id, .. }
            | Event::PlacePrepared { id, .. }
            | Event::Placed { id, .. }
            | Event::Restored { id, .. } => id,
        };
        let Some((seat, live)) = self.live(id) else { return };
        match (event, &live.stage) {
            (Event::Prepared { outcome, .. }, Stage::Preparing) => self.prepared(now, live, outcome, step),
            (Event::Spawned { process, .. }, Stage::Starting) => self.spawned(now, seat, live, process, step),
            (Event::SpawnFailed { error, .. }, Stage::Starting) => {
                self.finish_failed(now, seat, live, &EndReason::SpawnFailed { error: error.clone() }, None, step);
            }
            (Event::TreeEnded { exit, summary, .. }, Stage::Starting | Stage::Running) => {
                self.tree_ended(now, seat, live, *exit, summary, step);
            }
            (Event::ShimLost { .. }, Stage::Starting | Stage::Running) => {
                self.tree_ended(now, seat, live, Exit::Lost, &Summary::default(), step);
            }
            (Event::ShimLost { .. }, Stage::Verifying { .. }) => {
                self.fail(now, seat, live, &EndReason::ShimLost, step);
            }
            (Event::Sampled { quiet, .. }, Stage::Running) if live.ending.is_none() => {
                self.sampled(now, seat, live, *quiet, step);
            }
            (Event::Checkpointed { outcome, .. }, _) if live.checkpointing => {
                Self::checkpointed(now, live, outcome, step);
            }
            (Event::Measured { outcome, .. }, Stage::Measuring) => self.measured(now, seat, live, outcome, step),
            (Event::Frozen { purpose, outcome, .. }, _) => self.frozen(now, seat, live, *purpose, outcome, step),
            (Event::Verified { exit, tail, .. }, Stage::Verifying { since }) => {
                let took = now.since(*since);
                step.note(now, Fact::Verified { id: id.clone(), exit: *exit, took, tail: tail.clone() });
                self.verified(now, seat, live, *exit, step);
            }
            (Event::PlacePrepared { outcome, .. }, Stage::Placing { intent: None }) if self.is_placing(seat) => {
                match outcome {
                    Ok(intent) => {
                        step.note(now, Fact::PlaceIntended { id: id.clone(), intent: intent.clone() });
                        step.ask(Effect::Place { id: id.clone(), intent: intent.clone() });
                    }
                    Err(refusal) => self.refused(now, seat, live, refusal, step),
                }
            }
            (Event::Placed { outcome, .. }, Stage::Placing { intent: Some(_) }) => match outcome {
                Ok(placement) => {
                    let index_left = placement.index_left.clone();
                    step.note(now, Fact::Placed { id: id.clone(), commit: placement.commit, index_left });
                    self.ask_next_place(step);
                    self.part(now, seat, live, &self.agents[seat].latest.writes, step);
                }
                Err(refusal) => self.refused(now, seat, live, refusal, step),
            },
            (Event::Restored { restored, left, .. }, Stage::Closing) => {
                let fact = Fact::Restored { id: id.clone(), restored: restored.clone(), left: left.clone() };
                step.note(now, fact);
                self.finish_closing(now, seat, live, step);
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
        step.note(now, Fact::Surveyed { unattributed: unattributed.to_vec() });
        step.note(now, Fact::RunEnded { outcome });
        step.ask(Effect::Close { outcome });
    }

    fn prepared(&self, now: Moment, live: &Live, outcome: &Preparation, step: &mut Step) {
        let id = live.id.clone();
        match outcome {
            Preparation::Ready { dirty } => {
                step.note(now, Fact::AttemptStarted { id: id.clone(), dirty: dirty.clone() });
                step.ask(Effect::Spawn { id, slot: live.slot });
            }
            Preparation::Dirty { paths } => {
                let dirty = paths.iter().take(MAX_PATHS_IN_REASON).cloned().collect();
                step.note(now, Fact::AttemptReturned { id, dirty });
            }
            Preparation::Failed { error } => {
                self.end_agent(now, live, Some(EndReason::Git { error: error.clone() }), step);
            }
        }
    }

    fn spawned(&self, now: Moment, seat: Seat, live: &Live, process: &ProcessId, step: &mut Step) {
        step.note(now, Fact::AttemptSpawned { id: live.id.clone(), process: process.clone() });
        if let Some(by) = self.interrupted() {
            let orderly = Ending::Orderly { grace: self.agent_plan(seat).grace };
            let how = if self.kill.is_some() { Ending::AtOnce } else { orderly };
            end(now, &live.id, Part::Agent, how, EndReason::Interrupted(by), step);
        }
    }

    fn tree_ended(&self, now: Moment, seat: Seat, live: &Live, exit: Exit, summary: &Summary, step: &mut Step) {
        step.note(now, Fact::TreeEnded { id: live.id.clone(), exit, summary: summary.clone() });
        let limited = policy::failure(live, exit, summary) == Some(EndReason::RateLimited);
        if let (true, Some(limit)) = (limited, summary.rate_limit) {
            let runner = &self.agent_plan(seat).runner;
            let paused_until = self.runners.get(runner).and_then(|r| r.paused_until);
            if let Some(until) = self.pause_for(runner, limit).map(|pause| now + pause)
                && paused_until.is_none_or(|already| limit.lifts_after.is_some() && already < until)
            {
                step.note(now, Fact::RunnerPaused { runner: runner.clone(), until });
            }
        }
        if !live.checkpointing {
            step.ask(Effect::Measure { id: live.id.clone() });
        }
    }

    fn sampled(&self, now: Moment, seat: Seat, live: &Live, quiet: std::time::Duration, step: &mut Step) {
        let plan = self.agent_plan(seat);
        let Some(idle) = plan.idle_timeout else { return };
        if quiet >= idle {
            let how = Ending::Orderly { grace: plan.grace };
            end(now, &live.id, Part::Agent, how, EndReason::IdleTimeout { after: idle }, step);
        } else {
            step.note(now, Fact::Sampled { id: live.id.clone(), next: now + idle.saturating_sub(quiet) });
        }
    }

    fn checkpointed(now: Moment, live: &Live, outcome: &Result<Option<ObjectId>, String>, step: &mut Step) {
        let id = live.id.clone();
        if let Err(error) = outcome {
            let what = Trouble::CheckpointFailed { error: error.clone() };
            step.note(now, Fact::Trouble { id: id.clone(), what });
        }
        let commit = outcome.clone().unwrap_or(None);
        step.note(now, Fact::Checkpointed { id: id.clone(), commit });
        if live.stage == Stage::Measuring {
            step.ask(Effect::Measure { id });
        }
    }

    fn measured(&self, now: Moment, seat: Seat, live: &Live, outcome: &Result<Vec<Change>, String>, step: &mut Step) {
        let id = live.id.clone();
        let changes = match outcome {
            Ok(changes) => changes,
            Err(error) => {
                let what = Trouble::MeasureFailed { error: error.clone() };
                step.note(now, Fact::Trouble { id, what });
                let reason = live.failing.clone().unwrap_or(EndReason::Git { error: error.clone() });
                if live.failing.is_none() {
                    step.note(now, Fact::AttemptFailed { id: live.id.clone(), reason: reason.clone() });
                }
                return self.finish_failed(now, seat, live, &reason, None, step);
            }
        };
        let plan = self.agent_plan(seat);
        let others: Vec<_> = self.leases.holders().filter(|&s| s != seat).map(|s| &self.agent_plan(s).claim).collect();
        let writes = attribution::judge(&plan.claim, &others, &live.dirty, changes);
        step.note(now, Fact::WriteSet { id: id.clone(), writes: writes.clone() });
        if let Some(reason) = &live.failing {
            return self.salvage(now, seat, live, reason, &writes, None, step);
        }
        let commit = paths(&writes, |fate| fate == Fate::Commit);
        if plan.expect_changes && writes.iter().all(|w| w.fate == Fate::Leave) {
            self.fail_with(now, seat, live, &EndReason::NoChanges, &writes, None, step);
        } else if commit.is_empty() {
            self.verify_or_place(now, seat, live, &writes, None, step);
        } else {
            let attribution = weakest(&writes, Fate::Commit);
            step.ask(Effect::Freeze { id, purpose: Purpose::Completion, paths: commit, attribution });
        }
    }

    fn frozen(
        &self,
        now: Moment,
        seat: Seat,
        live: &Live,
        purpose: Purpose,
        outcome: &Result<ObjectId, String>,
        step: &mut Step,
    ) {
        let writes = &self.agents[seat].latest.writes;
        let awaited = match purpose {
            Purpose::Completion => live.stage == Stage::Freezing,
            Purpose::Salvage => matches!(live.stage, Stage::Closing | Stage::Parting),
        };
        if !awaited {
            return;
        }
        if let Ok(commit) = outcome {
            step.note(now, Fact::Frozen { id: live.id.clone(), purpose, commit: *commit });
        }
        match (purpose, outcome) {
            (Purpose::Completion, Ok(commit)) => self.verify_or_place(now, seat, live, writes, Some(*commit), step),
            (Purpose::Completion, Err(error)) => {
                self.fail_with(now, seat, live, &EndReason::Git { error: error.clone() }, writes, None, step);
            }
            (Purpose::Salvage, outcome) => {
                if let Err(error) = outcome {
                    let what = Trouble::SalvageFailed { error: error.clone() };
                    step.note(now, Fact::Trouble { id: live.id.clone(), what });
                }
                let kept = outcome.as_ref().ok().copied();
                match (&live.stage, &live.failing) {
                    (Stage::Closing, Some(reason)) => self.restore(now, seat, live, reason, writes, kept, step),
                    _ => self.complete(now, live, kept, step),
                }
            }
        }
    }

    fn verified(&self, now: Moment, seat: Seat, live: &Live, exit: Exit, step: &mut Step) {
        let writes = &self.agents[seat].latest.writes;
        let reason = match &live.ending {
            Some(reason) => Some(reason.clone()),
            None if exit.success() => None,
            None => Some(EndReason::VerifyFailed { exit }),
        };
        match (reason, live.frozen) {
            (Some(reason), _) => self.fail(now, seat, live, &reason, step),
            (None, Some((_, commit))) => self.place(live, commit, step),
            (None, None) => self.part(now, seat, live, writes, step),
        }
    }

    /// Its work is frozen, or there is none: verify it, or go on to the branch.
    fn verify_or_place(
        &self,
        now: Moment,
        seat: Seat,
        live: &Live,
        writes: &[Write],
        commit: Option<ObjectId>,
        step: &mut Step,
    ) {
        let has_verify = self.agent_plan(seat).verify.is_some();
        match (has_verify, self.interrupted(), commit) {
            (true, Some(by), commit) => {
                self.fail_with(now, seat, live, &EndReason::Interrupted(by), writes, commit, step);
            }
            (true, None, commit) => {
                step.note(now, Fact::VerifyStarted { id: live.id.clone() });
                step.ask(Effect::Verify { id: live.id.clone(), slot: live.slot, commit });
            }
            (false, _, Some(commit)) => self.place(live, commit, step),
            (false, _, None) => self.part(now, seat, live, writes, step),
        }
    }

    /// It joins the line for the branch, and begins at once if nobody is ahead.
    fn place(&self, live: &Live, commit: ObjectId, step: &mut Step) {
        if self.placing.is_empty() {
            step.ask(Effect::PreparePlace { id: live.id.clone(), commit });
        }
    }

    fn is_placing(&self, seat: Seat) -> bool {
        self.placing.front() == Some(&seat)
    }

    /// The first of the line leaves it: the next begins.
    pub(super) fn ask_next_place(&self, step: &mut Step) {
        let next = self.placing.get(1).and_then(|&seat| self.agents[seat].live());
        if let Some((live, (_, commit))) = next.and_then(|live| Some((live, live.frozen?))) {
            step.ask(Effect::PreparePlace { id: live.id.clone(), commit });
        }
    }

    fn refused(&self, now: Moment, seat: Seat, live: &Live, refusal: &PlaceRefusal, step: &mut Step) {
        let reason = match refusal {
            PlaceRefusal::Moved => {
                step.note(now, Fact::Trouble { id: live.id.clone(), what: Trouble::PlaceMoved });
                if let (true, Some((_, commit))) = (live.moved + 1 < MOST_PLACE_TRIES, live.frozen) {
                    return step.ask(Effect::PreparePlace { id: live.id.clone(), commit });
                }
                EndReason::Git { error: format!("somebody else committed each of {MOST_PLACE_TRIES} times") }
            }
            PlaceRefusal::BranchMoved => EndReason::BranchMoved,
            PlaceRefusal::ChangedUnderneath { paths } => {
                EndReason::ChangedUnderneath { paths: paths.iter().take(MAX_PATHS_IN_REASON).cloned().collect() }
            }
            PlaceRefusal::Hook { error } => EndReason::Hook { error: error.clone() },
            PlaceRefusal::Git { error } => EndReason::Git { error: error.clone() },
        };
        self.ask_next_place(step);
        self.fail(now, seat, live, &reason, step);
    }
}

/// Asks for the end of a tree, the cause first.
pub(super) fn end(now: Moment, id: &AttemptId, part: Part, how: Ending, reason: EndReason, step: &mut Step) {
    step.note(now, Fact::EndIntended { id: id.clone(), part, how, reason });
    step.ask(Effect::End { id: id.clone(), part, how });
}

/// The weakest attribution among writes of this fate or better.
pub(super) fn weakest(writes: &[Write], fate: Fate) -> Attribution {
    let of_fate = writes.iter().filter(|w| w.fate == fate || fate == Fate::SalvageOnly && w.fate == Fate::Commit);
    of_fate.map(|w| w.attribution).max().unwrap_or(Attribution::Inferred)
}
