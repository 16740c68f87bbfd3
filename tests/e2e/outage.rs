//! Disks that are full or read-only, while a run goes on and before it is taken up again: real file systems, mounted
//! in a namespace of the test's own. Each time the work is still there, what is said names the place and the way
//! out, and once there is space `supervise resume` finishes the run.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use crate::support::{Ended, TestRepo, eventually, finish, run_dir, signal, text};
use crate::within::inside;

const PATIENCE: Duration = Duration::from_secs(30);
const A_NAMESPACE: [&str; 3] = ["unshare", "-r", "-m"];

/// Something mounted, until it is dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn mount(args: &[&str], at: &Path) -> Self {
        let status = Command::new("mount").args(args).arg(at).status().unwrap();
        assert!(status.success(), "mount {args:?} {}", at.display());
        Self(at.to_owned())
    }

    /// A file system of this size, which holds what the directory held.
    fn small(at: &Path, size: &str) -> Self {
        std::fs::create_dir_all(at).unwrap();
        let before = at.with_extension("before");
        let copy = |from: &Path, to: &Path| {
            assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
        };
        copy(at, &before);
        let mounted = Self::mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "none"], at);
        copy(&before.join("."), at);
        std::fs::remove_dir_all(before).unwrap();
        mounted
    }

    /// The directory, read-only to whoever goes there from now on.
    fn read_only(at: &Path) -> Self {
        let mounted = Self::mount(&["--bind", at.to_str().unwrap()], at);
        let remounted = Command::new("mount").args(["-o", "remount,ro,bind"]).arg(at).status().unwrap();
        assert!(remounted.success());
        mounted
    }

    fn grow(&self, size: &str) {
        let grown = Command::new("mount").args(["-o", &format!("remount,size={size}")]).arg(&self.0).status().unwrap();
        assert!(grown.success());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// Takes all the space that is left.
fn fill(directory: &Path) -> PathBuf {
    let filler = directory.join("filler");
    let status = Command::new("dd")
        .args(["if=/dev/zero", "bs=4k", "status=none"])
        .arg(format!("of={}", filler.display()))
        .stderr(std::process::Stdio::null())
        .status();
    assert!(!status.unwrap().success(), "it is full");
    filler
}

/// An agent that does this, says so, and ends when it is let.
fn patient(repo: &TestRepo, work: &str) -> String {
    let tmp = repo.tmp();
    let script = format!("{work}; touch {0}/done; until test -e {0}/go; do sleep 0.02; done", tmp.display());
    format!(
        "[session]\ncheckpoint_interval = \"0s\"\n[[agent]]\nid = \"a\"\nfiles = [\"f\"]\ncommand = [\"sh\", \"-c\", '''{script}''']\n"
    )
}

fn starts(repo: &TestRepo, session: &str) -> Child {
    let child = repo.start(session, &[]);
    assert!(eventually(PATIENCE, || repo.tmp().join("done").exists()), "the agent has done its work");
    child
}

fn go(repo: &TestRepo) {
    std::fs::write(repo.tmp().join("go"), "").unwrap();
}

fn resume(repo: &TestRepo) -> Ended {
    Ended::of(&repo.supervise().arg("resume").output().unwrap())
}

/// The run was ended by the disk; what is said names this, and the way out.
fn is_ended_by(ended: Child, said: &str, repo: &TestRepo) {
    let ended = finish(ended, PATIENCE).expect(3);
    // Lines are as wide as a terminal.
    let stderr = ended.stderr.split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ");
    assert!(stderr.contains(said), "{}", ended.stderr);
    assert!(stderr.contains("everything that ran was ended"), "{}", ended.stderr);
    assert!(stderr.contains("`supervise resume` goes on with the run"), "{}", ended.stderr);
    assert_eq!(repo.read("f"), "work\n", "the work is where the agent left it");
    assert_eq!(repo.subjects(), Vec::<String>::new());
    repo.assert_no_survivors();
}

fn goes_on_to_its_end(repo: &TestRepo) {
    resume(repo).expect(0);
    assert_eq!((repo.subjects(), repo.status()), (vec!["feat(a): a".to_owned()], String::new()));
    assert_eq!(repo.git(&["show", "HEAD:f"]), "work\n");
    repo.assert_no_survivors();
}

#[test]
fn a_full_disk_ends_the_run_where_it_stands() {
    if !inside(&A_NAMESPACE, a_full_disk_ends_the_run_where_it_stands) {
        return;
    }
    let repo = TestRepo::new();
    let git = repo.path().join(".git");
    let _small = Mounted::small(&git, "6m");
    let child = starts(&repo, &patient(&repo, "echo work > f"));
    let filler = fill(&git);
    go(&repo);
    is_ended_by(child, "o space left", &repo);
    // Nor can it be taken up now, and that says so too.
    let refused = resume(&repo);
    assert_eq!(refused.code, Some(3), "{}", refused.stderr);
    assert!(refused.stderr.contains("space"), "{}", refused.stderr);
    assert_eq!(repo.read("f"), "work\n");
    std::fs::remove_file(filler).unwrap();
    goes_on_to_its_end(&repo);
}

#[test]
fn objects_that_find_no_space_end_the_run_where_it_stands() {
    if !inside(&A_NAMESPACE, objects_that_find_no_space_end_the_run_where_it_stands) {
        return;
    }
    for gate in [true, false] {
        let repo = TestRepo::with(&[("big", "1\n")]);
        let objects = Mounted::small(&repo.path().join(".git/objects"), "256k");
        let big = "head -c 1000000 /dev/urandom > big; echo work > f";
        let session = patient(&repo, big).replace("\"f\"", "\"f\", \"big\"");
        let child = repo.start(&session, if gate { &[] } else { &["--no-gate"] });
        go(&repo);
        is_ended_by(child, "No space left on device", &repo);
        let big = std::fs::metadata(repo.path().join("big")).unwrap().len();
        assert_eq!(big, 1_000_000);
        objects.grow("16m");
        goes_on_to_its_end(&repo);
        assert_eq!(repo.files_of("feat(a): a"), ["big", "f"]);
    }
}

#[test]
fn a_log_that_finds_no_space_stalls_nobody_and_is_said() {
    if !inside(&A_NAMESPACE, a_log_that_finds_no_space_stalls_nobody_and_is_said) {
        return;
    }
    let repo = TestRepo::new();
    let printer = "[[agent]]\nid = \"b\"\nfiles = [\"g\"]\ndepends_on = [\"a\"]\n\
                   command = [\"sh\", \"-c\", \"head -c 1000000 /dev/zero; echo work > g\"]\n";
    let child = starts(&repo, &[patient(&repo, "echo work > f"), printer.to_owned()].concat());
    let agents = run_dir(&repo).join("agents");
    let _small = Mounted::small(&agents, "128k");
    go(&repo);
    let ended = finish(child, PATIENCE).expect(0);
    assert_eq!(repo.subjects(), ["feat(a): a", "feat(b): b"]);
    let log = std::fs::metadata(agents.join("b/1/stdout.log")).unwrap().len();
    assert!(log < 131_072, "{log}");
    let said = ended.stderr + &ended.stdout;
    assert!(said.contains("agents/b/1/ may not be whole: exit.json found no space"), "{said}");
}

/// A limit on the size of files stops the log alone.
#[test]
fn a_log_that_cannot_grow_is_named() {
    let repo = TestRepo::new();
    let session = "[[agent]]\nid = \"b\"\nfiles = [\"g\"]\ncommand = [\"sh\", \"-c\", \"head -c 3000000 /dev/zero; echo work > g\"]\n";
    let path = repo.session(session);
    let mut command = repo.command("sh");
    // In blocks of 512 or of 1024 bytes, as the shell has it.
    command.args(["-c", "ulimit -f 2000; exec \"$0\" run \"$1\""]).arg(env!("CARGO_BIN_EXE_supervise")).arg(path);
    let ended = Ended::of(&command.output().unwrap()).expect(0);
    assert_eq!(repo.subjects(), ["feat(b): b"]);
    let said = ended.stderr + &ended.stdout;
    assert!(said.contains("agents/b/1/stdout.log is not whole") && said.contains("make space"), "{said}");
}

#[test]
fn a_git_directory_that_becomes_read_only_ends_the_run_where_it_stands() {
    if !inside(&A_NAMESPACE, a_git_directory_that_becomes_read_only_ends_the_run_where_it_stands) {
        return;
    }
    let repo = TestRepo::new();
    let git = repo.path().join(".git");
    let child = starts(&repo, &patient(&repo, "echo work > f"));
    let read_only = Mounted::read_only(&git);
    go(&repo);
    is_ended_by(child, "Read-only file system", &repo);
    for verb in ["resume", "reset", "run"] {
        let mut command = repo.supervise();
        command.arg(verb);
        if verb == "run" {
            command.arg(repo.session(&patient(&repo, "true")));
        }
        let refused = Ended::of(&command.output().unwrap()).expect(3);
        assert!(
            refused.stderr.contains("Read-only file system") && refused.stderr.contains(".git/supervise"),
            "{verb}: {}",
            refused.stderr
        );
        assert!(refused.stderr.contains("the git directory must be writable"), "{verb}: {}", refused.stderr);
        assert_eq!(repo.read("f"), "work\n", "{verb}");
    }
    drop(read_only);
    goes_on_to_its_end(&repo);
}

#[test]
fn what_is_to_be_put_back_waits_for_space() {
    if !inside(&A_NAMESPACE, what_is_to_be_put_back_waits_for_space) {
        return;
    }
    let repo = TestRepo::with(&[("f", "before\n")]);
    let git = repo.path().join(".git");
    let _small = Mounted::small(&git, "6m");
    let half = format!(
        "test $SUPERVISE_ATTEMPT != 1 || {{ echo half > f; touch {}/done; exec sleep 1000; }}",
        repo.tmp().display()
    );
    let child = starts(&repo, &patient(&repo, &format!("{half}; echo work > f")));
    signal(&child, "KILL");
    let _ = child.wait_with_output();
    repo.assert_no_survivors();
    let filler = fill(&git);
    let refused = resume(&repo);
    assert_eq!(refused.code, Some(3), "{}", refused.stderr);
    assert_eq!(text(&repo.path(), "f"), "half\n", "it is not put away before it is kept");
    std::fs::remove_file(filler).unwrap();
    go(&repo);
    goes_on_to_its_end(&repo);
    let run = run_dir(&repo).file_name().unwrap().to_string_lossy().into_owned();
    assert_eq!(repo.git(&["show", &format!("refs/supervise/attempts/{run}/a/1:f")]), "half\n");
}
