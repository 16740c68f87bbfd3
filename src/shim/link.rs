//! The shim's end of the socket to its supervisor: lifeline and wire in one.
//!
//! Invariant: nothing here waits, save [`Link::launch`] and [`Link::close`]; and what is kept to be
//! sent is bounded: output that the supervisor does not take is dropped and reported as a gap, so
//! that a slow supervisor never stalls an agent.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, poll};

use super::wire::{ALIVE_EVERY, Frames, Launch, MAX_REPORT, Order, Report};

/// Bytes kept for a supervisor that does not read.
const MAX_UNSENT: usize = 256 << 10;

#[derive(Debug)]
pub struct Link {
    socket: UnixStream,
    orders: Frames,
    unsent: Vec<u8>,
    /// How much of `unsent` is sent.
    sent: usize,
    gap: u64,
    alive_at: Option<Instant>,
    open: bool,
}

impl Link {
    #[must_use]
    pub fn new(socket: UnixStream) -> Self {
        Self { socket, orders: Frames::default(), unsent: Vec::new(), sent: 0, gap: 0, alive_at: None, open: true }
    }

    /// Waits for the first order. An error: the supervisor went away or sent something else.
    pub fn launch(&mut self, buffer: &mut [u8]) -> io::Result<Launch> {
        loop {
            match self.orders.next_order().map_err(io::Error::other)? {
                Some(Order::Launch(launch)) => break self.socket.set_nonblocking(true).map(|()| *launch),
                Some(_) => break Err(io::ErrorKind::InvalidData.into()),
                None => match self.socket.read(buffer)? {
                    0 => break Err(io::ErrorKind::UnexpectedEof.into()),
                    read => self.orders.push(&buffer[..read]),
                },
            }
        }
    }

    /// Whether the supervisor is there.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open
    }

    pub fn poll_flags(&self) -> PollFlags {
        if self.sent < self.unsent.len() { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN }
    }

    /// The next order that has arrived. A supervisor that talks nonsense counts as gone.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Option<Order> {
        while self.open {
            match self.orders.next_order() {
                Ok(Some(order)) => return Some(order),
                Ok(None) => {}
                Err(_) => self.open = false,
            }
            match self.socket.read(buffer) {
                Ok(0) => self.open = false,
                Ok(read) => self.orders.push(&buffer[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(_) => self.open = false,
            }
        }
        None
    }

    /// Sends a report, or keeps it to be sent.
    pub fn report(&mut self, report: &Report) {
        self.send_gap();
        report.encode(&mut self.unsent);
        self.flush();
    }

    /// Sends output, or drops it.
    pub fn output(&mut self, bytes: &[u8]) {
        if self.unsent.len() - self.sent + bytes.len() > MAX_UNSENT {
            self.gap += bytes.len() as u64;
        } else {
            self.send_gap();
            Report::encode_output(bytes, &mut self.unsent);
        }
        self.flush();
    }

    /// Tells, now and then, that there was output.
    pub fn alive(&mut self, now: Instant) {
        let due = self.alive_at.is_none_or(|last| now.duration_since(last) >= ALIVE_EVERY);
        if due && self.unsent.is_empty() {
            self.alive_at = Some(now);
            self.report(&Report::Alive);
        }
    }

    fn send_gap(&mut self) {
        if self.gap > 0 {
            Report::Gap(std::mem::take(&mut self.gap)).encode(&mut self.unsent);
        }
    }

    /// Whether one more report may be kept: there is always room beside output, which is dropped first.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.unsent.len() - self.sent <= MAX_UNSENT + MAX_REPORT
    }

    /// Waits until there is, for as long as the supervisor lives.
    pub fn wait_for_room(&mut self, buffer: &mut [u8]) {
        while self.open && !self.has_room() && self.wait_and_flush(buffer) {}
    }

    /// Sends what can be sent without waiting.
    pub fn flush(&mut self) {
        while self.open && self.sent < self.unsent.len() {
            match self.socket.write(&self.unsent[self.sent..]) {
                Ok(written) => self.sent += written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => self.open = false,
            }
        }
        if !self.open || self.sent == self.unsent.len() {
            self.unsent.clear();
            self.sent = 0;
        } else if self.sent > MAX_UNSENT / 2 {
            self.unsent.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// Waits until all is sent, for as long as the supervisor lives.
    pub fn close(mut self, buffer: &mut [u8]) {
        self.send_gap();
        self.flush();
        while self.open && self.sent < self.unsent.len() && self.wait_and_flush(buffer) {}
    }

    /// `false`: waiting has failed.
    fn wait_and_flush(&mut self, buffer: &mut [u8]) -> bool {
        let mut fds = [PollFd::new(&self.socket, PollFlags::IN | PollFlags::OUT)];
        if poll(&mut fds, None).is_err() {
            return false;
        }
        // Orders come too late now; reading them shows whether the other side is there.
        while self.receive(buffer).is_some() {}
        self.flush();
        true
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
