//! Reports of prunes and slims.

use reclaim_model::{Amount, HumanSize, Kept, Mode, Report, Row};

use super::style::Style;
use super::{Table, Text, Truncation, amount, count, not_freed, shown_name, slim, total, warnings};

/// What a command does with images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// It removes their records.
    Removal,
    /// It frees parts of them, and the records stay.
    Slim,
}

impl Change {
    /// Whether the plan of a report changes anything.
    pub(crate) fn is_any(self, report: &Report) -> bool {
        match self {
            Self::Removal => !report.removed.is_empty(),
            Self::Slim => !report.cuts.is_empty(),
        }
    }

    fn participle(self) -> &'static str {
        match self {
            Self::Removal => "removed",
            Self::Slim => "slimmed",
        }
    }
}

/// Renders a report: for a run what it changed, for removals in docker's form; for a dry run as tables
/// of the images that would change and of the others.
pub(crate) fn text(report: &Report, change: Change, trunc: Truncation) -> Text {
    match (report.mode, change) {
        (Mode::DryRun, Change::Removal) => dry_run(report, trunc),
        (Mode::Apply, Change::Removal) => pruned(report),
        (Mode::DryRun, Change::Slim) => slim::dry_run(report, trunc),
        (Mode::Apply, Change::Slim) => slim::slimmed(report, trunc),
    }
}

/// Docker's output of `image prune`, byte for byte.
fn pruned(report: &Report) -> Text {
    let mut text = Text::default();
    if !report.rows.is_empty() {
        text.line("Deleted Images:");
        for row in &report.rows {
            match row {
                Row::Untagged(name) => text.line(format_args!("untagged: {name}")),
                Row::Deleted(digest) => text.line(format_args!("deleted: {digest}")),
            }
        }
        text.blank();
    }
    let bytes = total(report.reclaimed.0);
    text.line(format_args!("Total reclaimed space: {bytes}"));
    text
}

fn dry_run(report: &Report, trunc: Truncation) -> Text {
    let mut text = Text::default();
    if !report.removed.is_empty() {
        text.line("Would remove:");
        text.table(&removal_table(report, trunc));
        text.blank();
    }
    if !report.kept.is_empty() {
        text.line("Would keep:");
        text.table(&kept_table(&report.kept, trunc));
        text.blank();
    }
    let estimate = report.estimate.0;
    let images = count(report.removed.len(), "image");
    let bytes = total(estimate);
    text.styled_line(
        Style::Amount,
        format_args!(
            "Would remove {images} and reclaim {bytes}: {}",
            amount(estimate)
        ),
    );
    if let Some(target) = &report.target_free {
        text.line(format_args!("To free: {target}"));
    }
    add_not_counted(&mut text, report, trunc);
    text.line("nothing was removed (dry run)");
    text
}

/// Adds what the estimate does not count, or not for certain.
pub(super) fn add_not_counted(text: &mut Text, report: &Report, trunc: Truncation) {
    let at_least = report.estimate_at_least;
    if at_least != report.estimate {
        let bytes = HumanSize(at_least.0.total_bytes());
        let line = format_args!("At least {bytes}: not everything could be read");
        text.line(line);
    }
    let pending = report.not_counted.pending.amount();
    if pending != Amount::default() {
        let bytes = total(pending);
        let line = format_args!("Garbage already, not counted: {bytes}: {}", amount(pending));
        text.line(line);
    }
    let history = &report.not_counted.history;
    if history.configs > 0 {
        let amount = history.freed.amount();
        let bytes = total(amount);
        let line = format_args!(
            "Held only by build history, not counted: {bytes}: {}; --unpin-build-history frees it",
            count(amount.snapshots, "snapshot"),
        );
        text.line(line);
    }
    if let Some(leased) = not_freed::leased(&report.not_counted.leased, trunc) {
        let line = format_args!("Held only by leases, not counted: {leased}");
        text.line(line);
    }
    let elsewhere = report.not_counted.kept_elsewhere.amount().content_bytes;
    if elsewhere > 0 {
        let bytes = HumanSize(elsewhere);
        let line = format_args!("Kept on disk by other namespaces, not counted: {bytes}");
        text.line(line);
    }
}

/// Renders the images that a run changes, and what that frees, for the confirmation prompt.
pub(crate) fn before_prompt(report: &Report, change: Change, trunc: Truncation) -> Text {
    let (mut text, images) = match change {
        Change::Removal => (
            Text::of(&removal_table(report, trunc)),
            report.removed.len(),
        ),
        Change::Slim => (slim::parts(report, trunc), report.slimmed.len()),
    };
    let images = count(images, "image");
    let bytes = total(report.estimate.0);
    let amount = amount(report.estimate.0);
    text.blank();
    text.styled_line(Style::Amount, format_args!("{images}, {bytes}: {amount}"));
    if let Some(target) = &report.target_free {
        text.line(format_args!("To free: {target}"));
    }
    if change == Change::Slim {
        for line in slim::costs(report) {
            text.line(line);
        }
    }
    text
}

/// Returns the messages about a report: which images were not changed, and [`notes`].
pub(crate) fn messages(report: &Report, change: Change, trunc: Truncation) -> Vec<String> {
    let participle = change.participle();
    let named = report.named.iter().filter_map(|named| named.error.as_ref());
    let named = named.map(|error| format!("error: {error}"));
    let refused = report.refused.iter().map(|refused| {
        let reason = trunc.refusal(&refused.reason);
        format!("not {participle}: {}: {reason}", refused.name)
    });
    let failed = report
        .failed
        .iter()
        .map(|failed| format!("error: {}: {}", failed.name, failed.error));
    let advice = match change {
        Change::Removal => Vec::new(),
        Change::Slim => slim::advice(report, trunc),
    };
    let lines = named.chain(refused).chain(failed).chain(advice);
    lines.chain(notes(report, trunc)).collect()
}

/// Returns the messages about a report except those about single images: warnings, what was not
/// freed, what is held, and why the run is unfinished.
pub(crate) fn notes(report: &Report, trunc: Truncation) -> Vec<String> {
    let mut lines = warnings(&report.warnings, trunc);
    if report.mode == Mode::Apply
        && let Some(target) = &report.target_free
    {
        lines.push(format!("to free: {target}"));
    }
    lines.extend(not_freed::left(report, trunc));
    for stranded in &report.stranded {
        let amount = not_freed::unrecorded(stranded, trunc);
        let outlook = not_freed::outlook(stranded);
        lines.push(format!("left on disk without a record: {amount}"));
        lines.push(format!("hint: {outlook}"));
    }
    // A dry run lists it with what the estimate does not count.
    if report.mode == Mode::Apply
        && let Some(leased) = not_freed::leased(&report.not_counted.leased, trunc)
    {
        lines.push(format!("not freed, held only by leases: {leased}"));
    }
    if let Some(until) = report.held_until {
        let run = &report.run;
        lines.push(format!(
            "held until {until:.0}: `reclaim undo {run}` restores, `reclaim release {run}` frees"
        ));
    }
    if let Some(error) = &report.unfinished {
        lines.push(format!("error: the run is unfinished: {error}"));
        lines
            .push("hint: what was removed is held; the next prune restores or frees it".to_owned());
    }
    lines
}

fn removal_table(report: &Report, trunc: Truncation) -> Table {
    let mut table = Table::new(["IMAGE", "TARGET", "REASON"]);
    for removed in &report.removed {
        let reason = removed.reason.text().to_owned();
        table.add_row([
            shown_name(&removed.name, &removed.target),
            trunc.digest(&removed.target),
            reason,
        ]);
    }
    table
}

/// Returns a table of images that stay, and why.
pub(super) fn kept_table<'k>(kept: impl IntoIterator<Item = &'k Kept>, trunc: Truncation) -> Table {
    let mut table = Table::new(["IMAGE", "TARGET", "REASON"]);
    for kept in kept {
        table.add_row([
            shown_name(&kept.name, &kept.target),
            trunc.digest(&kept.target),
            why_kept(kept, trunc),
        ]);
    }
    table
}

/// Renders the reason why an image stays, and its users.
pub(super) fn why_kept(kept: &Kept, trunc: Truncation) -> String {
    let reason = kept.reason.text();
    if kept.holders.is_empty() {
        return reason.to_owned();
    }
    format!("{reason}: {}", trunc.holders(&kept.holders))
}
