//! What is not wrong but doubtful: patterns that match nothing yet, or nothing that an agent could write.
//!
//! Invariant: looking at the workspace is bounded, and giving up is silent: a warning is only given
//! for what was seen.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::problem::Problems;
use super::roster::Member;
use super::section::shorten;
use super::source::Span;
use crate::core::agent::AgentPlan;
use crate::core::claim::Pattern;
use crate::core::path::RepoPath;

/// The most patterns that are looked up.
const MAX_PATTERNS: usize = 5_000;
/// The most directory entries that are looked at, for all patterns together.
const MAX_ENTRIES: usize = 20_000;
/// The most patterns that are warned of one by one.
const MAX_WARNINGS: usize = 10;

/// Warns of claims that match nothing in the workspace yet.
pub(super) fn unmatched(members: &[Member<'_>], agents: &[AgentPlan], workspace: &Path, problems: &mut Problems) {
    let mut look = Look { workspace, entries: MAX_ENTRIES };
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let (mut told, mut more) = (BTreeSet::new(), 0);
    let mut last: Option<Span> = None;
    let patterns = agents.iter().flat_map(|a| {
        let claim = &a.claim;
        claim.exclusive.iter().chain(&claim.late).chain(&claim.shared).map(move |p| (a, p))
    });
    for (agent, pattern) in patterns.take(MAX_PATTERNS) {
        if !seen.insert(pattern.as_str()) || look.matches_something(pattern) != Some(false) {
            continue;
        }
        let member = members.get(agent.rank.position as usize);
        let Some(member) = member.filter(|m| m.id == agent.id) else { continue };
        let span = place(member, pattern.as_str());
        // Agents of one section (`each`) have one place for theirs.
        if told.len() < MAX_WARNINGS && told.insert((span.start, span.end)) {
            let message = format!("`{}` matches nothing in the workspace yet", shorten(pattern.as_str()));
            let help = "right for files that the agent is to make; else look for a typing mistake";
            problems.warning("unmatched_pattern", &span, message, Some(help.into()));
        } else {
            more += 1;
            last = Some(span);
        }
    }
    if let Some(span) = last {
        let patterns = if more == 1 { "pattern matches" } else { "patterns match" };
        let message = format!("{more} more {patterns} nothing in the workspace yet");
        problems.warning("unmatched_patterns", &span, message, None);
    }
}

/// Warns of claims of which nothing can be written.
pub(super) fn denied(members: &[Member<'_>], agents: &[AgentPlan], problems: &mut Problems) {
    for agent in agents {
        let member = members.get(agent.rank.position as usize);
        let Some(member) = member.filter(|m| m.id == agent.id) else { continue };
        let claim = &agent.claim;
        for pattern in claim.exclusive.iter().chain(&claim.late).filter(|pattern| pattern.is_gits()) {
            let message = format!("`{}` is git's own: no agent may write there", shorten(pattern.as_str()));
            let help = "take it out; who commits is the supervisor alone";
            problems.warning("denied_pattern", &place(member, pattern.as_str()), message, Some(help.into()));
        }
    }
}

/// Where a pattern of a member is written; its id where that cannot be told (placeholders).
fn place(member: &Member<'_>, text: &str) -> Span {
    let lists = [member.first(|t| &t.files), member.first(|t| &t.late), member.first(|t| &t.reads)];
    let all = || lists.iter().flatten().flat_map(|list| &list.value);
    all().find(|at| at.value == text).map_or_else(|| member.span.clone(), |at| at.span.clone())
}

struct Look<'a> {
    workspace: &'a Path,
    entries: usize,
}

impl Look<'_> {
    /// `None` where that would take too long to find out.
    fn matches_something(&mut self, pattern: &Pattern) -> Option<bool> {
        let text = pattern.as_str();
        let Some(wild) = text.find(['*', '?', '[', '{', '\\']) else {
            let path = self.workspace.join(text.trim_end_matches('/'));
            return Some(path.symlink_metadata().is_ok_and(|m| !text.ends_with('/') || m.is_dir()));
        };
        let start = text[..wild].rfind('/').map_or("", |cut| &text[..cut]);
        let root = self.workspace.join(start);
        if !root.is_dir() {
            return Some(false);
        }
        let mut open = vec![start.as_bytes().to_vec()];
        while let Some(dir) = open.pop() {
            let Ok(entries) = std::fs::read_dir(self.workspace.join(OsStr::from_bytes(&dir))) else { return None };
            for entry in entries.flatten() {
                self.entries = self.entries.checked_sub(1)?;
                let mut name = dir.clone();
                if !name.is_empty() {
                    name.push(b'/');
                }
                name.extend_from_slice(entry.file_name().as_bytes());
                let Ok(path) = RepoPath::new(&name) else { continue };
                if pattern.matches(&path) {
                    return Some(true);
                }
                if entry.file_type().is_ok_and(|t| t.is_dir()) && name != b".git" {
                    open.push(name);
                }
            }
        }
        Some(false)
    }
}
