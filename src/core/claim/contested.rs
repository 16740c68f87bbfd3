//! Which patterns of which agents can meet, for ten thousand agents at once.
//!
//! Invariant: every pair that is reported does overlap, at its example; if a pair is missing,
//! [`Contested::truncated`] says so. The order is that of the agents and of their patterns.
//!
//! Equal patterns are merged. The others are sorted by their literal beginnings: only one that
//! begins a pattern's own beginning can meet it, and those are found on a stack. Each such group is
//! sorted by literal ends read backwards, and by the name of the last directory; what is left is
//! few, or really does overlap and soon fills the report.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::core::ids::AgentId;

use super::pattern::Answer;
use super::{Claim, Overlap, Pattern};

/// Where the search stops.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most pairs of patterns that are reported.
    pub pairs: usize,
    /// The most steps of work; a step is some tens of nanoseconds.
    pub steps: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { pairs: 1_000, steps: 50_000_000 }
    }
}

/// Two agents, and patterns of theirs that can meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contest {
    /// The earlier agent first; `overlap.left` is its pattern.
    pub agents: (AgentId, AgentId),
    pub overlap: Overlap,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contested {
    pub pairs: Vec<Contest>,
    /// There is more than was reported, or it was too much work to tell.
    pub truncated: bool,
}

/// The patterns over which agents contend: exclusive against exclusive and shared. Late claims take
/// no part (they are locked at the first write).
///
/// `apart(i, j)` tells, for indexes into `agents` with `i < j`, whether the two never run at once
/// anyway, as when one depends on the other; such pairs are left out.
pub fn contested(agents: &[(&AgentId, &Claim)], limits: Limits, apart: impl Fn(usize, usize) -> bool) -> Contested {
    let (entries, users) = merge(agents);
    let mut search =
        Search { agents, entries: &entries, users: &users, apart, limits, found: Vec::new(), truncated: false };
    search.run();
    search.report()
}

/// One pattern, however many agents declare it.
struct Entry<'a> {
    pattern: &'a Pattern,
    /// Its agents, in order.
    users: Range<usize>,
    /// The literal end, backwards.
    end: Vec<u8>,
    /// The name of the last directory.
    parent: Option<&'a str>,
    /// Some agent would write what it matches.
    exclusive: bool,
}

impl Entry<'_> {
    /// Nothing at its end to tell it apart by.
    fn is_open(&self) -> bool {
        self.end.is_empty() && self.parent.is_none()
    }
}

#[derive(Clone, Copy)]
struct User {
    agent: usize,
    /// Its place in the agent's claim, exclusive patterns first.
    place: usize,
    exclusive: bool,
}

fn merge<'a>(agents: &[(&'a AgentId, &'a Claim)]) -> (Vec<Entry<'a>>, Vec<User>) {
    let mut all: Vec<(&Pattern, User)> = Vec::new();
    for (agent, (_, claim)) in agents.iter().enumerate() {
        let exclusive = claim.exclusive.iter().map(|p| (p, true));
        let shared = claim.shared.iter().map(|p| (p, false));
        for (place, (pattern, exclusive)) in exclusive.chain(shared).enumerate() {
            all.push((pattern, User { agent, place, exclusive }));
        }
    }
    // Stable, so that the users of a pattern stay in order, exclusive before shared.
    all.sort_by(|(a, _), (b, _)| a.prefix().cmp(b.prefix()).then_with(|| a.cmp(b)));
    let mut entries: Vec<Entry<'a>> = Vec::new();
    let mut users: Vec<User> = Vec::with_capacity(all.len());
    for (pattern, user) in all {
        match entries.last_mut() {
            Some(last) if last.pattern == pattern => {
                if users.last().is_some_and(|u| u.agent == user.agent) {
                    continue;
                }
                last.users.end += 1;
                last.exclusive |= user.exclusive;
            }
            _ => {
                let end = pattern.suffix().iter().rev().copied().collect();
                let users = users.len()..users.len() + 1;
                entries.push(Entry { pattern, users, end, parent: pattern.parent_name(), exclusive: user.exclusive });
            }
        }
        users.push(user);
    }
    (entries, users)
}

struct Search<'a, F> {
    agents: &'a [(&'a AgentId, &'a Claim)],
    entries: &'a [Entry<'a>],
    users: &'a [User],
    apart: F,
    limits: Limits,
    found: Vec<(User, User, Overlap)>,
    truncated: bool,
}

/// The search is over: the report is full, or the steps ran out.
struct Full;

impl<F: Fn(usize, usize) -> bool> Search<'_, F> {
    fn run(&mut self) {
        if self.search().is_err() {
            self.truncated = true;
        }
    }

    fn search(&mut self) -> Result<(), Full> {
        for at in 0..self.entries.len() {
            if self.entries[at].users.len() > 1 {
                self.compare(at, at)?;
            }
        }
        let mut stack: Vec<Group<'_>> = Vec::new();
        let mut from = 0;
        while let Some(first) = self.entries.get(from) {
            let prefix = first.pattern.prefix();
            let len = self.entries[from..].partition_point(|e| e.pattern.prefix() == prefix);
            let group = Group::new(self.entries, from..from + len);
            while stack.pop_if(|top| !prefix.starts_with(top.prefix)).is_some() {}
            for at in group.members.clone() {
                self.compare_with_group(at, &group)?;
                for above in &stack {
                    self.compare_with_group(at, above)?;
                }
            }
            stack.push(group);
            from += len;
        }
        Ok(())
    }

    /// One entry against those of a group that its end does not rule out.
    fn compare_with_group(&mut self, at: usize, group: &Group<'_>) -> Result<(), Full> {
        self.spend(1)?;
        let entry = &self.entries[at];
        let own = group.members.contains(&at);
        // Within its own group, each pair once.
        let wanted = |other: usize| !own || other < at;
        if entry.is_open() {
            let upto = if own { at } else { group.members.end };
            for other in group.members.start..upto {
                self.compare(other, at)?;
            }
            return Ok(());
        }
        for &other in group.open.iter().filter(|&&other| wanted(other)) {
            self.compare(other, at)?;
        }
        let lists = match entry.parent {
            Some(name) => [Some(&group.without_parent), group.by_parent.get(name)],
            None => [Some(&group.closed), None],
        };
        for list in lists.into_iter().flatten() {
            self.spend(list.lengths.len() as u64)?;
            for range in list.matching(self.entries, &entry.end) {
                for &other in list.members[range].iter().filter(|&&other| wanted(other)) {
                    self.compare(other, at)?;
                }
            }
        }
        Ok(())
    }

    /// Reports the two, for all of their agents, if they overlap.
    fn compare(&mut self, one: usize, two: usize) -> Result<(), Full> {
        self.spend(1)?;
        let (left, right) = (&self.entries[one], &self.entries[two]);
        if !(left.exclusive || right.exclusive) || !left.pattern.may_meet(right.pattern) {
            return Ok(());
        }
        let mut example = None;
        for l in &self.users[left.users.clone()] {
            for r in &self.users[right.users.clone()] {
                self.spend(1)?;
                if !self.contend(*l, *r, one == two) {
                    continue;
                }
                let path = match &example {
                    Some(path) => path,
                    None => match left.pattern.overlap_within(right.pattern, &mut self.limits.steps) {
                        Answer::Overlap(path) => example.insert(path),
                        Answer::Disjoint => return Ok(()),
                        Answer::Unknown => return Err(Full),
                    },
                };
                if self.found.len() == self.limits.pairs {
                    return Err(Full);
                }
                let (left, right) = (left.pattern.clone(), right.pattern.clone());
                let overlap = Overlap { left, right, example: path.clone() };
                self.found.push((*l, *r, overlap));
            }
        }
        Ok(())
    }

    fn contend(&self, left: User, right: User, same_pattern: bool) -> bool {
        let (first, second) = (left.agent.min(right.agent), left.agent.max(right.agent));
        first != second
            && (!same_pattern || left.agent < right.agent)
            && (left.exclusive || right.exclusive)
            && !(self.apart)(first, second)
    }

    fn spend(&mut self, steps: u64) -> Result<(), Full> {
        self.limits.steps = self.limits.steps.checked_sub(steps).ok_or(Full)?;
        Ok(())
    }

    fn report(mut self) -> Contested {
        for (left, right, overlap) in &mut self.found {
            if left.agent > right.agent {
                std::mem::swap(left, right);
                std::mem::swap(&mut overlap.left, &mut overlap.right);
            }
        }
        self.found.sort_by_key(|(l, r, _)| (l.agent, r.agent, l.place, r.place));
        let id = |user: User| self.agents[user.agent].0.clone();
        let pairs = self.found.into_iter().map(|(l, r, overlap)| Contest { agents: (id(l), id(r)), overlap }).collect();
        Contested { pairs, truncated: self.truncated }
    }
}

/// Entries of one literal beginning.
struct Group<'a> {
    prefix: &'a [u8],
    members: Range<usize>,
    /// Those whose end tells nothing.
    open: Vec<usize>,
    /// All others; those of them whose last directory has no name in the text; the rest by that name.
    closed: Ends,
    without_parent: Ends,
    by_parent: BTreeMap<&'a str, Ends>,
}

/// Entries in the order of their literal ends read backwards.
#[derive(Default)]
struct Ends {
    members: Vec<usize>,
    /// The lengths of ends that occur, ascending.
    lengths: Vec<usize>,
}

impl<'a> Group<'a> {
    fn new(entries: &'a [Entry<'a>], members: Range<usize>) -> Self {
        let prefix = entries[members.start].pattern.prefix();
        let (open, closed): (Vec<usize>, Vec<usize>) = members.clone().partition(|&at| entries[at].is_open());
        let mut named: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        let mut nameless = Vec::new();
        for &at in &closed {
            match entries[at].parent {
                Some(name) => named.entry(name).or_default().push(at),
                None => nameless.push(at),
            }
        }
        Self {
            prefix,
            members,
            open,
            closed: Ends::new(entries, closed),
            without_parent: Ends::new(entries, nameless),
            by_parent: named.into_iter().map(|(name, list)| (name, Ends::new(entries, list))).collect(),
        }
    }
}

impl Ends {
    fn new(entries: &[Entry<'_>], mut members: Vec<usize>) -> Self {
        members.sort_by(|a, b| entries[*a].end.cmp(&entries[*b].end));
        let mut lengths: Vec<usize> = members.iter().map(|at| entries[*at].end.len()).collect();
        lengths.sort_unstable();
        lengths.dedup();
        Self { members, lengths }
    }

    /// Those whose end continues `end`, and those whose end it continues.
    fn matching<'s>(&'s self, entries: &'s [Entry<'_>], end: &'s [u8]) -> impl Iterator<Item = Range<usize>> + 's {
        let lower = move |key: &[u8]| self.members.partition_point(|at| entries[*at].end.as_slice() < key);
        let longer = {
            let from = lower(end);
            let len = self.members[from..].partition_point(|at| entries[*at].end.starts_with(end));
            from..from + len
        };
        let shorter = self.lengths.iter().take_while(|len| **len < end.len()).map(move |len| {
            let from = lower(&end[..*len]);
            let count = self.members[from..].partition_point(|at| entries[*at].end == end[..*len]);
            from..from + count
        });
        std::iter::once(longer).chain(shorter)
    }
}
