//! The walk of two automata at once that decides whether two patterns can meet.
//!
//! Invariant: [`meet`] finds only strings that are a [`RepoPath`](crate::core::path::RepoPath): names
//! like `.` and `..`, empty components and NUL are left out by walking a third, four-state automaton
//! along. Every pair of states is seen at most once for each state of the third.

use super::automaton::{Automaton, Node, index};

/// What [`meet`] found out.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meeting {
    /// A shortest path that both accept.
    At(Vec<u8>),
    Never,
    /// The steps ran out before it was known.
    Unknown,
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
