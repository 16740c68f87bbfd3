//! Agents added to a session file from the command line.

use crate::support::{Ended, TestRepo};

const SESSION: &str = "# my session\n[session]\nname = 'mine'   # odd\n\n[[agent]]\nid = \"api\"\n\
                       command = [\"sh\", \"-c\", \"mkdir -p src; echo 1 > src/api\"]\nfiles = [\"src/\"]   # all of it\n";

fn register(repo: &TestRepo, words: &[&str]) -> Ended {
    Ended::of(&repo.supervise().arg("register").args(words).output().unwrap())
}

#[test]
fn an_agent_is_added_to_a_session_file_and_runs_with_it() {
    let repo = TestRepo::with(&[("supervise.toml", SESSION)]);
    let into = ["--into", "supervise.toml"];
    let script = ["--", "sh", "-c", "mkdir -p docs && echo 1 > docs/x"];
    let words = ["--name", "API docs", "--files", "docs/", "src/api.md", "--priority", "2", "--depends-on", "api"];
    let told = register(&repo, &[&into[..], &words, &script].concat()).expect(0).stdout;
    assert_eq!(told, "api-docs added to supervise.toml, which has 2 agents now\n");
    let text = repo.read("supervise.toml");
    let added = "\n[[agent]]\nid = \"api-docs\"\nname = \"API docs\"\npriority = 2\n\
                 command = [\"sh\", \"-c\", \"mkdir -p docs && echo 1 > docs/x\"]\n\
                 files = [\"docs/\", \"src/api.md\"]\ndepends_on = [\"api\"]\n";
    assert_eq!(text, format!("{SESSION}{added}"));

    // Whom it will wait for is told at once.
    let json = register(
        &repo,
        &[&into[..], &["--name", "second", "--files", "src/api", "--format", "json", "--", "true"]].concat(),
    );
    let json = json.expect(0).json();
    assert_eq!(json["id"], "second");
    assert_eq!(json["contested"][0]["agents"], serde_json::json!(["api", "second"]));
    let human = register(&repo, &[&into[..], &["--name", "third", "--files", "src/api", "--", "true"]].concat());
    let human = human.expect(0).stdout;
    assert!(human.contains("second and third: `src/api`, as in src/api"), "{human}");
    assert!(human.contains("third has the claims of second and the same work"), "{human}");

    repo.git(&["commit", "-qam", "agents"]);
    let ended = Ended::of(&repo.supervise().args(["run", "--only", "api-docs"]).output().unwrap()).expect(0);
    assert!(ended.stderr.contains("api-docs"), "{}", ended.stderr);
    assert_eq!(repo.subjects()[1..], ["feat(api): api", "feat(api-docs): API docs"]);
}

#[test]
fn a_session_that_would_be_invalid_stays_as_it_was() {
    let repo = TestRepo::with(&[("supervise.toml", SESSION), ("broken.toml", "[[agent\n")]);
    for (words, code, said) in [
        (&["--into", "supervise.toml", "--name", "api", "--", "true"][..], 2, "duplicate_id"),
        (&["--into", "supervise.toml", "--name", "x", "--files", "../x", "--", "true"], 2, "bad_pattern"),
        (&["--into", "supervise.toml", "--name", "x", "--depends-on", "apj", "--", "true"], 2, "unknown_dependency"),
        (&["--into", "broken.toml", "--name", "x", "--", "true"], 2, "syntax"),
        (&["--into", "none.toml", "--name", "x", "--", "true"], 2, "unreadable"),
        (&["--into", "supervise.toml", "--name", "!", "--", "true"], 2, "no id can be made"),
        (&["--name", "x", "--", "true"], 2, "not said which session file"),
        (&["--into", "supervise.toml", "--name", "x"], 2, "required"),
        (&["--into", "supervise.toml", "--name", "x", "--priority", "6", "--", "true"], 2, "6 is not in 1..=5"),
    ] {
        let refused = register(&repo, words).expect(code);
        assert!(refused.stderr.contains(said), "{words:?}: {}", refused.stderr);
    }
    assert_eq!(repo.read("supervise.toml"), SESSION);
    assert_eq!(repo.status(), "");
}

/// The plan of a run is made when it opens, and that is said.
#[test]
fn a_run_that_goes_on_takes_no_new_agents() {
    let repo = TestRepo::new();
    let session =
        "[[agent]]\nid = \"a\"\ncommand = [\"sh\", \"-c\", \"until test -e ../tmp/go; do sleep 0.02; done\"]\n";
    repo.run(session, &["--detach"]).expect(0);
    let refused = register(&repo, &["--name", "x", "--", "true"]).expect(2);
    assert!(refused.stderr.contains("a run takes no new agents"), "{}", refused.stderr);
    std::fs::write(repo.tmp().join("go"), "").unwrap();
    Ended::of(&repo.supervise().arg("wait").output().unwrap()).expect(0);
}
