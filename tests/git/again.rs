//! Kept work comes back for the attempt that goes on with it: all of it, or nothing.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use supervise::core::change::{Change, ObjectId};
use supervise::core::effect::Purpose;
use supervise::core::event::ReturnRefusal;
use supervise::core::path::RepoPath;
use supervise::host::git::Repository;

use crate::support::{Agent, Scratch, repo_path};

const FILES: [(&str, &str); 4] = [("w/a", "1\n"), ("w/b", "1\n"), ("w/gone", "1\n"), ("w/dir/x", "1\n")];

/// An attempt did this and failed: its work is kept, and put away.
fn failed(s: &Scratch, r: &mut Repository, work: impl Fn()) -> (ObjectId, Vec<Change>) {
    let agent = Agent::new(s, "a", &["w"]);
    agent.begin(r);
    work();
    let changes = agent.measure(r);
    let paths: Vec<RepoPath> = changes.iter().map(|change| change.path.clone()).collect();
    let commit = agent.freeze(r, Purpose::Salvage);
    assert_eq!(r.restore(&agent.id, commit, &paths).unwrap().1, []);
    assert_eq!(s.status(), "");
    (commit, changes)
}

fn some_work(s: &Scratch) {
    s.write("w/a", "2\n");
    s.write("w/b", "2\n");
    fs::set_permissions(s.path("w/b"), fs::Permissions::from_mode(0o755)).unwrap();
    s.remove("w/gone");
    s.remove("w/dir/x");
    fs::remove_dir(s.path("w/dir")).unwrap();
    s.write("w/dir", "a file\n");
    s.write("w/new/deep", "n\n");
    symlink("a", s.path("w/link")).unwrap();
}

#[test]
fn all_of_it_comes_back() {
    let s = Scratch::committed(&FILES);
    let mut r = s.open();
    let (commit, changes) = failed(&s, &mut r, || some_work(&s));
    let next = Agent::new(&s, "b", &["w"]);
    next.begin(&mut r);
    r.return_work(&commit, &changes).unwrap();
    assert_eq!(next.measure(&mut r), changes, "against its own baseline it is what the next attempt changed");
    assert_eq!(s.read("w/new/deep").unwrap(), b"n\n");
    assert_eq!(fs::metadata(s.path("w/b")).unwrap().permissions().mode() & 0o111, 0o111);
    assert_eq!(fs::read_link(s.path("w/link")).unwrap().to_str(), Some("a"));
    assert!(s.read("w/gone").is_none());
    assert_eq!(s.git(&["diff", "--cached", "--name-only"]), "", "the index is left alone");
    r.return_work(&commit, &changes).unwrap();
    assert_eq!(next.measure(&mut r), changes, "doing it again is harmless");
}

#[test]
fn what_changed_since_keeps_all_of_it_away() {
    let returned = |between: &dyn Fn(&Scratch)| {
        let s = Scratch::committed(&FILES);
        let mut r = s.open();
        let (commit, changes) = failed(&s, &mut r, || some_work(&s));
        between(&s);
        let status = s.status();
        let outcome = r.return_work(&commit, &changes);
        assert_eq!(s.status(), status, "nothing is touched");
        outcome.unwrap_err()
    };
    let paths = |names: &[&str]| names.iter().map(repo_path).collect::<Vec<_>>();
    let committed = returned(&|s| {
        s.write("w/b", "3\n");
        s.write("elsewhere", "x\n");
        s.commit("by somebody else");
    });
    assert_eq!(committed, ReturnRefusal::HeadChanged { paths: paths(&["w/b"]) });
    let edited = returned(&|s| s.write("w/a", "mine\n"));
    assert_eq!(edited, ReturnRefusal::Occupied { paths: paths(&["w/a"]) });
    let made = returned(&|s| s.write("w/new", "a file\n"));
    assert_eq!(made, ReturnRefusal::Occupied { paths: paths(&["w/new/deep"]) });
    let staged = returned(&|s| {
        s.write("w/b", "staged\n");
        s.git(&["add", "w/b"]);
        s.write("w/b", "1\n");
    });
    assert_eq!(staged, ReturnRefusal::Occupied { paths: paths(&["w/b"]) });
}

#[test]
fn what_fails_halfway_is_taken_away_again() {
    let s = Scratch::committed(&FILES);
    let mut r = s.open();
    let (commit, changes) = failed(&s, &mut r, || some_work(&s));
    // Git cannot write out the last of the files.
    let object = s.git(&["rev-parse", &format!("{commit}:w/new/deep")]);
    let object = s.path(format!(".git/objects/{}/{}", &object[..2], object[2..].trim()));
    let text = fs::read(&object).unwrap();
    fs::remove_file(&object).unwrap();
    let Err(ReturnRefusal::Failed { error }) = r.return_work(&commit, &changes) else { panic!("it cannot be") };
    assert!(error.contains("checkout-index"), "{error}");
    assert_eq!(s.status(), "");
    assert_eq!(s.read("w/dir/x").unwrap(), b"1\n");
    assert!(s.read("w/gone").is_some() && s.read("w/link").is_none());
    fs::write(&object, text).unwrap();
    r.return_work(&commit, &changes).unwrap();
}
