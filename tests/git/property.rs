//! Random work of an agent and a user side by side: the user's bytes, index and history stay, and the
//! agent's commit (or its salvage) has exactly its paths.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use proptest::prelude::*;
use supervise::core::effect::Purpose;

use crate::support::{Agent, Scratch};

#[derive(Clone, Debug)]
enum Act {
    Write(usize, u8),
    Remove(usize),
    Link(usize, u8),
    Executable(usize),
    Directory(usize, u8),
    Rename(usize, usize),
}

#[derive(Clone, Debug)]
enum UserAct {
    Files(Act),
    Stage,
    Intend,
    Unstage,
    Commit,
}

const NAMES: [&[u8]; 7] = [b"a", b"b c", b"d/e", b"d/f", b"d/g/h", b"\xff", b"n\nl"];

fn act() -> impl Strategy<Value = Act> {
    let name = || 0..NAMES.len();
    prop_oneof![
        4 => (name(), any::<u8>()).prop_map(|(n, b)| Act::Write(n, b)),
        2 => name().prop_map(Act::Remove),
        1 => (name(), any::<u8>()).prop_map(|(n, b)| Act::Link(n, b)),
        1 => name().prop_map(Act::Executable),
        1 => (name(), any::<u8>()).prop_map(|(n, b)| Act::Directory(n, b)),
        1 => (name(), name()).prop_map(|(a, b)| Act::Rename(a, b)),
    ]
}

fn user_act() -> impl Strategy<Value = UserAct> {
    prop_oneof![
        6 => act().prop_map(UserAct::Files),
        2 => Just(UserAct::Stage),
        1 => Just(UserAct::Intend),
        1 => Just(UserAct::Unstage),
        1 => Just(UserAct::Commit),
    ]
}

/// Does it beneath `dir`; what cannot be done is not done.
fn perform(s: &Scratch, dir: &str, act: &Act) {
    let at = |n: usize| s.path([dir.as_bytes(), b"/", NAMES[n]].concat());
    let clear = |path: &Path| {
        // Whatever file stands where a directory is needed goes, and the path itself.
        for above in path.ancestors().skip(1).take_while(|p| *p != s.root()) {
            if fs::symlink_metadata(above).is_ok_and(|m| !m.is_dir()) {
                fs::remove_file(above).unwrap();
            }
        }
        match fs::symlink_metadata(path) {
            Ok(m) if m.is_dir() => fs::remove_dir_all(path).unwrap(),
            Ok(_) => fs::remove_file(path).unwrap(),
            Err(_) => {}
        }
        fs::create_dir_all(path.parent().unwrap()).unwrap();
    };
    match act {
        Act::Write(n, byte) => {
            clear(&at(*n));
            fs::write(at(*n), vec![*byte; usize::from(*byte % 4)]).unwrap();
        }
        Act::Remove(n) => clear(&at(*n)),
        Act::Link(n, byte) => {
            clear(&at(*n));
            symlink(format!("to-{byte}"), at(*n)).unwrap();
        }
        Act::Executable(n) => {
            if fs::symlink_metadata(at(*n)).is_ok_and(|m| m.is_file()) {
                fs::set_permissions(at(*n), fs::Permissions::from_mode(0o755)).unwrap();
            }
        }
        Act::Directory(n, byte) => {
            clear(&at(*n));
            fs::create_dir(at(*n)).unwrap();
            fs::write(at(*n).join("in"), [*byte]).unwrap();
        }
        Act::Rename(from, to) => {
            if fs::symlink_metadata(at(*from)).is_ok_and(|m| !m.is_dir()) {
                let kept = s.outside().join("renamed");
                fs::rename(at(*from), &kept).unwrap();
                clear(&at(*to));
                fs::rename(&kept, at(*to)).unwrap();
            }
        }
    }
}

fn perform_user(s: &Scratch, act: &UserAct) {
    let git = |args: &[&str]| drop(s.command().args(args).output().unwrap());
    match act {
        UserAct::Files(act) => perform(s, "u", act),
        UserAct::Stage => git(&["add", "-A", "u"]),
        UserAct::Intend => git(&["add", "-N", "u"]),
        UserAct::Unstage => git(&["reset", "-q", "--", "u"]),
        UserAct::Commit => git(&["commit", "-q", "-m", "by the user"]),
    }
}

/// The user's part as git and the disk have it.
fn user_side(s: &Scratch) -> (String, String, String, String) {
    let status = s.git(&["status", "--porcelain", "--untracked-files=all", "--", "u"]);
    let head = s.git(&["ls-tree", "-r", "HEAD", "u"]);
    (s.git(&["ls-files", "-s", "-v", "u"]), status, head, s.git(&["diff", "--", "u"]))
}

fn agent_side(s: &Scratch) -> String {
    s.git(&["status", "--porcelain", "--untracked-files=all", "--", "w"])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn nobodys_work_is_mixed(
        before in prop::collection::vec(act(), 0..6),
        user_before in prop::collection::vec(user_act(), 0..6),
        agent_acts in prop::collection::vec(act(), 0..8),
        user_during in prop::collection::vec(user_act(), 0..6),
        user_late in prop::collection::vec(user_act(), 0..4),
        completes in any::<bool>(),
    ) {
        let s = Scratch::committed(&[("w/a", "1\n"), ("w/d/e", "1\n"), ("u/a", "1\n"), ("u/d/e", "1\n")]);
        for a in &before { perform(&s, "w", a); }
        s.git(&["add", "-A", "w"]);
        s.git(&["commit", "-q", "--allow-empty", "-m", "start"]);
        for a in &user_before { perform_user(&s, a); }
        let mut r = s.open();
        let agent = Agent::new(&s, "a", &["w"]);
        agent.begin(&mut r);
        for a in &agent_acts { perform(&s, "w", a); }
        for a in &user_during { perform_user(&s, a); }
        if completes {
            let changes = agent.measure(&mut r);
            let commit = agent.freeze(&mut r, Purpose::Completion);
            for a in &user_late { perform_user(&s, a); }
            let user = user_side(&s);
            let parent = s.head();
            let placement = agent.place(&mut r, commit).unwrap();
            r.unpin(&agent.id).unwrap();
            prop_assert_eq!(user_side(&s), user);
            prop_assert_eq!(agent_side(&s), "");
            prop_assert_eq!(placement.index_left, []);
            prop_assert_eq!(s.head() == parent, changes.is_empty());
            if !changes.is_empty() {
                prop_assert_eq!(s.git(&["rev-parse", "HEAD~"]).trim().to_owned(), parent);
                let out = s.git(&["show", "-z", "--format=", "--name-only", "--no-renames", "HEAD"]);
                let count = out.split('\0').filter(|p| !p.is_empty()).count();
                prop_assert_eq!(count, changes.len(), "{}", out);
                prop_assert!(out.split('\0').all(|p| p.is_empty() || p.starts_with("w/")));
            }
            prop_assert_eq!(s.git(&["diff", "HEAD", "--name-only", "--", "w"]), "");
            // The user's next commit, for which git goes by the cache of trees that was left in the index.
            let args = ["commit", "-q", "--allow-empty", "-m", "after"];
            let out = s.command().env("GIT_TEST_CHECK_CACHE_TREE", "true").args(args).output().unwrap();
            prop_assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
            prop_assert_eq!(s.git(&["diff", "--name-only", "HEAD~", "HEAD", "--", "w"]), "");
        } else {
            let user = user_side(&s);
            let (_, left) = agent.fail(&mut r);
            prop_assert_eq!(left, []);
            prop_assert_eq!(user_side(&s), user);
            prop_assert_eq!(agent_side(&s), "");
        }
        prop_assert!(!s.root().join(".git/index.lock").exists());
        s.fsck();
    }
}
