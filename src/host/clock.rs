//! The one place where time comes from.
//!
//! Invariant: a [`Clock`]'s moments never go back (clock_gettime(2), CLOCK_MONOTONIC). Wall-clock
//! time is only written down for people; nothing is decided by it.
#![expect(clippy::disallowed_methods, reason = "this is the room's clock")]

use std::time::{Duration, Instant};

use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Unit, ZonedDateTime};

use crate::core::moment::Moment;

/// Moments since the run was opened, and the wall-clock time that belongs to them.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
    /// The moment at which this clock was started.
    offset: Moment,
    wall: Timestamp,
}

impl Clock {
    /// A clock that stands at [`Moment::ZERO`] now.
    #[must_use]
    pub fn start() -> Self {
        Self { started: Instant::now(), offset: Moment::ZERO, wall: Timestamp::now() }
    }

    /// The clock of a run that was opened at `wall`, and of which something is known at `last`: goes on by the
    /// wall clock, but not back.
    #[must_use]
    pub fn resume(wall: Timestamp, last: Moment) -> Self {
        let passed = Timestamp::now().as_millisecond() - wall.as_millisecond();
        let offset = Moment(u64::try_from(passed).unwrap_or(0)).max(last);
        Self { started: Instant::now(), offset, wall }
    }

    #[must_use]
    pub fn now(&self) -> Moment {
        self.offset + self.started.elapsed()
    }

    /// The wall-clock time of [`Moment::ZERO`].
    #[must_use]
    pub fn opened(&self) -> Timestamp {
        self.wall
    }

    /// Wall-clock time now.
    #[must_use]
    pub fn wall(&self) -> Timestamp {
        Timestamp::now()
    }

    /// The same where people are.
    #[must_use]
    pub fn here(&self) -> ZonedDateTime {
        self.wall().to_zoned_datetime(TimeZone::system())
    }

    /// The tokio instant at which `moment` is reached; in the past if it has been.
    #[must_use]
    pub fn instant(&self, moment: Moment) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.started + Duration::from_millis(moment.0.saturating_sub(self.offset.0)))
    }

    /// The moment at which the local time of day next is `time`.
    #[must_use]
    pub fn next(&self, time: Time) -> Moment {
        let now = self.wall().to_zoned_datetime(TimeZone::system());
        let today = now.date().to_datetime(time).to_zoned_datetime(now.time_zone().clone());
        let due = today.ok().filter(|t| *t > now).or_else(|| {
            let tomorrow = now.date().tomorrow().ok()?;
            tomorrow.to_datetime(time).to_zoned_datetime(now.time_zone().clone()).ok()
        });
        let wait = due.map_or(0, |t| (t.timestamp().as_millisecond() - now.timestamp().as_millisecond()).max(0));
        self.now() + Duration::from_millis(wait.unsigned_abs())
    }

    /// The same as `before`, where that is still to come; else when its local time of day, to the second, comes next.
    #[must_use]
    pub fn again(&self, before: Moment) -> Moment {
        if before > self.now() {
            return before;
        }
        let passed = self.wall + Duration::from_millis(before.0);
        let passed = passed.round(Unit::Second).unwrap_or(passed);
        self.next(passed.to_zoned_datetime(TimeZone::system()).time())
    }
}

/// A run id made of `wall` and a few digits that tell runs of one second apart.
#[must_use]
pub fn run_id(wall: Timestamp, salt: u32) -> String {
    let utc = wall.to_zoned_datetime(TimeZone::UTC);
    format!("{}-{:04x}", utc.strftime("%Y%m%dT%H%M%S"), salt & 0xffff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_time_of_day_is_within_a_day() {
        let clock = Clock::start();
        let ahead = clock.next(Time::constant(7, 0, 0, 0)) - clock.now();
        assert!(ahead <= Duration::from_secs(25 * 3600), "{ahead:?}");
    }

    #[test]
    fn an_hour_that_has_passed_comes_again_on_another_day() {
        let day = Duration::from_hours(24);
        let opened = Timestamp::now() - 2 * day;
        let clock = Clock::resume(opened, Moment::ZERO);
        let passed = Moment::ZERO + Duration::from_secs(10);
        let again = clock.again(passed);
        let time = |moment: Moment| (opened + (moment - Moment::ZERO)).round(Unit::Second).unwrap();
        let of_day = |moment: Moment| time(moment).to_zoned_datetime(TimeZone::system()).time();
        assert_eq!(of_day(again), of_day(passed));
        assert!(again > clock.now() && again - clock.now() <= Duration::from_hours(25), "{again:?}");
        let ahead = clock.now() + day;
        assert_eq!(clock.again(ahead), ahead);
    }

    #[test]
    fn run_ids_sort_by_time_and_name_a_directory() {
        let id = run_id(Timestamp::from_second(1_800_000_000).unwrap(), 0xabcd_1234);
        assert_eq!(id, "20270115T080000-1234");
        assert!(crate::core::ids::RunId::new(&id).is_some());
    }
}
