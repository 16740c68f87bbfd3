//! One pattern of a claim.
//!
//! Invariant: [`Pattern::matches`] and [`Pattern::overlap`] agree: two patterns overlap exactly
//! when some path exists that both match. The forms that sessions are full of (`a/b`, `a/`,
//! `a/*.rs`, `**/*.md`) are decided on their literal beginnings and ends; for all others, and for
//! meetings of unlike forms, the automaton is built when it is first asked for.

use std::fmt;
use std::sync::{Arc, OnceLock};

use crate::core::path::RepoPath;

use super::automaton::{Automaton, Gap};
use super::syntax::{PatternError, Shape, glob, scan};
use super::walk::{Meeting, meet};

/// A pattern over paths of the workspace. Cloning is cheap.
///
/// `*` and `?` do not cross `/`, `**` does, `{a,b}` and `[..]` work, `\` escapes. `?` and `[..]`
/// stand for one byte, and `[..]` never for `/`. A pattern without wildcards means that path and
/// everything under it (`{a,b}` alone is no wildcard); one that ends in `/`, everything under it.
#[derive(Clone)]
pub struct Pattern(Arc<Inner>);

struct Inner {
    text: Box<str>,
    prefix: Box<[u8]>,
    suffix: Box<[u8]>,
    shape: Shape,
    glob: Option<Box<str>>,
    automaton: OnceLock<Automaton>,
}

/// What a bounded question about two patterns gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Overlap(RepoPath),
    Disjoint,
    /// The steps ran out.
    Unknown,
}

impl Pattern {
    /// Parses the text of a pattern.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        let found = scan(text)?;
        Ok(Self(Arc::new(Inner {
            text: text.into(),
            prefix: found.prefix,
            suffix: found.suffix,
            shape: found.shape,
            glob: found.glob,
            automaton: OnceLock::new(),
        })))
    }

    /// The pattern that matches this very path and nothing else, whatever letters are in it.
    #[must_use]
    pub fn file(path: &RepoPath) -> Self {
        let (directory, name) = split(path.as_bytes());
        Self::simple(path, directory, Shape::File, name)
    }

    /// The pattern that matches everything beneath this directory.
    #[must_use]
    pub fn beneath(directory: &RepoPath) -> Self {
        Self::simple(directory, &[directory.as_bytes(), b"/"].concat(), Shape::Under, b"")
    }

    /// The pattern that matches everything in the directory of this path.
    #[must_use]
    pub fn beside(path: &RepoPath) -> Self {
        Self::simple(path, split(path.as_bytes()).0, Shape::Star, b"")
    }

    fn simple(named: &RepoPath, prefix: &[u8], shape: Shape, suffix: &[u8]) -> Self {
        Self(Arc::new(Inner {
            text: named.to_string().into(),
            prefix: prefix.into(),
            suffix: suffix.into(),
            shape,
            glob: None,
            automaton: OnceLock::new(),
        }))
    }

    /// The text as the user wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0.text
    }

    #[must_use]
    pub fn matches(&self, path: &RepoPath) -> bool {
        let inner = &*self.0;
        let Some(rest) = path.as_bytes().strip_prefix(&*inner.prefix) else { return false };
        let Some(middle) = rest.strip_suffix(&*inner.suffix) else { return false };
        match inner.shape {
            Shape::Tree => middle.first().is_none_or(|b| *b == b'/'),
            Shape::File => middle.is_empty(),
            Shape::Under | Shape::Deep => true,
            Shape::Star => !middle.contains(&b'/'),
            Shape::DeepName => middle.last().is_none_or(|b| *b == b'/'),
            Shape::Glob | Shape::GlobTree => self.automaton().accepts(path.as_bytes()),
        }
    }

    /// A path that both match, if there is one; a shortest, or one letter longer where that spares
    /// the reader a hidden file. Readable where the patterns leave a choice.
    #[must_use]
    pub fn overlap(&self, other: &Self) -> Option<RepoPath> {
        let mut steps = u64::MAX;
        match self.overlap_within(other, &mut steps) {
            Answer::Overlap(path) => Some(path),
            Answer::Disjoint | Answer::Unknown => None,
        }
    }

    /// As [`Pattern::overlap`], for as long as there are `steps` (which it counts down).
    pub(super) fn overlap_within(&self, other: &Self, steps: &mut u64) -> Answer {
        if !self.may_meet(other) {
            return Answer::Disjoint;
        }
        let file = self.file_path().map(|path| (path, other)).or_else(|| other.file_path().map(|path| (path, self)));
        if let Some((path, pattern)) = file {
            return if pattern.matches(&path) { Answer::Overlap(path) } else { Answer::Disjoint };
        }
        let found = match (self.0.shape, other.0.shape) {
            (Shape::Tree | Shape::Under, Shape::Tree | Shape::Under) => self.deeper_tree(other),
            _ => match meet(self.automaton(), other.automaton(), steps) {
                Meeting::At(bytes) => bytes,
                Meeting::Never => return Answer::Disjoint,
                Meeting::Unknown => return Answer::Unknown,
            },
        };
        // The walk leaves out everything that is no path of the workspace.
        match RepoPath::new(&self.spare_hidden(other, found)) {
            Ok(path) => Answer::Overlap(path),
            Err(_) => Answer::Disjoint,
        }
    }

    /// The longest directory or file path that everything it matches is, or lies under; `None` where
    /// that is the whole workspace. Used to bound walks.
    #[must_use]
    pub fn literal_prefix(&self) -> Option<RepoPath> {
        if let Some(path) = self.literal_path().or_else(|| self.file_path()) {
            return Some(path);
        }
        let prefix = &*self.0.prefix;
        let cut = prefix.iter().rposition(|b| *b == b'/')?;
        RepoPath::new(&prefix[..cut]).ok()
    }

    /// Does all that it matches lie in a directory of git's?
    #[must_use]
    pub fn is_gits(&self) -> bool {
        let prefix = self.literal_prefix();
        prefix.is_some_and(|prefix| prefix.as_bytes().split(|b| *b == b'/').any(|part| part == b".git"))
    }

    /// The path that a pattern without wildcards names, if it stands for everything under it, too.
    #[must_use]
    pub fn literal_path(&self) -> Option<RepoPath> {
        if self.0.shape == Shape::Tree { RepoPath::new(&self.0.prefix).ok() } else { None }
    }

    /// Is it known to name a file, under which nothing lies? See [`Pattern::narrowed_to_file`].
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.0.shape == Shape::File
    }

    /// The same pattern where [`Pattern::literal_path`] is known to be a file: nothing lies under a
    /// file, and without knowing that, `src/main.rs` and `**/*.md` would meet at `src/main.rs/a.md`.
    #[must_use]
    pub fn narrowed_to_file(&self) -> Self {
        if self.0.shape != Shape::Tree {
            return self.clone();
        }
        let (directory, name) = split(&self.0.prefix);
        Self(Arc::new(Inner {
            text: self.0.text.clone(),
            prefix: directory.into(),
            suffix: name.into(),
            shape: Shape::File,
            glob: None,
            automaton: OnceLock::new(),
        }))
    }

    fn file_path(&self) -> Option<RepoPath> {
        let inner = &*self.0;
        if inner.shape == Shape::File { RepoPath::new(&[&*inner.prefix, &*inner.suffix].concat()).ok() } else { None }
    }

    /// What every path it matches begins with.
    pub(super) fn prefix(&self) -> &[u8] {
        &self.0.prefix
    }

    /// What every path it matches ends with.
    pub(super) fn suffix(&self) -> &[u8] {
        &self.0.suffix
    }

    /// The name that the directory of every path it matches has, where that is told by its text:
    /// `**/docs/*.md` has `docs`.
    pub(super) fn parent_name(&self) -> Option<&str> {
        let text = self.as_str();
        let closed = matches!(self.0.shape, Shape::File | Shape::Star | Shape::Deep | Shape::DeepName | Shape::Glob);
        if !closed || self.0.glob.is_some() || text.contains(['[', '{', '\\']) {
            return None;
        }
        let (parents, name) = text.rsplit_once('/')?;
        let parent = parents.rsplit('/').next().unwrap_or(parents);
        (name != "**" && !parent.contains(['*', '?'])).then_some(parent)
    }

    /// Literal beginnings and ends leave open whether the two meet. Cheap, never wrongly `false`.
    pub(super) fn may_meet(&self, other: &Self) -> bool {
        let (left, right) = (&*self.0, &*other.0);
        prefixes_meet(left, right) && (left.suffix.ends_with(&right.suffix) || right.suffix.ends_with(&left.suffix))
    }

    /// Where two whole trees meet: one lies in the other, as [`Pattern::may_meet`] has found.
    fn deeper_tree(&self, other: &Self) -> Vec<u8> {
        let longer = if self.0.prefix.len() >= other.0.prefix.len() { self } else { other };
        let mut path = longer.0.prefix.to_vec();
        if path.last().is_none_or(|b| *b == b'/') {
            path.push(b'a');
        }
        path
    }

    /// `src/.rs` is a shortest path of `src/*.rs`, and nobody's idea of an example.
    fn spare_hidden(&self, other: &Self, found: Vec<u8>) -> Vec<u8> {
        let starts = found.iter().enumerate().filter(|(at, b)| **b == b'.' && (*at == 0 || found[at - 1] == b'/'));
        for (at, _) in starts {
            let mut longer = found.clone();
            longer.insert(at, b'a');
            if RepoPath::new(&longer).is_ok_and(|path| self.matches(&path) && other.matches(&path)) {
                return longer;
            }
        }
        found
    }

    fn automaton(&self) -> &Automaton {
        self.0.automaton.get_or_init(|| self.0.build())
    }
}

impl Inner {
    fn build(&self) -> Automaton {
        let gap = match self.shape {
            Shape::Tree => Gap::EndOrBelow,
            Shape::File => Gap::Nothing,
            Shape::Under | Shape::Deep => Gap::Any,
            Shape::Star => Gap::Name,
            Shape::DeepName => Gap::Directories,
            Shape::Glob | Shape::GlobTree => return self.compile(),
        };
        Automaton::simple(&self.prefix, gap, &self.suffix)
    }

    #[expect(clippy::expect_used, reason = "scan refuses whatever globset or the compiler would: see the message")]
    fn compile(&self) -> Automaton {
        let text = self.glob.as_deref().unwrap_or(&self.text);
        let glob = glob(text).expect("a scanned pattern is a glob: brackets, braces and escapes were checked");
        Automaton::from_glob(glob.regex(), self.shape == Shape::GlobTree)
            .expect("a glob of bounded length and nesting compiles")
    }
}

/// A path as its directory, with the slash, and its name.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    path.split_at(path.iter().rposition(|b| *b == b'/').map_or(0, |at| at + 1))
}

fn prefixes_meet(left: &Inner, right: &Inner) -> bool {
    let (short, long) = if left.prefix.len() <= right.prefix.len() { (left, right) } else { (right, left) };
    let Some(rest) = long.prefix.strip_prefix(&*short.prefix) else { return false };
    // Below a tree is only what goes on with `/`.
    short.shape != Shape::Tree || rest.first().is_none_or(|b| *b == b'/')
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.text == other.0.text
    }
}
impl Eq for Pattern {}

impl PartialOrd for Pattern {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Pattern {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.text.cmp(&other.0.text)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0.text)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.0.text)
    }
}
