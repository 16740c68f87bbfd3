//! The reader's loop, and what each event means.
//!
//! Invariant: the kernel's queue comes first. New directories are taken up one at a time, and only while the queue
//! is empty, so that it does not overflow behind a slow listing. Nothing polls: without events the thread sleeps.
//!
//! A rename shows as two events with a common number, next to each other but not at once. Between the two
//! it is not known where the directory is; if the second does not come soon, it has left.

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

use super::directories::{Job, Root};
use super::limits::WatchError;
use super::tree::{Tree, Wd};
use super::{Degraded, SeenKind, Shared, Wake, cookie_number};
use crate::core::path::RepoPath;

/// One read takes at least this much of the queue: some 2,000 events.
const BUFFER: usize = 64 << 10;

/// How long, with nothing else going on, the second half of a rename may take.
const HALF_A_RENAME: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// After how many events it will not come any more.
const FAR_APART: u64 = 256;

/// For how many new directories a cookie waits, before it is answered with a gap instead.
const LONG_WAIT: usize = 1 << 15;

/// The first half of a directory's rename.
#[derive(Debug)]
struct Departure {
    wd: Wd,
    /// The kernel's number for the rename.
    number: u32,
    /// How many events were read before.
    at: u64,
}

pub(super) struct Reader {
    pub(super) queue: Arc<OwnedFd>,
    pub(super) shared: Arc<Shared>,
    pub(super) root: Root,
    pub(super) tree: Tree,
    pub(super) jobs: Vec<Job>,
    /// Number of the last walk.
    pub(super) round: u32,
    pub(super) walking: bool,
    pub(super) ignored: Box<dyn FnMut(&RepoPath) -> bool + Send>,
    wake: Box<dyn Fn(Wake) + Send>,
    cookies: Option<Wd>,
    departures: Vec<Departure>,
    /// Directories that were met at another place before the events of their move were read. What is read
    /// of them until the queue is empty may have happened at the old place.
    unsure: Vec<Wd>,
    events: u64,
    /// Directories taken up since a cookie began to wait.
    waited: usize,
    /// Kept from event to event for its memory.
    path: Vec<u8>,
}

/// What is asked of the kernel for each directory.
pub(super) const EVENTS: WatchFlags = WatchFlags::MODIFY
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVE)
    .union(WatchFlags::ATTRIB)
    .union(WatchFlags::ONLYDIR)
    // A file that was removed and is still written has no path any more.
    .union(WatchFlags::EXCL_UNLINK);

impl Reader {
    pub(super) fn new(
        shared: Arc<Shared>,
        workspace: &Path,
        ignored: Box<dyn FnMut(&RepoPath) -> bool + Send>,
        wake: Box<dyn Fn(Wake) + Send>,
    ) -> Result<Self, WatchError> {
        let queue = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(WatchError::init)?;
        Ok(Self {
            queue: Arc::new(queue),
            shared,
            root: Root::new(workspace),
            tree: Tree::default(),
            jobs: Vec::new(),
            round: 0,
            walking: false,
            ignored,
            wake,
            cookies: None,
            departures: Vec::new(),
            unsure: Vec::new(),
            events: 0,
            waited: 0,
            path: Vec::new(),
        })
    }

    pub(super) fn watch_cookies(&mut self) -> Result<(), WatchError> {
        let path = self.shared.cookies.clone();
        let failed = |source| WatchError::Directory { path: path.clone(), source };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(failed)?;
        for left in std::fs::read_dir(&path).map_err(failed)?.flatten() {
            if left.file_name().as_encoded_bytes().iter().all(|b| b.is_ascii_digit() || *b == b'-') {
                let _ = std::fs::remove_file(left.path());
            }
        }
        let flags = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ONLYDIR;
        self.cookies = match inotify::add_watch(&*self.queue, &path, flags) {
            Ok(wd) => Some(Wd(wd)),
            Err(Errno::NOSPC) => return Err(self.too_many()),
            Err(errno) => return Err(WatchError::directory(&path, errno)),
        };
        Ok(())
    }

    /// Until it is told to stop.
    pub(super) fn run(mut self) {
        let why = self.serve();
        if let Some(why) = why {
            self.shared.ledger().degrade(why);
            self.say(false);
        }
    }

    fn serve(&mut self) -> Option<Degraded> {
        let mut buffer = vec![MaybeUninit::uninit(); BUFFER];
        let queue = Arc::clone(&self.queue);
        loop {
            if self.jobs.is_empty() {
                self.rest();
            }
            let pause = match () {
                () if !self.jobs.is_empty() => Some(Timespec { tv_sec: 0, tv_nsec: 0 }),
                () if !self.departures.is_empty() => Some(HALF_A_RENAME),
                () => None,
            };
            let shared = Arc::clone(&self.shared);
            let mut ready = [PollFd::new(&*queue, PollFlags::IN), PollFd::new(&shared.stop, PollFlags::IN)];
            match poll(&mut ready, pause.as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return Some(Degraded::Ended),
            }
            let [queue_ready, stop_ready] = ready.map(|fd| !fd.revents().is_empty());
            if stop_ready {
                return None;
            }
            if queue_ready {
                let mut reader = inotify::Reader::new(&*queue, &mut buffer);
                match reader.next() {
                    Ok(event) => self.event(&event),
                    Err(Errno::INTR | Errno::AGAIN) => continue,
                    Err(_) => return Some(Degraded::Ended),
                }
                while !reader.is_buffer_empty()
                    && let Ok(event) = reader.next()
                {
                    self.event(&event);
                }
                self.expire(FAR_APART);
                self.say(false);
                continue;
            }
            self.unsure.clear();
            if let Some(job) = self.jobs.pop() {
                self.step(job);
                self.waited += 1;
                self.say(false);
            } else {
                self.expire(0);
            }
        }
    }

    /// The queue may have more, but all directories known of have been taken up.
    fn rest(&mut self) {
        self.root.close();
        if self.walking {
            self.end_walk();
        }
        self.say(true);
    }

    /// Says what there is to say; `settled`: nothing is left to do for what happened before a cookie.
    fn say(&mut self, settled: bool) {
        let mut wakes = Vec::new();
        {
            let mut ledger = self.shared.ledger();
            ledger.stats.events = self.events;
            ledger.stats.directories = self.tree.len();
            let due = ledger.cookies_are_due();
            let late = due && self.waited > LONG_WAIT;
            if late {
                ledger.gap();
            }
            if !due || settled || late {
                self.waited = 0;
            }
            ledger.wakes(settled || late, &mut wakes);
        }
        for wake in wakes {
            (self.wake)(wake);
        }
    }

    fn event(&mut self, event: &inotify::Event<'_>) {
        self.events += 1;
        let (wd, flags) = (Wd(event.wd()), event.events());
        let name = event.file_name().map(CStr::to_bytes);
        if flags.intersects(ReadFlags::QUEUE_OVERFLOW | ReadFlags::UNMOUNT) {
            self.lost();
        } else if self.cookies == Some(wd) {
            self.cookie(flags, name);
        } else if self.root.above == Some(wd) {
            if flags.contains(ReadFlags::IGNORED) {
                self.root.above = None;
            } else if name.is_some() && name == self.root.name() {
                self.lost();
            }
        } else if flags.contains(ReadFlags::IGNORED) {
            if self.tree.root() == Some(wd) {
                self.lost();
            } else {
                self.unwatch(wd);
            }
        } else if flags.intersects(ReadFlags::MOVE_SELF | ReadFlags::DELETE_SELF) {
            // Only asked for at the root.
            if self.tree.root() == Some(wd) {
                self.lost();
            }
        } else if let Some(name) = name {
            let mut path = std::mem::take(&mut self.path);
            if self.tree.path(wd, Some(name), &mut path) {
                self.entry(wd, name, &path, flags, event.cookie());
            }
            self.path = path;
        }
    }

    /// Something happened to `name` in the watched directory `wd`.
    fn entry(&mut self, wd: Wd, name: &[u8], path: &[u8], flags: ReadFlags, number: u32) {
        let Some(kind) = kind_of(flags) else { return };
        let directory = flags.contains(ReadFlags::ISDIR);
        let mut unsure = self.departures.iter().map(|gone| gone.wd).chain(self.unsure.iter().copied());
        let counted = unsure.all(|top| !self.tree.is_within(wd, top));
        self.shared.ledger().note(path, kind, counted, directory && kind == SeenKind::MovedOut);
        if !directory {
            let content = !matches!(kind, SeenKind::Modified | SeenKind::Created | SeenKind::Attributes);
            if content && name == b".gitignore" {
                self.lost();
            }
            return;
        }
        match kind {
            SeenKind::MovedOut => {
                if let Some(child) = self.tree.child(wd, name) {
                    self.departures.push(Departure { wd: child, number, at: self.events });
                }
            }
            SeenKind::MovedIn => {
                let from = self.departures.iter().position(|gone| gone.number == number);
                let from = from.map(|at| self.departures.swap_remove(at).wd);
                if RepoPath::new(path).is_ok_and(|path| (self.ignored)(&path)) {
                    if let Some(from) = from {
                        self.unwatch(from);
                    }
                    return;
                }
                if let Some(from) = from {
                    let (_, gone) = self.tree.place(from, wd, name, self.round);
                    self.remove_watches(&gone);
                }
                // Listed to the bottom: what was made in it just before could not be found under its old name.
                self.take_up(wd, name, true);
            }
            SeenKind::Created | SeenKind::Attributes if self.is_new(wd, name, path, kind) => {
                self.take_up(wd, name, false);
            }
            _ => {}
        }
    }

    /// A directory that was created (there may have been another of that name), or whose mode may now let us in.
    fn is_new(&mut self, wd: Wd, name: &[u8], path: &[u8], kind: SeenKind) -> bool {
        (kind == SeenKind::Created || self.tree.child(wd, name).is_none())
            && RepoPath::new(path).is_ok_and(|path| !(self.ignored)(&path))
    }

    fn cookie(&mut self, flags: ReadFlags, name: Option<&[u8]>) {
        if flags.contains(ReadFlags::IGNORED) {
            self.cookies = None;
            self.lost();
        } else if let Some(cookie) = name.and_then(cookie_number) {
            self.shared.ledger().cookie_seen(cookie);
        }
    }

    /// Events were lost, or a part of the workspace is not what it was: everything is walked again.
    pub(super) fn lost(&mut self) {
        let cookies = if self.cookies.is_none() { self.watch_cookies() } else { Ok(()) };
        {
            let mut ledger = self.shared.ledger();
            ledger.walk_begins();
            if let Err(error) = cookies {
                ledger.degrade(Degraded::Unwatched { path: self.shared.cookies.clone(), why: error.to_string() });
            }
            // After they are watched again: what is not out by now will have its event.
            ledger.cookies_lost();
        }
        self.departures.clear();
        self.begin_walk();
    }

    /// Directories whose rename began at least `apart` events ago have left the workspace.
    fn expire(&mut self, apart: u64) {
        let events = self.events;
        while let Some(at) = self.departures.iter().position(|gone| events - gone.at >= apart) {
            let gone = self.departures.swap_remove(at);
            self.unwatch(gone.wd);
        }
    }

    /// It was found somewhere, so it has not left.
    pub(super) fn arrived(&mut self, wd: Wd) {
        self.departures.retain(|gone| gone.wd != wd);
    }

    /// It was found elsewhere than it was thought to be.
    pub(super) fn moved_unseen(&mut self, wd: Wd) {
        if !self.walking {
            self.unsure.push(wd);
        }
    }
}

fn kind_of(flags: ReadFlags) -> Option<SeenKind> {
    let kinds = [
        (ReadFlags::MODIFY, SeenKind::Modified),
        (ReadFlags::CLOSE_WRITE, SeenKind::ClosedAfterWrite),
        (ReadFlags::CREATE, SeenKind::Created),
        (ReadFlags::MOVED_TO, SeenKind::MovedIn),
        (ReadFlags::MOVED_FROM, SeenKind::MovedOut),
        (ReadFlags::DELETE, SeenKind::Deleted),
        (ReadFlags::ATTRIB, SeenKind::Attributes),
    ];
    kinds.into_iter().find(|(flag, _)| flags.contains(*flag)).map(|(_, kind)| kind)
}
