//! What is there, and does git ignore it: against a table, and against git's own answers.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::process::Stdio;

use crate::support::{Agent, Scratch, repo_path, shown};
use proptest::prelude::*;
use supervise::core::call::There;
use supervise::core::facts::{Ignored, PathFacts};
use supervise::core::ids::RunId;
use supervise::host::git::Repository;
use supervise::host::git_thread::GitThread;
use supervise::host::lookups::{Lookups, Question};

fn check(r: &mut Repository, path: &str, directory: bool, expected: (There, &str)) {
    let PathFacts { there, ignored } = r.facts_of(&repo_path(path), directory).unwrap();
    let ignored = match ignored {
        Ignored::No => "no".to_owned(),
        Ignored::File => "file".to_owned(),
        Ignored::Beneath(dir) => dir.to_string(),
        Ignored::Making(dir) => format!("making {dir}"),
    };
    assert_eq!((there, ignored.as_str()), expected, "{path} as a directory: {directory}");
}

#[test]
fn facts_are_what_git_thinks_of_a_path() {
    let s = Scratch::new();
    let user = s.outside().join("user-ignores");
    fs::write(&user, "*.swp\n!kept.log\n").unwrap();
    s.git(&["config", "core.excludesFile", user.to_str().unwrap()]);
    s.write(".git/info/exclude", "private/\n");
    s.write(".gitignore", "*.log\nout/\n/top\nbuild/\n!a/build/\nmixed/\n# a comment\n\\#odd\ntrail \\ \n");
    s.write("a/.gitignore", "!kept.log\ndeep/*\n!deep/no\n");
    s.write("mixed/tracked", "1\n");
    s.write("forced.log", "1\n");
    s.write("src/x", "1\n");
    s.git(&["add", "-f", "."]);
    s.commit("base");
    for path in ["out/gone/x", "a/kept.log", "kept.log", "a/deep/no", "a/build/y", "private/key", "mixed/new"] {
        s.write(path, "u\n");
    }
    symlink("src", s.path("link")).unwrap();
    let mut r = s.open();
    use There::{Directory, File, Nothing};
    for (path, directory, there, ignored) in [
        ("src/x", false, File, "no"),
        ("src", false, Directory, "no"),
        ("src/new", false, Nothing, "no"),
        ("src/new/er", true, Nothing, "no"),
        ("link", false, File, "no"),
        ("link/x", false, Nothing, "no"),
        ("src/x/y", false, Nothing, "no"),
        ("forced.log", false, File, "no"),
        ("other.log", false, Nothing, "file"),
        ("some.log", true, Nothing, "some.log"),
        ("kept.log", false, File, "file"),
        ("a/kept.log", false, File, "no"),
        ("a/b/kept.log", false, Nothing, "no"),
        ("a/deep/yes", false, Nothing, "file"),
        ("a/deep/no", false, File, "no"),
        ("a/deep/yes/x", false, Nothing, "a/deep/yes"),
        ("out", false, Directory, "out"),
        ("out/new", false, Nothing, "out"),
        ("out/gone/x", false, File, "out"),
        ("x/out", false, Nothing, "no"),
        ("x/out", true, Nothing, "x/out"),
        ("x/out/y/z", false, Nothing, "x/out"),
        ("top", false, Nothing, "file"),
        ("src/top", false, Nothing, "no"),
        ("build/y", false, Nothing, "build"),
        ("a/build/y", false, File, "no"),
        ("private/key", false, File, "private"),
        ("note.swp", false, Nothing, "file"),
        ("#odd", false, Nothing, "file"),
        ("trail  ", false, Nothing, "file"),
        ("mixed", false, Directory, "no"),
        ("mixed/tracked", false, File, "no"),
        ("mixed/new", false, File, "file"),
        ("mixed/sub/new", false, Nothing, "mixed/sub"),
    ] {
        check(&mut r, path, directory, (there, ignored));
    }
    // The rules and the index are what they are now.
    s.write("src/.gitignore", "new\n");
    check(&mut r, "src/new", false, (Nothing, "file"));
    s.write("other.log", "1\n");
    s.git(&["add", "-f", "other.log"]);
    check(&mut r, "other.log", false, (File, "no"));
    fs::remove_file(s.path("src/.gitignore")).unwrap();
    check(&mut r, "src/new", false, (Nothing, "no"));
}

#[test]
fn a_file_that_a_rule_further_in_takes_back_is_committed() {
    let s = Scratch::committed(&[(".gitignore", "*.log\n"), ("a/.gitignore", "!kept.log\n")]);
    let mut r = s.open();
    let agent = Agent::new(&s, "a", &["a"]);
    agent.begin(&mut r);
    s.write("a/kept.log", "1\n");
    s.write("a/other.log", "1\n");
    assert_eq!(shown(&agent.measure(&mut r)), ["+a/kept.log"]);
    agent.complete(&mut r);
    assert_eq!(s.changed_by("HEAD"), ["A a/kept.log"]);
}

/// The paths among `paths` that git ignores; the index counts.
fn by_git(s: &Scratch, paths: &[String]) -> Vec<String> {
    let mut git = s.command();
    git.args(["check-ignore", "-z", "--stdin"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = git.spawn().unwrap();
    child.stdin.take().unwrap().write_all(paths.join("\0").as_bytes()).unwrap();
    let out = child.wait_with_output().unwrap();
    String::from_utf8(out.stdout).unwrap().split('\0').filter(|p| !p.is_empty()).map(str::to_owned).collect()
}

fn rule() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        Just("a"),
        Just("b"),
        Just("c"),
        Just("*"),
        Just("**"),
        Just("?"),
        Just("a*"),
        Just("*b"),
        Just("[ab]"),
        Just("[!a]"),
        Just("\\a"),
        Just("*.x"),
        Just("a**"),
        Just("a.x"),
    ];
    let parts = prop::collection::vec(part, 1..4).prop_map(|p| p.join("/"));
    (prop::bool::weighted(0.3), prop::bool::weighted(0.2), parts, prop::bool::weighted(0.3), 0..8_u8).prop_map(
        |(not, rooted, parts, dir, end)| {
            let (not, rooted, dir) =
                (if not { "!" } else { "" }, if rooted { "/" } else { "" }, if dir { "/" } else { "" });
            let end = match end {
                0 => " ",
                1 => "\\ ",
                2 => "\r",
                _ => "",
            };
            format!("{not}{rooted}{parts}{dir}{end}\n")
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_rules_mean_what_git_says(
        top in prop::collection::vec(rule(), 0..6),
        nested in prop::collection::vec(rule(), 0..4),
        deeper in prop::collection::vec(rule(), 0..3),
        exclude in prop::collection::vec(rule(), 0..3),
        tracked in prop::collection::vec(0..60_usize, 0..4),
    ) {
        let s = Scratch::new();
        s.write(".git/info/exclude", exclude.concat());
        let names = ["a", "b", "c", "a.x", "b.x"];
        let mut paths: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        for one in ["a", "b", "c"] {
            paths.extend(names.iter().map(|n| format!("{one}/{n}")));
            for two in ["a", "b"] {
                paths.extend(names.iter().map(|n| format!("{one}/{two}/{n}")));
            }
        }
        // Some are there, and with them their directories; others are not.
        for path in paths.iter().step_by(3).filter(|p| p.ends_with('x') || p.matches('/').count() == 2) {
            s.write(path, "1\n");
        }
        for (dir, rules) in [("", &top), ("a/", &nested), ("a/b/", &deeper)] {
            if !s.path(format!("{dir}.gitignore")).parent().unwrap().is_file() {
                s.write(format!("{dir}.gitignore"), rules.concat());
            }
        }
        for i in tracked {
            if let Some(path) = paths.get(i).filter(|p| s.path(p).is_file()) {
                s.git(&["add", "-f", path]);
            }
        }
        let mut r = Repository::open(s.root()).unwrap();
        // git calls a directory ignored though something in it is tracked.
        paths.retain(|p| !s.path(p).is_dir());
        let expected = by_git(&s, &paths);
        let ours: Vec<String> = paths
            .iter()
            .filter(|p| r.facts_of(&repo_path(p.as_str()), false).unwrap().ignored != Ignored::No)
            .cloned()
            .collect();
        prop_assert_eq!(ours, expected, "{:?}", (top, nested, deeper, exclude));
    }
}

#[test]
fn the_temporary_name_of_an_ignored_directory_is_one_in_the_making() {
    let s = Scratch::committed(&[(".gitignore", "/a/target/\nbuild\n"), ("a/x", "1\n"), ("buildV2tool/x", "1\n")]);
    let mut r = s.open();
    let mut before = |path: &str, directory| r.facts_before(&repo_path(path), directory).unwrap().ignored;
    let making = |path: &str| Ignored::Making(repo_path(path));
    assert_eq!(before("a/target3Wqaq1", true), making("a/target3Wqaq1"));
    assert_eq!(before("a/target3Wqaq1/CACHEDIR.TAG", false), making("a/target3Wqaq1"));
    assert_eq!(before("build0zzzzz", true), making("build0zzzzz"));
    // It may be chance that it is a word: what comes of the directory decides.
    assert_eq!(before("buildsystem", true), making("buildsystem"));
    // Other places, files, and what git tracks.
    for (path, directory) in
        [("target3Wqaq1", true), ("a/target3Wqaq1", false), ("buildV2tool/y", false), ("X1y2Z3", true)]
    {
        assert_eq!(before(path, directory), Ignored::No, "{path}");
    }
    assert_eq!(
        r.facts_of(&repo_path("a/target3Wqaq1"), true).unwrap().ignored,
        Ignored::No,
        "what is there is judged by git's rules"
    );
}

/// Rules are an agent's to write where it claims `.gitignore`; what the user has there is not.
#[test]
fn what_was_not_ignored_when_the_run_was_opened_never_is() {
    let s = Scratch::committed(&[(".gitignore", "build\n"), ("x", "1\n")]);
    for path in ["notes/mine", "notes-2/mine", "note", "build2024Q1/mine"] {
        s.write(path, "mine\n");
    }
    let mut r = s.open();
    r.open_run(&RunId::new("run-1").unwrap(), false).unwrap();
    let mut other = r.beside().unwrap();
    s.write(".gitignore", "build\nnote*\n");
    for r in [&mut r, &mut other] {
        let mut of = |path: &str, directory| r.facts_before(&repo_path(path), directory).unwrap().ignored;
        for (path, directory) in [("notes", true), ("notes/mine", false), ("note", false), ("notes-2/mine", false)] {
            assert_eq!(of(path, directory), Ignored::No, "{path}");
        }
        assert_eq!(of("build2024Q1", true), Ignored::No, "nobody is making it");
        assert_eq!(of("build2024Q1/mine", false), Ignored::No);
        assert_eq!(of("notes/new", false), Ignored::File, "not all of its directory is ignored");
        assert_eq!(of("notes-3/new", false), Ignored::Beneath(repo_path("notes-3")));
    }
}

#[test]
fn questions_are_answered_while_the_other_thread_is_busy() {
    let s = Scratch::committed(&[("a", "1\n"), (".gitignore", "out/\n")]);
    let repository = s.open();
    let (news, mut inbox) = tokio::sync::mpsc::channel(4);
    let lookups = Lookups::start(&repository, news.clone(), Vec::new()).unwrap();
    let git = GitThread::start("git", repository, news, Vec::new()).unwrap();
    let (release, held) = std::sync::mpsc::channel::<()>();
    git.post(move |_| {
        let _ = held.recv();
        Some(Vec::new())
    });
    let ask = |path: &str| Question { path: repo_path(path), directory: false };
    lookups.facts(vec![ask("a"), ask("out/x")], Result::unwrap);
    let facts: Vec<PathFacts> = inbox.blocking_recv().unwrap();
    assert_eq!(facts[0], PathFacts { there: There::File, ignored: Ignored::No });
    assert_eq!(facts[1], PathFacts { there: There::Nothing, ignored: Ignored::Beneath(repo_path("out")) });
    drop(release);
    assert_eq!(inbox.blocking_recv().unwrap(), []);
    lookups.finish();
    git.finish();
}

#[test]
fn a_thread_that_dies_says_so_and_holds_nobody_up() {
    let s = Scratch::committed(&[("a", "1\n")]);
    let (news, mut inbox) = tokio::sync::mpsc::channel(4);
    let git = GitThread::start("git", s.open(), news, "died").unwrap();
    git.post(|_| Some("alive"));
    git.post(|_| panic!("on purpose"));
    git.post(|_| Some("never"));
    assert_eq!(inbox.blocking_recv(), Some("alive"));
    assert_eq!(inbox.blocking_recv(), Some("died"));
    git.finish();
    assert_eq!(inbox.blocking_recv(), None);
}
