//! The part of the wire that speaks of the gate.
//!
//! Invariant: what is read back is what was written; a path that is none, or a pattern that does not
//! parse, makes the frame malformed (so a shim never runs under half a rule).
//! Deliberately absent: what the rules mean (`shim::gate`).

use std::path::PathBuf;
use std::time::Duration;

use super::{Input, put_bytes, put_count, put_duration};
use crate::core::call::{Answer, CallId, Grant, Refusal, RefusalReason, RefusedPath, Tally, Target, There, Touch};
use crate::core::claim::{Pattern, PatternError};
use crate::core::path::RepoPath;
use std::os::unix::ffi::OsStrExt;

/// The longest that a call waits for the supervisor; then it is refused.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// What an agent's writes are judged by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateTerms {
    /// The workspace's root.
    pub workspace: PathBuf,
    /// Directories of git and of the supervisor, wherever they lie; relative ones are in the workspace.
    pub forbidden: Vec<PathBuf>,
    /// Other repositories in the workspace.
    pub nested: Vec<RepoPath>,
    pub exclusive: Vec<PatternText>,
    pub deny: Vec<PatternText>,
    /// Single paths that it has like those of `exclusive`.
    pub own: Vec<RepoPath>,
    /// Paths that `exclusive` matches and that it has to ask about all the same.
    pub protected: Vec<RepoPath>,
    /// What its runner makes and removes for itself: these, and all beneath.
    pub scratch: Vec<RepoPath>,
    /// [`ANSWER_WITHIN`], save in tests.
    pub answer_within: Duration,
}

/// A pattern as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternText {
    pub text: String,
    /// It is known to be a file ([`Pattern::narrowed_to_file`]).
    pub file: bool,
}

/// Abilities of the kernel that a gate makes use of where they are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gated {
    /// A held call is interrupted by nothing but a signal that kills (Linux 5.19).
    pub wait_killable: bool,
    /// The shim is woken on the writer's processor (Linux 6.6).
    pub sync_wake: bool,
}

impl PatternText {
    #[must_use]
    pub fn of(pattern: &Pattern) -> Self {
        Self { text: pattern.as_str().to_owned(), file: pattern.is_file() }
    }

    pub fn pattern(&self) -> Result<Pattern, PatternError> {
        let pattern = Pattern::new(&self.text)?;
        Ok(if self.file { pattern.narrowed_to_file() } else { pattern })
    }
}

type Take<T> = fn(&mut Input<'_>) -> Option<T>;

pub(super) fn put_list<T>(out: &mut Vec<u8>, all: &[T], put: fn(&mut Vec<u8>, &T)) {
    put_count(out, all.len());
    for one in all {
        put(out, one);
    }
}

/// Collecting grows with what is there, whatever the count claims.
pub(super) fn list<T>(input: &mut Input<'_>, take: Take<T>) -> Option<Vec<T>> {
    (0..input.u32()?).map(|_| take(input)).collect()
}

/// Where `value` stands in `all`.
fn put_tag<T: PartialEq>(out: &mut Vec<u8>, all: &[T], value: &T) {
    let at = all.iter().position(|one| one == value).and_then(|at| u8::try_from(at).ok());
    out.push(at.unwrap_or(u8::MAX));
}

fn tag<T: Copy>(input: &mut Input<'_>, all: &[T]) -> Option<T> {
    all.get(usize::from(input.byte()?)).copied()
}

const TOUCHES: [Touch; 9] = [
    Touch::Open,
    Touch::Make,
    Touch::MakeDirectory,
    Touch::MoveIn,
    Touch::MoveOut,
    Touch::Remove,
    Touch::RemoveDirectory,
    Touch::Alias,
    Touch::Change,
];
const THERES: [There; 3] = [There::Nothing, There::Directory, There::File];
const ANSWERS: [Answer; 3] = [Answer::Allow, Answer::Refuse, Answer::Busy];
const REASONS: [RefusalReason; 8] = [
    RefusalReason::Git,
    RefusalReason::Nested,
    RefusalReason::Denied,
    RefusalReason::Unresolved,
    RefusalReason::NoAnswer,
    RefusalReason::Ending,
    RefusalReason::TooLarge,
    RefusalReason::Stale,
];

pub(super) fn put_path(out: &mut Vec<u8>, path: &RepoPath) {
    put_bytes(out, path.as_bytes());
}

pub(super) fn path(input: &mut Input<'_>) -> Option<RepoPath> {
    RepoPath::new(&input.bytes()?).ok()
}

pub(super) fn put_target(out: &mut Vec<u8>, target: &Target) {
    put_path(out, &target.path);
    put_tag(out, &TOUCHES, &target.touch);
    put_tag(out, &THERES, &target.there);
}

pub(super) fn target(input: &mut Input<'_>) -> Option<Target> {
    Some(Target { path: path(input)?, touch: tag(input, &TOUCHES)?, there: tag(input, &THERES)? })
}

pub(super) fn put_wrote(out: &mut Vec<u8>, (path, tally): &(RepoPath, Tally)) {
    put_path(out, path);
    for count in [tally.closes, tally.creates, tally.moves_in, tally.moves_out, tally.deletes] {
        out.extend(count.to_le_bytes());
    }
}

pub(super) fn wrote(input: &mut Input<'_>) -> Option<(RepoPath, Tally)> {
    let path = path(input)?;
    let tally = Tally {
        closes: input.u32()?,
        creates: input.u32()?,
        moves_in: input.u32()?,
        moves_out: input.u32()?,
        deletes: input.u32()?,
    };
    Some((path, tally))
}

pub(super) fn put_refusal(out: &mut Vec<u8>, (refusal, count): &(Refusal, u32)) {
    match &refusal.path {
        RefusedPath::Inside(path) => {
            out.push(0);
            put_path(out, path);
        }
        RefusedPath::Other(text) => {
            out.push(1);
            put_bytes(out, text.as_bytes());
        }
    }
    put_tag(out, &TOUCHES, &refusal.touch);
    put_tag(out, &REASONS, &refusal.why);
    out.extend(count.to_le_bytes());
}

pub(super) fn refusal(input: &mut Input<'_>) -> Option<(Refusal, u32)> {
    let path = match input.byte()? {
        0 => RefusedPath::Inside(path(input)?),
        1 => RefusedPath::Other(String::from_utf8(input.bytes()?).ok()?),
        _ => return None,
    };
    let refusal = Refusal { path, touch: tag(input, &TOUCHES)?, why: tag(input, &REASONS)? };
    Some((refusal, input.u32()?))
}

pub(super) fn put_answer(out: &mut Vec<u8>, call: CallId, answer: Answer, grants: &[Grant]) {
    out.extend(call.0.to_le_bytes());
    put_tag(out, &ANSWERS, &answer);
    put_list(out, grants, |out, grant| {
        let (tag, path) = match grant {
            Grant::Path(path) => (0, path),
            Grant::Beneath(path) => (1, path),
        };
        out.push(tag);
        put_path(out, path);
    });
}

pub(super) fn answer(input: &mut Input<'_>) -> Option<(CallId, Answer, Vec<Grant>)> {
    let (call, answer) = (CallId(input.u64()?), tag(input, &ANSWERS)?);
    let grants = list(input, |input| match input.byte()? {
        0 => path(input).map(Grant::Path),
        1 => path(input).map(Grant::Beneath),
        _ => None,
    });
    Some((call, answer, grants?))
}

pub(super) fn put_gated(out: &mut Vec<u8>, gated: Option<Gated>) {
    out.push(u8::from(gated.is_some()));
    if let Some(gated) = gated {
        out.push(u8::from(gated.wait_killable));
        out.push(u8::from(gated.sync_wake));
    }
}

pub(super) fn gated(input: &mut Input<'_>) -> Option<Gated> {
    Some(Gated { wait_killable: input.flag()?, sync_wake: input.flag()? })
}

pub(super) fn put_terms(out: &mut Vec<u8>, terms: &GateTerms) {
    put_bytes(out, terms.workspace.as_os_str().as_bytes());
    put_list(out, &terms.forbidden, |out, path| put_bytes(out, path.as_os_str().as_bytes()));
    for patterns in [&terms.exclusive, &terms.deny] {
        put_list(out, patterns, |out, pattern| {
            put_bytes(out, pattern.text.as_bytes());
            out.push(u8::from(pattern.file));
        });
    }
    for paths in [&terms.nested, &terms.own, &terms.protected, &terms.scratch] {
        put_list(out, paths, put_path);
    }
    put_duration(out, terms.answer_within);
}

pub(super) fn terms(input: &mut Input<'_>) -> Option<GateTerms> {
    Some(GateTerms {
        workspace: input.path()?,
        forbidden: list(input, directory)?,
        exclusive: list(input, pattern)?,
        deny: list(input, pattern)?,
        nested: list(input, path)?,
        own: list(input, path)?,
        protected: list(input, path)?,
        scratch: list(input, path)?,
        answer_within: input.duration()?,
    })
}

fn directory(input: &mut Input<'_>) -> Option<PathBuf> {
    input.path()
}

fn pattern(input: &mut Input<'_>) -> Option<PatternText> {
    let text = PatternText { text: String::from_utf8(input.bytes()?).ok()?, file: input.flag()? };
    text.pattern().is_ok().then_some(text)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::{Frames, Order, Report, WireError};
    use super::*;

    fn at(text: &str) -> RepoPath {
        RepoPath::new(text.as_bytes()).unwrap()
    }

    pub(in crate::shim::wire) fn example() -> GateTerms {
        let text = |text: &str, file| PatternText { text: text.into(), file };
        GateTerms {
            workspace: "/w".into(),
            forbidden: vec!["/w/.git".into(), "/elsewhere".into()],
            nested: vec![at("third/party")],
            exclusive: vec![text("src/**/*.rs", false), text("README.md", true)],
            deny: vec![text("**/*.lock", false)],
            own: vec![at("app/[id]/page.tsx")],
            protected: vec![at(".env")],
            scratch: vec![at(".codex")],
            answer_within: ANSWER_WITHIN,
        }
    }

    pub(in crate::shim::wire) fn orders() -> Vec<Order> {
        let grants = vec![Grant::Path(at("a/\u{1}")), Grant::Beneath(at("b"))];
        let answer = |answer, grants| Order::Answer { call: CallId(u64::MAX), answer, grants };
        vec![
            answer(Answer::Allow, grants),
            answer(Answer::Refuse, vec![]),
            answer(Answer::Busy, vec![]),
            Order::Stale(vec![at("a"), RepoPath::new(b"\xff").unwrap()]),
            Order::Stale(vec![]),
            Order::Withdraw,
        ]
    }

    pub(in crate::shim::wire) fn reports() -> Vec<Report> {
        let targets = TOUCHES.iter().zip(THERES.iter().cycle());
        let targets = targets.map(|(touch, there)| Target { path: at("a/b"), touch: *touch, there: *there });
        let tally = Tally { closes: 1, creates: 2, moves_in: 3, moves_out: 4, deletes: u32::MAX };
        let refusals = REASONS
            .iter()
            .map(|why| (Refusal { path: RefusedPath::Inside(at("x")), touch: Touch::Make, why: *why }, 7));
        let other = Refusal {
            path: RefusedPath::Other("/proc/1/root/é".into()),
            touch: Touch::Open,
            why: RefusalReason::Unresolved,
        };
        vec![
            Report::Ask { call: CallId(3), targets: targets.collect() },
            Report::Wrote(vec![(at("a"), tally), (at("b"), Tally::default())]),
            Report::Untold(5),
            Report::Refused(refusals.collect()),
            Report::Refused(vec![(other, 1)]),
        ]
    }

    #[test]
    fn a_path_that_leaves_the_workspace_does_not_parse() {
        let mut bytes = Report::Wrote(vec![(at("a/bb"), Tally::default())]).encoded();
        let dots = bytes.windows(2).position(|pair| pair == b"bb").unwrap();
        bytes[dots..dots + 2].copy_from_slice(b"..");
        let mut frames = Frames::default();
        frames.push(&bytes);
        assert_eq!(frames.next_report(), Err(WireError::Malformed(super::super::WROTE)));
    }

    impl Report {
        fn encoded(&self) -> Vec<u8> {
            let mut bytes = Vec::new();
            self.encode(&mut bytes);
            bytes
        }
    }

    #[test]
    fn patterns_are_rebuilt() {
        let tree = Pattern::new("src/main.rs").unwrap();
        let file = tree.narrowed_to_file();
        for (pattern, below) in [(tree, true), (file, false)] {
            let again = PatternText::of(&pattern).pattern().unwrap();
            assert!(again.matches(&at("src/main.rs")));
            assert_eq!(again.matches(&at("src/main.rs/x")), below);
        }
        assert!(PatternText { text: "a/../b".into(), file: false }.pattern().is_err());
    }
}
