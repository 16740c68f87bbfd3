//! What `tracing` tells, on standard error: one plain line among the others, or, where SUPERVISE_LOG asks for
//! diagnostics, with the time and the module.
//!
//! Invariant: a line can neither leave itself nor colour what is no terminal.

use std::fmt::{self, Write as _};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::progress::palette_for;
use super::relay::{STDERR, Through};
use crate::render::style::Palette;
use crate::render::text::printable;

/// From now on they go to standard error.
pub(super) fn to_stderr() {
    let asked = EnvFilter::try_from_env("SUPERVISE_LOG");
    let verbose = asked.is_ok();
    let filter = asked.unwrap_or_else(|_| EnvFilter::new("warn"));
    let colour = palette_for(&std::io::stderr()) == Palette::Colour;
    let subscriber =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| Through(&STDERR)).with_ansi(colour);
    let started = if verbose { subscriber.try_init() } else { subscriber.event_format(Plain).try_init() };
    debug_assert!(started.is_ok(), "nobody else sets up logging");
}

/// `supervise: warning: what (of what): why`.
struct Plain;

impl<S, N> FormatEvent<S, N> for Plain
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warning",
            _ => "note",
        };
        let mut words = Words::default();
        event.record(&mut words);
        writeln!(writer, "supervise: {level}: {}", words.line())
    }
}

/// The parts of an event.
#[derive(Debug, Default)]
struct Words {
    message: String,
    about: Vec<String>,
    error: Option<String>,
}

impl Words {
    fn line(&self) -> String {
        let mut line = self.message.clone();
        if !self.about.is_empty() {
            let _ = write!(line, " ({})", self.about.join(", "));
        }
        if let Some(error) = &self.error {
            let _ = write!(line, ": {error}");
        }
        printable(&line)
    }

    fn take(&mut self, name: &str, value: String) {
        match name {
            "message" => self.message = value,
            "error" => self.error = Some(value),
            "id" => self.about.push(value),
            _ => self.about.push(format!("{name} {value}")),
        }
    }
}

impl Visit for Words {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.take(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.take(field.name(), format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_says_what_of_what_and_why() {
        let check = |parts: &[(&str, &str)], expected: &str| {
            let mut words = Words::default();
            for (name, value) in parts {
                words.take(name, (*value).to_owned());
            }
            assert_eq!(words.line(), expected);
        };
        check(&[("message", "it failed")], "it failed");
        check(&[("message", "it failed"), ("error", "no\nspace \u{1b}[31mleft")], "it failed: no space left");
        let parts = [("id", "a#1"), ("error", "why"), ("bytes", "3"), ("message", "it failed")];
        check(&parts, "it failed (a#1, bytes 3): why");
    }
}
