//! Small texts: durations, counts, columns, and what came from outside made harmless.

use std::time::Duration;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::core::path::RepoPath;

/// Text from an agent, a tool or a file on one line: escape sequences, control characters and the
/// marks that reorder a line (Unicode UAX #9) are taken out; line breaks and tabs become spaces.
#[must_use]
pub fn printable(text: &str) -> String {
    let harmless = |c: char| match c {
        '\n' | '\t' => Some(' '),
        c if c.is_control() || reorders(c) => None,
        c => Some(c),
    };
    anstream::adapter::strip_str(text).to_string().trim().chars().filter_map(harmless).collect()
}

/// A path in a sentence: it can neither leave its line nor reorder it.
#[must_use]
pub fn path_text(path: &RepoPath) -> String {
    printable(&path.to_string())
}

/// A line of a log, made harmless as by [`printable`], with its indentation.
#[must_use]
pub fn log_line(line: &str) -> String {
    let indent = line.len() - line.trim_start_matches([' ', '\t']).len();
    let (indent, rest) = line.split_at(indent);
    format!("{indent}{}", printable(rest))
}

/// A JSON text in which what a terminal may take for a command, or for a mark that reorders a line, is escaped: JSON
/// itself escapes only the characters below U+0020. They stand in strings alone, so the value stays the same.
#[must_use]
pub fn harmless_json(text: String) -> String {
    let harmful = |c: char| c != '\n' && (c.is_control() || reorders(c));
    if !text.contains(harmful) {
        return text;
    }
    let escaped = |c: char| if harmful(c) { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() };
    text.chars().map(escaped).collect()
}

/// The marks of Unicode UAX #9, all of them below U+10000.
pub(super) fn reorders(c: char) -> bool {
    matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The last `max` lines that are not empty, each printable.
#[must_use]
pub fn last_lines(text: &str, max: usize) -> Vec<String> {
    let lines: Vec<String> = text.lines().map(printable).filter(|l| !l.is_empty()).collect();
    lines[lines.len().saturating_sub(max)..].to_vec()
}

/// At most `width` columns of `text`, with `…` at the end where something was cut.
#[must_use]
pub fn truncate(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut room = width.saturating_sub(1);
    let mut out = String::new();
    for c in text.chars() {
        let columns = c.width().unwrap_or(0);
        if columns > room {
            break;
        }
        room -= columns;
        out.push(c);
    }
    if width > 0 {
        out.push('…');
    }
    out
}

/// `text` in lines of at most `width` columns, broken at spaces; all but the first begin with
/// `indent` spaces. A word that is longer than a line stays whole.
#[must_use]
pub fn wrap(text: &str, width: usize, indent: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        let is_new = line.trim_start().is_empty();
        if !is_new && line.width() + 1 + word.width() > width {
            lines.push(std::mem::replace(&mut line, " ".repeat(indent)));
        } else if !is_new {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

/// `text` as one word of sh(1), for a command that is to be pasted.
#[must_use]
pub fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@%+=,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// `text` in exactly `width` columns, or more if it is wider.
#[must_use]
pub fn pad(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.width())))
}

/// [`pad`], with the text at the right.
#[must_use]
pub fn pad_left(text: &str, width: usize) -> String {
    format!("{}{text}", " ".repeat(width.saturating_sub(text.width())))
}

/// `850ms`, `12.3s`, `4m 02s`, `2h 05m`, `3d 04h`.
#[must_use]
pub fn duration(d: Duration) -> String {
    let (ms, s) = (d.as_millis(), d.as_secs());
    match s {
        0 => format!("{ms}ms"),
        1..60 => format!("{s}.{}s", d.subsec_millis() / 100),
        60..3600 => format!("{}m {:02}s", s / 60, s % 60),
        3600..86_400 => format!("{}h {:02}m", s / 3600, s / 60 % 60),
        _ => format!("{}d {:02}h", s / 86_400, s / 3600 % 24),
    }
}

/// A setting of the session file as it was probably written: `10m`, `90s`, `1h 30m`.
#[must_use]
pub fn limit(d: Duration) -> String {
    humantime::format_duration(Duration::from_millis(u64::try_from(d.as_millis()).unwrap_or(u64::MAX))).to_string()
}

/// `950`, `12.3k`, `4.0M`.
#[must_use]
pub fn count(n: u64) -> String {
    match n {
        0..1000 => n.to_string(),
        1000..1_000_000 => format!("{}.{}k", n / 1000, n % 1000 / 100),
        _ => format!("{}.{}M", n / 1_000_000, n % 1_000_000 / 100_000),
    }
}

/// `950 B`, `12.3 KiB`, `4.0 MiB`.
#[must_use]
pub fn size(bytes: u64) -> String {
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
    match units.iter().rev().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) => format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit),
        None => format!("{bytes} B"),
    }
}

/// `1 file`, `3 files`.
#[must_use]
pub fn plural(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}

/// The first `max` of `items`, printable, with commas, and how many more there are.
#[must_use]
pub fn some_of<T: std::fmt::Display>(items: &[T], max: usize) -> String {
    some_of_more(items, 0, max)
}

/// The same of a list of which `more` items were left out before.
#[must_use]
pub fn some_of_more<T: std::fmt::Display>(items: &[T], more: usize, max: usize) -> String {
    let shown: Vec<String> = items.iter().take(max).map(|item| printable(&item.to_string())).collect();
    match items.len().saturating_sub(max).saturating_add(more) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_on_a_terminal_commands_nothing() {
        let document = serde_json::json!({"a\u{9b}": "\u{1b}[31m\u{85}\u{202e}\u{7f} 漢字 \u{1f600}"});
        let text = harmless_json(serde_json::to_string_pretty(&document).unwrap());
        let harmless = |c: char| c == '\n' || !c.is_control() && !reorders(c);
        assert!(text.chars().all(harmless), "{text:?}");
        assert!(text.contains("漢字 \u{1f600}") && text.contains("\\u009b"), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), document);
    }

    #[test]
    fn foreign_text_is_made_harmless() {
        let check = |text: &str, expected: &str| assert_eq!(printable(text), expected, "{text:?}");
        check("plain ünïcode 漢字", "plain ünïcode 漢字");
        check("\u{1b}[31mred\u{1b}[0m", "red");
        check("\u{1b}]0;title\u{7}text", "text");
        check("\u{1b}]8;;http://x\u{1b}\\link\u{1b}]8;;\u{1b}\\", "link");
        check("a\r\nb\tc\u{8}\u{0}", "a b c");
        check("\u{9b}2Jx", "2Jx");
        check("abc\u{202e}fdp.exe", "abcfdp.exe");
        check("  \n ", "");
    }

    #[test]
    fn lines_of_logs_keep_their_indentation() {
        let check = |text: &str, expected: &str| assert_eq!(log_line(text), expected, "{text:?}");
        check("  \tx\ty", "  \tx y");
        check("    \u{1b}[2K\u{1b}[1Apwned\r", "    pwned");
        check("\u{1b}]52;c;eA==\u{7}", "");
        check("", "");
    }

    #[test]
    fn long_texts_break_at_spaces() {
        assert_eq!(wrap("one two three", 80, 4), ["one two three"]);
        assert_eq!(wrap("one two three", 9, 4), ["one two", "    three"]);
        assert_eq!(wrap("a-very-long-word b", 5, 2), ["a-very-long-word", "  b"]);
        assert_eq!(wrap("", 5, 2), [""]);
    }

    #[test]
    fn words_for_the_shell_are_quoted_where_they_must_be() {
        assert_eq!(shell_word("/home/me/work-1.0"), "/home/me/work-1.0");
        assert_eq!(shell_word("/my work"), "'/my work'");
        assert_eq!(shell_word("it's"), "'it'\\''s'");
        assert_eq!(shell_word(""), "''");
    }

    #[test]
    fn durations_are_short() {
        let check = |ms: u64, expected: &str| assert_eq!(duration(Duration::from_millis(ms)), expected);
        check(0, "0ms");
        check(850, "850ms");
        check(12_345, "12.3s");
        check(59_999, "59.9s");
        check(242_000, "4m 02s");
        check(7_500_000, "2h 05m");
        check(273_600_000, "3d 04h");
    }

    #[test]
    fn sizes_have_units() {
        let shown = [0, 1023, 1024, 1_300_000, 5 << 40].map(size);
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "1.2 MiB", "5120.0 GiB"]);
    }

    #[test]
    fn counts_and_columns() {
        assert_eq!([0, 999, 1000, 12_345, 4_000_000].map(count), ["0", "999", "1.0k", "12.3k", "4.0M"]);
        assert_eq!(truncate("backend", 7), "backend");
        assert_eq!(truncate("backend", 4), "bac…");
        assert_eq!(truncate("漢字漢字", 5), "漢字…");
        assert_eq!(truncate("漢字漢字", 4), "漢…");
        assert_eq!(truncate("x", 0), "");
        assert_eq!(pad("漢", 4), "漢  ");
        assert_eq!(pad_left("7", 3), "  7");
        assert_eq!(some_of(&["a", "b", "c"], 2), "a, b and 1 more");
        assert_eq!(some_of_more(&["a", "b", "c"], 10, 2), "a, b and 11 more");
        assert_eq!(last_lines("a\n\n\u{1b}[1mb\nc\n", 2), ["b", "c"]);
    }
}
