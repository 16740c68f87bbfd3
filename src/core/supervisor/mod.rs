//! The heart: events in, records and effects out.
//!
//! The driver's turn is `decide` → journal → `apply` → perform. `decide` changes nothing; `apply`
//! is the only way the state changes, in the live run, in replay and in the simulator.
//!
//! What follows directly from an event is in its own step (`answers`). What needs the whole state —
//! who starts, which phase is over, what is due — is found by [`Event::Turn`] (`turn`), one kind of
//! consequence at a time, until there is none.
//!
//! Invariant: the state is a function of the plan and the records applied to it; every effect of a
//! turn comes with a record, so the next turn does not ask for it again.

mod again;
mod answers;
mod apply;
mod closing;
mod contest;
mod gate;
mod grant;
mod policy;
mod register;
mod release;
mod resume;
mod show;
mod state;
mod steer;
mod timers;
mod turn;

use std::collections::{BTreeMap, BTreeSet};

use super::agent::{AgentPlan, Plan};
use super::change::ObjectId;
use super::claim::{Claim, Pattern};
use super::conflict::ConflictId;
use super::effect::Effect;
use super::event::Event;
use super::ids::{AgentId, AttemptId, RunnerName};
use super::lease::Leases;
use super::moment::Moment;
use super::path::RepoPath;
use super::queue::{Look, Queue, Seat};
use super::reason::Interrupt;
use super::record::{Fact, Record, RunOpened, RunOutcome, StopCause};

pub use resume::Unsettled;

use gate::Call;
use state::{AgentRun, Conflict, Doomed, Edge, Lifecycle, Live, Phases, PlaceLine, RunnerRun};
use timers::Timers;

/// The state of one run.
#[derive(Clone, Debug)]
pub struct Supervisor {
    plan: Plan,
    /// From seat (place in the total order) to index in the plan, and back from the id.
    order: Vec<usize>,
    seats: BTreeMap<AgentId, Seat>,
    /// By seat: who depends on it.
    dependents: Vec<Vec<Edge>>,

    opened: Option<RunOpened>,
    agents: Vec<AgentRun>,
    /// Agents that have neither a lease nor an end.
    waiting: BTreeSet<Seat>,
    /// Those of them whose claims were dirty when last looked at.
    dirty: BTreeSet<Seat>,
    /// Those of them that will be skipped.
    doomed: Doomed,
    /// Those of them that a lock was found to stop, or no longer to stop, since the journal last said
    /// so.
    to_note: BTreeSet<Seat>,
    /// Agents of which processes could not be ended, and the single paths that they locked.
    haunted: BTreeMap<Seat, BTreeSet<RepoPath>>,
    queue: Queue,
    leases: Leases,
    runners: BTreeMap<RunnerName, RunnerRun>,
    phases: Phases,
    timers: Timers,
    placing: PlaceLine,

    stop: Option<StopCause>,
    kill: Option<Interrupt>,
    /// Agents that ended FAILED or TIMEOUT.
    failures: u32,
    /// Used by all attempts together.
    tokens: u64,
    /// In the order of their numbers.
    conflicts: Vec<Conflict>,
    open_conflicts: BTreeSet<ConflictId>,
    /// Resolved, and not looked at afterwards yet.
    unchecked: BTreeSet<ConflictId>,
    /// Who wrote a path last, and when; `None`: somebody outside every tree, or the supervisor itself.
    last_writes: BTreeMap<RepoPath, (Moment, Option<Seat>)>,
    /// Files that git ignores and that were made in this run.
    made: BTreeSet<RepoPath>,

    head: Option<ObjectId>,
    unattributed: Vec<RepoPath>,
    ended: Option<(Moment, RunOutcome)>,
}

/// What follows from an event: facts to write down, then things to do. Nothing has happened yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use = "a step is nothing until its records are journalled and applied"]
pub struct Step {
    pub records: Vec<Record>,
    pub effects: Vec<Effect>,
}

impl Step {
    /// Does nothing follow?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.effects.is_empty()
    }

    fn note(&mut self, now: Moment, fact: Fact) {
        self.records.push(Record { at: now, fact });
    }

    fn ask(&mut self, effect: Effect) {
        self.effects.push(effect);
    }
}

impl Supervisor {
    /// A run in which nothing has happened. The first record to apply is [`Supervisor::open`]'s.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        let mut order: Vec<usize> = (0..plan.agents.len()).collect();
        order.sort_by_key(|&index| plan.agents[index].rank);
        let seats: BTreeMap<AgentId, Seat> =
            order.iter().enumerate().map(|(seat, &index)| (plan.agents[index].id.clone(), seat)).collect();
        let mut dependents: Vec<Vec<Edge>> = order.iter().map(|_| Vec::new()).collect();
        let mut agents = Vec::with_capacity(order.len());
        for (seat, &index) in order.iter().enumerate() {
            let mut unmet = 0;
            for dependency in &plan.agents[index].depends_on {
                if let Some(&on) = seats.get(&dependency.on) {
                    dependents[on].push(Edge { dependent: seat, wait_for_completion: dependency.wait_for_completion });
                    unmet += 1;
                }
            }
            agents.push(AgentRun::new(unmet));
        }
        let queue = Queue::new(&plan, &order);
        let leases = Leases::new(plan.slots());
        let phases = Phases::new(&plan);
        Self {
            plan,
            order,
            seats,
            dependents,
            opened: None,
            agents,
            waiting: BTreeSet::new(),
            dirty: BTreeSet::new(),
            doomed: Doomed::new(),
            to_note: BTreeSet::new(),
            haunted: BTreeMap::new(),
            queue,
            leases,
            runners: BTreeMap::new(),
            phases,
            timers: Timers::default(),
            placing: PlaceLine::new(),
            stop: None,
            kill: None,
            failures: 0,
            tokens: 0,
            conflicts: Vec::new(),
            open_conflicts: BTreeSet::new(),
            unchecked: BTreeSet::new(),
            last_writes: BTreeMap::new(),
            made: BTreeSet::new(),
            head: None,
            unattributed: Vec::new(),
            ended: None,
        }
    }

    /// The record that opens the run.
    #[must_use]
    pub fn open(&self, now: Moment, opened: RunOpened) -> Record {
        Record { at: now, fact: Fact::RunOpened(opened) }
    }

    /// How the run was opened; `None`: it was not yet.
    #[must_use]
    pub fn opened(&self) -> Option<&RunOpened> {
        self.opened.as_ref()
    }

    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What follows from `event` at `now`. After every batch of events, [`Event::Turn`] is to be
    /// repeated until nothing follows from it; it always comes to that.
    pub fn decide(&self, now: Moment, event: &Event) -> Step {
        let mut step = Step::default();
        if self.opened.is_none() || self.ended.is_some() {
            return step;
        }
        match event {
            Event::Turn => self.turn(now, &mut step),
            Event::Resumed => self.take_up(now, &mut step),
            Event::Interrupted(by) => self.interrupt(now, *by, &mut step),
            Event::Surveyed { unattributed } => self.survey_done(now, unattributed, &mut step),
            Event::Asked { id, part, call, targets } => {
                self.asked(now, &Call { id, part: *part, number: *call, targets }, &mut step);
            }
            Event::OutsideWrite { paths } => self.outside_write(now, paths, &mut step),
            Event::ResolveAsked { conflict, wish } => self.resolve_asked(now, *conflict, wish, &mut step),
            Event::ReleaseAsked { agent } => self.release_asked(now, agent, &mut step),
            Event::StopAsked { agents, how } => self.stop_asked(now, agents, *how, &mut step),
            Event::CompleteAsked { phase } => self.complete_asked(now, *phase, &mut step),
            Event::CheckpointAsked { agent } => self.checkpoint_asked(now, agent.as_ref(), &mut step),
            Event::GrantAsked { agent, pattern } => self.grant_asked(now, agent, pattern, &mut step),
            Event::RegisterAsked { agent } => self.register_asked(now, agent, &mut step),
            Event::ConflictChecked { conflict, outcome } => self.conflict_checked(now, *conflict, outcome, &mut step),
            answer => self.answer(now, answer, &mut step),
        }
        step
    }

    /// When [`Event::Turn`] is due at the latest, if nothing happens before.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        self.timers.next()
    }

    /// What the agent may write in its attempt that runs or is next: its claim, and what joined it before.
    #[must_use]
    pub fn claim(&self, agent: &AgentId) -> Option<Claim> {
        let mut claim = self.attempt_claim(agent)?;
        let seat = *self.seats.get(agent)?;
        claim.exclusive.extend(self.agents[seat].added.iter().map(Pattern::file));
        Some(claim)
    }

    /// Paths that joined the agent's exclusive claim since the session was read.
    #[must_use]
    pub fn joined(&self, agent: &AgentId) -> Vec<RepoPath> {
        self.seats.get(agent).map(|&seat| self.agents[seat].added.iter().cloned().collect()).unwrap_or_default()
    }

    fn agent_plan(&self, seat: Seat) -> &AgentPlan {
        &self.plan.agents[self.order[seat]]
    }

    /// The attempt, if it is the live one of its agent.
    fn live(&self, id: &AttemptId) -> Option<(Seat, &Live)> {
        let seat = *self.seats.get(&id.agent)?;
        let live = self.agents[seat].live()?;
        (live.id == *id).then_some((seat, live))
    }

    /// Those that hold a lease, in rank order.
    fn all_live(&self) -> impl Iterator<Item = (Seat, &Live)> {
        self.leases.holders().filter_map(|seat| Some((seat, self.agents[seat].live()?)))
    }

    fn interrupted(&self) -> Option<Interrupt> {
        match self.stop {
            Some(StopCause::Interrupt(by)) => Some(by),
            _ => None,
        }
    }

    fn is_paused(&self, runner: &RunnerName) -> bool {
        self.runners.get(runner).is_some_and(|r| r.paused_until.is_some())
    }

    /// Does the agent lack nothing but locks, slots and its runner?
    fn is_ready(&self, seat: Seat) -> bool {
        let agent = &self.agents[seat];
        matches!(agent.lifecycle, Lifecycle::Waiting(state::Wait::Turn))
            && agent.unmet == 0
            && self.phases.is_open(self.agent_plan(seat).rank.phase)
    }

    fn with_look<T>(&self, f: impl FnOnce(&Look<'_>) -> T) -> T {
        let paused = |runner: &RunnerName| self.is_paused(runner);
        let extra = |seat: Seat| self.agents[seat].live().map_or(&self.agents[seat].added, |live| &live.held);
        f(&Look { plan: &self.plan, order: &self.order, leases: &self.leases, paused: &paused, extra: &extra })
    }
}
