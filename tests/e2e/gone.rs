//! Files of a dead run that are missing, damaged or of a newer version when it is to be taken up again: nothing in the
//! tree is touched, what is said names the file and the way out, and a new run is not begun over the work.

use std::path::Path;
use std::time::Duration;

use crate::support::{Ended, TestRepo, eventually, run_dir, signal, text};

const PATIENCE: Duration = Duration::from_secs(30);

/// A run whose supervisor was killed while its agent had done half.
fn dead() -> TestRepo {
    let repo = TestRepo::with(&[("f", "before\n")]);
    let half = format!("echo half > f; touch {}/done; exec sleep 1000", repo.tmp().display());
    let session = format!(
        "[[agent]]\nid = \"a\"\nfiles = [\"f\"]\ncommand = [\"sh\", \"-c\", '''test $SUPERVISE_ATTEMPT != 1 || {{ {half}; }}; echo whole > f''']\n"
    );
    let child = repo.start(&session, &[]);
    assert!(eventually(PATIENCE, || repo.tmp().join("done").exists()));
    signal(&child, "KILL");
    let _ = child.wait_with_output();
    repo.assert_no_survivors();
    repo
}

fn resume(repo: &TestRepo) -> Ended {
    Ended::of(&repo.supervise().args(["resume", "--format", "json"]).output().unwrap())
}

/// Text as it was before it was broken into lines.
fn whole(text: &str) -> String {
    text.split_whitespace().filter(|word| !["│", "├─▶", "╰─▶", "×"].contains(word)).collect::<Vec<_>>().join(" ")
}

/// With this done to the directory of the run, it cannot be taken up.
fn refused(harm: impl Fn(&Path), said: &[&str]) {
    let repo = dead();
    harm(&run_dir(&repo));
    let ended = resume(&repo);
    assert_eq!(ended.code, Some(3), "{}{}", ended.stdout, ended.stderr);
    let stderr = whole(&ended.stderr);
    for text in said {
        assert!(stderr.contains(text), "{text:?} in {}", ended.stderr);
    }
    assert!(stderr.contains("help: "), "{}", ended.stderr);
    assert_eq!((repo.read("f"), repo.subjects().len()), ("half\n".to_owned(), 0), "nothing was touched");
    // The work is in the way of a new run, which says so.
    let again = Ended::of(
        &repo
            .supervise()
            .arg("run")
            .arg(repo.session("[[agent]]\nid = \"a\"\nfiles = [\"f\"]\ncommand = [\"true\"]\n"))
            .output()
            .unwrap(),
    );
    assert_eq!(again.code, Some(3), "{}", again.stderr);
    assert_eq!(repo.read("f"), "half\n");
}

fn replace(file: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "{from} in {text}");
    std::fs::write(file, text.replacen(from, to, 1)).unwrap();
}

const COMMIT_WHAT_IS_GOOD: &str = "is in the tree (git status): commit or stash what is good";

#[test]
fn a_missing_plan_is_named() {
    let gone = |dir: &Path| std::fs::remove_file(dir.join("plan.json")).unwrap();
    refused(gone, &["has no plan beside its journal", COMMIT_WHAT_IS_GOOD]);
}

#[test]
fn missing_launches_are_named() {
    let gone = |dir: &Path| std::fs::remove_file(dir.join("launch.json")).unwrap();
    refused(gone, &["launch", COMMIT_WHAT_IS_GOOD]);
}

#[test]
fn a_missing_journal_is_named() {
    let gone = |dir: &Path| std::fs::remove_file(dir.join("journal.jsonl")).unwrap();
    refused(gone, &["journal.jsonl cannot be read", "No such file"]);
}

#[test]
fn damage_and_newer_versions_are_named() {
    let truncated = |dir: &Path| std::fs::write(dir.join("plan.json"), "{\"version\":1,").unwrap();
    refused(truncated, &["plan.json is of no use", COMMIT_WHAT_IS_GOOD]);
    let newer = |dir: &Path| replace(&dir.join("plan.json"), "\"version\":1", "\"version\":9");
    refused(newer, &["plan.json is of no use", "format version 9", "reads up to 1"]);
    let newer = |dir: &Path| replace(&dir.join("launch.json"), "\"version\":1", "\"version\":9");
    refused(newer, &["launch.json is of no use", "format version 9", "reads up to 1"]);
    let newer = |dir: &Path| replace(&dir.join("journal.jsonl"), "\"version\":1", "\"version\":9");
    refused(newer, &["journal.jsonl has format version 9", "use that version, or a newer one"]);
    let middle = |dir: &Path| {
        replace(&dir.join("journal.jsonl"), "\"kind\":\"attempt_started\"", "\"kind\":\"attempt_startex\"");
    };
    refused(middle, &["the checksum is wrong, and valid records follow", "restore it from a backup"]);
}

#[test]
fn a_torn_end_is_cut_off_and_the_run_goes_on() {
    let repo = dead();
    let journal = run_dir(&repo).join("journal.jsonl");
    let mut torn = std::fs::read(&journal).unwrap();
    torn.extend_from_slice(b"{\"seq\":99,\"at\":\"20");
    std::fs::write(&journal, torn).unwrap();
    resume(&repo).expect(0);
    assert_eq!(repo.git(&["show", "HEAD:f"]), "whole\n");
}

/// Without it nobody knows what the tree was before: nothing is put back, nothing is committed.
#[test]
fn without_an_attempts_directory_its_work_stays_in_the_tree() {
    for gone in ["agents/a/1", "agents/a/1/baseline"] {
        let repo = dead();
        let path = run_dir(&repo).join(gone);
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap();
        } else {
            std::fs::remove_file(path).unwrap();
        }
        let ended = resume(&repo).expect(1);
        assert_eq!(ended.agent("a")["reason"]["kind"], "dirty_claim");
        assert_eq!((text(&repo.path(), "f"), repo.subjects().len()), ("half\n".to_owned(), 0), "{gone}");
        assert!(whole(&ended.stderr).contains("baseline of a#1 is missing or damaged"), "{}", ended.stderr);
    }
}

/// What is only for people can go.
#[test]
fn the_sessions_text_is_not_needed() {
    let repo = dead();
    std::fs::remove_file(run_dir(&repo).join("session.toml")).unwrap();
    resume(&repo).expect(0);
    assert_eq!(repo.git(&["show", "HEAD:f"]), "whole\n");
}

/// What git does not have and nobody kept cannot be put back: it stays as the agent left it, and that is said.
#[test]
fn without_what_was_kept_a_path_stays_as_the_agent_left_it() {
    let repo = TestRepo::with(&[("f", "before\n"), (".gitignore", "out/\n"), (".gitattributes", "cache text\n")]);
    // Git would give it back with other line ends.
    repo.write("out/cache", "before\r\n");
    let half = format!("echo half > f; echo half > out/cache; touch {}/done; exec sleep 1000", repo.tmp().display());
    let session = format!(
        "[[agent]]\nid = \"a\"\nfiles = [\"f\", \"out/\"]\n\
         command = [\"sh\", \"-c\", \'\'\'test $SUPERVISE_ATTEMPT != 1 || {{ {half}; }}; echo whole > f\'\'\']\n"
    );
    let child = repo.start(&session, &[]);
    assert!(eventually(PATIENCE, || repo.tmp().join("done").exists()));
    signal(&child, "KILL");
    let _ = child.wait_with_output();
    repo.assert_no_survivors();
    std::fs::remove_dir_all(run_dir(&repo).join("agents/a/1/kept")).unwrap();
    let ended = resume(&repo).expect(0);
    assert_eq!(repo.git(&["show", "HEAD:f"]), "whole\n");
    assert_eq!(repo.read("out/cache"), "half\n");
    assert!(whole(&ended.stderr).contains("not put back: out/cache"), "{}", ended.stderr);
}
