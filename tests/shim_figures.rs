//! What a shim costs in memory. What it costs in time: benches/overhead.sh.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "figures are for reading")]

#[path = "support/trees.rs"]
#[expect(dead_code, reason = "shared with tests/shim.rs, which uses all of it")]
mod trees;

use std::fs;

use supervise::core::effect::Ending;
use supervise::core::reason::Exit;
use trees::Bench;

/// KiB of memory that no other process shares, by proc_pid_smaps_rollup(5): what another shim adds to
/// the machine. Pages of the program's file count here as long as one process alone maps them, which
/// in a run is never so: the supervisor and the other shims map the same file.
fn private_kib(pid: u32) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let lines = rollup.lines().filter(|line| line.starts_with("Private_Clean") || line.starts_with("Private_Dirty"));
    lines.map(|line| line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()).sum()
}

#[test]
fn a_shim_is_small() {
    Bench::run(async |bench| {
        // After a megabyte of prompt and ten of output each has used whatever it will use. Two of them,
        // who have done the same, share what of the program they use.
        let mut running = Vec::new();
        for number in 0..2 {
            let script = "head -c 10000000 /dev/zero; head -c 10000000 /dev/zero >&2; echo ready; exec sleep 1000";
            let wish = bench.sh(script).with(|spec| {
                spec.stdin = Some(vec![b'x'; 1 << 20]);
                spec.log_limit = 64 << 20;
                spec.stdout = bench.path(&format!("{number}.out"));
                spec.stderr = bench.path(&format!("{number}.err"));
                spec.exit_record = bench.path(&format!("{number}.json"));
            });
            running.push(wish.spawn().await.unwrap());
        }
        for tree in &mut running {
            tree.output_has("ready").await;
        }
        for tree in &mut running {
            let used = private_kib(tree.shim());
            println!("private memory of a shim: {used} KiB");
            assert!(used < 2048, "{used} KiB");
        }
        for tree in &mut running {
            tree.end(Ending::AtOnce);
            assert_eq!(tree.ended().await, Exit::Signal(9));
        }
    });
}
