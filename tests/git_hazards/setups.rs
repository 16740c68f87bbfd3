//! Repositories that are set up in every other way: what is checked out and how, what changes bytes on
//! their way, what is run for a commit, and where the git directory lies.

use std::path::{Path, PathBuf};

use crate::scene::{Actor, Scene};
use crate::support::{Ended, TestRepo, executable, with_input};

/// Somebody who commits beside the agents.
fn commits(user: &Scene) {
    std::fs::write(user.root().join("user.txt"), "user\n").unwrap();
    user.git(&["add", "user.txt"]);
    user.git(&["commit", "-qm", "user", "--", "user.txt"]);
}

/// The four agents of `scene` come to the ends that they come to in a plain repository, with a user who commits.
#[track_caller]
fn as_anywhere(scene: &Scene) {
    let outcome = scene.run(commits);
    outcome.exits(1).completed(&["midway", "verified", "later"]).failed("failing", "exit");
}

/// What has to be there for those four.
fn files(extension: &str) -> Vec<(String, &'static str)> {
    ["midway", "failing", "verified", "later"].map(|id| (format!("{id}.{extension}"), "1\n")).to_vec()
}

fn repo_with(extension: &str, more: &[(&str, &str)]) -> TestRepo {
    let files = files(extension);
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
    TestRepo::with(&[files.as_slice(), more].concat())
}

/// Where the oracle takes a directory for the user's, and not for one that was forgotten.
fn linked(repo: &TestRepo) -> PathBuf {
    repo.tmp().join("linked")
}

#[test]
fn a_sparse_checkout_stays_sparse() {
    for words in [&["set", "--cone"][..], &["set", "--cone", "--sparse-index"], &["set", "--no-cone", "/*", "!/out/"]] {
        let repo = repo_with("txt", &[("in/a", "1\n"), ("out/b", "1\n"), ("out/deep/c", "1\n")]);
        let set = ["sparse-checkout"].iter().chain(words).chain(words.contains(&"--cone").then_some(&"in"));
        repo.git(&set.copied().collect::<Vec<_>>());
        assert!(!repo.exists("out/b"), "{words:?}");
        let scene = Scene::of(repo).with_agents("txt");
        as_anywhere(&scene);
        assert_eq!(scene.git(&["ls-files", "-t", "out"]), "S out/b\nS out/deep/c\n");
        assert!(!scene.repo.exists("out/b"));
        assert_eq!(scene.git(&["show", "HEAD:out/deep/c"]), "1\n");
    }
}

/// Of a partial clone most objects are elsewhere; those that an agent needs to be put back are fetched.
#[test]
fn a_partial_clone_is_as_good_as_a_whole_one() {
    let repo = repo_with("txt", &[("out/b", "hole\n"), ("out/c", "filler\n")]);
    repo.git(&["config", "uploadpack.allowFilter", "true"]);
    repo.git(&["config", "uploadpack.allowAnySHA1InWant", "true"]);
    let clone = linked(&repo);
    let from = format!("file://{}", repo.path().display());
    repo.git(&["clone", "-q", "--filter=blob:none", "--sparse", &from, clone.to_str().unwrap()]);
    let at = |words: &[&str]| repo.git(&[&["-C", clone.to_str().unwrap()], words].concat());
    at(&["config", "user.name", "Tester"]);
    at(&["config", "user.email", "tester@example.invalid"]);
    assert!(at(&["rev-list", "--objects", "--missing=print", "HEAD"]).contains('?'), "something is missing");
    let scene = Scene::of(repo).at(clone.clone()).with_agents("txt");
    let scene = scene
        .with(Actor::failing("hole").writes("out/b", "by hole\n"))
        .with(Actor::at_once("fills").writes("out/c", "filled\n"));
    let outcome = scene.run(commits);
    outcome
        .exits(1)
        .completed(&["midway", "verified", "later", "fills"])
        .failed("failing", "exit")
        .failed("hole", "exit");
    assert!(!clone.join("out/b").exists());
}

/// A filter as of large files: what git has is a pointer, the content lies in a store of its own.
#[test]
fn large_files_go_through_their_filter() {
    let repo = repo_with("big", &[(".gitattributes", "*.big filter=large -text\n")]);
    let store = repo.path().join(".git/large");
    std::fs::create_dir(&store).unwrap();
    let (clean, smudge) = (repo.tmp().join("clean"), repo.tmp().join("smudge"));
    let dir = store.display();
    executable(
        &clean,
        &format!(
            "#!/bin/sh\nset -e\nt=$(mktemp {dir}/tmp.XXXXXX)\ncat > $t\nid=$(sha256sum < $t | cut -c1-64)\nmv $t {dir}/$id\necho \"pointer $id\"\n"
        ),
    );
    executable(&smudge, &format!("#!/bin/sh\nread word id\ncat {dir}/$id\n"));
    for (name, program) in [("clean", &clean), ("smudge", &smudge)] {
        repo.git(&["config", &format!("filter.large.{name}"), program.to_str().unwrap()]);
    }
    repo.git(&["config", "filter.large.required", "true"]);
    repo.git(&["add", "--renormalize", "."]);
    repo.git(&["commit", "-qm", "large"]);
    let stored = |text: &str| {
        let pointer = with_input(repo.command(&clean), text.as_bytes()).expect(0).stdout;
        assert!(pointer.starts_with("pointer "), "{pointer}");
        pointer
    };
    let write = |actor: Actor, id: &str| {
        let text = format!("by {id}\n");
        actor.writes_as(&format!("{id}.big"), &text, &stored(&text))
    };
    let actors = [
        write(Actor::midway("midway"), "midway"),
        write(Actor::failing("failing"), "failing"),
        write(Actor::verified("verified"), "verified"),
        write(Actor::after("later", "midway"), "later"),
    ];
    let scene = actors.into_iter().fold(Scene::of(repo), Scene::with);
    as_anywhere(&scene);
    assert_eq!(scene.repo.read("failing.big"), "1\n", "put back byte for byte");
    assert_eq!(scene.git(&["status", "--porcelain"]), "");
}

#[test]
fn filters_and_line_ends_are_honoured_both_ways() {
    let repo = TestRepo::new();
    let (up, down) = (repo.tmp().join("up"), repo.tmp().join("down"));
    executable(&up, "#!/bin/sh\ntr a-z A-Z\n");
    executable(&down, "#!/bin/sh\ntr A-Z a-z\n");
    repo.git(&["config", "filter.up.clean", up.to_str().unwrap()]);
    repo.git(&["config", "filter.up.smudge", down.to_str().unwrap()]);
    repo.git(&["config", "filter.up.required", "true"]);
    repo.git(&["config", "core.autocrlf", "true"]);
    repo.write(".gitattributes", "*.up filter=up -text\n");
    for (path, text) in [("done.up", "old\n"), ("bad.up", "old\n"), ("done.txt", "old\r\n"), ("bad.txt", "old\r\n")] {
        repo.write(path, text);
    }
    repo.git(&["add", "-A"]);
    repo.git(&["commit", "-qm", "begin"]);
    let both = |actor: Actor, id: &str| {
        let actor = actor.writes_as(&format!("{id}.up"), "new\n", "NEW\n");
        actor.writes_as(&format!("{id}.txt"), "new\r\n", "new\n")
    };
    let scene = Scene::of(repo).with(both(Actor::midway("done"), "done")).with(both(Actor::failing("bad"), "bad"));
    scene.run(commits).exits(1).completed(&["done"]).failed("bad", "exit");
    assert_eq!((scene.repo.read("bad.up"), scene.repo.read("bad.txt")), ("old\n".to_owned(), "old\r\n".to_owned()));
    assert_eq!(scene.git(&["status", "--porcelain"]), "");
}

#[test]
fn commits_are_signed_with_a_real_key() {
    let repo = repo_with("txt", &[]);
    let key = repo.tmp().join("key");
    let made = repo.command("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).output();
    if !made.is_ok_and(|made| made.status.success()) {
        return eprintln!("not tried: there is no ssh-keygen");
    }
    let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
    let signers = repo.tmp().join("signers");
    std::fs::write(&signers, format!("tester@example.invalid {public}")).unwrap();
    for (name, value) in [
        ("gpg.format", "ssh"),
        ("user.signingKey", key.to_str().unwrap()),
        ("gpg.ssh.allowedSignersFile", signers.to_str().unwrap()),
        ("commit.gpgSign", "true"),
    ] {
        repo.git(&["config", name, value]);
    }
    let scene = Scene::of(repo).with_agents("txt");
    as_anywhere(&scene);
    let verdicts = scene.git(&["log", "--format=%G? %s", "-4"]);
    assert_eq!(verdicts.lines().filter(|line| line.starts_with("G ")).count(), 4, "{verdicts}");
}

#[test]
fn a_failure_to_sign_loses_nothing() {
    let repo = repo_with("txt", &[]);
    let gpg = repo.tmp().join("gpg");
    executable(&gpg, "#!/bin/sh\nexit 1\n");
    repo.git(&["config", "gpg.program", gpg.to_str().unwrap()]);
    repo.git(&["config", "commit.gpgSign", "true"]);
    let actor = |actor: Actor, id: &str| actor.writes(&format!("{id}.txt"), "agent\n");
    let scene = Scene::of(repo)
        .with(actor(Actor::midway("midway"), "midway"))
        .with(actor(Actor::failing("failing"), "failing"));
    scene.run(|_| {}).exits(1).failed("midway", "git").failed("failing", "exit");
}

#[test]
fn hooks_run_apart_when_asked_for_and_are_named_when_not() {
    let scene = |header: &str| {
        let repo =
            TestRepo::with(&[("good.txt", "1\n"), ("bad.txt", "1\n"), ("changed.txt", "1\n"), ("user.txt", "1\n")]);
        // Of what an agent commits alone: whoever sees more, say what the user has staged, refuses.
        let hook = "#!/bin/sh\ntest \"$(git diff --cached --name-only | wc -l)\" = 1 || { echo too much; exit 1; }\n\
                    if git diff --cached --name-only | grep -q bad; then echo no bad please; exit 1; fi\n\
                    if grep -q agent changed.txt; then echo more >> changed.txt; fi\n";
        executable(&repo.path().join(".git/hooks/pre-commit"), hook);
        let actor = |id: &str| Actor::midway(id).writes(&format!("{id}.txt"), "agent\n");
        Scene::of(repo).header(header).with(actor("good")).with(actor("bad")).with(actor("changed"))
    };
    let stages = |user: &Scene| {
        user.repo.write("user.txt", "staged\n");
        user.git(&["add", "user.txt"]);
    };
    let asked = scene("git_hooks = \"run\"");
    let outcome = asked.run(stages);
    outcome.exits(1).completed(&["good"]).failed("bad", "hook").failed("changed", "hook");
    for (id, word) in [("bad", "no bad please"), ("changed", "changed files")] {
        let agent = outcome.ended.agent(id);
        assert!(agent["reason"]["text"].as_str().unwrap().contains(word), "{id}");
        assert_eq!(asked.repo.read(&format!("{id}.txt")), "1\n", "{id}");
    }
    let outcome = scene("").run(stages);
    outcome.exits(0).completed(&["good", "bad", "changed"]);
    assert!(outcome.ended.stderr.contains("commit hooks are not run (pre-commit)"), "{}", outcome.ended.stderr);
}

/// Also where git was told that names differ by more than their case, as it is where a repository comes from elsewhere.
#[test]
fn renames_of_the_case_alone_are_renames() {
    for ignores in ["false", "true"] {
        let repo = TestRepo::with(&[("Readme.md", "one\n"), ("Dir/File", "two\n"), ("Bad.md", "three\n")]);
        repo.git(&["config", "core.ignoreCase", ignores]);
        let scene = Scene::of(repo)
            .with(Actor::midway("top").removes("Readme.md").writes("README.md", "one\n"))
            .with(Actor::verified("deep").removes("Dir/File").writes("Dir/file", "two\n"))
            .with(Actor::failing("bad").removes("Bad.md").writes("BAD.md", "three\n"));
        scene.run(commits).exits(1).completed(&["top", "deep"]).failed("bad", "exit");
        assert_eq!(scene.git(&["ls-tree", "-r", "--name-only", "HEAD"]), "Bad.md\nDir/file\nREADME.md\nuser.txt\n");
        assert_eq!(scene.git(&["ls-files"]), "Bad.md\nDir/file\nREADME.md\nuser.txt\n");
        assert!(scene.repo.exists("Bad.md") && !scene.repo.exists("BAD.md"));
        assert_eq!(scene.git(&["status", "--porcelain"]), "", "core.ignoreCase {ignores}");
    }
}

fn add_submodule(repo: &TestRepo, from: &Path, at: &str) {
    repo.git(&["-c", "protocol.file.allow=always", "submodule", "add", "-q", from.to_str().unwrap(), at]);
    repo.git(&["commit", "-qm", "submodule"]);
    let sub = repo.path().join(at);
    for (name, value) in [("user.name", "Tester"), ("user.email", "tester@example.invalid")] {
        repo.git(&["-C", sub.to_str().unwrap(), "config", name, value]);
    }
}

#[test]
fn a_submodule_that_the_user_moves_on_is_the_users() {
    let inner = TestRepo::with(&[("f", "1\n")]);
    let repo = repo_with("txt", &[]);
    add_submodule(&repo, &inner.path(), "sub");
    let scene = Scene::of(repo).with_agents("txt");
    let outcome = scene.run(|user| {
        user.repo.write("sub/f", "2\n");
        user.git(&["-C", "sub", "commit", "-qam", "inside"]);
        user.git(&["add", "sub"]);
        user.repo.write("sub/f", "3\n");
    });
    outcome.exits(1).completed(&["midway", "verified", "later"]).failed("failing", "exit");
    assert_eq!(scene.git(&["diff", "--cached", "--name-only"]), "sub\n", "still staged");
}

#[test]
fn repositories_within_are_reported_with_their_agent_and_not_descended_into() {
    let inner = TestRepo::with(&[("f", "1\n")]);
    let repo = TestRepo::new();
    add_submodule(&repo, &inner.path(), "d/sub");
    let before = repo.git(&["rev-parse", "HEAD:d/sub"]);
    let script = "echo x > d/a; cd d; echo 2 > sub/f; git -C sub -c user.name=x -c user.email=x commit -qam in; \
                  git init -q nest; echo 1 > nest/f";
    let session = format!("[[agent]]\nid = \"a\"\ncommand = [\"sh\", \"-c\", '''{script}''']\nfiles = [\"d/\"]\n");
    // The gate lets no agent write a submodule's git directory.
    let ended = repo.run(&session, &["--no-gate"]).expect(0);
    assert_eq!(repo.files_of("feat(a): a"), ["d/a"]);
    assert_eq!(repo.git(&["rev-parse", "HEAD:d/sub"]), before);
    assert!(ended.stdout.contains("in the tree, not committed: d/nest, d/sub"), "{}", ended.stdout);
    assert!(!ended.stdout.contains("by nobody"), "{}", ended.stdout);
    assert!(ended.stderr.contains("1 file: git show"), "{}", ended.stderr);
}

#[test]
fn a_submodule_is_a_repository_of_its_own() {
    let inner = repo_with("txt", &[]);
    let repo = TestRepo::new();
    add_submodule(&repo, &inner.path(), "sub");
    let root = repo.path().join("sub");
    assert!(root.join(".git").is_file());
    repo.git(&["-C", root.to_str().unwrap(), "switch", "-q", "-C", "main"]);
    as_anywhere(&Scene::of(repo).at(root).with_agents("txt"));
}

#[test]
fn a_git_file_leads_to_the_repository() {
    let repo = repo_with("txt", &[]);
    let elsewhere = linked(&repo);
    repo.git(&["init", "-q", &format!("--separate-git-dir={}", elsewhere.display())]);
    assert!(repo.path().join(".git").is_file());
    let scene = Scene::of(repo).with_agents("txt");
    as_anywhere(&scene);
    assert!(elsewhere.join("supervise/current").exists());
}

#[test]
fn a_linked_worktree_shares_the_one_supervisor() {
    let repo = repo_with("txt", &[]);
    let linked = linked(&repo);
    repo.git(&["worktree", "add", "-q", linked.to_str().unwrap(), "-b", "other"]);
    let scene = Scene::of(repo).at(linked).with_agents("txt");
    let outcome = scene.run(|user| {
        let session = user.repo.session("[[agent]]\nid = \"x\"\ncommand = [\"true\"]\n");
        let second = Ended::of(&user.repo.supervise().arg("run").arg(session).output().unwrap()).expect(3);
        assert!(second.stderr.contains("another supervisor is running"), "{}", second.stderr);
        // And the other worktree is worked in.
        user.repo.write("user.txt", "user\n");
        user.repo.git(&["add", "user.txt"]);
        user.repo.git(&["commit", "-qm", "in the first worktree"]);
    });
    outcome.exits(1).completed(&["midway", "verified", "later"]).failed("failing", "exit");
    assert_eq!(scene.repo.git(&["log", "--format=%s", "main"]), "in the first worktree\nbegin\n");
    assert!(scene.repo.exists(".git/supervise/current") && !scene.root().join("supervise").exists());
}

/// The user removes a worktree that has nothing to do with the run, and prunes what is left of others.
#[test]
fn worktrees_come_and_go() {
    let repo = repo_with("txt", &[]);
    let linked = linked(&repo);
    let scene = Scene::of(repo).with_agents("txt");
    let outcome = scene.run(|user| {
        user.git(&["worktree", "add", "-q", linked.to_str().unwrap(), "-b", "other"]);
        std::fs::remove_dir_all(&linked).unwrap();
        user.git(&["worktree", "prune", "--expire=now"]);
    });
    outcome.exits(1).completed(&["midway", "verified", "later"]).failed("failing", "exit");
}
