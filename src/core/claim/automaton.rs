//! The automaton of one pattern.
//!
//! Invariant: an [`Automaton`] accepts exactly the byte strings of its pattern. Nothing is made
//! deterministic, so there is nothing that can blow up.
//!
//! Deliberately absent: what is a path and what is not; see [`super::walk`].

use std::ops::Range;

use regex_automata::nfa::thompson::{self, WhichCaptures};
use regex_automata::util::primitives::StateID;
use regex_automata::util::syntax;

/// A nondeterministic automaton over bytes, anchored at both ends.
#[derive(Debug)]
pub(super) struct Automaton {
    pub(super) nodes: Vec<Node>,
    edges: Vec<Edge>,
    splits: Vec<u32>,
    pub(super) start: u32,
}

#[derive(Clone, Debug)]
pub(super) enum Node {
    /// Reads one byte along one of these edges.
    Read(Range<u32>),
    /// Goes on at any of these nodes (indexes into `splits`).
    Split(Range<u32>),
    Accept,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Edge {
    pub(super) low: u8,
    pub(super) high: u8,
    pub(super) to: u32,
}

impl Automaton {
    /// From the regular expression of a glob, as globset writes it: `(?-u)^…$`.
    ///
    /// `[..]` is kept from matching `/`, which globset would let it; `tree` adds everything under
    /// what the glob matches.
    pub(super) fn from_glob(regex: &str, tree: bool) -> Result<Self, Box<thompson::BuildError>> {
        let body = regex.strip_prefix("(?-u)^").unwrap_or(regex);
        let body = body.strip_suffix('$').unwrap_or(body);
        let mut text = String::with_capacity(body.len() + 16);
        text.push_str("(?:");
        keep_classes_off_slashes(body, &mut text);
        text.push_str(if tree { ")(?:/.*)?" } else { ")" });
        let nfa = thompson::Compiler::new()
            .syntax(syntax::Config::new().unicode(false).utf8(false).dot_matches_new_line(true))
            .configure(thompson::Config::new().utf8(false).which_captures(WhichCaptures::None))
            .build(&text)
            .map_err(Box::new)?;
        Ok(Self::from_nfa(&nfa))
    }

    fn from_nfa(nfa: &thompson::NFA) -> Self {
        let mut out = Self::empty();
        out.start = nfa.start_anchored().as_u32();
        for state in nfa.states() {
            let node = match state {
                thompson::State::ByteRange { trans } => out.read(&[*trans]),
                thompson::State::Sparse(sparse) => out.read(&sparse.transitions),
                thompson::State::Dense(dense) => {
                    let edge = |b: u8| Some(thompson::Transition { start: b, end: b, next: dense.matches_byte(b)? });
                    out.read(&(0..=0xff).filter_map(edge).collect::<Vec<_>>())
                }
                thompson::State::Union { alternates } => out.split(alternates.iter().map(StateID::as_u32)),
                thompson::State::BinaryUnion { alt1, alt2 } => out.split([alt1.as_u32(), alt2.as_u32()]),
                thompson::State::Capture { next, .. } => out.split([next.as_u32()]),
                thompson::State::Match { .. } => Node::Accept,
                // Anchors were taken off, and a glob has no other look-around.
                thompson::State::Look { .. } | thompson::State::Fail => out.split([]),
            };
            out.nodes.push(node);
        }
        out
    }

    /// `prefix`, then what `gap` allows, then `suffix`.
    pub(super) fn simple(prefix: &[u8], gap: Gap, suffix: &[u8]) -> Self {
        let mut out = Self::empty();
        out.literal(prefix);
        match gap {
            Gap::Nothing => {}
            Gap::Any => out.repeat(&[(0, 0xff)]),
            Gap::Name => out.repeat(&[(0, b'/' - 1), (b'/' + 1, 0xff)]),
            Gap::Directories => {
                // split → (any bytes, then `/`) or straight on
                let split = out.next();
                let after = split + 4;
                let node = out.split([split + 1, after]);
                out.nodes.push(node);
                out.repeat(&[(0, 0xff)]);
                out.literal(b"/");
            }
            Gap::EndOrBelow => {
                // split → `/`, any bytes; or straight to the end
                let split = out.next();
                let node = out.split([split + 4, split + 1]);
                out.nodes.push(node);
                out.literal(b"/");
                out.repeat(&[(0, 0xff)]);
            }
        }
        out.literal(suffix);
        out.nodes.push(Node::Accept);
        out
    }

    fn empty() -> Self {
        Self { nodes: Vec::new(), edges: Vec::new(), splits: Vec::new(), start: 0 }
    }

    fn next(&self) -> u32 {
        index(self.nodes.len())
    }

    fn literal(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            let to = self.next() + 1;
            let from = index(self.edges.len());
            self.edges.push(Edge { low: byte, high: byte, to });
            self.nodes.push(Node::Read(from..from + 1));
        }
    }

    /// Two nodes: a split to the second or past it, and the second, which reads and returns.
    fn repeat(&mut self, ranges: &[(u8, u8)]) {
        let split = self.next();
        let node = self.split([split + 1, split + 2]);
        self.nodes.push(node);
        let from = index(self.edges.len());
        self.edges.extend(ranges.iter().map(|&(low, high)| Edge { low, high, to: split }));
        self.nodes.push(Node::Read(from..index(self.edges.len())));
    }

    fn read(&mut self, transitions: &[thompson::Transition]) -> Node {
        let from = index(self.edges.len());
        self.edges.extend(transitions.iter().map(|t| Edge { low: t.start, high: t.end, to: t.next.as_u32() }));
        Node::Read(from..index(self.edges.len()))
    }

    fn split(&mut self, to: impl IntoIterator<Item = u32>) -> Node {
        let from = index(self.splits.len());
        self.splits.extend(to);
        Node::Split(from..index(self.splits.len()))
    }

    pub(super) fn edges(&self, range: &Range<u32>) -> &[Edge] {
        &self.edges[range.start as usize..range.end as usize]
    }

    pub(super) fn splits(&self, range: &Range<u32>) -> &[u32] {
        &self.splits[range.start as usize..range.end as usize]
    }

    /// Does it accept exactly these bytes?
    pub(super) fn accepts(&self, bytes: &[u8]) -> bool {
        let mut now = Front::new(self.nodes.len());
        let mut next = Front::new(self.nodes.len());
        let mut stack = Vec::new();
        self.enter(self.start, &mut now, &mut stack);
        for &byte in bytes {
            next.clear();
            for &at in &now.members {
                if let Node::Read(range) = &self.nodes[at as usize] {
                    for edge in self.edges(range).iter().filter(|e| e.low <= byte && byte <= e.high) {
                        self.enter(edge.to, &mut next, &mut stack);
                    }
                }
            }
            if next.members.is_empty() {
                return false;
            }
            std::mem::swap(&mut now, &mut next);
        }
        now.members.iter().any(|&at| matches!(self.nodes[at as usize], Node::Accept))
    }

    /// Adds `node` and all that it reaches without reading.
    fn enter(&self, node: u32, front: &mut Front, stack: &mut Vec<u32>) {
        stack.push(node);
        while let Some(at) = stack.pop() {
            if front.insert(at)
                && let Node::Split(range) = &self.nodes[at as usize]
            {
                stack.extend_from_slice(self.splits(range));
            }
        }
    }
}

/// What may stand between a pattern's literal beginning and end.
#[derive(Clone, Copy, Debug)]
pub(super) enum Gap {
    Nothing,
    Any,
    /// Anything but `/`.
    Name,
    /// Nothing, or anything that ends in `/`.
    Directories,
    /// Nothing, or anything that begins with `/`.
    EndOrBelow,
}

/// Node counts are bounded by the length of a pattern, far below `u32::MAX`.
pub(super) fn index(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// globset escapes every special character, so a bare `[` opens a class and a bare `]` ends it.
fn keep_classes_off_slashes(regex: &str, out: &mut String) {
    let mut rest = regex;
    while let Some(at) = rest.find(['[', '\\']) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let len = if from.starts_with('\\') { 2 } else { class_len(from) };
        let (token, after) = from.split_at(len.min(from.len()));
        if token.starts_with('[') && token != "[^/]" {
            out.push('[');
            out.push_str(token);
            out.push_str("&&[^/]]");
        } else {
            out.push_str(token);
        }
        rest = after;
    }
    out.push_str(rest);
}

fn class_len(from: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in from.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b']' => return at + 1,
            _ => {}
        }
    }
    from.len()
}

/// A set of nodes that remembers the order of insertion.
struct Front {
    members: Vec<u32>,
    seen: Vec<bool>,
}

impl Front {
    fn new(nodes: usize) -> Self {
        Self { members: Vec::new(), seen: vec![false; nodes] }
    }

    fn insert(&mut self, node: u32) -> bool {
        let fresh = !std::mem::replace(&mut self.seen[node as usize], true);
        if fresh {
            self.members.push(node);
        }
        fresh
    }

    fn clear(&mut self) {
        for &node in &self.members {
            self.seen[node as usize] = false;
        }
        self.members.clear();
    }
}
