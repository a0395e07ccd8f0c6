//! What was to be freed and is still there, in words: one line for each set of holders.

use std::collections::BTreeMap;

use reclaim_model::{HumanSize, LeftHolder, LeftThing, Namespace, Report};

use super::{Ids, count};

/// What the same holders hold.
#[derive(Default)]
struct Sum {
    bytes: u64,
    blobs: usize,
    snapshots: usize,
}

/// Returns the lines.
pub(super) fn lines(report: &Report, ids: Ids) -> Vec<String> {
    let mut sums: BTreeMap<&[LeftHolder], Sum> = BTreeMap::new();
    for left in &report.left {
        let sum = sums.entry(&left.holders).or_default();
        sum.bytes += left.bytes;
        match left.thing {
            LeftThing::Blob { .. } => sum.blobs += 1,
            LeftThing::Snapshot(_) => sum.snapshots += 1,
        }
    }
    let lines = sums.into_iter().map(|(holders, sum)| {
        let Sum {
            bytes,
            blobs,
            snapshots,
        } = sum;
        format!(
            "still there: {} ({}, {}): {}",
            HumanSize(bytes),
            count(blobs, "blob"),
            count(snapshots, "snapshot"),
            held_by(holders, &report.namespace, ids),
        )
    });
    lines.collect()
}

fn held_by(holders: &[LeftHolder], here: &Namespace, ids: Ids) -> String {
    if holders.is_empty() {
        return "held by nothing that can be seen; the next collection takes it".to_owned();
    }
    format!("held by {}", ids.holders_in(holders, here))
}
