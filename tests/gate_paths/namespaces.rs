//! Mounts, roots and process numbers of a process's own.

use std::fs;
use std::process::Command;

use supervise::shim::gate::resolve::Base::{Cwd, Fd};
use supervise::shim::gate::resolve::Last::Follow;

use crate::again;
use crate::bench::{Bench, Row};

#[test]
fn mount_namespaces_change_nothing() {
    let bench = Bench::new();
    let script = "mkdir -p mnt/ws mnt/src mnt/out mnt/git; touch mnt/file mnt/ofile; mount --bind ws mnt/ws; mount --bind ws/src mnt/src; \
        mount --bind git mnt/git; mount --bind ws/src/lib/a.txt mnt/file; mount --bind out mnt/out; \
        mount --bind out/dir ws/src/lib/deep; mount --bind out/o.txt ws/top.txt; mount -t tmpfs none ws/sub; mkdir ws/sub/x; \
        cd mnt/src; exec 5<lib 6<../file 7<../../ws/top.txt 8<../out/o.txt";
    let Some(mut seat) = bench.sit_in(&["unshare", "-r", "-m"], script) else { return };
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
    seat.means(rows);
    for row in rows {
        seat.forgets();
        seat.means(&[*row]);
    }
    for row in [(5, "src/lib directory"), (6, "src/lib/a.txt file"), (7, "Outside file"), (8, "Outside file")] {
        seat.forgets();
        seat.has_open(&[row]);
    }
}

#[test]
fn a_root_of_its_own_is_the_end_of_dots() {
    let bench = Bench::new();
    let script = "mkdir -p new/bin new/proc new/w; mount --bind ws new/w; mount --rbind /proc new/proc; \
        mkdir new/lib new/lib64 new/usr; for d in lib lib64 usr bin; do mount --rbind /$d new/$d; done; \
        ln -s /w/src new/abs; cd new/w/src; exec 5<. 6<$T/out/o.txt 7<lib/a.txt; cd $T; \
        exec chroot $T/new sh -c 'cd /w/src; ln -s /w/src/lib/a.txt /link; echo ready; exec cat'";
    let Some(mut seat) = bench.sit_in(&["unshare", "-r", "-m"], script) else { return };
    seat.means(&[
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
    ]);
    seat.has_open(&[(6, "Outside file"), (7, "src/lib/a.txt file")]);
}

#[test]
fn a_root_in_the_workspace() {
    let bench = Bench::new();
    let script = "cd ws; for d in lib lib64 usr bin; do mkdir $d; mount --rbind /$d $d; done; exec 5<src 6<../out 7<src/lib/a.txt; \
        exec chroot . sh -c 'cd /src; echo ready; exec cat'";
    let Some(mut seat) = bench.sit_in(&["unshare", "-r", "-m"], script) else { return };
    seat.means(&[
        (Cwd, "/top.txt", Follow, "top.txt file"),
        (Cwd, "/", Follow, "Root directory"),
        (Cwd, "/..", Follow, "Root directory"),
        (Cwd, "../../../x", Follow, "x nothing"),
        (Cwd, "/.git/x", Follow, "Git nothing"),
        (Cwd, "/.git", Follow, "Git directory"),
        (Cwd, "/usr/x", Follow, "Outside nothing"),
        (Fd(6), "x", Follow, "Outside nothing"),
        (Fd(6), "../ws/src/x", Follow, "src/x nothing"),
    ]);
    seat.has_open(&[(7, "src/lib/a.txt file")]);
}

#[test]
fn pid_namespaces_have_their_own_numbers() {
    let bench = Bench::new();
    for around in [
        &["unshare", "-r", "-m", "-p", "-f", "--mount-proc"][..],
        // The procfs of the namespace above it.
        &["unshare", "-r", "-m", "-p", "-f"],
    ] {
        let Some(mut seat) = bench.sit_in(around, "cd ws/src; exec 5<lib 6<lib/a.txt") else { continue };
        seat.means(&[
            (Cwd, "/proc/self/cwd/x", Follow, "src/x nothing"),
            (Cwd, "/proc/thread-self/fd/5/x", Follow, "src/lib/x nothing"),
            (Cwd, "/proc/self/fd/6", Follow, "src/lib/a.txt file"),
            (Cwd, "/dev/fd/6", Follow, "src/lib/a.txt file"),
            (Cwd, "/proc/self/root@/ws/.git/x", Follow, "Git nothing"),
        ]);
        if around.contains(&"--mount-proc") {
            seat.means(&[
                (Cwd, "/proc/1/cwd/x", Follow, "src/x nothing"),
                (Cwd, "/proc/1/root@/ws/x", Follow, "x nothing"),
            ]);
        }
    }
}

/// In a mount namespace of the test's own, so that it can mount.
#[test]
fn mounts_within_the_workspace_are_of_it() {
    if !again::inside(&["unshare", "-r", "-m"], mounts_within_the_workspace_are_of_it) {
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
    bench.sit("cd ws").means(rows);
    let Some(mut seat) =
        bench.sit_in(&["unshare", "-m"], "mkdir mnt; mount --bind ws/data/a mnt; cd ws; exec 5<../mnt")
    else {
        return;
    };
    seat.means(rows);
    seat.forgets();
    seat.means(&[(Fd(5), "b/x", Follow, "data/a/b/x nothing"), (Cwd, "@/mnt/b/x", Follow, "data/a/b/x nothing")]);
}
