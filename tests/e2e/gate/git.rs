//! Git in the hands of agents: what would harm is refused, and the user's work is what it was.

use super::{agent, assert_state, heard, names, run};
use crate::support::TestRepo;

/// Everything of the repository that agents must not change.
fn picture(repo: &TestRepo) -> Vec<String> {
    let git = |args: &[&str]| repo.git(args);
    vec![
        git(&["for-each-ref"]),
        git(&["rev-parse", "HEAD"]),
        git(&["symbolic-ref", "HEAD"]),
        git(&["stash", "list"]),
        git(&["ls-files", "-s"]),
        git(&["status", "--porcelain", "--ignored"]),
        git(&["config", "--local", "--list"]),
        git(&["worktree", "list"]),
        [".env", "staged.txt", "unstaged.txt", "untracked.txt", "build/old", ".gitignore"]
            .map(|f| repo.read(f))
            .concat(),
        std::fs::read_to_string(repo.path().join(".git/HEAD")).unwrap(),
    ]
}

fn with_work() -> Vec<TestRepo> {
    let repos = TestRepo::for_each_user(&[
        ("a.txt", "a\n"),
        ("staged.txt", "1\n"),
        ("unstaged.txt", "1\n"),
        (".gitignore", ".env\nbuild/\n"),
    ]);
    for repo in &repos {
        repo.write(".env", "SECRET=1\n");
        repo.write("build/old", "old\n");
        repo.write("staged.txt", "2\n");
        repo.git(&["add", "staged.txt"]);
        repo.write("unstaged.txt", "2\n");
        repo.write("untracked.txt", "u\n");
    }
    repos
}

/// Each is run by an agent that has just changed `a.txt`, its own.
const HARMFUL: &[&str] = &[
    "git commit -am stolen",
    "git add -A",
    "git stash",
    "git stash -u",
    "git reset --hard",
    "git checkout -- .",
    "git checkout -b other",
    "git switch -c other",
    "git restore --staged .",
    "git restore .",
    "git rm -rf .",
    "git mv staged.txt moved.txt",
    "git branch other",
    "git tag other",
    "git update-ref refs/heads/other HEAD",
    "git config user.name Other",
    "git worktree add $TMPDIR/tree -b other",
    "git commit --allow-empty -m empty",
    "git merge --no-ff HEAD~0 -m merge; git commit --amend -m amended",
    "rm -rf .git",
    "mv .git .git2",
    "echo x > .git/HEAD",
    "echo x > .git/hooks/pre-commit",
    "rm -f .env",
    "echo x > .git/supervise/lock",
    "ln .git/HEAD head && echo x > head",
    "ln -sf .git g && echo x > g/HEAD",
    "python3 -c 'open(\"/proc/self/cwd/.git/HEAD\", \"w\")'",
];

#[test]
fn commands_that_would_harm_are_refused() {
    for repo in with_work() {
        let before = picture(&repo);
        let mut script = "echo mine >> a.txt\n".to_owned();
        for (number, command) in HARMFUL.iter().enumerate() {
            script += &format!("cat > $TMPDIR/harm.sh <<'END'\n{command}\nEND\ntry harm.{number} sh $TMPDIR/harm.sh\n");
        }
        script += "git status > /dev/null; git diff > /dev/null; echo more >> a.txt";
        script += "; rm -f g";
        let ended = run(&repo, "", &[agent("a", &["a.txt", "head", "g"], &script, "")]);
        assert_state(&ended, "a", "COMPLETED", None);
        for (number, command) in HARMFUL.iter().enumerate() {
            // What can be done in part fails, and does none of the harm.
            let said = heard(&repo, &format!("harm.{number}"));
            assert!(!said.ends_with("exit 0\n"), "{command}: {said}");
        }
        let denied = ended.agent("a")["denied"].to_string();
        assert!(denied.contains("a directory of git"), "{denied}");
        assert!(denied.contains(".env"), "{denied}");

        assert_eq!(repo.subjects(), ["feat(a): a"]);
        assert_eq!(repo.files_of("feat(a): a"), ["a.txt"]);
        repo.git(&["reset", "-q", "--soft", "HEAD^"]);
        repo.git(&["restore", "--staged", "--worktree", "a.txt"]);
        repo.git(&["update-ref", "-d", "ORIG_HEAD"]);
        assert_eq!(picture(&repo), before);
        repo.git(&["fsck", "--strict"]);
    }
}

/// `git clean` removes what it can, which must be nothing but what the agent made.
#[test]
fn git_clean_takes_nothing_that_was_there() {
    for repo in with_work() {
        let script = "echo mine >> a.txt; mkdir -p own/dir; echo o > own/dir/o; echo new > build/new
            try clean 'git clean -fdx'; try clean2 'git clean -fdX -e nothing'; mkdir -p own; echo n > own/n";
        let ended = run(&repo, "", &[agent("a", &["a.txt", "own/"], script, "")]);
        assert_state(&ended, "a", "COMPLETED", None);
        assert!(!heard(&repo, "clean").ends_with("exit 0\n"), "{}", heard(&repo, "clean"));
        assert_eq!((repo.read(".env"), repo.read("untracked.txt")), ("SECRET=1\n".into(), "u\n".into()));
        assert_eq!(repo.files_of("feat(a): a"), ["a.txt", "own/n"], "its own it may remove");
        assert_eq!(ended.json()["unattributed"], names(&[]));
    }
}

/// In a linked worktree git's directories lie elsewhere, and are git's all the same.
#[test]
fn the_git_directories_of_a_linked_worktree_are_protected() {
    let repo = TestRepo::with(&[("a.txt", "a\n")]);
    let tree = repo.tmp().join("tree");
    repo.git(&["worktree", "add", "-q", "-b", "work", tree.to_str().unwrap()]);
    let main = repo.path().join(".git");
    let script = format!(
        "try commit 'git commit -qam stolen'; try ref 'echo x > {0}/refs/heads/x'; try head 'echo x > {0}/worktrees/tree/HEAD'
         try file 'rm .git'; try main 'git -C {1} commit -q --allow-empty -m x'; echo mine >> a.txt",
        main.display(),
        repo.path().display()
    );
    let file = repo.session(&super::session(&repo, "", &[agent("a", &["a.txt"], &script, "")]));
    let mut command = repo.supervise();
    command.args(["run", "--format", "json", "-C"]).arg(&tree).arg(file);
    let ended = crate::support::Ended::of(&command.output().unwrap()).expect(0);
    assert_eq!(ended.json()["layers"]["gate"], true);
    for what in ["commit", "ref", "head", "file", "main"] {
        assert!(!heard(&repo, what).ends_with("exit 0\n"), "{what}: {}", heard(&repo, what));
    }
    assert_eq!(repo.git(&["log", "--format=%s", "work"]), "feat(a): a\nbegin\n");
    assert_eq!(repo.git(&["log", "--format=%s", "main"]), "begin\n");
    assert!(!main.join("refs/heads/x").exists());
}

/// A lock file that somebody else lets go of just as an agent asks for it: it fails as seen, and is not let
/// go on to succeed.
#[test]
fn a_lock_that_comes_and_goes_is_never_the_agents() {
    let repo = TestRepo::with(&[("a.txt", "a\n"), ("b.txt", "b\n")]);
    let script = "python3 - <<'END'
import errno, os, time
got = []
def grab(path):
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR))
        got.append(path)
    except OSError as e:
        assert e.errno in (errno.EEXIST, errno.EACCES), e
end = time.time() + 2
while time.time() < end:
    grab('.git/index.lock')
    grab('b.lock')
print(got[:3], file=open(os.environ['F'] + '/got', 'w'))
END
echo mine > a.txt";
    let child = super::start(&repo, "", &[agent("a", &["a.txt"], script, "deny = [\"*.lock\"]")]);
    let locks = [repo.path().join(".git/index.lock"), repo.path().join("b.lock")];
    let over = super::meeting(&repo).join("got");
    let done = crate::support::eventually(super::PATIENCE, || {
        for _ in 0..200 {
            for lock in &locks {
                // The agent's, if it were there, would be in the way.
                if std::fs::File::create_new(lock).is_ok() {
                    std::fs::remove_file(lock).unwrap();
                }
            }
        }
        over.exists()
    });
    assert!(done);
    let ended = super::finished(&repo, child);
    assert_eq!(heard(&repo, "got"), "[]\n");
    assert_state(&ended, "a", "COMPLETED", None);
    assert_eq!(repo.files_of("feat(a): a"), ["a.txt"]);
}
