//! Any fact: what comes out of a file is what was put in.

use std::time::Duration;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::strategy::Union;
use supervise::core::call::{RefusedPath, Touch};
use supervise::core::change::{Attribution, Change, Entry, Mode, ObjectId};
use supervise::core::conflict::{ConflictId, Found};
use supervise::core::effect::{Part, PlaceIntent};
use supervise::core::ids::{AgentId, Attempt, AttemptId};
use supervise::core::lifecycle::State;
use supervise::core::moment::Moment;
use supervise::core::path::RepoPath;
use supervise::core::reason::{BusyReason, DenialReason, EndReason, Exit, Limit};
use supervise::core::record::{Fact, Fate, Need, RateLimit, Record, RequeueReason, Summary, Usage, Write};

use crate::facts::{agent, one_of_each, one_of_each_added};
use crate::{Kept, records_of, wall};

fn agents() -> impl Strategy<Value = AgentId> {
    "[a-z0-9][a-zA-Z0-9_-]{0,20}".prop_map(|t| agent(&t))
}

fn attempts() -> impl Strategy<Value = AttemptId> {
    (agents(), any::<u32>()).prop_map(|(agent, n)| AttemptId { agent, attempt: Attempt(n) })
}

fn paths() -> impl Strategy<Value = RepoPath> {
    vec(any::<u8>(), 1..40).prop_filter_map("not a path", |bytes| RepoPath::new(&bytes).ok())
}

fn refused_paths() -> impl Strategy<Value = RefusedPath> {
    prop_oneof![paths().prop_map(RefusedPath::Inside), any::<String>().prop_map(RefusedPath::Other)]
}

fn oids() -> impl Strategy<Value = ObjectId> {
    prop_oneof![vec(any::<u8>(), 20), vec(any::<u8>(), 32)].prop_map(|b| ObjectId::from_bytes(&b).unwrap())
}

fn millis() -> impl Strategy<Value = Duration> {
    any::<u64>().prop_map(Duration::from_millis)
}

fn moments() -> impl Strategy<Value = Moment> {
    any::<u64>().prop_map(Moment)
}

fn exits() -> impl Strategy<Value = Exit> {
    prop_oneof![any::<i32>().prop_map(Exit::Code), any::<i32>().prop_map(Exit::Signal), Just(Exit::Lost)]
}

fn reasons() -> impl Strategy<Value = EndReason> {
    prop_oneof![
        exits().prop_map(EndReason::Exit),
        any::<String>().prop_map(|message| EndReason::RunnerFailed { message }),
        millis().prop_map(|after| EndReason::Timeout { after }),
        vec(paths(), 0..4).prop_map(|paths| EndReason::ChangedUnderneath { paths, more: 0 }),
        agents().prop_map(|on| EndReason::DependencyFailed { on }),
        Just(EndReason::LimitReached(Limit::Failures)),
        vec(paths(), 0..4).prop_map(|paths| EndReason::Busy { paths }),
        (any::<u32>(), paths(), agents()).prop_map(|(n, path, with)| EndReason::Outranked {
            conflict: ConflictId(n),
            path,
            with
        }),
        vec(refused_paths(), 0..4).prop_map(|paths| EndReason::AllDenied { paths, more: 0 }),
    ]
}

fn writes() -> impl Strategy<Value = Write> {
    let modes = || prop_oneof![Just(Mode::File), Just(Mode::Executable), Just(Mode::Symlink), Just(Mode::Submodule)];
    let entries = move || option::of((modes(), oids()).prop_map(|(mode, id)| Entry { mode, id }));
    let fates = prop_oneof![Just(Fate::Commit), Just(Fate::SalvageOnly), Just(Fate::Leave)];
    (paths(), entries(), entries(), fates).prop_map(|(path, before, after, fate)| Write {
        change: Change { path, before, after },
        attribution: Attribution::Inferred,
        fate,
    })
}

fn summaries() -> impl Strategy<Value = Summary> {
    let usage =
        (any::<u64>(), any::<u64>()).prop_map(|(input_tokens, output_tokens)| Usage { input_tokens, output_tokens });
    let limits = option::of(millis()).prop_map(|lifts_after| RateLimit { lifts_after });
    let needs = (any::<String>(), any::<String>()).prop_map(|(path, why)| Need { path, why });
    let text = || option::of(any::<String>());
    (text(), option::of(usage), text(), text(), option::of(limits), vec(needs, 0..3)).prop_map(
        |(message, usage, thread, fatal, rate_limit, needs)| Summary {
            message,
            usage,
            thread,
            fatal,
            rate_limit,
            needs,
        },
    )
}

fn records() -> impl Strategy<Value = Record> {
    let facts: Vec<BoxedStrategy<Fact>> = vec![
        (0..one_of_each().len()).prop_map(|i| one_of_each().swap_remove(i).fact).boxed(),
        (0..one_of_each_added().len()).prop_map(|i| one_of_each_added().swap_remove(i).fact).boxed(),
        (attempts(), vec(paths(), 0..5)).prop_map(|(id, paths)| Fact::Wrote { id, paths }).boxed(),
        (attempts(), refused_paths(), any::<String>())
            .prop_map(|(id, path, error)| Fact::Denied {
                id,
                part: Part::Agent,
                path,
                touch: Touch::Change,
                why: DenialReason::NotKept { error },
            })
            .boxed(),
        (attempts(), paths(), agents())
            .prop_map(|(id, path, by)| Fact::Busied { id, path, why: BusyReason::Held { by } })
            .boxed(),
        (any::<u32>(), paths(), attempts(), attempts())
            .prop_map(|(n, path, writer, holder)| {
                let attribution = Attribution::Certain;
                Fact::ConflictFound(Found { conflict: ConflictId(n), path, writer, holder, attribution })
            })
            .boxed(),
        (attempts(), summaries(), exits())
            .prop_map(|(id, summary, exit)| Fact::TreeEnded { id, exit, summary })
            .boxed(),
        (attempts(), vec(writes(), 0..5)).prop_map(|(id, writes)| Fact::WriteSet { id, writes }).boxed(),
        (agents(), option::of(reasons()))
            .prop_map(|(agent, reason)| Fact::AgentEnded { agent, state: State::Timeout, reason })
            .boxed(),
        (attempts(), reasons(), moments())
            .prop_map(|(id, why, not_before)| Fact::AgentRequeued { id, why: RequeueReason::Retry(why), not_before })
            .boxed(),
        (attempts(), any::<String>(), option::of(oids()), oids())
            .prop_map(|(id, reference, old, new)| Fact::PlaceIntended {
                id,
                intent: PlaceIntent { reference, old, new },
            })
            .boxed(),
        (attempts(), exits(), millis(), any::<String>())
            .prop_map(|(id, exit, took, tail)| Fact::Verified { id, exit, took, tail })
            .boxed(),
        vec(paths(), 0..5).prop_map(|unattributed| Fact::Surveyed { unattributed }).boxed(),
    ];
    (moments(), Union::new(facts)).prop_map(|(at, fact)| Record { at, fact })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_record_comes_back_the_same(batch in vec(records(), 1..12)) {
        let kept = Kept::nothing();
        let mut journal = kept.begin();
        let _ = journal.append(&batch, (), wall()).unwrap();
        let replay = kept.read().unwrap();
        prop_assert_eq!(records_of(&replay), batch.clone());
        prop_assert_eq!(replay.entries, journal.entries(&batch, wall()));
    }
}
