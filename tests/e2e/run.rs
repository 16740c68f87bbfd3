//! The main job, end to end, with scripted agents: real processes, real git, the real program.

use std::time::Duration;

use crate::support::{Ended, TestRepo, eventually, finish, run_dir, signal, text, with_input};

fn sh(id: &str, files: &str, script: &str, more: &str) -> String {
    format!("[[agent]]\nid = \"{id}\"\ncommand = [\"sh\", \"-c\", '''{script}''']\nfiles = {files}\n{more}\n")
}

#[test]
fn each_agent_gets_one_commit_with_exactly_its_files() {
    let repo = TestRepo::new();
    let session = [
        "[session]\nname = \"two\"\n".to_owned(),
        sh("one", "[\"a/\"]", "mkdir a; echo 1 > a/x; echo 2 > a/y", ""),
        sh(
            "two",
            "[\"b.txt\"]",
            "echo b > b.txt; echo said > /dev/stderr; echo out",
            "name = \"The second\"\ncommit_message = \"docs({{id}}): Say b\"",
        ),
    ]
    .concat();
    let ended = repo.run(&session, &["--format", "json"]).expect(0);
    let mut subjects = repo.subjects();
    subjects.sort();
    assert_eq!(subjects, ["docs(two): Say b", "feat(one): one"]);
    assert_eq!(repo.files_of("feat(one): one"), ["a/x", "a/y"]);
    assert_eq!(repo.files_of("docs(two): Say b"), ["b.txt"]);
    assert_eq!(repo.status(), "");
    let trailers = repo.git(&["log", "-1", "--grep=feat(one)", "--format=%(trailers:only)"]);
    for wanted in ["Supervise-Session: two", "Supervise-Run: ", "Supervise-Agent: one", "Supervise-Attempt: 1"] {
        assert!(trailers.contains(wanted), "{wanted} in {trailers}");
    }
    assert!(!trailers.contains("Attribution"), "the gate saw who wrote: {trailers}");
    assert_eq!(ended.agent("one")["state"], "COMPLETED");
    assert_eq!(ended.agent("one")["writes"], serde_json::json!(["a/x", "a/y"]));
    assert_eq!(ended.json()["state"], "COMPLETED");
    let dir = run_dir(&repo);
    assert_eq!(text(&dir, "agents/two/1/stdout.log"), "out\n");
    assert_eq!(text(&dir, "agents/two/1/stderr.log"), "said\n");
    assert!(text(&dir, "agents/two/1/exit.json").contains("\"code\":0"), "{}", text(&dir, "agents/two/1/exit.json"));
    assert!(text(&dir, "journal.jsonl").lines().count() > 10);
    assert_eq!(repo.git(&["for-each-ref", "refs/supervise"]), "", "completed work is not pinned");
    repo.assert_no_survivors();
}

#[test]
fn locks_keep_overlapping_agents_apart_and_order_them() {
    let repo = TestRepo::with(&[("log.txt", "0\n")]);
    let script = "n=$(wc -l < log.txt); sleep 0.2; echo $n >> log.txt";
    let session = [
        sh("late", "[\"log.txt\"]", script, "priority = 5"),
        sh("early", "[\"*.txt\"]", script, "priority = 1"),
        sh("mid", "[\"log.txt\"]", script, ""),
    ]
    .concat();
    repo.run(&session, &["-j", "3"]).expect(0);
    assert_eq!(repo.read("log.txt"), "0\n1\n2\n3\n");
    assert_eq!(repo.subjects(), ["feat(early): early", "feat(mid): mid", "feat(late): late"]);
}

#[test]
fn dependencies_order_agents_and_failures_skip_dependents() {
    let repo = TestRepo::new();
    let session = [
        sh("last", "[\"c\"]", "cat a b > c", "depends_on = [\"first\", \"second\"]"),
        sh("second", "[\"b\"]", "cat a > b", "depends_on = [\"first\"]"),
        sh("first", "[\"a\"]", "echo a > a", ""),
        sh("bad", "[\"d\"]", "echo d > d; exit 3", ""),
        sh("never", "[\"e\"]", "echo e > e", "needs = [\"bad\"]"),
        sh("anyway", "[\"f\"]", "echo f > f", "needs = [\"bad\"]\non_dependency_failure = \"run\""),
    ]
    .concat();
    let ended = repo.run(&session, &["--format", "json"]).expect(1);
    assert_eq!(repo.read("c"), "a\na\n");
    assert_eq!(ended.agent("bad")["state"], "FAILED");
    assert_eq!(ended.agent("bad")["exit"]["code"], 3);
    assert_eq!(ended.agent("never")["state"], "SKIPPED");
    assert_eq!(ended.agent("anyway")["state"], "COMPLETED");
    assert!(!repo.exists("d"), "what a failed agent left is put back");
    assert!(!repo.exists("e"));
    let salvage = ended.agent("bad")["salvage"].as_str().expect("a reference").to_owned();
    assert_eq!(repo.git(&["show", &format!("{salvage}:d")]), "d\n");
    assert_eq!(repo.status(), "");
}

#[test]
fn a_timeout_ends_the_whole_tree_and_salvages() {
    let repo = TestRepo::with(&[("kept.txt", "before\n")]);
    let script = "echo after > kept.txt; (trap '' TERM; setsid sleep 600 & sleep 600) & sleep 600";
    let session = sh("slow", "[\"kept.txt\"]", script, "timeout = \"500ms\"\ngrace = \"300ms\"");
    let ended = repo.run(&session, &["--format", "json"]).expect(1);
    let slow = ended.agent("slow");
    assert_eq!(slow["state"], "TIMEOUT");
    assert_eq!(slow["reason"]["kind"], "timeout");
    assert_eq!(repo.read("kept.txt"), "before\n");
    assert_eq!(repo.git(&["show", &format!("{}:kept.txt", slow["salvage"].as_str().unwrap())]), "after\n");
    assert_eq!(repo.status(), "");
    repo.assert_no_survivors();
}

#[test]
fn verify_guards_the_commit_and_retries_try_again() {
    let repo = TestRepo::new();
    let session = [
        sh("ok", "[\"ok\"]", "echo 1 > ok", "verify = [\"test -f ok\", \"grep -q 1 ok\"]"),
        sh("bad", "[\"bad\"]", "echo 1 > bad", "verify = \"echo looked; exit 7\""),
        sh("third", "[\"third\"]", "echo {{attempt}} > third", "verify = \"grep 2 third\"\nretries = 1"),
        sh(
            "slow",
            "[\"slow\"]",
            "echo 1 > slow",
            "verify = \"setsid sleep 600\"\nverify_timeout = \"300ms\"\ngrace = \"100ms\"",
        ),
    ]
    .concat();
    let ended = repo.run(&session, &["--format", "json"]).expect(1);
    assert_eq!(ended.agent("ok")["state"], "COMPLETED");
    assert_eq!(ended.agent("ok")["verify"]["ok"], true);
    let bad = ended.agent("bad");
    assert_eq!((&bad["state"], &bad["verify"]["ok"]), (&"FAILED".into(), &false.into()));
    assert!(bad["verify"]["tail"].as_str().unwrap().contains("looked"));
    assert!(!repo.exists("bad"));
    let third = ended.agent("third");
    assert_eq!((&third["state"], &third["attempt"]), (&"COMPLETED".into(), &2.into()));
    assert_eq!(repo.read("third"), "2\n");
    assert_eq!(ended.agent("slow")["state"], "FAILED");
    assert_eq!(ended.agent("slow")["reason"]["kind"], "verify_timeout");
    assert_eq!(repo.status(), "");
    repo.assert_no_survivors();
}

/// Starts a session whose agents wait, and sends the signal when both have written.
fn interrupted(signals: &[&str], grace: &str) -> (TestRepo, Ended) {
    let repo = TestRepo::new();
    let wait = "trap '' TERM INT; setsid sleep 600 & while :; do sleep 1; done";
    let session = [
        sh("stubborn", "[\"a\"]", &format!("echo work > a; {wait}"), &format!("grace = \"{grace}\"")),
        sh("meek", "[\"b\"]", "echo work > b; sleep 600", ""),
        sh("waiting", "[\"a\"]", "echo never > a", ""),
    ]
    .concat();
    let child = repo.start(&session, &["--format", "json"]);
    assert!(eventually(Duration::from_secs(10), || repo.exists("a") && repo.exists("b")));
    for name in signals {
        signal(&child, name);
        // The next one counts as a second only when the first has been seen.
        let dir = run_dir(&repo);
        assert!(eventually(Duration::from_secs(5), || text(&dir, "journal.jsonl").contains("stop_requested")));
    }
    let ended = finish(child, Duration::from_secs(30));
    (repo, ended)
}

#[test]
fn ctrl_c_stops_in_order_and_salvages_all() {
    let (repo, ended) = interrupted(&["INT"], "500ms");
    let ended = ended.expect(130);
    assert_eq!(ended.json()["state"], "INTERRUPTED");
    for (id, path) in [("stubborn", "a"), ("meek", "b")] {
        let agent = ended.agent(id);
        assert_eq!(agent["state"], "TERMINATED", "{id}");
        let salvage = agent["salvage"].as_str().unwrap();
        assert_eq!(repo.git(&["show", &format!("{salvage}:{path}")]), "work\n");
    }
    assert_eq!(ended.agent("waiting")["state"], "TERMINATED");
    assert_eq!(repo.status(), "");
    repo.assert_no_survivors();
}

#[test]
fn a_second_ctrl_c_kills_and_still_salvages() {
    let (repo, ended) = interrupted(&["INT", "INT"], "10m");
    let ended = ended.expect(130);
    assert_eq!(ended.agent("stubborn")["state"], "TERMINATED");
    assert!(ended.agent("stubborn")["salvage"].is_string());
    assert_eq!(repo.status(), "");
    repo.assert_no_survivors();
}

#[test]
fn terminate_and_hangup_have_their_own_codes() {
    for (name, code) in [("TERM", 143), ("HUP", 129)] {
        let (repo, ended) = interrupted(&[name], "200ms");
        ended.expect(code);
        repo.assert_no_survivors();
    }
}

#[test]
fn nothing_survives_the_death_of_the_supervisor() {
    let repo = TestRepo::new();
    let session = sh("a", "[\"a\"]", "echo x > a; setsid sleep 600 & sleep 600", "");
    let child = repo.start(&session, &[]);
    assert!(eventually(Duration::from_secs(10), || repo.exists("a")));
    signal(&child, "KILL");
    finish(child, Duration::from_secs(5));
    let gone = eventually(Duration::from_secs(15), || repo.survivors().is_empty());
    assert!(gone, "{:#?}", repo.survivors());
}

#[test]
fn a_users_work_is_the_same_bytes_before_and_after() {
    let repo =
        TestRepo::with(&[("staged.txt", "1\n"), ("unstaged.txt", "1\n"), ("both.txt", "1\n"), ("src/a.txt", "1\n")]);
    repo.write("staged.txt", "2\n");
    repo.write("both.txt", "2\n");
    repo.write("new-staged.txt", "n\n");
    repo.git(&["add", "staged.txt", "both.txt", "new-staged.txt"]);
    repo.write("both.txt", "3\n");
    repo.write("unstaged.txt", "2\n");
    repo.write("untracked.txt", "u\n");
    let before =
        (repo.status(), repo.git(&["ls-files", "-s", "staged.txt", "both.txt", "unstaged.txt", "new-staged.txt"]));
    repo.run(&sh("agent", "[\"src/\"]", "echo 2 > src/a.txt; echo b > src/b.txt", ""), &[]).expect(0);
    assert_eq!(
        (repo.status(), repo.git(&["ls-files", "-s", "staged.txt", "both.txt", "unstaged.txt", "new-staged.txt"])),
        before
    );
    assert_eq!(repo.files_of("feat(agent): agent"), ["src/a.txt", "src/b.txt"]);
    assert_eq!(
        (repo.read("both.txt"), repo.read("unstaged.txt"), repo.read("untracked.txt")),
        ("3\n".into(), "2\n".into(), "u\n".into())
    );
}

#[test]
fn what_nobody_claimed_is_reported_and_left_alone() {
    let repo = TestRepo::new();
    // By a rename: who is caught with the file open is somebody.
    let script = "echo a > a; echo stray > .git/part; mv .git/part stray.txt";
    let session = sh("a", "[\"a\"]", script, "");
    let ended = repo.run(&session, &["--no-gate", "--format", "json"]).expect(0);
    assert_eq!(ended.json()["unattributed"], serde_json::json!(["stray.txt"]));
    assert_eq!(repo.read("stray.txt"), "stray\n");
    assert_eq!(repo.status(), "?? stray.txt\n");
    let again = TestRepo::new();
    again.run(&session, &["--strict", "--no-gate"]).expect(5);
}

#[test]
fn a_dirty_claim_is_refused_before_anything_starts() {
    let repo = TestRepo::with(&[("a.txt", "1\n")]);
    repo.write("a.txt", "the user's\n");
    let session = sh("a", "[\"a.txt\"]", "echo agent > a.txt; echo ran > /dev/stderr", "");
    let ended = repo.run(&session, &[]).expect(3);
    assert!(ended.stderr.contains("a.txt") && ended.stderr.contains("--allow-dirty"), "{}", ended.stderr);
    assert_eq!(repo.read("a.txt"), "the user's\n");
    let ended = repo.run(&session, &["--allow-dirty", "--format", "json"]);
    assert_eq!(repo.subjects(), Vec::<String>::new(), "{ended:?}");
    assert!(ended.agent("a")["salvage"].is_string(), "{ended:?}");
}

#[test]
fn one_supervisor_a_repository() {
    let repo = TestRepo::new();
    let child = repo.start(&sh("a", "[\"a\"]", "echo a > a; sleep 600", "grace = \"100ms\""), &[]);
    assert!(eventually(Duration::from_secs(10), || repo.exists("a")));
    let second = Ended::of(
        &repo
            .supervise()
            .args(["run", "-"])
            .arg("--format=json")
            .stdin(std::fs::File::open(repo.session("[[agent]]\nid = \"b\"\ncommand = [\"true\"]\n")).unwrap())
            .output()
            .unwrap(),
    )
    .expect(3);
    assert!(second.stderr.contains(&child.id().to_string()), "{}", second.stderr);
    signal(&child, "TERM");
    finish(child, Duration::from_secs(10)).expect(143);
}

#[test]
fn a_session_comes_from_standard_input_too() {
    let repo = TestRepo::new();
    let mut command = repo.supervise();
    command.args(["run", "-", "--only", "b"]);
    let session = [sh("a", "[\"a\"]", "echo a > a", ""), sh("b", "[\"b\"]", "echo b > b", "")].concat();
    with_input(command, session.as_bytes()).expect(0);
    assert_eq!(repo.subjects(), ["feat(b): b"]);
}

#[test]
fn wrong_use_is_told_apart_by_its_code() {
    let repo = TestRepo::new();
    let ended = repo.run("[[agent]]\nid = \"a b\"\nfiles = [\"../x\"]\n", &[]).expect(2);
    assert!(ended.stderr.contains("a b") && ended.stderr.contains("../x"), "{}", ended.stderr);
    repo.run(&sh("a", "[\"a\"]", "true", ""), &["--skip", "a"]).expect(4);
    let outside = tempfile::tempdir().expect("a directory");
    let ended = Ended::of(
        &repo
            .supervise()
            .args(["run", "-C"])
            .arg(outside.path())
            .arg(repo.session(&sh("a", "[\"a\"]", "true", "")))
            .output()
            .expect("it runs"),
    );
    ended.expect(3);
}

#[test]
fn phases_open_one_after_the_other_and_stop_on_failure() {
    let repo = TestRepo::new();
    let phases = "[[phase]]\nname = \"p1\"\n[[phase]]\nname = \"p2\"\n[[phase]]\nname = \"p3\"\n";
    let session = [
        phases.to_owned(),
        sh("three", "[\"3\"]", "echo > 3", "phase = \"p3\""),
        sh("two", "[\"2\"]", "test -f 1 && exit 1", "phase = \"p2\""),
        sh("one", "[\"1\"]", "echo > 1", "phase = \"p1\""),
    ]
    .concat();
    let ended = repo.run(&session, &["--format", "json"]).expect(1);
    assert_eq!(ended.agent("one")["state"], "COMPLETED");
    assert_eq!(ended.agent("two")["state"], "FAILED");
    assert_eq!(ended.agent("three")["state"], "SKIPPED");
    assert_eq!(ended.agent("three")["reason"]["kind"], "phase_failed");
}

#[test]
fn odd_names_links_modes_and_swaps_are_committed_as_they_are() {
    let repo = TestRepo::with(&[
        ("d/file", "was a file\n"),
        ("d/gone", "x\n"),
        ("d/tool", "#!/bin/sh\n"),
        ("d/dir/inner", "x\n"),
        ("outside/secret", "s\n"),
    ]);
    let script = r#"
cd d
printf 'x' > "$(printf 'new\nline')"; printf 'y' > "$(printf 'bad\377byte')"
rm gone; chmod +x tool; : > empty; ln -s ../outside link; mv tool renamed; cp renamed tool
rm file; mkdir file; echo in > file/in; rm -r dir; echo now > dir
"#;
    repo.run(&sh("a", "[\"d/\"]", script, ""), &[]).expect(0);
    assert_eq!(repo.status(), "");
    assert!(repo.git(&["ls-tree", "HEAD", "d/link"]).starts_with("120000"));
    assert!(repo.git(&["ls-tree", "HEAD", "d/tool"]).starts_with("100755"));
    assert!(repo.git(&["ls-tree", "-z", "HEAD", "d/"]).contains("new\nline"));
    assert_eq!(repo.git(&["show", "HEAD:d/file/in"]), "in\n");
    assert_eq!(repo.git(&["show", "HEAD:d/dir"]), "now\n");
    repo.git(&["fsck", "--strict"]);
}

#[test]
fn an_unborn_head_and_a_detached_head_work() {
    let repo = TestRepo::new();
    repo.git(&["checkout", "-q", "--detach"]);
    repo.run(&sh("a", "[\"a\"]", "echo a > a", ""), &[]).expect(0);
    assert_eq!(repo.subjects(), ["feat(a): a"]);
    assert_eq!(repo.git(&["rev-parse", "--abbrev-ref", "HEAD"]), "HEAD\n");
    let repo = TestRepo::new();
    repo.git(&["checkout", "-q", "--orphan", "fresh"]);
    repo.git(&["rm", "-rfq", "."]);
    repo.run(&sh("a", "[\"a\"]", "echo a > a", ""), &[]).expect(0);
    assert_eq!(repo.git(&["log", "--format=%s", "fresh"]), "feat(a): a\n");
    assert_eq!(repo.status(), "");
}

#[test]
fn a_branch_of_its_own_is_made_and_used() {
    let repo = TestRepo::new();
    let session =
        ["[session]\nname = \"s\"\nbranch = \"agents/{{session}}\"\n".to_owned(), sh("a", "[\"a\"]", "echo a > a", "")]
            .concat();
    repo.run(&session, &[]).expect(0);
    assert_eq!(repo.git(&["log", "--format=%s", "main"]), "begin\n");
    assert_eq!(repo.git(&["log", "-1", "--format=%s", "agents/s"]), "feat(a): a\n");
}

#[test]
fn a_prompt_reaches_a_command_and_the_environment_names_the_attempt() {
    let repo = TestRepo::new();
    let session = "[runner.script]\ncommand = [\"sh\", \"-c\", 'cat \"$1\" > p; printf %s \"$2\" > q; echo $SUPERVISE_ID $SUPERVISE_ATTEMPT $SUPERVISE_SLOT > e; echo $EXTRA >> e', \"x\", \"{{prompt_file}}\", \"{{prompt}}\"]\n\
        [[agent]]\nid = \"a\"\nrunner = \"script\"\nprompt = \"-starts with a dash {{unknown}}\"\nbrief = false\nfiles = [\"p\", \"q\", \"e\"]\nenv = { EXTRA = \"{{id}}-{{attempt}}\" }\n";
    repo.run(session, &[]).expect(0);
    assert_eq!(repo.read("p").trim_end(), "-starts with a dash {{unknown}}");
    assert_eq!(repo.read("q").trim_end(), "-starts with a dash {{unknown}}");
    assert_eq!(repo.read("e"), "a 1 0\na-1\n");
}
