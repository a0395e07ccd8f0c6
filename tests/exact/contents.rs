//! Reads a whole store, with the testkit instead of the crates under test.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::try_join_all;
use reclaim_testkit::{
    BlobInfo, ContainerRecord, Containerd, ImageRecord, Labels, LeaseResource, NamespaceClient,
    SnapshotInfo, Status,
};

/// Everything in a containerd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoreContents {
    pub(crate) namespaces: BTreeMap<String, NamespaceContents>,
    /// Total length of all blob files.
    pub(crate) disk_bytes: u64,
}

/// Everything in one namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamespaceContents {
    /// By digest.
    pub(crate) blobs: BTreeMap<String, BlobInfo>,
    /// By snapshotter and key, as `snapshotter/key`.
    pub(crate) snapshots: BTreeMap<String, Snapshot>,
    pub(crate) images: BTreeMap<String, ImageRecord>,
    pub(crate) containers: BTreeMap<String, ContainerRecord>,
    pub(crate) leases: BTreeMap<String, Lease>,
    pub(crate) sandboxes: BTreeMap<String, Labels>,
}

/// A snapshot with its size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) info: SnapshotInfo,
    /// `snapshotter/key` of the parent.
    pub(crate) parent: Option<String>,
    pub(crate) bytes: u64,
}

/// A lease with its resources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) labels: Labels,
    pub(crate) resources: BTreeSet<LeaseResource>,
}

impl StoreContents {
    pub(crate) async fn read(containerd: &Containerd) -> Result<Self, Status> {
        let names = containerd.namespaces().await?;
        let contents = names.iter().map(async |name| {
            let contents = NamespaceContents::read(&containerd.namespace(name)).await?;
            Ok::<_, Status>((name.clone(), contents))
        });
        Ok(Self {
            namespaces: try_join_all(contents).await?.into_iter().collect(),
            disk_bytes: containerd.content_bytes_on_disk(),
        })
    }

    /// Returns the length of every blob of any namespace.
    pub(crate) fn blobs(&self) -> BTreeMap<String, u64> {
        self.namespaces
            .values()
            .flat_map(|contents| &contents.blobs)
            .map(|(digest, info)| (digest.clone(), info.size))
            .collect()
    }
}

impl NamespaceContents {
    async fn read(client: &NamespaceClient) -> Result<Self, Status> {
        let (blobs, images, containers, sandboxes) = futures::try_join!(
            client.blob_infos(),
            client.image_records(),
            client.containers(),
            client.sandboxes(),
        )?;
        let labels = client.leases().await?.into_iter();
        let leases = labels.map(async |(id, labels)| {
            let resources = client.lease_resources(&id).await?;
            Ok::<_, Status>((id, Lease { labels, resources }))
        });
        Ok(Self {
            blobs: blobs
                .into_iter()
                .map(|(digest, info)| (digest.to_string(), info))
                .collect(),
            snapshots: read_snapshots(client).await?,
            images,
            containers,
            leases: try_join_all(leases).await?.into_iter().collect(),
            sandboxes,
        })
    }
}

async fn read_snapshots(client: &NamespaceClient) -> Result<BTreeMap<String, Snapshot>, Status> {
    let mut found = BTreeMap::new();
    for snapshotter in ["native", "overlayfs"] {
        let listed = client.snapshots(snapshotter).await?.into_iter();
        let measured = listed.map(async |(key, info)| {
            let (bytes, _) = client.usage(snapshotter, &key).await?;
            let snapshot = Snapshot {
                parent: info
                    .parent
                    .as_ref()
                    .map(|parent| format!("{snapshotter}/{parent}")),
                info,
                bytes,
            };
            Ok::<_, Status>((format!("{snapshotter}/{key}"), snapshot))
        });
        found.extend(try_join_all(measured).await?);
    }
    Ok(found)
}
