//! Claims: patterns against a matcher written here, overlaps against brute force.

#![expect(clippy::unwrap_used, reason = "a test says what failed by panicking")]

use std::sync::LazyLock;

use proptest::prelude::*;
use supervise::core::claim::{Claim, Limits, Pattern, PatternError, contested};
use supervise::core::ids::AgentId;
use supervise::core::path::RepoPath;

fn pattern(text: &str) -> Pattern {
    Pattern::new(text).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

fn path(bytes: impl AsRef<[u8]>) -> RepoPath {
    RepoPath::new(bytes.as_ref()).unwrap()
}

mod parsing {
    use super::*;

    fn check(text: &str, expected: Option<&PatternError>) {
        assert_eq!(Pattern::new(text).err().as_ref(), expected, "{text:?}");
    }

    #[test]
    fn patterns_stay_in_the_workspace() {
        for good in
            ["a", "a/", "a/b", "*", "**", "**/", "a/**", "...", "a..b", "..a/b", ".git*", "a b", "ä/ö", "a,b", "a\nb"]
        {
            check(good, None);
        }
        check("", Some(&PatternError::Empty));
        for absolute in ["/", "/a", "\\/a", "//"] {
            check(absolute, Some(&PatternError::Absolute));
        }
        for parent in ["..", "../a", "a/..", "a/../b", "a/..\\/b", "\\.\\.", "a/{..,b}/c", "{b,..}", "**/.."] {
            check(parent, Some(&PatternError::ParentComponent));
        }
        for empty in [".", "./a", "a/.", "a//b", "a//", "a/./b", "*//a"] {
            check(empty, Some(&PatternError::EmptyComponent));
        }
        check("a\0b", Some(&PatternError::Nul));
        check("a\\\0b", Some(&PatternError::Nul));
        check("a[\0]", Some(&PatternError::Nul));
        check(&"a".repeat(4096), None);
        check(&"a".repeat(4097), Some(&PatternError::TooLong));
        check(&format!("{}/*{}", "a".repeat(3000), "b".repeat(1023)), None);
        check(&format!("*{}", "b".repeat(1024)), Some(&PatternError::TooLong));
    }

    #[test]
    fn what_does_not_parse_says_why() {
        for (text, needle) in [
            ("a[", "never closed"),
            ("a[]", "never closed"),
            ("a[!]", "never closed"),
            ("a[z-a]", "invalid range"),
            ("a[z-\x1b]", "\\u{1b}"),
            ("a[b/c]", "never matches `/`"),
            ("a[ä]", "ASCII"),
            ("a{b", "never closed"),
            ("a}b", "without a `{`"),
            ("a\\", "nothing follows"),
            (&"{".repeat(17), "nests"),
        ] {
            match Pattern::new(text) {
                Err(PatternError::Syntax(why)) => assert!(why.contains(needle), "{text:?}: {why}"),
                other => panic!("{text:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn the_deepest_and_longest_patterns_compile() {
        let nested = format!("{}a,b{}", "{".repeat(16), "}".repeat(16));
        assert!(pattern(&nested).matches(&path("b/c")));
        let long = format!("{}*", "{a,}".repeat(255));
        assert!(pattern(&long).overlap(&pattern(&"*?".repeat(512))).is_some());
    }
}

mod matching {
    use super::*;

    fn check(text: &str, yes: &[&[u8]], no: &[&[u8]]) {
        let pattern = pattern(text);
        for bytes in yes {
            assert!(pattern.matches(&path(bytes)), "{pattern} matches {:?}", path(bytes));
        }
        for bytes in no {
            assert!(!pattern.matches(&path(bytes)), "{pattern} does not match {:?}", path(bytes));
        }
    }

    #[test]
    fn the_language_of_patterns() {
        check("a/b", &[b"a/b", b"a/b/c", b"a/b/c/d"], &[b"a", b"a/bc", b"b", b"x/a/b"]);
        check("a/", &[b"a/b", b"a/b/c"], &[b"a", b"ab"]);
        check("a/**", &[b"a/b", b"a/b/c"], &[b"a", b"ab"]);
        check("**", &[b"a", b"a/b", b".x"], &[]);
        check("**/", &[b"a/b"], &[]);
        check("*", &[b"a", b".a"], &[b"a/b"]);
        check("a*c", &[b"ac", b"abc", b"a\nc", b"a\xffc"], &[b"a", b"a/c", b"abcd"]);
        check("a?c", &[b"abc", b"a\xffc"], &[b"ac", b"a/c", b"abbc"]);
        check("**/*.rs", &[b"a.rs", b"x/y/a.rs", b"x/.rs"], &[b"a.rsx", b"rs"]);
        check("src/**/*.rs", &[b"src/a.rs", b"src/b/a.rs"], &[b"a.rs", b"src.rs"]);
        check("**/a", &[b"a", b"x/a", b"x/y/a"], &[b"a/b", b"xa"]);
        check("x/**/a/b", &[b"x/a/b", b"x/y/a/b"], &[b"xa/b", b"x/ya/b", b"x/a/b/c"]);
        check("a/*/", &[b"a/b/c", b"a/b/c/d"], &[b"a/b", b"a"]);
        check("{a,b}", &[b"a", b"b/c"], &[b"c", b"ab"]);
        check("x/{a/,b}", &[b"x/a/c", b"x/b", b"x/b/c"], &[b"x/a", b"x/c"]);
        check("{a/,*.c}", &[b"a/c/d", b"x.c"], &[b"a", b"x.c/d"]);
        check("{a/,b/}c*", &[b"a/c", b"b/cd"], &[b"a/d", b"a/c/d"]);
        check("a{,.bak}*", &[b"a", b"a.bak", b"ab"], &[b"b"]);
        check("[ab]c", &[b"ac", b"bc"], &[b"c", b"dc", b"ac/d"]);
        check("a[!b]c", &[b"axc", b"a\nc"], &[b"abc", b"a/c"]);
        check("a[--0]c", &[b"a-c", b"a.c", b"a0c"], &[b"a/c"]);
        check("a[]-]c", &[b"a]c", b"a-c"], &[b"abc"]);
        check("a\\*", &[b"a*", b"a*/b"], &[b"ab"]);
        check("a\\[b]*", &[b"a[b]", b"a[b]x"], &[b"ab"]);
        check("a,b", &[b"a,b"], &[b"a", b"b"]);
        check("*\n*", &[b"\n", b"a\nb"], &[b"a"]);
        check("\u{e4}*", &[b"\xc3\xa4", b"\xc3\xa4b"], &[b"\xc3"]);
    }

    #[test]
    fn literal_prefixes_bound_walks() {
        for (text, expected) in [
            ("a/b", Some("a/b")),
            ("a/b/", Some("a/b")),
            ("a/b/**", Some("a/b")),
            ("a/b*", Some("a")),
            ("a/b/*.rs", Some("a/b")),
            ("a/\\*b/c*", Some("a/*b")),
            ("a/{b,c}", Some("a")),
            ("a*/b", None),
            ("**/a", None),
            ("**", None),
        ] {
            assert_eq!(pattern(text).literal_prefix(), expected.map(path), "{text}");
        }
    }
}

/// The language of patterns, written a second time: slowly, and without an automaton.
mod naive {
    /// Does `text` match `path`, which is a path of the workspace?
    pub(super) fn matches(text: &str, path: &str) -> bool {
        let wild = text.contains(['*', '?', '[']);
        expand(text).into_iter().any(|one| {
            let below = one.strip_suffix('/');
            let mut body: Vec<&str> = below.unwrap_or(&one).split('/').collect();
            let path: Vec<&str> = path.split('/').collect();
            if body.iter().any(|c| c.is_empty()) {
                return false;
            }
            if below.is_some() {
                body.push("**");
            }
            if below.is_some() || wild {
                components(&body, &path)
            } else {
                (1..=path.len()).any(|n| components(&body, &path[..n]))
            }
        })
    }

    /// Braces as a shell expands them (they do not nest here).
    fn expand(text: &str) -> Vec<String> {
        let Some((before, rest)) = text.split_once('{') else { return vec![text.to_owned()] };
        let (inside, after) = rest.split_once('}').unwrap();
        let tails = expand(after);
        inside.split(',').flat_map(|one| tails.iter().map(move |tail| format!("{before}{one}{tail}"))).collect()
    }

    fn components(pattern: &[&str], path: &[&str]) -> bool {
        match pattern {
            [] => path.is_empty(),
            ["**"] => !path.is_empty(),
            ["**", rest @ ..] => (0..=path.len()).any(|n| components(rest, &path[n..])),
            [first, rest @ ..] => {
                path.first().is_some_and(|name| one(first.as_bytes(), name.as_bytes()) && components(rest, &path[1..]))
            }
        }
    }

    fn one(pattern: &[u8], name: &[u8]) -> bool {
        match pattern {
            [] => name.is_empty(),
            [b'*', rest @ ..] => (0..=name.len()).any(|n| one(rest, &name[n..])),
            [b'?', rest @ ..] => !name.is_empty() && one(rest, &name[1..]),
            [b'[', b'!', c, b']', rest @ ..] => name.first().is_some_and(|b| b != c) && one(rest, &name[1..]),
            [b'[', c, d, b']', rest @ ..] => name.first().is_some_and(|b| b == c || b == d) && one(rest, &name[1..]),
            [c, rest @ ..] => name.first() == Some(c) && one(rest, &name[1..]),
        }
    }
}

/// A name of a pattern: few letters, so that patterns meet.
fn name() -> impl Strategy<Value = String> {
    let atom = prop_oneof![
        6 => Just("a"), 6 => Just("b"), 2 => Just("."), 3 => Just("*"), 2 => Just("?"),
        1 => Just("[ab]"), 1 => Just("[!a]"), 1 => Just("{a,b.}"), 1 => Just("{,b}a"), 1 => Just("{a,b/a}"),
    ];
    prop_oneof![
        1 => Just("**".to_owned()),
        4 => prop::collection::vec(atom, 1..4).prop_map(|atoms| atoms.concat()),
    ]
}

fn pattern_text() -> impl Strategy<Value = String> {
    (prop::collection::vec(name(), 1..4), prop::bool::weighted(0.2))
        .prop_map(|(names, slash)| names.join("/") + if slash { "/" } else { "" })
        .prop_filter("a pattern", |text| Pattern::new(text).is_ok())
}

fn path_text() -> impl Strategy<Value = String> {
    let name = "[ab.]{1,3}".prop_map(|name| match &*name {
        "." => ".a".to_owned(),
        ".." => "..b".to_owned(),
        _ => name,
    });
    prop::collection::vec(name, 1..5).prop_map(|names| names.join("/"))
}

/// Every path over `a`, `b`, `.` and `/` of up to six bytes.
static ALL_PATHS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut layer = vec![String::new()];
    let mut all = Vec::new();
    for _ in 0..6 {
        layer = layer.iter().flat_map(|p| ["a", "b", ".", "/"].map(|c| format!("{p}{c}"))).collect();
        all.extend(layer.iter().filter(|p| RepoPath::new(p.as_bytes()).is_ok()).cloned());
    }
    all
});

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn matches_agrees_with_the_naive_matcher(text in pattern_text(), paths in prop::collection::vec(path_text(), 24)) {
        let pattern = pattern(&text);
        for p in paths {
            prop_assert_eq!(pattern.matches(&path(&p)), naive::matches(&text, &p), "{} and {}", text, p);
        }
    }

    #[test]
    fn literal_prefixes_hold_for_all_that_matches(text in pattern_text(), paths in prop::collection::vec(path_text(), 24)) {
        let pattern = pattern(&text);
        if let Some(prefix) = pattern.literal_prefix() {
            for p in paths.iter().map(path).filter(|p| pattern.matches(p)) {
                prop_assert!(p.is_within(&prefix), "{:?} in {:?}", p, prefix);
            }
        }
    }

    #[test]
    fn an_example_is_matched_by_both_and_overlap_is_symmetric(left in pattern_text(), right in pattern_text()) {
        let (l, r) = (pattern(&left), pattern(&right));
        let (there, back) = (l.overlap(&r), r.overlap(&l));
        prop_assert_eq!(there.is_some(), back.is_some(), "{} and {}", left, right);
        for example in there.iter().chain(&back) {
            prop_assert!(l.matches(example) && r.matches(example), "{} and {} at {:?}", left, right, example);
        }
    }

    #[test]
    fn any_text_is_a_pattern_or_an_error(text in r"[ab*?{},/\[\]!^.\\-]{1,12}") {
        if let Ok(p) = Pattern::new(&text) {
            let example = p.overlap(&pattern("**"));
            prop_assert!(example.is_none_or(|path| p.matches(&path)));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn overlap_agrees_with_brute_force(left in pattern_text(), right in pattern_text()) {
        let (l, r) = (pattern(&left), pattern(&right));
        let found = ALL_PATHS.iter().find(|p| naive::matches(&left, p) && naive::matches(&right, p));
        match (l.overlap(&r), found) {
            (None, Some(p)) => prop_assert!(false, "{} and {} meet at {}", left, right, p),
            (Some(example), Some(p)) => prop_assert!(
                example.as_bytes().len() <= p.len() + 1,
                "{} and {}: {:?} is longer than {}", left, right, example, p
            ),
            // A meeting that is longer than brute force looks; the example was checked elsewhere.
            (Some(example), None) => prop_assert!(example.as_bytes().len() > 5, "{} and {}: {:?}", left, right, example),
            (None, None) => {}
        }
    }

    #[test]
    fn exclusive_excludes_and_shared_shares(
        lists in prop::collection::vec(prop::collection::vec(pattern_text(), 0..3), 6)
    ) {
        let parse = |list: &Vec<String>| list.iter().map(|t| pattern(t)).collect::<Vec<_>>();
        let claim = |at: usize| Claim {
            exclusive: parse(&lists[at]), shared: parse(&lists[at + 1]), late: parse(&lists[at + 2]), deny: Vec::new(),
        };
        let (a, b) = (claim(0), claim(3));
        let meet = |l: &[Pattern], r: &[Pattern]| l.iter().any(|l| r.iter().any(|r| l.overlap(r).is_some()));
        let expected = meet(&a.exclusive, &b.exclusive) || meet(&a.exclusive, &b.shared) || meet(&a.shared, &b.exclusive);
        prop_assert_eq!(a.excludes(&b), expected);
        prop_assert_eq!(b.excludes(&a), expected);
    }
}

mod overlaps {
    use super::*;

    fn check(left: &str, right: &str, expected: Option<&str>) {
        let found = pattern(left).overlap(&pattern(right));
        assert_eq!(found, expected.map(path), "{left} and {right}");
    }

    #[test]
    fn examples_are_short_and_readable() {
        check("a/b", "a/b", Some("a/b"));
        check("a", "a/b", Some("a/b"));
        check("a/b", "a/", Some("a/b"));
        check("a/", "a", Some("a/a"));
        check("a/", "a/**", Some("a/a"));
        check("a", "ab", None);
        check("**", "**", Some("a"));
        check("src/", "src/core/*.rs", Some("src/core/a.rs"));
        check("*.py", "api*", Some("api.py"));
        check("src/*.rs", "**/lib.*", Some("src/lib.rs"));
        check("**/*.lock", "packages/*/", Some("packages/a/a.lock"));
        check("a*", "*b", Some("ab"));
        check("a/*/c", "a/b/*", Some("a/b/c"));
        check("*.rs", "*.py", None);
        check("a/*", "a/*/*", None);
        check("[!a]", "[!b]", Some("c"));
        check("[ab]", "[cd]", None);
        check("a\\*b", "a[*]b", Some("a*b"));
        check("\u{e4}*", "?\u{a4}*", None);
        check("\u{e4}*", "??", Some("\u{e4}"));
    }

    #[test]
    fn nothing_lies_under_a_file() {
        let file = pattern("src/main.rs").narrowed_to_file();
        assert_eq!(pattern("src/main.rs").overlap(&pattern("**/*.md")), Some(path("src/main.rs/a.md")));
        assert_eq!(file.overlap(&pattern("**/*.md")), None);
        assert!(file.matches(&path("src/main.rs")) && !file.matches(&path("src/main.rs/a")));
        assert_eq!(file.literal_prefix(), Some(path("src/main.rs")));
        for meets in ["src/main.rs", "src/", "src", "**/main.*", "src/*.rs", "**"] {
            assert_eq!(file.overlap(&pattern(meets)), Some(path("src/main.rs")), "{meets}");
            assert_eq!(pattern(meets).overlap(&file), Some(path("src/main.rs")), "{meets}");
        }
        for apart in ["src/main.rs/", "src/main", "main.rs", "src/main.rs.bak"] {
            assert_eq!(file.overlap(&pattern(apart).narrowed_to_file()), None, "{apart}");
        }
        assert_eq!(file.overlap(&file), Some(path("src/main.rs")));
        assert!(pattern("src/*.rs").narrowed_to_file().matches(&path("src/a.rs")), "wildcards stay");
    }

    /// What both match by their letters alone, but what is no path, is no meeting.
    #[test]
    fn a_meeting_is_a_real_path() {
        check("?", "[.]", None);
        check("a/??", "a/[.][.]", None);
        check("a/*", "a{/,}?", Some("a/a"));
        check("{,a}/b*", "?b", None);
    }

    #[test]
    fn shared_locks_meet_only_exclusive_ones() {
        let reads = Claim { shared: vec![pattern("src/")], ..Claim::default() };
        let writes = Claim { exclusive: vec![pattern("docs/*.md"), pattern("src/*.rs")], ..Claim::default() };
        let late = Claim { late: vec![pattern("src/")], ..Claim::default() };
        assert!(!reads.excludes(&reads));
        assert!(writes.excludes(&reads) && reads.excludes(&writes) && writes.excludes(&writes));
        assert!(!late.excludes(&writes) && !writes.excludes(&late));
        let overlap = reads.first_overlap(&writes).unwrap();
        assert_eq!((overlap.left.as_str(), overlap.right.as_str()), ("src/", "src/*.rs"));
        assert_eq!(overlap.example, path("src/a.rs"));
    }
}

mod contests {
    use std::collections::BTreeSet;

    use super::*;

    type Pairs = BTreeSet<(usize, usize, String, String)>;

    fn ids(n: usize) -> Vec<AgentId> {
        (0..n).map(|i| AgentId::new(&format!("agent-{i:05}")).unwrap()).collect()
    }

    fn search(claims: &[Claim], limits: Limits, apart: impl Fn(usize, usize) -> bool) -> (Pairs, bool) {
        let ids = ids(claims.len());
        let agents: Vec<_> = ids.iter().zip(claims).collect();
        let found = contested(&agents, limits, apart);
        let position = |id: &AgentId| ids.iter().position(|i| i == id).unwrap();
        let mut pairs = Pairs::new();
        let mut last = None;
        for one in &found.pairs {
            let (left, right) = (&one.overlap.left, &one.overlap.right);
            assert!(left.matches(&one.overlap.example) && right.matches(&one.overlap.example), "{one:?}");
            let agents = (position(&one.agents.0), position(&one.agents.1));
            assert!(last <= Some(agents), "in the order of the agents");
            last = Some(agents);
            let fresh = pairs.insert((agents.0, agents.1, left.to_string(), right.to_string()));
            assert!(fresh, "{one:?} once");
        }
        (pairs, found.truncated)
    }

    fn one_by_one(claims: &[Claim], apart: impl Fn(usize, usize) -> bool) -> Pairs {
        let mut pairs = Pairs::new();
        for (i, a) in claims.iter().enumerate() {
            for (j, b) in claims.iter().enumerate().skip(i + 1).filter(|(j, _)| !apart(i, *j)) {
                let lists = [(&a.exclusive, &b.exclusive), (&a.exclusive, &b.shared), (&a.shared, &b.exclusive)];
                for (l, r) in
                    lists.into_iter().flat_map(|(l, r)| l.iter().flat_map(move |l| r.iter().map(move |r| (l, r))))
                {
                    if l.overlap(r).is_some() {
                        pairs.insert((i, j, l.to_string(), r.to_string()));
                    }
                }
            }
        }
        pairs
    }

    fn claim() -> impl Strategy<Value = Claim> {
        let list = || {
            prop::collection::vec(
                // The same text is a file everywhere, or nowhere.
                pattern_text().prop_map(|text| match pattern(&text) {
                    p if text.len().is_multiple_of(2) => p.narrowed_to_file(),
                    p => p,
                }),
                0..3,
            )
        };
        (list(), list()).prop_map(|(exclusive, shared)| Claim { exclusive, shared, ..Claim::default() })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn nothing_is_missed_and_nothing_invented(claims in prop::collection::vec(claim(), 0..14)) {
            let apart = |i: usize, j: usize| (i + j).is_multiple_of(5);
            let limits = Limits { pairs: usize::MAX, steps: u64::MAX };
            prop_assert_eq!(search(&claims, limits, apart), (one_by_one(&claims, apart), false));
        }

        #[test]
        fn what_is_cut_off_is_said(claims in prop::collection::vec(claim(), 4..10), pairs in 0..4_usize, steps in 0..200_u64) {
            let all = one_by_one(&claims, |_, _| false);
            for limits in [Limits { pairs, ..Limits::default() }, Limits { steps, ..Limits::default() }] {
                let (found, truncated) = search(&claims, limits, |_, _| false);
                prop_assert!(found.is_subset(&all) && found.len() <= limits.pairs);
                prop_assert!(truncated || found == all, "{:?}", limits);
            }
        }
    }

    #[test]
    fn the_same_claim_ten_thousand_times_is_cut_off_at_the_limit() {
        let claim = Claim { exclusive: vec![pattern("src/")], ..Claim::default() };
        let (found, truncated) = search(&vec![claim; 10_000], Limits::default(), |_, _| false);
        assert_eq!((found.len(), truncated), (1_000, true));
    }

    #[test]
    fn readers_of_one_tree_do_not_contend() {
        let claim = Claim { shared: vec![pattern("src/")], ..Claim::default() };
        assert_eq!(search(&vec![claim; 50], Limits::default(), |_, _| false), (Pairs::new(), false));
    }
}
