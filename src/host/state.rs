//! What a run keeps on disk, and who may: `supervise/` in the repository's common git directory.
//!
//! Invariant: while a [`Hold`] lives, no other supervisor of this repository (in any of its
//! worktrees) has one. The lock is flock(2) on a file, so it goes with its holder whatever happens
//! to it; what the file says about the holder is for people, and for how long one waits. A run that was
//! never opened is gone when its holder is.

use std::cell::RefCell;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use rustix::event::{Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, test_kill_process};

use super::failpoint;
use super::git::Worktree;
use crate::core::ids::{AttemptId, RunId};

#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("another supervisor is running in this repository ({holder})")]
    Held { holder: String },
    #[error("cannot use {path}")]
    Io { path: PathBuf, source: io::Error },
}

impl StateError {
    /// With its cause, on one line.
    #[must_use]
    pub fn whole(&self) -> String {
        match self {
            Self::Held { .. } => self.to_string(),
            Self::Io { source, .. } => format!("{self}: {source}"),
        }
    }
}

/// The right to supervise a repository.
#[derive(Debug)]
pub struct Hold {
    root: PathBuf,
    lock: Flock<File>,
    /// The run that was made last.
    made: RefCell<Option<Made>>,
}

/// A run that may come to nothing before it is opened.
#[derive(Debug)]
struct Made {
    dir: RunDir,
    /// What `current` said before.
    before: Option<Vec<u8>>,
}

/// Tries to take the lock, those where nobody who lives is named, and the pause between two.
const LOCK_TRIES: u32 = 4;
const UNNAMED_TRIES: u32 = 200;
const LOCK_PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };

/// The most that is read of what a lock file says.
const MAX_HOLDER: usize = 512;

impl Hold {
    /// Takes the lock of the repository whose common git directory this is, and says who we are.
    /// `who` is one line: process, since when, which session.
    pub fn take(common_dir: &Path, who: &str) -> Result<Self, StateError> {
        let root = state_root(common_dir);
        make_dir(&root)?;
        let path = root.join("lock");
        let at = |source| StateError::Io { path: path.clone(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_CLOEXEC)
            .open(&path)
            .map_err(at)?;
        let mut tries = 1;
        let lock = loop {
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                // Somebody who looks whether it is held has it for a moment.
                Err((again, nix::errno::Errno::EWOULDBLOCK)) if tries < tries_against(&named(&again)) => {
                    let _ = poll(&mut [], Some(&LOCK_PAUSE));
                    tries += 1;
                    file = again;
                }
                done => break done,
            }
        };
        let lock = match lock {
            Ok(lock) => lock,
            Err((file, nix::errno::Errno::EWOULDBLOCK)) => {
                let holder = named(&file);
                let known = !holder.is_empty();
                return Err(StateError::Held {
                    holder: if known { holder } else { "it did not say which".to_owned() },
                });
            }
            Err((_, errno)) => return Err(at(errno.into())),
        };
        lock.set_len(0).map_err(at)?;
        (&*lock).write_all(format!("{who}\n").as_bytes()).map_err(at)?;
        Ok(Self { root, lock, made: RefCell::default() })
    }

    /// Makes the directory of a new run and keeps the session's text in it; `None` if a run of that
    /// name is there already. It goes again with the hold unless its journal says that it was opened.
    pub fn new_run(&self, run: &RunId, session_text: &str) -> Result<Option<RunDir>, StateError> {
        let runs = self.root.join("runs");
        make_dir(&runs)?;
        let path = runs.join(run.as_str());
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
            Err(source) => return Err(StateError::Io { path, source }),
        }
        let dir = RunDir { path, snapshot: self.root.join("orchestrator.json") };
        let current = self.root.join("current");
        *self.made.borrow_mut() = Some(Made { dir: dir.clone(), before: fs::read(&current).ok() });
        let session = dir.path.join("session.toml");
        write_private(&session, session_text.as_bytes()).map_err(|source| StateError::Io { path: session, source })?;
        replace(&current, format!("{run}\n").as_bytes()).map_err(|source| StateError::Io { path: current, source })?;
        Ok(Some(dir))
    }

    /// Takes back a run that came to nothing: the latest is the one before it.
    fn withdraw(&self) -> io::Result<()> {
        let Some(Made { dir, before }) = self.made.take().filter(|made| !made.dir.was_opened()) else { return Ok(()) };
        // First, since it makes room on a full disk; what names a run that is not there means the newest.
        fs::remove_dir_all(&dir.path)?;
        let current = self.root.join("current");
        before.map_or_else(|| fs::remove_file(&current), |text| replace(&current, &text))
    }

    /// The directory that all of this is in.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }
}

/// Whom the lock file names.
fn named(file: &File) -> String {
    let mut text = [0; MAX_HOLDER];
    let read = file.read_at(&mut text, 0).unwrap_or_default();
    String::from_utf8_lossy(&text[..read]).trim().to_owned()
}

/// How often it is tried while this one is named. If nobody is, or one that is dead, then somebody has just taken the
/// lock and will say so, or a child of the dead one has not come to its program yet (execve(2)) and will let go.
fn tries_against(holder: &str) -> u32 {
    let word = holder.strip_prefix("process ").and_then(|rest| rest.split(',').next());
    let is_dead = |pid| test_kill_process(pid) == Err(Errno::SRCH);
    let pid = word.and_then(|word| Pid::from_raw(word.parse().ok()?));
    if holder.is_empty() || pid.is_some_and(is_dead) { UNNAMED_TRIES } else { LOCK_TRIES }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Err(error) = self.withdraw() {
            tracing::warn!(%error, "the directory of a run that came to nothing could not be removed");
        }
        // An empty lock file names nobody; the lock itself goes with the descriptor.
        drop(self.lock.set_len(0));
    }
}

/// The directory of all runs' state in a repository's common git directory.
#[must_use]
pub fn state_root(common_dir: &Path) -> PathBuf {
    common_dir.join("supervise")
}

/// Does a supervisor hold the repository whose state this is? The lock is not taken away from one that
/// is about to start: it tries again (see [`Hold::take`]).
pub fn is_held(root: &Path) -> io::Result<bool> {
    let file = match File::open(root.join("lock")) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    match Flock::lock(file, FlockArg::LockSharedNonblock) {
        Ok(_) => Ok(false),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(true),
        Err((_, errno)) => Err(errno.into()),
    }
}

/// One run's directory.
#[derive(Clone, Debug)]
pub struct RunDir {
    path: PathBuf,
    snapshot: PathBuf,
}

impl RunDir {
    /// The directory of a run below [`state_root`].
    #[must_use]
    pub fn of(root: &Path, run: &RunId) -> Self {
        Self { path: root.join("runs").join(run.as_str()), snapshot: root.join("orchestrator.json") }
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.path.join("journal.jsonl")
    }

    /// What a run without a terminal prints.
    #[must_use]
    pub fn output(&self) -> PathBuf {
        self.path.join("run.log")
    }

    /// What the records of the journal are applied to.
    #[must_use]
    pub fn plan(&self) -> PathBuf {
        self.path.join("plan.json")
    }

    /// How the run's agents are launched.
    #[must_use]
    pub fn launches(&self) -> PathBuf {
        self.path.join("launch.json")
    }

    /// Remembers the options that chose the run's agents and settings, the session file that it was begun from, and
    /// the run that it tries again. A file that is there without its options is of an older version.
    pub fn keep_origin(&self, options: &[String], session: Option<&Path>, earlier: Option<&RunId>) -> io::Result<()> {
        let options: String = options.iter().flat_map(|option| [option, "\0"]).collect();
        write_private(&self.path.join("options"), options.as_bytes())?;
        if let Some(session) = session {
            write_private(&self.path.join("origin"), session.as_os_str().as_bytes())?;
        }
        earlier.map_or(Ok(()), |run| write_private(&self.path.join("retries"), run.as_str().as_bytes()))
    }

    /// Remembers the working tree that the run is in.
    pub fn keep_worktree(&self, worktree: &Worktree) -> Result<(), StateError> {
        let path = self.path.join("worktree");
        write_private(&path, &worktree.to_bytes()).map_err(|source| StateError::Io { path, source })
    }

    /// The working tree that the run is in; `None`: an older version began it, and did not say.
    #[must_use]
    pub fn worktree(&self) -> Option<Worktree> {
        Worktree::from_bytes(&fs::read(self.path.join("worktree")).ok()?)
    }

    /// The session file that the run was begun from, where that is known.
    #[must_use]
    pub fn origin(&self) -> Option<PathBuf> {
        let path = fs::read(self.path.join("origin")).ok()?;
        Some(PathBuf::from(OsString::from_vec(path)))
    }

    /// The options that chose its agents and settings, where any did and they can be read.
    pub fn options(&self) -> io::Result<Vec<String>> {
        let text = match fs::read_to_string(self.path.join("options")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            read => read?,
        };
        Ok(text.split_terminator('\0').map(str::to_owned).collect())
    }

    /// The run whose agents it tries again.
    #[must_use]
    pub fn retries(&self) -> Option<RunId> {
        RunId::new(fs::read_to_string(self.path.join("retries")).ok()?.trim())
    }

    /// The directory of an attempt's logs, baseline and exit record. Ids hold no `/`.
    #[must_use]
    pub fn attempt(&self, id: &AttemptId) -> PathBuf {
        self.path.join("agents").join(id.agent.as_str()).join(id.attempt.to_string())
    }

    /// Does the journal hold a record after its header?
    fn was_opened(&self) -> bool {
        File::open(self.journal()).is_ok_and(|file| {
            let ends = BufReader::new(file).split(b'\n').map_while(Result::ok);
            ends.take(2).filter(|line| !line.is_empty()).count() == 2
        })
    }

    /// Does the journal end as one does that came to its end? A look at its last bytes only; what it says is
    /// checked by whoever reads it.
    #[must_use]
    pub fn seems_ended(&self) -> bool {
        self.ending().is_some()
    }

    /// The same of one that came to its end because it was interrupted.
    #[must_use]
    pub fn seems_interrupted(&self) -> bool {
        self.ending().is_some_and(|line| has(&line, br#""outcome":{"interrupted""#))
    }

    /// The last record, if it is the end of a run.
    fn ending(&self) -> Option<Vec<u8>> {
        const TAIL: u64 = 4096;
        let mut tail = Vec::new();
        let read = File::open(self.journal()).and_then(|mut file| {
            let from = file.metadata()?.len().saturating_sub(TAIL);
            file.seek(SeekFrom::Start(from))?;
            file.take(TAIL).read_to_end(&mut tail)
        });
        let last = tail.strip_suffix(b"\n").and_then(|text| text.rsplit(|byte| *byte == b'\n').next());
        last.filter(|line| read.is_ok() && has(line, br#""kind":"run_ended""#)).map(<[u8]>::to_vec)
    }

    /// Makes [`RunDir::attempt`].
    pub fn make_attempt(&self, id: &AttemptId) -> Result<PathBuf, StateError> {
        let path = self.attempt(id);
        make_dir(&path)?;
        Ok(path)
    }

    /// Replaces `orchestrator.json` in one step.
    pub fn write_snapshot(&self, text: &[u8]) -> io::Result<()> {
        replace(&self.snapshot, text)
    }
}

fn has(line: &[u8], part: &[u8]) -> bool {
    line.windows(part.len()).any(|window| window == part)
}

/// Makes a directory and what leads to it, for the owner alone.
fn make_dir(path: &Path) -> Result<(), StateError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| StateError::Io { path: path.to_owned(), source })
}

/// Writes a new file for the owner alone.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?.write_all(bytes)
}

/// Writes beside `path`, then renames over it: readers see the old or the new, never a part.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    write_private(&beside, bytes)?;
    failpoint::around(|| fs::rename(&beside, path))
}

/// The same for what has to be on the disk, with its name, before anything is done.
pub(super) fn replace_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    write_private(&beside, bytes)?;
    File::open(&beside)?.sync_all()?;
    failpoint::around(|| fs::rename(&beside, path))?;
    path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_supervisor_a_repository() {
        let dir = tempfile::tempdir().unwrap();
        let first = Hold::take(dir.path(), "pid 1, session a").unwrap();
        let second = Hold::take(dir.path(), "pid 2").unwrap_err();
        assert!(second.to_string().contains("pid 1, session a"), "{second}");
        assert!(is_held(&state_root(dir.path())).unwrap());
        drop(first);
        assert!(!is_held(&state_root(dir.path())).unwrap());
        Hold::take(dir.path(), "pid 3").unwrap();
    }

    /// Who has the lock says so soon, or is about to let go of it.
    #[test]
    fn who_finds_nobody_named_looks_again() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        assert_eq!(tries_against("process 1, since then, session b"), LOCK_TRIES);
        for before in [String::new(), format!("process {}, since then, session a", child.id())] {
            assert_eq!(tries_against(&before), UNNAMED_TRIES);
            let dir = tempfile::tempdir().unwrap();
            let first = Hold::take(dir.path(), &before).unwrap();
            let rest = std::thread::scope(|scope| {
                let second = scope.spawn(|| Hold::take(dir.path(), "x").unwrap_err().to_string());
                fs::write(first.root().join("lock"), "process 1, since then, session b").unwrap();
                second.join().unwrap()
            });
            assert!(rest.contains("process 1, since then, session b"), "{rest}");
            fs::write(first.root().join("lock"), &before).unwrap();
            std::thread::scope(|scope| {
                let second = scope.spawn(|| Hold::take(dir.path(), "x"));
                drop(first);
                second.join().unwrap().unwrap();
            });
        }
    }

    #[test]
    fn a_run_keeps_its_session_and_is_private() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let hold = Hold::take(dir.path(), "x").unwrap();
        let run = RunId::new("20260101T000000-0001").unwrap();
        let run_dir = hold.new_run(&run, "[session]\n").unwrap().unwrap();
        assert!(hold.new_run(&run, "").unwrap().is_none());
        assert_eq!(fs::read_to_string(run_dir.path().join("session.toml")).unwrap(), "[session]\n");
        assert_eq!(fs::read_to_string(hold.root().join("current")).unwrap(), "20260101T000000-0001\n");
        assert_eq!(fs::metadata(run_dir.path()).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_run_that_was_never_opened_goes_with_its_holder() {
        let dir = tempfile::tempdir().unwrap();
        let root = state_root(dir.path());
        let begin = |run: &str, journal: Option<&str>| {
            let hold = Hold::take(dir.path(), "x").unwrap();
            let made = hold.new_run(&RunId::new(run).unwrap(), "").unwrap().unwrap();
            if let Some(text) = journal {
                fs::write(made.journal(), text).unwrap();
            }
            drop(hold);
            (made.path().exists(), fs::read_to_string(root.join("current")).ok())
        };
        assert_eq!(begin("20260101T000000-0001", None), (false, None));
        let first = Some("20260101T000000-0002\n".to_owned());
        assert_eq!(begin("20260101T000000-0002", Some("header\nopened\n")), (true, first.clone()));
        assert_eq!(begin("20260101T000000-0003", None), (false, first.clone()));
        assert_eq!(begin("20260101T000000-0004", Some("header\n")), (false, first));
    }
}
