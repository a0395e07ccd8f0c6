//! Snapshots that no pull made: of builds, of mounts, of containers whose engine is unknown.

use super::SNAPSHOTTERS;
use super::draft::Draft;
use crate::labels::Labels;
use crate::namespace::SnapshotKind;
use crate::random::store::What;

/// Adds a few snapshots, on what was unpacked or on nothing. Some of them will be held, and
/// most are garbage.
pub(super) fn add_some(draft: &mut Draft) {
    for _ in 0..draft.dice.below(5) {
        let kind = *draft.dice.pick(&[
            SnapshotKind::Active,
            SnapshotKind::Active,
            SnapshotKind::View,
            SnapshotKind::Committed,
        ]);
        add(draft, kind);
    }
}

/// Adds a snapshot and returns its snapshotter and key.
pub(super) fn add(draft: &mut Draft, kind: SnapshotKind) -> (String, String) {
    let number = draft.number();
    let below = draft.pick_snapshot(|kind| kind == SnapshotKind::Committed);
    let (snapshotter, parent) = match below {
        Some((snapshotter, key)) if !draft.dice.percent(10) => (snapshotter, Some(key)),
        Some(_) | None => ((*draft.dice.pick(&SNAPSHOTTERS)).to_owned(), None),
    };
    // A key may have whatever it likes in it, also what separates it from the snapshotter.
    let key = match draft.dice.below(3) {
        0 => format!("work-{number}"),
        1 => format!("build/{number}/new"),
        _ => format!("extract-{number} of it"),
    };
    let bytes = draft.dice.between(1, 9000);
    let what = What::Snapshot {
        snapshotter: snapshotter.clone(),
        key: key.clone(),
        parent,
        kind,
        bytes,
    };
    draft.add(what, Labels::new());
    (snapshotter, key)
}
