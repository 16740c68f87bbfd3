//! The report, for people and for CI.

use supervise::core::call::{RefusedPath, Touch};
use supervise::core::conflict::ConflictId;
use supervise::core::lifecycle::State;
use supervise::core::moment::Moment;
use supervise::core::reason::DenialReason;
use supervise::core::view::{DeniedView, RunView, Why};
use supervise::render::junit;

use super::views::{ci_view, gated_view, view};
use super::{Shown, agent, path};

#[test]
fn the_report_tells_what_became_of_every_agent() {
    insta::assert_snapshot!(Shown::ended(view()).report(80));
}

#[test]
fn the_report_tells_what_was_refused_and_who_met_whom() {
    insta::assert_snapshot!(Shown::ended(gated_view()).report(80));
}

#[test]
fn advice_is_whole_and_names_no_directory() {
    let mut view = gated_view();
    let denied = |text: &str, touch, why| DeniedView { path: RefusedPath::Inside(path(text)), touch, why };
    let by = || agent("agent-1");
    let many = (0..30).map(|n| denied(&format!("gen/{n}.rs"), Touch::Open, DenialReason::Undeclared));
    view.agents[1].denied = vec![
        denied("src", Touch::Change, DenialReason::Directory),
        denied("lib", Touch::Change, DenialReason::Conflict { conflict: ConflictId(1), holder: by() }),
        denied("lib/[id].ts", Touch::Open, DenialReason::Conflict { conflict: ConflictId(1), holder: by() }),
        denied("next.rs", Touch::Open, DenialReason::Reserved { by: by() }),
    ];
    view.agents[1].denied.extend(many);
    let text = Shown::ended(view).report(80);
    let from = text.find("    denied").unwrap();
    let to = text.find("\n\nCONFLICTS").unwrap();
    insta::assert_snapshot!(&text[from..to]);
}

#[test]
fn what_is_left_in_the_tree_counts_as_changed() {
    let mut view = gated_view();
    view.conflicts.clear();
    let left = &mut view.agents[1];
    (left.state, left.why, left.denied) = (State::Completed, Why::NothingCommitted, vec![]);
    left.in_tree = vec![path("hops.py")];
    let text = Shown::ended(view).report(80);
    let row: Vec<&str> = text.lines().find(|line| line.starts_with("agent-5  ")).unwrap().split_whitespace().collect();
    assert_eq!((row[1], row[3], row[4]), ("COMPLETED", "1", "-"), "{text}");
    assert!(text.contains("agent-5 COMPLETED: nothing of what it changed was committed\n"), "{text}");
    assert!(text.contains("not committed: hops.py"), "{text}");
}

#[test]
fn the_table_fits_its_width() {
    use unicode_width::UnicodeWidthStr as _;
    for width in [80, 120] {
        let text = Shown::ended(view()).report(width);
        let table: Vec<&str> = text.lines().skip_while(|l| !l.starts_with("AGENT")).take(5).collect();
        assert_eq!(table.len(), 5);
        for line in table {
            assert!(line.width() <= width, "{width}: {line}");
        }
    }
}

#[test]
fn a_run_of_nothing_has_a_report() {
    let empty = RunView { agents: vec![], unattributed: vec![], head: None, base: None, branch: None, ..view() };
    let text = Shown { view: empty, at: Moment(5) }.report(10);
    assert!(text.starts_with("backend-foundation  FAILED"), "{text}");
}

#[test]
fn a_run_is_told_to_ci_as_junit() {
    insta::assert_snapshot!(Shown::ended(ci_view()).junit());
    insta::assert_snapshot!(junit::unusable("cannot \u{1b}[1mswitch\u{1b}[0m to <b>\nbecause & so"));
}

#[test]
fn a_run_is_told_to_ci_as_a_table() {
    insta::assert_snapshot!(Shown::ended(ci_view()).markdown());
}
