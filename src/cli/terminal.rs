//! What is known of the terminal that a stream leads to.

use std::os::fd::AsFd;

/// How many columns it has; `None` where the stream is no terminal, or one that does not say.
#[must_use]
pub fn columns(stream: impl AsFd) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    (size.ws_col > 0).then(|| usize::from(size.ws_col))
}
