//! What must hold, checked after every record by a model of its own: it shares no code with the
//! scheduler, looks at every agent each time, and says who must start next.

use std::collections::{BTreeMap, BTreeSet};

use supervise::core::agent::{AgentPlan, OnDependencyFailure, Plan};
use supervise::core::claim::Pattern;
use supervise::core::effect::{Effect, Part};
use supervise::core::event::Event;
use supervise::core::ids::{AgentId, AttemptId, RunnerName, Slot};
use supervise::core::lifecycle::State;
use supervise::core::moment::Moment;
use supervise::core::record::{Fact, Record, RequeueReason, RunOutcome, StopCause};
use supervise::core::supervisor::Supervisor;
use supervise::core::view::{RunState, RunView, Why};

use super::gate_oracle::Gate;

pub(crate) struct Oracle {
    /// With what was granted since.
    plan: Plan,
    original: Plan,
    ranked: Vec<usize>,
    leases: BTreeMap<AgentId, (AttemptId, Slot)>,
    started: BTreeMap<AttemptId, u32>,
    ended: BTreeMap<AttemptId, u32>,
    ever_started: BTreeSet<AgentId>,
    ends: BTreeMap<AgentId, State>,
    shown: BTreeMap<AgentId, State>,
    in_backoff: BTreeSet<AgentId>,
    dirty: BTreeSet<AgentId>,
    paused: BTreeSet<RunnerName>,
    retries: BTreeMap<AgentId, u32>,
    open_phase: Option<usize>,
    stopped: Option<StopCause>,
    /// Agents and phases of which nothing more is to be started.
    last: BTreeSet<AgentId>,
    closing: BTreeSet<usize>,
    intended: BTreeSet<(AttemptId, Part)>,
    frozen: BTreeSet<AttemptId>,
    checkpointing: BTreeSet<AttemptId>,
    placing: Option<AttemptId>,
    swept: bool,
    rests: usize,
    pub(crate) gate: Gate,
}

impl Oracle {
    pub(crate) fn new(plan: &Plan) -> Self {
        let mut ranked: Vec<usize> = (0..plan.agents.len()).collect();
        ranked.sort_by_key(|&i| plan.agents[i].rank);
        Self {
            plan: plan.clone(),
            original: plan.clone(),
            ranked,
            leases: BTreeMap::new(),
            started: BTreeMap::new(),
            ended: BTreeMap::new(),
            ever_started: BTreeSet::new(),
            ends: BTreeMap::new(),
            shown: BTreeMap::new(),
            in_backoff: BTreeSet::new(),
            dirty: BTreeSet::new(),
            paused: BTreeSet::new(),
            retries: BTreeMap::new(),
            open_phase: None,
            stopped: None,
            last: BTreeSet::new(),
            closing: BTreeSet::new(),
            intended: BTreeSet::new(),
            frozen: BTreeSet::new(),
            checkpointing: BTreeSet::new(),
            placing: None,
            swept: false,
            rests: 0,
            gate: Gate::new(plan),
        }
    }

    pub(crate) fn recorded(&mut self, record: &Record, supervisor: &Supervisor) {
        self.take(record);
        self.gate.recorded(record);
        self.check_states(record, supervisor);
    }

    fn take(&mut self, record: &Record) {
        match &record.fact {
            Fact::PhaseOpened { phase } => self.phase_opened(*phase),
            Fact::PhaseEnded { phase, completed } => self.phase_ended(*phase, *completed),
            Fact::StopRequested { by } => self.stopped = Some(*by),
            Fact::PhaseStopRequested { phase } => drop(self.closing.insert(*phase)),
            Fact::AgentStopRequested { agent, .. } => drop(self.last.insert(agent.clone())),
            Fact::Granted { agent, pattern } => self.granted(agent, pattern),
            Fact::AgentRegistered(plan) => self.joined(plan),
            Fact::RunnerPaused { runner, .. } => drop(self.paused.insert(runner.clone())),
            Fact::RunnerResumed { runner } => drop(self.paused.remove(runner)),
            Fact::AgentWaits { agent, .. } => drop(self.in_backoff.remove(agent)),
            Fact::AttemptOpened { id, slot } => self.opened(id, *slot),
            Fact::AttemptReturned { id, .. } => {
                self.leases.remove(&id.agent);
                self.dirty.insert(id.agent.clone());
            }
            Fact::AttemptStarted { id, .. } => {
                assert!(self.stopped.is_none() && !self.last.contains(&id.agent), "nothing_starts_after_a_stop: {id}");
                assert!(
                    !self.closing.contains(&self.plan_of(&id.agent).rank.phase),
                    "nothing_starts_after_a_stop: {id}"
                );
                *self.started.entry(id.clone()).or_default() += 1;
                self.ever_started.insert(id.agent.clone());
            }
            Fact::EndIntended { id, part, .. } => drop(self.intended.insert((id.clone(), *part))),
            Fact::Frozen { id, .. } => drop(self.frozen.insert(id.clone())),
            Fact::CheckpointIntended { id } => {
                assert!(self.checkpointing.insert(id.clone()), "one_checkpoint_at_a_time: {id}");
            }
            Fact::Checkpointed { id, .. } => drop(self.checkpointing.remove(id)),
            Fact::Placed { id, .. } | Fact::AttemptFailed { id, .. } if self.placing.as_ref() == Some(id) => {
                self.placing = None;
            }
            Fact::AgentRequeued { id, why, .. } => {
                if let RequeueReason::Retry(_) = why {
                    *self.retries.entry(id.agent.clone()).or_default() += 1;
                    self.in_backoff.insert(id.agent.clone());
                }
                self.released(&id.agent);
            }
            Fact::AgentEnded { agent, state, reason } => {
                assert!(state.is_end(), "agents_end_in_an_end: {agent} {state}");
                assert_eq!(*state == State::Completed, reason.is_none(), "every_other_end_has_a_reason: {agent}");
                assert_eq!(self.ends.insert(agent.clone(), *state), None, "agents_end_once: {agent}");
                self.in_backoff.remove(agent);
                self.dirty.remove(agent);
                self.released(agent);
            }
            _ => {}
        }
    }

    pub(crate) fn performed(&mut self, effect: &Effect) {
        self.gate.performed(effect);
        match effect {
            Effect::End { id, part, .. } => {
                assert!(self.intended.contains(&(id.clone(), *part)), "every_kill_has_a_recorded_cause: {id}");
            }
            Effect::Restore { id, .. } => {
                assert!(self.frozen.contains(id), "nothing_is_put_back_before_it_is_kept: {id}");
            }
            Effect::Measure { id } | Effect::Freeze { id, .. } => {
                assert!(!self.checkpointing.contains(id), "checkpoints_are_over_first: {id}");
            }
            Effect::PreparePlace { id, .. } => {
                let free = self.placing.as_ref().is_none_or(|other| other == id);
                assert!(free, "one_placing_at_a_time: {id} while {:?}", self.placing);
                self.placing = Some(id.clone());
            }
            Effect::Place { id, .. } => {
                assert_eq!(self.placing.as_ref(), Some(id), "placing_follows_its_preparation");
            }
            Effect::Sweep { runner } => {
                let live = self.leases.keys().any(|agent| self.plan_of(agent).runner == *runner);
                assert!(!live, "scratch_is_swept_when_no_agent_of_the_runner_lives: {runner}");
                self.swept = true;
            }
            _ => {}
        }
    }

    /// Nothing more follows for now.
    pub(crate) fn at_rest(&mut self, now: Moment, supervisor: &Supervisor, log: &[Record]) {
        if self.stopped.is_none() {
            assert_eq!(self.must_start(), None, "who_can_start_has_started");
        }
        for agent in &supervisor.view().unwrap().agents {
            let waits = matches!(agent.state, State::Waiting | State::Blocked);
            assert_eq!(waits, matches!(agent.why, Why::Waits(_)), "every_waiting_agent_has_a_reason: {}", agent.id);
        }
        self.rests += 1;
        if self.rests.is_multiple_of(7) {
            self.replay(now, supervisor, log);
        }
    }

    pub(crate) fn ended(&mut self, supervisor: &Supervisor, log: &[Record]) {
        let last = log.last().unwrap();
        let Fact::RunEnded { outcome } = last.fact else { panic!("the last record is the run's end: {last:?}") };
        assert!(self.leases.is_empty(), "at_the_end_every_lock_is_free");
        for agent in &self.plan.agents {
            assert!(self.ends.contains_key(&agent.id), "at_the_end_everything_has_ended: {}", agent.id);
        }
        assert_eq!(self.started, self.ended, "every_start_has_exactly_one_end");
        assert!(self.started.values().all(|n| *n == 1), "every_start_has_exactly_one_end");
        assert!(self.started.is_empty() || self.swept, "scratch_is_swept");
        let all_completed = self.ends.values().all(|s| *s == State::Completed);
        let expected = match self.stopped {
            Some(StopCause::Interrupt(by)) => RunOutcome::Interrupted(by),
            _ if all_completed => RunOutcome::Completed,
            _ => RunOutcome::Failed,
        };
        assert_eq!(outcome, expected, "the_outcome_matches_the_states");
        assert_eq!(supervisor.next_deadline(), None, "nothing_is_due_after_the_end");
        let view = supervisor.view().unwrap();
        assert_ne!(view.state, RunState::Running);
        for agent in &view.agents {
            assert_eq!(Some(&agent.state), self.ends.get(&agent.id), "the_view_shows_the_end: {}", agent.id);
        }
        self.gate.ended();
        self.replay(last.at, supervisor, log);
    }

    fn replay(&self, now: Moment, supervisor: &Supervisor, log: &[Record]) {
        let mut fresh = Supervisor::new(self.original.clone());
        for record in log {
            fresh.apply(record);
        }
        assert_eq!(fresh.view(), supervisor.view(), "replay_equals_live");
        assert_eq!(fresh.next_deadline(), supervisor.next_deadline(), "replay_equals_live");
        let later = now + std::time::Duration::from_hours(1);
        for at in [now, later] {
            assert_eq!(fresh.decide(at, &Event::Turn), supervisor.decide(at, &Event::Turn), "replay_equals_live");
        }
        assert_eq!(format!("{fresh:?}"), format!("{supervisor:?}"), "replay_equals_live");
    }

    fn check_states(&mut self, record: &Record, supervisor: &Supervisor) {
        let view: RunView = supervisor.view().unwrap();
        Self::check_phases(&view);
        for agent in &view.agents {
            let before = self.shown.insert(agent.id.clone(), agent.state).unwrap_or(State::Registered);
            // Who is requeued or joins waits, and may find a lock in its way at once.
            let requeued = match &record.fact {
                Fact::AgentRequeued { id, .. } => id.agent == agent.id,
                Fact::AgentRegistered(plan) => plan.id == agent.id,
                _ => false,
            };
            let from = if requeued && before.may_become(State::Waiting) { State::Waiting } else { before };
            let legal = from == agent.state || from.may_become(agent.state);
            assert!(legal, "only_legal_steps: {} {before} → {} by {record:?}", agent.id, agent.state);
            assert!(agent.salvage.iter().collect::<BTreeSet<_>>().len() == agent.salvage.len());
        }
    }

    /// Every agent is counted once, in its phase and as what it is.
    fn check_phases(view: &RunView) {
        let mut counted = 0;
        for phase in &view.phases {
            let count = |is: &dyn Fn(State) -> bool| {
                view.agents.iter().filter(|a| a.phase.as_ref() == Some(&phase.name) && is(a.state)).count()
            };
            let waits = |state| matches!(state, State::Registered | State::Waiting | State::Blocked);
            let found = [
                count(&|state| state == State::Completed),
                count(&|state| state.is_end() && state != State::Completed),
                count(&|state| !state.is_end() && !waits(state)),
                count(&waits),
            ];
            let told = [phase.completed, phase.failed, phase.running, phase.waiting];
            assert_eq!(told, found, "phases_count_their_agents: {phase:?}");
            counted += phase.agents();
        }
        let agents = if view.phases.is_empty() { 0 } else { view.agents.len() };
        assert_eq!(counted, agents, "phases_count_their_agents");
    }

    fn plan_of(&self, id: &AgentId) -> &AgentPlan {
        self.plan.agents.iter().find(|a| a.id == *id).unwrap()
    }

    fn phase_opened(&mut self, phase: usize) {
        for agent in self.plan.agents.iter().filter(|a| a.rank.phase < phase) {
            assert!(self.ends.contains_key(&agent.id), "phases_open_in_order: {phase}, {} has not ended", agent.id);
        }
        self.phase_has_agents(phase);
        self.open_phase = Some(phase);
    }

    fn phase_has_agents(&self, phase: usize) {
        assert!(
            self.plan.agents.iter().any(|agent| agent.rank.phase == phase),
            "of_empty_phases_nothing_is_said: {phase}"
        );
    }

    fn phase_ended(&mut self, phase: usize, completed: bool) {
        self.phase_has_agents(phase);
        let mut all = true;
        for agent in self.plan.agents.iter().filter(|a| a.rank.phase == phase) {
            let end = self.ends.get(&agent.id);
            assert!(end.is_some(), "a_phase_ends_after_its_agents: {}", agent.id);
            all &= end == Some(&State::Completed);
        }
        assert_eq!(completed, all, "a_phase_completes_if_all_its_agents_do");
        self.open_phase = None;
    }

    /// It comes last of its phase and priority, can still be started, and waits only for who is there.
    fn joined(&mut self, plan: &AgentPlan) {
        let id = &plan.id;
        assert!(
            self.stopped.is_none() && !self.closing.contains(&plan.rank.phase),
            "nobody_joins_what_is_closed: {id}"
        );
        let later = self.plan.agents.iter().filter(|a| a.rank.phase > plan.rank.phase);
        assert!(later.clone().all(|a| !self.ever_started.contains(&a.id)), "nobody_joins_a_phase_that_is_over: {id}");
        assert!(self.plan.agents.iter().all(|a| a.rank.position < plan.rank.position && a.id != *id), "{id} is new");
        for edge in &plan.depends_on {
            let on = self.plan_of(&edge.on);
            assert!(on.rank.phase <= plan.rank.phase, "dependencies_come_before: {id}");
            let completed = self.ends.get(&on.id).is_none_or(|end| *end == State::Completed);
            let started = self.ever_started.contains(&on.id) && !edge.wait_for_completion;
            let anyway = plan.on_dependency_failure == OnDependencyFailure::Run;
            assert!(completed || started || anyway, "nobody_joins_to_be_skipped: {id}");
        }
        self.plan.agents.push(plan.clone());
        self.ranked.push(self.plan.agents.len() - 1);
        self.ranked.sort_by_key(|&i| self.plan.agents[i].rank);
        self.gate.joined(plan);
    }

    /// It is nobody else's at that moment.
    fn granted(&mut self, agent: &AgentId, pattern: &Pattern) {
        let of_plan = self.plan.agents.iter_mut().find(|plan| plan.id == *agent).unwrap();
        of_plan.claim.exclusive.push(pattern.clone());
        self.gate.granted(agent, pattern);
        for other in self.leases.keys().filter(|other| *other != agent) {
            assert!(!self.gate.meets(other, pattern), "what_is_granted_is_free: {agent} {pattern:?}, of {other}");
        }
    }

    fn opened(&mut self, id: &AttemptId, slot: Slot) {
        assert!(self.stopped.is_none(), "nothing_starts_after_a_stop: {id}");
        assert_eq!(self.must_start().as_ref(), Some(&id.agent), "the_first_that_can_start_starts");
        let plan = self.plan_of(&id.agent).clone();
        for other in self.leases.keys() {
            let excluded = self.gate.excludes(&plan.id, other);
            assert!(!excluded, "live_leases_never_conflict: {id} and {other}");
        }
        let taken: BTreeSet<Slot> = self.leases.values().map(|(_, slot)| *slot).collect();
        let lowest = (0..self.plan.slots()).map(Slot).find(|s| !taken.contains(s));
        assert_eq!(Some(slot), lowest, "slots_are_unique_and_the_lowest_free_one");
        if let Some(limit) = self.plan.runner_limits.get(&plan.runner) {
            let running = self.leases.keys().filter(|a| self.plan_of(a).runner == plan.runner).count();
            assert!(running < usize::try_from(limit.get()).unwrap(), "runners_keep_to_their_limits: {id}");
        }
        self.leases.insert(id.agent.clone(), (id.clone(), slot));
    }

    fn released(&mut self, agent: &AgentId) {
        let Some((id, _)) = self.leases.remove(agent) else { return };
        if self.started.contains_key(&id) {
            *self.ended.entry(id.clone()).or_default() += 1;
            self.dirty.clear();
        }
        let retries = self.retries.get(agent).copied().unwrap_or(0);
        assert!(retries <= self.plan_of(agent).retries, "retries_are_bounded: {agent}");
    }

    fn depends_met(&self, plan: &AgentPlan) -> bool {
        plan.depends_on.iter().all(|edge| {
            let started = self.ever_started.contains(&edge.on) && !edge.wait_for_completion;
            started
                || match self.ends.get(&edge.on) {
                    Some(State::Completed) => true,
                    Some(_) => plan.on_dependency_failure == OnDependencyFailure::Run,
                    None => false,
                }
        })
    }

    /// The first agent, in the order of ranks, that the rules let start now: it lacks nothing, and no
    /// agent before it that lacks only locks and slots overlaps.
    fn must_start(&self) -> Option<AgentId> {
        let mut reserved: Vec<&AgentPlan> = Vec::new();
        if self.leases.len() >= usize::try_from(self.plan.slots()).unwrap() {
            return None;
        }
        for &index in &self.ranked {
            let agent = &self.plan.agents[index];
            let busy = self.ends.contains_key(&agent.id) || self.leases.contains_key(&agent.id);
            let held_back = self.in_backoff.contains(&agent.id)
                || self.dirty.contains(&agent.id)
                || self.paused.contains(&agent.runner)
                || self.open_phase != Some(agent.rank.phase)
                || !self.depends_met(agent);
            if busy || held_back {
                continue;
            }
            let running = self.leases.keys().filter(|a| self.plan_of(a).runner == agent.runner).count();
            let full = self
                .plan
                .runner_limits
                .get(&agent.runner)
                .is_some_and(|limit| running >= usize::try_from(limit.get()).unwrap());
            let locked = self.leases.keys().any(|other| self.gate.excludes(&agent.id, other))
                || reserved.iter().any(|other| self.gate.excludes(&agent.id, &other.id));
            if full || locked {
                reserved.push(agent);
            } else {
                return Some(agent.id.clone());
            }
        }
        None
    }
}
