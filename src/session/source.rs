//! The text of a session file: reading its bytes, and where an offset lies in it.
//!
//! Invariant: a [`SourceText`] is UTF-8 without a byte order mark; a byte offset into it has one line
//! and one column, both from 1, columns in characters.
//!
//! Deliberately absent: what the text means.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::plan::Origin;
use super::problem::{Problem, Severity};

/// The largest session file, in bytes.
pub const MAX_SESSION_FILE: u64 = 16 << 20;
/// The largest prompt or preamble file, in bytes.
pub const MAX_PROMPT_FILE: u64 = 4 << 20;

/// Bytes of a text: `start..end`.
pub type Span = Range<usize>;

/// A session file's text, with its lines. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct SourceText {
    name: Arc<str>,
    text: Arc<str>,
    /// Where each line starts.
    lines: Arc<[usize]>,
}

impl SourceText {
    /// `name` is what messages call it.
    #[must_use]
    pub fn new(name: &str, text: &str) -> Self {
        let starts =
            std::iter::once(0).chain(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i + 1));
        Self { name: Arc::from(name), lines: starts.collect(), text: Arc::from(text) }
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Line and column of a byte offset, both from 1; an offset beyond the end is the end.
    #[must_use]
    pub fn position(&self, offset: usize) -> (u32, u32) {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let line = self.lines.partition_point(|start| *start <= offset).saturating_sub(1);
        let column = self.text[self.lines[line]..offset].chars().count() + 1;
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        (number(line + 1), number(column))
    }

    /// The bytes of the line that `offset` is in, without its end.
    #[must_use]
    pub fn line_at(&self, offset: usize) -> Span {
        let offset = offset.min(self.text.len());
        let line = self.lines.partition_point(|start| *start <= offset).saturating_sub(1);
        let end = self.lines.get(line + 1).map_or(self.text.len(), |next| next - 1);
        let start = self.lines[line];
        start..start + self.text[start..end].trim_end_matches('\r').len()
    }
}

/// What messages call a session that came from `origin`.
#[must_use]
pub fn origin_name(origin: &Origin) -> String {
    match origin {
        Origin::File(path) => path.display().to_string(),
        Origin::StandardInput => "standard input".to_owned(),
        Origin::Embedded => "built-in session".to_owned(),
    }
}

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("there is no such file")]
    Missing,
    #[error("it is a directory")]
    Directory,
    #[error("it is larger than {} MiB", .limit >> 20)]
    TooLarge { limit: u64 },
    #[error("{0}")]
    Io(io::Error),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Missing,
            io::ErrorKind::IsADirectory => Self::Directory,
            _ => Self::Io(error),
        }
    }
}

/// Reads at most `limit` bytes; more is an error.
pub(super) fn read_bounded(mut from: impl Read, limit: u64) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    from.by_ref().take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit { Err(ReadError::TooLarge { limit }) } else { Ok(bytes) }
}

/// Reads a file that may not be a directory, nor larger than `limit`.
pub(super) fn read_file(path: &Path, limit: u64) -> Result<Vec<u8>, ReadError> {
    let meta = std::fs::metadata(path)?;
    if meta.is_dir() {
        return Err(ReadError::Directory);
    }
    if meta.len() > limit {
        return Err(ReadError::TooLarge { limit });
    }
    read_bounded(File::open(path)?, limit)
}

/// The text of `bytes` without a byte order mark; else the length of what is UTF-8 before the fault.
pub(super) fn decode(bytes: &[u8]) -> Result<&str, usize> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|e| e.valid_up_to())
}

/// The text of a session file, or the one problem that keeps it from being one.
pub(super) fn text_of(origin: &Origin, bytes: &[u8]) -> Result<SourceText, Box<(SourceText, Problem)>> {
    let name = origin_name(origin);
    let fail = |source: SourceText, code, span: Option<Span>, message: &str, help: &str| {
        let place = span.as_ref().map(|s| source.position(s.start));
        let problem = Problem {
            code,
            severity: Severity::Error,
            message: message.to_owned(),
            file: source.name().to_owned(),
            line: place.map(|p| p.0),
            column: place.map(|p| p.1),
            help: Some(help.to_owned()),
            span,
        };
        Err(Box::new((source, problem)))
    };
    if bytes.len() as u64 > MAX_SESSION_FILE {
        return fail(SourceText::new(&name, ""), "too_large", None, "the session is larger than 16 MiB", "split it");
    }
    match decode(bytes) {
        Ok(text) if text.trim().is_empty() => fail(
            SourceText::new(&name, ""),
            "empty_session",
            None,
            "the session file is empty",
            "`supervise init` writes one to start from",
        ),
        Ok(text) => Ok(SourceText::new(&name, text)),
        Err(valid) => {
            let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
            let lossy = SourceText::new(&name, &String::from_utf8_lossy(bytes));
            let message = format!("byte {:#04x} is not UTF-8", bytes.get(valid).copied().unwrap_or_default());
            fail(lossy, "invalid_utf8", Some(valid..valid + 3), &message, "save the file as UTF-8")
        }
    }
}

/// The bytes of a session file, at most [`MAX_SESSION_FILE`] of them.
pub(super) fn bytes_of(origin: &Origin) -> Result<Vec<u8>, Box<Problem>> {
    let read = match origin {
        Origin::File(path) => read_file(path, MAX_SESSION_FILE),
        Origin::StandardInput => read_bounded(io::stdin().lock(), MAX_SESSION_FILE),
        Origin::Embedded => Ok(Vec::new()),
    };
    read.map_err(|error| {
        let help = match &error {
            ReadError::Missing => "name the session file, or write one with `supervise init`",
            ReadError::Directory => "name the session file in it",
            ReadError::TooLarge { .. } => "split it",
            ReadError::Io(_) => "is it readable?",
        };
        Box::new(Problem {
            code: "unreadable",
            severity: Severity::Error,
            message: format!("cannot read the session file: {error}"),
            file: origin_name(origin),
            line: None,
            column: None,
            help: Some(help.to_owned()),
            span: None,
        })
    })
}

/// What relative paths in a session from `origin` are relative to.
#[must_use]
pub fn base_dir(origin: &Origin) -> PathBuf {
    match origin {
        Origin::File(path) => match path.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir.to_owned(),
            _ => PathBuf::from("."),
        },
        Origin::StandardInput | Origin::Embedded => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_have_lines_and_columns() {
        let source = SourceText::new("f", "ab\r\nä= 1\n\nz");
        let check = |offset, expected| assert_eq!(source.position(offset), expected, "{offset}");
        check(0, (1, 1));
        check(2, (1, 3));
        check(4, (2, 1));
        check(5, (2, 1));
        check(6, (2, 2));
        check(10, (3, 1));
        check(11, (4, 1));
        check(99, (4, 2));
        assert_eq!(source.line_at(1), 0..2);
        assert_eq!(&source.text()[source.line_at(6)], "ä= 1");
        assert_eq!(source.line_at(10), 10..10);
    }
}
