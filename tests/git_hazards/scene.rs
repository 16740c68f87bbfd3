//! A run in a repository in which somebody else works too: who takes part, what they write, and the
//! moment at which the user does something.
//!
//! Invariant: every agent is where it is said to be (in its middle, or being verified) when the user acts, and
//! goes on only afterwards; and no run ends without having been judged.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::oracle::{Seen, judge};
use crate::support::{Ended, TestRepo, eventually, finish};

/// How long anything may take on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// An agent, and all that it writes.
#[derive(Clone, Debug)]
pub(crate) struct Actor {
    pub(crate) id: String,
    pub(crate) works: Vec<Work>,
    waits: Waits,
    exit: i32,
    files: Option<String>,
    first: String,
    until: Option<String>,
    more: String,
}

/// What an agent leaves at a path.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub(crate) path: String,
    /// `None`: it removes it.
    pub(crate) bytes: Option<String>,
    /// The same as git stores it.
    pub(crate) stored: Option<String>,
}

/// Where an agent waits for the user to have acted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waits {
    /// It has written all, and runs.
    Midway,
    /// It has ended, and is being verified.
    Verifying,
    /// It starts only afterwards.
    ToStart,
    Never,
}

impl Actor {
    fn new(id: &str, waits: Waits) -> Self {
        Self {
            id: id.to_owned(),
            works: Vec::new(),
            waits,
            exit: 0,
            files: None,
            first: String::new(),
            until: None,
            more: String::new(),
        }
    }

    /// Has written, and runs, when the user acts.
    pub(crate) fn midway(id: &str) -> Self {
        Self::new(id, Waits::Midway)
    }

    /// The same, and then fails.
    pub(crate) fn failing(id: &str) -> Self {
        Self { exit: 1, ..Self::midway(id) }
    }

    /// Has ended, and is being verified, when the user acts.
    pub(crate) fn verified(id: &str) -> Self {
        Self::new(id, Waits::Verifying)
    }

    /// Starts when `other` has ended.
    pub(crate) fn after(id: &str, other: &str) -> Self {
        let more = format!("depends_on = [\"{other}\"]\non_dependency_failure = \"run\"\n");
        Self { more, ..Self::new(id, Waits::ToStart) }
    }

    /// Does not wait for the user.
    pub(crate) fn at_once(id: &str) -> Self {
        Self::new(id, Waits::Never)
    }

    pub(crate) fn fails(self) -> Self {
        Self { exit: 1, ..self }
    }

    pub(crate) fn writes(self, path: &str, text: &str) -> Self {
        self.writes_as(path, text, text)
    }

    /// What it writes, and what git makes of that.
    pub(crate) fn writes_as(mut self, path: &str, text: &str, stored: &str) -> Self {
        self.works.push(Work { path: path.to_owned(), bytes: Some(text.to_owned()), stored: Some(stored.to_owned()) });
        self
    }

    pub(crate) fn removes(mut self, path: &str) -> Self {
        self.works.push(Work { path: path.to_owned(), bytes: None, stored: None });
        self
    }

    /// Claims this instead of the paths that it writes.
    pub(crate) fn claims(self, pattern: &str) -> Self {
        Self { files: Some(pattern.to_owned()), ..self }
    }

    pub(crate) fn with(self, more: &str) -> Self {
        Self { more: format!("{}{more}\n", self.more), ..self }
    }

    /// Does this before it writes.
    pub(crate) fn first(self, script: &str) -> Self {
        Self { first: script.to_owned(), ..self }
    }

    /// Waits by this, midway, and not until the user is done.
    pub(crate) fn until(self, script: &str) -> Self {
        Self { until: Some(script.to_owned()), ..self }
    }

    fn script(&self) -> String {
        let mut script = format!("set -e\n{}\n", self.first);
        for Work { path, bytes, .. } in &self.works {
            match bytes {
                Some(text) => {
                    let text = text.replace('\r', "\\r").replace('\n', "\\n");
                    let parent = Path::new(path).parent().filter(|p| *p != Path::new(""));
                    script += &parent.map_or_else(String::new, |p| format!("mkdir -p '{}'\n", p.display()));
                    script += &format!("printf '{text}' > '{path}'\n");
                }
                None => script += &format!("rm '{path}'\n"),
            }
        }
        script
    }

    fn section(&self, marks: &Marks) -> String {
        let files = match &self.files {
            Some(pattern) => format!("{pattern:?}"),
            None => self.works.iter().map(|w| format!("{:?}", w.path)).collect::<Vec<_>>().join(", "),
        };
        let mut script = self.script();
        let mut verify = String::new();
        match self.waits {
            Waits::Midway => script += &marks.wait(&self.id, self.until.as_deref()),
            Waits::Verifying => verify = format!("verify = \"{}\"\n", marks.wait(&self.id, None)),
            Waits::ToStart | Waits::Never => {}
        }
        format!(
            "[[agent]]\nid = \"{}\"\ncommand = [\"sh\", \"-c\", '''{script}\nexit {}''']\nfiles = [{files}]\n{verify}{}\n",
            self.id, self.exit, self.more
        )
    }
}

/// Files beside the repository by which agents say where they are, and the user that he is done.
#[derive(Debug)]
struct Marks(PathBuf);

impl Marks {
    fn wait(&self, id: &str, otherwise: Option<&str>) -> String {
        let dir = self.0.display();
        let until_open = || format!("until test -e {dir}/open; do sleep 0.02; done");
        format!("touch {dir}/reached-{id}; {}", otherwise.map_or_else(until_open, str::to_owned))
    }

    fn reached(&self, id: &str) -> bool {
        self.0.join(format!("reached-{id}")).exists()
    }

    fn open(&self) {
        fs::write(self.0.join("open"), "").unwrap();
    }
}

/// A repository, and who is to take part in a run in it.
pub(crate) struct Scene {
    pub(crate) repo: TestRepo,
    root: PathBuf,
    pub(crate) actors: Vec<Actor>,
    header: String,
    args: Vec<String>,
}

/// What is there at the beginning.
pub(crate) const BEGIN: [(&str, &str); 8] = [
    ("mine/staged", "1\n"),
    ("mine/unstaged", "1\n"),
    ("mine/both", "1\n"),
    ("midway.txt", "1\n"),
    ("failing.txt", "1\n"),
    ("verified.txt", "1\n"),
    ("later.txt", "1\n"),
    ("user.txt", "1\n"),
];

impl Scene {
    /// Two commits, files for agents to change, and the user's work: staged, unstaged and untracked.
    pub(crate) fn new() -> Self {
        Self::begun(TestRepo::with(&BEGIN)).with_unfinished_work()
    }

    /// Without the user's work.
    pub(crate) fn begun(repo: TestRepo) -> Self {
        repo.write("second.txt", "2\n");
        repo.git(&["add", "-A"]);
        repo.git(&["commit", "-qm", "second"]);
        Self::of(repo)
    }

    pub(crate) fn with_unfinished_work(self) -> Self {
        let write = |path: &str, text: &str| {
            let path = self.root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        for (path, text) in [("mine/staged", "staged\n"), ("mine/both", "staged\n")] {
            write(path, text);
            self.git(&["add", path]);
        }
        for (path, text) in [("mine/unstaged", "unstaged\n"), ("mine/both", "more\n"), ("mine/new", "untracked\n")] {
            write(path, text);
        }
        self
    }

    /// The same with one agent for each moment.
    pub(crate) fn with_all() -> Self {
        Self::new().with_agents("txt")
    }

    /// Two agents midway (one of which will fail), one that is being verified, one that starts afterwards. Each
    /// changes its file, of this extension, and makes one.
    pub(crate) fn with_agents(mut self, extension: &str) -> Self {
        let all = [
            Actor::midway("midway"),
            Actor::failing("failing"),
            Actor::verified("verified"),
            Actor::after("later", "midway"),
        ];
        self.actors.extend(all.map(|actor| {
            let id = actor.id.clone();
            let (file, new) = (format!("{id}.{extension}"), format!("{id}/new.{extension}"));
            actor.writes(&file, &format!("by {id}\n")).writes(&new, &format!("new, by {id}\n"))
        }));
        self
    }

    pub(crate) fn of(repo: TestRepo) -> Self {
        let root = repo.path();
        Self { repo, root, actors: Vec::new(), header: String::new(), args: Vec::new() }
    }

    /// In another working tree than the repository's first.
    pub(crate) fn at(self, root: PathBuf) -> Self {
        Self { root, ..self }
    }

    pub(crate) fn with(mut self, actor: Actor) -> Self {
        self.actors.push(actor);
        self
    }

    /// Lines of `[session]`.
    pub(crate) fn header(self, lines: &str) -> Self {
        Self { header: format!("[session]\n{lines}\n"), ..self }
    }

    pub(crate) fn arg(mut self, word: &str) -> Self {
        self.args.push(word.to_owned());
        self
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = self.repo.command(program);
        command.current_dir(&self.root);
        command
    }

    pub(crate) fn supervise(&self, words: &[&str]) -> Command {
        let mut command = self.repo.supervise();
        command.current_dir(&self.root).args(words);
        command
    }

    /// What git says in the working tree; it must succeed.
    #[track_caller]
    pub(crate) fn git(&self, words: &[&str]) -> String {
        self.try_git(words).unwrap_or_else(|error| panic!("git {words:?}: {error}"))
    }

    pub(crate) fn try_git(&self, words: &[&str]) -> Result<String, String> {
        let output = self.command("git").args(words).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// The session file.
    pub(crate) fn session(&self) -> String {
        let marks = Marks(self.repo.tmp());
        let sections = self.actors.iter().map(|actor| actor.section(&marks));
        std::iter::once(self.header.clone()).chain(sections).collect()
    }

    /// The commits that are kept of this agent's work.
    pub(crate) fn kept(&self, id: &str) -> Vec<String> {
        let output = self.supervise(&["salvage", "list", "--format", "json"]).output().unwrap();
        let list: serde_json::Value =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
        let kept = list["salvage"].as_array().unwrap().iter().filter(|kept| kept["agent"] == id);
        kept.map(|kept| kept["commit"].as_str().unwrap().to_owned()).collect()
    }

    /// Runs the session; when every agent is where it waits, the user acts, and then all go on. What
    /// comes of it is judged.
    #[track_caller]
    pub(crate) fn run(&self, act: impl FnOnce(&Self)) -> Outcome {
        let marks = Marks(self.repo.tmp());
        let session = self.repo.session(&self.session());
        let mut command = self.supervise(&["run", "--format", "json"]);
        command.arg(session).args(&self.args).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        for actor in self.actors.iter().filter(|a| matches!(a.waits, Waits::Midway | Waits::Verifying)) {
            if !eventually(LONG, || marks.reached(&actor.id)) {
                marks.open();
                panic!("{} never came to where it waits: {:?}", actor.id, finish(child, LONG));
            }
        }
        let before = Seen::now(self);
        act(self);
        let between = Seen::now(self);
        marks.open();
        let outcome = Outcome { ended: finish(child, LONG) };
        judge(self, &outcome, &before, &between);
        outcome
    }
}

/// A run that was judged: nothing of the user's is lost or committed, nothing of an agent's is lost.
pub(crate) struct Outcome {
    pub(crate) ended: Ended,
}

impl Outcome {
    #[track_caller]
    pub(crate) fn exits(&self, code: i32) -> &Self {
        assert_eq!(self.ended.code, Some(code), "{:#?}", self.ended);
        self
    }

    /// The agent's state and the kind of its reason.
    pub(crate) fn of(&self, id: &str) -> (String, String) {
        let agent = self.ended.agent(id);
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        (text(&agent["state"]), text(&agent["reason"]["kind"]))
    }

    #[track_caller]
    pub(crate) fn completed(&self, ids: &[&str]) -> &Self {
        for id in ids {
            assert_eq!(self.of(id), ("COMPLETED".to_owned(), String::new()), "{id}: {}", self.ended.stderr);
        }
        self
    }

    #[track_caller]
    pub(crate) fn failed(&self, id: &str, reason: &str) -> &Self {
        assert_eq!(self.of(id), ("FAILED".to_owned(), reason.to_owned()), "{id}: {}", self.ended.stderr);
        self
    }
}
