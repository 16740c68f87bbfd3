//! A lock never leaves a living tree: `lock_timeout`, and `supervise release-locks`.

use super::{agent, assert_state, finished, heard, log, records, run, salvaged, start};
use crate::support::{TestRepo, eventually};

const FILES: &[(&str, &str)] = &[("a.txt", "a\n"), ("b.txt", "b\n")];

#[test]
fn an_idle_holder_is_ended_when_somebody_waits_for_it() {
    for repo in TestRepo::for_each_user(FILES) {
        let agents = [
            agent("idle", &["a.txt"], "echo half >> a.txt; sleep 600", "lock_timeout = \"1500ms\""),
            agent("next", &["a.txt"], "echo next >> a.txt", ""),
            // Idle as well, but nobody waits for it; and waited for, but not idle.
            agent("alone", &["b.txt"], "await next.done; echo b >> b.txt", "lock_timeout = \"1500ms\""),
            agent("after", &[], "flag next.done", "depends_on = [\"next\"]"),
        ];
        let ended = run(&repo, "", &agents).expect(1);
        assert_state(&ended, "idle", "TIMEOUT", Some("lock_timeout"));
        assert_eq!(salvaged(&repo, &ended, "idle", "a.txt"), "a\nhalf\n");
        for id in ["next", "alone"] {
            assert_state(&ended, id, "COMPLETED", None);
        }
        assert_eq!(repo.read("a.txt"), "a\nnext\n");
        assert_eq!(repo.status(), "");
    }
}

#[test]
fn a_busy_holder_keeps_its_lock() {
    let repo = TestRepo::with(FILES);
    // The first writes, the second speaks, the third computes.
    let signs =
        ["echo w >> a.txt; sleep 0.3", "echo said; sleep 0.3", "m=0; while [ $m -lt 20000 ]; do m=$((m+1)); done"];
    for sign in signs {
        let busy =
            format!("n=0; while [ $n -lt 12 ]; do n=$((n+1)); {sign}; done; until [ -e $F/over ]; do {sign}; done");
        let agents = [
            agent("busy", &["a.txt"], &busy, "lock_timeout = \"1s\""),
            agent("next", &["a.txt"], "echo next >> a.txt", ""),
            agent("clock", &[], "sleep 4; flag over", ""),
        ];
        let ended = run(&repo, "", &agents).expect(0);
        assert_state(&ended, "next", "COMPLETED", None);
        assert!(records(&repo, "end_intended").is_empty(), "{sign}");
        std::fs::remove_file(super::meeting(&repo).join("over")).unwrap();
    }
}

#[test]
fn locks_are_taken_away_by_hand() {
    for repo in TestRepo::for_each_user(FILES) {
        let agents = [
            agent("stuck", &["a.txt"], "echo half >> a.txt; flag stuck; sleep 600", "retries = 3"),
            agent("next", &["a.txt"], "echo next >> a.txt", ""),
        ];
        let child = start(&repo, "", &agents);
        heard(&repo, "stuck");
        let blocked = eventually(super::PATIENCE, || repo.ask(&["status"]).contains("BLOCKED"));
        assert!(blocked, "{}", repo.ask(&["status"]));
        let unknown = repo.supervise().args(["release-locks", "stuckk"]).output().unwrap();
        assert_ne!(unknown.status.code(), Some(0));
        assert!(String::from_utf8_lossy(&unknown.stderr).contains("stuck"), "{unknown:?}");
        repo.ask(&["release-locks", "stuck"]);
        let ended = finished(&repo, child).expect(1);
        assert_state(&ended, "stuck", "TERMINATED", Some("locks_released"));
        assert_eq!(salvaged(&repo, &ended, "stuck", "a.txt"), "a\nhalf\n");
        assert_state(&ended, "next", "COMPLETED", None);
        assert_eq!(repo.read("a.txt"), "a\nnext\n");
        assert_eq!(log(&repo, "next", 1), "");
    }
}

/// What git ignores is everybody's, and the gate stops asking about it; until somebody is given a lock on it.
#[test]
fn a_lock_that_comes_later_holds_where_all_was_free() {
    for repo in TestRepo::for_each_user(&[("a.txt", "a\n"), (".gitignore", "build/\n")]) {
        let writes = "echo 1 > a.txt; mkdir build; for n in 1 2 3; do echo $n > build/$n; done; flag wrote\n\
                      await joined; try joins 'echo stray > build/joined'; try free 'echo 4 > build/4'\n\
                      await granted; try grants 'echo stray > build/granted'";
        let agents = [
            agent("writes", &["a.txt"], writes, "on_conflict = \"deny\""),
            agent("keeps", &["b.txt"], "await grant; echo mine > build/granted; flag granted; await grants", ""),
        ];
        let child = start(&repo, "", &agents);
        heard(&repo, "wrote");
        let joins = "echo mine > build/joined; : > $F/joined; until [ -e $F/grants ]; do sleep 0.05; done";
        repo.ask(&["register", "--name", "joins", "--files", "build/joined", "--", "sh", "-c", joins]);
        heard(&repo, "free");
        repo.ask(&["grant", "keeps", "build/granted"]);
        super::flag(&repo, "grant");
        let ended = finished(&repo, child).expect(0);
        for (name, denied) in [("joins", true), ("free", false), ("grants", true)] {
            assert_eq!(heard(&repo, name).contains("ermission denied"), denied, "{name}: {}", heard(&repo, name));
        }
        assert_state(&ended, "writes", "COMPLETED", None);
        for id in ["keeps", "joins"] {
            assert_state(&ended, id, "COMPLETED", Some("only_ignored"));
        }
        assert_eq!((repo.read("build/joined"), repo.read("build/granted")), ("mine\n".into(), "mine\n".into()));
        assert_eq!(ended.json()["conflicts"].as_array().unwrap().len(), 2);
    }
}

/// A process that was told to end is told so at every gate, and nothing of it lands.
#[test]
fn what_is_being_ended_writes_nothing_more() {
    for repo in TestRepo::for_each_user(FILES) {
        let stubborn =
            "trap '' TERM; echo half >> a.txt; n=0; while :; do n=$((n+1)); echo $n > b.txt; sleep 0.01; done";
        let agents = [
            agent("stubborn", &["a.txt", "b.txt"], stubborn, "timeout = \"1s\"\ngrace = \"1s\""),
            agent("next", &["b.txt"], "echo next > b.txt", ""),
        ];
        let ended = run(&repo, "", &agents).expect(1);
        assert_state(&ended, "stubborn", "TIMEOUT", Some("timeout"));
        assert_state(&ended, "next", "COMPLETED", None);
        assert_eq!((repo.read("a.txt"), repo.read("b.txt")), ("a\n".into(), "next\n".into()));
        assert_eq!(repo.status(), "");
    }
}
