//! Which colour means what.
//!
//! Invariant: colour never carries what the words do not say.

use std::fmt;

use anstyle::{AnsiColor, Style};

use crate::core::lifecycle::State;

/// Whether text is made with colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Palette {
    #[default]
    Plain,
    Colour,
}

/// What a piece of text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Good,
    Bad,
    /// Somebody should look.
    Warning,
    Active,
    /// Times, paths of logs, and other things beside the point.
    Quiet,
    Heading,
}

impl Palette {
    /// `text` in its tone.
    #[must_use]
    pub fn paint(self, tone: Tone, text: impl fmt::Display) -> String {
        match self {
            Self::Plain => text.to_string(),
            Self::Colour => {
                let style = style(tone);
                format!("{style}{text}{style:#}")
            }
        }
    }
}

fn style(tone: Tone) -> Style {
    match tone {
        Tone::Good => AnsiColor::Green.on_default(),
        Tone::Bad => AnsiColor::Red.on_default().bold(),
        Tone::Warning => AnsiColor::Yellow.on_default(),
        Tone::Active => AnsiColor::Cyan.on_default(),
        Tone::Quiet => Style::new().dimmed(),
        Tone::Heading => Style::new().bold(),
    }
}

/// The tone of a state.
#[must_use]
pub fn of_state(state: State) -> Tone {
    match state {
        State::Completed => Tone::Good,
        State::Failed | State::Timeout | State::Terminated | State::Conflict => Tone::Bad,
        State::Blocked | State::Skipped => Tone::Warning,
        State::Running | State::Completing => Tone::Active,
        State::Registered | State::Waiting => Tone::Quiet,
    }
}
