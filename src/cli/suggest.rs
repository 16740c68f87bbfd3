//! `supervise check --suggest RUN`: the claims that the agents of a past run would have needed.
//!
//! Invariant: what is printed is TOML that can be put into the session file; nothing is written.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::Common;
use super::look::{Look, LookError, RunArg};
use crate::core::agent::AgentPlan;
use crate::core::call::RefusedPath;
use crate::core::claim::{Pattern, suggest};
use crate::core::ids::AgentId;
use crate::core::path::RepoPath;
use crate::core::reason::DenialReason;
use crate::core::record::{Fact, Fate};
use crate::host::past::Past;
use crate::render::text::printable;

/// The suggestion for the run that is named so.
pub(super) fn answer(run: &str, common: &Common) -> Result<String, LookError> {
    let look = Look::at(common, &RunArg { run: Some(run.to_owned()) })?;
    let past = Past::read(&look.dir).map_err(LookError::Past)?;
    let needed = needed(&past);
    let mut out = format!("# What the agents of run {} wrote, or wanted to.\n", look.run);
    for agent in &past.plan().agents {
        let nothing = BTreeSet::new();
        section(agent, needed.get(&agent.id).unwrap_or(&nothing), &mut out);
    }
    Ok(out)
}

/// Over all attempts: what each agent wrote, and what it was refused because of its claim.
fn needed(past: &Past) -> BTreeMap<AgentId, BTreeSet<RepoPath>> {
    let mut needed: BTreeMap<AgentId, BTreeSet<RepoPath>> = BTreeMap::new();
    for entry in &past.entries {
        match &entry.record.fact {
            Fact::Wrote { id, paths } => needed.entry(id.agent.clone()).or_default().extend(paths.iter().cloned()),
            Fact::WriteSet { id, writes } => {
                let own = writes.iter().filter(|w| w.fate != Fate::Leave).map(|w| w.change.path.clone());
                needed.entry(id.agent.clone()).or_default().extend(own);
            }
            Fact::Busied { id, path, .. } => drop(needed.entry(id.agent.clone()).or_default().insert(path.clone())),
            Fact::Denied { id, path: RefusedPath::Inside(path), why, .. } if for_want_of_a_claim(why) => {
                needed.entry(id.agent.clone()).or_default().insert(path.clone());
            }
            _ => {}
        }
    }
    needed
}

fn for_want_of_a_claim(why: &DenialReason) -> bool {
    use DenialReason::{Conflict, IgnoredEnforced, ProtectedIgnored, Reserved, Undeclared};
    matches!(why, Undeclared | ProtectedIgnored | IgnoredEnforced | Conflict { .. } | Reserved { .. })
}

/// An agent's part: the patterns that it used, those that it lacked, and those that it did not use.
fn section(agent: &AgentPlan, needed: &BTreeSet<RepoPath>, out: &mut String) {
    let claim = &agent.claim;
    let used = |pattern: &&Pattern| needed.iter().any(|path| pattern.matches(path));
    let covered = |path: &RepoPath| claim.exclusive_matches(path) || claim.late_matches(path);
    let missing: BTreeSet<RepoPath> = needed.iter().filter(|path| !covered(path)).cloned().collect();
    let texts = |patterns: &[Pattern]| patterns.iter().filter(used).map(|p| p.as_str().to_owned()).collect::<Vec<_>>();
    let mut files = texts(&claim.exclusive);
    files.extend(suggest(&missing));
    let _ = write!(out, "\n[[agent]]\nid = \"{}\"\nfiles = {}\n", agent.id, list(&files));
    let late = texts(&claim.late);
    if !late.is_empty() {
        let _ = writeln!(out, "late = {}", list(&late));
    }
    let unused = claim.exclusive.iter().chain(&claim.late).filter(|pattern| !used(pattern));
    let unused: Vec<String> = unused.map(|pattern| pattern.as_str().to_owned()).collect();
    if !unused.is_empty() {
        let _ = writeln!(out, "# declared and not written: {}", printable(&list(&unused)));
    }
}

fn list(texts: &[String]) -> String {
    toml::Value::Array(texts.iter().cloned().map(toml::Value::String).collect()).to_string()
}
