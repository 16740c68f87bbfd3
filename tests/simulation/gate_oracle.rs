//! What must hold of the gate and of conflicts, by a model of its own: locks as they were written
//! down, what landed where, and when each attempt looked.

use std::collections::{BTreeMap, BTreeSet};

use supervise::core::agent::{AgentPlan, OnConflict, OnOutsideEdit, OnUndeclared, Plan};
use supervise::core::claim::{Claim, Pattern};
use supervise::core::conflict::{Decider, Found, Resolution};
use supervise::core::effect::{Effect, Part, Purpose};
use supervise::core::ids::{AgentId, AttemptId};
use supervise::core::lifecycle::State;
use supervise::core::moment::Moment;
use supervise::core::path::RepoPath;
use supervise::core::reason::{BusyReason, EndReason};
use supervise::core::record::{Admission, Fact, Lockings, Record, RequeueReason, Write};

use super::calls::is_ignored;
use super::world::path;

/// More than this an agent never goes back to the queue because of others.
const MOST_REQUEUES: u32 = 20;

/// An attempt that holds a lease.
#[derive(Debug)]
struct Living {
    id: AttemptId,
    opened: Moment,
    started: Option<Moment>,
    spawned: Option<Moment>,
    locked: BTreeSet<RepoPath>,
    admitted: BTreeMap<RepoPath, Admission>,
    landed: BTreeSet<RepoPath>,
    busy: BTreeSet<RepoPath>,
    looked: BTreeMap<RepoPath, Moment>,
    /// The paths of its write set that somebody outside wrote as well.
    mixed: BTreeSet<RepoPath>,
    /// Its tree can be asked to end.
    tree: bool,
    ending: bool,
}

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "one for each step")]
struct Seen {
    found: Found,
    analysed: bool,
    recommended: bool,
    resolution: Option<Resolution>,
    checked: bool,
    verified: bool,
}

#[derive(Debug)]
pub(crate) struct Gate {
    plans: BTreeMap<AgentId, AgentPlan>,
    granted: BTreeSet<(AgentId, String)>,
    on: bool,
    added: BTreeMap<AgentId, BTreeSet<RepoPath>>,
    living: BTreeMap<AgentId, Living>,
    requeues: BTreeMap<AgentId, u32>,
    conflicts: Vec<Seen>,
    /// What anybody wrote, and when; `None`: an outsider, or the supervisor that puts back.
    writes: BTreeMap<RepoPath, Vec<(Moment, Option<AgentId>)>>,
    outside: Vec<(Moment, RepoPath)>,
}

impl Gate {
    pub(crate) fn new(plan: &Plan) -> Self {
        Self {
            plans: plan.agents.iter().map(|agent| (agent.id.clone(), agent.clone())).collect(),
            on: false,
            added: BTreeMap::new(),
            living: BTreeMap::new(),
            requeues: BTreeMap::new(),
            conflicts: Vec::new(),
            writes: BTreeMap::new(),
            outside: Vec::new(),
            granted: BTreeSet::new(),
        }
    }

    /// May the two not run at once?
    pub(crate) fn excludes(&self, one: &AgentId, other: &AgentId) -> bool {
        let (a, b) = (&self.plans[one].claim, &self.plans[other].claim);
        let (ours, theirs) = (self.extras(one), self.extras(other));
        meet(&a.exclusive, &b.exclusive)
            || meet(&a.exclusive, &b.shared)
            || meet(&a.shared, &b.exclusive)
            || ours.iter().any(|path| b.locks(path) || theirs.contains(path))
            || theirs.iter().any(|path| a.locks(path))
    }

    pub(crate) fn joined(&mut self, plan: &AgentPlan) {
        self.plans.insert(plan.id.clone(), plan.clone());
    }

    pub(crate) fn granted(&mut self, agent: &AgentId, pattern: &Pattern) {
        self.plans.get_mut(agent).unwrap().claim.exclusive.push(pattern.clone());
        self.granted.insert((agent.clone(), pattern.as_str().to_owned()));
    }

    /// Has this agent, living, a lock on a path of this pattern?
    pub(crate) fn meets(&self, agent: &AgentId, pattern: &Pattern) -> bool {
        let asked = Claim { exclusive: vec![pattern.clone()], ..Claim::default() };
        self.plans[agent].claim.excludes(&asked) || self.extras(agent).iter().any(|path| pattern.matches(path))
    }

    /// Single paths that an agent has, or will have, beside its claim.
    fn extras(&self, agent: &AgentId) -> BTreeSet<RepoPath> {
        let Some(living) = self.living.get(agent) else {
            return self.added.get(agent).cloned().unwrap_or_default();
        };
        let admitted = living.admitted.iter().filter(|(_, how)| **how != Admission::Ignored);
        living.locked.iter().chain(admitted.map(|(path, _)| path)).cloned().collect()
    }

    /// Has this agent, living, a lock on the path?
    fn locks(&self, agent: &AgentId, at: &RepoPath) -> bool {
        let claim = &self.plans[agent].claim;
        self.owns(agent, at) || covers(&claim.shared, at)
    }

    fn owns(&self, agent: &AgentId, at: &RepoPath) -> bool {
        let claim = &self.plans[agent].claim;
        let denied = claim.deny.iter().any(|pattern| pattern.matches(at));
        !denied && covers(&claim.exclusive, at) || self.living.get(agent).is_some_and(|l| l.locked.contains(at))
    }

    fn others(&self, agent: &AgentId) -> impl Iterator<Item = (&AgentId, &Living)> {
        self.living.iter().filter(move |(other, _)| *other != agent)
    }

    fn outside_since(&self, since: Moment) -> BTreeSet<RepoPath> {
        self.outside.iter().filter(|(at, _)| *at >= since).map(|(_, path)| path.clone()).collect()
    }

    /// It was told to look again by its shim.
    pub(crate) fn looked(&mut self, id: &AttemptId, at: &RepoPath, now: Moment) {
        if let Some(living) = self.living.get_mut(&id.agent) {
            living.looked.insert(at.clone(), now);
        }
    }

    /// A write of a tree has just landed.
    pub(crate) fn landed(&mut self, id: &AttemptId, part: Part, at: &RepoPath, now: Moment) {
        let living = self.living.get(&id.agent).filter(|living| living.id == *id);
        let living = living.unwrap_or_else(|| panic!("only_living_trees_write: {id} {at}"));
        for (other, theirs) in self.others(&id.agent) {
            assert!(!self.locks(other, at), "nobody_writes_what_another_has_locked: {id} {at}, of {other}");
            if theirs.landed.contains(at) && !is_ignored(at) {
                let warned = |living: &Living| living.admitted.get(at) == Some(&Admission::Warned);
                assert!(warned(theirs) && warned(living), "no_two_write_the_same_path: {id} and {other}, {at}");
            }
        }
        if part == Part::Verify {
            assert!(is_ignored(at), "a_verify_command_writes_only_what_git_ignores: {id} {at}");
            return;
        }
        let own = self.owns(&id.agent, at);
        let ground = own || is_ignored(at) || living.admitted.contains_key(at);
        assert!(ground, "nothing_lands_without_a_ground: {id} {at}");
        // Who wrote what git ignores is not remembered, so nobody is told that it changed.
        if own && !is_ignored(at) {
            let looked = living.looked.get(at).copied().max(living.spawned).unwrap_or(now);
            let stale = |(when, by): &(Moment, Option<AgentId>)| *when > looked && by.as_ref() != Some(&id.agent);
            let since = self.writes.get(at).into_iter().flatten().find(|write| stale(write));
            assert_eq!(since, None, "nobody_writes_over_what_it_has_not_seen: {id} {at}, looked {looked}");
        }
        self.writes.entry(at.clone()).or_default().push((now, Some(id.agent.clone())));
        if let Some(living) = self.living.get_mut(&id.agent) {
            living.landed.insert(at.clone());
        }
    }

    pub(crate) fn performed(&mut self, effect: &Effect) {
        match effect {
            Effect::Freeze { id, purpose: Purpose::Completion, paths, mixed, .. } if self.on => {
                let living = &self.living[&id.agent];
                let plan = &self.plans[&id.agent];
                for at in paths {
                    let provisional = living.admitted.get(at) == Some(&Admission::Provisional);
                    let claimed = plan.on_undeclared == OnUndeclared::Claim && provisional;
                    assert!(living.landed.contains(at), "only_what_it_wrote_is_committed: {id} {at}");
                    assert!(self.owns(&id.agent, at) || claimed, "only_what_is_its_own_is_committed: {id} {at}");
                    let is_mixed = living.mixed.contains(at);
                    assert_eq!(is_mixed, mixed.contains(at), "the_commit_says_what_is_mixed: {id} {at}");
                    let may = plan.on_outside_edit == OnOutsideEdit::Commit;
                    assert!(!is_mixed || may, "mixed_paths_are_committed_only_where_told: {id} {at}");
                }
            }
            Effect::Restore { id, paths, .. } if self.on => {
                let living = &self.living[&id.agent];
                for at in paths {
                    assert!(living.landed.contains(at), "only_what_it_wrote_is_put_back: {id} {at}");
                    assert!(!living.mixed.contains(at), "mixed_paths_are_never_put_back: {id} {at}");
                }
            }
            Effect::CheckConflict { conflict, .. } => {
                let seen = &self.conflicts[usize::try_from(conflict.0).unwrap() - 1];
                let kept = if keeps_writer(seen.resolution.unwrap()) { &seen.found.writer } else { &seen.found.holder };
                let lives = self.living.get(&kept.agent).is_some_and(|living| living.id == *kept);
                assert!(!lives, "contested_files_are_looked_at_when_the_kept_attempt_is_over: {conflict}");
            }
            _ => {}
        }
    }

    pub(crate) fn recorded(&mut self, record: &Record) {
        let at = record.at;
        match &record.fact {
            Fact::RunOpened(opened) => self.on = opened.layers.gate,
            Fact::AttemptOpened { id, .. } => self.opened(id, at),
            Fact::AttemptReturned { id, .. } => drop(self.living.remove(&id.agent)),
            Fact::AttemptStarted { id, .. } => self.of(id).started = Some(at),
            Fact::AttemptSpawned { id, .. } => {
                self.of(id).spawned = Some(at);
            }
            Fact::TreeEnded { id, .. } => self.of(id).tree = false,
            Fact::EndIntended { id, reason, .. } => self.end_intended(id, reason),
            Fact::Locked { id, path, how } => self.locked(id, path, *how),
            Fact::Admitted { id, path, how } => self.admitted(id, path, *how),
            Fact::Busied { id, path, why } => {
                let living = self.of(id);
                living.busy.insert(path.clone());
                match why {
                    BusyReason::Stale => drop(living.looked.insert(path.clone(), at)),
                    BusyReason::Held { by } | BusyReason::Read { by } => {
                        assert!(self.living.contains_key(by), "who_holds_a_path_lives: {id} {path} {by}");
                    }
                }
            }
            Fact::Wrote { id, paths } => {
                let living = self.of(id);
                for path in paths {
                    assert!(living.landed.contains(path), "only_what_landed_is_told: {id} {path}");
                    living.busy.remove(path);
                }
            }
            Fact::WriteSet { id, writes } => self.write_set(id, writes),
            Fact::Restored { restored, .. } => {
                for path in restored {
                    self.writes.entry(path.clone()).or_default().push((at, None));
                }
            }
            Fact::OutsideWrite { paths } => {
                for path in paths {
                    self.writes.entry(path.clone()).or_default().push((at, None));
                    self.outside.push((at, path.clone()));
                }
            }
            Fact::AgentRequeued { id, why, .. } => self.requeued(id, why),
            Fact::AgentEnded { agent, state, reason } => self.ended_agent(agent, *state, reason.as_ref()),
            _ => self.conflict(&record.fact),
        }
    }

    fn of(&mut self, id: &AttemptId) -> &mut Living {
        let living = self.living.get_mut(&id.agent).filter(|living| living.id == *id);
        living.unwrap_or_else(|| panic!("records_are_about_living_attempts: {id}"))
    }

    fn opened(&mut self, id: &AttemptId, at: Moment) {
        for (other, theirs) in &self.living {
            assert!(!self.excludes(&id.agent, other), "live_leases_never_conflict: {id} and {other}");
            for path in theirs.landed.iter().filter(|path| !is_ignored(path)) {
                assert!(!self.locks(&id.agent, path), "nobody_starts_on_what_is_being_written: {id} {path} by {other}");
            }
        }
        let living = Living {
            id: id.clone(),
            opened: at,
            started: None,
            spawned: None,
            locked: self.added.get(&id.agent).cloned().unwrap_or_default(),
            admitted: BTreeMap::new(),
            landed: BTreeSet::new(),
            busy: BTreeSet::new(),
            looked: BTreeMap::new(),
            mixed: BTreeSet::new(),
            tree: true,
            ending: false,
        };
        self.living.insert(id.agent.clone(), living);
    }

    fn locked(&mut self, id: &AttemptId, at: &RepoPath, how: Lockings) {
        for (other, theirs) in self.others(&id.agent) {
            assert!(!self.locks(other, at), "a_lock_is_granted_once: {id} {at}, of {other}");
            let writes = theirs.landed.contains(at) && !is_ignored(at);
            assert!(!writes, "a_lock_never_leaves_a_living_tree: {id} {at}, written by {other}");
        }
        let plan = &self.plans[&id.agent];
        match how {
            Lockings::Late => assert!(covers(&plan.claim.late, at), "late_locks_are_of_late_claims: {id} {at}"),
            Lockings::Granted => {
                let granted =
                    |(agent, text): &(AgentId, String)| *agent == id.agent && Pattern::new(text).unwrap().matches(at);
                assert!(self.granted.iter().any(granted), "who_locks_by_grant_was_granted_it: {id} {at}");
            }
            Lockings::Claimed => assert_eq!(plan.on_undeclared, OnUndeclared::Claim, "{id} {at}"),
            Lockings::Won => {
                let won = |seen: &&Seen| seen.found.writer == *id && seen.found.path == *at;
                let won = |seen: &&Seen| won(seen) && seen.resolution.is_some_and(keeps_writer);
                let seen = self.conflicts.iter().find(won);
                let seen = seen.unwrap_or_else(|| panic!("who_wins_a_lock_won_a_conflict: {id} {at}"));
                let loser = &seen.found.holder;
                let lives = self.living.get(&loser.agent).is_some_and(|living| living.id == *loser);
                assert!(!lives, "a_lock_passes_on_when_the_loser_is_over: {id} {at}");
            }
        }
        self.of(id).locked.insert(at.clone());
    }

    fn admitted(&mut self, id: &AttemptId, at: &RepoPath, how: Admission) {
        if how == Admission::Ignored {
            assert!(is_ignored(at), "only_ignored_paths_are_admitted_as_such: {id} {at}");
        } else {
            for (other, theirs) in self.others(&id.agent) {
                assert!(!self.locks(other, at), "nothing_locked_is_admitted: {id} {at}, of {other}");
                let both_warned = how == Admission::Warned && theirs.admitted.get(at) == Some(&Admission::Warned);
                // What git ignores is no draft: those that may write it freely do not own it.
                let free = both_warned || is_ignored(at);
                assert!(free || !theirs.landed.contains(at), "drafts_are_not_mixed: {id} {at}, by {other}");
            }
        }
        if how == Admission::Warned {
            assert_eq!(self.plans[&id.agent].on_undeclared, OnUndeclared::Warn, "{id} {at}");
        }
        self.of(id).admitted.insert(at.clone(), how);
    }

    fn write_set(&mut self, id: &AttemptId, writes: &[Write]) {
        let since = self.of(id).opened;
        let outside = self.outside_since(since);
        let wrote = writes.iter().map(|write| write.change.path.clone());
        let mixed = wrote.filter(|path| outside.contains(path)).collect();
        self.of(id).mixed = mixed;
    }

    fn end_intended(&mut self, id: &AttemptId, reason: &EndReason) {
        let resolved = |number: u32, wanted: &[Resolution]| {
            let seen = &self.conflicts[usize::try_from(number).unwrap() - 1];
            let resolution = seen.resolution.unwrap();
            assert!(wanted.contains(&resolution), "the_end_follows_from_the_decision: {id} {resolution:?}");
            let loser = if keeps_writer(resolution) { &seen.found.holder } else { &seen.found.writer };
            assert_eq!(loser, id, "the_loser_is_ended");
        };
        match reason {
            EndReason::Conflict { conflict, .. } => {
                resolved(conflict.0, &[Resolution::EndWriter, Resolution::EndHolder]);
            }
            EndReason::WaitsBehind { conflict, .. } => resolved(conflict.0, &[Resolution::WriterWaits]),
            EndReason::Outranked { conflict, .. } => resolved(conflict.0, &[Resolution::RequeueHolder]),
            EndReason::Undeclared { path } => {
                assert_eq!(self.plans[&id.agent].on_undeclared, OnUndeclared::Kill, "{id} {path}");
            }
            EndReason::LockTimeout { .. } => {
                let waits = |other: &&AgentId| !self.living.contains_key(*other) && self.excludes(other, &id.agent);
                assert!(
                    self.plans.keys().any(|other| waits(&other)),
                    "somebody_waits_for_whom_a_lock_timeout_ends: {id}"
                );
            }
            _ => {}
        }
        self.of(id).ending = true;
    }

    fn requeued(&mut self, id: &AttemptId, why: &RequeueReason) {
        let busy = self.of(id).busy.clone();
        let added = self.added.entry(id.agent.clone()).or_default();
        match why {
            RequeueReason::Retry(_)
            | RequeueReason::RateLimit
            | RequeueReason::Outranked { .. }
            | RequeueReason::Resumed => {}
            RequeueReason::Busy { paths } => {
                assert_eq!(paths.iter().cloned().collect::<BTreeSet<_>>(), busy, "busy_paths_join_the_claim: {id}");
                assert!(!busy.is_empty(), "busy_paths_join_the_claim: {id}");
                added.extend(busy);
            }
            RequeueReason::Conflict { path, .. } => drop(added.insert(path.clone())),
        }
        if !matches!(why, RequeueReason::Retry(_) | RequeueReason::RateLimit) {
            let times = self.requeues.entry(id.agent.clone()).or_default();
            *times += 1;
            assert!(*times <= MOST_REQUEUES, "requeues_are_bounded: {id}");
        }
        self.living.remove(&id.agent);
    }

    fn ended_agent(&mut self, agent: &AgentId, state: State, reason: Option<&EndReason>) {
        if let Some(living) = self.living.remove(agent)
            && state == State::Completed
        {
            assert!(living.busy.is_empty(), "nobody_completes_with_a_busy_path: {agent} {:?}", living.busy);
            assert!(!living.ending, "who_is_ended_does_not_complete: {agent}");
        }
        let party = |seen: &Seen| seen.found.writer.agent == *agent || seen.found.holder.agent == *agent;
        if let Some(EndReason::Conflict { .. } | EndReason::WaitsBehind { .. } | EndReason::Outranked { .. }) = reason {
            assert!(self.conflicts.iter().any(party), "nobody_is_ended_for_a_conflict_that_was_not_found: {agent}");
        }
    }

    fn conflict(&mut self, fact: &Fact) {
        let number = match fact {
            Fact::ConflictFound(found) => return self.found(found),
            Fact::ConflictAnalysed { conflict, .. }
            | Fact::ConflictRecommended { conflict, .. }
            | Fact::ConflictResolved { conflict, .. }
            | Fact::ConflictChecked { conflict }
            | Fact::ConflictVerified { conflict, .. } => *conflict,
            _ => return,
        };
        if let Fact::ConflictResolved { resolution, by, .. } = fact {
            self.check_decision(&self.conflicts[usize::try_from(number.0).unwrap() - 1].found, *resolution, *by);
        }
        let seen = &mut self.conflicts[usize::try_from(number.0).unwrap() - 1];
        let (before, flag) = match fact {
            Fact::ConflictAnalysed { .. } => (true, &mut seen.analysed),
            Fact::ConflictRecommended { .. } => (seen.analysed, &mut seen.recommended),
            Fact::ConflictResolved { resolution, .. } => {
                assert!(seen.recommended, "conflicts_go_step_by_step: {number}");
                assert_eq!(seen.resolution, None, "conflicts_are_resolved_once: {number}");
                seen.resolution = Some(*resolution);
                return;
            }
            Fact::ConflictChecked { .. } => (seen.resolution.is_some(), &mut seen.checked),
            _ => (seen.checked, &mut seen.verified),
        };
        assert!(before, "conflicts_go_step_by_step: {fact:?}");
        assert!(!std::mem::replace(flag, true), "each_step_is_taken_once: {fact:?}");
    }

    fn found(&mut self, found: &Found) {
        assert_eq!(usize::try_from(found.conflict.0).unwrap(), self.conflicts.len() + 1, "conflicts_are_numbered");
        for party in [&found.writer, &found.holder] {
            assert_eq!(self.living.get(&party.agent).map(|l| &l.id), Some(party), "the_parties_of_a_conflict_live");
        }
        assert!(self.locks(&found.holder.agent, &found.path), "the_holder_holds: {found:?}");
        assert!(!self.owns(&found.writer.agent, &found.path), "the_writer_does_not: {found:?}");
        let twice = self.conflicts.iter().any(|seen| {
            let Seen { found: known, .. } = seen;
            (&known.path, &known.writer, &known.holder) == (&found.path, &found.writer, &found.holder)
        });
        assert!(!twice, "a_conflict_is_found_once: {found:?}");
        self.conflicts.push(Seen {
            found: found.clone(),
            analysed: false,
            recommended: false,
            resolution: None,
            checked: false,
            verified: false,
        });
    }

    /// `on_conflict`, as it is promised.
    fn check_decision(&self, found: &Found, resolution: Resolution, by: Decider) {
        let (writer, holder) = (&self.plans[&found.writer.agent], &self.plans[&found.holder.agent]);
        let Decider::Policy(policy) = by else {
            assert_eq!(by == Decider::Nobody, resolution == Resolution::Moot, "{found:?}");
            assert_eq!(writer.on_conflict, OnConflict::Manual, "only_manual_conflicts_stay_open: {found:?}");
            return;
        };
        assert_eq!(policy, writer.on_conflict, "the_writers_key_decides: {found:?}");
        let begun = |id: &AttemptId| {
            let living = &self.living[&id.agent];
            (living.started.is_none(), living.started, self.plans[&id.agent].rank)
        };
        let endable = {
            let living = &self.living[&found.holder.agent];
            living.tree && !living.ending && living.started.is_some()
        };
        let priority = |plan: &AgentPlan| plan.rank.priority;
        let writer_first = (priority(writer), begun(&found.writer)) < (priority(holder), begun(&found.holder));
        let expected = match policy {
            OnConflict::Wait => Resolution::WriterWaits,
            OnConflict::Priority if writer_first && endable => Resolution::RequeueHolder,
            OnConflict::Priority if writer_first => Resolution::Refused,
            OnConflict::Terminate | OnConflict::Priority => Resolution::EndWriter,
            OnConflict::Deny => Resolution::Refused,
            OnConflict::Manual => panic!("a manual conflict is not decided by policy: {found:?}"),
        };
        // A holder whose verify command runs can be ended as well.
        let verifying = resolution == Resolution::RequeueHolder && writer_first;
        assert!(resolution == expected || verifying, "policies_keep_their_word: {resolution:?}, {found:?}");
    }

    pub(crate) fn ended(&self) {
        for seen in &self.conflicts {
            assert!(seen.resolution.is_some(), "every_conflict_is_resolved: {:?}", seen.found);
            assert!(seen.verified, "every_conflict_is_verified: {:?}", seen.found);
        }
    }
}

/// Claims mean what git ignores only where they name it.
fn meet(ours: &[Pattern], theirs: &[Pattern]) -> bool {
    ours.iter().any(|one| theirs.iter().any(|other| one.overlap(other).is_some()))
}

fn covers(patterns: &[Pattern], at: &RepoPath) -> bool {
    let means = |pattern: &&Pattern| {
        let text = pattern.as_str().trim_end_matches('/');
        !is_ignored(at) || !text.contains('*') && is_ignored(&path(text))
    };
    patterns.iter().filter(means).any(|pattern| pattern.matches(at))
}

fn keeps_writer(resolution: Resolution) -> bool {
    matches!(resolution, Resolution::EndHolder | Resolution::RequeueHolder)
}
