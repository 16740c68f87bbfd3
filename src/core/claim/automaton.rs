//! The automaton of one pattern, and the walk of two at once that decides whether they can meet.
//!
//! Invariant: an [`Automaton`] accepts exactly the byte strings of its pattern; [`meet`] finds only
//! strings that are a [`RepoPath`](crate::core::path::RepoPath): names like `.` and `..`, empty
//! components and NUL are left out by walking a third, four-state automaton along.
//!
//! Nothing is made deterministic, so there is nothing that can blow up: the walk sees every pair of
//! states at most once for each state of the third.

use std::ops::Range;

use regex_automata::nfa::thompson::{self, WhichCaptures};
use regex_automata::util::primitives::StateID;
use regex_automata::util::syntax;

/// A nondeterministic automaton over bytes, anchored at both ends.
#[derive(Debug)]
pub(super) struct Automaton {
    nodes: Vec<Node>,
    edges: Vec<Edge>,
    splits: Vec<u32>,
    start: u32,
}

#[derive(Clone, Debug)]
enum Node {
    /// Reads one byte along one of these edges.
    Read(Range<u32>),
    /// Goes on at any of these nodes (indexes into `splits`).
    Split(Range<u32>),
    Accept,
}

#[derive(Clone, Copy, Debug)]
struct Edge {
    low: u8,
    high: u8,
    to: u32,
}

/// What [`meet`] found out.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meeting {
    /// A shortest path that both accept.
    At(Vec<u8>),
    Never,
    /// The steps ran out before it was known.
    Unknown,
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

    fn edges(&self, range: &Range<u32>) -> &[Edge] {
        &self.edges[range.start as usize..range.end as usize]
    }

    fn splits(&self, range: &Range<u32>) -> &[u32] {
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
fn index(n: usize) -> u32 {
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

/// Where in a component a path is; what keeps `.`, `..` and empty names out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Start,
    Dot,
    DotDot,
    Good,
}

impl Name {
    /// `None`: no path goes on so.
    fn after(self, byte: u8) -> Option<Self> {
        match (byte, self) {
            (0, _) | (b'/', Self::Start | Self::Dot | Self::DotDot) => None,
            (b'/', Self::Good) => Some(Self::Start),
            (b'.', Self::Start) => Some(Self::Dot),
            (b'.', Self::Dot) => Some(Self::DotDot),
            _ => Some(Self::Good),
        }
    }
}

/// Walks two automata at once, breadth first, for a path that both accept. `steps` counts down.
pub(super) fn meet(left: &Automaton, right: &Automaton, steps: &mut u64) -> Meeting {
    Walk::new(left, right).run(steps)
}

struct Walk<'a> {
    left: &'a Automaton,
    right: &'a Automaton,
    seen: Vec<u64>,
    /// Reached places in the order of their distance, and how each was reached.
    trail: Vec<Visit>,
    stack: Vec<(u32, u32)>,
    moves: Vec<Move>,
}

#[derive(Clone, Copy)]
struct Visit {
    left: u32,
    right: u32,
    name: Name,
    byte: u8,
    /// Index into the trail; its own at the start.
    from: u32,
}

#[derive(Clone, Copy)]
struct Move {
    byte: u8,
    left: u32,
    right: u32,
}

impl<'a> Walk<'a> {
    fn new(left: &'a Automaton, right: &'a Automaton) -> Self {
        let places = left.nodes.len() * right.nodes.len() * 4;
        Self {
            left,
            right,
            seen: vec![0; places.div_ceil(64)],
            trail: Vec::new(),
            stack: Vec::new(),
            moves: Vec::new(),
        }
    }

    fn run(mut self, steps: &mut u64) -> Meeting {
        if let Some(end) =
            self.enter(Visit { left: self.left.start, right: self.right.start, name: Name::Start, byte: 0, from: 0 })
        {
            return Meeting::At(self.path(end));
        }
        let mut at = 0;
        while let Some(&visit) = self.trail.get(at) {
            self.collect_moves(visit);
            let moves = std::mem::take(&mut self.moves);
            *steps = steps.saturating_sub(1 + moves.len() as u64);
            for step in &moves {
                if let Some(name) = visit.name.after(step.byte) {
                    let next = Visit { left: step.left, right: step.right, name, byte: step.byte, from: index(at) };
                    if let Some(end) = self.enter(next) {
                        return Meeting::At(self.path(end));
                    }
                }
            }
            self.moves = moves;
            if *steps == 0 {
                return Meeting::Unknown;
            }
            at += 1;
        }
        Meeting::Never
    }

    /// Adds a place and those it reaches without reading. Returns the end of a path, if it is one.
    fn enter(&mut self, visit: Visit) -> Option<Visit> {
        self.stack.push((visit.left, visit.right));
        while let Some((left, right)) = self.stack.pop() {
            let place = (left as usize * self.right.nodes.len() + right as usize) * 4 + visit.name as usize;
            let (word, bit) = (place / 64, 1 << (place % 64));
            if self.seen[word] & bit != 0 {
                continue;
            }
            self.seen[word] |= bit;
            match (&self.left.nodes[left as usize], &self.right.nodes[right as usize]) {
                (Node::Split(to), _) => self.stack.extend(self.left.splits(to).iter().rev().map(|l| (*l, right))),
                (_, Node::Split(to)) => self.stack.extend(self.right.splits(to).iter().rev().map(|r| (left, *r))),
                (Node::Read(_), Node::Read(_)) => self.trail.push(Visit { left, right, ..visit }),
                (Node::Accept, Node::Accept) if visit.name == Name::Good => {
                    self.stack.clear();
                    return Some(visit);
                }
                _ => {}
            }
        }
        None
    }

    /// The bytes worth trying from here, the most readable first.
    fn collect_moves(&mut self, visit: Visit) {
        self.moves.clear();
        let (Node::Read(left), Node::Read(right)) =
            (&self.left.nodes[visit.left as usize], &self.right.nodes[visit.right as usize])
        else {
            return;
        };
        for l in self.left.edges(left) {
            for r in self.right.edges(right) {
                let (low, high) = (l.low.max(r.low), l.high.min(r.high));
                if low <= high {
                    let ends = [b'.', b'/'].into_iter().filter(|b| (low..=high).contains(b));
                    let bytes = readable(low, high).into_iter().chain(ends);
                    self.moves.extend(bytes.map(|byte| Move { byte, left: l.to, right: r.to }));
                }
            }
        }
        self.moves.sort_by_key(|m| taste(m.byte));
    }

    fn path(&self, end: Visit) -> Vec<u8> {
        let mut path = Vec::new();
        let mut at = end;
        // The visit at index 0 reads nothing; the very first place may also be several visits.
        while at.name != Name::Start || at.byte != 0 {
            path.push(at.byte);
            at = self.trail[at.from as usize];
        }
        path.reverse();
        path
    }
}

/// Bytes in the order in which an example should use them.
const READABLE: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_-";

/// The most readable byte of a range, `.` and `/` and NUL aside.
fn readable(low: u8, high: u8) -> Option<u8> {
    let within = |b: &u8| (low..=high).contains(b);
    let plain = |b: &u8| !matches!(b, 0 | b'.' | b'/');
    READABLE
        .iter()
        .copied()
        .find(within)
        .or_else(|| (b'!'..=b'~').filter(plain).find(within))
        .or_else(|| (low..=high).find(plain))
}

fn taste(byte: u8) -> u8 {
    match byte {
        b'a'..=b'z' => 0,
        b'0'..=b'9' | b'A'..=b'Z' | b'_' | b'-' => 1,
        b'.' | b'/' => 2,
        b'!'..=b'~' => 3,
        _ => 4,
    }
}
