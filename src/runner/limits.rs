//! Which errors are a rate limit, and when it lifts.
//!
//! Invariant: a rate limit is what passes by waiting. An exhausted quota, an empty account or a
//! prompt that is too long does not, and is no rate limit, whatever else the text says.
//!
//! Deliberately absent: limits told as a time of day ("try again at 3:05 AM"), which need the clock
//! and its zone (`reset`); here they are limits without a known end.

use std::time::Duration;

use crate::core::record::RateLimit;

/// Waiting does not help against these.
const LASTING: &[&str] =
    &["quota", "billing", "credit balance", "context window", "context length", "context_length", "prompt is too long"];

/// Waiting helps against these; a model that is overloaded counts with them.
const PASSING: &[&str] = &[
    "rate limit",
    "rate-limit",
    "rate_limit",
    "ratelimit",
    "too many requests",
    "usage limit",
    "session limit",
    "weekly limit",
    "hit your limit",
    "at capacity",
    "overloaded",
];

/// What comes before a time to wait.
const HINTS: &[&str] = &["try again in ", "retry after ", "retry-after: ", "retry in ", "resets in ", "wait "];

/// Is the error that a runner ended with a rate limit?
pub(super) fn rate_limit(message: &str) -> Option<RateLimit> {
    let text = message.to_ascii_lowercase();
    if LASTING.iter().any(|mark| text.contains(mark)) {
        return None;
    }
    let limited = PASSING.iter().any(|mark| text.contains(mark)) || has_status(&text, "429");
    limited.then(|| RateLimit { lifts_after: lifts_after(message) })
}

/// Is the number there as a word of its own, not as part of a longer one?
fn has_status(text: &str, status: &str) -> bool {
    text.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == status)
        && ["status", "error", "http", "api", "rejected"].iter().any(|near| text.contains(near))
}

/// The time that the text asks to wait, if it does: "try again in 1m30s", "retry after 2 hours and
/// 5 minutes".
pub(super) fn lifts_after(message: &str) -> Option<Duration> {
    let text = message.to_ascii_lowercase();
    HINTS.iter().find_map(|hint| text.split(hint).skip(1).find_map(duration))
}

/// The duration at the start of `text`: numbers with units, one after the other. A number without
/// a unit is seconds.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim_start();
    for filler in ["less than ", "about ", "approximately "] {
        rest = rest.strip_prefix(filler).unwrap_or(rest);
    }
    let mut seconds: Option<f64> = None;
    loop {
        if let Some(tail) = rest.strip_prefix("a ").or_else(|| rest.strip_prefix("an ")) {
            let (unit, tail) = unit(tail)?;
            seconds = Some(seconds.unwrap_or(0.0) + unit);
            rest = tail;
        } else {
            let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            let Ok(number) = rest[..end].trim_end_matches('.').parse::<f64>() else { break };
            let tail = rest[end..].trim_start();
            if let Some((unit, tail)) = unit(tail) {
                seconds = Some(seconds.unwrap_or(0.0) + number * unit);
                rest = tail;
            } else {
                // The first number stands for seconds; one that follows a time is another matter.
                seconds = seconds.or(Some(number));
                break;
            }
        }
        rest = rest.trim_start_matches([' ', ',']);
        rest = rest.strip_prefix("and ").unwrap_or(rest);
    }
    Duration::try_from_secs_f64(seconds?).ok()
}

/// The unit at the start of `text`, in seconds, and what follows it.
fn unit(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(text.len());
    let seconds = match &text[..end] {
        "ms" | "millisecond" | "milliseconds" => 0.001,
        "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
        "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3600.0,
        "d" | "day" | "days" => 86_400.0,
        "w" | "week" | "weeks" => 604_800.0,
        _ => return None,
    };
    Some((seconds, &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the table expects of a text.
    #[derive(Debug, PartialEq)]
    enum Is {
        Lasting,
        Limit,
        LiftsAfter(u64),
    }
    use Is::{Lasting, LiftsAfter, Limit};

    fn check(message: &str, expected: &Is) {
        let got = match rate_limit(message) {
            None => Lasting,
            Some(RateLimit { lifts_after: None }) => Limit,
            Some(RateLimit { lifts_after: Some(d) }) => LiftsAfter(u64::try_from(d.as_millis()).unwrap()),
        };
        assert_eq!(got, *expected, "{message:?}");
    }

    #[test]
    fn limits_that_pass_are_told_from_those_that_do_not() {
        check("exceeded retry limit, last status: 429 Too Many Requests", &Limit);
        check("Rate limit reached for gpt-5.5. Please try again in 20s.", &LiftsAfter(20_000));
        check("rate limit exceeded: … Please try again in 1m30s. Visit …", &LiftsAfter(90_000));
        check("Please try again in 1.898s: rate_limit_exceeded", &LiftsAfter(1_898));
        check("Rate limit: try again in 250ms", &LiftsAfter(250));
        let days = ((3 * 24 + 2) * 60 + 5) * 60_000;
        check("You've hit your usage limit. Try again in 3 days 2 hours 5 minutes.", &LiftsAfter(days));
        check("You've hit your usage limit … or try again in 1 hour and 4 minutes.", &LiftsAfter(64 * 60_000));
        check("usage limit: try again in less than a minute.", &LiftsAfter(60_000));
        check("You've hit your usage limit. Try again at 3:05 AM.", &Limit);
        check("Too Many Requests, Retry-After: 30", &LiftsAfter(30_000));
        check("API Error: 429 whatever", &Limit);
        check("Selected model is at capacity. Please try a different model.", &Limit);
        check("API Error: 529 Overloaded", &Limit);
        check("Quota exceeded. Check your plan and billing details.", &Lasting);
        check("429: You exceeded your current quota, check your rate limit", &Lasting);
        check("Credit balance is too low", &Lasting);
        check("Codex ran out of room in the model's context window.", &Lasting);
        check("unexpected status 500 Internal Server Error", &Lasting);
        check("error in line 4290", &Lasting);
        check("429 tests failed", &Lasting);
        check("", &Lasting);
    }

    #[test]
    fn odd_times_are_no_time() {
        assert_eq!(lifts_after("try again in a moment"), None);
        assert_eq!(lifts_after("try again in 99999999999999999999999999 weeks"), None);
        assert_eq!(lifts_after("try again in 1.2.3s"), None);
        assert_eq!(lifts_after("try again in "), None);
        assert_eq!(lifts_after("try again in 20s, 3 left"), Some(Duration::from_secs(20)));
        assert_eq!(lifts_after("please wait until tomorrow; retry after 5 seconds"), Some(Duration::from_secs(5)));
    }
}
