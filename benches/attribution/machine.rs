//! What the machine has, found out by trying.

use std::fs;
use std::path::Path;

use nix::sys::statfs::statfs;
use nix::sys::utsname::uname;
use rustix::fs::XattrFlags;
use serde::Serialize;

use crate::acts::metadata::ATTRIBUTE;
use crate::acts::steps;
use crate::fault::Fault;
use crate::scenario::Need;
use crate::stage::scratch;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    kernel: String,
    architecture: &'static str,
    processors: usize,
    /// The number of statfs(2) for the file system of the scratch repositories, in hexadecimal.
    file_system: String,
    user: u32,
    user_namespaces: bool,
    user_attributes: bool,
}

impl Machine {
    pub(crate) fn look() -> Result<Self, Fault> {
        let dir = tempfile::tempdir_in(scratch())?;
        let name = uname().map_err(std::io::Error::from)?;
        let kind = statfs(dir.path()).map_err(std::io::Error::from)?.filesystem_type();
        Ok(Self {
            kernel: name.release().to_string_lossy().into_owned(),
            architecture: std::env::consts::ARCH,
            processors: std::thread::available_parallelism()?.get(),
            file_system: format!("{:x}", kind.0),
            user: nix::unistd::getuid().as_raw(),
            user_namespaces: namespaces(dir.path()),
            user_attributes: attributes(dir.path()),
        })
    }

    /// Why a scenario cannot be had here; `None`: it can.
    pub(crate) fn lacks(&self, need: Need) -> Option<&'static str> {
        match need {
            Need::Nothing => None,
            Need::UserNamespace => (!self.user_namespaces).then_some("user namespaces are not allowed"),
            Need::UserAttributes => (!self.user_attributes).then_some("the file system has no user attributes"),
        }
    }

    pub(crate) fn line(&self) -> String {
        format!(
            "Linux {} on {}, {} processors, file system {}, user {}",
            self.kernel, self.architecture, self.processors, self.file_system, self.user
        )
    }
}

/// With a bind mount in one, which some machines refuse.
fn namespaces(dir: &Path) -> bool {
    let (elsewhere, file) = (dir.join("elsewhere"), dir.join("file"));
    fs::create_dir(&elsewhere).is_ok() && steps::run("bound", &[&elsewhere, &file], std::process::Stdio::null()).is_ok()
}

fn attributes(dir: &Path) -> bool {
    let file = dir.join("attribute");
    fs::write(&file, "").is_ok() && rustix::fs::setxattr(&file, ATTRIBUTE, b"1", XattrFlags::CREATE).is_ok()
}
