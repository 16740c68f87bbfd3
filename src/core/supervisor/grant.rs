//! Adding to an agent's exclusive claim while the run goes on.
//!
//! Invariant: what is added is nobody else's at that moment, neither locked nor reserved. An attempt
//! that runs began without it, so it locks each path of it at its first write, like a late claim, and
//! what was there before is kept then.

use super::state::{Lifecycle, Live, Stage};
use super::{Step, Supervisor};
use crate::core::agent::IgnoredPaths;
use crate::core::claim::{Claim, Pattern};
use crate::core::ids::AgentId;
use crate::core::moment::Moment;
use crate::core::path::RepoPath;
use crate::core::queue::Seat;
use crate::core::record::{Admission, Fact};
use crate::core::steer::{GrantRefusal, Granting};

impl Supervisor {
    /// What it comes to if the agent may write what this pattern matches, too.
    pub fn granting(&self, agent: &AgentId, pattern: &Pattern) -> Result<Granting, GrantRefusal> {
        let Some(&seat) = self.seats.get(agent) else { return Err(GrantRefusal::Ended(agent.clone())) };
        if self.agent_plan(seat).claim.exclusive.contains(pattern) {
            return Err(GrantRefusal::Known(agent.clone()));
        }
        if pattern.is_gits() {
            return Err(GrantRefusal::Git);
        }
        let granting = match &self.agents[seat].lifecycle {
            Lifecycle::Ended { .. } => return Err(GrantRefusal::Ended(agent.clone())),
            Lifecycle::Live(live) if !is_to_go_on(live) => return Err(GrantRefusal::Ending(agent.clone())),
            Lifecycle::Live(_) if !self.opened.as_ref().is_some_and(|opened| opened.layers.gate) => {
                return Err(GrantRefusal::Ungated(agent.clone()));
            }
            Lifecycle::Live(_) => Granting::Now,
            _ => Granting::NextAttempt,
        };
        let asked = claim_on(pattern);
        let holds = |(other, live): &(Seat, &Live)| {
            let held = |path: &RepoPath| pattern.matches(path);
            *other != seat && (self.agent_plan(*other).claim.excludes(&asked) || live.held.iter().any(held))
        };
        if let Some((other, _)) = self.all_live().find(holds) {
            return Err(GrantRefusal::Locked { by: self.agent_plan(other).id.clone() });
        }
        if let Some(by) = self.haunted_by(&asked) {
            return Err(GrantRefusal::Haunted { by: by.clone() });
        }
        let reserved = self.with_look(|look| self.queue.reserved_from(look, seat, &asked));
        match reserved {
            Some(other) => Err(GrantRefusal::Reserved { by: self.agent_plan(other).id.clone() }),
            None => Ok(granting),
        }
    }

    pub(super) fn grant_asked(&self, now: Moment, agent: &AgentId, pattern: &Pattern, step: &mut Step) {
        if self.granting(agent, pattern).is_ok() {
            self.withdraw_before(&claim_on(pattern), IgnoredPaths::Allow, step);
            step.note(now, Fact::Granted { agent: agent.clone(), pattern: pattern.clone() });
        }
    }

    pub(super) fn granted(&mut self, agent: &AgentId, pattern: &Pattern) {
        let Some(&seat) = self.seats.get(agent) else { return };
        let exclusive = &mut self.plan.agents[self.order[seat]].claim.exclusive;
        if exclusive.contains(pattern) {
            return;
        }
        exclusive.push(pattern.clone());
        // Its locks are no longer those of others that declared the same.
        self.queue.leave(seat);
        self.queue.stand_alone(seat);
        if let Lifecycle::Live(live) = &mut self.agents[seat].lifecycle {
            live.granted.push(pattern.clone());
            // What it was let write with a warning is its own now.
            live.admitted.retain(|path, how| *how != Admission::Warned || !pattern.matches(path));
        }
        self.join_if_ready(seat);
    }

    /// What the agent's present attempt began with: what its processes may write unasked.
    #[must_use]
    pub fn attempt_claim(&self, agent: &AgentId) -> Option<Claim> {
        let seat = *self.seats.get(agent)?;
        let mut claim = self.agent_plan(seat).claim.clone();
        if let Some(live) = self.agents[seat].live() {
            claim.exclusive.retain(|pattern| !live.granted.contains(pattern));
        }
        Some(claim)
    }

    /// Does the path belong to a live attempt by what was added since it began, and by that alone?
    pub(super) fn by_grant(&self, seat: Seat, live: &Live, path: &RepoPath) -> bool {
        let began_with = |pattern: &&Pattern| !live.granted.contains(pattern);
        let patterns = &self.agent_plan(seat).claim.exclusive;
        !live.locked.contains(path)
            && live.granted.iter().any(|pattern| pattern.matches(path))
            && !patterns.iter().filter(began_with).any(|pattern| pattern.matches(path))
    }
}

fn claim_on(pattern: &Pattern) -> Claim {
    Claim { exclusive: vec![pattern.clone()], ..Claim::default() }
}

/// Do its processes run, or are they about to?
fn is_to_go_on(live: &Live) -> bool {
    live.ending.is_none()
        && matches!(live.stage, Stage::Preparing | Stage::Returning | Stage::Starting | Stage::Running)
}
