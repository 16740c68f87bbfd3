//! What git says of changes, for a terminal.
//!
//! Invariant: a changed file's content may be an agent's, so it can bring no escape sequence to the
//! terminal: a line keeps git's colours only where the text itself has no control characters.

use serde::Serialize;

use super::text::reorders;
use crate::core::change::Entry;
use crate::core::path::RepoPath;

/// A changed path as programs see it.
#[derive(Clone, Debug, Serialize)]
pub struct PathDocument {
    path: String,
    /// `added`, `removed`, `changed`
    status: &'static str,
    /// Lines; null where it is no text.
    added: Option<u64>,
    removed: Option<u64>,
}

#[must_use]
pub fn path(path: &RepoPath, before: Option<Entry>, after: Option<Entry>, lines: Option<(u64, u64)>) -> PathDocument {
    let status = match (before, after) {
        (None, _) => "added",
        (_, None) => "removed",
        (Some(_), Some(_)) => "changed",
    };
    PathDocument {
        path: path.to_string(),
        status,
        added: lines.map(|(added, _)| added),
        removed: lines.map(|(_, removed)| removed),
    }
}

/// A line of a patch, without its line feed. `plain` is the line as git writes it without colours,
/// `coloured` the same with them.
#[must_use]
pub fn line(plain: &str, coloured: &str) -> String {
    let harmless = |c: char| !is_harmful(c);
    // A line may end in a carriage return: many files have them.
    if plain.strip_suffix('\r').unwrap_or(plain).chars().all(harmless) {
        return coloured.to_owned();
    }
    plain.chars().map(|c| if harmless(c) { c } else { char::REPLACEMENT_CHARACTER }).collect()
}

/// Control characters, and the marks that reorder a line (Unicode UAX #9).
fn is_harmful(c: char) -> bool {
    (c.is_control() && c != '\t') || reorders(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_cannot_command_the_terminal() {
        let check = |plain: &str, coloured: &str, expected: &str| assert_eq!(line(plain, coloured), expected);
        check("+\ta é", "\u{1b}[32m+\ta é\u{1b}[m", "\u{1b}[32m+\ta é\u{1b}[m");
        check("+\u{1b}[2Jx", "\u{1b}[32m+\u{1b}[2Jx\u{1b}[m", "+\u{fffd}[2Jx");
        check("+a\r", "\u{1b}[32m+a\r\u{1b}[m", "\u{1b}[32m+a\r\u{1b}[m");
        check("+a\rb", "\u{1b}[32m+a\rb\u{1b}[m", "+a\u{fffd}b");
        check("+\u{202e}gpj.exe", "", "+\u{fffd}gpj.exe");
    }
}
