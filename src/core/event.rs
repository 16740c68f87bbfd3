//! What the supervisor is told: answers to its effects, and news from outside.
//!
//! Invariant: an event says what happened and never what to do. Events about an attempt that is no
//! longer the live one of its agent are ignored by `decide`; they may come late.

use super::agent::AgentPlan;
use super::call::{CallId, Refusal, Target};
use super::change::{Change, ObjectId};
use super::claim::Pattern;
use super::conflict::{ConflictId, Verification, Wish};
use super::effect::{Part, PlaceIntent, Purpose};
use super::facts::PathFacts;
use super::ids::{AgentId, AttemptId};
use super::path::RepoPath;
use super::reason::{Exit, Interrupt, Quiet};
use super::record::{ProcessId, Summary};
use super::steer::Stop;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Nothing new, or a deadline of [`super::supervisor::Supervisor::next_deadline`] has come: look
    /// what can start, what is over, what is due. The driver sends it after every batch of other
    /// events until the step that comes back is empty.
    Turn,
    /// A signal, or a person from elsewhere, asked the supervisor to stop. The first stops in order, the second at once.
    Interrupted(Interrupt),

    /// Answer to `Prepare`.
    Prepared { id: AttemptId, outcome: Preparation },
    /// Answer to `Return`.
    Returned { id: AttemptId, outcome: Result<(), ReturnRefusal> },
    /// The attempt's runner said by what name it could be continued.
    ThreadKnown { id: AttemptId, thread: String },
    /// Answer to `Spawn`.
    Spawned { id: AttemptId, process: ProcessId },
    /// Answer to `Spawn`: nothing was started.
    SpawnFailed { id: AttemptId, error: String },
    /// The whole tree of the attempt's agent is gone and its logs are closed: the end of every
    /// `Spawn` that gave `Spawned`, asked for or not.
    TreeEnded { id: AttemptId, exit: Exit, summary: Summary },
    /// The attempt's shim died without an exit record; whatever was left of its tree was ended.
    ShimLost { id: AttemptId },
    /// Answer to `Sample`: how long the attempt has shown no sign of life (no output, no CPU time).
    Sampled { id: AttemptId, quiet: Quiet },

    /// Comes before the end of a tree (the agent's, or its verify command's), or before the answer that
    /// it was not spawned: so many of its processes could not be ended.
    Survived { id: AttemptId, count: u32 },

    /// A call of the tree waits for an answer. → `Effect::Answer`
    Asked { id: AttemptId, part: Part, call: CallId, targets: Vec<(Target, PathFacts)> },
    /// The tree was let write these paths.
    Wrote { id: AttemptId, part: Part, paths: Vec<RepoPath> },
    /// The tree's shim refused this by itself.
    Refused { id: AttemptId, part: Part, refusal: Refusal },
    /// Where there is no gate: the tree was seen to have this path open for writing, and no other tree
    /// has. The write cannot be refused any more.
    Caught { id: AttemptId, target: Target, facts: PathFacts },
    /// What was at a path before the attempt could not be kept, so the call was refused after all.
    NotKept { id: AttemptId, part: Part, path: RepoPath, error: String },
    /// Somebody outside every tree wrote these.
    OutsideWrite { paths: Vec<RepoPath> },
    /// Somebody wants a conflict resolved so; `None`: the only open one.
    ResolveAsked { conflict: Option<ConflictId>, wish: Wish },
    /// Somebody wants an agent's locks back.
    ReleaseAsked { agent: AgentId },
    /// The run was taken up again (`RunResumed` is applied), and nothing is left of the trees of before.
    Resumed,
    /// Somebody wants these agents stopped.
    StopAsked { agents: Vec<AgentId>, how: Stop },
    /// Somebody wants nothing more started, of this phase or at all.
    CompleteAsked { phase: Option<usize> },
    /// Somebody wants a checkpoint now, of this agent or of all that run.
    CheckpointAsked { agent: Option<AgentId> },
    /// Somebody wants an agent to be let write more.
    GrantAsked { agent: AgentId, pattern: Pattern },
    /// Somebody wants this agent to take part. Where its rank puts it among the others is not said yet.
    RegisterAsked { agent: Box<AgentPlan> },
    /// Answer to `CheckConflict`.
    ConflictChecked { conflict: ConflictId, outcome: Verification },

    /// Answer to `Measure`.
    Measured { id: AttemptId, outcome: Result<Measured, String> },
    /// Answer to `Freeze`.
    Frozen { id: AttemptId, purpose: Purpose, outcome: Result<ObjectId, String> },
    /// Answer to `Checkpoint`; `None`: nothing has changed since the last.
    Checkpointed { id: AttemptId, outcome: Result<Option<ObjectId>, String> },
    /// Answer to `Verify`, whole tree gone. `tail`: the end of its output, bounded.
    Verified { id: AttemptId, exit: Exit, tail: String },
    /// Answer to `PreparePlace`. While the intent is held, nobody else can write the index.
    PlacePrepared { id: AttemptId, outcome: Result<PlaceIntent, PlaceRefusal> },
    /// Answer to `Place`.
    Placed { id: AttemptId, outcome: Result<Placement, PlaceRefusal> },
    /// Answer to `Restore`.
    Restored { id: AttemptId, restored: Vec<RepoPath>, left: Vec<RepoPath> },
    /// Answer to `Survey`: changed paths of the whole tree that no agent's record explains.
    Surveyed { unattributed: Vec<RepoPath> },
}

/// What differs from the attempt's baseline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// Within its claim and the paths that were admitted.
    pub own: Vec<Change>,
    /// Elsewhere.
    pub beyond: Vec<Change>,
    /// Paths of these that somebody outside every tree wrote since the attempt began, up to the end of the
    /// comparison.
    pub outside: Vec<RepoPath>,
    /// The gate let more through than it could tell: that a path was not told of means nothing.
    pub untold: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Preparation {
    /// The baseline is taken. `dirty` is empty unless the plan allows dirty claims.
    Ready { dirty: Vec<RepoPath> },
    /// Claimed paths differ from git; no baseline was taken.
    Dirty { paths: Vec<RepoPath> },
    /// Git or the file system failed (bounded text).
    Failed { error: String },
}

/// The branch now holds the attempt's commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    pub commit: ObjectId,
    /// Paths whose index entry was the user's own and was therefore left as it is.
    pub index_left: Vec<RepoPath>,
}

/// Why the kept work of an earlier attempt is not in the tree. Nothing of it is, save for `Stuck`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReturnRefusal {
    /// HEAD holds something else at these paths than it did before the work.
    HeadChanged { paths: Vec<RepoPath> },
    /// At these, the tree or the index holds something else than HEAD.
    Occupied { paths: Vec<RepoPath> },
    /// Git or the file system failed (bounded text).
    Failed { error: String },
    /// The same, and what was put back could not be taken away again.
    Stuck { error: String },
}

/// Why a frozen commit could not go on the branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlaceRefusal {
    /// Somebody committed between the preparation and the move; a new preparation may succeed.
    Moved,
    /// A supervisor that is gone meant to move the branch, and had not.
    NotBegun,
    /// The branch is another one, or its history no longer holds what it held.
    BranchMoved,
    /// Paths changed on disk since the freeze, or in commits that came in since the baseline.
    ChangedUnderneath { paths: Vec<RepoPath> },
    /// A hook refused or changed files.
    Hook { error: String },
    /// `index.lock` stayed taken, or git failed (bounded text).
    Git { error: String },
}
