//! Output without end: it is taken as fast as it comes, and costs no memory.

use std::fs;

use crate::ordeal::{Ordeal, parent_of, session};
use crate::support::{TestRepo, executable, run_dir};

const GIBIBYTE: u64 = 1 << 30;

/// The most of it that was ever in memory (proc_pid_status(5), `VmHWM`), in MiB.
fn peak(pid: u64) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

/// Once as a log alone, and once of a runner whose lines are read.
#[test]
fn a_gibibyte_without_a_line_end_costs_no_memory() {
    let repo = TestRepo::new();
    let dir = repo.tmp().display().to_string();
    let flood =
        format!("head -c {GIBIBYTE} /dev/zero; echo >> {dir}/through; until test -e {dir}/go; do sleep 0.05; done");
    let codex = repo.tmp().join("codex");
    executable(&codex, &format!("#!/bin/sh\n{flood}\n"));
    let mut text = session("log_limit = \"1MiB\"", &[("logged", &flood)]);
    text += "[[agent]]\nid = \"read\"\nprompt = \"x\"\n";
    let path = repo.session(&text);
    let mut command = repo.supervise();
    let programs = std::env::var_os("PATH").unwrap();
    let programs = std::env::join_paths([repo.tmp()].into_iter().chain(std::env::split_paths(&programs))).unwrap();
    command.arg("run").arg(path).args(["--format", "jsonl"]).env("PATH", programs);
    let mut ordeal = Ordeal::of(&repo, command);
    let shims =
        ["logged", "read"].map(|id| parent_of(ordeal.until("attempt_spawned", id)["process"]["pid"].as_u64().unwrap()));
    ordeal.until_lines("through", 2);
    let peaks = [u64::from(ordeal.child.id()), shims[0], shims[1]].map(peak);
    repo.write("../tmp/go", "");
    let judged = ordeal.judge(&["logged", "read"]);
    assert_eq!(judged.end("logged").0, "COMPLETED");
    // Without optimisation the program itself is large; what comes out of an agent is a hundred times that.
    assert!(peaks[0] < 64 && peaks[1] < 32 && peaks[2] < 32, "{peaks:?} MiB");
    for id in ["logged", "read"] {
        let log = run_dir(&repo).join(format!("agents/{id}/1/stdout.log"));
        let size = fs::metadata(&log).unwrap().len();
        assert!((1 << 20..(1 << 20) + 200).contains(&size), "{id}: {size}");
    }
}
