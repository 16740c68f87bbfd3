//! What the workspace tells about claims: which of the paths they name are files.
//!
//! Invariant: a path that is a directory, or not there yet, keeps everything under it. Only names are
//! looked at; a symbolic link counts as a file, as it does for git.

use std::path::Path;

use crate::core::claim::{Claim, Pattern};

/// Makes patterns that name an existing file mean that file alone.
pub(super) fn to_files(claim: &mut Claim, workspace: &Path) {
    let Claim { exclusive, late, shared, deny } = claim;
    for pattern in [exclusive, late, shared, deny].into_iter().flatten() {
        if is_file(pattern, workspace) {
            *pattern = pattern.narrowed_to_file();
        }
    }
}

fn is_file(pattern: &Pattern, workspace: &Path) -> bool {
    let Some(path) = pattern.literal_path() else { return false };
    workspace.join(path.as_path()).symlink_metadata().is_ok_and(|meta| !meta.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_there_and_no_directory_is_narrowed() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("d")).unwrap();
        std::fs::write(dir.path().join("f"), "").unwrap();
        std::os::unix::fs::symlink("d", dir.path().join("link")).unwrap();
        let patterns = || ["d", "f", "link", "new", "f*"].iter().map(|t| Pattern::new(t).unwrap()).collect();
        let mut claim = Claim { exclusive: patterns(), deny: patterns(), ..Claim::default() };
        to_files(&mut claim, dir.path());
        let trees = |list: &[Pattern]| list.iter().filter(|p| p.literal_path().is_some()).count();
        assert_eq!((trees(&claim.exclusive), trees(&claim.deny)), (2, 2), "d and new");
        assert!(claim.exclusive[2].literal_prefix().is_some_and(|p| p.to_string() == "link"));
    }
}
