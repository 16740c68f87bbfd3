//! What a writer lets a child do: `step NAME PATH…` of this program. The child ends with the error
//! number of what it tried, 0 if it was done.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::mount::MsFlags;
use nix::sched::CloneFlags;

use crate::desk::{pause, process_state, wait_for, write_whole};

/// What a child ends with if it failed before it came to its write: no error number is so large.
const NOT_TRIED: u8 = 255;

/// How long a daemon waits after its parent has ended.
const LATE: Duration = Duration::from_millis(300);

/// Starts a child, and waits for what came of it.
pub(crate) fn run(step: &str, paths: &[&Path], out: Stdio) -> io::Result<()> {
    let status = command(step, paths)?.stdout(out).status()?;
    match status.code() {
        Some(0) => Ok(()),
        Some(code) if code != i32::from(NOT_TRIED) => Err(io::Error::from_raw_os_error(code)),
        _ => Err(io::Error::other(format!("step {step}: {status}"))),
    }
}

fn command(step: &str, paths: &[&Path]) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["step", step]).args(paths).stdin(Stdio::null());
    Ok(command)
}

/// The child.
pub(crate) fn main(step: &str, rest: &[OsString]) -> u8 {
    let paths: Vec<PathBuf> = rest.iter().map(PathBuf::from).collect();
    match perform(step, &paths) {
        Ok(done) => errno(&done),
        Err(e) => {
            // Standard output may be the file that is written.
            let _ = writeln!(io::stderr(), "step {step}: {e}");
            NOT_TRIED
        }
    }
}

fn errno(done: &io::Result<()>) -> u8 {
    match done {
        Ok(()) => 0,
        Err(e) => e.raw_os_error().and_then(|n| u8::try_from(n).ok()).unwrap_or(NOT_TRIED),
    }
}

/// Outside: could it be tried? Inside: was it done?
fn perform(step: &str, paths: &[PathBuf]) -> io::Result<io::Result<()>> {
    match (step, paths) {
        ("put", [path]) => Ok(put(path)),
        ("emit", []) => {
            Ok(io::stdout().write_all(b"through a descriptor of its parent\n").and_then(|()| io::stdout().flush()))
        }
        ("namespaced", [path]) => {
            enter_namespace(CloneFlags::CLONE_NEWUSER)?;
            Ok(put(path))
        }
        ("bound", [elsewhere, path]) => {
            enter_namespace(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)?;
            let (dir, name) = path.parent().zip(path.file_name()).ok_or(io::ErrorKind::InvalidInput)?;
            nix::mount::mount(Some(dir), elsewhere, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
            Ok(put(&elsewhere.join(name)))
        }
        ("chrooted", [root, path]) => {
            let inside = path.strip_prefix(root).map_err(io::Error::other)?;
            let inside = Path::new("/").join(inside);
            enter_namespace(CloneFlags::CLONE_NEWUSER)?;
            nix::unistd::chroot(root)?;
            std::env::set_current_dir("/")?;
            Ok(put(&inside))
        }
        // Three of them: the first is waited for, the second leads a session and ends, the third writes.
        ("detach", [result, path]) => {
            nix::unistd::setsid()?;
            let me = std::process::id().to_string();
            command("late", &[Path::new(&me), result, path])?.stdout(Stdio::null()).spawn()?;
            Ok(Ok(()))
        }
        ("late", [parent, result, path]) => {
            let parent = String::from_utf8_lossy(parent.as_os_str().as_bytes()).into_owned();
            wait_for(|| matches!(process_state(&parent), None | Some('Z' | 'X')))?;
            pause(LATE);
            let done = put(path);
            write_whole(result, &errno(&done).to_string())?;
            Ok(done)
        }
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

fn put(path: &Path) -> io::Result<()> {
    fs::write(path, "by a child\n")
}

/// A user namespace in which this user is root (user_namespaces(7)).
pub(crate) fn enter_namespace(flags: CloneFlags) -> io::Result<()> {
    let (uid, gid) = (nix::unistd::getuid(), nix::unistd::getgid());
    nix::sched::unshare(flags)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1"))
}
