//! JSON with the place of every value, for errors that point.
//!
//! Invariant: serde_json has accepted the text before it is walked here, depth limit included, so
//! the walk meets no syntax error and its recursion is bounded.

use std::ops::Range;

/// A value and the bytes it stands in.
#[derive(Debug, PartialEq)]
pub(super) struct Json {
    pub(super) node: Node,
    place: Range<usize>,
}

#[derive(Debug, PartialEq)]
pub(super) enum Node {
    Null,
    Bool(bool),
    /// `None`: not a whole number that fits.
    Number(Option<i64>),
    Text(String),
    Array(Vec<Json>),
    Object(Vec<Entry>),
}

#[derive(Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    /// Where the key stands.
    pub(super) place: Range<usize>,
    pub(super) value: Json,
}

impl Json {
    pub(super) fn clone_place(&self) -> Range<usize> {
        self.place.clone()
    }

    pub(super) fn is_object(&self) -> bool {
        matches!(self.node, Node::Object(_))
    }

    pub(super) fn as_text(&self) -> Option<&str> {
        if let Node::Text(text) = &self.node { Some(text) } else { None }
    }

    pub(super) fn as_number(&self) -> Option<i64> {
        if let Node::Number(number) = self.node { number } else { None }
    }

    /// Calls `seen` with every key and value, outermost first.
    pub(super) fn visit(&self, seen: &mut impl FnMut(&str, &Self)) {
        match &self.node {
            Node::Object(entries) => {
                for entry in entries {
                    seen(&entry.key, &entry.value);
                    entry.value.visit(seen);
                }
            }
            Node::Array(items) => items.iter().for_each(|item| item.visit(seen)),
            _ => {}
        }
    }
}

/// Parses `text`; an error is a byte offset and what is wrong there.
pub(super) fn parse(text: &str) -> Result<Json, (usize, String)> {
    let start = text.len() - text.trim_start_matches('\u{feff}').len();
    if let Err(error) = serde_json::from_str::<serde_json::Value>(&text[start..]) {
        return Err((start + offset(&text[start..], error.line(), error.column()), message(&error)));
    }
    let mut walk = Walk { text, at: start };
    walk.value().ok_or((walk.at, "not a JSON value".to_owned()))
}

/// serde_json counts lines from 1 and columns in bytes, up to and including the one it stumbled on.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let mut at = (start + column.saturating_sub(1)).min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// The error's text without the place, which is told elsewhere.
fn message(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(message, _)| message.to_owned())
}

struct Walk<'a> {
    text: &'a str,
    at: usize,
}

impl Walk<'_> {
    fn value(&mut self) -> Option<Json> {
        self.space();
        let start = self.at;
        let node = match self.peek()? {
            b'{' => Node::Object(self.list(b'}', Self::entry)?),
            b'[' => Node::Array(self.list(b']', Self::value)?),
            b'"' => Node::Text(self.string()?),
            _ => {
                let rest = &self.text[start..];
                let len = rest.find(|c: char| !c.is_ascii_alphanumeric() && !"+-.".contains(c)).unwrap_or(rest.len());
                self.at += len;
                match &rest[..len] {
                    "null" => Node::Null,
                    "true" => Node::Bool(true),
                    "false" => Node::Bool(false),
                    number => Node::Number(number.strip_suffix(".0").unwrap_or(number).parse().ok()),
                }
            }
        };
        Some(Json { node, place: start..self.at })
    }

    fn list<T>(&mut self, close: u8, item: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let mut items = Vec::new();
        self.at += 1;
        loop {
            self.space();
            match self.peek()? {
                b',' => self.at += 1,
                byte if byte == close => {
                    self.at += 1;
                    return Some(items);
                }
                _ => items.push(item(self)?),
            }
        }
    }

    fn entry(&mut self) -> Option<Entry> {
        let start = self.at;
        let key = self.string()?;
        let place = start..self.at;
        self.space();
        self.at += 1; // the colon
        Some(Entry { key, place, value: self.value()? })
    }

    fn string(&mut self) -> Option<String> {
        let start = self.at;
        let mut escaped = false;
        let len = self.text[start..].bytes().skip(1).position(|byte| {
            let end = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            end
        })?;
        self.at += len + 2;
        serde_json::from_str(&self.text[start..self.at]).ok()
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while self.peek().is_some_and(|b| b.is_ascii_whitespace()) {
            self.at += 1;
        }
    }
}
