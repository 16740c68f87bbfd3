//! Filling in placeholders, with bad ones reported at their place in the file; and prompt files.
//!
//! Invariant: each file is read at most once, however many agents name it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::problem::{Problem, Problems, Severity, suggest};
use super::section::{At, shorten};
use super::source::{MAX_PROMPT_FILE, SourceText, Span, decode, read_file};
use super::template::{Scope, Template};

/// Fills in `text`; what is wrong is reported, and `None`.
pub(super) fn fill(text: &At<String>, scope: Scope<'_>, problems: &mut Problems) -> Option<Template> {
    if !text.value.contains("{{") {
        return Some(Template::text(&text.value));
    }
    match Template::parse(&text.value, scope) {
        Ok(template) => Some(template),
        Err(bad) => {
            for placeholder in bad {
                let written = &text.value[placeholder.span.clone()];
                let span = narrow(&text.span, written, problems.source());
                let (code, message, help) = if placeholder.name.is_empty() {
                    let message = "`{{` begins a placeholder that has no name or no end".to_owned();
                    ("bad_placeholder", message, Some("write `{{{{` for a literal `{{`".to_owned()))
                } else {
                    let name = shorten(&placeholder.name);
                    let names = scope.names();
                    let known = || format!("known here: {}; `{{{{{{{{` is a literal `{{{{`", names.join(", "));
                    let help = suggest(&placeholder.name, names.iter().copied()).unwrap_or_else(known);
                    ("unknown_placeholder", format!("there is no placeholder `{name}` here"), Some(help))
                };
                problems.error(code, &span, message, help);
            }
            None
        }
    }
}

/// As [`fill`], for texts that may have no placeholder that waits for the launch.
pub(super) fn fill_now(text: &At<String>, scope: Scope<'_>, problems: &mut Problems) -> Option<String> {
    if !text.value.contains("{{") {
        return Some(text.value.clone());
    }
    fill(text, scope, problems).map(Template::into_text)
}

/// Where `written` stands within a value, if the value has it without escapes.
fn narrow(span: &Span, written: &str, source: &SourceText) -> Span {
    let found = source.text().get(span.clone()).and_then(|value| value.find(written));
    found.map_or_else(|| span.clone(), |at| span.start + at..span.start + at + written.len())
}

/// The prompt files of a session.
#[derive(Debug)]
pub(super) struct PromptFiles<'a> {
    base_dir: &'a Path,
    texts: BTreeMap<PathBuf, Option<String>>,
}

impl<'a> PromptFiles<'a> {
    pub(super) fn new(base_dir: &'a Path) -> Self {
        Self { base_dir, texts: BTreeMap::new() }
    }

    /// The text of the file that `named` (its path in the session file, filled in) is.
    pub(super) fn get(&mut self, named: &str, span: &Span, problems: &mut Problems) -> Option<&str> {
        let path = self.base_dir.join(named);
        if !self.texts.contains_key(&path) {
            let text = read(&path, span, problems);
            self.texts.insert(path.clone(), text);
        }
        self.texts.get(&path)?.as_deref()
    }
}

fn read(path: &Path, span: &Span, problems: &mut Problems) -> Option<String> {
    let shown = shorten(&path.display().to_string());
    let bytes = match read_file(path, MAX_PROMPT_FILE) {
        Ok(bytes) => bytes,
        Err(error) => {
            let help = "its path is relative to the session file".to_owned();
            problems.error("missing_prompt_file", span, format!("cannot read {shown}: {error}"), Some(help));
            return None;
        }
    };
    let fault = match decode(&bytes) {
        Ok(text) => match text.find('\0') {
            None => return Some(text.replace("\r\n", "\n")),
            Some(at) => (at, "a prompt may not hold a NUL character"),
        },
        Err(valid) => (valid, "the file is not UTF-8"),
    };
    let source = SourceText::new(&path.display().to_string(), &String::from_utf8_lossy(&bytes[..fault.0]));
    let (line, column) = source.position(fault.0);
    problems.push(Problem {
        code: "bad_prompt_file",
        severity: Severity::Error,
        message: fault.1.to_owned(),
        file: source.name().to_owned(),
        line: Some(line),
        column: Some(column),
        help: Some("save it as UTF-8 text".to_owned()),
        span: None,
    });
    None
}
