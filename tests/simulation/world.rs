//! The fake world: it answers effects, after a while, as the scenario says.
//!
//! Invariant: all that happens follows from the scenario and its seed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use supervise::core::call::{Answer, Touch};
use supervise::core::change::{Change, Entry, Mode, ObjectId};
use supervise::core::claim::Claim;
use supervise::core::conflict::Verification;
use supervise::core::effect::{Effect, Ending, Part, PlaceIntent};
use supervise::core::event::{Event, Measured, PlaceRefusal, Placement, Preparation, ReturnRefusal};
use supervise::core::ids::{AgentId, AttemptId, RunId};
use supervise::core::moment::Moment;
use supervise::core::path::RepoPath;
use supervise::core::reason::{Exit, Interrupt, Quiet};
use supervise::core::record::{Layers, ProcessId, RateLimit, Record, RunOpened, Summary, Usage};
use supervise::core::supervisor::{Step, Supervisor};

use super::calls::{self, Call, Shim, Trees};
use super::oracle::Oracle;
use super::plan::{Act, Fate, Scenario};

/// splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    pub(crate) fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

/// What will happen.
#[derive(Debug)]
enum Happening {
    /// The supervisor is told.
    Told(Event),
    /// A process calls, for the first time or again.
    Called { id: AttemptId, part: Part, call: Call, tries: u32 },
    /// The shim reports what was let through since the last report.
    Reported { id: AttemptId, part: Part },
    /// Somebody outside every tree writes.
    Outside(Vec<RepoPath>),
}

pub(crate) struct World {
    scenario: Scenario,
    pub(crate) supervisor: Supervisor,
    pub(crate) now: Moment,
    /// What will happen, in order of time.
    pending: BTreeMap<(Moment, u64), Happening>,
    sequence: u64,
    random: Random,
    /// How many calls were answered.
    answers: u64,
    prepares: BTreeMap<AgentId, u32>,
    refusals: BTreeMap<AttemptId, usize>,
    /// What was put back for an attempt.
    in_tree: BTreeMap<AttemptId, Vec<RepoPath>>,
    /// Trees that live: when and how they end by themselves is pending under this key.
    trees: BTreeMap<(AttemptId, Part), (Moment, u64)>,
    gate: Trees,
    pub(crate) log: Vec<Record>,
    pub(crate) effects: Vec<(Moment, Effect)>,
    pub(crate) oracle: Option<Oracle>,
    pub(crate) closed: bool,
    /// Records and effects until the supervisor dies; `None`: it does not.
    fuel: Option<usize>,
}

/// Far more than any scenario needs.
const MOST_EVENTS: usize = 2_000_000;

impl World {
    pub(crate) fn new(scenario: Scenario) -> Self {
        let supervisor = Supervisor::new(scenario.plan.clone());
        let oracle = Some(Oracle::new(&scenario.plan));
        let random = Random(scenario.seed);
        let mut world = Self {
            scenario,
            supervisor,
            now: Moment::ZERO,
            pending: BTreeMap::new(),
            sequence: 0,
            random,
            answers: 0,
            prepares: BTreeMap::new(),
            refusals: BTreeMap::new(),
            in_tree: BTreeMap::new(),
            trees: BTreeMap::new(),
            gate: Trees::default(),
            log: Vec::new(),
            effects: Vec::new(),
            oracle,
            closed: false,
            fuel: None,
        };
        for at in world.scenario.interrupts.clone() {
            world.schedule_at(at, Event::Interrupted(Interrupt::Interrupt));
        }
        for (at, event) in world.scenario.wishes.clone() {
            world.schedule_at(at, event);
        }
        for (at, paths) in world.scenario.outside.clone() {
            world.plan_to(at, Happening::Outside(paths.iter().map(|text| path(text)).collect()));
        }
        world
    }

    /// Without the checks, to see how fast the core is.
    pub(crate) fn unchecked(scenario: Scenario) -> Self {
        Self { oracle: None, ..Self::new(scenario) }
    }

    /// To the end of the run.
    pub(crate) fn run(mut self) -> Self {
        self.open();
        for _ in 0..MOST_EVENTS {
            if self.closed {
                self.judge_end();
                return self;
            }
            self.advance();
        }
        panic!("the run does not come to an end");
    }

    pub(crate) fn judge_end(&mut self) {
        if let Some(oracle) = &mut self.oracle {
            oracle.ended(&self.supervisor, &self.log);
        }
    }

    pub(crate) fn open(&mut self) {
        let opened = RunOpened {
            run: RunId::new("20260131T142501-4f2a").unwrap(),
            session: "test".to_owned(),
            base: Some(commit(0)),
            branch: Some("refs/heads/main".to_owned()),
            layers: Layers { gate: self.scenario.gate, ..Layers::default() },
            agents: self.scenario.plan.agents.iter().map(|a| a.id.clone()).collect(),
        };
        let record = self.supervisor.open(self.now, opened);
        self.apply(record);
        self.turn_to_rest();
    }

    /// The supervisor dies before the record or effect of this number, from here on.
    pub(crate) fn lives_for(&mut self, points: Option<usize>) {
        self.fuel = points.map(|points| points + 1);
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.fuel == Some(0)
    }

    /// Counts a point; `false`: the supervisor is dead.
    fn survives(&mut self) -> bool {
        if let Some(fuel) = &mut self.fuel {
            *fuel = fuel.saturating_sub(1);
        }
        !self.is_dead()
    }

    /// What is left of a supervisor: its journal, and the world outside.
    pub(crate) fn crash(&mut self) {
        self.pending.retain(|_, happening| matches!(happening, Happening::Outside(_)));
        self.trees.clear();
        self.gate = Trees::default();
        let mut again = Supervisor::new(self.scenario.plan.clone());
        self.log.iter().for_each(|record| again.apply(record));
        if !self.is_dead() {
            assert_eq!(format!("{again:?}"), format!("{:?}", self.supervisor), "replay gives the same state");
        }
        (self.supervisor, self.oracle) = (again, None);
        (self.fuel, self.closed) = (None, false);
    }

    /// Another supervisor takes the run up, or begins it.
    pub(crate) fn take_up(&mut self) {
        if self.supervisor.opened().is_none() {
            return self.open();
        }
        let layers = Layers { gate: self.scenario.gate, ..Layers::default() };
        let record = self.supervisor.resume(self.now, layers);
        self.apply(record);
        self.tell(&Event::Resumed);
        self.turn_to_rest();
    }

    /// The next thing that happens.
    pub(crate) fn advance(&mut self) {
        let next_event = self.pending.first_key_value().map(|((at, _), _)| *at);
        let deadline = self.supervisor.next_deadline();
        let Some(at) = next_event.into_iter().chain(deadline).min() else {
            panic!("nothing will ever happen again, and the run has not ended: {:#?}", self.supervisor.view());
        };
        self.now = self.now.max(at);
        // All that has happened by now is one batch.
        while let Some(entry) = self.pending.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            match entry.remove() {
                Happening::Told(event) => self.told(&event),
                Happening::Called { id, part, call, tries } => self.called(&id, part, &call, tries),
                Happening::Reported { id, part } => self.report(&id, part),
                Happening::Outside(paths) => {
                    self.gate.outsider(self.now, &paths);
                    self.tell(&Event::OutsideWrite { paths });
                }
            }
        }
        self.turn_to_rest();
    }

    fn told(&mut self, event: &Event) {
        let gone = match event {
            Event::TreeEnded { id, .. } | Event::ShimLost { id } => Some((id, Part::Agent)),
            Event::Verified { id, .. } => Some((id, Part::Verify)),
            _ => None,
        };
        if let Some((id, part)) = gone {
            let paths = self.gate.end(id, part);
            if !paths.is_empty() {
                self.tell(&Event::Wrote { id: id.clone(), part, paths });
            }
        }
        // A shim may say it again, when the next attempt has long begun.
        if self.scenario.latency > 0 && matches!(event, Event::TreeEnded { .. }) && self.random.percent(10) {
            let delay = Duration::from_millis(self.random.below(20_000));
            self.schedule_at(self.now + delay, event.clone());
        }
        match event {
            // Who came from outside is looked at last.
            Event::Measured { id, outcome: Ok(measured) } if self.scenario.gate => {
                let outside = self.gate.outside_since(id).into_iter().collect();
                let outcome = Ok(Measured { outside, ..measured.clone() });
                self.tell(&Event::Measured { id: id.clone(), outcome });
            }
            event => self.tell(event),
        }
    }

    fn called(&mut self, id: &AttemptId, part: Part, call: &Call, tries: u32) {
        match self.gate.call(id, part, call, tries) {
            Shim::Nothing => {}
            Shim::Landed => self.landed(id, part, call),
            Shim::Busy => {
                if let Some(oracle) = &mut self.oracle {
                    oracle.gate.looked(id, &path(&call.path), self.now);
                }
                self.call_again(id, part, call, tries);
            }
            Shim::Ask(number, targets) => {
                let before = self.answers;
                self.tell(&Event::Asked { id: id.clone(), part, call: number, targets });
                assert!(
                    self.is_dead() || self.answers == before + 1,
                    "every_call_is_answered_once_and_at_once: {id} {call:?}"
                );
            }
        }
    }

    fn call_again(&mut self, id: &AttemptId, part: Part, call: &Call, tries: u32) {
        if tries < call.retries {
            let (id, call, pause) = (id.clone(), call.clone(), call.pause);
            self.plan_to(self.now + pause, Happening::Called { id, part, call, tries: tries + 1 });
        }
    }

    /// Reports come up to a tenth of a second later.
    fn landed(&mut self, id: &AttemptId, part: Part, call: &Call) {
        if matches!(call.touch, Touch::MakeDirectory | Touch::RemoveDirectory) {
            return; // a directory has no content that could be written over
        }
        if let Some(oracle) = &mut self.oracle {
            oracle.gate.landed(id, part, &path(&call.path), self.now);
        }
        let delay = Duration::from_millis(if self.scenario.latency == 0 { 0 } else { self.random.below(101) });
        self.plan_to(self.now + delay, Happening::Reported { id: id.clone(), part });
    }

    fn report(&mut self, id: &AttemptId, part: Part) {
        let paths = self.gate.untold(id, part);
        if !paths.is_empty() {
            self.tell(&Event::Wrote { id: id.clone(), part, paths });
        }
    }

    fn answered(&mut self, effect: &Effect) {
        let Effect::Answer { id, part, call, answer, grants, .. } = effect else { return };
        self.answers += 1;
        let asked = self.gate.answered(*call).unwrap();
        assert_eq!((&asked.0, asked.1), (id, *part), "whoever asked is answered");
        let (_, _, call, tries) = asked;
        match answer {
            Answer::Allow => {
                self.gate.grant(id, *part, grants);
                let path = path(&call.path);
                self.gate.land(id, *part, &path, call.touch);
                self.landed(id, *part, &call);
            }
            Answer::Busy => self.call_again(id, *part, &call, tries),
            Answer::Refuse => {}
        }
    }

    fn tell(&mut self, event: &Event) {
        let step = self.supervisor.decide(self.now, event);
        self.take(step);
    }

    fn take(&mut self, step: Step) {
        for record in step.records {
            self.apply(record);
        }
        for effect in step.effects {
            self.perform(&effect);
        }
    }

    fn turn_to_rest(&mut self) {
        let bound = 200 + 8 * self.scenario.agents.len() + 4 * self.scenario.plan.phases.len();
        for _ in 0..bound {
            if self.is_dead() {
                return;
            }
            let step = self.supervisor.decide(self.now, &Event::Turn);
            if step.is_empty() {
                if let Some(oracle) = &mut self.oracle {
                    oracle.at_rest(self.now, &self.supervisor, &self.log);
                }
                return;
            }
            self.take(step);
        }
        panic!("turns do not come to rest");
    }

    fn apply(&mut self, record: Record) {
        assert_eq!(record.at, self.now, "a record bears the time of its step");
        if self.is_dead() || !self.survives() {
            return;
        }
        self.supervisor.apply(&record);
        if let Some(oracle) = &mut self.oracle {
            oracle.recorded(&record, &self.supervisor);
        }
        self.log.push(record);
    }

    fn schedule_at(&mut self, at: Moment, event: Event) -> (Moment, u64) {
        self.plan_to(at, Happening::Told(event))
    }

    fn plan_to(&mut self, at: Moment, happening: Happening) -> (Moment, u64) {
        self.sequence += 1;
        self.pending.insert((at, self.sequence), happening);
        (at, self.sequence)
    }

    fn answer(&mut self, event: Event) {
        let delay = self.random.below(self.scenario.latency + 1);
        self.schedule_at(self.now + Duration::from_millis(delay), event);
    }

    fn act(&self, id: &AttemptId) -> Act {
        let acts = &self.scenario.agents[&id.agent].acts;
        let nth = usize::try_from(id.attempt.0).unwrap() - 1;
        acts[nth.min(acts.len() - 1)].clone()
    }

    fn perform(&mut self, effect: &Effect) {
        if self.is_dead() || !self.survives() {
            return;
        }
        if let Some(oracle) = &mut self.oracle {
            oracle.performed(effect);
            self.effects.push((self.now, effect.clone()));
        }
        match effect {
            Effect::Prepare { id } => self.prepare(id),
            Effect::Return { id, changes, .. } => self.put_back(id, changes),
            Effect::Spawn { id, .. } => self.spawn(id),
            Effect::End { id, part, how } => self.end(id, *part, *how),
            Effect::Sample { id } => {
                let quiet = if self.act(id).lively { Duration::ZERO } else { Duration::from_hours(1) };
                let quiet = Quiet::total(quiet);
                self.answer(Event::Sampled { id: id.clone(), quiet });
            }
            Effect::Measure { id } => {
                let act = self.act(id);
                let outcome =
                    if act.measure_fails { Err("no such device".to_owned()) } else { Ok(self.measured(id, &act)) };
                self.answer(Event::Measured { id: id.clone(), outcome });
            }
            Effect::Freeze { id, purpose, .. } => {
                let failed = self.act(id).freeze_fails;
                let outcome = if failed { Err("disk full".to_owned()) } else { Ok(self.fresh_commit()) };
                self.answer(Event::Frozen { id: id.clone(), purpose: *purpose, outcome });
            }
            Effect::Checkpoint { id } => {
                let outcome = match self.random.below(3) {
                    0 => Ok(None),
                    1 => Err("disk full".to_owned()),
                    _ => Ok(Some(self.fresh_commit())),
                };
                self.answer(Event::Checkpointed { id: id.clone(), outcome });
            }
            Effect::Verify { id, .. } => self.verify(id),
            Effect::PreparePlace { id, commit } => {
                let intent = PlaceIntent { reference: "refs/heads/main".to_owned(), old: None, new: *commit };
                let outcome = match self.refusal(id) {
                    Some(refusal) if self.random.percent(50) => Err(refusal),
                    Some(_) => {
                        *self.refusals.entry(id.clone()).or_default() -= 1;
                        Ok(intent)
                    }
                    None => Ok(intent),
                };
                self.answer(Event::PlacePrepared { id: id.clone(), outcome });
            }
            Effect::Place { id, intent } | Effect::FinishPlace { id, intent } => {
                let outcome = match self.refusal(id) {
                    Some(refusal) => Err(refusal),
                    None => Ok(Placement { commit: intent.new, index_left: Vec::new() }),
                };
                self.answer(Event::Placed { id: id.clone(), outcome });
            }
            Effect::Restore { id, paths, .. } => {
                let keep = usize::from(self.scenario.latency > 0 && self.random.percent(20));
                let left = paths.iter().take(keep).cloned().collect();
                let restored: Vec<RepoPath> = paths.iter().skip(keep).cloned().collect();
                self.gate.put_back(&restored);
                self.answer(Event::Restored { id: id.clone(), restored, left });
            }
            Effect::Survey => self.answer(Event::Surveyed { unattributed: Vec::new() }),
            Effect::Close { .. } => self.closed = true,
            Effect::CheckConflict { conflict, .. } => {
                self.answer(Event::ConflictChecked { conflict: *conflict, outcome: Verification::Clean });
            }
            Effect::Answer { .. } => self.answered(effect),
            Effect::Stale { id, paths } => self.gate.spoil(id, paths),
            Effect::Withdraw { id } => self.gate.withdraw(id),
            Effect::Tell { .. } | Effect::Unpin { .. } | Effect::Sweep { .. } => {}
        }
    }

    fn measured(&self, id: &AttemptId, act: &Act) -> Measured {
        let claim = self.supervisor.claim(&id.agent).unwrap();
        if !self.scenario.gate {
            let within = |change: &Change| claim.exclusive_matches(&change.path) || claim.late_matches(&change.path);
            let returned = self.in_tree.get(id).into_iter().flatten().cloned();
            let paths: BTreeSet<RepoPath> = act.writes.iter().map(|text| path(text)).chain(returned).collect();
            let (own, beyond) = paths.iter().map(|path| change(path, id)).partition(within);
            return Measured { own, beyond, ..Measured::default() };
        }
        let empty = BTreeSet::new();
        let landed = self.gate.landed.get(id).unwrap_or(&empty);
        let outside = self.gate.outside_since(id);
        let others = self.gate.of_others(id);
        let seen = landed.iter().chain(&outside).chain(&others).collect::<BTreeSet<_>>();
        let changes = seen.into_iter().filter(|path| !calls::is_ignored(path)).map(|path| change(path, id));
        let within = |change: &Change| claim.exclusive_matches(&change.path) || landed.contains(&change.path);
        let (own, beyond): (Vec<Change>, Vec<Change>) = changes.partition(within);
        Measured { own, beyond, ..Measured::default() }
    }

    fn prepare(&mut self, id: &AttemptId) {
        let agent = &self.scenario.agents[&id.agent];
        let paths = |texts: &[String]| texts.iter().map(|t| path(t)).collect::<Vec<_>>();
        self.gate.prepared.insert(id.clone(), self.now);
        let looks = self.prepares.entry(id.agent.clone()).or_default();
        *looks += 1;
        let outcome = if *looks <= agent.dirty {
            Preparation::Dirty { paths: vec![path("dirty")] }
        } else if agent.prepare_fails {
            Preparation::Failed { error: "not a repository".to_owned() }
        } else {
            Preparation::Ready { dirty: paths(&agent.begins_dirty) }
        };
        self.answer(Event::Prepared { id: id.clone(), outcome });
    }

    /// Work of an earlier attempt comes back: it has landed, as if this one had written it.
    fn put_back(&mut self, id: &AttemptId, changes: &[Change]) {
        let outcome = self.act(id).not_returned.map_or(Ok(()), Err);
        if matches!(outcome, Ok(()) | Err(ReturnRefusal::Stuck { .. })) {
            let paths: Vec<RepoPath> = changes.iter().map(|change| change.path.clone()).collect();
            for path in &paths {
                if let Some(oracle) = &mut self.oracle {
                    oracle.gate.landed(id, Part::Agent, path, self.now);
                }
            }
            if self.scenario.gate {
                self.gate.landed.entry(id.clone()).or_default().extend(paths.iter().cloned());
            }
            self.in_tree.insert(id.clone(), paths);
        }
        self.answer(Event::Returned { id: id.clone(), outcome });
    }

    fn spawn(&mut self, id: &AttemptId) {
        let act = self.act(id);
        if act.fate == Fate::SpawnFails {
            return self.answer(Event::SpawnFailed { id: id.clone(), error: "not found".to_owned() });
        }
        let process = ProcessId { pid: 100, start: self.sequence, boot: "boot".to_owned() };
        let delay = Duration::from_millis(self.random.below(self.scenario.latency + 1));
        self.schedule_at(self.now + delay, Event::Spawned { id: id.clone(), process });
        if let Some(thread) = act.thread {
            self.schedule_at(self.now + delay, Event::ThreadKnown { id: id.clone(), thread: thread.to_owned() });
        }
        let started = self.now + delay;
        let ends_at = act.takes.map_or(Moment(u64::MAX), |takes| started + takes);
        if self.scenario.gate {
            self.gate.begin(id, Part::Agent, self.supervisor.claim(&id.agent).unwrap());
            self.plan_calls(id, Part::Agent, started, &act.calls);
        }
        let usage = Some(Usage { input_tokens: act.tokens, output_tokens: 0 });
        let mut summary = Summary { usage, ..Summary::default() };
        let id = id.clone();
        let event = match act.fate {
            Fate::Exits(code) => Event::TreeEnded { id: id.clone(), exit: Exit::Code(code), summary },
            Fate::RateLimited(lifts_after) => {
                summary.rate_limit = Some(RateLimit { lifts_after });
                Event::TreeEnded { id: id.clone(), exit: Exit::Code(1), summary }
            }
            Fate::Fatal => {
                summary.fatal = Some("no credits".to_owned());
                Event::TreeEnded { id: id.clone(), exit: Exit::Code(1), summary }
            }
            Fate::Survives => {
                self.schedule_at(ends_at, Event::Survived { id: id.clone(), count: 1 });
                Event::TreeEnded { id: id.clone(), exit: Exit::Code(0), summary }
            }
            Fate::LosesShim | Fate::SpawnFails => Event::ShimLost { id: id.clone() },
        };
        let key = self.schedule_at(ends_at, event);
        self.trees.insert((id, Part::Agent), key);
    }

    fn verify(&mut self, id: &AttemptId) {
        let act = self.act(id);
        if self.scenario.gate {
            self.gate.begin(id, Part::Verify, Claim::default());
            self.plan_calls(id, Part::Verify, self.now, &act.verify_calls);
        }
        let ends_at = act.verify_takes.map_or(Moment(u64::MAX), |takes| self.now + takes);
        let exit = Exit::Code(act.verify_exit);
        let key = self.schedule_at(ends_at, Event::Verified { id: id.clone(), exit, tail: String::new() });
        self.trees.insert((id.clone(), Part::Verify), key);
    }

    fn plan_calls(&mut self, id: &AttemptId, part: Part, started: Moment, calls: &[Call]) {
        for call in calls {
            let happening = Happening::Called { id: id.clone(), part, call: call.clone(), tries: 0 };
            self.plan_to(started + call.after, happening);
        }
    }

    /// A tree dies within the grace of SIGTERM, and at once of SIGKILL.
    fn end(&mut self, id: &AttemptId, part: Part, how: Ending) {
        let Some(key) = self.trees.remove(&(id.clone(), part)) else { return };
        let longest = match how {
            Ending::Orderly { grace } => u64::try_from(grace.as_millis()).unwrap(),
            Ending::AtOnce => 0,
        };
        let delay = if self.scenario.latency == 0 { longest } else { self.random.below(longest + 1) };
        let at = (self.now + Duration::from_millis(delay)).min(key.0);
        let signal = Exit::Signal(if how == Ending::AtOnce { 9 } else { 15 });
        if self.pending.remove(&key).is_some() {
            let event = match part {
                Part::Agent => Event::TreeEnded { id: id.clone(), exit: signal, summary: Summary::default() },
                Part::Verify => Event::Verified { id: id.clone(), exit: signal, tail: String::new() },
            };
            let key = self.schedule_at(at, event);
            self.trees.insert((id.clone(), part), key);
        }
    }

    fn refusal(&mut self, id: &AttemptId) -> Option<PlaceRefusal> {
        let nth = self.refusals.entry(id.clone()).or_default();
        let refusals = &self.scenario.agents[&id.agent].acts;
        let attempt = usize::try_from(id.attempt.0).unwrap() - 1;
        let refusal = refusals[attempt.min(refusals.len() - 1)].refusals.get(*nth).cloned();
        *nth += 1;
        refusal
    }

    fn fresh_commit(&mut self) -> ObjectId {
        self.sequence += 1;
        commit(self.sequence)
    }

    /// Names of the agents that ended so.
    pub(crate) fn attempts(&self) -> BTreeSet<AttemptId> {
        let started = |r: &Record| match &r.fact {
            supervise::core::record::Fact::AttemptStarted { id, .. } => Some(id.clone()),
            _ => None,
        };
        self.log.iter().filter_map(started).collect()
    }
}

pub(crate) fn path(text: &str) -> RepoPath {
    RepoPath::new(text.as_bytes()).unwrap()
}

fn commit(number: u64) -> ObjectId {
    let mut bytes = [0; 20];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    ObjectId::from_bytes(&bytes).unwrap()
}

fn change(path: &RepoPath, id: &AttemptId) -> Change {
    let after = Entry { mode: Mode::File, id: commit(u64::from(id.attempt.0)) };
    Change { path: path.clone(), before: None, after: Some(after) }
}
