//! Conflicts: found, analysed, a recommendation made, resolved, verified; each step a record.
//!
//! Invariant: a conflict is resolved once, by the writer's policy, by a person, or because one of the
//! two is gone; and each is verified once, when the attempt that was kept is over.

use std::collections::BTreeSet;

use super::answers::end;
use super::closing::Case;
use super::state::{Conflict, Lifecycle, Live, Stage};
use super::{Step, Supervisor};
use crate::core::agent::OnConflict;
use crate::core::change::Attribution;
use crate::core::conflict::{
    Analysis, ConflictId, Decider, Found, Lock, Recommendation, Resolution, Verification, Wish, WishRefusal,
};
use crate::core::effect::{Effect, Ending, Part};
use crate::core::facts::Expected;
use crate::core::ids::AttemptId;
use crate::core::lifecycle::State;
use crate::core::moment::Moment;
use crate::core::path::RepoPath;
use crate::core::queue::Seat;
use crate::core::reason::EndReason;
use crate::core::record::{Fact, Lockings};

impl Supervisor {
    /// The writer of `case` wants to write what `holder` has locked, or (`landed`) was seen doing it. Gives the conflict's number: a
    /// new one, unless the two met at this path before.
    #[expect(clippy::too_many_arguments, reason = "the two, the path, and what is known of the lock")]
    pub(super) fn contest(
        &self,
        case: Case<'_>,
        path: &RepoPath,
        holder: Seat,
        lock: Lock,
        pattern: Option<String>,
        landed: bool,
        step: &mut Step,
    ) -> ConflictId {
        let next = ConflictId(u32::try_from(self.conflicts.len()).unwrap_or(u32::MAX).saturating_add(1));
        let Some(held) = self.agents[holder].live() else { return next };
        let writer = &case.live.id;
        let same = |c: &&Conflict| c.found.path == *path && c.found.writer == *writer && c.found.holder == held.id;
        if let Some(known) = self.conflicts.iter().find(same) {
            return known.found.conflict;
        }
        let found = Found {
            conflict: next,
            path: path.clone(),
            writer: writer.clone(),
            holder: held.id.clone(),
            attribution: Attribution::Certain,
        };
        let analysis = Analysis {
            lock,
            pattern,
            writer_priority: self.agent_plan(case.seat).rank.priority.get(),
            holder_priority: self.agent_plan(holder).rank.priority.get(),
            holder_first: held.stage != Stage::Preparing && (held.started, holder) <= (case.live.started, case.seat),
        };
        let policy = self.agent_plan(case.seat).on_conflict;
        let recommendation = recommend(&analysis, policy);
        case.note(step, Fact::ConflictFound(found));
        case.note(step, Fact::ConflictAnalysed { conflict: next, analysis });
        case.note(step, Fact::ConflictRecommended { conflict: next, recommendation });
        let holder_can_end = held.ending.is_none() && part_of(held).is_some();
        let resolution = match (policy, recommendation) {
            (OnConflict::Manual, _) => return next,
            (OnConflict::Wait, _) => Resolution::WriterWaits,
            (OnConflict::Priority, Recommendation::KeepWriter) if holder_can_end => Resolution::RequeueHolder,
            // Without a gate there is nothing left to refuse.
            (OnConflict::Deny, _) | (OnConflict::Priority, Recommendation::KeepWriter) if landed => {
                Resolution::EndWriter
            }
            // The second: the holder is about to end by itself, or has not begun.
            (OnConflict::Deny, _) | (OnConflict::Priority, Recommendation::KeepWriter) => Resolution::Refused,
            (OnConflict::Terminate | OnConflict::Priority, _) => Resolution::EndWriter,
        };
        self.resolve(
            case.now,
            (case.seat, case.live),
            (holder, held),
            next,
            path,
            resolution,
            Decider::Policy(policy),
            step,
        );
        next
    }

    #[expect(clippy::too_many_arguments, reason = "the parties, the decision and the decider")]
    fn resolve(
        &self,
        now: Moment,
        (writer_seat, writer): (Seat, &Live),
        (holder_seat, holder): (Seat, &Live),
        conflict: ConflictId,
        path: &RepoPath,
        resolution: Resolution,
        by: Decider,
        step: &mut Step,
    ) {
        step.note(now, Fact::ConflictResolved { conflict, resolution, by });
        let path = path.clone();
        let (seat, live, reason) = match resolution {
            Resolution::Refused | Resolution::Moot => return,
            Resolution::EndWriter => {
                (writer_seat, writer, EndReason::Conflict { conflict, path, with: holder.id.agent.clone() })
            }
            Resolution::WriterWaits => {
                (writer_seat, writer, EndReason::WaitsBehind { conflict, path, with: holder.id.agent.clone() })
            }
            Resolution::EndHolder => {
                (holder_seat, holder, EndReason::Conflict { conflict, path, with: writer.id.agent.clone() })
            }
            Resolution::RequeueHolder => {
                (holder_seat, holder, EndReason::Outranked { conflict, path, with: writer.id.agent.clone() })
            }
        };
        if let (Some(part), None) = (part_of(live), &live.ending) {
            end(now, &live.id, part, Ending::Orderly { grace: self.agent_plan(seat).grace }, reason, step);
        }
    }

    /// Which conflict a wish is about, and what it comes to.
    pub fn fulfil(&self, conflict: Option<ConflictId>, wish: &Wish) -> Result<(ConflictId, Resolution), WishRefusal> {
        let id = match (conflict, self.open_conflicts.len()) {
            (Some(id), _) => id,
            (None, 0) => return Err(WishRefusal::NoneOpen),
            (None, 1) => self.open_conflicts.first().copied().unwrap_or(ConflictId(0)),
            (None, open) => return Err(WishRefusal::Several(open)),
        };
        let found = &self.conflict(id).ok_or(WishRefusal::Unknown(id))?.found;
        if !self.open_conflicts.contains(&id) {
            return Err(WishRefusal::Resolved(id));
        }
        let (writer, holder) = (&found.writer.agent, &found.holder.agent);
        match wish {
            Wish::Wait => Ok((id, Resolution::WriterWaits)),
            Wish::Keep { keep, terminate } if keep == holder && terminate == writer => Ok((id, Resolution::EndWriter)),
            Wish::Keep { keep, terminate } if keep == writer && terminate == holder => {
                let prepares = |(_, live): (Seat, &Live)| live.stage == Stage::Preparing;
                if self.live(&found.holder).is_some_and(prepares) {
                    return Err(WishRefusal::NotStarted(holder.clone()));
                }
                Ok((id, Resolution::EndHolder))
            }
            Wish::Keep { .. } => {
                Err(WishRefusal::Others { conflict: id, writer: writer.clone(), holder: holder.clone() })
            }
        }
    }

    pub(super) fn resolve_asked(&self, now: Moment, conflict: Option<ConflictId>, wish: &Wish, step: &mut Step) {
        let Ok((id, resolution)) = self.fulfil(conflict, wish) else { return };
        let Some(found) = self.conflict(id).map(|c| &c.found) else { return };
        if let (Some(writer), Some(holder)) = (self.live(&found.writer), self.live(&found.holder)) {
            self.resolve(now, writer, holder, id, &found.path, resolution, Decider::Person, step);
        }
    }

    /// Open conflicts one of whose parties is gone.
    pub(super) fn close_moot(&self, now: Moment, step: &mut Step) {
        let goes_on = |live: &Live| live.stage == Stage::Preparing || part_of(live).is_some();
        let runs = |id: &AttemptId| self.live(id).is_some_and(|(_, live)| goes_on(live));
        for &conflict in &self.open_conflicts {
            let Some(Conflict { found, .. }) = self.conflict(conflict) else { continue };
            if !runs(&found.writer) || !runs(&found.holder) {
                let (resolution, by) = (Resolution::Moot, Decider::Nobody);
                step.note(now, Fact::ConflictResolved { conflict, resolution, by });
            }
        }
    }

    /// Looks at the contested files of which the attempt that was kept is over.
    pub(super) fn check_conflicts(&self, now: Moment, step: &mut Step) {
        for &id in &self.unchecked {
            let Some(conflict) = self.conflict(id) else { continue };
            let Some((resolution, _)) = conflict.resolution else { continue };
            let kept = if keeps_writer(resolution) { &conflict.found.writer } else { &conflict.found.holder };
            if self.live(kept).is_some() {
                continue;
            }
            let expect = self.left_behind(kept, &conflict.found.path);
            step.note(now, Fact::ConflictChecked { conflict: id });
            step.ask(Effect::CheckConflict { conflict: id, path: conflict.found.path.clone(), expect });
        }
    }

    /// What an attempt that is over left at a path.
    fn left_behind(&self, id: &AttemptId, path: &RepoPath) -> Expected {
        let Some(run) = self.seats.get(&id.agent).map(|&seat| &self.agents[seat]) else { return Expected::Head };
        let completed = matches!(run.lifecycle, Lifecycle::Ended { state: State::Completed, .. });
        let own = run.latest.writes.iter().find(|write| write.change.path == *path && write.fate.commits());
        match own {
            Some(write) if completed && run.attempts == id.attempt.0 => {
                write.change.after.map_or(Expected::Nothing, Expected::Entry)
            }
            _ => Expected::Head,
        }
    }

    pub(super) fn conflict_checked(&self, now: Moment, id: ConflictId, outcome: &Verification, step: &mut Step) {
        if self.conflict(id).is_some_and(|conflict| conflict.verification.is_none()) {
            step.note(now, Fact::ConflictVerified { conflict: id, outcome: outcome.clone() });
        }
    }

    pub(super) fn conflict(&self, id: ConflictId) -> Option<&Conflict> {
        self.conflicts.get(usize::try_from(id.0).ok()?.checked_sub(1)?)
    }

    pub(super) fn conflict_mut(&mut self, id: ConflictId) -> Option<&mut Conflict> {
        self.conflicts.get_mut(usize::try_from(id.0).ok()?.checked_sub(1)?)
    }

    pub(super) fn conflict_found(&mut self, at: Moment, found: &Found) {
        self.open_conflicts.insert(found.conflict);
        if let Some((seat, _)) = self.live(&found.writer) {
            let before = self.agents[seat].state();
            if let Lifecycle::Live(live) = &mut self.agents[seat].lifecycle {
                live.contested.insert(found.conflict);
            }
            self.check_edge(seat, before);
        }
        self.conflicts.push(Conflict::new(at, found.clone()));
    }

    pub(super) fn conflict_resolved(&mut self, id: ConflictId, resolution: Resolution, by: Decider) {
        self.open_conflicts.remove(&id);
        let Some(conflict) = self.conflict_mut(id) else { return };
        conflict.resolution = Some((resolution, by));
        let writer = conflict.found.writer.clone();
        self.unchecked.insert(id);
        if let Some((seat, _)) = self.live(&writer) {
            let before = self.agents[seat].state();
            if let Lifecycle::Live(live) = &mut self.agents[seat].lifecycle {
                live.contested.remove(&id);
            }
            self.check_edge(seat, before);
        }
    }

    /// The attempt gives its locks back: a writer that won one of them has it from now on, unless
    /// somebody else has a lock on the path as well.
    pub(super) fn pass_on(&self, now: Moment, loser: &AttemptId, step: &mut Step) {
        let won = |c: &&Conflict| c.found.holder == *loser && c.resolution.is_some_and(|(r, _)| keeps_writer(r));
        let mut passed = BTreeSet::new();
        for Found { writer, path, .. } in self.conflicts.iter().filter(won).map(|c| &c.found) {
            let Some((seat, live)) = self.live(writer) else { continue };
            let locks = |(other, live): (Seat, &Live)| {
                let others = other != seat && live.id != *loser;
                others && (self.agent_plan(other).claim.locks(path) || live.held.contains(path))
            };
            if part_of(live) == Some(Part::Agent)
                && live.ending.is_none()
                && !self.all_live().any(locks)
                && passed.insert(path)
            {
                step.note(now, Fact::Locked { id: writer.clone(), path: path.clone(), how: Lockings::Won });
            }
        }
    }
}

fn keeps_writer(resolution: Resolution) -> bool {
    matches!(resolution, Resolution::EndHolder | Resolution::RequeueHolder)
}

/// The seed's comparison: the lower priority ends; on a tie, who started later. Where the policy does
/// not ask for it, who declared the file keeps it.
fn recommend(analysis: &Analysis, policy: OnConflict) -> Recommendation {
    let compares = matches!(policy, OnConflict::Priority | OnConflict::Manual);
    let writer_first = match analysis.writer_priority.cmp(&analysis.holder_priority) {
        std::cmp::Ordering::Less => true,
        std::cmp::Ordering::Equal => !analysis.holder_first,
        std::cmp::Ordering::Greater => false,
    };
    if compares && writer_first { Recommendation::KeepWriter } else { Recommendation::KeepHolder }
}

/// Which of its trees an attempt has running, if one.
pub(super) fn part_of(live: &Live) -> Option<Part> {
    match live.stage {
        Stage::Returning | Stage::Starting | Stage::Running => Some(Part::Agent),
        Stage::Verifying { .. } => Some(Part::Verify),
        _ => None,
    }
}
