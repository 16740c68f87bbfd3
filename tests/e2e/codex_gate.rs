//! The gate with the real `codex exec`: two agents that patch different lines of one file lose nothing
//! of each other's, whoever declared what; and whatever an agent starts writes as that agent.
//!
//! Without the gate, two codex that patch one file lose patches while both report success: each reads
//! the whole file, and writes the whole file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use serde_json::{Value, json};

use crate::codex::{agent, codex, head, ran};
use crate::model::{Latch, Model, Script};
use crate::support::{Ended, TestRepo, eventually, finish};

const PATIENCE: Duration = Duration::from_secs(150);

/// What codex says of a patch whose file it could not write; it does not say why.
const NOT_WRITTEN: &str = "failed to write file";
/// The same, or that the file was read while the other one had truncated it: "failed to find expected lines".
const NOT_PATCHED: &str = "failed to ";

/// Each of two agents patches every second line of a file of so many.
const LINES: usize = 24;

fn file() -> String {
    (1..=LINES).fold(String::new(), |text, n| text + &format!("line {n:02}\n"))
}

/// The patches of the agent that signs with `sign`: `a` has the odd lines, `b` the even ones.
fn patches(path: &str, sign: char) -> Vec<String> {
    let first = if sign == 'a' { 1 } else { 2 };
    let patch = |n: usize| {
        format!("*** Begin Patch\n*** Update File: {path}\n@@\n-line {n:02}\n+line {n:02} {sign}\n*** End Patch\n")
    };
    (first..=LINES).step_by(2).map(patch).collect()
}

/// How many of the patches of this sign are in a text that holds every line once.
#[track_caller]
fn patched(text: &str, sign: char) -> usize {
    assert_eq!(text.lines().count(), LINES, "{text}");
    text.lines().filter(|line| line.ends_with(&format!(" {sign}"))).count()
}

/// The script of an agent that makes all its patches, the steps of `last` before the last of them.
fn patcher(script: Script, path: &str, sign: char, last: impl FnOnce(Script) -> Script) -> Script {
    let mut patches = patches(path, sign);
    let final_patch = patches.pop().unwrap();
    let script = patches.iter().fold(script, |script, patch| script.patch(patch));
    last(script).patch(&final_patch)
}

/// Holds once the file has a patch of this sign.
fn has_patch(repo: &TestRepo, path: &str, sign: char) -> impl Fn() -> bool + Send + Sync + use<> {
    let file = repo.path().join(path);
    move || fs::read_to_string(&file).is_ok_and(|text| text.contains(&format!(" {sign}\n")))
}

/// Holds once the journal of the run has a record of this kind about this text.
fn recorded(repo: &TestRepo, kind: &str, about: &str) -> impl Fn() -> bool + Send + Sync + use<> {
    let state = repo.path().join(".git/supervise");
    let (kind, about) = (format!("\"kind\":\"{kind}\""), format!("{about:?}"));
    move || {
        let current = fs::read_to_string(state.join("current")).unwrap_or_default();
        let journal = state.join("runs").join(current.trim()).join("journal.jsonl");
        let text = fs::read_to_string(journal).unwrap_or_default();
        text.lines().any(|line| line.contains(&kind) && line.contains(&about))
    }
}

fn start(repo: &TestRepo, codex: &Path, model: &Model, agents: &[String]) -> Child {
    let head = head(repo, codex, model).replace("max_concurrent = 4", "max_concurrent = 12");
    repo.start(&[head, agents.concat()].concat(), &["--format", "json"])
}

#[track_caller]
fn finished(repo: &TestRepo, child: Child) -> Ended {
    let ended = finish(child, PATIENCE);
    assert!(matches!(ended.code, Some(0 | 1)), "{ended:?}");
    assert_eq!(ended.json()["layers"]["gate"], true, "{}", ended.stderr);
    repo.assert_no_survivors();
    ended
}

#[track_caller]
fn assert_state(ended: &Ended, id: &str, state: &str, reason: Option<&str>) {
    let agent = ended.agent(id);
    assert_eq!(
        (agent["state"].as_str(), agent["reason"]["kind"].as_str()),
        (Some(state), reason),
        "{agent:#}\n{}",
        ended.stderr
    );
}

/// The records of this kind about this agent.
fn records(repo: &TestRepo, kind: &str, id: &str) -> Vec<Value> {
    repo.records().into_iter().filter(|record| record["kind"] == kind && record["agent"] == id).collect()
}

#[test]
fn two_that_declared_a_file_patch_it_one_after_the_other() {
    let Some(codex) = codex("two_that_declared_a_file_patch_it_one_after_the_other") else { return };
    let repo = TestRepo::with(&[("shared.txt", &file())]);
    let scripts = ['a', 'b'].map(|sign| {
        patcher(Script::new(&format!("agent-{sign}")), "shared.txt", sign, |script| script).message("All patched.")
    });
    let model = Model::start(scripts);
    let agents = ["agent-a", "agent-b"].map(|id| agent(id, "[\"shared.txt\"]", ""));
    let ended = finished(&repo, start(&repo, &codex, &model, &agents)).expect(0);
    let text = repo.git(&["show", "HEAD:shared.txt"]);
    assert_eq!((patched(&text, 'a'), patched(&text, 'b')), (12, 12), "{text}");
    assert_eq!(repo.subjects(), ["feat(agent-a): agent-a", "feat(agent-b): agent-b"]);
    assert_eq!(repo.status(), "");
    let seq = |kind: &str, id: &str| records(&repo, kind, id)[0]["seq"].as_u64().unwrap();
    assert!(seq("attempt_started", "agent-b") > seq("agent_ended", "agent-a"), "{}", ended.stderr);
    ran("gate-declared");
}

/// The second did not declare the file that the first holds: every value of `on_conflict`.
#[test]
fn the_patches_of_who_declared_a_file_survive_every_conflict() {
    let Some(codex) = codex("the_patches_of_who_declared_a_file_survive_every_conflict") else { return };
    let policies = ["terminate", "deny", "priority", "wait", "manual"];
    let file = file();
    let files: Vec<(String, &str)> = policies.iter().map(|policy| (format!("{policy}.txt"), file.as_str())).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
    let repo = TestRepo::with(&files);
    let mut scripts = Vec::new();
    let mut agents = Vec::new();
    for policy in policies {
        let path = format!("{policy}.txt");
        let (holder, writer) = (format!("{policy}-a"), format!("{policy}-b"));
        scripts.push(
            patcher(Script::new(&holder), &path, 'a', |script| {
                // Nobody decides an open conflict by being gone.
                let (kind, about) =
                    if policy == "manual" { ("end_intended", &writer) } else { ("conflict_found", &path) };
                script.wait_until(&format!("{kind} about {about}"), recorded(&repo, kind, about))
            })
            .message("All patched."),
        );
        let mut script = Script::new(&writer)
            .write(&format!("own/{policy}"), "mine\n")
            .wait_until(&path, has_patch(&repo, &path, 'a'));
        for patch in patches(&path, 'b') {
            script = script.patch(&patch);
            if policy == "priority" {
                script = script.again_on(NOT_WRITTEN, "sleep 0.2", 300);
            }
        }
        scripts.push(if policy == "manual" { script.hang().message("never said") } else { script.message("Done.") });
        let priority = if policy == "priority" { "priority = 4" } else { "" };
        agents.push(agent(&holder, &format!("[{path:?}]"), priority));
        agents.push(agent(&writer, &format!("[\"own/{policy}\"]"), &format!("on_conflict = \"{policy}\"")));
    }
    let model = Model::start(scripts);
    let child = start(&repo, &codex, &model, &agents);
    assert!(eventually(PATIENCE, recorded(&repo, "conflict_found", "manual.txt")), "no conflict about manual.txt");
    let conflicts: Value = serde_json::from_str(&repo.ask(&["conflicts", "--format", "json"])).unwrap();
    let open = conflicts["conflicts"].as_array().unwrap().iter().find(|c| c["path"] == "manual.txt").unwrap();
    repo.ask(&["resolve", &open["id"].to_string(), "--keep", "manual-a", "--terminate", "manual-b"]);
    let ended = finished(&repo, child).expect(1);

    let committed = |policy: &str| {
        let text = repo.git(&["show", &format!("HEAD:{policy}.txt")]);
        (patched(&text, 'a'), patched(&text, 'b'))
    };
    for policy in policies {
        assert_state(&ended, &format!("{policy}-a"), "COMPLETED", None);
        assert_eq!(committed(policy).0, 12, "{policy}: {}", ended.stderr);
        let told = format!("CONFLICT: {policy}-a and {policy}-b both modifying {policy}.txt");
        assert!(ended.stderr.contains(&told), "{told}: {}", ended.stderr);
    }
    for policy in ["terminate", "manual"] {
        assert_state(&ended, &format!("{policy}-b"), "TERMINATED", Some("conflict"));
        assert_eq!(committed(policy).1, 0);
        assert!(!repo.exists(&format!("own/{policy}")), "put aside");
    }
    assert_state(&ended, "deny-b", "COMPLETED", None);
    assert_eq!(committed("deny").1, 0);
    assert_eq!(repo.files_of("feat(deny-b): deny-b"), ["own/deny"]);
    for policy in ["priority", "wait"] {
        assert_state(&ended, &format!("{policy}-b"), "COMPLETED", None);
        assert_eq!(committed(policy).1, 12, "{policy}: {}", ended.stderr);
    }
    assert_eq!((&ended.agent("priority-a")["attempt"], &ended.agent("wait-b")["attempt"]), (&json!(2), &json!(2)));
    let json = ended.json();
    assert_eq!(json["conflicts"].as_array().unwrap().len(), 5, "{json:#}");
    assert!(json["conflicts"].as_array().unwrap().iter().all(|c| c["verified"] == true), "{json:#}");
    assert_eq!((json["unattributed"].clone(), repo.status()), (json!([]), String::new()));
    ran("gate-conflicts");
}

/// The second did not declare the file, and the first is done with it: every value of `on_undeclared`.
#[test]
fn undeclared_patches_end_as_the_policy_says() {
    let Some(codex) = codex("undeclared_patches_end_as_the_policy_says") else { return };
    let policies = ["deny", "kill", "warn", "claim"];
    let file = file();
    let files: Vec<(String, &str)> = policies.iter().map(|policy| (format!("{policy}.txt"), file.as_str())).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
    let repo = TestRepo::with(&[files.as_slice(), &[("nobodys.txt", file.as_str())]].concat());
    let mut scripts = Vec::new();
    let mut agents = Vec::new();
    for policy in policies {
        let path = format!("{policy}.txt");
        let (first, second) = (format!("{policy}-a"), format!("{policy}-b"));
        scripts.push(patcher(Script::new(&first), &path, 'a', |script| script).message("All patched."));
        let mut script = Script::new(&second)
            .write(&format!("own/{policy}"), "mine\n")
            .wait_until(&format!("the end of {first}"), recorded(&repo, "agent_ended", &first));
        for patch in patches(&path, 'b') {
            script = script.patch(&patch);
            // What changed since the agent began is busy once; what is not its own is refused for ever.
            if matches!(policy, "warn" | "claim") {
                script = script.again_on(NOT_WRITTEN, &format!("cat {path}"), 2);
            }
        }
        scripts.push(script.message("Done."));
        agents.push(agent(&first, &format!("[{path:?}]"), ""));
        agents.push(agent(&second, &format!("[\"own/{policy}\"]"), &format!("on_undeclared = \"{policy}\"")));
    }
    scripts.push(Script::new("nothing").patch(&patches("nobodys.txt", 'b')[0]).message("Done."));
    agents.push(agent("nothing", "[\"own/nothing\"]", ""));
    let model = Model::start(scripts);
    let ended = finished(&repo, start(&repo, &codex, &model, &agents)).expect(1);
    assert_state(&ended, "nothing", "FAILED", Some("all_denied"));
    let outside: Vec<Value> = repo.records().into_iter().filter(|record| record["kind"] == "outside_write").collect();
    assert_eq!(outside, Vec::<Value>::new(), "all was written by agents");
    let committed = |policy: &str| {
        let text = repo.git(&["show", &format!("HEAD:{policy}.txt")]);
        (patched(&text, 'a'), patched(&text, 'b'))
    };
    for policy in policies {
        assert_state(&ended, &format!("{policy}-a"), "COMPLETED", None);
    }
    assert_state(&ended, "deny-b", "COMPLETED", None);
    assert_eq!(ended.agent("deny-b")["denied"], json!(["deny.txt"]));
    assert_eq!(repo.files_of("feat(deny-b): deny-b"), ["own/deny"]);
    assert_state(&ended, "kill-b", "TERMINATED", Some("undeclared"));
    assert!(!repo.exists("own/kill"));
    assert_state(&ended, "warn-b", "COMPLETED", None);
    assert_eq!(ended.agent("warn-b")["warned"], json!(["warn.txt"]));
    assert_eq!((patched(&repo.read("warn.txt"), 'a'), patched(&repo.read("warn.txt"), 'b')), (12, 12));
    assert_state(&ended, "claim-b", "COMPLETED", None);
    let found = policies.map(committed);
    assert_eq!(found, [(12, 0), (12, 0), (12, 0), (12, 12)], "{}", ended.stderr);
    assert_eq!(repo.status(), " M warn.txt\n");
    ran("gate-undeclared");
}

/// Both have it as `late`: one reads again after "resource busy", the other never does.
#[test]
fn late_claims_lose_no_patch() {
    let Some(codex) = codex("late_claims_lose_no_patch") else { return };
    let file = file();
    let repo = TestRepo::with(&[("retried.txt", &file), ("once.txt", &file)]);
    let (first_try, gave_up) = (Latch::closed(), Latch::opens_after(1));
    let mut scripts = Vec::new();
    let retried = |name: &str, sign: char| {
        let script = Script::new(name);
        // Neither goes on before both have begun.
        let script = script.shell("cat retried.txt").wait(&first_try);
        patches("retried.txt", sign)
            .iter()
            .fold(script, |script, patch| script.patch(patch).again_on(NOT_PATCHED, "cat retried.txt; sleep 0.2", 300))
            .message("All patched.")
    };
    scripts.push(retried("retried-a", 'a'));
    scripts.push(retried("retried-b", 'b'));
    let over = gave_up.clone();
    scripts.push(
        patcher(Script::new("once-a"), "once.txt", 'a', |script| {
            script.wait_until("the other to give up", move || over.arrivals() > 0)
        })
        .message("All patched."),
    );
    let second = Script::new("once-b").wait_until("the first patch", has_patch(&repo, "once.txt", 'a'));
    scripts.push(patcher(second, "once.txt", 'b', |script| script).wait(&gave_up).message("I tried."));
    let model = Model::start(scripts);
    let late = |id: &str, path: &str| agent(id, "[]", &format!("late = [\"{path}\"]"));
    let agents = [
        late("retried-a", "retried.txt"),
        late("retried-b", "retried.txt"),
        late("once-a", "once.txt"),
        late("once-b", "once.txt"),
    ];
    let child = start(&repo, &codex, &model, &agents);
    model.wait_for("both to have read", |_| first_try.arrivals() == 2);
    first_try.open();
    let ended = finished(&repo, child).expect(0);
    for (path, id) in [("retried.txt", "retried-b"), ("once.txt", "once-b")] {
        let text = repo.git(&["show", &format!("HEAD:{path}")]);
        assert_eq!((patched(&text, 'a'), patched(&text, 'b')), (12, 12), "{path}: {}", ended.stderr);
        assert_state(&ended, id, "COMPLETED", None);
    }
    assert_eq!(ended.agent("retried-a")["attempt"], 1);
    assert_eq!(ended.agent("retried-b")["attempt"], 1);
    assert_eq!(ended.agent("once-b")["attempt"], 2, "{}", ended.stderr);
    assert_eq!((ended.json()["conflicts"].clone(), repo.status()), (json!([]), String::new()));
    ran("gate-late");
}

/// Git commands that an agent of codex tries; the cleaning meets files of others, too.
const GIT: &str = "git add -A; git commit -qam stolen; git stash -u; git checkout -q -- .; git reset -q --hard; git clean -fdx; git branch other; echo tried";

#[test]
fn whatever_an_agent_starts_writes_as_the_agent() {
    let Some(codex) = codex("whatever_an_agent_starts_writes_as_the_agent") else { return };
    let repo = TestRepo::with(&[
        ("boxed/a.txt", "one\n"),
        ("boxed/old", "o\n"),
        ("unboxed/a.txt", "one\n"),
        ("unboxed/old", "o\n"),
        ("mixed.txt", "one\n"),
        ("mixed-too.txt", "one\n"),
        ("free.txt", "one\n"),
        ("staged.txt", "1\n"),
        (".gitignore", ".env\n"),
    ]);
    repo.write(".env", "SECRET=1\n");
    repo.write("staged.txt", "2\n");
    repo.git(&["add", "staged.txt"]);
    repo.write("untracked.txt", "u\n");
    let saved = repo.tmp().join("saved");
    let work = |name: &str| {
        let dir = name;
        Script::new(name)
            .shell(GIT)
            .shell(&format!("cd {dir}; echo two >> a.txt; sed -i s/one/1/ a.txt; mv old new; cat > here.txt <<END\nhere $((1+1))\nEND"))
            .shell(&format!("cd {dir}; python3 -c 'open(\"py.txt\", \"w\").write(\"p\")'; (setsid sh -c 'sleep 2; echo late > late.txt' > /dev/null 2>&1 &) ; sleep 3"))
            .patch(&format!("*** Begin Patch\n*** Update File: {dir}/a.txt\n@@\n-two\n+due\n*** End Patch\n"))
            .wait_until("the daemon", { let late = repo.path().join(dir).join("late.txt"); move || late.exists() })
            .message("Done.")
    };
    let edited = |name: &str, path: &str| {
        Script::new(name)
            .patch(&format!("*** Begin Patch\n*** Update File: {path}\n@@\n-one\n+uno\n*** End Patch\n"))
            .write(&format!("{name}/own.txt"), "mine\n")
            .wait_for_file(&saved)
            .shell("true")
            .message("Done.")
    };
    let model = Model::start([
        work("boxed"),
        work("unboxed"),
        edited("editor", "mixed.txt"),
        edited("editor-commit", "mixed-too.txt"),
    ]);
    let agents = [
        agent("boxed", "[\"boxed/\"]", "on_conflict = \"deny\""),
        agent("unboxed", "[\"unboxed/\"]", "runner = \"unboxed\"\non_conflict = \"deny\""),
        agent("editor", "[\"mixed.txt\", \"editor/\"]", ""),
        agent("editor-commit", "[\"mixed-too.txt\", \"editor-commit/\"]", "on_outside_edit = \"commit\""),
    ];
    let child = start(&repo, &codex, &model, &agents);
    let written = ["mixed.txt", "mixed-too.txt"].map(|path| repo.path().join(path));
    let all = |paths: &[PathBuf]| paths.iter().all(|path| fs::read_to_string(path).is_ok_and(|text| text == "uno\n"));
    assert!(eventually(PATIENCE, || all(&written)), "both have patched");
    let own = ["editor", "editor-commit"].map(|id| repo.path().join(id).join("own.txt"));
    assert!(eventually(PATIENCE, || own.iter().all(|path| path.exists())), "both have written");
    repo.write("mixed.txt", "the editor's\n");
    repo.write("mixed-too.txt", "the editor's too\n");
    repo.write("free.txt", "the editor's alone\n");
    fs::write(&saved, "").unwrap();
    let ended = finished(&repo, child).expect(1);

    for id in ["boxed", "unboxed"] {
        assert_state(&ended, id, "COMPLETED", None);
        let files = ["a.txt", "here.txt", "late.txt", "new", "old", "py.txt"].map(|file| format!("{id}/{file}"));
        assert_eq!(repo.files_of(&format!("feat({id}): {id}")), files, "{}", ended.stderr);
        assert_eq!(repo.git(&["show", &format!("HEAD:{id}/a.txt")]), "1\ndue\n");
        assert_eq!(repo.read(&format!("{id}/here.txt")), "here 2\n");
        let sets = records(&repo, "write_set", id);
        let writes: Vec<&Value> = sets.iter().flat_map(|set| set["writes"].as_array().unwrap()).collect();
        assert!(writes.iter().all(|write| write["attribution"] == "certain"), "{writes:#?}");
    }
    let denied = ended.agent("unboxed")["denied"].to_string();
    assert!(denied.contains("a directory of git") && denied.contains(".env"), "{denied}");
    assert_eq!(repo.read(".env"), "SECRET=1\n");
    assert_eq!(repo.read("untracked.txt"), "u\n");
    assert_eq!(repo.git(&["diff", "--cached", "--name-only"]), "staged.txt\n");
    assert_eq!(
        (repo.git(&["stash", "list"]), repo.git(&["branch", "--list", "other"])),
        (String::new(), String::new())
    );

    assert_state(&ended, "editor", "FAILED", Some("outside_edit"));
    assert_eq!(repo.read("mixed.txt"), "the editor's\n");
    assert!(!repo.exists("editor/own.txt"), "the rest is put back");
    assert_state(&ended, "editor-commit", "COMPLETED", None);
    assert_eq!(repo.git(&["show", "HEAD:mixed-too.txt"]), "the editor's too\n");
    let body = repo.git(&["log", "--grep=feat(editor-commit)", "--format=%(trailers:only)"]);
    assert!(body.contains("Supervise-Mixed: mixed-too.txt\n"), "{body}");
    assert_eq!(repo.read("free.txt"), "the editor's alone\n");
    assert_eq!(ended.json()["unattributed"], json!(["free.txt"]));
    let ends: Vec<Value> = repo.records().into_iter().filter(|record| record["kind"] == "end_intended").collect();
    assert_eq!(ends, Vec::<Value>::new(), "nobody is ended");
    assert_eq!(
        repo.git(&["status", "--porcelain", "free.txt", "mixed.txt", "mixed-too.txt"]),
        " M free.txt\n M mixed.txt\n"
    );
    ran("gate-attribution");
}
