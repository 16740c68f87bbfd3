//! What agents changed, while they run and afterwards.

use std::fs;

use serde_json::{Value, json};

use super::support::{TestRepo, run_dir};
use super::{Run, go, head, patient, scripted, supervise};

fn diff(repo: &TestRepo, args: &[&str]) -> String {
    supervise(repo, &[&["diff"], args].concat()).expect(0).stdout
}

fn agents(repo: &TestRepo) -> Vec<Value> {
    let document: Value = serde_json::from_str(&diff(repo, &["--format", "json"])).unwrap();
    document["agents"].as_array().unwrap().clone()
}

fn session(repo: &TestRepo) -> String {
    let work = "echo 2 >> src/a; rm src/b; mkdir src/new; echo 3 > src/new/c";
    head(repo, "")
        + &patient("long", "[\"src/\"]", work, "")
        + &patient("idle", "[\"idle\"]", "true", "")
        + &scripted("done", "[\"done\"]", "echo 1 > done", "")
        + &scripted("bad", "[\"bad\"]", "echo 1 > bad; exit 3", "")
}

fn place(agent: &Value) -> (&str, Option<&str>) {
    (agent["id"].as_str().unwrap(), agent["place"].as_str())
}

#[test]
fn changes_are_found_where_they_are() {
    let repo = TestRepo::with(&[("src/a", "1\n"), ("src/b", "b\n"), ("mine", "1\n")]);
    let run = Run::start(&repo, &session(&repo), "long");
    // Not the agent's: nobody claims it.
    repo.write("mine", "2\n");
    let settled = || {
        let agents = agents(&repo);
        place(&agents[2]) == ("done", Some("commit"))
            && place(&agents[3]) == ("bad", Some("salvage"))
            && agents[0]["paths"].as_array().unwrap().len() == 3
    };
    assert!(super::eventually(std::time::Duration::from_secs(30), settled), "{:#?}", agents(&repo));
    let attempt = run_dir(&repo).join("agents/long/1");
    let stamps = || {
        let files = fs::read_dir(&attempt).unwrap().map(|entry| entry.unwrap());
        files.map(|file| (file.file_name(), file.metadata().unwrap().modified().unwrap())).collect::<Vec<_>>()
    };
    let (before, status) = (stamps(), repo.status());
    let agents = agents(&repo);
    assert_eq!((place(&agents[0]), place(&agents[1])), (("long", Some("tree")), ("idle", None)));
    let path = |path: &str, status: &str, added: u32, removed: u32| json!({"path": path, "status": status, "added": added, "removed": removed});
    let expected = [path("src/a", "changed", 1, 0), path("src/b", "removed", 0, 1), path("src/new/c", "added", 1, 0)];
    assert_eq!(agents[0]["paths"], json!(expected));
    let text = diff(&repo, &["long"]);
    for part in ["diff --git a/src/a b/src/a", "+2\n", "deleted file", "b/src/new/c"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("mine"), "{text}");
    assert_eq!(diff(&repo, &["done"]), repo.git(&["show", "--format=", "HEAD"]));
    assert!(diff(&repo, &["--id", "bad", "--stat"]).contains(" bad | 1 +"));
    let all = diff(&repo, &[]);
    let headings: Vec<&str> = all.lines().filter(|line| line.starts_with('#')).collect();
    assert_eq!(headings[0], "# long RUNNING, in the tree: 3 files +2 -1");
    assert_eq!(headings[2], "# bad FAILED, kept, not committed: 1 file +1 -0");
    let nothing = supervise(&repo, &["diff", "idle"]).expect(0);
    assert_eq!(nothing.stdout, "");
    assert!(nothing.stderr.contains("idle has changed nothing"), "{}", nothing.stderr);
    let unknown = supervise(&repo, &["diff", "lnog"]).expect(2);
    assert!(unknown.stderr.contains("did you mean `long`?"), "{}", unknown.stderr);
    assert_eq!((stamps(), repo.status()), (before, status), "looking changes nothing");
    // All of it can be applied elsewhere.
    let (patch, copy) = (repo.tmp().join("patch"), repo.tmp().join("copy"));
    fs::write(&patch, text).unwrap();
    repo.git(&["clone", "-q", ".", &copy.display().to_string()]);
    repo.git(&["-C", &copy.display().to_string(), "apply", &patch.display().to_string()]);
    assert_eq!(fs::read_to_string(copy.join("src/new/c")).unwrap(), "3\n");

    go(&repo);
    run.finish().expect(1);
    let document: Value = serde_json::from_str(&diff(&repo, &["long", "--format", "json"])).unwrap();
    assert_eq!(place(&document["agents"][0]), ("long", Some("commit")));
    assert_eq!(document["agents"][0]["paths"], json!(expected));
}

#[test]
fn what_a_killed_run_left_is_in_the_tree() {
    let repo = TestRepo::with(&[("src/a", "1\n"), ("src/b", "b\n")]);
    let run = Run::start(&repo, &session(&repo), "long");
    let written = || repo.exists("src/new/c");
    assert!(super::eventually(std::time::Duration::from_secs(30), written));
    run.kill();
    repo.assert_no_survivors();
    assert_eq!(place(&agents(&repo)[0]), ("long", Some("tree")));
    assert!(diff(&repo, &["long"]).contains("+2\n"));
}
