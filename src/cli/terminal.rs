//! What is known of the terminal that a stream leads to.

use std::os::fd::AsFd;

/// Columns of a terminal that does not say how many it has.
const DEFAULT_COLUMNS: usize = 80;
/// The size of the terminals that came first.
const USUAL: (u16, u16) = (80, 24);

/// Columns and rows of a terminal; what is usual where they are not known.
pub(super) fn size(stream: impl AsFd) -> (u16, u16) {
    match rustix::termios::tcgetwinsize(stream) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col, size.ws_row),
        _ => USUAL,
    }
}

/// How many columns it has; `None` where the stream is no terminal.
#[must_use]
pub fn columns(stream: impl AsFd) -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    Some(if size.ws_col > 0 { usize::from(size.ws_col) } else { DEFAULT_COLUMNS })
}
