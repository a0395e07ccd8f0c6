//! Which directories belong to no record, as far as it can be proven.

use std::collections::{BTreeMap, BTreeSet};

use reclaim_model::{Place, Snapshotter, Unrecorded};

use super::Listing;
use super::walk::{MAX_FILES, Walked, place, walk};

/// All that is known of a snapshotter with more directories than records.
#[derive(Debug)]
pub(super) struct Evidence {
    pub(super) snapshotter: Snapshotter,
    pub(super) listing: Listing,
    /// The directories in question.
    pub(super) lasting: BTreeSet<String>,
    /// Those in which something was removed meanwhile.
    pub(super) touched: BTreeSet<String>,
    /// Those that are known to be a record's.
    pub(super) mounted: BTreeSet<String>,
    /// What the other records occupy, in bytes and inodes; `None` if that is unknown.
    pub(super) owned: Vec<Option<(u64, u64)>>,
    /// How many belong to no record, at least.
    pub(super) count: usize,
}

/// Finds as many as can be found, and says what they occupy.
pub(super) fn identify(evidence: &Evidence) -> Unrecorded {
    let mut names = certain(evidence);
    let candidates = evidence.lasting.difference(&evidence.mounted);
    let candidates: Vec<&String> = candidates.filter(|it| !names.contains(*it)).collect();
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
    // One that cannot be read counts for nothing, so the sum is not all.
    let places: Vec<Place> = paths.filter_map(|path| place(&path).ok()).collect();
    Unrecorded {
        snapshotter: evidence.snapshotter.clone(),
        directories: count,
        bytes: places.iter().map(|it| it.bytes).sum(),
        is_exact: places.len() == count,
        places,
    }
}

/// The directories that tell by themselves: no record has such a name, or a part was taken out
/// meanwhile, which only a removal does.
fn certain(evidence: &Evidence) -> BTreeSet<String> {
    let is_number = |name: &str| name.bytes().all(|it| it.is_ascii_digit());
    let mut certain = evidence.lasting.clone();
    certain.retain(|name| !is_number(name) || evidence.touched.contains(name));
    certain
}

/// The directories that no record is as large as. A record has its snapshot's size from when it
/// was committed, and committed ones do not change.
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
        // As many records as directories of that size, or nobody knows which is which.
        match owned.get(&walked) {
            Some(count) if *count >= names.len() => {}
            Some(_) => return Vec::new(),
            None => unmatched.extend(names),
        }
    }
    unmatched
}
