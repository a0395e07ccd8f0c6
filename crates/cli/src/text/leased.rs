//! What only leases hold, in words: which lease, how much, since when and until when.

use comfy_table::Table;
use reclaim_model::{HumanSize, LeaseHolding, Leased};

use super::df::align_right;
use super::{Ids, amount, table};

/// How many leases a line names.
const NAMED: usize = 3;

/// Says what leases hold, the most first; `None` if they hold nothing.
pub(super) fn line(leased: &Leased, ids: Ids) -> Option<String> {
    let held = leased.things.amount();
    if leased.leases.is_empty() {
        return None;
    }
    let mut largest: Vec<&LeaseHolding> = leased.leases.iter().collect();
    largest.sort_by_key(|it| std::cmp::Reverse(bytes(it)));
    let named = largest.iter().take(ids.shown(NAMED)).map(|it| {
        let until = it
            .until
            .map_or("no end".to_owned(), |at| format!("until {at:.0}"));
        let since = it.since.map(|at| format!("since {at:.0}, "));
        format!(
            "{} ({}, {}{until})",
            ids.holder(&it.holder()),
            HumanSize(bytes(it)),
            since.unwrap_or_default(),
        )
    });
    let named: Vec<String> = named.collect();
    let more = largest.len() - named.len();
    let more = (more > 0).then(|| format!(" and {more} more"));
    Some(format!(
        "{}: {}; {}{}",
        HumanSize(held.total_bytes()),
        amount(held),
        named.join(", "),
        more.unwrap_or_default(),
    ))
}

/// Lists the leases of a namespace.
pub(super) fn leases(leases: &[LeaseHolding], ids: Ids) -> Table {
    let mut table = table(["LEASE", "SIZE", "SINCE", "UNTIL"]);
    align_right(&mut table, 1..=1);
    for holding in leases {
        let time = |time: Option<jiff::Timestamp>, none: &str| {
            time.map_or(none.to_owned(), |at| format!("{at:.0}"))
        };
        table.add_row([
            ids.holder(&holding.holder()),
            HumanSize(bytes(holding)).to_string(),
            time(holding.since, "unknown"),
            time(holding.until, "no end"),
        ]);
    }
    table
}

fn bytes(holding: &LeaseHolding) -> u64 {
    holding.things.amount().total_bytes()
}
