//! Reading a whole store back, through the testkit and not through the crates under test.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::try_join_all;
use reclaim_testkit::{
    BlobInfo, ContainerRecord, Containerd, ImageRecord, Labels, LeaseResource, NamespaceClient,
    SnapshotInfo, Status,
};

/// Everything in a containerd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Picture {
    pub(crate) namespaces: BTreeMap<String, Contents>,
    /// Sum of the lengths of all blob files.
    pub(crate) disk_bytes: u64,
}

/// Everything in one namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Contents {
    /// By digest.
    pub(crate) blobs: BTreeMap<String, BlobInfo>,
    /// By snapshotter and key, as `snapshotter/key`.
    pub(crate) snapshots: BTreeMap<String, Snapshot>,
    pub(crate) images: BTreeMap<String, ImageRecord>,
    pub(crate) containers: BTreeMap<String, ContainerRecord>,
    pub(crate) leases: BTreeMap<String, Lease>,
    pub(crate) sandboxes: BTreeMap<String, Labels>,
}

/// A snapshot with what it occupies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) info: SnapshotInfo,
    /// `snapshotter/key` of the parent.
    pub(crate) parent: Option<String>,
    pub(crate) bytes: u64,
}

/// A lease with what it lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) labels: Labels,
    pub(crate) resources: BTreeSet<LeaseResource>,
}

impl Picture {
    pub(crate) async fn take(containerd: &Containerd) -> Result<Self, Status> {
        let names = containerd.namespaces().await?;
        let contents = names.iter().map(async |name| {
            let contents = Contents::read(&containerd.namespace(name)).await?;
            Ok::<_, Status>((name.clone(), contents))
        });
        Ok(Self {
            namespaces: try_join_all(contents).await?.into_iter().collect(),
            disk_bytes: containerd.content_bytes_on_disk(),
        })
    }

    /// Every blob of any namespace with its length.
    pub(crate) fn blobs(&self) -> BTreeMap<String, u64> {
        let contents = self.namespaces.values();
        let blobs = contents.flat_map(|it| &it.blobs);
        blobs
            .map(|(digest, info)| (digest.clone(), info.size))
            .collect()
    }
}

impl Contents {
    async fn read(client: &NamespaceClient) -> Result<Self, Status> {
        let (blobs, images, containers, sandboxes) = futures::try_join!(
            client.blob_infos(),
            client.image_records(),
            client.containers(),
            client.sandboxes(),
        )?;
        let leases = client.leases().await?.into_iter();
        let leases = leases.map(async |(id, labels)| {
            let resources = client.lease_resources(&id).await?;
            Ok::<_, Status>((id, Lease { labels, resources }))
        });
        let blobs = blobs.into_iter();
        Ok(Self {
            blobs: blobs.map(|(it, info)| (it.to_string(), info)).collect(),
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
            let parent = info.parent.as_ref();
            let parent = parent.map(|parent| format!("{snapshotter}/{parent}"));
            let snapshot = Snapshot {
                info,
                parent,
                bytes,
            };
            Ok::<_, Status>((format!("{snapshotter}/{key}"), snapshot))
        });
        found.extend(try_join_all(measured).await?);
    }
    Ok(found)
}
