//! The environment of an agent.
//!
//! Invariant: later layers win: the supervisor's environment (or, with `env_clear`, the named part
//! of it) without the variables that point git elsewhere; what sharing one tree needs; the
//! agent's `env`; who the agent is.

use std::collections::BTreeMap;
use std::ffi::OsString;

use crate::session::RunnerKind;

use super::launch::{Context, Environment, RunnerError};

/// Set by git for its hooks and aliases (git(1), "ENVIRONMENT VARIABLES"). A supervisor that was
/// started by one must not hand its repository, index or prefix on to agents.
const GIT_PLACES: &[&str] = &[
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_QUARANTINE_PATH",
];

/// The whole environment of the attempt.
pub(super) fn of(context: &Context<'_>) -> Result<Environment, RunnerError> {
    let launch = context.launch;
    let mut env: Environment = if launch.env_clear {
        let passed = launch.env_pass.iter().map(OsString::from);
        passed.filter_map(|name| context.environment.get(&name).map(|v| (name, v.clone()))).collect()
    } else {
        context.environment.clone()
    };
    for name in GIT_PLACES {
        env.remove(std::ffi::OsStr::new(name));
    }

    env.insert("TMPDIR".into(), context.shared_tmp.into());
    env.insert("PWD".into(), context.cwd().into());
    // `git status` of one agent must not take the index lock that a commit needs.
    env.insert("GIT_OPTIONAL_LOCKS".into(), "0".into());
    without_build_daemons(&mut env);
    if launch.kind == RunnerKind::Claude {
        // A program that replaces itself while its siblings run.
        env.insert("DISABLE_AUTOUPDATER".into(), "1".into());
    }
    for (name, value) in own(context, &launch.env)? {
        env.insert(name.into(), value.into());
    }

    env.insert("SUPERVISE_ID".into(), context.id.agent.as_str().into());
    env.insert("SUPERVISE_RUN".into(), context.run.as_str().into());
    env.insert("SUPERVISE_ATTEMPT".into(), context.id.attempt.to_string().into());
    env.insert("SUPERVISE_SLOT".into(), context.slot.0.to_string().into());
    Ok(env)
}

/// A build daemon that agents share writes for all of them and is in nobody's tree. Those that can be
/// switched off by the environment are; `doctor` names others.
fn without_build_daemons(env: &mut Environment) {
    const NO_GRADLE: &str = "-Dorg.gradle.daemon=false";
    let gradle = env.entry("GRADLE_OPTS".into()).or_default();
    if !gradle.is_empty() {
        gradle.push(" ");
    }
    gradle.push(NO_GRADLE);
    env.insert("NX_DAEMON".into(), "false".into());
}

fn own(
    context: &Context<'_>,
    env: &BTreeMap<String, crate::session::template::Template>,
) -> Result<Vec<(String, String)>, RunnerError> {
    env.iter()
        .map(|(name, value)| {
            let value = context.fill(value);
            if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                return Err(RunnerError::BadVariable { name: name.escape_default().to_string() });
            }
            Ok((name.clone(), value))
        })
        .collect()
}
