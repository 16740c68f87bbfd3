//! A session as a file beside its run's journal: how its agents are launched, all texts filled in, so that the
//! run can be taken up again when prompt files and directories have changed, or are gone.
//!
//! Invariant: what is written is read back as the same session. Names that were released never change; a field
//! added later has a `#[serde(default)]`.
//!
//! Deliberately absent: the plan, which is kept by itself (the journal's records are applied to it).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::hooks::Hook;
use super::plan::{GitHooks, Ground, Launch, Session};
use crate::core::agent::Plan;
use crate::core::ids::AgentId;

/// The format that is written here, and the newest that is read.
pub const KEPT_VERSION: u32 = 1;

/// Why a kept session cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    #[error("it is not the kept session of a run")]
    NotKept(#[source] serde_json::Error),
    #[error("it has format version {found}; this program reads up to {KEPT_VERSION}")]
    NewerVersion { found: u32 },
    #[error("it does not say how to launch {agent}")]
    Missing { agent: AgentId },
}

#[derive(Serialize, Deserialize)]
struct FileForm {
    version: u32,
    name: String,
    branch: Option<String>,
    git_hooks: GitHooks,
    salvage_days: u32,
    #[serde(default)]
    hooks: Vec<Hook>,
    launches: BTreeMap<String, Launch>,
    #[serde(default)]
    ground: Ground,
}

/// The text of the file.
pub fn write(session: &Session) -> Result<Vec<u8>, serde_json::Error> {
    let launches = session.launches.iter().map(|(id, launch)| (id.to_string(), launch.clone())).collect();
    let mut text = serde_json::to_vec(&FileForm {
        version: KEPT_VERSION,
        name: session.name.clone(),
        branch: session.branch.clone(),
        git_hooks: session.git_hooks,
        salvage_days: session.salvage_days,
        hooks: session.hooks.clone(),
        launches,
        ground: session.ground.clone(),
    })?;
    text.push(b'\n');
    Ok(text)
}

/// Reads the text of the file, for this plan. `source`: the text of the session file, as it was read.
pub fn read(text: &[u8], plan: Plan, source: String) -> Result<Session, KeptError> {
    #[derive(Deserialize)]
    struct Any {
        version: u32,
    }
    let Any { version } = serde_json::from_slice(text).map_err(KeptError::NotKept)?;
    if version > KEPT_VERSION {
        return Err(KeptError::NewerVersion { found: version });
    }
    let form: FileForm = serde_json::from_slice(text).map_err(KeptError::NotKept)?;
    let launches = form.launches.into_iter().filter_map(|(id, launch)| Some((AgentId::new(&id).ok()?, launch)));
    let launches: BTreeMap<AgentId, Launch> = launches.collect();
    if let Some(agent) = plan.agents.iter().find(|agent| !launches.contains_key(&agent.id)) {
        return Err(KeptError::Missing { agent: agent.id.clone() });
    }
    Ok(Session {
        name: form.name,
        plan,
        launches,
        branch: form.branch,
        // It is a moment of the plan by now.
        stop_at: None,
        hooks: form.hooks,
        git_hooks: form.git_hooks,
        salvage_days: form.salvage_days,
        source,
        ground: form.ground,
    })
}

/// The sections of agents that were added to a run, by id.
pub fn added(text: &[u8]) -> Result<BTreeMap<String, String>, KeptError> {
    #[derive(Default, Deserialize)]
    struct Form {
        #[serde(default)]
        ground: Ground,
    }
    let form: Form = serde_json::from_slice(text).map_err(KeptError::NotKept)?;
    Ok(form.ground.added)
}

/// For `#[serde(with = "as_text")]`: a runner's name.
pub(super) mod as_text {
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::core::ids::RunnerName;

    pub(in crate::session) fn serialize<S: Serializer>(value: &RunnerName, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(value.as_str())
    }

    pub(in crate::session) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<RunnerName, D::Error> {
        String::deserialize(input).map(|text| RunnerName::new(&text))
    }
}

/// For `#[serde(with = "as_path")]`: a path of the workspace, which a session file can only name as text.
pub(super) mod as_path {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, de, ser};

    use crate::core::path::RepoPath;

    #[expect(clippy::ref_option, reason = "serde passes the field")]
    pub(in crate::session) fn serialize<S: Serializer>(value: &Option<RepoPath>, out: S) -> Result<S::Ok, S::Error> {
        let text = value.as_ref().map(|path| std::str::from_utf8(path.as_bytes())).transpose();
        text.map_err(ser::Error::custom)?.serialize(out)
    }

    pub(in crate::session) fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Option<RepoPath>, D::Error> {
        let text = Option::<String>::deserialize(input)?;
        text.map(|text| RepoPath::new(text.as_bytes())).transpose().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{LoadOptions, Origin, load};

    #[test]
    fn a_session_is_read_back_as_it_was() {
        let text = r#"
            [session]
            name = "kept"
            branch = "agents/{{session}}"
            git_hooks = "run"
            [hooks]
            on_attention = "cat"
            on_run_end = ["tee", "x"]
            [[agent]]
            id = "a"
            command = ["./x", "{{prompt_file}}", "{{attempt}}/{{slot}}"]
            prompt = "say {{{{ {{id}} {{attempt}}"
            files = ["a"]
            cwd = "sub"
            env = { PORT = "80{{slot}}" }
            env_pass = ["HOME"]
            verify = ["true", "test {{attempt}}"]
            verify_in = "commit"
            [[agent]]
            id = "b"
            tags = ["t"]
            runner = "claude"
            model = "m"
            prompt = "p"
        "#;
        let origin = Origin::Embedded;
        let session = load(&origin, text.as_bytes(), &LoadOptions::default()).unwrap().session;
        let written = write(&session).unwrap();
        let again = read(&written, session.plan.clone(), session.source.clone()).unwrap();
        assert_eq!(format!("{again:?}"), format!("{session:?}"));
        assert_eq!(again.ground.tags["b"], ["t"]);
        assert!(matches!(
            read(b"{\"version\":2}", session.plan.clone(), String::new()),
            Err(KeptError::NewerVersion { found: 2 })
        ));
        assert!(matches!(read(b"{", session.plan.clone(), String::new()), Err(KeptError::NotKept(_))));
        let empty = br#"{"version":1,"name":"n","branch":null,"git_hooks":"skip","salvage_days":1,"launches":{}}"#;
        assert!(matches!(read(empty, session.plan, String::new()), Err(KeptError::Missing { .. })));
    }
}
