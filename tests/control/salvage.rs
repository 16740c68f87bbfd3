//! Kept work: listed, shown, put into the tree, dropped.

use std::fs;

use serde_json::{Value, json};

use super::support::TestRepo;
use super::{Run, go, head, patient, scripted, supervise};

const TEN: &str = "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n";

/// A repository in which `bad` changed the first line of `ten`, removed `old` and made `new/file`, twice.
fn repo() -> TestRepo {
    let repo = TestRepo::with(&[("ten", TEN), ("old", "old\n"), ("other", "x\n")]);
    let script = "sed -i s/^1$/one/ ten; rm old; mkdir -p new; echo $SUPERVISE_ATTEMPT > new/file; exit 3";
    let session = scripted("bad", "[\"ten\", \"old\", \"new/\"]", script, "retries = 1")
        + &scripted("good", "[\"good\"]", "echo 1 > good", "");
    repo.run(&session, &[]).expect(1);
    assert_eq!(repo.status(), "", "everything was put back");
    repo
}

fn salvage(repo: &TestRepo, args: &[&str]) -> super::Ended {
    supervise(repo, &[&["salvage"], args].concat())
}

fn list(repo: &TestRepo) -> Vec<Value> {
    salvage(repo, &["list", "--format", "json"]).expect(0).json()["salvage"].as_array().unwrap().clone()
}

/// All files but git's own, and what the index holds.
fn tree(repo: &TestRepo) -> (String, String) {
    let files = repo.command("sh").args(["-c", "find . -path ./.git -prune -o -type f -print -exec cat {} +"]).output();
    (String::from_utf8(files.unwrap().stdout).unwrap(), repo.git(&["ls-files", "-s"]))
}

#[test]
fn kept_work_is_listed_and_shown() {
    let repo = repo();
    let kept = list(&repo);
    assert_eq!(kept.len(), 2, "{kept:#?}");
    for (at, kept) in kept.iter().enumerate() {
        assert_eq!((&kept["agent"], &kept["attempt"]), (&json!("bad"), &json!(at + 1)));
        assert_eq!(kept["reason"], json!({"kind": "exit", "text": "exit code 3"}));
        assert_eq!((&kept["files"], &kept["added"], &kept["removed"]), (&json!(3), &json!(2), &json!(2)));
        assert_eq!(repo.git(&["rev-parse", kept["reference"].as_str().unwrap()]).trim(), kept["commit"]);
    }
    let run = kept[0]["run"].as_str().unwrap();
    let at = kept[0]["at"].as_str().unwrap();
    let human = salvage(&repo, &["list"]).expect(0).stdout;
    let shown = undated(&human, run);
    insta::assert_snapshot!("kept_work", shown);
    assert!(at.ends_with('Z'), "{at}");

    // By each of its names, as git shows it.
    let commit = kept[1]["commit"].as_str().unwrap();
    let expected = repo.git(&["diff", "--binary", &format!("{commit}^"), commit]);
    let reference = kept[1]["reference"].as_str().unwrap();
    for name in ["bad", "bad/2", &format!("{run}/bad/2"), &format!("{}/bad", &run[..8]), reference] {
        assert_eq!(salvage(&repo, &["show", name]).expect(0).stdout, expected, "{name}");
    }
    let stat = salvage(&repo, &["show", "bad/1", "--stat"]).expect(0).stdout;
    assert!(stat.contains("3 files changed"), "{stat}");
    let paths = salvage(&repo, &["show", "bad", "--format", "json"]).expect(0).json();
    let path = |path: &str, status: &str, added: u32, removed: u32| json!({"path": path, "status": status, "added": added, "removed": removed});
    let expected = [path("new/file", "added", 1, 0), path("old", "removed", 0, 1), path("ten", "changed", 1, 1)];
    assert_eq!(paths["paths"], json!(expected));

    for (name, help) in [("bda", "did you mean `bad`?"), ("bad/7", "did you mean `bad/1`?"), ("good", "kept is bad/1")]
    {
        let unknown = salvage(&repo, &["show", name]).expect(2);
        assert!(unknown.stderr.contains(help), "{name}: {}", unknown.stderr);
    }
}

#[test]
fn what_was_dropped_is_not_offered_any_more() {
    let repo = repo();
    let reference = || {
        let status = supervise(&repo, &["status", "--format", "json"]).expect(0);
        status.agent("bad")["salvage"].as_str().map(|name| name[name.len() - 5..].to_owned())
    };
    let shown = |attempt: &str| {
        let human = supervise(&repo, &["status", "bad"]).expect(0).stdout;
        human.contains(&format!("supervise salvage show bad/{attempt}"))
    };
    assert_eq!((reference().as_deref(), shown("2")), (Some("bad/2"), true));
    salvage(&repo, &["drop", "bad/2"]).expect(0);
    assert_eq!((reference().as_deref(), shown("2"), shown("1")), (Some("bad/1"), false, true));
    salvage(&repo, &["drop", "bad/1"]).expect(0);
    assert_eq!((reference(), shown("")), (None, false));
}

/// The day and the minute differ, and so does the run.
fn undated(text: &str, run: &str) -> String {
    let text = text.replace(run, &"R".repeat(run.len()));
    let digits = |word: &str| word.chars().all(|c| c.is_ascii_digit() || c == '-' || c == ':');
    let word = |word: &str| if word.len() >= 5 && digits(word) { "#".repeat(word.len()) } else { word.to_owned() };
    let line = |line: &str| line.split(' ').map(word).collect::<Vec<_>>().join(" ");
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn kept_work_goes_into_the_tree_and_nowhere_else() {
    let repo = repo();
    let index = repo.git(&["ls-files", "-s"]);
    let done = salvage(&repo, &["apply", "bad", "--format", "json"]).expect(0).json();
    assert_eq!((&done["changed"], &done["merged"]), (&json!(["new/file", "old", "ten"]), &json!([])));
    assert_eq!(repo.read("ten"), TEN.replacen('1', "one", 1));
    assert_eq!((repo.read("new/file").as_str(), repo.exists("old")), ("2\n", false));
    assert_eq!(repo.git(&["ls-files", "-s"]), index, "the index is the user's");
    assert_eq!(repo.subjects().len(), 1, "nothing is committed");
    // Once more there is nothing to do, and the other attempt's would write over it.
    let again = salvage(&repo, &["apply", "bad/2", "--format", "json"]).expect(0).json();
    assert_eq!(again["already"], json!(["new/file", "old", "ten"]));
    let before = tree(&repo);
    let refused = salvage(&repo, &["apply", "bad/1"]).expect(1);
    assert!(refused.stderr.contains("1 path with uncommitted changes"), "{}", refused.stderr);
    assert!(refused.stderr.contains("new/file"), "{}", refused.stderr);
    assert_eq!(tree(&repo), before);
}

#[test]
fn uncommitted_changes_are_never_written_over() {
    let repo = repo();
    let refuse = |path: &str| {
        let before = tree(&repo);
        let refused = salvage(&repo, &["apply", "bad"]).expect(1);
        assert!(refused.stderr.contains(path), "{}", refused.stderr);
        assert!(refused.stderr.contains("nothing was changed"), "{}", refused.stderr);
        assert_eq!(tree(&repo), before);
    };
    repo.write("ten", &format!("{TEN}11\n"));
    refuse("ten");
    repo.git(&["checkout", "-q", "ten"]);
    // Staged only: the working tree is as HEAD has it.
    repo.write("old", "staged\n");
    repo.git(&["add", "old"]);
    repo.write("old", "old\n");
    refuse("old");
    repo.git(&["reset", "-q", "--hard"]);
    // Untracked, ignored, and something else on the way.
    repo.write("new/file", "mine\n");
    refuse("new/file");
    fs::write(repo.path().join(".git/info/exclude"), "new/\n").unwrap();
    refuse("new/file");
    fs::remove_dir_all(repo.path().join("new")).unwrap();
    let elsewhere = repo.tmp().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, repo.path().join("new")).unwrap();
    refuse("nothing was changed: new");
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
}

#[test]
fn what_was_committed_since_is_merged_with_or_is_a_refusal() {
    let repo = repo();
    repo.write("ten", &TEN.replace("10", "ten"));
    repo.git(&["commit", "-qam", "mine"]);
    let done = salvage(&repo, &["apply", "bad"]).expect(0).stdout;
    assert!(done.contains("merged     ten") && done.contains("salvage drop"), "{done}");
    assert_eq!(repo.read("ten"), TEN.replacen('1', "one", 1).replace("10", "ten"));
    repo.git(&["reset", "-q", "--hard"]);
    repo.git(&["clean", "-qfd"]);
    repo.write("ten", &TEN.replacen('1', "uno", 1));
    repo.git(&["commit", "-qam", "mine, too"]);
    let before = tree(&repo);
    let refused = salvage(&repo, &["apply", "bad"]).expect(1);
    assert!(refused.stderr.contains("does not apply") && refused.stderr.contains("ten"), "{}", refused.stderr);
    assert!(refused.stderr.contains("cherry-pick -n refs/supervise/attempts/"), "{}", refused.stderr);
    assert_eq!(tree(&repo), before, "not a part of it is written");
}

#[test]
fn kept_work_waits_for_the_run_and_for_its_attempt() {
    let repo = TestRepo::new();
    let session = head(&repo, "checkpoint_interval = \"50ms\"")
        + &scripted("bad", "[\"bad\"]", "echo 1 > bad; exit 3", "")
        + &patient("long", "[\"long\"]", "echo 1 > long", "");
    let run = Run::start(&repo, &session, "long");
    let has_kept = || run.agent("bad").is_some_and(|bad| bad["ended_at"].is_string() && bad["salvage"].is_string());
    assert!(super::eventually(std::time::Duration::from_secs(30), has_kept), "{:?}", run.agent("bad"));
    let checkpoint = || repo.git(&["for-each-ref", "refs/supervise"]).contains("long/1.checkpoint");
    assert!(super::eventually(std::time::Duration::from_secs(30), checkpoint));
    let agents: Vec<Value> = list(&repo).iter().map(|kept| kept["agent"].clone()).collect();
    assert_eq!(agents, ["bad"], "what an agent still works at is nobody's to take or drop");
    let refused = salvage(&repo, &["apply", "bad"]).expect(3);
    assert!(refused.stderr.contains("another supervisor is running"), "{}", refused.stderr);
    salvage(&repo, &["drop", "long"]).expect(2);
    salvage(&repo, &["drop", "bad"]).expect(0);
    run.kill();
    repo.assert_no_survivors();
    let kept = list(&repo);
    assert_eq!((&kept[0]["agent"], &kept[0]["reason"]["kind"]), (&json!("long"), &json!("supervisor_died")));
    assert_eq!(kept[0]["checkpoint"], true);
    go(&repo);
}

#[test]
fn kept_work_is_dropped_by_name_by_age_or_all() {
    let repo = repo();
    salvage(&repo, &["drop"]).expect(2);
    let young = salvage(&repo, &["drop", "--older-than", "30d"]).expect(0).stdout;
    assert_eq!(young, "no kept work is older than 30days\n");
    let commit = list(&repo)[0]["commit"].clone();
    let dropped = salvage(&repo, &["drop", "bad/1", "--format", "json"]).expect(0).json();
    assert_eq!(dropped["dropped"][0]["commit"], commit);
    assert_eq!(list(&repo).len(), 1);
    let all = salvage(&repo, &["drop", "--all"]).expect(0).stdout;
    assert!(all.contains("dropped bad/2") && all.contains("git branch NAME COMMIT"), "{all}");
    assert_eq!(list(&repo).len(), 0);
    assert!(salvage(&repo, &["list"]).expect(0).stdout.contains("no work is kept"));
    assert_eq!(repo.git(&["for-each-ref", "refs/supervise"]), "");
    assert!(!repo.path().join(".git/refs/supervise/attempts").read_dir().is_ok_and(|mut dir| dir.next().is_some()));
    // Nothing was ever kept where nothing was ever run.
    assert!(salvage(&TestRepo::new(), &["list"]).expect(0).stdout.contains("no work is kept"));
}

#[test]
fn what_completed_beside_its_commit_is_kept_too() {
    let repo = TestRepo::with(&[("dirty", "1\n")]);
    repo.write("dirty", "mine\n");
    let session = scripted("a", "[\"dirty\", \"b\"]", "echo agent >> dirty; echo agent > b", "");
    let told = repo.run(&session, &["--allow-dirty"]).expect(0).stdout;
    assert!(told.contains("supervise salvage show a/1"), "{told}");
    let kept = list(&repo);
    assert_eq!((kept.len(), &kept[0]["reason"]["kind"], &kept[0]["files"]), (1, &json!("beside_commit"), &json!(1)));
    let done = salvage(&repo, &["apply", "a", "--format", "json"]).expect(0).json();
    assert_eq!(done["already"], json!(["dirty"]), "it is in the tree still");
}

#[test]
fn kept_work_expires_when_a_run_starts() {
    let repo = repo();
    let tree = repo.git(&["rev-parse", "HEAD^{tree}"]);
    let old = |attempt: &str, days: i64| {
        let date = format!("@{} +0000", jiff::Timestamp::now().as_second() - days * 24 * 3600);
        let mut command = repo.command("git");
        command.args(["commit-tree", "-m", "kept", tree.trim()]);
        let made = command.env("GIT_AUTHOR_DATE", &date).env("GIT_COMMITTER_DATE", &date).output().unwrap();
        let commit = String::from_utf8(made.stdout).unwrap();
        repo.git(&["update-ref", &format!("refs/supervise/attempts/20200101T000000-0001/{attempt}"), commit.trim()]);
    };
    old("a/1", 29);
    old("a/2", 31);
    old("a/2.checkpoint", 32);
    old("b/1", 400);
    let kept = || list(&repo).len();
    assert_eq!(kept(), 5);
    let forever = format!("[session]\nsalvage_days = 0\n{}", scripted("c", "[\"c\"]", "true", ""));
    let told = repo.run(&forever, &[]).expect(0).stderr;
    assert!(kept() == 5 && !told.contains("salvage_days"), "{told}");
    let told = repo.run(&scripted("c", "[\"c\"]", "true", ""), &[]).expect(0).stderr;
    assert!(told.contains("2 attempts' work, kept for more than 30 days, was dropped"), "{told}");
    let names: Vec<String> = list(&repo).iter().map(|kept| format!("{}/{}", kept["agent"], kept["attempt"])).collect();
    assert_eq!(names, ["\"a\"/1", "\"bad\"/1", "\"bad\"/2"]);
    let told = repo.run(&scripted("c", "[\"c\"]", "true", ""), &[]).expect(0).stderr;
    assert!(!told.contains("salvage_days"), "{told}");
}

/// A repository in which work took a directory's place with a file, a file's with a directory and a link's with one.
fn replaced() -> TestRepo {
    let repo = TestRepo::with(&[("b/d/x", "1\n"), ("b/d/e/y", "1\n"), ("b/f", "f\n")]);
    std::os::unix::fs::symlink("d", repo.path().join("b/l")).unwrap();
    repo.git(&["add", "-A"]);
    repo.git(&["commit", "-qm", "link"]);
    let script =
        "cd b; rm -r d; echo file > d; rm f l; mkdir f l new; echo 1 > f/x; echo 2 > l/y; echo 3 > new/z; exit 1";
    repo.run(&scripted("b", "[\"b/\"]", script, ""), &[]).expect(1);
    assert_eq!(repo.status(), "", "everything was put back");
    repo
}

#[test]
fn kept_work_changes_directories_for_files_and_files_for_directories() {
    let repo = replaced();
    fs::create_dir(repo.path().join("b/d/empty")).unwrap();
    salvage(&repo, &["apply", "b"]).expect(0);
    let files = ["b/d", "b/f/x", "b/l/y", "b/new/z"].map(|path| repo.read(path));
    assert_eq!(files, ["file\n", "1\n", "2\n", "3\n"]);
    let index = repo.git(&["ls-files"]);
    assert_eq!(index, "b/d/e/y\nb/d/x\nb/f\nb/l\n", "the index is as it was");
    repo.git(&["reset", "-q", "--hard"]);
    repo.git(&["clean", "-qfd"]);

    let refuse = |told: &str, not: &str| {
        let before = tree(&repo);
        let refused = salvage(&repo, &["apply", "b"]).expect(1).stderr;
        assert!(refused.contains(told) && !refused.contains(not), "{refused}");
        assert_eq!(tree(&repo), before);
    };
    // Somebody's own file in the directory that is to go, and one where a directory is to be.
    repo.write("b/d/mine", "mine\n");
    refuse("nothing was changed: b/d/mine", "does not apply");
    fs::remove_file(repo.path().join("b/d/mine")).unwrap();
    repo.write("b/new", "mine\n");
    refuse("nothing was changed: b/new", "does not apply");
    // The same once they are committed.
    repo.git(&["add", "-A"]);
    repo.git(&["commit", "-qm", "new"]);
    refuse("b/new/z", "uncommitted");
    repo.git(&["rm", "-q", "b/new"]);
    repo.write("b/d/more", "more\n");
    repo.git(&["add", "-A"]);
    repo.git(&["commit", "-qm", "more"]);
    refuse("b/d", "uncommitted");
}
