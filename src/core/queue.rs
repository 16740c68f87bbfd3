//! Who starts next.
//!
//! Agents that lack nothing but locks, slots and their runner stand here, in the total order of
//! their ranks. Those with the same locks and the same runner form a *line*: what stops its first
//! stops all of it, so only the first is ever looked at. A line that cannot go on is *parked* behind
//! what stops it, and looked at again when that is gone; so the cost of a start does not grow with
//! the number of agents that wait.
//!
//! Invariant: after [`Queue::settle`] every line ahead of the candidate is parked, and the candidate
//! conflicts with no lease and with no reservation of higher rank. A parked line reserves its locks,
//! save while its runner is paused.
//!
//! Deliberately absent: phases, dependencies, pauses before a retry, dirty claims. Who lacks one of
//! those is not here.

use std::collections::{BTreeMap, BTreeSet};

use super::agent::Plan;
use super::claim::Claim;
use super::ids::RunnerName;
use super::lease::Leases;
use super::path::RepoPath;

/// The place of an agent in the total order of ranks, from 0.
pub(crate) type Seat = usize;

type LineNo = usize;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Queue {
    lines: Vec<Line>,
    line_of: Vec<LineNo>,
    of_runner: BTreeMap<RunnerName, Vec<LineNo>>,
    /// Lines that nothing is known to stop, by their first.
    open: BTreeSet<(Seat, LineNo)>,
    /// Parked lines that reserve their locks, by their first.
    reserving: BTreeSet<(Seat, LineNo)>,
    /// Lines parked behind a lease or a reservation of this agent.
    behind: BTreeMap<Seat, BTreeSet<LineNo>>,
    /// Lines parked until something of this runner changes.
    at_runner: BTreeMap<RunnerName, BTreeSet<LineNo>>,
    candidate: Option<Seat>,
    /// Pairs of lines (the lower number first), and whether their locks exclude each other: patterns
    /// are compared once. At most [`MOST_PAIRS`].
    pairs: BTreeMap<(LineNo, LineNo), bool>,
}

/// Beyond this, pairs are compared each time anew; about 40 MB.
const MOST_PAIRS: usize = 1_000_000;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    runner: RunnerName,
    members: BTreeSet<Seat>,
    parked: Option<Obstacle>,
}

/// What stops a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// A lease of this agent.
    Lease(Seat),
    /// A reservation of this agent.
    Reservation(Seat),
    RunnerFull,
    RunnerPaused,
}

impl Obstacle {
    /// A line keeps its reservation unless it lacks more than locks and slots.
    fn reserves(self) -> bool {
        self != Self::RunnerPaused
    }
}

/// What the queue has to know to judge whether a line can go on.
pub(crate) struct Look<'a> {
    pub(crate) plan: &'a Plan,
    /// From seat to index in the plan.
    pub(crate) order: &'a [usize],
    pub(crate) leases: &'a Leases,
    pub(crate) paused: &'a dyn Fn(&RunnerName) -> bool,
    /// Single paths that an agent locks (or, waiting, will lock) beside its claim.
    pub(crate) extra: &'a dyn Fn(Seat) -> &'a BTreeSet<RepoPath>,
}

impl Look<'_> {
    fn claim(&self, seat: Seat) -> &Claim {
        &self.plan.agents[self.order[seat]].claim
    }

    fn takes_no_lock(&self, seat: Seat) -> bool {
        self.claim(seat).takes_no_lock() && (self.extra)(seat).is_empty()
    }

    /// Do the two meet at a path that one of them locks by itself?
    fn extras_meet(&self, one: Seat, other: Seat) -> bool {
        let (ours, theirs) = ((self.extra)(one), (self.extra)(other));
        let hits = |paths: &BTreeSet<RepoPath>, claim: &Claim| paths.iter().any(|path| claim.locks(path));
        hits(ours, self.claim(other)) || hits(theirs, self.claim(one)) || ours.iter().any(|path| theirs.contains(path))
    }

    fn runner_full(&self, runner: &RunnerName) -> bool {
        self.plan.runner_limits.get(runner).is_some_and(|limit| self.leases.of_runner(runner) >= limit.get())
    }
}

impl Queue {
    /// A queue for nobody.
    pub(crate) fn empty() -> Self {
        Self::default()
    }

    pub(crate) fn new(plan: &Plan, order: &[usize]) -> Self {
        let mut queue = Self::empty();
        let mut known = BTreeMap::new();
        for &index in order {
            let agent = &plan.agents[index];
            let texts = |patterns: &[super::claim::Pattern]| {
                let texts: BTreeSet<String> = patterns.iter().map(|p| p.as_str().to_owned()).collect();
                texts
            };
            let key = (agent.runner.clone(), texts(&agent.claim.exclusive), texts(&agent.claim.shared));
            let line = *known.entry(key).or_insert_with(|| {
                queue.lines.push(Line { runner: agent.runner.clone(), members: BTreeSet::new(), parked: None });
                let line = queue.lines.len() - 1;
                queue.of_runner.entry(agent.runner.clone()).or_default().push(line);
                line
            });
            queue.line_of.push(line);
        }
        queue
    }

    /// The agent that may start now, if one may.
    pub(crate) fn candidate(&self) -> Option<Seat> {
        self.candidate
    }

    /// What its line is parked behind; `None`: nothing is known to stop it but the lack of a slot.
    pub(crate) fn obstacle(&self, seat: Seat) -> Option<Obstacle> {
        self.lines[self.line_of[seat]].parked
    }

    /// Gives an agent that stands in no line a line of its own: its locks are no longer those of others
    /// that declared the same.
    pub(crate) fn stand_alone(&mut self, seat: Seat) {
        let runner = self.lines[self.line_of[seat]].runner.clone();
        self.line_of[seat] = self.new_line(&runner);
    }

    fn new_line(&mut self, runner: &RunnerName) -> LineNo {
        self.of_runner.entry(runner.clone()).or_default().push(self.lines.len());
        self.lines.push(Line { runner: runner.clone(), members: BTreeSet::new(), parked: None });
        self.lines.len() - 1
    }

    /// Places in the total order have changed.
    pub(crate) fn make_room(&mut self, moved: impl Fn(Seat) -> Seat) {
        // Each part by name: one that is added later has to be thought of here.
        let Self { lines, line_of: _, of_runner: _, open, reserving, behind, at_runner: _, candidate, pairs: _ } = self;
        for line in lines {
            line.members = std::mem::take(&mut line.members).into_iter().map(&moved).collect();
            line.parked = line.parked.map(|obstacle| match obstacle {
                Obstacle::Lease(seat) => Obstacle::Lease(moved(seat)),
                Obstacle::Reservation(seat) => Obstacle::Reservation(moved(seat)),
                Obstacle::RunnerFull | Obstacle::RunnerPaused => obstacle,
            });
        }
        for firsts in [open, reserving] {
            *firsts = std::mem::take(firsts).into_iter().map(|(seat, line)| (moved(seat), line)).collect();
        }
        *behind = std::mem::take(behind).into_iter().map(|(seat, lines)| (moved(seat), lines)).collect();
        *candidate = candidate.map(moved);
    }

    /// Gives an agent that takes this place, which nobody has, a line of its own.
    pub(crate) fn insert(&mut self, seat: Seat, runner: &RunnerName) {
        let line = self.new_line(runner);
        self.line_of.insert(seat, line);
    }

    /// Does anybody wait for what this agent holds?
    pub(crate) fn is_waited_for(&self, seat: Seat) -> bool {
        self.behind.get(&seat).is_some_and(|lines| !lines.is_empty())
    }

    /// The first in line, of higher rank than `seat`, that has reserved this path.
    pub(crate) fn reserved_by(&self, look: &Look<'_>, seat: Seat, path: &RepoPath) -> Option<Seat> {
        let reserves = |by: Seat| look.claim(by).locks(path) || (look.extra)(by).contains(path);
        self.reserving.iter().map(|&(by, _)| by).take_while(|&by| by < seat).find(|&by| reserves(by))
    }

    /// The first in line, other than `seat`, whose reserved locks exclude this claim.
    pub(crate) fn reserved_from(&self, look: &Look<'_>, seat: Seat, claim: &Claim) -> Option<Seat> {
        let excludes = |by: Seat| {
            by != seat && (look.claim(by).excludes(claim) || (look.extra)(by).iter().any(|path| claim.locks(path)))
        };
        self.reserving.iter().map(|&(by, _)| by).find(|&by| excludes(by))
    }

    /// Lets an agent join its line.
    pub(crate) fn join(&mut self, seat: Seat) {
        let line = self.line_of[seat];
        let first = self.lines[line].members.first().copied();
        if first.is_none_or(|first| seat < first) {
            // It outranks what the line was judged by.
            self.unpark(line);
            if let Some(first) = first {
                self.open.remove(&(first, line));
                self.wake(first);
            }
            self.open.insert((seat, line));
        }
        self.lines[line].members.insert(seat);
    }

    /// Takes an agent out of its line: it starts, or it has ended.
    pub(crate) fn leave(&mut self, seat: Seat) {
        let line = self.line_of[seat];
        let was_first = self.lines[line].members.first() == Some(&seat);
        if !self.lines[line].members.contains(&seat) {
            return;
        }
        if was_first {
            self.unpark(line);
            self.open.remove(&(seat, line));
        }
        self.lines[line].members.remove(&seat);
        if was_first {
            if let Some(&next) = self.lines[line].members.first() {
                self.open.insert((next, line));
            }
            self.wake(seat);
        }
    }

    /// What was parked behind this agent is to be looked at again.
    pub(crate) fn wake(&mut self, seat: Seat) {
        for line in self.behind.remove(&seat).unwrap_or_default() {
            self.unpark(line);
        }
    }

    /// What was parked because this runner was full or paused is to be looked at again.
    pub(crate) fn wake_runner(&mut self, runner: &RunnerName) {
        for line in self.at_runner.remove(runner).unwrap_or_default() {
            self.unpark(line);
        }
    }

    /// The runner is paused: its lines reserve nothing any more.
    pub(crate) fn pause(&mut self, runner: &RunnerName) {
        for line in self.of_runner.get(runner).cloned().unwrap_or_default() {
            if self.lines[line].parked.is_some_and(Obstacle::reserves) {
                self.unpark(line);
            }
        }
    }

    /// Finds the candidate. Returns the first agents of the lines that were parked on the way.
    pub(crate) fn settle(&mut self, look: &Look<'_>) -> Vec<Seat> {
        self.candidate = None;
        let mut parked = Vec::new();
        if look.leases.free_slot().is_none() {
            return parked;
        }
        while let Some(&(first, line)) = self.open.first() {
            let Some(obstacle) = self.obstacle_of(look, first, line) else {
                self.candidate = Some(first);
                break;
            };
            self.park(first, line, obstacle);
            parked.push(first);
        }
        parked
    }

    /// Nothing more is started.
    pub(crate) fn close(&mut self) {
        self.candidate = None;
    }

    /// The holders of leases that exclude this agent's claim.
    pub(crate) fn holders(look: &Look<'_>, seat: Seat) -> Vec<Seat> {
        if look.takes_no_lock(seat) {
            return Vec::new();
        }
        let claim = look.claim(seat);
        let excludes = |&holder: &Seat| claim.excludes(look.claim(holder)) || look.extras_meet(seat, holder);
        look.leases.holders().filter(excludes).collect()
    }

    fn obstacle_of(&mut self, look: &Look<'_>, first: Seat, line: LineNo) -> Option<Obstacle> {
        if (look.paused)(&self.lines[line].runner) {
            return Some(Obstacle::RunnerPaused);
        }
        if !look.takes_no_lock(first) {
            if let Some(holder) = look.leases.holders().find(|&holder| self.excludes(look, first, holder)) {
                return Some(Obstacle::Lease(holder));
            }
            let mut ahead = (0, 0);
            while let Some(&(by, other)) = self.reserving.range(ahead..(first, 0)).next() {
                if self.excludes(look, first, by) {
                    return Some(Obstacle::Reservation(by));
                }
                ahead = (by, other + 1);
            }
        }
        look.runner_full(&self.lines[line].runner).then_some(Obstacle::RunnerFull)
    }

    /// Do the locks of the two exclude each other?
    fn excludes(&mut self, look: &Look<'_>, one: Seat, other: Seat) -> bool {
        let (a, b) = (self.line_of[one], self.line_of[other]);
        let pair = (a.min(b), a.max(b));
        if look.extras_meet(one, other) {
            return true;
        }
        if let Some(&known) = self.pairs.get(&pair) {
            return known;
        }
        let excludes = look.claim(one).excludes(look.claim(other));
        if self.pairs.len() < MOST_PAIRS {
            self.pairs.insert(pair, excludes);
        }
        excludes
    }

    fn park(&mut self, first: Seat, line: LineNo, obstacle: Obstacle) {
        self.open.remove(&(first, line));
        self.lines[line].parked = Some(obstacle);
        if obstacle.reserves() {
            self.reserving.insert((first, line));
        } else {
            self.wake(first);
        }
        match obstacle {
            Obstacle::Lease(seat) | Obstacle::Reservation(seat) => {
                self.behind.entry(seat).or_default().insert(line);
            }
            Obstacle::RunnerFull | Obstacle::RunnerPaused => {
                self.at_runner.entry(self.lines[line].runner.clone()).or_default().insert(line);
            }
        }
    }

    /// Opens a parked line again. Who was parked behind its reservation stays so: the line still
    /// comes first.
    fn unpark(&mut self, line: LineNo) {
        let Some(obstacle) = self.lines[line].parked.take() else { return };
        match obstacle {
            Obstacle::Lease(seat) | Obstacle::Reservation(seat) => {
                if let Some(lines) = self.behind.get_mut(&seat) {
                    lines.remove(&line);
                    if lines.is_empty() {
                        self.behind.remove(&seat);
                    }
                }
            }
            Obstacle::RunnerFull | Obstacle::RunnerPaused => {
                if let Some(lines) = self.at_runner.get_mut(&self.lines[line].runner) {
                    lines.remove(&line);
                }
            }
        }
        if let Some(&first) = self.lines[line].members.first() {
            self.reserving.remove(&(first, line));
            self.open.insert((first, line));
        }
    }
}
