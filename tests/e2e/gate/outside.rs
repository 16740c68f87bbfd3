//! Writers outside every tree: the test itself is the editor.

use std::fs;

use super::{agent, assert_state, finished, flag, heard, names, records, records_so_far, salvaged, start};
use crate::support::{Ended, TestRepo, eventually};

const FILES: &[(&str, &str)] = &[("a.txt", "a\n"), ("b.txt", "b\n"), ("free.txt", "free\n"), ("src/x", "x\n")];

/// How editors save.
#[derive(Clone, Copy, Debug)]
enum Save {
    InPlace,
    RenamedOver,
}

impl Save {
    fn save(self, repo: &TestRepo, path: &str, text: &str) {
        match self {
            Self::InPlace => repo.write(path, text),
            Self::RenamedOver => {
                let beside = format!("{path}.editor");
                repo.write(&beside, text);
                fs::rename(repo.path().join(beside), repo.path().join(path)).unwrap();
            }
        }
    }
}

/// Runs an agent that writes `a.txt` and `b.txt`, and saves in between.
fn edited(repo: &TestRepo, more: &str, edit: impl FnOnce()) -> Ended {
    let script = "echo agent >> a.txt; echo agent >> b.txt; flag wrote; await saved; echo more >> b.txt";
    let child =
        start(repo, "", &[agent("a", &["a.txt", "b.txt"], script, more), agent("idle", &[], "await saved", "")]);
    heard(repo, "wrote");
    edit();
    flag(repo, "saved");
    let ended = finished(repo, child);
    assert_state(&ended, "idle", "COMPLETED", Some("without_changes"));
    ended
}

#[test]
fn a_file_that_an_agent_also_wrote_is_mixed() {
    for save in [Save::InPlace, Save::RenamedOver] {
        for repo in TestRepo::for_each_user(FILES) {
            let ended = edited(&repo, "", || {
                save.save(&repo, "a.txt", "the editor's\n");
                // An agent that ends at once is judged before the watch is looked at for its own sake.
                let told = eventually(super::PATIENCE, || !records_so_far(&repo, "outside_write").is_empty());
                assert!(told, "{save:?}: it is seen");
            })
            .expect(1);
            assert_state(&ended, "a", "FAILED", Some("outside_edit"));
            assert!(ended.agent("a")["reason"]["text"].as_str().unwrap().contains("a.txt"));
            assert_eq!(repo.read("a.txt"), "the editor's\n", "{save:?}: nothing of it is put back");
            assert_eq!(repo.read("b.txt"), "b\n", "the rest is");
            assert_eq!(salvaged(&repo, &ended, "a", "a.txt"), "the editor's\n");
            assert_eq!(salvaged(&repo, &ended, "a", "b.txt"), "b\nagent\nmore\n");
            assert_eq!((repo.subjects(), repo.status()), (Vec::new(), " M a.txt\n".into()));
            let seen = records(&repo, "outside_write");
            assert!(seen.iter().any(|record| record["paths"].to_string().contains("a.txt")), "{save:?} {seen:?}");
            assert!(records(&repo, "end_intended").is_empty(), "nobody is ended for it");
        }
    }
}

/// The comparison takes its time over the big file and reads the small one last.
#[test]
fn who_comes_while_an_attempt_is_compared_is_told_apart() {
    let repo = TestRepo::with(&[("small", "1\n")]);
    let script = "head -c 150000000 /dev/zero > big; echo agent > small";
    let child = start(&repo, "", &[agent("a", &["big", "small"], script, "")]);
    let gone = eventually(super::PATIENCE, || !records_so_far(&repo, "tree_ended").is_empty());
    assert!(gone, "the tree ends");
    repo.write("small", "the editor's\n");
    let before = records_so_far(&repo, "write_set");
    let ended = finished(&repo, child).expect(1);
    assert_eq!(before, Vec::<serde_json::Value>::new(), "the comparison was still going on");
    assert_state(&ended, "a", "FAILED", Some("outside_edit"));
    assert_eq!(repo.read("small"), "the editor's\n");
    assert_eq!(repo.subjects(), Vec::<String>::new());
}

#[test]
fn mixed_paths_can_be_committed_with_a_trailer() {
    for repo in TestRepo::for_each_user(FILES) {
        let ended =
            edited(&repo, "on_outside_edit = \"commit\"", || Save::InPlace.save(&repo, "a.txt", "both\n")).expect(0);
        assert_state(&ended, "a", "COMPLETED", None);
        let trailers = repo.git(&["log", "-1", "--format=%(trailers:only)"]);
        assert!(trailers.contains("Supervise-Mixed: a.txt\n"), "{trailers}");
        assert!(!trailers.contains("b.txt"), "{trailers}");
        assert_eq!(repo.git(&["show", "HEAD:a.txt"]), "both\n");
        assert_eq!(repo.git(&["show", "HEAD:b.txt"]), "b\nagent\nmore\n");
        assert_eq!(repo.status(), "");
    }
}

#[test]
fn what_only_the_outsider_wrote_is_nobodys() {
    for save in [Save::InPlace, Save::RenamedOver] {
        for repo in TestRepo::for_each_user(FILES) {
            let ended = edited(&repo, "", || {
                save.save(&repo, "free.txt", "the editor's\n");
                save.save(&repo, "src/new/file", "new\n");
                fs::remove_file(repo.path().join("src/x")).unwrap();
            })
            .expect(0);
            assert_state(&ended, "a", "COMPLETED", None);
            assert_eq!(repo.files_of("feat(a): a"), ["a.txt", "b.txt"]);
            assert_eq!(ended.json()["unattributed"], names(&["free.txt", "src/new/file", "src/x"]));
            assert_eq!(repo.status(), " M free.txt\n D src/x\n?? src/new/\n");
            assert!(records(&repo, "end_intended").is_empty());
            assert_eq!(records(&repo, "trouble"), Vec::<serde_json::Value>::new());
        }
    }
}

/// Claimed, but written by the outsider alone: the agent's commit leaves it out.
#[test]
fn a_claimed_file_that_only_the_outsider_wrote_is_not_committed() {
    for repo in TestRepo::for_each_user(FILES) {
        let script = "flag wrote; await saved; echo agent >> b.txt";
        let child = start(&repo, "", &[agent("a", &["a.txt", "b.txt", "src/"], script, "")]);
        heard(&repo, "wrote");
        Save::RenamedOver.save(&repo, "a.txt", "the editor's\n");
        Save::InPlace.save(&repo, "src/new", "the editor's\n");
        flag(&repo, "saved");
        let ended = finished(&repo, child).expect(0);
        assert_state(&ended, "a", "COMPLETED", None);
        assert_eq!(repo.files_of("feat(a): a"), ["b.txt"], "{}", ended.stderr);
        assert_eq!((repo.read("a.txt"), repo.read("src/new")), ("the editor's\n".into(), "the editor's\n".into()));
        assert_eq!(ended.json()["unattributed"], names(&["a.txt", "src/new"]));
    }
}

/// The agent looks again and writes on top: the path is mixed all the same.
#[test]
fn an_agent_reads_again_what_an_outsider_changed() {
    for repo in TestRepo::for_each_user(FILES) {
        let script = "flag wrote; await saved; try first 'echo agent >> a.txt'; try second 'echo agent >> a.txt'";
        let child = start(&repo, "", &[agent("a", &["a.txt"], script, "")]);
        heard(&repo, "wrote");
        Save::InPlace.save(&repo, "a.txt", "the editor's\n");
        // The watch has to have seen it before the agent may be told.
        let told = eventually(super::PATIENCE, || !records_so_far(&repo, "outside_write").is_empty());
        assert!(told, "it is seen");
        flag(&repo, "saved");
        let ended = finished(&repo, child).expect(1);
        assert!(heard(&repo, "first").contains("resource busy"), "{}", heard(&repo, "first"));
        assert_eq!(heard(&repo, "second"), "exit 0\n");
        assert_state(&ended, "a", "FAILED", Some("outside_edit"));
        assert_eq!(repo.read("a.txt"), "the editor's\nagent\n");
    }
}

/// Without a gate the run says so, and guesses are called guesses.
#[test]
fn a_run_without_the_gate_says_so() {
    let repo = TestRepo::with(FILES);
    // By renames: who is caught with the file open is no guess.
    let script = "for f in a stray; do echo agent > .git/part; mv .git/part $f.txt; done";
    let agents = [agent("a", &["a.txt"], script, "")];
    let session = super::session(&repo, "", &agents);
    let ended = repo.run(&session, &["--no-gate", "--format", "json"]).expect(0);
    let layers = &ended.json()["layers"];
    assert_eq!((&layers["gate"], &layers["watch"]), (&false.into(), &true.into()));
    let first = ended.stderr.lines().take(8).collect::<Vec<_>>().join("\n");
    assert!(first.contains("gate"), "the first lines say it: {first}");
    let trailers = repo.git(&["log", "-1", "--format=%(trailers:only)"]);
    assert!(trailers.contains("Supervise-Attribution: inferred"), "{trailers}");
    assert_eq!(ended.json()["unattributed"], names(&["stray.txt"]));
    let sets = records(&repo, "write_set");
    assert_eq!(sets[0]["writes"][0]["attribution"], "inferred", "{sets:?}");

    let repo = TestRepo::with(FILES);
    let ended = finished(&repo, start(&repo, "", &[agent("a", &["a.txt"], "echo agent >> a.txt", "")])).expect(0);
    let first = ended.stderr.lines().take(8).collect::<Vec<_>>().join("\n");
    assert!(first.contains("gate"), "the first lines say what is active: {first}");
    assert!(!repo.git(&["log", "-1", "--format=%(trailers:only)"]).contains("Supervise-Attribution"));
}
