//! Results for images that the user named, in docker's form: `image rm`, `pin` and `unpin`.

use reclaim_model::{Mode, PinAction, PinOutcome, Report, familiar_name};

use super::report::add_not_counted;
use super::{Text, Truncation, amount, count, total};

/// Renders what was untagged and deleted. For a dry run: what would be, and how much that frees.
pub(crate) fn removals(report: &Report, trunc: Truncation) -> Text {
    let (untagged, deleted) = match report.mode {
        Mode::DryRun => ("Would untag", "Would delete"),
        Mode::Apply => ("Untagged", "Deleted"),
    };
    let mut text = Text::default();
    for removal in report.named.iter().map(|named| &named.removal) {
        for name in &removal.untagged {
            text.line(format_args!("{untagged}: {name}"));
        }
        for digest in &removal.deleted {
            text.line(format_args!("{deleted}: {digest}"));
        }
    }
    if report.mode == Mode::DryRun {
        let estimate = report.estimate.0;
        let records = count(report.removed.len(), "name");
        let bytes = total(estimate);
        let parts = amount(estimate);
        text.line(format_args!(
            "Would remove {records} and reclaim {bytes}: {parts}"
        ));
        add_not_counted(&mut text, report, trunc);
        text.line("nothing was removed (dry run)");
    }
    text
}

/// Renders the records that were changed, as docker renders removals.
pub(crate) fn pins(action: PinAction, outcomes: &[PinOutcome]) -> Text {
    let done = match action {
        PinAction::Pin => "Pinned",
        PinAction::Unpin | PinAction::UnpinAny => "Unpinned",
    };
    let mut text = Text::default();
    for name in outcomes.iter().flat_map(|outcome| &outcome.changed) {
        text.line(format_args!("{done}: {}", familiar_name(name)));
    }
    text
}

/// Returns the message for an image that had the requested state already.
pub(crate) fn pin_unchanged(action: PinAction, name: &str) -> String {
    match action {
        PinAction::Pin => format!("{name} was already pinned"),
        PinAction::Unpin | PinAction::UnpinAny => format!("{name} was not pinned"),
    }
}
