//! What is known of the terminal that a stream leads to.

use std::os::fd::AsFd;

/// Columns of a terminal that does not say how many it has.
const DEFAULT_COLUMNS: usize = 80;

/// How many columns it has; `None` where the stream is no terminal.
#[must_use]
pub fn columns(stream: impl AsFd) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    Some(if size.ws_col > 0 { usize::from(size.ws_col) } else { DEFAULT_COLUMNS })
}
