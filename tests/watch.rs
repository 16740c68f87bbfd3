//! The watch over real directories: what happens in them is told, and what could not be seen raises the epoch.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

#[path = "support/again.rs"]
#[expect(dead_code, reason = "shared with others")]
mod again;
#[path = "support/wait.rs"]
#[expect(dead_code, reason = "shared with tests that have a runtime")]
mod wait;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::event::Timespec;
use rustix::fs::Access;
use supervise::core::call::Tally;
use supervise::core::path::RepoPath;
use supervise::host::watch::{Degraded, Touched, Wake, Watch, WatchError};
use supervise::shim::clock;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

struct Bench {
    directory: tempfile::TempDir,
    watch: Option<Watch>,
    wakes: Option<Receiver<Wake>>,
}

impl Bench {
    /// A workspace with what `prepare` puts into it; `.git` and everything named `target` is ignored.
    fn new(prepare: impl FnOnce(&Path)) -> Self {
        let mut bench = Self { directory: tempfile::tempdir().unwrap(), watch: None, wakes: None };
        fs::create_dir(bench.path("")).unwrap();
        prepare(&bench.path(""));
        bench.start();
        bench
    }

    fn start(&mut self) {
        let (send, wakes) = channel();
        let ignored = |path: &RepoPath| {
            let name = path.as_path().file_name().unwrap();
            name == ".git" || name == "target"
        };
        let wake = move |wake| {
            // Nobody listens any more: the test has ended.
            let _ = send.send(wake);
        };
        self.watch = Some(Watch::start(&self.path(""), &self.directory.path().join("cookies"), ignored, wake).unwrap());
        self.wakes = Some(wakes);
    }

    fn watch(&self) -> &Watch {
        self.watch.as_ref().unwrap()
    }

    fn path(&self, inside: &str) -> PathBuf {
        self.directory.path().join("ws").join(inside)
    }

    fn outside(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn mkdir(&self, inside: &str) {
        fs::create_dir_all(self.path(inside)).unwrap();
    }

    fn write(&self, inside: &str) {
        fs::write(self.path(inside), "text").unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    /// Waits for `wanted`; other wakes before it are passed over.
    fn await_wake(&self, wanted: Wake) {
        let until = clock::now() + PATIENCE;
        while let Ok(wake) = self.wakes.as_ref().unwrap().recv_timeout(until.saturating_duration_since(clock::now())) {
            if wake == wanted {
                return;
            }
        }
        panic!("{wanted:?} does not come");
    }

    /// Everything up to now has been taken in.
    fn drain(&self) {
        let cookie = self.watch().cookie().unwrap();
        self.await_wake(Wake::Cookie(cookie));
    }

    /// What was touched up to now; a directory that went away with a `/` behind it.
    fn touched(&self) -> BTreeSet<String> {
        self.drain();
        match self.watch().take_touched() {
            Touched::Paths(seen) => {
                let text: Vec<_> =
                    seen.iter().map(|s| format!("{}{}", s.path, if s.whole { "/" } else { "" })).collect();
                let set: BTreeSet<_> = text.iter().cloned().collect();
                assert_eq!(set.len(), text.len(), "each once");
                set
            }
            Touched::Everything => panic!("there was a gap"),
        }
    }

    fn tally(&self, inside: &str) -> Tally {
        self.drain();
        self.watch().tallies(&[path(inside)])[0]
    }

    /// Did the epoch change while `act` went on?
    fn gap(&self, act: impl FnOnce()) -> bool {
        self.drain();
        let before = self.watch().epoch();
        act();
        self.drain();
        self.watch().epoch() != before
    }

    /// A file in each of `directories` is seen.
    fn assert_seen_in(&self, directories: &[&str]) {
        self.drain();
        self.watch().take_touched();
        for (n, directory) in directories.iter().enumerate() {
            let inside = if directory.is_empty() { format!("probe{n}") } else { format!("{directory}/probe{n}") };
            self.write(&inside);
            assert_eq!(self.touched(), set(&[&inside]), "in `{directory}`");
        }
    }
}

fn path(inside: &str) -> RepoPath {
    RepoPath::new(inside.as_bytes()).unwrap()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[test]
fn each_way_to_change_a_file_is_told_and_counted() {
    let bench = Bench::new(|ws| {
        fs::create_dir(ws.join("d")).unwrap();
        for name in ["d/append", "d/chmod", "d/remove", "d/from", "d/read", "d/truncate"] {
            fs::write(ws.join(name), "before").unwrap();
        }
    });
    assert_eq!(bench.touched(), set(&[]), "what was there before is not told");
    bench.write("new");
    File::options().append(true).open(bench.path("d/append")).unwrap().write_all(b"more").unwrap();
    fs::set_permissions(bench.path("d/chmod"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::remove_file(bench.path("d/remove")).unwrap();
    bench.rename("d/from", "d/to");
    symlink("nowhere", bench.path("d/link")).unwrap();
    fs::hard_link(bench.path("d/append"), bench.path("d/hard")).unwrap();
    nix::unistd::truncate(&bench.path("d/truncate"), 1).unwrap();
    fs::read(bench.path("d/read")).unwrap();
    fs::read_dir(bench.path("d")).unwrap().for_each(drop);
    let expected = ["new", "append", "chmod", "remove", "from", "to", "link", "hard", "truncate"];
    let expected = expected.map(|name| if name == "new" { name.to_owned() } else { format!("d/{name}") });
    assert_eq!(bench.touched(), expected.into());
    let none = Tally::default();
    assert_eq!(bench.tally("new"), Tally { creates: 1, closes: 1, ..none });
    assert_eq!(bench.tally("d/append"), Tally { closes: 1, ..none });
    assert_eq!(bench.tally("d/chmod"), none);
    assert_eq!(bench.tally("d/remove"), Tally { deletes: 1, ..none });
    assert_eq!(bench.tally("d/from"), Tally { moves_out: 1, ..none });
    assert_eq!(bench.tally("d/to"), Tally { moves_in: 1, ..none });
    assert_eq!(bench.tally("d/link"), Tally { creates: 1, ..none });
    assert_eq!(bench.tally("d/hard"), Tally { creates: 1, ..none });
    assert_eq!(bench.watch().epoch(), 0);
}

#[test]
fn nothing_is_lost_in_directories_just_made() {
    let bench = Bench::new(|_| {});
    let mut script = String::new();
    let mut expected = BTreeSet::new();
    for n in 0..300 {
        script.push_str(&format!("mkdir -p a{n}/b; echo text > a{n}/b/f\n"));
        expected.extend([format!("a{n}"), format!("a{n}/b"), format!("a{n}/b/f")]);
    }
    let run = Command::new("sh").arg("-c").arg(script).current_dir(bench.path("")).status().unwrap();
    assert!(run.success());
    assert_eq!(bench.touched(), expected);
    let paths: Vec<_> = expected.iter().map(|name| path(name)).collect();
    for (path, tally) in paths.iter().zip(bench.watch().tallies(&paths)) {
        // Never counted too often, whether found by listing or by its event.
        assert!(tally.creates <= 1 && tally.closes <= 1, "{path}: {tally:?}");
    }
    assert_eq!(bench.watch().epoch(), 0);
    assert_eq!(bench.watch().stats().directories, 601);
    bench.assert_seen_in(&["a0/b", "a299/b", "a150", ""]);
}

#[test]
fn a_directory_moved_in_is_listed_and_watched() {
    let bench = Bench::new(|_| {});
    fs::create_dir_all(bench.outside("out/x/y")).unwrap();
    fs::write(bench.outside("out/x/y/f"), "text").unwrap();
    fs::rename(bench.outside("out"), bench.path("in")).unwrap();
    assert_eq!(bench.touched(), set(&["in", "in/x", "in/x/y", "in/x/y/f"]));
    assert_eq!(bench.tally("in"), Tally { moves_in: 1, ..Tally::default() });
    bench.assert_seen_in(&["in", "in/x", "in/x/y"]);
}

#[test]
fn a_directory_renamed_within_keeps_being_watched_under_its_new_name() {
    let bench = Bench::new(|ws| {
        fs::create_dir_all(ws.join("a/b/c")).unwrap();
        fs::write(ws.join("a/b/f"), "text").unwrap();
        fs::create_dir_all(ws.join("d")).unwrap();
    });
    bench.rename("a/b", "d/e");
    assert_eq!(bench.touched(), set(&["a/b/", "d/e", "d/e/c", "d/e/f"]));
    bench.assert_seen_in(&["d/e", "d/e/c", "a"]);
    // What is made in it just before the rename can be found only under the new name.
    for n in 0..100 {
        bench.mkdir(&format!("d/e/c/new{n}"));
        bench.rename("d/e", "a/back");
        bench.write(&format!("a/back/c/new{n}/f"));
        bench.rename("a/back", "d/e");
        let touched = bench.touched();
        let file = [format!("a/back/c/new{n}/f"), format!("d/e/c/new{n}/f")];
        assert!(file.iter().any(|file| touched.contains(file)), "{n}: {touched:?}");
    }
    bench.assert_seen_in(&["d/e/c/new99"]);
    assert_eq!((bench.watch().stats().directories, bench.watch().epoch()), (105, 0));
}

#[test]
fn two_directories_change_places() {
    let bench = Bench::new(|ws| {
        fs::create_dir_all(ws.join("a/only-a")).unwrap();
        fs::create_dir_all(ws.join("b/only-b")).unwrap();
    });
    let (a, b) = (bench.path("a"), bench.path("b"));
    let flags = rustix::fs::RenameFlags::EXCHANGE;
    rustix::fs::renameat_with(rustix::fs::CWD, a, rustix::fs::CWD, b, flags).unwrap();
    assert!(bench.touched().is_superset(&set(&["a/", "b/", "a/only-b", "b/only-a"])));
    bench.assert_seen_in(&["a/only-b", "b/only-a", "a", "b"]);
    assert_eq!(bench.watch().stats().directories, 5);
}

#[test]
fn a_directory_that_left_is_not_told_of_any_more() {
    let bench = Bench::new(|ws| fs::create_dir_all(ws.join("a/b")).unwrap());
    fs::rename(bench.path("a"), bench.outside("away")).unwrap();
    assert_eq!(bench.touched(), set(&["a/"]));
    let until = clock::now() + PATIENCE;
    while bench.watch().stats().directories > 1 {
        assert!(clock::now() < until, "its watches stay");
        bench.drain();
    }
    fs::write(bench.outside("away/b/f"), "text").unwrap();
    bench.mkdir("a/b");
    bench.write("a/b/g");
    assert_eq!(bench.touched(), set(&["a", "a/b", "a/b/g"]));
    // It comes back under another name.
    fs::rename(bench.outside("away"), bench.path("c")).unwrap();
    assert_eq!(bench.touched(), set(&["c", "c/b", "c/b/f"]));
    bench.assert_seen_in(&["c/b", "a/b"]);
}

#[test]
fn directories_made_and_removed_leave_nothing_behind() {
    let bench = Bench::new(|_| {});
    for n in 0..50 {
        bench.mkdir("a/b/c");
        bench.write("a/b/c/f");
        fs::remove_dir_all(bench.path("a")).unwrap();
        if n % 10 == 0 {
            assert!(bench.touched().contains("a"));
        }
    }
    bench.drain();
    assert_eq!((bench.watch().stats().directories, bench.watch().epoch()), (1, 0));
    bench.mkdir("a/b/c");
    bench.assert_seen_in(&["a/b/c", "a"]);
}

#[test]
fn ignored_directories_are_not_watched() {
    let bench = Bench::new(|ws| fs::create_dir_all(ws.join(".git/objects/aa")).unwrap());
    assert_eq!(bench.watch().stats().directories, 1);
    bench.mkdir("target/debug");
    bench.write("target/debug/f");
    bench.write(".git/index");
    assert_eq!(bench.touched(), set(&["target"]), "only its own coming is told");
    bench.mkdir("kept/deep");
    bench.drain();
    bench.rename("kept", "target/kept");
    assert_eq!(bench.touched(), set(&["kept/", "kept/deep"]));
    bench.rename("target/kept", "kept");
    bench.assert_seen_in(&["kept/deep"]);
    assert!(bench.gap(|| bench.write(".gitignore")), "what is ignored may be something else now");
    bench.assert_seen_in(&["kept/deep"]);
}

#[test]
fn links_are_not_followed() {
    let bench = Bench::new(|ws| {
        fs::create_dir(ws.join("real")).unwrap();
        symlink("real", ws.join("link")).unwrap();
        symlink("/", ws.join("root")).unwrap();
    });
    symlink("..", bench.path("real/up")).unwrap();
    bench.write("link/f");
    assert_eq!(bench.touched(), set(&["real/up", "real/f"]));
    assert_eq!(bench.watch().stats().directories, 2);
}

#[test]
fn reading_everything_is_no_event() {
    let bench = Bench::new(|ws| {
        for n in 0..20 {
            fs::create_dir(ws.join(format!("d{n}"))).unwrap();
            (0..20).for_each(|m| fs::write(ws.join(format!("d{n}/f{m}")), "text").unwrap());
        }
    });
    let mut grep = Command::new("grep");
    let grep = grep.args(["-r", "-c", "text", "."]).current_dir(bench.path("")).stdout(Stdio::null());
    assert!(grep.status().unwrap().success());
    assert_eq!(bench.touched(), set(&[]));
    let stats = bench.watch().stats();
    // The cookies' own.
    assert!(stats.events <= 2, "{stats:?}");
    assert_eq!(bench.watch().epoch(), 0);
}

#[test]
fn another_directory_in_the_place_of_the_workspace_is_a_gap() {
    let bench = Bench::new(|ws| fs::create_dir(ws.join("old")).unwrap());
    let gap = bench.gap(|| {
        fs::create_dir_all(bench.outside("next/new")).unwrap();
        fs::rename(bench.path(""), bench.outside("previous")).unwrap();
        fs::rename(bench.outside("next"), bench.path("")).unwrap();
        bench.await_wake(Wake::Gap);
    });
    assert!(gap);
    bench.assert_seen_in(&["new", ""]);
    fs::write(bench.outside("previous/old/f"), "text").unwrap();
    assert_eq!(bench.touched(), set(&[]));
}

#[test]
fn a_workspace_that_is_gone_is_said_and_taken_up_when_it_is_back() {
    let bench = Bench::new(|ws| fs::create_dir(ws.join("d")).unwrap());
    fs::rename(bench.path(""), bench.outside("hidden")).unwrap();
    bench.await_wake(Wake::Gap);
    bench.drain();
    assert_eq!(bench.watch().stats().degraded, Some(Degraded::Missing));
    assert_ne!(bench.watch().epoch(), bench.watch().epoch(), "nothing is certain meanwhile");
    fs::rename(bench.outside("hidden"), bench.path("")).unwrap();
    bench.await_wake(Wake::Gap);
    bench.drain();
    assert_eq!(bench.watch().stats().degraded, None);
    assert_eq!(bench.watch().epoch(), bench.watch().epoch());
    bench.assert_seen_in(&["d", ""]);
    // Removed altogether, and made anew.
    fs::remove_dir_all(bench.path("")).unwrap();
    bench.await_wake(Wake::Gap);
    bench.mkdir("other");
    bench.await_wake(Wake::Gap);
    bench.drain();
    bench.assert_seen_in(&["other"]);
}

#[test]
fn cookies_are_made_again_where_their_directory_was_removed() {
    let mut bench = Bench::new(|_| {});
    bench.drain();
    fs::remove_dir_all(bench.outside("cookies")).unwrap();
    bench.await_wake(Wake::Gap);
    let until = clock::now() + PATIENCE;
    let cookie = loop {
        assert!(clock::now() < until, "no cookie can be made");
        if let Ok(cookie) = bench.watch().cookie() {
            break cookie;
        }
        std::thread::yield_now();
    };
    bench.await_wake(Wake::Cookie(cookie));
    let files = |bench: &Bench| fs::read_dir(bench.outside("cookies")).unwrap().count();
    let next = bench.watch().cookie().unwrap();
    bench.await_wake(Wake::Cookie(next));
    assert_eq!(files(&bench), 1, "one file carries all cookies");
    drop(bench.watch.take());
    assert_eq!(files(&bench), 0, "and goes with the watch");
}

/// Stops this test's own reader by holding up its `wake`, which is what a stopped process comes to.
#[test]
fn an_overflow_is_a_gap_and_a_new_start() {
    let limit: usize = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let ws = directory.path().join("ws");
    fs::create_dir(&ws).unwrap();
    let (send, wakes) = channel();
    let (hold, held) = channel::<()>();
    let wake = move |wake| {
        let _ = send.send(wake);
        if wake == Wake::Touched {
            // Until the other end is dropped, and from then on not at all.
            let _ = held.recv();
        }
    };
    let watch = Watch::start(&ws, &directory.path().join("cookies"), |_| false, wake).unwrap();
    let before = watch.epoch();
    fs::write(ws.join("first"), "text").unwrap();
    assert_eq!(wakes.recv_timeout(PATIENCE), Ok(Wake::Touched));
    let cookie = |watch: &Watch| watch.cookie().unwrap();
    fs::write(ws.join("second"), "text").unwrap();
    let mode = fs::Permissions::from_mode(0o600);
    // In turns: the kernel merges what is the same as the last.
    let in_turns = |n: usize| ws.join(if n.is_multiple_of(2) { "first" } else { "second" });
    (0..=limit).for_each(|n| fs::set_permissions(in_turns(n), mode.clone()).unwrap());
    fs::create_dir_all(ws.join("unseen/deep")).unwrap();
    let lost = cookie(&watch);
    drop(hold);
    let next = |wanted| while wakes.recv_timeout(PATIENCE).unwrap() != wanted {};
    next(Wake::Gap);
    next(Wake::Cookie(lost));
    assert_ne!(watch.epoch(), before);
    assert_eq!(watch.take_touched(), Touched::Everything);
    assert_eq!(watch.stats().directories, 3);
    let settled = watch.epoch();
    fs::write(ws.join("unseen/deep/f"), "text").unwrap();
    next(Wake::Cookie(cookie(&watch)));
    let Touched::Paths(seen) = watch.take_touched() else { panic!("a gap after the gap") };
    assert_eq!(seen.iter().map(|s| s.path.clone()).collect::<Vec<_>>(), [path("unseen/deep/f")]);
    assert_eq!(watch.epoch(), settled);
}

#[test]
fn what_cannot_be_watched_is_an_error_with_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let start = |ws: &str| Watch::start(&directory.path().join(ws), &directory.path().join("c"), |_| false, |_| {});
    assert!(matches!(start("missing"), Err(WatchError::Directory { path, .. }) if path.ends_with("missing")));
    fs::write(directory.path().join("file"), "text").unwrap();
    assert!(matches!(start("file"), Err(WatchError::Directory { .. })));
}

#[test]
fn an_idle_watch_sleeps_and_ends_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let ws = directory.path().join("ws");
    fs::create_dir_all(ws.join("a/b")).unwrap();
    let (send, threads) = channel();
    let wake = move |_| {
        let _ = send.send(rustix::thread::gettid().as_raw_nonzero());
    };
    let watch = Watch::start(&ws, &directory.path().join("cookies"), |_| false, wake).unwrap();
    fs::rename(ws.join("a/b"), directory.path().join("left")).unwrap();
    let thread = threads.recv_timeout(PATIENCE).unwrap();
    let pause = |ms: i64| {
        let nothing = rustix::event::poll(&mut [], Some(&Timespec { tv_sec: 0, tv_nsec: ms * 1_000_000 }));
        assert_eq!(nothing, Ok(0));
    };
    let turns = || {
        let status = fs::read_to_string(format!("/proc/self/task/{thread}/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches")).unwrap().to_owned();
        (status.contains("State:\tS"), line)
    };
    // The directory that left keeps it awake for a moment.
    wait::find(PATIENCE, || (watch.stats().directories <= 2).then_some(())).expect("it is let go");
    pause(50);
    let before = turns();
    assert!(before.0, "it does not sleep");
    pause(500);
    assert_eq!(turns(), before);
    let begin = clock::now();
    drop(watch);
    assert!(clock::now() - begin < PATIENCE / 4);
}

/// A stream of numbers that is the same each time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }
}

fn directories_below(root: &Path) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut next = 0;
    while let Some(dir) = all.get(next).cloned() {
        next += 1;
        for entry in fs::read_dir(root.join(&dir)).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_dir() {
                let name = entry.file_name().into_string().unwrap();
                all.push(if dir.is_empty() { name } else { format!("{dir}/{name}") });
            }
        }
    }
    all
}

#[test]
fn whatever_is_done_to_directories_all_are_watched_after() {
    for seed in 1..=3 {
        let bench = Bench::new(|_| {});
        let mut chance = Chance(seed);
        fs::create_dir(bench.outside("out")).unwrap();
        let mut made = 0;
        for round in 0..8 {
            for _ in 0..60 {
                // Without waiting for the watch: most of what it reads is out of date.
                let dirs = directories_below(&bench.path(""));
                let mut pick = || format!("./{}", dirs[chance.below(dirs.len())]);
                let (one, other) = (pick(), pick());
                made += 1;
                let new = bench.path(&format!("{other}/d{made}"));
                // What cannot be done (a directory into itself) is not done.
                match chance.below(8) {
                    0 | 1 => fs::create_dir_all(new.join("x/y")).unwrap(),
                    2 | 3 => drop(fs::rename(bench.path(&one), &new)),
                    4 if one != "./" => fs::remove_dir_all(bench.path(&one)).unwrap(),
                    5 if one != "./" => drop(fs::rename(bench.path(&one), bench.outside(&format!("out/d{made}")))),
                    6 => {
                        let away: Vec<_> = fs::read_dir(bench.outside("out")).unwrap().flatten().collect();
                        away.first().map(|away| fs::rename(away.path(), &new).unwrap()).unwrap_or_default();
                    }
                    _ => fs::write(new, "text").unwrap(),
                }
            }
            bench.drain();
            bench.watch().take_touched();
            let dirs = directories_below(&bench.path(""));
            let probes: BTreeSet<_> = dirs.iter().map(|dir| format!("{dir}/probe{round}")).collect();
            let probes: BTreeSet<_> = probes.iter().map(|probe| probe.trim_start_matches('/').to_owned()).collect();
            for probe in &probes {
                bench.write(probe);
            }
            assert_eq!(bench.touched(), probes, "seed {seed}, round {round}");
            let until = clock::now() + PATIENCE;
            while bench.watch().stats().directories != dirs.len() {
                assert!(clock::now() < until, "seed {seed}, round {round}: {:?}", bench.watch().stats());
                bench.drain();
            }
        }
        assert_eq!(bench.watch().epoch(), 0, "seed {seed}");
    }
}

#[test]
fn nothing_is_counted_that_did_not_happen() {
    let bench = Bench::new(|_| {});
    let mut happened = std::collections::BTreeMap::<String, Tally>::new();
    let mut count = |name: String, tally: Tally| happened.entry(name).or_default().add(tally);
    let none = Tally::default();
    for n in 0..400 {
        // Made, filled and put in its place, as installers do; then moved into a directory just made.
        let (new, place, inner) = (format!("new{n}"), format!("place{}", n % 7), format!("{}/f", "d"));
        bench.mkdir(&format!("{new}/d"));
        bench.write(&format!("{new}/{inner}"));
        count(new.clone(), Tally { creates: 1, moves_out: 1, ..none });
        count(format!("{new}/d"), Tally { creates: 1, ..none });
        count(format!("{new}/{inner}"), Tally { creates: 1, closes: 1, ..none });
        bench.rename(&new, &place);
        count(place.clone(), Tally { moves_in: 1, moves_out: 1, ..none });
        bench.write(&format!("{place}/{inner}"));
        count(format!("{place}/{inner}"), Tally { closes: 1, ..none });
        let last = format!("last{n}");
        bench.mkdir(&last);
        bench.rename(&place, &format!("{last}/in"));
        count(last.clone(), Tally { creates: 1, ..none });
        count(format!("{last}/in"), Tally { moves_in: 1, ..none });
    }
    bench.drain();
    let mut counted = 0;
    for (name, tally) in &happened {
        let seen = bench.watch().tallies(&[path(name)])[0];
        assert!(seen.beyond(*tally).is_empty(), "{name}: {seen:?} seen, {tally:?} happened");
        counted += usize::from(!seen.is_empty());
    }
    for n in 0..400 {
        let files = [format!("last{n}/in/d/f"), format!("last{n}/in/d")].map(|name| path(&name));
        assert!(bench.watch().tallies(&files).iter().all(|tally| tally.is_empty()), "last{n}");
    }
    assert!(counted > 400, "only {counted} paths were counted at all");
}

#[test]
fn a_path_longer_than_the_kernel_takes_is_followed() {
    use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};
    let bench = Bench::new(|_| {});
    let open = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at = openat(CWD, bench.path(""), open, Mode::empty()).unwrap();
    let name = "n".repeat(100);
    for _ in 0..60 {
        mkdirat(&at, &*name, Mode::RWXU).unwrap();
        at = openat(&at, &*name, open, Mode::empty()).unwrap();
    }
    bench.touched();
    assert_eq!(bench.watch().stats().directories, 61);
    openat(&at, "f", OFlags::CREATE | OFlags::WRONLY, Mode::RWXU).unwrap();
    assert_eq!(bench.touched(), [format!("{}f", format!("{name}/").repeat(60))].into());
}

/// In a user namespace of the test's own, where the limits can be set.
#[test]
fn limits_are_named_and_leave_a_running_watch_degraded() {
    if !again::inside(&["unshare", "--user", "--map-root-user"], limits_are_named_and_leave_a_running_watch_degraded) {
        return;
    }
    let [watches, instances] = ["watches", "instances"].map(|what| format!("/proc/sys/user/max_inotify_{what}"));
    if rustix::fs::access(&watches, Access::WRITE_OK).is_err() {
        return writeln!(std::io::stderr(), "not tried, the machine closes it: {watches}").unwrap();
    }
    fs::write(watches, "40").unwrap();
    fs::write(instances, "8").unwrap();
    let bench = Bench::new(|ws| fs::create_dir(ws.join("d")).unwrap());
    let whole = bench.watch().epoch();
    assert_eq!(whole, bench.watch().epoch());
    (0..60).for_each(|n| bench.mkdir(&format!("d/n{n}")));
    bench.await_wake(Wake::Gap);
    bench.drain();
    let stats = bench.watch().stats();
    let limit = stats.degraded.clone();
    assert!(matches!(&limit, Some(Degraded::Limit(l)) if l.sysctl == "fs.inotify.max_user_watches"), "{stats:?}");
    assert_eq!((stats.directories, stats.unwatched), (39, 23));
    assert_ne!(bench.watch().epoch(), bench.watch().epoch(), "nothing is certain any more");
    assert_eq!(bench.watch().take_touched(), Touched::Everything);
    // The rest goes on.
    bench.write("d/f");
    assert_eq!(bench.touched(), set(&["d/f"]));
    let again = |ws: &str| Watch::start(&bench.outside(ws), &bench.outside("cookies"), |_| false, |_| {});
    let error = again("ws").unwrap_err();
    assert!(matches!(error, WatchError::Watches { needed: 63, .. }), "{error}");
    fs::remove_dir_all(bench.path("d")).unwrap();
    bench.drain();
    let mut kept = Vec::new();
    let error = loop {
        match again("ws") {
            Ok(watch) => kept.push(watch),
            Err(error) => break error,
        }
        assert!(kept.len() < 8, "the limit has no effect");
    };
    assert!(matches!(&error, WatchError::Instances(l) if l.sysctl == "fs.inotify.max_user_instances"), "{error}");
}
