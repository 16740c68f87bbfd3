//! The attribution benchmark: does the supervisor know who wrote what, and does it keep out what was
//! not declared? Scripted agents change files in all the ways that Linux has, some where they may and
//! some where they may not, under the real supervisor; their own accounts are the ground truth.
//!
//! ```text
//! cargo bench --bench attribution [-- [--quick] [--layer gate|watch] [--only NAME]… [--json FILE]
//!                                    [--verbose] [--keep]]
//! cargo bench --bench attribution -- --check [--only NAME]…
//! ```
//!
//! It prints a table for each layer (the gate and the watch; the watch alone) and ends with an error
//! where a promise is broken. With the gate: every change attributed as certain, none wrongly, nothing
//! undeclared landed, nothing declared refused, nobody ended who kept to the rules. With the watch
//! alone: nothing missed at the end, nothing certain that is wrong, nobody wrongly ended.
//! `--verbose` shows what the supervisor said, `--keep` leaves the scratch repositories.
//! `--check` runs the writers without a supervisor, compares their accounts with the workspace, and
//! tries the judgement on runs with known faults.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark prints")]
#![expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "it reads the clock, and waits for others")]

mod acts;
mod check;
mod desk;
mod fault;
mod ground;
mod judge;
mod judge_check;
mod machine;
mod options;
mod report;
mod scenario;
mod snapshot;
mod stage;
mod writer;

use std::ffi::OsString;
use std::process::ExitCode;

use fault::Fault;
use judge::Row;
use machine::Machine;
use options::{Mode, Options};
use report::{LayerReport, Report, Skipped};
use scenario::Need;
use stage::Layer;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    match args.first().and_then(|a| a.to_str()) {
        Some("write") => return writer::main(&args[1..]),
        Some("step") => {
            let step = args.get(1).and_then(|a| a.to_str()).unwrap_or_default();
            return ExitCode::from(acts::steps::main(step, args.get(2..).unwrap_or_default()));
        }
        // `cargo test --benches` calls it too; then there is nothing to measure.
        _ if !args.iter().any(|a| a == "--bench") => return ExitCode::SUCCESS,
        _ => {}
    }
    let done = Options::parse(&args).and_then(|options| match options.mode {
        Mode::Measure => bench(&options),
        Mode::Check => check(&options),
    });
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::from(2)
        }
    }
}

fn bench(options: &Options) -> Result<bool, Fault> {
    let machine = Machine::look()?;
    println!("{}{}", machine.line(), if options.quick { "; smaller counts" } else { "" });
    let mut layers = Vec::new();
    for layer in &options.layers {
        let measured = measure(*layer, options, &machine);
        print!("{}", measured.table());
        layers.push(measured);
    }
    let report = Report::new(options.quick, machine, layers);
    if let Some(file) = &options.json {
        let mut text = serde_json::to_string_pretty(&report)?;
        text.push('\n');
        std::fs::write(file, text)?;
    }
    Ok(report.passed())
}

fn measure(layer: Layer, options: &Options, machine: &Machine) -> LayerReport {
    let mut measured = LayerReport::new(layer);
    for scenario in &options.scenarios {
        if let Some(why) = machine.lacks(scenario.needs).or_else(|| scenario.lacks(layer)) {
            measured.skipped.push(Skipped { scenario: scenario.name, why });
            continue;
        }
        let outcome = match stage::perform(scenario, layer, options.quick, options.keep) {
            Ok(outcome) => outcome,
            Err(e) => {
                measured.scenarios.push(Row::not_measured(scenario.name, &e));
                continue;
            }
        };
        let active = |part: &str| outcome.document["layers"][part] == true;
        if layer == Layer::Gate && !active("gate") {
            measured.absent = Some("the gate is not active on this machine (see `supervise doctor`)");
            return measured;
        }
        if layer == Layer::Watch && active("gate") {
            measured.absent = Some("the gate could not be switched off");
            return measured;
        }
        if !active("watch") {
            measured.degraded = Some("the watch was not active: what is known comes from comparison alone");
        }
        let row = judge::judge(scenario.name, layer, &outcome);
        if options.verbose {
            eprintln!("== {}\n{}{}", scenario.name, outcome.progress, row.notes.join("\n"));
        }
        measured.scenarios.push(row);
    }
    measured
}

fn check(options: &Options) -> Result<bool, Fault> {
    let machine = Machine::look()?;
    println!("{:<20} {:>8} {:>8}", "writers alone", "deeds", "paths");
    let mut misjudged = judge_check::check();
    misjudged.extend(judge_check::check_workspace(machine.lacks(Need::UserAttributes).is_none())?);
    let mut sound = misjudged.is_empty();
    for line in &misjudged {
        println!("judged wrongly: {line}");
    }
    for scenario in &options.scenarios {
        if let Some(why) = machine.lacks(scenario.needs) {
            println!("{:<20} not on this machine: {why}", scenario.name);
            continue;
        }
        match check::check(scenario, options.quick) {
            Ok(done) => println!("{:<20} {:>8} {:>8}  {}", scenario.name, done.deeds, done.paths, scenario.about),
            Err(e) => {
                sound = false;
                println!("{:<20} BROKEN: {e}", scenario.name);
            }
        }
    }
    Ok(sound)
}
