//! What came of the images of a project.

use reclaim_model::Mode;
use serde::Serialize;

use super::named::{NamedJson, of};
use super::{ReportJson, VERSION, render, report_json};
use crate::commands::project::prune::Outcome;
use crate::commands::project::word;

#[derive(Serialize)]
struct OutcomeJson<'a> {
    version: u32,
    project: &'a str,
    rmi: &'static str,
    dry_run: bool,
    engine: &'a str,
    images: Vec<NamedJson<'a>>,
    report: Option<ReportJson<'a>>,
}

/// Renders what came of the images of a project as one object and a newline.
pub(crate) fn outcome(outcome: &Outcome<'_>) -> String {
    let Outcome {
        request,
        mode,
        engine,
        named,
        report,
    } = outcome;
    render(&OutcomeJson {
        version: VERSION,
        project: request.project.name.as_str(),
        rmi: word(request.mode),
        dry_run: *mode == Mode::DryRun,
        engine,
        images: named.iter().map(of).collect(),
        report: report.map(|report| ReportJson {
            // They are told above.
            named: Vec::new(),
            ..report_json(report)
        }),
    })
}
