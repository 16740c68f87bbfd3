//! Which path another process means: real processes that sit somewhere, in namespaces and out of
//! them, and tables of what they may say and what it means. As whoever runs the tests, and as an
//! ordinary user.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test tells by failing")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use supervise::core::call::There;
use supervise::shim::gate::resolve::{Base, Last, Place, Resolved, Unresolved, Workspace};

use Base::{Cwd, Fd};
use Last::{Follow, NoFollow};

/// A workspace `ws` with a git directory outside it, and neighbours.
struct Bench {
    directory: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
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

    fn path(&self, rel: &str) -> PathBuf {
        self.directory.path().join(rel)
    }

    fn workspace(&self) -> Workspace {
        let forbidden = [self.path("ws/.git"), self.path("ws/sub/.git"), self.path("git"), self.path("ws/late")];
        Workspace::open(&self.path("ws"), &forbidden).unwrap()
    }

    fn sit(&self, script: &str) -> Sitter {
        Sitter::start(self, &[], script).unwrap()
    }

    /// In namespaces; `None`, and said so, where the machine refuses them.
    fn sit_in(&self, around: &[&str], script: &str) -> Option<Sitter> {
        let sitter = Sitter::start(self, around, script);
        if sitter.is_none() {
            eprintln!("not tried, the machine refuses it: {}", around.join(" "));
        }
        sitter
    }
}

/// A process that has run a script and does nothing more until its standard input closes.
struct Sitter {
    child: Child,
    tid: u32,
}

impl Sitter {
    fn start(bench: &Bench, around: &[&str], script: &str) -> Option<Self> {
        let script = format!("set -e; cd {0}; {script}\necho ready; exec cat", bench.path("").display());
        let mut words = around.iter().copied().chain(["sh", "-c", &script]);
        let mut child = Command::new(words.next().unwrap())
            .args(words)
            .env("T", bench.path("").to_str().unwrap().trim_end_matches('/'))
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
        // The one that has no children.
        let mut tid = child.id();
        while let Some(next) = fs::read_to_string(format!("/proc/{tid}/task/{tid}/children"))
            .unwrap()
            .split_whitespace()
            .next()
            .map(|n| n.parse().unwrap())
        {
            tid = next;
        }
        Some(Self { child, tid })
    }
}

impl Drop for Sitter {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
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

type Row<'t> = (Base, &'t str, Last, &'t str);

/// `@` in a path stands for the bench.
fn check(bench: &Bench, ws: &mut Workspace, tid: u32, rows: &[Row<'_>]) {
    let wrong: Vec<_> = rows
        .iter()
        // Twice: from nothing, and from what is remembered.
        .chain(rows)
        .filter_map(|(base, path, last, expected)| {
            let full = path.replace('@', bench.path("").to_str().unwrap().trim_end_matches('/'));
            let found = say(&ws.resolve(tid, *base, full.as_bytes(), *last));
            (found != *expected).then(|| format!("{base:?} {path} {last:?}: {found}, not {expected}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn names_as_they_are_said() {
    let bench = Bench::new();
    let mut ws = bench.workspace();
    let sitter = bench.sit("cd ws/src; exec 5<lib 6<../../out 7<lib/a.txt");
    check(
        &bench,
        &mut ws,
        sitter.tid,
        &[
            (Cwd, "lib/a.txt", Follow, "src/lib/a.txt file"),
            (Cwd, "lib/new", Follow, "src/lib/new nothing"),
            (Cwd, "new", NoFollow, "src/new nothing"),
            (Cwd, "lib", NoFollow, "src/lib directory"),
            (Cwd, "./lib//deep/./er/x", NoFollow, "src/lib/deep/er/x nothing"),
            (Cwd, "@/ws/src/lib/a.txt", Follow, "src/lib/a.txt file"),
            (Cwd, "/@/ws/./top.txt", Follow, "top.txt file"),
            (Cwd, "@/out/../ws/top.txt", Follow, "top.txt file"),
            (Cwd, "../top.txt", Follow, "top.txt file"),
            (Cwd, "../../ws/src/../top.txt", Follow, "top.txt file"),
            (Cwd, "../../../../../../../../../../../../@/ws/top.txt", Follow, "top.txt file"),
            (Fd(5), "a.txt", Follow, "src/lib/a.txt file"),
            (Fd(5), "../new", Follow, "src/new nothing"),
            (Fd(5), "@/ws/new", Follow, "new nothing"),
            (Fd(6), "o.txt", Follow, "Outside file"),
            (Fd(6), "enters/x", Follow, "src/x nothing"),
            (Fd(7), "a.txt", Follow, "Missing"),
            (Fd(8), "a.txt", Follow, "Missing"),
            (Fd(-7), "a.txt", Follow, "Missing"),
            (Cwd, "", Follow, "Missing"),
            (Cwd, "no/such", Follow, "Missing"),
            (Cwd, "lib/a.txt/x", Follow, "Missing"),
            (Cwd, "lib/a.txt/", Follow, "Missing"),
            (Cwd, "/no/such/dir", Follow, "Missing"),
            // Directories that name themselves.
            (Cwd, ".", Follow, "src directory"),
            (Cwd, "..", NoFollow, "Root directory"),
            (Cwd, "../", NoFollow, "Root directory"),
            (Cwd, "../../ws", NoFollow, "Root directory"),
            (Cwd, "@/ws/", NoFollow, "Root directory"),
            (Cwd, "../..", Follow, "Outside directory"),
            (Cwd, "lib/", NoFollow, "src/lib directory"),
            (Cwd, "lib/.", NoFollow, "src/lib directory"),
            (Cwd, "lib/deep/..", NoFollow, "src/lib directory"),
            (Cwd, "newdir/", NoFollow, "src/newdir nothing"),
            (Cwd, "newdir//", NoFollow, "src/newdir nothing"),
            (Cwd, "newdir/.", NoFollow, "Missing"),
            (Cwd, "/", Follow, "Outside directory"),
            (Cwd, "///", Follow, "Outside directory"),
            (Cwd, "/..", Follow, "Outside directory"),
            // Git, wherever it lies.
            (Cwd, "../.git", NoFollow, "Git directory"),
            (Cwd, "../.git/HEAD", Follow, "Git file"),
            (Cwd, "../.git/refs/new", Follow, "Git nothing"),
            (Cwd, "to-git", Follow, "Git nothing"),
            (Cwd, "to-git", NoFollow, "src/to-git file"),
            (Cwd, "../sub/.git/refs/x", Follow, "Git nothing"),
            (Cwd, "../sub/.git", Follow, "Git directory"),
            (Cwd, "../sub/f", Follow, "sub/f file"),
            (Cwd, "@/git/refs/heads/main", Follow, "Git nothing"),
            (Cwd, "@/git", Follow, "Git directory"),
            (Cwd, "@/ws/late", Follow, "Git nothing"),
            (Cwd, "@/ws/later", Follow, "later nothing"),
            (Cwd, "@/ws/.gitignore", Follow, ".gitignore nothing"),
            // Other places.
            (Cwd, "@/out/new", Follow, "Outside nothing"),
            (Cwd, "@/out/dir/new", Follow, "Outside nothing"),
            (Cwd, "@/wsx", Follow, "Outside nothing"),
            (Cwd, "/dev/null", Follow, "Outside file"),
            (Cwd, "/dev/shm/x", Follow, "Outside nothing"),
        ],
    );
    let found = ws.resolve(sitter.tid, Cwd, b"lib/a.txt", Follow).unwrap();
    let disk = fs::metadata(bench.path("out/hard.txt")).unwrap();
    assert_eq!((found.identity, found.links), (Some((disk.dev(), disk.ino())), 2));
}

#[test]
fn links_are_followed_as_the_kernel_would() {
    let bench = Bench::new();
    let mut ws = bench.workspace();
    let sitter = bench.sit("cd ws/src");
    check(
        &bench,
        &mut ws,
        sitter.tid,
        &[
            (Cwd, "link/a.txt", Follow, "src/lib/a.txt file"),
            (Cwd, "link/../x", Follow, "src/x nothing"),
            (Cwd, "file-link", Follow, "src/lib/a.txt file"),
            (Cwd, "file-link", NoFollow, "src/file-link file"),
            (Cwd, "file-link/", NoFollow, "Missing"),
            (Cwd, "link", NoFollow, "src/link file"),
            (Cwd, "link/", NoFollow, "src/lib directory"),
            (Cwd, "slash", Follow, "src/lib directory"),
            (Cwd, "dangling", Follow, "src/lib/new.txt nothing"),
            (Cwd, "dangling", NoFollow, "src/dangling file"),
            (Cwd, "loop", Follow, "Loop"),
            (Cwd, "loop/x", NoFollow, "Loop"),
            (Cwd, "loop", NoFollow, "src/loop file"),
            (Cwd, "escapes", Follow, "Outside file"),
            (Cwd, "escapes", NoFollow, "src/escapes file"),
            (Cwd, "@/out/enters/lib/a.txt", Follow, "src/lib/a.txt file"),
            (Cwd, "@/out/enters", NoFollow, "Outside file"),
            (Cwd, "@/out/enters", Follow, "src directory"),
            (Cwd, "@/out/makes", Follow, "src/lib/made.txt nothing"),
            (Cwd, "../../out/enters/link/x", Follow, "src/lib/x nothing"),
        ],
    );
}

#[test]
fn procfs_means_the_process() {
    let bench = Bench::new();
    let mut ws = bench.workspace();
    let sitter = bench.sit("cd ws/src; exec 5<lib 6<lib/a.txt 7<>../../out/o.txt");
    let (root, fds) = (format!("/proc/{}/root@/ws/top.txt", sitter.tid), format!("/proc/{}/fd/5/b", sitter.tid));
    check(
        &bench,
        &mut ws,
        sitter.tid,
        &[
            (Cwd, "/proc/self/cwd/new", Follow, "src/new nothing"),
            (Cwd, "/proc/self/cwd", Follow, "src directory"),
            (Cwd, "/proc/thread-self/cwd/new", Follow, "src/new nothing"),
            (Cwd, "/proc/self/fd/5/b", Follow, "src/lib/b nothing"),
            (Cwd, "/proc/self/fd/5/../b", Follow, "src/b nothing"),
            (Cwd, "/proc/self/fd/6", Follow, "src/lib/a.txt file"),
            (Cwd, "/proc/self/fd/6", NoFollow, "Outside file"),
            (Cwd, "/proc/self/fd/6/", Follow, "Missing"),
            (Cwd, "/proc/self/fd/7", Follow, "Outside file"),
            (Cwd, "/proc/self/fd/77", Follow, "Outside nothing"),
            (Cwd, "/dev/fd/6", Follow, "src/lib/a.txt file"),
            (Cwd, "/dev/fd/5/b", Follow, "src/lib/b nothing"),
            (Cwd, "/dev/stdin", Follow, "Nameless file"),
            (Cwd, "/proc/self/root@/ws/top.txt", Follow, "top.txt file"),
            (Cwd, "/proc/self/../self/cwd/x", Follow, "src/x nothing"),
            (Cwd, "/proc/self/oom_score_adj", Follow, "Outside file"),
            (Cwd, "/proc/mounts", Follow, "Outside file"),
            (Cwd, "/proc/1000000000/cwd/x", Follow, "Missing"),
            (Cwd, &root, Follow, "top.txt file"),
            (Cwd, &fds, Follow, "src/lib/b nothing"),
        ],
    );
}

#[test]
fn descriptors_are_what_they_are_open_on() {
    let bench = Bench::new();
    let mut ws = bench.workspace();
    fs::write(bench.path("ws/gone"), "").unwrap();
    fs::write(bench.path("ws/moved"), "").unwrap();
    fs::create_dir(bench.path("ws/gone-dir")).unwrap();
    let sitter = bench.sit(
        "exec 3<ws/src/lib 4<ws/src/lib/a.txt 5<out/o.txt 6<ws/gone 7<out/hard.txt 8<.; \
         exec 9<ws/moved; rm ws/gone; mv ws/moved ws/src/here; cd ws/gone-dir; rmdir ../gone-dir",
    );
    for (fd, expected) in [
        (0, "Nameless file"),
        (3, "src/lib directory"),
        (4, "src/lib/a.txt file"),
        (5, "Outside file"),
        (6, "Nameless file"),
        (7, "Outside file"),
        (8, "Outside directory"),
        (9, "src/here file"),
        (77, "Missing"),
        (-1, "Missing"),
    ] {
        let found = say(&ws.resolve_fd(sitter.tid, fd));
        assert_eq!(found, expected, "descriptor {fd}");
    }
    check(
        &bench,
        &mut ws,
        sitter.tid,
        &[
            (Cwd, "x", Follow, "Missing"),
            (Cwd, "..", Follow, "Root directory"),
            (Cwd, "../x", Follow, "x nothing"),
            (Cwd, ".", Follow, "Nameless directory"),
            (Cwd, "/proc/self/fd/6", Follow, "Nameless file"),
        ],
    );
}
