//! The lists of one namespace. Each is returned complete and sorted, or fails.

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
    Image as ImageMessage, Lease as LeaseMessage, ListContainersRequest, ListContentRequest,
    ListImagesRequest, ListImagesResponse, ListRequest, ListResourcesRequest, ListStatusesRequest,
    ListTasksRequest,
};
use containerd_client::types::Sandbox as SandboxMessage;
use containerd_client::types::v1::Status as TaskStatus;
use futures::FutureExt;
use futures::stream::{self, StreamExt, TryStreamExt};
use reclaim_model::{
    Blob, Container, Gap, GcRef, ImageRecord, Ingest, Lease, LeaseResource, Namespace,
    NamespaceInventory, Sandbox, Snapshot, Snapshotter, Texts,
};
use tonic::Code;

use super::gaps::with_retries;
use super::partition::in_parts;
use super::plugins::Loaded;
use crate::client::{Containerd, MAX_MESSAGE};
use crate::convert;
use crate::error::{Class, StoreError};
use crate::long_answer::long_answer;
use crate::off_thread::blocking;

/// How many leases are read with their resources at a time.
const LEASES_AT_ONCE: usize = 16;

/// The method that lists images: tens of thousands in one answer.
const LIST_IMAGES: &str = "/containerd.services.images.v1.Images/List";

impl Containerd {
    /// Lists the images of a namespace, sorted by name, and a gap for each record that cannot be
    /// read.
    ///
    /// # Errors
    ///
    /// If the list is not complete.
    pub async fn images(
        &self,
        namespace: &Namespace,
    ) -> Result<(Vec<ImageRecord>, Vec<Gap>), StoreError> {
        let listed = in_parts("name", |filters| self.images_by(namespace, filters)).await?;
        let converting = blocking(move || {
            let mut images = Vec::new();
            let mut gaps = Vec::new();
            for message in listed {
                match convert::image(message) {
                    Ok(image) => images.push(image),
                    Err(gap) => gaps.push(gap),
                }
            }
            images.sort_by(|a: &ImageRecord, b| a.name.cmp(&b.name));
            (images, gaps)
        });
        Ok(converting.await)
    }

    async fn images_by(
        &self,
        namespace: &Namespace,
        filters: Vec<String>,
    ) -> Result<Vec<ImageMessage>, StoreError> {
        const OPERATION: &str = "list images";
        let request = self.request(OPERATION, Some(namespace), ListImagesRequest { filters })?;
        let answer: ListImagesResponse = long_answer(self.channel(), LIST_IMAGES, request)
            .await
            .map_err(|status| StoreError::new(OPERATION, status).within(namespace))?;
        Ok(answer.images)
    }

    /// Lists the containers of a namespace, in every state, sorted by ID.
    ///
    /// As a stream: a few hundred containers with ordinary specs do not fit into one message.
    ///
    /// # Errors
    ///
    /// If the list is not complete.
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

    /// Lists the containers of a namespace that have a process, including paused ones; `None` if
    /// the server does not run containers.
    ///
    /// # Errors
    ///
    /// If the list is not complete.
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
            .filter(|task| task.status() != TaskStatus::Stopped)
            .map(|task| task.id);
        Ok(Some(running.collect()))
    }

    /// Lists the leases of a namespace with their resources, sorted by ID.
    ///
    /// # Errors
    ///
    /// If the list, or the list of resources of an existing lease, is not complete.
    pub async fn leases(&self, namespace: &Namespace) -> Result<Vec<Lease>, StoreError> {
        let messages = in_parts("id", |filters| self.leases_by(namespace, filters)).await?;
        let found: Vec<Option<Lease>> = stream::iter(messages)
            .map(|lease| self.with_resources(namespace, lease).boxed())
            .buffer_unordered(LEASES_AT_ONCE)
            .try_collect()
            .await?;
        let mut leases: Vec<Lease> = found.into_iter().flatten().collect();
        leases.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        Ok(leases)
    }

    /// Lists the leases of all namespaces that have a label with this key, without their resources,
    /// and the namespaces whose leases cannot be listed.
    ///
    /// # Errors
    ///
    /// If containerd is away, or its namespaces cannot be listed.
    pub async fn leases_with_label(
        &self,
        key: &str,
    ) -> Result<(Vec<(Namespace, Lease)>, Vec<(Namespace, StoreError)>), StoreError> {
        let (mut found, mut unread) = (Vec::new(), Vec::new());
        for namespace in self.namespaces().await? {
            let filters = || vec![format!("labels.{key:?}")];
            match with_retries(|| self.leases_by(&namespace, filters())).await {
                Ok(messages) => found.extend(
                    messages
                        .into_iter()
                        .filter(|message| message.labels.contains_key(key))
                        .map(|message| (namespace.clone(), convert::lease(message, Vec::new()))),
                ),
                Err(error) if error.is_from_transport() => return Err(error),
                Err(error) => unread.push((namespace, error)),
            }
        }
        Ok((found, unread))
    }

    async fn leases_by(
        &self,
        namespace: &Namespace,
        filters: Vec<String>,
    ) -> Result<Vec<LeaseMessage>, StoreError> {
        const OPERATION: &str = "list leases";
        let request = self.request(OPERATION, Some(namespace), ListRequest { filters })?;
        let answer = LeasesClient::new(self.channel())
            .max_decoding_message_size(MAX_MESSAGE)
            .list(request)
            .await
            .map_err(|status| StoreError::new(OPERATION, status).within(namespace))?;
        Ok(answer.into_inner().leases)
    }

    /// Finds a lease by its ID, with its resources.
    ///
    /// # Errors
    ///
    /// If a call fails.
    pub async fn lease(
        &self,
        namespace: &Namespace,
        id: &str,
    ) -> Result<Option<Lease>, StoreError> {
        const OPERATION: &str = "find lease";
        let filters = vec![format!("id=={id}")];
        let request = self.request(OPERATION, Some(namespace), ListRequest { filters })?;
        let answer = LeasesClient::new(self.channel())
            .list(request)
            .await
            .map_err(|status| {
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

    /// Adds the resources to a lease; `None` if it was deleted meanwhile.
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
        let answer = client.list_resources(request).await;
        let messages = match answer.map_err(|status| StoreError::new(OPERATION, status)) {
            Ok(answer) => answer.into_inner().resources,
            Err(error) if error.class() == Class::Gone => return Ok(None),
            Err(error) => return Err(error.within(namespace).about(&lease.id)),
        };
        let mut resources: Vec<LeaseResource> =
            messages.into_iter().map(convert::lease_resource).collect();
        resources.sort_unstable();
        Ok(Some(convert::lease(lease, resources)))
    }

    /// Lists the sandbox records, sorted by ID; none on a server without a sandbox store.
    pub(super) async fn sandboxes(
        &self,
        namespace: &Namespace,
    ) -> Result<Vec<Sandbox>, StoreError> {
        let messages = in_parts("id", |filters| self.sandboxes_by(namespace, filters)).await?;
        let mut sandboxes: Vec<Sandbox> = messages
            .into_iter()
            .map(|sandbox| Sandbox {
                gc: convert::gc_labels(&sandbox.labels),
                id: sandbox.sandbox_id,
            })
            .collect();
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

    /// Lists the snapshots of every snapshotter that is loaded or that `users` name. A snapshotter
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
        let listing = names.into_iter().map(|name| {
            async move {
                let snapshots = with_retries(|| self.snapshots_of(namespace, &name)).await;
                (name, snapshots)
            }
            .boxed()
        });
        let mut by_snapshotter = BTreeMap::new();
        let mut gaps = Vec::new();
        for (name, snapshots) in futures::future::join_all(listing).await {
            match snapshots {
                Ok(snapshots) => drop(by_snapshotter.insert(name, snapshots)),
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
        Ok((by_snapshotter, gaps))
    }

    /// Lists the snapshots of one snapshotter, sorted by key.
    ///
    /// # Errors
    ///
    /// If the list is not complete.
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
        let mut texts = Texts::default();
        while let Some(part) = stream.message().await.map_err(failed)? {
            let infos = part.info.iter();
            snapshots.extend(infos.map(|info| convert::snapshot(info, &mut texts)));
        }
        drop(texts);
        let sorting = blocking(move || {
            snapshots.shrink_to_fit();
            snapshots.sort_unstable_by(|a: &Snapshot, b| a.key.cmp(&b.key));
            snapshots
        });
        Ok(sorting.await)
    }

    /// Lists the blobs of a namespace, sorted by digest, and a gap for each blob whose digest has
    /// an unknown algorithm.
    ///
    /// # Errors
    ///
    /// If the list is not complete.
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
                    Ok(digest) => {
                        let gc = convert::gc_labels(&info.labels);
                        blobs.push(Blob {
                            digest,
                            size: u64::try_from(info.size).unwrap_or(0),
                            sources: convert::sources(&info.labels, &gc),
                            gc,
                        });
                    }
                    Err(_) => gaps.push(Gap::Content {
                        digest: info.digest,
                        bytes: u64::try_from(info.size).unwrap_or(0),
                        refs: convert::gc_labels(&info.labels).refs.clone(),
                    }),
                }
            }
        }
        let sorting = blocking(move || {
            blobs.shrink_to_fit();
            blobs.sort_unstable_by(|a: &Blob, b| a.digest.cmp(&b.digest));
            blobs
        });
        Ok((sorting.await, gaps))
    }

    /// Lists the blobs that are being written, sorted by reference.
    ///
    /// containerd leaves out ingests of a digest that another namespace has; it writes nothing for
    /// them.
    ///
    /// # Errors
    ///
    /// If the list is not complete.
    pub(super) async fn ingests(&self, namespace: &Namespace) -> Result<Vec<Ingest>, StoreError> {
        const OPERATION: &str = "list ingests";
        let message = ListStatusesRequest::default();
        let request = self.request(OPERATION, Some(namespace), message)?;
        let answer = ContentClient::new(self.channel())
            .max_decoding_message_size(MAX_MESSAGE)
            .list_statuses(request)
            .await
            .map_err(|status| StoreError::new(OPERATION, status).within(namespace))?;
        let mut ingests: Vec<Ingest> = answer
            .into_inner()
            .statuses
            .into_iter()
            .map(|status| Ingest {
                reference: status.r#ref,
                bytes: u64::try_from(status.offset).unwrap_or(0),
            })
            .collect();
        ingests.sort_unstable_by(|a, b| a.reference.cmp(&b.reference));
        Ok(ingests)
    }
}

/// Returns the snapshotters that containers, leases and sandboxes name, loaded or not.
fn named_snapshotters(inventory: &NamespaceInventory) -> BTreeSet<Snapshotter> {
    let NamespaceInventory {
        containers,
        leases,
        sandboxes,
        ..
    } = inventory;
    let mut names = BTreeSet::new();
    let mounted = containers.iter().filter_map(|it| it.snapshot.as_ref());
    names.extend(mounted.map(|id| id.snapshotter.clone()));
    for resource in leases.iter().flat_map(|lease| &lease.resources) {
        if let LeaseResource::Snapshot(id) = resource {
            names.insert(id.snapshotter.clone());
        }
    }
    let container_labels = containers.iter().map(|container| &container.gc);
    let sandbox_labels = sandboxes.iter().map(|sandbox| &sandbox.gc);
    for reference in container_labels
        .chain(sandbox_labels)
        .flat_map(|labels| &labels.refs)
    {
        if let GcRef::Snapshot(id) = reference {
            names.insert(id.snapshotter.clone());
        }
    }
    names
}
