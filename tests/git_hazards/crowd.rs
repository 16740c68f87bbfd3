//! Many at once: agents that end in the same moment, and a repository of very many files.

use std::fmt::Write as _;
use std::fs::OpenOptions;

use crate::scene::{Actor, BEGIN, Scene};
use crate::support::{TestRepo, with_input};

/// Both read from a pipe that ends for both when the last who could write into it lets go.
#[test]
fn two_that_end_in_the_same_moment_get_one_commit_each() {
    for _ in 0..5 {
        let repo = TestRepo::with(&[("one.txt", "1\n"), ("other.txt", "1\n")]);
        let pipe = repo.tmp().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let actor = |id: &str| {
            let actor = Actor::midway(id).writes(&format!("{id}.txt"), &format!("by {id}\n"));
            actor.first(&format!("exec 3< {}", pipe.display())).until("cat <&3")
        };
        let scene = Scene::of(repo).with(actor("one")).with(actor("other"));
        let held = OpenOptions::new().read(true).write(true).open(&pipe).unwrap();
        scene.run(|_| drop(held)).exits(0).completed(&["one", "other"]);
        assert_eq!(scene.repo.subjects().len(), 2);
        assert_eq!(scene.git(&["status", "--porcelain"]), "");
    }
}

#[test]
fn forty_at_once_get_their_forty_commits() {
    let mut scene = Scene::of(TestRepo::new()).arg("-j40");
    for n in 0..40 {
        scene = scene.with(Actor::at_once(&format!("a{n}")).writes(&format!("f{n}"), &format!("{n}\n")));
    }
    scene.run(|_| {}).exits(0);
    assert_eq!(scene.repo.subjects().len(), 40);
    assert_eq!(scene.git(&["ls-files", "f*"]).lines().count(), 40);
    assert_eq!(scene.git(&["status", "--porcelain"]), "");
}

const MANY: usize = 100_000;

#[test]
fn a_hundred_thousand_files_are_no_hazard() {
    let scene = Scene::begun(TestRepo::in_memory(&BEGIN, 2 << 30));
    let mut stream =
        "commit refs/heads/main\ncommitter T <t@example.invalid> 1 +0000\ndata 4\nmany\nfrom refs/heads/main^0\n"
            .to_owned();
    for n in 0..MANY {
        let text = format!("{n}\n");
        let _ = writeln!(stream, "M 100644 inline many/{}/{n}\ndata {}\n{text}", n % 317, text.len());
    }
    let mut import = scene.command("git");
    import.args(["fast-import", "--quiet"]);
    with_input(import, stream.as_bytes()).expect(0);
    scene.git(&["reset", "-q", "--hard"]);
    let scene = scene.with_unfinished_work().with_agents("txt");
    let scene = scene.with(Actor::midway("deep").claims("many/").writes("many/3/3", "by deep\n").removes("many/4/4"));
    let outcome = scene.run(|user| {
        user.repo.write("many/7/7", "edited\n");
        user.repo.write("user.txt", "user\n");
        user.git(&["commit", "-qm", "user", "--", "user.txt"]);
    });
    outcome.exits(1).completed(&["midway", "verified", "later", "deep"]).failed("failing", "exit");
    assert_eq!(scene.git(&["diff", "--name-only", "--", "many"]), "many/7/7\n");
}
