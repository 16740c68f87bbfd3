//! Reading the text of a pattern: what is refused, and what can be told without an automaton.
//!
//! Invariant: a text that [`scan`] accepts compiles (see [`super::automaton`]). The scan is one
//! pass over the bytes, because a session may hold a hundred thousand patterns.
//!
//! Deliberately absent: the meaning of braces and `[..]`; globset owns that syntax, and is asked
//! only for the patterns that use it.

use globset::GlobBuilder;

/// The longest pattern, in bytes: PATH_MAX of Linux (path_resolution(7)).
pub const MAX_PATTERN: usize = 4096;
/// The longest part of a pattern from its first wildcard on, in bytes; it bounds the automata.
pub const MAX_WILD: usize = 1024;
/// How deep `{…}` may nest.
const MAX_NESTING: usize = 16;

/// Why a text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    #[error("a pattern may not be empty")]
    Empty,
    #[error("a pattern is relative to the workspace; it may not start with `/`")]
    Absolute,
    #[error("a pattern may not contain `..`")]
    ParentComponent,
    #[error("a pattern may not contain an empty or `.` component")]
    EmptyComponent,
    #[error("a pattern may not hold a NUL byte")]
    Nul,
    #[error("a pattern has at most {MAX_PATTERN} bytes, and at most {MAX_WILD} from its first wildcard on")]
    TooLong,
    #[error("{0}")]
    Syntax(String),
}

/// What one pass over a pattern finds out.
#[derive(Debug)]
pub(super) struct Scan {
    /// Every path it matches starts with these bytes.
    pub(super) prefix: Box<[u8]>,
    /// Every path it matches ends with these bytes, which do not overlap the prefix.
    pub(super) suffix: Box<[u8]>,
    pub(super) shape: Shape,
    /// The glob, where it is not the text itself: `a*/` is written `a*/**` for globset.
    pub(super) glob: Option<Box<str>>,
}

/// The frequent forms, which are decided on `prefix` and `suffix` alone, and the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// `a/b`: the path `prefix` and everything under it
    Tree,
    /// `a/b`, known to be no directory: the path alone, `prefix` its directory and `suffix` its name
    File,
    /// `a/b/`, `a/b/**`, `**`: everything under `prefix`, which is empty or ends in `/`
    Under,
    /// `a/b*c`: between prefix and suffix anything but `/`
    Star,
    /// `a/**/*c`: between prefix and suffix anything
    Deep,
    /// `a/**/b`: between prefix and suffix nothing, or anything that ends in `/`
    DeepName,
    /// A glob for the automaton.
    Glob,
    /// Braces but no wildcard: each alternative is a path, and everything under it.
    GlobTree,
}

/// One pass over `text`; see [`super::Pattern`] for the language.
pub(super) fn scan(text: &str) -> Result<Scan, PatternError> {
    if text.is_empty() {
        return Err(PatternError::Empty);
    }
    if text.len() > MAX_PATTERN {
        return Err(PatternError::TooLong);
    }
    let mut scanner = Scanner { text: text.as_bytes(), ..Scanner::default() };
    scanner.run()?;
    let asks_globset = scanner.asks_globset;
    let scan = scanner.finish(text);
    if asks_globset {
        glob(scan.glob.as_deref().unwrap_or(text)).map_err(|error| PatternError::Syntax(in_words(&error)))?;
    }
    Ok(scan)
}

/// On one line: the letters of a bad range, which it quotes, may be control characters.
fn in_words(error: &globset::Error) -> String {
    let mut out = String::new();
    for c in error.kind().to_string().chars() {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// The builder's options are part of the language: `*` and `?` do not cross `/`, `\` escapes, and
/// `a{,.bak}` is `a` or `a.bak`.
pub(super) fn glob(text: &str) -> Result<globset::Glob, globset::Error> {
    GlobBuilder::new(text).literal_separator(true).backslash_escape(true).empty_alternates(true).build()
}

#[derive(Default)]
struct Scanner<'a> {
    text: &'a [u8],
    prefix: Vec<u8>,
    suffix: Vec<u8>,
    /// Where the first special character stands, and where the last one ends.
    special: Option<(usize, usize)>,
    /// `*`, `?` or `[..]` occurs (braces alone are not wildcards).
    wild: bool,
    asks_globset: bool,
    part: Part,
    braces: Vec<Brace>,
    /// Places after a last `/`, where `**` is to be put in.
    open_ends: Vec<usize>,
}

/// A brace that is still open.
#[derive(Default)]
struct Brace {
    /// Does it stand at the start of a component?
    starts_component: bool,
    /// Where its alternatives end in `/`.
    slashes: Vec<usize>,
}

/// The component being read.
#[derive(Default)]
struct Part {
    len: usize,
    /// All of its characters so far are literal dots.
    only_dots: bool,
    /// Something special was in it, so its length says nothing.
    special: bool,
}

impl Part {
    fn fresh(special: bool) -> Self {
        Self { len: 0, only_dots: true, special }
    }

    fn is_dots(&self, n: usize) -> bool {
        !self.special && self.only_dots && self.len == n
    }

    fn is_empty(&self) -> bool {
        !self.special && self.len == 0
    }
}

impl Scanner<'_> {
    fn run(&mut self) -> Result<(), PatternError> {
        self.part = Part::fresh(false);
        let mut at = 0;
        while let Some(&byte) = self.text.get(at) {
            at = match byte {
                0 => return Err(PatternError::Nul),
                b'\\' => {
                    let Some(&escaped) = self.text.get(at + 1) else {
                        return Err(PatternError::Syntax("nothing follows the last `\\`".to_owned()));
                    };
                    self.literal(escaped)?;
                    at + 2
                }
                b'*' | b'?' => {
                    self.wild = true;
                    self.special(at, at + 1)
                }
                b'[' => {
                    self.wild = true;
                    self.asks_globset = true;
                    let end = class_end(self.text, at)?;
                    self.special(at, end)
                }
                b'{' => self.open_brace(at)?,
                b',' if !self.braces.is_empty() => self.next_alternative(at)?,
                b'}' => self.close_brace(at)?,
                _ => {
                    self.literal(byte)?;
                    at + 1
                }
            };
        }
        if !self.braces.is_empty() {
            return Err(PatternError::Syntax("`{` is never closed with `}`".to_owned()));
        }
        // A last part that is empty is the end of `a/`.
        if !self.part.is_empty() {
            self.end_part()?;
        }
        match self.special {
            Some((first, _)) if self.text.len() - first > MAX_WILD => Err(PatternError::TooLong),
            _ => Ok(()),
        }
    }

    fn literal(&mut self, byte: u8) -> Result<(), PatternError> {
        if byte == 0 {
            return Err(PatternError::Nul);
        }
        if byte == b'/' {
            if self.part.is_empty() && self.prefix.is_empty() && self.special.is_none() {
                return Err(PatternError::Absolute);
            }
            self.end_part()?;
            self.part = Part::fresh(false);
        } else {
            self.part.len += 1;
            self.part.only_dots &= byte == b'.';
        }
        if self.special.is_none() {
            self.prefix.push(byte);
        } else {
            self.suffix.push(byte);
        }
        Ok(())
    }

    fn special(&mut self, from: usize, end: usize) -> usize {
        let first = self.special.map_or(from, |(first, _)| first);
        self.special = Some((first, end));
        self.suffix.clear();
        self.part.special = true;
        end
    }

    fn end_part(&self) -> Result<(), PatternError> {
        if self.part.is_dots(2) {
            return Err(PatternError::ParentComponent);
        }
        // Inside braces `{a/,b}c` is fine; what makes no path there simply matches nothing.
        if self.braces.is_empty() && (self.part.is_empty() || self.part.is_dots(1)) {
            return Err(PatternError::EmptyComponent);
        }
        Ok(())
    }

    fn open_brace(&mut self, at: usize) -> Result<usize, PatternError> {
        self.asks_globset = true;
        if self.braces.len() == MAX_NESTING {
            return Err(PatternError::Syntax(format!("`{{` nests more than {MAX_NESTING} deep")));
        }
        let starts_component = self.part.is_empty();
        self.braces.push(Brace { starts_component, slashes: Vec::new() });
        let end = self.special(at, at + 1);
        self.part = Part::fresh(!starts_component);
        Ok(end)
    }

    fn next_alternative(&mut self, at: usize) -> Result<usize, PatternError> {
        self.end_part()?;
        self.note_slash(at);
        let end = self.special(at, at + 1);
        self.part = Part::fresh(!self.braces.last().is_some_and(|b| b.starts_component));
        Ok(end)
    }

    fn close_brace(&mut self, at: usize) -> Result<usize, PatternError> {
        let next = self.text.get(at + 1);
        if matches!(next, None | Some(b'/' | b',' | b'}')) && !self.braces.is_empty() {
            self.end_part()?;
        }
        self.note_slash(at);
        let Some(brace) = self.braces.pop() else {
            return Err(PatternError::Syntax("`}` without a `{` before it; write `\\}`".to_owned()));
        };
        // `{a/,b/}` at the end means `{a/**,b/**}`; in `{a/,b/}c` the slash is only a slash.
        match (next, self.braces.last_mut()) {
            (None, _) => self.open_ends.extend(brace.slashes),
            (Some(b',' | b'}'), Some(outer)) => outer.slashes.extend(brace.slashes),
            _ => {}
        }
        Ok(self.special(at, at + 1))
    }

    fn note_slash(&mut self, at: usize) {
        if let Some(brace) = self.braces.last_mut()
            && self.suffix.last() == Some(&b'/')
        {
            brace.slashes.push(at);
        }
    }

    fn finish(mut self, text: &str) -> Scan {
        let shape = self.shape();
        if shape == Shape::DeepName || self.special_text().ends_with(b"**") {
            // `**/` takes in the `/` as well: `**/a` matches `a`.
            if self.suffix.first() == Some(&b'/') {
                self.suffix.remove(0);
            }
        }
        let is_glob = matches!(shape, Shape::Glob | Shape::GlobTree);
        if is_glob && self.text.ends_with(b"/") {
            self.open_ends.push(text.len());
        }
        if shape == Shape::GlobTree || !self.open_ends.is_empty() {
            self.suffix.clear();
        }
        let glob = (is_glob && !self.open_ends.is_empty()).then(|| {
            self.open_ends.sort_unstable();
            let mut glob = text.to_owned();
            self.open_ends.iter().rev().for_each(|at| glob.insert_str(*at, "**"));
            glob.into_boxed_str()
        });
        Scan { prefix: self.prefix.into(), suffix: self.suffix.into(), shape, glob }
    }

    fn special_text(&self) -> &[u8] {
        self.special.map_or(&[], |(first, end)| &self.text[first..end])
    }

    fn shape(&self) -> Shape {
        let ends_in_slash = self.text.ends_with(b"/");
        if self.special.is_none() {
            return if ends_in_slash { Shape::Under } else { Shape::Tree };
        }
        if ends_in_slash {
            return Shape::Glob;
        }
        if !self.wild {
            return Shape::GlobTree;
        }
        let at_component = self.prefix.last().is_none_or(|b| *b == b'/');
        match self.special_text() {
            b"*" => Shape::Star,
            b"**" if at_component && self.suffix.is_empty() => Shape::Under,
            b"**" if at_component && self.suffix.starts_with(b"/") => Shape::DeepName,
            b"**/*" if at_component && !self.suffix.contains(&b'/') => Shape::Deep,
            _ => Shape::Glob,
        }
    }
}

/// The end of the `[..]` that opens at `at`, read as globset does: after an optional `!` or `^`, a
/// first `]` is a character.
fn class_end(text: &[u8], at: usize) -> Result<usize, PatternError> {
    let mut from = at + 1;
    if matches!(text.get(from), Some(b'!' | b'^')) {
        from += 1;
    }
    let close = text.iter().skip(from + 1).position(|b| *b == b']').map(|n| from + 1 + n);
    let Some(close) = close else {
        return Err(PatternError::Syntax("`[` is never closed with `]`; write `\\[` for the character".to_owned()));
    };
    let body = &text[from..close];
    if !body.is_ascii() {
        let text = "`[..]` stands for one byte, so it takes ASCII characters only; write `{ä,ö}`";
        return Err(PatternError::Syntax(text.to_owned()));
    }
    if body.contains(&0) {
        return Err(PatternError::Nul);
    }
    if body.contains(&b'/') {
        return Err(PatternError::Syntax("`[..]` never matches `/`".to_owned()));
    }
    Ok(close + 1)
}
