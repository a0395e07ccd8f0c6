//! Policies: what they would do, and what they did.

use std::fmt::Write;

use jiff::Timestamp;
use reclaim_maintenance::{
    Excess, PolicyForecast, PolicyOutcome, PolicyRun, ReleasedHold, RunRecord,
};
use reclaim_model::{Filesystem, HumanSize, Inhibitor, Mode, Report};

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
        for removed in &report.removed {
            let name = shown_name(&removed.name, &removed.target);
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
        .flat_map(|report| report::messages(report, Change::Removal, trunc))
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
        let mut rows = Table::new(["  NAMESPACE", "NOW", "AT MOST"]);
        for namespace in &forecast.namespaces {
            rows.add_row([
                format!("  {}", namespace.now.namespace),
                amount(&namespace.now),
                amount(&namespace.at_most),
            ]);
        }
        text.table(&rows);
        if is_verbose {
            for namespace in &forecast.namespaces {
                text.blank();
                text.append(&report::text(&namespace.now, Change::Removal, trunc));
            }
        }
        for warning in &forecast.warnings {
            text.line(format_args!("  warning: {}", trunc.text(warning)));
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

/// Renders the runs of policies, the oldest first.
pub(crate) fn history(runs: &[RunRecord]) -> Text {
    let heads = [
        "ENDED",
        "POLICY",
        "OUTCOME",
        "REMOVED",
        "RECLAIMED",
        "USED BEFORE",
        "AFTER",
    ];
    let mut rows = Table::new(heads);
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
    Text::of(&rows)
}

#[cfg(test)]
mod tests {
    use reclaim_maintenance::{Measure, NamespaceForecast};
    use reclaim_model::{Amount, Estimate, InhibitScope, Removed, Room, RunId};

    use super::*;

    const GB: u64 = 1_000_000_000;

    fn filesystem(mount_point: &str, total: u64, left: u64, snapshotters: &[&str]) -> Filesystem {
        Filesystem {
            mount_point: mount_point.into(),
            block: 4096,
            bytes: Room { total, left },
            inodes: Room::default(),
            has_content: snapshotters.is_empty(),
            snapshotters: snapshotters.iter().map(|it| (*it).into()).collect(),
        }
    }

    fn on(mount_point: &str, amount: u64) -> Vec<Excess> {
        let of = Measure::Bytes(mount_point.into());
        vec![Excess { of, amount }]
    }

    fn report(images: usize, bytes: u64) -> Report {
        let namespace = "k8s.io".parse().unwrap();
        let mut report = Report::new(RunId("r".to_owned()), namespace, Mode::DryRun);
        let removed = (0..images).map(|number| Removed {
            name: format!("docker.io/library/app:{number}"),
            target: format!("sha256:{number:064}").parse().unwrap(),
            reason: reclaim_model::RemoveReason::Unused,
        });
        report.removed = removed.collect();
        report.estimate = Estimate(Amount {
            snapshot_bytes: bytes,
            ..Amount::default()
        });
        report
    }

    /// A host with two disks, one of which shows freed space late, an unmeasured snapshotter, and a
    /// command that keeps policies from running.
    fn forecast() -> PolicyForecast {
        let inhibitor = Inhibitor {
            what: InhibitScope::Policies,
            command: "make".to_owned(),
            pid: Some(4711),
            uid: Some(0),
            why: Some("nightly build".to_owned()),
            since: "2026-01-02T03:04:05Z".parse().ok(),
            until: "2026-01-02T03:14:05Z".parse().ok(),
            namespace: "k8s.io".parse().unwrap(),
            lease: "reclaim.inhibit.1".to_owned(),
        };
        PolicyForecast {
            policy: "pressure".parse().unwrap(),
            schedule: "every 15m".to_owned(),
            rules: vec![
                "runs every 15m".to_owned(),
                "removes unused images".to_owned(),
                "starts above 85% used (bytes), stops at 75% used".to_owned(),
            ],
            filesystems: vec![
                filesystem("/var/lib/containerd", 100 * GB, 60 * GB, &[]),
                filesystem("/mnt/snapshots", 200 * GB, 20 * GB, &["overlayfs"]),
            ],
            wanted: on("/mnt/snapshots", 30 * GB),
            inhibitors: vec![inhibitor],
            not_yet_visible: on("/mnt/snapshots", 24 * GB),
            namespaces: vec![NamespaceForecast {
                now: report(3, 7 * GB),
                at_most: report(41, 95 * GB),
            }],
            warnings: vec![
                "no watermark counts snapshots of `stargz`: containerd does not report its directory"
                    .to_owned(),
            ],
        }
    }

    #[test]
    fn the_documentation_shows_a_host_with_several_disks() {
        let page = include_str!("../../../../docs/configuration.md");
        let text = String::from(&*forecasts(&[forecast()], false, Truncation::On));
        assert!(page.contains(&format!("```\n{text}```\n")), "{text}");
    }

    #[test]
    fn a_run_says_what_is_not_yet_visible() {
        let moment = reclaim_engine::now();
        let name = "p".parse().unwrap();
        let mut run = PolicyRun::begun(
            name,
            reclaim_maintenance::Trigger::Demand,
            Mode::Apply,
            moment,
        );
        run.not_yet_visible = on("/a", 2 * GB);
        run.not_yet_visible.extend(on("/b", GB));
        let shown = String::from(&*super::run(&run));
        let line = "  freed 0B, 2GB not yet visible on `/a`, 1GB not yet visible on `/b`\n";
        assert!(shown.contains(line), "{shown}");
    }
}
