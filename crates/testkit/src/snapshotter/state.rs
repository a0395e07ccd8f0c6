//! The state of a snapshotter, and its calls.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use containerd_client::services::v1::snapshots::{
    CommitSnapshotRequest, Info, Kind, ListSnapshotsResponse, MountsRequest, MountsResponse,
    PrepareSnapshotRequest, PrepareSnapshotResponse, RemoveSnapshotRequest, StatSnapshotRequest,
    StatSnapshotResponse, UpdateSnapshotRequest, UpdateSnapshotResponse, UsageRequest,
    UsageResponse, ViewSnapshotRequest, ViewSnapshotResponse,
};
use containerd_client::types::Mount;
use prost::Message;
use prost_types::Timestamp;
use tempfile::TempDir;
use tonic::Code;

/// The size of every snapshot.
const BYTES: i64 = 4096;

/// How a [`super::ProxySnapshotter`] responds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Normally.
    Healthy,
    /// With that code to requests for the size of a snapshot, else normally.
    WithoutSizes(Code),
    /// With that code to every call.
    Failing(Code),
    /// Never.
    Hanging,
}

/// The state of a snapshotter.
#[derive(Debug)]
pub(super) struct State {
    pub(super) health: Health,
    /// Snapshots by key.
    snapshots: BTreeMap<String, Snapshot>,
    directory: TempDir,
    n_directories: usize,
}

/// A snapshot and its directory.
#[derive(Debug, Clone)]
struct Snapshot {
    info: Info,
    directory: PathBuf,
}

impl State {
    /// Returns an empty state that creates its directories below `directory`.
    pub(super) fn new(directory: TempDir) -> Self {
        Self {
            health: Health::Healthy,
            snapshots: BTreeMap::new(),
            directory,
            n_directories: 0,
        }
    }

    /// Carries out a call and returns the encoded response.
    pub(super) fn call(&mut self, method: &str, message: &[u8]) -> Result<Vec<u8>, Code> {
        let response = match method {
            "Prepare" => {
                let request: PrepareSnapshotRequest = decoded(message)?;
                let mounts = self.create(Kind::Active, request.key, request.parent)?;
                PrepareSnapshotResponse { mounts }.encode_to_vec()
            }
            "View" => {
                let request: ViewSnapshotRequest = decoded(message)?;
                let mounts = self.create(Kind::View, request.key, request.parent)?;
                ViewSnapshotResponse { mounts }.encode_to_vec()
            }
            "Commit" => {
                let request: CommitSnapshotRequest = decoded(message)?;
                self.commit(&request)?;
                ().encode_to_vec()
            }
            "Remove" => {
                let request: RemoveSnapshotRequest = decoded(message)?;
                self.snapshots.remove(&request.key).ok_or(Code::NotFound)?;
                ().encode_to_vec()
            }
            "Mounts" => {
                let request: MountsRequest = decoded(message)?;
                let mounts = vec![bind(&self.find(&request.key)?.directory)];
                MountsResponse { mounts }.encode_to_vec()
            }
            "Stat" => {
                let request: StatSnapshotRequest = decoded(message)?;
                let info = Some(self.find(&request.key)?.info.clone());
                StatSnapshotResponse { info }.encode_to_vec()
            }
            "Update" => {
                let request: UpdateSnapshotRequest = decoded(message)?;
                let key = request.info.unwrap_or_default().name;
                let info = Some(self.find(&key)?.info.clone());
                UpdateSnapshotResponse { info }.encode_to_vec()
            }
            "Usage" => {
                let request: UsageRequest = decoded(message)?;
                self.find(&request.key)?;
                UsageResponse {
                    size: BYTES,
                    inodes: 1,
                }
                .encode_to_vec()
            }
            "List" => {
                let snapshots = self.snapshots.values();
                let info = snapshots.map(|snapshot| snapshot.info.clone()).collect();
                ListSnapshotsResponse { info }.encode_to_vec()
            }
            "Cleanup" => ().encode_to_vec(),
            _ => return Err(Code::Unimplemented),
        };
        Ok(response)
    }

    fn find(&self, key: &str) -> Result<&Snapshot, Code> {
        self.snapshots.get(key).ok_or(Code::NotFound)
    }

    fn create(&mut self, kind: Kind, key: String, parent: String) -> Result<Vec<Mount>, Code> {
        if self.snapshots.contains_key(&key) {
            return Err(Code::AlreadyExists);
        }
        if !parent.is_empty() {
            self.find(&parent)?;
        }
        self.n_directories += 1;
        let directory = self.directory.path().join(self.n_directories.to_string());
        fs::create_dir(&directory).map_err(|_| Code::Internal)?;
        let epoch = Some(Timestamp::default());
        let info = Info {
            name: key.clone(),
            parent,
            kind: kind.into(),
            created_at: epoch,
            updated_at: epoch,
            ..Info::default()
        };
        let mounts = vec![bind(&directory)];
        self.snapshots.insert(key, Snapshot { info, directory });
        Ok(mounts)
    }

    fn commit(&mut self, request: &CommitSnapshotRequest) -> Result<(), Code> {
        if self.snapshots.contains_key(&request.name) {
            return Err(Code::AlreadyExists);
        }
        let mut snapshot = self.snapshots.remove(&request.key).ok_or(Code::NotFound)?;
        snapshot.info.name.clone_from(&request.name);
        snapshot.info.kind = Kind::Committed.into();
        self.snapshots.insert(request.name.clone(), snapshot);
        Ok(())
    }
}

fn decoded<M: Message + Default>(message: &[u8]) -> Result<M, Code> {
    M::decode(message).map_err(|_| Code::InvalidArgument)
}

fn bind(directory: &Path) -> Mount {
    Mount {
        r#type: "bind".to_owned(),
        source: directory.display().to_string(),
        target: String::new(),
        options: vec!["rbind".to_owned(), "rw".to_owned()],
    }
}
