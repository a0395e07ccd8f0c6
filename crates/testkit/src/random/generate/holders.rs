//! What uses and holds: containers, leases, sandboxes, writers.

use super::draft::Draft;
use super::registry::{Artifact, Registry};
use super::snapshots;
use super::{FUTURE, PAST, SNAPSHOTTERS};
use crate::labels::{GC_EXPIRE, GC_FLAT, Labels, labels};
use crate::namespace::{LeaseResource, SnapshotKind};
use crate::random::store::What;

/// Adds containers that name an image in every way, or none, on every kind of snapshot, or none.
pub(super) fn add_containers(draft: &mut Draft, pulled: &[Artifact]) {
    for _ in 0..draft.dice.below(3) {
        let number = draft.number();
        let image = image_of_container(draft, pulled);
        let snapshot = match draft.dice.below(10) {
            0..=4 => Some(snapshots::add(draft, SnapshotKind::Active)),
            5 => draft.pick_snapshot(|_| true),
            6 => Some((SNAPSHOTTERS[0].to_owned(), "gone".to_owned())),
            _ => None,
        };
        let what = What::Container {
            id: format!("web{number}"),
            image,
            snapshot,
        };
        draft.add(what, Labels::new());
    }
}

fn image_of_container(draft: &mut Draft, pulled: &[Artifact]) -> String {
    let names = draft.known().names.clone();
    let artifact = draft.dice.pick(pulled);
    let digest = &artifact.target.digest;
    match draft.dice.below(9) {
        0..=2 if !names.is_empty() => draft.dice.pick(&names).clone(),
        3 => artifact.stem.clone(),
        4 => digest.to_string(),
        5 => digest.hex()[..12].to_owned(),
        6 => format!("elsewhere@{digest}"),
        7 => "docker.io/library/gone:1".to_owned(),
        _ => String::new(),
    }
}

/// Adds what Docker leaves of containers: a lease that never expires, on `<id>-init` and `<id>`,
/// and of a running one a record.
pub(super) fn add_docker_containers(draft: &mut Draft, pulled: &[Artifact]) {
    let Some(below) = draft.pick_snapshot(|kind| kind == SnapshotKind::Committed) else {
        return;
    };
    if !draft.dice.percent(25) {
        return;
    }
    let (snapshotter, parent) = below;
    let id = format!("{:064x}", draft.number());
    let init = format!("{id}-init");
    let bytes = draft.dice.between(1, 5000);
    let snapshot = |key: &str, parent: &str, kind, bytes| What::Snapshot {
        snapshotter: snapshotter.clone(),
        key: key.to_owned(),
        parent: Some(parent.to_owned()),
        kind,
        bytes,
    };
    let committed = snapshot(&init, &parent, SnapshotKind::Committed, 10);
    draft.add(committed, Labels::new());
    let active = snapshot(&id, &init, SnapshotKind::Active, bytes);
    draft.add(active, Labels::new());
    let resources = [&init, &id].map(|key| LeaseResource::snapshot(&snapshotter, key));
    let lease = What::Lease {
        id: id.clone(),
        resources: resources.to_vec(),
    };
    draft.add(lease, Labels::new());
    if draft.dice.percent(50) {
        let image = image_of_container(draft, pulled);
        let running = What::Container {
            id,
            image,
            snapshot: None,
        };
        draft.add(running, Labels::new());
    }
}

/// Adds leases of every kind.
pub(super) fn add_leases(draft: &mut Draft, registry: &Registry) {
    for _ in 0..draft.dice.below(3) {
        let number = draft.number();
        let mut lease_labels = match draft.dice.below(6) {
            0 | 1 => labels([(GC_EXPIRE, PAST)]),
            2 => labels([(GC_EXPIRE, FUTURE)]),
            3 => labels([(GC_EXPIRE, "soon")]),
            _ => Labels::new(),
        };
        if draft.dice.percent(30) {
            // Any value means yes.
            lease_labels.extend(labels([(GC_FLAT, "false")]));
        }
        let n_resources = draft.dice.below(4);
        let resources = (0..n_resources).map(|_| resource(draft, registry));
        let what = What::Lease {
            id: format!("lease-{number}"),
            resources: resources.collect(),
        };
        draft.add(what, lease_labels);
    }
}

fn resource(draft: &mut Draft, registry: &Registry) -> LeaseResource {
    let known = draft.known();
    let (digests, names) = (known.digests.clone(), known.names.clone());
    let ingests = known.ingests.clone();
    match draft.dice.below(8) {
        0 | 1 if !digests.is_empty() => LeaseResource {
            kind: "content".to_owned(),
            id: draft.dice.pick(&digests).clone(),
        },
        2 => LeaseResource::content(&draft.dice.pick(&registry.artifacts).target.digest),
        3 if !names.is_empty() => {
            let name = draft.dice.pick(&names);
            LeaseResource::image(name)
        }
        4 => LeaseResource {
            kind: "ingests".to_owned(),
            id: ingests.first().cloned().unwrap_or("gone".to_owned()),
        },
        5 => LeaseResource::snapshot(SNAPSHOTTERS[1], "gone"),
        _ => match draft.pick_snapshot(|_| true) {
            Some((snapshotter, key)) => LeaseResource::snapshot(&snapshotter, &key),
            None => LeaseResource::snapshot(SNAPSHOTTERS[0], "gone"),
        },
    }
}

/// Adds a sandbox and a writer that nobody ends, now and then. Labels make them matter.
pub(super) fn add_others(draft: &mut Draft) {
    let number = draft.number();
    if draft.dice.percent(25) {
        let id = format!("pod{number}");
        draft.add(What::Sandbox { id }, Labels::new());
    }
    if draft.dice.percent(25) {
        let bytes = draft.dice.below(3000);
        let reference = format!("layer-{number}");
        draft.add(What::Ingest { reference, bytes }, Labels::new());
    }
}
