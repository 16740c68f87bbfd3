//! What is told of an attempt that goes on with an earlier one.

use super::{normal, supervise, support};
use support::{TestRepo, executable};

#[test]
fn who_goes_on_and_who_begins_anew_is_told() {
    let repo = TestRepo::with(&[("f", "base\n")]);
    let codex = repo.tmp().join("codex");
    executable(
        &codex,
        "#!/bin/sh\necho '{\"type\":\"thread.started\",\"thread_id\":\"t-1\"}'\necho $SUPERVISE_ATTEMPT >> f\n\
         echo no >&2\nexit 1\n",
    );
    let session = format!(
        "[session]\nname = \"again\"\n[defaults]\nretry = \"continue\"\nretries = 1\n\
         [runner.codex]\ncommand = [{codex:?}]\n\
         [[agent]]\nid = \"thread\"\nprompt = \"p\"\nfiles = [\"f\"]\n\
         [[agent]]\nid = \"none\"\ncommand = [\"false\"]\n"
    );
    repo.run(&session, &[]).expect(1);
    let told = |args: &[&str]| normal(&supervise(&repo, args).expect(0).stdout, &repo);
    let lines = told(&["timeline"]);
    let wanted = |line: &&str| ["continues", "anew", "retry"].iter().any(|word| line.contains(word));
    let lines: Vec<&str> = lines.lines().filter(wanted).collect();
    let mut lines: Vec<&str> = lines.into_iter().collect();
    lines.sort_unstable();
    insta::assert_snapshot!([lines.join("\n"), told(&["status", "thread"]), told(&["status", "none"])].join("\n\n"));
    assert_eq!(
        repo.git(&["show", &format!("{}:f", "refs/supervise/attempts/".to_owned() + &run(&repo) + "/thread/2")]),
        "base\n1\n2\n"
    );
}

fn run(repo: &TestRepo) -> String {
    std::fs::read_to_string(repo.path().join(".git/supervise/current")).unwrap().trim().to_owned()
}
