//! Quick questions about paths, answered beside the slow work of git.
//!
//! While a process waits for its verdict, what the verdict rests on must not wait for a commit or for
//! the comparison of a large tree. So there is a second thread with a handle on the repository of its
//! own; both read, only the first moves branches and writes the index.
//!
//! Invariant: questions are answered in the order they came, each by exactly one piece of news.
//!
//! Deliberately absent: what an answer means (`core`).

use std::path::PathBuf;

use tokio::sync::mpsc;

use crate::core::facts::PathFacts;
use crate::core::path::RepoPath;

use super::git::{Base, GitError, Repository};
use super::git_thread::GitThread;
use super::watch::evidence::{self, Evidence};
use crate::shim::tree;

/// A handle to the thread; dropping it lets the thread finish its queue and end.
#[derive(Debug)]
pub struct Lookups<N> {
    thread: GitThread<N>,
}

/// Why the thread is not there.
#[derive(Debug, thiserror::Error)]
pub enum LookupsError {
    #[error("cannot open the repository a second time")]
    Open(#[source] GitError),
    #[error("cannot start the thread that looks paths up")]
    Thread(#[source] std::io::Error),
}

/// A path to be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    pub path: RepoPath,
    /// What is not there yet would be a directory.
    pub directory: bool,
}

impl<N: Send + 'static> Lookups<N> {
    /// Starts the thread for the working tree of `first`, to answer to `news`. There is at most one such
    /// thread beside each repository. What waits in its queue is bounded by the calls that wait.
    /// `died`: as for [`GitThread::start`].
    pub fn start(first: &Repository, news: mpsc::Sender<N>, died: N) -> Result<Self, LookupsError> {
        let second = first.beside().map_err(LookupsError::Open)?;
        let thread = GitThread::start("lookups", second, news, died).map_err(LookupsError::Thread)?;
        Ok(Self { thread })
    }

    /// Asks what is known of some paths, in their order; one that cannot be looked at fails them all.
    pub fn facts(
        &self,
        questions: Vec<Question>,
        answer: impl FnOnce(Result<Vec<PathFacts>, GitError>) -> N + Send + 'static,
    ) {
        self.thread.post(move |git| {
            let facts = questions.iter().map(|q| git.facts_before(&q.path, q.directory)).collect();
            Some(answer(facts))
        });
    }

    /// Asks what a path is now, so that it can be made the baseline of the attempt whose directory is
    /// `attempt_dir`. A large file that git does not have is copied, which takes its time.
    pub fn base(
        &self,
        path: RepoPath,
        attempt_dir: PathBuf,
        answer: impl FnOnce(Result<Base, GitError>) -> N + Send + 'static,
    ) {
        self.thread.post(move |git| Some(answer(git.base_of(&path, &attempt_dir))));
    }

    /// Asks which of these paths exactly one of the trees (each with the process at its root) has open for
    /// writing at this moment.
    pub fn writers<K: Clone + Send + 'static>(
        &self,
        paths: Vec<RepoPath>,
        trees: Vec<(K, u32)>,
        answer: impl FnOnce(Vec<(K, RepoPath, PathFacts)>) -> N + Send + 'static,
    ) {
        self.thread.post(move |git| {
            let pids = |root: u32| tree::descendants(root).into_iter().map(|process| process.pid).collect();
            let trees: Vec<(K, Vec<u32>)> = trees.into_iter().map(|(key, root)| (key, pids(root))).collect();
            let files: Vec<_> = paths.iter().map(|path| git.workspace().join(path.as_path())).collect();
            let mut caught = Vec::new();
            for (path, evidence) in paths.into_iter().zip(evidence::writers(&files, &trees)) {
                if let Evidence::One(key) = evidence
                    && let Ok(facts) = git.facts_of(&path, false)
                {
                    caught.push((key, path, facts));
                }
            }
            Some(answer(caught))
        });
    }

    /// Waits until all questions are answered.
    pub fn finish(self) {
        self.thread.finish();
    }
}
