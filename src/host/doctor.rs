//! What this machine and this repository allow.
//!
//! Invariant: looks, and leaves nothing changed. Every question has an answer in bounded time, and what
//! could not be found out counts as missing, with the way to get it.
//!
//! Deliberately absent: how the answers are printed (`cli`).

use std::env;
use std::fs;
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::cgroup::{self, CgroupUnavailable};
use super::gate::{self, GateProbe};
use crate::runner::{codex_program, find_program};

/// How long a program may take to tell its version.
const VERSION_WAIT: Duration = Duration::from_secs(5);
/// The most that is read of such an answer.
const VERSION_BYTES: u64 = 4096;
/// pidfd_open(2), by which signals reach exactly the process they are meant for.
const KERNEL_NEEDED: (u32, u32) = (5, 3);
/// Files that each running agent costs the supervisor, with room.
const FILES_NEEDED: u64 = 256;

/// One question and its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// A stable word for programs.
    pub check: &'static str,
    /// For people.
    pub title: &'static str,
    pub verdict: Verdict,
    pub found: String,
    /// How to get it, where it is missing.
    pub help: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Ok,
    /// Not there, and nothing works without it.
    Missing,
    /// Not there; some sessions do without it.
    Absent,
}

/// Everything, in the order in which it is worth reading. `directory` is where the repository is
/// looked for.
#[must_use]
pub fn examine(directory: &Path) -> Vec<Finding> {
    let path = env::var_os("PATH");
    let home = env::var_os("HOME").map(PathBuf::from);
    let codex_home =
        env::var_os("CODEX_HOME").map(PathBuf::from).or_else(|| home.as_ref().map(|home| home.join(".codex")));
    let program = |name: &str| find_program(name, path.as_deref(), directory);

    let mut findings = vec![
        kernel(&proc_text("sys/kernel/osrelease").unwrap_or_default()),
        match program("git") {
            Ok(git) => version("git", "git", &git),
            Err(error) => missing("git", "git", error.to_string(), "install git with the system's package manager"),
        },
        ok("libgit2", "libgit2", libgit2_version()),
    ];
    findings.extend(repository(directory));
    findings.push(gate(&gate::probe(Path::new(super::process::OWN_BINARY), &env::temp_dir())));
    findings.push(open_files());
    findings.push(processes());
    findings.push(user_namespaces(
        proc_text("sys/user/max_user_namespaces").as_deref(),
        proc_text("sys/kernel/unprivileged_userns_clone").as_deref(),
        proc_text("sys/kernel/apparmor_restrict_unprivileged_userns").as_deref(),
    ));
    findings.push(delegation(cgroup::probe()));
    findings.push(inotify(
        proc_text("sys/fs/inotify/max_user_watches").as_deref(),
        proc_text("sys/fs/inotify/max_user_instances").as_deref(),
    ));
    findings.push(match program("codex") {
        Ok(entry) => version("codex", "codex", &codex_program(&entry)),
        Err(error) => absent("codex", "codex", "not found".to_owned(), &hint(error.hint)),
    });
    findings.push(codex_login(codex_home.as_deref()));
    findings.push(build_daemons(|name| program(name).is_ok()));
    findings.push(match program("claude") {
        Ok(entry) => version("claude", "claude", &entry),
        Err(error) => absent("claude", "claude", "not found".to_owned(), &hint(error.hint)),
    });
    findings
}

fn hint(hint: Option<&'static str>) -> String {
    hint.unwrap_or("put it on the PATH").to_owned()
}

fn ok(check: &'static str, title: &'static str, found: String) -> Finding {
    Finding { check, title, verdict: Verdict::Ok, found, help: None }
}

fn missing(check: &'static str, title: &'static str, found: String, help: &str) -> Finding {
    Finding { check, title, verdict: Verdict::Missing, found, help: Some(help.to_owned()) }
}

fn absent(check: &'static str, title: &'static str, found: String, help: &str) -> Finding {
    Finding { check, title, verdict: Verdict::Absent, found, help: Some(help.to_owned()) }
}

fn proc_text(name: &str) -> Option<String> {
    fs::read_to_string(Path::new("/proc").join(name)).ok().map(|text| text.trim().to_owned())
}

fn kernel(release: &str) -> Finding {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|n| n.parse::<u32>().ok());
    let found = numbers.next().zip(numbers.next());
    let (major, minor) = KERNEL_NEEDED;
    if found >= Some(KERNEL_NEEDED) {
        ok("kernel", "Linux", release.to_owned())
    } else {
        let help = format!("Linux {major}.{minor} or later is needed");
        missing("kernel", "Linux", if release.is_empty() { "unknown".to_owned() } else { release.to_owned() }, &help)
    }
}

fn libgit2_version() -> String {
    let (major, minor, patch) = git2::Version::get().libgit2_version();
    format!("{major}.{minor}.{patch}, built in")
}

/// The repository, and who would commit to it.
fn repository(directory: &Path) -> Vec<Finding> {
    const TITLE: &str = "repository";
    let repository = match git2::Repository::discover(directory) {
        Ok(repository) => repository,
        Err(error) if error.code() == git2::ErrorCode::NotFound => {
            let found = format!("none at {}", directory.display());
            return vec![missing("repository", TITLE, found, "go to one or name it with -C DIR; `git init` makes one")];
        }
        Err(error) if error.code() == git2::ErrorCode::Owner => {
            let help = format!("git config --global --add safe.directory {}", directory.display());
            return vec![missing("repository", TITLE, "it belongs to another user".to_owned(), &help)];
        }
        // sha256, reftable and the like
        Err(error) => {
            return vec![ok("repository", TITLE, format!("git is used for all of it; libgit2: {}", error.message()))];
        }
    };
    let place = if let Some(root) = repository.workdir() {
        ok("repository", TITLE, root.display().to_string())
    } else {
        let found = format!("{} is bare", repository.path().display());
        missing("repository", TITLE, found, "agents need a working tree: clone it, or add one with `git worktree`")
    };
    let identity = match repository.signature() {
        Ok(who) => {
            let who = (String::from_utf8_lossy(who.name_bytes()), String::from_utf8_lossy(who.email_bytes()));
            ok("identity", "commits as", format!("{} <{}>", who.0, who.1))
        }
        Err(_) => missing(
            "identity",
            "commits as",
            "git does not know who commits".to_owned(),
            "git config --global user.name NAME; git config --global user.email MAIL",
        ),
    };
    vec![place, identity]
}

fn open_files() -> Finding {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return absent("open_files", "open files", "unknown".to_owned(), "ulimit -n shows the limit");
    };
    let found = format!("{} (at most {})", number(soft), number(hard));
    if soft >= FILES_NEEDED {
        ok("open_files", "open files", found)
    } else {
        missing("open_files", "open files", found, &format!("ulimit -n {}", hard.min(4096)))
    }
}

fn processes() -> Finding {
    match getrlimit(Resource::RLIMIT_NPROC) {
        Ok((soft, hard)) => ok("processes", "processes", format!("{} (at most {})", number(soft), number(hard))),
        Err(_) => absent("processes", "processes", "unknown".to_owned(), "ulimit -u shows the limit"),
    }
}

fn number(limit: u64) -> String {
    if limit == nix::libc::RLIM_INFINITY { "no limit".to_owned() } else { limit.to_string() }
}

/// What codex's own sandbox (bubblewrap) needs: user_namespaces(7), and the switches of Debian and
/// of Ubuntu's AppArmor.
fn user_namespaces(max: Option<&str>, clone: Option<&str>, apparmor: Option<&str>) -> Finding {
    const CHECK: &str = "user_namespaces";
    const TITLE: &str = "user namespaces";
    let refused = |what: &str, how: &str| {
        let help = format!("codex's workspace-write sandbox needs them: sudo sysctl {how}");
        absent(CHECK, TITLE, what.to_owned(), &help)
    };
    match (max.and_then(|max| max.parse::<u64>().ok()), clone, apparmor) {
        (None, ..) => {
            absent(CHECK, TITLE, "not in this kernel".to_owned(), "codex's workspace-write sandbox needs them")
        }
        (Some(0), ..) => refused("max_user_namespaces is 0", "user.max_user_namespaces=15000"),
        (_, Some("0"), _) => refused("only for root", "kernel.unprivileged_userns_clone=1"),
        (_, _, Some("1")) => refused(
            "restricted by AppArmor; codex needs a profile that allows them",
            "kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        (Some(max), ..) => ok(CHECK, TITLE, format!("at most {max}")),
    }
}

/// What the gate's self-test gave, and what that promises.
fn gate(probe: &GateProbe) -> Finding {
    const CHECK: &str = "gate";
    const TITLE: &str = "gate";
    match probe {
        Ok(active) => {
            let mut found = "active: writes are decided before they land, their writer is certain".to_owned();
            if !active.user_namespace {
                found.push_str("; tried without a user namespace, which this user cannot have");
            }
            if !active.sync_wake {
                found.push_str("; slower than with Linux 6.6 or later");
            }
            ok(CHECK, TITLE, found)
        }
        Err(error) => {
            let why = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
            let help = "Linux 5.9 or later, and a container or service that allows seccomp; without it who changed what is \
                        inferred from the claims";
            absent(CHECK, TITLE, format!("not active: {error}{why}"), help)
        }
    }
}

/// The watch needs one instance a run, and one watch for each directory that git does not ignore.
fn inotify(watches: Option<&str>, instances: Option<&str>) -> Finding {
    const TITLE: &str = "watch";
    match (watches, instances) {
        (Some(watches), Some(instances)) => {
            let found =
                format!("inotify: edits from outside are seen; at most {watches} directories, {instances} instances");
            ok("inotify", TITLE, found)
        }
        _ => absent("inotify", TITLE, "no inotify in this kernel".to_owned(), "CONFIG_INOTIFY_USER"),
    }
}

/// Can this process make control groups below its own (cgroups(7), "delegation")?
fn delegation(probed: Result<PathBuf, CgroupUnavailable>) -> Finding {
    const HELP: &str = "systemd-run --user --scope -p Delegate=yes supervise …; without it every process of an agent is \
                        still ended, one by one";
    match probed {
        Ok(own) => ok("cgroup", "cgroup v2", format!("delegated: {}", own.display())),
        Err(error) => absent("cgroup", "cgroup v2", error.to_string(), HELP),
    }
}

/// Programs that keep a daemon for all who build, and how to do without it: what it writes is in no agent's tree.
const BUILD_DAEMONS: [(&str, &str); 9] = [
    ("bazel", "`startup --batch` in .bazelrc"),
    ("bazelisk", "`startup --batch` in .bazelrc"),
    ("buck2", "`buck2 kill` before a run"),
    ("dotnet", "`dotnet build-server shutdown` before a run"),
    ("mvnd", "mvn"),
    ("pants", "PANTS_PANTSD=false"),
    ("sccache", "no RUSTC_WRAPPER"),
    ("turbo", "`\"daemon\": false` in turbo.json"),
    ("watchman", "no watchman in agents' tools"),
];

/// Those of gradle and nx are switched off in agents' environments.
fn build_daemons(there: impl Fn(&str) -> bool) -> Finding {
    const CHECK: &str = "build_daemons";
    const TITLE: &str = "build daemons";
    const OFF: &str = "gradle's and nx's are switched off for agents";
    let found: Vec<_> = BUILD_DAEMONS.into_iter().filter(|(name, _)| there(name)).collect();
    if found.is_empty() {
        return ok(CHECK, TITLE, format!("none that agents would share; {OFF}"));
    }
    let names: Vec<&str> = found.iter().map(|(name, _)| *name).collect();
    let mut ways: Vec<&str> = found.iter().map(|(_, way)| *way).collect();
    ways.dedup();
    let help = format!("what a shared daemon writes is nobody's: {}", ways.join(", "));
    absent(CHECK, TITLE, format!("shared ones may run: {}; {OFF}", names.join(", ")), &help)
}

/// Only whether a login is there; its file is not opened.
fn codex_login(home: Option<&Path>) -> Finding {
    const TITLE: &str = "codex login";
    match home {
        Some(home) if home.join("auth.json").is_file() => ok("codex_login", TITLE, "found".to_owned()),
        _ => absent("codex_login", TITLE, "not found".to_owned(), "codex login (or a provider with a key of its own)"),
    }
}

/// What a program says to `--version`.
fn version(check: &'static str, title: &'static str, program: &Path) -> Finding {
    match first_line(program) {
        Some(line) => ok(check, title, format!("{line}, {}", program.display())),
        None => absent(
            check,
            title,
            format!("{} does not tell its version", program.display()),
            "see what it says to --version",
        ),
    }
}

/// The first line that `program --version` prints within [`VERSION_WAIT`].
fn first_line(program: &Path) -> Option<String> {
    let mut child = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .ok()?;
    let group = i32::try_from(child.id()).ok().map(Pid::from_raw)?;
    let output = child.stdout.take()?;
    let (said, hear) = mpsc::channel();
    std::thread::spawn(move || {
        let mut text = Vec::new();
        let read = output.take(VERSION_BYTES).read_to_end(&mut text);
        // Nobody listens any more after the wait.
        let _ = said.send(read.map(|_| text));
    });
    let text = hear.recv_timeout(VERSION_WAIT).ok().and_then(Result::ok);
    // It has said what it had to say, or has had its time. It was not waited for yet, so the group's
    // number is still its own.
    let _ = killpg(group, Signal::SIGKILL);
    let _ = child.wait();
    let text = String::from_utf8_lossy(&text?).lines().next().map(|line| line.trim().to_owned())?;
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::gate::{ActiveGate, GateUnavailable};

    fn check(finding: &Finding, verdict: Verdict, found: &str) {
        assert_eq!((finding.verdict, finding.found.as_str()), (verdict, found));
        assert_eq!(finding.help.is_some(), verdict != Verdict::Ok);
    }

    #[test]
    fn kernels() {
        check(&kernel("6.18.0-14-generic"), Verdict::Ok, "6.18.0-14-generic");
        check(&kernel("5.3"), Verdict::Ok, "5.3");
        check(&kernel("5.2.99"), Verdict::Missing, "5.2.99");
        check(&kernel("4.19.0"), Verdict::Missing, "4.19.0");
        check(&kernel(""), Verdict::Missing, "unknown");
    }

    #[test]
    fn namespaces() {
        check(&user_namespaces(Some("62000"), None, None), Verdict::Ok, "at most 62000");
        check(&user_namespaces(Some("62000"), Some("1"), Some("0")), Verdict::Ok, "at most 62000");
        check(&user_namespaces(None, None, None), Verdict::Absent, "not in this kernel");
        check(&user_namespaces(Some("0"), None, None), Verdict::Absent, "max_user_namespaces is 0");
        check(&user_namespaces(Some("9"), Some("0"), None), Verdict::Absent, "only for root");
        let restricted = "restricted by AppArmor; codex needs a profile that allows them";
        check(&user_namespaces(Some("9"), Some("1"), Some("1")), Verdict::Absent, restricted);
    }

    #[test]
    fn kernel_features() {
        let active = ActiveGate { user_namespace: true, wait_killable: true, sync_wake: true };
        let found = "active: writes are decided before they land, their writer is certain";
        check(&gate(&Ok(active)), Verdict::Ok, found);
        let refused = GateUnavailable::Kernel(std::io::Error::from_raw_os_error(nix::libc::EINVAL));
        let finding = gate(&Err(refused));
        assert_eq!(finding.verdict, Verdict::Absent);
        assert!(finding.found.contains("5.9") && finding.found.contains("Invalid argument"), "{}", finding.found);
        let found = "inotify: edits from outside are seen; at most 8192 directories, 128 instances";
        check(&inotify(Some("8192"), Some("128")), Verdict::Ok, found);
    }

    #[test]
    fn daemons_that_agents_would_share_are_named() {
        let off = "gradle's and nx's are switched off for agents";
        check(&build_daemons(|_| false), Verdict::Ok, &format!("none that agents would share; {off}"));
        let finding = build_daemons(|name| ["bazel", "bazelisk", "sccache"].contains(&name));
        check(&finding, Verdict::Absent, &format!("shared ones may run: bazel, bazelisk, sccache; {off}"));
        let help = "what a shared daemon writes is nobody's: `startup --batch` in .bazelrc, no RUSTC_WRAPPER";
        assert_eq!(finding.help.as_deref(), Some(help));
    }

    #[test]
    fn control_groups() {
        check(&delegation(Ok(PathBuf::from("/sys/fs/cgroup/x"))), Verdict::Ok, "delegated: /sys/fs/cgroup/x");
        let error = CgroupUnavailable::NotMounted;
        check(&delegation(Err(error)), Verdict::Absent, "no cgroup v2 file system is mounted");
    }

    #[test]
    fn a_login_is_only_looked_for() {
        let home = tempfile::tempdir().unwrap();
        check(&codex_login(None), Verdict::Absent, "not found");
        check(&codex_login(Some(home.path())), Verdict::Absent, "not found");
        fs::write(home.path().join("auth.json"), "").unwrap();
        check(&codex_login(Some(home.path())), Verdict::Ok, "found");
    }

    #[test]
    fn repositories_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let bare = dir.path().join("bare");
        git2::Repository::init_bare(&bare).unwrap();
        assert_eq!(repository(&bare)[0].verdict, Verdict::Missing);
        let tree = dir.path().join("tree");
        git2::Repository::init(&tree).unwrap();
        fs::create_dir(tree.join("sub")).unwrap();
        assert_eq!(repository(&tree.join("sub"))[0].verdict, Verdict::Ok);
        assert_eq!(repository(&dir.path().join("missing"))[0].verdict, Verdict::Missing);
    }

    #[test]
    fn versions_are_read_within_bounds() {
        let dir = tempfile::tempdir().unwrap();
        let script = |name: &str, body: &str| {
            use std::os::unix::fs::PermissionsExt as _;
            let file = dir.path().join(name);
            fs::write(&file, format!("#!/bin/sh\n{body}\n")).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
            file
        };
        assert_eq!(first_line(&script("one", "echo tool 1.2; echo more")).as_deref(), Some("tool 1.2"));
        assert_eq!(first_line(&script("quiet", "exit 1")), None);
        assert_eq!(first_line(&script("endless", "exec yes tool")).as_deref(), Some("tool"));
        assert_eq!(first_line(&dir.path().join("none")), None);
    }
}
