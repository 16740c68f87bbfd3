//! Asking a running supervisor: connect, one request, one reply, all of it within a limit.
//!
//! Invariant: a socket that nobody listens on is told apart from one whose supervisor does not
//! answer. The socket is named through an open directory, because an address of a unix socket holds
//! 107 bytes (unix(7)) and git directories lie where they lie.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::wire::{MAX_REPLY, read_reply, write_request};
use super::{Rejection, Reply, Request};

/// The socket's name in the directory of the repository's runs.
pub const SOCKET: &str = "control.sock";

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// There is no socket: no supervisor runs here, or it has not come so far.
    #[error("no supervisor is running in this repository")]
    Absent,
    /// The socket was left behind by a supervisor that died.
    #[error("no supervisor is running in this repository; one that died left its socket behind")]
    Stale,
    #[error("the supervisor's socket cannot be used")]
    Io(#[source] io::Error),
    #[error("the supervisor did not answer within {} s", .limit.as_secs_f32())]
    Silent { limit: Duration },
    /// The run ended meanwhile.
    #[error("the supervisor ended before it answered")]
    Ended,
    #[error("the supervisor's answer cannot be understood: it may be of another version")]
    Garbled,
    #[error(transparent)]
    Rejected(#[from] Rejection),
}

impl AskError {
    /// Is it certain that nobody listens?
    #[must_use]
    pub fn nobody(&self) -> bool {
        matches!(self, Self::Absent | Self::Stale)
    }
}

/// Asks the supervisor whose socket lies in `directory`.
pub fn ask(directory: &Path, request: &Request, limit: Duration) -> Result<Reply, AskError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(AskError::Io)?;
    let line = runtime.block_on(async {
        tokio::time::timeout(limit, exchange(directory, &write_request(request)))
            .await
            .unwrap_or(Err(AskError::Silent { limit }))
    })?;
    if line.is_empty() {
        return Err(AskError::Ended);
    }
    match read_reply(&line) {
        Some(answer) => Ok(answer?),
        None => Err(AskError::Garbled),
    }
}

async fn exchange(directory: &Path, request: &[u8]) -> Result<Vec<u8>, AskError> {
    let directory = match File::open(directory) {
        Ok(directory) => directory,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(AskError::Absent),
        Err(error) => return Err(AskError::Io(error)),
    };
    let mut stream = match UnixStream::connect(through(&directory)).await {
        Ok(stream) => stream,
        Err(error) => {
            return Err(match error.kind() {
                io::ErrorKind::NotFound => AskError::Absent,
                io::ErrorKind::ConnectionRefused => AskError::Stale,
                _ => AskError::Io(error),
            });
        }
    };
    // Who refuses a request may not read all of it; the answer says why.
    let _ = stream.write_all(request).await;
    let mut line = Vec::new();
    let most = u64::try_from(MAX_REPLY).unwrap_or(u64::MAX);
    match stream.take(most).read_to_end(&mut line).await {
        // Closing before it has read everything looks like a fault, after a whole answer.
        Err(error) if line.last() != Some(&b'\n') => Err(AskError::Io(error)),
        _ => Ok(line),
    }
}

/// The lines that follow the reply to a subscription.
pub type Lines = io::Split<BufReader<std::os::unix::net::UnixStream>>;

/// Subscribes at the supervisor whose socket lies in `directory`, which has `limit` to answer. Gives the run, and
/// the lines as they come.
pub fn subscribe(directory: &Path, from: u64, doing: bool, limit: Duration) -> Result<(String, Lines), AskError> {
    let directory = File::open(directory).map_err(AskError::Io)?;
    let stream = std::os::unix::net::UnixStream::connect(through(&directory)).map_err(AskError::Io)?;
    stream.set_read_timeout(Some(limit)).map_err(AskError::Io)?;
    (&stream).write_all(&write_request(&Request::Subscribe { from, doing })).map_err(AskError::Io)?;
    let patient = stream.try_clone().map_err(AskError::Io)?;
    let mut lines = BufReader::new(stream).split(b'\n');
    let reply = match lines.next() {
        Some(Ok(line)) => read_reply(&line).ok_or(AskError::Garbled)??,
        Some(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => return Err(AskError::Silent { limit }),
        Some(Err(error)) => return Err(AskError::Io(error)),
        None => return Err(AskError::Ended),
    };
    // From now on there may be nothing to say for a long time.
    patient.set_read_timeout(None).map_err(AskError::Io)?;
    match reply {
        Reply::Subscribed { run, .. } => Ok((run, lines)),
        _ => Err(AskError::Garbled),
    }
}

/// The socket's name by way of the open directory.
fn through(directory: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    fn asked(directory: &Path) -> AskError {
        ask(directory, &Request::Status, Duration::from_millis(300)).unwrap_err()
    }

    #[test]
    fn nobody_there_is_told_apart_from_one_who_is_silent() {
        let root = tempfile::tempdir().unwrap();
        assert!(matches!(asked(&root.path().join("none")), AskError::Absent));
        assert!(matches!(asked(root.path()), AskError::Absent));
        let listener = UnixListener::bind(root.path().join(SOCKET)).unwrap();
        assert!(matches!(asked(root.path()), AskError::Silent { .. }));
        drop(listener);
        assert!(matches!(asked(root.path()), AskError::Stale));
    }

    #[test]
    fn a_long_path_is_no_obstacle() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("x".repeat(100)).join("y".repeat(100));
        std::fs::create_dir_all(&deep).unwrap();
        let open = File::open(&deep).unwrap();
        let listener = UnixListener::bind(through(&open)).unwrap();
        let answers = std::thread::spawn(move || {
            use std::io::{BufRead as _, Write as _};
            let (stream, _) = listener.accept().unwrap();
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).unwrap();
            (&stream).write_all(b"{\"version\":1,\"reply\":{\"kind\":\"resolved\",\"conflict\":7}}\n").unwrap();
            line
        });
        let reply = ask(&deep, &Request::Status, Duration::from_secs(10)).unwrap();
        assert_eq!(reply, Reply::Resolved { conflict: crate::core::conflict::ConflictId(7) });
        assert_eq!(answers.join().unwrap(), "{\"version\":1,\"request\":{\"kind\":\"status\"}}\n");
    }
}
