//! Failing: salvage keeps the work, and the workspace is as the attempt found it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use crate::support::{Agent, Scratch, message, repo_path, shown};
use supervise::core::event::Preparation;
use supervise::host::git::Checkpoint;

/// Every path of the workspace with its kind, mode and content.
fn picture(s: &Scratch) -> Vec<String> {
    fn visit(s: &Scratch, dir: &std::path::Path, out: &mut Vec<String>) {
        let mut entries: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
        entries.sort();
        for path in entries {
            let meta = fs::symlink_metadata(&path).unwrap();
            let name = path.strip_prefix(s.root()).unwrap().to_string_lossy().into_owned();
            if name == ".git" {
                continue;
            }
            let content = if meta.is_symlink() {
                fs::read_link(&path).unwrap().to_string_lossy().into_owned()
            } else if meta.is_file() {
                String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned()
            } else {
                String::new()
            };
            out.push(format!("{:o} {name} {content:?}", meta.permissions().mode()));
            if meta.is_dir() {
                visit(s, &path, out);
            }
        }
    }
    let mut out = Vec::new();
    visit(s, s.root(), &mut out);
    out
}

#[test]
fn everything_goes_back_and_salvage_keeps_it() {
    let s = Scratch::committed(&[
        ("w/file", "f\n"),
        ("w/dir/x", "x\n"),
        ("w/dir/y", "y\n"),
        ("w/run", "r\n"),
        ("top", "t\n"),
    ]);
    symlink("file", s.path("w/link")).unwrap();
    s.commit("link");
    fs::set_permissions(s.path("w/file"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::create_dir(s.path("w/bare")).unwrap();
    let before = picture(&s);
    let mut r = s.open();
    let agent = Agent::new(&s, "a", &["w", "fresh/deep/file", "top"]);
    agent.begin(&mut r);
    s.remove("w/file");
    s.write("w/file/inner/most", "i\n");
    fs::remove_dir_all(s.path("w/dir")).unwrap();
    s.write("w/dir", "a file\n");
    s.remove("w/link");
    symlink("elsewhere", s.path("w/link")).unwrap();
    fs::set_permissions(s.path("w/run"), fs::Permissions::from_mode(0o755)).unwrap();
    s.write("w/bare/new", "n\n");
    fs::create_dir_all(s.path("w/made/by/agent")).unwrap();
    s.write("fresh/deep/file", "n\n");
    s.remove("top");
    let head = s.head();
    let (restored, left) = agent.fail(&mut r);
    assert_eq!(left, []);
    assert_eq!(restored.len(), 10);
    assert_eq!(picture(&s), before);
    assert_eq!(s.head(), head);
    assert_eq!(s.status(), "");
    let salvage = "refs/supervise/attempts/run-1/a/1";
    assert_eq!(s.git(&["show", &format!("{salvage}:w/file/inner/most")]), "i\n");
    assert_eq!(s.git(&["show", &format!("{salvage}:fresh/deep/file")]), "n\n");
    s.fsck();
}

#[test]
fn what_changed_since_the_freeze_is_left() {
    let s = Scratch::committed(&[("a", "1\n"), ("b", "1\n")]);
    let mut r = s.open();
    let agent = Agent::new(&s, "a", &["a", "b", "c"]);
    agent.begin(&mut r);
    for path in ["a", "b", "c"] {
        s.write(path, "2\n");
    }
    let paths = ["a", "b", "c"].map(repo_path);
    let commit = agent.freeze(&mut r, supervise::core::effect::Purpose::Salvage);
    s.write("a", "3\n");
    let (restored, left) = r.restore(&agent.id, commit, &paths).unwrap();
    assert_eq!((restored, left), (vec![repo_path("b"), repo_path("c")], vec![repo_path("a")]));
    assert_eq!(s.read("a").unwrap(), b"3\n");
    assert_eq!(s.read("b").unwrap(), b"1\n");
    assert_eq!(s.read("c"), None);
}

#[test]
fn content_that_git_does_not_have_goes_back_too_even_after_a_crash() {
    let s = Scratch::committed(&[("a", "1\n"), (".gitignore", ".env\nout/\n")]);
    s.write("a", "of the user\n");
    s.write("untracked", "also\n");
    s.write(".env", "SECRET=1\n");
    s.write("out/cache", "c\n");
    let mut r = s.open();
    let agent = Agent::new(&s, "a", &["a", "untracked", ".env", "out/"]);
    let dirty = vec![repo_path("a"), repo_path("untracked")];
    assert_eq!(agent.prepare_allowing_dirt(&mut r), Preparation::Ready { dirty });
    s.write("a", "of the agent\n");
    s.remove("untracked");
    s.write(".env", "SECRET=2\n");
    s.write("out/new", "n\n");
    drop(r);
    let mut r = s.open();
    agent.adopt(&mut r);
    assert_eq!(shown(&agent.measure(&mut r)), ["~.env", "~a", "+out/new", "-untracked"]);
    let (restored, left) = agent.fail(&mut r);
    assert_eq!((restored.len(), left.len()), (4, 0));
    assert_eq!(s.read("a").unwrap(), b"of the user\n");
    assert_eq!(s.read("untracked").unwrap(), b"also\n");
    assert_eq!(s.read(".env").unwrap(), b"SECRET=1\n");
    assert_eq!(s.read("out/new"), None);
    assert_eq!(s.git(&["show", "refs/supervise/attempts/run-1/a/1:.env"]), "SECRET=2\n");
}

#[test]
fn ignored_paths_are_salvaged_and_never_committed() {
    let s = Scratch::committed(&[("a", "1\n"), (".gitignore", "out/\n*.tmp\n")]);
    s.write("out/x", "1\n");
    let mut r = s.open();
    let agent = Agent::new(&s, "a", &["a", "out/", "*.tmp"]);
    agent.begin(&mut r);
    s.write("out/x", "2\n");
    s.write("note.tmp", "reached by a wildcard only\n");
    // Nothing but ignored paths: the branch stays where it is.
    let head = s.head();
    assert_eq!(shown(&agent.measure(&mut r)), ["~out/x"]);
    agent.complete(&mut r);
    assert_eq!(s.head(), head);
    assert!(!s.root().join(".git/index.lock").exists());

    let again = Agent::new(&s, "b", &["a", "out/"]);
    again.begin(&mut r);
    s.write("out/x", "3\n");
    s.write("a", "2\n");
    again.complete(&mut r);
    assert_eq!(s.changed_by("HEAD"), ["M a"]);
    assert_eq!(s.read("out/x").unwrap(), b"3\n");
}

#[test]
fn checkpoints_are_made_of_changes_only() {
    let s = Scratch::committed(&[("a", "1\n")]);
    let mut r = s.open();
    let agent = Agent::new(&s, "a", &["a"]);
    agent.begin(&mut r);
    let message = message();
    let checkpoint = Checkpoint { id: &agent.id, message: &message };
    assert_eq!(r.checkpoint(&checkpoint).unwrap(), None);
    s.write("a", "2\n");
    let first = r.checkpoint(&checkpoint).unwrap().unwrap();
    assert_eq!(r.checkpoint(&checkpoint).unwrap(), None);
    s.write("a", "3\n");
    let second = r.checkpoint(&checkpoint).unwrap().unwrap();
    assert_ne!(first, second);
    assert_eq!(s.git(&["show", "refs/supervise/attempts/run-1/a/1.checkpoint:a"]), "3\n");
    agent.complete(&mut r);
    assert_eq!(s.git(&["for-each-ref", "refs/supervise"]), "");
    assert_eq!(s.changed_by("HEAD"), ["M a"]);
}

#[test]
fn a_git_directory_on_another_file_system_is_no_hindrance() {
    use std::os::unix::fs::MetadataExt;
    let Ok(other) = tempfile::tempdir_in("/dev/shm") else { return };
    let git_dir = other.path().join("git");
    let s = Scratch::with(&["--separate-git-dir", git_dir.to_str().unwrap()]);
    if fs::metadata(other.path()).unwrap().dev() == fs::metadata(s.root()).unwrap().dev() {
        return;
    }
    s.write("d/a", "1\n");
    symlink("a", s.path("d/l")).unwrap();
    s.commit("base");
    let before = picture(&s);
    let mut r = s.open();
    assert_eq!(r.git_dirs(), [git_dir.canonicalize().unwrap()]);
    let agent = Agent::new(&s, "a", &["d"]);
    agent.begin(&mut r);
    s.write("d/a", "2\n");
    s.remove("d/l");
    s.write("d/l", "no link\n");
    let (restored, left) = agent.fail(&mut r);
    assert_eq!((restored.len(), left.len()), (2, 0));
    assert_eq!(picture(&s), before);
    assert_eq!(s.status(), "");
}

#[test]
fn a_link_in_the_way_is_never_followed() {
    let s = Scratch::committed(&[("d/a", "1\n"), ("other", "o\n")]);
    let outside = s.outside().join("target");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("a"), "outside\n").unwrap();
    let mut r = s.open();
    let agent = Agent::new(&s, "a", &["d/a"]);
    agent.begin(&mut r);
    fs::remove_dir_all(s.path("d")).unwrap();
    symlink(&outside, s.path("d")).unwrap();
    assert_eq!(shown(&agent.measure(&mut r)), ["-d/a"]);
    let (restored, left) = agent.fail(&mut r);
    assert_eq!((restored, left), (vec![], vec![repo_path("d/a")]));
    assert_eq!(fs::read(outside.join("a")).unwrap(), b"outside\n");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
    assert_eq!(r.survey().unwrap(), [repo_path("d"), repo_path("d/a")]);
}

/// What git never had is missed as well when it is gone, or is ignored now and not as it was.
#[test]
fn a_survey_tells_what_became_of_untracked_files() {
    let s = Scratch::committed(&[("a", "1\n")]);
    for path in ["kept", "gone", "hidden/changed", "hidden/same", "committed", "dir/moved"] {
        s.write(path, "mine\n");
    }
    let mut r = s.open();
    assert_eq!(r.survey().unwrap(), []);
    fs::remove_file(s.path("gone")).unwrap();
    fs::rename(s.path("dir"), s.path("other")).unwrap();
    s.write("hidden/changed", "another's\n");
    s.write(".git/info/exclude", "hidden/\nother/\n");
    s.git(&["add", "committed"]);
    s.git(&["commit", "-qm", "the user's"]);
    assert_eq!(r.survey().unwrap(), ["dir/moved", "gone", "hidden/changed"].map(repo_path));
}
