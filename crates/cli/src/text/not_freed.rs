//! What is on the disk and was not freed: content that leases or other holders keep, and snapshot
//! directories without a record.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use jiff::Timestamp;
use reclaim_model::{
    HumanSize, LeaseHolding, Leased, LeftHolder, LeftThing, Namespace, Report, Unrecorded,
};

use super::{Table, Truncation, amount, count};

/// How many leases or directories a line lists.
const MAX_LISTED: usize = 3;

/// Content and snapshots with the same holders.
#[derive(Default)]
struct Sum {
    bytes: u64,
    blobs: usize,
    snapshots: usize,
}

/// Renders what the plan wanted to free and is still there: one line for each set of holders.
pub(super) fn left(report: &Report, trunc: Truncation) -> Vec<String> {
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
        format!(
            "still there: {} ({}, {}): {}",
            HumanSize(sum.bytes),
            count(sum.blobs, "blob"),
            count(sum.snapshots, "snapshot"),
            held_by(holders, &report.namespace, trunc),
        )
    });
    lines.collect()
}

fn held_by(holders: &[LeftHolder], here: &Namespace, trunc: Truncation) -> String {
    if holders.is_empty() {
        return "no holder found; the next collection frees it".to_owned();
    }
    format!("held by {}", trunc.holders_in(holders, here))
}

/// Renders what only leases hold, with the largest leases; `None` if they hold nothing.
pub(super) fn leased(leased: &Leased, trunc: Truncation) -> Option<String> {
    if leased.leases.is_empty() {
        return None;
    }
    let held = leased.things.amount();
    let mut largest: Vec<&LeaseHolding> = leased.leases.iter().collect();
    largest.sort_by_key(|lease| Reverse(bytes(lease)));
    let listed: Vec<String> = largest
        .iter()
        .take(trunc.limit(MAX_LISTED))
        .map(|lease| {
            let since = lease.since.map(|at| format!("since {at:.0}, "));
            let until = lease
                .until
                .map_or("no end".to_owned(), |at| format!("until {at:.0}"));
            format!(
                "{} ({}, {}{until})",
                trunc.holder(&lease.holder()),
                HumanSize(bytes(lease)),
                since.unwrap_or_default(),
            )
        })
        .collect();
    let more = match largest.len() - listed.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(format!(
        "{}: {}; {}{more}",
        HumanSize(held.total_bytes()),
        amount(held),
        listed.join(", "),
    ))
}

/// Returns a table of leases.
pub(super) fn lease_table(leases: &[LeaseHolding], trunc: Truncation) -> Table {
    let mut table = Table::new(["LEASE", "SIZE", "SINCE", "UNTIL"]);
    table.align_right(1..=1);
    for lease in leases {
        let time = |time: Option<Timestamp>, none: &str| {
            time.map_or(none.to_owned(), |at| format!("{at:.0}"))
        };
        table.add_row([
            trunc.holder(&lease.holder()),
            HumanSize(bytes(lease)).to_string(),
            time(lease.since, "unknown"),
            time(lease.until, "no end"),
        ]);
    }
    table
}

fn bytes(lease: &LeaseHolding) -> u64 {
    lease.things.amount().total_bytes()
}

/// Renders snapshot directories without a record, such as `30MB in 1 directory of overlayfs:
/// /path`.
pub(super) fn unrecorded(found: &Unrecorded, trunc: Truncation) -> String {
    let at_least = if found.is_exact { "" } else { "at least " };
    let listed: Vec<String> = found
        .places
        .iter()
        .take(trunc.limit(MAX_LISTED))
        .map(|place| match &place.why {
            Some(why) => format!("{} ({why})", place.path),
            None => place.path.clone(),
        })
        .collect();
    let not_listed = found.places.len() - listed.len();
    let unidentified = found.directories.saturating_sub(found.places.len());
    let more = match (not_listed, unidentified) {
        (0, 0) => String::new(),
        (0, unidentified) => format!("; {unidentified} of the others cannot be identified"),
        (not_listed, _) => format!(" and {not_listed} more"),
    };
    let noun = match found.directories {
        1 => "directory",
        _ => "directories",
    };
    format!(
        "{at_least}{} in {} {noun} of {}{}{}{more}",
        HumanSize(found.bytes),
        found.directories,
        found.snapshotter,
        if listed.is_empty() { "" } else { ": " },
        listed.join(", "),
    )
}

/// Returns whether containerd will remove directories without a record.
pub(super) fn outlook(found: &Unrecorded) -> &'static str {
    if found.is_collected() {
        "containerd tries to remove them when it next removes a snapshot"
    } else {
        "containerd does not remove them by itself"
    }
}
