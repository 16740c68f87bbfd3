//! Quick questions about single paths.
//!
//! Invariant: an answer costs a few system calls for each component of the path; the index is read
//! again only when it is another one.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::core::call::There;
use crate::core::facts::{Ignored, PathFacts};
use crate::core::path::RepoPath;

use super::error::GitError;
use super::files::Stat;
use super::ignore::{Descent, IgnoreRules, ends};
use super::objects::Objects;
use super::{Mark, Repository};

impl Repository {
    /// What is at `path` now, and whether git ignores it. `directory`: what is not there yet would be
    /// one (rules that end in `/` match only those).
    pub fn facts_of(&mut self, path: &RepoPath, directory: bool) -> Result<PathFacts, GitError> {
        self.known_of(path, directory, false)
    }

    /// The same for somebody who is about to write there, who may be making what git is to ignore
    /// ([`Ignored::Making`]).
    pub fn facts_before(&mut self, path: &RepoPath, directory: bool) -> Result<PathFacts, GitError> {
        self.known_of(path, directory, true)
    }

    fn known_of(&mut self, path: &RepoPath, directory: bool, temporary: bool) -> Result<PathFacts, GitError> {
        let failed = || GitError::io(format!("looking at `{path}`"));
        let index = self.index()?;
        let bytes = path.as_bytes();
        // What differed from HEAD when the run was opened was not ignored then: no rule that an agent
        // writes since takes its protection away.
        let at_start = self.at_start.clone().unwrap_or_default();
        let mut descent = self.ignore.descend(&self.root).map_err(failed())?;
        let mut ignored = None;
        let mut stat = None;
        for end in ends(bytes) {
            let (so_far, last) = (&bytes[..end], end == bytes.len());
            let step = descent.step(so_far, !last || directory).map_err(failed())?;
            stat = step.stat;
            if ignored.is_some() {
                continue;
            }
            if index.find(so_far).is_some() {
                ignored = Some(Ignored::No);
                continue;
            }
            let is_dir = stat.map_or(!last || directory, |s| s.is_dir());
            let making = || temporary && is_dir && is_temporary(so_far, &descent);
            if step.ignored || making() {
                let whole = || index.beneath(so_far).is_empty() && !is_any_beneath(&at_start, so_far);
                ignored = match RepoPath::new(so_far) {
                    Ok(dir) if is_dir && whole() && step.ignored => Some(Ignored::Beneath(dir)),
                    Ok(dir) if is_dir && whole() => Some(Ignored::Making(dir)),
                    Ok(path) if last && !is_dir && !at_start.contains_key(&path) => Some(Ignored::File),
                    _ => None,
                };
            }
        }
        let there = match stat {
            None => There::Nothing,
            Some(stat) if stat.is_dir() => There::Directory,
            Some(_) => There::File,
        };
        Ok(PathFacts { there, ignored: ignored.unwrap_or(Ignored::No) })
    }

    /// Is this directory git's, or one all of which git ignores? What cannot be found out is neither.
    pub fn prunes(&mut self, dir: &RepoPath) -> bool {
        let name = dir.as_bytes().rsplit(|b| *b == b'/').next();
        name == Some(b".git") || self.facts_of(dir, true).is_ok_and(|f| matches!(f.ignored, Ignored::Beneath(_)))
    }

    /// Is what is at the path, if anything is, ignored?
    pub(super) fn is_ignored(&mut self, path: &RepoPath, stat: Option<&Stat>) -> Result<bool, GitError> {
        let facts = self.facts_of(path, stat.is_some_and(Stat::is_dir))?;
        Ok(facts.ignored != Ignored::No)
    }
}

fn is_any_beneath(paths: &BTreeMap<RepoPath, Mark>, dir: &[u8]) -> bool {
    // The least name that there is.
    let Ok(first) = RepoPath::new(&[dir, b"/\x01"].concat()) else { return false };
    let next = paths.range(first..).next();
    next.and_then(|(path, _)| path.as_bytes().strip_prefix(dir)).is_some_and(|rest| rest.starts_with(b"/"))
}

/// The letters and digits that mkdtemp(3) and its like add to a name.
const RANDOM: usize = 6;

/// How pytest begins the name of its cache, while it makes it, and how it names it at last.
const PYTEST: (&[u8], &[u8]) = (b"pytest-cache-files-", b".pytest_cache");
/// The letters, digits and underscores that Python's `mkdtemp` adds.
const RANDOM_OF_PYTHON: usize = 8;

/// Is it the temporary name of a directory that git ignores?
fn is_temporary(path: &[u8], descent: &Descent<'_>) -> bool {
    let (above, name) = path.split_at(path.iter().rposition(|b| *b == b'/').map_or(0, |i| i + 1));
    if let Some(random) = name.strip_prefix(PYTEST.0) {
        let made = random.len() == RANDOM_OF_PYTHON && random.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_');
        return made && descent.ignores_sibling(&[above, PYTEST.1].concat());
    }
    let Some((name, random)) = path.split_at_checked(path.len().saturating_sub(RANDOM)) else { return false };
    let whole = !name.is_empty() && !name.ends_with(b"/");
    whole && random.iter().all(u8::is_ascii_alphanumeric) && descent.ignores_sibling(name)
}

/// The rules as the configuration names them. It is read once: a change of it counts from the next
/// run on.
pub(super) fn rules_of(objects: &Objects, root: &std::path::Path, common_dir: &std::path::Path) -> IgnoreRules {
    let (named, fold) = if let Some(lib) = &objects.lib {
        let config = lib.config().ok();
        let fold = config.as_ref().and_then(|c| c.get_bool("core.ignorecase").ok());
        (config.and_then(|c| c.get_path("core.excludesfile").ok()), fold.unwrap_or(false))
    } else {
        let get = |kind: &str, name: &str| objects.git.line(&["config", kind, "--get", name]).ok();
        let named = get("--type=path", "core.excludesFile").map(PathBuf::from);
        (named, get("--type=bool", "core.ignoreCase").is_some_and(|v| v == "true"))
    };
    let user = named.map(|path| root.join(path)).or_else(|| {
        let config = std::env::var_os("XDG_CONFIG_HOME").filter(|d| !d.is_empty()).map(PathBuf::from);
        let config = config.or_else(|| std::env::var_os("HOME").map(|h| PathBuf::from(h).join(".config")));
        config.map(|c| c.join("git/ignore"))
    });
    IgnoreRules::new(common_dir, user, fold)
}
