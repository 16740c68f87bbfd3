//! One task for each tree: passes on what its shim says, and sees to it that the tree comes to an end.
//!
//! Invariant: it ends with exactly one `Ended` or `ShimLost`. A supervisor that does not take its
//! news slows down this task and (through the socket) fills the shim's bounded buffer; it slows down
//! no agent.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch as channel};
use tokio::time::{Instant, sleep_until, timeout};

use super::{Activity, News, Orders, Shim, TreeKey, TreeNews, sweep};
use crate::core::effect::Ending;
use crate::core::reason::Exit;
use crate::host::failpoint;
use crate::shim::logs;
use crate::shim::record::ExitRecord;
use crate::shim::wire::{Frames, Order, Report};

/// How long a shim that has closed its socket may take to be gone.
const LAST_MOMENT: Duration = Duration::from_secs(5);

/// An order is a few bytes; a shim whose socket is full of them does not run.
const ORDER_BOUND: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Watcher {
    pub(super) key: TreeKey,
    /// Number and start time of the agent.
    pub(super) leader: (u32, u64),
    pub(super) shim: Shim,
    pub(super) socket: UnixStream,
    pub(super) frames: Frames,
    pub(super) news: mpsc::Sender<News>,
    pub(super) asked: channel::Receiver<Option<Ending>>,
    pub(super) orders: Arc<Orders>,
    pub(super) activity: Arc<Activity>,
    pub(super) exit_record: PathBuf,
    pub(super) logs: [PathBuf; 2],
    /// What the shim may take beyond the grace.
    pub(super) bound: Duration,
}

impl Watcher {
    pub(super) async fn run(mut self) {
        let mut ended = None;
        let mut waiting = VecDeque::new();
        self.listen(&mut waiting, &mut ended).await;
        let last = self.conclude(ended).await;
        waiting.push_back(last);
        for news in waiting {
            // Nobody listens any more: nobody needs to know.
            let _ = self.news.send((self.key.clone(), news)).await;
        }
    }

    /// Until the shim closes its socket, or has to be killed.
    async fn listen(&mut self, waiting: &mut VecDeque<TreeNews>, ended: &mut Option<(Exit, u32)>) {
        let mut deadline = None::<Instant>;
        let mut may_ask = true;
        let mut heeded = true;
        loop {
            // What arrived with the answer to the launch is in the frames already.
            if waiting.is_empty() && !self.take_reports(waiting, ended) {
                break;
            }
            tokio::select! {
                biased;
                changed = self.asked.changed(), if may_ask => {
                    may_ask = changed.is_ok();
                    let how = *self.asked.borrow_and_update();
                    if let Some(how) = how {
                        let grace = match how { Ending::Orderly { grace } => grace, Ending::AtOnce => Duration::ZERO };
                        let by = Instant::now() + grace.saturating_add(self.bound).min(FAR);
                        deadline = Some(deadline.map_or(by, |deadline| deadline.min(by)));
                        // What the agent was to be told before, say why it is ended, finds no log afterwards: the
                        // shim gets both at once, and ends it first, since a log can make it wait for the disk.
                        let mut orders = Order::End(how).encode();
                        while let Some(note) = self.orders.take_note() {
                            orders.extend(note.encode());
                        }
                        failpoint::reach();
                        send(&mut self.socket, &orders).await;
                        failpoint::reach();
                    }
                }
                order = self.orders.next() => send(&mut self.socket, &order.encode()).await,
                () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => {
                    self.shim.kill();
                    break;
                }
                permit = self.news.reserve(), if heeded && !waiting.is_empty() => match permit {
                    Ok(permit) => {
                        if let Some(news) = waiting.pop_front() {
                            permit.send((self.key.clone(), news));
                        }
                    }
                    Err(_) => heeded = false,
                },
                ready = self.socket.readable(), if waiting.is_empty() => {
                    match ready.and_then(|()| read(&self.socket, &mut self.frames)) {
                        Ok(0) => break,
                        Ok(_) => {}
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        Err(_) => break,
                    }
                }
            }
            if !heeded {
                waiting.clear();
            }
        }
    }

    /// `false`: the shim talks nonsense.
    fn take_reports(&mut self, waiting: &mut VecDeque<TreeNews>, ended: &mut Option<(Exit, u32)>) -> bool {
        loop {
            match self.frames.next_report() {
                Ok(Some(Report::Output(bytes))) => {
                    self.activity.printed();
                    waiting.push_back(TreeNews::Output(bytes));
                }
                Ok(Some(Report::Gap(bytes))) => waiting.push_back(TreeNews::Gap(bytes)),
                Ok(Some(Report::Alive)) => self.activity.printed(),
                Ok(Some(Report::Ask { call, targets })) => {
                    self.activity.wrote();
                    waiting.push_back(TreeNews::Asked { call, targets });
                }
                Ok(Some(Report::Wrote(paths))) => {
                    self.activity.wrote();
                    waiting.push_back(TreeNews::Wrote(paths));
                }
                Ok(Some(Report::Refused(refusals))) => {
                    self.activity.wrote();
                    waiting.push_back(TreeNews::Refused(refusals));
                }
                Ok(Some(Report::Flushed(number))) => waiting.push_back(TreeNews::Flushed(number)),
                Ok(Some(Report::Untold(calls))) => waiting.push_back(TreeNews::Untold(calls)),
                Ok(Some(Report::Ended { exit, survivors })) => *ended = Some((exit, survivors)),
                Ok(None) => return true,
                Ok(Some(Report::Started { .. } | Report::NotStarted { .. })) | Err(_) => {
                    self.shim.kill();
                    return false;
                }
            }
        }
    }

    /// Waits for the shim, and makes sure of what it said.
    async fn conclude(&mut self, ended: Option<(Exit, u32)>) -> TreeNews {
        super::gone(&mut self.shim).await;
        // A shim that was killed when it had done its work, or whose last word did not come through.
        match ended.or_else(|| self.recorded()) {
            Some((exit, 0)) => TreeNews::Ended { exit, survivors: 0 },
            Some((exit, _)) => TreeNews::Ended { exit, survivors: sweep::sweep().await },
            None => {
                let survivors = sweep::sweep().await;
                for log in &self.logs {
                    if let Err(error) = logs::join_leftovers(log) {
                        tracing::warn!(log = %log.display(), %error, "a log of a lost shim could not be put together");
                    }
                }
                TreeNews::ShimLost { survivors }
            }
        }
    }

    fn recorded(&self) -> Option<(Exit, u32)> {
        let record = ExitRecord::read(&self.exit_record).ok().flatten()?;
        let mine = (record.pid, record.start) == self.leader;
        mine.then(|| (record.exit(), u32::try_from(record.survivors.len()).unwrap_or(u32::MAX)))
    }
}

async fn send(socket: &mut UnixStream, orders: &[u8]) {
    let _ = timeout(ORDER_BOUND, socket.write_all(orders)).await;
}

/// A century is as good as for ever, and no clock overflows on it.
const FAR: Duration = Duration::from_hours(100 * 365 * 24);

/// Takes in what is there. Its buffer is gone afterwards: there may be a thousand of these tasks.
fn read(socket: &UnixStream, frames: &mut Frames) -> io::Result<usize> {
    let mut buffer = [0; 16 << 10];
    let read = socket.try_read(&mut buffer)?;
    frames.push(&buffer[..read]);
    Ok(read)
}

/// Waits until `shim` has ended and takes its status; kills it when it does not end by itself.
pub(super) async fn wait_for(shim: &mut Shim) {
    if timeout(LAST_MOMENT, exited(shim)).await.is_err() {
        shim.kill();
        // Bounded as well: what cannot even be killed is in the kernel's hands.
        let _ = timeout(LAST_MOMENT, exited(shim)).await;
    }
}

async fn exited(shim: &mut Shim) {
    // Most often it is gone by now, and no signal is needed.
    while !shim.has_ended() {
        // Listening begins before the second look, so that no signal falls between the two.
        let Ok(mut signals) = signal(SignalKind::child()) else { return std::future::pending().await };
        if shim.has_ended() {
            return;
        }
        signals.recv().await;
    }
}
