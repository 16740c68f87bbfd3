//! What is printed by those that clear a run, take it up, try it again, and by those that use or remove what it
//! left, each time that they do so.

use super::typed::Session;
use super::{TestRepo, begun, go};

#[test]
fn a_run_that_was_cut_off_is_cleared_taken_up_and_tried_again() {
    let repo = TestRepo::with(&[("src/api", "old\n"), ("docs/y", "")]);
    begun(&repo).kill();
    let mut session = Session::of(&repo);
    session.types("reset --format json");
    go(&repo);
    session.types("resume --format json");
    for line in ["retry --format json", "retry --format jsonl"] {
        session.types(line);
        session.types("status");
    }
    for line in ["runs prune --keep 2 --salvage", "runs prune --keep 1 --salvage --format json"] {
        session.types(line);
        session.types("runs list");
    }
    for line in ["salvage apply bad --format json", "salvage drop --all --format json", "wait --format json"] {
        session.types(line);
    }
    insta::assert_snapshot!("a_run_that_is_tried_again", session.told);
}
