//! Patterns for paths: what an agent should have declared, from what it wrote or tried to.
//!
//! Invariant: every path is matched by one of the patterns. Few paths of a directory are named one by
//! one; many become one pattern, as narrow as their names allow. What git ignores is always named, as
//! no other pattern means it; a directory never is: that would lock all that lies in it.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::call::Touch;
use crate::core::path::RepoPath;
use crate::core::reason::DenialReason;

/// From so many files of one directory on, a pattern stands for them.
const MANY: usize = 5;

/// Paths that an agent's claim lacks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lacking {
    files: BTreeSet<RepoPath>,
    ignored: BTreeSet<RepoPath>,
}

impl Lacking {
    pub fn add(&mut self, file: RepoPath) {
        self.files.insert(file);
    }

    /// Adds a refused path, where a claim on it would have let the call through.
    pub fn refused(&mut self, path: &RepoPath, touch: Touch, why: &DenialReason) {
        use DenialReason::{Conflict, IgnoredEnforced, ProtectedIgnored, Reserved, Undeclared};
        // What changes may be the mode of a directory.
        let of_directory = matches!(touch, Touch::MakeDirectory | Touch::RemoveDirectory | Touch::Change);
        match why {
            ProtectedIgnored | IgnoredEnforced => drop(self.ignored.insert(path.clone())),
            Conflict { .. } | Reserved { .. } if of_directory => {}
            Undeclared | Conflict { .. } | Reserved { .. } => self.add(path.clone()),
            _ => {}
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &RepoPath> {
        self.files.iter().chain(&self.ignored)
    }

    /// Without files that are in the claim after all. What git ignores was refused although a pattern may
    /// match it.
    pub fn without(&mut self, is_covered: impl Fn(&RepoPath) -> bool) {
        self.files.retain(|path| !is_covered(path));
    }

    /// Names those one by one that git ignores.
    pub fn name(&mut self, mut is_ignored: impl FnMut(&RepoPath) -> bool) {
        let (ignored, files) = std::mem::take(&mut self.files).into_iter().partition(|path| is_ignored(path));
        self.files = files;
        self.ignored.extend::<BTreeSet<RepoPath>>(ignored);
    }

    /// Patterns for them.
    #[must_use]
    pub fn patterns(&self) -> Vec<String> {
        let above = |path: &RepoPath| std::iter::successors(path.parent(), RepoPath::parent);
        let directories: BTreeSet<RepoPath> = self.iter().flat_map(above).collect();
        let files = self.files.iter().filter(|path| !self.ignored.contains(*path) && !directories.contains(*path));
        let mut patterns = suggest(&files.cloned().collect());
        patterns.extend(self.ignored.iter().map(|path| literal(path.as_bytes())));
        patterns
    }
}

/// Patterns for `paths`, in their order.
fn suggest(paths: &BTreeSet<RepoPath>) -> Vec<String> {
    let mut by_directory: BTreeMap<Vec<u8>, Vec<&RepoPath>> = BTreeMap::new();
    for path in paths {
        let directory = path.parent().map(|parent| parent.as_bytes().to_vec()).unwrap_or_default();
        by_directory.entry(directory).or_default().push(path);
    }
    by_directory.iter().flat_map(|(directory, paths)| of_directory(directory, paths)).collect()
}

fn of_directory(directory: &[u8], paths: &[&RepoPath]) -> Vec<String> {
    if paths.len() < MANY {
        return paths.iter().map(|path| literal(path.as_bytes())).collect();
    }
    let ending = |path: &RepoPath| {
        let name = path.as_bytes().rsplit(|b| *b == b'/').next().unwrap_or_default().to_vec();
        let dot = name.iter().rposition(|b| *b == b'.').filter(|at| *at > 0);
        dot.map(|at| name[at..].to_vec()).unwrap_or_default()
    };
    let first = ending(paths[0]);
    let common = if paths.iter().all(|path| ending(path) == first) { first } else { Vec::new() };
    let slash = if directory.is_empty() { "" } else { "/" };
    vec![format!("{}{slash}*{}", literal(directory), literal(&common))]
}

/// The text that stands for these very bytes. One that is not UTF-8 cannot be written in a session
/// file: `?` stands for such a byte.
fn literal(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if matches!(c, '*' | '?' | '[' | ']' | '{' | '}' | '\\') {
                text.push('\\');
            }
            text.push(c);
        }
        text.extend(chunk.invalid().iter().map(|_| '?'));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::claim::Pattern;

    fn check(paths: &[&str], expected: &[&str]) {
        let paths: BTreeSet<RepoPath> = paths.iter().map(|p| RepoPath::new(p.as_bytes()).unwrap()).collect();
        let patterns = suggest(&paths);
        assert_eq!(patterns, expected);
        let patterns: Vec<Pattern> = patterns.iter().map(|text| Pattern::new(text).unwrap()).collect();
        for path in &paths {
            assert!(patterns.iter().any(|pattern| pattern.matches(path)), "{path} is matched");
        }
    }

    #[test]
    fn what_git_ignores_is_named_and_directories_are_not() {
        let path = |text: &str| RepoPath::new(text.as_bytes()).unwrap();
        let mut lacking = Lacking::default();
        for name in ["a", "b", "c", "d", "e", "new", "new-er", "new/deep", "new/deep/x.rs"] {
            lacking.add(path(name));
        }
        let by = || crate::core::ids::AgentId::new("you").unwrap();
        lacking.refused(&path(".env"), Touch::Open, &DenialReason::ProtectedIgnored);
        lacking.refused(&path("src"), Touch::Change, &DenialReason::Directory);
        lacking.refused(&path("src"), Touch::Change, &DenialReason::Reserved { by: by() });
        lacking.refused(&path("lib/a"), Touch::Open, &DenialReason::Reserved { by: by() });
        lacking.refused(&path("lib/b"), Touch::Open, &DenialReason::Deny);
        assert_eq!(lacking.patterns(), ["*", "lib/a", "new/deep/x.rs", ".env"]);
    }

    #[test]
    fn few_files_are_named_and_many_become_a_pattern() {
        check(&[], &[]);
        check(&["src/b.rs", "a", "src/a.rs"], &["a", "src/a.rs", "src/b.rs"]);
        check(&["d/1.md", "d/2.md", "d/3.md", "d/4.md", "d/5.md", "x"], &["x", "d/*.md"]);
        check(&["d/1.md", "d/2.rs", "d/3.md", "d/4.md", "d/.5"], &["d/*"]);
        check(&["1.c", "2.c", "3.c", "4.c", "5.c"], &["*.c"]);
        check(&["app/[id]/page*.tsx"], &["app/\\[id\\]/page\\*.tsx"]);
    }
}
