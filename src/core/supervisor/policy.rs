//! The numbers and small rules: how long a pause is, what an exit means.
//!
//! Invariant: pure functions of the plan and the state, used by `decide` and `apply` alike, so that
//! what was decided need not be written down twice.

use std::time::Duration;

use super::Supervisor;
use super::state::{AgentRun, Live};
use crate::core::ids::RunnerName;
use crate::core::queue::Seat;
use crate::core::reason::{EndReason, Exit};
use crate::core::record::{RateLimit, Summary};

/// The first pause before a retry; each further one is twice as long, up to [`LONGEST_BACKOFF`].
pub(super) const FIRST_BACKOFF: Duration = Duration::from_secs(1);
pub(super) const LONGEST_BACKOFF: Duration = Duration::from_mins(5);

/// The first pause of a runner whose provider does not say how long to wait; doubled up to
/// [`LONGEST_PAUSE`].
pub(super) const FIRST_PAUSE: Duration = Duration::from_secs(30);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_mins(15);
/// The most pauses of a runner without a good end between them, and their longest total.
pub(super) const MOST_PAUSES: u32 = 20;
pub(super) const LONGEST_PAUSED: Duration = Duration::from_hours(6);

/// How often placing is tried anew when somebody else commits at the same time.
pub(super) const MOST_PLACE_TRIES: u32 = 5;

/// How often an agent goes back to the queue because of others before it is given up.
pub(super) const MOST_REQUEUES: u32 = 20;

/// A quiet attempt is not looked at more often than this.
pub(super) const SHORTEST_LOOK: Duration = Duration::from_millis(10);

fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    2_u32.checked_pow(times).map_or(longest, |factor| first.saturating_mul(factor)).min(longest)
}

/// The pause before the retry after `retries` earlier ones.
pub(super) fn backoff(retries: u32) -> Duration {
    doubled(FIRST_BACKOFF, retries, LONGEST_BACKOFF)
}

/// Why an attempt whose tree ended like this will not complete; `None`: it may.
pub(super) fn failure(live: &Live, exit: Exit, summary: &Summary) -> Option<EndReason> {
    if let Some(reason) = &live.ending {
        return Some(reason.clone());
    }
    if exit.success() {
        return None;
    }
    if exit == Exit::Lost {
        return Some(EndReason::ShimLost);
    }
    if summary.rate_limit.is_some() {
        return Some(EndReason::RateLimited);
    }
    Some(match &summary.fatal {
        Some(message) => EndReason::RunnerFailed { message: message.clone() },
        None => EndReason::Exit(exit),
    })
}

impl Supervisor {
    /// How long the runner has to pause for this limit; `None`: it has paused enough.
    pub(super) fn pause_for(&self, runner: &RunnerName, limit: RateLimit) -> Option<Duration> {
        let known = self.runners.get(runner).cloned().unwrap_or_default();
        let already = known.paused_until.is_some();
        let pauses = if already { known.pauses.saturating_sub(1) } else { known.pauses };
        let pause = limit.lifts_after.unwrap_or_else(|| doubled(FIRST_PAUSE, pauses, LONGEST_PAUSE));
        let bounded = pauses < MOST_PAUSES && (already || known.paused_for.saturating_add(pause) <= LONGEST_PAUSED);
        (bounded && pause <= LONGEST_PAUSED).then_some(pause)
    }

    /// Will the agent be tried again after an attempt that ended for this reason?
    pub(super) fn tries_again(&self, seat: Seat, live: &Live, reason: &EndReason) -> bool {
        if self.not_started(seat).is_some() || self.agents[seat].stop.is_some() {
            return false;
        }
        if *reason == EndReason::RateLimited {
            return !live.gives_up;
        }
        if *reason == EndReason::SupervisorDied {
            return true;
        }
        let run: &AgentRun = &self.agents[seat];
        if matches!(reason, EndReason::Busy { .. } | EndReason::WaitsBehind { .. } | EndReason::Outranked { .. }) {
            return run.requeues < MOST_REQUEUES;
        }
        reason.may_be_retried() && run.retries < self.agent_plan(seat).retries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit() {
        let seconds: Vec<u64> = (0..10).map(|n| backoff(n).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]);
        assert_eq!(backoff(u32::MAX), LONGEST_BACKOFF);
    }
}
