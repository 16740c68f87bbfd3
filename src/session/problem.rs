//! What is wrong with a session file: each problem with its place, and all of them together.
//!
//! Invariant: a [`SessionErrors`] has at least one problem of severity error; problems come in the
//! order of their places. At most [`MAX_PROBLEMS`] are kept, the rest are counted.
//!
//! Deliberately absent: how they look (`render::diagnostic`).

use std::collections::BTreeSet;
use std::fmt;

use super::source::{SourceText, Span};

/// The most problems of one file that are kept.
pub const MAX_PROBLEMS: usize = 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Error,
    Warning,
}

/// One thing that is wrong (or doubtful), and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Stable, snake_case: for programs.
    pub code: &'static str,
    pub severity: Severity,
    /// One sentence, lowercase, no full stop.
    pub message: String,
    /// The file it is in: the session file, a prompt file, or the `--set` that it came with.
    pub file: String,
    /// From 1.
    pub line: Option<u32>,
    /// From 1, in characters.
    pub column: Option<u32>,
    /// What to do.
    pub help: Option<String>,
    /// The bytes of the session file to underline; `None` for problems elsewhere.
    pub span: Option<Span>,
}

/// Everything that is wrong with a session file.
#[derive(Clone, Debug)]
pub struct SessionErrors {
    /// Errors and warnings.
    pub problems: Vec<Problem>,
    /// How many more there are than `problems` holds.
    pub more: usize,
    pub source: SourceText,
}

impl SessionErrors {
    /// Is the file good, and only the selection empty? (Exit 4 instead of 2.)
    #[must_use]
    pub fn nothing_selected(&self) -> bool {
        self.problems.iter().any(|p| p.code == NOTHING_SELECTED)
    }

    /// How many errors there are, those that were not kept included.
    #[must_use]
    pub fn count(&self) -> usize {
        self.problems.iter().filter(|p| p.severity == Severity::Error).count() + self.more
    }

    pub(super) fn one(source: SourceText, problem: Problem) -> Self {
        Self { problems: vec![problem], more: 0, source }
    }
}

/// The code of the problem that no agent was selected.
pub const NOTHING_SELECTED: &str = "nothing_selected";

impl fmt::Display for SessionErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, name) = (self.count(), self.source.name());
        if self.nothing_selected() {
            return write!(f, "no agent of {name} is selected");
        }
        write!(f, "{count} {} in {name}", if count == 1 { "error" } else { "errors" })
    }
}

impl std::error::Error for SessionErrors {}

/// The code of what is not TOML.
pub const SYNTAX: &str = "syntax";

/// Collects the problems of one file.
#[derive(Debug)]
pub(super) struct Problems {
    source: SourceText,
    /// The `--set` options, as given; span `text.len() + 1 + i` is the i-th.
    sets: Vec<String>,
    kept: Vec<Problem>,
    /// Places and codes already reported: what stands in the defaults is read once for each agent.
    seen: BTreeSet<(usize, usize, &'static str)>,
    more: usize,
    errors: usize,
}

impl Problems {
    pub(super) fn new(source: SourceText, sets: &[String]) -> Self {
        Self { source, sets: sets.to_vec(), kept: Vec::new(), seen: BTreeSet::new(), more: 0, errors: 0 }
    }

    pub(super) fn source(&self) -> &SourceText {
        &self.source
    }

    /// The span that stands for the `index`-th `--set`.
    pub(super) fn set_span(&self, index: usize) -> Span {
        let at = self.source.text().len() + 1 + index;
        at..at
    }

    pub(super) fn error(&mut self, code: &'static str, span: &Span, message: impl Into<String>, help: Option<String>) {
        self.at(Severity::Error, code, span, message.into(), help);
    }

    pub(super) fn warning(
        &mut self,
        code: &'static str,
        span: &Span,
        message: impl Into<String>,
        help: Option<String>,
    ) {
        self.at(Severity::Warning, code, span, message.into(), help);
    }

    fn at(&mut self, severity: Severity, code: &'static str, span: &Span, message: String, help: Option<String>) {
        if !self.seen.insert((span.start, span.end, code)) {
            return;
        }
        let length = self.source.text().len();
        let set = span.start.checked_sub(length + 1).and_then(|i| self.sets.get(i));
        let problem = if let Some(set) = set {
            let file = format!("--set {set}");
            Problem { code, severity, message, file, line: None, column: None, help, span: None }
        } else {
            let (line, column) = self.source.position(span.start);
            let (line, column) = (Some(line), Some(column));
            let file = self.source.name().to_owned();
            let span = span.start.min(length)..span.end.min(length);
            Problem { code, severity, message, file, line, column, help, span: Some(span) }
        };
        self.push(problem);
    }

    /// About the session as a whole, at no place of it.
    pub(super) fn general(&mut self, code: &'static str, message: impl Into<String>, help: Option<String>) {
        let file = self.source.name().to_owned();
        let severity = Severity::Error;
        self.push(Problem {
            code,
            severity,
            message: message.into(),
            file,
            line: None,
            column: None,
            help,
            span: None,
        });
    }

    pub(super) fn push(&mut self, problem: Problem) {
        if problem.severity == Severity::Error {
            self.errors += 1;
        }
        if self.kept.len() < MAX_PROBLEMS {
            self.kept.push(problem);
        } else if problem.severity == Severity::Error {
            self.more += 1;
        }
    }

    /// After syntax errors, some of what follows is only their echo: names that were on a broken
    /// line are missing elsewhere. Keeps what stands on its own.
    pub(super) fn drop_echoes(&mut self) {
        let broken: BTreeSet<u32> = self.kept.iter().filter(|p| p.code == SYNTAX).filter_map(|p| p.line).collect();
        if broken.is_empty() {
            return;
        }
        let echo = |p: &Problem| {
            p.code.starts_with("missing_key")
                || ["no_agents", "missing_prompt", NOTHING_SELECTED].contains(&p.code)
                || p.code.starts_with("unknown_") && p.code != "unknown_key"
                || p.line.is_some_and(|l| broken.contains(&l))
        };
        self.kept.retain(|p| p.code == SYNTAX || !echo(p));
    }

    pub(super) fn has_errors(&self) -> bool {
        self.errors > 0
    }

    fn sorted(mut self) -> (Vec<Problem>, usize, SourceText) {
        self.kept.sort_by_key(|p| p.span.as_ref().map_or(usize::MAX, |s| s.start));
        (self.kept, self.more, self.source)
    }

    pub(super) fn into_errors(self) -> SessionErrors {
        let (problems, more, source) = self.sorted();
        SessionErrors { problems, more, source }
    }

    /// The warnings, where there is no error.
    pub(super) fn finish(self) -> Result<(Vec<Problem>, SourceText), SessionErrors> {
        if self.has_errors() {
            return Err(self.into_errors());
        }
        let (problems, _, source) = self.sorted();
        Ok((problems, source))
    }
}

/// `did you mean …?`, where one of `known` is near to `word`.
#[must_use]
pub fn suggest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    nearest(word, known).map(|near| format!("did you mean `{near}`?"))
}

pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > 100 {
        return None;
    }
    let allowed = (word.chars().count() / 3).clamp(1, 3);
    let scored = known.into_iter().take(20_000).filter(|k| k.len() <= 100).filter_map(|k| {
        let part = k.len() >= 4 && word.len() >= 4 && (k.starts_with(word) || word.starts_with(k));
        let distance = strsim::damerau_levenshtein(word, k);
        (distance <= allowed || part).then_some((distance, k))
    });
    scored.min().map(|(_, k)| k)
}
