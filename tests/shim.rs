//! Real process trees under real shims: whatever an agent starts, nothing of it is left, and what it
//! said is in its logs.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "a test tells by failing")]

#[path = "support/again.rs"]
#[expect(dead_code, reason = "shared with others")]
mod again;
#[path = "support/trees.rs"]
#[expect(dead_code, reason = "shared with tests/gate.rs")]
mod trees;

use std::fs;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::task::Poll;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use supervise::core::effect::Ending;
use supervise::core::reason::Exit;
use supervise::host::process::{SpawnError, TreeNews};
use supervise::shim::record::{Cause, ExitRecord};
use supervise::shim::tree::look;
use supervise::shim::wire::{Launch, Order};
use trees::{Bench, Tree, until, until_meanwhile, write_script};

const SHORT: Ending = Ending::Orderly { grace: Duration::from_millis(100) };
const LONG: Ending = Ending::Orderly { grace: Duration::from_mins(10) };

/// Things that a careless supervisor leaves behind. `stubborn` ignores SIGTERM; all say in the file
/// `up` that they run. They are read by `sh`, not executed: another test that forks while they are
/// written would make them busy (execve(2), ETXTBSY).
const FIXTURES: [(&str, &str); 6] = [
    ("a grandchild that ignores SIGTERM", "sh stubborn &"),
    ("a grandchild in its own session", "setsid sh stubborn &"),
    ("a daemon, forked twice", "(setsid sh -c 'sh stubborn & sh stubborn &' &) &"),
    ("stopped children", "sh stopped & setsid sh stopped &"),
    ("a storm of sessions", "setsid sh storm 5 & sh storm 5 &"),
    ("a chain that forks for ever", "setsid sh chain & setsid sh chain &"),
];

const SCRIPTS: [(&str, &str); 4] = [
    ("stubborn", "#!/bin/sh\ntrap '' TERM\necho >> up\nexec sleep 1000"),
    ("stopped", "#!/bin/sh\ntrap '' TERM\necho >> up\nkill -STOP $$\nexec sleep 1000"),
    (
        "storm",
        "#!/bin/sh\ntrap '' TERM\necho >> up\n
         if [ $1 -gt 0 ]; then setsid sh storm $(($1-1)) & setsid sh storm $(($1-1)) & fi\nexec sleep 1000",
    ),
    ("chain", "#!/bin/sh\ntrap '' TERM\necho >> up\nsleep 0.005\nsetsid sh chain &\n"),
];

/// Starts the fixture; there is something to be found when this returns. Then the leader does `then`.
async fn start(bench: &Bench, fixture: &str, then: &str) -> Tree {
    for (name, text) in SCRIPTS {
        write_script(&bench.path(""), name, text);
    }
    let script = format!("{fixture}\nwhile ! [ -s up ]; do sleep 0.005; done; echo ready; {then}");
    let mut tree = bench.sh(&script).spawn().await.unwrap();
    tree.output_has("ready").await;
    tree
}

fn for_each_fixture(then: &str, act: &impl AsyncFn(&mut Tree)) {
    for (name, fixture) in FIXTURES {
        eprintln!("{name}");
        Bench::run(async |bench| {
            let mut tree = start(bench, fixture, then).await;
            act(&mut tree).await;
        });
    }
}

fn kill(pid: u32) {
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL).unwrap();
}

#[test]
fn nothing_survives_an_orderly_end() {
    for_each_fixture("exec sleep 1000", &async |tree: &mut Tree| {
        tree.end(SHORT);
        assert_eq!(tree.ended().await, Exit::Signal(15));
        assert_eq!(tree.record().cause, Cause::Asked);
    });
}

#[test]
fn nothing_survives_an_end_at_once() {
    for_each_fixture("exec sleep 1000", &async |tree: &mut Tree| {
        tree.end(Ending::AtOnce);
        assert_eq!(tree.ended().await, Exit::Signal(9));
    });
}

#[test]
fn nothing_survives_the_leader() {
    for_each_fixture("exit 3", &async |tree: &mut Tree| {
        assert_eq!(tree.ended().await, Exit::Code(3));
        assert_eq!(tree.record().cause, Cause::Leader);
    });
}

#[test]
fn nothing_survives_the_shim() {
    for_each_fixture("exec sleep 1000", &async |tree: &mut Tree| {
        kill(tree.shim());
        assert_eq!(tree.last_news().await, TreeNews::ShimLost { survivors: 0 });
    });
}

#[test]
fn nothing_survives_the_supervisor() {
    for (name, fixture) in FIXTURES {
        eprintln!("{name}");
        let bench = Bench::abandon_after(async |bench| drop(start(bench, fixture, "exec sleep 1000").await));
        let record = until("the exit record", || bench.exit_record());
        assert_eq!((record.cause, record.exit(), record.survivors), (Cause::SupervisorGone, Exit::Signal(15), vec![]));
        bench.assert_empty();
    }
}

#[test]
fn an_agent_has_its_grace_and_may_use_it() {
    Bench::run(async |bench| {
        let script = "trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.01; done";
        let mut tree = bench.sh(script).spawn().await.unwrap();
        tree.output_has("ready").await;
        tree.end(LONG);
        assert_eq!(tree.ended().await, Exit::Code(7));
        assert_eq!(tree.output, b"ready\nbye\n");
    });
}

/// The shell dies of its SIGTERM before its children have theirs, so they change parents meanwhile.
#[test]
fn a_willing_tree_does_not_wait_for_its_grace() {
    for _ in 0..20 {
        Bench::run(async |bench| {
            let script = "setsid sleep 1000 & sleep 1000 & (sleep 1000; :) & echo ready; sleep 1000; :";
            let mut tree = bench.sh(script).spawn().await.unwrap();
            tree.output_has("ready").await;
            // Longer than this test waits for anything.
            tree.end(LONG);
            assert_eq!(tree.ended().await, Exit::Signal(15));
        });
    }
}

#[test]
fn a_second_wish_hurries_the_first() {
    Bench::run(async |bench| {
        let mut tree = bench.sh("trap '' TERM; echo ready; while :; do sleep 0.01; done").spawn().await.unwrap();
        tree.output_has("ready").await;
        tree.end(LONG);
        tree.end(Ending::AtOnce);
        tree.end(LONG);
        assert_eq!(tree.ended().await, Exit::Signal(9));
    });
}

#[test]
fn exit_codes_signals_and_logs_are_reported() {
    Bench::run(async |bench| {
        let mut tree = bench.sh("echo out; echo err >&2; exit 42").spawn().await.unwrap();
        assert_eq!(tree.ended().await, Exit::Code(42));
        assert_eq!((tree.output.as_slice(), tree.gaps), (&b"out\n"[..], 0));
        assert_eq!((tree.log("stdout.log"), tree.log("stderr.log")), (b"out\n".to_vec(), b"err\n".to_vec()));
        let record = tree.record();
        assert_eq!((record.code, record.signal, record.pid), (Some(42), None, tree.leader()));
        assert_eq!((record.stdout.bytes, record.stderr.bytes, record.stdout.omitted), (4, 4, 0));

        let mut tree = bench.sh("kill -SEGV $$").spawn().await.unwrap();
        assert_eq!(tree.ended().await, Exit::Signal(11));
        assert_eq!(tree.record().signal, Some(11));
    });
}

#[test]
fn the_agent_starts_clean() {
    Bench::run(async |bench| {
        // A descriptor without close-on-exec in the supervisor, as a shell may leave one.
        let stray = fs::File::open("/dev/null").unwrap();
        rustix::io::fcntl_setfd(&stray, rustix::io::FdFlags::empty()).unwrap();
        let script =
            "grep -E '^Sig(Blk|Ign)' /proc/self/status; ls /proc/self/fd | wc -l; readlink /proc/self/fd/0; env | sort";
        let mut tree = bench.sh(script).with(|spec| spec.env.truncate(1)).spawn().await.unwrap();
        assert_eq!(tree.ended().await, Exit::Code(0));
        let output = String::from_utf8(tree.output.clone()).unwrap();
        let lines: Vec<&str> = output.lines().collect();
        let set = |line: &str| u64::from_str_radix(line.split_once('\t').unwrap().1, 16).unwrap();
        // Signals 32 and 33 belong to the C library, and are not for us to reset.
        assert_eq!((set(lines[0]), set(lines[1]) & !(3 << 31)), (0, 0), "{output}");
        // The three, and the one with which `ls` reads the directory.
        assert_eq!((lines[2], lines[3]), ("4", "/dev/null"));
        let names: Vec<&str> = lines[4..].iter().map(|line| line.split('=').next().unwrap()).collect();
        assert_eq!(names, ["PATH", "PWD"], "sh adds PWD, and nothing else is there");
    });
}

#[test]
fn the_prompt_is_standard_input() {
    Bench::run(async |bench| {
        let prompt = b"- a prompt\n".repeat(100_000);
        let mut tree = bench.sh("wc -c").with(|spec| spec.stdin = Some(prompt.clone())).spawn().await.unwrap();
        assert_eq!(tree.ended().await, Exit::Code(0));
        assert_eq!(String::from_utf8_lossy(&tree.output).trim(), prompt.len().to_string());
        // One that nobody reads holds nothing up.
        let mut tree = bench.sh("exit 0").with(|spec| spec.stdin = Some(prompt)).spawn().await.unwrap();
        assert_eq!(tree.ended().await, Exit::Code(0));
    });
}

#[test]
fn a_pipe_held_open_outside_the_tree_delays_nothing() {
    Bench::run(async |bench| {
        bench.fifo("fifo");
        let mut wish = bench.sh("echo ready; read x < fifo; exit 0");
        wish.backlog = 8;
        let mut tree = wish.spawn().await.unwrap();
        tree.output_has("ready").await;
        // This process now holds the other end of the agent's standard output.
        let held = fs::OpenOptions::new().write(true).open(format!("/proc/{}/fd/1", tree.leader())).unwrap();
        fs::write(bench.path("fifo"), "go\n").unwrap();
        assert_eq!(tree.ended().await, Exit::Code(0));
        drop(held);
    });
}

#[test]
fn logs_keep_beginning_and_end() {
    Bench::run(async |bench| {
        let script = "echo first; head -c 100000000 /dev/zero | tr '\\0' x; echo last";
        let mut tree = bench.sh(script).with(|spec| spec.forward = false).spawn().await.unwrap();
        assert_eq!(tree.ended().await, Exit::Code(0));
        assert_eq!(tree.output, b"", "nothing is forwarded");
        let log = tree.log("stdout.log");
        let marker = format!("\n[supervise: {} bytes left out here]\n", 100_000_011 - (1 << 20));
        assert_eq!(log.len(), (1 << 20) + marker.len());
        assert!(log.starts_with(b"first\nxxx") && log.ends_with(b"xxxlast\n"));
        assert_eq!(&log[1 << 19..(1 << 19) + marker.len()], marker.as_bytes());
        assert_eq!(tree.record().stdout.bytes, 100_000_011);
    });
}

#[test]
fn a_supervisor_that_does_not_listen_stalls_no_agent() {
    Bench::run(async |bench| {
        let mut wish = bench.sh("head -c 20000000 /dev/zero; echo done > done; sleep 1000");
        wish.backlog = 1;
        let done = bench.sign("done");
        let mut tree = wish.spawn().await.unwrap();
        // No news are taken until the agent is through.
        done.comes("the end of the agent's output").await;
        tree.end(Ending::AtOnce);
        assert_eq!(tree.ended().await, Exit::Signal(9));
        assert!(tree.gaps > 0);
        assert_eq!(tree.output.len() as u64 + tree.gaps, 20_000_000);
    });
}

#[test]
fn a_stopped_shim_is_killed_and_its_tree_swept() {
    Bench::run_with(Duration::from_millis(200), async |bench| {
        let mut tree = start(bench, "setsid sh stubborn &", "exec sleep 1000").await;
        let shim = Pid::from_raw(tree.shim().cast_signed()).unwrap();
        kill_process(shim, Signal::STOP).unwrap();
        tree.end(Ending::AtOnce);
        assert_eq!(tree.last_news().await, TreeNews::ShimLost { survivors: 0 });
    });
}

#[test]
fn what_ends_the_terminal_does_not_end_the_shim() {
    Bench::run(async |bench| {
        let mut tree = bench.sh("echo ready; exec sleep 1000").spawn().await.unwrap();
        tree.output_has("ready").await;
        let shim = tree.shim();
        assert_eq!(look(shim).unwrap().session, shim, "it leads a session of its own");
        for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT, Signal::TSTP, Signal::USR1] {
            kill_process(Pid::from_raw(shim.cast_signed()).unwrap(), signal).unwrap();
        }
        tree.end(SHORT);
        assert_eq!(tree.ended().await, Exit::Signal(15));
        assert_eq!(tree.record().cause, Cause::Asked);
    });
}

#[test]
fn errors_say_what_is_wrong() {
    Bench::run(async |bench| {
        write_script(&bench.path(""), "bad", "#!/no/such/interpreter\n");
        write_script(&bench.path(""), "raw", "\x7fno program");
        fs::write(bench.path("plain"), "").unwrap();
        let error = async |argv: &[&str]| bench.command(argv).spawn().await.err().unwrap();
        assert!(matches!(error(&[]).await, SpawnError::NoCommand));
        assert!(matches!(error(&["a\0b"]).await, SpawnError::Nul));
        assert!(matches!(error(&["no-such-program"]).await, SpawnError::NotInPath { .. }));
        assert!(matches!(error(&["./none"]).await, SpawnError::NoProgram { .. }));
        assert!(matches!(error(&["./plain"]).await, SpawnError::NotExecutable { .. }));
        assert!(matches!(error(&["./bad"]).await, SpawnError::NoInterpreter { .. }));
        assert!(matches!(error(&["./raw"]).await, SpawnError::BadFormat { .. }));
        let long = "x".repeat(4 << 20);
        assert!(matches!(error(&["true", &long]).await, SpawnError::TooLong));
        let none = bench.path("none");
        let wish = bench.command(&["true"]).with(|spec| spec.cwd.clone_from(&none));
        assert!(matches!(wish.spawn().await, Err(SpawnError::NoDirectory { cwd }) if cwd == none));
        let log = bench.path("none/stdout.log");
        let wish = bench.command(&["true"]).with(|spec| spec.stdout.clone_from(&log));
        assert!(matches!(wish.spawn().await, Err(SpawnError::Log { path, .. }) if path == log));
        assert!(bench.exit_record().is_none());
    });
}

#[test]
fn quiet_is_the_time_without_output_and_work() {
    Bench::run(async |bench| {
        let script = "while ! [ -e work ]; do sleep 0.01; done; while ! [ -e rest ]; do :; done; echo resting >&2; exec sleep 1000";
        let mut tree = bench.sh(script).spawn().await.unwrap();
        fs::write(bench.path("work"), "").unwrap();
        until_meanwhile("work", || (tree.sample() < Duration::from_millis(50)).then_some(())).await;
        fs::write(bench.path("rest"), "").unwrap();
        until_meanwhile("rest", || (tree.sample() > Duration::from_millis(500)).then_some(())).await;
        tree.end(Ending::AtOnce);
        assert_eq!(tree.ended().await, Exit::Signal(9));
    });
}

#[test]
fn with_a_cgroup_nothing_survives_and_it_is_removed() {
    let home = match supervise::host::cgroup::probe() {
        Ok(home) => home,
        Err(error) => return eprintln!("not run: {error}"),
    };
    for (number, how) in [None, Some(SHORT), Some(Ending::AtOnce)].into_iter().enumerate() {
        Bench::run(async |bench| {
            let cgroup = home.join(format!("supervise-test-{}-{number}", std::process::id()));
            write_script(&bench.path(""), SCRIPTS[0].0, SCRIPTS[0].1);
            let script =
                "setsid sh stubborn & while ! [ -s up ]; do sleep 0.005; done; cat /proc/self/cgroup; read x < fifo";
            bench.fifo("fifo");
            let mut tree = bench.sh(script).with(|spec| spec.cgroup = Some(cgroup.clone())).spawn().await.unwrap();
            tree.output_has("0::").await;
            let inside = format!("/{}\n", cgroup.file_name().unwrap().display());
            tree.output_has(&inside).await;
            let of_shim = fs::read_to_string(format!("/proc/{}/cgroup", tree.shim())).unwrap();
            assert!(!of_shim.ends_with(&inside), "the shim went back: {of_shim}");
            match how {
                Some(how) => tree.end(how),
                None => fs::write(bench.path("fifo"), "go\n").unwrap(),
            }
            tree.ended().await;
            assert!(tree.record().cgroup);
            assert!(!cgroup.exists());
        });
    }
}

/// Many trees at once, of one supervisor, while shims are killed and so sweeps go on all the time: no
/// tree is taken for an orphan of another, and each ends once.
#[test]
fn trees_that_start_at_once_do_not_disturb_each_other() {
    const TREES: usize = 40;
    for round in 0..3 {
        Bench::run(async |bench| {
            for (name, text) in SCRIPTS {
                write_script(&bench.path(""), name, text);
            }
            let wishes = (0..TREES).map(|number| {
                // A few grow all the time.
                let first = if number % 10 == 0 { "setsid sh chain & setsid sh stubborn" } else { "setsid sleep 1000" };
                let wish = bench.sh(&format!("{first} & echo ready; exec sleep 1000")).with(|spec| {
                    spec.stdout = bench.path(&format!("{number}.out"));
                    spec.stderr = bench.path(&format!("{number}.err"));
                    spec.exit_record = bench.path(&format!("{number}.json"));
                });
                async move {
                    let mut tree = wish.spawn().await.unwrap();
                    // Every fourth loses its shim as soon as it has one, while others start.
                    let lost = number % 4 == round;
                    if lost {
                        kill(tree.shim());
                    } else {
                        tree.output_has("ready").await;
                        tree.end(if number % 2 == 0 { SHORT } else { Ending::AtOnce });
                    }
                    (number, lost, tree.last_news().await)
                }
            });
            for (number, lost, last) in all(wishes).await {
                match last {
                    TreeNews::ShimLost { survivors: 0 } if lost => {}
                    TreeNews::Ended { exit: Exit::Signal(9 | 15), survivors: 0 } if !lost => {}
                    other => panic!("tree {number}: {other:?}"),
                }
            }
        });
    }
}

/// Drives all of them together.
async fn all<T>(work: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut work: Vec<_> = work.map(|one| (Box::pin(one), None)).collect();
    std::future::poll_fn(move |context| {
        for (one, done) in &mut work {
            if done.is_none()
                && let Poll::Ready(value) = one.as_mut().poll(context)
            {
                *done = Some(value);
            }
        }
        if work.iter().any(|(_, done)| done.is_none()) {
            return Poll::Pending;
        }
        Poll::Ready(work.drain(..).filter_map(|(_, done)| done).collect())
    })
    .await
}

#[test]
fn two_streams_may_share_a_log() {
    Bench::run(async |bench| {
        let wish = bench.sh("echo a; echo b >&2; echo c; ./none").with(|spec| spec.stderr.clone_from(&spec.stdout));
        let mut tree = wish.spawn().await.unwrap();
        assert_eq!(tree.ended().await, Exit::Code(127));
        assert!(tree.output.starts_with(b"a\nb\nc\n") && tree.output.len() > 6);
        assert_eq!(tree.log("stdout.log"), tree.output);
        assert_eq!((tree.record().stdout.bytes, tree.record().stderr.bytes), (tree.output.len() as u64, 0));
    });
}

/// Why a tree is ended is in its log, and did not hold up its end. This log takes 64 KiB and then nothing
/// until it is read, as a disk may, and what is said is more.
#[test]
fn a_tree_is_ended_before_its_log_says_why() {
    const LINES: usize = 20;
    Bench::run(async |bench| {
        let log = bench.sign("slow.log");
        let wish = bench.sh("echo ready; exec sleep 1000").with(|spec| spec.stderr = bench.path("slow.log"));
        let mut tree = wish.spawn().await.unwrap();
        tree.output_has("ready").await;
        let lines: Vec<String> = (0..LINES).map(|number| format!("{number:04096}")).collect();
        for line in &lines {
            tree.note(line);
        }
        tree.end(Ending::AtOnce);
        let leader = tree.leader();
        until_meanwhile("the agent's end", || look(leader).is_none_or(|process| process.is_zombie()).then_some(()))
            .await;
        let text = lines.join("\n") + "\n";
        let said = log.says(text.len(), "all lines").await;
        assert!(said == text.as_bytes(), "in their order");
        assert_eq!(tree.ended().await, Exit::Signal(9));
        assert_eq!(tree.record().stderr.bytes, text.len() as u64);
    });
}

/// What the killed supervisor does: it tells its mark, and when all are there. The files for both are named
/// in its environment.
fn be_a_supervisor() {
    let [tell, ready] = [TELL, READY].map(|name| std::env::var_os(name).unwrap());
    Bench::run(async |bench| {
        fs::write(tell, bench.mark()).unwrap();
        // All of them in one tree.
        let fixtures = FIXTURES.map(|(_, fixture)| fixture).join("\n");
        let _tree = start(bench, &fixtures, "exec sleep 1000").await;
        fs::write(ready, "").unwrap();
        std::future::pending::<()>().await;
    });
}

const TELL: &str = "SUPERVISE_TEST_TELL";
const READY: &str = "SUPERVISE_TEST_READY";

#[test]
fn nothing_survives_a_killed_supervisor() {
    if again::is_inside(nothing_survives_a_killed_supervisor) {
        return be_a_supervisor();
    }
    Bench::run(async |bench| {
        let (tell, ready) = (bench.path("tell"), bench.path("ready"));
        let mut command = again::command(&[], nothing_survives_a_killed_supervisor);
        command.env(TELL, &tell).env(READY, &ready).env("TMPDIR", bench.path(""));
        let mut supervisor = command.stdout(std::process::Stdio::null()).spawn().unwrap();
        until("all trees", || {
            assert_eq!(supervisor.try_wait().unwrap(), None, "the supervisor ended by itself");
            ready.exists().then_some(())
        });
        let mark = fs::read_to_string(&tell).unwrap();
        assert!(Bench::marked(&mark).len() > FIXTURES.len());
        supervisor.kill().unwrap();
        supervisor.wait().unwrap();
        until("the end of all", || Bench::marked(&mark).is_empty().then_some(()));
    });
}

/// The first that the shim has to say finds nobody: its supervisor went as soon as it had said what to launch.
#[test]
fn nothing_survives_a_supervisor_that_goes_before_it_is_told_of_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let launch = Launch {
        program: "/bin/sleep".into(),
        argv: vec!["sleep".into(), "1000".into()],
        env: Vec::new(),
        cwd: directory.path().to_owned(),
        stdin: None,
        stdout: path("stdout.log"),
        stderr: path("stderr.log"),
        log_limit: 1 << 20,
        exit_record: path("exit.json"),
        forward: false,
        leftover_grace: Duration::ZERO,
        cgroup: None,
        gate: None,
    };
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    ours.write_all(&Order::Launch(Box::new(launch)).encode()).unwrap();
    drop(ours);
    let mut shim = Command::new(trees::binary());
    let mut shim = shim.arg(supervise::shim::ARGUMENT).stdin(OwnedFd::from(theirs)).spawn().unwrap();
    let status = until("the end of the shim", || shim.try_wait().unwrap());
    assert!(status.success(), "{status}");
    let record = ExitRecord::read(&path("exit.json")).unwrap().unwrap();
    assert_eq!((record.cause, record.exit()), (Cause::SupervisorGone, Exit::Signal(15)));
}
