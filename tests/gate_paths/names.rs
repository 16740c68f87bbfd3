//! Names as they are said: relative and absolute, through dots and links, long and deep.

use std::fs;
use std::os::unix::fs::MetadataExt;

use supervise::shim::gate::resolve::Base::{Cwd, Fd};
use supervise::shim::gate::resolve::Last::{Follow, NoFollow};

use crate::bench::Bench;

#[test]
fn names_as_they_are_said() {
    let bench = Bench::new();
    let mut seat = bench.sit("cd ws/src; exec 5<lib 6<../../out 7<lib/a.txt");
    seat.means(&[
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
    ]);
    let found = seat.resolve(Cwd, "lib/a.txt", Follow).unwrap();
    let disk = fs::metadata(bench.path("out/hard.txt")).unwrap();
    assert_eq!((found.identity, found.links), (Some((disk.dev(), disk.ino())), 2));
}

#[test]
fn links_are_followed_as_the_kernel_would() {
    let bench = Bench::new();
    let mut seat = bench.sit("cd ws/src");
    seat.means(&[
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
    ]);
}

#[test]
fn long_and_deep() {
    let bench = Bench::new();
    let name = "n".repeat(200);
    // 30 × 201 bytes: deeper than one path can say.
    let dig = format!("for i in $(seq 30); do mkdir {name}; cd -P ./{name}; done");
    let mut seat = bench.sit(&format!("cd ws; {dig}"));
    let (long, part) = ("x/".repeat(2047) + "y", "x".repeat(256));
    let too_long = "x/".repeat(2048);
    seat.means(&[
        (Cwd, "x", Follow, "TooLong"),
        (Cwd, &long, Follow, "Missing"),
        (Cwd, &too_long, Follow, "TooLong"),
        (Cwd, &part, Follow, "TooLong"),
        (Cwd, &"./".repeat(2047), Follow, "TooLong"),
        (Cwd, &"../".repeat(30), Follow, "Root directory"),
        (Cwd, &("../".repeat(30) + "new"), Follow, "new nothing"),
        (Cwd, &("../".repeat(20) + "new"), Follow, &format!("{}/new nothing", [name.as_str(); 10].join("/"))),
    ]);
    seat.passes_to(&format!("cd out; {dig}"));
    seat.means(&[
        (Cwd, "x", Follow, "Outside nothing"),
        (Cwd, "../../x", Follow, "Outside nothing"),
        (Cwd, &("../".repeat(31) + "ws/x"), Follow, "x nothing"),
    ]);
}

#[test]
fn nothing_is_waited_for() {
    let bench = Bench::new();
    let mut seat = bench.sit("mkfifo ws/pipe; cd ws; ln -s pipe to-pipe; exec 5<>pipe");
    seat.means(&[
        (Cwd, "pipe", Follow, "pipe file"),
        (Cwd, "to-pipe", Follow, "pipe file"),
        (Cwd, "pipe/x", Follow, "Missing"),
        (Cwd, "/proc/self/fd/5", Follow, "pipe file"),
    ]);
}
