//! What comes over the socket between the supervisor and a shim, in both directions.
//!
//! However it is cut, the same frames come out of it; and what was read is written and read back as the same.

use supervise::shim::wire::{Frames, Order, Report, WireError};

type Next<T> = fn(&mut Frames) -> Result<Option<T>, WireError>;

pub fn frames(data: &[u8]) {
    let [piece, bytes @ ..] = data else { return };
    let piece = usize::from(*piece).max(1);
    both(bytes, piece, Frames::next_order, Order::encode);
    both(bytes, piece, Frames::next_report, |report: &Report| {
        let mut frame = Vec::new();
        report.encode(&mut frame);
        frame
    });
}

fn both<T: PartialEq + std::fmt::Debug>(bytes: &[u8], piece: usize, next: Next<T>, encode: impl Fn(&T) -> Vec<u8>) {
    let (all, broken) = read(bytes, bytes.len().max(1), next);
    assert_eq!(read(bytes, piece, next), (read(bytes, bytes.len().max(1), next).0, broken), "in pieces of {piece}");
    for frame in all {
        let (again, broken) = read(&encode(&frame), usize::MAX, next);
        assert_eq!((again, broken), (vec![frame], None), "a frame has changed on its way");
    }
}

/// The frames until one is broken, and why it is.
fn read<T>(bytes: &[u8], piece: usize, next: Next<T>) -> (Vec<T>, Option<WireError>) {
    let mut frames = Frames::default();
    let mut all = Vec::new();
    for piece in bytes.chunks(piece) {
        frames.push(piece);
        loop {
            match next(&mut frames) {
                Ok(Some(frame)) => all.push(frame),
                Ok(None) => break,
                Err(error) => return (all, Some(error)),
            }
        }
    }
    (all, None)
}
