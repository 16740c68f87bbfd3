//! From bytes to a [`Session`], or to everything that is wrong with them.
//!
//! Invariant: no input panics, and whatever can be reported at once is.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeTable;

use super::build::{self, Builder};
use super::depend::{self, Names};
use super::manifest::Manifest;
use super::plan::{Ground, Origin, Session};
use super::problem::{Problem, Problems, SYNTAX, SessionErrors};
use super::roster::{self, Member, Roster};
use super::runners::{self, Runner};
use super::section::{At, shorten};
use super::source::{self, SourceText};
use super::template::Scope;
use super::text::{PromptFiles, fill_now};
use super::{narrow, select, sets, warn};
use crate::core::agent::{Dependency, PhasePlan, Plan};
use crate::core::ids::{AgentId, RunnerName};

const MAX_CONCURRENT: NonZeroU32 = NonZeroU32::MIN.saturating_add(3);
const CHECKPOINT_INTERVAL: Duration = Duration::from_mins(5);
const SALVAGE_DAYS: u32 = 30;

/// What the command line says about a session.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// What relative paths in the file are relative to; see [`super::base_dir`].
    pub base_dir: PathBuf,
    /// The root of the workspace.
    pub workspace: PathBuf,
    /// `--set KEY=VALUE`.
    pub sets: Vec<String>,
    /// `--only`: ids, patterns of ids, `tag:T`; empty: all.
    pub only: Vec<String>,
    /// The same as arguments, where only these are taken.
    pub named: Vec<String>,
    /// `--skip`: likewise.
    pub skip: Vec<String>,
    /// `--phase`.
    pub phase: Option<String>,
    /// `-j`.
    pub jobs: Option<NonZeroU32>,
    pub allow_dirty: bool,
}

/// A good session, with what is doubtful about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub session: Session,
    pub warnings: Vec<Problem>,
    /// For showing the warnings.
    pub source: SourceText,
}

/// The bytes of a session: of the file, or of standard input. `Embedded` has none to read.
pub fn read(origin: &Origin) -> Result<Vec<u8>, SessionErrors> {
    source::bytes_of(origin).map_err(|p| SessionErrors::one(SourceText::new(&source::origin_name(origin), ""), *p))
}

/// `[session] workspace`, if the file has it, as a path that does not depend on where it is used from
/// more than `base_dir` does. Looks at nothing else: [`load`] reports what is wrong.
#[must_use]
pub fn workspace_of(origin: &Origin, bytes: &[u8]) -> Option<PathBuf> {
    let text = source::text_of(origin, bytes).ok()?;
    let (document, _) = DeTable::parse_recoverable(text.text());
    let session = document.get_ref().get("session")?.get_ref().as_table()?;
    let workspace = session.get("workspace")?.get_ref().as_str()?;
    Some(source::base_dir(origin).join(workspace))
}

/// Reads a session.
pub fn load(origin: &Origin, bytes: &[u8], options: &LoadOptions) -> Result<Loaded, SessionErrors> {
    let source = source::text_of(origin, bytes).map_err(|e| SessionErrors::one(e.0, e.1))?;
    let mut problems = Problems::new(source.clone(), &options.sets);
    let (mut document, errors) = DeTable::parse_recoverable(source.text());
    for error in &errors {
        let span = error.span().unwrap_or(0..0);
        problems.error(SYNTAX, &span, syntax_message(error.message()), syntax_help(error.message()));
    }
    sets::apply(document.get_mut(), &options.sets, &mut problems);
    let manifest = Manifest::read(document.get_ref(), &mut problems);
    let session = assemble(origin, &manifest, source.text(), options, &mut problems);
    if !errors.is_empty() {
        problems.drop_echoes();
    }
    let (warnings, source) = problems.finish()?;
    let Some(session) = session else {
        // Every path to None reports an error first; say so rather than panic if one does not.
        let mut problems = Problems::new(source, &[]);
        problems.general("no_agents", "the session has no agents", None);
        return Err(problems.into_errors());
    };
    Ok(Loaded { session, warnings, source })
}

/// The parser's words, on one line.
fn syntax_message(message: &str) -> String {
    message.lines().collect::<Vec<_>>().join("; ")
}

fn syntax_help(message: &str) -> Option<String> {
    let help = if message.contains("recursion limit") {
        "tables and lists may nest at most 80 deep"
    } else if message.contains("duplicate key") {
        "a key may stand in a table once"
    } else if message.contains("quote") || message.contains("string") {
        "texts stand in \"…\"; several lines in \"\"\"…\"\"\""
    } else {
        return None;
    };
    Some(help.to_owned())
}

fn assemble(
    origin: &Origin,
    manifest: &Manifest,
    text: &str,
    options: &LoadOptions,
    problems: &mut Problems,
) -> Option<Session> {
    let name = session_name(origin, manifest, problems);
    let phases = roster::phases(manifest, problems);
    let runners = runners::resolve(&manifest.runners, problems);
    let workspace = &options.workspace;
    let roster = Roster { manifest, session: &name, workspace, phases: &phases };
    let members = roster.members(problems);
    // With other errors this would only be their echo, say of a misspelt `[[agents]]`.
    if manifest.agents.is_empty() && !problems.has_errors() {
        let help = "add one: [[agent]] with id, prompt and files".to_owned();
        problems.general("no_agents", "the session has no agents", Some(help));
    }
    let names = Names::new(&members);
    let edges = depend::edges(&members, &names, problems);
    let chosen = select::select(&members, &names, &edges, &phases, options, problems);

    let no_runner = Runner::stand_in();
    let files = PromptFiles::new(&options.base_dir);
    let mut builder = Builder { session: &name, runners: &runners, no_runner: &no_runner, files };
    let mut agents = Vec::with_capacity(members.len());
    let mut launches = BTreeMap::new();
    for (index, member) in members.iter().enumerate() {
        let depends_on = dependencies(member, &edges[index], &members, &chosen);
        let (mut plan, launch) = builder.build(member, depends_on, problems);
        if chosen[index] {
            narrow::to_files(&mut plan.claim, workspace);
            launches.insert(plan.id.clone(), launch);
            agents.push(plan);
        }
    }
    for defaults in manifest.phases.iter().map(|p| &p.defaults).chain([&manifest.defaults]) {
        build::unused(defaults, &runners, problems);
    }
    if !problems.has_errors() {
        warn::unmatched(&members, &agents, workspace, problems);
        warn::denied(&members, &agents, problems);
    }
    let s = &manifest.session;
    let limit = |(name, runner): (&String, &Runner)| Some((RunnerName::new(name), runner.max_concurrent?));
    let runner_limits = runners.iter().filter_map(limit).collect();
    let branch = branch(s.branch.as_ref(), &name, problems);
    let stop_at = s.stop_at.as_ref().and_then(|at| stop_at(at, problems));
    let interval = s.checkpoint_interval.as_ref().map_or(CHECKPOINT_INTERVAL, |d| d.value);
    let tagged = members.iter().zip(&chosen).filter(|(member, chosen)| **chosen && !member.tags.is_empty());
    let tags = tagged.map(|(member, _)| (member.id.to_string(), member.tags.clone())).collect();
    let base_dir = std::path::absolute(&options.base_dir).ok().and_then(|dir| dir.into_os_string().into_string().ok());
    let plan = Plan {
        phases: phase_plans(manifest),
        agents,
        max_concurrent: options.jobs.or(s.max_concurrent.as_ref().map(|n| n.value)).unwrap_or(MAX_CONCURRENT),
        fits: None,
        runner_limits,
        stop_at: None,
        max_failures: s.max_failures.as_ref().map(|n| n.value),
        max_tokens: s.max_tokens.as_ref().map(|n| n.value),
        checkpoint_interval: Some(interval).filter(|d| !d.is_zero()),
        allow_dirty: options.allow_dirty,
    };
    let session = Session {
        name: name.clone(),
        plan,
        launches,
        branch,
        stop_at,
        hooks: manifest.hooks.clone(),
        git_hooks: s.git_hooks.as_ref().map(|h| h.value).unwrap_or_default(),
        salvage_days: s.salvage_days.as_ref().map_or(SALVAGE_DAYS, |d| d.value),
        source: text.to_owned(),
        ground: Ground { base_dir, sets: options.sets.clone(), tags, added: BTreeMap::new() },
    };
    (!problems.has_errors()).then_some(session)
}

/// The edges to chosen agents; the others count as satisfied.
fn dependencies(member: &Member<'_>, on: &[usize], members: &[Member<'_>], chosen: &[bool]) -> Vec<Dependency> {
    let wait_for_completion = member.first(|t| &t.wait_for_completion).is_none_or(|w| w.value);
    let id = |i: &usize| -> AgentId { members[*i].id.clone() };
    on.iter().filter(|i| chosen[**i]).map(|i| Dependency { on: id(i), wait_for_completion }).collect()
}

fn session_name(origin: &Origin, manifest: &Manifest, problems: &mut Problems) -> String {
    if let Some(name) = &manifest.session.name {
        if name.value.trim().is_empty() || name.value.contains(char::is_control) || name.value.len() > 200 {
            let message = "a session's name is one line of at most 200 bytes";
            problems.error("bad_name", &name.span, message, None);
        }
        return name.value.clone();
    }
    let stem = match origin {
        Origin::File(path) => path.file_stem().and_then(|s| s.to_str()),
        Origin::StandardInput | Origin::Embedded => None,
    };
    let printable = |s: &&str| !s.is_empty() && !s.contains(char::is_control);
    stem.filter(printable).unwrap_or("session").to_owned()
}

fn phase_plans(manifest: &Manifest) -> Vec<PhasePlan> {
    if manifest.phases.is_empty() {
        return vec![PhasePlan { name: None, on_failure: crate::core::agent::OnPhaseFailure::default() }];
    }
    let plan = |phase: &super::manifest::PhaseTable| PhasePlan {
        name: phase.name.as_ref().map(|n| n.value.clone()),
        on_failure: phase.on_failure.as_ref().map(|f| f.value).unwrap_or_default(),
    };
    manifest.phases.iter().map(plan).collect()
}

/// A branch name that git takes (git-check-ref-format(1)).
fn branch(written: Option<&At<String>>, session: &str, problems: &mut Problems) -> Option<String> {
    let written = written?;
    let variables = [("session".to_owned(), session.to_owned())];
    let text = fill_now(written, Scope::new(&variables), problems)?;
    let bad_part = |part: &str| part.is_empty() || part.starts_with('.') || part.as_bytes().ends_with(b".lock");
    let bad_char = |c: char| c.is_control() || " ~^:?*[\\".contains(c);
    let bad = text.starts_with('-')
        || text == "@"
        || text == "HEAD"
        || text.ends_with('.')
        || text.contains("..")
        || text.contains("@{")
        || text.contains(bad_char)
        || text.split('/').any(bad_part);
    if bad {
        let help = "letters, digits, `-`, `_`, `.` and inner `/`; see `git help check-ref-format`".to_owned();
        problems.error("bad_branch", &written.span, format!("git takes no branch `{}`", shorten(&text)), Some(help));
        return None;
    }
    Some(text)
}

fn stop_at(written: &At<String>, problems: &mut Problems) -> Option<jiff::civil::Time> {
    let text = written.value.trim();
    let parsed = ["%H:%M", "%H:%M:%S"].iter().find_map(|form| jiff::civil::Time::strptime(form, text).ok());
    if parsed.is_none() {
        let message = format!("`{}` is not a time of day", shorten(text));
        problems.error("bad_time", &written.span, message, Some("write it like \"07:00\"".into()));
    }
    parsed
}
