//! How an attempt ends once its tree is gone: parting from done work, or salvaging and putting back
//! what will not be committed.
//!
//! Invariant: nothing is put back before a commit holds it, and the locks are free only after both.

use super::policy::backoff;
use super::state::{Live, paths};
use super::{Step, Supervisor};
use crate::core::agent::OnAbort;
use crate::core::change::{Attribution, ObjectId};
use crate::core::effect::{Effect, Purpose};
use crate::core::lifecycle::State;
use crate::core::moment::Moment;
use crate::core::path::RepoPath;
use crate::core::queue::Seat;
use crate::core::reason::EndReason;
use crate::core::record::{Fact, Fate, RequeueReason, Write};

/// A live attempt as one step knows it: its state, and what the step has found out and not yet
/// applied.
#[derive(Clone, Copy)]
pub(super) struct Case<'a> {
    pub(super) now: Moment,
    pub(super) seat: Seat,
    pub(super) live: &'a Live,
    pub(super) writes: &'a [Write],
    /// The commit that holds its work.
    pub(super) frozen: Option<ObjectId>,
}

impl Case<'_> {
    pub(super) fn note(&self, step: &mut Step, fact: Fact) {
        step.note(self.now, fact);
    }

    fn paths(&self, want: impl Fn(Fate) -> bool) -> Vec<RepoPath> {
        paths(self.writes, want)
    }

    /// Freezes the paths of these fates.
    pub(super) fn freeze(&self, purpose: Purpose, want: impl Fn(Fate) -> bool + Copy) -> Effect {
        let wanted = self.writes.iter().filter(|write| want(write.fate));
        let attribution = wanted.map(|write| write.attribution).max().unwrap_or(Attribution::Inferred);
        let mixed = self.paths(|fate| want(fate) && fate == Fate::CommitMixed);
        Effect::Freeze { id: self.live.id.clone(), purpose, paths: self.paths(want), attribution, mixed }
    }
}

/// What is the attempt's own: committed or salvaged.
fn own(fate: Fate) -> bool {
    fate != Fate::Leave
}

/// What somebody outside wrote as well is not taken away.
fn put_back(fate: Fate) -> bool {
    own(fate) && !matches!(fate, Fate::Mixed | Fate::CommitMixed)
}

impl Supervisor {
    /// An attempt whose tree ended well will not complete.
    pub(super) fn fail(&self, case: Case<'_>, reason: &EndReason, step: &mut Step) {
        case.note(step, Fact::AttemptFailed { id: case.live.id.clone(), reason: reason.clone() });
        self.salvage(case, reason, step);
    }

    /// First its work is kept. What was frozen to be committed is that already, unless the attempt
    /// also changed what may not be committed.
    pub(super) fn salvage(&self, case: Case<'_>, reason: &EndReason, step: &mut Step) {
        let all_frozen = case.frozen.is_some() && case.writes.iter().all(|w| w.fate.commits() || w.fate == Fate::Leave);
        if case.paths(own).is_empty() {
            self.finish_failed(Case { frozen: None, ..case }, reason, step);
        } else if all_frozen {
            self.restore(case, reason, step);
        } else {
            step.ask(case.freeze(Purpose::Salvage, own));
        }
    }

    /// Then it is put back, if it is kept and the tree is not to stay as it is. An agent that is tried
    /// again begins afresh, so its files are put back in any case.
    pub(super) fn restore(&self, case: Case<'_>, reason: &EndReason, step: &mut Step) {
        let restores = self.agent_plan(case.seat).on_abort == OnAbort::Restore;
        match case.frozen {
            Some(commit) if restores || self.tries_again(case.seat, case.live, reason) => {
                step.ask(Effect::Restore { id: case.live.id.clone(), commit, paths: case.paths(put_back) });
            }
            _ => self.finish_failed(case, reason, step),
        }
    }

    /// The attempt is over, and did not complete.
    pub(super) fn finish_failed(&self, case: Case<'_>, reason: &EndReason, step: &mut Step) {
        let id = case.live.id.clone();
        if case.frozen.or(case.live.checkpoint).is_none() {
            step.ask(Effect::Unpin { id: id.clone() });
        }
        if !self.tries_again(case.seat, case.live, reason) {
            return self.end_agent(case.now, case.live, Some(reason.clone()), step);
        }
        let (why, not_before) = match reason {
            EndReason::RateLimited => (RequeueReason::RateLimit, case.now),
            EndReason::SupervisorDied => (RequeueReason::Resumed, case.now),
            EndReason::Busy { .. } => {
                (RequeueReason::Busy { paths: case.live.busy.iter().cloned().collect() }, case.now)
            }
            EndReason::WaitsBehind { conflict, path, .. } => {
                (RequeueReason::Conflict { conflict: *conflict, path: path.clone() }, case.now)
            }
            EndReason::Outranked { conflict, .. } => (RequeueReason::Outranked { conflict: *conflict }, case.now),
            reason => {
                let pause = backoff(self.agents[case.seat].retries);
                (RequeueReason::Retry(reason.clone()), case.now + pause)
            }
        };
        case.note(step, Fact::AgentRequeued { id, why, not_before });
        self.pass_on(case.now, &case.live.id, step);
        self.sweep(case.seat, step);
    }

    /// Its work is on the branch, or there was none. What it changed of files that were dirty before
    /// it is kept beside the branch.
    pub(super) fn part(&self, case: Case<'_>, step: &mut Step) {
        let beside = |fate| fate == Fate::SalvageOnly;
        if case.paths(beside).is_empty() {
            self.complete(case, false, step);
        } else {
            step.ask(case.freeze(Purpose::Salvage, beside));
        }
    }

    /// `kept`: its private reference holds something that the branch does not.
    pub(super) fn complete(&self, case: Case<'_>, kept: bool, step: &mut Step) {
        if !kept {
            step.ask(Effect::Unpin { id: case.live.id.clone() });
        }
        self.end_agent(case.now, case.live, None, step);
    }

    /// The end of an agent that holds a lease; `None`: it completed.
    pub(super) fn end_agent(&self, now: Moment, live: &Live, reason: Option<EndReason>, step: &mut Step) {
        let state = reason.as_ref().map_or(State::Completed, EndReason::state);
        let survived = matches!(reason, Some(EndReason::Survivors { .. }));
        step.note(now, Fact::AgentEnded { agent: live.id.agent.clone(), state, reason });
        if !survived {
            self.pass_on(now, &live.id, step);
        }
        if let Some(&seat) = self.seats.get(&live.id.agent) {
            self.sweep(seat, step);
        }
    }

    /// The last live agent of its runner has just ended: its scratch can go.
    fn sweep(&self, seat: Seat, step: &mut Step) {
        let runner = &self.agent_plan(seat).runner;
        if self.leases.of_runner(runner) == 1 {
            step.ask(Effect::Sweep { runner: runner.clone() });
        }
    }
}
