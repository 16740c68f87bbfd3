//! A thread that git work is done on.
//!
//! Invariant: jobs run in the order they were posted, each with the thread's repository to itself; git
//! work never blocks the loop. What a job returns is posted back as news.

use std::sync::mpsc as std_mpsc;
use std::thread::{self, JoinHandle};

use tokio::sync::mpsc;

use super::git::Repository;

type Job<N> = Box<dyn FnOnce(&mut Repository) -> Option<N> + Send>;

/// A handle to the thread; dropping it lets the thread finish its queue and end.
#[derive(Debug)]
pub struct GitThread<N> {
    jobs: Option<std_mpsc::Sender<Job<N>>>,
    thread: Option<JoinHandle<()>>,
}

/// Said when it is dropped, unless it was taken back.
struct LastWord<N> {
    news: mpsc::Sender<N>,
    died: Option<N>,
}

impl<N> Drop for LastWord<N> {
    fn drop(&mut self) {
        if let Some(died) = self.died.take() {
            let _ = self.news.blocking_send(died);
        }
    }
}

impl<N: Send + 'static> GitThread<N> {
    /// Moves `repository` to a thread of its own, called `name`, that answers to `news`. The number of
    /// jobs that can wait is bounded by their source: every attempt has at most a few at a time. `died` is
    /// the last that is heard of it should a job panic: the jobs behind that one are never done.
    pub fn start(name: &str, mut repository: Repository, news: mpsc::Sender<N>, died: N) -> std::io::Result<Self> {
        let (jobs, queue) = std_mpsc::channel::<Job<N>>();
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
            let mut last_word = LastWord { news: news.clone(), died: Some(died) };
            for job in queue {
                // Nobody listens any more when the driver has ended; the work is still done.
                if let Some(answer) = job(&mut repository) {
                    let _ = news.blocking_send(answer);
                }
            }
            last_word.died = None;
        })?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Queues a job. Its answer, if it has one, comes as news.
    pub fn post(&self, job: impl FnOnce(&mut Repository) -> Option<N> + Send + 'static) {
        // The thread ends only when this handle is dropped, so somebody receives.
        let _ = self.jobs.as_ref().map(|jobs| jobs.send(Box::new(job)));
    }

    /// Waits until all posted jobs are done. Call it when nothing of `news` is waited for any more.
    pub fn finish(mut self) {
        drop(self.jobs.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
