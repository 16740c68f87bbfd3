//! Running `git` where libgit2 cannot do the job: filters, signing, foreign indexes, hooks.
//!
//! Invariant: a process that was started here is gone when the call returns, its whole process group
//! after its time is up; its input and output are memory files, so nothing can block on a pipe.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::MemfdFlags;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::error::GitError;

/// The longest that one plumbing command may take; filters of large files and a person typing a
/// passphrase are within it.
const LIMIT: Duration = Duration::from_mins(2);
/// The most of a failing command's words that an error carries.
const TAIL: usize = 2000;

/// Variables of ours that would point `git` elsewhere.
const FOREIGN: [&str; 11] = [
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_CEILING_DIRECTORIES",
    "GIT_GLOB_PATHSPECS",
    "GIT_EXTERNAL_DIFF",
];

/// How to call `git` for one workspace.
#[derive(Clone, Debug)]
pub(super) struct Git {
    root: PathBuf,
    env: Vec<(&'static str, OsString)>,
}

/// What a process said and how it ended.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) status: Option<ExitStatus>,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
}

impl Output {
    /// The end of what it said, for an error.
    pub(super) fn tail(&self) -> String {
        let text = if self.stderr.is_empty() { &self.stdout } else { &self.stderr };
        let from = text.len().saturating_sub(TAIL);
        let text = String::from_utf8_lossy(&text[from..]).trim().to_owned();
        match self.status {
            None => format!("it took too long and was ended: {text}"),
            Some(status) if text.is_empty() => status.to_string(),
            Some(_) => text,
        }
    }
}

impl Git {
    pub(super) fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), env: Vec::new() }
    }

    /// The same, in another directory.
    pub(super) fn at(&self, root: &Path) -> Self {
        Self { root: root.to_owned(), env: self.env.clone() }
    }

    /// The same with one more variable in its environment.
    pub(super) fn with(&self, name: &'static str, value: impl Into<OsString>) -> Self {
        let mut other = self.clone();
        other.env.push((name, value.into()));
        other
    }

    fn command(&self, args: &[&OsStr]) -> Command {
        let mut command = Command::new("git");
        command.arg("-C").arg(&self.root).args(["-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false"]);
        command.args(args);
        clean(&mut command);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs it; its standard output. An exit code other than 0 is an error.
    pub(super) fn run<S: AsRef<OsStr>>(&self, args: &[S], input: &[u8]) -> Result<Vec<u8>, GitError> {
        let output = self.try_run(args, input)?;
        if output.status.is_some_and(|s| s.success()) {
            return Ok(output.stdout);
        }
        Err(GitError::Command { what: label(args), text: output.tail() })
    }

    /// Runs it with its standard output in `out`, for what may be too large to hold.
    pub(super) fn run_into<S: AsRef<OsStr>>(&self, args: &[S], out: &File) -> Result<(), GitError> {
        let failed = || GitError::io(format!("running `git {}`", label(args)));
        let list: Vec<&OsStr> = args.iter().map(AsRef::as_ref).collect();
        let input = memory_file().map_err(failed())?;
        let to = out.try_clone().map_err(failed())?;
        let (status, stderr) = run_between(self.command(&list), input, to, LIMIT).map_err(failed())?;
        if status.is_some_and(|s| s.success()) {
            return Ok(());
        }
        let output = Output { status, stdout: Vec::new(), stderr };
        Err(GitError::Command { what: label(args), text: output.tail() })
    }

    /// Runs it, whatever its exit code.
    pub(super) fn try_run<S: AsRef<OsStr>>(&self, args: &[S], input: &[u8]) -> Result<Output, GitError> {
        let list: Vec<&OsStr> = args.iter().map(AsRef::as_ref).collect();
        run(self.command(&list), input, LIMIT).map_err(GitError::io(format!("running `git {}`", label(args))))
    }

    /// One line of output, without its end.
    pub(super) fn line<S: AsRef<OsStr>>(&self, args: &[S]) -> Result<OsString, GitError> {
        use std::os::unix::ffi::OsStringExt;
        let mut out = self.run(args, b"")?;
        if out.last() == Some(&b'\n') {
            out.pop();
        }
        Ok(OsString::from_vec(out))
    }
}

fn label<S: AsRef<OsStr>>(args: &[S]) -> String {
    args.iter().take(2).map(|a| a.as_ref().to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// Takes away what would make `git` look elsewhere, ask, or take locks that it can do without.
pub(super) fn clean(command: &mut Command) {
    for name in FOREIGN {
        command.env_remove(name);
    }
    command.envs([
        ("GIT_OPTIONAL_LOCKS", "0"),
        ("GIT_TERMINAL_PROMPT", "0"),
        ("GIT_LITERAL_PATHSPECS", "1"),
        ("LC_ALL", "C"),
    ]);
}

/// Runs a command in a process group of its own until it ends or its time is up.
pub(super) fn run(command: Command, input: &[u8], limit: Duration) -> io::Result<Output> {
    let mut stdin = memory_file()?;
    stdin.write_all(input)?;
    stdin.seek(SeekFrom::Start(0))?;
    let mut out = memory_file()?;
    let (status, stderr) = run_between(command, stdin, out.try_clone()?, limit)?;
    Ok(Output { status, stdout: all_of(&mut out)?, stderr })
}

/// The same from one file into another; how it ended (`None`: too late) and its standard error.
fn run_between(
    mut command: Command,
    input: File,
    out: File,
    limit: Duration,
) -> io::Result<(Option<ExitStatus>, Vec<u8>)> {
    let mut err = memory_file()?;
    command.stdin(Stdio::from(input)).stdout(Stdio::from(out)).stderr(Stdio::from(err.try_clone()?));
    let mut child = command.process_group(0).spawn()?;
    let status = wait(&mut child, limit)?;
    Ok((status, all_of(&mut err)?))
}

/// A file without a name, gone when it is closed.
pub fn scratch_file() -> Result<File, GitError> {
    memory_file().map_err(GitError::io("making a file in memory"))
}

fn memory_file() -> io::Result<File> {
    Ok(rustix::fs::memfd_create("supervise", MemfdFlags::CLOEXEC)?.into())
}

fn all_of(file: &mut File) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.read_to_end(&mut all)?;
    Ok(all)
}

/// Waits; after `limit` the group is killed and the answer is `None`.
fn wait(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let pid = Pid::from_child(child);
    let fd = pidfd_open(pid, PidfdFlags::empty())?;
    let limit = Timespec { tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX), tv_nsec: 0 };
    let mut fds = [PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)];
    let ended = loop {
        match poll(&mut fds, Some(&limit)) {
            Ok(n) => break n > 0,
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    };
    // Also when the leader ended by itself: what it left in its group is not wanted.
    let _ = kill_process_group(pid, Signal::KILL);
    let status = child.wait()?;
    Ok(ended.then_some(status))
}
