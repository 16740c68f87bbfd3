//! The runs of a repository, and the removal of old ones.

use std::fs;

use serde_json::{Value, json};

use super::support::{TestRepo, run_dir};
use super::{Ended, Run, head, patient, scripted, supervise};

fn runs(repo: &TestRepo, args: &[&str]) -> Ended {
    supervise(repo, &[&["runs"], args].concat())
}

fn list(repo: &TestRepo) -> Vec<Value> {
    runs(repo, &["list", "--format", "json"]).expect(0).json()["runs"].as_array().unwrap().clone()
}

fn names(runs: &Value) -> Vec<&str> {
    runs.as_array().unwrap().iter().map(|run| run["run"].as_str().unwrap()).collect()
}

/// One that completed, one that failed and left work, one more, and one whose supervisor was killed.
fn repo() -> TestRepo {
    let repo = TestRepo::new();
    repo.run(&scripted("a", "[\"a\"]", "echo 1 > a", ""), &[]).expect(0);
    let bad = scripted("b", "[\"b\"]", "echo 1 > b; exit 3", "") + &scripted("c", "[\"c\"]", "echo 1 > c", "");
    repo.run(&bad, &["--set", "session.name='two'"]).expect(1);
    repo.run(&scripted("c", "[\"c\"]", "echo 2 > c", ""), &[]).expect(0);
    Run::start(&repo, &(head(&repo, "") + &patient("d", "[\"d\"]", "true", "")), "d").kill();
    repo.assert_no_survivors();
    repo
}

#[test]
fn runs_are_listed_with_what_became_of_them() {
    let repo = repo();
    let listed = list(&repo);
    let states: Vec<_> = listed.iter().map(|run| (run["state"].as_str().unwrap(), run["died"] == true)).collect();
    assert_eq!(
        states,
        [("COMPLETED", false), ("FAILED", false), ("COMPLETED", false), ("INTERRUPTED", true)],
        "{listed:#?}"
    );
    assert_eq!((&listed[1]["session"], &listed[1]["salvage"]), (&json!("two"), &json!(1)));
    assert_eq!(listed[1]["agents"], json!({"COMPLETED": 1, "FAILED": 1}));
    assert!(listed.iter().all(|run| run["bytes"].as_u64() > Some(4096) && run["duration_ms"].is_u64()));
    let human = runs(&repo, &["list"]).expect(0).stdout;
    let column = human.lines().next().unwrap().find("STATE").unwrap();
    let shown: Vec<&str> =
        human.lines().skip(1).take(4).map(|line| line[column..].split(' ').next().unwrap()).collect();
    assert_eq!(shown, ["COMPLETED", "FAILED", "COMPLETED", "DIED"], "{human}");
    assert!(human.contains("1 FAILED, 1") && human.contains("4 runs, "), "{human}");

    // One that cannot be read is told of, and hides no other.
    fs::remove_file(run_dir(&repo).join("journal.jsonl")).unwrap();
    let broken = list(&repo);
    assert_eq!((broken.len(), &broken[3]["state"]), (4, &Value::Null));
    assert!(broken[3]["error"].as_str().unwrap().contains("cannot be read"), "{broken:#?}");
    let human = runs(&repo, &["list"]).expect(0).stdout;
    assert!(human.contains("UNREADABLE"), "{human}");
    let why = format!("{}: {}", broken[3]["run"].as_str().unwrap(), broken[3]["error"].as_str().unwrap());
    assert!(human.replace("\n    ", " ").contains(&why), "{why}\n{human}");

    let fresh = TestRepo::new();
    assert!(runs(&fresh, &["list"]).expect(0).stdout.contains("`supervise run` starts one"));
    runs(&fresh, &["prune"]).expect(0);
    assert!(!fresh.path().join(".git/supervise").exists(), "looking makes nothing");
}

#[test]
fn old_runs_are_removed_but_for_the_newest_and_those_with_work() {
    let repo = repo();
    let all: Vec<String> = list(&repo).iter().map(|run| run["run"].as_str().unwrap().to_owned()).collect();
    let prune = |args: &[&str]| runs(&repo, &[&["prune", "--format", "json"], args].concat()).expect(0).json();
    let none: [&str; 0] = [];
    assert_eq!(names(&prune(&[])["removed"]), none, "none is 30 days old");
    let dry = prune(&["--keep", "1", "--dry-run"]);
    assert_eq!((names(&dry["removed"]), names(&dry["held_back"])), (vec![&*all[0], &all[2]], vec![&*all[1]]));
    assert_eq!(list(&repo).len(), 4, "a dry run removes nothing");
    assert_eq!(names(&prune(&["--keep", "3"])["removed"]), [&all[0]]);
    // Of age is what ended long ago.
    let journal = repo.path().join(".git/supervise/runs").join(&all[2]).join("journal.jsonl");
    repo.command("touch").args(["-d", "31 days ago"]).arg(journal).status().unwrap();
    assert_eq!(names(&prune(&["--keep", "2"])["removed"]), none, "it is among the newest two of three");
    let human = runs(&repo, &["prune"]).expect(0).stdout;
    assert!(human.contains(&format!("removed {}", all[2])) && human.contains("removed 1 run, "), "{human}");
    // What an interrupted removal left goes with the next.
    let left = repo.path().join(".git/supervise/runs").join(format!("{}.removed", all[0]));
    fs::create_dir_all(left.join("agents")).unwrap();
    let human = runs(&repo, &["prune", "--older-than", "0s"]).expect(0).stdout;
    assert!(human.contains("1 attempt's work is in it") && human.contains("`--salvage` lets it go too"), "{human}");
    assert!(human.contains("removed no run") && !human.contains("old enough"), "{human}");
    assert!(!left.exists());
    assert_eq!(names(&prune(&["--older-than", "0s", "--salvage"])["removed"]), [&all[1]]);
    assert_eq!(names(&Value::from(list(&repo))), [&all[3]], "the newest stays");
    assert_eq!(repo.git(&["for-each-ref", "refs/supervise"]), "");
    supervise(&repo, &["status"]).expect(0);
}

#[test]
fn a_run_that_goes_on_is_not_removed() {
    let repo = TestRepo::new();
    repo.run(&scripted("a", "[\"a\"]", "echo 1 > a", ""), &[]).expect(0);
    let run = Run::start(&repo, &(head(&repo, "") + &patient("d", "[\"d\"]", "true", "")), "d");
    let removed = runs(&repo, &["prune", "--older-than", "0s", "--salvage"]).expect(0);
    assert!(removed.stdout.contains("removed 1 run, "), "{}", removed.stdout);
    let listed = list(&repo);
    assert_eq!((listed.len(), &listed[0]["state"]), (1, &json!("RUNNING")));
    super::go(&repo);
    run.finish().expect(0);
}
