//! What of a run needs a person, found in its records as they are written.
//!
//! Invariant: a function of the plan and the records so far; each thing is said once.
//!
//! Deliberately absent: whom it is told and how (`cli`, hooks), and its words (`render::attention`).

use std::collections::{BTreeMap, BTreeSet};

use super::agent::{OnConflict, Plan};
use super::call::RefusedPath;
use super::conflict::{ConflictId, Found};
use super::ids::{AgentId, RunnerName};
use super::moment::Moment;
use super::path::RepoPath;
use super::reason::DenialReason;
use super::record::{Fact, Need, Trouble};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attention {
    /// A conflict is open until somebody decides it.
    OpenConflict { conflict: ConflictId, path: RepoPath, writer: AgentId, holder: AgentId },
    /// Agents of this runner wait for its provider.
    RateLimit { runner: RunnerName, until: Moment },
    /// The agent waits until these uncommitted changes are gone.
    DirtyClaim { agent: AgentId, paths: Vec<RepoPath>, more: usize },
    /// The agent has ended, and its last attempt was refused these.
    Denied { agent: AgentId, paths: Vec<RefusedPath> },
    /// The agent has ended and says that it needs more.
    Needs { agent: AgentId, needs: Vec<Need> },
    /// So many processes of the agent could not be ended.
    Survivors { agent: AgentId, count: u32 },
    /// The agent's work is in the tree only (bounded text).
    NotSalvaged { agent: AgentId, error: String },
}

impl Attention {
    /// The agent that it is about, if it is one.
    #[must_use]
    pub fn agent(&self) -> Option<&AgentId> {
        match self {
            Self::OpenConflict { .. } | Self::RateLimit { .. } => None,
            Self::DirtyClaim { agent, .. }
            | Self::Denied { agent, .. }
            | Self::Needs { agent, .. }
            | Self::Survivors { agent, .. }
            | Self::NotSalvaged { agent, .. } => Some(agent),
        }
    }
}

/// Follows a run and finds what needs a person.
#[derive(Clone, Debug, Default)]
pub struct Lookout {
    /// Whose conflicts are left to a person.
    manual: BTreeSet<AgentId>,
    found: BTreeMap<ConflictId, Found>,
    /// Of each agent's latest attempt.
    denied: BTreeMap<AgentId, BTreeSet<RefusedPath>>,
    needs: BTreeMap<AgentId, Vec<Need>>,
    /// Of whom it was said that their claims are dirty.
    dirty: BTreeSet<AgentId>,
}

impl Lookout {
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        let manual = plan.agents.iter().filter(|agent| agent.on_conflict == OnConflict::Manual);
        Self { manual: manual.map(|agent| agent.id.clone()).collect(), ..Self::default() }
    }

    /// What follows from the next record. Every record has to come by, in order.
    pub fn follow(&mut self, fact: &Fact) -> Vec<Attention> {
        match fact {
            Fact::AgentRegistered(plan) if plan.on_conflict == OnConflict::Manual => {
                self.manual.insert(plan.id.clone());
            }
            Fact::AttemptStarted { id, .. } => {
                self.denied.remove(&id.agent);
                self.needs.remove(&id.agent);
                self.dirty.remove(&id.agent);
            }
            // Who looked at git's files only need not have meant to write them.
            Fact::Denied { id, path, why, .. } if *why != DenialReason::Git => {
                self.denied.entry(id.agent.clone()).or_default().insert(path.clone());
            }
            Fact::TreeEnded { id, summary, .. } if !summary.needs.is_empty() => {
                self.needs.insert(id.agent.clone(), summary.needs.clone());
            }
            Fact::AgentEnded { agent, .. } => return self.ended(agent),
            Fact::ConflictFound(found) => {
                self.found.insert(found.conflict, found.clone());
            }
            // The policy would resolve it in the same breath.
            Fact::ConflictRecommended { conflict, .. } => {
                return self.found.remove(conflict).and_then(|found| self.left_open(found)).into_iter().collect();
            }
            Fact::RunnerPaused { runner, until } => {
                return vec![Attention::RateLimit { runner: runner.clone(), until: *until }];
            }
            Fact::AttemptReturned { id, dirty, more } if !dirty.is_empty() && self.dirty.insert(id.agent.clone()) => {
                return vec![Attention::DirtyClaim { agent: id.agent.clone(), paths: dirty.clone(), more: *more }];
            }
            Fact::Trouble { id, what } => return trouble(&id.agent, what).into_iter().collect(),
            _ => {}
        }
        Vec::new()
    }

    fn left_open(&self, found: Found) -> Option<Attention> {
        let Found { conflict, path, writer, holder, .. } = found;
        let manual = self.manual.contains(&writer.agent);
        manual.then_some(Attention::OpenConflict { conflict, path, writer: writer.agent, holder: holder.agent })
    }

    fn ended(&mut self, agent: &AgentId) -> Vec<Attention> {
        let denied = self.denied.remove(agent).map(|paths| paths.into_iter().collect());
        let denied = denied.map(|paths| Attention::Denied { agent: agent.clone(), paths });
        let needs = self.needs.remove(agent).map(|needs| Attention::Needs { agent: agent.clone(), needs });
        denied.into_iter().chain(needs).collect()
    }
}

fn trouble(agent: &AgentId, what: &Trouble) -> Option<Attention> {
    let agent = agent.clone();
    match what {
        Trouble::Survivors { count } => Some(Attention::Survivors { agent, count: *count }),
        Trouble::SalvageFailed { error } => Some(Attention::NotSalvaged { agent, error: error.clone() }),
        Trouble::MeasureFailed { .. } | Trouble::CheckpointFailed { .. } | Trouble::PlaceMoved => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::call::Touch;
    use crate::core::effect::Part;
    use crate::core::ids::{Attempt, AttemptId};
    use crate::core::lifecycle::State;

    fn id(attempt: u32) -> AttemptId {
        AttemptId { agent: AgentId::new("a").unwrap(), attempt: Attempt(attempt) }
    }

    fn denied(attempt: u32, path: &str, why: DenialReason) -> Fact {
        let path = RefusedPath::Other(path.to_owned());
        Fact::Denied { id: id(attempt), part: Part::Agent, path, touch: Touch::Open, why }
    }

    #[test]
    fn only_what_the_last_attempt_was_refused_counts_and_looking_at_git_does_not() {
        let mut lookout = Lookout::default();
        let ended = Fact::AgentEnded { agent: id(1).agent, state: State::Completed, reason: None };
        let facts = [
            denied(1, "old", DenialReason::Undeclared),
            Fact::AttemptStarted { id: id(2), dirty: vec![] },
            denied(2, ".git/index.lock", DenialReason::Git),
            denied(2, "new", DenialReason::Undeclared),
        ];
        for fact in &facts {
            assert_eq!(lookout.follow(fact), []);
        }
        let paths = vec![RefusedPath::Other("new".to_owned())];
        assert_eq!(lookout.follow(&ended), [Attention::Denied { agent: id(1).agent, paths }]);
        assert_eq!(lookout.follow(&ended), []);
    }

    #[test]
    fn a_dirty_claim_is_said_once_however_often_it_is_looked_at() {
        let mut lookout = Lookout::default();
        let dirty = Fact::AttemptReturned { id: id(1), dirty: vec![RepoPath::new(b"x").unwrap()], more: 0 };
        assert_eq!(lookout.follow(&dirty).len(), 1);
        assert_eq!(lookout.follow(&dirty), []);
        lookout.follow(&Fact::AttemptStarted { id: id(1), dirty: vec![] });
        assert_eq!(lookout.follow(&dirty).len(), 1);
    }
}
