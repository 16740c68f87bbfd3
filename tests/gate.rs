//! Real trees under real gates: every way to a path is seen, judged before it lands, and told of. As
//! whoever runs the tests, and as an ordinary user.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "a test tells by failing")]

#[path = "support/again.rs"]
#[expect(dead_code, reason = "shared with others")]
mod again;
#[path = "support/trees.rs"]
#[expect(dead_code, reason = "shared with tests/shim.rs")]
mod trees;

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use supervise::core::call::{Answer, Grant, RefusalReason, Tally, Target};
use supervise::core::effect::Ending;
use supervise::core::path::RepoPath;
use supervise::core::reason::Exit;
use supervise::host::gate::{GateUnavailable, probe};
use supervise::host::process::{SpawnError, TreeNews};
use supervise::shim::clock;
use supervise::shim::wire::{ANSWER_WITHIN, GateTerms, PatternText};
use trees::{BINARY, Bench, Tree, Wish, binary};

fn path(text: &str) -> RepoPath {
    RepoPath::new(text.as_bytes()).unwrap()
}

/// A workspace `ws` in the bench: `mine` is the agent's, `theirs` is not, what ends in `.lock` is denied.
fn furnish(bench: &Bench) {
    for dir in ["ws/.git", "ws/mine/dir", "ws/mine/empty", "ws/theirs", "out"] {
        fs::create_dir_all(bench.path(dir)).unwrap();
    }
    for file in ["ws/.git/HEAD", "ws/mine/old", "ws/mine/dir/a", "ws/mine/dir/b", "ws/theirs/f", "out/o"] {
        fs::write(bench.path(file), "text\n").unwrap();
    }
    symlink("../theirs/f", bench.path("ws/mine/link")).unwrap();
    symlink("new", bench.path("ws/theirs/dangling")).unwrap();
    symlink(bench.path("ws/mine/made"), bench.path("out/in")).unwrap();
}

fn terms(bench: &Bench) -> GateTerms {
    let text = |text: &str| PatternText { text: text.into(), file: false };
    GateTerms {
        workspace: bench.path("ws"),
        forbidden: vec![".git".into()],
        nested: Vec::new(),
        exclusive: vec![text("mine/")],
        deny: vec![text("**/*.lock")],
        own: Vec::new(),
        protected: Vec::new(),
        scratch: vec![path(".codex")],
        answer_within: ANSWER_WITHIN,
    }
}

/// A gated tree in the workspace.
fn gated<'a>(bench: &'a Bench, argv: &[&str]) -> Wish<'a> {
    let terms = terms(bench);
    bench.command(argv).with(|spec| {
        spec.cwd = bench.path("ws");
        spec.gate = Some(terms);
    })
}

async fn start(bench: &Bench, script: &str) -> Tree {
    let tree = gated(bench, &["sh", "-c", script]).spawn().await.unwrap();
    assert!(tree.gated());
    tree
}

/// What a tree's gate told: `path` with letters for what the watch will see (`w` closed after writing,
/// `c` created, `i` and `o` moved in and out, `d` deleted), `! path` refused, `? path` asked.
fn told(tree: &Tree) -> String {
    let mut all = Vec::new();
    for (path, Tally { closes, creates, moves_in, moves_out, deletes }) in &tree.wrote {
        let counts = [('w', closes), ('c', creates), ('i', moves_in), ('o', moves_out), ('d', deletes)];
        let mut entry = path.clone();
        for (letter, count) in counts.into_iter().filter(|(_, count)| **count > 0) {
            write!(entry, " {letter}{count}").unwrap();
        }
        all.push(entry);
    }
    all.extend(tree.refused.keys().map(|(path, why)| format!("! {path} {why:?}")));
    all.extend(tree.asked.iter().flatten().map(|Target { path, touch, .. }| format!("? {path} {touch:?}")));
    all.join(", ")
}

/// Runs each script in a fresh workspace, refuses what is asked, and compares: whether it succeeded, and
/// what was told. What is `theirs` and git's must be as it was.
fn check_all(cases: &[(&str, bool, &str)]) {
    for (script, succeeds, expected) in cases {
        check(&["sh", "-c", script], *succeeds, expected);
    }
}

fn check(argv: &[&str], succeeds: bool, expected: &str) {
    Bench::run(async |bench| {
        furnish(bench);
        let mut tree = gated(bench, argv).spawn().await.unwrap();
        tree.answer = Some(Box::new(|_| (Answer::Refuse, vec![])));
        let exit = tree.ended().await;
        let errors = String::from_utf8_lossy(&tree.log("stderr.log")).into_owned();
        assert_eq!((exit == Exit::Code(0), told(&tree).as_str()), (succeeds, expected), "{argv:?}\n{errors}");
        assert!(tree.record().gated);
        for file in ["ws/theirs/f", "ws/.git/HEAD"] {
            assert_eq!(fs::read_to_string(bench.path(file)).unwrap(), "text\n", "{argv:?}");
        }
        for dir in ["ws/theirs", "ws/.git"] {
            let expected = if dir == "ws/theirs" { 2 } else { 1 };
            assert_eq!(fs::read_dir(bench.path(dir)).unwrap().count(), expected, "{argv:?}");
        }
    });
}

#[test]
fn opens_are_judged_where_they_lead() {
    check_all(&[
        ("echo x > mine/new", true, "mine/new w1 c1"),
        ("echo x > mine/old; echo y >> mine/old", true, "mine/old w2"),
        ("echo x > theirs/f", false, "? theirs/f Open"),
        ("echo x > mine/a.lock", false, "! mine/a.lock Denied"),
        ("echo x > .git/HEAD", false, "! a directory of git or of supervise Git"),
        ("echo x > .git/index.lock", false, "! a directory of git or of supervise Git"),
        ("echo x > ../out/o && echo x > ../out/n && echo > /dev/null", true, ""),
        ("cat theirs/f mine/old > /dev/null", true, ""),
        ("echo x > mine/link", false, "? theirs/f Open"),
        ("echo x > theirs/dangling", false, "? theirs/new Open"),
        ("echo x > ../out/in", true, "mine/made w1 c1"),
        ("cd mine/dir && echo x > ../../theirs/f", false, "? theirs/f Open"),
        ("echo x > ../out/../ws/mine/../theirs/./f", false, "? theirs/f Open"),
        ("echo x > /proc/self/cwd/theirs/f", false, "? theirs/f Open"),
        ("exec 3< theirs/f; echo x > /proc/self/fd/3", false, "? theirs/f Open"),
        ("echo x > .codex", true, ".codex w1 c1"),
        ("mkdir .codex && echo x > .codex/y", true, ".codex c1, .codex/y w1 c1"),
        // What cannot succeed concerns nobody.
        ("set -C; echo x > theirs/f", false, ""),
        ("echo x > theirs", false, ""),
        ("echo x > theirs/none/new", false, ""),
    ]);
}

#[test]
fn names_are_judged() {
    check_all(&[
        ("mv mine/old mine/new", true, "mine/new i1, mine/old o1"),
        ("mv mine/old theirs/new", false, "? theirs/new MoveIn"),
        ("mv -f mine/old theirs/f", false, "? theirs/f MoveIn"),
        ("mv theirs/f mine/new", false, "? theirs/f MoveOut"),
        ("mv mine/old ../out/gone", true, "mine/old o1"),
        ("mv ../out/o mine/came", true, "mine/came i1"),
        ("mv .git away", false, "! a directory of git or of supervise Git"),
        (
            "mv mine/dir mine/moved",
            true,
            "mine/dir o1, mine/dir/a, mine/dir/b, mine/moved i1, mine/moved/a, mine/moved/b",
        ),
        ("mv mine/dir theirs/dir", false, "? theirs/dir MakeDirectory, ? theirs/dir/a MoveIn, ? theirs/dir/b MoveIn"),
        ("mv mine/dir mine/x.lock", false, "! mine/x.lock Denied"),
        ("rm mine/old", true, "mine/old d1"),
        ("rm -f mine/none", true, ""),
        ("rm -f theirs/f", false, "? theirs/f Remove"),
        ("rmdir mine/empty", true, "mine/empty d1"),
        ("rmdir theirs", false, ""),
        ("mkdir mine/new", true, "mine/new c1"),
        ("mkdir -p mine/dir theirs", true, ""),
        ("mkdir theirs/new", false, "? theirs/new MakeDirectory"),
        ("ln mine/old mine/second", true, "mine/old, mine/second c1"),
        ("ln theirs/f mine/second", false, "? theirs/f Alias"),
        ("ln theirs/f ../out/second", false, ""),
        ("ln mine/old ../out/second", false, ""),
        ("ln ../out/o mine/second && ln ../out/o ../out/second", true, "mine/second c1"),
        ("ln ../out/o theirs/second", false, "? theirs/second Make"),
        ("ln -s anything mine/new", true, "mine/new c1"),
        ("ln -s anything theirs/new", false, "? theirs/new Make"),
        ("mkfifo mine/new", true, "mine/new c1"),
        ("mkfifo theirs/new", false, "? theirs/new Make"),
    ]);
}

#[test]
fn attributes_are_judged() {
    check_all(&[
        ("chmod 600 mine/old && touch -d 2000-01-01 -h mine/link", true, "mine/link, mine/old"),
        ("chmod 600 theirs/f", false, "? theirs/f Change"),
        ("touch theirs/f", false, "? theirs/f Open, ? theirs/f Change"),
        ("touch -c -h -d 2000-01-01 theirs/f", false, "? theirs/f Change"),
        ("chmod 700 theirs", false, "? theirs Change"),
        ("chmod 700 . && chmod 600 ../out/o", true, ""),
    ]);
}

#[test]
fn nobody_gets_away() {
    let wait = "while ! [ -e ../out/flag ]; do sleep 0.01; done";
    check_all(&[
        (
            &format!("(setsid sh -c '(echo x > mine/d; echo x > mine/e.lock; echo x > ../out/flag) &' &) & {wait}"),
            true,
            "mine/d w1 c1, ! mine/e.lock Denied",
        ),
        (
            "for i in 1 2 3 4; do sh -c \"echo x > mine/$i\" & done; wait",
            true,
            "mine/1 w1 c1, mine/2 w1 c1, mine/3 w1 c1, mine/4 w1 c1",
        ),
        ("trap '' TERM HUP INT; sh -c 'echo x > theirs/f'", false, "? theirs/f Open"),
    ]);
}

/// Whether the machine lets this user do so; said where it does not.
fn can(argv: &[&str]) -> bool {
    let can = Command::new(argv[0]).args(&argv[1..]).output().is_ok_and(|output| output.status.success());
    if !can {
        eprintln!("not tried, the machine refuses it: {}", argv.join(" "));
    }
    can
}

#[test]
fn namespaces_and_chroots_hide_nothing() {
    if !can(&["unshare", "-Urm", "true"]) {
        return;
    }
    check_all(&[
        ("exec unshare -Urm sh -c 'echo x > mine/old; echo x > theirs/f'", false, "mine/old w1, ? theirs/f Open"),
        (
            "exec unshare -Urm sh -c 'mount --bind . ../out && echo x > ../out/mine/old && echo x > ../out/theirs/f'",
            false,
            "mine/old w1, ? theirs/f Open",
        ),
        ("exec unshare -Urm sh -c 'mount --bind mine ../out && echo x > ../out/new'", true, "mine/new w1 c1"),
        ("exec unshare -Urm sh -c 'mount -t tmpfs none theirs && echo x > theirs/hidden'", true, ""),
        (
            "D=$PWD; mkdir ../out/r; exec unshare -Urm sh -c \"mount --rbind / ../out/r && chroot ../out/r sh -c 'cd $D; echo x > mine/old; echo x > theirs/f'\"",
            false,
            "mine/old w1, ? theirs/f Open",
        ),
        (
            "exec unshare -Urmpf --kill-child sh -c 'echo x > mine/old; echo x > theirs/f'",
            false,
            "mine/old w1, ? theirs/f Open",
        ),
    ]);
}

/// Calls that no shell makes.
#[test]
fn a_python_child_is_gated_like_all() {
    let prelude = "import os, threading, ctypes, socket\n\
        libc = ctypes.CDLL(None, use_errno=True)\n\
        def call(*a):\n\
        \x20   if libc.syscall(*a) != 0: raise OSError(ctypes.get_errno(), 'call')\n\
        W = os.O_WRONLY | os.O_CREAT\n";
    if !can(&["python3", "-c", "import ctypes"]) {
        return;
    }
    let exchange = |a: &str, b: &str| format!("call(316, -100, b'{a}', -100, b'{b}', 2)");
    let cases: &[(&str, bool, &str)] = &[
        ("d = os.open('theirs', os.O_RDONLY); os.open('f', W, dir_fd=d)", false, "? theirs/f Open"),
        ("d = os.open('mine', os.O_RDONLY); os.open('old', W, dir_fd=d)", true, "mine/old w1"),
        (
            "os.open('mine/old', os.O_RDONLY | os.O_CREAT); os.open('mine/old', os.O_RDONLY | os.O_TRUNC)",
            true,
            "mine/old",
        ),
        (
            "f = os.open('mine', os.O_TMPFILE | os.O_RDWR); assert libc.linkat(-100, b'/proc/self/fd/%d' % f, -100, b'mine/new', 0x400) == 0",
            true,
            "mine/new c1",
        ),
        (
            "f = os.open('theirs', os.O_TMPFILE | os.O_RDWR); assert libc.linkat(-100, b'/proc/self/fd/%d' % f, -100, b'theirs/new', 0x400) == 0",
            false,
            "? theirs/new Make",
        ),
        ("f = os.open('theirs/f', os.O_RDONLY); os.fchmod(f, 0o600)", false, "? theirs/f Change"),
        ("f = os.open('theirs/f', os.O_RDONLY); os.utime(f)", false, "? theirs/f Change"),
        ("os.truncate('theirs/f', 0)", false, "? theirs/f Change"),
        ("os.truncate('mine/old', 0)", true, "mine/old"),
        ("os.setxattr('theirs/f', 'user.x', b'y')", false, "? theirs/f Change"),
        ("socket.socket(socket.AF_UNIX).bind('mine/s')", true, "mine/s c1"),
        ("socket.socket(socket.AF_UNIX).bind('theirs/s')", false, "? theirs/s Make"),
        ("s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen()", true, ""),
        (
            "r = []\n\
          def f():\n\
          \x20   try: open('theirs/f', 'w')\n\
          \x20   except PermissionError: r.append(1)\n\
          t = threading.Thread(target=f); t.start(); open('mine/new', 'w').close(); t.join(); assert r == [1]",
            true,
            "mine/new w1 c1, ? theirs/f Open",
        ),
        (
            "if os.fork() == 0: os.setsid(); open('theirs/f', 'a')\n\
          assert os.wait()[1] != 0",
            true,
            "? theirs/f Open",
        ),
        ("assert libc.syscall(425, 8, ctypes.create_string_buffer(120)) == -1 and ctypes.get_errno() == 38", true, ""),
        (&exchange("mine/old", "mine/dir/a"), true, "mine/dir/a i1 o1, mine/old i1 o1"),
        (&exchange("mine/old", "theirs/f"), false, "? theirs/f MoveIn, ? theirs/f MoveOut"),
    ];
    for (script, succeeds, expected) in cases {
        if cfg!(not(target_arch = "x86_64")) && script.contains("316") {
            continue;
        }
        check(&["python3", "-c", &format!("{prelude}{script}")], *succeeds, expected);
    }
}

#[test]
fn what_is_granted_is_not_asked_again() {
    Bench::run(async |bench| {
        furnish(bench);
        let script =
            "echo 1 > theirs/f && echo 2 > theirs/f && mkdir -p new/deep && echo 3 > new/deep/x && cat theirs/f";
        let mut tree = start(bench, script).await;
        tree.answer = Some(Box::new(|targets| {
            let path = targets[0].path.clone();
            (Answer::Allow, vec![if path.to_string() == "new" { Grant::Beneath(path) } else { Grant::Path(path) }])
        }));
        assert_eq!(tree.ended().await, Exit::Code(0));
        let all = "new c1, new/deep c1, new/deep/x w1 c1, theirs/f w2, ? theirs/f Open, ? new MakeDirectory";
        assert_eq!((told(&tree).as_str(), tree.output.as_slice()), (all, &b"2\n"[..]));
    });
}

#[test]
fn busy_means_read_again_and_retry() {
    Bench::run(async |bench| {
        furnish(bench);
        let script = "echo ready; read x < ../out/fifo
            for i in 1 2; do for f in mine/old theirs/f; do echo new > $f && echo $i $f; done; done; :";
        bench.fifo("out/fifo");
        let mut tree = start(bench, script).await;
        let mut asked = 0;
        tree.answer = Some(Box::new(move |_| {
            asked += 1;
            (if asked == 1 { Answer::Busy } else { Answer::Allow }, vec![])
        }));
        tree.output_has("ready").await;
        tree.stale("mine/old").await;
        fs::write(bench.path("out/fifo"), "go\n").unwrap();
        assert_eq!(tree.ended().await, Exit::Code(0));
        assert_eq!(tree.output, b"ready\n2 mine/old\n2 theirs/f\n");
        let errors = String::from_utf8(tree.log("stderr.log")).unwrap();
        assert_eq!(errors.matches("Device or resource busy").count(), 2, "{errors}");
    });
}

#[test]
fn a_question_that_is_not_answered_is_a_refusal() {
    Bench::run(async |bench| {
        furnish(bench);
        let wish = gated(bench, &["sh", "-c", "echo x > theirs/f; echo over; echo x > mine/new"]);
        let wish = wish.with(|spec| spec.gate.as_mut().unwrap().answer_within = Duration::from_millis(200));
        let begun = clock::now();
        let mut tree = wish.spawn().await.unwrap();
        assert_eq!(tree.ended().await, Exit::Code(0));
        assert!((clock::now() - begun) >= Duration::from_millis(200));
        assert_eq!(told(&tree), "mine/new w1 c1, ! theirs/f NoAnswer, ? theirs/f Open");
        assert_eq!(fs::read_to_string(bench.path("ws/theirs/f")).unwrap(), "text\n");
    });
}

#[test]
fn a_call_that_waits_is_refused_when_its_tree_is_ended() {
    for (how, exit) in
        [(Ending::Orderly { grace: Duration::from_mins(10) }, Exit::Code(7)), (Ending::AtOnce, Exit::Signal(9))]
    {
        Bench::run(async |bench| {
            furnish(bench);
            let script = "trap 'echo x > mine/late; echo x > ../out/late; exit 7' TERM; echo x > theirs/f; while :; do sleep 0.01; done";
            let wish = gated(bench, &["sh", "-c", script]);
            let wish = wish.with(|spec| spec.gate.as_mut().unwrap().answer_within = Duration::from_hours(1));
            let mut tree = wish.spawn().await.unwrap();
            tree.is_asked().await;
            tree.end(how);
            assert_eq!(tree.ended().await, exit);
            assert!(tree.refused.contains_key(&("theirs/f".to_owned(), RefusalReason::Ending)), "{}", told(&tree));
            assert!(!bench.path("ws/mine/late").exists(), "what is the workspace's is closed");
            assert_eq!(bench.path("out/late").exists(), how != Ending::AtOnce, "the rest is not");
            assert_eq!(fs::read_to_string(bench.path("ws/theirs/f")).unwrap(), "text\n");
        });
    }
}

#[test]
fn without_its_shim_nothing_lands() {
    Bench::run(async |bench| {
        furnish(bench);
        let mut tree = start(bench, "trap '' TERM; echo x > theirs/f; echo x > mine/new; exec sleep 1000").await;
        tree.is_asked().await;
        kill_process(Pid::from_raw(tree.shim().cast_signed()).unwrap(), Signal::KILL).unwrap();
        assert_eq!(tree.last_news().await, TreeNews::ShimLost { survivors: 0 });
        assert_eq!(fs::read_to_string(bench.path("ws/theirs/f")).unwrap(), "text\n");
        assert!(!bench.path("ws/mine/new").exists());
    });
}

#[test]
fn a_directory_is_moved_with_all_that_is_beneath_it() {
    Bench::run(async |bench| {
        furnish(bench);
        for number in 0..300 {
            fs::write(bench.path(&format!("ws/theirs/{number}")), "").unwrap();
        }
        let script = "mv theirs mine/all || exit 3; mv mine/all/f theirs && echo moved";
        let mut tree = start(bench, script).await;
        tree.answer = Some(Box::new(|_| (Answer::Allow, vec![])));
        assert_eq!(tree.ended().await, Exit::Code(0));
        let portions: Vec<usize> = tree.asked.iter().map(Vec::len).collect();
        // The directory, what was in it and 300 more; then the file that comes back.
        assert_eq!(portions, [256, 47, 1]);
        assert_eq!(tree.wrote.len(), 2 * 303);
        assert_eq!(tree.wrote["mine/all"], Tally { moves_in: 1, ..Tally::default() });
        assert_eq!(tree.wrote["mine/all/7"], Tally::default());

        for number in 0..20_000 {
            fs::write(bench.path(&format!("ws/mine/dir/{number}")), "").unwrap();
        }
        let mut tree = start(bench, "mv mine/dir mine/moved").await;
        assert_ne!(tree.ended().await, Exit::Code(0));
        assert_eq!(told(&tree), "! mine/dir TooLarge");
    });
}

#[test]
fn a_supervisor_that_does_not_listen_holds_up_no_writer_and_learns_all() {
    const FILES: usize = 20_000;
    Bench::run(async |bench| {
        furnish(bench);
        let script = format!(
            "i=0; while [ $i -lt {FILES} ]; do : > mine/$i; i=$((i+1)); done; echo > ../out/done; exec sleep 1000"
        );
        let mut wish = gated(bench, &["sh", "-c", &script]);
        wish.backlog = 1;
        let done = bench.sign("out/done");
        let mut tree = wish.spawn().await.unwrap();
        done.comes("the agent's last write").await;
        tree.end(Ending::AtOnce);
        assert_eq!(tree.ended().await, Exit::Signal(9));
        assert_eq!(tree.wrote.len(), FILES);
        assert!(tree.wrote.values().all(|tally| *tally == Tally { closes: 1, creates: 1, ..Tally::default() }));
    });
}

#[test]
fn a_gate_that_cannot_be_had_is_an_error() {
    Bench::run(async |bench| {
        furnish(bench);
        let wish = gated(bench, &["true"]).with(|spec| spec.gate.as_mut().unwrap().workspace = bench.path("none"));
        assert!(matches!(wish.spawn().await, Err(SpawnError::Gate(_))));
        // What is wrong with the program is told as without a gate.
        fs::write(bench.path("ws/raw"), "\x7fno program").unwrap();
        fs::set_permissions(bench.path("ws/raw"), fs::Permissions::from_mode(0o755)).unwrap();
        let error = gated(bench, &["./raw"]).spawn().await.err();
        assert!(matches!(error, Some(SpawnError::BadFormat { .. })), "{error:?}");
        let error = gated(bench, &["./raw"]).with(|spec| spec.cwd = bench.path("ws/mine/old")).spawn().await.err();
        assert!(matches!(error, Some(SpawnError::NoDirectory { .. })), "{error:?}");
        assert!(bench.exit_record().is_none());
    });
}

#[test]
fn the_trial_shows_what_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let begun = clock::now();
    let found = probe(&binary(), directory.path());
    let took = clock::now() - begun;
    eprintln!("{found:?} after {took:?}");
    assert_eq!(found.unwrap().user_namespace, can(&["unshare", "-U", "true"]));
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "nothing is left");
    let error = probe(&binary(), &directory.path().join("none"));
    assert!(matches!(error, Err(GateUnavailable::Directory { .. })), "{error:?}");
    let error = probe(Path::new("/bin/false"), directory.path());
    assert!(matches!(error, Err(GateUnavailable::NoAnswer | GateUnavailable::Start(_))), "{error:?}");
}

#[test]
fn all_of_it_as_an_ordinary_user() {
    again::all_as_nobody(&[(BINARY, &binary())]);
}
