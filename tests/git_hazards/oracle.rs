//! The judge of every run here.
//!
//! Passed: no byte of the user's is lost, none is committed as an agent's; every agent's work is in a
//! commit or is kept as salvage; every agent has exactly one end; git finds nothing wrong, and nothing is left
//! behind.
//!
//! What is the user's is seen right after he acted: his references, his index, his files, and of the
//! files that agents claim those that are no longer what the agent had written.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::Value;

use crate::scene::{Actor, Outcome, Scene, Work};

/// A file or link: whether it can be executed, and its bytes.
type Item = (bool, Vec<u8>);

/// All of a repository that somebody could lose.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The branch that is checked out, or the commit.
    head: String,
    /// References and what they hold; none of supervise's.
    references: BTreeMap<String, String>,
    /// Mode, object and stage of every entry, by path.
    index: BTreeMap<String, String>,
    files: BTreeMap<String, Item>,
}

impl Seen {
    pub(crate) fn now(scene: &Scene) -> Self {
        let head = scene.try_git(&["symbolic-ref", "-q", "HEAD"]).or_else(|_| scene.try_git(&["rev-parse", "HEAD"]));
        let references = scene.git(&["for-each-ref", "--format=%(refname) %(objectname)"]);
        let entries = scene.git(&["-c", "core.quotePath=false", "ls-files", "--stage"]);
        let mut files = BTreeMap::new();
        collect(scene.root(), scene.root(), &mut files);
        Self {
            head: head.unwrap_or_default().trim().to_owned(),
            references: pairs(&references, ' ').filter(|(name, _)| !name.starts_with("refs/supervise/")).collect(),
            index: pairs(&entries, '\t').map(|(entry, path)| (path, entry)).collect(),
            files,
        }
    }

    /// Does the tree hold just this at the path?
    fn holds(&self, work: &Work) -> bool {
        self.files.get(&work.path).map(|(_, bytes)| bytes.as_slice()) == work.bytes.as_ref().map(String::as_bytes)
    }
}

fn pairs(text: &str, between: char) -> impl Iterator<Item = (String, String)> {
    text.lines().filter_map(move |line| line.split_once(between)).map(|(a, b)| (a.to_owned(), b.to_owned()))
}

fn collect(root: &Path, dir: &Path, files: &mut BTreeMap<String, Item>) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if entry.file_name() == ".git" {
            continue;
        }
        if kind.is_dir() {
            collect(root, &path, files);
            continue;
        }
        let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
        let item = if kind.is_symlink() {
            (false, fs::read_link(&path).unwrap().as_os_str().as_bytes().to_vec())
        } else {
            (entry.metadata().unwrap().permissions().mode() & 0o111 != 0, fs::read(&path).unwrap())
        };
        files.insert(name, item);
    }
}

/// `before` and `between`: right before and right after the user acted.
#[track_caller]
pub(crate) fn judge(scene: &Scene, outcome: &Outcome, before: &Seen, between: &Seen) {
    let after = Seen::now(scene);
    let case = Case { scene, outcome, before, between, after: &after };
    let placed = case.branch();
    case.index(&placed);
    case.files();
    for actor in &scene.actors {
        case.work(actor);
        case.end(actor);
    }
    case.rest();
}

struct Case<'c> {
    scene: &'c Scene,
    outcome: &'c Outcome,
    before: &'c Seen,
    between: &'c Seen,
    after: &'c Seen,
}

impl Case<'_> {
    #[track_caller]
    fn fault(&self, what: &str) -> ! {
        panic!("{what}\n{}\n{}", self.outcome.ended.stdout, self.outcome.ended.stderr);
    }

    /// Whatever the user did to the file, it is no longer what the agent had written.
    fn taken(&self, work: &Work) -> bool {
        self.before.holds(work) && !self.between.holds(work)
    }

    /// References are as the user left them; on his branch there are only commits of agents, each with
    /// exactly what its agent wrote. Gives the paths that they changed.
    #[track_caller]
    fn branch(&self) -> BTreeSet<String> {
        assert_eq!(self.after.head, self.between.head, "what is checked out");
        let mut placed = BTreeSet::new();
        for (name, old) in &self.between.references {
            let Some(new) = self.after.references.get(name) else { self.fault(&format!("{name} is gone")) };
            if old == new {
                continue;
            }
            let range = format!("{old}..{new}");
            if self.scene.try_git(&["merge-base", "--is-ancestor", old, new]).is_err() {
                self.fault(&format!("{name}: {old} was lost"));
            }
            for commit in self.scene.git(&["rev-list", &range]).lines() {
                placed.append(&mut self.commit(commit));
            }
        }
        let added = self.after.references.keys().find(|name| !self.between.references.contains_key(*name));
        if let Some(name) = added {
            self.fault(&format!("{name} appeared"));
        }
        placed
    }

    #[track_caller]
    fn commit(&self, commit: &str) -> BTreeSet<String> {
        let trailer = "--format=%(trailers:key=Supervise-Agent,valueonly)";
        let agent = self.scene.git(&["show", "-s", trailer, commit]);
        let Some(actor) = self.scene.actors.iter().find(|actor| actor.id == agent.trim()) else {
            self.fault(&format!("{commit} is no agent's"));
        };
        let changed = self.scene.git(&[
            "-c",
            "core.quotePath=false",
            "diff-tree",
            "-r",
            "--no-commit-id",
            "--name-only",
            "--no-renames",
            commit,
        ]);
        let changed: BTreeSet<String> = changed.lines().map(str::to_owned).collect();
        let own: BTreeSet<String> = actor.works.iter().map(|work| work.path.clone()).collect();
        if !changed.is_subset(&own) {
            self.fault(&format!("the commit of {} has {changed:?}", actor.id));
        }
        if let Some(work) = actor.works.iter().find(|work| !self.has(commit, work)) {
            self.fault(&format!("in the commit of {} {} is not what it wrote", actor.id, work.path));
        }
        changed
    }

    /// Does the commit hold the agent's version of the path?
    fn has(&self, commit: &str, work: &Work) -> bool {
        self.scene.try_git(&["cat-file", "blob", &format!("{commit}:{}", work.path)]).ok() == work.stored
    }

    /// Entries that no agent's commit changed are as they were; of the others those that the user had staged.
    #[track_caller]
    fn index(&self, placed: &BTreeSet<String>) {
        let head = self.scene.try_git(&["-c", "core.quotePath=false", "ls-tree", "-r", "HEAD"]).unwrap_or_default();
        let head: BTreeMap<String, String> = pairs(&head, '\t').map(|(entry, path)| (path, entry)).collect();
        // Mode, kind and object here, mode, object and stage there.
        let of_head = |path: &str| {
            let words: Vec<&str> = head.get(path)?.split(' ').collect();
            Some(format!("{} {} 0", words[0], words[2]))
        };
        for path in self.between.index.keys().chain(self.after.index.keys()) {
            let (was, is) = (self.between.index.get(path), self.after.index.get(path));
            if was != is && !(placed.contains(path) && is == of_head(path).as_ref()) {
                self.fault(&format!("the index of {path} was {was:?} and is {is:?}; HEAD has {:?}", of_head(path)));
            }
        }
    }

    /// Files of the user's are as he left them; those of agents that completed as they did.
    #[track_caller]
    fn files(&self) {
        let mut agents = BTreeMap::new();
        for actor in &self.scene.actors {
            let completed = self.outcome.of(&actor.id).0 == "COMPLETED";
            agents.extend(actor.works.iter().map(|work| (&work.path, (work, completed))));
        }
        for path in self.between.files.keys().chain(self.after.files.keys()) {
            let (was, is) = (self.between.files.get(path), self.after.files.get(path));
            match agents.get(path) {
                Some((work, _)) if self.taken(work) => {
                    assert!(was == is, "{path} is no longer what the user made of it");
                }
                Some((work, true)) if !self.after.holds(work) => {
                    self.fault(&format!("{path} is not what its agent wrote"))
                }
                Some(_) => {}
                None => assert!(was == is, "{path} is the user's, and changed: {was:?} {is:?}"),
            }
        }
    }

    /// What the agent wrote is in a commit or in salvage; what the user took away before the agent had ended, where it
    /// was kept before, or in his stash. An agent of which something was taken away has not completed.
    #[track_caller]
    fn work(&self, actor: &Actor) {
        let agent = self.outcome.ended.agent(&actor.id);
        let mut places: Vec<String> = agent["commit"].as_str().map(str::to_owned).into_iter().collect();
        if let Some(commit) = places.first()
            && self.scene.try_git(&["merge-base", "--is-ancestor", commit, "HEAD"]).is_err()
        {
            self.fault(&format!("the commit of {} is not on the branch", actor.id));
        }
        places.extend(self.scene.kept(&actor.id));
        let never_ran = agent["started_at"].is_null();
        for work in actor.works.iter().filter(|_| !never_ran) {
            if places.iter().any(|commit| self.has(commit, work)) {
                continue;
            }
            let ended_well = agent["state"] == "COMPLETED";
            if !self.taken(work) || ended_well {
                self.fault(&format!("what {} wrote to {} is in no commit and not kept", actor.id, work.path));
            }
        }
    }

    #[track_caller]
    fn end(&self, actor: &Actor) {
        let output = self.scene.supervise(&["timeline", "--format", "json"]).output().unwrap();
        let records = String::from_utf8(output.stdout).unwrap();
        let records = records.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let ends = records.filter(|r| r["kind"] == "agent_ended" && r["agent"] == actor.id.as_str()).count();
        assert_eq!(ends, 1, "{} ends once", actor.id);
    }

    #[track_caller]
    fn rest(&self) {
        if let Err(error) = self.scene.try_git(&["fsck", "--no-dangling", "--connectivity-only"]) {
            self.fault(&error);
        }
        let left = fs::read_dir(self.scene.repo.tmp()).unwrap().flatten().filter(|entry| entry.path().is_dir());
        let left: Vec<_> = left.map(|entry| entry.file_name()).filter(|name| name != "linked").collect();
        assert!(left.is_empty(), "temporary directories are left: {left:?}");
        self.scene.repo.assert_no_survivors();
    }
}
