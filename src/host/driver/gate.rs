//! The driver's part in the gate and the watch: facts for questions, answers back to trees, what was
//! written told on, and the watch asked who else wrote.
//!
//! Invariant: a call is answered once, after what the answer rests on is kept; a path is told to be
//! written from outside only after every living tree has told what it was let write before the watch
//! was read.
//!
//! Deliberately absent: verdicts (`core`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use crate::core::call::{Answer, CallId, Grant, Refusal, Tally, Target, There, Touch};
use crate::core::conflict::{ConflictId, Verification};
use crate::core::effect::{Part, Telling};
use crate::core::event::Event;
use crate::core::facts::{Expected, PathFacts, Verified};
use crate::core::ids::AttemptId;
use crate::core::moment::Moment;
use crate::core::path::RepoPath;
use crate::host::git::{Base, GitError};
use crate::host::lookups::Question;
use crate::host::process::TreeKey;
use crate::host::watch::{Touched, Wake};
use crate::runner;
use crate::session::Launch;
use crate::shim::wire::{ANSWER_WITHIN, GateTerms, PatternText};

use super::catching::Catching;
use super::measure::Drains;
use super::outside::Outside;
use super::{Driver, News};

/// Events of the watch within this time are looked at together.
const LOOK_DELAY: Duration = Duration::from_millis(50);

/// What the driver remembers for the gate and the watch.
#[derive(Debug, Default)]
pub(super) struct Sight {
    pub(super) outside: Outside,
    /// Files that git ignores and that an attempt's claim matches only by chance: its gate has to ask.
    pub(super) protected: BTreeMap<AttemptId, Vec<RepoPath>>,
    pub(super) drains: Drains,
    look_due: Option<Moment>,
    look: Option<Look>,
    next_look: u64,
    /// Answers that were asked for before the last of these grant nothing.
    withdrawals: u64,
    /// Without a gate: who is writing at this moment, and is there more to look at?
    catching: Catching,
    touched: bool,
}

/// What was seen, until every tree has told what it was let do before.
#[derive(Debug)]
struct Look {
    number: u64,
    seen: Vec<(RepoPath, Tally)>,
    waits_for: BTreeSet<TreeKey>,
}

/// An answer that has to wait until what is there is kept.
#[derive(Debug)]
pub(super) struct Held {
    key: TreeKey,
    call: CallId,
    answer: Answer,
    grants: Vec<Grant>,
    /// [`Driver::withdraw`] had been called so often.
    withdrawals: u64,
    /// Paths still to be looked at; `true`: look again.
    open: Vec<(RepoPath, bool)>,
}

impl Driver<'_> {
    /// What an agent's (or its verify command's) writes are judged by; `None`: there is no gate.
    pub(super) fn terms(&self, launch: &Launch, key: &TreeKey) -> Option<GateTerms> {
        if !self.layers.gate {
            return None;
        }
        let claim = self.supervisor.attempt_claim(&key.id.agent).filter(|_| key.part == Part::Agent);
        let texts = |patterns: &[crate::core::claim::Pattern]| patterns.iter().map(PatternText::of).collect();
        let agent = key.part == Part::Agent;
        Some(GateTerms {
            workspace: self.workspace.clone(),
            forbidden: self.forbidden.clone(),
            nested: self.nested.clone(),
            exclusive: claim.as_ref().map(|claim| texts(&claim.exclusive)).unwrap_or_default(),
            deny: claim.as_ref().map(|claim| texts(&claim.deny)).unwrap_or_default(),
            own: if agent { self.supervisor.joined(&key.id.agent) } else { Vec::new() },
            protected: if agent { self.sight.protected.get(&key.id).cloned().unwrap_or_default() } else { Vec::new() },
            scratch: scratch_of(launch),
            answer_within: ANSWER_WITHIN,
        })
    }

    /// A call waits: what is known of its paths is looked up.
    pub(super) fn ask_facts(&mut self, key: TreeKey, call: CallId, targets: Vec<Target>) {
        let directory =
            |target: &Target| matches!(target.touch, Touch::MakeDirectory) || target.there == There::Directory;
        let questions = targets.iter().map(|t| Question { path: t.path.clone(), directory: directory(t) }).collect();
        self.lookups.facts(questions, move |facts| News::Facts { key, call, targets, facts });
    }

    /// What is known of them has been looked up.
    pub(super) fn facts(
        &mut self,
        key: TreeKey,
        call: CallId,
        targets: Vec<Target>,
        facts: Result<Vec<PathFacts>, GitError>,
    ) -> Option<Event> {
        match facts {
            Ok(facts) => {
                let targets = targets.into_iter().zip(facts).collect();
                Some(Event::Asked { id: key.id, part: key.part, call, targets })
            }
            Err(error) => {
                if let Some(tree) = self.trees.get(&key) {
                    tree.answer(call, Answer::Refuse, Vec::new());
                }
                let path = targets.into_iter().next()?.path;
                Some(Event::NotKept { id: key.id, part: key.part, path, error: error.to_string() })
            }
        }
    }

    pub(super) fn wrote(&mut self, key: TreeKey, calls: &[(RepoPath, Tally)]) -> Event {
        self.sight.outside.allowed(&key.id, calls);
        // What its runner makes for itself is no work of the agent's.
        let scratch = self.session.launches.get(&key.id.agent).map(scratch_of).unwrap_or_default();
        let own = |path: &&RepoPath| !scratch.iter().any(|scratch| path.is_within(scratch));
        let paths = calls.iter().map(|(path, _)| path).filter(own).cloned().collect();
        Event::Wrote { id: key.id, part: key.part, paths }
    }

    pub(super) fn untold(&mut self, key: &TreeKey, calls: u64) {
        tracing::warn!(id = %key.id, calls, "the gate let more through than it could tell in time");
        self.sight.outside.gap(&key.id);
    }

    pub(super) fn refused(key: &TreeKey, refusals: Vec<(Refusal, u32)>) -> Vec<Event> {
        let event = |(refusal, _)| Event::Refused { id: key.id.clone(), part: key.part, refusal };
        refusals.into_iter().map(event).collect()
    }

    // --- answers ----------------------------------------------------------------------------------

    pub(super) fn answer(
        &mut self,
        key: TreeKey,
        call: CallId,
        answer: Answer,
        grants: Vec<Grant>,
        keep: Vec<RepoPath>,
        look_again: Vec<RepoPath>,
    ) {
        let keep = keep.into_iter().map(|path| (path, false));
        let open = keep.chain(look_again.into_iter().map(|path| (path, true))).collect();
        let withdrawals = self.sight.withdrawals;
        self.answer_when_kept(Held { key, call, answer, grants, withdrawals, open });
    }

    /// Looks at the next path that has to be kept, or answers.
    fn answer_when_kept(&mut self, mut held: Held) {
        match held.open.pop() {
            Some((path, again)) => {
                let dir = self.run_dir.attempt(&held.key.id);
                self.lookups.base(path.clone(), dir, move |base| News::Kept { held, path, again, base });
            }
            None => {
                if let Some(tree) = self.trees.get(&held.key) {
                    let grants = if held.withdrawals == self.sight.withdrawals { held.grants } else { Vec::new() };
                    tree.answer(held.call, held.answer, grants);
                }
            }
        }
    }

    /// What is at a path is known, so that it can be put back.
    pub(super) fn kept(
        &mut self,
        held: Held,
        path: RepoPath,
        again: bool,
        base: Result<Base, GitError>,
    ) -> Option<Event> {
        let (id, part) = (held.key.id.clone(), held.key.part);
        match base {
            Ok(base) => {
                // The git thread takes this up before it measures.
                self.git.post(move |git| {
                    let done =
                        if again { git.refresh(&id, &path, base) } else { git.extend(&id, &path, base).map(drop) };
                    let error = done.err()?.to_string();
                    Some(News::Core(Event::NotKept { id, part, path, error }))
                });
                self.answer_when_kept(held);
                None
            }
            Err(error) => {
                if let Some(tree) = self.trees.get(&held.key) {
                    tree.answer(held.call, Answer::Refuse, Vec::new());
                }
                Some(Event::NotKept { id, part, path, error: error.to_string() })
            }
        }
    }

    pub(super) fn withdraw(&mut self, id: &AttemptId) {
        self.sight.withdrawals += 1;
        for part in [Part::Agent, Part::Verify] {
            if let Some(tree) = self.trees.get(&TreeKey { id: id.clone(), part }) {
                tree.withdraw();
            }
        }
    }

    pub(super) fn stale(&self, id: AttemptId, paths: Vec<RepoPath>) {
        if let Some(tree) = self.trees.get(&TreeKey { id, part: Part::Agent }) {
            tree.stale(paths);
        }
    }

    /// Puts a line into the agent's log.
    pub(super) fn tell_agent(&mut self, id: &AttemptId, telling: &Telling) {
        let text = self.observer.telling(telling);
        for part in [Part::Agent, Part::Verify] {
            if let Some(tree) = self.trees.get(&TreeKey { id: id.clone(), part }) {
                tree.note(&text);
            }
        }
    }

    // --- the watch --------------------------------------------------------------------------------

    pub(super) fn woken(&mut self, wake: Wake) {
        match wake {
            Wake::Cookie(number) => self.drained(number),
            Wake::Touched | Wake::Gap if self.layers.gate => {
                let due = self.now() + LOOK_DELAY;
                self.sight.look_due.get_or_insert(due);
            }
            Wake::Touched => self.catch(),
            Wake::Gap => {}
        }
    }

    /// Without a gate, looks who is writing at this moment: few writes last long enough to be caught.
    fn catch(&mut self) {
        self.sight.touched = true;
        let now = self.now();
        let is_free = self.can_catch() && self.sight.catching.is_free();
        let Some(watch) = self.watch.as_ref().filter(|_| is_free) else { return };
        self.sight.touched = false;
        let Touched::Paths(seen) = watch.take_touched() else { return };
        let paths = self.sight.catching.ask(now, seen.into_iter().map(|seen| seen.path));
        if !paths.is_empty() {
            let agents = self.trees.iter().filter(|(key, _)| key.part == Part::Agent);
            let trees: Vec<(TreeKey, u32)> = agents.map(|(k, tree)| (k.clone(), tree.root())).collect();
            self.lookups.writers(paths, trees, News::Caught);
        }
    }

    /// There are trees, and all can be looked at: one that is just being started may have written already.
    fn can_catch(&self) -> bool {
        self.starting.is_empty() && self.trees.keys().any(|key| key.part == Part::Agent)
    }

    /// A tree has been started: what was left to look at is looked at now.
    pub(super) fn catch_up(&mut self) {
        if self.sight.touched && !self.layers.gate {
            self.catch();
        }
    }

    pub(super) fn caught(&mut self, caught: Vec<(TreeKey, RepoPath, PathFacts)>) -> Vec<Event> {
        let found = caught.iter().map(|(_, path, _)| path).collect();
        self.sight.catching.answered(self.clock.now(), &found);
        self.catch_up();
        let event = |(key, path, facts): (TreeKey, RepoPath, PathFacts)| {
            let target = Target { path, touch: Touch::Open, there: facts.there };
            Event::Caught { id: key.id, target, facts }
        };
        caught.into_iter().map(event).collect()
    }

    /// When the watch is to be looked at.
    pub(super) fn look_due(&self) -> Option<Moment> {
        if self.layers.gate {
            self.sight.look_due.filter(|_| self.sight.look.is_none())
        } else {
            self.sight.catching.due().filter(|_| self.watch.is_some() && self.can_catch())
        }
    }

    /// Takes what the watch saw, and asks every tree to tell what it was let do before; without a gate, who writes it.
    pub(super) fn look(&mut self) {
        if !self.layers.gate {
            return self.catch();
        }
        self.sight.look_due = None;
        let Some(watch) = &self.watch else { return };
        if !self.starting.is_empty() {
            // One that is just being started may have written already, and cannot be asked yet.
            self.sight.look_due = Some(self.now() + LOOK_DELAY);
            return;
        }
        let Touched::Paths(touched) = watch.take_touched() else { return };
        let paths: Vec<RepoPath> = touched.into_iter().map(|seen| seen.path).collect();
        let tallies = watch.tallies(&paths);
        let number = self.sight.next_look;
        self.sight.next_look += 1;
        let gated = |key: &&TreeKey| self.trees.contains_key(key);
        let waits_for: BTreeSet<TreeKey> = self.trees.keys().filter(gated).cloned().collect();
        for tree in self.trees.values() {
            tree.flush(number);
        }
        self.sight.look = Some(Look { number, seen: paths.into_iter().zip(tallies).collect(), waits_for });
    }

    /// A tree has told all that it was let do before it was asked, or is gone.
    pub(super) fn flushed(&mut self, key: &TreeKey, number: Option<u64>) {
        if let Some(look) = &mut self.sight.look
            && number.is_none_or(|number| number == look.number)
        {
            look.waits_for.remove(key);
        }
    }

    /// What somebody outside every tree wrote, once every tree has told.
    pub(super) fn looked(&mut self) -> Option<Event> {
        let look = self.sight.look.take_if(|look| look.waits_for.is_empty())?;
        let mut paths = self.sight.outside.news(look.seen);
        if !paths.is_empty() {
            // The supervisor removes these itself.
            let scratch: BTreeSet<RepoPath> = self.session.launches.values().flat_map(scratch_of).collect();
            paths.retain(|path| !scratch.contains(path));
        }
        (!paths.is_empty()).then_some(Event::OutsideWrite { paths })
    }

    // --- conflicts --------------------------------------------------------------------------------

    pub(super) fn check_conflict(&self, conflict: ConflictId, path: RepoPath, expect: Expected) {
        self.ask_git(move |git| {
            let outcome = match git.conflict_free(&path, expect) {
                Ok(Verified { markers: true, .. }) => Verification::Markers,
                Ok(Verified { same: true, .. }) => Verification::Clean,
                Ok(_) => Verification::Changed,
                Err(error) => Verification::Unknown { error: error.to_string() },
            };
            Some(Event::ConflictChecked { conflict, outcome })
        });
    }
}

/// The directories that an agent's runner makes for itself in the workspace.
fn scratch_of(launch: &Launch) -> Vec<RepoPath> {
    let home = launch.cwd.as_ref().map_or(Vec::new(), |cwd| [cwd.as_bytes(), b"/"].concat());
    let path = |name: &&str| RepoPath::new(&[&home, name.as_bytes()].concat()).ok();
    runner::scratch_directories(launch.kind).iter().filter_map(path).collect()
}

/// The directories that no agent writes: git's, wherever they lie, and the supervisor's own.
pub(super) fn forbidden(repository: &crate::host::git::Repository) -> Vec<PathBuf> {
    repository.git_dirs()
}
