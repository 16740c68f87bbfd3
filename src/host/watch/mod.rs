//! The watch: inotify over the workspace. It sees every writer, also those that no gate covers, and
//! never says which one it was.
//!
//! Invariant: whatever happens in a watched directory is told as a touched path, or the epoch is raised. So a
//! caller that reads the epoch, later asks for a cookie and, when that has come back, finds the same epoch,
//! knows of every path that changed in between.
//!
//! How the known gaps of inotify(7) are closed:
//! - a new directory is watched, then listed, and what is found counts as touched; so is one that is
//!   moved in. A rename within the workspace moves its watches along, and it is listed again;
//! - an overflow of the kernel's queue, an unmount, another directory in the place of the workspace, an edit of
//!   a `.gitignore`: the epoch is raised and everything is walked again;
//! - opening and reading are not asked for: `grep -r` is no event;
//! - limits are errors that name the sysctl. Reached later they leave the watch [`Degraded`].
//!
//! Never seen: stores through a memory map until the file is closed; writes through a hard link
//! outside the workspace; a mount over a directory of it; a rename of a directory above it.
//! A directory that is bind-mounted within the workspace has one path of the two. What happens to one
//! path twice in a row with nothing between, the kernel may report once: tallies can be too low, not too high.
//!
//! It speaks to the kernel through `rustix`. The `notify` crate (8.2) always asks for opens (`grep -r` over
//! 100,000 files: 120,000 events, here none) and it knows directories by path: it cannot
//! carry a watch along with a rename, nor tell whether a directory found by listing is one it watches.
//!
//! Deliberately absent: whose write it was, and what is to be done about it (`core`); what changed (`host::git`).

mod directories;
mod events;
pub mod evidence;
mod ledger;
mod limits;
mod tree;

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use rustix::event::{EventfdFlags, eventfd};

use self::events::Reader;
use self::ledger::Ledger;
pub use self::limits::{Limit, WatchError};
use crate::core::call::Tally;
use crate::core::path::RepoPath;

/// A watch over one workspace; dropping it ends it.
#[derive(Debug)]
pub struct Watch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    ledger: Mutex<Ledger>,
    /// Readable once the reader is to end.
    stop: OwnedFd,
    cookies: PathBuf,
    /// The file that carried the last cookie.
    carrier: Mutex<Option<PathBuf>>,
}

impl Shared {
    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // No method of a ledger panics half-way.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the event of a cookie, which bears its name: one file is renamed again and again. A new one each
    /// time would cost more the more there were: ext4 does not use the inode of a removed file again for a while,
    /// and looks past all of them for the next.
    fn send_cookie(&self, cookie: u64) -> io::Result<()> {
        let path = self.cookies.join(cookie_name(cookie));
        let mut carrier = self.carrier.lock().unwrap_or_else(PoisonError::into_inner);
        let renamed = carrier.take().is_some_and(|last| fs::rename(last, &path).is_ok());
        if !renamed {
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        }
        *carrier = Some(path);
        Ok(())
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(path) = self.carrier.get_mut().unwrap_or_else(PoisonError::into_inner) {
            let _ = fs::remove_file(path);
        }
    }
}

/// What the watch says when it has something to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Paths were touched since the last [`Watch::take_touched`]; said once until that is called.
    Touched,
    /// Everything that happened before this cookie was asked for has been taken in.
    Cookie(u64),
    /// The epoch was raised.
    Gap,
}

/// Paths that something happened to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Touched {
    /// Each once, in the order of the first event.
    Paths(Vec<Seen>),
    /// There was a gap: any path may have been touched.
    Everything,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub path: RepoPath,
    /// A directory that went away under this name: so did everything beneath it, without events of its own.
    pub whole: bool,
}

/// What happened to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SeenKind {
    Modified,
    ClosedAfterWrite,
    Created,
    MovedIn,
    MovedOut,
    Deleted,
    Attributes,
    /// It was found in a directory that is new here.
    Found,
}

/// Why not everything is seen. While it lasts, no two values of [`Watch::epoch`] are equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Degraded {
    /// No more directories can be watched.
    Limit(Limit),
    /// A directory could not be watched or listed, for the first time because of this.
    Unwatched { path: PathBuf, why: String },
    /// The workspace is not there.
    Missing,
    /// The queue cannot be read any more.
    Ended,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchStats {
    /// Directories that are watched.
    pub directories: usize,
    /// Directories that should be watched and are not. What is beneath them is not known.
    pub unwatched: usize,
    /// Directories that we may not read. They raised the epoch once: neither events nor a walk show more.
    pub unreadable: usize,
    pub degraded: Option<Degraded>,
    /// Events read since the start.
    pub events: u64,
    /// How often the epoch was raised.
    pub gaps: u64,
    /// Paths with a tally, and the memory they take, in bytes.
    pub paths: usize,
    pub bytes: usize,
}

/// Unique within the process, so that two watches can share a directory.
static NEXT_COOKIE: AtomicU64 = AtomicU64::new(1);

impl Watch {
    /// Watches every directory of `workspace` that is not `ignored` (which should hold for `.git`, and is
    /// asked before a directory is watched). `cookies` is a directory of ours, made if need be, outside of what is
    /// watched. When this returns, all are watched; it does not tell of what was there before.
    ///
    /// `wake` and `ignored` are called on the reader's thread. `wake` must not block.
    pub fn start(
        workspace: &Path,
        cookies: &Path,
        ignored: impl FnMut(&RepoPath) -> bool + Send + 'static,
        wake: impl Fn(Wake) + Send + 'static,
    ) -> Result<Self, WatchError> {
        let stop = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(WatchError::queue)?;
        let (ledger, carrier) = (Mutex::new(Ledger::new()), Mutex::new(None));
        let shared = Arc::new(Shared { ledger, stop, cookies: cookies.to_owned(), carrier });
        let mut reader = Reader::new(Arc::clone(&shared), workspace, Box::new(ignored), Box::new(wake))?;
        reader.watch_cookies()?;
        reader.first_walk()?;
        let run = move || reader.run();
        let thread = thread::Builder::new().name("watch".to_owned()).spawn(run).map_err(WatchError::Thread)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Asks for a [`Wake::Cookie`] with the returned number, which comes when everything that happened before this
    /// call has been taken in; after a gap, when the walk that followed has ended. It never comes when the
    /// watch has ended meanwhile, so wait with a bound.
    pub fn cookie(&self) -> io::Result<u64> {
        let cookie = NEXT_COOKIE.fetch_add(1, Ordering::Relaxed);
        {
            let mut ledger = self.shared.ledger();
            if ledger.degraded() == Some(&Degraded::Ended) {
                return Err(io::Error::other("the watch has ended"));
            }
            ledger.expect_cookie(cookie);
        }
        match self.shared.send_cookie(cookie) {
            Ok(()) => Ok(cookie),
            // A gap may have answered it while the file was tried: then it is answered.
            Err(_) if !self.shared.ledger().forget_cookie(cookie) => Ok(cookie),
            Err(error) => Err(error),
        }
    }

    /// What was seen of each of `paths` since the start, or since the last time the epoch was raised for want of
    /// memory.
    pub fn tallies(&self, paths: &[RepoPath]) -> Vec<Tally> {
        self.shared.ledger().tallies(paths)
    }

    /// What was touched since the last call.
    pub fn take_touched(&self) -> Touched {
        self.shared.ledger().take()
    }

    /// Raised by every gap. Two equal values mean that everything in between was seen; while that cannot
    /// be said (during the walk after a gap, or [`Degraded`]), every call returns another value.
    pub fn epoch(&self) -> u64 {
        self.shared.ledger().epoch()
    }

    pub fn stats(&self) -> WatchStats {
        self.shared.ledger().stats()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // An eventfd takes this until it has been written to 2⁶⁴ times.
        let _ = rustix::io::write(&self.shared.stop, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Process numbers keep a cookie of an earlier run from being in the way.
fn cookie_name(cookie: u64) -> String {
    format!("{}-{cookie}", std::process::id())
}

fn cookie_number(name: &[u8]) -> Option<u64> {
    let (pid, cookie) = std::str::from_utf8(name).ok()?.split_once('-')?;
    let mine = pid.parse() == Ok(std::process::id());
    cookie.parse().ok().filter(|_| mine)
}
