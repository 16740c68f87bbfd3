//! What an attempt is started with that goes on with an earlier one: its thread, and what it is told.
//!
//! Invariant: the text is bounded, fits one argument, and begins with a letter, so that no program takes it for a
//! flag.
//!
//! Deliberately absent: the agent's own prompt, which the thread has already.

use super::progress::plain;

/// The most bytes that are told of an output.
pub const MAX_TOLD: u64 = 8 * 1024;
/// The most lines that are told of an output.
const MAX_LINES: usize = 60;
/// The most bytes that are told of why it ended.
const MAX_WHY: usize = 2 * 1024;

/// The thread that an attempt goes on with, and what it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Again {
    pub thread: String,
    pub prompt: String,
}

/// What of the earlier attempt the tail is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// What its verify command printed.
    Verify,
    /// Its own standard error.
    Errors,
}

impl Again {
    /// `why`: why the earlier attempt ended, as text. `tail`: the end of what it printed.
    #[must_use]
    pub fn new(thread: &str, why: &str, told: Told, tail: &str) -> Self {
        let mut prompt = format!("Your last attempt did not complete: {}.\n", plain(why, MAX_WHY).trim());
        prompt += "What you had changed in files of your claim is in the working tree again, as you left it; the rules that you \
                   were given still hold.\n";
        let tail = plain(tail, usize::try_from(MAX_TOLD).unwrap_or(usize::MAX));
        let lines: Vec<&str> = tail.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
        let lines = &lines[lines.len().saturating_sub(MAX_LINES)..];
        if !lines.is_empty() {
            let what = match told {
                Told::Verify => "The verify command printed, at its end",
                Told::Errors => "Its standard error, at its end",
            };
            prompt += &format!("\n{what}:\n\n{}\n", lines.join("\n"));
        }
        prompt += "\nGo on from there: put right what failed, and finish the task.\n";
        Self { thread: thread.to_owned(), prompt }
    }
}

/// Is it what runners call their threads and sessions? Anything else is not passed to a program.
pub(super) fn is_thread(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    text.len() <= 128 && text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_is_told_up_to_a_bound() {
        let tail = (0..100).map(|n| format!("line {n}\n")).collect::<Vec<_>>().join("\n");
        let again = Again::new("t1", "verify failed with exit code 1", Told::Verify, &tail);
        assert!(again.prompt.starts_with("Your last attempt did not complete: verify failed with exit code 1.\n"));
        assert!(again.prompt.contains("printed, at its end:\n\nline 40\nline 41\n"), "{}", again.prompt);
        assert!(!again.prompt.contains("line 39\n"));
        let none = Again::new("t1", "timeout", Told::Errors, "\n \n");
        assert!(!none.prompt.contains("at its end"), "{}", none.prompt);
        let long = Again::new("t1", &"x".repeat(1 << 20), Told::Errors, &"\u{1b}[31my".repeat(1 << 20));
        assert!(long.prompt.len() < 16 * 1024 && !long.prompt.contains('\u{1b}'));
    }

    #[test]
    fn only_plain_names_are_threads() {
        for good in ["019a2b3c-7d4e-7f00-8a9b-0123456789ab", "01a2", "t_1"] {
            assert!(is_thread(good), "{good}");
        }
        for bad in ["", "-c", "a b", "a\nb", "../x", "é", &"a".repeat(129)] {
            assert!(!is_thread(bad), "{bad}");
        }
    }
}
