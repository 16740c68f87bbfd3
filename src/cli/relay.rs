//! Standard output and error while agents run: whoever reads them slowly, or not at all (a full pipe, a terminal
//! that was stopped with Ctrl-S), never holds the run.
//!
//! Invariant: [`Relay::say`] does not wait. What does not fit is left out as whole writes, and a note in its place
//! says so.
//!
//! Deliberately absent: what is said.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::io::Errno;

use super::terminal::size;

/// At the end: how long nothing may be taken until what is left is given up.
const PATIENCE: Duration = Duration::from_secs(5);

/// One stream, and what is on its way to it.
#[derive(Debug)]
pub(super) struct Relay {
    queue: Mutex<Queue>,
    changed: Condvar,
    stream: Stream,
    /// The most bytes on their way.
    most: usize,
    /// What stands where so many writes were left out.
    note: fn(u64) -> String,
}

#[derive(Clone, Copy, Debug)]
enum Stream {
    Out,
    Err,
}

impl Stream {
    /// write(2), past the locks of the standard library: somebody may wait there.
    fn write(self, bytes: &[u8]) -> Result<usize, Errno> {
        match self {
            Self::Out => rustix::io::write(io::stdout(), bytes),
            Self::Err => rustix::io::write(io::stderr(), bytes),
        }
    }

    /// Columns and rows.
    fn size(self) -> (u16, u16) {
        match self {
            Self::Out => size(io::stdout()),
            Self::Err => size(io::stderr()),
        }
    }
}

#[derive(Debug)]
struct Queue {
    waiting: VecDeque<Vec<u8>>,
    bytes: usize,
    left_out: u64,
    /// Writes that were made, so that others see whether there is a reader.
    made: u64,
    writes: bool,
    has_thread: bool,
}

/// For people: events, live lines, diagnostics.
pub(super) static STDERR: Relay = Relay::new(Stream::Err, 1 << 20, |count| {
    format!("… {count} writes were left out here, since nobody read them: `supervise timeline` has all\n")
});
/// For programs: records.
pub(super) static STDOUT: Relay =
    Relay::new(Stream::Out, 16 << 20, |count| format!("{{\"kind\":\"left_out\",\"records\":{count}}}\n"));

impl Relay {
    const fn new(stream: Stream, most: usize, note: fn(u64) -> String) -> Self {
        let waiting = VecDeque::new();
        let queue = Queue { waiting, bytes: 0, left_out: 0, made: 0, writes: false, has_thread: false };
        Self { queue: Mutex::new(queue), changed: Condvar::new(), stream, most, note }
    }

    /// Sends this on its way.
    pub(super) fn say(&'static self, bytes: &[u8]) {
        let mut queue = self.locked();
        if !queue.has_thread {
            let thread = std::thread::Builder::new().name("relay".to_owned());
            queue.has_thread = thread.spawn(|| self.write_all()).is_ok();
        }
        if !queue.has_thread || queue.bytes + bytes.len() > self.most {
            queue.left_out += 1;
            return;
        }
        if queue.left_out > 0 {
            let note = (self.note)(std::mem::take(&mut queue.left_out)).into_bytes();
            queue.bytes += note.len();
            queue.waiting.push_back(note);
        }
        queue.bytes += bytes.len();
        queue.waiting.push_back(bytes.to_vec());
        self.changed.notify_all();
    }

    /// Waits until all of it is written, as long as somebody takes it.
    pub(super) fn settle(&'static self) {
        let mut queue = self.locked();
        if queue.left_out > 0 {
            let note = (self.note)(std::mem::take(&mut queue.left_out)).into_bytes();
            queue.waiting.push_back(note);
            self.changed.notify_all();
        }
        while queue.has_thread && (queue.writes || !queue.waiting.is_empty()) {
            let made = queue.made;
            let waited = self.changed.wait_timeout(queue, PATIENCE).unwrap_or_else(PoisonError::into_inner);
            queue = waited.0;
            if waited.1.timed_out() && queue.made == made {
                return;
            }
        }
    }

    /// The thread that waits for the reader.
    fn write_all(&'static self) {
        let mut queue = self.locked();
        loop {
            let Some(bytes) = queue.waiting.pop_front() else {
                queue.writes = false;
                self.changed.notify_all();
                queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            queue.writes = true;
            drop(queue);
            let mut rest = bytes.as_slice();
            while !rest.is_empty() {
                match self.stream.write(rest) {
                    Ok(written) => {
                        rest = &rest[written..];
                        self.locked().made += 1;
                    }
                    Err(Errno::INTR) => {}
                    // The reader is gone; the run goes on.
                    Err(_) => break,
                }
            }
            queue = self.locked();
            queue.bytes = queue.bytes.saturating_sub(bytes.len());
            self.changed.notify_all();
        }
    }

    /// A panic elsewhere does not make the queue wrong.
    fn locked(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A relay as a writer, for lines, diagnostics, and as the terminal of live lines.
#[derive(Clone, Copy, Debug)]
pub(super) struct Through(pub(super) &'static Relay);

impl Write for Through {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.say(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Control sequences of ECMA-48.
impl indicatif::TermLike for Through {
    fn width(&self) -> u16 {
        self.0.stream.size().0
    }

    fn height(&self) -> u16 {
        self.0.stream.size().1
    }

    fn move_cursor_up(&self, lines: usize) -> io::Result<()> {
        self.moves(lines, 'A');
        Ok(())
    }

    fn move_cursor_down(&self, lines: usize) -> io::Result<()> {
        self.moves(lines, 'B');
        Ok(())
    }

    fn move_cursor_right(&self, columns: usize) -> io::Result<()> {
        self.moves(columns, 'C');
        Ok(())
    }

    fn move_cursor_left(&self, columns: usize) -> io::Result<()> {
        self.moves(columns, 'D');
        Ok(())
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.0.say(format!("{text}\n").as_bytes());
        Ok(())
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.0.say(text.as_bytes());
        Ok(())
    }

    fn clear_line(&self) -> io::Result<()> {
        self.0.say(b"\r\x1b[2K");
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        Ok(())
    }
}

impl Through {
    fn moves(self, by: usize, way: char) {
        if by > 0 {
            self.0.say(format!("\x1b[{by}{way}").as_bytes());
        }
    }
}
