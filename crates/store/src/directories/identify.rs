//! Identifies the directories that have no record, as far as this can be proven.

use std::collections::{BTreeMap, BTreeSet};

use reclaim_model::{Place, Snapshotter, Unrecorded};

use super::Listing;
use super::walk::{MAX_FILES, Walked, place, walk};

/// What is known about a snapshotter with more directories than records.
#[derive(Debug)]
pub(super) struct Evidence {
    pub(super) snapshotter: Snapshotter,
    pub(super) listing: Listing,
    /// The directories that were listed before and after the inventory.
    pub(super) listed_twice: BTreeSet<String>,
    /// Those in which an entry was removed in between.
    pub(super) touched: BTreeSet<String>,
    /// Those that are known to have a record.
    pub(super) mounted: BTreeSet<String>,
    /// What the other records occupy, in bytes and inodes; `None` if that is unknown.
    pub(super) owned: Vec<Option<(u64, u64)>>,
    /// How many directories have no record, at least.
    pub(super) count: usize,
}

/// Identifies as many directories without a record as possible, and measures them.
pub(super) fn identify(evidence: &Evidence) -> Unrecorded {
    let mut names = certain(evidence);
    let candidates: Vec<&String> = evidence
        .listed_twice
        .difference(&evidence.mounted)
        .filter(|name| !names.contains(*name))
        .collect();
    let rest = evidence.count.saturating_sub(names.len());
    if candidates.len() <= rest {
        names.extend(candidates.into_iter().cloned());
    } else if rest > 0 {
        let others = by_size(evidence, &candidates);
        // Any other number proves nothing.
        if others.len() == rest {
            names.extend(others);
        }
    }
    let count = evidence.count.max(names.len());
    let paths = names.iter().map(|name| evidence.listing.path.join(name));
    // A directory that cannot be read is left out, and the sum is then not exact.
    let places: Vec<Place> = paths.filter_map(|path| place(&path).ok()).collect();
    Unrecorded {
        snapshotter: evidence.snapshotter.clone(),
        directories: count,
        bytes: places.iter().map(|place| place.bytes).sum(),
        is_exact: places.len() == count,
        places,
    }
}

/// Returns the directories that certainly have no record: their name is not an ID, or an entry was
/// removed in them, which only the removal of a snapshot does.
fn certain(evidence: &Evidence) -> BTreeSet<String> {
    let is_number = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit());
    let mut certain = evidence.listed_twice.clone();
    certain.retain(|name| !is_number(name) || evidence.touched.contains(name));
    certain
}

/// Returns the directories whose size is that of no record. A record has the size of its snapshot
/// when it was committed, and a committed snapshot does not change.
fn by_size(evidence: &Evidence, candidates: &[&String]) -> Vec<String> {
    let Some(sizes) = evidence.owned.iter().copied().collect::<Option<Vec<_>>>() else {
        return Vec::new();
    };
    let inodes: u64 = sizes.iter().map(|(_, inodes)| inodes).sum();
    if inodes > MAX_FILES {
        return Vec::new();
    }
    let mut owned: BTreeMap<Walked, usize> = BTreeMap::new();
    for (bytes, inodes) in sizes {
        *owned.entry(Walked { bytes, inodes }).or_default() += 1;
    }
    let mut unmatched = Vec::new();
    let mut found = BTreeMap::new();
    for name in candidates {
        let path = evidence.listing.path.join(name);
        let Ok(walked) = walk(&evidence.listing.layout.counted(&path)) else {
            unmatched.push((*name).clone());
            continue;
        };
        found
            .entry(walked)
            .or_insert_with(Vec::new)
            .push((*name).clone());
    }
    for (walked, names) in found {
        // With fewer records than directories of one size, it is unknown which ones have a record.
        match owned.get(&walked) {
            Some(count) if *count >= names.len() => {}
            Some(_) => return Vec::new(),
            None => unmatched.extend(names),
        }
    }
    unmatched
}
