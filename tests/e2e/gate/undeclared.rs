//! Writes that the writer did not declare and nobody else holds: `on_undeclared`, what git ignores,
//! what is left beside a claim.

use super::{agent, assert_certain, assert_state, heard, log, names, records, run, salvaged, session};
use crate::support::{Ended, TestRepo};

const FILES: &[(&str, &str)] =
    &[("a.txt", "a\n"), ("src/free.txt", "free\n"), (".gitignore", ".env\nbuild/\n*.log\n/.pytest_cache/\n")];

/// Writes its own file, then one that nobody declared.
const STRAYS: &str = "echo mine > a.txt; try stray 'echo stray >> src/free.txt'; echo more >> a.txt";

fn stray(repo: &TestRepo, policy: &str, more: &str) -> Ended {
    run(repo, "", &[agent("a", &["a.txt"], STRAYS, &format!("on_undeclared = \"{policy}\"\n{more}"))])
}

#[test]
fn deny_refuses_and_lets_the_agent_live() {
    for repo in TestRepo::for_each_user(FILES) {
        let ended = stray(&repo, "deny", "").expect(0);
        assert_state(&ended, "a", "COMPLETED", None);
        assert!(heard(&repo, "stray").contains("ermission denied"), "{}", heard(&repo, "stray"));
        assert_eq!(ended.agent("a")["denied"], names(&["src/free.txt"]));
        assert_eq!(ended.agent("a")["denials"][0]["kind"], "undeclared");
        assert_eq!(repo.files_of("feat(a): a"), ["a.txt"]);
        assert_eq!((repo.read("a.txt"), repo.read("src/free.txt")), ("mine\nmore\n".into(), "free\n".into()));
        assert_eq!(repo.status(), "");
        assert_certain(&repo, "a");
        assert_eq!(records(&repo, "outside_write"), Vec::<serde_json::Value>::new());

        // Everybody is told: the agent in its own log, people in the timeline and the report.
        let log = log(&repo, "a", 1);
        assert!(log.contains("src/free.txt") && log.contains("`files`"), "{log}");
        let timeline = repo.ask(&["timeline"]);
        let line = timeline.lines().find(|line| line.contains("denied")).unwrap_or_else(|| panic!("{timeline}"));
        assert!(line.contains("src/free.txt") && line.contains("`files`"), "{line}");
        let strays = session(&repo, "", &[agent("a", &["a.txt"], STRAYS, "")]);
        let report = repo.run(&strays, &["--strict"]).expect(5).stdout;
        let add =
            report.lines().find(|line| line.trim_start().starts_with("add ")).unwrap_or_else(|| panic!("{report}"));
        assert!(add.contains("`files` of a") && add.contains("\"src/free.txt\""), "{report}");
    }
}

#[test]
fn refusals_can_be_made_to_fail_the_agent() {
    for repo in TestRepo::for_each_user(FILES) {
        let ended = stray(&repo, "deny", "on_denied = \"fail\"").expect(1);
        assert_state(&ended, "a", "FAILED", Some("denied"));
        assert_eq!(salvaged(&repo, &ended, "a", "a.txt"), "mine\nmore\n");
        assert_eq!((repo.read("a.txt"), repo.status()), ("a\n".into(), String::new()));
    }
}

/// Whatever it says of itself.
#[test]
fn who_could_write_nothing_at_all_has_failed() {
    for repo in TestRepo::for_each_user(FILES) {
        let lost = agent("a", &["b.txt"], "echo x > a.txt; exit 0", "");
        let ended = run(&repo, "", &[lost]).expect(1);
        assert_state(&ended, "a", "FAILED", Some("all_denied"));
    }
    // One that only looked has not, though git likes to refresh its index at that.
    for repo in TestRepo::for_each_user(FILES) {
        repo.command("touch").args(["-d", "2001-01-01", "a.txt"]).status().unwrap();
        let looks = "git status; git diff; git log -1; cat a.txt";
        let session = session(&repo, "", &[agent("a", &["b.txt"], looks, "")]);
        let ended = repo.run(&session, &["--strict", "--format", "json"]).expect(0);
        assert_state(&ended, "a", "COMPLETED", Some("without_changes"));
    }
}

#[test]
fn kill_ends_the_writer_before_the_write_lands() {
    for repo in TestRepo::for_each_user(FILES) {
        let ended = stray(&repo, "kill", "").expect(1);
        assert_state(&ended, "a", "TERMINATED", Some("undeclared"));
        assert_eq!(repo.read("src/free.txt"), "free\n");
        assert_eq!(repo.read("a.txt"), "a\n", "put back");
        assert!(salvaged(&repo, &ended, "a", "a.txt").starts_with("mine\n"));
        assert_eq!((repo.subjects(), repo.status()), (Vec::new(), String::new()));
    }
}

#[test]
fn warn_allows_reports_and_does_not_commit() {
    for repo in TestRepo::for_each_user(FILES) {
        let ended = stray(&repo, "warn", "").expect(0);
        assert_state(&ended, "a", "COMPLETED", None);
        assert_eq!(heard(&repo, "stray"), "exit 0\n");
        assert_eq!(ended.agent("a")["warned"], names(&["src/free.txt"]));
        assert_eq!(ended.agent("a")["in_tree"], names(&["src/free.txt"]));
        assert_eq!(ended.json()["unattributed"], names(&[]), "it is known whose it is");
        assert_eq!(repo.files_of("feat(a): a"), ["a.txt"]);
        assert_eq!((repo.read("src/free.txt"), repo.status()), ("free\nstray\n".into(), " M src/free.txt\n".into()));
        assert!(repo.ask(&["timeline"]).contains("src/free.txt: allowed, and not committed"));
    }
}

/// An ignored file that a claim matches by chance only, and that was there before.
#[test]
fn what_is_ignored_and_allowed_with_a_warning_is_left_in_the_tree() {
    for repo in TestRepo::for_each_user(FILES) {
        repo.write("src/x.log", "old\n");
        let script = "echo n > src/n; echo new > src/x.log";
        let ended = run(&repo, "", &[agent("a", &["src/**"], script, "on_undeclared = \"warn\"")]).expect(0);
        let agent = ended.agent("a");
        let paths = ["warned", "in_tree", "writes"].map(|list| agent[list].clone());
        assert_eq!(paths, [names(&["src/x.log"]), names(&["src/x.log"]), names(&["src/n"])]);
        assert_eq!(
            (repo.files_of("feat(a): a"), repo.read("src/x.log")),
            (vec!["src/n".to_owned()], "new\n".to_owned())
        );
        assert!(ended.stderr.contains("; 1 file: git show"), "{}", ended.stderr);
    }
}

#[test]
fn claim_locks_what_is_free_and_commits_it() {
    for repo in TestRepo::for_each_user(FILES) {
        let ended = stray(&repo, "claim", "").expect(0);
        assert_state(&ended, "a", "COMPLETED", None);
        assert_eq!(repo.files_of("feat(a): a"), ["a.txt", "src/free.txt"]);
        assert_eq!((repo.read("src/free.txt"), repo.status()), ("free\nstray\n".into(), String::new()));
        assert_certain(&repo, "a");
    }
}

/// Whoever comes before it and waits for other files only has reserved it.
#[test]
fn what_somebody_waits_for_is_not_free() {
    for repo in TestRepo::for_each_user(FILES) {
        let agents = [
            agent("holder", &["b.txt"], "flag ready; await stray; echo b > b.txt", "priority = 1"),
            agent("next", &["b.txt", "src/free.txt"], "echo next >> src/free.txt", "priority = 2"),
            agent(
                "a",
                &["a.txt"],
                "await ready; try stray 'echo stray >> src/free.txt'; echo mine > a.txt",
                "on_undeclared = \"claim\"",
            ),
        ];
        let ended = run(&repo, "", &agents);
        assert!(heard(&repo, "stray").contains("ermission denied"), "{}", ended.stderr);
        assert_eq!(ended.agent("a")["denials"][0]["kind"], "reserved", "{}", ended.stderr);
        assert_eq!(repo.read("src/free.txt"), "free\nnext\n");
    }
}

/// A file that was locked by its first writer is kept as it was before that write.
#[test]
fn what_was_claimed_on_the_way_is_put_back_when_the_agent_fails() {
    for repo in TestRepo::for_each_user(FILES) {
        repo.write("notes", "the user's, not in git\n");
        let script = "echo x > notes; echo stray > src/free.txt; echo new > src/new.txt; exit 3";
        let ended = run(&repo, "", &[agent("a", &["a.txt"], script, "on_undeclared = \"claim\"")]).expect(1);
        assert_state(&ended, "a", "FAILED", Some("exit"));
        assert_eq!(repo.read("src/free.txt"), "free\n");
        assert_eq!(repo.read("notes"), "the user's, not in git\n");
        assert!(!repo.exists("src/new.txt"));
        assert_eq!(salvaged(&repo, &ended, "a", "src/new.txt"), "new\n");
    }
}

#[test]
fn ignored_files_are_free_but_for_those_that_were_there() {
    for repo in TestRepo::for_each_user(FILES) {
        repo.write(".env", "SECRET=1\n");
        repo.write("build/old", "old\n");
        let script = "echo mine > a.txt
        mkdir -p build/deep; echo o > build/deep/new; echo o > build/old; rm -rf build/deep
        echo l > run.log; rm run.log; echo l > run.log
        try env 'echo SECRET=2 > .env'; try rm 'rm -f .env'; try mv 'mv .env .env2'; try sed 'sed -i s/1/2/ .env'";
        let enforced = "on_undeclared = \"deny\"\nignored = \"enforce\"\ndepends_on = [\"a\"]";
        let agents = [
            agent("a", &["a.txt"], script, ""),
            agent("strict", &["b.txt"], "echo b > b.txt; try strict 'echo x > build/strict'", enforced),
            agent("named", &[".env"], "echo SECRET=3 > .env", "depends_on = [\"strict\"]"),
        ];
        let ended = run(&repo, "", &agents);
        assert_state(&ended, "a", "COMPLETED", None);
        for what in ["env", "rm", "mv", "sed"] {
            assert!(!heard(&repo, what).contains("exit 0"), "{what}: {}", heard(&repo, what));
        }
        assert_eq!(ended.agent("a")["denials"][0]["kind"], "protected_ignored");
        assert_eq!((repo.read("build/old"), repo.read("run.log")), ("o\n".into(), "l\n".into()));
        assert_eq!(repo.files_of("feat(a): a"), ["a.txt"]);
        assert!(heard(&repo, "strict").contains("ermission denied"));
        assert_eq!(ended.agent("strict")["denials"][0]["kind"], "ignored_enforced");
        assert_state(&ended, "named", "COMPLETED", Some("only_ignored"));
        assert_eq!(repo.read(".env"), "SECRET=3\n");
    }
}

/// A directory under the temporary name of an ignored one may be on its way to that name. It is the agent's that
/// makes it and renames it; one that was there is its owner's.
#[test]
fn directories_in_the_making_are_free_until_the_end() {
    for repo in TestRepo::for_each_user(FILES) {
        repo.write("build2024Q1/notes", "mine\n");
        let whole = "mkdir buildA1b2C3; echo x > buildA1b2C3/x; mv buildA1b2C3 build; echo new > a.txt";
        let ended = run(&repo, "", &[agent("whole", &["a.txt"], whole, "")]).expect(0);
        assert_eq!(ended.agent("whole")["denied"], names(&[]), "{}", ended.stderr);
        assert_eq!(repo.read("build/x"), "x\n");

        // As pytest makes its cache; where git does not ignore that one, this is no directory in the making.
        let cache = "d=pytest-cache-files-a_1b2c3d; mkdir $d; echo '*' > $d/.gitignore; mv $d .pytest_cache
            try inner 'mkdir src/pytest-cache-files-a_1b2c3d'; echo cached > a.txt";
        let ended = run(&repo, "", &[agent("cache", &["a.txt"], cache, "")]).expect(0);
        assert_eq!(ended.agent("cache")["denied"], names(&["src/pytest-cache-files-a_1b2c3d"]), "{}", ended.stderr);
        assert_eq!(repo.read(".pytest_cache/.gitignore"), "*\n");
        assert!(heard(&repo, "inner").contains("ermission denied"), "{}", heard(&repo, "inner"));

        let takes = "try takes 'rm -rf build2024Q1'; try adds 'echo x > build2024Q1/x'; echo newer > a.txt";
        let ended = run(&repo, "", &[agent("takes", &["a.txt"], takes, "")]).expect(0);
        assert_state(&ended, "takes", "COMPLETED", None);
        for name in ["takes", "adds"] {
            assert!(heard(&repo, name).contains("ermission denied"), "{}", heard(&repo, name));
        }

        let leaves = "mkdir buildA1b2C3; echo left > buildA1b2C3/x; echo newest > a.txt";
        let ended = run(&repo, "", &[agent("leaves", &["a.txt"], leaves, "")]).expect(1);
        assert_state(&ended, "leaves", "FAILED", Some("leftovers"));
        assert_eq!(salvaged(&repo, &ended, "leaves", "buildA1b2C3/x"), "left\n");
        assert!(!repo.exists("buildA1b2C3/x"));
        assert_eq!((repo.read("build2024Q1/notes"), repo.read("a.txt")), ("mine\n".into(), "newer\n".into()));
    }
}

/// Rules are an agent's to write where it claims them; what a user has in the tree is not.
#[test]
fn a_new_rule_takes_no_protection_from_what_was_there() {
    for repo in TestRepo::for_each_user(FILES) {
        repo.write("notes/mine", "mine\n");
        let script = "echo notes/ >> .gitignore; try takes 'rm -rf notes'; try writes 'echo x > notes/mine'";
        let ended = run(&repo, "", &[agent("a", &[".gitignore"], script, "")]).expect(0);
        assert_state(&ended, "a", "COMPLETED", None);
        for name in ["takes", "writes"] {
            assert!(heard(&repo, name).contains("ermission denied"), "{}", heard(&repo, name));
        }
        assert_eq!(repo.read("notes/mine"), "mine\n");
        assert_eq!(repo.files_of("feat(a): a"), [".gitignore"]);
    }
}

/// A new file beside a claimed one is judged at the end.
#[test]
fn what_is_left_beside_a_claim_is_judged_by_the_policy() {
    let script = "echo mine > src/free.txt; echo half > src/.tmp; echo gone > src/gone; rm src/gone";
    let left = |policy: &str| -> Vec<(TestRepo, Ended)> {
        let more = format!("on_undeclared = \"{policy}\"\nverify = \"test -e src/.tmp && : > $F/verified\"");
        let agents = [agent("a", &["src/free.txt"], script, &more)];
        let ran = |repo| {
            let ended = run(&repo, "", &agents);
            (repo, ended)
        };
        TestRepo::for_each_user(FILES).into_iter().map(ran).collect()
    };
    for (repo, ended) in ["deny", "kill"].into_iter().flat_map(&left) {
        assert_state(&ended, "a", "FAILED", Some("leftovers"));
        assert!(ended.agent("a")["reason"]["text"].as_str().unwrap().contains("src/.tmp"));
        assert_eq!(salvaged(&repo, &ended, "a", "src/.tmp"), "half\n", "all of it together");
        assert_eq!(salvaged(&repo, &ended, "a", "src/free.txt"), "mine\n");
        assert_eq!((repo.read("src/free.txt"), repo.exists("src/.tmp")), ("free\n".into(), false));
        assert_eq!(repo.status(), "");
        assert!(!super::meeting(&repo).join("verified").exists(), "judged before verify");
    }
    for (repo, ended) in left("warn") {
        assert_state(&ended, "a", "COMPLETED", None);
        assert_eq!(repo.files_of("feat(a): a"), ["src/free.txt"]);
        assert_eq!(repo.status(), "?? src/.tmp\n");
    }
    for (repo, ended) in left("claim") {
        assert_state(&ended, "a", "COMPLETED", None);
        assert_eq!(repo.files_of("feat(a): a"), ["src/.tmp", "src/free.txt"]);
        assert_eq!(repo.status(), "");
    }
}

#[test]
fn deny_comes_first_and_directories_on_the_way_are_free() {
    for repo in TestRepo::for_each_user(&[("src/a.txt", "a\n"), ("src/Cargo.lock", "l\n")]) {
        let script = "try lock 'echo x >> src/Cargo.lock'; mkdir -p new/deep/er; echo n > new/deep/er/n.txt
        try side 'mkdir side'; try beside 'echo b > new/deep/b.txt'; echo more > src/a.txt";
        let more = "deny = [\"**/*.lock\"]";
        let ended = run(&repo, "", &[agent("a", &["src/", "new/*/er/*.txt"], script, more)]).expect(0);
        let mut denied: Vec<(String, String)> = Vec::new();
        for denial in ended.agent("a")["denials"].as_array().unwrap() {
            denied.push((denial["path"].as_str().unwrap().to_owned(), denial["kind"].as_str().unwrap().to_owned()));
        }
        denied.sort();
        let expected = [("new/deep/b.txt", "undeclared"), ("side", "directory"), ("src/Cargo.lock", "deny")];
        assert_eq!(denied, expected.map(|(path, kind)| (path.to_owned(), kind.to_owned())), "{}", ended.stderr);
        assert_eq!(repo.files_of("feat(a): a"), ["new/deep/er/n.txt", "src/a.txt"]);
        assert!(!repo.exists("side"));
    }
}

/// Files that were left changed, and those that were refused; never a directory, nor what was gone by the end.
#[test]
fn what_a_claim_lacked_is_suggested() {
    let script = "mkdir -p new/deep/er; echo n > new/deep/er/n.txt
        echo tmp > src/sedX; echo b > src/a.txt~; mv src/sedX src/a.txt; rm src/a.txt~
        try env 'echo x >> .env'; for f in 1 2 3 4 5; do try $f \"echo x > $f.txt\"; done
        try odd \"echo y > 'lib/[x].txt'\"; try mode 'chmod 700 free'; try dir 'mkdir free/more'";
    let check = |files: &[&str], more: &str, expected: &str| {
        let odd = [("lib/[x].txt", "x\n"), ("free/f", "")];
        let repo = TestRepo::with(&[FILES, &odd, &[("src/a.txt", "a\n")]].concat());
        std::fs::write(repo.path().join(".env"), "secret\n").unwrap();
        let ended = run(&repo, "", &[agent("a", files, script, more)]).expect(0);
        let suggested = repo.ask(&["check", "--suggest", ended.json()["run"].as_str().unwrap()]);
        assert!(suggested.ends_with(&format!("id = \"a\"\n{expected}\n")), "{suggested}");
    };
    check(
        &["src/a.txt", "new/deep/er/n.txt"],
        "late = [\"other/unused\"]",
        "files = [\"src/a.txt\", \"new/deep/er/n.txt\", \"*.txt\", 'lib/\\[x\\].txt', \".env\"]\n\
         # declared and not written: [\"other/unused\"]",
    );
    // What it was let write and left is another matter.
    check(
        &["src/a.txt"],
        "on_undeclared = \"warn\"",
        "files = [\"src/a.txt\", \"*.txt\", 'lib/\\[x\\].txt', \"new/deep/er/n.txt\", \".env\"]",
    );
}

/// The branch has nothing of it, and no commit is shown as its own.
#[test]
fn who_changes_only_what_git_ignores_has_no_commit() {
    let repo = TestRepo::with(FILES);
    std::fs::write(repo.path().join(".env"), "secret\n").unwrap();
    let first = agent("first", &["a.txt"], "echo mine > a.txt", "");
    let second = agent("second", &[".env"], "echo mine > .env", "depends_on = [\"first\"]");
    let ended = run(&repo, "", &[first, second]).expect(0);
    assert_state(&ended, "second", "COMPLETED", Some("only_ignored"));
    assert_eq!(ended.agent("second")["commit"], serde_json::Value::Null);
    assert!(ended.agent("first")["commit"].is_string());
    assert!(ended.stderr.contains("changed only what git ignores; nothing was committed"), "{}", ended.stderr);
    assert_eq!((repo.subjects().len(), repo.read(".env")), (1, "mine\n".to_owned()));
}

/// A verify command has no claims of its own.
#[test]
fn a_verify_command_writes_only_what_git_ignores() {
    let repo = TestRepo::with(FILES);
    let verify = "verify = [\"mkdir buildA1b2C3 && echo v > buildA1b2C3/report && mv buildA1b2C3 build && echo v > v.log\", \"! echo v >> a.txt\", \"! touch new.txt\", \"! sh -c 'echo x > src/free.txt'\"]";
    let ended = run(&repo, "", &[agent("a", &["a.txt"], "echo mine > a.txt", verify)]).expect(0);
    assert_state(&ended, "a", "COMPLETED", None);
    assert_eq!(ended.agent("a")["verify"]["ok"], true);
    assert_eq!((repo.read("a.txt"), repo.read("build/report")), ("mine\n".into(), "v\n".into()));
    assert_eq!(repo.status(), "");
    let kinds: Vec<_> = records(&repo, "denied").iter().map(|record| record["part"].clone()).collect();
    assert!(!kinds.is_empty() && kinds.iter().all(|part| part == "verify"), "{kinds:?}");
}
