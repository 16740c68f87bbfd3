//! How an attempt ends once its tree is gone: parting from done work, or salvaging and putting back
//! what will not be committed.
//!
//! Invariant: nothing is put back before a commit holds it, and the locks are free only after both.

use super::answers::weakest;
use super::policy::backoff;
use super::state::{Live, paths};
use super::{Step, Supervisor};
use crate::core::agent::OnAbort;
use crate::core::change::ObjectId;
use crate::core::effect::{Effect, Purpose};
use crate::core::lifecycle::State;
use crate::core::moment::Moment;
use crate::core::queue::Seat;
use crate::core::reason::EndReason;
use crate::core::record::{Fact, Fate, RequeueReason, Write};

impl Supervisor {
    /// An attempt whose tree ended well will not complete.
    pub(super) fn fail(&self, now: Moment, seat: Seat, live: &Live, reason: &EndReason, step: &mut Step) {
        let frozen = live.frozen.map(|(_, commit)| commit);
        self.fail_with(now, seat, live, reason, &self.agents[seat].latest.writes, frozen, step);
    }

    /// As [`Supervisor::fail`], with what this very step has found out.
    #[expect(clippy::too_many_arguments, reason = "what the step has found is not in the state yet")]
    pub(super) fn fail_with(
        &self,
        now: Moment,
        seat: Seat,
        live: &Live,
        reason: &EndReason,
        writes: &[Write],
        frozen: Option<ObjectId>,
        step: &mut Step,
    ) {
        step.note(now, Fact::AttemptFailed { id: live.id.clone(), reason: reason.clone() });
        self.salvage(now, seat, live, reason, writes, frozen, step);
    }

    /// First its work is kept. What was frozen to be committed is that already, unless the attempt
    /// also changed what may not be committed.
    #[expect(clippy::too_many_arguments, reason = "what the step has found is not in the state yet")]
    pub(super) fn salvage(
        &self,
        now: Moment,
        seat: Seat,
        live: &Live,
        reason: &EndReason,
        writes: &[Write],
        frozen: Option<ObjectId>,
        step: &mut Step,
    ) {
        let own = paths(writes, |fate| fate != Fate::Leave);
        let all_frozen = writes.iter().all(|w| w.fate != Fate::SalvageOnly);
        match frozen {
            _ if own.is_empty() => self.finish_failed(now, seat, live, reason, None, step),
            Some(commit) if all_frozen => self.restore(now, seat, live, reason, writes, Some(commit), step),
            _ => {
                let attribution = weakest(writes, Fate::SalvageOnly);
                step.ask(Effect::Freeze { id: live.id.clone(), purpose: Purpose::Salvage, paths: own, attribution });
            }
        }
    }

    /// Then it is put back, if it is kept and the tree is not to stay as it is. An agent that is tried
    /// again begins afresh, so its files are put back in any case.
    #[expect(clippy::too_many_arguments, reason = "what the step has found is not in the state yet")]
    pub(super) fn restore(
        &self,
        now: Moment,
        seat: Seat,
        live: &Live,
        reason: &EndReason,
        writes: &[Write],
        kept: Option<ObjectId>,
        step: &mut Step,
    ) {
        let wanted = self.agent_plan(seat).on_abort == OnAbort::Restore || self.tries_again(seat, live, reason);
        match kept {
            Some(commit) if wanted => {
                let paths = paths(writes, |fate| fate != Fate::Leave);
                step.ask(Effect::Restore { id: live.id.clone(), commit, paths });
            }
            _ => self.finish_failed(now, seat, live, reason, kept, step),
        }
    }

    /// Its files are put back.
    pub(super) fn finish_closing(&self, now: Moment, seat: Seat, live: &Live, step: &mut Step) {
        if let Some(reason) = &live.failing {
            self.finish_failed(now, seat, live, reason, live.frozen.map(|(_, commit)| commit), step);
        }
    }

    /// The attempt is over, and did not complete.
    pub(super) fn finish_failed(
        &self,
        now: Moment,
        seat: Seat,
        live: &Live,
        reason: &EndReason,
        kept: Option<ObjectId>,
        step: &mut Step,
    ) {
        if kept.or(live.checkpoint).is_none() {
            step.ask(Effect::Unpin { id: live.id.clone() });
        }
        if !self.tries_again(seat, live, reason) {
            return self.end_agent(now, live, Some(reason.clone()), step);
        }
        let (why, not_before) = match reason {
            EndReason::RateLimited => (RequeueReason::RateLimit, now),
            reason => (RequeueReason::Retry(reason.clone()), now + backoff(self.agents[seat].retries)),
        };
        step.note(now, Fact::AgentRequeued { id: live.id.clone(), why, not_before });
        self.sweep(seat, step);
    }

    /// Its work is on the branch, or there was none. What it changed of files that were dirty before
    /// it is kept beside the branch.
    pub(super) fn part(&self, now: Moment, _seat: Seat, live: &Live, writes: &[Write], step: &mut Step) {
        let paths = paths(writes, |fate| fate == Fate::SalvageOnly);
        if paths.is_empty() {
            return self.complete(now, live, None, step);
        }
        let attribution = weakest(writes, Fate::SalvageOnly);
        step.ask(Effect::Freeze { id: live.id.clone(), purpose: Purpose::Salvage, paths, attribution });
    }

    pub(super) fn complete(&self, now: Moment, live: &Live, kept: Option<ObjectId>, step: &mut Step) {
        if kept.is_none() {
            step.ask(Effect::Unpin { id: live.id.clone() });
        }
        self.end_agent(now, live, None, step);
    }

    /// The end of an agent that holds a lease; `None`: it completed.
    pub(super) fn end_agent(&self, now: Moment, live: &Live, reason: Option<EndReason>, step: &mut Step) {
        let state = reason.as_ref().map_or(State::Completed, EndReason::state);
        step.note(now, Fact::AgentEnded { agent: live.id.agent.clone(), state, reason });
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
