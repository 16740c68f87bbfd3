//! Following files that somebody else writes: the journal of a run, the log of an attempt.
//!
//! Invariant: waiting costs nothing, the kernel tells of changes (inotify(7)); and whoever put the
//! watch before looking misses none. A log is read in the order in which it was written, through the
//! pieces that a long one is kept in while it grows (`shim::logs`).
//!
//! Deliberately absent: when to stop, which the one who follows knows.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

use crate::shim::logs::{old_tail_path, tail_path};

/// The most that one look at a log gives, in bytes.
const PIECE: usize = 64 << 10;
/// Events taken at once; the rest comes with the next look.
const MAX_EVENTS: usize = 1024;

/// Tells when files of one directory change.
#[derive(Debug)]
pub struct Watch {
    inotify: OwnedFd,
}

/// What happened since the last look.
#[derive(Debug, Default)]
pub struct Seen {
    /// Files whose writer closed them, and files that took their name in one step.
    pub closed: Vec<OsString>,
    /// Nothing happened within the limit.
    pub quiet: bool,
}

impl Watch {
    /// Watches the files of `directory`.
    pub fn directory(directory: &Path) -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let wanted = WatchFlags::MODIFY
            | WatchFlags::CREATE
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE
            | WatchFlags::ONLYDIR;
        inotify::add_watch(&inotify, directory, wanted)?;
        Ok(Self { inotify })
    }

    /// Waits until something happens, `limit` at most.
    pub fn wait(&mut self, limit: Duration) -> io::Result<Seen> {
        let mut seen = Seen::default();
        let limit = Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(limit.subsec_nanos()),
        };
        let mut fds = [PollFd::new(&self.inotify, PollFlags::IN)];
        match poll(&mut fds, Some(&limit)) {
            Ok(0) => {
                seen.quiet = true;
                return Ok(seen);
            }
            Ok(_) => {}
            // A signal: look again.
            Err(Errno::INTR) => return Ok(seen),
            Err(errno) => return Err(errno.into()),
        }
        let mut buffer = [MaybeUninit::uninit(); 8192];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        for _ in 0..MAX_EVENTS {
            match reader.next() {
                Ok(event) if event.events().intersects(ReadFlags::CLOSE_WRITE | ReadFlags::MOVED_TO) => {
                    let name = event.file_name().map(|name| OsString::from_vec(name.to_bytes().to_vec()));
                    seen.closed.extend(name);
                }
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(seen)
    }
}

/// A log as it grows.
#[derive(Debug)]
pub struct LogTail {
    path: PathBuf,
    from: File,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In the file itself.
    Head,
    /// In the full tail, which another follows.
    Old,
    Tail,
}

const LEFT_OUT: &[u8] = b"\n[supervise: bytes may be left out here]\n";

impl LogTail {
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), from: File::open(path)?, place: Place::Head })
    }

    /// Appends what comes next to `out`, a piece of it at most; `false`: nothing more is there now.
    pub fn more(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        // A full piece goes on in the next one, which goes on in the one after.
        for _ in 0..4 {
            if self.read(out)? {
                return Ok(true);
            }
            if !self.go_on(out)? {
                return Ok(false);
            }
        }
        Ok(false)
    }

    fn read(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        let before = out.len();
        (&mut self.from).take(PIECE as u64).read_to_end(out)?;
        Ok(out.len() > before)
    }

    /// At the end of a piece: is there another one?
    fn go_on(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        let (tail, old) = (open(&tail_path(&self.path))?, open(&old_tail_path(&self.path))?);
        // What came between the last look and the change of names.
        let came = |tail: &mut Self, out: &mut Vec<u8>| -> io::Result<()> {
            while tail.read(out)? {}
            Ok(())
        };
        let (next, place) = match (self.place, old, tail) {
            (Place::Head, Some(old), _) => {
                came(self, out)?;
                out.extend_from_slice(LEFT_OUT);
                (old, Place::Old)
            }
            (Place::Head | Place::Old, _, Some(tail)) => {
                came(self, out)?;
                (tail, Place::Tail)
            }
            (Place::Tail, old, Some(tail)) if !same(&tail, &self.from)? => {
                came(self, out)?;
                // It became the old one; if it is not even that any more, a whole one was missed.
                match old {
                    Some(old) if !same(&old, &self.from)? => {
                        out.extend_from_slice(LEFT_OUT);
                        (old, Place::Old)
                    }
                    _ => (tail, Place::Tail),
                }
            }
            // What is joined was read piece by piece.
            _ => return Ok(false),
        };
        self.from = next;
        self.place = place;
        Ok(true)
    }
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn same(one: &File, other: &File) -> io::Result<bool> {
    let (one, other) = (one.metadata()?, other.metadata()?);
    Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
}

/// The bytes of a log, in all its pieces; 0 where it is not there.
#[must_use]
pub fn log_size(path: &Path) -> u64 {
    [path.to_owned(), tail_path(path), old_tail_path(path)].iter().flat_map(fs::metadata).map(|meta| meta.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shim::logs::Log;
    use std::io::Write as _;

    #[test]
    fn changes_are_told_and_so_is_their_absence() {
        let directory = tempfile::tempdir().unwrap();
        let mut watch = Watch::directory(directory.path()).unwrap();
        assert!(watch.wait(Duration::from_millis(1)).unwrap().quiet);
        let mut file = File::create(directory.path().join("a")).unwrap();
        file.write_all(b"x").unwrap();
        let seen = watch.wait(Duration::from_secs(10)).unwrap();
        assert!(!seen.quiet && seen.closed.is_empty(), "{seen:?}");
        drop(file);
        assert_eq!(watch.wait(Duration::from_secs(10)).unwrap().closed, ["a"]);
        assert!(watch.wait(Duration::from_millis(1)).unwrap().quiet);
    }

    fn all(tail: &mut LogTail) -> String {
        let mut out = Vec::new();
        while tail.more(&mut out).unwrap() {}
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_long_log_is_followed_through_its_pieces() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut log = Log::create(&path, 4096).unwrap();
        let mut tail = LogTail::open(&path).unwrap();
        let (mut written, mut read) = (String::new(), String::new());
        for n in 0..2000 {
            let line = format!("line {n}\n");
            log.write(line.as_bytes());
            written.push_str(&line);
            read.push_str(&all(&mut tail));
        }
        assert_eq!(log_size(&path), 2048 + 2048 + (written.len() as u64 % 2048), "head, full tail, tail");
        log.finish();
        read.push_str(&all(&mut tail));
        assert_eq!(read, written);
    }

    #[test]
    fn who_comes_late_is_told_what_is_missing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let mut log = Log::create(&path, 4096).unwrap();
        let text = (0..2000).map(|n| format!("line {n}")).collect::<Vec<_>>().join("\n") + "\n";
        log.write(text.as_bytes());
        let mut tail = LogTail::open(&path).unwrap();
        let read = all(&mut tail);
        let (head, rest) = read.split_once("\n[supervise: bytes may be left out here]\n").unwrap();
        assert!(text.starts_with(head) && text.ends_with(rest) && rest.len() > 2048, "{} {}", head.len(), rest.len());
        log.write(b"end\n");
        assert_eq!(all(&mut tail), "end\n");
    }
}
