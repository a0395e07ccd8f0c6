//! What was to be freed and is still there, in words: one line for each set of holders.

use std::collections::BTreeMap;

use reclaim_model::{Holder, HumanSize, LeftThing, Namespace, Report};

use super::count;

/// How many holders a line names.
const NAMED: usize = 3;

/// What the same holders hold.
#[derive(Default)]
struct Sum {
    bytes: u64,
    blobs: usize,
    snapshots: usize,
}

/// Returns the lines.
pub(super) fn lines(report: &Report) -> Vec<String> {
    let mut sums: BTreeMap<&[(Namespace, Holder)], Sum> = BTreeMap::new();
    for left in &report.left {
        let sum = sums.entry(&left.holders).or_default();
        sum.bytes += left.bytes;
        match left.thing {
            LeftThing::Blob(_) => sum.blobs += 1,
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
            held_by(holders, &report.namespace),
        )
    });
    lines.collect()
}

fn held_by(holders: &[(Namespace, Holder)], here: &Namespace) -> String {
    if holders.is_empty() {
        return "held by nothing that can be seen; the next collection takes it".to_owned();
    }
    let named = holders.iter().take(NAMED).map(|(namespace, holder)| {
        if namespace == here {
            holder.to_string()
        } else {
            format!("{holder} in namespace `{namespace}`")
        }
    });
    let mut named: Vec<String> = named.collect();
    if let Some(others) = holders.len().checked_sub(NAMED).filter(|it| *it > 0) {
        named.push(format!("{others} more"));
    }
    format!("held by {}", named.join(", "))
}
