//! A workspace with its neighbours, and processes that sit somewhere in it: what they may say, and what
//! the gate takes it for.
//!
//! Invariant: each name is resolved twice, from nothing and from what is remembered.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use supervise::core::call::There;
use supervise::shim::gate::resolve::{Base, Last, Place, Resolved, Unresolved, Workspace};

/// A workspace `ws` with a git directory outside it, and neighbours.
pub(crate) struct Bench {
    directory: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let bench = Self { directory: tempfile::tempdir().unwrap() };
        for dir in ["ws/.git/refs", "ws/src/lib/deep/er", "ws/sub/.git/refs", "out/dir", "git/refs/heads"] {
            fs::create_dir_all(bench.path(dir)).unwrap();
        }
        for file in ["ws/.git/HEAD", "ws/src/lib/a.txt", "ws/top.txt", "out/o.txt", "git/HEAD", "ws/sub/f"] {
            fs::write(bench.path(file), "text").unwrap();
        }
        fs::hard_link(bench.path("ws/src/lib/a.txt"), bench.path("out/hard.txt")).unwrap();
        for (name, to) in [
            ("ws/src/link", "lib"),
            ("ws/src/file-link", "lib/a.txt"),
            ("ws/src/dangling", "lib/new.txt"),
            ("ws/src/loop", "pool"),
            ("ws/src/pool", "loop"),
            ("ws/src/to-git", "../.git/refs/new"),
            ("ws/src/slash", "lib/"),
        ] {
            symlink(to, bench.path(name)).unwrap();
        }
        symlink(bench.path("out/o.txt"), bench.path("ws/src/escapes")).unwrap();
        symlink(bench.path("ws/src"), bench.path("out/enters")).unwrap();
        symlink(bench.path("ws/src/lib/made.txt"), bench.path("out/makes")).unwrap();
        bench
    }

    pub(crate) fn path(&self, rel: &str) -> PathBuf {
        self.directory.path().join(rel)
    }

    fn workspace(&self) -> Workspace {
        let forbidden = [self.path("ws/.git"), self.path("ws/sub/.git"), self.path("git"), self.path("ws/late")];
        Workspace::open(&self.path("ws"), &forbidden).unwrap()
    }

    /// A process that has run a script and does nothing more until its seat is taken away.
    pub(crate) fn sit(&self, script: &str) -> Seat<'_> {
        self.start(&[], script).unwrap()
    }

    /// In namespaces; `None`, and said so, where the machine refuses them.
    pub(crate) fn sit_in(&self, around: &[&str], script: &str) -> Option<Seat<'_>> {
        let seat = self.start(around, script);
        if seat.is_none() {
            eprintln!("not tried, the machine refuses it: {}", around.join(" "));
        }
        seat
    }

    fn start(&self, around: &[&str], script: &str) -> Option<Seat<'_>> {
        let workspace = self.workspace();
        let script = format!("set -e; cd {0}; {script}\necho ready; exec cat", self.path("").display());
        let mut words = around.iter().copied().chain(["sh", "-c", &script]);
        let mut child = Command::new(words.next().unwrap())
            .args(words)
            .env("T", self.path("").to_str().unwrap().trim_end_matches('/'))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line != "ready\n" {
            child.wait().unwrap();
            return None;
        }
        Some(Seat { bench: self, workspace, tid: childless(child.id()), child: Some(child) })
    }

    /// That of a thread which sits somewhere already.
    pub(crate) fn seat_of(&self, tid: u32) -> Seat<'_> {
        Seat { bench: self, workspace: self.workspace(), tid, child: None }
    }
}

/// The one at the end of a line of processes that have a child each.
fn childless(mut tid: u32) -> u32 {
    loop {
        let children = fs::read_to_string(format!("/proc/{tid}/task/{tid}/children")).unwrap();
        match children.split_whitespace().next() {
            Some(next) => tid = next.parse().unwrap(),
            None => return tid,
        }
    }
}

/// Who says the names, and the gate's view of the workspace, with what it remembers.
pub(crate) struct Seat<'b> {
    bench: &'b Bench,
    workspace: Workspace,
    tid: u32,
    /// Ends when its standard input closes. What it is behind has no other child.
    child: Option<Child>,
}

/// What is said, and what it means; `@` stands for the bench.
pub(crate) type Row<'t> = (Base, &'t str, Last, &'t str);

impl Seat<'_> {
    pub(crate) fn tid(&self) -> u32 {
        self.tid
    }

    #[track_caller]
    pub(crate) fn means(&mut self, rows: &[Row<'_>]) {
        let mut wrong = Vec::new();
        // Twice: from nothing, and from what is remembered.
        for (base, path, last, expected) in rows.iter().chain(rows) {
            let found = say(&self.resolve(*base, path, *last));
            if found != *expected {
                wrong.push(format!("{base:?} {path} {last:?}: {found}, not {expected}"));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    pub(crate) fn resolve(&mut self, base: Base, path: &str, last: Last) -> Result<Resolved, Unresolved> {
        let path = path.replace('@', self.bench.path("").to_str().unwrap().trim_end_matches('/'));
        self.workspace.resolve(self.tid, base, path.as_bytes(), last)
    }

    /// What its descriptors are open on.
    #[track_caller]
    pub(crate) fn has_open(&mut self, rows: &[(i32, &str)]) {
        for (fd, expected) in rows {
            assert_eq!(say(&self.workspace.resolve_fd(self.tid, *fd)), *expected, "descriptor {fd}");
        }
    }

    /// The entries beneath a directory, with a `/` behind those that are directories.
    pub(crate) fn beneath(&mut self, path: &str, most: usize) -> Result<Vec<String>, Unresolved> {
        let found = self.workspace.beneath(self.tid, Base::Cwd, path.as_bytes(), most)?;
        let entry = |(path, there)| {
            let slash = if there == There::Directory { "/" } else { "" };
            format!("{}{slash}", String::from_utf8(path).unwrap())
        };
        Ok(found.into_iter().map(entry).collect())
    }

    /// Nothing is remembered any more.
    pub(crate) fn forgets(&mut self) {
        self.workspace = self.bench.workspace();
    }

    /// Another process takes the seat; what is remembered stays.
    pub(crate) fn passes_to(&mut self, script: &str) {
        let mut next = self.bench.sit(script);
        std::mem::swap(&mut self.tid, &mut next.tid);
        std::mem::swap(&mut self.child, &mut next.child);
    }

    /// The process ends.
    pub(crate) fn empties(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.stdin.take());
            let _ = child.wait();
        }
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.empties();
    }
}

fn say(found: &Result<Resolved, Unresolved>) -> String {
    let found = match found {
        Ok(found) => found,
        Err(error) => return format!("{error:?}"),
    };
    let there = match found.there {
        There::Nothing => "nothing",
        There::Directory => "directory",
        There::File => "file",
    };
    assert_eq!(found.identity.is_none(), found.there == There::Nothing);
    match &found.place {
        Place::Inside(path) => format!("{path} {there}"),
        other => format!("{other:?} {there}"),
    }
}
