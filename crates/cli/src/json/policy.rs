//! The JSON forms of what policies do, would do and did.

use std::collections::BTreeMap;

use jiff::Timestamp;
use reclaim_maintenance::{
    Excess, Measure, Policy, PolicyForecast, PolicyOutcome, PolicyRun, RunRecord, Trigger,
};
use reclaim_model::{Amount, Column, Filesystem, Mode, Room};
use serde::Serialize;

use super::{ReportJson, VERSION, render, report_json};

#[derive(Serialize)]
struct RunsJson<'a> {
    version: u32,
    runs: Vec<RunJson<'a>>,
}

#[derive(Serialize)]
struct RunJson<'a> {
    policy: &'a str,
    trigger: Trigger,
    dry_run: bool,
    outcome: PolicyOutcome,
    began: Timestamp,
    ended: Timestamp,
    before: Vec<FilesystemJson<'a>>,
    after: Vec<FilesystemJson<'a>>,
    wanted: Vec<ExcessJson<'a>>,
    missing: Vec<ExcessJson<'a>>,
    released: Vec<&'a str>,
    reports: Vec<ReportJson<'a>>,
    error: Option<&'a str>,
    breakdown: Option<BreakdownJson>,
    warnings: &'a [String],
}

#[derive(Serialize)]
struct BreakdownJson {
    columns: BTreeMap<Column, Amount>,
    other_bytes: u64,
}

#[derive(Serialize)]
struct FilesystemJson<'a> {
    mount_point: &'a std::path::Path,
    total_bytes: u64,
    left_bytes: u64,
    total_inodes: u64,
    left_inodes: u64,
    content: bool,
    snapshotters: Vec<&'a str>,
}

#[derive(Serialize)]
struct ExcessJson<'a> {
    of: &'static str,
    mount_point: Option<&'a std::path::Path>,
    amount: u64,
}

#[derive(Serialize)]
struct ForecastsJson<'a> {
    version: u32,
    policies: Vec<ForecastJson<'a>>,
}

#[derive(Serialize)]
struct ForecastJson<'a> {
    policy: &'a str,
    schedule: String,
    filesystems: Vec<FilesystemJson<'a>>,
    wanted: Vec<ExcessJson<'a>>,
    namespaces: Vec<NamespaceJson<'a>>,
    warnings: &'a [String],
}

#[derive(Serialize)]
struct NamespaceJson<'a> {
    now: ReportJson<'a>,
    at_most: ReportJson<'a>,
}

#[derive(Serialize)]
struct HistoryJson<'a> {
    version: u32,
    runs: &'a [RunRecord],
}

/// Renders runs of policies.
pub(crate) fn runs(runs: &[PolicyRun]) -> String {
    render(&RunsJson {
        version: VERSION,
        runs: runs.iter().map(run).collect(),
    })
}

fn run(run: &PolicyRun) -> RunJson<'_> {
    // Everything by name, so that a new field cannot be forgotten here.
    let PolicyRun {
        policy,
        trigger,
        mode,
        began,
        ended,
        before,
        after,
        wanted,
        missing,
        released,
        reports,
        outcome,
        error,
        breakdown,
        warnings,
    } = run;
    RunJson {
        policy: policy.as_str(),
        trigger: *trigger,
        dry_run: *mode == Mode::DryRun,
        outcome: *outcome,
        began: *began,
        ended: *ended,
        before: before.iter().map(filesystem).collect(),
        after: after.iter().map(filesystem).collect(),
        wanted: wanted.iter().map(excess).collect(),
        missing: missing.iter().map(excess).collect(),
        released: released.iter().map(|(_, run)| run.0.as_str()).collect(),
        reports: reports.iter().map(report_json).collect(),
        error: error.as_deref(),
        breakdown: breakdown.as_ref().map(|it| BreakdownJson {
            columns: it.account.columns().collect(),
            other_bytes: it.other_bytes,
        }),
        warnings,
    }
}

/// Renders what policies would do now.
pub(crate) fn forecasts(explained: &[(Policy, PolicyForecast)]) -> String {
    let forecasts = explained.iter().map(|(policy, forecast)| {
        let namespaces = forecast.namespaces.iter().map(|it| NamespaceJson {
            now: report_json(&it.now),
            at_most: report_json(&it.at_most),
        });
        ForecastJson {
            policy: forecast.policy.as_str(),
            schedule: policy.schedule.to_string(),
            filesystems: forecast.filesystems.iter().map(filesystem).collect(),
            wanted: forecast.wanted.iter().map(excess).collect(),
            namespaces: namespaces.collect(),
            warnings: &forecast.warnings,
        }
    });
    render(&ForecastsJson {
        version: VERSION,
        policies: forecasts.collect(),
    })
}

/// Renders the runs that are remembered.
pub(crate) fn history(runs: &[RunRecord]) -> String {
    render(&HistoryJson {
        version: VERSION,
        runs,
    })
}

fn filesystem(filesystem: &Filesystem) -> FilesystemJson<'_> {
    let Filesystem {
        mount_point,
        block: _,
        bytes,
        inodes,
        has_content,
        snapshotters,
    } = filesystem;
    let Room { total, left } = *bytes;
    FilesystemJson {
        mount_point,
        total_bytes: total,
        left_bytes: left,
        total_inodes: inodes.total,
        left_inodes: inodes.left,
        content: *has_content,
        snapshotters: snapshotters.iter().map(|it| &**it).collect(),
    }
}

fn excess(excess: &Excess) -> ExcessJson<'_> {
    let (of, mount_point) = match &excess.of {
        Measure::Bytes(place) => ("bytes", Some(place.as_path())),
        Measure::Inodes(place) => ("inodes", Some(place.as_path())),
        Measure::Occupied => ("occupied_bytes", None),
    };
    ExcessJson {
        of,
        mount_point,
        amount: excess.amount,
    }
}
