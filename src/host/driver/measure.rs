//! The end of an attempt: the watch is drained, the tree compared with its baseline, and the watch drained
//! again, so that who else wrote is known up to the moment at which the last file was read.
//!
//! Invariant: a measurement without doubt rests on a watch that has taken in everything that happened
//! before the comparison began, and one that is told on everything before it ended; where a drain fails,
//! nothing is certain.
//!
//! Deliberately absent: the comparison (`git`), what follows from it (`core`).

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use tokio::task::AbortHandle;

use super::{Driver, News};
use crate::core::call::Tally;
use crate::core::event::{Event, Measured};
use crate::core::facts::{self, Doubt};
use crate::core::ids::AttemptId;
use crate::core::path::RepoPath;
use crate::host::git::GitError;
use crate::host::watch::Watch;
use crate::shim::record::ExitRecord;

/// How long a cookie of the watch is waited for. Its answer takes far less, even after a gap.
const COOKIE_WAIT: Duration = Duration::from_secs(10);

/// Attempts whose tree is gone, by the cookie that they wait for.
#[derive(Debug, Default)]
pub(super) struct Drains(BTreeMap<u64, (Stage, AbortHandle)>);

/// What is done once the watch is drained.
#[derive(Debug)]
enum Stage {
    Compare(AttemptId),
    /// With paths that somebody else is known to have written.
    Tell(AttemptId, facts::Measured, Vec<RepoPath>),
}

impl Stage {
    fn id(&self) -> &AttemptId {
        let (Self::Compare(id) | Self::Tell(id, ..)) = self;
        id
    }
}

impl Driver<'_> {
    /// The tree is gone and its gate has told all.
    pub(super) fn measure(&mut self, id: AttemptId) {
        self.drain(Stage::Compare(id));
    }

    pub(super) fn compared(
        &mut self,
        id: AttemptId,
        outcome: Result<facts::Measured, GitError>,
        foreign: Vec<RepoPath>,
    ) {
        match outcome {
            Ok(measured) => self.drain(Stage::Tell(id, measured, foreign)),
            Err(error) if error.is_of_disk() => self.disk = Some(error.to_string()),
            Err(error) => self.tell(Event::Measured { id, outcome: Err(error.to_string()) }),
        }
    }

    /// The watch has taken in everything that happened before it was asked.
    pub(super) fn drained(&mut self, cookie: u64) {
        if let Some((stage, timeout)) = self.sight.drains.0.remove(&cookie) {
            timeout.abort();
            self.go_on(stage);
        }
    }

    pub(super) fn undrained(&mut self, cookie: u64) {
        if let Some((stage, _)) = self.sight.drains.0.remove(&cookie) {
            self.go_on_in_doubt(stage, &"it does not answer");
        }
    }

    fn drain(&mut self, stage: Stage) {
        let Some(watch) = self.watch.as_ref().filter(|_| self.layers.gate) else { return self.go_on(stage) };
        match watch.cookie() {
            Ok(cookie) => {
                let news = self.news.clone();
                let timeout = tokio::task::spawn_local(async move {
                    tokio::time::sleep(COOKIE_WAIT).await;
                    let _ = news.send(News::Undrained(cookie)).await;
                });
                self.sight.drains.0.insert(cookie, (stage, timeout.abort_handle()));
            }
            Err(error) => self.go_on_in_doubt(stage, &error),
        }
    }

    fn go_on_in_doubt(&mut self, stage: Stage, error: &dyn std::fmt::Display) {
        let id = stage.id();
        tracing::warn!(%id, %error, "the watch cannot be asked; nothing of this attempt is certain");
        self.sight.outside.gap(id);
        self.go_on(stage);
    }

    fn go_on(&mut self, stage: Stage) {
        match stage {
            Stage::Compare(id) => {
                let epoch = self.watch.as_ref().map(Watch::epoch);
                let sure = self.layers.gate && self.sight.outside.saw_all(&id, epoch);
                let doubt = if sure { Doubt::None } else { Doubt::Whole };
                let touched = self.sight.outside.wrote(&id);
                let left = self.left.get(&id).cloned();
                let exit_record = self.run_dir.attempt(&id).join("exit.json");
                self.git.post(move |git| {
                    warn_of_logs(&id, &exit_record);
                    let outcome = git.measure(&id, doubt, &touched);
                    let foreign = left
                        .zip(outcome.as_ref().ok())
                        .map(|(left, found)| left.foreign(git.workspace(), found.own.iter().chain(&found.beyond)));
                    Some(News::Compared(id, outcome, foreign.unwrap_or_default()))
                });
            }
            Stage::Tell(id, facts::Measured { own, beyond }, mut outside) => {
                if self.layers.gate {
                    outside.extend(self.outside_of(&id));
                }
                let untold = self.sight.outside.has_gaps(&id);
                self.tell(Event::Measured { id, outcome: Ok(Measured { own, beyond, outside, untold }) });
            }
        }
    }

    fn outside_of(&self, id: &AttemptId) -> Vec<RepoPath> {
        let Some(watch) = &self.watch else { return Vec::new() };
        let paths = self.sight.outside.wrote(id);
        let tallies = watch.tallies(&paths);
        let seen: Vec<(RepoPath, Tally)> = paths.into_iter().zip(tallies).collect();
        self.sight.outside.of_attempt(id, &seen)
    }
}

/// Says so where the disk did not take all of an attempt's output. The attempt itself does not depend on it.
fn warn_of_logs(id: &AttemptId, exit_record: &Path) {
    let record = match ExitRecord::read(exit_record) {
        Ok(Some(record)) => record,
        Ok(None) if exit_record.with_file_name("stdout.log").exists() => {
            let logs = exit_record.with_file_name("");
            tracing::warn!(%id, "the logs in {} may not be whole: exit.json found no space, or its shim died", logs.display());
            return;
        }
        Ok(None) | Err(_) => return,
    };
    for (log, name) in [(record.stdout, "stdout.log"), (record.stderr, "stderr.log")] {
        if let Some(error) = log.error {
            let file = exit_record.with_file_name(name);
            let (file, bytes) = (file.display(), log.omitted);
            tracing::warn!(%id, %error, bytes, "{file} is not whole: the disk did not take all of it; make space");
        }
    }
}
