//! What came of images that were named: docker's form.

use reclaim_model::{Mode, Report};

use super::{Ids, add_line, amount, count, total};

/// Renders what was untagged and deleted; of a dry run what would be, and what that frees.
pub(crate) fn report(report: &Report, ids: Ids) -> String {
    let (untagged, deleted) = match report.mode {
        Mode::DryRun => ("Would untag", "Would delete"),
        Mode::Apply => ("Untagged", "Deleted"),
    };
    let mut text = String::new();
    for removal in report.named.iter().map(|named| &named.removal) {
        for name in &removal.untagged {
            add_line(&mut text, format_args!("{untagged}: {name}"));
        }
        for digest in &removal.deleted {
            add_line(&mut text, format_args!("{deleted}: {digest}"));
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
        super::add_not_counted(&mut text, report, ids);
        text.push_str("nothing was removed (dry run)\n");
    }
    text
}
