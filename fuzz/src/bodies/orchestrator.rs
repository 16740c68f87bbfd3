//! An `orchestrator.json`: what is taken over loads as a session, and what is not has its place in the text.

use supervise::session::orchestrator::{convert, is_json};

use super::session::read;

pub fn orchestrator(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = is_json(text);
    match convert(text) {
        Ok(session) => {
            if let Err(errors) = read(session.as_bytes()) {
                panic!("what was taken over does not load: {:?}\n{session}", errors.problems);
            }
        }
        Err(problems) => {
            assert!(!problems.is_empty(), "refused without a reason");
            for problem in problems {
                let there = text.get(problem.offset..problem.offset + problem.len);
                assert!(there.is_some() && problem.line > 0 && problem.column > 0, "no place in the text: {problem:?}");
            }
        }
    }
}
