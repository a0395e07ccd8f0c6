//! Snapshots of builds, of mounts, and of containers of unknown engines.

use super::SNAPSHOTTERS;
use super::draft::Draft;
use crate::labels::Labels;
use crate::namespace::SnapshotKind;
use crate::random::store::ObjectKind;

/// Adds a few snapshots, with or without an unpacked parent. Most are garbage; other objects will
/// hold some.
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
    let committed = draft.pick_snapshot(|kind| kind == SnapshotKind::Committed);
    let (snapshotter, parent) = match committed {
        Some((snapshotter, key)) if !draft.dice.percent(10) => (snapshotter, Some(key)),
        Some(_) | None => ((*draft.dice.pick(&SNAPSHOTTERS)).to_owned(), None),
    };
    // A key may contain any character, including the separator that follows the snapshotter.
    let key = match draft.dice.below(3) {
        0 => format!("work-{number}"),
        1 => format!("build/{number}/new"),
        _ => format!("extract-{number} of it"),
    };
    let bytes = draft.dice.between(1, 9000);
    let object = ObjectKind::Snapshot {
        snapshotter: snapshotter.clone(),
        key: key.clone(),
        parent,
        kind,
        bytes,
    };
    draft.add(object, Labels::new());
    (snapshotter, key)
}
