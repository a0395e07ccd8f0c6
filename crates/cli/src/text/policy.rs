//! Policies: what they would do, and what they did.

use std::fmt::Write;

use jiff::Timestamp;
use reclaim_maintenance::{
    Excess, PolicyForecast, PolicyOutcome, PolicyRun, ReleasedHold, RunRecord,
};
use reclaim_model::{Filesystem, HumanSize, Inhibitor, Mode, Report};

use super::{Truncation, add_line, align_right, count, df, report, shown_name, table, total};

/// Renders one run of a policy.
pub(crate) fn run(run: &PolicyRun) -> String {
    let mut text = String::new();
    let dry = match run.mode {
        Mode::DryRun => " (dry run: nothing was changed)",
        Mode::Apply => "",
    };
    add_line(
        &mut text,
        format_args!("policy {}: {}{dry}", run.policy, ending(run.outcome)),
    );
    for excess in &run.wanted {
        add_line(&mut text, format_args!("  too full: {excess}"));
    }
    for ReleasedHold {
        namespace,
        run: hold,
    } in &run.released
    {
        let line = format_args!("  namespace {namespace}: freed what run {hold} held");
        add_line(&mut text, line);
    }
    for report in &run.reports {
        add_line(&mut text, format_args!("  {}", summary(report)));
        for removed in &report.removed {
            let name = shown_name(&removed.name, &removed.target);
            add_line(&mut text, format_args!("    {name}"));
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
            add_line(&mut text, line);
        }
    }
    if !run.not_yet_visible.is_empty() {
        let late = run.not_yet_visible.iter().map(not_yet_visible);
        let late = late.collect::<Vec<_>>().join(", ");
        let line = format_args!("  freed {}, {late}", total(run.freed()));
        add_line(&mut text, line);
    }
    for excess in &run.missing {
        if run.mode == Mode::Apply {
            add_line(&mut text, format_args!("  still too full: {excess}"));
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
    let images = count(report.removed.len(), "image");
    let namespace = &report.namespace;
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
        .flat_map(|report| report::messages(report, trunc))
        .collect();
    lines.extend(super::warnings(&run.warnings, trunc));
    if let Some(error) = &run.error {
        lines.push(format!("error: policy `{}`: {error}", run.policy));
    }
    if let Some(breakdown) = &run.breakdown {
        lines.push(df::breakdown(&breakdown.usage));
        let other = HumanSize(breakdown.other_bytes).to_string();
        lines.push(format!("  {other:>8}  other data on the same filesystems"));
    }
    lines
}

/// Renders what policies would do now.
pub(crate) fn forecasts(
    forecasts: &[PolicyForecast],
    is_verbose: bool,
    trunc: Truncation,
) -> String {
    let mut text = String::new();
    for forecast in forecasts {
        if !text.is_empty() {
            text.push('\n');
        }
        add_line(&mut text, format_args!("policy {}", forecast.policy));
        for rule in &forecast.rules {
            add_line(&mut text, format_args!("  {rule}"));
        }
        for filesystem in &forecast.filesystems {
            add_line(&mut text, format_args!("  {}", place(filesystem)));
        }
        for excess in &forecast.wanted {
            add_line(&mut text, format_args!("  too full: {excess}"));
        }
        for late in &forecast.not_yet_visible {
            let late = not_yet_visible(late);
            add_line(&mut text, format_args!("  freed by earlier runs: {late}"));
        }
        for inhibitor in &forecast.inhibitors {
            add_line(&mut text, format_args!("  does not run now: {inhibitor}"));
        }
        let mut rows = table(["  NAMESPACE", "NOW", "AT MOST"]);
        for namespace in &forecast.namespaces {
            rows.add_row([
                format!("  {}", namespace.now.namespace),
                amount(&namespace.now),
                amount(&namespace.at_most),
            ]);
        }
        add_line(&mut text, format_args!("{}", rows.trim_fmt()));
        if is_verbose {
            for namespace in &forecast.namespaces {
                write!(text, "\n{}", report::text(&namespace.now, trunc))
                    .expect("writing to a string does not fail");
            }
        }
        for warning in &forecast.warnings {
            add_line(
                &mut text,
                format_args!("  warning: {}", trunc.text(warning)),
            );
        }
    }
    text
}

fn amount(report: &Report) -> String {
    let images = count(report.removed.len(), "image");
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
pub(crate) fn inhibitors(inhibitors: &[Inhibitor]) -> String {
    let mut rows = table([
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
    format!("{}\n", rows.trim_fmt())
}

/// Renders the runs of policies, the oldest first.
pub(crate) fn history(runs: &[RunRecord]) -> String {
    let heads = [
        "ENDED",
        "POLICY",
        "OUTCOME",
        "REMOVED",
        "RECLAIMED",
        "USED BEFORE",
        "AFTER",
    ];
    let mut rows = table(heads);
    align_right(&mut rows, 3..=6);
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
        rows.add_row([
            format!("{:.0}", run.ended),
            run.policy.clone(),
            outcome.to_owned(),
            removed.to_string(),
            reclaimed,
            used(|filesystem| filesystem.left_bytes_before),
            used(|filesystem| filesystem.left_bytes_after),
        ]);
    }
    format!("{}\n", rows.trim_fmt())
}
