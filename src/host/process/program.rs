//! Finding the program of a command, as execvp(3) would, but with an answer that says what is wrong.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::SpawnError;

/// What execvp(3) takes where there is no PATH.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// The file to execute, as an absolute path or one relative to `cwd` made so.
pub(super) fn find(program: &Path, path: Option<&OsStr>, cwd: &Path) -> Result<PathBuf, SpawnError> {
    if program.as_os_str().is_empty() {
        return Err(SpawnError::NoCommand);
    }
    if program.as_os_str().as_encoded_bytes().contains(&b'/') {
        let file = cwd.join(program);
        return match check(&file) {
            Found::Executable => Ok(file),
            Found::Other => Err(SpawnError::NotExecutable { program: file }),
            Found::Nothing => Err(SpawnError::NoProgram { program: file }),
        };
    }
    let path = path.unwrap_or(DEFAULT_PATH.as_ref());
    let mut refused = None;
    // An empty entry means the current directory, and so does joining it.
    for directory in std::env::split_paths(path) {
        let file = cwd.join(directory).join(program);
        match check(&file) {
            Found::Executable => return Ok(file),
            Found::Other => refused = refused.or(Some(file)),
            Found::Nothing => {}
        }
    }
    Err(match refused {
        Some(program) => SpawnError::NotExecutable { program },
        None => SpawnError::NotInPath { program: program.into(), path: path.into() },
    })
}

enum Found {
    Executable,
    Other,
    Nothing,
}

fn check(file: &Path) -> Found {
    match file.metadata() {
        Ok(metadata) if metadata.is_file() && access(file, Access::EXEC_OK).is_ok() => Found::Executable,
        Ok(_) => Found::Other,
        Err(_) => Found::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn programs_are_found_as_a_shell_finds_them() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        for (name, mode) in [("a/tool", 0o644), ("b/tool", 0o755), ("a/plain", 0o644), ("here", 0o755)] {
            fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
            fs::write(root.join(name), "").unwrap();
            fs::set_permissions(root.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        fs::create_dir(root.join("a/dir")).unwrap();
        let path = format!("{0}/none:{0}/a:{0}/b", root.display());
        let find = |program: &str, path: &str| find(Path::new(program), Some(path.as_ref()), root);

        assert_eq!(find("tool", &path).unwrap(), root.join("b/tool"));
        assert_eq!(find("./here", &path).unwrap(), root.join("./here"));
        assert_eq!(find("here", "").unwrap(), root.join("here"));
        assert_eq!(find("tool", "b").unwrap(), root.join("b/tool"));
        assert!(
            matches!(find("plain", &path), Err(SpawnError::NotExecutable { program }) if program == root.join("a/plain"))
        );
        assert!(matches!(find("dir", &path), Err(SpawnError::NotExecutable { .. })));
        assert!(matches!(find("nothing", &path), Err(SpawnError::NotInPath { .. })));
        assert!(matches!(find("./nothing", &path), Err(SpawnError::NoProgram { .. })));
        assert!(matches!(find("a/tool", &path), Err(SpawnError::NotExecutable { .. })));
        assert!(matches!(find("", &path), Err(SpawnError::NoCommand)));
    }
}
