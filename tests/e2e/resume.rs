//! A run goes on under another supervisor: after a crash, and after Ctrl-C. (Crashes anywhere: `deaths`.)

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use super::support::{Ended, TestRepo, eventually, finish, run_dir, signal, text};

const PATIENCE: Duration = Duration::from_secs(30);
const A_STEP: Duration = Duration::from_millis(30);

/// `a` completes; `b` leaves half its work in its first attempt and waits; `c` comes after it.
const THREE: &str = r#"
    [session]
    name = "three"
    [[agent]]
    id = "a"
    files = ["a"]
    command = ["sh", "-c", "echo a >> a"]
    [[agent]]
    id = "b"
    files = ["b", "new"]
    depends_on = ["a"]
    command = ["sh", "-c", "echo half >> b; echo x > new; test $SUPERVISE_ATTEMPT -gt 1 || { touch \"$TMPDIR/half\"; exec sleep 1000; }; echo whole >> b"]
    [[agent]]
    id = "c"
    files = ["c"]
    depends_on = ["b"]
    command = ["sh", "-c", "echo c >> c"]
"#;

fn three() -> TestRepo {
    TestRepo::with(&[("a", "1\n"), ("b", "1\n"), ("c", "1\n")])
}

/// Runs the session up to the middle of `b`, and kills the supervisor there.
fn killed_in_the_middle(repo: &TestRepo) {
    let child = repo.start(THREE, &[]);
    half_done(repo);
    signal(&child, "KILL");
    assert_eq!(finish_killed(child), Some(9));
}

fn half_done(repo: &TestRepo) {
    let wrote = eventually(PATIENCE, || text(&repo.path(), "b").contains("half") && repo.exists("new"));
    assert!(wrote, "b comes to its half");
    let found = || std::fs::read_dir(repo.tmp()).unwrap().flatten().any(|dir| dir.path().join("half").exists());
    assert!(eventually(PATIENCE, found), "b waits");
}

fn finish_killed(child: std::process::Child) -> Option<i32> {
    let (done, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send(child.wait_with_output()));
    wait.recv_timeout(PATIENCE).unwrap().unwrap().status.signal()
}

pub(super) fn resume(repo: &TestRepo, args: &[&str]) -> Ended {
    Ended::of(&repo.supervise().arg("resume").args(args).output().unwrap())
}

fn attempt_of_b(ended: &Ended) -> u64 {
    ended.agent("b")["attempt"].as_u64().unwrap()
}

#[test]
fn after_a_crash_what_was_done_stays_and_the_rest_is_done() {
    for repo in TestRepo::for_each_user(&[("a", "1\n"), ("b", "1\n"), ("c", "1\n")]) {
        killed_in_the_middle(&repo);
        assert_eq!(repo.ask(&["status"]).matches("INTERRUPTED").count(), 1);
        let ended = resume(&repo, &["--format", "json"]).expect(0);
        assert_eq!(repo.subjects(), ["feat(a): a", "feat(b): b", "feat(c): c"]);
        assert_eq!(repo.read("b"), "1\nhalf\nwhole\n");
        assert_eq!(repo.status(), "");
        assert_eq!(attempt_of_b(&ended), 2);
        // What the first attempt had done is kept.
        let run = run_dir(&repo).file_name().unwrap().to_string_lossy().into_owned();
        let kept = format!("refs/supervise/attempts/{run}/b/1");
        assert_eq!(repo.git(&["show", &format!("{kept}:b")]), "1\nhalf\n");
        assert_eq!(repo.git(&["show", &format!("{kept}:new")]), "x\n");
        let again = resume(&repo, &[]).expect(3);
        assert!(again.stderr.contains("came to its end"), "{}", again.stderr);
        repo.assert_no_survivors();
    }
}

#[test]
fn a_new_run_does_not_begin_over_unsettled_work() {
    let repo = three();
    killed_in_the_middle(&repo);
    let refused = repo.run(THREE, &[]).expect(3);
    assert!(
        refused.stderr.contains("died while b ran") && refused.stderr.contains("supervise resume"),
        "{}",
        refused.stderr
    );
    assert_eq!(repo.read("b"), "1\nhalf\n", "nothing was touched");
    resume(&repo, &[]).expect(0);
}

/// Its supervisor dies while nothing runs: its agent waits to be tried again.
fn killed_in_back_off(repo: &TestRepo) -> String {
    let session = "[[agent]]\nid = \"a\"\nfiles = [\"a\"]\nretries = 1\n\
                   command = [\"sh\", \"-c\", \"test $SUPERVISE_ATTEMPT -gt 1 && echo a >> a\"]\n";
    let child = repo.start(session, &[]);
    let waits =
        || repo.exists(".git/supervise/current") && text(&run_dir(repo), "journal.jsonl").contains("agent_requeued");
    assert!(eventually(PATIENCE, waits), "a waits to be tried again");
    signal(&child, "KILL");
    assert_eq!(finish_killed(child), Some(9));
    session.to_owned()
}

fn name_of_run(repo: &TestRepo) -> String {
    run_dir(repo).file_name().unwrap().to_string_lossy().into_owned()
}

#[test]
fn a_new_run_does_not_begin_while_agents_of_one_that_was_cut_off_are_to_run() {
    let repo = three();
    let session = killed_in_back_off(&repo);
    let refused = repo.run(&session, &[]).expect(3);
    for part in ["died before a had ended", "supervise resume", "supervise reset"] {
        assert!(refused.stderr.contains(part), "{part}: {}", refused.stderr);
    }
    resume(&repo, &[]).expect(0);
    assert_eq!(repo.subjects(), ["feat(a): a"]);
}

#[test]
fn what_was_cleared_is_left_without_a_word() {
    let repo = three();
    let session = killed_in_back_off(&repo);
    Ended::of(&repo.supervise().arg("reset").output().unwrap()).expect(0);
    let begun = repo.run(&session, &[]).expect(0);
    assert!(!begun.stderr.contains("unfinished"), "{}", begun.stderr);
}

#[test]
fn a_new_run_says_which_one_it_leaves_unfinished_and_that_can_be_tried_again() {
    let repo = three();
    let child = repo.start(THREE, &[]);
    half_done(&repo);
    signal(&child, "INT");
    finish(child, PATIENCE).expect(130);
    let old = name_of_run(&repo);
    let other = "[[agent]]\nid = \"d\"\nfiles = [\"d\"]\ncommand = [\"sh\", \"-c\", \"echo d > d\"]\n";
    let begun = repo.run(other, &["--format", "json"]).expect(0);
    assert_eq!(begun.json()["state"], "COMPLETED", "nothing else is on standard output");
    let told: Vec<&str> = begun.stderr.lines().filter(|line| line.contains(&old)).collect();
    let [line] = told[..] else { panic!("one line is about it: {}", begun.stderr) };
    for part in ["unfinished", "supervise resume", "b, c did not complete"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    let refused = resume(&repo, &[&old]).expect(2);
    assert!(refused.stderr.contains(&format!("supervise retry --run {old}")), "{}", refused.stderr);
    repo.session(&THREE.replace("test $SUPERVISE_ATTEMPT -gt 1 ||", "true ||"));
    let again = Ended::of(&repo.supervise().args(["retry", "--run", &old]).output().unwrap()).expect(0);
    assert!(!again.stderr.contains("unfinished"), "{}", again.stderr);
    assert_eq!(repo.subjects(), ["feat(a): a", "feat(d): d", "feat(b): b", "feat(c): c"]);
}

#[test]
fn of_a_run_that_was_cut_off_and_is_not_the_latest_nothing_is_promised() {
    let repo = three();
    let session = killed_in_back_off(&repo);
    let old = name_of_run(&repo);
    let ask = |words: &[&str]| Ended::of(&repo.supervise().args(words).output().unwrap());
    let latest = ask(&["status"]).expect(0).stdout;
    assert!(latest.contains("supervise resume") && !latest.contains("is in the tree"), "{latest}");
    // Its plan cannot be read when the next one begins.
    let (plan, aside) = (run_dir(&repo).join("plan.json"), run_dir(&repo).join("aside"));
    std::fs::rename(&plan, &aside).unwrap();
    repo.run("[[agent]]\nid = \"d\"\ncommand = [\"true\"]\n", &[]).expect(0);
    std::fs::rename(&aside, &plan).unwrap();
    let retry = format!("supervise retry --run {old}");
    let shown = ask(&["status", "--run", &old]).expect(0).stdout.replace('\n', " ");
    assert!(shown.contains(&retry) && !shown.contains("resume"), "{shown}");
    for words in [&["wait", "--run", &old][..], &["stop", "--all", "--run", &old]] {
        let refused = ask(words).expect(3).stderr.replace("\n       ", "");
        assert!(refused.contains(&retry) && !refused.contains("resume"), "{refused}");
    }
    repo.session(&session.replace("test $SUPERVISE_ATTEMPT -gt 1 && ", ""));
    ask(&["retry", "--run", &old]).expect(0);
    assert_eq!(repo.subjects(), ["feat(a): a"]);
}

#[test]
fn what_the_user_changed_after_the_crash_is_neither_committed_nor_put_back() {
    let repo = three();
    killed_in_the_middle(&repo);
    // The shim ends its tree when its supervisor is gone.
    repo.assert_no_survivors();
    let record = run_dir(&repo).join("agents/b/1/exit.json");
    // Files are stamped by a clock that goes in steps of some milliseconds.
    let some_time_ago = || record.metadata().is_ok_and(|m| m.modified().unwrap().elapsed().is_ok_and(|t| t > A_STEP));
    assert!(eventually(PATIENCE, some_time_ago), "its end is written down");
    repo.write("b", "the user's\n");
    repo.write("beside", "also\n");
    let ended = resume(&repo, &["--format", "json"]).expect(1);
    assert_eq!(repo.read("b"), "the user's\n");
    assert_eq!(repo.read("beside"), "also\n");
    assert!(!repo.exists("new"), "what only the agent wrote is put back");
    assert_eq!(ended.agent("b")["reason"]["kind"], "dirty_claim");
    assert_eq!(repo.subjects(), ["feat(a): a"]);
}

#[test]
fn after_ctrl_c_the_run_goes_on() {
    let repo = three();
    let child = repo.start(THREE, &[]);
    half_done(&repo);
    signal(&child, "INT");
    let stopped = finish(child, PATIENCE).expect(130);
    assert!(stopped.stdout.contains("supervise resume"), "{}", stopped.stdout);
    assert_eq!(repo.status(), "");
    let ended = resume(&repo, &["--format", "json"]).expect(0);
    assert_eq!(repo.subjects(), ["feat(a): a", "feat(b): b", "feat(c): c"]);
    assert_eq!(attempt_of_b(&ended), 2);
    assert_eq!(ended.json()["state"], "COMPLETED");
}

#[test]
fn it_needs_nothing_but_what_was_kept_and_the_branch() {
    let repo = three();
    repo.write("prompt.md", "do it\n");
    killed_in_the_middle(&repo);
    std::fs::remove_file(repo.session("")).unwrap();
    repo.git(&["switch", "-q", "-c", "other"]);
    let refused = resume(&repo, &[]).expect(3);
    assert!(refused.stderr.contains("git switch main"), "{}", refused.stderr);
    repo.git(&["switch", "-q", "main"]);
    resume(&repo, &[]).expect(0);
}

#[test]
fn two_cannot_take_it_up_and_without_a_run_there_is_nothing() {
    let repo = three();
    assert!(resume(&repo, &[]).expect(4).stderr.contains("no run"), "there was none");
    let child = repo.start(THREE, &[]);
    half_done(&repo);
    let refused = resume(&repo, &[]).expect(3);
    assert!(refused.stderr.contains("another supervisor is running"), "{}", refused.stderr);
    signal(&child, "INT");
    finish(child, PATIENCE).expect(130);
}

#[test]
fn a_dead_run_can_be_cleared() {
    let repo = three();
    killed_in_the_middle(&repo);
    // What the agents had as their temporary directory goes as well, and nothing that is only called so.
    let run = run_dir(&repo).file_name().unwrap().to_str().unwrap().to_owned();
    let named = || {
        let all = std::fs::read_dir(repo.tmp()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut named: Vec<_> =
            all.filter_map(|name| name.strip_prefix(&format!("supervise-{run}-")).map(str::to_owned)).collect();
        named.sort();
        named
    };
    assert_eq!(named().len(), 1, "{:?}", named());
    let at = |end: &str| repo.tmp().join(format!("supervise-{run}-{end}"));
    std::fs::create_dir(at("mine")).unwrap();
    std::fs::write(at("1"), "").unwrap();
    std::os::unix::fs::symlink(at("mine"), at("2")).unwrap();
    let cleared = Ended::of(&repo.supervise().args(["reset", "--format", "json"]).output().unwrap()).expect(0);
    assert_eq!((repo.status(), repo.read("b")), (String::new(), "1\n".to_owned()));
    assert_eq!(cleared.json()["state"], "INTERRUPTED");
    assert_eq!(named(), ["1", "2", "mine"]);
    assert_eq!(cleared.agent("b")["reason"]["kind"], "supervisor_died");
    assert_eq!(repo.subjects(), ["feat(a): a"]);
    let again = Ended::of(&repo.supervise().arg("reset").output().unwrap()).expect(0);
    assert!(again.stdout.contains("nothing to clear"), "{}", again.stdout);
    let json = repo.supervise().args(["reset", "--format", "json"]).output().unwrap();
    let json = Ended::of(&json).expect(0).json();
    assert_eq!(json["state"], "INTERRUPTED");
    // What is cleared can be taken up all the same.
    resume(&repo, &[]).expect(0);
    assert_eq!(repo.subjects(), ["feat(a): a", "feat(b): b", "feat(c): c"]);
}

#[test]
fn what_did_not_complete_is_tried_again_from_the_file_as_it_is_now() {
    let repo = three();
    let agent = |id: &str, more: &str, script: &str| {
        format!("[[agent]]\nid = {id:?}\nfiles = [{id:?}]\n{more}\ncommand = [\"sh\", \"-c\", {script:?}]\n")
    };
    let retry = |args: &[&str]| Ended::of(&repo.supervise().arg("retry").args(args).output().unwrap());
    assert!(retry(&[]).expect(4).stderr.contains("no run"), "there was none");
    let first = [
        agent("a", "", "echo a >> a"),
        agent("b", "needs = [\"a\"]", "exit 1"),
        agent("c", "needs = [\"b\"]", "echo c >> c"),
    ];
    repo.run(&first.concat(), &[]).expect(1);
    let mended = [
        agent("a", "", "echo again >> a"),
        agent("b", "needs = [\"a\"]", "echo b >> b"),
        agent("c", "needs = [\"b\"]", "exit 1"),
        agent("d", "", "echo d > d"),
    ];
    repo.session(&mended.concat());
    let second = retry(&["--format", "json"]).expect(1);
    let ids: Vec<String> =
        second.json()["agents"].as_array().unwrap().iter().map(|a| a["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids, ["b", "c", "d"]);
    // What completed two runs ago counts as well.
    let third = mended.concat().replace("exit 1", "echo c >> c");
    repo.session(&third);
    assert!(retry(&["--failed"]).expect(0).stdout.contains("1 of 1 agent completed"));
    assert!(retry(&[]).expect(4).stderr.contains("completed"), "none is left");
    assert_eq!(repo.read("a"), "1\na\n");
    let subjects: BTreeSet<String> = repo.subjects().into_iter().collect();
    assert_eq!(subjects.len(), 4, "{subjects:?}");
}

#[test]
fn a_retry_keeps_to_the_selection_and_the_settings_of_the_run() {
    let repo = TestRepo::new();
    let agent = |id: &str, more: &str, script: &str| {
        format!("[[agent]]\nid = {id:?}\nfiles = [{id:?}]\n{more}\ncommand = [\"sh\", \"-c\", {script:?}]\n")
    };
    let session = |script: &str| {
        let phases = "[[phase]]\nname = \"one\"\n[[phase]]\nname = \"two\"\n";
        let env = "env = { WHO = \"nobody\" }\nphase = \"one\"";
        [phases, &agent("a", env, script), &agent("b", "phase = \"two\"", "echo b > b")].concat()
    };
    let retry = |args: &[&str]| Ended::of(&repo.supervise().arg("retry").args(args).output().unwrap());
    let ids = |ended: &Ended| -> Vec<String> {
        let document = ended.json();
        document["agents"].as_array().unwrap().iter().map(|a| a["id"].as_str().unwrap().to_owned()).collect()
    };
    let options = ["--phase", "one", "--set", "agent.a.env={WHO=\"me\"}", "-j", "3"];
    repo.run(&session("exit 1"), &options).expect(1);
    assert!(!repo.ask(&["timeline"]).contains("two"), "nothing is said of a phase without agents");
    let typo = retry(&["aa"]).expect(2).stderr;
    assert!(typo.contains("there is no agent `aa`") && !typo.contains("--only"), "{typo}");
    assert!(retry(&["b"]).expect(4).stderr.contains("was not selected for it"));
    repo.session(&session("echo $WHO; exit 1"));
    assert_eq!(ids(&retry(&["--format", "json", "--id", "a"]).expect(1)), ["a"]);
    assert_eq!(repo.ask(&["logs", "a"]).trim(), "me");
    // What is set last counts, for later retries as well.
    retry(&["--set", "agent.a.env={WHO=\"you\"}", "-j", "2"]).expect(1);
    repo.session(&session("echo $WHO > a"));
    let last = retry(&["--format", "json"]).expect(0);
    assert_eq!(ids(&last), ["a"]);
    let plan = repo.path().join(".git/supervise/runs").join(last.json()["run"].as_str().unwrap()).join("plan.json");
    let plan: serde_json::Value = serde_json::from_slice(&std::fs::read(plan).unwrap()).unwrap();
    assert_eq!(plan["plan"]["max_concurrent"], 2, "{plan:#}");
    assert_eq!(repo.read("a"), "you\n");
    assert!(retry(&[]).expect(4).stderr.contains("completed"), "none is left");
    assert!(retry(&["aa"]).expect(2).stderr.contains("there is no agent `aa`"), "though none is left");
    repo.session(&session("true").replace("one", "first"));
    let gone = retry(&[]).expect(2).stderr;
    assert!(gone.starts_with("the run was begun with --phase=one "), "{gone}");
}
