//! Finding the repository and learning what can be done with it; the start of a run.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::core::change::Mode;
use crate::core::claim::Claim;
use crate::core::ids::{AgentId, RunId};
use crate::core::path::RepoPath;

use super::command::Git;
use super::error::GitError;
use super::facts::rules_of;
use super::files::Root;
use super::index::{Index, Item, Parsed, Stamp};
use super::objects::Objects;
use super::scope::Scope;
use super::{DirtyClaim, Head, Mark, Repository, RunState};

/// Files up to this size are hashed when a run is opened, if they differ from HEAD.
const HASHED_AT_START: u64 = 1 << 20;
/// The most bytes that are hashed so in all; what is beyond is known by its stat alone.
const HASHED_IN_ALL: u64 = 64 << 20;
/// Hooks that a commit would run.
const HOOKS: [&str; 3] = ["pre-commit", "commit-msg", "prepare-commit-msg"];

/// Who keeps objects and references.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backend {
    Libgit2,
    /// The `git` command, because libgit2 cannot, for this reason.
    Command {
        why: String,
    },
}

/// What `doctor` and the start line tell about the repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub backend: Backend,
    /// Why the index has to be expanded by `git`; `None`: it has not.
    pub foreign_index: Option<&'static str>,
    /// Hooks that are there and that a plain commit would run.
    pub hooks: Vec<String>,
    /// Commits are signed (`commit.gpgSign`).
    pub signing: bool,
    /// Line-end conversion or attributes may apply to some files.
    pub attributes: bool,
    /// Name and mail of who commits; `None`: not configured.
    pub identity: Option<String>,
}

impl Repository {
    /// Finds the repository that holds `dir` and decides how to work with it.
    pub fn open(dir: &Path) -> Result<Self, GitError> {
        // Not `discover`: that finds a git directory and forgets which working tree led to it.
        let nowhere: [&Path; 0] = [];
        match git2::Repository::open_ext(dir, git2::RepositoryOpenFlags::empty(), nowhere) {
            Ok(lib) => Self::with_libgit2(lib, dir),
            Err(e) => Self::with_command(dir, &e),
        }
    }

    /// The same handle, for a process that looks while a supervisor may be at work.
    #[must_use]
    pub fn looking(self) -> Self {
        Self { scratch_name: format!("supervise-look-{}.tmp", std::process::id()), ..self }
    }

    /// Another handle on the same working tree, for another thread, of the same run if one is open. Only
    /// this one, made once, may live beside the first.
    pub fn beside(&self) -> Result<Self, GitError> {
        let other = Self::open(self.root.path())?;
        Ok(Self { scratch_name: "supervise-lookups.tmp".to_owned(), at_start: self.at_start.clone(), ..other })
    }

    fn with_libgit2(lib: git2::Repository, dir: &Path) -> Result<Self, GitError> {
        let Some(workdir) = lib.workdir().map(Path::to_owned) else {
            return Err(GitError::Bare { dir: dir.to_owned() });
        };
        // libgit2 looks attributes up in the index too, and would read all of it for that.
        let mut empty = git2::Index::new().map_err(GitError::lib("making an empty index"))?;
        lib.set_index(&mut empty).map_err(GitError::lib("setting an empty index"))?;
        let config = lib.config().map_err(GitError::lib("reading the configuration"))?;
        let autocrlf = config.get_string("core.autocrlf").is_ok_and(|v| v != "false");
        let sign = config.get_bool("commit.gpgsign").unwrap_or(false);
        let filemode = config.get_bool("core.filemode").unwrap_or(true);
        let attributes = config.get_string("core.attributesfile").is_ok() || global_attributes();
        let (git_dir, common_dir) = (lib.path().to_owned(), lib.commondir().to_owned());
        let root = absolute(&workdir)?;
        let objects = Objects { lib: Some(lib), git: Git::new(&root), hash_len: 20, autocrlf, sign, attributes };
        Self::assemble(&root, &git_dir, &common_dir, objects, filemode, attributes)
    }

    fn with_command(dir: &Path, why: &git2::Error) -> Result<Self, GitError> {
        let git = Git::new(dir);
        let ask = |what: &str| git.line(&["rev-parse", "--path-format=absolute", what]).map(PathBuf::from);
        let Ok(git_dir) = ask("--git-dir") else {
            // Neither can: libgit2's reason is the better one unless it simply found nothing.
            if why.code() == git2::ErrorCode::NotFound {
                return Err(GitError::NotARepository { dir: dir.to_owned() });
            }
            if why.code() == git2::ErrorCode::Owner {
                // "repository path '/a/b/' is not owned by current user"
                let named = why.message().split('\'').nth(1).map(|path| Path::new(path).components().collect());
                return Err(GitError::NotOurs { dir: named.unwrap_or_else(|| dir.to_owned()) });
            }
            return Err(GitError::Libgit2 {
                what: "opening the repository".to_owned(),
                source: git2::Error::new(why.code(), why.class(), why.message()),
            });
        };
        let Ok(workdir) = ask("--show-toplevel") else { return Err(GitError::Bare { dir: dir.to_owned() }) };
        let common_dir = ask("--git-common-dir")?;
        let root = absolute(&workdir)?;
        let git = Git::new(&root);
        let format = git.line(&["rev-parse", "--show-object-format"])?;
        let flag = |name: &str, default: bool| {
            let out = git.line(&["config", "--type=bool", "--get", name]);
            out.map_or(default, |v| v == "true")
        };
        let autocrlf = git.line(&["config", "--get", "core.autocrlf"]).is_ok_and(|v| v != "false");
        let attributes = git.line(&["config", "--get", "core.attributesFile"]).is_ok() || global_attributes();
        let (sign, filemode) = (flag("commit.gpgSign", false), flag("core.fileMode", true));
        let hash_len = if format == "sha256" { 32 } else { 20 };
        let objects = Objects { lib: None, git, hash_len, autocrlf, sign, attributes };
        Self::assemble(&root, &git_dir, &common_dir, objects, filemode, attributes)
    }

    fn assemble(
        root: &Path,
        git_dir: &Path,
        common_dir: &Path,
        objects: Objects,
        filemode: bool,
        global_attributes: bool,
    ) -> Result<Self, GitError> {
        let common_dir = absolute(common_dir)?;
        Ok(Self {
            root: Root::open(root).map_err(GitError::io("opening the workspace"))?,
            git_dir: absolute(git_dir)?,
            ignore: rules_of(&objects, root, &common_dir),
            scratch_name: "supervise-index.tmp".to_owned(),
            common_dir,
            objects,
            filemode,
            global_attributes,
            index: None,
            run: None,
            at_start: None,
            attempts: BTreeMap::new(),
            lock: None,
            run_hooks: false,
            next_kept: super::admit::FIRST_KEPT,
        })
    }

    /// What there is to say about the repository. Reads configuration and the index.
    pub fn facts(&mut self) -> Result<Facts, GitError> {
        let backend = match &self.objects.lib {
            Some(_) => Backend::Libgit2,
            None => Backend::Command {
                why: git2::Repository::open(self.root.path())
                    .err()
                    .map_or_else(String::new, |e| e.message().to_owned()),
            },
        };
        let foreign_index = match Index::read(&self.index_path(), self.objects.hash_len)? {
            Parsed::Ours(_) => None,
            Parsed::Foreign(why) => Some(why),
        };
        let index = self.index()?;
        self.look_for_attributes(&index, false);
        let identity = match self.objects.identity() {
            Ok(who) => who.rsplit_once("> ").map(|(who, _)| format!("{who}>")),
            Err(GitError::NoIdentity) => None,
            Err(e) => return Err(e),
        };
        Ok(Facts {
            backend,
            foreign_index,
            hooks: self.hooks_present(),
            signing: self.objects.sign,
            attributes: self.objects.attributes || self.objects.autocrlf,
            identity,
        })
    }

    fn hooks_present(&self) -> Vec<String> {
        let dir = self.hooks_dir();
        let runs = |name: &&str| {
            fs::metadata(dir.join(name)).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
        };
        HOOKS.iter().filter(|n| runs(n)).map(|n| (*n).to_owned()).collect()
    }

    /// Where git looks for hooks.
    pub(super) fn hooks_dir(&self) -> PathBuf {
        let configured = match &self.objects.lib {
            Some(lib) => lib.config().and_then(|c| c.get_path("core.hooksPath")).ok(),
            None => {
                self.objects.git.line(&["config", "--type=path", "--get", "core.hooksPath"]).ok().map(PathBuf::from)
            }
        };
        // A relative one is relative to where hooks run: the root of the working tree.
        configured.map_or_else(|| self.common_dir.join("hooks"), |p| self.root.path().join(p))
    }

    /// Remembers the start of a run: its branch, and what already differs from HEAD. Removes an
    /// `index.lock` that a supervisor left behind (the caller holds the lock of the repository, so
    /// there is no other).
    ///
    /// Gives the other repositories that are in the tree: submodules, fetched or not, clones, and working trees of
    /// this one. Not where git ignores them.
    pub fn open_run(&mut self, run: &RunId, hooks: bool) -> Result<Vec<RepoPath>, GitError> {
        self.remove_stale_lock()?;
        let head = self.head()?;
        let whole = Scope::whole();
        let (tree, look) = (self.tree_of(head.commit.as_ref())?, self.look(&whole)?);
        let submodule = |item: Option<&Item>| item.is_some_and(|item| item.mode == Mode::Submodule.bits());
        let nested = look.seen.iter().filter(|s| s.nested || (s.stat.is_none() && submodule(s.item.as_ref())));
        let nested = nested.map(|seen| seen.path.clone()).collect();
        let mut changed = BTreeMap::new();
        let mut budget = HASHED_IN_ALL;
        for path in self.changed_in(&look, tree, &whole)? {
            let mark = self.mark(&path, budget)?;
            budget = budget.saturating_sub(mark.stat.map_or(0, |s| s.size));
            changed.insert(path, mark);
        }
        self.run_hooks = hooks;
        self.run = Some(RunState { id: run.clone(), branch: head.branch });
        self.at_start = Some(Arc::new(changed));
        Ok(nested)
    }

    /// For a run that is resumed: the branch that it was opened on, which commits must still go to.
    pub fn expect_branch(&mut self, branch: Option<String>) {
        if let Some(run) = &mut self.run {
            run.branch = branch;
        }
    }

    fn mark(&self, path: &RepoPath, budget: u64) -> Result<Mark, GitError> {
        let stat = self.root.lstat(path).map_err(GitError::io(format!("looking at `{path}`")))?;
        let small = stat.filter(|s| s.size <= HASHED_AT_START.min(budget) && s.entry_mode().is_some());
        let bytes = small.and_then(|s| {
            // What cannot be read is marked by its stat alone.
            if s.is_file() { self.root.read(path, s.size).ok() } else { self.root.link(path).ok() }
        });
        Ok(Mark { stat, content: bytes.and_then(|b| super::hash::blob_id(&b)) })
    }

    /// Paths of the whole tree that differ from HEAD now and were not the same when the run was
    /// opened; and those that git did not have then, nor has now, and that are gone or changed. What agents were
    /// left with (salvage, leftovers) is among them; the caller knows it.
    pub fn survey(&mut self) -> Result<Vec<RepoPath>, GitError> {
        let mut paths: BTreeSet<RepoPath> = self.changed(&Scope::whole())?.into_iter().collect();
        let index = self.index()?;
        let at_start = self.at_start.clone().unwrap_or_default();
        // Nothing differs from HEAD where what was untracked is gone, or ignored by a rule that is new.
        paths.extend(at_start.keys().filter(|path| index.find(path.as_bytes()).is_none()).cloned());
        let mut out = Vec::new();
        for path in paths {
            if !self.is_as_at_start(&path)? {
                out.push(path);
            }
        }
        Ok(out)
    }

    /// What an attempt had made, and is taken away again, was nobody else's: a run that is taken up finds it there.
    pub(super) fn forget_start(&mut self, path: &RepoPath) {
        let was_there = |marks: &&mut Arc<BTreeMap<RepoPath, Mark>>| marks.get(path).is_some_and(|m| m.stat.is_some());
        if let Some(at_start) = self.at_start.as_mut().filter(was_there) {
            Arc::make_mut(at_start).remove(path);
        }
    }

    /// Did the path differ from HEAD when the run was opened, and is it now what it was then?
    pub(super) fn is_as_at_start(&self, path: &RepoPath) -> Result<bool, GitError> {
        let Some(was) = self.at_start.as_ref().and_then(|changed| changed.get(path)) else { return Ok(false) };
        let now = self.mark(path, u64::MAX)?;
        Ok(*was == now
            || (was.content.is_some()
                && was.content == now.content
                && was.stat.map(|s| s.mode) == now.stat.map(|s| s.mode)))
    }

    /// Exclusive and late paths of `claim` that are not as HEAD has them: staged, unstaged, or
    /// untracked and not ignored.
    pub fn dirty(&mut self, claim: &Claim) -> Result<Vec<RepoPath>, GitError> {
        self.changed(&Scope::of(claim))
    }

    /// The same for many agents with one look; only those with dirty paths are returned.
    pub fn dirty_many(&mut self, claims: &[(AgentId, &Claim)]) -> Result<Vec<DirtyClaim>, GitError> {
        let paths = self.changed(&Scope::union(claims.iter().map(|(_, c)| *c)))?;
        let mut out = Vec::new();
        for (agent, claim) in claims {
            let own: Vec<RepoPath> =
                paths.iter().filter(|p| claim.exclusive_matches(p) || claim.late_matches(p)).cloned().collect();
            if !own.is_empty() {
                out.push(DirtyClaim { agent: agent.clone(), paths: own });
            }
        }
        Ok(out)
    }

    /// Makes the branch at HEAD where it is missing, and switches to it. Where it is at another commit,
    /// git checks it out in its safe way: local changes that are in the way are a refusal.
    pub fn switch_branch(&mut self, name: &str) -> Result<Head, GitError> {
        let full = format!("refs/heads/{name}");
        let refuse = |why: String| GitError::Switch { name: name.to_owned(), why };
        if !git2::Reference::is_valid_name(&full) {
            return Err(refuse("it is not a name for a branch".to_owned()));
        }
        let now = self.head()?;
        if now.branch.as_deref() == Some(&full) {
            return Ok(now);
        }
        let there = self.objects.read_reference(&full)?;
        let git = &self.objects.git;
        let result = match there {
            None if now.commit.is_none() => git.run(&["symbolic-ref", "HEAD", &full], b""),
            None => git.run(&["switch", "--quiet", "--no-track", "-c", name], b""),
            Some(_) => git.run(&["switch", "--quiet", "--no-guess", name], b""),
        };
        match result {
            Ok(_) => self.head(),
            Err(GitError::Command { text, .. }) => Err(refuse(text)),
            Err(e) => Err(e),
        }
    }

    /// An index that only git understands, written out whole by git into a private file.
    pub(super) fn expanded_index(&self, stamp: Option<Stamp>) -> Result<Index, GitError> {
        let private = self.private_index()?;
        let git = self.objects.git.with("GIT_INDEX_FILE", private.path());
        let args = ["-c", "core.splitIndex=false", "-c", "index.sparse=false", "update-index", "--no-split-index"];
        let result = git.run(&[&args[..], &["--force-write-index"]].concat(), b"");
        let parsed = result.and_then(|_| Index::read(private.path(), self.objects.hash_len));
        match parsed? {
            Parsed::Ours(mut index) => {
                index.stamp = stamp;
                index.expanded = true;
                Ok(*index)
            }
            Parsed::Foreign(why) => Err(GitError::Index(why)),
        }
    }
}

fn absolute(path: &Path) -> Result<PathBuf, GitError> {
    fs::canonicalize(path).map_err(GitError::io(format!("finding `{}`", path.display())))
}

/// Does the user or the machine have an attributes file (gitattributes(5))?
fn global_attributes() -> bool {
    let config = std::env::var_os("XDG_CONFIG_HOME").filter(|d| !d.is_empty()).map(PathBuf::from);
    let config = config.or_else(|| std::env::var_os("HOME").map(|h| PathBuf::from(h).join(".config")));
    config.is_some_and(|c| c.join("git/attributes").exists()) || Path::new("/etc/gitattributes").exists()
}
