//! Repositories in formats that libgit2 does not read, end to end.

use std::time::Duration;

use serde_json::json;

use crate::support::{TestRepo, eventually, finish};

/// A repository with SHA-256 and directories.
fn sha256() -> TestRepo {
    let repo = TestRepo::with(&[("a/f", "a1\n"), ("b/f", "b1\n"), ("c/d/f", "c1\n"), ("top", "t1\n")]);
    std::fs::remove_dir_all(repo.path().join(".git")).unwrap();
    repo.git(&["init", "-q", "-b", "main", "--object-format=sha256"]);
    repo.git(&["config", "user.name", "Tester"]);
    repo.git(&["config", "user.email", "tester@example.invalid"]);
    repo.git(&["add", "-A"]);
    repo.git(&["commit", "-qm", "begin"]);
    repo
}

fn sh(id: &str, script: &str) -> String {
    format!("[[agent]]\nid = \"{id}\"\ncommand = [\"sh\", \"-c\", '''{script}''']\nfiles = [\"{id}/\"]\n")
}

#[test]
fn a_repository_with_sha256_and_directories() {
    let repo = sha256();
    repo.write("b/f", "the user's\n");
    let refused = repo.run(&sh("b", "true"), &[]).expect(3);
    assert!(refused.stderr.contains("b: b/f"), "{}", refused.stderr);
    repo.git(&["checkout", "-q", "b/f"]);

    let script = "echo a2 > a/f; mkdir a/n; echo n > a/n/f; until test -e $F/go; do sleep 0.05; done";
    let place = format!("[defaults]\nenv = {{ F = {:?} }}\n", repo.tmp().to_str().unwrap());
    let session = [place, sh("a", script), sh("b", "echo b2 > b/f")].concat();
    let child = repo.start(&session, &["--format", "json"]);
    let committed = || repo.subjects() == ["feat(b): b"] && repo.exists("a/n/f");
    assert!(eventually(Duration::from_secs(30), committed), "{}", repo.ask(&["timeline"]));
    repo.write("c/d/f", "edited\n");
    std::fs::write(repo.tmp().join("go"), "").unwrap();
    let ended = finish(child, Duration::from_secs(30)).expect(0);
    assert_eq!(ended.json()["unattributed"], json!(["c/d/f"]), "{}", ended.stderr);
    assert_eq!(repo.files_of("feat(a): a"), ["a/f", "a/n/f"]);
    assert_eq!(repo.files_of("feat(b): b"), ["b/f"]);
    assert_eq!(repo.status(), " M c/d/f\n");
    repo.git(&["fsck", "--strict"]);
}
