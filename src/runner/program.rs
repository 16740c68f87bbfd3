//! Finding programs: a name on a PATH, and codex's own binary behind its npm entry.
//!
//! Invariant: only looks at what files exist; starts nothing and reads no environment.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// There is no such program.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the program `{name}` was not found{}", .hint.map(|h| format!(": {h}")).unwrap_or_default())]
pub struct NotFound {
    pub name: String,
    /// How to get it, where that is known.
    pub hint: Option<&'static str>,
}

/// The file that `name` stands for: searched on `path` (as execvp(3) does), or, where it has a
/// slash, taken relative to `directory`.
pub fn find_program(name: &str, path: Option<&OsStr>, directory: &Path) -> Result<PathBuf, NotFound> {
    let missing = || NotFound { name: name.escape_debug().to_string(), hint: hint(name) };
    if name.is_empty() || name.contains('\0') {
        return Err(missing());
    }
    if name.contains('/') {
        let file = directory.join(name);
        return if is_program(&file) { Ok(file) } else { Err(missing()) };
    }
    // confstr(3) _CS_PATH, for an environment without PATH
    let path = path.unwrap_or(OsStr::new("/usr/local/bin:/usr/bin:/bin"));
    // An empty entry is the current directory; a program there would be the agents' to replace.
    std::env::split_paths(path)
        .filter(|entry| entry.is_absolute())
        .map(|entry| entry.join(name))
        .find(|file| is_program(file))
        .ok_or_else(missing)
}

fn hint(name: &str) -> Option<&'static str> {
    match Path::new(name).file_name()?.to_str()? {
        "codex" => Some("install it with `npm install -g @openai/codex`, or name it in `[runner.codex] command`"),
        "claude" => {
            Some("install it with `npm install -g @anthropic-ai/claude-code`, or name it in `[runner.claude] command`")
        }
        _ => None,
    }
}

fn is_program(file: &Path) -> bool {
    file.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// The native binary behind `entry`, the `codex` that a PATH gives: npm's entry is a node script,
/// and killing that leaves the binary it started running. `entry` itself where there is none.
#[must_use]
pub fn codex_program(entry: &Path) -> PathBuf {
    native_codex(entry).unwrap_or_else(|| entry.to_path_buf())
}

/// The package `@openai/codex` has its entry in `bin/codex.js`; the binary is in an optional
/// package for the platform, which node looks for in the `node_modules` of each directory upwards,
/// or (earlier releases) in the package itself.
fn native_codex(entry: &Path) -> Option<PathBuf> {
    let (platform, triple) = match std::env::consts::ARCH {
        "x86_64" => ("codex-linux-x64", "x86_64-unknown-linux-musl"),
        "aarch64" => ("codex-linux-arm64", "aarch64-unknown-linux-musl"),
        _ => return None,
    };
    let script = entry.canonicalize().ok()?;
    if script.file_name()? != "codex.js" {
        return None;
    }
    let package = script.parent()?.parent()?;
    let binary = |root: &Path| root.join("vendor").join(triple).join("bin").join("codex");
    let beside = package.ancestors().map(|dir| binary(&dir.join("node_modules").join("@openai").join(platform)));
    beside.chain([binary(package)]).find(|file| is_program(file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn program(file: &Path) {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "#!/bin/sh\n").unwrap();
        fs::set_permissions(file, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// An npm layout: where its entry link, the wrapper package and the platform package lie.
    fn check(layout: &str, link: &str, package: &str, native: Option<&str>) {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let script = root.join(package).join("bin/codex.js");
        program(&script);
        let entry = root.join(link);
        fs::create_dir_all(entry.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(&script, &entry).unwrap();
        let (triple, platform) = match std::env::consts::ARCH {
            "aarch64" => ("aarch64-unknown-linux-musl", "codex-linux-arm64"),
            _ => ("x86_64-unknown-linux-musl", "codex-linux-x64"),
        };
        let native = native.map(|dir| {
            root.join(dir.replace("PLATFORM", platform)).join("vendor").join(triple).join("bin").join("codex")
        });
        if let Some(file) = &native {
            program(file);
        }
        let path = entry.parent().unwrap().as_os_str().to_owned();
        let found = find_program("codex", Some(&path), Path::new("/")).unwrap();
        assert_eq!(codex_program(&found), native.unwrap_or(entry), "{layout}");
    }

    #[test]
    fn codex_is_found_behind_its_npm_entry() {
        let package = "lib/node_modules/@openai/codex";
        check("global, nested", "bin/codex", package, Some(&format!("{package}/node_modules/@openai/PLATFORM")));
        check("global, hoisted", "bin/codex", package, Some("lib/node_modules/@openai/PLATFORM"));
        let local = "app/node_modules/.bin/codex";
        check("local", local, "app/node_modules/@openai/codex", Some("app/node_modules/@openai/PLATFORM"));
        let store = "app/node_modules/.pnpm/@openai+codex@0.169.0/node_modules/@openai";
        check("pnpm", local, &format!("{store}/codex"), Some(&format!("{store}/PLATFORM")));
        check("in the package itself", "bin/codex", package, Some(package));
        check("no binary for this platform", "bin/codex", package, None);
    }

    #[test]
    fn a_codex_that_is_no_npm_entry_is_used_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("codex");
        program(&file);
        assert_eq!(codex_program(&file), file);
    }

    #[test]
    fn programs_are_found_as_execvp_does() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        program(&root.join("b/tool"));
        fs::create_dir_all(root.join("a")).unwrap();
        fs::write(root.join("a/tool"), "not executable").unwrap();
        fs::create_dir_all(root.join("c/tool")).unwrap();
        let path = std::env::join_paths([root.join("a"), root.join("c"), root.join("b")]).unwrap();
        assert_eq!(find_program("tool", Some(&path), root), Ok(root.join("b/tool")));
        assert_eq!(find_program("b/tool", None, root), Ok(root.join("b/tool")));
        assert!(find_program("sh", None, root).is_ok(), "a default PATH");
        for name in ["", "tool2", "a/tool", "c/tool", "x\0y"] {
            assert!(find_program(name, Some(&path), root).is_err(), "{name:?}");
        }
        // A relative entry would let an agent plant programs for the others.
        assert!(find_program("tool", Some(OsStr::new(":b")), root).is_err());
        let error = find_program("codex", Some(OsStr::new("/nowhere")), root).unwrap_err();
        assert!(error.to_string().contains("npm install -g @openai/codex"), "{error}");
    }
}
