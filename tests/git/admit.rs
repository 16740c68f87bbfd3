//! Paths that an attempt is let on to later, what it changed beyond its claim, and contested files.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use crate::support::{Agent, Scratch, repo_path, shown};
use supervise::core::call::There;
use supervise::core::change::{Change, Mode};
use supervise::core::effect::Purpose;
use supervise::core::event::PlaceRefusal;
use supervise::core::facts::{Doubt, Expected, Verified};
use supervise::core::path::RepoPath;
use supervise::host::git::{Base, Repository};

fn base(second: &mut Repository, agent: &Agent<'_>, path: &str) -> Base {
    second.base_of(&repo_path(path), &agent.dir()).unwrap()
}

fn extend(first: &mut Repository, second: &mut Repository, agent: &Agent<'_>, path: &str) -> bool {
    let base = base(second, agent, path);
    first.extend(&agent.id, &repo_path(path), base).unwrap()
}

fn beyond(r: &mut Repository, agent: &Agent<'_>, doubt: Doubt, touched: &[&str]) -> Vec<String> {
    let touched: Vec<RepoPath> = touched.iter().map(repo_path).collect();
    shown(&r.measure(&agent.id, doubt, &touched).unwrap().beyond)
}

#[test]
fn extras_are_measured_frozen_and_put_back_even_after_a_crash() {
    for crash in [false, true] {
        let s = Scratch::committed(&[
            ("w/a", "1\n"),
            ("other/tracked", "t\n"),
            ("other/gone", "g\n"),
            (".gitignore", ".env\nout/\n"),
        ]);
        symlink("tracked", s.path("other/link")).unwrap();
        s.write("other/untracked", "of the user\n");
        s.write(".env", "SECRET=1\n");
        fs::set_permissions(s.path(".env"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::create_dir(s.path("bare")).unwrap();
        let mut r = s.open();
        let mut second = r.beside().unwrap();
        let agent = Agent::new(&s, "a", &["w/a", "fresh/deep/file"]);
        agent.begin(&mut r);
        for path in ["other/tracked", "other/gone", "other/link", "other/untracked", ".env", "bare/new", "made"] {
            assert!(extend(&mut r, &mut second, &agent, path), "{path}");
        }
        s.write("made/by/agent", "m\n");
        assert!(extend(&mut r, &mut second, &agent, "made/by/agent"));
        s.write("fresh/deep/file.tmp", "t\n");
        assert_eq!(base(&mut second, &agent, "fresh/deep").there(), There::Directory);
        fs::remove_file(s.path("fresh/deep/file.tmp")).unwrap();
        assert!(extend(&mut r, &mut second, &agent, "fresh/deep/file.tmp"));
        // What the claim knows it knows, and what is known of an extra stays.
        assert!(!extend(&mut r, &mut second, &agent, "w/a"));
        assert_eq!(agent.measure(&mut r), [], "nothing was changed since the paths were looked at");
        s.write("w/a", "2\n");
        s.write("other/tracked", "changed\n");
        s.remove("other/gone");
        s.remove("other/link");
        s.write("other/link", "no link\n");
        s.write("other/untracked", "of the agent\n");
        s.write(".env", "SECRET=2\n");
        s.write("bare/new", "n\n");
        s.write("made/by/agent", "again\n");
        s.write("fresh/deep/file.tmp", "left over\n");
        assert!(!extend(&mut r, &mut second, &agent, ".env"));
        if crash {
            // Half a record is what a crash leaves of one.
            let file = agent.dir().join("extras");
            let mut bytes = fs::read(&file).unwrap();
            bytes.extend_from_slice(b"000000");
            fs::write(&file, bytes).unwrap();
            // What only we kept does not depend on git's housekeeping.
            s.git(&["gc", "--quiet", "--prune=now"]);
            r = s.open();
            agent.adopt(&mut r);
        }
        let changes = r.measure(&agent.id, Doubt::None, &[]).unwrap();
        assert_eq!(
            shown(&changes.own),
            [
                "~.env",
                "+bare/new",
                "+fresh/deep/file.tmp",
                "~made/by/agent",
                "-other/gone",
                "~other/link",
                "~other/tracked",
                "~other/untracked",
                "~w/a"
            ]
        );
        assert_eq!(changes.beyond, []);
        let (restored, left) = agent.fail(&mut r);
        assert_eq!((restored.len(), left), (9, vec![]));
        let salvage = "refs/supervise/attempts/run-1/a/1";
        for (path, text) in [(".env", "SECRET=2\n"), ("other/untracked", "of the agent\n"), ("bare/new", "n\n")] {
            assert_eq!(s.git(&["show", &format!("{salvage}:{path}")]), text);
        }
        assert_eq!(s.read("other/tracked").unwrap(), b"t\n");
        assert_eq!(s.read("other/gone").unwrap(), b"g\n");
        assert_eq!(fs::read_link(s.path("other/link")).unwrap().to_str(), Some("tracked"));
        assert_eq!(s.read("other/untracked").unwrap(), b"of the user\n");
        assert_eq!(s.read(".env").unwrap(), b"SECRET=1\n");
        assert_eq!(fs::metadata(s.path(".env")).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(s.path("bare").is_dir() && !s.path("bare/new").exists());
        assert!(!s.path("fresh").exists(), "the attempt made it");
        assert_eq!(s.read("made/by/agent").unwrap(), b"m\n", "what was there when it was let on to it");
        s.fsck();
    }
}

#[test]
fn what_the_attempt_made_goes_with_the_directories_that_it_made() {
    let s = Scratch::committed(&[("w", "1\n")]);
    let mut r = s.open();
    let mut second = r.beside().unwrap();
    let agent = Agent::new(&s, "a", &["w"]);
    agent.begin(&mut r);
    assert!(extend(&mut r, &mut second, &agent, "made"));
    fs::create_dir(s.path("made")).unwrap();
    assert!(extend(&mut r, &mut second, &agent, "made/empty"));
    fs::create_dir(s.path("made/empty")).unwrap();
    assert!(extend(&mut r, &mut second, &agent, "made/x"));
    s.write("made/x", "1\n");
    assert_eq!(shown(&agent.measure(&mut r)), ["+made/x"]);
    let (restored, left) = agent.fail(&mut r);
    assert_eq!((restored, left), (vec![repo_path("made/x")], vec![]));
    assert!(!s.path("made").exists());
}

#[test]
fn extras_are_committed_with_the_claim_and_ignored_ones_are_not() {
    let s = Scratch::committed(&[("w", "1\n"), ("x", "1\n"), (".gitignore", ".env\n")]);
    let mut r = s.open();
    let mut second = r.beside().unwrap();
    let agent = Agent::new(&s, "a", &["w"]);
    agent.begin(&mut r);
    for path in ["x", ".env", "d/new"] {
        assert!(extend(&mut r, &mut second, &agent, path));
        s.write(path, "2\n");
    }
    s.write("w", "2\n");
    assert_eq!(shown(&agent.measure(&mut r)), ["+.env", "+d/new", "~w", "~x"]);
    assert_eq!(agent.complete(&mut r).index_left, []);
    assert_eq!(s.changed_by("HEAD"), ["A d/new", "M w", "M x"]);
    assert_eq!(s.status(), "");
}

#[test]
fn a_path_that_another_changed_is_gone_on_from_once_it_was_read_again() {
    let s = Scratch::committed(&[("a", "1\n"), ("b", "1\n"), ("late", "1\n2\n")]);
    let mut r = s.open();
    let mut second = r.beside().unwrap();
    let one = Agent::new(&s, "one", &["a", "late"]);
    let two = Agent::new(&s, "two", &["b", "late"]);
    one.begin(&mut r);
    two.begin(&mut r);
    s.write("late", "one\n2\n");
    one.complete(&mut r);
    let path = repo_path("late");
    // Without the refresh the second would be told of the first's work as its own.
    assert_eq!(shown(&two.measure(&mut r)), ["~late"]);
    let now = base(&mut second, &two, "late");
    assert_eq!(now.entry().map(|e| e.mode), Some(Mode::File));
    r.refresh(&two.id, &path, now).unwrap();
    assert_eq!(two.measure(&mut r), []);
    s.write("late", "one\ntwo\n");
    s.write("b", "2\n");
    r = s.open();
    two.adopt(&mut r);
    two.complete(&mut r);
    assert_eq!(s.changed_by("HEAD"), ["M b", "M late"]);
    assert_eq!(s.git(&["show", "HEAD:late"]), "one\ntwo\n");

    // Failing, it gives back what it went on from; and what is committed since is not undone.
    let three = Agent::new(&s, "three", &["late"]);
    three.begin(&mut r);
    s.write("late", "of the user\n");
    s.commit("user");
    let now = base(&mut second, &three, "late");
    r.refresh(&three.id, &path, now).unwrap();
    s.write("late", "three\n");
    let commit = three.freeze(&mut r, Purpose::Completion);
    s.git(&["commit", "-q", "-am", "the user again"]);
    let refused = three.place(&mut r, commit);
    assert_eq!(refused, Err(PlaceRefusal::ChangedUnderneath { paths: vec![path.clone()] }));
    s.git(&["reset", "-q", "--soft", "HEAD~"]);
    let (restored, left) = three.fail(&mut r);
    assert_eq!((restored, left), (vec![path], vec![]));
    assert_eq!(s.read("late").unwrap(), b"of the user\n");
}

#[test]
fn beyond_its_claim_an_attempt_is_held_against_head_and_the_start_of_the_run() {
    let s = Scratch::committed(&[
        ("w/a", "1\n"),
        ("x/kept", "1\n"),
        ("x/dirty", "1\n"),
        ("x/dirtier", "1\n"),
        ("x/gone", "1\n"),
        (".gitignore", "out/\n*.log\n"),
    ]);
    s.write("x/dirty", "of the user\n");
    s.write("x/dirtier", "of the user\n");
    s.write("x/notes", "of the user\n");
    let mut r = s.open();
    let agent = Agent::new(&s, "a", &["w"]);
    agent.begin(&mut r);
    let quiet = |r: &mut Repository| {
        assert_eq!(beyond(r, &agent, Doubt::Whole, &[]), [] as [&str; 0]);
        assert_eq!(beyond(r, &agent, Doubt::None, &["x/kept", "x/dirty", "x/notes", "x", "never"]), [] as [&str; 0]);
    };
    quiet(&mut r);
    s.write("w/a", "2\n");
    s.write("out/built", "b\n");
    s.write("x/some.log", "l\n");
    // Written again as it was.
    s.write("x/dirty", "of the user\n");
    s.write("x/kept", "1\n");
    quiet(&mut r);
    s.write("x/dirtier", "of the agent\n");
    s.write("x/new/file", "n\n");
    s.remove("x/gone");
    s.remove("x/notes");
    let all = ["~x/dirtier", "-x/gone", "+x/new/file"];
    assert_eq!(beyond(&mut r, &agent, Doubt::Whole, &[]), all);
    assert_eq!(beyond(&mut r, &agent, Doubt::None, &[]), [] as [&str; 0]);
    assert_eq!(beyond(&mut r, &agent, Doubt::None, &["x/gone", "out/built", "x/some.log", "w/a"]), ["-x/gone"]);
    assert_eq!(
        beyond(&mut r, &agent, Doubt::None, &["x/dirtier", "x/new", "x/new/file"]),
        ["~x/dirtier", "+x/new/file"]
    );
    assert_eq!(shown(&agent.measure(&mut r)), ["~w/a"]);
    // Frozen they can be; put back only what the attempt has a baseline of.
    let measured = r.measure(&agent.id, Doubt::Whole, &[]).unwrap();
    let paths: Vec<RepoPath> = [measured.own, measured.beyond].concat().into_iter().map(|c: Change| c.path).collect();
    let message = crate::support::message();
    let request = supervise::host::git::FreezeRequest {
        id: &agent.id,
        purpose: Purpose::Salvage,
        paths: &paths,
        attribution: supervise::core::change::Attribution::Unknown,
        message: &message,
    };
    let commit = r.freeze(&request).unwrap();
    assert_eq!(s.changed_by(&commit.to_string()), ["M w/a", "M x/dirtier", "D x/gone", "A x/new/file"]);
    let (restored, left) = r.restore(&agent.id, commit, &paths).unwrap();
    assert_eq!(restored, [repo_path("w/a")]);
    assert_eq!(left, ["x/dirtier", "x/gone", "x/new/file"].map(repo_path));
    assert_eq!(s.read("x/new/file").unwrap(), b"n\n");
}

#[test]
fn an_attempt_without_a_claim_can_be_let_on_and_held_to_account() {
    let s = Scratch::committed(&[("a", "1\n"), ("b", "1\n")]);
    let mut r = s.open();
    let mut second = r.beside().unwrap();
    let agent = Agent::new(&s, "a", &[]);
    agent.begin(&mut r);
    assert_eq!(agent.measure(&mut r), []);
    assert!(extend(&mut r, &mut second, &agent, "a"));
    s.write("a", "2\n");
    s.write("b", "2\n");
    drop(r);
    let mut r = s.open();
    agent.adopt(&mut r);
    // The new run found `b` as it is, and `a` too, but that one has a baseline.
    assert_eq!(beyond(&mut r, &agent, Doubt::Whole, &[]), [] as [&str; 0]);
    s.write("b", "3\n");
    assert_eq!(beyond(&mut r, &agent, Doubt::Whole, &[]), ["~b"]);
    let (restored, left) = agent.fail(&mut r);
    assert_eq!((restored, left), (vec![repo_path("a")], vec![]));
    assert_eq!(s.read("a").unwrap(), b"1\n");
}

#[test]
fn damaged_extras_are_no_baseline() {
    let s = Scratch::committed(&[("a", "1\n")]);
    let mut r = s.open();
    let agent = Agent::new(&s, "a", &["a"]);
    agent.begin(&mut r);
    fs::write(agent.dir().join("extras"), "00000004c7f59c2aabcd").unwrap();
    let mut r = s.open();
    let claim = crate::support::claim(&["a"]);
    // Not a record: cut off like one that a crash left.
    r.adopt(&agent.id, &claim, &agent.dir()).unwrap();
    assert_eq!(fs::read(agent.dir().join("extras")).unwrap(), b"");
}

#[test]
fn a_contested_file_is_what_it_should_be_and_without_markers() {
    let s = Scratch::committed(&[("a", "1\n"), ("crlf", "1\r\n"), ("merge", "<<<<<<< x\n1\n=======\n2\n>>>>>>> y\n")]);
    let mut r = s.open();
    let mut check = |path: &str, expected: Expected, same: bool, markers: bool| {
        let got = r.conflict_free(&repo_path(path), expected).unwrap();
        assert_eq!(got, Verified { same, markers }, "{path} {expected:?}");
    };
    check("a", Expected::Head, true, false);
    check("crlf", Expected::Head, true, false);
    check("merge", Expected::Head, true, true);
    check("none", Expected::Head, true, false);
    check("a", Expected::Nothing, false, false);
    check("none", Expected::Nothing, true, false);
    s.write("a", "2\n");
    check("a", Expected::Head, false, false);
    let id = s.git(&["hash-object", "a"]);
    let id = supervise::core::change::ObjectId::from_hex(id.trim()).unwrap();
    let entry = |mode| Expected::Entry(supervise::core::change::Entry { mode, id });
    check("a", entry(Mode::File), true, false);
    check("a", entry(Mode::Executable), false, false);
    s.remove("a");
    symlink("merge", s.path("a")).unwrap();
    check("a", entry(Mode::File), false, false);
    fs::create_dir(s.path("dir")).unwrap();
    check("dir", Expected::Nothing, true, false);
}
