//! The lists of one namespace. Each comes back whole and sorted, or not at all.

use std::collections::{BTreeMap, BTreeSet};

use containerd_client::services::v1::containers_client::ContainersClient;
use containerd_client::services::v1::content_client::ContentClient;
use containerd_client::services::v1::leases_client::LeasesClient;
use containerd_client::services::v1::sandbox::StoreListRequest;
use containerd_client::services::v1::sandbox::store_client::StoreClient;
use containerd_client::services::v1::snapshots::ListSnapshotsRequest;
use containerd_client::services::v1::snapshots::snapshots_client::SnapshotsClient;
use containerd_client::services::v1::tasks_client::TasksClient;
use containerd_client::services::v1::{
    Lease as LeaseMessage, ListContainersRequest, ListContentRequest, ListRequest,
    ListResourcesRequest, ListTasksRequest,
};
use containerd_client::types::Sandbox as SandboxMessage;
use containerd_client::types::v1::Status as TaskStatus;
use futures::FutureExt;
use futures::stream::{self, StreamExt, TryStreamExt};
use reclaim_model::{
    Blob, Container, Gap, GcRef, Lease, LeaseResource, Namespace, NamespaceInventory, Sandbox,
    Snapshot, Snapshotter,
};
use tonic::Code;

use super::partition::in_parts;
use crate::client::{Containerd, MAX_MESSAGE};
use crate::convert;

use crate::error::{Class, StoreError};
use crate::observe::Loaded;
use crate::observe::gaps::patient;
use crate::off_thread::blocking;

/// How many leases are asked for their resources at a time.
const LEASES_AT_ONCE: usize = 16;

impl Containerd {
    /// Lists the containers of a namespace, of every state, sorted by ID.
    ///
    /// As a stream: a few hundred containers with ordinary specs do not fit into one message.
    ///
    /// # Errors
    ///
    /// If the list cannot be had whole.
    pub async fn containers(&self, namespace: &Namespace) -> Result<Vec<Container>, StoreError> {
        const OPERATION: &str = "list containers";
        let failed = |status| StoreError::new(OPERATION, status).within(namespace);
        let message = ListContainersRequest::default();
        let request = self.request(OPERATION, Some(namespace), message)?;
        let mut client =
            ContainersClient::new(self.channel()).max_decoding_message_size(MAX_MESSAGE);
        let mut stream = client
            .list_stream(request)
            .await
            .map_err(failed)?
            .into_inner();
        let mut containers = Vec::new();
        while let Some(part) = stream.message().await.map_err(failed)? {
            containers.extend(part.container.map(convert::container));
        }
        containers.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        Ok(containers)
    }

    /// Lists the containers of a namespace that have a process, paused ones among them; `None`
    /// if the server runs none.
    ///
    /// # Errors
    ///
    /// If the list cannot be had whole.
    pub async fn running_containers(
        &self,
        namespace: &Namespace,
    ) -> Result<Option<BTreeSet<String>>, StoreError> {
        const OPERATION: &str = "list tasks";
        let request = self.request(OPERATION, Some(namespace), ListTasksRequest::default())?;
        let mut client = TasksClient::new(self.channel()).max_decoding_message_size(MAX_MESSAGE);
        let tasks = match client.list(request).await {
            Ok(answer) => answer.into_inner().tasks,
            Err(status) if status.code() == tonic::Code::Unimplemented => return Ok(None),
            Err(status) => return Err(StoreError::new(OPERATION, status).within(namespace)),
        };
        let running = tasks
            .into_iter()
            .filter(|it| it.status() != TaskStatus::Stopped);
        Ok(Some(running.map(|it| it.id).collect()))
    }

    /// Lists the leases of a namespace with what they hold, sorted by ID.
    ///
    /// # Errors
    ///
    /// If the list, or the resources of a lease that still exists, cannot be had whole.
    pub async fn leases(&self, namespace: &Namespace) -> Result<Vec<Lease>, StoreError> {
        let found = in_parts("id", |filters| self.leases_by(namespace, filters)).await?;
        let with_resources =
            stream::iter(found).map(|lease| self.with_resources(namespace, lease).boxed());
        let found: Vec<Option<Lease>> = with_resources
            .buffer_unordered(LEASES_AT_ONCE)
            .try_collect()
            .await?;
        let mut leases: Vec<Lease> = found.into_iter().flatten().collect();
        leases.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        Ok(leases)
    }

    async fn leases_by(
        &self,
        namespace: &Namespace,
        filters: Vec<String>,
    ) -> Result<Vec<LeaseMessage>, StoreError> {
        const OPERATION: &str = "list leases";
        let request = self.request(OPERATION, Some(namespace), ListRequest { filters })?;
        let mut client = LeasesClient::new(self.channel()).max_decoding_message_size(MAX_MESSAGE);
        let answer = client.list(request).await;
        let answer =
            answer.map_err(|status| StoreError::new(OPERATION, status).within(namespace))?;
        Ok(answer.into_inner().leases)
    }

    /// Finds one lease with what it holds.
    ///
    /// # Errors
    ///
    /// If the server cannot be asked.
    pub async fn lease(
        &self,
        namespace: &Namespace,
        id: &str,
    ) -> Result<Option<Lease>, StoreError> {
        const OPERATION: &str = "find lease";
        let filters = vec![format!("id=={id}")];
        let request = self.request(OPERATION, Some(namespace), ListRequest { filters })?;
        let answer = LeasesClient::new(self.channel()).list(request).await;
        let answer = answer.map_err(|status| {
            StoreError::new(OPERATION, status)
                .within(namespace)
                .about(id)
        })?;
        let mut found = answer.into_inner().leases.into_iter();
        match found.find(|lease| lease.id == id) {
            Some(lease) => self.with_resources(namespace, lease).await,
            None => Ok(None),
        }
    }

    /// `None` if the lease was deleted in the meantime.
    async fn with_resources(
        &self,
        namespace: &Namespace,
        lease: LeaseMessage,
    ) -> Result<Option<Lease>, StoreError> {
        const OPERATION: &str = "list resources of lease";
        let message = ListResourcesRequest {
            id: lease.id.clone(),
        };
        let request = self.request(OPERATION, Some(namespace), message)?;
        let mut client = LeasesClient::new(self.channel()).max_decoding_message_size(MAX_MESSAGE);
        let answer = client.list_resources(request).await.map_err(|status| {
            StoreError::new(OPERATION, status)
                .within(namespace)
                .about(&lease.id)
        });
        let resources = match answer {
            Ok(answer) => answer.into_inner().resources,
            Err(error) if error.class() == Class::Gone => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut resources: Vec<LeaseResource> =
            resources.into_iter().map(convert::lease_resource).collect();
        resources.sort_unstable();
        Ok(Some(convert::lease(lease, resources)))
    }

    /// Lists the sandbox records, sorted by ID; none on a server that has no such store.
    pub(super) async fn sandboxes(
        &self,
        namespace: &Namespace,
    ) -> Result<Vec<Sandbox>, StoreError> {
        let found = in_parts("id", |filters| self.sandboxes_by(namespace, filters)).await?;
        let records = found.into_iter().map(|sandbox| Sandbox {
            gc: convert::gc_labels(&sandbox.labels),
            id: sandbox.sandbox_id,
        });
        let mut sandboxes: Vec<Sandbox> = records.collect();
        sandboxes.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        Ok(sandboxes)
    }

    async fn sandboxes_by(
        &self,
        namespace: &Namespace,
        filters: Vec<String>,
    ) -> Result<Vec<SandboxMessage>, StoreError> {
        const OPERATION: &str = "list sandboxes";
        let request = self.request(OPERATION, Some(namespace), StoreListRequest { filters })?;
        let mut client = StoreClient::new(self.channel()).max_decoding_message_size(MAX_MESSAGE);
        match client.list(request).await {
            Ok(answer) => Ok(answer.into_inner().list),
            Err(status) if status.code() == Code::Unimplemented => Ok(Vec::new()),
            Err(status) => Err(StoreError::new(OPERATION, status).within(namespace)),
        }
    }

    /// Lists the snapshots of every snapshotter that is loaded or that is named by `users`. One
    /// whose snapshots cannot be listed is a gap.
    ///
    /// # Errors
    ///
    /// If containerd is away.
    pub(super) async fn snapshots(
        &self,
        namespace: &Namespace,
        loaded: &Loaded,
        users: &NamespaceInventory,
    ) -> Result<(BTreeMap<Snapshotter, Vec<Snapshot>>, Vec<Gap>), StoreError> {
        let names: BTreeSet<_> = &loaded.snapshotters | &named_snapshotters(users);
        let listed = names.into_iter().map(|name| {
            let listed = async move {
                let snapshots = patient(|| self.snapshots_of(namespace, &name)).await;
                (name, snapshots)
            };
            listed.boxed()
        });
        let mut shelves = BTreeMap::new();
        let mut gaps = Vec::new();
        for (name, snapshots) in futures::future::join_all(listed).await {
            match snapshots {
                Ok(snapshots) => {
                    shelves.insert(name, snapshots);
                }
                Err(error) if error.is_from_transport() => return Err(error),
                Err(error) => gaps.push(Gap::Snapshotter {
                    is_configured: loaded.snapshotters.contains(&name)
                        || loaded.failed.contains(&name),
                    why: reclaim_model::chain(&error),
                    name,
                }),
            }
        }
        gaps.sort_unstable();
        Ok((shelves, gaps))
    }

    /// Lists the snapshots of one snapshotter, sorted by key.
    ///
    /// # Errors
    ///
    /// If the list cannot be had whole.
    pub async fn snapshots_of(
        &self,
        namespace: &Namespace,
        snapshotter: &Snapshotter,
    ) -> Result<Vec<Snapshot>, StoreError> {
        const OPERATION: &str = "list snapshots of";
        let failed = |status| {
            StoreError::new(OPERATION, status)
                .within(namespace)
                .about(snapshotter)
        };
        let message = ListSnapshotsRequest {
            snapshotter: snapshotter.to_string(),
            filters: Vec::new(),
        };
        let request = self.request(OPERATION, Some(namespace), message)?;
        let mut client =
            SnapshotsClient::new(self.channel()).max_decoding_message_size(MAX_MESSAGE);
        let mut stream = client.list(request).await.map_err(failed)?.into_inner();
        let mut snapshots = Vec::new();
        while let Some(part) = stream.message().await.map_err(failed)? {
            snapshots.extend(part.info.into_iter().map(convert::snapshot));
        }
        let sorting = blocking(move || {
            snapshots.sort_unstable_by(|a: &Snapshot, b| a.key.cmp(&b.key));
            snapshots
        });
        Ok(sorting.await)
    }

    /// Lists the blobs of a namespace, sorted by digest, and those whose digest is beyond us.
    ///
    /// # Errors
    ///
    /// If the list cannot be had whole.
    pub async fn blobs(&self, namespace: &Namespace) -> Result<(Vec<Blob>, Vec<Gap>), StoreError> {
        const OPERATION: &str = "list content";
        let failed = |status| StoreError::new(OPERATION, status).within(namespace);
        let request = self.request(OPERATION, Some(namespace), ListContentRequest::default())?;
        let mut client = ContentClient::new(self.channel()).max_decoding_message_size(MAX_MESSAGE);
        let mut stream = client.list(request).await.map_err(failed)?.into_inner();
        let mut blobs = Vec::new();
        let mut gaps = Vec::new();
        while let Some(part) = stream.message().await.map_err(failed)? {
            for info in part.info {
                match info.digest.parse() {
                    Ok(digest) => blobs.push(Blob {
                        digest,
                        size: u64::try_from(info.size).unwrap_or(0),
                        gc: convert::gc_labels(&info.labels),
                    }),
                    Err(_) => gaps.push(Gap::Content {
                        digest: info.digest,
                        bytes: u64::try_from(info.size).unwrap_or(0),
                        refs: convert::gc_labels(&info.labels).refs,
                    }),
                }
            }
        }
        let sorting = blocking(move || {
            blobs.sort_unstable_by(|a: &Blob, b| a.digest.cmp(&b.digest));
            blobs
        });
        Ok((sorting.await, gaps))
    }
}

/// Snapshotters that are named by what was listed, whether or not they are loaded.
fn named_snapshotters(inventory: &NamespaceInventory) -> BTreeSet<Snapshotter> {
    let mut names = BTreeSet::new();
    let containers = inventory
        .containers
        .iter()
        .filter_map(|it| it.snapshot.as_ref());
    names.extend(containers.map(|id| id.snapshotter.clone()));
    for resource in inventory.leases.iter().flat_map(|lease| &lease.resources) {
        if let LeaseResource::Snapshot(id) = resource {
            names.insert(id.snapshotter.clone());
        }
    }
    let labels = inventory.containers.iter().flat_map(|it| &it.gc.refs);
    for reference in labels.chain(inventory.sandboxes.iter().flat_map(|it| &it.gc.refs)) {
        if let GcRef::Snapshot(id) = reference {
            names.insert(id.snapshotter.clone());
        }
    }
    names
}
