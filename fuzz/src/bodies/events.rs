//! What a codex or claude prints, in pieces.
//!
//! The first byte says which of the two and how it ended, the second how long the pieces are. What is read does
//! not depend on the pieces, is bounded, and brings no commands to the terminal.

use jiff::ZonedDateTime;
use supervise::core::reason::Exit;
use supervise::core::record::Summary;
use supervise::runner::{Progress, Reader, told_as_a_time};
use supervise::session::RunnerKind;

use super::{assert_lines, assert_one_line};

/// The most characters of a text of one line.
const MAX_LINE: usize = 2048;
/// The most bytes of a final message.
const MAX_MESSAGE: usize = 16 << 10;

pub fn events(data: &[u8]) {
    let [how, piece, output @ ..] = data else { return };
    let kind = if how & 1 == 0 { RunnerKind::Codex } else { RunnerKind::Claude };
    let exit = match how >> 1 & 3 {
        0 => Exit::Code(0),
        1 => Exit::Code(1),
        2 => Exit::Signal(9),
        _ => Exit::Lost,
    };
    let read = |piece: usize| {
        let mut reader = Reader::new(kind);
        let progress: Vec<Progress> = output.chunks(piece).flat_map(|bytes| reader.feed(bytes)).collect();
        (progress, reader.finish(exit))
    };
    let (progress, mut summary) = read(output.len().max(1));
    let pieces = read(usize::from(*piece).max(1));
    assert_eq!(pieces, (progress.clone(), summary.clone()), "what is read depends on the pieces");

    for step in progress {
        match step {
            Progress::Says(text) | Progress::Runs(text) | Progress::Uses(text) | Progress::Note(text) => short(&text),
            Progress::Edits(paths) => paths.iter().for_each(|path| short(path)),
            Progress::Thinks => {}
        }
    }
    let now: ZonedDateTime = "2026-11-24T22:00:00[+01:00]".parse().expect("it is a time");
    told_as_a_time(&mut summary, &now);
    sums_up(&summary);
}

fn sums_up(summary: &Summary) {
    if let Some(message) = &summary.message {
        assert_lines(message);
        assert!(message.len() <= MAX_MESSAGE, "a message of {} bytes", message.len());
    }
    for need in &summary.needs {
        short(&need.path);
        short(&need.why);
    }
    summary.fatal.iter().chain(&summary.thread).for_each(|text| short(text));
}

#[track_caller]
fn short(text: &str) {
    assert_one_line(text);
    assert!(text.chars().count() <= MAX_LINE, "a line of {} characters", text.chars().count());
}
