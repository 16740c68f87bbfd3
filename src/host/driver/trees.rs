//! The driver's process trees: starting agents and verify commands, and hearing from them.
//!
//! Invariant: every tree that was reported as started is in `trees` until its end is heard; an end
//! that is asked for before that is not lost.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use crate::core::change::ObjectId;
use crate::core::effect::{Continuation, Ending, Part};
use crate::core::event::Event;
use crate::core::ids::{AttemptId, Slot};
use crate::core::reason::{EndReason, Exit};
use crate::host::git::ScratchWorktree;
use crate::host::process::{SpawnError, Tree, TreeKey, TreeNews, TreeSpec};
use crate::host::state::{RunDir, write_private};
use crate::runner::{self, Again, CommandLine, MAX_TOLD, Reader, Told};
use crate::session::{Launch, VerifyIn};

use super::{Driver, NEWS_QUEUE, News, Observer};

/// The most of a verify command's output that goes into records.
const TAIL: u64 = 4096;

/// From SIGTERM to SIGKILL for what a leader leaves behind when it ends by itself.
const LEFTOVER_GRACE: Duration = Duration::from_secs(2);

/// A verify command on its way.
pub(super) struct Verifying {
    slot: Slot,
    /// Where it runs, if not in the workspace; goes when the verify is over.
    worktree: Option<ScratchWorktree>,
}

impl Driver<'_> {
    /// Turns news into what the core has to hear.
    pub(super) fn hear(&mut self, news: News) -> Vec<Event> {
        if let News::Tree(key, TreeNews::Refused(refusals)) = news {
            return Self::refused(&key, refusals);
        }
        if let News::Caught(caught) = news {
            return self.caught(caught);
        }
        let survived = survived(&news);
        survived.into_iter().chain(self.heard(news)).collect()
    }

    fn heard(&mut self, news: News) -> Option<Event> {
        match news {
            News::Core(event) => Some(event),
            News::SurveyFailed(error) => {
                tracing::error!(%error, "it is not known what changed that no agent accounts for");
                self.surveyed = false;
                Some(Event::Surveyed { unattributed: Vec::new() })
            }
            News::Spawned(key, outcome) => self.spawned(key, outcome),
            News::Worktree(id, outcome) => self.worktree(id, outcome),
            News::Tree(key, TreeNews::Output(bytes)) => {
                let reader = self.readers.get_mut(&key.id)?;
                for progress in reader.feed(&bytes) {
                    let text = self.observer.progress(&key.id, &progress);
                    if self.feeds.wants_doing() {
                        self.feeds.doing(&key.id, &text);
                    }
                }
                reader.new_thread().map(|thread| Event::ThreadKnown { id: key.id, thread })
            }
            News::Prepared(id, outcome, protected) => {
                let epoch = self.watch.as_ref().map(crate::host::watch::Watch::epoch);
                self.sight.outside.begins(&id, epoch);
                self.sight.protected.insert(id.clone(), protected);
                Some(Event::Prepared { id, outcome })
            }
            News::Facts { key, call, targets, facts } => self.facts(key, call, targets, facts),
            News::Kept { held, path, again, base } => self.kept(held, path, again, base),
            News::Drafted(drafted) => self.drafted(drafted),
            News::Died(name) => {
                self.died = Some(name);
                None
            }
            News::Disk(error) => {
                self.disk = Some(error);
                None
            }
            News::Watch(wake) => {
                self.woken(wake);
                None
            }
            News::Undrained(cookie) => {
                self.undrained(cookie);
                None
            }
            News::Compared(id, outcome, foreign) => {
                self.compared(id, outcome, foreign);
                None
            }
            News::Tree(key, TreeNews::Asked { call, targets }) => {
                self.ask_facts(key, call, targets);
                None
            }
            News::Tree(key, TreeNews::Wrote(calls)) => Some(self.wrote(key, &calls)),
            News::Tree(key, TreeNews::Untold(calls)) => {
                self.untold(&key, calls);
                None
            }
            News::Tree(key, TreeNews::Flushed(number)) => {
                self.flushed(&key, Some(number));
                None
            }
            News::Tree(_, TreeNews::Refused(_)) | News::Caught(_) => None,
            News::Tree(key, TreeNews::Gap(_)) => {
                self.readers.get_mut(&key.id)?.gap();
                None
            }
            News::Tree(key, TreeNews::Ended { exit, .. }) => {
                self.trees.remove(&key);
                self.flushed(&key, None);
                match key.part {
                    Part::Agent => {
                        let mut summary = self.readers.remove(&key.id).map(|r| r.finish(exit)).unwrap_or_default();
                        runner::told_as_a_time(&mut summary, &self.clock.here());
                        Some(Event::TreeEnded { id: key.id, exit, summary })
                    }
                    Part::Verify => Some(self.verified(key.id, exit)),
                }
            }
            News::Tree(key, TreeNews::ShimLost { .. }) => {
                self.trees.remove(&key);
                self.flushed(&key, None);
                // What its shim had not told yet nobody will tell.
                self.sight.outside.gap(&key.id);
                match key.part {
                    Part::Agent => {
                        self.readers.remove(&key.id);
                        Some(Event::ShimLost { id: key.id })
                    }
                    Part::Verify => Some(self.verified(key.id, Exit::Lost)),
                }
            }
        }
    }

    fn spawned(&mut self, key: TreeKey, outcome: Result<Tree, SpawnError>) -> Option<Event> {
        self.starting.remove(&key);
        let early_end = self.early_ends.remove(&key);
        match (outcome, key.part) {
            (Ok(tree), part) => {
                if let Some(how) = early_end {
                    tree.end(how);
                }
                let process = tree.process().clone();
                self.trees.insert(key.clone(), tree);
                self.catch_up();
                (part == Part::Agent).then_some(Event::Spawned { id: key.id, process })
            }
            (Err(error), Part::Agent) => {
                self.readers.remove(&key.id);
                Some(Event::SpawnFailed { id: key.id, error: error.to_string() })
            }
            (Err(error), Part::Verify) => {
                self.verifies.remove(&key.id);
                Some(Event::Verified { id: key.id, exit: Exit::Lost, tail: error.to_string() })
            }
        }
    }

    pub(super) fn end(&mut self, key: TreeKey, how: Ending) {
        if let Some(tree) = self.trees.get(&key) {
            tree.end(how);
        } else if self.starting.contains(&key) || (key.part == Part::Verify && self.verifies.contains_key(&key.id)) {
            self.early_ends.insert(key, how);
        }
    }

    pub(super) fn spawn_agent(&mut self, id: AttemptId, slot: Slot, continues: Option<&Continuation>) {
        let dir = self.run_dir.attempt(&id);
        let Some(launch) = self.session.launches.get(&id.agent) else {
            return self.tell(Event::SpawnFailed { id, error: "the session does not say how to launch it".to_owned() });
        };
        let again = continues.map(|continues| again(self.observer, &self.run_dir, &id, continues));
        let line = match self.command_line(launch, &id, slot, &dir, again.as_ref()) {
            Ok(line) => line,
            Err(error) => return self.tell(Event::SpawnFailed { id, error }),
        };
        let reader = Reader::going_on(launch.kind, continues.and_then(|continues| continues.used));
        let key = TreeKey { id, part: Part::Agent };
        let spec = TreeSpec {
            cgroup: self.cgroup_of(&key),
            leftover_grace: LEFTOVER_GRACE,
            argv: line.argv,
            env: line.env,
            cwd: line.cwd,
            stdin: line.stdin,
            stdout: dir.join("stdout.log"),
            stderr: dir.join("stderr.log"),
            log_limit: launch.log_limit,
            exit_record: dir.join("exit.json"),
            forward: line.forward,
            gate: self.terms(launch, &key),
            key,
        };
        self.readers.insert(spec.key.id.clone(), reader);
        self.spawn(spec);
    }

    fn command_line(
        &self,
        launch: &Launch,
        id: &AttemptId,
        slot: Slot,
        dir: &Path,
        again: Option<&Again>,
    ) -> Result<CommandLine, String> {
        let context = runner::Context { again, ..self.context(launch, id, slot, dir) };
        let line = runner::command_line(&context).map_err(|e| e.to_string())?;
        for (path, bytes) in &line.files {
            write_private(path, bytes).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
        }
        Ok(line)
    }

    fn context<'a>(&'a self, launch: &'a Launch, id: &'a AttemptId, slot: Slot, dir: &'a Path) -> runner::Context<'a> {
        runner::Context {
            launch,
            id,
            slot,
            run: &self.run,
            workspace: &self.workspace,
            attempt_dir: dir,
            shared_tmp: &self.shared_tmp,
            environment: &self.environment,
            again: None,
        }
    }

    /// The cgroup that a tree gets, where this machine lets us make one.
    fn cgroup_of(&self, key: &TreeKey) -> Option<PathBuf> {
        let part = match key.part {
            Part::Agent => "agent",
            Part::Verify => "verify",
        };
        let name = format!("supervise-{}-{}-{}-{part}", self.run, key.id.agent, key.id.attempt);
        self.cgroups.as_ref().map(|home| home.join(name))
    }

    /// Starts a tree off the loop; the answer is news.
    fn spawn(&mut self, spec: TreeSpec) {
        let (launcher, news) = (Rc::clone(&self.launcher), self.news.clone());
        self.starting.insert(spec.key.clone());
        tokio::task::spawn_local(async move {
            let key = spec.key.clone();
            let (to_us, mut from_tree) = tokio::sync::mpsc::channel(NEWS_QUEUE);
            let outcome = launcher.spawn(spec, to_us).await;
            let started = outcome.is_ok();
            let _ = news.send(News::Spawned(key, outcome)).await;
            while let (true, Some((key, said))) = (started, from_tree.recv().await) {
                if news.send(News::Tree(key, said)).await.is_err() {
                    return;
                }
            }
        });
    }

    // --- verify -----------------------------------------------------------------------------------

    pub(super) fn verify(&mut self, id: AttemptId, slot: Slot, commit: Option<ObjectId>) {
        let plan = self.session.launches.get(&id.agent).and_then(|l| l.verify.as_ref());
        let in_commit = plan.is_some_and(|p| p.place == VerifyIn::Commit);
        self.verifies.insert(id.clone(), Verifying { slot, worktree: None });
        match commit {
            Some(commit) if in_commit => self.git.post(move |git| {
                let outcome = git.worktree_of(&commit);
                Some(News::Worktree(id, outcome))
            }),
            _ => self.spawn_verify(id, None),
        }
    }

    fn worktree(
        &mut self,
        id: AttemptId,
        outcome: Result<ScratchWorktree, crate::host::git::GitError>,
    ) -> Option<Event> {
        match outcome {
            Ok(worktree) => {
                let dir = worktree.path().to_owned();
                if let Some(verifying) = self.verifies.get_mut(&id) {
                    verifying.worktree = Some(worktree);
                }
                self.spawn_verify(id, Some(dir));
                None
            }
            Err(error) => {
                self.verifies.remove(&id);
                Some(Event::Verified { id, exit: Exit::Lost, tail: error.to_string() })
            }
        }
    }

    fn spawn_verify(&mut self, id: AttemptId, worktree: Option<PathBuf>) {
        let dir = self.run_dir.attempt(&id);
        let slot = self.verifies.get(&id).map_or(Slot(0), |v| v.slot);
        let Some(launch) = self.session.launches.get(&id.agent) else { return };
        let line = match runner::verify_line(&self.context(launch, &id, slot, &dir)) {
            Ok(line) => line,
            Err(error) => {
                self.verifies.remove(&id);
                return self.tell(Event::Verified { id, exit: Exit::Lost, tail: error.to_string() });
            }
        };
        // The agent's directory below the workspace is the same one below a throwaway checkout.
        let cwd = match (worktree, line.cwd.strip_prefix(&self.workspace)) {
            (Some(root), Ok(below)) => root.join(below),
            (_, _) => line.cwd,
        };
        let key = TreeKey { id, part: Part::Verify };
        let spec = TreeSpec {
            cgroup: self.cgroup_of(&key),
            leftover_grace: LEFTOVER_GRACE,
            argv: line.argv,
            env: line.env,
            cwd,
            stdin: None,
            stdout: dir.join("verify.log"),
            stderr: dir.join("verify.log"),
            log_limit: launch.log_limit,
            exit_record: dir.join("verify.json"),
            forward: false,
            gate: self.terms(launch, &key),
            key,
        };
        self.spawn(spec);
    }

    fn verified(&mut self, id: AttemptId, exit: Exit) -> Event {
        let dir = self.run_dir.attempt(&id);
        if let Some(worktree) = self.verifies.remove(&id).and_then(|v| v.worktree) {
            // Removing a checkout takes a while; the git thread has time.
            self.git.post(move |_| {
                drop(worktree);
                None
            });
        }
        let tail = tail_of(&dir.join("verify.log"), TAIL).unwrap_or_default();
        Event::Verified { id, exit, tail }
    }
}

/// What has to be said before the end of a tree that is not quite gone.
fn survived(news: &News) -> Option<Event> {
    let (key, count) = match news {
        News::Tree(key, TreeNews::Ended { survivors, .. } | TreeNews::ShimLost { survivors })
        | News::Spawned(key, Err(SpawnError::Survivors { survivors })) => (key, *survivors),
        _ => return None,
    };
    (count > 0).then(|| Event::Survived { id: key.id.clone(), count })
}

/// What an attempt is told that goes on with an earlier one.
fn again(observer: &mut dyn Observer, run_dir: &RunDir, id: &AttemptId, continues: &Continuation) -> Again {
    let (told, log) = match continues.why {
        EndReason::VerifyFailed { .. } | EndReason::VerifyTimeout { .. } => (Told::Verify, "verify.log"),
        _ => (Told::Errors, "stderr.log"),
    };
    let before = AttemptId { agent: id.agent.clone(), attempt: continues.from };
    let tail = tail_of(&run_dir.attempt(&before).join(log), MAX_TOLD).unwrap_or_default();
    Again::new(&continues.thread, &observer.why(&continues.why), told, &tail)
}

/// The end of a log, at a line's start where there is one, as text.
fn tail_of(path: &Path, length: u64) -> std::io::Result<String> {
    use std::io::{Read as _, Seek as _, SeekFrom};
    let mut file = std::fs::File::open(path)?;
    let from = file.metadata()?.len().saturating_sub(length);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let cut = if from == 0 { 0 } else { text.find('\n').map_or(0, |at| at + 1) };
    Ok(text[cut..].to_owned())
}
