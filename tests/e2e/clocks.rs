//! What the supervisor believes of time: a wall clock that is set forwards or backwards while a run goes on and
//! between its supervisor's death and its resumption, and a machine that was started anew between the two.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use crate::support::{Ended, TestRepo, eventually, finish, run_dir, signal};
use crate::within::inside;

const PATIENCE: Duration = Duration::from_secs(30);
const HOUR: i64 = 3600;

/// Shifts the wall clock of a program by as many seconds as a file says (clock_gettime(2); the monotonic one goes on).
const SHIFT: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t id, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(id, at);
    const char *path = getenv("TEST_CLOCK_SHIFT");
    if (id == CLOCK_REALTIME && path) {
        char text[32] = {0};
        int file = open(path, O_RDONLY | O_CLOEXEC);
        if (file >= 0) {
            if (read(file, text, sizeof text - 1) > 0) at->tv_sec += atol(text);
            close(file);
        }
    }
    return result;
}
"#;

/// A wall clock that can be set.
struct Wall {
    library: PathBuf,
    shift: PathBuf,
}

impl Wall {
    fn of(repo: &TestRepo) -> Self {
        let (library, shift) = (repo.tmp().join("shift.so"), repo.tmp().join("shift"));
        let source = repo.tmp().join("shift.c");
        std::fs::write(&source, SHIFT).unwrap();
        let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).arg("-ldl").status();
        assert!(built.unwrap().success(), "a C compiler is there");
        let wall = Self { library, shift };
        wall.set(0);
        wall
    }

    fn set(&self, seconds: i64) {
        // In one step: whoever reads it meanwhile sees the old or the new.
        let beside = self.shift.with_extension("new");
        std::fs::write(&beside, seconds.to_string()).unwrap();
        std::fs::rename(&beside, &self.shift).unwrap();
    }

    fn supervise(&self, repo: &TestRepo, args: &[&str]) -> Command {
        let mut command = repo.supervise();
        command.args(args).env("LD_PRELOAD", &self.library).env("TEST_CLOCK_SHIFT", &self.shift);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        command
    }

    fn start(&self, repo: &TestRepo, session: &str) -> Child {
        let path = repo.session(session);
        self.supervise(repo, &["run", path.to_str().unwrap(), "--format", "json"]).spawn().unwrap()
    }
}

/// Writes half in its first attempt, and all of it in the next; waits in between for `go`, or for its end.
fn session(repo: &TestRepo, ends: &str, more: &str) -> String {
    let tmp = repo.tmp();
    let script = format!(
        "test $SUPERVISE_ATTEMPT != 1 || {{ echo half > f; touch {0}/done; {ends}; }}; echo whole > f",
        tmp.display()
    );
    format!(
        "[session]\n{more}\n[[agent]]\nid = \"a\"\nfiles = [\"f\"]\ntimeout = \"5m\"\nidle_timeout = \"5m\"\ncommand = [\"sh\", \"-c\", '''{script}''']\n"
    )
}

fn done(repo: &TestRepo) -> bool {
    eventually(PATIENCE, || repo.tmp().join("done").exists())
}

#[test]
fn a_clock_that_is_set_ends_nobody_and_reorders_nothing() {
    for jump in [HOUR, -HOUR] {
        let repo = TestRepo::new();
        let wall = Wall::of(&repo);
        let until = format!("until test -e {}/go; do sleep 0.02; done", repo.tmp().display());
        let child = wall.start(&repo, &session(&repo, &until, "checkpoint_interval = \"1h\""));
        assert!(done(&repo));
        wall.set(jump);
        std::fs::write(repo.tmp().join("go"), "").unwrap();
        let ended = finish(child, PATIENCE).expect(0);
        let took = ended.agent("a")["duration_ms"].as_u64().unwrap();
        assert!(took < 30_000, "{took} ms: it is measured by the clock that nobody sets");
        let moments: Vec<u64> = repo.records().iter().map(|record| record["t"].as_u64().unwrap()).collect();
        assert!(moments.is_sorted(), "{moments:?}");
        assert!(*moments.last().unwrap() < 60_000, "{moments:?}");
        assert_eq!(repo.subjects(), ["feat(a): a"]);
    }
}

#[test]
fn a_clock_that_is_set_between_death_and_resumption_loses_nothing() {
    for jump in [HOUR, -HOUR] {
        let repo = TestRepo::with(&[("f", "before\n")]);
        let wall = Wall::of(&repo);
        let child = wall.start(&repo, &session(&repo, "exec sleep 1000", ""));
        assert!(done(&repo));
        signal(&child, "KILL");
        let _ = child.wait_with_output();
        repo.assert_no_survivors();
        wall.set(jump);
        let ended = Ended::of(&wall.supervise(&repo, &["resume", "--format", "json"]).output().unwrap()).expect(0);
        assert_eq!(ended.agent("a")["attempt"], 2);
        assert_eq!(repo.git(&["show", "HEAD:f"]), "whole\n", "{jump}");
        let moments: Vec<u64> = repo.records().iter().map(|record| record["t"].as_u64().unwrap()).collect();
        assert!(moments.is_sorted(), "{jump}: {moments:?}");
        let passed = *moments.last().unwrap() >= 3_600_000;
        assert_eq!(passed, jump > 0, "the time between is the wall clock's, but never less than none");
        is_kept(&repo, "half\n");
    }
}

/// What the first attempt had done is kept.
fn is_kept(repo: &TestRepo, work: &str) {
    let run = run_dir(repo).file_name().unwrap().to_string_lossy().into_owned();
    assert_eq!(repo.git(&["show", &format!("refs/supervise/attempts/{run}/a/1:f")]), work);
    assert_eq!(repo.status(), "");
}

fn mount_over(file: &Path, at: &str) {
    assert!(Command::new("mount").arg("--bind").arg(file).arg(at).status().unwrap().success(), "{at}");
}

/// A power cut: nobody wrote down how the agent ended, and the machine has another boot id. What changed before the
/// boot is the agent's; what changed after it is not.
#[test]
fn after_a_reboot_what_was_there_before_is_the_agents() {
    if !inside(&["unshare", "-r", "-m"], after_a_reboot_what_was_there_before_is_the_agents) {
        return;
    }
    for edited in [false, true] {
        let repo = TestRepo::with(&[("f", "before\n")]);
        let path = repo.session(&session(&repo, "exec sleep 1000", ""));
        let mut command = repo.supervise();
        command.arg("run").arg(path).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let child = command.spawn().unwrap();
        assert!(done(&repo));
        signal(&child, "KILL");
        let _ = child.wait_with_output();
        repo.assert_no_survivors();
        let record = run_dir(&repo).join("agents/a/1/exit.json");
        assert!(eventually(PATIENCE, || record.exists()), "its shim wrote how it ended");
        std::fs::remove_file(&record).unwrap();
        // The boot is some time after the work, in whole seconds.
        let worked = std::fs::metadata(repo.path().join("f")).unwrap().modified().unwrap();
        assert!(eventually(PATIENCE, || worked.elapsed().is_ok_and(|passed| passed > Duration::from_millis(2_100))));
        let (id, stat) = (repo.tmp().join("boot_id"), repo.tmp().join("stat"));
        std::fs::write(&id, "11111111-2222-3333-4444-555555555555\n").unwrap();
        let booted = worked.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 1;
        std::fs::write(&stat, format!("cpu 0 0 0 0\nbtime {booted}\n")).unwrap();
        mount_over(&id, "/proc/sys/kernel/random/boot_id");
        mount_over(&stat, "/proc/stat");
        if edited {
            repo.write("f", "the user's\n");
        }
        let ended = Ended::of(&repo.supervise().args(["resume", "--format", "json"]).output().unwrap());
        if edited {
            assert_eq!((ended.code, repo.read("f")), (Some(1), "the user's\n".to_owned()), "{}", ended.stderr);
            assert_eq!(ended.agent("a")["reason"]["kind"], "dirty_claim");
        } else {
            assert_eq!(ended.code, Some(0), "{}", ended.stderr);
            assert_eq!(repo.git(&["show", "HEAD:f"]), "whole\n");
            is_kept(&repo, "half\n");
        }
        for at in ["/proc/sys/kernel/random/boot_id", "/proc/stat"] {
            assert!(Command::new("umount").arg(at).status().unwrap().success(), "{at}");
        }
    }
}
