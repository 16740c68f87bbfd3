//! `supervise check --suggest RUN`: the claims that the agents of a past run would have needed.
//!
//! Invariant: what is printed is TOML that can be put into the session file; nothing is written.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::Common;
use super::look::{Look, LookError, RunArg, repository};
use crate::core::agent::AgentPlan;
use crate::core::call::RefusedPath;
use crate::core::claim::{Lacking, Pattern};
use crate::core::facts::Ignored;
use crate::core::ids::{AgentId, AttemptId};
use crate::core::path::RepoPath;
use crate::core::record::{Fact, Fate, Write};
use crate::host::past::Past;
use crate::render::text::printable;

/// The suggestion for the run that is named so.
pub(super) fn answer(run: &str, common: &Common) -> Result<String, LookError> {
    let look = Look::at(common, &RunArg { run: Some(run.to_owned()) })?;
    let past = Past::read(&look.dir).map_err(LookError::Past)?;
    let mut repository = repository(common)?.looking();
    let mut needed = needed(&past);
    let mut out = format!("# What the agents of run {} wrote, or wanted to.\n", look.run);
    for agent in &past.plan().agents {
        let mut needed = needed.remove(&agent.id).unwrap_or_default();
        needed.lacking.without(|path| agent.claim.exclusive_matches(path) || agent.claim.late_matches(path));
        needed.lacking.name(|path| repository.facts_of(path, false).is_ok_and(|facts| facts.ignored != Ignored::No));
        section(agent, &needed, &mut out);
    }
    Ok(out)
}

/// What a claim is compared with.
#[derive(Default)]
struct Needed {
    /// Everything it was let write, and all that is in `lacking`.
    touched: BTreeSet<RepoPath>,
    /// What of it a claim should have had: files that it left changed, and those that it was refused.
    lacking: Lacking,
}

/// Over all attempts. A directory on the way, or a file that was gone by the end, needs no claim.
fn needed(past: &Past) -> BTreeMap<AgentId, Needed> {
    let mut all: BTreeMap<AgentId, Needed> = BTreeMap::new();
    let mut wrote: BTreeMap<&AttemptId, BTreeSet<&RepoPath>> = BTreeMap::new();
    for entry in &past.entries {
        match &entry.record.fact {
            Fact::Wrote { id, paths } => {
                needed_by(&mut all, id).touched.extend(paths.iter().cloned());
                wrote.entry(id).or_default().extend(paths);
            }
            Fact::WriteSet { id, writes } => {
                let seen = wrote.remove(id).unwrap_or_default();
                let is_its = |write: &&Write| write.fate != Fate::Leave || seen.contains(&write.change.path);
                let files = writes.iter().filter(is_its).map(|write| write.change.path.clone());
                files.for_each(|file| needed_by(&mut all, id).lacking.add(file));
            }
            Fact::Busied { id, path, .. } => needed_by(&mut all, id).lacking.add(path.clone()),
            Fact::Denied { id, path: RefusedPath::Inside(path), touch, why, .. } => {
                needed_by(&mut all, id).lacking.refused(path, *touch, why);
            }
            _ => {}
        }
    }
    for Needed { touched, lacking } in all.values_mut() {
        touched.extend(lacking.iter().cloned());
    }
    all
}

fn needed_by<'a>(all: &'a mut BTreeMap<AgentId, Needed>, id: &AttemptId) -> &'a mut Needed {
    all.entry(id.agent.clone()).or_default()
}

/// An agent's part: the patterns that it used, those that it lacked, and those that it did not use.
fn section(agent: &AgentPlan, needed: &Needed, out: &mut String) {
    let claim = &agent.claim;
    let Needed { touched, lacking } = needed;
    let used = |pattern: &&Pattern| touched.iter().any(|path| pattern.matches(path));
    let texts = |patterns: &[Pattern]| patterns.iter().filter(used).map(|p| p.as_str().to_owned()).collect::<Vec<_>>();
    let mut files = texts(&claim.exclusive);
    files.extend(lacking.patterns());
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
