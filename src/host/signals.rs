//! Signals that ask the supervisor to stop, and those that must not reach further than it.
//!
//! Invariant: from [`Signals::listen`] on, SIGHUP, SIGINT and SIGTERM no longer end the process;
//! each arrives here as a value, in order. A file that may not grow any more (SIGXFSZ) is an error of
//! the write, and no program that is started from here ignores a signal because whoever started the
//! supervisor did.

use std::io;

use nix::sys::signal::{SIGHUP, SIGINT, SIGTERM, SigSet, raise};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::core::reason::Interrupt;

/// Signals that stay ignored if they were: with a handler the supervisor in the background would stop
/// or spin when it writes to its terminal (agents have none); std gives SIGPIPE back to its children;
/// the others cannot be handled, or are no news to anybody.
const KEPT: [i32; 6] = [
    nix::libc::SIGTTIN,
    nix::libc::SIGTTOU,
    nix::libc::SIGPIPE,
    nix::libc::SIGILL,
    nix::libc::SIGFPE,
    nix::libc::SIGSEGV,
];

/// Takes a signal and does nothing about it. Unlike one that is ignored, it has its default meaning
/// again in whatever is executed (execve(2)).
fn handle(number: i32) -> io::Result<()> {
    signal(SignalKind::from_raw(number)).map(drop)
}

/// The signals that this process was started to ignore, of those that are not the C library's or for
/// real time (proc_pid_status(5)).
fn ignored() -> io::Result<impl Iterator<Item = i32>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let set = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let set = set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or(0);
    Ok((1..32).filter(move |number| set >> (number - 1) & 1 == 1))
}

/// The signals that end this process, held back in this thread and in those that it starts from now on, for one of
/// them to take (sigwait(3)). Not those that it was started to ignore. Dropped, they have their meaning again in this
/// one.
#[derive(Debug)]
pub struct Held(SigSet);

impl Held {
    pub fn hold() -> io::Result<Self> {
        // One that is blocked comes also where it is ignored (signal(7)), and then ends nothing.
        let mut held = SigSet::from_iter([SIGHUP, SIGINT, SIGTERM]);
        for signal in ignored()?.filter_map(|number| nix::sys::signal::Signal::try_from(number).ok()) {
            held.remove(signal);
        }
        held.thread_block()?;
        Ok(Self(held))
    }

    /// Runs `last`, in a thread of its own, when the first of them comes; that one then ends the process.
    pub fn take(self, last: impl FnOnce() + Send + 'static) -> io::Result<()> {
        let held = self.0;
        let wait = move || {
            let signal = held.wait().unwrap_or(SIGTERM);
            last();
            // Neither fails for a signal that there is.
            let _ = held.thread_unblock().and_then(|()| raise(signal));
        };
        std::thread::Builder::new().name("signals".to_owned()).spawn(wait)?;
        std::mem::forget(self);
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // It fails for a set that is none.
        let _ = self.0.thread_unblock();
    }
}

#[derive(Debug)]
pub struct Signals {
    hangup: Signal,
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub fn listen() -> io::Result<Self> {
        handle(nix::libc::SIGXFSZ)?;
        for number in ignored()?.filter(|number| !KEPT.contains(number)) {
            handle(number)?;
        }
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// The next signal. Cancel safe.
    pub async fn next(&mut self) -> Interrupt {
        tokio::select! {
            _ = self.hangup.recv() => Interrupt::Hangup,
            _ = self.interrupt.recv() => Interrupt::Interrupt,
            _ = self.terminate.recv() => Interrupt::Terminate,
        }
    }
}
