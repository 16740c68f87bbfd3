//! Tests that run again inside of something: in namespaces of their own, as another user, in a process
//! that is to be killed.
//!
//! Invariant: a run inside that is not of exactly the test that was named is a failure, and so is one
//! that ran nothing. Where the machine refuses what is to be around it, that is said.

use std::any::type_name;
use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

/// Names, to the run inside, the test that it is of.
const INSIDE: &str = "SUPERVISE_TEST_INSIDE";

/// The user and group `nobody` of every Linux, and no others.
const AS_NOBODY: [&str; 4] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

/// Is this the run of `test` inside? Then it does its work; else it runs itself there, and is done.
/// `around` are the words of a command that takes another one, say `unshare -r`.
#[must_use]
pub(crate) fn inside<T: Fn() + Copy>(around: &[&str], test: T) -> bool {
    if is_inside(test) {
        return true;
    }
    if behind(around, "true").output().is_ok_and(|output| output.status.success()) {
        let output = command(around, test).output().unwrap();
        assert!(shown(&output).contains("1 passed") && output.status.success());
    } else {
        not_tried("refuses", around);
    }
    false
}

/// Is this the run of `test` that [`command`] began?
#[must_use]
pub(crate) fn is_inside<T: Fn() + Copy>(test: T) -> bool {
    std::env::var(INSIDE).is_ok_and(|name| name == name_of(test))
}

/// Runs `test` alone, in another process behind the words of `around`.
pub(crate) fn command<T: Fn() + Copy>(around: &[&str], test: T) -> Command {
    let name = name_of(test);
    let mut command = behind(around, std::env::current_exe().unwrap());
    command.args(["--exact", name, "--nocapture"]).env(INSIDE, name);
    command
}

/// Runs all tests of this program as an ordinary user, where root runs them. What is to be reached by that
/// user is copied: this program, and those that the tests find by a variable.
pub(crate) fn all_as_nobody(named: &[(&str, &Path)]) {
    if !rustix::process::getuid().is_root() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let open = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let copy = |from: &Path| {
        let to = directory.path().join(from.file_name().unwrap());
        fs::copy(from, &to).unwrap();
        to
    };
    let scratch = directory.path().join("scratch");
    fs::create_dir(&scratch).unwrap();
    open(directory.path(), 0o755);
    open(&scratch, 0o777);
    let mut command = behind(&AS_NOBODY, copy(&std::env::current_exe().unwrap()));
    command.args(["--nocapture", "--test-threads=2"]);
    command.envs(named.iter().map(|(variable, program)| (variable, copy(program))));
    let Ok(output) = command.env("TMPDIR", &scratch).current_dir("/").output() else {
        return not_tried("lacks", &AS_NOBODY[..1]);
    };
    shown(&output);
    assert!(output.status.success());
}

/// A command that is `program`, behind the words of `around`.
fn behind(around: &[&str], program: impl AsRef<OsStr>) -> Command {
    let mut words = around.iter().map(OsStr::new).chain([program.as_ref()]);
    let mut command = Command::new(words.next().unwrap());
    command.args(words);
    command
}

/// The name of a test as the harness has it: its path within the program.
fn name_of<T: Fn() + Copy>(_: T) -> &'static str {
    type_name::<T>().split_once("::").unwrap().1
}

/// What was said inside, said here too.
fn shown(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    eprintln!("{text}");
    text.into_owned()
}

/// Past the test harness, which hides what tests that pass say.
fn not_tried(what: &str, words: &[&str]) {
    let _ = writeln!(std::io::stderr(), "not tried, the machine {what} it: {}", words.join(" "));
}
