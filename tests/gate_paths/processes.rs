//! What only the process can say: its descriptors, its procfs, its threads, and that it is gone.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use supervise::shim::gate::resolve::Base::Cwd;
use supervise::shim::gate::resolve::Last::{Follow, NoFollow};
use supervise::shim::gate::resolve::Unresolved;

use crate::bench::Bench;

#[test]
fn procfs_means_the_process() {
    let bench = Bench::new();
    let mut seat = bench.sit("cd ws/src; exec 5<lib 6<lib/a.txt 7<>../../out/o.txt");
    let (root, fds) = (format!("/proc/{}/root@/ws/top.txt", seat.tid()), format!("/proc/{}/fd/5/b", seat.tid()));
    seat.means(&[
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
    ]);
}

#[test]
fn descriptors_are_what_they_are_open_on() {
    let bench = Bench::new();
    fs::write(bench.path("ws/gone"), "").unwrap();
    fs::write(bench.path("ws/moved"), "").unwrap();
    fs::write(bench.path("ws/first"), "").unwrap();
    fs::create_dir(bench.path("ws/gone-dir")).unwrap();
    let mut seat = bench.sit(
        "exec 3<ws/src/lib 4<ws/src/lib/a.txt 5<out/o.txt 6<ws/gone 7<out/hard.txt 8<.; \
         exec 9<ws/moved; ln ws/first ws/second; exec 2<ws/first; rm ws/first; rm ws/gone; mv ws/moved ws/src/here; cd ws/gone-dir; rmdir ../gone-dir",
    );
    seat.has_open(&[
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
    ]);
    seat.means(&[
        (Cwd, "x", Follow, "Missing"),
        (Cwd, "..", Follow, "Root directory"),
        (Cwd, "../x", Follow, "x nothing"),
        (Cwd, ".", Follow, "Nameless directory"),
        (Cwd, "/proc/self/fd/6", Follow, "Nameless file"),
    ]);
}

#[test]
fn a_process_that_is_gone_or_closed_is_unreadable() {
    let bench = Bench::new();
    let mut seat = bench.sit(":");
    seat.empties();
    for found in [seat.resolve(Cwd, "x", Follow), seat.resolve(Cwd, "/x", Follow)] {
        assert!(matches!(found, Err(Unresolved::Unreadable(_))), "{found:?}");
    }
    if rustix::process::getuid().is_root() {
        eprintln!("not tried, nothing is closed to root: PR_SET_DUMPABLE");
        return;
    }
    // Who may not read a program may not look into a process that runs it (execve(2)).
    fs::copy("/bin/sh", bench.path("closed")).unwrap();
    fs::set_permissions(bench.path("closed"), fs::Permissions::from_mode(0o111)).unwrap();
    seat.passes_to("exec ./closed -c 'echo ready; read line'");
    let found = seat.resolve(Cwd, "x", Follow);
    assert_eq!(found, Err(Unresolved::Unreadable(rustix::io::Errno::ACCESS.raw_os_error())));
}

#[test]
fn a_thread_can_be_elsewhere_than_its_process() {
    let bench = Bench::new();
    let (tell, told) = std::sync::mpsc::channel();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let dir = bench.path("ws/src");
    let thread = std::thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS).unwrap();
        std::env::set_current_dir(dir).unwrap();
        tell.send(rustix::thread::gettid()).unwrap();
        let _ = ended.recv();
    });
    let mut seat = bench.seat_of(told.recv().unwrap().as_raw_nonzero().get().cast_unsigned());
    seat.means(&[
        (Cwd, "lib/a.txt", Follow, "src/lib/a.txt file"),
        (Cwd, "../top.txt", Follow, "top.txt file"),
        (Cwd, "/proc/thread-self/cwd/x", Follow, "src/x nothing"),
        (Cwd, "/proc/self/cwd/x", Follow, "Outside nothing"),
    ]);
    drop(end);
    thread.join().unwrap();
}
