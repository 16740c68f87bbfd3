//! A scratch repository for tests, and one attempt in it, in a cleared environment.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use supervise::core::change::{Attribution, Change, ObjectId};
use supervise::core::claim::{Claim, Pattern};
use supervise::core::effect::{PlaceIntent, Purpose};
use supervise::core::event::{PlaceRefusal, Placement, Preparation};
use supervise::core::facts::Doubt;
use supervise::core::ids::{AgentId, Attempt, AttemptId, RunId};
use supervise::core::path::RepoPath;
use supervise::host::git::{CommitMessage, FreezeRequest, Repository};

/// A repository in a directory of its own.
pub(crate) struct Scratch {
    dir: tempfile::TempDir,
    root: PathBuf,
}

impl Scratch {
    /// An empty repository with somebody who commits.
    pub(crate) fn new() -> Self {
        Self::with(&[])
    }

    /// The same with further arguments of `git init`.
    pub(crate) fn with(init: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap().join("ws");
        fs::create_dir(&root).unwrap();
        let scratch = Self { dir, root };
        scratch.git(&[&["init", "-q", "-b", "main"], init].concat());
        for (key, value) in [("user.name", "Tess Ter"), ("user.email", "tess@example.org"), ("commit.gpgsign", "false")]
        {
            scratch.git(&["config", key, value]);
        }
        scratch
    }

    /// One with these files committed.
    pub(crate) fn committed(files: &[(&str, &str)]) -> Self {
        let scratch = Self::new();
        for (path, text) in files {
            scratch.write(path, text);
        }
        scratch.commit("base");
        scratch
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A directory outside the workspace.
    pub(crate) fn outside(&self) -> PathBuf {
        self.dir.path().canonicalize().unwrap()
    }

    pub(crate) fn path(&self, path: impl AsRef<[u8]>) -> PathBuf {
        self.root.join(OsStr::from_bytes(path.as_ref()))
    }

    pub(crate) fn write(&self, path: impl AsRef<[u8]>, text: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn read(&self, path: impl AsRef<[u8]>) -> Option<Vec<u8>> {
        fs::read(self.path(path)).ok()
    }

    pub(crate) fn remove(&self, path: impl AsRef<[u8]>) {
        fs::remove_file(self.path(path)).unwrap();
    }

    pub(crate) fn command(&self) -> Command {
        let mut git = Command::new("git");
        git.current_dir(&self.root).env_clear();
        git.envs([
            ("PATH", "/usr/local/bin:/usr/bin:/bin"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("HOME", "/nonexistent"),
            ("GIT_ALLOW_PROTOCOL", "file"),
        ]);
        git
    }

    /// Runs git; its output, which must be good.
    pub(crate) fn git(&self, args: &[&str]) -> String {
        let out = self.command().args(args).output().unwrap();
        assert!(out.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).into_owned()
    }

    pub(crate) fn commit(&self, message: &str) {
        self.git(&["add", "-A"]);
        self.git(&["commit", "-q", "-m", message]);
    }

    pub(crate) fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"]).trim().to_owned()
    }

    pub(crate) fn status(&self) -> String {
        self.git(&["status", "--porcelain", "--untracked-files=all"])
    }

    /// Paths of a commit against its parent, with git's letter: `M a.txt`.
    pub(crate) fn changed_by(&self, commit: &str) -> Vec<String> {
        let out = self.git(&["show", "--format=", "--name-status", "--no-renames", commit]);
        out.lines().map(|l| l.replace('\t', " ")).collect()
    }

    pub(crate) fn fsck(&self) {
        let out = self.git(&["fsck", "--full", "--strict", "--no-dangling"]);
        assert_eq!(out, "");
    }

    /// The repository with a run opened in it.
    pub(crate) fn open(&self) -> Repository {
        let mut repository = Repository::open(&self.root).unwrap();
        repository.open_run(&RunId::new("run-1").unwrap(), false).unwrap();
        repository
    }
}

pub(crate) fn claim(exclusive: &[&str]) -> Claim {
    Claim { exclusive: exclusive.iter().map(|p| Pattern::new(p).unwrap()).collect(), ..Claim::default() }
}

pub(crate) fn repo_path(path: impl AsRef<[u8]>) -> RepoPath {
    RepoPath::new(path.as_ref()).unwrap()
}

pub(crate) fn attempt(agent: &str) -> AttemptId {
    AttemptId { agent: AgentId::new(agent).unwrap(), attempt: Attempt::FIRST }
}

pub(crate) fn message() -> CommitMessage {
    CommitMessage {
        session: "test".to_owned(),
        subject_and_body: "feat(a): do it".to_owned(),
        final_message: Some("It is done.".to_owned()),
        trailers: Vec::new(),
    }
}

/// One agent's way through the repository.
pub(crate) struct Agent<'s> {
    pub(crate) scratch: &'s Scratch,
    pub(crate) id: AttemptId,
    claim: Claim,
}

impl<'s> Agent<'s> {
    pub(crate) fn new(scratch: &'s Scratch, name: &str, exclusive: &[&str]) -> Self {
        Self { scratch, id: attempt(name), claim: claim(exclusive) }
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.scratch.outside().join("attempts").join(self.id.agent.as_str())
    }

    pub(crate) fn prepare(&self, repository: &mut Repository) -> Preparation {
        repository.prepare(&self.id, &self.claim, false, &self.dir())
    }

    pub(crate) fn prepare_allowing_dirt(&self, repository: &mut Repository) -> Preparation {
        repository.prepare(&self.id, &self.claim, true, &self.dir())
    }

    /// Prepares; the claim must be clean.
    pub(crate) fn begin(&self, repository: &mut Repository) {
        assert_eq!(self.prepare(repository), Preparation::Ready { dirty: Vec::new() });
    }

    pub(crate) fn adopt(&self, repository: &mut Repository) {
        repository.adopt(&self.id, &self.claim, &self.dir()).unwrap();
    }

    pub(crate) fn measure(&self, repository: &mut Repository) -> Vec<Change> {
        repository.measure(&self.id, Doubt::None, &[]).unwrap().own
    }

    pub(crate) fn freeze(&self, repository: &mut Repository, purpose: Purpose) -> ObjectId {
        let paths: Vec<RepoPath> = self.measure(repository).into_iter().map(|c| c.path).collect();
        self.freeze_measured(repository, purpose, &paths)
    }

    pub(crate) fn freeze_measured(
        &self,
        repository: &mut Repository,
        purpose: Purpose,
        paths: &[RepoPath],
    ) -> ObjectId {
        let message = message();
        let attribution = Attribution::Inferred;
        let request = FreezeRequest { id: &self.id, purpose, paths, attribution, message: &message };
        repository.freeze(&request).unwrap()
    }

    pub(crate) fn place(&self, repository: &mut Repository, commit: ObjectId) -> Result<Placement, PlaceRefusal> {
        let intent: PlaceIntent = repository.prepare_place(&self.id, commit)?;
        repository.place(&self.id, &intent)
    }

    /// Measures, freezes, places, unpins: an agent that completes.
    pub(crate) fn complete(&self, repository: &mut Repository) -> Placement {
        let commit = self.freeze(repository, Purpose::Completion);
        let placement = self.place(repository, commit).unwrap();
        repository.unpin(&self.id).unwrap();
        placement
    }

    /// Measures, freezes, restores: an agent that fails. What was put back, what was left.
    pub(crate) fn fail(&self, repository: &mut Repository) -> (Vec<RepoPath>, Vec<RepoPath>) {
        let paths: Vec<RepoPath> = self.measure(repository).into_iter().map(|c| c.path).collect();
        let commit = self.freeze(repository, Purpose::Salvage);
        repository.restore(&self.id, commit, &paths).unwrap()
    }
}

/// Path and sides of changes, for comparing: `+a`, `-b`, `~c`.
pub(crate) fn shown(changes: &[Change]) -> Vec<String> {
    let sign = |c: &Change| match (c.before, c.after) {
        (None, _) => '+',
        (_, None) => '-',
        _ => '~',
    };
    changes.iter().map(|c| format!("{}{}", sign(c), c.path)).collect()
}
