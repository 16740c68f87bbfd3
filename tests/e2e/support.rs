//! What tests of the whole program share: a scratch repository, the program in a cleared
//! environment, and questions about what is left on the machine.

#[path = "../support/wait.rs"]
#[expect(dead_code, reason = "shared with tests that have a runtime")]
mod wait;

use std::fs;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// A git repository with one commit, away from the user's configuration, and a mark in the
/// environment of everything that is started through it.
pub(crate) struct TestRepo {
    root: tempfile::TempDir,
    pub(crate) mark: String,
    /// Who owns it and runs everything in it, where that is not whoever runs the tests.
    user: Option<u32>,
}

/// The user and group `nobody` of every Linux.
const NOBODY: u32 = 65_534;

impl TestRepo {
    pub(crate) fn new() -> Self {
        Self::with(&[("README.md", "# test\n")])
    }

    pub(crate) fn with(files: &[(&str, &str)]) -> Self {
        Self::owned_by(None, files)
    }

    /// The same repository once for whoever runs the tests, and, where that is root, once for an
    /// ordinary user too.
    pub(crate) fn for_each_user(files: &[(&str, &str)]) -> Vec<Self> {
        let users = if nix::unistd::geteuid().is_root() { vec![None, Some(NOBODY)] } else { vec![None] };
        users.into_iter().map(|user| Self::owned_by(user, files)).collect()
    }

    /// The same in memory, where there is room for that: to make very many files takes long on some disks.
    pub(crate) fn in_memory(files: &[(&str, &str)], room: u64) -> Self {
        let shared = Path::new("/dev/shm");
        let free = nix::sys::statvfs::statvfs(shared).map_or(0, |at| at.blocks_available() * at.fragment_size());
        let parent = if free > room { shared.to_owned() } else { std::env::temp_dir() };
        Self::made_in(&parent, None, files)
    }

    fn owned_by(user: Option<u32>, files: &[(&str, &str)]) -> Self {
        Self::made_in(&std::env::temp_dir(), user, files)
    }

    fn made_in(parent: &Path, user: Option<u32>, files: &[(&str, &str)]) -> Self {
        let keep = std::env::var_os("SUPERVISE_TEST_KEEP").is_some();
        let root = tempfile::Builder::new().prefix("supervise-test-").disable_cleanup(keep).tempdir_in(parent).unwrap();
        let mark = format!("m{}", root.path().file_name().unwrap().to_string_lossy().replace(['-', '.'], "_"));
        let repo = Self { root, mark, user };
        fs::create_dir(repo.path()).unwrap();
        fs::create_dir(repo.tmp()).unwrap();
        if user.is_some() {
            // Where it was built, that user may not come.
            fs::copy(env!("CARGO_BIN_EXE_supervise"), repo.program()).unwrap();
            for path in [repo.root.path().to_owned(), repo.path(), repo.tmp()] {
                std::os::unix::fs::chown(path, user, user).unwrap();
            }
        }
        repo.git(&["init", "-q", "-b", "main"]);
        repo.git(&["config", "user.name", "Tester"]);
        repo.git(&["config", "user.email", "tester@example.invalid"]);
        for (path, text) in files {
            repo.write(path, text);
        }
        repo.git(&["add", "-A"]);
        repo.git(&["commit", "-qm", "begin"]);
        repo
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.root.path().join("work")
    }

    pub(crate) fn user(&self) -> Option<u32> {
        self.user
    }

    /// Temporary directory of everything that runs.
    pub(crate) fn tmp(&self) -> PathBuf {
        self.root.path().join("tmp")
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path().join(path);
        let parent = path.parent().unwrap();
        fs::create_dir_all(parent).unwrap();
        fs::write(&path, text).unwrap();
        if self.user.is_some() {
            let made = parent.ancestors().take_while(|directory| directory.starts_with(self.path()));
            for path in std::iter::once(path.as_path()).chain(made) {
                std::os::unix::fs::chown(path, self.user, self.user).unwrap();
            }
        }
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    pub(crate) fn exists(&self, path: &str) -> bool {
        self.path().join(path).symlink_metadata().is_ok()
    }

    /// A command in the repository and a cleared environment.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.root.path())
            .env("LC_ALL", "C.UTF-8")
            .env("TMPDIR", self.tmp())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("NO_COLOR", "1")
            .env("TEST_MARK", &self.mark)
            .stdin(Stdio::null());
        if let Some(user) = self.user {
            // As root, this gives up all other groups too.
            command.uid(user).gid(user);
            // Programs in root's home are not for everybody.
            command.env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin");
        }
        command
    }

    pub(crate) fn git(&self, args: &[&str]) -> String {
        let output = self.command("git").args(args).output().unwrap();
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Subjects of the commits since the first, oldest first.
    pub(crate) fn subjects(&self) -> Vec<String> {
        let log = self.git(&["log", "--reverse", "--format=%s"]);
        log.lines().skip(1).map(str::to_owned).collect()
    }

    /// The paths that the commit with this subject changed.
    pub(crate) fn files_of(&self, subject: &str) -> Vec<String> {
        let log = self.git(&["log", "--format=%H %s"]);
        let line = log.lines().find(|l| l.split_once(' ').is_some_and(|(_, s)| s == subject));
        let commit = line.unwrap_or_else(|| panic!("no commit {subject:?} in\n{log}")).split(' ').next().unwrap();
        let names = self.git(&["show", "--format=", "--name-only", "--no-renames", commit]);
        names.lines().map(str::to_owned).collect()
    }

    pub(crate) fn status(&self) -> String {
        self.git(&["status", "--porcelain"])
    }

    /// Writes a session file outside the working tree and gives its path.
    pub(crate) fn session(&self, text: &str) -> PathBuf {
        let path = self.root.path().join("session.toml");
        fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn supervise(&self) -> Command {
        self.command(self.program())
    }

    fn program(&self) -> PathBuf {
        match self.user {
            Some(_) => self.root.path().join("supervise"),
            None => PathBuf::from(env!("CARGO_BIN_EXE_supervise")),
        }
    }

    /// What `supervise WORDS` prints about the latest run.
    #[track_caller]
    pub(crate) fn ask(&self, words: &[&str]) -> String {
        Ended::of(&self.supervise().args(words).output().unwrap()).expect(0).stdout
    }

    /// The records of the latest run.
    pub(crate) fn records(&self) -> Vec<serde_json::Value> {
        let lines = self.ask(&["timeline", "--format", "json"]);
        lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .filter(|r: &serde_json::Value| r["kind"].is_string())
            .collect()
    }

    /// Runs the session to its end.
    pub(crate) fn run(&self, session: &str, args: &[&str]) -> Ended {
        let path = self.session(session);
        Ended::of(&self.supervise().arg("run").arg(path).args(args).output().unwrap())
    }

    /// Starts the session and leaves it running.
    pub(crate) fn start(&self, session: &str, args: &[&str]) -> Child {
        let path = self.session(session);
        let mut command = self.supervise();
        command.arg("run").arg(path).args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// Processes of this machine that were started through this repository and still live.
    pub(crate) fn survivors(&self) -> Vec<String> {
        let wanted = format!("TEST_MARK={}", self.mark);
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
            let Ok(environ) = fs::read(entry.path().join("environ")) else { continue };
            if environ.split(|b| *b == 0).any(|v| v == wanted.as_bytes()) {
                let what = fs::read(entry.path().join("cmdline")).unwrap_or_default();
                let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
                if !stat.contains(") Z ") {
                    found.push(format!("{pid} {}", String::from_utf8_lossy(&what).replace('\0', " ")));
                }
            }
        }
        found
    }

    pub(crate) fn assert_no_survivors(&self) {
        let left = eventually(Duration::from_secs(2), || self.survivors().is_empty());
        assert!(left, "processes are left: {:#?}", self.survivors());
    }
}

/// What a program left behind when it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn of(output: &Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Standard output as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {}", self.stdout))
    }

    /// The state of one agent in the JSON document.
    pub(crate) fn agent(&self, id: &str) -> serde_json::Value {
        let json = self.json();
        let agents = json["agents"].as_array().unwrap();
        agents.iter().find(|a| a["id"] == id).unwrap_or_else(|| panic!("no agent {id} in {json:#}")).clone()
    }
}

/// Waits for a condition, at most this long.
pub(crate) fn eventually(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    wait::find(limit, || condition().then_some(())).is_some()
}

/// Sends a signal by name to a child that was started here and not yet waited for.
pub(crate) fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args(["-s", name, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

/// Waits for a child, bounded, and gives what it said.
pub(crate) fn finish(child: Child, limit: Duration) -> Ended {
    let pid = child.id();
    let (done, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send(child.wait_with_output()));
    if let Ok(output) = wait.recv_timeout(limit) {
        return Ended::of(&output.unwrap());
    }
    let _ = Command::new("kill").args(["-s", "KILL", &pid.to_string()]).status();
    panic!("process {pid} did not end within {limit:?}");
}

/// Gives `bytes` to a command's standard input and waits for its end.
pub(crate) fn with_input(mut command: Command, bytes: &[u8]) -> Ended {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A program that refuses early closes its end; that is its answer to judge, not this write.
    let _ = child.stdin.take().unwrap().write_all(bytes);
    Ended::of(&child.wait_with_output().unwrap())
}

/// The directory of the newest run of a repository.
pub(crate) fn run_dir(repo: &TestRepo) -> PathBuf {
    let state = repo.path().join(".git/supervise");
    let current = fs::read_to_string(state.join("current")).unwrap();
    state.join("runs").join(current.trim())
}

/// Reads a file below `dir`, empty where it is not there.
pub(crate) fn text(dir: &Path, file: &str) -> String {
    fs::read_to_string(dir.join(file)).unwrap_or_default()
}

/// Writes a program.
pub(crate) fn executable(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}
