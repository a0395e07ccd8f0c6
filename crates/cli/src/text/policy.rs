//! Policies: what they would do, and what they did.

#[cfg(test)]
mod tests;

use std::fmt::Write;

use jiff::Timestamp;
use reclaim_maintenance::{
    Excess, NamespaceForecast, PolicyForecast, PolicyOutcome, PolicyRun, ReleasedHold, RunRecord,
};
use reclaim_model::{Filesystem, HumanSize, Inhibitor, Mode, Part, PolicyPart, Report};

use super::report::Change;
use super::{Table, Text, Truncation, count, df, report, shown_name, total};

/// Renders one run of a policy.
pub(crate) fn run(run: &PolicyRun) -> Text {
    let mut text = Text::default();
    let dry = match run.mode {
        Mode::DryRun => " (dry run: nothing was changed)",
        Mode::Apply => "",
    };
    text.line(format_args!(
        "policy {}: {}{dry}",
        run.policy,
        ending(run.outcome)
    ));
    for excess in &run.wanted {
        text.line(format_args!("  too full: {excess}"));
    }
    for ReleasedHold {
        namespace,
        run: hold,
    } in &run.released
    {
        let line = format_args!("  namespace {namespace}: freed what run {hold} held");
        text.line(line);
    }
    for report in &run.reports {
        text.line(format_args!("  {}", summary(report)));
        let removed = report.removed.iter().map(|it| (&it.name, &it.target));
        let slimmed = report.slimmed.iter().map(|it| (&it.name, &it.target));
        for (name, target) in removed.chain(slimmed) {
            let name = shown_name(name, target);
            text.line(format_args!("    {name}"));
        }
    }
    for (before, after) in run.before.iter().zip(&run.after) {
        if run.mode == Mode::Apply {
            let line = format_args!(
                "  {}: {} used before, {} after",
                before.mount_point.display(),
                used(before),
                used(after)
            );
            text.line(line);
        }
    }
    if !run.not_yet_visible.is_empty() {
        let late = run.not_yet_visible.iter().map(not_yet_visible);
        let late = late.collect::<Vec<_>>().join(", ");
        let line = format_args!("  freed {}, {late}", total(run.freed()));
        text.line(line);
    }
    for excess in &run.missing {
        if run.mode == Mode::Apply {
            text.line(format_args!("  still too full: {excess}"));
        }
    }
    text
}

fn not_yet_visible(late: &Excess) -> String {
    let bytes = HumanSize(late.amount);
    match late.of.mount_point() {
        Some(mount_point) => format!("{bytes} not yet visible on `{}`", mount_point.display()),
        None => format!("{bytes} not yet visible"),
    }
}

fn summary(report: &Report) -> String {
    let images = count(changed(report), "image");
    let namespace = &report.namespace;
    if let Some(part) = part_of(report) {
        let part = part.text();
        return match report.mode {
            Mode::DryRun => {
                let bytes = total(report.estimate.0);
                format!("namespace {namespace}: would free {part} of {images}, {bytes}")
            }
            Mode::Apply => {
                let bytes = total(report.reclaimed.0);
                format!("namespace {namespace}: freed {part} of {images}, {bytes}")
            }
        };
    }
    match report.mode {
        Mode::DryRun => {
            let bytes = total(report.estimate.0);
            format!("namespace {namespace}: would remove {images} and reclaim {bytes}")
        }
        Mode::Apply => {
            let bytes = total(report.reclaimed.0);
            format!("namespace {namespace}: removed {images}, reclaimed {bytes}")
        }
    }
}

/// Returns the part of images that a step frees; `None` for whole images.
fn part_of(report: &Report) -> Option<Part> {
    report.part.and_then(PolicyPart::part)
}

/// Counts the images of which a step frees something, or the configs of build history.
fn changed(report: &Report) -> usize {
    match part_of(report) {
        None => report.removed.len(),
        Some(Part::BuildHistory) => report.cuts.len(),
        Some(Part::Snapshots | Part::Layers | Part::Platforms) => report.slimmed.len(),
    }
}

fn change(report: &Report) -> Change {
    part_of(report).map_or(Change::Removal, |_| Change::Slim)
}

fn ending(outcome: PolicyOutcome) -> &'static str {
    match outcome {
        PolicyOutcome::Nothing => "nothing to do",
        PolicyOutcome::Done => "done",
        PolicyOutcome::Capped => "reached its limit; the next run continues",
        PolicyOutcome::Partial => "partly done",
        PolicyOutcome::Unmet => "the low mark cannot be reached",
        PolicyOutcome::Busy => "another prune is running",
        PolicyOutcome::Failed => "failed",
        PolicyOutcome::Inhibited => "inhibited",
    }
}

/// Returns the messages about a run.
pub(crate) fn messages(run: &PolicyRun, trunc: Truncation) -> Vec<String> {
    let mut lines: Vec<String> = run
        .reports
        .iter()
        .flat_map(|report| report::messages(report, change(report), trunc))
        .collect();
    lines.extend(super::warnings(&run.warnings, trunc));
    if let Some(error) = &run.error {
        lines.push(format!("error: policy `{}`: {error}", run.policy));
    }
    if let Some(breakdown) = &run.breakdown {
        lines.extend(df::breakdown(&breakdown.usage));
        let other = HumanSize(breakdown.other_bytes).to_string();
        lines.push(format!("  {other:>8}  other data on the same filesystems"));
    }
    lines
}

/// Renders what policies would do now.
pub(crate) fn forecasts(forecasts: &[PolicyForecast], is_verbose: bool, trunc: Truncation) -> Text {
    let mut text = Text::default();
    for forecast in forecasts {
        if !text.is_empty() {
            text.blank();
        }
        text.line(format_args!("policy {}", forecast.policy));
        for rule in &forecast.rules {
            text.line(format_args!("  {rule}"));
        }
        for filesystem in &forecast.filesystems {
            text.line(format_args!("  {}", place(filesystem)));
        }
        for excess in &forecast.wanted {
            text.line(format_args!("  too full: {excess}"));
        }
        for late in &forecast.not_yet_visible {
            let late = not_yet_visible(late);
            text.line(format_args!("  freed by earlier runs: {late}"));
        }
        for inhibitor in &forecast.inhibitors {
            text.line(format_args!("  does not run now: {inhibitor}"));
        }
        text.table(&steps(&forecast.namespaces));
        if is_verbose {
            for namespace in &forecast.namespaces {
                text.blank();
                let now = &namespace.now;
                text.append(&report::text(now, change(now), trunc));
            }
        }
        for warning in &forecast.warnings {
            text.line(format_args!("  warning: {}", trunc.text(warning)));
        }
    }
    text
}

/// Renders the steps of a policy; what each frees only if that is not always images.
fn steps(steps: &[NamespaceForecast]) -> Table {
    let has_parts = steps.iter().any(|step| part_of(&step.now).is_some());
    let mut rows = if has_parts {
        Table::new(["  FREES", "NAMESPACE", "NOW", "AT MOST"])
    } else {
        Table::new(["  NAMESPACE", "NOW", "AT MOST"])
    };
    for NamespaceForecast { now, at_most } in steps {
        let namespace = now.namespace.to_string();
        let amounts = [amount(now), amount(at_most)];
        let part = now.part.map_or("images", PolicyPart::text);
        let heads = if has_parts {
            vec![format!("  {part}"), namespace]
        } else {
            vec![format!("  {namespace}")]
        };
        rows.add_row(heads.into_iter().chain(amounts));
    }
    rows
}

fn amount(report: &Report) -> String {
    let noun = match part_of(report) {
        Some(Part::BuildHistory) => "config",
        Some(Part::Snapshots | Part::Layers | Part::Platforms) | None => "image",
    };
    let images = count(changed(report), noun);
    format!("{images}, {}", total(report.estimate.0))
}

fn used(filesystem: &Filesystem) -> String {
    format!("{}%", filesystem.bytes.used_percent())
}

fn place(filesystem: &Filesystem) -> String {
    let mut holds = Vec::new();
    if filesystem.has_content {
        holds.push("content".to_owned());
    }
    if !filesystem.snapshotters.is_empty() {
        let snapshotters: Vec<&str> = filesystem.snapshotters.iter().map(|it| &**it).collect();
        holds.push(format!("snapshots of {}", snapshotters.join(", ")));
    }
    format!(
        "{} ({}): {} used, {} left of {}",
        filesystem.mount_point.display(),
        holds.join(", "),
        used(filesystem),
        HumanSize(filesystem.bytes.left),
        HumanSize(filesystem.bytes.total),
    )
}

/// Renders the commands that inhibit something, the oldest first.
pub(crate) fn inhibitors(inhibitors: &[Inhibitor]) -> Text {
    let mut rows = Table::new([
        "COMMAND", "UID", "PID", "INHIBITS", "SINCE", "EXPIRES", "WHY",
    ]);
    let number = |number: Option<u32>| number.map_or_else(|| "-".to_owned(), |it| it.to_string());
    let time =
        |time: Option<Timestamp>| time.map_or_else(|| "-".to_owned(), |it| format!("{it:.0}"));
    for inhibitor in inhibitors {
        rows.add_row([
            inhibitor.command.clone(),
            number(inhibitor.uid),
            number(inhibitor.pid),
            inhibitor.what.word().to_owned(),
            time(inhibitor.since),
            time(inhibitor.until),
            inhibitor.why.clone().unwrap_or_default(),
        ]);
    }
    Text::of(&rows)
}

/// The heads of the history. The last one is left out if no run has freed parts of images.
const HISTORY_HEADS: [&str; 8] = [
    "ENDED",
    "POLICY",
    "OUTCOME",
    "REMOVED",
    "RECLAIMED",
    "USED BEFORE",
    "AFTER",
    "PARTS",
];

/// Renders the runs of policies, the oldest first.
pub(crate) fn history(runs: &[RunRecord]) -> Text {
    let has_parts = runs.iter().any(|run| parts(run).is_some());
    let mut rows = if has_parts {
        Table::new(HISTORY_HEADS)
    } else {
        let [heads @ .., _] = HISTORY_HEADS;
        Table::new(heads)
    };
    rows.align_right(3..=6);
    for run in runs {
        let removed: usize = run.runs.iter().map(|run| run.removed).sum();
        let bytes: u64 = run.runs.iter().map(|run| run.reclaimed_bytes).sum();
        let mut reclaimed = HumanSize(bytes).to_string();
        let late: u64 = run.not_yet_visible.iter().map(|late| late.amount).sum();
        if late > 0 {
            write!(reclaimed, " ({} not yet visible)", HumanSize(late))
                .expect("writing to a string does not fail");
        }
        let used = |left: fn(&reclaim_maintenance::FilesystemRecord) -> u64| {
            let parts = run.filesystems.iter().map(|filesystem| {
                let room = reclaim_model::Room {
                    total: filesystem.total_bytes,
                    left: left(filesystem),
                };
                format!("{}%", room.used_percent())
            });
            parts.collect::<Vec<_>>().join(" ")
        };
        let outcome = if run.dry_run {
            "dry run"
        } else {
            run.outcome.word()
        };
        let row = [
            format!("{:.0}", run.ended),
            run.policy.clone(),
            outcome.to_owned(),
            removed.to_string(),
            reclaimed,
            used(|filesystem| filesystem.left_bytes_before),
            used(|filesystem| filesystem.left_bytes_after),
        ];
        let parts = has_parts.then(|| parts(run).unwrap_or_default());
        rows.add_row(row.into_iter().chain(parts));
    }
    Text::of(&rows)
}

/// Returns how many images lost each part in a run, and the bytes; `None` if it freed no part.
fn parts(run: &RunRecord) -> Option<String> {
    let mut parts: Vec<(Part, usize, u64)> = Vec::new();
    for step in &run.runs {
        let Some(part) = step.part.and_then(PolicyPart::part) else {
            continue;
        };
        match parts.iter_mut().find(|(other, ..)| *other == part) {
            Some((_, images, bytes)) => {
                *images += step.slimmed;
                *bytes += step.reclaimed_bytes;
            }
            None => parts.push((part, step.slimmed, step.reclaimed_bytes)),
        }
    }
    let texts = parts.iter().map(|(part, images, bytes)| {
        let bytes = HumanSize(*bytes);
        match part {
            Part::BuildHistory => format!("{} {bytes}", part.text()),
            Part::Snapshots | Part::Layers | Part::Platforms => {
                format!("{} of {} {bytes}", part.text(), count(*images, "image"))
            }
        }
    });
    let text = texts.collect::<Vec<_>>().join(", ");
    (!text.is_empty()).then_some(text)
}
