//! Containers that engines register.

use reclaim_model::{Container, SnapshotId};

use super::{WireError, parsed};
use crate::grpc::proto;

/// The longest text of a container, in bytes: an ID, a reference.
const MAX_TEXT: usize = 4096;

/// Reads a container.
pub(in crate::grpc) fn container(message: proto::Container) -> Result<Container, WireError> {
    if message.id.is_empty() {
        return Err(WireError::new("containers.id", "it is empty"));
    }
    let texts = [
        &message.id,
        &message.image,
        &message.snapshotter,
        &message.snapshot_key,
    ];
    if texts
        .into_iter()
        .chain(&message.mounts)
        .any(|it| it.len() > MAX_TEXT)
    {
        let problem = format!("a text has more than {MAX_TEXT} bytes");
        return Err(WireError::new("containers", problem));
    }
    let state = proto::container::State::try_from(message.state)
        .map_err(|_| WireError::new("containers.state", "it is unknown here"))?;
    let snapshot = match (
        message.snapshotter.is_empty(),
        message.snapshot_key.is_empty(),
    ) {
        (true, true) => None,
        (false, false) => Some(SnapshotId::new(message.snapshotter, message.snapshot_key)),
        _ => {
            let problem = "it comes with a snapshot_key, or not at all";
            return Err(WireError::new("containers.snapshotter", problem));
        }
    };
    Ok(Container {
        id: message.id,
        image: message.image,
        image_digest: match message.image_digest.as_str() {
            "" => None,
            digest => Some(parsed("containers.image_digest", digest)?),
        },
        mounts: message.mounts,
        snapshot,
        labels: message.labels.into_iter().collect(),
        state: state.into(),
        ..Container::default()
    })
}

impl From<&Container> for proto::Container {
    fn from(container: &Container) -> Self {
        let snapshot = container.snapshot.as_ref();
        let of_snapshot = |part: fn(&SnapshotId) -> String| snapshot.map(part).unwrap_or_default();
        let digest = container.image_digest.as_ref();
        Self {
            id: container.id.clone(),
            image: container.image.clone(),
            image_digest: digest.map(ToString::to_string).unwrap_or_default(),
            mounts: container.mounts.clone(),
            snapshotter: of_snapshot(|it| it.snapshotter.to_string()),
            snapshot_key: of_snapshot(|it| it.key.to_string()),
            state: proto::container::State::from(container.state).into(),
            labels: container.labels.clone().into_iter().collect(),
        }
    }
}
