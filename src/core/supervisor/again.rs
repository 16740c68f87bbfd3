//! An attempt that goes on where an earlier one of its agent ended: with that one's thread, and its work put back.
//!
//! Invariant: what is put back is this attempt's own work from the record of the intent on, so that it is committed
//! or kept with the rest, whatever fails on the way; and an attempt that was to go on with another and does not says
//! why.
//!
//! Deliberately absent: putting back, and whether HEAD and the tree are still as they were (`host`).

use super::closing::Case;
use super::state::{Earlier, Live, Stage, Thread};
use super::{Step, Supervisor};
use crate::core::agent::RetryMode;
use crate::core::attribution::weaken;
use crate::core::effect::{Continuation, Effect, Ending, Part};
use crate::core::event::ReturnRefusal;
use crate::core::path::RepoPath;
use crate::core::queue::Seat;
use crate::core::reason::{AnewReason, EndReason, Exit, for_reading};
use crate::core::record::{Fact, Fate, Lockings, RequeueReason, Summary, Write};

impl Supervisor {
    /// Its claim is clean and its baseline is taken: it goes on with an earlier attempt, or begins.
    pub(super) fn begin(&self, case: Case<'_>, step: &mut Step) {
        let id = case.live.id.clone();
        let Some(earlier) = &self.agents[case.seat].earlier else { return spawn(case, None, step) };
        match self.returnable(case.seat, earlier) {
            Err(why) => begin_anew(case, earlier, why, step),
            Ok(writes) if writes.is_empty() => go_on(case, earlier, step),
            Ok(writes) => {
                let claim = &self.agent_plan(case.seat).claim;
                let late = |write: &&&Write| {
                    let path = &write.change.path;
                    !claim.exclusive_matches(path) && !case.live.locked.contains(path)
                };
                for write in writes.iter().filter(late) {
                    let (id, path) = (id.clone(), write.change.path.clone());
                    case.note(step, Fact::Locked { id, path, how: Lockings::Late });
                }
                let paths = writes.iter().map(|write| write.change.path.clone()).collect();
                case.note(step, Fact::ReturnIntended { id: id.clone(), from: earlier.attempt, paths });
                let changes = writes.into_iter().map(|write| write.change.clone()).collect();
                if let Some(commit) = earlier.commit {
                    step.ask(Effect::Return { id, commit, changes });
                }
            }
        }
    }

    /// What of the earlier attempt's work is to be in the tree before its thread goes on.
    fn returnable<'e>(&self, seat: Seat, earlier: &'e Earlier) -> Result<Vec<&'e Write>, AnewReason> {
        let plan = self.agent_plan(seat);
        if plan.retry == RetryMode::CannotContinue {
            return Err(AnewReason::Runner);
        }
        if earlier.thread.is_none() {
            return Err(AnewReason::NoThread);
        }
        let claim = self.claim(&plan.id).unwrap_or_default();
        let claimed = |path: &RepoPath| claim.exclusive_matches(path) || claim.late_matches(path);
        let some = |want: &dyn Fn(&Write) -> bool| {
            for_reading(earlier.writes.iter().filter(|write| want(write)).map(|write| write.change.path.clone()))
        };
        // What it left beside its claim stays kept, and the reason for its end names it.
        let (mixed, more) = some(&|write| match write.fate {
            Fate::Mixed | Fate::CommitMixed => true,
            Fate::SalvageOnly => claimed(&write.change.path),
            Fate::Commit | Fate::Leave => false,
        });
        if !mixed.is_empty() {
            return Err(AnewReason::Mixed { paths: mixed, more });
        }
        let (beyond, more) = some(&|write| write.fate == Fate::Commit && !claimed(&write.change.path));
        if !beyond.is_empty() {
            return Err(AnewReason::BeyondClaim { paths: beyond, more });
        }
        let writes: Vec<&Write> = earlier.writes.iter().filter(|write| write.fate == Fate::Commit).collect();
        if let Some((path, by)) = writes.iter().find_map(|write| self.holder_of(seat, &write.change.path)) {
            return Err(AnewReason::Held { path, by: self.agent_plan(by).id.clone() });
        }
        if earlier.commit.is_none() && !writes.is_empty() {
            return Err(AnewReason::NotKept);
        }
        Ok(writes)
    }

    /// Which other live attempt has a lock on the path?
    fn holder_of(&self, seat: Seat, path: &RepoPath) -> Option<(RepoPath, Seat)> {
        let holds = |(other, live): &(Seat, &Live)| {
            *other != seat && (self.agent_plan(*other).claim.locks(path) || live.held.contains(path))
        };
        self.all_live().find(holds).map(|(other, _)| (path.clone(), other))
    }

    /// The work of the earlier attempt is in the tree, or not.
    pub(super) fn returned(&self, case: Case<'_>, outcome: &Result<(), ReturnRefusal>, step: &mut Step) {
        let stopped = || self.interrupted().map(EndReason::Interrupted);
        if let Some(reason) = case.live.ending.clone().or_else(stopped) {
            return Self::cut_off(case, reason, step);
        }
        let Some(earlier) = &case.live.earlier else { return spawn(case, None, step) };
        let why = match outcome {
            Ok(()) => return go_on(case, earlier, step),
            // Nobody is to begin on the half of it.
            Err(ReturnRefusal::Stuck { error }) => {
                return Self::cut_off(case, EndReason::Git { error: error.clone() }, step);
            }
            Err(ReturnRefusal::HeadChanged { paths }) => {
                let (paths, more) = for_reading(paths.iter().cloned());
                AnewReason::HeadChanged { paths, more }
            }
            Err(ReturnRefusal::Occupied { paths }) => {
                let (paths, more) = for_reading(paths.iter().cloned());
                AnewReason::Occupied { paths, more }
            }
            Err(ReturnRefusal::Failed { error }) => AnewReason::Failed { error: error.clone() },
        };
        begin_anew(case, earlier, why, step);
    }

    /// An attempt that has no tree, or none that anybody saw end, is over; what is in the workspace of it is
    /// looked at.
    pub(super) fn cut_off(case: Case<'_>, reason: EndReason, step: &mut Step) {
        let id = case.live.id.clone();
        let (part, how) = (Part::Agent, Ending::AtOnce);
        case.note(step, Fact::EndIntended { id: id.clone(), part, how, reason });
        case.note(step, Fact::TreeEnded { id: id.clone(), exit: Exit::Lost, summary: Summary::default() });
        step.ask(Effect::Measure { id });
    }

    /// How the agent's next attempt can go on with this one, which is over.
    pub(super) fn remember_earlier(&mut self, seat: Seat, why: Option<EndReason>) {
        let continues = self.agent_plan(seat).retry != RetryMode::Restart;
        let run = &mut self.agents[seat];
        let Some(live) = run.live().filter(|live| continues && live.stage != Stage::Preparing) else { return };
        // It never began: the half of what was to be put back is nothing to go on with.
        if let (false, None, Some(earlier)) = (live.returned.is_empty(), &run.latest.began, &live.earlier) {
            run.earlier = Some(Earlier::clone(earlier));
            return;
        }
        let Some(why) = live.failing.clone().or(why) else { return };
        run.earlier = Some(Earlier {
            attempt: live.id.attempt,
            thread: live.thread.name.clone(),
            why,
            used: live.thread.used,
            commit: live.frozen.map(|(_, commit)| commit),
            writes: run.latest.writes.clone(),
        });
    }
}

impl Live {
    /// It goes on with the thread of an earlier attempt.
    pub(super) fn continues(&mut self, thread: &str) {
        let used = self.earlier.as_ref().and_then(|earlier| earlier.used);
        self.thread = Thread { name: Some(thread.to_owned()), is_confirmed: false, used };
    }

    /// The work of an earlier attempt is its own from here on.
    pub(super) fn takes_over(&mut self, paths: &[RepoPath]) {
        let Some(earlier) = &self.earlier else { return };
        let taken = earlier.writes.iter().filter(|write| paths.contains(&write.change.path));
        self.returned = taken.map(|write| (write.change.path.clone(), write.attribution)).collect();
        self.wrote.extend(paths.iter().cloned());
        self.stage = Stage::Returning;
    }

    /// Nothing of that is in the tree after all.
    pub(super) fn begins_anew(&mut self) {
        for path in std::mem::take(&mut self.returned).into_keys() {
            self.wrote.remove(&path);
        }
        self.stage = Stage::Starting;
    }

    /// That it was put back makes nobody surer of whose it is.
    pub(super) fn judged(&self, writes: Vec<Write>) -> Vec<Write> {
        weaken(writes, &self.returned)
    }

    /// Its tree is gone. A thread that it was to go on with, and did not speak of before it failed by itself, is
    /// not believed in any more.
    pub(super) fn loses_thread(&mut self, exit: Exit, summary: &Summary) {
        let by_itself = self.ending.is_none() && !matches!(exit, Exit::Lost | Exit::Code(0));
        self.thread.name = summary.thread.clone().or_else(|| self.thread.name.take());
        if by_itself && !self.thread.is_confirmed && summary.thread.is_none() && summary.rate_limit.is_none() {
            self.thread.name = None;
        }
        if let Some(usage) = summary.usage {
            let used = self.thread.used.get_or_insert_default();
            used.input_tokens = used.input_tokens.saturating_add(usage.input_tokens);
            used.output_tokens = used.output_tokens.saturating_add(usage.output_tokens);
        }
    }
}

/// Why an attempt ended whose agent goes back to the queue, where nothing else says so.
pub(super) fn why_requeued(why: &RequeueReason) -> Option<EndReason> {
    match why {
        RequeueReason::Retry(reason) => Some(reason.clone()),
        RequeueReason::RateLimit => Some(EndReason::RateLimited),
        RequeueReason::Resumed => Some(EndReason::SupervisorDied),
        RequeueReason::Busy { paths } => Some(EndReason::Busy { paths: paths.clone() }),
        RequeueReason::Conflict { .. } | RequeueReason::Outranked { .. } => None,
    }
}

fn spawn(case: Case<'_>, continues: Option<Continuation>, step: &mut Step) {
    step.ask(Effect::Spawn { id: case.live.id.clone(), slot: case.live.slot, continues });
}

fn go_on(case: Case<'_>, earlier: &Earlier, step: &mut Step) {
    let Some(thread) = earlier.thread.clone() else { return begin_anew(case, earlier, AnewReason::NoThread, step) };
    let (id, from) = (case.live.id.clone(), earlier.attempt);
    case.note(step, Fact::Continued { id, from, thread: thread.clone() });
    spawn(case, Some(Continuation { thread, from, why: earlier.why.clone(), used: earlier.used }), step);
}

fn begin_anew(case: Case<'_>, earlier: &Earlier, why: AnewReason, step: &mut Step) {
    case.note(step, Fact::BegunAnew { id: case.live.id.clone(), from: earlier.attempt, why });
    spawn(case, None, step);
}
