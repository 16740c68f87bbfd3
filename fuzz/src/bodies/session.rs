//! A session file, and what `check` shows of it.
//!
//! What is wrong with it is said with places that are in it and without commands to the terminal. What is good
//! comes back the same from each form in which it is kept or printed.

use supervise::cli::check::analysis;
use supervise::core::newcomer::NewAgent;
use supervise::journal::{KeptPlan, read_plan, write_plan};
use supervise::render::check::{CheckDocument, Checked, checked};
use supervise::render::diagnostic::{self, Look};
use supervise::render::resolved::resolved;
use supervise::render::style::Palette;
use supervise::session::append::append;
use supervise::session::{LoadOptions, Loaded, Origin, Problem, SessionErrors, SourceText, kept, load, workspace_of};

use super::{assert_lines, assert_one_line, ground};

const LOOKS: [Look; 2] = [Look::Plain, Look::Graphical { color: false, width: 60 }];

pub fn session(data: &[u8]) {
    let _ = workspace_of(&Origin::StandardInput, data);
    match read(data) {
        Ok(loaded) => good(&loaded),
        Err(errors) => bad(&errors),
    }
    if let Ok(text) = std::str::from_utf8(data) {
        added(text);
    }
}

/// As standard input, from the ground.
pub(super) fn read(data: &[u8]) -> Result<Loaded, SessionErrors> {
    let options = LoadOptions { base_dir: ground(), workspace: ground(), ..LoadOptions::default() };
    load(&Origin::StandardInput, data, &options)
}

fn bad(errors: &SessionErrors) {
    assert!(errors.count() > 0, "an error without a reason: {errors:?}");
    assert_one_line(&errors.to_string());
    problems(&errors.problems, &errors.source);
    for look in LOOKS {
        assert_lines(&diagnostic::errors(errors, look));
    }
    serde_json::to_string(&CheckDocument::invalid(errors)).expect("it can be written as JSON");
}

fn problems(problems: &[Problem], source: &SourceText) {
    for problem in problems {
        assert!(problem.line != Some(0) && problem.column != Some(0), "places count from 1: {problem:?}");
        if let Some(span) = &problem.span {
            assert!(source.text().get(span.clone()).is_some(), "it underlines what is not there: {problem:?}");
        }
    }
    for look in LOOKS {
        assert_lines(&diagnostic::problems(problems, source, look));
    }
}

fn good(loaded: &Loaded) {
    let Loaded { session, warnings, source } = loaded;
    problems(warnings, source);

    let analysis = analysis(session);
    serde_json::to_string(&CheckDocument::valid(&session.plan, &analysis, warnings)).expect("it is JSON");
    for width in [20, 80, usize::MAX] {
        let plan = &session.plan;
        let next = "supervise run";
        let palette = Palette::Plain;
        let name = &session.name;
        assert_lines(&checked(&Checked { session: name, plan, analysis: &analysis, warnings, next, palette, width }));
    }

    let printed = resolved(session);
    match read(printed.as_bytes()) {
        Ok(again) => assert_eq!(resolved(&again.session), printed, "what is printed means something else"),
        Err(errors) => panic!("what is printed is no session: {:?}\n{printed}", errors.problems),
    }

    let kinds = session.launches.iter().map(|(id, launch)| (id.clone(), format!("{:?}", launch.kind))).collect();
    let plan = write_plan(&KeptPlan { plan: session.plan.clone(), kinds }).expect("a plan can be kept");
    let read = read_plan(&plan).unwrap_or_else(|error| panic!("a kept plan is lost: {error:?}"));
    assert_eq!(write_plan(&read).expect("again"), plan, "a kept plan has changed");

    let text = kept::write(session).expect("a session can be kept");
    let read = kept::read(&text, read.plan, session.source.clone());
    let read = read.unwrap_or_else(|error| panic!("a kept session is lost: {error:?}"));
    assert_eq!(kept::write(&read).expect("again"), text, "a kept session has changed");
}

/// An agent that is put at the end of the file.
fn added(text: &str) {
    let agent = NewAgent { id: "added".to_owned(), files: vec!["a b/*.rs".to_owned()], ..NewAgent::default() };
    let Ok(longer) = append(text, &agent) else { return };
    let _ = read(longer.as_bytes());
    if longer.starts_with(text) {
        assert!(append(&longer, &agent).is_ok(), "what was added broke the file: {longer:?}");
    } else {
        // Into an `agent = [{ … }]`.
        assert!(text.contains('['), "bytes that were there have changed: {longer:?}");
    }
}
