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
//! A list that fails or is cut short fails the observation: it must never look like an empty
//! one. A snapshotter that is named somewhere but not loaded is a [`Gap`](reclaim_model::Gap), and so is content
//! whose digest we cannot read.

mod documents;
mod files;
mod images;
mod ingests;
mod lists;
mod partition;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use containerd_client::services::v1::introspection_client::IntrospectionClient;
use containerd_client::services::v1::namespaces_client::NamespacesClient;
use containerd_client::services::v1::{ListNamespacesRequest, PluginsRequest};
use futures::FutureExt;
use futures::stream::{self, StreamExt, TryStreamExt};
use jiff::Timestamp;
use reclaim_model::{CollectorRules, Inventory, Namespace, NamespaceInventory, Snapshotter};

use crate::client::{Containerd, MAX_MESSAGE};
use crate::disk::CONTENT_PLUGIN;
use crate::error::StoreError;

/// What the server has loaded.
#[derive(Debug, Default)]
struct Loaded {
    snapshotters: BTreeSet<Snapshotter>,
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
    /// in `judged`.
    ///
    /// # Errors
    ///
    /// If any list cannot be had whole. Class [`Retry`](crate::Class::Retry) if another try
    /// may succeed.
    ///
    /// Cancellation safe: it only reads.
    pub async fn observe(
        &self,
        judged: &[Namespace],
        now: Timestamp,
    ) -> Result<Inventory, StoreError> {
        let first =
            futures::future::try_join3(self.namespaces(), self.loaded(), self.ask_version());
        let (names, loaded, ()) = first.await?;
        let listed = stream::iter(names).map(|name| {
            let loaded = &loaded.snapshotters;
            let listed = async move {
                let inventory = self.observe_namespace(&name, loaded).await?;
                Ok::<_, StoreError>((name, inventory))
            };
            listed.boxed()
        });
        let namespaces: BTreeMap<Namespace, NamespaceInventory> = listed
            .buffer_unordered(NAMESPACES_AT_ONCE)
            .try_collect()
            .await?;
        let root = loaded.content_root.as_deref();
        let documents = self.read_documents(&namespaces, judged, root).await?;
        Ok(Inventory {
            // A version that tells nothing may have any rule. The newest follow the most
            // references, and so keep the most.
            rules: self.rules().unwrap_or(CollectorRules::V2_3),
            observed_at: now,
            namespaces,
            documents,
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
        let mut inventory = self.users(namespace).await?;
        let snapshots = self.snapshots(namespace, &loaded.snapshotters, &inventory);
        (inventory.snapshots, inventory.gaps) = snapshots.await?;
        Ok(inventory)
    }

    async fn observe_namespace(
        &self,
        namespace: &Namespace,
        loaded: &BTreeSet<Snapshotter>,
    ) -> Result<NamespaceInventory, StoreError> {
        let inventory = self.users(namespace).await?;
        let long = futures::future::try_join3(
            self.snapshots(namespace, loaded, &inventory),
            self.blobs(namespace),
            self.ingests(namespace),
        );
        let ((snapshots, mut gaps), (blobs, mut of_blobs), ingests) = long.await?;
        gaps.append(&mut of_blobs);
        gaps.sort_unstable();
        Ok(NamespaceInventory {
            snapshots,
            blobs,
            ingests,
            gaps,
            ..inventory
        })
    }

    /// Lists what may use something, without the snapshots.
    async fn users(&self, namespace: &Namespace) -> Result<NamespaceInventory, StoreError> {
        let images = self.images(namespace).await?;
        let leases = self.leases(namespace).await?;
        let (containers, sandboxes) =
            futures::future::try_join(self.containers(namespace), self.sandboxes(namespace))
                .await?;
        Ok(NamespaceInventory {
            images,
            leases,
            containers,
            sandboxes,
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
        let plugins = answer.into_inner().plugins.into_iter();
        for mut plugin in plugins.filter(|plugin| plugin.init_err.is_none()) {
            if plugin.r#type == CONTENT_PLUGIN {
                loaded.content_root = plugin.exports.remove("root").map(PathBuf::from);
            } else {
                loaded.snapshotters.insert(plugin.id.into());
            }
        }
        Ok(loaded)
    }
}
