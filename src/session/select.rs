//! `--only`, `--skip` and `--phase`: which agents of the session take part.
//!
//! Invariant: `--only` brings its dependencies with it; `--skip` and `--phase` have the last word.

use std::collections::BTreeMap;

use super::LoadOptions;
use super::depend::Names;
use super::problem::{NOTHING_SELECTED, Problems, suggest};
use super::roster::Member;
use super::section::shorten;

/// For each member: does it take part?
pub(super) fn select(
    members: &[Member<'_>],
    names: &Names<'_>,
    edges: &[Vec<usize>],
    phases: &BTreeMap<String, usize>,
    options: &LoadOptions,
    problems: &mut Problems,
) -> Vec<bool> {
    let before = problems.has_errors();
    let mut chosen = vec![options.only.is_empty() && options.named.is_empty(); members.len()];
    let mut only = matches(Some("--only"), &options.only, members, names, problems);
    only.extend(matches(None, &options.named, members, names, problems));
    let skipped = matches(Some("--skip"), &options.skip, members, names, problems);
    let phase = options.phase.as_deref().map(|name| {
        let found = phases.get(name).copied();
        if found.is_none() {
            let all = || phases.keys().map(|k| shorten(k)).collect::<Vec<_>>().join(", ");
            let help = if phases.is_empty() {
                "the session has no phases".to_owned()
            } else {
                suggest(name, phases.keys().map(String::as_str)).unwrap_or_else(|| format!("phases: {}", all()))
            };
            problems.general("bad_selector", format!("--phase {}: there is no such phase", shorten(name)), Some(help));
        }
        found
    });
    let mut open: Vec<usize> = only;
    while let Some(index) = open.pop() {
        if !std::mem::replace(&mut chosen[index], true) {
            open.extend(&edges[index]);
        }
    }
    if let Some(phase) = phase {
        for (index, member) in members.iter().enumerate() {
            chosen[index] &= Some(member.phase) == phase;
        }
    }
    for index in skipped {
        chosen[index] = false;
    }
    if !before && !problems.has_errors() && !members.is_empty() && !chosen.contains(&true) {
        let help = "look at --only, --skip and --phase; `supervise check` lists the agents".to_owned();
        problems.general(NOTHING_SELECTED, "no agent is selected", Some(help));
    }
    chosen
}

fn matches(
    option: Option<&str>,
    selectors: &[String],
    members: &[Member<'_>],
    names: &Names<'_>,
    problems: &mut Problems,
) -> Vec<usize> {
    let mut out = Vec::new();
    for selector in selectors {
        match names.select(selector, members) {
            Ok(found) => out.extend(found),
            Err(nothing) => {
                let message = match option {
                    Some(option) => format!("{option} {}: {}", shorten(selector), nothing.message),
                    None => nothing.message,
                };
                problems.general("bad_selector", message, nothing.help);
            }
        }
    }
    out
}
