//! `each`: one agent for each value of its variables.
//!
//! Invariant: values come in the order of the file; directories sorted by the bytes of their names.
//! Walks and products are bounded.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};

use super::manifest::{EachValues, EachVariable};
use super::problem::Problems;
use super::section::{At, shorten};

/// The most agents that one `[[agent]]` may become.
const MAX_PRODUCT: usize = 10_000;
/// The most directory entries that are looked at for one pattern.
const MAX_ENTRIES: usize = 100_000;
/// Names of variables that stand for something already.
const TAKEN: [&str; 9] = ["id", "name", "session", "phase", "workspace", "attempt", "slot", "prompt", "prompt_file"];

/// Directories found for a pattern of `dirs`, kept because several agents may ask for the same.
pub(super) type DirCache = BTreeMap<String, Vec<String>>;

/// All combinations of the variables' values; `None` where something is wrong with them.
pub(super) fn expand(
    variables: &[EachVariable],
    workspace: &Path,
    cache: &mut DirCache,
    problems: &mut Problems,
) -> Option<Vec<Vec<(String, String)>>> {
    let mut product: Vec<Vec<(String, String)>> = vec![Vec::new()];
    for variable in variables {
        let name = &variable.name;
        if !is_name(&name.value) || TAKEN.contains(&name.value.as_str()) {
            let message = format!("`{}` cannot be the name of an `each` variable", shorten(&name.value));
            let help = "letters, digits and `_`, and none of the built-in placeholders";
            problems.error("bad_each", &name.span, message, Some(help.into()));
            return None;
        }
        let values = match &variable.values {
            EachValues::List(list) => list.iter().map(|v| v.value.clone()).collect(),
            EachValues::Dirs(pattern) => directories(pattern, workspace, cache, problems)?,
        };
        if values.is_empty() {
            let (span, help) = match &variable.values {
                EachValues::List(_) => (&name.span, "the list is empty".to_owned()),
                EachValues::Dirs(p) => (&p.span, format!("no directory matches in {}", workspace.display())),
            };
            let message = format!("`{}` has no values, so this agent would never run", name.value);
            problems.error("empty_each", span, message, Some(help));
            return None;
        }
        if product.len().saturating_mul(values.len()) > MAX_PRODUCT {
            let message = format!("`each` makes more than {MAX_PRODUCT} agents of this one");
            problems.error("bad_each", &name.span, message, None);
            return None;
        }
        let with = |row: &Vec<(String, String)>, value: &String| {
            let mut row = row.clone();
            row.push((name.value.clone(), value.clone()));
            row
        };
        product = product.iter().flat_map(|row| values.iter().map(move |v| with(row, v))).collect();
    }
    Some(product)
}

/// One row for variables that have something wrong with them, so that the agent's other texts can be
/// checked: each stands for its own name.
pub(super) fn stand_in(variables: &[EachVariable]) -> Vec<(String, String)> {
    let free = variables.iter().map(|v| &v.name.value).filter(|name| !TAKEN.contains(&name.as_str()));
    free.map(|name| (name.clone(), name.clone())).collect()
}

fn is_name(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.len() <= 64 && text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && text.chars().all(word)
}

enum Step {
    Literal(String),
    Glob(GlobMatcher),
}

/// What the wildcard part of `pattern` matches: names of directories of the workspace.
fn directories(
    pattern: &At<String>,
    workspace: &Path,
    cache: &mut DirCache,
    problems: &mut Problems,
) -> Option<Vec<String>> {
    if let Some(found) = cache.get(&pattern.value) {
        return Some(found.clone());
    }
    let steps = match steps(&pattern.value) {
        Ok(steps) => steps,
        Err(why) => {
            let help = "a pattern like packages/*, relative to the workspace";
            problems.error("bad_each", &pattern.span, format!("`dirs` {why}"), Some(help.into()));
            return None;
        }
    };
    let wild = |s: &Step| matches!(s, Step::Glob(_));
    let first = steps.iter().position(wild).unwrap_or(steps.len().saturating_sub(1));
    let last = steps.iter().rposition(wild).unwrap_or(first);
    let mut budget = MAX_ENTRIES;
    let mut level: Vec<(PathBuf, Vec<String>)> = vec![(workspace.to_owned(), Vec::new())];
    for (index, step) in steps.iter().enumerate() {
        let keep = (first..=last).contains(&index);
        let mut next = Vec::new();
        for (dir, names) in &level {
            for name in children(dir, step, &mut budget) {
                let mut names = names.clone();
                if keep {
                    names.push(name.clone());
                }
                next.push((dir.join(&name), names));
            }
        }
        level = next;
    }
    let mut found: Vec<String> = level.into_iter().map(|(_, names)| names.join("/")).collect();
    found.sort();
    cache.insert(pattern.value.clone(), found.clone());
    Some(found)
}

fn steps(pattern: &str) -> Result<Vec<Step>, String> {
    let trimmed = pattern.trim_end_matches('/');
    if trimmed.is_empty() || pattern.starts_with('/') {
        return Err("must be relative to the workspace and not empty".to_owned());
    }
    let step = |part: &str| match part {
        "" | "." | ".." => Err("may not have empty, `.` or `..` components".to_owned()),
        "**" => Err("may not have `**`".to_owned()),
        part if part.contains(['*', '?', '[', '{']) => GlobBuilder::new(part)
            .literal_separator(true)
            .build()
            .map(|g| Step::Glob(g.compile_matcher()))
            .map_err(|e| format!("does not parse: {}", e.kind())),
        part => Ok(Step::Literal(part.to_owned())),
    };
    trimmed.split('/').map(step).collect()
}

/// Directories in `dir` that the step names. Names that are not UTF-8 cannot be values.
fn children(dir: &Path, step: &Step, budget: &mut usize) -> Vec<String> {
    match step {
        Step::Literal(name) => {
            if dir.join(name).is_dir() {
                vec![name.clone()]
            } else {
                Vec::new()
            }
        }
        Step::Glob(glob) => {
            let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
            let mut names = Vec::new();
            for entry in entries.flatten() {
                if *budget == 0 {
                    break;
                }
                *budget -= 1;
                let is_dir = entry.file_type().is_ok_and(|t| t.is_dir());
                let name = entry.file_name().into_string().ok().filter(|_| is_dir);
                names.extend(name.filter(|n| !n.starts_with('.') && glob.is_match(n)));
            }
            names
        }
    }
}
