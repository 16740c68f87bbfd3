//! What is known of one agent.
//!
//! Invariant: an agent is in exactly one [`Lifecycle`]; what belongs to one of them is inside it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::core::agent::Plan;
use crate::core::call::{RefusedPath, Touch};
use crate::core::change::{Attribution, ObjectId};
use crate::core::claim::Pattern;
use crate::core::conflict::{Analysis, ConflictId, Decider, Found, Recommendation, Resolution, Verification};
use crate::core::effect::{PlaceIntent, Purpose};
use crate::core::ids::{AgentId, Attempt, AttemptId, Slot};
use crate::core::lifecycle::State;
use crate::core::moment::Moment;
use crate::core::path::RepoPath;
use crate::core::queue::Seat;
use crate::core::reason::{DenialReason, EndReason, Exit};
use crate::core::record::{Admission, Fate, Need, ProcessId, Usage, Write};
use crate::core::steer::Stop;
use crate::core::view::{Began, VerifyView};

#[derive(Clone, Debug)]
pub(super) struct AgentRun {
    pub(super) lifecycle: Lifecycle,
    /// Dependencies that are not satisfied yet.
    pub(super) unmet: usize,
    /// Was an attempt ever launched?
    pub(super) started: bool,
    /// Number of the latest attempt; 0: none.
    pub(super) attempts: u32,
    pub(super) retries: u32,
    /// Has the last AgentWaits about it said BLOCKED?
    pub(super) noted: Noted,
    /// Over all attempts.
    pub(super) usage: Option<Usage>,
    /// Attempts whose work is kept beside the branch.
    pub(super) salvage: Vec<Attempt>,
    /// Paths that joined its exclusive claim, because it met somebody else's lock on them.
    pub(super) added: BTreeSet<RepoPath>,
    /// How often it went back to the queue because of others.
    pub(super) requeues: u32,
    /// How somebody stopped it while it ran.
    pub(super) stop: Option<Stop>,
    /// What the next attempt is to go on with.
    pub(super) earlier: Option<Earlier>,
    pub(super) latest: Latest,
}

#[derive(Clone, Debug)]
pub(super) enum Lifecycle {
    Registered,
    Waiting(Wait),
    Live(Box<Live>),
    Ended { state: State, reason: Option<EndReason> },
}

/// What an agent that waits is known to lack by itself; what it lacks because of others (phase,
/// dependencies, locks, slots) is found where that is kept.
#[derive(Clone, Debug)]
pub(super) enum Wait {
    Turn,
    Backoff { until: Moment },
    Clean { paths: Vec<RepoPath>, more: usize },
}

/// What the journal last said of a waiting agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Noted {
    Waiting,
    Locked,
}

/// An attempt that holds a lease.
#[derive(Clone, Debug)]
pub(super) struct Live {
    pub(super) id: AttemptId,
    pub(super) slot: Slot,
    pub(super) stage: Stage,
    pub(super) process: Option<ProcessId>,
    /// Claimed paths that differed from git when it began.
    pub(super) dirty: BTreeSet<RepoPath>,
    /// Why its tree is being ended; the first reason stays.
    pub(super) ending: Option<EndReason>,
    /// Why it will not complete.
    pub(super) failing: Option<EndReason>,
    /// It ended on a rate limit, and has waited for enough of them.
    pub(super) gives_up: bool,
    /// A checkpoint is being made.
    pub(super) checkpointing: bool,
    pub(super) checkpoint: Option<ObjectId>,
    pub(super) frozen: Option<(Purpose, ObjectId)>,
    /// How often somebody committed while its work was being placed.
    pub(super) moved: u32,
    /// When it was launched.
    pub(super) started: Moment,
    /// What the gate let it write.
    pub(super) wrote: BTreeSet<RepoPath>,
    /// What it was told to look at again, and has not written since.
    pub(super) busy: BTreeSet<RepoPath>,
    /// When it was told so, because of a change.
    pub(super) refreshed: BTreeMap<RepoPath, Moment>,
    /// Paths that it locked one by one.
    pub(super) locked: BTreeSet<RepoPath>,
    /// Paths that it may write without a lock.
    pub(super) admitted: BTreeMap<RepoPath, Admission>,
    /// What joined its claim since it began.
    pub(super) granted: Vec<Pattern>,
    /// Both, save what git ignores: nobody else may lock any of these while it lives.
    pub(super) held: BTreeSet<RepoPath>,
    /// Conflicts that it caused and that nobody has decided yet.
    pub(super) contested: BTreeSet<ConflictId>,
    /// The attempt that it goes on with, or was to go on with.
    pub(super) earlier: Option<Box<Earlier>>,
    /// Paths of that one's work that were put back, and how sure it was whose they are.
    pub(super) returned: BTreeMap<RepoPath, Attribution>,
    pub(super) thread: Thread,
}

/// An attempt that another one may go on with.
#[derive(Clone, Debug)]
pub(super) struct Earlier {
    pub(super) attempt: Attempt,
    pub(super) thread: Option<String>,
    pub(super) why: EndReason,
    /// What was counted of its thread.
    pub(super) used: Option<Usage>,
    /// The commit that holds its work.
    pub(super) commit: Option<ObjectId>,
    pub(super) writes: Vec<Write>,
}

/// What is known of the thread of an attempt.
#[derive(Clone, Debug, Default)]
pub(super) struct Thread {
    /// What it is called: by the attempt itself, or by the one that it goes on with.
    pub(super) name: Option<String>,
    /// The attempt itself said so.
    pub(super) is_confirmed: bool,
    /// What was counted of it, in all its attempts.
    pub(super) used: Option<Usage>,
}

/// How far a live attempt is: the answer that it waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Preparing,
    /// The work of an earlier attempt is being put back.
    Returning,
    Starting,
    Running,
    Measuring,
    Freezing,
    Verifying {
        since: Moment,
    },
    /// In the line of those that wait for the branch.
    Placing {
        intent: Option<PlaceIntent>,
    },
    /// It has done its part; what may not be committed is kept beside the branch.
    Parting,
    /// It will not complete: salvaging, restoring.
    Closing,
}

/// Facts of the latest attempt, for the view.
#[derive(Clone, Debug, Default)]
pub(super) struct Latest {
    pub(super) started_at: Option<Moment>,
    pub(super) ended_at: Option<Moment>,
    pub(super) exit: Option<Exit>,
    pub(super) writes: Vec<Write>,
    pub(super) denied: BTreeMap<(RefusedPath, DenialReason), Touch>,
    pub(super) warned: BTreeSet<RepoPath>,
    pub(super) index_left: Vec<RepoPath>,
    pub(super) not_restored: Vec<RepoPath>,
    /// Putting back was tried.
    pub(super) restored: bool,
    pub(super) needs: Vec<Need>,
    pub(super) message: Option<String>,
    pub(super) commit: Option<ObjectId>,
    pub(super) verify: Option<VerifyView>,
    pub(super) began: Option<Began>,
}

impl AgentRun {
    pub(super) fn new(unmet: usize) -> Self {
        Self {
            lifecycle: Lifecycle::Registered,
            unmet,
            started: false,
            attempts: 0,
            retries: 0,
            noted: Noted::Waiting,
            usage: None,
            salvage: Vec::new(),
            added: BTreeSet::new(),
            requeues: 0,
            stop: None,
            earlier: None,
            latest: Latest::default(),
        }
    }

    pub(super) fn live(&self) -> Option<&Live> {
        match &self.lifecycle {
            Lifecycle::Live(live) => Some(live),
            _ => None,
        }
    }

    /// What it changed that is neither committed nor put back.
    pub(super) fn in_tree(&self) -> Vec<RepoPath> {
        let completed = match &self.lifecycle {
            Lifecycle::Ended { state, .. } => Some(*state == State::Completed),
            _ => None,
        };
        let is_left = |write: &&Write| match write.fate {
            Fate::Commit | Fate::CommitMixed => completed == Some(false) && !self.latest.restored,
            Fate::Mixed => completed == Some(false) && !write.is_undone(),
            Fate::SalvageOnly => completed.is_some() && !self.latest.restored,
            Fate::Leave => write.attribution != Attribution::Unknown,
        };
        self.latest.writes.iter().filter(is_left).map(|write| write.change.path.clone()).collect()
    }

    /// The state by what is known of the agent alone: a lock in its way makes WAITING BLOCKED.
    pub(super) fn state(&self) -> State {
        match &self.lifecycle {
            Lifecycle::Registered => State::Registered,
            Lifecycle::Waiting(Wait::Clean { .. }) => State::Blocked,
            Lifecycle::Waiting(_) => State::Waiting,
            Lifecycle::Live(live) => live.state(),
            Lifecycle::Ended { state, .. } => *state,
        }
    }
}

impl Live {
    /// `added`: what it locks beside its claim.
    pub(super) fn new(id: AttemptId, slot: Slot, added: BTreeSet<RepoPath>) -> Self {
        Self {
            id,
            slot,
            stage: Stage::Preparing,
            process: None,
            dirty: BTreeSet::new(),
            ending: None,
            failing: None,
            gives_up: false,
            checkpointing: false,
            checkpoint: None,
            frozen: None,
            moved: 0,
            started: Moment::ZERO,
            wrote: BTreeSet::new(),
            busy: BTreeSet::new(),
            refreshed: BTreeMap::new(),
            held: added.clone(),
            locked: added,
            admitted: BTreeMap::new(),
            granted: Vec::new(),
            contested: BTreeSet::new(),
            earlier: None,
            returned: BTreeMap::new(),
            thread: Thread::default(),
        }
    }

    fn state(&self) -> State {
        match (&self.stage, &self.failing) {
            (Stage::Preparing, _) => State::Waiting,
            (Stage::Running, _) if !self.contested.is_empty() => State::Conflict,
            (Stage::Returning | Stage::Starting | Stage::Running, _) => State::Running,
            (_, None) => State::Completing,
            (_, Some(reason)) => reason.state(),
        }
    }
}

pub(super) fn paths(writes: &[Write], want: impl Fn(Fate) -> bool) -> Vec<RepoPath> {
    writes.iter().filter(|w| want(w.fate)).map(|w| w.change.path.clone()).collect()
}

/// A conflict, as far as it has come.
#[derive(Clone, Debug)]
pub(super) struct Conflict {
    pub(super) found_at: Moment,
    pub(super) found: Found,
    pub(super) analysis: Option<Analysis>,
    pub(super) recommendation: Option<Recommendation>,
    pub(super) resolution: Option<(Resolution, Decider)>,
    pub(super) verification: Option<Verification>,
}

impl Conflict {
    pub(super) fn new(found_at: Moment, found: Found) -> Self {
        Self { found_at, found, analysis: None, recommendation: None, resolution: None, verification: None }
    }

    /// Was it decided for the writer?
    pub(super) fn keeps_writer(&self) -> bool {
        matches!(self.resolution, Some((Resolution::EndHolder | Resolution::RequeueHolder, _)))
    }
}

/// A runner's rate limit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RunnerRun {
    pub(super) paused_until: Option<Moment>,
    /// Pauses since an agent of it last ended well.
    pub(super) pauses: u32,
    /// Their total length.
    pub(super) paused_for: Duration,
}

/// Where the run is among its phases.
#[derive(Clone, Debug)]
pub(super) struct Phases {
    /// The first that has agents and has not ended.
    pub(super) current: usize,
    pub(super) is_open: bool,
    /// Agents of each. What has none is passed over without a word.
    pub(super) agents: Vec<usize>,
    /// Agents of each that have not ended.
    pub(super) left: Vec<usize>,
    /// Agents of each that ended without completing.
    pub(super) failed: Vec<usize>,
    /// The phase whose failure stops the later ones.
    pub(super) stopped_by: Option<usize>,
    /// Of which nothing more is started, by somebody's wish.
    pub(super) closing: BTreeSet<usize>,
}

impl Phases {
    pub(super) fn new(plan: &Plan) -> Self {
        let mut agents = vec![0; plan.phases.len()];
        for agent in &plan.agents {
            agents[agent.rank.phase] += 1;
        }
        let (left, failed) = (agents.clone(), vec![0; agents.len()]);
        let current = agents.iter().position(|&agents| agents > 0).unwrap_or(0);
        Self { current, is_open: false, agents, left, failed, stopped_by: None, closing: BTreeSet::new() }
    }

    /// The first after `phase` that has agents, else the end of all.
    pub(super) fn after(&self, phase: usize) -> usize {
        let later = self.agents.iter().enumerate().skip(phase + 1);
        later.filter(|(_, agents)| **agents > 0).map(|(at, _)| at).next().unwrap_or(self.agents.len())
    }

    pub(super) fn all_ended(&self) -> bool {
        self.current >= self.left.len()
    }

    pub(super) fn is_open(&self, phase: usize) -> bool {
        self.is_open && self.current == phase
    }
}

/// Who waits for what.
#[derive(Clone, Debug)]
pub(super) struct Edge {
    pub(super) dependent: Seat,
    pub(super) wait_for_completion: bool,
}

/// Attempts in line for the branch; the first is being placed.
pub(super) type PlaceLine = VecDeque<Seat>;

/// An agent that will be skipped, and the dependency that did not complete.
pub(super) type Doomed = BTreeMap<Seat, AgentId>;
