//! What a run leaves for CI: a JUnit file and a step summary, whatever becomes of the run.

use std::path::Path;

use crate::support::{Ended, TestRepo};

const BAD: &str = r#"
[session]
name = "ci"
[[agent]]
id = "good"
command = ["sh", "-c", "echo x > good"]
files = ["good"]
[[agent]]
id = "bad"
command = ["sh", "-c", "exit 7"]
files = ["bad"]
[[agent]]
id = "after"
command = ["true"]
needs = ["bad"]
"#;

/// Every tag is closed in order, and no character is there that XML does not have.
#[track_caller]
fn assert_well_formed(text: &str) {
    let (head, mut rest) = text.split_once("?>").unwrap();
    assert!(head.starts_with("<?xml version=\"1.0\""), "{text}");
    let mut open = Vec::new();
    while let Some((_, from)) = rest.split_once('<') {
        let (tag, after) = from.split_once('>').unwrap_or_else(|| panic!("a tag is cut off: {text}"));
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "{text}");
        } else if !tag.ends_with('/') {
            open.push(name);
        }
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        rest = after;
    }
    assert!(open.is_empty() && !text.chars().any(|c| c.is_control() && c != '\n' && c != '\t'), "{text:?}");
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

#[test]
fn a_run_is_a_test_report_and_a_summary() {
    let repo = TestRepo::new();
    let (junit, summary) = (repo.tmp().join("r.xml"), repo.tmp().join("summary.md"));
    std::fs::write(&junit, "of an earlier run").unwrap();
    std::fs::write(&summary, "before\n").unwrap();
    let mut run = repo.supervise();
    run.arg("run").arg(repo.session(BAD)).arg("--junit").arg(&junit).env("GITHUB_STEP_SUMMARY", &summary);
    Ended::of(&run.output().unwrap()).expect(1);
    let text = read(&junit);
    assert_well_formed(&text);
    assert!(text.contains("tests=\"3\" failures=\"1\" errors=\"0\" skipped=\"1\""), "{text}");
    assert!(text.contains("<failure message=\"exit code 7\" type=\"exit\">"), "{text}");
    assert!(text.contains("<skipped message=\"bad did not complete\"/>"), "{text}");
    let text = read(&summary);
    assert!(text.starts_with("before\n### supervise: ci FAILED\n"), "{text}");
    assert!(text.contains("\n| bad | FAILED |") && text.contains("| exit code 7 |"), "{text}");
    assert_eq!(repo.status(), "", "and nothing else is left");
}

#[test]
fn a_run_that_cannot_begin_is_an_error_in_the_report() {
    let repo = TestRepo::new();
    let junit = repo.tmp().join("r.xml");
    let to = junit.to_str().unwrap();
    repo.run("[[agent]]\nid = \"a<b\"\n", &["--junit", to]).expect(2);
    let text = read(&junit);
    assert_well_formed(&text);
    assert!(text.contains("errors=\"1\"") && text.contains("a&lt;b"), "{text}");
    // A place that cannot be written is told before anything starts.
    let ended = repo.run(BAD, &["--junit", "no/such/place.xml"]).expect(3);
    assert!(ended.stderr.contains("no/such/place.xml") && !repo.exists("good"), "{}", ended.stderr);
    // A summary that cannot be written fails nothing.
    let mut run = repo.supervise();
    run.arg("run").arg(repo.session(&BAD.replace("exit 7", "exit 0"))).env("GITHUB_STEP_SUMMARY", repo.tmp());
    let ended = Ended::of(&run.output().unwrap()).expect(0);
    assert!(ended.stderr.contains("the step summary cannot be written"), "{}", ended.stderr);
}
