//! The plan of a run as a file beside its journal: what the records are applied to when a run is
//! looked at later.
//!
//! The session file cannot stand in for it: prompt files may be gone, directories that `each` listed
//! may have changed, and what the command line chose is not in it.
//!
//! Invariant: a plan that is written is read back as the same plan, in particular with every pattern
//! matching the same paths. Names that were released never change; a field added later has a
//! `#[serde(default)]`.
//!
//! Deliberately absent: how agents are launched, of which only the kind of the runner is kept.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::wire::{In, Out, Wire, mirrored, via};
use crate::core::agent::{
    AgentPlan, Dependency, IgnoredPaths, OnAbort, OnConflict, OnDenied, OnDependencyFailure, OnOutsideEdit,
    OnPhaseFailure, OnUndeclared, PhasePlan, Plan, Priority, Rank, RetryMode,
};
use crate::core::claim::{Claim, Pattern};
use crate::core::ids::{AgentId, RunnerName};
use crate::core::moment::Moment;

/// The format that is written here, and the newest that is read.
pub const PLAN_VERSION: u32 = 1;

/// What is kept of a session for looking at its run.
#[derive(Clone, Debug)]
pub struct KeptPlan {
    pub plan: Plan,
    /// In which form each agent's output is, as the session names the kinds of runners.
    pub kinds: BTreeMap<AgentId, String>,
}

/// Why a plan cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error("it is not the plan of a run")]
    NotAPlan,
    #[error("it has format version {found}; this program reads up to {PLAN_VERSION}")]
    NewerVersion { found: u32 },
    #[error("it cannot be read")]
    Unreadable(#[source] serde_json::Error),
}

/// The text of the file.
pub fn write_plan(kept: &KeptPlan) -> Result<Vec<u8>, serde_json::Error> {
    #[derive(Serialize)]
    struct FileForm<'a> {
        version: u32,
        kinds: BTreeMap<&'a str, &'a str>,
        plan: Out<'a, Plan>,
    }
    let kinds = kept.kinds.iter().map(|(agent, kind)| (agent.as_str(), kind.as_str())).collect();
    let mut text = serde_json::to_vec(&FileForm { version: PLAN_VERSION, kinds, plan: Out(&kept.plan) })?;
    text.push(b'\n');
    Ok(text)
}

/// Reads the text of the file.
pub fn read_plan(text: &[u8]) -> Result<KeptPlan, PlanError> {
    #[derive(Deserialize)]
    struct Any {
        version: u32,
    }
    #[derive(Deserialize)]
    struct FileForm {
        #[serde(default)]
        kinds: BTreeMap<String, String>,
        plan: In<Plan>,
    }
    match serde_json::from_slice::<Any>(text) {
        Ok(Any { version }) if version > PLAN_VERSION => return Err(PlanError::NewerVersion { found: version }),
        Ok(_) => {}
        Err(_) => return Err(PlanError::NotAPlan),
    }
    let form: FileForm = serde_json::from_slice(text).map_err(PlanError::Unreadable)?;
    let kinds = form.kinds.into_iter().filter_map(|(agent, kind)| Some((AgentId::new(&agent).ok()?, kind)));
    Ok(KeptPlan { kinds: kinds.collect(), plan: form.plan.0 })
}

mirrored! {
    Plan => PlanForm, PhasePlan => PhasePlanForm, OnPhaseFailure => OnPhaseFailureForm, AgentPlan => AgentPlanForm,
    Rank => RankForm, Claim => ClaimForm, Dependency => DependencyForm, OnDependencyFailure => OnDependencyFailureForm,
    RetryMode => RetryModeForm, OnUndeclared => OnUndeclaredForm, OnConflict => OnConflictForm,
    OnAbort => OnAbortForm, OnOutsideEdit => OnOutsideEditForm, OnDenied => OnDeniedForm,
    IgnoredPaths => IgnoredPathsForm,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Plan")]
struct PlanForm {
    #[serde(with = "via")]
    phases: Vec<PhasePlan>,
    #[serde(with = "via")]
    agents: Vec<AgentPlan>,
    max_concurrent: NonZeroU32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fits: Option<NonZeroU32>,
    #[serde(with = "limits")]
    runner_limits: BTreeMap<RunnerName, NonZeroU32>,
    #[serde(with = "via")]
    stop_at: Option<Moment>,
    max_failures: Option<NonZeroU32>,
    max_tokens: Option<u64>,
    #[serde(rename = "checkpoint_interval_ms", with = "via")]
    checkpoint_interval: Option<Duration>,
    allow_dirty: bool,
}

mod limits {
    use super::{BTreeMap, Deserialize as _, Deserializer, NonZeroU32, RunnerName, Serializer};

    pub(super) fn serialize<S: Serializer>(
        limits: &BTreeMap<RunnerName, NonZeroU32>,
        out: S,
    ) -> Result<S::Ok, S::Error> {
        out.collect_map(limits.iter().map(|(runner, limit)| (runner.as_str(), limit)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        input: D,
    ) -> Result<BTreeMap<RunnerName, NonZeroU32>, D::Error> {
        let limits = BTreeMap::<String, NonZeroU32>::deserialize(input)?;
        Ok(limits.into_iter().map(|(runner, limit)| (RunnerName::new(&runner), limit)).collect())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "PhasePlan")]
struct PhasePlanForm {
    name: Option<String>,
    #[serde(with = "via")]
    on_failure: OnPhaseFailure,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "AgentPlan")]
struct AgentPlanForm {
    #[serde(with = "via")]
    id: AgentId,
    name: String,
    #[serde(with = "via")]
    rank: Rank,
    #[serde(with = "via")]
    runner: RunnerName,
    #[serde(with = "via")]
    claim: Claim,
    #[serde(with = "via")]
    depends_on: Vec<Dependency>,
    #[serde(with = "via")]
    on_dependency_failure: OnDependencyFailure,
    #[serde(rename = "timeout_ms", with = "via")]
    timeout: Duration,
    #[serde(rename = "idle_timeout_ms", with = "via")]
    idle_timeout: Option<Duration>,
    #[serde(rename = "lock_timeout_ms", with = "via")]
    lock_timeout: Duration,
    #[serde(rename = "grace_ms", with = "via")]
    grace: Duration,
    retries: u32,
    #[serde(with = "via")]
    retry: RetryMode,
    #[serde(rename = "verify_ms", with = "via")]
    verify: Option<Duration>,
    #[serde(with = "via")]
    on_undeclared: OnUndeclared,
    #[serde(with = "via")]
    on_conflict: OnConflict,
    #[serde(with = "via")]
    on_abort: OnAbort,
    #[serde(with = "via")]
    on_outside_edit: OnOutsideEdit,
    #[serde(with = "via")]
    on_denied: OnDenied,
    #[serde(with = "via")]
    ignored: IgnoredPaths,
    expect_changes: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Rank")]
struct RankForm {
    phase: usize,
    #[serde(with = "via")]
    priority: Priority,
    position: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Claim")]
struct ClaimForm {
    #[serde(with = "via")]
    exclusive: Vec<Pattern>,
    #[serde(with = "via")]
    late: Vec<Pattern>,
    #[serde(with = "via")]
    shared: Vec<Pattern>,
    #[serde(with = "via")]
    deny: Vec<Pattern>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Dependency")]
struct DependencyForm {
    #[serde(with = "via")]
    on: AgentId,
    wait_for_completion: bool,
}

/// Enums without data, by the words of the session file.
macro_rules! words {
    ($($core:literal $form:ident { $($word:ident),+ })+) => {$(
        #[derive(Serialize, Deserialize)]
        #[serde(remote = $core, rename_all = "snake_case")]
        enum $form { $($word),+ }
    )+};
}

words! {
    "OnPhaseFailure" OnPhaseFailureForm { Stop, Continue }
    "OnDependencyFailure" OnDependencyFailureForm { Skip, Run }
    "RetryMode" RetryModeForm { Restart, Continue, CannotContinue }
    "OnUndeclared" OnUndeclaredForm { Deny, Kill, Warn, Claim }
    "OnConflict" OnConflictForm { Terminate, Deny, Priority, Wait, Manual }
    "OnAbort" OnAbortForm { Restore, Keep }
    "OnOutsideEdit" OnOutsideEditForm { Fail, Commit }
    "OnDenied" OnDeniedForm { Warn, Fail }
    "IgnoredPaths" IgnoredPathsForm { Allow, Enforce }
}

impl Wire for Priority {
    fn to_wire<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_u8(self.get())
    }
    fn from_wire<'de, D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let number = i64::deserialize(input)?;
        Self::new(number).ok_or_else(|| serde::de::Error::custom("a priority is 1 to 5"))
    }
}

/// The text of a pattern; `{"file": TEXT}` where it was known to name a file.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum PatternForm {
    Text(String),
    File { file: String },
}

impl Wire for Pattern {
    fn to_wire<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let text = self.as_str().to_owned();
        if self.is_file() { PatternForm::File { file: text } } else { PatternForm::Text(text) }.serialize(out)
    }
    fn from_wire<'de, D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let (text, file) = match PatternForm::deserialize(input)? {
            PatternForm::Text(text) => (text, false),
            PatternForm::File { file } => (file, true),
        };
        let pattern = Self::new(&text).map_err(serde::de::Error::custom)?;
        Ok(if file { pattern.narrowed_to_file() } else { pattern })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::path::RepoPath;

    fn pattern(text: &str) -> Pattern {
        Pattern::new(text).unwrap()
    }

    fn agent(id: &str, position: u32) -> AgentPlan {
        AgentPlan {
            id: AgentId::new(id).unwrap(),
            name: "Ein Name".to_owned(),
            rank: Rank { phase: 1, priority: Priority::new(5).unwrap(), position },
            runner: RunnerName::new("fast"),
            claim: Claim {
                exclusive: vec![pattern("src/*.rs"), pattern("Cargo.toml").narrowed_to_file()],
                late: vec![pattern("a/"), pattern("{b,c}/d")],
                shared: vec![pattern("docs")],
                deny: vec![pattern("**/*.lock")],
            },
            depends_on: vec![Dependency { on: AgentId::new("x").unwrap(), wait_for_completion: false }],
            on_dependency_failure: OnDependencyFailure::Run,
            timeout: Duration::from_millis(1_500),
            idle_timeout: Some(Duration::from_secs(7)),
            lock_timeout: Duration::from_secs(9),
            grace: Duration::ZERO,
            retries: 3,
            retry: RetryMode::Continue,
            verify: Some(Duration::from_secs(11)),
            on_undeclared: OnUndeclared::Claim,
            on_conflict: OnConflict::Manual,
            on_abort: OnAbort::Keep,
            on_outside_edit: OnOutsideEdit::Commit,
            on_denied: OnDenied::Fail,
            ignored: IgnoredPaths::Enforce,
            expect_changes: true,
        }
    }

    fn kept() -> KeptPlan {
        let other = AgentPlan { idle_timeout: None, verify: None, claim: Claim::default(), ..agent("b", 1) };
        let phase = |name: Option<&str>, on_failure| PhasePlan { name: name.map(str::to_owned), on_failure };
        KeptPlan {
            kinds: BTreeMap::from([(AgentId::new("a").unwrap(), "codex".to_owned())]),
            plan: Plan {
                phases: vec![phase(Some("one"), OnPhaseFailure::Stop), phase(None, OnPhaseFailure::Continue)],
                agents: vec![agent("a", 0), other],
                max_concurrent: NonZeroU32::new(4).unwrap(),
                fits: None,
                runner_limits: BTreeMap::from([(RunnerName::new("fast"), NonZeroU32::MIN)]),
                stop_at: Some(Moment(77)),
                max_failures: NonZeroU32::new(2),
                max_tokens: Some(1 << 40),
                checkpoint_interval: Some(Duration::from_mins(5)),
                allow_dirty: true,
            },
        }
    }

    #[test]
    fn a_plan_survives_the_file() {
        let mut kept = kept();
        kept.plan.fits = NonZeroU32::new(3);
        let text = write_plan(&kept).unwrap();
        let back = read_plan(&text).unwrap();
        assert_eq!(format!("{back:?}"), format!("{kept:?}"));
        assert_eq!(write_plan(&back).unwrap(), text);
        // The debug form shows the text of a pattern and not what it means.
        let path = |text: &str| RepoPath::new(text.as_bytes()).unwrap();
        let claim = &back.plan.agents[0].claim;
        assert!(claim.exclusive[1].matches(&path("Cargo.toml")) && !claim.exclusive[1].matches(&path("Cargo.toml/x")));
        assert!(claim.shared[0].matches(&path("docs/x")));
        assert!(claim.late[1].matches(&path("c/d/e")));
    }

    /// A change of the form that is meant needs a new version and a new fixture.
    #[test]
    fn the_first_released_form_is_what_is_written_and_read() {
        let fixture = include_str!("../../tests/fixtures/plan/v1.json");
        assert_eq!(String::from_utf8(write_plan(&kept()).unwrap()).unwrap(), fixture);
        assert_eq!(format!("{:?}", read_plan(fixture.as_bytes()).unwrap()), format!("{:?}", kept()));
    }

    #[test]
    fn what_is_no_plan_is_named() {
        assert!(matches!(read_plan(b""), Err(PlanError::NotAPlan)));
        assert!(matches!(read_plan(b"{\"version\":99}"), Err(PlanError::NewerVersion { found: 99 })));
        assert!(matches!(read_plan(b"{\"version\":1}"), Err(PlanError::Unreadable(_))));
        let mut text = write_plan(&kept()).unwrap();
        text.truncate(text.len() / 2);
        assert!(matches!(read_plan(&text), Err(PlanError::NotAPlan)));
        let wrong = String::from_utf8(write_plan(&kept()).unwrap()).unwrap().replace("src/*.rs", "../x");
        assert!(matches!(read_plan(wrong.as_bytes()), Err(PlanError::Unreadable(_))));
    }
}
