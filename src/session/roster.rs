//! Who takes part: each agent's id, name, phase, tags and variables, with `each` expanded.
//!
//! Invariant: ids are well formed, those of [`Member::known`] agents unique, and positions count up in
//! the order of the file. An agent whose id, phase or `each` is wrong is a member all the same, so that the
//! rest of its table is checked; what was wrong has been reported then, and no session comes of it.

use std::collections::BTreeMap;
use std::path::Path;

use super::each::{self, DirCache};
use super::manifest::{AgentTable, Manifest};
use super::problem::{Problems, nearest, suggest};
use super::section::{At, shorten};
use super::source::Span;
use super::template::Scope;
use super::text::fill_now;
use crate::core::agent::MAX_AGENTS;
use crate::core::ids::{AgentId, AgentIdError};

/// One agent of the session: a table, and the values of its variables.
#[derive(Debug)]
pub(super) struct Member<'m> {
    pub(super) id: AgentId,
    /// Is `id` what the file says, and nobody else's? Else it only stands in for it.
    pub(super) known: bool,
    /// Where its id stands; its header where it has none.
    pub(super) span: Span,
    pub(super) name: String,
    /// Index of its phase; 0 where the session has none.
    pub(super) phase: usize,
    /// False where it names a phase that does not exist.
    pub(super) phase_known: bool,
    pub(super) tags: Vec<String>,
    pub(super) position: u32,
    /// Names and values for its placeholders.
    pub(super) variables: Vec<(String, String)>,
    /// Its own table, its phase's defaults, the defaults.
    pub(super) layers: [&'m AgentTable; 3],
}

impl<'m> Member<'m> {
    /// The value of a key: its own, else its phase's default, else the default.
    pub(super) fn first<T>(&self, get: impl Fn(&'m AgentTable) -> &'m Option<T>) -> Option<&'m T> {
        self.layers.into_iter().find_map(|layer| get(layer).as_ref())
    }

    pub(super) fn scope(&self) -> Scope<'_> {
        Scope::new(&self.variables)
    }

    /// What messages call it.
    pub(super) fn called(&self) -> String {
        if self.known { format!("agent `{}`", self.id) } else { "this agent".to_owned() }
    }
}

/// The session's phases by name; reports what is wrong with them.
pub(super) fn phases(manifest: &Manifest, problems: &mut Problems) -> BTreeMap<String, usize> {
    let mut out = BTreeMap::new();
    for (index, phase) in manifest.phases.iter().enumerate() {
        let Some(name) = &phase.name else {
            problems.error("missing_key", &phase.span, "a [[phase]] needs a `name`", Some("add name = \"…\"".into()));
            continue;
        };
        if name.value.trim().is_empty() || name.value.contains(char::is_control) {
            problems.error("bad_name", &name.span, "a phase's name may not be empty or hold control characters", None);
        }
        if out.insert(name.value.clone(), index).is_some() {
            let message = format!("there are two phases `{}`", shorten(&name.value));
            problems.error("duplicate_phase", &name.span, message, Some("give one of them another name".into()));
        }
    }
    out
}

/// Everything that members are made with.
#[derive(Debug)]
pub(super) struct Roster<'m, 'a> {
    pub(super) manifest: &'m Manifest,
    pub(super) session: &'a str,
    pub(super) workspace: &'a Path,
    pub(super) phases: &'a BTreeMap<String, usize>,
}

impl<'m> Roster<'m, '_> {
    pub(super) fn members(&self, problems: &mut Problems) -> Vec<Member<'m>> {
        let mut out: Vec<Member<'m>> = Vec::with_capacity(self.manifest.agents.len());
        let mut dirs = DirCache::new();
        let mut known: BTreeMap<AgentId, Span> = BTreeMap::new();
        for table in &self.manifest.agents {
            if table.id.is_none() {
                let help = "add id = \"…\"".to_owned();
                problems.error("missing_key", &header(&table.span), "this [[agent]] has no `id`", Some(help));
            }
            let rows = each::expand(&table.each, self.workspace, &mut dirs, problems);
            for row in rows.unwrap_or_else(|| vec![each::stand_in(&table.each)]) {
                if out.len() == MAX_AGENTS {
                    let span = table.id.as_ref().map_or_else(|| header(&table.span), |id| id.span.clone());
                    problems.error("too_many_agents", &span, format!("more than {MAX_AGENTS} agents"), None);
                    return out;
                }
                let position = u32::try_from(out.len()).unwrap_or(u32::MAX);
                let mut member = self.member(table, row, position, problems);
                if let Some(first) = known.get(&member.id).filter(|_| member.known) {
                    let (line, _) = problems.source().position(first.start);
                    let message = format!("there are two agents `{}`; the first is on line {line}", member.id);
                    let help = if table.each.is_empty() {
                        "give one of them another id"
                    } else {
                        "use every `each` variable in the id"
                    };
                    problems.error("duplicate_id", &member.span, message, Some(help.into()));
                    member.known = false;
                } else if member.known {
                    known.insert(member.id.clone(), member.span.clone());
                }
                out.push(member);
            }
        }
        out
    }

    fn member(
        &self,
        table: &'m AgentTable,
        mut variables: Vec<(String, String)>,
        position: u32,
        problems: &mut Problems,
    ) -> Member<'m> {
        variables.push(("session".to_owned(), self.session.to_owned()));
        let phase = self.phase(table, &variables, problems);
        let tables = phase.and_then(|i| self.manifest.phases.get(i));
        let name_of_phase = tables.and_then(|p| p.name.as_ref()).map_or("", |n| n.value.as_str());
        variables.push(("phase".to_owned(), name_of_phase.to_owned()));
        let good = table.id.as_ref().and_then(|id| agent_id(id, Scope::new(&variables), problems));
        let known = good.is_some();
        let agent = good.unwrap_or_else(|| AgentId::numbered(position));
        variables.push(("workspace".to_owned(), self.workspace.display().to_string()));
        variables.push(("id".to_owned(), agent.to_string()));
        let name = table.name.as_ref().and_then(|n| Some((fill_now(n, Scope::new(&variables), problems)?, n)));
        if let Some((_, at)) = name.as_ref().filter(|(n, _)| n.trim().is_empty() || n.contains(char::is_control)) {
            problems.error("bad_name", &at.span, "an agent's name is one line of text", None);
        }
        let name = name.map_or_else(|| agent.to_string(), |(n, _)| n);
        variables.push(("name".to_owned(), name.clone()));
        let defaults = &self.manifest.defaults;
        let mut member = Member {
            id: agent,
            known,
            span: table.id.as_ref().map_or_else(|| header(&table.span), |id| id.span.clone()),
            name,
            phase: phase.unwrap_or(0),
            phase_known: phase.is_some() || table.phase.is_none(),
            tags: Vec::new(),
            position,
            variables,
            layers: [table, tables.map_or(defaults, |p| &p.defaults), defaults],
        };
        let tags = member.first(|t| &t.tags);
        member.tags = tags.map_or_else(Vec::new, |tags| {
            tags.value.iter().filter_map(|tag| fill_now(tag, member.scope(), problems)).collect()
        });
        member
    }

    /// The index of an agent's phase; the first where it names none; `None` where there is none.
    fn phase(&self, table: &AgentTable, variables: &[(String, String)], problems: &mut Problems) -> Option<usize> {
        let Some(named) = &table.phase else {
            return (!self.manifest.phases.is_empty()).then_some(0);
        };
        let text = fill_now(named, Scope::new(variables), problems)?;
        let found = self.phases.get(&text).copied();
        if found.is_none() {
            let help = if self.phases.is_empty() {
                Some(format!("declare it: [[phase]] with name = \"{}\"", shorten(&text)))
            } else {
                suggest(&text, self.phases.keys().map(String::as_str))
            };
            problems.error("unknown_phase", &named.span, format!("there is no phase `{}`", shorten(&text)), help);
        }
        found
    }
}

/// The id that `written` is once it is filled in.
fn agent_id(written: &At<String>, scope: Scope<'_>, problems: &mut Problems) -> Option<AgentId> {
    let text = fill_now(written, scope, problems)?;
    let error = match AgentId::new(&text) {
        Ok(id) => return Some(id),
        Err(error) => error,
    };
    let help = match error {
        AgentIdError::BadCharacter | AgentIdError::BadStart => suggestion(&text),
        _ => None,
    };
    problems.error("bad_id", &written.span, format!("`{}`: {error}", shorten(&text)), help);
    None
}

/// A table's header, to underline: the table itself may be long.
fn header(span: &Span) -> Span {
    span.start..span.end.min(span.start + "[[agent]]".len())
}

/// An id that is allowed and looks like `text`.
fn suggestion(text: &str) -> Option<String> {
    let word = |c: char| if c.is_ascii_alphanumeric() || c == '_' || c == '.' { c.to_ascii_lowercase() } else { '-' };
    let near: String = text.chars().take(64).map(word).collect();
    let near = near.trim_matches(['-', '.', '_']);
    AgentId::new(near).ok().map(|id| format!("say `{id}`"))
}

/// The nearest id to `word`.
pub(super) fn nearest_id(word: &str, members: &[Member<'_>]) -> Option<String> {
    nearest(word, members.iter().map(|m| m.id.as_str())).map(|id| format!("did you mean `{id}`?"))
}
