//! Problems of a session file as text: the line underlined on a terminal, plain lines in a pipe.
//!
//! Invariant: the output is bounded (long lines are cut around the fault, many problems counted),
//! holds no control characters of the file, and its last line says what to do next.

use std::fmt::{self, Write as _};

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents, SourceCode,
    SourceSpan, SpanContents,
};

use crate::render::text::{plural, printable, reorders};
use crate::session::problem::MAX_PROBLEMS;
use crate::session::{Problem, SessionErrors, Severity, SourceText};

/// The most problems that are shown one by one.
const MAX_SHOWN: usize = 50;
/// How many bytes of a line are shown before the fault, and from it on.
const MAX_BEFORE: usize = 100;
const MAX_AFTER: usize = 140;

/// How problems are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// For pipes and files: one line a problem, one for its help.
    Plain,
    /// For terminals: excerpts, at most so many columns wide.
    Graphical { color: bool, width: usize },
}

/// All that is wrong, and what to do about it.
#[must_use]
pub fn errors(errors: &SessionErrors, look: Look) -> String {
    let mut out = listed(errors, look);
    let name = printable(errors.source.name());
    let _ = if errors.nothing_selected() {
        writeln!(out, "nothing was started; `supervise check` lists the agents of {name}")
    } else {
        let count = plural(errors.count(), "error", "errors");
        writeln!(out, "{count} in {name}, nothing was started; correct them, then run `supervise check` again")
    };
    out
}

/// The same of a file that was to be added to.
#[must_use]
pub fn not_added(errors: &SessionErrors, look: Look) -> String {
    let mut out = listed(errors, look);
    let (count, name) = (plural(errors.count(), "error", "errors"), printable(errors.source.name()));
    let _ = writeln!(out, "{count}, nothing was added to {name}; correct them, then run `supervise register` again");
    out
}

fn listed(errors: &SessionErrors, look: Look) -> String {
    let mut out = problems(&errors.problems, &errors.source, look);
    let shown = errors.problems.len().min(MAX_SHOWN);
    let hidden = errors.problems.len() - shown + errors.more;
    if hidden > 0 {
        let least = if errors.problems.len() >= MAX_PROBLEMS { "at least " } else { "" };
        let _ = writeln!(out, "… and {least}{hidden} more");
    }
    out
}

/// Problems one by one, at most 50 of them: the warnings of a good session.
#[must_use]
pub fn problems(problems: &[Problem], source: &SourceText, look: Look) -> String {
    let mut out = String::new();
    let clean = matches!(look, Look::Graphical { .. }).then(|| Clean::new(source));
    for problem in problems.iter().take(MAX_SHOWN) {
        match (look, &clean) {
            (Look::Graphical { color, width }, Some(clean)) => graphical(&mut out, problem, clean, color, width),
            _ => plain(&mut out, problem),
        }
    }
    out
}

fn plain(out: &mut String, problem: &Problem) {
    let _ = write!(out, "{}", printable(&problem.file));
    if let (Some(line), Some(column)) = (problem.line, problem.column) {
        let _ = write!(out, ":{line}:{column}");
    }
    let _ = writeln!(out, ": {}[{}]: {}", severity(problem), problem.code, printable(&problem.message));
    if let Some(help) = &problem.help {
        let _ = writeln!(out, "  help: {}", printable(help));
    }
}

fn severity(problem: &Problem) -> &'static str {
    match problem.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

fn graphical(out: &mut String, problem: &Problem, source: &Clean<'_>, color: bool, width: usize) {
    let theme = if color { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
    let handler = GraphicalReportHandler::new_themed(theme).with_width(width).with_links(false).with_context_lines(1);
    let shown = Shown { problem, source };
    let mut text = String::new();
    if handler.render_report(&mut text, &shown).is_ok() {
        out.push_str(&text);
        if !text.ends_with('\n') {
            out.push('\n');
        }
    } else {
        plain(out, problem);
    }
}

/// The file's text without control characters and marks that reorder a line, byte for byte at the same places.
struct Clean<'a> {
    source: &'a SourceText,
    text: String,
}

impl<'a> Clean<'a> {
    fn new(source: &'a SourceText) -> Self {
        let harmless = |c: char| match c.len_utf8() {
            _ if matches!(c, '\n' | '\t') || !(c.is_control() || reorders(c)) => c,
            // What stands for it has as many bytes; there is none of four.
            1 => ' ',
            2 => '·',
            _ => char::REPLACEMENT_CHARACTER,
        };
        Self { source, text: source.text().chars().map(harmless).collect() }
    }
}

impl fmt::Debug for Clean<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Clean").field(&self.source.name()).finish()
    }
}

impl SourceCode for Clean<'_> {
    /// The line that the span begins in, cut around the span. (The next line is never needed: only
    /// the first line of a span is underlined.) miette asks without context lines when it wants the
    /// place for the heading, and with some when it wants the excerpt.
    fn read_span<'b>(
        &'b self,
        span: &SourceSpan,
        before: usize,
        _after: usize,
    ) -> Result<Box<dyn SpanContents<'b> + 'b>, MietteError> {
        let line = self.source.line_at(span.offset());
        let boundary = |mut at: usize| {
            while !self.text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let start = boundary(line.start.max(span.offset().saturating_sub(MAX_BEFORE)));
        let end = boundary(line.end.min(span.offset() + MAX_AFTER)).max(start);
        let (number, column) = self.source.position(if before == 0 { span.offset() } else { start });
        Ok(Box::new(MietteSpanContents::new_named(
            printable(self.source.name()),
            &self.text.as_bytes()[start..end],
            (start, end - start).into(),
            number.saturating_sub(1) as usize,
            column.saturating_sub(1) as usize,
            1,
        )))
    }
}

/// One problem as miette takes it.
#[derive(Debug)]
struct Shown<'a> {
    problem: &'a Problem,
    source: &'a Clean<'a>,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.problem.span.is_none() {
            write!(f, "{}", printable(&self.problem.file))?;
            if let (Some(line), Some(column)) = (self.problem.line, self.problem.column) {
                write!(f, ":{line}:{column}")?;
            }
            f.write_str(": ")?;
        }
        f.write_str(&printable(&self.problem.message))
    }
}

impl std::error::Error for Shown<'_> {}

impl Diagnostic for Shown<'_> {
    fn code<'b>(&'b self) -> Option<Box<dyn fmt::Display + 'b>> {
        Some(Box::new(self.problem.code))
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.problem.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'b>(&'b self) -> Option<Box<dyn fmt::Display + 'b>> {
        let help = self.problem.help.as_deref()?;
        Some(Box::new(printable(help)))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.problem.span.as_ref().map(|_| self.source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = self.problem.span.clone()?;
        let line = self.source.source.line_at(span.start);
        let end = span.end.min(line.end).min(span.start + MAX_AFTER).max(span.start);
        Some(Box::new(std::iter::once(LabeledSpan::new_with_span(None, (span.start, end - span.start)))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(text: &str, at: &str) -> SessionErrors {
        let source = SourceText::new("s.toml", text);
        let start = text.find(at).unwrap();
        let (line, column) = source.position(start);
        let problem = Problem {
            code: "unknown_key",
            severity: Severity::Error,
            message: "[[agent]] has no key `promt`".to_owned(),
            file: "s.toml".to_owned(),
            line: Some(line),
            column: Some(column),
            help: Some("did you mean `prompt`?".to_owned()),
            span: Some(start..start + at.len()),
        };
        SessionErrors { problems: vec![problem], more: 0, source }
    }

    #[test]
    fn plain_lines_name_the_place() {
        let text = errors(&example("[[agent]]\nid = \"a\"\npromt = 1\n", "promt"), Look::Plain);
        assert_eq!(
            text,
            "s.toml:3:1: error[unknown_key]: [[agent]] has no key `promt`\n  help: did you mean `prompt`?\n\
             1 error in s.toml, nothing was started; correct them, then run `supervise check` again\n"
        );
    }

    #[test]
    fn a_terminal_sees_the_line_underlined() {
        let look = Look::Graphical { color: false, width: 80 };
        let text = errors(&example("[[agent]]\nid = \"a\"\npromt = 1\n", "promt"), look);
        assert!(text.contains("s.toml:3:1"), "{text}");
        assert!(text.contains("3 │ promt = 1"), "{text}");
        assert!(text.contains("──"), "{text}");
        assert!(text.contains("help: did you mean `prompt`?"), "{text}");
    }

    #[test]
    fn long_lines_and_escapes_stay_out() {
        let long = format!("x = \"{}\u{1b}[2J\u{9b}2J\" promt {}", "ä".repeat(50_000), "b".repeat(50_000));
        let text = errors(&example(&long, "promt"), Look::Graphical { color: false, width: 80 });
        assert!(text.len() < 4000, "{} bytes", text.len());
        assert!(!text.contains(['\u{1b}', '\u{9b}']), "{text:?}");
        assert!(text.contains("promt bbb"), "{text}");
    }

    #[test]
    fn what_reorders_a_line_is_replaced_and_the_place_stays() {
        let text = "x = \"\u{61c}\u{202e}\u{85}\" promt";
        let text = errors(&example(text, "promt"), Look::Graphical { color: false, width: 80 });
        assert!(text.contains("x = \"·\u{fffd}·\" promt"), "{text:?}");
        assert!(!text.contains(reorders), "{text:?}");
    }
}
