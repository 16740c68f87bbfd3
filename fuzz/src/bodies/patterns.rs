//! Two patterns, one a line: where they meet, against every short path there is.
//!
//! Said to be disjoint, no path may match both; said to overlap, the example has to. What one pattern matches is
//! what globset says, for the forms that both know.

use std::sync::LazyLock;

use globset::{GlobBuilder, GlobMatcher};
use supervise::core::claim::{Claim, Limits, Pattern, contested};
use supervise::core::ids::AgentId;
use supervise::core::path::RepoPath;

/// The longest pattern for which all paths are tried.
const MAX_TRIED: usize = 48;

/// Every path of up to five letters.
static ALL: LazyLock<Vec<RepoPath>> = LazyLock::new(|| {
    let mut layer = vec![Vec::new()];
    let mut all = Vec::new();
    for _ in 0..5 {
        let longer = |path: &Vec<u8>| b"ab./".map(|letter| [&path[..], &[letter]].concat());
        layer = layer.iter().flat_map(longer).collect();
        all.extend(layer.iter().filter_map(|path| RepoPath::new(path).ok()));
    }
    all
});

pub fn patterns(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (left, right) = text.split_once('\n').unwrap_or((text, "**"));
    let (Ok(left), Ok(right)) = (Pattern::new(left), Pattern::new(right)) else { return };
    let tried: Vec<&RepoPath> = match left.as_str().len().max(right.as_str().len()) {
        0..=MAX_TRIED => ALL.iter().collect(),
        _ => Vec::new(),
    };
    let (left_tree, right_tree) = (left.clone(), right.clone());
    for (left, right) in [(left, right), (left_tree.narrowed_to_file(), right_tree.narrowed_to_file())] {
        let example = meet(&left, &right, &tried);
        in_claims(&left, &right, example.is_some());
    }
    for pattern in [&left_tree, &right_tree] {
        alone(pattern, &tried);
    }
}

fn meet(left: &Pattern, right: &Pattern, tried: &[&RepoPath]) -> Option<RepoPath> {
    let example = left.overlap(right);
    assert_eq!(example.is_some(), right.overlap(left).is_some(), "it depends on who is asked: {left:?} {right:?}");
    let both = |path: &RepoPath| left.matches(path) && right.matches(path);
    match &example {
        Some(path) => assert!(both(path), "{left:?} and {right:?} do not meet at {path:?}"),
        None => {
            if let Some(path) = tried.iter().find(|path| both(path)) {
                panic!("{left:?} and {right:?} meet at {path:?}");
            }
        }
    }
    example
}

/// All agents' patterns at once come to the same.
fn in_claims(left: &Pattern, right: &Pattern, meet: bool) {
    let claim = |pattern: &Pattern| Claim { exclusive: vec![pattern.clone()], ..Claim::default() };
    let (one, other) = (claim(left), claim(right));
    let (a, b) = (AgentId::numbered(1), AgentId::numbered(2));
    let found = contested(&[(&a, &one), (&b, &other)], Limits::default(), |_, _| false);
    assert!(found.truncated || found.pairs.is_empty() != meet, "{left:?} and {right:?}: {found:?}");
    assert_eq!(one.excludes(&other), meet, "{left:?} and {right:?}");
}

fn alone(pattern: &Pattern, tried: &[&RepoPath]) {
    let prefix = pattern.literal_prefix();
    let twin = twin(pattern.as_str());
    for path in tried {
        let matches = pattern.matches(path);
        if let Some(prefix) = &prefix {
            assert!(!matches || path.is_within(prefix), "{pattern:?} matches {path:?}, not within {prefix:?}");
        }
        if let Some(twin) = &twin {
            assert_eq!(matches, twin.is_match(path.as_path()), "{pattern:?} on {path:?}");
        }
    }
}

/// The pattern as globset has it, where it means the same there: with a wildcard, and without braces (in which
/// it depends on each alternative) and escapes.
fn twin(text: &str) -> Option<GlobMatcher> {
    if !text.contains(['*', '?']) || text.contains(['[', '{', '\\']) {
        return None;
    }
    let whole = if text.ends_with('/') { format!("{text}**") } else { text.to_owned() };
    let glob = GlobBuilder::new(&whole).literal_separator(true).build();
    Some(glob.expect("what is a pattern is a glob").compile_matcher())
}
