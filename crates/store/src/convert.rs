//! Converts between containerd's messages and the types of the model.

use std::collections::BTreeMap;

use containerd_client::services::v1::snapshots::{Info as SnapshotInfo, Kind};
use containerd_client::services::v1::{
    Container as ContainerMessage, Image as ImageMessage, Lease as LeaseMessage, Resource,
};
use containerd_client::types::Descriptor;
use jiff::Timestamp;
use prost_types::Timestamp as TimestampMessage;
use reclaim_model::{
    Container, ContainerSource, ContainerState, EXPIRE, FLAT, Gap, GcLabels, GcRef,
    IMAGE_DIGEST_LABEL, ImageRecord, Lease, LeaseResource, Snapshot, SnapshotId, SnapshotKind,
    Sources, Target, Texts, parse_expiry,
};

use crate::{cri, nerdctl};

/// Labels in a message of gRPC.
#[expect(
    clippy::disallowed_types,
    reason = "prost's own type; turned into an ordered map or only looked up in"
)]
pub(crate) type LabelMessage = std::collections::HashMap<String, String>;

/// The prefix of Compose's labels.
const COMPOSE_LABELS: &str = "com.docker.compose.";

// The kinds of resources of a lease.
const CONTENT: &str = "content";
const INGESTS: &str = "ingests";
const IMAGES: &str = "images";
const SNAPSHOTS: &str = "snapshots/";

pub(crate) fn gc_labels(labels: &LabelMessage) -> GcLabels {
    GcLabels::parse(labels.iter().map(|(key, value)| (&**key, &**value)))
}

/// Returns the sources of a blob that refers to others. Most blobs are layers, whose sources would
/// take memory and prove nothing.
pub(crate) fn sources(labels: &LabelMessage, gc: &GcLabels) -> Sources {
    let refers = |reference: &GcRef| matches!(reference, GcRef::Content(_));
    if gc.refs.iter().any(refers) {
        Sources::parse(labels.iter().map(|(key, value)| (&**key, &**value)))
    } else {
        Sources::default()
    }
}

fn expiry(labels: &LabelMessage) -> Option<Timestamp> {
    labels.get(EXPIRE).and_then(|text| parse_expiry(text))
}

fn ordered(labels: LabelMessage) -> BTreeMap<String, String> {
    labels.into_iter().collect()
}

/// Returns `None` for a time that is not set or out of range.
pub(crate) fn timestamp(message: Option<TimestampMessage>) -> Option<Timestamp> {
    let message = message?;
    Timestamp::new(message.seconds, message.nanos).ok()
}

/// Converts an image record. It is a gap if its target's digest has an unknown algorithm.
pub(crate) fn image(message: ImageMessage) -> Result<ImageRecord, Gap> {
    let target = message.target.unwrap_or_default();
    let Ok(digest) = target.digest.parse() else {
        return Err(Gap::Image {
            name: message.name,
            target: target.digest,
            refs: gc_labels(&message.labels).refs.clone(),
        });
    };
    Ok(ImageRecord {
        gc: gc_labels(&message.labels),
        expires: expiry(&message.labels),
        name: message.name,
        target: Target {
            media_type: target.media_type,
            digest,
            size: u64::try_from(target.size).unwrap_or(0),
            annotations: ordered(target.annotations),
        },
        labels: ordered(message.labels),
        created_at: timestamp(message.created_at),
        updated_at: timestamp(message.updated_at),
    })
}

pub(crate) fn timestamp_message(time: Timestamp) -> TimestampMessage {
    TimestampMessage {
        seconds: time.as_second(),
        nanos: time.subsec_nanosecond(),
    }
}

pub(crate) fn image_message(image: &ImageRecord) -> ImageMessage {
    ImageMessage {
        name: image.name.clone(),
        labels: image.labels.clone().into_iter().collect(),
        target: Some(descriptor(&image.target)),
        created_at: image.created_at.map(timestamp_message),
        updated_at: None,
    }
}

pub(crate) fn descriptor(target: &Target) -> Descriptor {
    Descriptor {
        media_type: target.media_type.clone(),
        digest: target.digest.to_string(),
        size: i64::try_from(target.size).unwrap_or(i64::MAX),
        annotations: target.annotations.clone().into_iter().collect(),
    }
}

pub(crate) fn container(message: ContainerMessage) -> Container {
    let snapshot = (!message.snapshotter.is_empty() && !message.snapshot_key.is_empty())
        .then(|| SnapshotId::new(message.snapshotter, message.snapshot_key));
    let metadata = message.extensions.get(cri::METADATA);
    let cri = metadata.and_then(cri::image_of).unwrap_or_default();
    let label = message.labels.get(IMAGE_DIGEST_LABEL);
    let label = label.and_then(|digest| digest.parse().ok());
    // What only the CRI plugin writes is worth more than a label.
    let (source, image_digest) = match (cri.digest, label) {
        (None, Some(label)) => (ContainerSource::Label, Some(label)),
        (digest, _) => (ContainerSource::Engine, digest),
    };
    Container {
        id: message.id,
        source,
        image: Some(message.image)
            .filter(|name| !name.is_empty())
            .or(cri.name)
            .unwrap_or_default(),
        image_digest,
        image_manifest: None,
        image_config: cri.config,
        // Engines mount images through snapshots and leases of their own.
        mounts: Vec::new(),
        mounted_snapshots: nerdctl::mounted_snapshots(&message.labels),
        snapshot,
        gc: gc_labels(&message.labels),
        labels: compose_labels(message.labels),
        // The state is in the container's task, not in its record.
        state: ContainerState::Unknown,
        created: timestamp(message.created_at),
    }
}

/// Keeps only Compose's labels: engines store much data in labels, and there may be a thousand
/// containers.
fn compose_labels(labels: LabelMessage) -> BTreeMap<String, String> {
    labels
        .into_iter()
        .filter(|(key, _)| key.starts_with(COMPOSE_LABELS))
        .collect()
}

/// Converts a snapshot, with its keys from `texts`.
pub(crate) fn snapshot(message: &SnapshotInfo, texts: &mut Texts) -> Snapshot {
    // An unknown kind counts as active, and so as a use of its parents.
    let kind = match Kind::try_from(message.kind) {
        Ok(Kind::Committed) => SnapshotKind::Committed,
        Ok(Kind::View) => SnapshotKind::View,
        Ok(Kind::Active | Kind::Unknown) | Err(_) => SnapshotKind::Active,
    };
    Snapshot {
        key: texts.share(&message.name),
        parent: (!message.parent.is_empty()).then(|| texts.share(&message.parent)),
        kind,
        gc: gc_labels(&message.labels),
    }
}

pub(crate) fn lease(message: LeaseMessage, resources: Vec<LeaseResource>) -> Lease {
    Lease {
        id: message.id,
        created: timestamp(message.created_at),
        expires: expiry(&message.labels),
        is_flat: message.labels.contains_key(FLAT),
        labels: ordered(message.labels),
        resources,
    }
}

pub(crate) fn lease_resource(message: Resource) -> LeaseResource {
    let Resource { id, r#type: kind } = message;
    if kind == CONTENT {
        if let Ok(digest) = id.parse() {
            return LeaseResource::Content(digest);
        }
    } else if let Some(snapshotter) = kind.strip_prefix(SNAPSHOTS) {
        return LeaseResource::Snapshot(SnapshotId::new(snapshotter, id));
    } else if kind == IMAGES {
        return LeaseResource::Image(id);
    } else if kind == INGESTS {
        return LeaseResource::Ingest(id);
    }
    LeaseResource::Other { kind, id }
}

pub(crate) fn lease_resource_message(resource: &LeaseResource) -> Resource {
    let (kind, id) = match resource {
        LeaseResource::Content(digest) => (CONTENT.to_owned(), digest.to_string()),
        LeaseResource::Snapshot(SnapshotId { snapshotter, key }) => {
            (format!("{SNAPSHOTS}{snapshotter}"), key.to_string())
        }
        LeaseResource::Image(name) => (IMAGES.to_owned(), name.clone()),
        LeaseResource::Ingest(name) => (INGESTS.to_owned(), name.clone()),
        LeaseResource::Other { kind, id } => (kind.clone(), id.clone()),
    };
    Resource { id, r#type: kind }
}
