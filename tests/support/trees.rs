//! A bench for process trees: a directory, a launcher over the real binary, and a mark in the
//! environment by which everything that was started is found again.

mod wait;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use supervise::core::call::{Answer, Grant, RefusalReason, RefusedPath, Tally, Target};
use supervise::core::effect::{Ending, Part};
use supervise::core::ids::{AgentId, Attempt, AttemptId};
use supervise::core::path::RepoPath;
use supervise::core::reason::Exit;
use supervise::host::process::{self, Launcher, News, SpawnError, TreeKey, TreeNews, TreeSpec};
use supervise::shim::record::ExitRecord;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

/// How long anything may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// What a shim is given to end its tree.
const BOUND: Duration = Duration::from_secs(15);

/// Names another copy of the binary, for a user who cannot get at the one that was built.
pub(crate) const BINARY: &str = "SUPERVISE_TEST_BINARY";

pub(crate) fn binary() -> PathBuf {
    std::env::var_os(BINARY).map_or_else(|| env!("CARGO_BIN_EXE_supervise").into(), PathBuf::from)
}

const MARK: &str = "SUPERVISE_TEST_MARK";

pub(crate) struct Bench {
    runtime: Option<Runtime>,
    launcher: Option<Launcher>,
    directory: tempfile::TempDir,
    mark: String,
}

impl Bench {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let launcher = runtime.block_on(async { Launcher::new(binary()).unwrap().with_bound(BOUND) });
        let mark = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Self { runtime: Some(runtime), launcher: Some(launcher), directory: tempfile::tempdir().unwrap(), mark }
    }

    /// Runs `test` and sees that nothing is left.
    pub(crate) fn run(test: impl AsyncFnOnce(&Self)) {
        Self::run_with(BOUND, test);
    }

    /// The same, with another bound on the shims.
    pub(crate) fn run_with(bound: Duration, test: impl AsyncFnOnce(&Self)) {
        let mut bench = Self::new();
        bench.launcher = bench.launcher.map(|launcher| launcher.with_bound(bound));
        let runtime = bench.runtime.take().unwrap();
        runtime.block_on(async {
            test(&bench).await;
            bench.assert_empty();
        });
    }

    /// Runs `test` and then takes the supervisor's side down: runtime, tasks, sockets.
    pub(crate) fn abandon_after(test: impl AsyncFnOnce(&Self)) -> Self {
        let mut bench = Self::new();
        let runtime = bench.runtime.take().unwrap();
        runtime.block_on(test(&bench));
        drop(runtime);
        bench.launcher = None;
        bench
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A named pipe in the directory.
    pub(crate) fn fifo(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        path
    }

    /// The same, to be read here. A script that writes to it does not wait.
    pub(crate) fn sign(&self, name: &str) -> Sign {
        // Open for writing as well, it has no end while nobody writes.
        Sign(pipe::OpenOptions::new().read_write(true).open_receiver(self.fifo(name)).unwrap())
    }

    pub(crate) fn exit_record(&self) -> Option<ExitRecord> {
        ExitRecord::read(&self.path("exit.json")).unwrap()
    }

    /// A tree that runs this script.
    pub(crate) fn sh(&self, script: &str) -> Wish<'_> {
        self.command(&["sh", "-c", script])
    }

    pub(crate) fn command(&self, argv: &[&str]) -> Wish<'_> {
        let path = std::env::var_os("PATH").unwrap();
        let spec = TreeSpec {
            key: TreeKey {
                id: AttemptId { agent: AgentId::new("agent").unwrap(), attempt: Attempt::FIRST },
                part: Part::Agent,
            },
            argv: argv.iter().map(OsString::from).collect(),
            env: vec![("PATH".into(), path), (MARK.into(), self.mark.clone().into())],
            cwd: self.directory.path().to_owned(),
            stdin: None,
            stdout: self.path("stdout.log"),
            stderr: self.path("stderr.log"),
            log_limit: 1 << 20,
            exit_record: self.path("exit.json"),
            forward: true,
            leftover_grace: Duration::from_millis(100),
            cgroup: None,
            gate: None,
        };
        Wish { bench: self, spec, backlog: 64 }
    }

    pub(crate) fn mark(&self) -> &str {
        &self.mark
    }

    /// The processes of this bench that live, by name.
    pub(crate) fn survivors(&self) -> Vec<String> {
        Self::marked(&self.mark)
    }

    /// The processes that carry this mark.
    pub(crate) fn marked(mark: &str) -> Vec<String> {
        let mark = format!("{MARK}={mark}");
        let carries = |environment: Vec<u8>| environment.split(|byte| *byte == 0).any(|entry| entry == mark.as_bytes());
        let entries = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
        entries
            .filter(|process| fs::read(process.join("environ")).is_ok_and(carries))
            .map(|process| {
                let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
                format!("{} {}", process.file_name().unwrap().display(), name.trim())
            })
            .collect()
    }

    pub(crate) fn assert_empty(&self) {
        assert_eq!(self.survivors(), Vec::<String>::new());
    }
}

/// A tree that is to be started.
pub(crate) struct Wish<'a> {
    bench: &'a Bench,
    pub(crate) spec: TreeSpec,
    /// News that may wait to be taken.
    pub(crate) backlog: usize,
}

impl Wish<'_> {
    pub(crate) fn with(mut self, change: impl FnOnce(&mut TreeSpec)) -> Self {
        change(&mut self.spec);
        self
    }

    pub(crate) async fn spawn(self) -> Result<Tree, SpawnError> {
        let (sender, news) = mpsc::channel(self.backlog);
        let directory = self.bench.directory.path().to_owned();
        let running = self.bench.launcher.as_ref().unwrap().spawn(self.spec, sender).await?;
        Ok(Tree {
            running,
            news,
            directory,
            output: Vec::new(),
            gaps: 0,
            last: None,
            wrote: BTreeMap::new(),
            refused: BTreeMap::new(),
            asked: Vec::new(),
            answer: None,
            flushed: None,
        })
    }
}

/// A tree that was started, and what it told so far.
pub(crate) struct Tree {
    running: process::Tree,
    news: mpsc::Receiver<News>,
    directory: PathBuf,
    pub(crate) output: Vec<u8>,
    pub(crate) gaps: u64,
    last: Option<TreeNews>,
    /// What the gate let through and refused, summed up.
    pub(crate) wrote: BTreeMap<String, Tally>,
    pub(crate) refused: BTreeMap<(String, RefusalReason), u32>,
    /// Questions that came, and how they are answered; without: they are left.
    pub(crate) asked: Vec<Vec<Target>>,
    pub(crate) answer: Option<Answerer>,
    flushed: Option<u64>,
}

/// Answers a question of a gate.
pub(crate) type Answerer = Box<dyn FnMut(&[Target]) -> (Answer, Vec<Grant>)>;

impl Tree {
    pub(crate) fn end(&self, how: Ending) {
        self.running.end(how);
    }

    pub(crate) fn note(&self, line: &str) {
        assert!(self.running.note(line), "there is room");
    }

    pub(crate) fn sample(&self) -> Duration {
        self.running.sample().of_all()
    }

    pub(crate) fn leader(&self) -> u32 {
        self.running.process().pid
    }

    /// Takes the next news; `false`: there are no more.
    async fn take(&mut self) -> bool {
        let Some((_, news)) = tokio::time::timeout(PATIENCE, self.news.recv()).await.expect("news in time") else {
            return false;
        };
        assert_eq!(self.last, None, "nothing comes after the last news");
        match news {
            TreeNews::Output(bytes) => self.output.extend(bytes),
            TreeNews::Gap(bytes) => self.gaps += bytes,
            TreeNews::Flushed(number) => self.flushed = Some(number),
            gate @ (TreeNews::Asked { .. } | TreeNews::Wrote(_) | TreeNews::Untold(_) | TreeNews::Refused(_)) => {
                self.gate_said(gate);
            }
            last => self.last = Some(last),
        }
        true
    }

    fn gate_said(&mut self, news: TreeNews) {
        match news {
            TreeNews::Asked { call, targets } => {
                if let Some(answer) = &mut self.answer {
                    let (answer, grants) = answer(&targets);
                    assert!(self.running.answer(call, answer, grants));
                }
                self.asked.push(targets);
            }
            TreeNews::Wrote(paths) => {
                for (path, tally) in paths {
                    self.wrote.entry(path.to_string()).or_default().add(tally);
                }
            }
            TreeNews::Refused(refusals) => {
                for (refusal, count) in refusals {
                    let path = match refusal.path {
                        RefusedPath::Inside(path) => path.to_string(),
                        RefusedPath::Other(text) => text,
                    };
                    *self.refused.entry((path, refusal.why)).or_default() += count;
                }
            }
            other => panic!("{other:?}"),
        }
    }

    /// Waits until there is a question.
    pub(crate) async fn is_asked(&mut self) {
        while self.asked.is_empty() {
            assert!(self.take().await, "nothing was asked");
        }
    }

    pub(crate) fn gated(&self) -> bool {
        self.running.gated().is_some()
    }

    /// Tells the tree that the path changed, and waits until it knows.
    pub(crate) async fn stale(&mut self, path: &str) {
        assert!(self.running.stale(vec![RepoPath::new(path.as_bytes()).unwrap()]));
        // Orders arrive in order: when this is answered, the other has arrived as well.
        self.running.flush(1);
        while self.flushed != Some(1) {
            assert!(self.take().await, "the order was not answered");
        }
    }

    /// Waits until the output holds `text`.
    pub(crate) async fn output_has(&mut self, text: &str) {
        while !String::from_utf8_lossy(&self.output).contains(text) {
            assert!(self.take().await, "{:?} does not have {text:?}", String::from_utf8_lossy(&self.output));
        }
    }

    /// Waits for the end of all news.
    pub(crate) async fn last_news(&mut self) -> TreeNews {
        while self.take().await {}
        self.last.clone().expect("an end among the news")
    }

    pub(crate) async fn ended(&mut self) -> Exit {
        match self.last_news().await {
            TreeNews::Ended { exit, survivors: 0 } => exit,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn record(&self) -> ExitRecord {
        ExitRecord::read(&self.directory.join("exit.json")).unwrap().unwrap()
    }

    pub(crate) fn log(&self, name: &str) -> Vec<u8> {
        fs::read(self.directory.join(name)).unwrap()
    }

    /// The process number of the shim.
    pub(crate) fn shim(&self) -> u32 {
        parent_of(self.leader())
    }
}

pub(crate) fn parent_of(pid: u32) -> u32 {
    supervise::shim::tree::look(pid).unwrap().parent
}

/// Waits until `look` finds something.
#[track_caller]
pub(crate) fn until<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    wait::find(PATIENCE, look).unwrap_or_else(|| panic!("waited in vain for {what}"))
}

/// The same, while the bench's runtime goes on.
pub(crate) async fn until_meanwhile<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    wait::find_meanwhile(PATIENCE, look).await.unwrap_or_else(|| panic!("waited in vain for {what}"))
}

/// A named pipe by which another process says that it has come to some point.
pub(crate) struct Sign(pipe::Receiver);

impl Sign {
    /// Waits until somebody has written a byte.
    pub(crate) async fn comes(self, what: &str) {
        self.says(1, what).await;
    }

    /// Waits until somebody has written so many bytes.
    pub(crate) async fn says(mut self, bytes: usize, what: &str) -> Vec<u8> {
        let mut said = vec![0; bytes];
        let read = tokio::time::timeout(PATIENCE, self.0.read_exact(&mut said)).await;
        read.unwrap_or_else(|_| panic!("waited in vain for {what}")).unwrap();
        said
    }
}

/// A script that others start: executable, in the bench's directory.
pub(crate) fn write_script(directory: &Path, name: &str, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    let path = directory.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}
