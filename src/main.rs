//! The binary: hands over to the library and ends with its exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    // First of all, so that a shim stays small: nothing else of the program is touched.
    if std::env::args_os().nth(1).is_some_and(|argument| argument == supervise::shim::ARGUMENT) {
        return supervise::shim::main();
    }
    supervise::cli::main()
}
