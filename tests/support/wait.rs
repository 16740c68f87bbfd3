//! Waiting for what tells nobody that it has come: a file of another program, the end of somebody
//! else's process, the state of a run.
//!
//! Invariant: nowhere else does a test look at the same thing again and again. It looks at least once,
//! and once more when the time is over.
//!
//! Deliberately absent: what can be waited for without looking: a child, a channel, a named pipe.

use std::time::Duration;

use supervise::shim::clock;
use tokio::time::{MissedTickBehavior, interval};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// What `look` finds; `None`: nothing within `limit`.
pub(crate) fn find<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = clock::now() + limit;
    loop {
        let is_last = clock::now() >= deadline;
        let found = look();
        if found.is_some() || is_last {
            return found;
        }
        std::thread::park_timeout(PAUSE);
    }
}

/// The same, while the other tasks of the runtime go on.
pub(crate) async fn find_meanwhile<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = clock::now() + limit;
    let mut looks = interval(PAUSE);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let is_last = clock::now() >= deadline;
        let found = look();
        if found.is_some() || is_last {
            return found;
        }
    }
}
