//! What a shim costs, in time and memory. The figures are printed by
//! `cargo test --release --test shim_figures -- --ignored --nocapture`; the bounds always hold.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "figures are for reading")]

#[path = "support/trees.rs"]
#[expect(dead_code, reason = "shared with tests/shim.rs, which uses all of it")]
mod trees;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use supervise::core::effect::Ending;
use supervise::core::reason::Exit;
use supervise::shim::clock;
use tokio::task::JoinSet;
use trees::Bench;

/// KiB of memory that no other process shares, by proc_pid_smaps_rollup(5).
fn private_kib(pid: u32) -> u64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let lines = rollup.lines().filter(|line| line.starts_with("Private_Clean") || line.starts_with("Private_Dirty"));
    lines.map(|line| line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()).sum()
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
        let used = private_kib(tree.shim());
        println!("private memory of a shim: {used} KiB");
        assert!(used < 2048, "{used} KiB");
        tree.end(Ending::AtOnce);
        assert_eq!(tree.ended().await, Exit::Signal(9));
    });
}

/// 1,000 agents that do nothing, four at a time.
#[test]
#[ignore = "a figure, not a test"]
fn a_thousand_times_true() {
    println!("1,000 trees: {:?}", a_thousand(None));
    match supervise::host::cgroup::probe() {
        Ok(home) => println!("1,000 trees, each in a cgroup: {:?}", a_thousand(Some(&home))),
        Err(error) => println!("no cgroups: {error}"),
    }
    let begun = clock::now();
    let input = tempfile::NamedTempFile::new().unwrap();
    fs::write(input.path(), "/bin/true\n".repeat(1000)).unwrap();
    let mut xargs = Command::new("xargs");
    // Two programs for each, as a shim and its agent are.
    xargs.args(["-P4", "-n1", "env"]).stdin(input.reopen().unwrap());
    assert!(xargs.status().unwrap().success());
    println!("xargs -P4 of 1,000 times `env /bin/true`: {:?}", clock::now() - begun);
}

fn a_thousand(cgroups: Option<&Path>) -> Duration {
    let mut took = Duration::ZERO;
    Bench::run(async |bench| {
        let mut running = JoinSet::new();
        let begun = clock::now();
        for number in 0..1000 {
            if running.len() == 4 {
                running.join_next().await.unwrap().unwrap();
            }
            let wish = bench.command(&["/bin/true"]).with(|spec| {
                spec.stdout = bench.path(&format!("{number}.out"));
                spec.stderr = bench.path(&format!("{number}.err"));
                spec.exit_record = bench.path(&format!("{number}.json"));
                spec.cgroup = cgroups.map(|home| home.join(format!("supervise-figure-{number}")));
            });
            let mut tree = wish.spawn().await.unwrap();
            running.spawn(async move { assert_eq!(tree.ended().await, Exit::Code(0)) });
        }
        while let Some(done) = running.join_next().await {
            done.unwrap();
        }
        took = clock::now() - begun;
    });
    took
}
