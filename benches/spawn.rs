//! The least that starting programs costs: a loop of posix_spawn(3), which the standard library uses, over
//! /bin/true, four at a time. `benches/compare.sh` measures it beside the supervisor.
//!
//! `cargo bench --bench spawn -- [PROGRAMS]`

#![expect(clippy::unwrap_used, reason = "a benchmark stops at the first failure")]

use std::process::{Child, Command};

const AT_ONCE: usize = 4;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --benches` calls it too; then there is nothing to measure.
    if !args.iter().any(|arg| arg == "--bench") {
        return;
    }
    let programs = args.iter().find_map(|arg| arg.parse().ok()).unwrap_or(1000);
    let mut running: Vec<Child> = Vec::with_capacity(AT_ONCE);
    for at in 0..programs {
        if running.len() == AT_ONCE {
            assert!(running.remove(0).wait().unwrap().success(), "program {at}");
        }
        running.push(Command::new("/bin/true").spawn().unwrap());
    }
    for mut child in running {
        child.wait().unwrap();
    }
}
