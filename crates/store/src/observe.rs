//! Takes the inventory of a containerd, in a handful of calls per namespace.
//!
//! # What it reads
//!
//! Only lists, never single records: images, leases with their resources, containers, snapshots of
//! every snapshotter, blobs, ingests, sandboxes; of every namespace, because namespaces share
//! content. Bodies are read only of the indexes, manifests and configs of images: from containerd's
//! own files if those are on this machine, since the digest proves a body.
//!
//! # In what order
//!
//! Lists are not one transaction, so an image may come into use between them. Images come first:
//! later lists can only add users to them. Leases come before containers: an engine that creates a
//! container holds a lease until the container is recorded, so one of the two lists shows the use.
//! Snapshots come last, so that the one of every listed container is among them; blobs come at the
//! same time, because they show no use.
//!
//! # What can go wrong
//!
//! A list that fails or is truncated must never look like an empty one. The lists of images, leases,
//! containers and blobs of a namespace whose images are evaluated must be complete, or the
//! observation fails. Any other list or record that cannot be read is a
//! [`Gap`](reclaim_model::Gap) with what it may hide: the snapshots of one snapshotter, sandboxes, a
//! list of another namespace, one record.
//!
//! It is never a gap that containerd is away: every list would be one.

mod documents;
mod files;
mod gaps;
mod lists;
mod partition;
mod plugins;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use containerd_client::services::v1::ListNamespacesRequest;
use containerd_client::services::v1::namespaces_client::NamespacesClient;
use futures::FutureExt;
use futures::stream::{self, StreamExt, TryStreamExt};
use jiff::Timestamp;
use reclaim_model::{CollectorRules, Inventory, List, Namespace, NamespaceInventory};

use crate::client::{Containerd, MAX_MESSAGE};
use crate::error::StoreError;
use gaps::{Strictness, listed};
use plugins::Loaded;

pub(crate) use gaps::with_retries;

/// No image labels, for an observation that needs none.
pub static NO_LABELS: BTreeSet<String> = BTreeSet::new();

/// How many namespaces are listed at a time. Each makes several calls at once already.
const NAMESPACES_AT_ONCE: usize = 4;

impl Containerd {
    /// Lists the namespaces, sorted.
    ///
    /// # Errors
    ///
    /// If the call fails.
    pub async fn namespaces(&self) -> Result<Vec<Namespace>, StoreError> {
        const OPERATION: &str = "list namespaces";
        let request = self.request(OPERATION, None, ListNamespacesRequest::default())?;
        let answer = NamespacesClient::new(self.channel())
            .max_decoding_message_size(MAX_MESSAGE)
            .list(request)
            .await
            .map_err(|status| StoreError::new(OPERATION, status))?;
        let mut namespaces = answer
            .into_inner()
            .namespaces
            .into_iter()
            .map(|namespace| {
                namespace.name.parse().map_err(|_| {
                    StoreError::incomplete(OPERATION, "valid namespace").about(&namespace.name)
                })
            })
            .collect::<Result<Vec<Namespace>, StoreError>>()?;
        namespaces.sort_unstable();
        Ok(namespaces)
    }

    /// Takes the inventory at `now`, with the documents of the images of the namespaces in
    /// `evaluated`. Image labels with a key in `labels` are kept, however many labels there are.
    ///
    /// # Errors
    ///
    /// If containerd is away, or a list of a namespace in `evaluated` that must be complete is not.
    /// The class is [`Retry`](crate::Class::Retry) if a retry may succeed.
    ///
    /// Cancellation safe: it only reads.
    pub async fn observe(
        &self,
        evaluated: &[Namespace],
        labels: &BTreeSet<String>,
        now: Timestamp,
    ) -> Result<Inventory, StoreError> {
        self.take_inventory(evaluated, labels, now, Strictness::of)
            .await
    }

    /// Takes the inventory of all namespaces in order to show it: a list that fails is a gap in
    /// every namespace. `labels` as for [`Self::observe`].
    ///
    /// # Errors
    ///
    /// If containerd is away, or its namespaces cannot be listed.
    ///
    /// Cancellation safe: it only reads.
    pub async fn survey(
        &self,
        labels: &BTreeSet<String>,
        now: Timestamp,
    ) -> Result<Inventory, StoreError> {
        let all = self.namespaces().await?;
        let strictness = |_| Strictness::Gaps;
        self.take_inventory(&all, labels, now, strictness).await
    }

    async fn take_inventory(
        &self,
        evaluated: &[Namespace],
        labels: &BTreeSet<String>,
        now: Timestamp,
        strictness: impl Fn(bool) -> Strictness,
    ) -> Result<Inventory, StoreError> {
        let (names, loaded, ()) =
            futures::future::try_join3(self.namespaces(), self.loaded(), self.refresh_version())
                .await?;
        let observing = stream::iter(names).map(|name| {
            let loaded = &loaded;
            let strictness = strictness(evaluated.contains(&name));
            async move {
                let inventory = self.observe_namespace(&name, loaded, strictness).await?;
                Ok::<_, StoreError>((name, inventory))
            }
            .boxed()
        });
        let namespaces: BTreeMap<Namespace, NamespaceInventory> = observing
            .buffer_unordered(NAMESPACES_AT_ONCE)
            .try_collect()
            .await?;
        let namespaces = Arc::new(namespaces);
        let root = loaded.content_root.as_deref();
        let documents = self
            .read_documents(&namespaces, evaluated, root, labels)
            .await?;
        let namespaces = Arc::into_inner(namespaces).expect("all work on it has ended");
        Ok(Inventory {
            // An unknown version may have any rules. The newest follow the most references, and so
            // keep the most.
            rules: self.rules().unwrap_or(CollectorRules::V2_3),
            observed_at: now,
            namespaces,
            documents,
            label_keys: labels.clone(),
            sandbox_image: loaded.sandbox_image,
        })
    }

    /// Lists everything in one namespace that may use an image: all but its blobs and documents.
    ///
    /// # Errors
    ///
    /// If containerd is away, or a list that must be complete is not.
    ///
    /// Cancellation safe: it only reads.
    pub async fn observe_users(
        &self,
        namespace: &Namespace,
    ) -> Result<NamespaceInventory, StoreError> {
        let loaded = self.loaded().await?;
        let mut inventory = self.users(namespace, Strictness::Whole).await?;
        let (snapshots, mut gaps) = self.snapshots(namespace, &loaded, &inventory).await?;
        inventory.snapshots = snapshots;
        inventory.gaps.append(&mut gaps);
        Ok(inventory)
    }

    async fn observe_namespace(
        &self,
        namespace: &Namespace,
        loaded: &Loaded,
        strictness: Strictness,
    ) -> Result<NamespaceInventory, StoreError> {
        let mut inventory = self.users(namespace, strictness).await?;
        let (mut of_blobs, mut of_ingests) = (Vec::new(), Vec::new());
        let blobs = || self.blobs(namespace);
        let ingests = || self.ingests(namespace);
        let ((snapshots, of_snapshots), (blobs, of_content), ingests) = futures::future::try_join3(
            self.snapshots(namespace, loaded, &inventory),
            listed(List::Content, strictness, blobs, &mut of_blobs),
            listed(List::Ingests, Strictness::Gaps, ingests, &mut of_ingests),
        )
        .await?;
        let gaps = &mut inventory.gaps;
        for mut more in [of_snapshots, of_blobs, of_content, of_ingests] {
            gaps.append(&mut more);
        }
        gaps.sort_unstable();
        Ok(NamespaceInventory {
            snapshots,
            blobs,
            ingests,
            ..inventory
        })
    }

    /// Lists images, and what may use them without the snapshots.
    async fn users(
        &self,
        namespace: &Namespace,
        strictness: Strictness,
    ) -> Result<NamespaceInventory, StoreError> {
        let mut gaps = Vec::new();
        let list_images = || self.images(namespace);
        let (images, mut of_images) =
            listed(List::Images, strictness, list_images, &mut gaps).await?;
        gaps.append(&mut of_images);
        let list_leases = || self.leases(namespace);
        let leases = listed(List::Leases, strictness, list_leases, &mut gaps).await?;
        let mut of_sandboxes = Vec::new();
        let containers = || self.containers(namespace);
        let sandboxes = || self.sandboxes(namespace);
        let (containers, sandboxes) = futures::future::try_join(
            listed(List::Containers, strictness, containers, &mut gaps),
            listed(
                List::Sandboxes,
                Strictness::Gaps,
                sandboxes,
                &mut of_sandboxes,
            ),
        )
        .await?;
        gaps.append(&mut of_sandboxes);
        Ok(NamespaceInventory {
            images,
            leases,
            containers,
            sandboxes,
            gaps,
            ..NamespaceInventory::default()
        })
    }
}
