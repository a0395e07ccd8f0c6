//! Directories of snapshotters that belong to no record, in words.

use reclaim_model::{HumanSize, Unrecorded};

use super::Ids;

/// How many directories are named.
const NAMED: usize = 3;

/// Says how much it is and where, as in `30MB in 1 directory of overlayfs: /path`.
pub(super) fn amount(unrecorded: &Unrecorded, ids: Ids) -> String {
    let at_least = if unrecorded.is_exact { "" } else { "at least " };
    let places = unrecorded.places.iter().take(ids.shown(NAMED));
    let places = places.map(|place| match &place.why {
        Some(why) => format!("{} ({why})", place.path),
        None => place.path.clone(),
    });
    let places: Vec<String> = places.collect();
    let more = unrecorded.places.len() - places.len();
    let more = match (
        more,
        unrecorded
            .directories
            .saturating_sub(unrecorded.places.len()),
    ) {
        (0, 0) => String::new(),
        (0, unknown) => format!("; {unknown} of the others cannot be identified"),
        (more, _) => format!(" and {more} more"),
    };
    let noun = match unrecorded.directories {
        1 => "directory",
        _ => "directories",
    };
    format!(
        "{at_least}{} in {} {noun} of {}{}{}{more}",
        HumanSize(unrecorded.bytes),
        unrecorded.directories,
        unrecorded.snapshotter,
        if places.is_empty() { "" } else { ": " },
        places.join(", "),
    )
}

/// Says what becomes of them.
pub(super) fn outlook(unrecorded: &Unrecorded) -> &'static str {
    if unrecorded.is_collected() {
        "containerd removes them together with the next snapshot that goes"
    } else {
        "containerd does not remove them by itself"
    }
}
