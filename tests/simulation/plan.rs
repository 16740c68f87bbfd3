//! Builders of plans, and the behaviour of the agents in them.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use supervise::core::agent::{
    AgentPlan, Dependency, IgnoredPaths, OnAbort, OnConflict, OnDenied, OnDependencyFailure, OnOutsideEdit,
    OnPhaseFailure, OnUndeclared, PhasePlan, Plan, Priority, Rank, RetryMode,
};
use supervise::core::claim::{Claim, Pattern};
use supervise::core::event::{Event, PlaceRefusal, ReturnRefusal};
use supervise::core::ids::{AgentId, RunnerName};
use supervise::core::moment::Moment;

use super::calls::Call;

/// What the tree of an attempt comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Exits(i32),
    RateLimited(Option<Duration>),
    Fatal,
    LosesShim,
    /// Its leader ends well, but not all of its tree can be ended.
    Survives,
    SpawnFails,
}

/// How one attempt behaves.
#[derive(Clone, Debug)]
pub(crate) struct Act {
    pub(crate) fate: Fate,
    /// `None`: until it is ended.
    pub(crate) takes: Option<Duration>,
    pub(crate) writes: Vec<String>,
    /// What its tree tries to write, where there is a gate.
    pub(crate) calls: Vec<Call>,
    /// The same of its verify command.
    pub(crate) verify_calls: Vec<Call>,
    pub(crate) tokens: u64,
    pub(crate) verify_takes: Option<Duration>,
    pub(crate) verify_exit: i32,
    /// Refusals on the way to the branch, in order.
    pub(crate) refusals: Vec<PlaceRefusal>,
    pub(crate) freeze_fails: bool,
    pub(crate) measure_fails: bool,
    /// It shows signs of life when looked at.
    pub(crate) lively: bool,
    /// What its runner says its thread is.
    pub(crate) thread: Option<&'static str>,
    /// Why the work of the attempt before cannot be put back for it.
    pub(crate) not_returned: Option<ReturnRefusal>,
}

impl Default for Act {
    fn default() -> Self {
        Self {
            fate: Fate::Exits(0),
            takes: Some(Duration::from_secs(10)),
            writes: Vec::new(),
            calls: Vec::new(),
            verify_calls: Vec::new(),
            tokens: 0,
            verify_takes: Some(Duration::from_secs(1)),
            verify_exit: 0,
            refusals: Vec::new(),
            freeze_fails: false,
            measure_fails: false,
            lively: false,
            thread: None,
            not_returned: None,
        }
    }
}

/// An agent of a test session.
#[derive(Clone, Debug)]
pub(crate) struct Agent {
    pub(crate) plan: AgentPlan,
    /// One for each attempt; the last one repeats.
    pub(crate) acts: Vec<Act>,
    /// How often its claim is found dirty.
    pub(crate) dirty: u32,
    /// Paths that are dirty when it begins, and allowed.
    pub(crate) begins_dirty: Vec<String>,
    pub(crate) prepare_fails: bool,
}

pub(crate) fn agent(id: &str) -> Agent {
    let plan = AgentPlan {
        id: AgentId::new(id).unwrap(),
        name: id.to_owned(),
        rank: Rank { phase: 0, priority: Priority::DEFAULT, position: 0 },
        runner: RunnerName::new("command"),
        claim: Claim::default(),
        depends_on: Vec::new(),
        on_dependency_failure: OnDependencyFailure::Skip,
        timeout: Duration::from_mins(10),
        idle_timeout: None,
        lock_timeout: Duration::from_mins(10),
        grace: Duration::from_secs(5),
        retries: 0,
        retry: RetryMode::Restart,
        verify: None,
        on_undeclared: OnUndeclared::Deny,
        on_conflict: OnConflict::Terminate,
        on_abort: OnAbort::Restore,
        on_outside_edit: OnOutsideEdit::Fail,
        on_denied: OnDenied::Warn,
        ignored: IgnoredPaths::Allow,
        expect_changes: false,
    };
    Agent { plan, acts: vec![Act::default()], dirty: 0, begins_dirty: Vec::new(), prepare_fails: false }
}

fn patterns(texts: &[&str]) -> Vec<Pattern> {
    texts.iter().map(|text| Pattern::new(text).unwrap()).collect()
}

impl Agent {
    /// Claims these files and, unless told otherwise, writes them all.
    pub(crate) fn files(mut self, files: &[&str]) -> Self {
        self.plan.claim.exclusive = patterns(files);
        self.every_act(|act| act.writes = files.iter().map(|f| (*f).to_owned()).collect())
    }
    pub(crate) fn late(mut self, files: &[&str]) -> Self {
        self.plan.claim.late = patterns(files);
        self
    }
    pub(crate) fn reads(mut self, files: &[&str]) -> Self {
        self.plan.claim.shared = patterns(files);
        self
    }
    pub(crate) fn writes(self, files: &[&str]) -> Self {
        self.every_act(|act| act.writes = files.iter().map(|f| (*f).to_owned()).collect())
    }
    pub(crate) fn calls(self, calls: &[Call]) -> Self {
        self.every_act(|act| act.calls = calls.to_vec())
    }
    pub(crate) fn undeclared(self, policy: OnUndeclared) -> Self {
        self.with(|plan| plan.on_undeclared = policy)
    }
    pub(crate) fn conflict(self, policy: OnConflict) -> Self {
        self.with(|plan| plan.on_conflict = policy)
    }
    pub(crate) fn phase(mut self, phase: usize) -> Self {
        self.plan.rank.phase = phase;
        self
    }
    pub(crate) fn priority(mut self, priority: i64) -> Self {
        self.plan.rank.priority = Priority::new(priority).unwrap();
        self
    }
    pub(crate) fn runner(mut self, name: &str) -> Self {
        self.plan.runner = RunnerName::new(name);
        self
    }
    pub(crate) fn after(mut self, id: &str) -> Self {
        self.plan.depends_on.push(Dependency { on: AgentId::new(id).unwrap(), wait_for_completion: true });
        self
    }
    pub(crate) fn once_started(mut self, id: &str) -> Self {
        self.plan.depends_on.push(Dependency { on: AgentId::new(id).unwrap(), wait_for_completion: false });
        self
    }
    pub(crate) fn with(mut self, change: impl FnOnce(&mut AgentPlan)) -> Self {
        change(&mut self.plan);
        self
    }
    pub(crate) fn verify(self, exit: i32) -> Self {
        self.with(|plan| plan.verify = Some(Duration::from_mins(1))).every_act(|act| act.verify_exit = exit)
    }
    pub(crate) fn takes(self, seconds: u64) -> Self {
        self.every_act(|act| act.takes = Some(Duration::from_secs(seconds)))
    }
    pub(crate) fn hangs(self) -> Self {
        self.every_act(|act| act.takes = None)
    }
    pub(crate) fn ends(self, fate: &Fate) -> Self {
        self.every_act(|act| act.fate = fate.clone())
    }
    /// The first attempts end so; the one after them as the agent was made to.
    pub(crate) fn first_ends(mut self, fates: &[Fate]) -> Self {
        let last = self.acts.pop().unwrap();
        self.acts.extend(fates.iter().map(|fate| Act { fate: fate.clone(), ..last.clone() }));
        self.acts.push(last);
        self
    }
    /// Goes on with its thread.
    pub(crate) fn continues(self) -> Self {
        self.with(|plan| plan.retry = RetryMode::Continue).every_act(|act| act.thread = Some("t1"))
    }
    pub(crate) fn dirty(mut self, times: u32) -> Self {
        self.dirty = times;
        self
    }
    pub(crate) fn refused(self, refusals: &[PlaceRefusal]) -> Self {
        self.every_act(|act| act.refusals = refusals.to_vec())
    }
    pub(crate) fn every_act_in_turn(&mut self, change: impl FnMut(&mut Act)) {
        self.acts.iter_mut().for_each(change);
    }
    pub(crate) fn every_act(mut self, change: impl Fn(&mut Act)) -> Self {
        self.acts.iter_mut().for_each(change);
        self
    }
}

/// A session and how its world behaves.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) plan: Plan,
    /// Those that join later, too.
    pub(crate) agents: BTreeMap<AgentId, Agent>,
    /// When the user interrupts.
    pub(crate) interrupts: Vec<Moment>,
    /// Is there a gate? Without one, attempts write what they are said to, and nothing is asked.
    pub(crate) gate: bool,
    /// What somebody outside every tree writes, and when.
    pub(crate) outside: Vec<(Moment, Vec<String>)>,
    /// What somebody asks for.
    pub(crate) wishes: Vec<(Moment, Event)>,
    /// Answers take up to this many milliseconds.
    pub(crate) latency: u64,
    pub(crate) seed: u64,
}

pub(crate) fn scenario(agents: impl IntoIterator<Item = Agent>) -> Scenario {
    let mut agents: Vec<Agent> = agents.into_iter().collect();
    for (position, agent) in agents.iter_mut().enumerate() {
        agent.plan.rank.position = u32::try_from(position).unwrap();
    }
    let phases = agents.iter().map(|a| a.plan.rank.phase).max().unwrap_or(0) + 1;
    let phase = |n| PhasePlan { name: (phases > 1).then(|| format!("phase-{n}")), on_failure: OnPhaseFailure::Stop };
    let plan = Plan {
        phases: (0..phases).map(phase).collect(),
        agents: agents.iter().map(|a| a.plan.clone()).collect(),
        max_concurrent: NonZeroU32::new(4).unwrap(),
        fits: None,
        runner_limits: BTreeMap::new(),
        stop_at: None,
        max_failures: None,
        max_tokens: None,
        checkpoint_interval: None,
        allow_dirty: false,
    };
    let agents = agents.into_iter().map(|a| (a.plan.id.clone(), a)).collect();
    let (interrupts, outside, wishes) = (Vec::new(), Vec::new(), Vec::new());
    Scenario { plan, agents, interrupts, gate: false, outside, wishes, latency: 0, seed: 0 }
}

impl Scenario {
    pub(crate) fn slots(mut self, slots: u32) -> Self {
        self.plan.max_concurrent = NonZeroU32::new(slots).unwrap();
        self
    }
    pub(crate) fn limit(mut self, runner: &str, limit: u32) -> Self {
        self.plan.runner_limits.insert(RunnerName::new(runner), NonZeroU32::new(limit).unwrap());
        self
    }
    pub(crate) fn gated(mut self) -> Self {
        self.gate = true;
        self
    }
    pub(crate) fn outside(mut self, seconds: u64, paths: &[&str]) -> Self {
        self.outside.push((Moment(seconds * 1000), paths.iter().map(|p| (*p).to_owned()).collect()));
        self
    }
    pub(crate) fn wish(mut self, seconds: u64, event: Event) -> Self {
        self.wishes.push((Moment(seconds * 1000), event));
        self
    }
    /// Somebody adds an agent.
    pub(crate) fn joins(mut self, seconds: u64, agent: Agent) -> Self {
        self.add(Moment(seconds * 1000), agent);
        self
    }
    pub(crate) fn add(&mut self, at: Moment, agent: Agent) {
        self.wishes.push((at, Event::RegisterAsked { agent: Box::new(agent.plan.clone()) }));
        self.agents.insert(agent.plan.id.clone(), agent);
    }
    pub(crate) fn interrupt_at(mut self, seconds: u64) -> Self {
        self.interrupts.push(Moment(seconds * 1000));
        self
    }
    pub(crate) fn with_agents(mut self, change: impl Fn(&mut AgentPlan)) -> Self {
        self.plan.agents.iter_mut().for_each(change);
        self
    }
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Plan)) -> Self {
        change(&mut self.plan);
        self
    }
}
