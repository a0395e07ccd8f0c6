//! Output for people: docker's form where docker has one.

pub(crate) mod df;
mod ids;
pub(crate) mod images;
mod leased;
mod left;
pub(crate) mod named;
pub(crate) mod pin;
pub(crate) mod policy;
pub(crate) mod project;
mod unrecorded;
pub(crate) mod why;

use std::fmt::Write;

use comfy_table::{Table, presets};
use jiff::{SignedDuration, Timestamp};
use reclaim_model::{
    Amount, DANGLING_PREFIX, Digest, HeldRun, HumanSize, Kept, Mode, Report, Row, familiar_name,
};

use crate::output;
pub(crate) use ids::Ids;

/// Renders a report: docker's for a run, tables of what would go and stay for a dry run.
pub(crate) fn report(report: &Report, ids: Ids) -> String {
    match report.mode {
        Mode::DryRun => dry_run(report, ids),
        Mode::Apply => pruned(report),
    }
}

/// Docker's output of `image prune`, byte for byte.
fn pruned(report: &Report) -> String {
    let mut text = String::new();
    if !report.rows.is_empty() {
        text.push_str("Deleted Images:\n");
        for row in &report.rows {
            match row {
                Row::Untagged(name) => add_line(&mut text, format_args!("untagged: {name}")),
                Row::Deleted(digest) => add_line(&mut text, format_args!("deleted: {digest}")),
            }
        }
        text.push('\n');
    }
    let bytes = total(report.reclaimed.0);
    add_line(&mut text, format_args!("Total reclaimed space: {bytes}"));
    text
}

fn dry_run(report: &Report, ids: Ids) -> String {
    let mut text = String::new();
    if !report.removed.is_empty() {
        text.push_str("Would remove:\n");
        add_line(
            &mut text,
            format_args!("{}\n", removal_table(report, ids).trim_fmt()),
        );
    }
    if !report.kept.is_empty() {
        text.push_str("Would keep:\n");
        let mut table = table(["IMAGE", "TARGET", "REASON"]);
        for kept in &report.kept {
            table.add_row([
                shown_name(&kept.name, &kept.target),
                ids.digest(&kept.target),
                why_kept(kept, ids),
            ]);
        }
        add_line(&mut text, format_args!("{}\n", table.trim_fmt()));
    }
    let estimate = report.estimate.0;
    let images = count(report.removed.len(), "image");
    let bytes = total(estimate);
    add_line(
        &mut text,
        format_args!(
            "Would remove {images} and reclaim {bytes}: {}",
            amount(estimate)
        ),
    );
    add_not_counted(&mut text, report, ids);
    text.push_str("nothing was removed (dry run)\n");
    text
}

/// Says what the estimate does not count, or not for certain.
fn add_not_counted(text: &mut String, report: &Report, ids: Ids) {
    let at_least = report.estimate_at_least;
    if at_least != report.estimate {
        let bytes = HumanSize(at_least.0.total_bytes());
        let line = format_args!("At least {bytes}: not everything could be seen");
        add_line(text, line);
    }
    let pending = report.not_counted.pending.amount();
    if pending != Amount::default() {
        let bytes = total(pending);
        let line = format_args!("Garbage already, not counted: {bytes}: {}", amount(pending));
        add_line(text, line);
    }
    let history = &report.not_counted.history;
    if history.configs > 0 {
        let amount = history.freed.amount();
        let bytes = total(amount);
        let line = format_args!(
            "Held only by build history, not counted: {bytes}: {}; --unpin-build-history frees it",
            count(amount.snapshots, "snapshot"),
        );
        add_line(text, line);
    }
    if let Some(line) = leased::line(&report.not_counted.leased, ids) {
        let line = format_args!("Held only by leases, not counted: {line}");
        add_line(text, line);
    }
    let elsewhere = report.not_counted.kept_elsewhere.amount().content_bytes;
    if elsewhere > 0 {
        let elsewhere = HumanSize(elsewhere);
        let line = format_args!("Kept on disk by other namespaces, not counted: {elsewhere}");
        add_line(text, line);
    }
}

/// Shows, on standard error, what the question is about.
pub(crate) fn list_before_question(report: &Report, ids: Ids) {
    let bytes = total(report.estimate.0);
    output::words(&format!("{}\n", removal_table(report, ids).trim_fmt()));
    let images = count(report.removed.len(), "image");
    output::words(&format!("{images}, {bytes}: {}", amount(report.estimate.0)));
}

/// Says, on standard error, what the report itself has no place for.
pub(crate) fn words_after(report: &Report, ids: Ids) {
    for refused in &report.refused {
        output::words(&format!(
            "not removed: {}: {}",
            refused.name,
            ids.refusal(&refused.reason)
        ));
    }
    for failed in &report.failed {
        output::words(&format!("error: {}: {}", failed.name, failed.error));
    }
    words_after_named(report, ids);
}

/// As [`words_after`], where each name has told already what was not removed.
pub(crate) fn words_after_named(report: &Report, ids: Ids) {
    warn(&report.warnings, ids);
    for line in left::lines(report, ids) {
        output::words(&line);
    }
    for stranded in &report.stranded {
        output::words(&format!(
            "stays on the disk, its records gone: {}",
            unrecorded::amount(stranded, ids)
        ));
        let outlook = unrecorded::outlook(stranded);
        output::words(&format!("hint: {outlook}, if nothing is in the way"));
    }
    // A dry run has it among what it does not count.
    if report.mode == Mode::Apply
        && let Some(line) = leased::line(&report.not_counted.leased, ids)
    {
        output::words(&format!("not freed, held only by leases: {line}"));
    }
    if let Some(until) = report.held_until {
        let run = &report.run;
        output::words(&format!(
            "held until {until:.0}: `reclaim undo {run}` restores, `reclaim release {run}` frees"
        ));
    }
    if let Some(error) = &report.unfinished {
        output::words(&format!("error: the run is unfinished: {error}"));
        output::words("hint: what was removed is held; the next prune restores or frees it");
    }
}

/// Shows warnings, on standard error.
pub(crate) fn warn<'w>(warnings: impl IntoIterator<Item = &'w String>, ids: Ids) {
    for warning in warnings {
        output::words(&format!("warning: {}", ids.show(warning)));
    }
}

fn removal_table(report: &Report, ids: Ids) -> Table {
    let mut table = table(["IMAGE", "TARGET", "REASON"]);
    for removed in &report.removed {
        let reason = removed.reason.text().to_owned();
        table.add_row([
            shown_name(&removed.name, &removed.target),
            ids.digest(&removed.target),
            reason,
        ]);
    }
    table
}

fn why_kept(kept: &Kept, ids: Ids) -> String {
    let words = kept.reason.text();
    if kept.holders.is_empty() {
        return words.to_owned();
    }
    format!("{words}: {}", ids.holders(&kept.holders))
}

/// The bytes of an amount, "at least" so many where some of it could not be measured.
pub(crate) fn total(amount: Amount) -> String {
    at_least(amount, amount.total_bytes())
}

fn at_least(amount: Amount, bytes: u64) -> String {
    let bytes = HumanSize(bytes);
    if amount.unmeasured == 0 {
        bytes.to_string()
    } else {
        format!("at least {bytes}")
    }
}

fn amount(amount: Amount) -> String {
    let blobs = count(amount.blobs, "blob");
    let snapshots = count(amount.snapshots, "snapshot");
    let content = HumanSize(amount.content_bytes);
    let unpacked = at_least(amount, amount.snapshot_bytes);
    format!("{blobs} of {content}, {snapshots} of {unpacked}")
}

/// Renders the runs of which something is held.
pub(crate) fn history(runs: &[HeldRun]) -> String {
    let mut table = table(["RUN", "STARTED", "HELD UNTIL", "IMAGES"]);
    let time = |time: Option<Timestamp>| time.map_or("unknown".to_owned(), |it| format!("{it:.0}"));
    for run in runs {
        table.add_row([
            run.run.to_string(),
            time(run.started),
            time(run.held_until),
            run.images.len().to_string(),
        ]);
    }
    format!("{}\n", table.trim_fmt())
}

fn table<const N: usize>(heads: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(heads);
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    table
}

/// Docker's short form of a name, kept on one line whatever it contains; `<none>` for the name
/// by which Docker keeps an image that has none.
fn shown_name(name: &str, target: &Digest) -> String {
    if name.strip_prefix(DANGLING_PREFIX) == Some(&target.to_string()) {
        return "<none>".to_owned();
    }
    let familiar = familiar_name(name);
    on_one_line(&familiar)
}

/// Shows control characters as what cannot be shown.
fn on_one_line(text: &str) -> String {
    text.chars()
        .map(|it| if it.is_control() { '\u{fffd}' } else { it })
        .collect()
}

fn count(number: usize, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ => format!("{number} {noun}s"),
    }
}

/// An age as docker words it, such as `3 weeks ago`.
///
/// Source: docker's go-units `HumanDuration`.
fn age(created: Option<Timestamp>, now: Timestamp) -> String {
    let Some(created) = created else {
        return "unknown".to_owned();
    };
    format!("{} ago", human_duration(now.duration_since(created)))
}

fn human_duration(duration: SignedDuration) -> String {
    const DAY: i64 = 24;
    let seconds = duration.as_secs();
    let minutes = duration.as_mins();
    // Rounded to the nearest hour.
    let hours = (minutes + 30) / 60;
    match (seconds, minutes, hours) {
        (..1, _, _) => "Less than a second".to_owned(),
        (1, _, _) => "1 second".to_owned(),
        (..60, _, _) => format!("{seconds} seconds"),
        (_, 1, _) => "About a minute".to_owned(),
        (_, ..60, _) => format!("{minutes} minutes"),
        (_, _, 1) => "About an hour".to_owned(),
        (_, _, ..48) => format!("{hours} hours"),
        (_, _, hours) if hours < DAY * 7 * 2 => format!("{} days", hours / DAY),
        (_, _, hours) if hours < DAY * 30 * 2 => format!("{} weeks", hours / DAY / 7),
        (_, _, hours) if hours < DAY * 365 * 2 => format!("{} months", hours / DAY / 30),
        (_, _, hours) => format!("{} years", hours / DAY / 365),
    }
}

fn add_line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("writing to a string does not fail");
}
