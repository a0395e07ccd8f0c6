//! Policies: their runs, forecasts, and what forbids them.

use std::collections::BTreeSet;

use jiff::Timestamp;
use reclaim_api::json::{PolicyForecasts, PolicyHistory};
use reclaim_maintenance::{
    Breakdown, Excess, FilesystemForecast, FilesystemRecord, FillForecast, HighMark, Measure,
    NamespaceForecast, NamespaceRun, PolicyForecast, PolicyOutcome, PolicyRun, ReleasedHold,
    RunRecord, Trend, Trigger,
};
use reclaim_model::{Filesystem, InhibitScope, Inhibitor, Mode, PolicyPart, Room};
use serde_json::{Value, json};

use super::audit::caller;
use super::store::columns;
use super::{form, namespace, run_id, text, whole_report};
use crate::commands::inhibit::Inhibitors;

pub(super) fn filesystem() -> Filesystem {
    let room = Room { total: 2, left: 1 };
    Filesystem {
        mount_point: "/".into(),
        block: 1,
        bytes: room,
        inodes: room,
        has_content: true,
        snapshotters: BTreeSet::from(["overlayfs".into()]),
    }
}

fn excesses() -> Vec<Excess> {
    let measures = [
        Measure::Bytes("/".into()),
        Measure::Inodes("/".into()),
        Measure::Occupied,
    ];
    measures.map(|of| Excess { of, amount: 1 }).into()
}

pub(in super::super) fn policy_runs() -> Value {
    let triggers = [Trigger::Schedule, Trigger::Demand].into_iter().cycle();
    let runs = PolicyOutcome::ALL.into_iter().zip(triggers);
    let runs = runs.map(|(outcome, trigger)| PolicyRun {
        policy: "p".parse().unwrap(),
        trigger,
        caller: Some(caller()),
        mode: Mode::Apply,
        began: Timestamp::UNIX_EPOCH,
        ended: Timestamp::UNIX_EPOCH,
        before: vec![filesystem()],
        after: vec![filesystem()],
        wanted: excesses(),
        missing: excesses(),
        not_yet_visible: excesses(),
        released: vec![ReleasedHold {
            namespace: namespace(),
            run: run_id(),
        }],
        reports: vec![whole_report()],
        outcome,
        error: Some(text()),
        breakdown: Some(Breakdown {
            usage: columns(),
            other_bytes: 1,
        }),
        warnings: vec![text()],
    });
    form(json!({"runs": runs.collect::<Vec<_>>()}))
}

pub(in super::super) fn policy_forecasts() -> Value {
    form(PolicyForecasts {
        policies: vec![PolicyForecast {
            policy: "p".parse().unwrap(),
            schedule: text(),
            rules: vec![text()],
            filesystems: vec![filesystem()],
            wanted: excesses(),
            not_yet_visible: excesses(),
            namespaces: vec![NamespaceForecast {
                now: whole_report(),
                at_most: whole_report(),
            }],
            inhibitors: vec![inhibitor(InhibitScope::Policies)],
            warnings: vec![text()],
        }],
    })
}

pub(in super::super) fn fill_forecast() -> Value {
    let filesystems =
        [Trend::Unknown, Trend::Steady, Trend::Growing].map(|trend| FilesystemForecast {
            mount_point: "/".into(),
            total_bytes: 1,
            left_bytes: 1,
            trend,
            bytes_per_day: Some(1),
            full_in_seconds: Some(1),
            high_marks: vec![HighMark {
                policy: "p".parse().unwrap(),
                left_bytes: 1,
                reached_in_seconds: Some(1),
            }],
        });
    form(FillForecast {
        filesystems: filesystems.into(),
        content_unmeasured: Some(text()),
        warnings: vec![text()],
    })
}

fn inhibitor(what: InhibitScope) -> Inhibitor {
    Inhibitor {
        what,
        command: text(),
        pid: Some(1),
        uid: Some(1),
        why: Some(text()),
        since: Some(Timestamp::UNIX_EPOCH),
        until: Some(Timestamp::UNIX_EPOCH),
        namespace: namespace(),
        lease: text(),
    }
}

pub(in super::super) fn inhibitors() -> Value {
    form(Inhibitors {
        inhibitors: [InhibitScope::Policies, InhibitScope::All]
            .map(inhibitor)
            .into(),
    })
}

pub(in super::super) fn policy_history() -> Value {
    form(PolicyHistory {
        runs: vec![RunRecord {
            version: 1,
            policy: text(),
            trigger: Trigger::Demand,
            caller: Some(caller()),
            dry_run: true,
            outcome: PolicyOutcome::Done,
            began: Timestamp::UNIX_EPOCH,
            ended: Timestamp::UNIX_EPOCH,
            filesystems: vec![FilesystemRecord {
                mount_point: "/".into(),
                total_bytes: 1,
                left_bytes_before: 1,
                left_bytes_after: 1,
                left_inodes_before: 1,
                left_inodes_after: 1,
            }],
            wanted: vec![text()],
            missing: vec![text()],
            not_yet_visible: excesses(),
            released: vec![text()],
            runs: vec![NamespaceRun {
                namespace: text(),
                run: text(),
                removed: 1,
                kept: 1,
                refused: 1,
                failed: 1,
                estimate_bytes: 1,
                reclaimed_bytes: 1,
                held_until: Some(Timestamp::UNIX_EPOCH),
                images: whole_report().removed,
                part: Some(PolicyPart::Images),
                slimmed: 1,
            }],
            error: Some(text()),
        }],
    })
}
