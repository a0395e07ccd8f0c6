//! What came of images that were named: docker's form.

use reclaim_model::{Mode, Report, Row};

use super::{add_line, amount, count, total};

/// Renders what was untagged and deleted; of a dry run what would be, and what that frees.
pub(crate) fn report(report: &Report) -> String {
    let (untagged, deleted) = match report.mode {
        Mode::DryRun => ("Would untag", "Would delete"),
        Mode::Apply => ("Untagged", "Deleted"),
    };
    let mut text = String::new();
    let removals = report
        .named
        .iter()
        .filter_map(|it| it.outcome.as_ref().ok());
    for row in removals.flat_map(|removal| &removal.rows) {
        match row {
            Row::Untagged(name) => add_line(&mut text, format_args!("{untagged}: {name}")),
            Row::Deleted(digest) => add_line(&mut text, format_args!("{deleted}: {digest}")),
        }
    }
    if report.mode == Mode::DryRun {
        let estimate = report.estimate.0;
        let records = count(report.removed.len(), "name");
        let bytes = total(estimate);
        let parts = amount(estimate);
        add_line(
            &mut text,
            format_args!("Would remove {records} and reclaim {bytes}: {parts}"),
        );
        super::add_beside(&mut text, report);
        text.push_str("nothing was removed (dry run)\n");
    }
    text
}
