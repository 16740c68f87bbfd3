//! What an agent is doing, for the live view and the timeline.
//!
//! Invariant: every text in a [`Progress`] is one line, without control characters, and bounded:
//! what an agent prints can neither move the cursor nor fill the journal.

/// The longest text of a [`Progress`], in characters.
pub(super) const MAX_TEXT: usize = 240;
/// The most paths that one [`Progress::Edits`] names.
pub(super) const MAX_PATHS: usize = 20;

/// One step of an agent, by its own word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It says something to its reader.
    Says(String),
    /// It runs a shell command.
    Runs(String),
    /// It changed files; paths as the runner prints them, absolute most of the time.
    Edits(Vec<String>),
    /// It uses another tool, of this name.
    Uses(String),
    Thinks,
    /// News of the runner itself: a reconnection, a failed turn.
    Note(String),
}

impl Progress {
    pub(super) fn says(text: &str) -> Self {
        Self::Says(one_line(text, MAX_TEXT))
    }

    pub(super) fn runs(command: &str) -> Self {
        Self::Runs(one_line(command, MAX_TEXT))
    }

    pub(super) fn uses(tool: &str) -> Self {
        Self::Uses(one_line(tool, MAX_TEXT))
    }

    pub(super) fn note(text: &str) -> Self {
        Self::Note(one_line(text, MAX_TEXT))
    }

    /// `None` where there are no paths.
    pub(super) fn edits<'a>(paths: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let paths: Vec<String> = paths.into_iter().take(MAX_PATHS).map(|p| one_line(p, MAX_TEXT)).collect();
        (!paths.is_empty()).then_some(Self::Edits(paths))
    }
}

/// `text` as one line of at most `max` characters: runs of white space and control characters
/// become one space, marks that change the direction of text are left out, and what is cut off
/// shows as `…`.
pub(super) fn one_line(text: &str, max: usize) -> String {
    let mut out = String::new();
    let mut length = 0;
    let mut gap = false;
    for c in text.chars() {
        if c.is_whitespace() || c.is_control() {
            gap = length > 0;
            continue;
        }
        if is_direction_mark(c) {
            continue;
        }
        if length + 1 + usize::from(gap) > max {
            out.pop();
            out.push('…');
            break;
        }
        if std::mem::take(&mut gap) {
            out.push(' ');
            length += 1;
        }
        out.push(c);
        length += 1;
    }
    out
}

/// Explicit bidirectional formatting (Unicode Standard Annex #9, section 2).
fn is_direction_mark(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{061c}')
}

/// `text` as plain lines of at most `max` bytes together: without the white space around it and
/// without control characters other than line feeds and tabs, so it can go into a commit message
/// and onto a terminal. What is cut off shows as `…`.
pub(super) fn plain(text: &str, max: usize) -> String {
    let mut out = String::new();
    for c in text.trim().chars() {
        if (c.is_control() && c != '\n' && c != '\t') || is_direction_mark(c) {
            continue;
        }
        if out.len() + c.len_utf8() > max {
            out.truncate(out.floor_char_boundary(max.saturating_sub('…'.len_utf8())));
            out.push('…');
            break;
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stays_a_line() {
        let check = |text: &str, max, expected: &str| assert_eq!(one_line(text, max), expected, "{text:?}");
        check("plain", 10, "plain");
        check("  two\n\n lines\t", 20, "two lines");
        check("\x1b[2Jgone\u{9b}31m", 20, "[2Jgone 31m");
        check("abc\u{202e}txt", 20, "abctxt");
        check("0123456789", 10, "0123456789");
        check("0123456789a", 10, "012345678…");
        check("", 10, "");
        check("   \n", 10, "");
    }

    #[test]
    fn texts_are_plain_and_cut_between_characters() {
        let check = |text: &str, max, expected: &str| assert_eq!(plain(text, max), expected, "{text:?}");
        check("äöü", 6, "äöü");
        check("äöüä", 6, "ä…");
        check("abcdef", 5, "ab…");
        check(" a\r\n\tb\x1b[1m\0\u{202e} \n", 20, "a\n\tb[1m");
    }

    #[test]
    fn edits_without_paths_are_none() {
        assert_eq!(Progress::edits([]), None);
        let many: Vec<&str> = std::iter::repeat_n("p", 100).collect();
        assert!(matches!(Progress::edits(many), Some(Progress::Edits(p)) if p.len() == MAX_PATHS));
    }
}
