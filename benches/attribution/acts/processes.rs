//! Ways to write as somebody else: other processes, other threads, other names for the same place.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::fs::{Mode, OFlags};

use super::steps;
use crate::desk::{Desk, Matter, wait_for};

/// Processes that live for about a millisecond: they write, and are gone.
pub(crate) fn short(desk: &mut Desk) -> io::Result<()> {
    for n in 0..desk.size {
        let path = desk.at(&format!("short{n}"));
        desk.content(&[&path], || steps::run("put", &[&path], Stdio::null()))?;
    }
    Ok(())
}

/// setsid(2) and a second fork; it writes 300 ms after its parent has ended, while the agent lives.
pub(crate) fn daemon(desk: &mut Desk) -> io::Result<()> {
    let paths = [desk.at("f0"), desk.at("by-daemon")];
    for (n, path) in paths.iter().enumerate() {
        let result = desk.aside(&format!("daemon{n}"));
        desk.begin(&[path], Matter::Content)?;
        steps::run("detach", &[&result, path], Stdio::null())?;
        let mut errno = None;
        wait_for(|| {
            errno = fs::read_to_string(&result).ok().and_then(|text| text.trim().parse().ok());
            errno.is_some()
        })?;
        desk.record(&[path], Matter::Content, errno.unwrap_or_default())?;
    }
    Ok(())
}

/// Four threads, a file each.
pub(crate) fn threads(desk: &mut Desk) -> io::Result<()> {
    let paths: Vec<PathBuf> = ["f0", "f1", "thread0", "thread1"].map(|name| desk.at(name)).into();
    for path in &paths {
        desk.begin(&[path], Matter::Content)?;
    }
    let done: Vec<io::Result<()>> = std::thread::scope(|scope| {
        let running: Vec<_> = paths.iter().map(|path| scope.spawn(move || fs::write(path, "by a thread\n"))).collect();
        running.into_iter().map(|t| t.join().unwrap_or_else(|_| Err(io::Error::other("a thread panicked")))).collect()
    });
    for (path, done) in paths.iter().zip(done) {
        let errno = done.map_or_else(|e| e.raw_os_error().ok_or(e), |()| Ok(0))?;
        desk.record(&[path], Matter::Content, errno)?;
    }
    Ok(())
}

/// A user namespace of its own; and there a mount namespace in which the area is mounted elsewhere.
pub(crate) fn user_namespace(desk: &mut Desk) -> io::Result<()> {
    let path = desk.at("f0");
    desk.content(&[&path], || steps::run("namespaced", &[&path], Stdio::null()))?;
    let path = desk.at("f1");
    let elsewhere = desk.aside("mount");
    fs::create_dir_all(&elsewhere)?;
    desk.content(&[&path], || steps::run("bound", &[&elsewhere, &path], Stdio::null()))?;
    Ok(())
}

/// A root directory of its own: the workspace.
pub(crate) fn chroot(desk: &mut Desk) -> io::Result<()> {
    let root = desk.root().to_owned();
    for name in ["f0", "by-prisoner"] {
        let path = desk.at(name);
        desk.content(&[&path], || steps::run("chrooted", &[&root, &path], Stdio::null()))?;
    }
    Ok(())
}

/// A descriptor that the parent opened and a child, which execs, writes to.
pub(crate) fn inherited(desk: &mut Desk) -> io::Result<()> {
    for (name, create) in [("f0", false), ("new", true)] {
        let path = desk.at(name);
        desk.content(&[&path], || {
            let file = OpenOptions::new().append(!create).write(create).create_new(create).open(&path)?;
            steps::run("emit", &[], Stdio::from(file))
        })?;
    }
    Ok(())
}

/// Names relative to a descriptor of a directory, also upwards.
pub(crate) fn directory_relative(desk: &mut Desk) -> io::Result<()> {
    let open = |dir: &Path, name: &str| -> io::Result<()> {
        let fd = rustix::fs::openat(File::open(dir)?, name, OFlags::CREATE | OFlags::WRONLY, Mode::from(0o644))?;
        File::from(fd).write_all(b"RELATIVE")
    };
    let dir = desk.at("sub");
    for (file, name) in [("sub/s0", "s0"), ("sub/new", "new"), ("f0", "../f0"), ("sub2/deep/s2", "../sub2/deep/s2")] {
        let path = desk.at(file);
        desk.content(&[&path], || open(&dir, name))?;
    }
    Ok(())
}

/// `/proc/self/fd/N`: as the directory on the way, and as the file itself.
pub(crate) fn by_number(desk: &mut Desk) -> io::Result<()> {
    let number = |fd: i32| PathBuf::from(format!("/proc/self/fd/{fd}"));
    let dir = File::open(desk.at("sub"))?;
    for name in ["s0", "new"] {
        let path = desk.at(&format!("sub/{name}"));
        desk.content(&[&path], || fs::write(number(dir.as_raw_fd()).join(name), "by a number\n"))?;
    }
    let path = desk.at("f0");
    let opened = File::open(&path)?;
    desk.content(&[&path], || fs::write(number(opened.as_raw_fd()), "opened again for writing\n"))?;
    let path = desk.at("f1");
    let place = rustix::fs::open(&path, OFlags::PATH, Mode::empty())?;
    desk.content(&[&path], || {
        OpenOptions::new().append(true).open(number(place.as_raw_fd()))?.write_all(b"by place\n")
    })?;
    Ok(())
}
