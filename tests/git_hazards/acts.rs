//! What the user does to commits, branches and locks while agents run.

use std::fs;

use crate::scene::{Actor, Outcome, Scene};

/// Those that would complete if the user did nothing.
const WILLING: [&str; 3] = ["midway", "verified", "later"];

#[track_caller]
fn all_complete(outcome: &Outcome) {
    outcome.exits(1).completed(&WILLING).failed("failing", "exit");
}

/// What began before the user acted has failed for this reason, what began afterwards has completed.
#[track_caller]
fn only_the_later_completes(outcome: &Outcome, midway: &str, verified: &str) {
    outcome
        .exits(1)
        .failed("midway", midway)
        .failed("verified", verified)
        .failed("failing", "exit")
        .completed(&["later"]);
}

#[track_caller]
fn none_completes(outcome: &Outcome, reason: &str) {
    outcome.exits(1).failed("failing", "exit");
    for id in WILLING {
        outcome.failed(id, reason);
    }
}

#[test]
fn a_commit_beside_the_agents_is_built_upon() {
    let scene = Scene::with_all();
    all_complete(&scene.run(|user| {
        user.git(&["commit", "-qm", "what was staged"]);
        user.repo.write("user.txt", "user\n");
        user.git(&["commit", "-qm", "one path", "--", "user.txt"]);
    }));
    assert_eq!(scene.git(&["show", "HEAD:user.txt"]), "user\n");
}

/// `commit -a` takes what agents have half done along: it is the user's commit then.
#[test]
fn a_commit_of_everything_is_the_users() {
    let scene = Scene::with_all();
    let outcome = scene.run(|user| {
        user.git(&["commit", "-qam", "all that is there"]);
    });
    only_the_later_completes(&outcome, "changed_underneath", "changed_underneath");
    assert_eq!(scene.git(&["show", "HEAD~1:midway.txt"]), "by midway\n");
}

#[test]
fn an_amended_commit_stays_amended() {
    let scene = Scene::with_all();
    let outcome = scene.run(|user| {
        user.git(&["commit", "-q", "--amend", "-m", "amended"]);
    });
    only_the_later_completes(&outcome, "branch_moved", "branch_moved");
    assert_eq!(scene.git(&["log", "-1", "--skip=1", "--format=%s"]), "amended\n");
}

/// Git puts everything aside meanwhile, the agents' files too, and back again.
#[test]
fn a_rebase_keeps_what_it_put_aside() {
    let scene = Scene::with_all();
    let begin = scene.git(&["rev-parse", "HEAD~1"]);
    let tree = scene.git(&["rev-parse", "HEAD~1^{tree}"]);
    let side = scene.git(&["commit-tree", "-p", begin.trim(), "-m", "side", tree.trim()]);
    let outcome = scene.run(|user| {
        user.git(&["rebase", "-q", "--autostash", side.trim()]);
    });
    only_the_later_completes(&outcome, "outside_edit", "branch_moved");
    assert_eq!(scene.git(&["log", "--format=%s", "--skip=1"]), "second\nside\nbegin\n");
}

#[test]
fn another_branch_gets_nothing_of_the_run() {
    for words in [&["switch", "-q", "-c", "other"][..], &["switch", "-q", "--detach"]] {
        let scene = Scene::with_all();
        none_completes(&scene.run(|user| drop(user.git(words))), "branch_moved");
        assert_eq!(scene.git(&["log", "-1", "--format=%s"]), "second\n");
    }
}

#[test]
fn a_branch_and_back_again_changes_nothing() {
    all_complete(&Scene::with_all().run(|user| {
        user.git(&["switch", "-q", "-c", "other"]);
        user.git(&["switch", "-q", "main"]);
    }));
}

/// The agents' files are in the stash then, and no longer in the tree.
#[test]
fn a_stash_takes_nothing_away_unseen() {
    for words in [&["stash", "-q"][..], &["stash", "-q", "-u"]] {
        let scene = Scene::with_all();
        let outcome = scene.run(|user| drop(user.git(words)));
        only_the_later_completes(&outcome, "outside_edit", "changed_underneath");
        assert_eq!(scene.git(&["show", "stash@{0}:midway.txt"]), "by midway\n");
        assert_eq!(scene.git(&["show", "stash@{0}:mine/unstaged"]), "unstaged\n");
    }
    all_complete(&Scene::with_all().run(|user| drop(user.git(&["stash", "push", "-q", "--", "mine"]))));
}

#[test]
fn a_stash_that_is_popped_again_leaves_all_to_be_salvaged() {
    let scene = Scene::with_all();
    let outcome = scene.run(|user| {
        user.git(&["stash", "-q", "-u"]);
        user.git(&["stash", "pop", "-q", "--index"]);
    });
    // What was frozen before is again what lies there.
    outcome.exits(1).failed("midway", "outside_edit").completed(&["verified", "later"]).failed("failing", "exit");
}

/// What was frozen before survives it, and so does what a checkpoint had kept.
#[test]
fn a_hard_reset_takes_nothing_that_was_frozen() {
    for (target, midway, verified) in
        [("HEAD", "outside_edit", "changed_underneath"), ("HEAD~1", "outside_edit", "branch_moved")]
    {
        let scene = Scene::with_all();
        let outcome = scene.run(|user| {
            let asked = user.supervise(&["checkpoint"]).output().unwrap();
            assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
            user.git(&["reset", "-q", "--hard", target]);
        });
        only_the_later_completes(&outcome, midway, verified);
        for id in ["midway", "failing", "verified"] {
            let found = scene.kept(id).iter().any(|commit| {
                scene.try_git(&["show", &format!("{commit}:{id}.txt")]).is_ok_and(|text| text == format!("by {id}\n"))
            });
            assert!(found, "the file of {id} is kept");
        }
    }
}

#[test]
fn collecting_garbage_collects_nothing_that_is_needed() {
    all_complete(&Scene::with_all().run(|user| {
        user.git(&["reflog", "expire", "--expire=now", "--all"]);
        user.git(&["gc", "-q", "--prune=now"]);
        user.git(&["pack-refs", "--all"]);
    }));
}

/// What git does not have of files that were dirty before is needed to put them back.
#[test]
fn collecting_garbage_leaves_what_puts_the_users_work_back() {
    let greedy = Actor::failing("greedy").claims("mine/");
    let greedy = greedy.removes("mine/unstaged").writes("mine/new", "agent\n").removes("mine/both");
    let scene = Scene::new().arg("--allow-dirty").with(greedy.writes("mine/staged", "agent\n"));
    let outcome = scene.run(|user| {
        user.git(&["reflog", "expire", "--expire=now", "--all"]);
        user.git(&["gc", "-q", "--prune=now"]);
    });
    outcome.failed("greedy", "exit");
    let were = [("unstaged", "unstaged\n"), ("both", "more\n"), ("new", "untracked\n"), ("staged", "staged\n")];
    for (name, text) in were {
        assert_eq!(scene.repo.read(&format!("mine/{name}")), text);
    }
}

#[test]
fn a_deleted_branch_stays_deleted() {
    let scene = Scene::with_all();
    let outcome = scene.run(|user| {
        user.git(&["switch", "-q", "--detach"]);
        user.git(&["branch", "-q", "-D", "main"]);
    });
    none_completes(&outcome, "branch_moved");
    // The branch that is checked out: git has nothing to compare with then.
    let scene = Scene::with_all();
    let outcome = scene.run(|user| drop(user.git(&["update-ref", "-d", "refs/heads/main"])));
    outcome.exits(1).failed("midway", "branch_moved").failed("verified", "branch_moved").failed("failing", "exit");
    outcome.failed("later", "dirty_claim");
}

/// Somebody else's lock is waited for, but not for ever, and never removed.
#[track_caller]
fn stays_locked(name: &str) {
    let scene = Scene::with_all();
    let lock = scene.root().join(".git").join(name);
    let outcome = scene.run(|_| fs::write(&lock, "").unwrap());
    none_completes(&outcome, "git");
    assert!(lock.exists(), "{name} is not ours to remove");
    let text = outcome.ended.agent("midway")["reason"]["text"].as_str().unwrap().to_owned();
    assert!(text.contains(name.rsplit('/').next().unwrap()), "{text}");
}

#[test]
fn a_lock_of_the_index_that_stays_costs_the_commits() {
    stays_locked("index.lock");
}

#[test]
fn a_lock_of_the_branch_that_stays_costs_the_commits() {
    stays_locked("refs/heads/main.lock");
}

/// HEAD stays what it is when its branch moves.
#[test]
fn a_lock_of_head_is_in_nobodys_way() {
    let scene = Scene::with_all();
    let lock = scene.root().join(".git/HEAD.lock");
    all_complete(&scene.run(|_| fs::write(&lock, "").unwrap()));
    assert!(lock.exists());
}

#[test]
fn a_lock_that_is_let_go_soon_costs_nothing() {
    let scene = Scene::new().with(Actor::midway("midway").writes("midway.txt", "by midway\n"));
    let lock = scene.root().join(".git/index.lock");
    let mut waiter = None;
    scene
        .run(|user| {
            fs::write(&lock, "").unwrap();
            let mut command = user.command("sh");
            command.args(["-c", "sleep 0.7; rm .git/index.lock"]);
            waiter = Some(command.spawn().unwrap());
        })
        .exits(0)
        .completed(&["midway"]);
    assert!(waiter.unwrap().wait().unwrap().success(), "it was still there");
}
