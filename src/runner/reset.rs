//! When a limit lifts that is told as a time of day: "try again at 3:05 AM" (codex), "resets 10:30pm
//! (Europe/Berlin)" (claude).
//!
//! Invariant: the present time is an argument. A text that is not understood is no time; nothing that a
//! provider writes makes reading it fail.

use std::time::Duration;

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, ZonedDateTime};

use crate::core::record::Summary;

/// What comes before a time of day.
const HINTS: &[&str] = &["try again at ", "resets at ", "reset at ", "resets "];

/// A time is told to the minute, so the limit may last until that minute is over.
const MINUTE: Duration = Duration::from_mins(1);

/// One that has passed by no more than this is the one that was meant, and not tomorrow's.
const JUST_PASSED: SignedDuration = SignedDuration::from_mins(5);

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

/// Finds out how long the rate limit of an attempt lasts, where its last error tells a time of day only.
pub fn told_as_a_time(summary: &mut Summary, now: &ZonedDateTime) {
    if let (Some(limit), Some(fatal)) = (&mut summary.rate_limit, &summary.fatal)
        && limit.lifts_after.is_none()
    {
        limit.lifts_after = lifts_after(fatal, now);
    }
}

/// How long from `now` until the time that the text tells, with the zone that it tells or else that of
/// `now`.
fn lifts_after(message: &str, now: &ZonedDateTime) -> Option<Duration> {
    // What is changed keeps its length, so that the zone can be read from the original.
    let text = message.to_ascii_lowercase();
    HINTS.iter().find_map(|hint| {
        text.match_indices(hint).find_map(|(at, _)| {
            let mut words = Words { rest: &text[at + hint.len()..] };
            let date = words.date();
            let time = words.time()?;
            let zone = words.zone().and_then(|name| TimeZone::get(name).ok());
            until(date, time, &zone.unwrap_or_else(|| now.time_zone().clone()), now)
        })
    })
}

fn until(date: Option<(Option<i16>, i8, i8)>, time: Time, zone: &TimeZone, now: &ZonedDateTime) -> Option<Duration> {
    let here = now.with_time_zone(zone.clone());
    let left = |date: Date| {
        let at = date.to_datetime(time).to_zoned_datetime(zone.clone()).ok()?;
        Some(at.timestamp().duration_since(now.timestamp()))
    };
    let is_past = |left: &SignedDuration| *left < -JUST_PASSED;
    let left = match date {
        None => match left(here.date())? {
            passed if is_past(&passed) => left(here.date().tomorrow().ok()?)?,
            ahead => ahead,
        },
        Some((Some(year), month, day)) => left(Date::new(year, month, day).ok()?)?,
        Some((None, month, day)) => match left(Date::new(here.year(), month, day).ok()?)? {
            passed if is_past(&passed) => left(Date::new(here.year().checked_add(1)?, month, day).ok()?)?,
            ahead => ahead,
        },
    };
    Some(Duration::try_from(left).unwrap_or_default() + MINUTE)
}

/// Reads a lower-case text from its beginning.
struct Words<'a> {
    rest: &'a str,
}

impl<'a> Words<'a> {
    /// `feb 5th, 2026 `, `oct 9, `, `oct 9 at `: year, month and day.
    fn date(&mut self) -> Option<(Option<i16>, i8, i8)> {
        let name = self.rest.get(..3)?;
        let month = MONTHS.iter().zip(1..).find_map(|(known, number)| (*known == name).then_some(number))?;
        let mut words = Words { rest: self.rest.trim_start_matches(|c: char| c.is_ascii_alphabetic()).trim_start() };
        let day = words.number(2)?;
        words.skip(&["st", "nd", "rd", "th"]);
        words.skip(&[","]);
        words.rest = words.rest.trim_start();
        let year = {
            let mut ahead = Words { rest: words.rest };
            // A number of four digits; `5pm` and `10:30` are none.
            ahead.number(4).filter(|year| *year >= 1000).inspect(|_| words.rest = ahead.rest)
        };
        words.skip(&[","]);
        words.rest = words.rest.trim_start();
        words.skip(&["at "]);
        self.rest = words.rest;
        Some((year, month, i8::try_from(day).ok()?))
    }

    /// `3:05 am`, `10pm`, `15:05`.
    fn time(&mut self) -> Option<Time> {
        let hour = self.number(2)?;
        let minute = if self.skip(&[":"]) { Some(self.number(2)?) } else { None };
        let before = self.rest;
        self.rest = self.rest.trim_start();
        let hour = if self.skip(&["am", "a.m."]) {
            (1..=12).contains(&hour).then_some(hour % 12)?
        } else if self.skip(&["pm", "p.m."]) {
            (1..=12).contains(&hour).then_some(hour % 12 + 12)?
        } else {
            self.rest = before;
            minute.is_some().then_some(hour)?
        };
        Time::new(i8::try_from(hour).ok()?, i8::try_from(minute.unwrap_or(0)).ok()?, 0, 0).ok()
    }

    /// ` (europe/berlin)`; names of zones have no case.
    fn zone(&self) -> Option<&'a str> {
        self.rest.trim_start().strip_prefix('(')?.split_once(')').map(|(name, _)| name)
    }

    /// A number of at most so many digits.
    fn number(&mut self, digits: usize) -> Option<i16> {
        let end = self.rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(self.rest.len());
        let number = self.rest.get(..end).filter(|number| number.len() <= digits)?.parse().ok()?;
        self.rest = &self.rest[end..];
        Some(number)
    }

    /// Takes the first of these that is next.
    fn skip(&mut self, any: &[&str]) -> bool {
        let rest = any.iter().find_map(|word| self.rest.strip_prefix(word));
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::record::RateLimit;

    /// Minutes until the limit lifts, told at 22:00 on 24 November 2026, an hour east of UTC.
    #[track_caller]
    fn check(message: &str, expected: Option<u64>) {
        let now: ZonedDateTime = "2026-11-24T22:00:00[+01:00]".parse().unwrap();
        assert_eq!(lifts_after(message, &now).map(|d| d.as_secs() / 60), expected, "{message:?}");
    }

    #[test]
    fn times_of_day_are_the_next_such_times() {
        check("You've hit your usage limit … or try again at 3:05 AM.", Some(5 * 60 + 5 + 1));
        check("or try again at 10:30 PM.", Some(31));
        check("resets 22:45", Some(46));
        check("try again at 12:00 p.m.", Some(14 * 60 + 1));
        // It has just passed, and was meant.
        check("try again at 9:58 PM.", Some(1));
        check("try again at 9:50 PM.", Some(24 * 60 - 10 + 1));
    }

    #[test]
    fn a_zone_that_is_told_counts() {
        if TimeZone::get("Asia/Tokyo").is_err() {
            return; // this machine has no zones
        }
        check("You've hit your session limit · resets 10:30pm (Europe/Berlin)", Some(31));
        check("You've hit your session limit · resets 10pm (Asia/Tokyo)", Some(16 * 60 + 1));
        check("Weekly limit reached · resets 10am (Asia/Seoul) · /upgrade", Some(4 * 60 + 1));
        check("Your limit will reset at 12am (Europe/London).", Some(3 * 60 + 1));
        check("resets Nov 25, 1am (Europe/Berlin)", Some(3 * 60 + 1));
    }

    #[test]
    fn dates_count() {
        check("try again at Nov 25th, 2026 1:00 AM.", Some(3 * 60 + 1));
        check("resets Nov 26 at 10pm", Some(48 * 60 + 1));
        check("try again at Jan 1st, 2027 10:00 PM.", Some(38 * 24 * 60 + 1));
        check("resets Jan 1, 10pm", Some(38 * 24 * 60 + 1));
        check("try again at Nov 24th, 2025 1:00 AM", Some(1));
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "try again at a later time",
            "try again at 25:00",
            "try again at 13 PM",
            "try again at 7",
            "resets every week",
            "resets Feb 30, 1am",
            "try again at 3:x",
            "resets é",
            "resets ",
            "",
        ] {
            check(text, None);
        }
        check("resets 10:30pm (No/Where)", Some(31));
    }

    #[test]
    fn what_the_provider_said_as_a_span_comes_first() {
        let now: ZonedDateTime = "2026-11-24T22:00:00[+01:00]".parse().unwrap();
        let told = |lifts_after, fatal: &str| {
            let rate_limit = Some(RateLimit { lifts_after });
            let mut summary = Summary { rate_limit, fatal: Some(fatal.to_owned()), ..Summary::default() };
            told_as_a_time(&mut summary, &now);
            summary.rate_limit.unwrap().lifts_after
        };
        let second = Some(Duration::from_secs(1));
        assert_eq!(told(second, "resets 10:30pm"), second);
        assert_eq!(told(None, "resets 10:30pm"), Some(Duration::from_mins(31)));
        assert_eq!(told(None, "rate limit"), None);
    }
}
