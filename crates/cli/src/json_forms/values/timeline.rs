//! What was recorded about images, and what policies would have done with them.

use jiff::Timestamp;
use reclaim_maintenance::{
    FillMark, FillPoint, ImageUse, ObjectKey, Observation, PolicyOutcome, PolicyTrial,
    RemovedImage, SeenConfig, SeenImage, SeenName, SeenObject, Timeline, TriedFilesystem,
    TriedImage, TriedRun,
};
use serde_json::Value;

use super::policies::filesystem;
use super::{digest, form, namespace, text};

const AT: Timestamp = Timestamp::UNIX_EPOCH;

pub(in super::super) fn timeline() -> Value {
    let keys = [
        ObjectKey::Blob(digest()),
        ObjectKey::Snapshot {
            namespace: namespace(),
            snapshotter: "overlayfs".into(),
            key: text(),
        },
    ];
    let objects = keys.map(|key| SeenObject {
        id: 1,
        key,
        bytes: 1,
    });
    let labels = || [(text(), text())].into();
    form(Timeline {
        observations: vec![Observation {
            version: 1,
            at: AT,
            wall: AT,
            begins: true,
            filesystems: vec![filesystem()],
            objects: objects.into(),
            images: vec![SeenImage {
                id: 1,
                namespace: namespace(),
                target: digest(),
                media_type: text(),
                names: vec![SeenName {
                    name: text(),
                    created: Some(AT),
                    updated: Some(AT),
                    labels: labels(),
                }],
                objects: vec![1],
                configs: vec![SeenConfig {
                    digest: digest(),
                    labels: labels(),
                    labels_left_out: 1,
                }],
                sources: vec![text()],
                is_unreadable: true,
                first_seen: AT,
                last_used: AT,
                spared_until: Some(AT),
            }],
            removed: vec![RemovedImage {
                image: 1,
                policy: "p".parse().unwrap(),
            }],
            gone: vec![1],
            used: vec![ImageUse { image: 1, at: AT }],
            in_use: vec![1],
            idle: vec![1],
        }],
    })
}

pub(in super::super) fn policy_trial() -> Value {
    form(PolicyTrial {
        policies: vec!["p".parse().unwrap()],
        since: Some(AT),
        until: Some(AT),
        removed_images: 1,
        freed_bytes: 1,
        pulled_again: 1,
        pulled_bytes: 1,
        runs: vec![TriedRun {
            at: AT,
            policy: "p".parse().unwrap(),
            outcome: PolicyOutcome::Done,
            images: 1,
            bytes: 1,
        }],
        images: vec![TriedImage {
            at: AT,
            policy: "p".parse().unwrap(),
            namespace: namespace(),
            names: vec![text()],
            target: digest(),
            unused_seconds: 1,
            bytes: 1,
            pulled_again: Some(AT),
        }],
        filesystems: vec![TriedFilesystem {
            mount_point: "/".into(),
            total_bytes: 1,
            marks: vec![FillMark {
                policy: "p".parse().unwrap(),
                high_left_bytes: 1,
                low_left_bytes: 1,
            }],
            points: vec![FillPoint {
                at: AT,
                recorded_left_bytes: 1,
                tried_left_bytes: 1,
            }],
        }],
        notes: vec![text()],
    })
}
