//! The judge's own test: a run in which every promise was kept, and the same run with one thing wrong
//! at a time, each of which it must name.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::XattrFlags;
use serde_json::json;

use crate::acts::metadata::ATTRIBUTE;
use crate::desk::{Deed, FREE, KEEPER, Matter, Outcome as Done, STRAY};
use crate::fault::Fault;
use crate::ground::{GRANTED, RULES, furnish, occupy, rule};
use crate::judge::judge;
use crate::snapshot::{Difference, Snapshot};
use crate::stage::{Layer, Outcome, Part};

/// What the judge must say of a run to which `harm` was done: the beginnings of the promises broken.
struct Case {
    name: &'static str,
    harm: fn(&mut Outcome),
    gate: &'static [&'static str],
    watch: &'static [&'static str],
}

const CASES: &[Case] = &[
    Case { name: "sound", harm: |_| {}, gate: &[], watch: &[] },
    Case {
        name: "a write that nobody mentions",
        harm: |run| {
            run.write_sets.retain(|(agent, ..)| agent != KEEPER);
            run.document["agents"][0]["writes"] = json!([]);
        },
        gate: &["1 not attributed"],
        watch: &["1 missed"],
    },
    Case {
        name: "a guess where certainty is promised",
        harm: |run| "inferred".clone_into(&mut run.write_sets[0].2),
        gate: &["1 not attributed"],
        watch: &[],
    },
    Case {
        name: "a wrong guess",
        harm: |run| run.write_sets.push((STRAY.to_owned(), "keeper/own/f0".to_owned(), "inferred".to_owned())),
        gate: &["1 wrongly attributed"],
        watch: &[],
    },
    Case {
        name: "the wrong agent, as certain",
        harm: |run| STRAY.clone_into(&mut run.write_sets[0].0),
        gate: &["1 not attributed", "1 wrongly attributed"],
        watch: &["1 certain, and wrong"],
    },
    Case {
        name: "a refusal that is not told",
        harm: |run| run.document["agents"][1]["denied"] = json!([]),
        gate: &["1 not attributed"],
        watch: &["1 missed"],
    },
    Case {
        name: "a refusal told of the wrong agent",
        harm: |run| run.document["agents"][0]["denied"] = json!(["free/f0"]),
        gate: &["1 wrongly attributed"],
        watch: &["1 certain, and wrong"],
    },
    Case {
        name: "an undeclared write in the workspace",
        harm: |run| run.changed.extend([("free/f0".to_owned(), Difference::Metadata)]),
        gate: &["1 undeclared and landed"],
        watch: &[],
    },
    Case {
        name: "an undeclared write in a commit",
        harm: |run| run.committed.extend(["keeper/theirs/f0".to_owned()]),
        gate: &["1 undeclared and landed"],
        watch: &[],
    },
    Case {
        name: "metadata that was changed by a deed, wherever it is now",
        harm: |run| {
            run.party[1].deeds.push(Deed { matter: Matter::Metadata, ..deed("free/f1", false, Done::Done) });
        },
        gate: &["1 undeclared and landed"],
        watch: &[],
    },
    Case {
        name: "what git ignores is anybody's",
        harm: |run| {
            run.party[1].deeds.push(Deed { matter: Matter::Ignored, ..deed("free/logs/n0", true, Done::Done) });
            run.changed.extend(["free/logs", "free/logs/n0"].map(|path| (path.to_owned(), Difference::Content)));
        },
        gate: &[],
        watch: &[],
    },
    Case {
        name: "what git ignores is refused",
        harm: |run| {
            let refused = deed("free/logs/n0", true, Done::Failed(13));
            run.party[1].deeds.push(Deed { matter: Matter::Ignored, ..refused });
        },
        gate: &["1 declared and refused"],
        watch: &["1 declared and refused"],
    },
    Case {
        name: "what git ignores is committed",
        harm: |run| run.committed.extend(["stray/own/logs/n0".to_owned()]),
        gate: &["1 undeclared and landed"],
        watch: &[],
    },
    Case {
        name: "a directory in the making is left",
        harm: |run| run.changed.extend([("free/logsA1b2C3/x".to_owned(), Difference::Content)]),
        gate: &["1 undeclared and landed"],
        watch: &[],
    },
    Case {
        name: "a user's own is removed",
        harm: |run| run.changed.extend([("free/logs2024Q1/mine".to_owned(), Difference::Content)]),
        gate: &["1 undeclared and landed"],
        watch: &[],
    },
    Case {
        name: "the rules are the stray one's to change",
        harm: |run| {
            run.party[1].deeds.push(deed(RULES, true, Done::Done));
            run.changed.extend([(RULES.to_owned(), Difference::Content)]);
            run.write_sets.push((STRAY.to_owned(), RULES.to_owned(), "certain".to_owned()));
        },
        gate: &[],
        watch: &[],
    },
    Case {
        name: "a link out of the workspace, refused as another file system",
        harm: |run| run.party[0].deeds.push(deed("keeper/own/f1", false, Done::Failed(18))),
        gate: &[],
        watch: &[],
    },
    Case {
        name: "a link out of the workspace",
        harm: |run| {
            run.party[0].deeds.push(deed("keeper/own/f1", false, Done::Done));
            run.write_sets.push((KEEPER.to_owned(), "keeper/own/f1".to_owned(), "certain".to_owned()));
        },
        gate: &["1 undeclared and landed"],
        watch: &[],
    },
    Case {
        name: "what was granted is written by who has it",
        harm: |run| granted_to(run, &[(0, true)]),
        gate: &[],
        watch: &[],
    },
    Case {
        name: "what was granted is written by who has it not",
        harm: |run| granted_to(run, &[(0, true), (1, false)]),
        gate: &["1 undeclared and landed"],
        watch: &[],
    },
    Case {
        name: "a declared write that is refused",
        harm: |run| run.party[0].deeds.push(deed("keeper/own/f1", true, Done::Failed(13))),
        gate: &["1 declared and refused"],
        watch: &["1 declared and refused"],
    },
    Case {
        name: "one that kept to the rules is killed",
        harm: |run| run.party[0].done = false,
        gate: &["1 agents wrongly ended"],
        watch: &["1 agents wrongly ended"],
    },
    Case {
        name: "the stray one is killed",
        harm: |run| run.party[1].done = false,
        gate: &["1 agents wrongly ended"],
        watch: &[],
    },
    Case {
        name: "one does not complete",
        harm: |run| run.document["agents"][0]["state"] = json!("FAILED"),
        gate: &["1 agents wrongly ended"],
        watch: &[],
    },
];

/// What the judge gets wrong, as lines for people.
pub(crate) fn check() -> Vec<String> {
    let mut wrong = Vec::new();
    for case in CASES {
        for (layer, expected) in [(Layer::Gate, case.gate), (Layer::Watch, case.watch)] {
            let mut run = sound();
            (case.harm)(&mut run);
            let broken = judge(case.name, layer, &run).broken;
            let as_expected =
                broken.len() == expected.len() && broken.iter().zip(expected).all(|(b, e)| b.starts_with(e));
            if !as_expected {
                wrong.push(format!("{}, {}: {broken:?} instead of {expected:?}", case.name, layer.name()));
            }
        }
    }
    wrong
}

/// Who wrote what `keeper` was granted, each as certain, and whether it may.
fn granted_to(run: &mut Outcome, writers: &[(usize, bool)]) {
    for &(writer, may) in writers {
        let agent = run.party[writer].agent.clone();
        run.party[writer].deeds.push(deed(GRANTED, may, Done::Done));
        run.write_sets.push((agent, GRANTED.to_owned(), "certain".to_owned()));
    }
    run.changed.extend([(GRANTED.to_owned(), Difference::Content)]);
}

/// What is done to a path.
type Harm = fn(&Path) -> io::Result<()>;

/// Each done to a workspace in which nothing else happens: the path, and what is done to it.
const HARMS: &[(&str, Harm)] = &[
    ("free/f0", |path| fs::set_permissions(path, fs::Permissions::from_mode(0o755))),
    ("free/f1", |path| fs::set_permissions(path, fs::Permissions::from_mode(0o600))),
    ("keeper/theirs/f2", |path| File::open(path)?.set_modified(SystemTime::UNIX_EPOCH)),
    ("free/f3", |path| Ok(rustix::fs::setxattr(path, ATTRIBUTE, b"1", XattrFlags::CREATE)?)),
    ("free/sub", |path| fs::set_permissions(path, fs::Permissions::from_mode(0o700))),
    ("free/sub2", |path| File::open(path)?.set_modified(SystemTime::UNIX_EPOCH)),
    ("keeper/theirs/sub3", |path| Ok(rustix::fs::setxattr(path, ATTRIBUTE, b"1", XattrFlags::CREATE)?)),
    ("free/notes/mine", |path| fs::write(path, "taken over\n")),
    ("free/logs2024Q1/mine", |path| fs::remove_file(path)),
    ("free/logs2024Q2/new", |path| fs::write(path, "new\n")),
    (".gitignore", |path| fs::write(path, "notes/\n")),
];

/// Does the judge see what landed by the workspace alone? What it does not see, as lines for people.
pub(crate) fn check_workspace(attributes: bool) -> Result<Vec<String>, Fault> {
    let mut unseen = Vec::new();
    for (path, harm) in HARMS {
        let dir = tempfile::tempdir()?;
        let root = dir.path();
        [FREE, "keeper/theirs"].iter().try_for_each(|area| furnish(root, area))?;
        rule(root)?;
        occupy(root)?;
        let before = Snapshot::take(root)?;
        match harm(&root.join(path)) {
            // Where there are no attributes, none can be set.
            Err(_) if !attributes => continue,
            done => done?,
        }
        let mut run = sound();
        run.changed.extend(before.differences(&Snapshot::take(root)?));
        let row = judge("workspace", Layer::Gate, &run);
        if row.landed != 1 || !row.notes.contains(&format!("landed: {path}")) {
            unseen.push(format!("what landed at {path}: {:?}", row.notes));
        }
    }
    Ok(unseen)
}

fn deed(path: &str, allowed: bool, outcome: Done) -> Deed {
    Deed { paths: vec![path.to_owned()], matter: Matter::Content, via: Vec::new(), allowed, outcome, retried: 0 }
}

/// Two agents: each changed one path of its own, and one was refused another.
fn sound() -> Outcome {
    let part = |agent: &str, deeds| Part { agent: agent.to_owned(), deeds, done: true };
    let write = |agent: &str| (agent.to_owned(), format!("{agent}/own/f0"), "certain".to_owned());
    let paths = [KEEPER, STRAY].map(|agent| format!("{agent}/own/f0"));
    let agent = |id: &str, path: &str, denied: &[&str]| json!({"id": id, "state": "COMPLETED", "writes": [path], "denied": denied, "in_tree": []});
    Outcome {
        party: vec![
            part(KEEPER, vec![deed(&paths[0], true, Done::Done)]),
            part(STRAY, vec![deed(&paths[1], true, Done::Done), deed("free/f0", false, Done::Failed(13))]),
        ],
        document: json!({
            "agents": [agent(KEEPER, &paths[0], &[]), agent(STRAY, &paths[1], &["free/f0"])],
            "unattributed": [],
        }),
        write_sets: vec![write(KEEPER), write(STRAY)],
        changed: BTreeMap::from(paths.clone().map(|path| (path, Difference::Content))),
        committed: paths.into(),
        took: Duration::ZERO,
        progress: String::new(),
    }
}
