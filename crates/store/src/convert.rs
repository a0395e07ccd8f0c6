//! From containerd's messages to our nouns.

use std::collections::BTreeMap;

use containerd_client::services::v1::snapshots::{Info as SnapshotInfo, Kind};
use containerd_client::services::v1::{
    Container as ContainerMessage, Image as ImageMessage, Lease as LeaseMessage, Resource,
};
use containerd_client::types::Descriptor;
use jiff::Timestamp;
use prost_types::Timestamp as TimestampMessage;
use reclaim_model::{
    Container, ContainerState, EXPIRE, FLAT, Gap, GcLabels, ImageRecord, Lease, LeaseResource,
    Snapshot, SnapshotId, SnapshotKind, Target, parse_expiry,
};

use crate::cri;

/// A map as gRPC delivers it.
#[expect(
    clippy::disallowed_types,
    reason = "prost's own type; turned into an ordered map or looked up in at once"
)]
pub(crate) type MapMessage<V> = std::collections::HashMap<String, V>;

/// A label map as gRPC delivers it.
pub(crate) type LabelMessage = MapMessage<String>;

/// The kinds of resource that a lease may list.
/// How the labels begin by which Compose knows its own.
const COMPOSE_LABELS: &str = "com.docker.compose.";

const CONTENT: &str = "content";
const INGESTS: &str = "ingests";
const IMAGES: &str = "images";
const SNAPSHOTS: &str = "snapshots/";

pub(crate) fn gc_labels(labels: &LabelMessage) -> GcLabels {
    GcLabels::parse(labels.iter().map(|(key, value)| (&**key, &**value)))
}

fn ordered(labels: LabelMessage) -> BTreeMap<String, String> {
    labels.into_iter().collect()
}

/// `None` for a time that was not set or that no calendar has.
pub(crate) fn timestamp(message: Option<TimestampMessage>) -> Option<Timestamp> {
    let message = message?;
    Timestamp::new(message.seconds, message.nanos).ok()
}

/// Reads an image record. One whose target is of an algorithm that is not known here is a gap.
pub(crate) fn image(message: ImageMessage) -> Result<ImageRecord, Gap> {
    let target = message.target.unwrap_or_default();
    let Ok(digest) = target.digest.parse() else {
        return Err(Gap::Image {
            name: message.name,
            target: target.digest,
            refs: gc_labels(&message.labels).refs,
        });
    };
    Ok(ImageRecord {
        gc: gc_labels(&message.labels),
        expires: message.labels.get(EXPIRE).and_then(|it| parse_expiry(it)),
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
    Container {
        id: message.id,
        image: message.image,
        image_digest: cri::image_of(&message.extensions),
        // Engines mount images by snapshots and leases of their own.
        mounts: Vec::new(),
        snapshot,
        gc: gc_labels(&message.labels),
        labels: compose_labels(message.labels),
        // Its record does not tell; its task does.
        state: ContainerState::Unknown,
    }
}

/// Engines put all they know into labels; of a thousand containers that would be a lot.
fn compose_labels(labels: impl IntoIterator<Item = (String, String)>) -> BTreeMap<String, String> {
    let ours = |(key, _): &(String, String)| key.starts_with(COMPOSE_LABELS);
    labels.into_iter().filter(ours).collect()
}

pub(crate) fn snapshot(message: SnapshotInfo) -> Snapshot {
    // A kind that we do not know is somebody's use, not something to build upon.
    let kind = match Kind::try_from(message.kind) {
        Ok(Kind::Committed) => SnapshotKind::Committed,
        Ok(Kind::View) => SnapshotKind::View,
        Ok(Kind::Active | Kind::Unknown) | Err(_) => SnapshotKind::Active,
    };
    Snapshot {
        key: message.name.into(),
        parent: (!message.parent.is_empty()).then(|| message.parent.into()),
        kind,
        gc: gc_labels(&message.labels),
    }
}

pub(crate) fn lease(message: LeaseMessage, resources: Vec<LeaseResource>) -> Lease {
    Lease {
        id: message.id,
        created: timestamp(message.created_at),
        expires: message.labels.get(EXPIRE).and_then(|it| parse_expiry(it)),
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
