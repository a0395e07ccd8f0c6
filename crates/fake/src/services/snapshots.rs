//! Snapshots, which are never mounted.
//!
//! Source: containerd `core/metadata/snapshot.go`.

use containerd_client::services::v1::snapshots::{
    CommitSnapshotRequest, Info, Kind, ListSnapshotsRequest, ListSnapshotsResponse,
    PrepareSnapshotRequest, PrepareSnapshotResponse, RemoveSnapshotRequest, StatSnapshotRequest,
    StatSnapshotResponse, UsageRequest, UsageResponse, ViewSnapshotRequest, ViewSnapshotResponse,
};
use tonic::Status;

use super::call::{Unary, exists, not_found, time};
use crate::events::Event;
use crate::reply::{Reply, frame};
use crate::state::Snapshot;

const SNAPSHOT: &str = "snapshot";

/// The snapshots in one message of a list.
const PER_MESSAGE: usize = 100;

pub(super) fn call(method: &str, call: &mut Unary<'_>) -> Option<Result<Reply, Status>> {
    Some(match method {
        "List" => list(call),
        "Stat" => stat(call),
        "Usage" => usage(call),
        "Prepare" => prepare(call),
        "View" => view(call),
        "Commit" => commit(call),
        "Remove" => remove(call),
        _ => return None,
    })
}

fn check_loaded(call: &Unary<'_>, snapshotter: &str) -> Result<(), Status> {
    if call.state.snapshotters.contains(snapshotter) {
        return Ok(());
    }
    let text = format!("snapshotter not loaded: {snapshotter}: invalid argument");
    Err(Status::invalid_argument(text))
}

fn list(call: &Unary<'_>) -> Result<Reply, Status> {
    let ListSnapshotsRequest { snapshotter, .. } = call.read()?;
    check_loaded(call, &snapshotter)?;
    let infos: Vec<Info> = call
        .space()?
        .snapshots
        .iter()
        .filter(|((of, _), _)| *of == snapshotter)
        .map(|(_, snapshot)| snapshot.info.clone())
        .collect();
    let messages = infos.chunks(PER_MESSAGE).map(|chunk| {
        frame(&ListSnapshotsResponse {
            info: chunk.to_vec(),
        })
    });
    Ok(Reply::Messages(messages.collect()))
}

fn find(call: &Unary<'_>, snapshotter: &str, key: &str) -> Result<Snapshot, Status> {
    check_loaded(call, snapshotter)?;
    let id = (snapshotter.to_owned(), key.to_owned());
    let found = call.space()?.snapshots.get(&id).cloned();
    found.ok_or_else(|| not_found(SNAPSHOT, key))
}

fn stat(call: &Unary<'_>) -> Result<Reply, Status> {
    let StatSnapshotRequest { snapshotter, key } = call.read()?;
    let info = Some(find(call, &snapshotter, &key)?.info);
    Ok(Reply::one(&StatSnapshotResponse { info }))
}

fn usage(call: &Unary<'_>) -> Result<Reply, Status> {
    let UsageRequest { snapshotter, key } = call.read()?;
    let snapshot = find(call, &snapshotter, &key)?;
    Ok(Reply::one(&UsageResponse {
        size: i64::try_from(snapshot.bytes).unwrap_or(i64::MAX),
        inodes: i64::try_from(snapshot.inodes).unwrap_or(i64::MAX),
    }))
}

fn prepare(call: &mut Unary<'_>) -> Result<Reply, Status> {
    let request: PrepareSnapshotRequest = call.read()?;
    let info = Info {
        name: request.key,
        parent: request.parent,
        kind: Kind::Active.into(),
        labels: request.labels,
        ..Info::default()
    };
    create(call, &request.snapshotter, info)?;
    Ok(Reply::one(&PrepareSnapshotResponse::default()))
}

fn view(call: &mut Unary<'_>) -> Result<Reply, Status> {
    let request: ViewSnapshotRequest = call.read()?;
    let info = Info {
        name: request.key,
        parent: request.parent,
        kind: Kind::View.into(),
        labels: request.labels,
        ..Info::default()
    };
    create(call, &request.snapshotter, info)?;
    Ok(Reply::one(&ViewSnapshotResponse::default()))
}

fn create(call: &mut Unary<'_>, snapshotter: &str, mut info: Info) -> Result<(), Status> {
    if !info.parent.is_empty() {
        let parent = find(call, snapshotter, &info.parent)?;
        if parent.info.kind() != Kind::Committed {
            let text = format!("parent {} is not committed", info.parent);
            return Err(Status::invalid_argument(text));
        }
    }
    check_loaded(call, snapshotter)?;
    info.created_at = time(call.context.now);
    info.updated_at = info.created_at;
    let id = (snapshotter.to_owned(), info.name.clone());
    if call.space_mut()?.snapshots.contains_key(&id) {
        return Err(exists(SNAPSHOT, &info.name));
    }
    hold(call, snapshotter, &info.name)?;
    let event = Event::snapshot_prepared(&call.context.namespace, &info.name, &info.parent);
    let snapshot = Snapshot {
        info,
        ..Snapshot::default()
    };
    call.space_mut()?.snapshots.insert(id, snapshot);
    call.publish(event);
    Ok(())
}

fn commit(call: &mut Unary<'_>) -> Result<Reply, Status> {
    let request: CommitSnapshotRequest = call.read()?;
    let snapshotter = request.snapshotter;
    let mut snapshot = find(call, &snapshotter, &request.key)?;
    let id = (snapshotter.clone(), request.name.clone());
    let snapshots = &mut call.space_mut()?.snapshots;
    if snapshots.contains_key(&id) {
        return Err(exists(SNAPSHOT, &request.name));
    }
    snapshots.remove(&(snapshotter.clone(), request.key));
    snapshot.info.name.clone_from(&request.name);
    snapshot.info.kind = Kind::Committed.into();
    snapshot.info.labels = request.labels;
    snapshots.insert(id, snapshot);
    hold(call, &snapshotter, &request.name)?;
    Ok(Reply::one(&()))
}

fn remove(call: &mut Unary<'_>) -> Result<Reply, Status> {
    let RemoveSnapshotRequest { snapshotter, key } = call.read()?;
    find(call, &snapshotter, &key)?;
    let snapshots = &mut call.space_mut()?.snapshots;
    let mut siblings = snapshots.iter().filter(|((of, _), _)| *of == snapshotter);
    if siblings.any(|(_, snapshot)| snapshot.info.parent == key) {
        return Err(Status::failed_precondition(
            "cannot remove snapshot with child",
        ));
    }
    snapshots.remove(&(snapshotter, key.clone()));
    let event = Event::snapshot_removed(&call.context.namespace, &key);
    call.publish(event);
    Ok(Reply::one(&()))
}

/// Adds a snapshot to the lease of the call.
fn hold(call: &mut Unary<'_>, snapshotter: &str, key: &str) -> Result<(), Status> {
    if let Some(lease) = call.lease_mut()? {
        let kind = format!("snapshots/{snapshotter}");
        lease.resources.insert((kind, key.to_owned()));
    }
    Ok(())
}
