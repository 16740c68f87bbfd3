//! The binary: hands over to the library and ends with its exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    // First of all, so that a shim stays small: nothing else of the program is touched.
    let argument = std::env::args_os().nth(1);
    if argument.as_ref().is_some_and(|argument| argument == supervise::shim::ARGUMENT) {
        return supervise::shim::main();
    }
    if argument.as_ref().is_some_and(|argument| argument == supervise::shim::server::ARGUMENT) {
        return supervise::shim::server::main();
    }
    if argument.is_some_and(|argument| argument == supervise::host::gate::ARGUMENT) {
        return supervise::host::gate::child();
    }
    supervise::cli::main()
}
