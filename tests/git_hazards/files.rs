//! What the user does to files, claimed by agents and not, while agents run.

use std::os::unix::fs::PermissionsExt as _;

use crate::scene::{Actor, Scene};

#[test]
fn edits_beside_the_agents_are_the_users() {
    let scene = Scene::with_all();
    let outcome = scene.run(|user| {
        user.repo.write("user.txt", "edited\n");
        user.repo.write("mine/staged", "edited again\n");
        user.repo.write("mine/another", "new\n");
        user.git(&["add", "mine/another"]);
        std::fs::remove_file(user.root().join("second.txt")).unwrap();
        std::fs::set_permissions(user.root().join("mine/new"), std::fs::Permissions::from_mode(0o755)).unwrap();
    });
    outcome.exits(1).completed(&["midway", "verified", "later"]).failed("failing", "exit");
}

/// Whether the agent would complete or not, the user's version stays, committed or not.
#[test]
fn edits_of_claimed_files_are_the_users_and_win() {
    for commits in [false, true] {
        let scene = Scene::with_all();
        let outcome = scene.run(|user| {
            let paths = ["midway.txt", "failing.txt", "verified.txt"];
            for path in paths {
                user.repo.write(path, &format!("the user's {path}\n"));
            }
            if commits {
                let words = ["commit", "-qm", "user", "--"].into_iter().chain(paths);
                user.git(&words.collect::<Vec<_>>());
            }
        });
        outcome
            .exits(1)
            .failed("midway", "outside_edit")
            .failed("verified", "changed_underneath")
            .failed("failing", "exit");
        outcome.completed(&["later"]);
        for id in ["midway", "failing", "verified"] {
            assert!(!scene.repo.exists(&format!("{id}/new.txt")), "what only {id} wrote is put back");
        }
        let salvage = outcome.ended.agent("verified")["salvage"].as_str().unwrap().to_owned();
        assert!(outcome.ended.stderr.contains(&format!("its work: git show {salvage}")), "{}", outcome.ended.stderr);
    }
}

#[test]
fn removing_what_an_agent_wrote_is_an_edit_too() {
    let outcome = Scene::with_all().run(|user| {
        for path in ["midway.txt", "failing/new.txt", "verified/new.txt"] {
            std::fs::remove_file(user.root().join(path)).unwrap();
        }
    });
    outcome
        .exits(1)
        .failed("midway", "outside_edit")
        .failed("verified", "changed_underneath")
        .failed("failing", "exit");
}

#[test]
fn what_the_user_staged_meanwhile_stays_staged_and_is_told() {
    let scene = Scene::with_all();
    let outcome = scene.run(|user| {
        // The index alone: an edit of the file would be an edit from outside.
        let blob = user.repo.tmp().join("staged");
        std::fs::write(&blob, "staged\n").unwrap();
        let id = user.git(&["hash-object", "-w", blob.to_str().unwrap()]);
        user.git(&["update-index", "--cacheinfo", &format!("100644,{},midway.txt", id.trim())]);
    });
    outcome.completed(&["midway", "verified", "later"]);
    assert_eq!(scene.git(&["show", ":midway.txt"]), "staged\n");
    assert_eq!(outcome.ended.json()["unattributed"], serde_json::json!([]), "whose the entry is, is known");
    let told = "your staged version of 1 path was kept: git diff --cached";
    assert!(outcome.ended.stderr.contains(told), "{}", outcome.ended.stderr);
}

#[test]
fn an_agent_whose_tree_is_kept_is_named_with_what_it_left() {
    let scene = Scene::new().with(Actor::at_once("a").fails().writes("a", "x\n").with("on_abort = \"keep\""));
    let outcome = scene.run(|_| {});
    assert_eq!(scene.repo.read("a"), "x\n");
    assert_eq!(outcome.ended.agent("a")["in_tree"], serde_json::json!(["a"]));
    assert_eq!(outcome.ended.json()["unattributed"], serde_json::json!([]));
}

#[test]
fn what_was_dirty_before_is_kept_beside_the_commit_and_told() {
    let scene = Scene::new().arg("--allow-dirty");
    let scene =
        scene.with(Actor::at_once("a").claims("**").writes("b", "agent\n").first("echo agent >> mine/unstaged"));
    let ended = scene.repo.run(&scene.session(), &["--allow-dirty"]).expect(0);
    assert_eq!(scene.repo.files_of("feat(a): a"), ["b"]);
    assert_eq!(scene.repo.read("mine/unstaged"), "unstaged\nagent\n");
    assert!(ended.stdout.contains("in the tree, not committed: mine/unstaged"), "{}", ended.stdout);
    assert!(ended.stdout.contains("supervise salvage show a/1"), "{}", ended.stdout);
    assert!(!ended.stdout.contains("by nobody"), "{}", ended.stdout);
}
