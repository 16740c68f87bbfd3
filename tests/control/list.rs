//! The registry: of a session file, of a run that goes on, and of one that is over.

use serde_json::{Value, json};

use super::support::TestRepo;
use super::{Run, go, head, normal, patient, supervise};

fn session(repo: &TestRepo) -> String {
    head(repo, "")
        + &patient("api", "[\"services/*.py\"]", "echo 1 > services/a.py", "phase = \"code\"\npriority = 2")
        + &patient("docs", "[\"docs/\"]", "true", "name = \"The docs\"\nreads = [\"services/\"]\nphase = \"text\"")
        + "[[phase]]\nname = \"code\"\n[[phase]]\nname = \"text\"\n"
}

fn states(document: &Value) -> Vec<(&str, Option<&str>)> {
    let agents = document["agents"].as_array().unwrap();
    agents.iter().map(|agent| (agent["id"].as_str().unwrap(), agent["state"].as_str())).collect()
}

#[test]
fn the_same_agents_are_listed_before_in_and_after_a_run() {
    let repo = TestRepo::with(&[("services/x", "")]);
    let nothing = supervise(&repo, &["list"]).expect(4);
    assert!(nothing.stderr.contains("supervise init"), "{}", nothing.stderr);
    let list = || supervise(&repo, &["list", "--format", "json"]).expect(0).json();

    std::fs::write(repo.path().join("supervise.toml"), session(&repo)).unwrap();
    let before = list();
    assert_eq!((&before["run"], &before["state"]), (&Value::Null, &Value::Null));
    assert_eq!(states(&before), [("api", None), ("docs", None)]);
    let human = supervise(&repo, &["list"]).expect(0).stdout;
    assert!(human.contains("not run yet"), "{human}");
    std::fs::remove_file(repo.path().join("supervise.toml")).unwrap();

    let run = Run::start(&repo, &session(&repo), "api");
    assert_eq!(states(&list()), [("api", Some("RUNNING")), ("docs", Some("WAITING"))]);
    insta::assert_snapshot!("the_registry", normal(&supervise(&repo, &["list"]).expect(0).stdout, &repo));
    go(&repo);
    run.finish().expect(0);
    let after = list();
    assert_eq!(states(&after), [("api", Some("COMPLETED")), ("docs", Some("COMPLETED"))]);
    assert_eq!(after["agents"][1]["reads"], json!(["services/"]));
    let same = |key: &str| assert_eq!(before["agents"][0][key], after["agents"][0][key], "{key}");
    ["id", "name", "phase", "priority", "runner", "files", "late", "reads", "depends_on"].into_iter().for_each(same);
    let named = supervise(&repo, &["list", "--run", after["run"].as_str().unwrap(), "--format", "json"]).expect(0);
    assert_eq!(named.json(), after);
}
