//! `depends_on`: names, patterns and tags become edges; cycles and edges to later phases are errors.
//!
//! Invariant: edges lead to other members of the same list, each at most once.

use std::collections::BTreeMap;

use globset::{GlobBuilder, GlobMatcher};

use super::problem::{Problems, suggest};
use super::roster::{Member, nearest_id};
use super::section::{At, shorten};
use super::text::fill_now;

/// The most edges of a session.
const MAX_EDGES: usize = 1_000_000;
/// The most cycles that are reported.
const MAX_CYCLES: usize = 20;

/// Who is called what: for `depends_on`, `--only` and `--skip`.
#[derive(Debug)]
pub(super) struct Names<'a> {
    /// Sorted.
    ids: Vec<(&'a str, usize)>,
    tags: BTreeMap<&'a str, Vec<usize>>,
}

/// Why a selector selects nothing.
#[derive(Debug)]
pub(super) struct Nothing {
    pub(super) message: String,
    pub(super) help: Option<String>,
}

impl<'a> Names<'a> {
    pub(super) fn new(members: &'a [Member<'_>]) -> Self {
        let mut ids: Vec<(&str, usize)> =
            members.iter().enumerate().filter(|(_, m)| m.known).map(|(i, m)| (m.id.as_str(), i)).collect();
        ids.sort_unstable();
        let mut tags: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, member) in members.iter().enumerate() {
            for tag in &member.tags {
                let list = tags.entry(tag).or_default();
                if list.last() != Some(&index) {
                    list.push(index);
                }
            }
        }
        Self { ids, tags }
    }

    /// The members that an id, a pattern or `tag:T` means, as indices; never empty.
    pub(super) fn select(&self, selector: &str, members: &[Member<'_>]) -> Result<Vec<usize>, Nothing> {
        let shown = shorten(selector);
        if let Some(tag) = selector.strip_prefix("tag:") {
            return self.tags.get(tag).cloned().ok_or_else(|| Nothing {
                message: format!("no agent has the tag `{}`", shorten(tag)),
                help: suggest(tag, self.tags.keys().copied()),
            });
        }
        let Some(wild) = selector.find(['*', '?', '[', '{']) else {
            let found = self.ids.binary_search_by(|(id, _)| (*id).cmp(selector));
            return found.map(|i| vec![self.ids[i].1]).map_err(|_| Nothing {
                message: format!("there is no agent `{shown}`"),
                help: nearest_id(selector, members)
                    .or_else(|| self.tags.contains_key(selector).then(|| format!("did you mean `tag:{shown}`?"))),
            });
        };
        let glob = match glob(selector) {
            Ok(glob) => glob,
            Err(why) => {
                return Err(Nothing { message: format!("the pattern `{shown}` does not parse: {why}"), help: None });
            }
        };
        let prefix = &selector[..wild];
        let start = self.ids.partition_point(|(id, _)| *id < prefix);
        let near = self.ids[start..].iter().take_while(|(id, _)| id.starts_with(prefix));
        let mut found: Vec<usize> = near.filter(|(id, _)| glob.is_match(id)).map(|(_, i)| *i).collect();
        found.sort_unstable();
        if found.is_empty() {
            return Err(Nothing { message: format!("no agent's id matches `{shown}`"), help: None });
        }
        Ok(found)
    }
}

fn glob(pattern: &str) -> Result<GlobMatcher, String> {
    GlobBuilder::new(pattern).build().map(|g| g.compile_matcher()).map_err(|e| e.kind().to_string())
}

/// For each member, the members that it depends on, sorted.
pub(super) fn edges(members: &[Member<'_>], names: &Names<'_>, problems: &mut Problems) -> Vec<Vec<usize>> {
    let mut out = Vec::with_capacity(members.len());
    let mut cache: BTreeMap<String, Result<Vec<usize>, Nothing>> = BTreeMap::new();
    let mut total = 0;
    for (index, member) in members.iter().enumerate() {
        let mut on = Vec::new();
        for entry in member.first(|t| &t.depends_on).map_or(&[][..], |list| &list.value) {
            let Some(selector) = fill_now(entry, member.scope(), problems) else { continue };
            let found = cache.entry(selector.clone()).or_insert_with(|| names.select(&selector, members));
            match found {
                Ok(list) => add(index, list, &selector, entry, members, &mut on, problems),
                Err(nothing) => {
                    let message = nothing.message.clone();
                    problems.error("unknown_dependency", &entry.span, message, nothing.help.clone());
                }
            }
            if total + on.len() > MAX_EDGES {
                let message = format!("the session has more than {MAX_EDGES} dependencies");
                let help = "use phases: an agent of one phase waits for the whole phase before it".to_owned();
                problems.error("too_many_dependencies", &entry.span, message, Some(help));
                return vec![Vec::new(); members.len()];
            }
        }
        on.sort_unstable();
        on.dedup();
        total += on.len();
        out.push(on);
    }
    cycles(members, &out, problems);
    out
}

/// Adds the members that one entry of `depends_on` names; patterns and tags leave out the agent itself.
fn add(
    index: usize,
    found: &[usize],
    selector: &str,
    entry: &At<String>,
    members: &[Member<'_>],
    on: &mut Vec<usize>,
    problems: &mut Problems,
) {
    let member = &members[index];
    let named = !selector.starts_with("tag:") && !selector.contains(['*', '?', '[', '{']);
    if found == [index] {
        let (code, message) = if named {
            ("cyclic_dependency", format!("{} depends on itself", member.called()))
        } else {
            ("unknown_dependency", format!("`{}` matches only the agent itself", shorten(selector)))
        };
        problems.error(code, &entry.span, message, None);
        return;
    }
    // A phase that does not exist has been reported; where it would stand nobody knows.
    let both_known = |i: usize| member.phase_known && members[i].phase_known;
    let later = found.iter().find(|i| both_known(**i) && members[**i].phase > member.phase);
    if let Some(later) = later {
        let message = format!("{} depends on `{}`, which is of a later phase", member.called(), members[*later].id);
        let help = "move one of them to another phase".to_owned();
        problems.error("later_phase_dependency", &entry.span, message, Some(help));
    }
    on.extend(found.iter().copied().filter(|i| *i != index));
}

#[derive(Clone, Copy, PartialEq)]
enum Mark {
    New,
    Open,
    Done,
}

/// Depth first, without recursion: a chain may be as long as the session.
fn cycles(members: &[Member<'_>], edges: &[Vec<usize>], problems: &mut Problems) {
    let mut marks = vec![Mark::New; members.len()];
    let mut found = 0;
    for root in 0..members.len() {
        if marks[root] != Mark::New {
            continue;
        }
        marks[root] = Mark::Open;
        let mut path: Vec<(usize, usize)> = vec![(root, 0)];
        while let Some((at, next)) = path.last_mut() {
            let Some(&to) = edges[*at].get(*next) else {
                marks[*at] = Mark::Done;
                path.pop();
                continue;
            };
            *next += 1;
            match marks[to] {
                Mark::New => {
                    marks[to] = Mark::Open;
                    path.push((to, 0));
                }
                Mark::Open if found < MAX_CYCLES => {
                    found += 1;
                    let start = path.iter().position(|(i, _)| *i == to).unwrap_or(0);
                    let ring: Vec<usize> = path[start..].iter().map(|(i, _)| *i).collect();
                    report(&ring, members, problems);
                }
                Mark::Open | Mark::Done => {}
            }
        }
    }
}

fn report(ring: &[usize], members: &[Member<'_>], problems: &mut Problems) {
    // From the member that stands first in the file, so that the message does not depend on the search.
    let first = (0..ring.len()).min_by_key(|i| ring[*i]).unwrap_or(0);
    let turned: Vec<usize> = ring[first..].iter().chain(&ring[..first]).copied().collect();
    let mut names: Vec<String> = turned.iter().take(12).map(|i| members[*i].id.to_string()).collect();
    if turned.len() > names.len() {
        names.push("…".to_owned());
    }
    names.push(members[turned[0]].id.to_string());
    let member = &members[turned[0]];
    let span = member.first(|t| &t.depends_on).map_or(&member.span, |d| &d.span);
    let message = format!("agents wait for each other: {}", names.join(" → "));
    problems.error("cyclic_dependency", span, message, Some("take one of these dependencies out".into()));
}
