//! `NEEDS: path: why`: what an agent asks for at the end of its final message.
//!
//! Invariant: tolerant of the Markdown that models put around lines, strict about the word.

use crate::core::record::Need;

use super::progress::one_line;

/// The most needs that are taken from one message.
const MAX_NEEDS: usize = 32;
const MAX_PATH: usize = 1024;
const MAX_WHY: usize = 240;

/// The needs that `message` names, in order, each once.
pub(super) fn in_message(message: &str) -> Vec<Need> {
    let mut needs: Vec<Need> = Vec::new();
    for need in message.lines().filter_map(in_line) {
        if needs.len() == MAX_NEEDS {
            break;
        }
        if !needs.contains(&need) {
            needs.push(need);
        }
    }
    needs
}

fn in_line(line: &str) -> Option<Need> {
    let decoration = |c: char| c.is_whitespace() || matches!(c, '-' | '*' | '>' | '•' | '`' | '_');
    let rest = line.trim_start_matches(decoration).strip_prefix("NEEDS")?;
    let rest = rest.trim_start_matches(['*', '_', '`']).strip_prefix(':')?;
    let rest = rest.trim_start_matches(decoration_after).trim_end();
    // A path may hold a colon; the one that ends it is followed by a space, if any is.
    let (path, why) = rest.split_once(": ").or_else(|| rest.split_once(':')).unwrap_or((rest, ""));
    let path = one_line(path.trim().trim_matches(['`', '"', '\'', '*']), MAX_PATH);
    (!path.is_empty()).then(|| Need { path, why: one_line(why.trim_end_matches('`'), MAX_WHY) })
}

fn decoration_after(c: char) -> bool {
    c.is_whitespace() || c == '*'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(message: &str, expected: &[(&str, &str)]) {
        let got = in_message(message);
        let got: Vec<(&str, &str)> = got.iter().map(|n| (n.path.as_str(), n.why.as_str())).collect();
        assert_eq!(got, expected, "{message:?}");
    }

    #[test]
    fn needs_are_lines_of_their_own() {
        check("done", &[]);
        check("done\nNEEDS: a/b.py: the route is there", &[("a/b.py", "the route is there")]);
        check("NEEDS: a.py: x\r\nNEEDS: b.py: y\n", &[("a.py", "x"), ("b.py", "y")]);
        check("- **NEEDS:** `a b.py`: why: because", &[("a b.py", "why: because")]);
        check("* `NEEDS: a.py: x`", &[("a.py", "x")]);
        check("**NEEDS**: a.py: x", &[("a.py", "x")]);
        check("NEEDS: a.py", &[("a.py", "")]);
        check("NEEDS: a:b.py: why", &[("a:b.py", "why")]);
        check("NEEDS: a.py: x\nNEEDS: a.py: x", &[("a.py", "x")]);
        check("NEEDS:", &[]);
        check("NEEDS: : why", &[]);
        check("it NEEDS: nothing", &[]);
        check("needs: a.py: x", &[]);
    }

    #[test]
    fn needs_are_bounded() {
        let many: Vec<String> = (0..100).map(|n| format!("NEEDS: f{n}: x")).collect();
        assert_eq!(in_message(&many.join("\n")).len(), MAX_NEEDS);
    }
}
