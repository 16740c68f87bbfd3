//! The targets, one a file, and what they share.

mod control;
mod events;
mod frames;
mod ignore;
mod journal;
mod orchestrator;
mod paths;
mod patterns;
mod session;

use std::path::{Path, PathBuf};

pub use control::control;
pub use events::events;
pub use frames::frames;
pub use ignore::ignore;
pub use journal::journal;
pub use orchestrator::orchestrator;
pub use paths::paths;
pub use patterns::patterns;
pub use session::session;

/// What a target is called, which is also the name of its corpus, and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 9] = [
    ("session", session),
    ("orchestrator", orchestrator),
    ("patterns", patterns),
    ("journal", journal),
    ("control", control),
    ("events", events),
    ("frames", frames),
    ("paths", paths),
    ("ignore", ignore),
];

/// `fuzz/`, whichever of the two packages this is compiled into.
pub fn here() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    if package.ends_with("fuzz") { package.to_owned() } else { package.join("fuzz") }
}

/// A workspace for session files: prompts, and directories to make agents for.
fn ground() -> PathBuf {
    here().join("ground")
}

/// Would a terminal do something at this character other than show it, or end the line?
fn commands_a_terminal(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Panics where a text of one line is none, or commands a terminal.
#[track_caller]
fn assert_one_line(text: &str) {
    assert!(!text.contains(commands_a_terminal), "one harmless line: {text:?}");
}

/// The same for lines, which may be indented by tabs.
#[track_caller]
fn assert_lines(text: &str) {
    assert!(!text.contains(|c| commands_a_terminal(c) && c != '\n' && c != '\t'), "harmless lines: {text:?}");
}
