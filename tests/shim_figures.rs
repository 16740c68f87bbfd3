//! What a shim costs in memory. What it costs in time: benches/overhead.sh.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "figures are for reading")]

#[path = "support/trees.rs"]
#[expect(dead_code, reason = "shared with tests/shim.rs and tests/gate.rs")]
mod trees;

use std::fs;

use supervise::core::effect::Ending;
use supervise::core::reason::Exit;
use trees::Bench;

/// KiB of memory that exist because of this process alone, by proc_pid_smaps_rollup(5): what it has
/// written to, in memory or swapped out. Clean pages of the program's file are left out. The kernel
/// counts them as private while one process maps them, as here; in a run the supervisor and the other
/// shims map the same file (benches/idle.sh counts them there).
fn own_kib(pid: u32) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let lines = rollup.lines().filter(|line| line.starts_with("Private_Dirty:") || line.starts_with("Swap:"));
    let kib: Vec<u64> = lines.map(|line| line.split_whitespace().nth(1).unwrap().parse().unwrap()).collect();
    assert_eq!(kib.len(), 2, "{rollup}");
    kib.iter().sum()
}

#[test]
fn a_shim_is_small() {
    Bench::run(async |bench| {
        // After a megabyte of prompt and ten of output it has used whatever it will use.
        let prompt = vec![b'x'; 1 << 20];
        let script = "head -c 10000000 /dev/zero; head -c 10000000 /dev/zero >&2; echo ready; exec sleep 1000";
        let mut wish = bench.sh(script).with(|spec| spec.stdin = Some(prompt));
        wish.spec.log_limit = 64 << 20;
        let mut tree = wish.spawn().await.unwrap();
        tree.output_has("ready").await;
        let used = own_kib(tree.shim());
        println!("memory of a shim: {used} KiB");
        assert!((1..2048).contains(&used), "{used} KiB");
        tree.end(Ending::AtOnce);
        assert_eq!(tree.ended().await, Exit::Signal(9));
    });
}
