//! Performing effects: each is handed to whoever does it, and the answer comes back as news.
//!
//! Invariant: nothing here blocks or decides.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::core::effect::{Effect, Part};
use crate::core::event::{Event, PlaceRefusal, Preparation, ReturnRefusal};
use crate::core::ids::{AttemptId, RunnerName};
use crate::core::path::RepoPath;
use crate::core::reason::Quiet;
use crate::host::failpoint;
use crate::host::git::{Checkpoint, CommitMessage, FreezeRequest, Repository, says_disk};
use crate::host::process::{Tree, TreeKey};
use crate::runner;

use super::{Driver, News};

impl Driver<'_> {
    pub(super) fn perform(&mut self, effect: Effect) {
        failpoint::reach();
        match effect {
            Effect::Prepare { id } => self.prepare(id),
            Effect::Spawn { id, slot, continues } => self.spawn_agent(id, slot, continues.as_ref()),
            Effect::End { id, part, how } => self.end(TreeKey { id, part }, how),
            Effect::Sample { id } => {
                let key = TreeKey { id: id.clone(), part: Part::Agent };
                let quiet = self.trees.get(&key).map_or(Quiet::total(Duration::ZERO), Tree::sample);
                self.tell(Event::Sampled { id, quiet });
            }
            Effect::Verify { id, slot, commit } => self.verify(id, slot, commit),
            Effect::Sweep { runner } => self.sweep(&runner),
            Effect::Answer { id, part, call, answer, grants, keep, look_again } => {
                self.answer(TreeKey { id, part }, call, answer, grants, keep, look_again);
            }
            Effect::Stale { id, paths } => self.stale(id, paths),
            Effect::Withdraw { id } => self.withdraw(&id),
            Effect::Tell { id, text } => self.tell_agent(&id, &text),
            Effect::CheckConflict { conflict, path, expect } => self.check_conflict(conflict, path, expect),
            Effect::Measure { id } => self.measure(id),
            Effect::Close { outcome } => self.outcome = Some(outcome),
            effect => self.perform_git(effect),
        }
    }

    fn perform_git(&mut self, effect: Effect) {
        match effect {
            Effect::Freeze { id, purpose, paths, attribution, mixed } => {
                let mut message = self.commit_message(&id);
                message.trailers.extend(mixed.iter().map(|path| ("Supervise-Mixed".to_owned(), path.to_string())));
                self.ask_git(move |git| {
                    let request = FreezeRequest { id: &id, purpose, paths: &paths, attribution, message: &message };
                    let outcome = git.freeze(&request).map_err(|e| e.to_string());
                    Some(Event::Frozen { id, purpose, outcome })
                });
            }
            Effect::Checkpoint { id } => {
                let message = self.commit_message(&id);
                self.ask_git(move |git| {
                    let outcome = git.checkpoint(&Checkpoint { id: &id, message: &message }).map_err(|e| e.to_string());
                    Some(Event::Checkpointed { id, outcome })
                });
            }
            Effect::PreparePlace { id, commit } => self.ask_git(move |git| {
                let outcome = git.prepare_place(&id, commit);
                Some(Event::PlacePrepared { id, outcome })
            }),
            Effect::Place { id, intent } => self.ask_git(move |git| {
                let outcome = git.place(&id, &intent);
                Some(Event::Placed { id, outcome })
            }),
            Effect::FinishPlace { id, intent } => self.ask_git(move |git| {
                let outcome = match git.finish_place(&intent) {
                    Ok(Some(placement)) => Ok(placement),
                    Ok(None) => Err(PlaceRefusal::NotBegun),
                    Err(error) => Err(PlaceRefusal::Git { error: error.to_string() }),
                };
                Some(Event::Placed { id, outcome })
            }),
            Effect::Unpin { id } => self.ask_git(move |git| {
                if let Err(error) = git.unpin(&id) {
                    tracing::warn!(%id, %error, "a private reference stays until it expires");
                }
                None
            }),
            Effect::Restore { id, commit, paths } => {
                // Before the watch can see it.
                self.sight.outside.puts_back(&id, &paths);
                self.git.post(move |git| {
                    Some(match git.restore(&id, commit, &paths) {
                        Ok((restored, left)) => News::Core(Event::Restored { id, restored, left }),
                        Err(error) if error.is_of_disk() => News::Disk(error.to_string()),
                        Err(error) => {
                            tracing::error!(%id, %error, "its files could not be put back");
                            News::Core(Event::Restored { id, restored: Vec::new(), left: paths })
                        }
                    })
                });
            }
            Effect::Return { id, commit, changes } => {
                // Before the watch can see it.
                self.sight.outside.returns(&id, changes.iter().map(|change| &change.path));
                self.ask_git(move |git| {
                    let outcome = git.return_work(&commit, &changes);
                    Some(Event::Returned { id, outcome })
                });
            }
            Effect::Survey => self.git.post(move |git| {
                Some(match git.survey() {
                    Ok(unattributed) => News::Core(Event::Surveyed { unattributed }),
                    Err(error) => News::SurveyFailed(error),
                })
            }),
            other => unreachable!("{other:?} is no work for git"),
        }
    }

    fn prepare(&self, id: AttemptId) {
        let claim = self.supervisor.claim(&id.agent).unwrap_or_default();
        let allow_dirty = self.supervisor.plan().allow_dirty;
        let run_dir = self.run_dir.clone();
        self.git.post(move |git| {
            let outcome = match run_dir.make_attempt(&id) {
                Ok(dir) => git.prepare(&id, &claim, allow_dirty, &dir),
                Err(error) => Preparation::Failed { error: error.whole() },
            };
            if let Preparation::Failed { error } = &outcome
                && says_disk(error)
            {
                return Some(News::Disk(error.clone()));
            }
            let protected = git.protected(&id);
            Some(News::Prepared(id, outcome, protected))
        });
    }

    /// Removes the empty directories that agents of this runner leave in the workspace, unless an
    /// agent of another runner of the same kind still makes its own there: its end comes here too.
    fn sweep(&self, runner: &RunnerName) {
        let launches = &self.session.launches;
        let Some(kind) = launches.values().find(|l| l.runner == *runner).map(|l| l.kind) else { return };
        let in_use = |key: &TreeKey| launches.get(&key.id.agent).is_some_and(|l| l.kind == kind);
        if self.trees.keys().chain(&self.starting).any(in_use) {
            return;
        }
        let of_kind = launches.values().filter(|l| l.kind == kind);
        let homes: BTreeSet<_> = of_kind.map(|l| l.cwd.as_ref().map(RepoPath::as_path)).collect();
        for home in homes {
            let home = home.map_or_else(|| self.workspace.clone(), |cwd| self.workspace.join(cwd));
            for name in runner::scratch_directories(kind) {
                // rmdir(2) takes only what is empty; everything else stays, and so does its reason.
                let _ = std::fs::remove_dir(home.join(name));
            }
        }
    }

    pub(super) fn ask_git(&self, job: impl FnOnce(&mut Repository) -> Option<Event> + Send + 'static) {
        self.git.post(move |git| {
            let event = job(git)?;
            let of_disk = disk_error(&event).filter(|error| says_disk(error)).map(ToOwned::to_owned);
            Some(of_disk.map_or(News::Core(event), News::Disk))
        });
    }

    /// Queues an answer that is known at once. It is taken on a later turn, like every other.
    pub(super) fn tell(&self, event: Event) {
        let news = self.news.clone();
        tokio::task::spawn_local(async move {
            let _ = news.send(News::Core(event)).await;
        });
    }

    /// What an attempt's commits say. A slot means nothing there; the session refuses `{{slot}}`.
    fn commit_message(&self, id: &AttemptId) -> CommitMessage {
        let launch = self.session.launches.get(&id.agent);
        CommitMessage {
            session: self.session.name.clone(),
            subject_and_body: launch.map(|l| l.commit_message.fill(id.attempt.0, 0)).unwrap_or_default(),
            final_message: self.messages.get(id).cloned(),
            trailers: Vec::new(),
        }
    }
}

/// What went wrong with an attempt's work, where that is what the event says. Of a checkpoint that could not be made
/// the run is only told.
fn disk_error(event: &Event) -> Option<&str> {
    match event {
        Event::Frozen { outcome: Err(error), .. }
        | Event::PlacePrepared { outcome: Err(PlaceRefusal::Git { error }), .. }
        | Event::Placed { outcome: Err(PlaceRefusal::Git { error }), .. }
        | Event::Returned { outcome: Err(ReturnRefusal::Failed { error } | ReturnRefusal::Stuck { error }), .. } => {
            Some(error)
        }
        _ => None,
    }
}
