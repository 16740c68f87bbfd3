//! The supervisor's side of the control socket: who may ask, and how requests reach the loop.
//!
//! Invariant: only processes of the same user ask, and none that descends from this supervisor: an
//! agent cannot decide its own conflicts. Connections, the size of a request and the time of each
//! step are bounded, and no peer ever keeps the loop waiting.
//!
//! The socket is made beside its place and renamed over it, with its mode: whatever lay there (the
//! socket of a supervisor that died) is replaced in one step, which only the holder of the
//! repository's lock does. It lies in a directory of the owner alone.
//!
//! Deliberately absent: what a request means (`driver::control`, `core`).

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::feed::{self, Feed, Subscribing};
use super::state::Hold;
use crate::control::{MAX_REQUEST, Rejection, RejectionKind, Reply, Request, SOCKET, read_request, write_reply};
use crate::shim::tree;

/// Connections at once; who comes beyond is told so.
const MAX_CONNECTIONS: usize = 16;
/// Subscribers at once, beside them.
const MAX_READERS: usize = 16;
/// How long subscribers may take for the last lines of a run.
const LAST_LINES: Duration = Duration::from_secs(1);
/// How long a peer may take to send its request, and to take the answer.
const PEER_LIMIT: Duration = Duration::from_secs(5);
/// How long the loop may take to answer.
const LOOP_LIMIT: Duration = Duration::from_secs(10);
/// The same where the answer needs git, or a file, to be looked at.
const WORK_LIMIT: Duration = Duration::from_mins(1);
/// Generations of parents that are looked at; a longer line is refused.
const MAX_PARENTS: usize = 4096;
/// Looks at a line of parents that changed meanwhile.
const MAX_LOOKS: usize = 5;
/// The pause after a connection could not be taken (no descriptor left, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

pub type Answer = Result<Reply, Rejection>;

/// What comes to the loop.
#[derive(Debug)]
pub enum Call {
    Asked(Box<Asked>),
    Subscribing(Subscribing),
}

/// A request on its way to the loop.
#[derive(Debug)]
pub struct Asked {
    pub request: Request,
    /// Dropped without an answer, it tells that the run is ending.
    pub reply: oneshot::Sender<Answer>,
}

/// The bound socket. Nobody is answered before [`Socket::serve`].
#[derive(Debug)]
pub struct Socket {
    listener: std::os::unix::net::UnixListener,
    place: Place,
}

/// The socket's name, which goes when the supervisor does.
#[derive(Debug)]
struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        // The lock is still held: this is our own socket. One that stays behind is seen to be stale.
        let _ = fs::remove_file(&self.0);
    }
}

impl Socket {
    /// Makes the socket of the repository that is held.
    pub fn bind(hold: &Hold) -> io::Result<Self> {
        fs::set_permissions(hold.root(), Permissions::from_mode(0o700))?;
        // An address holds 107 bytes (unix(7)); this one is short wherever the directory lies.
        let directory = File::open(hold.root())?;
        let beside = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}.new", directory.as_raw_fd()));
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = std::os::unix::net::UnixListener::bind(&beside)?;
        fs::set_permissions(&beside, Permissions::from_mode(0o600))?;
        let place = hold.root().join(SOCKET);
        fs::rename(&beside, &place)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, place: Place(place) })
    }

    /// Takes connections from now on. Wants a tokio `LocalSet`.
    pub fn serve(self) -> io::Result<Control> {
        let listener = UnixListener::from_std(self.listener)?;
        let (asks, inbox) = mpsc::channel(MAX_CONNECTIONS);
        let readers = Arc::new(Semaphore::new(MAX_READERS));
        let accepting = tokio::task::spawn_local(accept(listener, asks, Arc::clone(&readers)));
        Ok(Control { inbox, accepting, readers, _place: self.place })
    }
}

/// Requests as they come.
#[derive(Debug)]
pub struct Control {
    inbox: mpsc::Receiver<Call>,
    accepting: tokio::task::JoinHandle<()>,
    /// A place for each subscriber.
    readers: Arc<Semaphore>,
    _place: Place,
}

impl Control {
    /// The next request; never ready where there is no socket. Cancel safe.
    pub async fn next(control: &mut Option<Self>) -> Call {
        let call = match control {
            Some(control) => control.inbox.recv().await,
            None => None,
        };
        match call {
            Some(call) => call,
            None => std::future::pending().await,
        }
    }

    /// The run is over, and no feed has anything more to come: lets subscribers take what is on its way.
    pub async fn finish(mut self) {
        self.accepting.abort();
        self.inbox.close();
        while self.inbox.try_recv().is_ok() {} // who asks now hears that the run is ending
        let all = u32::try_from(MAX_READERS).unwrap_or(u32::MAX);
        let _ = timeout(LAST_LINES, self.readers.acquire_many(all)).await;
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: UnixListener, asks: mpsc::Sender<Call>, readers: Arc<Semaphore>) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            say(&stream, &Err(Rejection::new(RejectionKind::Busy, "too many ask at once: try again")));
            continue;
        };
        let (asks, readers) = (asks.clone(), Arc::clone(&readers));
        tokio::task::spawn_local(async move { converse(stream, &asks, place, readers).await });
    }
}

/// One connection from its request to its reply; or to the end of the run, or of its peer's patience.
async fn converse(
    mut stream: UnixStream,
    asks: &mpsc::Sender<Call>,
    place: OwnedSemaphorePermit,
    readers: Arc<Semaphore>,
) {
    let answer = match hear(&mut stream).await {
        Ok(Request::Subscribe { from, doing }) => match readers.try_acquire_owned() {
            Ok(_reader) => {
                drop(place);
                return feed::serve(stream, from, async || subscribe(asks, doing).await).await;
            }
            Err(_) => Err(Rejection::new(RejectionKind::Busy, "too many subscribe at once: try again")),
        },
        Ok(request) => pass_on(request, asks).await,
        Err(rejection) => Err(rejection),
    };
    // A peer that went away, or is too slow, gets nothing.
    let _ = timeout(PEER_LIMIT, stream.write_all(&write_reply(&answer))).await;
}

async fn hear(stream: &mut UnixStream) -> Result<Request, Rejection> {
    let peer = stream.peer_cred().map_err(|error| not_allowed(&format!("who asks cannot be found out: {error}")))?;
    may_ask(peer.uid(), peer.pid())?;
    match timeout(PEER_LIMIT, read_line(stream)).await {
        Ok(line) => read_request(&line?),
        Err(_) => Err(Rejection::new(RejectionKind::TooSlow, "the request did not come in time")),
    }
}

/// `None`: the run is ending.
async fn subscribe(asks: &mpsc::Sender<Call>, doing: bool) -> Option<Feed> {
    let (to, feed) = oneshot::channel();
    asks.send(Call::Subscribing(Subscribing { doing, to })).await.ok()?;
    feed.await.ok()
}

async fn pass_on(request: Request, asks: &mpsc::Sender<Call>) -> Answer {
    let ending = || Rejection::new(RejectionKind::Ending, "the run is ending");
    let late = || Rejection::new(RejectionKind::Busy, "the supervisor is busy: try again");
    let limit =
        if matches!(request, Request::Checkpoint { .. } | Request::Register { .. }) { WORK_LIMIT } else { LOOP_LIMIT };
    let (reply, answer) = oneshot::channel();
    let exchange = async {
        asks.send(Call::Asked(Box::new(Asked { request, reply }))).await.map_err(|_| ending())?;
        answer.await.map_err(|_| ending())?
    };
    timeout(limit, exchange).await.unwrap_or_else(|_| Err(late()))
}

/// The first line, without its line feed.
async fn read_line(stream: &mut UnixStream) -> Result<Vec<u8>, Rejection> {
    let bad = |text: &str| Rejection::new(RejectionKind::BadRequest, text);
    let mut line = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let read = stream.read(&mut buffer).await.map_err(|_| bad("the request cannot be read"))?;
        if read == 0 {
            return Err(bad("the request ends without a line feed"));
        }
        let end = buffer[..read].iter().position(|byte| *byte == b'\n');
        line.extend_from_slice(&buffer[..end.unwrap_or(read)]);
        if line.len() >= MAX_REQUEST {
            return Err(Rejection::new(RejectionKind::TooLarge, format!("a request has at most {MAX_REQUEST} bytes")));
        }
        if end.is_some() {
            return Ok(line);
        }
    }
}

/// Says something to a peer that nobody waits for.
fn say(stream: &UnixStream, answer: &Answer) {
    // The buffer of a new connection holds one line.
    let _ = stream.try_write(&write_reply(answer));
}

fn not_allowed(text: &str) -> Rejection {
    Rejection::new(RejectionKind::NotAllowed, text)
}

/// Only the supervisor's own user, and none of the processes that it started.
fn may_ask(uid: u32, pid: Option<i32>) -> Result<(), Rejection> {
    if uid != nix::unistd::geteuid().as_raw() {
        return Err(not_allowed("only the user who started the supervisor may ask"));
    }
    let pid = pid.and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0);
    let Some(pid) = pid else { return Err(not_allowed("who asks lives in another PID namespace")) };
    match descends_from(pid, std::process::id()) {
        Some(false) => Ok(()),
        Some(true) => Err(not_allowed("processes that this supervisor started may not ask it anything")),
        None => Err(not_allowed("who asks cannot be found out: it is gone")),
    }
}

/// Does the process descend from `ancestor`? `None`: it is gone, or its parents cannot be followed.
///
/// Whatever leaves an agent's tree falls to the agent's shim or to the supervisor, which are
/// subreapers, so parents tell.
fn descends_from(pid: u32, ancestor: u32) -> Option<bool> {
    'looks: for _ in 0..MAX_LOOKS {
        let mut at = tree::look(pid)?.parent;
        for _ in 0..MAX_PARENTS {
            if at == ancestor {
                return Some(true);
            }
            if at <= 1 {
                return Some(false);
            }
            match tree::look(at) {
                Some(process) => at = process.parent,
                // Another user's, which /proc may be mounted to hide: no tree of ours goes through it.
                None if exists_for_others(at) => return Some(false),
                // It ended, and its child has another parent now.
                None => continue 'looks,
            }
        }
        return None;
    }
    None
}

fn exists_for_others(pid: u32) -> bool {
    i32::try_from(pid).is_ok_and(|pid| kill(Pid::from_raw(pid), None) == Err(Errno::EPERM))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descent_is_followed_over_generations() {
        // The outer shell waits for the inner, which says its number and waits for the end of its input.
        let mut outer = std::process::Command::new("sh")
            .args(["-c", "sh -c 'echo $$; read x; :'; :"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut said = io::BufReader::new(outer.stdout.take().unwrap());
        io::BufRead::read_line(&mut said, &mut line).unwrap();
        let inner: u32 = line.trim().parse().unwrap();
        let own = std::process::id();
        assert_eq!(descends_from(inner, own), Some(true));
        assert_eq!(descends_from(inner, outer.id()), Some(true));
        assert_eq!(descends_from(outer.id(), inner), Some(false));
        assert_eq!(descends_from(own, outer.id()), Some(false));
        drop(outer.stdin.take());
        outer.wait().unwrap();
        assert_eq!(descends_from(outer.id(), own), None);
    }

    #[test]
    fn only_the_own_user_and_nobody_unseen() {
        let own = nix::unistd::geteuid().as_raw();
        let parent = i32::try_from(std::os::unix::process::parent_id()).unwrap();
        assert!(may_ask(own, Some(parent)).is_ok());
        for (uid, pid) in [(own + 1, Some(parent)), (own, Some(0)), (own, None)] {
            assert_eq!(may_ask(uid, pid).unwrap_err().kind, RejectionKind::NotAllowed, "{uid} {pid:?}");
        }
    }
}
