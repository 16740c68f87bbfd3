//! `late` claims: locked at the first write, held to the end; whoever comes second reads again.

use super::{agent, assert_certain, assert_state, flag, heard, log, names, records, records_so_far, run};
use crate::support::TestRepo;

const FILES: &[(&str, &str)] = &[("shared.txt", "begin\n"), ("own/x", "")];

fn late(more: &str) -> String {
    format!("late = [\"shared.txt\"]\n{more}")
}

#[test]
fn a_free_path_is_locked_at_the_first_write_and_committed() {
    for repo in TestRepo::for_each_user(FILES) {
        let script = "echo one >> shared.txt; sed -i s/begin/began/ shared.txt";
        let ended = run(&repo, "", &[agent("one", &["own/1"], script, &late(""))]).expect(0);
        assert_state(&ended, "one", "COMPLETED", None);
        assert_eq!(repo.files_of("feat(one): one"), ["shared.txt"]);
        assert_eq!(repo.read("shared.txt"), "began\none\n");
        assert_certain(&repo, "one");
        let locked = records(&repo, "locked");
        assert_eq!((locked.len(), locked[0]["how"].as_str()), (1, Some("late")), "{locked:?}");
        assert_eq!(repo.status(), "");
    }
}

/// Reads, waits, and writes what it read before: as a program that does not look again.
const BLIND: &str = "import os, sys, time\n\
    name, path, tries, text = sys.argv[1], 'shared.txt', int(sys.argv[2]), open('shared.txt').read()\n\
    open(os.environ['F'] + '/read.' + name, 'w').close()\n\
    end = time.time() + 60\n\
    while name == 'two' and not os.path.exists(os.environ['F'] + '/wrote.one') and time.time() < end: time.sleep(0.02)\n\
    for n in range(tries):\n\
    \x20   try:\n\
    \x20       with open(path, 'w') as f: f.write(text + name + '\\n')\n\
    \x20       break\n\
    \x20   except OSError as e:\n\
    \x20       print(e.errno, e.strerror, file=sys.stderr)\n\
    \x20       time.sleep(0.05)\n\
    \x20       text = open(path).read()\n\
    open(os.environ['F'] + '/wrote.' + name, 'w').close()\n";

fn blind(name: &str, tries: u32, after: &str) -> String {
    format!("cat > $TMPDIR/{name}.py <<'END'\n{BLIND}END\npython3 $TMPDIR/{name}.py {name} {tries}; {after}")
}

#[test]
fn a_held_path_is_busy_and_who_reads_again_loses_nothing() {
    for repo in TestRepo::for_each_user(FILES) {
        // The first holds it until the second was told; the second read before the first wrote.
        let agents = [
            agent("one", &["own/1"], &format!("await read.two; {}", blind("one", 1, "await wait.two")), &late("")),
            agent("two", &["own/2"], &blind("two", 600, ""), &late("")),
        ];
        let child = super::start(&repo, "", &agents);
        let told = crate::support::eventually(super::PATIENCE, || !records_so_far(&repo, "busied").is_empty());
        assert!(told, "the second is told");
        flag(&repo, "wait.two");
        let ended = super::finished(&repo, child).expect(0);
        for id in ["one", "two"] {
            assert_state(&ended, id, "COMPLETED", None);
            assert_eq!(ended.agent(id)["attempt"], 1);
        }
        assert_eq!(repo.read("shared.txt"), "begin\none\ntwo\n");
        assert_eq!(repo.subjects(), ["feat(one): one", "feat(two): two"]);
        assert_eq!((repo.status(), ended.json()["conflicts"].clone()), (String::new(), names(&[])), "no conflict");
        let log = log(&repo, "two", 1);
        assert!(
            log.contains("16 Device or resource busy") && log.contains("shared.txt: resource busy: one is writing it"),
            "{log}"
        );
    }
}

#[test]
fn who_does_not_retry_is_tried_again_behind_the_lock() {
    for repo in TestRepo::for_each_user(FILES) {
        let agents = [
            agent("one", &["own/1"], &format!("await read.two; {}", blind("one", 1, "await wrote.two")), &late("")),
            agent("two", &["own/2"], &blind("two", 1, "echo two > own/2"), &late("retries = 0")),
        ];
        let ended = run(&repo, "", &agents).expect(0);
        assert_state(&ended, "two", "COMPLETED", None);
        assert_eq!(ended.agent("two")["attempt"], 2, "{}", ended.stderr);
        assert_eq!(repo.read("shared.txt"), "begin\none\ntwo\n");
        assert_eq!(repo.files_of("feat(two): two"), ["own/2", "shared.txt"]);
        assert_eq!(repo.status(), "");
        let requeued = records(&repo, "agent_requeued");
        assert_eq!(requeued.len(), 1);
        assert!(requeued[0]["why"].to_string().contains("shared.txt"), "{requeued:?}");
    }
}

/// The other is done and gone; what was read before is old all the same.
#[test]
fn a_stale_path_is_busy_once() {
    for repo in TestRepo::for_each_user(FILES) {
        let waits =
            "n=0; until git log --format=%s | grep -q one; do n=$((n+1)); [ $n -lt 600 ] || exit 93; sleep 0.05; done";
        let two = blind("two", 600, "").replace("wrote.one", "committed.one");
        let agents = [
            agent("one", &["own/1"], &format!("await read.two; {}", blind("one", 1, "")), &late("")),
            agent("two", &["own/2"], &two, &late("")),
            agent("third", &[], &format!("{waits}; flag committed.one"), ""),
        ];
        let ended = run(&repo, "", &agents).expect(0);
        assert_eq!(ended.agent("two")["attempt"], 1);
        assert_eq!(repo.read("shared.txt"), "begin\none\ntwo\n");
        let busied = records(&repo, "busied");
        assert_eq!(busied.len(), 1, "{busied:?}");
        assert_eq!(busied[0]["why"]["kind"], "stale");
        assert_certain(&repo, "two");
    }
}

/// What is claimed on the way is read before it is claimed, so the same holds for it.
#[test]
fn a_path_locked_on_the_way_is_never_overwritten_blindly() {
    for policy in ["claim", "warn"] {
        for repo in TestRepo::for_each_user(FILES) {
            let waits = "n=0; until git log --format=%s | grep -q one; do n=$((n+1)); [ $n -lt 600 ] || exit 93; sleep 0.05; done";
            let two = blind("two", 600, "").replace("wrote.one", "committed.one");
            let agents = [
                agent("one", &["shared.txt"], &format!("await read.two; {}", blind("one", 1, "")), ""),
                agent("two", &["own/2"], &two, &format!("on_undeclared = \"{policy}\"")),
                agent("third", &[], &format!("{waits}; flag committed.one"), ""),
            ];
            let ended = run(&repo, "", &agents);
            assert_state(&ended, "two", "COMPLETED", if policy == "warn" { Some("nothing_committed") } else { None });
            assert_eq!(repo.read("shared.txt"), "begin\none\ntwo\n", "{policy}: {}", ended.stderr);
            assert_eq!(heard(&repo, "read.two"), "");
        }
    }
}
