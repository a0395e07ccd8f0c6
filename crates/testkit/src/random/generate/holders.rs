//! Objects that use or hold others: containers, leases, sandboxes, ingests.

use super::draft::Draft;
use super::registry::{Artifact, Registry};
use super::snapshots;
use super::{FUTURE, PAST, SNAPSHOTTERS};
use crate::labels::{GC_EXPIRE, GC_FLAT, Labels, labels};
use crate::namespace::{LeaseResource, SnapshotKind};
use crate::random::store::ObjectKind;

/// Adds containers with any form of image name, or none, on any kind of snapshot, or none.
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
        let object = ObjectKind::Container {
            id: format!("web{number}"),
            image,
            snapshot,
        };
        draft.add(object, Labels::new());
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

/// Adds a container as Docker represents it: a lease that never expires, on `<id>-init` and `<id>`,
/// and a record if it is running.
pub(super) fn add_docker_containers(draft: &mut Draft, pulled: &[Artifact]) {
    let Some((snapshotter, parent)) = draft.pick_snapshot(|kind| kind == SnapshotKind::Committed)
    else {
        return;
    };
    if !draft.dice.percent(25) {
        return;
    }
    let id = format!("{:064x}", draft.number());
    let init = format!("{id}-init");
    let bytes = draft.dice.between(1, 5000);
    let snapshot = |key: &str, parent: &str, kind, bytes| ObjectKind::Snapshot {
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
    let lease = ObjectKind::Lease {
        id: id.clone(),
        resources: resources.to_vec(),
    };
    draft.add(lease, Labels::new());
    if draft.dice.percent(50) {
        let image = image_of_container(draft, pulled);
        let running = ObjectKind::Container {
            id,
            image,
            snapshot: None,
        };
        draft.add(running, Labels::new());
    }
}

/// Adds leases of any kind.
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
            // containerd takes any value for true.
            lease_labels.extend(labels([(GC_FLAT, "false")]));
        }
        let n_resources = draft.dice.below(4);
        let resources = (0..n_resources).map(|_| resource(draft, registry));
        let object = ObjectKind::Lease {
            id: format!("lease-{number}"),
            resources: resources.collect(),
        };
        draft.add(object, lease_labels);
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

/// Adds a sandbox and an ingest in some stores.
pub(super) fn add_sandbox_and_ingest(draft: &mut Draft) {
    let number = draft.number();
    if draft.dice.percent(25) {
        let id = format!("pod{number}");
        draft.add(ObjectKind::Sandbox { id }, Labels::new());
    }
    if draft.dice.percent(25) {
        let bytes = draft.dice.below(3000);
        let reference = format!("layer-{number}");
        draft.add(ObjectKind::Ingest { reference, bytes }, Labels::new());
    }
}
