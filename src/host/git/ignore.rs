//! Git's ignore rules (gitignore(5)): `.gitignore` files, `info/exclude`, `core.excludesFile`.
//!
//! libgit2 has them too, but drops a negation that nothing in its own file precedes, and looks at the
//! innermost rule where git stops at the outermost ignored directory. Here one path costs as many
//! lstat(2) as it has components; files are read again only when they are other ones.
//!
//! Invariant: an answer is what `git check-ignore --no-index` gives for the same path.
//!
//! Deliberately absent: what is tracked, which is never ignored (`facts`, `walk`).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode as Perm, OFlags};
use rustix::io::Errno;

use crate::core::path::RepoPath;

use super::files::{Root, Stat, lstat_at, open_dir_at};
use super::wildmatch::{Manner, matches};

/// Files of rules beyond this are passed over, as git does.
const LARGEST: u64 = 100 << 20;

/// One line of a file of rules.
#[derive(Debug)]
struct Rule {
    negative: bool,
    /// It ends in `/`: only directories match.
    dir_only: bool,
    /// It has no other `/`: the last component is matched, at any depth.
    anywhere: bool,
    /// Bytes before the first special sign.
    literal: usize,
    pattern: Vec<u8>,
}

#[derive(Debug)]
struct RuleFile {
    stat: Stat,
    rules: Arc<[Rule]>,
}

/// The rules of one working tree, read as they are needed.
#[derive(Debug)]
pub(super) struct IgnoreRules {
    /// `info/exclude` and the user's own, the stronger first.
    outer: Vec<(PathBuf, Option<RuleFile>)>,
    /// `.gitignore` by directory (empty: the root).
    inner: BTreeMap<Vec<u8>, RuleFile>,
    fold: bool,
}

/// A walk down to a path, one component at a time.
#[derive(Debug)]
pub(super) struct Descent<'r> {
    rules: &'r mut IgnoreRules,
    /// The directory reached; `None`: it does not exist.
    at: Option<OwnedFd>,
    /// Rules of the directories passed, outermost first, with the length of each one's path.
    passed: Vec<(usize, Arc<[Rule]>)>,
    outer: Vec<Arc<[Rule]>>,
    /// A directory passed is itself ignored: so is all beneath it.
    ignored: bool,
}

impl IgnoreRules {
    /// `user`: `core.excludesFile`, or where git looks without it.
    pub(super) fn new(common_dir: &Path, user: Option<PathBuf>, fold: bool) -> Self {
        let outer = std::iter::once(common_dir.join("info/exclude")).chain(user).map(|path| (path, None)).collect();
        Self { outer, inner: BTreeMap::new(), fold }
    }

    pub(super) fn descend(&mut self, root: &Root) -> io::Result<Descent<'_>> {
        let mut outer = Vec::new();
        for (path, known) in &mut self.outer {
            let stat = rustix::fs::stat(path.as_path()).ok().map(|raw| Stat::of(&raw)).filter(Stat::is_file);
            if known.as_ref().map(|k| k.stat) != stat {
                let open = stat.and_then(|stat| Some((stat, File::open(&*path).ok()?)));
                *known = open.map(|(stat, file)| read(stat, file)).transpose()?;
            }
            outer.extend(known.as_ref().map(|k| Arc::clone(&k.rules)));
        }
        let at = root.dir(None)?;
        Ok(Descent { rules: self, at, passed: Vec::new(), outer, ignored: false })
    }

    /// Is `path` ignored by itself or by a directory that it lies in? `dir`: it is, or would be, a
    /// directory.
    pub(super) fn ignores(&mut self, root: &Root, path: &RepoPath, dir: bool) -> io::Result<bool> {
        let mut descent = self.descend(root)?;
        for end in ends(path.as_bytes()) {
            let step = descent.step(&path.as_bytes()[..end], end < path.as_bytes().len() || dir)?;
            if step.ignored {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The rules of the directory `dir`, open as `fd`.
    fn of_dir(&mut self, dir: &[u8], fd: BorrowedFd<'_>) -> io::Result<Option<Arc<[Rule]>>> {
        let Some(stat) = lstat_at(fd, b".gitignore")?.filter(Stat::is_file) else { return Ok(None) };
        if let Some(known) = self.inner.get(dir).filter(|k| k.stat == stat) {
            return Ok(Some(Arc::clone(&known.rules)));
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(fd, ".gitignore", flags, Perm::empty()) {
            Ok(file) => read(stat, File::from(file))?,
            Err(Errno::NOENT | Errno::LOOP | Errno::ACCESS) => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let rules = Arc::clone(&file.rules);
        self.inner.insert(dir.to_vec(), file);
        Ok(Some(rules))
    }
}

/// One component of a descent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// `None`: nothing is there.
    pub(super) stat: Option<Stat>,
    pub(super) ignored: bool,
}

impl Descent<'_> {
    /// The next component; `so_far` ends with it. What is not there counts as what `dir` says.
    pub(super) fn step(&mut self, so_far: &[u8], dir: bool) -> io::Result<Step> {
        let start = so_far.iter().rposition(|b| *b == b'/').map_or(0, |i| i + 1);
        let name = &so_far[start..];
        let above = &so_far[..start.saturating_sub(1)];
        let mut stat = None;
        let mut next = None;
        if let Some(fd) = &self.at {
            if let Some(rules) = self.rules.of_dir(above, fd.as_fd())? {
                self.passed.push((start, rules));
            }
            stat = lstat_at(fd.as_fd(), name)?;
            if stat.is_some_and(|s| s.is_dir()) {
                next = open_dir_at(fd.as_fd(), name).or_else(|e| match e.kind() {
                    // What lies in a directory that is closed to us is known by the rules so far.
                    io::ErrorKind::PermissionDenied => Ok(None),
                    _ => Err(e),
                })?;
            }
        }
        self.at = next;
        if !self.ignored {
            self.ignored = self.decides(so_far, name, stat.map_or(dir, |s| s.is_dir()));
        }
        Ok(Step { stat, ignored: self.ignored })
    }

    /// Would git ignore a directory of this path, which differs from the last step's in its name alone?
    pub(super) fn ignores_sibling(&self, path: &[u8]) -> bool {
        let start = path.iter().rposition(|b| *b == b'/').map_or(0, |i| i + 1);
        self.ignored || self.decides(path, &path[start..], true)
    }

    fn decides(&self, path: &[u8], name: &[u8], dir: bool) -> bool {
        let inner = self.passed.iter().rev().map(|(base, rules)| (*base, rules));
        let outer = self.outer.iter().map(|rules| (0, rules));
        for (base, rules) in inner.chain(outer) {
            if let Some(rule) = rules.iter().rev().find(|r| r.matches(&path[base..], name, dir, self.rules.fold)) {
                return !rule.negative;
            }
        }
        false
    }
}

/// Is `path`, which is no directory, ignored by this line alone of the `.gitignore` in the root: by itself, or by a
/// directory that it lies in?
#[must_use]
pub fn ignore_line_matches(line: &[u8], path: &RepoPath) -> bool {
    let text = path.as_bytes();
    let name = |end: usize| text[..end].iter().rposition(|b| *b == b'/').map_or(0, |i| i + 1);
    let matches = |rule: &Rule, end: usize| rule.matches(&text[..end], &text[name(end)..end], end < text.len(), false);
    Rule::parse(line).is_some_and(|rule| !rule.negative && ends(text).any(|end| matches(&rule, end)))
}

/// Where each component of a path ends.
pub(super) fn ends(path: &[u8]) -> impl Iterator<Item = usize> {
    (1..=path.len()).filter(|i| path.get(*i).is_none_or(|b| *b == b'/'))
}

fn read(stat: Stat, file: File) -> io::Result<RuleFile> {
    let mut bytes = Vec::new();
    if stat.size <= LARGEST {
        file.take(LARGEST).read_to_end(&mut bytes)?;
    }
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    Ok(RuleFile { stat, rules: text.split(|b| *b == b'\n').filter_map(Rule::parse).collect() })
}

impl Rule {
    /// `None`: a comment, or nothing.
    fn parse(line: &[u8]) -> Option<Self> {
        if line.first() == Some(&b'#') {
            return None;
        }
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = line.split(|b| *b == 0).next().unwrap_or(line);
        let line = without_trailing_spaces(line);
        let (negative, rest) = line.strip_prefix(b"!").map_or((false, line), |rest| (true, rest));
        let (dir_only, rest) = rest.strip_suffix(b"/").map_or((false, rest), |rest| (true, rest));
        if rest.is_empty() {
            return None;
        }
        let anywhere = !rest.contains(&b'/');
        let pattern = rest.strip_prefix(b"/").unwrap_or(rest).to_vec();
        let literal = pattern.iter().position(|b| is_special(*b)).unwrap_or(pattern.len());
        Some(Self { negative, dir_only, anywhere, literal, pattern })
    }

    /// `path` is relative to the directory of the rule's file, `name` its last component.
    fn matches(&self, path: &[u8], name: &[u8], dir: bool, fold: bool) -> bool {
        if self.dir_only && !dir {
            return false;
        }
        let same = |a: &[u8], b: &[u8]| if fold { a.eq_ignore_ascii_case(b) } else { a == b };
        let text = if self.anywhere { name } else { path };
        let (start, rest) = self.pattern.split_at(self.literal);
        if rest.is_empty() {
            return same(start, text);
        }
        if self.anywhere {
            if let Some(tail) = self.pattern.strip_prefix(b"*").filter(|t| !t.iter().any(|b| is_special(*b))) {
                return text.len() >= tail.len() && same(tail, &text[text.len() - tail.len()..]);
            }
            return matches(&self.pattern, text, Manner { path: false, fold });
        }
        text.split_at_checked(start.len())
            .is_some_and(|(head, tail)| same(head, start) && matches(rest, tail, Manner { path: true, fold }))
    }
}

fn is_special(b: u8) -> bool {
    matches!(b, b'*' | b'?' | b'[' | b'\\')
}

/// Spaces at the end do not count, unless a backslash is before them.
fn without_trailing_spaces(line: &[u8]) -> &[u8] {
    let mut end = 0;
    let mut at = 0;
    while at < line.len() {
        match line[at] {
            b' ' => {}
            b'\\' => {
                at += 1;
                end = (at + 1).min(line.len());
            }
            _ => end = at + 1,
        }
        at += 1;
    }
    &line[..end]
}
