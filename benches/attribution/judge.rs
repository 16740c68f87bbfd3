//! What a run amounts to: the writers' accounts against what the supervisor says.
//!
//! Invariant: a change counts as known, as attributed, or as landed only by evidence; what the writer
//! did comes from its own account and from the workspace, never from the supervisor.
//!
//! A change is a path whose content differs because of a deed; a refused deed counts as one change
//! that was stopped, and must be told as that agent's denial. What landed is judged on all that a path has: its
//! content, mode, times, attributes, and those of directories too.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use crate::desk::{Deed, Matter, Outcome as Done, own};
use crate::fault::Fault;
use crate::ground::{is_ignored, is_never_committed};
use crate::scenario::undeclared;
use crate::stage::{Layer, Outcome, Part, strays};

/// The row of one scenario.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Row {
    pub(crate) scenario: String,
    /// Paths that were changed.
    pub(crate) changed: usize,
    /// Deeds that were refused and should have been.
    pub(crate) refused: usize,
    /// Of both: known at the end.
    pub(crate) seen: usize,
    pub(crate) missed: usize,
    /// Of both: said to be of the agent that did it.
    pub(crate) right: usize,
    /// Of `right`: as certain.
    pub(crate) certain: usize,
    /// Said to be of an agent that did not.
    pub(crate) wrong: usize,
    pub(crate) wrong_certain: usize,
    /// Paths that were changed though that was not allowed, or were committed though nobody's to commit.
    pub(crate) landed: usize,
    /// Changes of what git ignores: free to all, and never committed.
    pub(crate) ignored: usize,
    /// Declared changes that were refused.
    pub(crate) wrongly_refused: usize,
    /// Agents that kept to the rules and were ended, or did not complete where all should.
    pub(crate) wrongly_ended: usize,
    pub(crate) seconds: f64,
    /// What was promised and is not so; and what else a reader should know.
    pub(crate) broken: Vec<String>,
    pub(crate) notes: Vec<String>,
}

impl Row {
    /// A scenario that came to no result.
    pub(crate) fn not_measured(name: &str, why: &Fault) -> Self {
        Self { scenario: name.to_owned(), broken: vec![format!("not measured: {why}")], ..Self::default() }
    }

    /// Of what was changed or refused, how much has the right name on it?
    pub(crate) fn percent(&self) -> f64 {
        match self.changed + self.refused {
            0 => 100.0,
            #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52")]
            all => self.right as f64 * 100.0 / all as f64,
        }
    }
}

pub(crate) fn judge(name: &str, layer: Layer, outcome: &Outcome) -> Row {
    let mut row = Row { scenario: name.to_owned(), seconds: outcome.took.as_secs_f64(), ..Row::default() };
    let said = Said::of(outcome);
    for part in &outcome.party {
        changes(&mut row, part, &said);
        refusals(&mut row, part, &said);
        ends(&mut row, part, &said, layer);
    }
    wrong(&mut row, outcome, &said);
    landed(&mut row, outcome);
    promises(&mut row, layer);
    row
}

/// What the supervisor says.
struct Said<'a> {
    /// Agent → path → the surest attribution of it in its write sets.
    written: BTreeMap<&'a str, BTreeMap<&'a str, Sure>>,
    denied: BTreeMap<&'a str, BTreeSet<&'a str>>,
    /// Every path that is mentioned anywhere.
    known: BTreeSet<&'a str>,
    states: BTreeMap<&'a str, &'a str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Sure {
    Unknown,
    Inferred,
    Certain,
}

impl<'a> Said<'a> {
    fn of(outcome: &'a Outcome) -> Self {
        let document = &outcome.document;
        let mut said = Self {
            written: BTreeMap::new(),
            denied: BTreeMap::new(),
            known: texts(&document["unattributed"]).collect(),
            states: BTreeMap::new(),
        };
        for (agent, path, attribution) in &outcome.write_sets {
            let sure = match attribution.as_str() {
                "certain" => Sure::Certain,
                "inferred" => Sure::Inferred,
                _ => Sure::Unknown,
            };
            let entry = said.written.entry(agent).or_default().entry(path).or_insert(sure);
            *entry = sure.max(*entry);
            said.known.insert(path);
        }
        for agent in document["agents"].as_array().into_iter().flatten() {
            let id = agent["id"].as_str().unwrap_or_default();
            said.states.insert(id, agent["state"].as_str().unwrap_or_default());
            said.denied.insert(id, texts(&agent["denied"]).collect());
            for list in ["writes", "denied", "in_tree"] {
                said.known.extend(texts(&agent[list]));
            }
        }
        said
    }

    fn sure(&self, agent: &str, path: &str) -> Option<Sure> {
        self.written.get(agent)?.get(path).copied()
    }
}

fn texts(list: &Value) -> impl Iterator<Item = &str> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// Paths whose content this agent changed, each once.
fn changed_paths(part: &Part) -> BTreeSet<&str> {
    let done = part.deeds.iter().filter(|d| d.outcome == Done::Done && d.matter == Matter::Content);
    done.flat_map(|d| d.paths.iter().map(String::as_str)).collect()
}

fn changes(row: &mut Row, part: &Part, said: &Said<'_>) {
    for path in changed_paths(part) {
        row.changed += 1;
        if said.known.contains(path) {
            row.seen += 1;
        } else {
            row.missed += 1;
            row.notes.push(format!("missed: {path} of {}", part.agent));
        }
        match said.sure(&part.agent, path) {
            Some(Sure::Certain) => {
                row.right += 1;
                row.certain += 1;
            }
            Some(Sure::Inferred) => row.right += 1,
            Some(Sure::Unknown) | None => {}
        }
    }
}

fn refusals(row: &mut Row, part: &Part, said: &Said<'_>) {
    let denied = said.denied.get(part.agent.as_str());
    for deed in &part.deeds {
        let Done::Failed(errno) = deed.outcome else { continue };
        if deed.allowed {
            row.wrongly_refused += 1;
            row.notes.push(format!("refused with {}: {}", errno_name(errno), deed.paths.join(", ")));
            continue;
        }
        row.refused += 1;
        // That it would be another file system is all that is to be said of a link to outside.
        let told_by_itself = errno == nix::errno::Errno::EXDEV as i32;
        if told_by_itself || denied.is_some_and(|denied| denied.iter().any(|path| concerns(path, deed))) {
            row.seen += 1;
            row.right += 1;
            row.certain += 1;
        } else {
            row.missed += 1;
            row.notes.push(format!("no denial told ({}): {}", errno_name(errno), deed.paths.join(", ")));
        }
    }
}

fn errno_name(errno: i32) -> String {
    nix::errno::Errno::from_raw(errno).to_string()
}

/// Is this denied path one that the deed named, or a directory that it needed on the way to one, or
/// something beneath a directory that it named? An area as a whole says too little.
fn concerns(denied: &str, deed: &Deed) -> bool {
    let within =
        |path: &str, dir: &str| path.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let inside = undeclared().iter().any(|area| within(denied, area) && denied != area);
    inside && deed.paths.iter().chain(&deed.via).any(|path| within(path, denied) || within(denied, path))
}

/// Who kept to the rules must come to its end. With the gate that is everybody: what is undeclared is
/// refused, and nobody is to be ended for it.
fn ends(row: &mut Row, part: &Part, said: &Said<'_>, layer: Layer) {
    let state = said.states.get(part.agent.as_str()).copied().unwrap_or("absent");
    let obeyed = !strays(&part.agent);
    let completed = state == "COMPLETED";
    let wrongly = match layer {
        Layer::Gate => !part.done || !completed,
        Layer::Watch => obeyed && !part.done,
    };
    if wrongly {
        row.wrongly_ended += 1;
        row.notes.push(format!("{} is {state}{}", part.agent, if part.done { "" } else { ", ended before its end" }));
    } else if !completed {
        row.notes.push(format!("{} is {state}, as it may be", part.agent));
    }
}

/// Paths said to be of an agent that never tried to change them.
fn wrong(row: &mut Row, outcome: &Outcome, said: &Said<'_>) {
    for part in &outcome.party {
        let tried: BTreeSet<&str> = part.deeds.iter().flat_map(|d| d.paths.iter().map(String::as_str)).collect();
        for (path, sure) in said.written.get(part.agent.as_str()).into_iter().flatten() {
            if tried.contains(path) || *sure == Sure::Unknown {
                continue;
            }
            row.wrong += 1;
            row.wrong_certain += usize::from(*sure == Sure::Certain);
            row.notes.push(format!("{sure:?}, and wrong: {path} as of {}", part.agent));
        }
        for path in said.denied.get(part.agent.as_str()).into_iter().flatten() {
            if !part.deeds.iter().any(|deed| concerns(path, deed)) && !tried.contains(path) {
                row.wrong += 1;
                row.wrong_certain += 1;
                row.notes.push(format!("denied to {}, which did not try: {path}", part.agent));
            }
        }
    }
}

/// By the workspace, by the commits, or by the account of who did it: one of them is enough.
fn landed(row: &mut Row, outcome: &Outcome) {
    let homes: Vec<String> = outcome.party.iter().map(|part| format!("{}/", own(&part.agent))).collect();
    let done = |allowed: bool| -> BTreeSet<&str> {
        let deeds = outcome.party.iter().flat_map(|part| &part.deeds);
        let done = deeds.filter(|deed| deed.outcome == Done::Done && deed.allowed == allowed);
        done.flat_map(|deed| deed.paths.iter().map(String::as_str)).collect()
    };
    let allowed = done(true);
    let declared = |path: &str| allowed.contains(path) || homes.iter().any(|home| path.starts_with(home.as_str()));
    let changed = outcome.changed.keys().map(String::as_str).filter(|path| !declared(path) && !is_ignored(path));
    let committed = outcome.committed.iter().map(String::as_str);
    let committed = committed.filter(|path| !declared(path) || is_never_committed(path));
    let landed: BTreeSet<&str> = changed.chain(committed).chain(done(false)).collect();
    row.landed = landed.len();
    row.ignored = allowed.iter().filter(|path| is_never_committed(path)).count();
    row.notes.extend(landed.into_iter().map(|path| format!("landed: {path}")));
}

fn promises(row: &mut Row, layer: Layer) {
    let all = row.changed + row.refused;
    let zeros: &[(&str, usize)] = match layer {
        Layer::Gate => &[
            ("not attributed as certain to who did it", all - row.certain),
            ("wrongly attributed", row.wrong),
            ("undeclared and landed", row.landed),
            ("declared and refused", row.wrongly_refused),
            ("agents wrongly ended", row.wrongly_ended),
        ],
        Layer::Watch => &[
            ("missed", row.missed),
            ("certain, and wrong", row.wrong_certain),
            ("declared and refused", row.wrongly_refused),
            ("agents wrongly ended", row.wrongly_ended),
        ],
    };
    row.broken = zeros.iter().filter(|(_, n)| *n > 0).map(|(what, n)| format!("{n} {what}")).collect();
    if all == 0 {
        row.broken.push("nothing was written".to_owned());
    }
}
