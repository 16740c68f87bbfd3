//! The fake tree behind a fake gate: what a process of an attempt tries to write, when, and what its
//! shim answers without asking.
//!
//! Invariant: a path lands only if the shim was given it at the start, was granted it, or the call was
//! allowed; once a tree is gone nothing of it lands.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use supervise::core::call::{CallId, Grant, Target, There, Touch};
use supervise::core::claim::Claim;
use supervise::core::effect::Part;
use supervise::core::facts::{Ignored, PathFacts};
use supervise::core::ids::AttemptId;
use supervise::core::moment::Moment;
use supervise::core::path::RepoPath;

use super::world::path;

/// A call that a process of an attempt makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// After its tree was started.
    pub(crate) after: Duration,
    pub(crate) path: String,
    pub(crate) touch: Touch,
    /// How often it tries again when it was told that the path is busy, and after how long.
    pub(crate) retries: u32,
    pub(crate) pause: Duration,
}

/// Opens this file for writing so many seconds after the start.
pub(crate) fn write(seconds: u64, path: &str) -> Call {
    Call {
        after: Duration::from_secs(seconds),
        path: path.to_owned(),
        touch: Touch::Open,
        retries: 0,
        pause: Duration::from_secs(1),
    }
}

impl Call {
    pub(crate) fn touch(self, touch: Touch) -> Self {
        Self { touch, ..self }
    }
    pub(crate) fn retries(self, retries: u32) -> Self {
        Self { retries, ..self }
    }
}

/// What git says of a path of the fake workspace: `target/` and `*.log` and `.env` are ignored.
pub(crate) fn ignored(path: &RepoPath) -> Ignored {
    let text = path.to_string();
    if text == "target" || text.starts_with("target/") {
        Ignored::Beneath(super::world::path("target"))
    } else if is_log(&text) || text == ".env" {
        Ignored::File
    } else {
        Ignored::No
    }
}

fn is_log(text: &str) -> bool {
    text.strip_suffix(".log").is_some()
}

pub(crate) fn is_ignored(path: &RepoPath) -> bool {
    ignored(path) != Ignored::No
}

/// What is there before the run: everything but what is called new, and what a build would make.
fn is_new(path: &RepoPath) -> bool {
    let text = path.to_string();
    text.contains("new") || is_log(&text) || text.starts_with("target")
}

/// One tree and its shim.
#[derive(Debug)]
pub(crate) struct Tree {
    claim: Claim,
    granted: BTreeSet<RepoPath>,
    beneath: BTreeSet<RepoPath>,
    stale: BTreeSet<RepoPath>,
    /// What landed and was not told yet.
    untold: BTreeSet<RepoPath>,
}

/// All trees, and what they have done to the workspace.
#[derive(Debug, Default)]
pub(crate) struct Trees {
    alive: BTreeMap<(AttemptId, Part), Tree>,
    /// Files that were made since the start of the run.
    made: BTreeSet<RepoPath>,
    /// What each attempt's own tree wrote.
    pub(crate) landed: BTreeMap<AttemptId, BTreeSet<RepoPath>>,
    pub(crate) prepared: BTreeMap<AttemptId, Moment>,
    outside: Vec<(Moment, RepoPath)>,
    asked: u64,
    waiting: BTreeMap<CallId, (AttemptId, Part, Call, u32)>,
}

/// What the shim says by itself.
pub(crate) enum Shim {
    /// The tree is gone, or is not to be let: nothing happens.
    Nothing,
    Landed,
    Busy,
    Ask(CallId, Vec<(Target, PathFacts)>),
}

impl Trees {
    pub(crate) fn begin(&mut self, id: &AttemptId, part: Part, claim: Claim) {
        let tree = Tree {
            claim,
            granted: BTreeSet::new(),
            beneath: BTreeSet::new(),
            stale: BTreeSet::new(),
            untold: BTreeSet::new(),
        };
        self.alive.insert((id.clone(), part), tree);
        self.landed.entry(id.clone()).or_default();
    }

    /// It is gone: what it wrote and had not told.
    pub(crate) fn end(&mut self, id: &AttemptId, part: Part) -> Vec<RepoPath> {
        let gone = self.alive.remove(&(id.clone(), part));
        gone.map(|tree| tree.untold.into_iter().collect()).unwrap_or_default()
    }

    pub(crate) fn call(&mut self, id: &AttemptId, part: Part, call: &Call, tries: u32) -> Shim {
        let path = path(&call.path);
        let there = if is_new(&path) && !self.made.contains(&path) { There::Nothing } else { There::File };
        let Some(tree) = self.alive.get_mut(&(id.clone(), part)) else { return Shim::Nothing };
        if tree.claim.deny.iter().any(|pattern| pattern.matches(&path)) {
            return Shim::Nothing;
        }
        let own = part == Part::Agent && tree.claim.exclusive_matches(&path) && !is_ignored(&path);
        if own || tree.granted.contains(&path) || tree.beneath.iter().any(|top| path.is_within(top)) {
            if tree.stale.remove(&path) {
                return Shim::Busy;
            }
            self.land(id, part, &path, call.touch);
            return Shim::Landed;
        }
        self.asked += 1;
        let number = CallId(self.asked);
        self.waiting.insert(number, (id.clone(), part, call.clone(), tries));
        let facts = PathFacts { there, ignored: ignored(&path) };
        Shim::Ask(number, vec![(Target { path, touch: call.touch, there }, facts)])
    }

    /// The call that this answer is for.
    pub(crate) fn answered(&mut self, number: CallId) -> Option<(AttemptId, Part, Call, u32)> {
        self.waiting.remove(&number)
    }

    pub(crate) fn grant(&mut self, id: &AttemptId, part: Part, grants: &[Grant]) {
        let Some(tree) = self.alive.get_mut(&(id.clone(), part)) else { return };
        for grant in grants {
            match grant {
                Grant::Path(path) => tree.granted.insert(path.clone()),
                Grant::Beneath(path) => tree.beneath.insert(path.clone()),
            };
        }
    }

    pub(crate) fn withdraw(&mut self, id: &AttemptId) {
        for ((of, _), tree) in &mut self.alive {
            if of == id {
                tree.granted.clear();
                tree.beneath.clear();
            }
        }
    }

    pub(crate) fn land(&mut self, id: &AttemptId, part: Part, path: &RepoPath, touch: Touch) {
        if matches!(touch, Touch::MakeDirectory | Touch::RemoveDirectory) {
            return;
        }
        self.made.insert(path.clone());
        if part == Part::Agent {
            self.landed.entry(id.clone()).or_default().insert(path.clone());
        }
        if let Some(tree) = self.alive.get_mut(&(id.clone(), part)) {
            tree.untold.insert(path.clone());
        }
    }

    pub(crate) fn untold(&mut self, id: &AttemptId, part: Part) -> Vec<RepoPath> {
        let tree = self.alive.get_mut(&(id.clone(), part));
        tree.map(|tree| std::mem::take(&mut tree.untold).into_iter().collect()).unwrap_or_default()
    }

    pub(crate) fn spoil(&mut self, id: &AttemptId, paths: &[RepoPath]) {
        if let Some(tree) = self.alive.get_mut(&(id.clone(), Part::Agent)) {
            tree.stale.extend(paths.iter().cloned());
        }
    }

    pub(crate) fn put_back(&mut self, paths: &[RepoPath]) {
        for path in paths {
            self.made.remove(path);
        }
    }

    pub(crate) fn outsider(&mut self, now: Moment, paths: &[RepoPath]) {
        self.made.extend(paths.iter().cloned());
        self.outside.extend(paths.iter().map(|path| (now, path.clone())));
    }

    /// What somebody outside wrote since the attempt began.
    pub(crate) fn outside_since(&self, id: &AttemptId) -> BTreeSet<RepoPath> {
        let since = self.prepared.get(id).copied().unwrap_or(Moment::ZERO);
        self.outside.iter().filter(|(at, _)| *at >= since).map(|(_, path)| path.clone()).collect()
    }

    /// What other trees that are not put back have written.
    pub(crate) fn of_others(&self, id: &AttemptId) -> BTreeSet<RepoPath> {
        let others = self.alive.keys().filter(|(other, _)| other != id);
        others.filter_map(|(other, _)| self.landed.get(other)).flatten().cloned().collect()
    }
}
