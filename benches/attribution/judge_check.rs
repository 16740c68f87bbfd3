//! The judge's own test: a run in which every promise was kept, and the same run with one thing wrong
//! at a time, each of which it must name.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use crate::desk::{Deed, KEEPER, Matter, Outcome as Done, STRAY};
use crate::judge::judge;
use crate::snapshot::Difference;
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
