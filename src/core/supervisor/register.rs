//! An agent joins a run that goes on.
//!
//! Invariant: it stands where its rank puts it, after everybody of its phase and priority who was there
//! before, and nobody else's place among the others changes; nobody who was there depends on it. The places
//! of all who come after it move by one, wherever they are written down.

use std::collections::{BTreeMap, BTreeSet};

use super::state::{AgentRun, Edge, Lifecycle, Wait};
use super::{Step, Supervisor};
use crate::core::agent::{AgentPlan, Dependency, MAX_AGENTS, Rank};
use crate::core::claim::Claim;
use crate::core::ids::AgentId;
use crate::core::lifecycle::State;
use crate::core::moment::Moment;
use crate::core::newcomer::JoinRefusal;
use crate::core::path::RepoPath;
use crate::core::queue::Seat;
use crate::core::record::Fact;

/// What a dependency on somebody who was there before comes to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Met,
    Open,
    Failed,
}

impl Supervisor {
    /// Is it an agent of this run?
    #[must_use]
    pub fn knows(&self, agent: &AgentId) -> bool {
        self.seats.contains_key(agent)
    }

    /// The phase that is open, or is opened next; `None`: all have ended.
    #[must_use]
    pub fn current_phase(&self) -> Option<usize> {
        (!self.phases.all_ended()).then_some(self.phases.current)
    }

    /// May an agent of this id join the run now, whatever else is said of it?
    pub fn takes(&self, agent: &AgentId) -> Result<(), JoinRefusal> {
        if self.knows(agent) {
            return Err(JoinRefusal::Known(agent.clone()));
        }
        if let Some(cause) = self.stop {
            return Err(JoinRefusal::Stopping(cause));
        }
        if self.ended.is_some() || self.phases.all_ended() {
            return Err(JoinRefusal::Over);
        }
        if self.agents.len() >= MAX_AGENTS {
            return Err(JoinRefusal::Full);
        }
        Ok(())
    }

    /// May this agent join the run now? Its position is not looked at.
    pub fn joining(&self, agent: &AgentPlan) -> Result<(), JoinRefusal> {
        let phase = agent.rank.phase;
        self.takes(&agent.id)?;
        if phase >= self.plan.phases.len() {
            return Err(JoinRefusal::Over);
        }
        if phase < self.phases.current {
            return Err(JoinRefusal::PhaseOver);
        }
        if self.phases.closing.contains(&phase) {
            return Err(JoinRefusal::PhaseClosing);
        }
        if self.phases.stopped_by.is_some() {
            return Err(JoinRefusal::PhaseStopped);
        }
        for dependency in &agent.depends_on {
            let on = || dependency.on.clone();
            match self.seats.get(&dependency.on) {
                Some(&seat) if self.agent_plan(seat).rank.phase <= phase => {
                    if self.standing(seat, dependency, agent) == Standing::Failed {
                        return Err(JoinRefusal::DependencyFailed { on: on() });
                    }
                }
                _ => return Err(JoinRefusal::DependencyLater { on: on() }),
            }
        }
        self.haunted_by(&agent.claim).map_or(Ok(()), |by| Err(JoinRefusal::Haunted { by: by.clone() }))
    }

    /// Whose locks passed to nobody, since processes of it live on, and exclude this claim.
    pub(super) fn haunted_by(&self, claim: &Claim) -> Option<&AgentId> {
        let haunts = |(by, held): &(&Seat, &BTreeSet<RepoPath>)| {
            self.agent_plan(**by).claim.excludes(claim) || held.iter().any(|path| claim.locks(path))
        };
        self.haunted.iter().find(haunts).map(|(by, _)| &self.agent_plan(*by).id)
    }

    fn standing(&self, on: Seat, dependency: &Dependency, agent: &AgentPlan) -> Standing {
        let run = &self.agents[on];
        match run.lifecycle {
            Lifecycle::Ended { state: State::Completed, .. } => Standing::Met,
            _ if run.started && !dependency.wait_for_completion => Standing::Met,
            Lifecycle::Ended { .. } if agent.runs_anyway() => Standing::Met,
            Lifecycle::Ended { .. } => Standing::Failed,
            _ => Standing::Open,
        }
    }

    pub(super) fn register_asked(&self, now: Moment, agent: &AgentPlan, step: &mut Step) {
        if self.joining(agent).is_ok() {
            let last = self.plan.agents.iter().map(|agent| agent.rank.position).max();
            let position = last.map_or(0, |last| last.saturating_add(1));
            let rank = Rank { position, ..agent.rank };
            self.withdraw_before(&agent.claim, agent.ignored, step);
            step.note(now, Fact::AgentRegistered(Box::new(AgentPlan { rank, ..agent.clone() })));
        }
    }

    pub(super) fn registered(&mut self, agent: &AgentPlan) {
        let phase = agent.rank.phase;
        if self.knows(&agent.id) || phase >= self.plan.phases.len() || self.opened.is_none() {
            return;
        }
        let seat = self.order.partition_point(|&index| self.plan.agents[index].rank < agent.rank);
        self.make_room(seat);
        self.order.insert(seat, self.plan.agents.len());
        self.plan.agents.push(agent.clone());
        self.seats.insert(agent.id.clone(), seat);
        self.dependents.insert(seat, Vec::new());
        self.agents.insert(seat, AgentRun::new(0));
        self.queue.insert(seat, &agent.runner);
        self.phases.agents[phase] += 1;
        self.phases.left[phase] += 1;
        for dependency in &agent.depends_on {
            let Some(&on) = self.seats.get(&dependency.on).filter(|on| **on != seat) else { continue };
            let wait_for_completion = dependency.wait_for_completion;
            self.dependents[on].push(Edge { dependent: seat, wait_for_completion });
            match self.standing(on, dependency, agent) {
                Standing::Met => {}
                Standing::Open => self.agents[seat].unmet += 1,
                Standing::Failed => {
                    self.agents[seat].unmet += 1;
                    self.doomed.entry(seat).or_insert_with(|| dependency.on.clone());
                }
            }
        }
        let before = self.agents[seat].state();
        self.agents[seat].lifecycle = Lifecycle::Waiting(Wait::Turn);
        self.check_edge(seat, before);
        self.waiting.insert(seat);
        self.join_if_ready(seat);
    }

    /// Whoever has this place, or a later one, moves by one. What stands by these places itself (`order`,
    /// `dependents`, `agents`) is left to whoever fills the gap.
    fn make_room(&mut self, at: Seat) {
        let moved = |seat: Seat| if seat >= at { seat + 1 } else { seat };
        // Each part by name: one that is added later has to be thought of here.
        let Self {
            plan: _,
            order: _,
            seats,
            dependents,
            opened: _,
            agents: _,
            waiting,
            dirty,
            doomed,
            haunted,
            to_note,
            queue,
            leases,
            runners: _,
            phases: _,
            timers,
            placing,
            stop: _,
            kill: _,
            failures: _,
            tokens: _,
            conflicts: _,
            open_conflicts: _,
            unchecked: _,
            last_writes,
            made: _,
            head: _,
            unattributed: _,
            ended: _,
        } = self;
        seats.values_mut().chain(placing).for_each(|seat| *seat = moved(*seat));
        dependents.iter_mut().flatten().for_each(|edge| edge.dependent = moved(edge.dependent));
        for (_, by) in last_writes.values_mut() {
            *by = by.map(moved);
        }
        for seats in [waiting, dirty, to_note] {
            *seats = std::mem::take(seats).into_iter().map(moved).collect();
        }
        rekey(doomed, moved);
        rekey(haunted, moved);
        queue.make_room(moved);
        leases.make_room(moved);
        timers.make_room(moved);
    }
}

/// The same values at the places to which they move.
pub(super) fn rekey<T>(map: &mut BTreeMap<Seat, T>, moved: impl Fn(Seat) -> Seat) {
    *map = std::mem::take(map).into_iter().map(|(seat, value)| (moved(seat), value)).collect();
}
