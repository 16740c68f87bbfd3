//! Shims and supervisors that are killed or stopped, by agents and others.

use std::time::Duration;

use supervise::core::ids::RunId;
use supervise::core::record::ProcessId;
use supervise::host::leftovers;

use crate::ordeal::{LONG, Ordeal, kill, parent_of, resume, session};
use crate::support::{TestRepo, eventually, signal};

/// It leaves half of its work, and processes that want to stay; then it does `then`, and waits.
fn stubborn(id: &str, then: &str) -> String {
    format!(
        "echo half > {id}; trap \"\" TERM; setsid sh -c \"trap '' TERM; exec sleep 1000\" & \
         echo $$ >> {{{{workspace}}}}/../tmp/up; {then}; while :; do sleep 0.05; done"
    )
}

#[test]
fn an_agent_that_kills_its_shim_is_ended_and_no_other() {
    let repo = TestRepo::new();
    let text =
        session("", &[("killer", &stubborn("killer", "kill -9 $PPID")), ("other", "sleep 0.5; echo done > other")]);
    let judged = Ordeal::start(&repo, &text).judge(&["killer", "other"]);
    assert_eq!(judged.end("killer"), ("TERMINATED".to_owned(), "shim_lost".to_owned()));
    assert_eq!(judged.end("other").0, "COMPLETED");
    assert!(!repo.exists("killer"), "its work is salvaged and put back");
    assert!(repo.ask(&["salvage", "list"]).contains("killer"));
}

#[test]
fn a_shim_that_is_killed_leaves_nothing() {
    let repo = TestRepo::new();
    let mut ordeal = Ordeal::start(&repo, &session("", &[("agent", &stubborn("agent", ":"))]));
    let pid = ordeal.until("attempt_spawned", "agent")["process"]["pid"].as_u64().unwrap();
    ordeal.until_lines("up", 1);
    kill("KILL", &[parent_of(pid)]);
    let judged = ordeal.judge(&["agent"]);
    assert_eq!(judged.end("agent"), ("TERMINATED".to_owned(), "shim_lost".to_owned()));
    assert!(!repo.exists("agent"));
}

/// The process that shims are forked from is nobody's parent, and another one does as well.
#[test]
fn without_its_fork_server_a_run_goes_on() {
    for (name, how) in [("is killed", "KILL"), ("stands still", "STOP")] {
        let repo = TestRepo::new();
        let wants = format!("pkill -{how} -P $(ps -o ppid= -p $PPID) -x supervise-shims && echo {how} > first");
        let text = session("", &[("first", &wants), ("other", "sleep 0.5; echo 1 > other"), ("next", "echo 1 > next")]);
        let text = text.replacen("id = \"next\"", "id = \"next\"\ndepends_on = [\"first\"]", 1);
        let judged = Ordeal::start(&repo, &text).judge(&["first", "other", "next"]);
        for agent in ["first", "other", "next"] {
            assert_eq!(judged.end(agent).0, "COMPLETED", "{agent}, where it {name}");
        }
        assert_eq!(repo.subjects().len(), 3);
    }
}

/// Its first attempt kills the supervisor; what it had done is kept, and it begins anew.
#[test]
fn an_agent_that_kills_the_supervisor_changes_nothing_for_good() {
    let repo = TestRepo::new();
    let kills = "test $SUPERVISE_ATTEMPT -gt 1 || kill -9 $(ps -o ppid= -p $PPID)";
    let script = format!("echo half > killer; {kills}; echo whole >> killer");
    let mut ordeal = Ordeal::start(&repo, &session("", &[("killer", &script), ("other", "echo other > other")]));
    assert!(eventually(LONG, || ordeal.child.try_wait().unwrap().is_some()), "the supervisor is dead");
    repo.assert_no_survivors();
    let ended = resume(&repo).expect(0);
    assert_eq!(ended.agent("killer")["state"], "COMPLETED");
    assert_eq!(repo.read("killer"), "half\nwhole\n");
    let ends = repo.records().iter().filter(|record| record["kind"] == "agent_ended").count();
    assert_eq!(ends, 2, "every agent ends once");
    assert_eq!(repo.subjects().len(), 2);
    assert_eq!(repo.status(), "");
}

/// Nobody is left who would end the trees; whoever takes the run up finds and ends them.
#[test]
fn a_supervisor_and_its_shims_that_die_at_once_leave_nothing_to_a_resumed_run() {
    let repo = TestRepo::new();
    let once = |id: &str| {
        let stays = stubborn(id, ":");
        format!("if test $SUPERVISE_ATTEMPT = 1; then {stays}; fi; echo whole > {id}")
    };
    let mut ordeal = Ordeal::start(&repo, &session("", &[("a", &once("a")), ("b", &once("b"))]));
    let shims = ["a", "b"].map(|id| parent_of(ordeal.until("attempt_spawned", id)["process"]["pid"].as_u64().unwrap()));
    ordeal.until_lines("up", 2);
    let supervisor = u64::from(ordeal.child.id());
    // Stopped, none of them sees another one die.
    let all = [supervisor, shims[0], shims[1]];
    kill("STOP", &all);
    kill("KILL", &all);
    ordeal.child.wait().unwrap();
    assert!(repo.survivors().len() >= 4, "{:?}", repo.survivors());
    let ended = resume(&repo).expect(0);
    repo.assert_no_survivors();
    for id in ["a", "b"] {
        assert_eq!(ended.agent(id)["state"], "COMPLETED");
        assert_eq!(repo.read(id), "whole\n");
    }
}

/// A process that has the number of one of an old run is not it where its start or the boot is another.
#[test]
fn a_number_that_was_used_again_is_left_alone() {
    let mut innocent = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let pid = innocent.id();
    let start = supervise::shim::tree::look(pid).unwrap().start;
    let boot = leftovers::boot_id().unwrap();
    let run = RunId::new("20260101T000000-none").unwrap();
    let of = |start: u64, boot: &str| ProcessId { pid, start, boot: boot.to_owned() };
    for record in [of(start + 1, &boot), of(start - 1, &boot), of(start, "another-boot")] {
        let found = leftovers::end(&run, std::slice::from_ref(&record), false);
        assert_eq!((found.found, found.survivors), (0, 0), "{record:?}");
        assert!(innocent.try_wait().unwrap().is_none(), "{record:?}");
    }
    let found = leftovers::end(&run, &[of(start, &boot)], false);
    assert_eq!(found.survivors, 0);
    assert!(eventually(LONG, || innocent.try_wait().unwrap().is_some()), "this one it was");
}

/// `SUPERVISE_TEST_STOPPED`: for so many seconds; a minute is as good as two seconds, and takes longer.
#[test]
fn a_supervisor_that_stands_still_for_a_while_goes_on_where_it_was() {
    let seconds = std::env::var("SUPERVISE_TEST_STOPPED").ok().and_then(|text| text.parse().ok()).unwrap_or(2);
    let repo = TestRepo::new();
    let dir = repo.tmp().display().to_string();
    let works =
        format!("echo >> {dir}/up; for n in $(seq 10); do echo $n >> works; sleep 0.1; done; echo >> {dir}/done");
    let waits = format!("echo >> {dir}/up; until test -e {dir}/go; do sleep 0.05; done; echo late > waits");
    let late = format!("echo half > late; echo >> {dir}/up; sleep 1000");
    let text = session("", &[("works", &works), ("waits", &waits), ("late", &late)]);
    let text = text.replacen("id = \"late\"", "id = \"late\"\ntimeout = \"1s\"", 1);
    let ordeal = Ordeal::start(&repo, &text);
    ordeal.until_lines("up", 3);
    signal(&ordeal.child, "STOP");
    let stopped = supervise::shim::clock::now();
    // Agents write what is theirs meanwhile.
    ordeal.until_lines("done", 1);
    repo.write("../tmp/go", "");
    assert!(eventually(LONG * 2, || stopped.elapsed() >= Duration::from_secs(seconds)));
    signal(&ordeal.child, "CONT");
    let judged = ordeal.judge(&["works", "waits", "late"]);
    assert_eq!(judged.end("works").0, "COMPLETED");
    assert_eq!(judged.end("waits").0, "COMPLETED");
    assert_eq!(judged.end("late"), ("TIMEOUT".to_owned(), "timeout".to_owned()));
    assert_eq!(repo.read("works").lines().count(), 10);
    assert!(!repo.exists("late"));
    assert_eq!(repo.status(), "");
}
