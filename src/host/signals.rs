//! Signals that ask the supervisor to stop.
//!
//! Invariant: from [`Signals::listen`] on, SIGHUP, SIGINT and SIGTERM no longer end the process;
//! each arrives here as a value, in order.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::core::reason::Interrupt;

#[derive(Debug)]
pub struct Signals {
    hangup: Signal,
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub fn listen() -> io::Result<Self> {
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
