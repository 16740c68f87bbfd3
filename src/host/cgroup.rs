//! Whether this process may make cgroups (version 2) below its own, and where.
//!
//! Invariant: nothing is left behind by looking.
//! Deliberately absent: using one; the shim makes, enters, kills and removes its own.
//!
//! Source: cgroups(7), and the kernel's `admin-guide/cgroup-v2`, "Delegation".

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

/// Why trees cannot have cgroups of their own.
#[derive(Debug, thiserror::Error)]
pub enum CgroupUnavailable {
    #[error("cannot read `{path}`")]
    Proc { path: &'static str, source: io::Error },
    #[error("no cgroup v2 file system is mounted")]
    NotMounted,
    #[error("this process is in no cgroup v2")]
    NotListed,
    #[error("the own cgroup `{}` is outside of what is mounted here", .own.display())]
    Hidden { own: PathBuf },
    #[error("`{}` is not delegated to this user", .path.display())]
    NotDelegated { path: PathBuf, source: io::Error },
    #[error("the kernel has no `cgroup.kill` (5.14 and later have)")]
    NoKill,
}

/// The directory in which cgroups for trees can be made: this process's own cgroup.
pub fn probe() -> Result<PathBuf, CgroupUnavailable> {
    let read = |path| fs::read(path).map_err(|source| CgroupUnavailable::Proc { path, source });
    let home = locate(&read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?)?;
    try_out(&home)?;
    Ok(home)
}

fn try_out(home: &Path) -> Result<(), CgroupUnavailable> {
    let refused = |source| CgroupUnavailable::NotDelegated { path: home.to_owned(), source };
    // To move a process one must be able to write where it comes from and where it goes.
    access(home.join("cgroup.procs"), Access::WRITE_OK).map_err(|error| refused(error.into()))?;
    let probe = home.join(format!("supervise-probe-{}", std::process::id()));
    fs::create_dir(&probe).map_err(refused)?;
    let killable = probe.join("cgroup.kill").exists();
    fs::remove_dir(&probe).map_err(refused)?;
    if killable { Ok(()) } else { Err(CgroupUnavailable::NoKill) }
}

/// Finds the own cgroup in the file system, from the text of `/proc/self/mountinfo` and
/// `/proc/self/cgroup`.
fn locate(mounts: &[u8], cgroups: &[u8]) -> Result<PathBuf, CgroupUnavailable> {
    let lines = |text| <[u8]>::split(text, |byte| *byte == b'\n');
    let own = lines(cgroups).find_map(|line| line.strip_prefix(b"0::")).ok_or(CgroupUnavailable::NotListed)?;
    let own = Path::new(std::ffi::OsStr::from_bytes(own));
    let mut mounted = false;
    for (root, point) in lines(mounts).filter_map(cgroup2_mount) {
        mounted = true;
        if let Ok(below) = own.strip_prefix(&root) {
            return Ok(if below.as_os_str().is_empty() { point } else { point.join(below) });
        }
    }
    Err(if mounted { CgroupUnavailable::Hidden { own: own.into() } } else { CgroupUnavailable::NotMounted })
}

/// Root and mount point of a line of proc_pid_mountinfo(5), if it is a cgroup v2 mount.
fn cgroup2_mount(line: &[u8]) -> Option<(PathBuf, PathBuf)> {
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    // Optional fields end with a lone dash; the type of the file system follows.
    let dash = fields.iter().position(|field| *field == b"-")?;
    (*fields.get(dash + 1)? == b"cgroup2").then_some(())?;
    Some((unescape(fields.get(3)?), unescape(fields.get(4)?)))
}

/// Undoes the octal escapes of blanks and backslashes.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(byte) = octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            bytes.push(byte);
            rest = &after[3..];
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    PathBuf::from(std::ffi::OsStr::from_bytes(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw\n\
        32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
        41 31 0:38 /user.slice /mnt/a\\040b rw,relatime shared:4 - cgroup2 cgroup2 rw\n";

    fn check(mounts: &str, cgroups: &str, expected: Result<&str, &str>) {
        let found = locate(mounts.as_bytes(), cgroups.as_bytes()).map_err(|error| error.to_string());
        assert_eq!(found, expected.map(PathBuf::from).map_err(String::from));
    }

    #[test]
    fn the_own_cgroup_is_located() {
        check(MOUNTS, "8:pids:/\n0::/user.slice/a\n", Ok("/mnt/a b/a"));
        check(MOUNTS, "0::/user.slice\n", Ok("/mnt/a b"));
        check(MOUNTS, "0::/system.slice\n", Err("the own cgroup `/system.slice` is outside of what is mounted here"));
        check(MOUNTS, "8:pids:/\n", Err("this process is in no cgroup v2"));
        check("", "0::/\n", Err("no cgroup v2 file system is mounted"));
    }

    #[test]
    fn a_probe_leaves_nothing_behind() {
        if let Ok(home) = probe() {
            let name = format!("supervise-probe-{}", std::process::id());
            assert!(home.join("cgroup.procs").exists() && !home.join(name).exists());
        }
    }
}
