//! What a run keeps is for its user's eyes alone.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::support::TestRepo;

/// What git's library writes, and how, in directories that are closed.
const INDEXES: [&str; 2] = ["baseline", "extras"];

/// Everything below, with what others may do with it.
fn open_to_others(dir: &Path, found: &mut Vec<String>, seen: &mut usize) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let metadata = path.symlink_metadata().unwrap();
        *seen += 1;
        let is_index = INDEXES.iter().any(|name| path.ends_with(name));
        if metadata.permissions().mode() & 0o077 != 0 && !is_index {
            found.push(format!("{:o} {}", metadata.permissions().mode() & 0o777, path.display()));
        }
        if metadata.is_dir() {
            open_to_others(&path, found, seen);
        }
    }
}

#[test]
fn nobody_else_may_read_what_a_run_keeps() {
    let repo = TestRepo::with(&[("kept", "old\n")]);
    // While it runs there are its socket, the watch's directory and what is not renamed yet: the agent looks.
    let look =
        "find .git/supervise ! -type l -perm /077 ! -name baseline ! -name extras > \\\"$SUPERVISE_TEST_SEEN\\\"";
    let seen = repo.tmp().join("seen");
    let session = format!(
        "[[agent]]\nid = \"a\"\nfiles = [\"kept\"]\nretries = 1\nverify = \"echo looked; exit 1\"\n\
         env = {{ SUPERVISE_TEST_SEEN = \"{}\" }}\n\
         command = [\"sh\", \"-c\", \"{look}; echo new > kept; echo said; echo wrong >&2\"]\n\
         [hooks]\non_run_end = \"cat\"\n",
        seen.display()
    );
    repo.run(&session, &[]).expect(1);
    let while_running = fs::read_to_string(seen).unwrap();
    let (mut found, mut entries) = (Vec::new(), 0);
    open_to_others(&repo.path().join(".git/supervise"), &mut found, &mut entries);
    assert!(entries > 15, "only {entries}");
    assert_eq!((while_running.as_str(), found), ("", Vec::<String>::new()));
    let mode = fs::metadata(repo.path().join(".git/supervise")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}
