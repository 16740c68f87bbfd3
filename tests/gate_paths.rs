//! Which path another process means: real processes that sit somewhere, in namespaces and out of
//! them, and tables of what they may say and what it means. As whoever runs the tests, and as an
//! ordinary user.

#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test tells by failing")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
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
    fs::write(bench.path("ws/first"), "").unwrap();
    fs::create_dir(bench.path("ws/gone-dir")).unwrap();
    let sitter = bench.sit(
        "exec 3<ws/src/lib 4<ws/src/lib/a.txt 5<out/o.txt 6<ws/gone 7<out/hard.txt 8<.; \
         exec 9<ws/moved; ln ws/first ws/second; exec 2<ws/first; rm ws/first; rm ws/gone; mv ws/moved ws/src/here; cd ws/gone-dir; rmdir ../gone-dir",
    );
    for (fd, expected) in [
        (0, "Nameless file"),
        // It goes on under another name.
        (2, "Elsewhere"),
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

#[test]
fn mount_namespaces_change_nothing() {
    let bench = Bench::new();
    let script = "mkdir -p mnt/ws mnt/src mnt/out mnt/git; touch mnt/file mnt/ofile; mount --bind ws mnt/ws; mount --bind ws/src mnt/src; \
        mount --bind git mnt/git; mount --bind ws/src/lib/a.txt mnt/file; mount --bind out mnt/out; \
        mount --bind out/dir ws/src/lib/deep; mount --bind out/o.txt ws/top.txt; mount -t tmpfs none ws/sub; mkdir ws/sub/x; \
        cd mnt/src; exec 5<lib 6<../file 7<../../ws/top.txt 8<../out/o.txt";
    let Some(sitter) = bench.sit_in(&["unshare", "-r", "-m"], script) else { return };
    let mut ws = bench.workspace();
    let rows: &[Row<'_>] = &[
        (Cwd, "lib/a.txt", Follow, "src/lib/a.txt file"),
        (Cwd, "new", Follow, "src/new nothing"),
        (Cwd, ".", Follow, "src directory"),
        // Out of the mount and into what it is mounted in.
        (Cwd, "..", Follow, "Outside directory"),
        (Cwd, "../ws/new", Follow, "new nothing"),
        (Cwd, "../ws", Follow, "Root directory"),
        (Cwd, "@/ws/src/lib/a.txt", Follow, "src/lib/a.txt file"),
        (Cwd, "@/mnt/ws/src/lib/x", Follow, "src/lib/x nothing"),
        (Cwd, "@/mnt/ws/.git/refs/x", Follow, "Git nothing"),
        (Cwd, "@/mnt/ws/.git", Follow, "Git directory"),
        (Cwd, "@/mnt/git/refs/x", Follow, "Git nothing"),
        (Cwd, "@/mnt/git", Follow, "Git directory"),
        (Cwd, "@/mnt/file", Follow, "src/lib/a.txt file"),
        (Cwd, "@/mnt/new", Follow, "Outside nothing"),
        (Cwd, "@/mnt/out/dir/x", Follow, "Outside nothing"),
        (Cwd, "@/mnt/out/enters/x", Follow, "src/x nothing"),
        (Cwd, "/proc/self/fd/5/x", Follow, "src/lib/x nothing"),
        (Cwd, "/proc/self/fd/6", Follow, "src/lib/a.txt file"),
        (Fd(5), "a.txt", Follow, "src/lib/a.txt file"),
        // What is mounted over paths of the workspace is not the workspace's.
        (Cwd, "lib/deep/x", Follow, "src/lib/deep/x nothing"),
        (Cwd, "@/ws/src/lib/deep/x", Follow, "Outside nothing"),
        (Cwd, "@/ws/src/lib/deep", Follow, "Outside directory"),
        (Cwd, "@/ws/top.txt", Follow, "Outside file"),
        (Cwd, "@/mnt/ws/top.txt", Follow, "top.txt file"),
        (Cwd, "@/ws/sub/x/y", Follow, "Outside nothing"),
        (Cwd, "@/ws/sub/x", Follow, "Outside directory"),
    ];
    check(&bench, &mut ws, sitter.tid, rows);
    for row in rows {
        check(&bench, &mut bench.workspace(), sitter.tid, &[*row]);
    }
    for (fd, expected) in
        [(5, "src/lib directory"), (6, "src/lib/a.txt file"), (7, "Outside file"), (8, "Outside file")]
    {
        assert_eq!(say(&bench.workspace().resolve_fd(sitter.tid, fd)), expected, "descriptor {fd}");
    }
}

#[test]
fn a_root_of_its_own_is_the_end_of_dots() {
    let bench = Bench::new();
    let script = "mkdir -p new/bin new/proc new/w; mount --bind ws new/w; mount --rbind /proc new/proc; \
        mkdir new/lib new/lib64 new/usr; for d in lib lib64 usr bin; do mount --rbind /$d new/$d; done; \
        ln -s /w/src new/abs; cd new/w/src; exec 5<. 6<$T/out/o.txt 7<lib/a.txt; cd $T; \
        exec chroot $T/new sh -c 'cd /w/src; ln -s /w/src/lib/a.txt /link; echo ready; exec cat'";
    let Some(sitter) = bench.sit_in(&["unshare", "-r", "-m"], script) else { return };
    let mut ws = bench.workspace();
    check(
        &bench,
        &mut ws,
        sitter.tid,
        &[
            (Cwd, "lib/a.txt", Follow, "src/lib/a.txt file"),
            (Cwd, "/w/src/new", Follow, "src/new nothing"),
            (Cwd, "/abs/new", Follow, "src/new nothing"),
            (Cwd, "/link", Follow, "src/lib/a.txt file"),
            (Cwd, "/../../w/src/new", Follow, "src/new nothing"),
            (Cwd, "../../../../../w/src/new", Follow, "src/new nothing"),
            (Cwd, "../../../../../w/.git/x", Follow, "Git nothing"),
            (Cwd, "../../../../..", Follow, "Outside directory"),
            (Cwd, "@/ws/top.txt", Follow, "Missing"),
            (Cwd, "/proc/self/cwd/x", Follow, "src/x nothing"),
            (Cwd, "/proc/self/root/w/x", Follow, "x nothing"),
            (Fd(5), "x", Follow, "src/x nothing"),
        ],
    );
    assert_eq!(say(&ws.resolve_fd(sitter.tid, 6)), "Outside file");
    assert_eq!(say(&ws.resolve_fd(sitter.tid, 7)), "src/lib/a.txt file");
}

#[test]
fn a_root_in_the_workspace() {
    let bench = Bench::new();
    let script = "cd ws; for d in lib lib64 usr bin; do mkdir $d; mount --rbind /$d $d; done; exec 5<src 6<../out 7<src/lib/a.txt; \
        exec chroot . sh -c 'cd /src; echo ready; exec cat'";
    let Some(sitter) = bench.sit_in(&["unshare", "-r", "-m"], script) else { return };
    let mut ws = bench.workspace();
    check(
        &bench,
        &mut ws,
        sitter.tid,
        &[
            (Cwd, "/top.txt", Follow, "top.txt file"),
            (Cwd, "/", Follow, "Root directory"),
            (Cwd, "/..", Follow, "Root directory"),
            (Cwd, "../../../x", Follow, "x nothing"),
            (Cwd, "/.git/x", Follow, "Git nothing"),
            (Cwd, "/.git", Follow, "Git directory"),
            (Cwd, "/usr/x", Follow, "Outside nothing"),
            (Fd(6), "x", Follow, "Outside nothing"),
            (Fd(6), "../ws/src/x", Follow, "src/x nothing"),
        ],
    );
    assert_eq!(say(&ws.resolve_fd(sitter.tid, 7)), "src/lib/a.txt file");
}

#[test]
fn pid_namespaces_have_their_own_numbers() {
    let bench = Bench::new();
    for around in [
        &["unshare", "-r", "-m", "-p", "-f", "--mount-proc"][..],
        // The procfs of the namespace above it.
        &["unshare", "-r", "-m", "-p", "-f"],
    ] {
        let Some(sitter) = bench.sit_in(around, "cd ws/src; exec 5<lib 6<lib/a.txt") else { continue };
        let mut ws = bench.workspace();
        check(
            &bench,
            &mut ws,
            sitter.tid,
            &[
                (Cwd, "/proc/self/cwd/x", Follow, "src/x nothing"),
                (Cwd, "/proc/thread-self/fd/5/x", Follow, "src/lib/x nothing"),
                (Cwd, "/proc/self/fd/6", Follow, "src/lib/a.txt file"),
                (Cwd, "/dev/fd/6", Follow, "src/lib/a.txt file"),
                (Cwd, "/proc/self/root@/ws/.git/x", Follow, "Git nothing"),
            ],
        );
        if around.contains(&"--mount-proc") {
            check(
                &bench,
                &mut ws,
                sitter.tid,
                &[(Cwd, "/proc/1/cwd/x", Follow, "src/x nothing"), (Cwd, "/proc/1/root@/ws/x", Follow, "x nothing")],
            );
        }
    }
}

#[test]
fn every_entry_beneath_a_directory() {
    let bench = Bench::new();
    let mut ws = bench.workspace();
    let sitter = bench.sit("cd ws/src");
    let list = |ws: &mut Workspace, path: &str, most| {
        ws.beneath(sitter.tid, Cwd, path.as_bytes(), most).map(|found| {
            found
                .into_iter()
                .map(|(path, there)| {
                    format!("{}{}", String::from_utf8(path).unwrap(), if there == There::Directory { "/" } else { "" })
                })
                .collect::<Vec<_>>()
        })
    };
    let all = ["a.txt", "deep/", "deep/er/"];
    assert_eq!(list(&mut ws, "lib", 3).unwrap(), all);
    assert_eq!(list(&mut ws, "lib/", 10).unwrap(), all);
    assert_eq!(list(&mut ws, "./lib/deep/..", 10).unwrap(), all);
    assert_eq!(list(&mut ws, "lib", 2), Err(Unresolved::TooLarge));
    assert_eq!(list(&mut ws, "lib", 0), Err(Unresolved::TooLarge));
    assert_eq!(list(&mut ws, "link", 10).unwrap(), Vec::<String>::new());
    assert_eq!(list(&mut ws, "lib/a.txt", 10).unwrap(), Vec::<String>::new());
    assert_eq!(list(&mut ws, "lib/deep/er", 0).unwrap(), Vec::<String>::new());
    assert_eq!(list(&mut ws, "no", 10), Err(Unresolved::Missing));
    let dir = list(&mut ws, ".", 20).unwrap();
    assert_eq!(dir[..4], ["dangling", "escapes", "file-link", "lib/"]);
    assert_eq!(dir[4..7], ["lib/a.txt", "lib/deep/", "lib/deep/er/"]);
}

#[test]
fn what_is_remembered_is_checked() {
    let bench = Bench::new();
    let mut ws = bench.workspace();
    let sitter = bench.sit("cd ws/src/lib/deep/er");
    let mut at = |path: &str, expected: &str| check(&bench, &mut ws, sitter.tid, &[(Cwd, path, Follow, expected)]);
    at("x", "src/lib/deep/er/x nothing");
    // Moved, together with what is beneath it.
    fs::rename(bench.path("ws/src/lib"), bench.path("ws/lib")).unwrap();
    at("x", "lib/deep/er/x nothing");
    // A link where it was does not make the old path right again.
    symlink(bench.path("ws/lib"), bench.path("ws/src/lib")).unwrap();
    at("x", "lib/deep/er/x nothing");
    at("../../../src/lib/deep/er/x", "lib/deep/er/x nothing");
    // Out of the workspace, and into git.
    fs::rename(bench.path("ws/lib/deep"), bench.path("out/deep")).unwrap();
    at("x", "Outside nothing");
    fs::rename(bench.path("out/deep"), bench.path("git/deep")).unwrap();
    at("x", "Git nothing");
    fs::rename(bench.path("git/deep"), bench.path("ws/deep")).unwrap();
    at("x", "deep/er/x nothing");
    // The directories that matter move too.
    fs::rename(bench.path("ws/sub"), bench.path("ws/bus")).unwrap();
    at("../../bus/.git/refs/x", "Git nothing");
    at("../../bus/f", "bus/f file");
    fs::rename(bench.path("ws"), bench.path("moved")).unwrap();
    at("x", "deep/er/x nothing");
    at("../../new", "new nothing");
    at("../../../out/x", "Outside nothing");
    fs::create_dir(bench.path("moved/late")).unwrap();
    fs::rename(bench.path("moved"), bench.path("ws")).unwrap();
    at("../../late", "Git directory");
    at("../../late/x", "Git nothing");
}

#[test]
fn long_and_deep() {
    let bench = Bench::new();
    let mut ws = bench.workspace();
    let name = "n".repeat(200);
    // 30 × 201 bytes: deeper than one path can say.
    let dig = format!("for i in $(seq 30); do mkdir {name}; cd -P ./{name}; done");
    let (inside, outside) = (bench.sit(&format!("cd ws; {dig}")), bench.sit(&format!("cd out; {dig}")));
    let (long, part) = ("x/".repeat(2047) + "y", "x".repeat(256));
    let too_long = "x/".repeat(2048);
    check(
        &bench,
        &mut ws,
        inside.tid,
        &[
            (Cwd, "x", Follow, "TooLong"),
            (Cwd, &long, Follow, "Missing"),
            (Cwd, &too_long, Follow, "TooLong"),
            (Cwd, &part, Follow, "TooLong"),
            (Cwd, &"./".repeat(2047), Follow, "TooLong"),
            (Cwd, &"../".repeat(30), Follow, "Root directory"),
            (Cwd, &("../".repeat(30) + "new"), Follow, "new nothing"),
            (Cwd, &("../".repeat(20) + "new"), Follow, &format!("{}/new nothing", [name.as_str(); 10].join("/"))),
        ],
    );
    check(
        &bench,
        &mut ws,
        outside.tid,
        &[
            (Cwd, "x", Follow, "Outside nothing"),
            (Cwd, "../../x", Follow, "Outside nothing"),
            (Cwd, &("../".repeat(31) + "ws/x"), Follow, "x nothing"),
        ],
    );
}

#[test]
fn nothing_is_waited_for() {
    let bench = Bench::new();
    let mut ws = bench.workspace();
    let sitter = bench.sit("mkfifo ws/pipe; cd ws; ln -s pipe to-pipe; exec 5<>pipe");
    check(
        &bench,
        &mut ws,
        sitter.tid,
        &[
            (Cwd, "pipe", Follow, "pipe file"),
            (Cwd, "to-pipe", Follow, "pipe file"),
            (Cwd, "pipe/x", Follow, "Missing"),
            (Cwd, "/proc/self/fd/5", Follow, "pipe file"),
        ],
    );
}

#[test]
fn a_process_that_is_gone_or_closed_is_unreadable() {
    let bench = Bench::new();
    let mut ws = bench.workspace();
    let sitter = bench.sit(":");
    let tid = sitter.tid;
    drop(sitter);
    for found in [ws.resolve(tid, Cwd, b"x", Follow), ws.resolve(tid, Cwd, b"/x", Follow)] {
        assert!(matches!(found, Err(Unresolved::Unreadable(_))), "{found:?}");
    }
    if rustix::process::getuid().is_root() {
        eprintln!("not tried, nothing is closed to root: PR_SET_DUMPABLE");
        return;
    }
    // Who may not read a program may not look into a process that runs it (execve(2)).
    fs::copy("/bin/sh", bench.path("closed")).unwrap();
    fs::set_permissions(bench.path("closed"), fs::Permissions::from_mode(0o111)).unwrap();
    let sitter = bench.sit("exec ./closed -c 'echo ready; read line'");
    let found = ws.resolve(sitter.tid, Cwd, b"x", Follow);
    assert_eq!(found, Err(Unresolved::Unreadable(rustix::io::Errno::ACCESS.raw_os_error())));
}

#[test]
fn a_thread_can_be_elsewhere_than_its_process() {
    let bench = Bench::new();
    let mut ws = bench.workspace();
    let (tell, told) = std::sync::mpsc::channel();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let dir = bench.path("ws/src");
    let thread = std::thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS).unwrap();
        std::env::set_current_dir(dir).unwrap();
        tell.send(rustix::thread::gettid()).unwrap();
        let _ = ended.recv();
    });
    let tid = told.recv().unwrap().as_raw_nonzero().get().cast_unsigned();
    check(
        &bench,
        &mut ws,
        tid,
        &[
            (Cwd, "lib/a.txt", Follow, "src/lib/a.txt file"),
            (Cwd, "../top.txt", Follow, "top.txt file"),
            (Cwd, "/proc/thread-self/cwd/x", Follow, "src/x nothing"),
            (Cwd, "/proc/self/cwd/x", Follow, "Outside nothing"),
        ],
    );
    drop(end);
    thread.join().unwrap();
}

/// Runs all the others again, as nobody.
#[test]
fn all_of_it_as_an_ordinary_user() {
    const AGAIN: &str = "SUPERVISE_TEST_AS_NOBODY";
    if !rustix::process::getuid().is_root() || std::env::var_os(AGAIN).is_some() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let scratch = directory.path().join("scratch");
    fs::create_dir(&scratch).unwrap();
    fs::set_permissions(&scratch, fs::Permissions::from_mode(0o777)).unwrap();
    let copy = directory.path().join("tests");
    fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&copy)
        .args(["--nocapture", "--test-threads=2"])
        .env(AGAIN, "1")
        .env("TMPDIR", &scratch)
        .current_dir("/")
        .output();
    let Ok(output) = output else {
        eprintln!("not tried, the machine lacks it: setpriv");
        return;
    };
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    eprintln!("{text}");
    assert!(output.status.success());
}

/// In a mount namespace of the test's own, so that it can mount.
#[test]
fn mounts_within_the_workspace_are_of_it() {
    const INNER: &str = "SUPERVISE_TEST_IN_NAMESPACE";
    const NAME: &str = "mounts_within_the_workspace_are_of_it";
    if std::env::var_os(INNER).is_none() {
        let exe = std::env::current_exe().unwrap();
        let around = ["unshare", "-r", "-m"];
        if !Command::new(around[0]).args(&around[1..]).arg("true").status().is_ok_and(|status| status.success()) {
            eprintln!("not tried, the machine refuses it: {}", around.join(" "));
            return;
        }
        let mut command = Command::new(around[0]);
        command.args(&around[1..]).arg(exe).args(["--exact", NAME, "--nocapture"]).env(INNER, "1");
        assert!(command.status().unwrap().success());
        return;
    }
    let bench = Bench::new();
    let mount = |args: &[&str], at: &str| {
        fs::create_dir_all(bench.path(at)).unwrap();
        assert!(Command::new("mount").args(args).arg(bench.path(at)).status().unwrap().success());
    };
    mount(&["-t", "tmpfs", "none"], "ws/data");
    mount(&["--bind", bench.path("out/dir").to_str().unwrap()], "ws/src/lib/deep");
    fs::create_dir_all(bench.path("ws/data/a/b")).unwrap();
    let mut ws = bench.workspace();
    let rows: &[Row<'_>] = &[
        (Cwd, "data", Follow, "data directory"),
        (Cwd, "data/x", Follow, "data/x nothing"),
        (Cwd, "data/a/b/x", Follow, "data/a/b/x nothing"),
        (Cwd, "src/lib/deep", Follow, "src/lib/deep directory"),
        (Cwd, "src/lib/deep/x", Follow, "src/lib/deep/x nothing"),
        // The other name of what is mounted in the workspace.
        (Cwd, "@/out/dir/x", Follow, "src/lib/deep/x nothing"),
        (Cwd, "@/out/x", Follow, "Outside nothing"),
    ];
    let sitter = bench.sit("cd ws");
    check(&bench, &mut ws, sitter.tid, rows);
    let Some(sitter) = bench.sit_in(&["unshare", "-m"], "mkdir mnt; mount --bind ws/data/a mnt; cd ws; exec 5<../mnt")
    else {
        return;
    };
    check(&bench, &mut bench.workspace(), sitter.tid, rows);
    check(
        &bench,
        &mut bench.workspace(),
        sitter.tid,
        &[(Fd(5), "b/x", Follow, "data/a/b/x nothing"), (Cwd, "@/mnt/b/x", Follow, "data/a/b/x nothing")],
    );
}
