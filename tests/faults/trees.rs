//! Agents that do not want to end, each in its way, all at once; and each way to end them.

use crate::ordeal::{Ordeal, of_agent, session};
use crate::support::{TestRepo, executable};

/// What a careless supervisor leaves behind. Whatever is called `$S/…` says in `$UP` that it runs, and
/// ignores SIGTERM. The storms are bounded.
const FIXTURES: [(&str, &str); 9] = [
    ("grandchild", "$S/stubborn & wait_for 1"),
    ("session", "setsid $S/stubborn & wait_for 1"),
    ("daemon", "(setsid sh -c '$S/stubborn & $S/stubborn &' &) & wait_for 2"),
    ("stopped", "$S/stopped & setsid $S/stopped & wait_for 2"),
    ("storm", "setsid $S/storm 4 & $S/storm 3 & wait_for 46"),
    ("chain", "setsid $S/chain & wait_for 3"),
    ("leader", "trap '' TERM"),
    ("holds", "setsid sh -c 'exec $S/stubborn' <&0 & wait_for 1"),
    ("closes", "exec <&- >&- 2>&-; setsid $S/stubborn & wait_for 1"),
];

const SCRIPTS: [(&str, &str); 4] = [
    ("stubborn", "trap '' TERM; echo >> $UP; exec sleep 1000"),
    ("stopped", "trap '' TERM; echo >> $UP; kill -STOP $$; exec sleep 1000"),
    (
        "storm",
        "trap '' TERM; echo >> $UP; if [ $1 -gt 0 ]; then setsid $0 $(($1-1)) & setsid $0 $(($1-1)) & fi; exec sleep 1000",
    ),
    ("chain", "trap '' TERM; echo >> $UP; sleep 0.005; setsid $0 &"),
];

/// The session in which each agent comes to `then` when all that it started is there.
fn all(repo: &TestRepo, defaults: &str, then: &str) -> String {
    for (name, text) in SCRIPTS {
        executable(&repo.tmp().join(name), &format!("#!/bin/sh\n{text}\n"));
    }
    let dir = repo.tmp().display().to_string();
    let agents: Vec<(&str, String)> = FIXTURES
        .iter()
        .map(|(id, script)| {
            let own = format!("export S={dir} UP={dir}/up-{id}; touch $UP\n");
            let wait = "wait_for() { until [ $(wc -l < $UP) -ge $1 ]; do sleep 0.01; done; }\n";
            (*id, format!("{own}{wait}{script}\necho >> {dir}/ready\n{then}"))
        })
        .collect();
    let agents: Vec<(&str, &str)> = agents.iter().map(|(id, script)| (*id, script.as_str())).collect();
    session(defaults, &agents)
}

fn ids() -> Vec<&'static str> {
    FIXTURES.iter().map(|(id, _)| *id).collect()
}

/// Starts them all, does `act` when all are there, and sees that each ends so.
#[track_caller]
fn ends(defaults: &str, then: &str, expected: (&str, &str), act: impl FnOnce(&TestRepo, &Ordeal<'_>)) {
    let repo = TestRepo::new();
    let ordeal = Ordeal::start(&repo, &all(&repo, defaults, then));
    ordeal.until_lines("ready", FIXTURES.len());
    if then == STAY {
        for id in ids() {
            assert!(!of_agent(&repo.mark, id).is_empty(), "there is something of {id} to be ended");
        }
    }
    act(&repo, &ordeal);
    let judged = ordeal.judge(&ids());
    for id in ids() {
        assert_eq!(judged.end(id), (expected.0.to_owned(), expected.1.to_owned()), "{id}");
    }
}

const STAY: &str = "while :; do sleep 0.1; done";

#[test]
fn nothing_outlives_its_leader() {
    let all_there = "until [ $(wc -l < $S/ready) -ge 9 ]; do sleep 0.01; done; exit 3";
    ends("", all_there, ("FAILED", "exit"), |_, _| {});
}

#[test]
fn nothing_outlives_a_timeout() {
    ends("timeout = \"4s\"", STAY, ("TIMEOUT", "timeout"), |_, _| {});
}

#[test]
fn nothing_outlives_a_wish_of_its_user() {
    for how in ["--force", "--run"] {
        ends("", STAY, ("TERMINATED", "stopped"), |repo, _| {
            let words = if how == "--force" { vec!["stop", how] } else { vec!["stop"] };
            let output = repo.supervise().args(words).args(ids()).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        });
    }
}

#[test]
fn nothing_outlives_the_run() {
    for signals in [&["INT"][..], &["TERM", "INT"]] {
        ends("", STAY, ("TERMINATED", "interrupted"), |_, ordeal| {
            for name in signals {
                crate::support::signal(&ordeal.child, name);
            }
        });
    }
}
