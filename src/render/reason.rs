//! Every "why" as a stable word for programs and a short text for people.
//!
//! Invariant: a word never changes once it was released; they are those of the journal. A text is
//! one line, starts in lower case and reads on after the state: `FAILED: exit code 1`.

use super::Setting;
use super::text::{duration, limit, path_text, printable, some_of, some_of_more};
use crate::core::call::RefusedPath;
use crate::core::change::Attribution;
use crate::core::effect::Telling;
use crate::core::event::PlaceRefusal;
use crate::core::path::RepoPath;
use crate::core::reason::{AnewReason, BusyReason, DenialReason, EndReason, Exit, Interrupt, Limit, Quiet, WaitReason};
use crate::core::record::{RequeueReason, Trouble};
use crate::core::view::{AttemptEnd, Why};

const PATHS_SHOWN: usize = 3;
const AGENTS_SHOWN: usize = 4;
pub(super) const ONLY_IGNORED: &str = "changed only what git ignores; nothing was committed";
/// Columns of a text from outside; logs have the whole.
const MESSAGE: usize = 200;

#[must_use]
pub fn wait_kind(reason: &WaitReason) -> &'static str {
    match reason {
        WaitReason::Phase { .. } => "phase",
        WaitReason::Dependencies { .. } => "dependencies",
        WaitReason::Locks { .. } => "locks",
        WaitReason::Reserved { .. } => "reserved",
        WaitReason::DirtyClaim { .. } => "dirty_claim",
        WaitReason::Slot => "slot",
        WaitReason::OpenFiles { .. } => "open_files",
        WaitReason::RunnerSlot { .. } => "runner_slot",
        WaitReason::RateLimit { .. } => "rate_limit",
        WaitReason::Backoff { .. } => "backoff",
        WaitReason::Preparing => "preparing",
        WaitReason::Stopping => "stopping",
    }
}

#[must_use]
pub fn wait_text(reason: &WaitReason, setting: &Setting) -> String {
    match reason {
        WaitReason::Phase { open } => format!("phase {} is not over", setting.phase(*open)),
        WaitReason::Dependencies { on } => format!("needs {}", some_of(on, AGENTS_SHOWN)),
        WaitReason::Locks { holders } => format!("locked by {}", some_of(holders, AGENTS_SHOWN)),
        WaitReason::Reserved { by } => format!("{by} is first in line for the same files"),
        WaitReason::DirtyClaim { paths, more } => {
            format!("uncommitted changes in {}", some_of_more(paths, *more, PATHS_SHOWN))
        }
        WaitReason::Slot => "all slots are taken".to_owned(),
        WaitReason::OpenFiles { fit } => {
            format!("no more than {fit} at once fit the limit on open files (ulimit -n)")
        }
        WaitReason::RunnerSlot { runner } => format!("all slots of {} are taken", printable(runner.as_str())),
        WaitReason::RateLimit { runner, until } => {
            format!("rate limit of {} until {}", printable(runner.as_str()), setting.clock(*until))
        }
        WaitReason::Backoff { until } => format!("next attempt at {}", setting.clock(*until)),
        WaitReason::Preparing => "its claim is being compared with git".to_owned(),
        WaitReason::Stopping => "the run is stopping".to_owned(),
    }
}

#[must_use]
pub fn anew_kind(reason: &AnewReason) -> &'static str {
    match reason {
        AnewReason::Runner => "runner",
        AnewReason::NoThread => "no_thread",
        AnewReason::HeadChanged { .. } => "head_changed",
        AnewReason::Occupied { .. } => "occupied",
        AnewReason::Mixed { .. } => "mixed",
        AnewReason::BeyondClaim { .. } => "beyond_claim",
        AnewReason::Held { .. } => "held",
        AnewReason::NotKept => "not_kept",
        AnewReason::Failed { .. } => "failed",
    }
}

/// Why an attempt does not go on with the one before it.
#[must_use]
pub fn anew_text(reason: &AnewReason) -> String {
    let some = |paths: &[RepoPath], more: usize| some_of_more(paths, more, PATHS_SHOWN);
    match reason {
        AnewReason::Runner => "its runner cannot continue".to_owned(),
        AnewReason::NoThread => "its thread is not known, or could not be continued".to_owned(),
        AnewReason::HeadChanged { paths, more } => format!("committed by somebody else since: {}", some(paths, *more)),
        AnewReason::Occupied { paths, more } => format!("uncommitted changes in {}", some(paths, *more)),
        AnewReason::Mixed { paths, more } => format!("its work was not its alone: {}", some(paths, *more)),
        AnewReason::BeyondClaim { paths, more } => format!("its work reaches beyond its claim: {}", some(paths, *more)),
        AnewReason::Held { path, by } => format!("{path} is locked by {by}"),
        AnewReason::NotKept => "its work could not be kept".to_owned(),
        AnewReason::Failed { error } => quoted("its work could not be put back", error),
    }
}

#[must_use]
pub fn end_kind(reason: &EndReason) -> &'static str {
    match reason {
        EndReason::Exit(_) => "exit",
        EndReason::RunnerFailed { .. } => "runner_failed",
        EndReason::RateLimited => "rate_limited",
        EndReason::SpawnFailed { .. } => "spawn_failed",
        EndReason::VerifyFailed { .. } => "verify_failed",
        EndReason::VerifyTimeout { .. } => "verify_timeout",
        EndReason::NoChanges => "no_changes",
        EndReason::DirtyClaim { .. } => "dirty_claim",
        EndReason::BranchMoved => "branch_moved",
        EndReason::ChangedUnderneath { .. } => "changed_underneath",
        EndReason::OutsideEdit { .. } => "outside_edit",
        EndReason::Git { .. } => "git",
        EndReason::Hook { .. } => "hook",
        EndReason::Survivors { .. } => "survivors",
        EndReason::Busy { .. } => "busy",
        EndReason::Leftovers { .. } => "leftovers",
        EndReason::AllDenied { .. } => "all_denied",
        EndReason::Denied { .. } => "denied",
        EndReason::LockTimeout { .. } => "lock_timeout",
        EndReason::LocksReleased => "locks_released",
        EndReason::Undeclared { .. } => "undeclared",
        EndReason::Conflict { .. } => "conflict",
        EndReason::WaitsBehind { .. } => "waits_behind",
        EndReason::Outranked { .. } => "outranked",
        EndReason::Timeout { .. } => "timeout",
        EndReason::IdleTimeout { .. } => "idle_timeout",
        EndReason::Interrupted(_) => "interrupted",
        EndReason::Stopped => "stopped",
        EndReason::SupervisorDied => "supervisor_died",
        EndReason::ShimLost => "shim_lost",
        EndReason::DependencyFailed { .. } => "dependency_failed",
        EndReason::PhaseFailed { .. } => "phase_failed",
        EndReason::LimitReached(_) => "limit_reached",
        EndReason::Closed => "closed",
    }
}

#[must_use]
pub fn end_text(reason: &EndReason, setting: &Setting) -> String {
    match reason {
        EndReason::Exit(exit) => exit_text(*exit),
        EndReason::RunnerFailed { message } => quoted("the runner gave up", message),
        EndReason::RateLimited => "the provider's rate limit did not lift in time".to_owned(),
        EndReason::SpawnFailed { error } => quoted("could not be started", error),
        EndReason::VerifyFailed { exit } => format!("verify failed with {}", exit_text(*exit)),
        EndReason::VerifyTimeout { after } => format!("verify took longer than {}", limit(*after)),
        EndReason::NoChanges => "changed nothing, and `expect_changes` is set".to_owned(),
        EndReason::DirtyClaim { paths, more } => {
            format!("uncommitted changes in {}", some_of_more(paths, *more, PATHS_SHOWN))
        }
        EndReason::BranchMoved => "the branch was switched, reset or rewritten meanwhile".to_owned(),
        EndReason::ChangedUnderneath { paths, more } => {
            format!(
                "changed or committed by somebody else before its own commit: {}",
                some_of_more(paths, *more, PATHS_SHOWN)
            )
        }
        EndReason::OutsideEdit { paths, more } => {
            format!("also written by somebody else: {}", some_of_more(paths, *more, PATHS_SHOWN))
        }
        EndReason::Git { error } => quoted("git could not do it", error),
        EndReason::Hook { error } => quoted("a commit hook refused", error),
        EndReason::Survivors { count } => {
            format!("{} could not be ended and may write on; its files go to nobody else", processes(*count))
        }
        EndReason::Busy { paths } => {
            format!("told to read again, and did not write afterwards: {}", some_of(paths, PATHS_SHOWN))
        }
        EndReason::Leftovers { paths, more } => {
            let paths = some_of_more(paths, *more, PATHS_SHOWN);
            format!("left files that it did not declare: {paths}; add them to `files`, or set `on_undeclared`")
        }
        EndReason::AllDenied { paths, more } => format!("every write was refused: {}", refused_paths(paths, *more)),
        EndReason::Denied { paths, more } => {
            format!("writes were refused, and `on_denied` is `fail`: {}", refused_paths(paths, *more))
        }
        EndReason::LockTimeout { after } => {
            format!("showed no sign of life for {} while another agent waited for its lock", limit(*after))
        }
        EndReason::LocksReleased => "its locks were taken away by hand".to_owned(),
        EndReason::Undeclared { path } => {
            format!("wrote {}, which it did not declare; add it to `files` if it should have it", path_text(path))
        }
        EndReason::Conflict { conflict, path, with } => {
            format!("lost conflict {conflict} with {with} about {}", path_text(path))
        }
        EndReason::WaitsBehind { conflict, path, with } => {
            format!("conflict {conflict}: has to wait for {with} to be done with {}", path_text(path))
        }
        EndReason::Outranked { conflict, path, with } => {
            format!("conflict {conflict}: {with} comes first and needs {}", path_text(path))
        }
        EndReason::Timeout { after } => format!("ran longer than its timeout of {}", limit(*after)),
        EndReason::IdleTimeout { after, quiet } => {
            let signs = quiet.map(|quiet| format!(": {}", quiet_text(quiet))).unwrap_or_default();
            format!("showed no sign of life for {}{signs}", limit(*after))
        }
        EndReason::Interrupted(by) => format!("the run was interrupted ({})", interrupt_text(*by)),
        EndReason::Stopped => "stopped by hand".to_owned(),
        EndReason::SupervisorDied => "the supervisor died while it ran".to_owned(),
        EndReason::ShimLost => "its shim died, and what was left of it was ended".to_owned(),
        EndReason::DependencyFailed { on } => format!("{on} did not complete"),
        EndReason::PhaseFailed { phase } => format!("phase {} did not complete", setting.phase(*phase)),
        EndReason::Closed => "nothing more was to be started (supervise complete)".to_owned(),
        EndReason::LimitReached(limit) => format!("{} was reached before it started", limit_text(*limit)),
    }
}

/// Which signs of life were missing for how long.
fn quiet_text(quiet: Quiet) -> String {
    let Quiet { output, writes, cpu } = quiet;
    let writes = writes.map(|writes| format!("no write for {}, ", duration(writes))).unwrap_or_default();
    format!("no output for {}, {writes}no CPU time for {}", duration(output), duration(cpu))
}

/// The kind of a view's reason; `None` where the state says it all.
#[must_use]
pub fn why_kind(why: &Why) -> Option<&'static str> {
    match why {
        Why::Nothing => None,
        Why::Waits(reason) => Some(wait_kind(reason)),
        Why::Ends(reason) => Some(end_kind(reason)),
        Why::WithoutChanges => Some("without_changes"),
        Why::OnlyIgnored => Some("only_ignored"),
        Why::NothingCommitted => Some("nothing_committed"),
    }
}

#[must_use]
pub fn why_text(why: &Why, setting: &Setting) -> Option<String> {
    match why {
        Why::Nothing => None,
        Why::Waits(reason) => Some(wait_text(reason, setting)),
        Why::Ends(reason) => Some(end_text(reason, setting)),
        Why::WithoutChanges => Some("without changes".to_owned()),
        Why::OnlyIgnored => Some(ONLY_IGNORED.to_owned()),
        Why::NothingCommitted => Some("nothing of what it changed was committed".to_owned()),
    }
}

#[must_use]
pub fn trouble_text(trouble: &Trouble) -> String {
    match trouble {
        Trouble::MeasureFailed { error } => quoted("its changes could not be measured", error),
        Trouble::SalvageFailed { error } => quoted("its work could not be put aside, and stays in the tree", error),
        Trouble::CheckpointFailed { error } => quoted("no checkpoint could be made", error),
        Trouble::PlaceMoved => "somebody committed meanwhile; its work is placed on top".to_owned(),
        Trouble::Survivors { count } => {
            format!("{} could not be ended (another user's, or stuck in the kernel)", processes(*count))
        }
    }
}

#[must_use]
pub fn requeue_text(why: &RequeueReason, setting: &Setting) -> String {
    match why {
        RequeueReason::Retry(reason) => format!("last attempt: {}", end_text(reason, setting)),
        RequeueReason::RateLimit => "rate limit; this costs no retry".to_owned(),
        RequeueReason::Busy { paths } => {
            format!("waits for {}, which joins its claim; this costs no retry", some_of(paths, PATHS_SHOWN))
        }
        RequeueReason::Conflict { conflict, path } => {
            format!("conflict {conflict}: waits for {}, which joins its claim; this costs no retry", path_text(path))
        }
        RequeueReason::Outranked { conflict } => {
            format!("conflict {conflict}: keeps its place in line; this costs no retry")
        }
        RequeueReason::Resumed => "the supervisor died while it ran; this costs no retry".to_owned(),
    }
}

/// Why an attempt's work is only kept; null in JSON where nobody knows.
#[must_use]
pub fn attempt_end_kind(ended: &AttemptEnd) -> Option<&'static str> {
    match ended {
        AttemptEnd::For(reason) | AttemptEnd::Requeued(RequeueReason::Retry(reason)) => Some(end_kind(reason)),
        AttemptEnd::Requeued(RequeueReason::RateLimit) => Some("rate_limited"),
        AttemptEnd::Requeued(RequeueReason::Busy { .. }) => Some("busy"),
        AttemptEnd::Requeued(RequeueReason::Conflict { .. }) => Some("waits_behind"),
        AttemptEnd::Requeued(RequeueReason::Outranked { .. }) => Some("outranked"),
        AttemptEnd::Requeued(RequeueReason::Resumed) | AttemptEnd::CutOff => Some("supervisor_died"),
        AttemptEnd::Beside => Some("beside_commit"),
        AttemptEnd::Unknown => None,
    }
}

#[must_use]
pub fn attempt_end_text(ended: &AttemptEnd, setting: &Setting) -> String {
    match ended {
        AttemptEnd::For(reason) | AttemptEnd::Requeued(RequeueReason::Retry(reason)) => end_text(reason, setting),
        AttemptEnd::Requeued(why) => requeue_text(why, setting),
        AttemptEnd::Beside => "completed, but these paths had uncommitted changes before it".to_owned(),
        AttemptEnd::CutOff => end_text(&EndReason::SupervisorDied, setting),
        AttemptEnd::Unknown => "not known: its run's journal does not tell".to_owned(),
    }
}

/// The kind of a denial, and of an answer to look again.
#[must_use]
pub fn denial_kind(why: &DenialReason) -> &'static str {
    match why {
        DenialReason::Git => "git",
        DenialReason::Nested => "nested",
        DenialReason::Deny => "deny",
        DenialReason::Undeclared => "undeclared",
        DenialReason::Directory => "directory",
        DenialReason::ProtectedIgnored => "protected_ignored",
        DenialReason::IgnoredEnforced => "ignored_enforced",
        DenialReason::Conflict { .. } => "conflict",
        DenialReason::Reserved { .. } => "reserved",
        DenialReason::Verify => "verify",
        DenialReason::Unresolved => "unresolved",
        DenialReason::NoAnswer => "no_answer",
        DenialReason::TooLarge => "too_large",
        DenialReason::NotKept { .. } => "not_kept",
    }
}

/// Whose the path is and what of the session file would allow it: for the timeline, the report, and
/// the agent's own log.
#[must_use]
pub fn denial_text(why: &DenialReason) -> String {
    match why {
        DenialReason::Git => "it belongs to git; only the supervisor commits".to_owned(),
        DenialReason::Nested => "it lies in another repository, of which this run can commit nothing".to_owned(),
        DenialReason::Deny => "the agent's `deny` matches it".to_owned(),
        DenialReason::Undeclared => "not declared; add it to `files` of this agent to allow it".to_owned(),
        DenialReason::Directory => {
            "a directory, not declared; add the files wanted beneath it to `files` of this agent".to_owned()
        }
        DenialReason::ProtectedIgnored => {
            "git ignores it and it was there before the run; name it in `files` to allow it".to_owned()
        }
        DenialReason::IgnoredEnforced => {
            "git ignores it, and `ignored` is `enforce`; name it in `files` to allow it".to_owned()
        }
        DenialReason::Conflict { conflict, holder } => {
            format!(
                "locked by {holder} (conflict {conflict}); add it to `files` or `late` of this agent, or set `on_conflict`"
            )
        }
        DenialReason::Reserved { by } => {
            format!("{by} is first in line for it; add it to `files` or `late` of this agent to have its turn")
        }
        DenialReason::Verify => "a verify command changes only what git ignores".to_owned(),
        DenialReason::Unresolved => "where it would write could not be found out".to_owned(),
        DenialReason::NoAnswer => "the supervisor did not answer in time".to_owned(),
        DenialReason::TooLarge => "too many files beneath that directory to judge at once".to_owned(),
        DenialReason::NotKept { error } => quoted("what was there could not be kept", error),
    }
}

#[must_use]
pub fn busy_text(why: &BusyReason) -> String {
    match why {
        BusyReason::Held { by } => format!("{by} is writing it at this moment; read it again, then retry"),
        BusyReason::Read { by } => format!("{by} has it in `reads`, so it may not change while {by} runs; retry then"),
        BusyReason::Stale => "it changed since it was read; read it again, then retry".to_owned(),
    }
}

/// What an agent's own log says about a call that failed, in one line.
#[must_use]
pub fn telling(telling: &Telling) -> String {
    match telling {
        Telling::Denied { path, why } => {
            format!("supervise: {}: permission denied: {}", refused_path(path), denial_text(why))
        }
        Telling::Busied { path, why } => {
            format!("supervise: {}: resource busy: {}", path_text(path), busy_text(why))
        }
    }
}

/// A refused path as people see it.
#[must_use]
pub fn refused_path(path: &RefusedPath) -> String {
    match path {
        RefusedPath::Inside(path) => path_text(path),
        RefusedPath::Other(text) => printable(text),
    }
}

pub(super) fn refused_paths(paths: &[RefusedPath], more: usize) -> String {
    some_of_more(&paths.iter().map(refused_path).collect::<Vec<_>>(), more, PATHS_SHOWN)
}

#[must_use]
pub fn refusal_kind(refusal: &PlaceRefusal) -> &'static str {
    match refusal {
        PlaceRefusal::Moved => "moved",
        PlaceRefusal::NotBegun => "not_begun",
        PlaceRefusal::BranchMoved => "branch_moved",
        PlaceRefusal::ChangedUnderneath { .. } => "changed_underneath",
        PlaceRefusal::Hook { .. } => "hook",
        PlaceRefusal::Git { .. } => "git",
    }
}

#[must_use]
pub fn refusal_text(refusal: &PlaceRefusal) -> String {
    match refusal {
        PlaceRefusal::Moved => "somebody committed at the same moment".to_owned(),
        PlaceRefusal::NotBegun => "the supervisor died before it moved the branch".to_owned(),
        PlaceRefusal::BranchMoved => "the branch was switched, reset or rewritten meanwhile".to_owned(),
        PlaceRefusal::ChangedUnderneath { paths } => {
            format!("changed by somebody else before the commit: {}", some_of(paths, PATHS_SHOWN))
        }
        PlaceRefusal::Hook { error } => quoted("a commit hook refused", error),
        PlaceRefusal::Git { error } => quoted("git could not do it", error),
    }
}

#[must_use]
pub fn exit_text(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("exit code {code}"),
        Exit::Signal(signal) => format!("ended by {}", signal_name(signal)),
        Exit::Lost => "nobody saw how it ended".to_owned(),
    }
}

#[must_use]
pub fn interrupt_text(by: Interrupt) -> &'static str {
    match by {
        Interrupt::Hangup => "SIGHUP",
        Interrupt::Interrupt => "SIGINT",
        Interrupt::Terminate => "SIGTERM",
        Interrupt::Asked => "supervise stop",
        Interrupt::Reset => "supervise reset",
    }
}

#[must_use]
pub fn limit_text(limit: Limit) -> &'static str {
    match limit {
        Limit::Failures => "`max_failures`",
        Limit::Tokens => "`max_tokens`",
        Limit::StopAt => "`stop_at`",
    }
}

#[must_use]
pub fn attribution_kind(attribution: Attribution) -> &'static str {
    match attribution {
        Attribution::Certain => "certain",
        Attribution::Inferred => "inferred",
        Attribution::Unknown => "unknown",
    }
}

/// `SIGTERM`, or `signal 64` where the number has no name.
fn signal_name(signal: i32) -> String {
    nix::sys::signal::Signal::try_from(signal).map_or_else(|_| format!("signal {signal}"), |s| s.as_str().to_owned())
}

fn processes(count: u32) -> String {
    if count == 1 { "1 process".to_owned() } else { format!("{count} processes") }
}

fn quoted(what: &str, detail: &str) -> String {
    match printable(detail) {
        detail if detail.is_empty() => what.to_owned(),
        detail => format!("{what}: {}", super::text::truncate(&detail, MESSAGE)),
    }
}
