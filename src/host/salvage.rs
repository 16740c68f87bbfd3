//! Kept work and the attempts that it is of: what git keeps, beside what the runs' journals tell.
//!
//! Invariant: work of an attempt that still goes on, or all of whose work is on the branch, is not in the
//! list, so nothing of it can be applied or dropped.
//!
//! Deliberately absent: how it is shown; putting it into the tree (`git::apply`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::git::{GitError, KeptRef, Repository};
use super::past::Runs;
use crate::core::change::ObjectId;
use crate::core::effect::Purpose;
use crate::core::ids::{AgentId, AttemptId, RunId};
use crate::core::lifecycle::State;
use crate::core::record::Fact;
use crate::core::view::{AttemptEnd, RunView};
use crate::journal;

/// Takes out of the view what was kept and is no more: the journal does not tell what was dropped or expired. Where git
/// cannot be asked, all of it stays.
pub fn forget_dropped(repository: &Repository, view: &mut RunView) {
    if view.agents.iter().all(|agent| agent.salvage.is_empty()) {
        return;
    }
    let Ok(kept) = repository.kept_work() else { return };
    let kept: BTreeSet<&str> = kept.iter().map(|kept| kept.name.as_str()).collect();
    for agent in &mut view.agents {
        agent.salvage.retain(|reference| kept.contains(reference.as_str()));
    }
}

/// The work of one attempt.
#[derive(Clone, Debug)]
pub struct Kept {
    pub run: RunId,
    pub id: AttemptId,
    pub commit: ObjectId,
    pub made: Timestamp,
    pub ended: AttemptEnd,
    /// The reference that holds the commit, then another that goes with it.
    refs: Vec<KeptRef>,
}

/// What a journal says of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Open,
    Completed,
    Ended(AttemptEnd),
}

/// The most that is dropped at the start of a run; the rest waits for the next.
const DROPPED_AT_ONCE: usize = 500;

impl Kept {
    /// The reference that holds it.
    #[must_use]
    pub fn reference(&self) -> &str {
        self.refs.first().map_or("", |kept| &kept.name)
    }

    /// Was it taken while the attempt ran? Then what the attempt did later is not in it.
    #[must_use]
    pub fn is_checkpoint(&self) -> bool {
        self.refs.first().is_some_and(|kept| kept.checkpoint)
    }

    /// Lets go of it.
    pub fn drop_from(&self, repository: &Repository) -> Result<bool, GitError> {
        let mut dropped = false;
        for kept in &self.refs {
            dropped |= repository.drop_kept(kept)?;
        }
        Ok(dropped)
    }

    #[must_use]
    pub fn is_older_than(&self, age: Duration, now: Timestamp) -> bool {
        now.duration_since(self.made).unsigned_abs() > age && now > self.made
    }
}

/// All kept work, oldest run first, in a run by agent and attempt.
pub fn list(repository: &Repository, runs: &Runs) -> Result<Vec<Kept>, GitError> {
    let mut told: BTreeMap<RunId, Option<BTreeMap<AttemptId, Told>>> = BTreeMap::new();
    let mut all = Vec::new();
    for (run, id, refs) in grouped(repository.kept_work()?) {
        let known = told.entry(run.clone()).or_insert_with(|| ends(runs, &run));
        let ended = match known {
            None => AttemptEnd::Unknown,
            Some(known) => match known.get(&id) {
                Some(Told::Ended(ended)) => ended.clone(),
                Some(Told::Completed) => continue,
                Some(Told::Open) if runs.goes_on(&run) => continue,
                Some(Told::Open) => AttemptEnd::CutOff,
                None => AttemptEnd::Unknown,
            },
        };
        let Some(first) = refs.first() else { continue };
        let made = Timestamp::from_second(first.made).unwrap_or(Timestamp::UNIX_EPOCH);
        all.push(Kept { run, id, commit: first.commit, made, ended, refs });
    }
    Ok(all)
}

/// Lets go of what is older than so many days (0: of nothing), as the session says: a bounded number at
/// once, oldest first. Returns of how many attempts. The caller holds the repository.
pub fn expire(repository: &Repository, days: u32, now: Timestamp) -> Result<usize, GitError> {
    if days == 0 {
        return Ok(0);
    }
    let oldest = now.as_second().saturating_sub(i64::from(days) * 24 * 3600);
    let mut old: Vec<KeptRef> = repository.kept_work()?.into_iter().filter(|kept| kept.made < oldest).collect();
    old.sort_by_key(|kept| kept.made);
    let mut dropped = 0;
    for (_, _, refs) in grouped(old).into_iter().take(DROPPED_AT_ONCE) {
        let mut any = false;
        for kept in &refs {
            any |= repository.drop_kept(kept)?;
        }
        dropped += usize::from(any);
    }
    Ok(dropped)
}

/// The references of each attempt together, the one made at its end first.
fn grouped(refs: Vec<KeptRef>) -> Vec<(RunId, AttemptId, Vec<KeptRef>)> {
    let mut groups: BTreeMap<(RunId, AttemptId), Vec<KeptRef>> = BTreeMap::new();
    for kept in refs {
        groups.entry((kept.run.clone(), kept.id.clone())).or_default().push(kept);
    }
    let group = |((run, id), mut refs): ((RunId, AttemptId), Vec<KeptRef>)| {
        refs.sort_by_key(|kept| kept.checkpoint);
        (run, id, refs)
    };
    groups.into_iter().map(group).collect()
}

/// How the attempts of a run ended; `None`: its journal does not tell.
fn ends(runs: &Runs, run: &RunId) -> Option<BTreeMap<AttemptId, Told>> {
    let replay = journal::read(&runs.dir(run).journal()).ok()?;
    let mut told = BTreeMap::new();
    let mut latest: BTreeMap<AgentId, AttemptId> = BTreeMap::new();
    let mut salvaged = BTreeSet::new();
    for entry in replay.entries {
        match entry.record.fact {
            Fact::AttemptStarted { id, .. } => {
                latest.insert(id.agent.clone(), id.clone());
                told.insert(id, Told::Open);
            }
            Fact::Frozen { id, purpose: Purpose::Salvage, .. } => drop(salvaged.insert(id)),
            Fact::AgentRequeued { id, why, .. } => drop(told.insert(id, Told::Ended(AttemptEnd::Requeued(why)))),
            Fact::AgentEnded { agent, state, reason } => {
                let Some(id) = latest.get(&agent).filter(|id| told.get(id) == Some(&Told::Open)) else { continue };
                let ended = match (state, reason) {
                    (State::Completed, _) if salvaged.contains(id) => Told::Ended(AttemptEnd::Beside),
                    (State::Completed, _) => Told::Completed,
                    (_, Some(reason)) => Told::Ended(AttemptEnd::For(reason)),
                    (_, None) => Told::Ended(AttemptEnd::Unknown),
                };
                told.insert(id.clone(), ended);
            }
            _ => {}
        }
    }
    Some(told)
}
