//! What a shim costs in memory, and in threads. What it costs in time: benches/compare.sh.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "figures are for reading")]

#[path = "support/trees.rs"]
#[expect(dead_code, reason = "shared with tests/shim.rs and tests/gate.rs")]
mod trees;

use std::fs;

use supervise::core::effect::Ending;
use supervise::core::reason::Exit;
use trees::Bench;

/// KiB of memory that exist because of this process alone, by proc_pid_smaps(5): what it has written to since it was
/// forked, in memory or swapped out. Mappings without anonymous pages are left out: what of them is dirty is the
/// program's file, until the disk has what the linker wrote.
fn own_kib(pid: u32) -> u64 {
    let maps = fs::read_to_string(format!("/proc/{pid}/smaps")).unwrap();
    let (mut own, mut mappings) = (0, 0);
    let mut dirty = 0;
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (name, kib) = (words.next().unwrap(), words.next().and_then(|word| word.parse::<u64>().ok()));
        match (name, kib) {
            // They come in this order in every mapping.
            ("Private_Dirty:", Some(kib)) => dirty = kib,
            ("Anonymous:", Some(kib)) => own += if kib > 0 { dirty } else { 0 },
            ("Swap:", Some(kib)) => (own, mappings) = (own + kib, mappings + 1),
            _ => {}
        }
    }
    assert!(mappings > 0, "{maps}");
    own
}

/// What forks here copies memory in which nobody else is half-way through something.
#[test]
fn a_shim_and_who_forks_it_have_one_thread() {
    Bench::run(async |bench| {
        let mut tree = bench.sh("echo ready; exec sleep 1000").spawn().await.unwrap();
        tree.output_has("ready").await;
        let threads = |pid: u32| fs::read_dir(format!("/proc/{pid}/task")).unwrap().count();
        let server = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().into_string().ok());
        let is_ours = |pid: &u32| {
            let of = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
            let parent = format!("PPid:\t{}\n", std::process::id());
            of("comm") == "supervise-shims\n" && of("status").contains(&parent)
        };
        let servers: Vec<u32> = server.filter_map(|name| name.parse().ok()).filter(is_ours).collect();
        assert!(!servers.is_empty(), "it is a child of this process");
        for pid in servers.into_iter().chain([tree.shim()]) {
            assert_eq!(threads(pid), 1, "process {pid}");
        }
        tree.end(Ending::AtOnce);
        assert_eq!(tree.ended().await, Exit::Signal(9));
    });
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
