//! Taking the inventory: everything in a containerd, in a handful of calls per namespace.
//!
//! # What it reads
//!
//! Lists, never things one by one: images, leases with their resources, containers, snapshots
//! of every snapshotter, blobs, sandboxes; of every namespace, because content is shared
//! between them. Bodies are read only of the indexes, manifests and configs of images: from
//! containerd's own files where those can be seen from here, since a body is proved by its digest.
//!
//! # In what order
//!
//! Lists are not one transaction, so an image on its way into use may move between them. Images
//! come first: one that is seen can only gain users in what is listed later. Leases come before
//! containers: whoever creates a container holds a lease until the container is recorded, so
//! one of the two lists shows it. Snapshots come last, so that the one under every container
//! is among them; blobs beside them, for no use shows in those.
//!
//! # What can go wrong
//!
//! A list that fails or is cut short must never look like an empty one. Of a namespace whose images
//! are evaluated, the lists of images, leases, containers and blobs must be whole, or the
//! observation fails. What else cannot be read is a [`Gap`](reclaim_model::Gap) with what it may hide: the
//! snapshots of one snapshotter, sandboxes, a list of another namespace, one record.
//!
//! That containerd is away is never a gap: every list would be one.

mod documents;
mod files;
mod gaps;
mod images;
mod ingests;
mod lists;
mod partition;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use containerd_client::services::v1::introspection_client::IntrospectionClient;
use containerd_client::services::v1::namespaces_client::NamespacesClient;
use containerd_client::services::v1::{ListNamespacesRequest, PluginsRequest};
use futures::FutureExt;
use futures::stream::{self, StreamExt, TryStreamExt};
use jiff::Timestamp;
use reclaim_model::{CollectorRules, Inventory, List, Namespace, NamespaceInventory, Snapshotter};

use crate::client::{Containerd, MAX_MESSAGE};
use crate::disk::CONTENT_PLUGIN;
use crate::error::StoreError;
use crate::observe::gaps::{Strictness, listed};

pub(crate) use gaps::patient;

/// For an observation that asks for no image label.
pub static NO_LABELS: BTreeSet<String> = BTreeSet::new();

/// What the server has loaded.
#[derive(Debug, Default)]
struct Loaded {
    snapshotters: BTreeSet<Snapshotter>,
    /// Those that are configured and could not be loaded.
    failed: BTreeSet<Snapshotter>,
    /// Where it says that its content is, in its own eyes.
    content_root: Option<PathBuf>,
}

/// How many namespaces are listed at a time. Each has several lists on their way already.
const NAMESPACES_AT_ONCE: usize = 4;

impl Containerd {
    /// Lists the namespaces, sorted.
    ///
    /// # Errors
    ///
    /// Of any class; there is no list then.
    pub async fn namespaces(&self) -> Result<Vec<Namespace>, StoreError> {
        const OPERATION: &str = "list namespaces";
        let request = self.request(OPERATION, None, ListNamespacesRequest::default())?;
        let mut client =
            NamespacesClient::new(self.channel()).max_decoding_message_size(MAX_MESSAGE);
        let answer = client.list(request).await;
        let answer = answer.map_err(|status| StoreError::new(OPERATION, status))?;
        let names = answer.into_inner().namespaces.into_iter().map(|it| it.name);
        let parsed = names.map(|name| {
            name.parse()
                .map_err(|_| StoreError::incomplete(OPERATION, "valid namespace").about(&name))
        });
        let mut namespaces: Vec<Namespace> = parsed.collect::<Result<_, _>>()?;
        namespaces.sort_unstable();
        Ok(namespaces)
    }

    /// Takes the inventory at `now`, with the documents behind the images of the namespaces
    /// in `judged`. Image labels of the keys in `labels` are kept however many labels there are.
    ///
    /// # Errors
    ///
    /// If containerd is away, or a list of a namespace in `judged` cannot be had whole that has
    /// to be. Class [`Retry`](crate::Class::Retry) if another try may succeed.
    ///
    /// Cancellation safe: it only reads.
    pub async fn observe(
        &self,
        judged: &[Namespace],
        labels: &BTreeSet<String>,
        now: Timestamp,
    ) -> Result<Inventory, StoreError> {
        self.observed(judged, labels, now, Strictness::of).await
    }

    /// As [`Self::observe`] of all namespaces, in order to show them: what cannot be listed is a
    /// gap in any of them.
    ///
    /// # Errors
    ///
    /// If containerd is away, or its namespaces cannot be listed.
    ///
    /// Cancellation safe: it only reads.
    pub async fn survey(&self, now: Timestamp) -> Result<Inventory, StoreError> {
        let all = self.namespaces().await?;
        let strictness = |_| Strictness::Gaps;
        self.observed(&all, &NO_LABELS, now, strictness).await
    }

    async fn observed(
        &self,
        judged: &[Namespace],
        labels: &BTreeSet<String>,
        now: Timestamp,
        strictness: impl Fn(bool) -> Strictness,
    ) -> Result<Inventory, StoreError> {
        let first =
            futures::future::try_join3(self.namespaces(), self.loaded(), self.ask_version());
        let (names, loaded, ()) = first.await?;
        let listed = stream::iter(names).map(|name| {
            let loaded = &loaded;
            let strictness = strictness(judged.contains(&name));
            let listed = async move {
                let inventory = self.observe_namespace(&name, loaded, strictness).await?;
                Ok::<_, StoreError>((name, inventory))
            };
            listed.boxed()
        });
        let namespaces: BTreeMap<Namespace, NamespaceInventory> = listed
            .buffer_unordered(NAMESPACES_AT_ONCE)
            .try_collect()
            .await?;
        let root = loaded.content_root.as_deref();
        let namespaces = Arc::new(namespaces);
        let reading = self.read_documents(&namespaces, judged, root, labels);
        let documents = reading.await?;
        let namespaces = Arc::into_inner(namespaces).expect("all work on it has ended");
        Ok(Inventory {
            // A version that tells nothing may have any rule. The newest follow the most
            // references, and so keep the most.
            rules: self.rules().unwrap_or(CollectorRules::V2_3),
            observed_at: now,
            namespaces,
            documents,
            label_keys: labels.clone(),
        })
    }

    /// Looks again at one namespace: everything but its blobs and their documents, which do not
    /// change what is in use.
    ///
    /// # Errors
    ///
    /// As [`Self::observe`].
    ///
    /// Cancellation safe: it only reads.
    pub async fn look_again(
        &self,
        namespace: &Namespace,
    ) -> Result<NamespaceInventory, StoreError> {
        let loaded = self.loaded().await?;
        let mut inventory = self.users(namespace, Strictness::Whole).await?;
        let snapshots = self.snapshots(namespace, &loaded, &inventory);
        let (snapshots, mut gaps) = snapshots.await?;
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
        let long = futures::future::try_join3(
            self.snapshots(namespace, loaded, &inventory),
            listed(List::Content, strictness, blobs, &mut of_blobs),
            listed(List::Ingests, Strictness::Gaps, ingests, &mut of_ingests),
        );
        let ((snapshots, of_snapshots), (blobs, of_content), ingests) = long.await?;
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

    /// Lists what may use something, without the snapshots.
    async fn users(
        &self,
        namespace: &Namespace,
        strictness: Strictness,
    ) -> Result<NamespaceInventory, StoreError> {
        let mut gaps = Vec::new();
        let images = || self.images(namespace);
        let images = listed(List::Images, strictness, images, &mut gaps);
        let (images, mut of_images) = images.await?;
        gaps.append(&mut of_images);
        let leases = || self.leases(namespace);
        let leases = listed(List::Leases, strictness, leases, &mut gaps).await?;
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

    /// Asks which snapshotters the server has loaded, and where its content is.
    async fn loaded(&self) -> Result<Loaded, StoreError> {
        const OPERATION: &str = "list plugins";
        let filters = vec![
            "type==io.containerd.snapshotter.v1".to_owned(),
            format!("type=={CONTENT_PLUGIN}"),
        ];
        let request = self.request(OPERATION, None, PluginsRequest { filters })?;
        let answer = IntrospectionClient::new(self.channel())
            .plugins(request)
            .await;
        let answer = answer.map_err(|status| StoreError::new(OPERATION, status))?;
        let mut loaded = Loaded::default();
        for mut plugin in answer.into_inner().plugins {
            let is_content = plugin.r#type == CONTENT_PLUGIN;
            match plugin.init_err {
                None if is_content => {
                    loaded.content_root = plugin.exports.remove("root").map(PathBuf::from);
                }
                None => drop(loaded.snapshotters.insert(plugin.id.into())),
                // What does not fit this host skips itself.
                Some(error) if is_content || error.message.contains("skip plugin") => {}
                Some(_) => drop(loaded.failed.insert(plugin.id.into())),
            }
        }
        Ok(loaded)
    }
}
