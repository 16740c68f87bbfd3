//! The records of a run as they are written, for whoever subscribed on the control socket.
//!
//! Invariant: a subscriber gets every record from the number it named on, once and in order: first those of the
//! journal's file, then those that the loop hands out, turn by turn, through a bounded queue. The loop never
//! waits for a reader: one whose queue is full is cut off, and is told so after what was in it, and from which
//! record to go on. What agents are doing is said beside the records, and left out where a reader is behind.
//!
//! Deliberately absent: who may subscribe (`control`).

use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::control::{Rejection, RejectionKind, Reply, write_doing, write_reply};
use crate::core::ids::{AttemptId, RunId};
use crate::journal::{self, Entry, Follow, JournalError};

/// Turns of the loop that wait for a reader.
const QUEUE: usize = 256;
/// How long a reader may take nothing while something waits for it, and for all that is left once it is cut off.
const STALL: Duration = Duration::from_secs(30);

/// What is handed out.
#[derive(Clone, Debug)]
enum Said {
    /// Lines of the records from `first` on, up to `next`.
    Records { first: u64, next: u64, text: Arc<str> },
    /// A line about what an agent is doing.
    Doing(Arc<[u8]>),
}

/// The loop's side.
#[derive(Debug, Default)]
pub struct Feeds {
    readers: Vec<Reader>,
    /// The records of this turn: the number of the first, their lines.
    turn: Option<(u64, String)>,
    next: u64,
}

#[derive(Debug)]
struct Reader {
    queue: mpsc::Sender<Said>,
    doing: bool,
    cut: Arc<AtomicBool>,
}

/// A reader's side.
#[derive(Debug)]
pub struct Feed {
    run: RunId,
    journal: PathBuf,
    /// The first record that comes through the queue.
    next: u64,
    queue: mpsc::Receiver<Said>,
    /// The queue was full: nothing more comes through it.
    cut: Arc<AtomicBool>,
}

/// Somebody wants to read along.
#[derive(Debug)]
pub struct Subscribing {
    pub doing: bool,
    pub to: oneshot::Sender<Feed>,
}

impl Feeds {
    /// Adds a reader, for whom `next` is the first record that is still to be written.
    pub fn add(&mut self, who: Subscribing, run: RunId, journal: PathBuf, next: u64) {
        let (sender, queue) = mpsc::channel(QUEUE);
        let cut = Arc::new(AtomicBool::new(false));
        if who.to.send(Feed { run, journal, next, queue, cut: Arc::clone(&cut) }).is_ok() {
            self.readers.push(Reader { queue: sender, doing: who.doing, cut });
        }
    }

    /// A record is in the journal.
    pub fn recorded(&mut self, entry: &Entry) {
        self.next = entry.seq + 1;
        if self.readers.is_empty() {
            return;
        }
        let (_, lines) = self.turn.get_or_insert_with(|| (entry.seq, String::new()));
        // What the journal took can be written once more.
        lines.push_str(&journal::event_line(entry).unwrap_or_default());
        lines.push('\n');
    }

    /// Is there somebody who wants to know what agents are doing?
    #[must_use]
    pub fn wants_doing(&self) -> bool {
        self.readers.iter().any(|reader| reader.doing)
    }

    /// An agent is doing this.
    pub fn doing(&mut self, id: &AttemptId, text: &str) {
        let line: Arc<[u8]> = write_doing(id, text).into();
        for reader in self.readers.iter().filter(|reader| reader.doing && reader.queue.capacity() > QUEUE / 2) {
            // It only tells of this moment.
            let _ = reader.queue.try_send(Said::Doing(Arc::clone(&line)));
        }
    }

    /// The turn is over: its records are handed out.
    pub fn flush(&mut self) {
        let Some((first, lines)) = self.turn.take() else { return };
        let said = Said::Records { first, next: self.next, text: lines.into() };
        self.readers.retain(|reader| match reader.queue.try_send(said.clone()) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                reader.cut.store(true, Ordering::Release);
                false
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        });
    }
}

/// The reader is gone, or is not worth waiting for; or the run is over.
struct Done;

/// Sends a subscriber what it wants, until the run is over or it is gone. `subscribe` asks the loop for a feed;
/// `None`: the run is ending.
pub async fn serve(mut stream: UnixStream, from: u64, subscribe: impl AsyncFn() -> Option<Feed>) {
    let Some(feed) = subscribe().await else {
        let _ = send(&mut stream, &ending()).await;
        return;
    };
    let reply = Reply::Subscribed { run: feed.run.to_string(), next: feed.next };
    let mut reading = Reading { stream, from: from.max(1), half_closed: false };
    let mut feed = Some(feed);
    if reading.send(&write_reply(&Ok(reply))).await.is_err() {
        return;
    }
    while let Some(mut now) = feed.take() {
        if reading.past(&now).await.is_err() {
            return;
        }
        // While it read the past it had no hand free for the queue. If that ran over, the file has the rest.
        let overtaken = now.cut.load(Ordering::Acquire);
        let read = if overtaken { reading.drain(&mut now).await } else { reading.follow(&mut now).await };
        if read.is_err() {
            return;
        }
        if overtaken {
            feed = subscribe().await;
        }
    }
}

fn ending() -> Vec<u8> {
    write_reply(&Err(Rejection::new(RejectionKind::Ending, "the run is ending")))
}

async fn send(stream: &mut UnixStream, bytes: &[u8]) -> Result<(), Done> {
    timeout(STALL, stream.write_all(bytes)).await.map_or(Err(Done), |sent| sent.map_err(|_| Done))
}

/// A subscriber, and how far it has read.
struct Reading {
    stream: UnixStream,
    /// The next record that it is to get.
    from: u64,
    /// It sends nothing more, and may still read.
    half_closed: bool,
}

impl Reading {
    async fn send(&mut self, bytes: &[u8]) -> Result<(), Done> {
        send(&mut self.stream, bytes).await
    }

    /// Sends what was written before the feed began.
    async fn past(&mut self, feed: &Feed) -> Result<(), Done> {
        if self.from >= feed.next {
            return Ok(());
        }
        let mut file = None;
        while self.from < feed.next {
            let (journal, from) = (feed.journal.clone(), self.from);
            let read = tokio::task::spawn_blocking(move || lines(file, &journal, from)).await;
            let Ok(Ok((follow, next, text))) = read else {
                let text = "the journal cannot be read";
                let error = Rejection::new(RejectionKind::NotPossible, text);
                let _ = self.send(&write_reply(&Err(error))).await;
                return Err(Done);
            };
            self.send(text.as_bytes()).await?;
            (file, self.from) = (Some(follow), next);
        }
        Ok(())
    }

    /// Sends what comes through the queue, until nothing more does.
    async fn follow(&mut self, feed: &mut Feed) -> Result<(), Done> {
        loop {
            if feed.cut.load(Ordering::Acquire) {
                return timeout(STALL, self.rest(feed)).await.unwrap_or(Err(Done));
            }
            let said = tokio::select! {
                said = feed.queue.recv() => said,
                () = gone(&mut self.stream, &mut self.half_closed) => return Err(Done),
            };
            match said {
                Some(said) => self.say(&said).await?,
                // It was cut off between the two looks, or the run is over.
                None if feed.cut.load(Ordering::Acquire) => {}
                None => return Ok(()),
            }
        }
    }

    /// Sends what is left in the queue, to which nothing is added any more.
    async fn drain(&mut self, feed: &mut Feed) -> Result<(), Done> {
        while let Some(said) = feed.queue.recv().await {
            self.say(&said).await?;
        }
        Ok(())
    }

    /// It was cut off: what waits for it is the last, and then why.
    async fn rest(&mut self, feed: &mut Feed) -> Result<(), Done> {
        self.drain(feed).await?;
        let text = format!("dropped, because more was written than was read; subscribe again from {}", self.from);
        self.send(&write_reply(&Err(Rejection::new(RejectionKind::TooSlow, text)))).await?;
        Err(Done)
    }

    async fn say(&mut self, said: &Said) -> Result<(), Done> {
        match said {
            Said::Doing(line) => self.send(line).await,
            Said::Records { next, .. } if *next <= self.from => Ok(()),
            Said::Records { first, next, text } => {
                let known = usize::try_from(self.from.saturating_sub(*first)).unwrap_or(usize::MAX);
                let from = text.split_inclusive('\n').take(known).map(str::len).sum();
                self.from = *next;
                self.send(&text.as_bytes()[from..]).await
            }
        }
    }
}

/// Waits until the peer is gone. One that only says that it sends nothing more is not.
async fn gone(stream: &mut UnixStream, half_closed: &mut bool) {
    let mut said = [0; 256];
    while !*half_closed {
        match stream.read(&mut said).await {
            Ok(0) => *half_closed = true,
            Ok(_) => {} // nobody listens to it any more
            Err(_) => return,
        }
    }
    let mut ask = [PollFd::new(stream.as_fd(), PollFlags::empty())];
    let hung_up = poll(&mut ask, PollTimeout::ZERO).is_ok()
        && ask[0].revents().is_some_and(|events| events.contains(PollFlags::POLLHUP));
    if !hung_up {
        // The next line that cannot be sent will tell.
        std::future::pending::<()>().await;
    }
}

/// The next lines from this record on: where that came to, the number after them, their text.
fn lines(file: Option<Follow>, journal: &std::path::Path, from: u64) -> Result<(Follow, u64, String), JournalError> {
    let mut follow = match file {
        Some(follow) => follow,
        None => Follow::open(journal)?.0,
    };
    let mut text = String::new();
    let mut next = from;
    loop {
        let entries = follow.more()?;
        if entries.is_empty() {
            return Err(JournalError::NoHeader { path: journal.to_owned() });
        }
        for entry in entries.iter().filter(|entry| entry.seq >= from) {
            text.push_str(&journal::event_line(entry)?);
            text.push('\n');
            next = entry.seq + 1;
        }
        if !text.is_empty() {
            return Ok((follow, next, text));
        }
    }
}
