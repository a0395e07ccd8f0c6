//! Tests of how policies are shown.

use reclaim_maintenance::Measure;
use reclaim_model::{Amount, Estimate, InhibitScope, Removed, Room, RunId, Slimmed};

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
    let page = include_str!("../../../../../docs/configuration.md");
    let text = String::from(&*forecasts(&[forecast()], false, Truncation::On));
    assert!(page.contains(&format!("```\n{text}```\n")), "{text}");
}

/// A step of a forecast in which images lose their snapshots or go.
fn step(part: PolicyPart, images: usize, bytes: u64) -> Report {
    let mut report = report(images, bytes);
    report.part = Some(part);
    if part.part().is_some() {
        let slimmed = std::mem::take(&mut report.removed);
        let slimmed = slimmed.into_iter().map(|image| Slimmed {
            name: image.name,
            target: image.target,
            parts: part
                .part()
                .map(|part| (part, Vec::new()))
                .into_iter()
                .collect(),
            lifted: None,
        });
        report.slimmed = slimmed.collect();
    }
    report
}

#[test]
fn the_documentation_shows_a_policy_that_frees_parts() {
    let page = include_str!("../../../../../docs/configuration.md");
    let mut disk = filesystem("/var/lib/containerd", 200 * GB, 20 * GB, &["overlayfs"]);
    disk.has_content = true;
    let forecast = PolicyForecast {
        rules: vec![
            "runs every 5m".to_owned(),
            "frees snapshots, then images, of unused images".to_owned(),
            "starts above 85% used (bytes), stops at 80% used".to_owned(),
        ],
        filesystems: vec![disk],
        wanted: on("/var/lib/containerd", 20 * GB),
        inhibitors: Vec::new(),
        not_yet_visible: Vec::new(),
        namespaces: vec![
            NamespaceForecast {
                now: step(PolicyPart::Snapshots, 11, 20 * GB),
                at_most: step(PolicyPart::Snapshots, 30, 52 * GB),
            },
            NamespaceForecast {
                now: step(PolicyPart::Images, 0, 0),
                at_most: step(PolicyPart::Images, 41, 43 * GB),
            },
        ],
        warnings: Vec::new(),
        ..forecast()
    };
    let text = String::from(&*forecasts(&[forecast], false, Truncation::On));
    assert!(page.contains(&format!("```\n{text}```\n")), "{text}");
}

#[test]
fn a_run_and_its_record_say_what_was_freed_by_part() {
    let moment = "2026-01-02T03:04:05Z".parse().unwrap();
    let trigger = reclaim_maintenance::Trigger::Demand;
    let name = "p".parse().unwrap();
    let mut run = PolicyRun::begun(name, trigger, Mode::Apply, moment);
    let apply = |mut report: Report| {
        report.mode = Mode::Apply;
        report.reclaimed = reclaim_model::Reclaimed(report.estimate.0);
        report
    };
    run.reports = vec![
        apply(step(PolicyPart::Snapshots, 2, 3 * GB)),
        apply(step(PolicyPart::Images, 1, GB)),
    ];
    run.outcome = PolicyOutcome::Done;
    let text = String::from(&*super::run(&run));
    let expected = "policy p: done\n  \
        namespace k8s.io: freed snapshots of 2 images, 3GB\n    app:0\n    app:1\n  \
        namespace k8s.io: removed 1 image, reclaimed 1GB\n    app:0\n";
    assert_eq!(text, expected);
    let record = run.record().unwrap();
    let text = String::from(&*history(std::slice::from_ref(&record)));
    assert!(text.contains("PARTS"), "{text}");
    assert!(text.contains("snapshots of 2 images 3GB"), "{text}");
    // Without parts the table is as before.
    run.reports = run.reports.split_off(1);
    let text = String::from(&*history(&[run.record().unwrap()]));
    assert!(!text.contains("PARTS") && text.contains("AFTER"), "{text}");
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
