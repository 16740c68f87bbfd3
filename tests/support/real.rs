//! Tests of real programs run where an environment variable names one, and say so where they don't.

use std::io::Write;
use std::path::PathBuf;

/// The program that the variable names; without it, a line says that `test` was not run.
pub(crate) fn real_program(variable: &str, test: &str) -> Option<PathBuf> {
    let named = std::env::var_os(variable).filter(|value| !value.is_empty());
    if named.is_none() {
        // Past the test harness, which hides the output of tests that pass.
        let line = format!("{test}: NOT RUN, {variable} is not set\n");
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
    named.map(PathBuf::from)
}
