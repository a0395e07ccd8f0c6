//! The images of a namespace, each with its size and what a prune of all unused ones does with it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use reclaim_model::{
    BuildHistory, Digest, ImageSize, KeepReason, Namespace, Pin, PruneFilters, PruneRequest,
    RemoveReason, SnapshotSizes,
};
use reclaim_plan::image_objects;

use crate::engine::{Engine, RunError};
use crate::off_thread::Shared;
use crate::preview::Preview;
use crate::progress::no_progress;
use crate::retry::retry;

/// The images of a namespace, as they were at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageList {
    /// When that was, by the clock of whoever looked; ages are told by it.
    pub observed_at: Timestamp,
    /// One for each record, sorted by name.
    pub images: Vec<ListedImage>,
    /// What a person should know of how they were judged.
    pub warnings: Vec<String>,
}

/// One image record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedImage {
    /// The record's name.
    pub name: String,
    /// What it points at.
    pub target: Digest,
    /// When the record was made, if containerd knows it.
    pub created: Option<Timestamp>,
    /// What its target occupies.
    pub size: ImageSize,
    /// Whose pin it has, if it has one.
    pub pin: Option<Pin>,
    /// What a prune of all unused images does with it.
    pub verdict: Result<RemoveReason, KeepReason>,
}

impl Engine {
    /// Lists the images of a namespace; none if it does not exist and need not.
    ///
    /// Cancellation safe: it only reads.
    ///
    /// # Errors
    ///
    /// As [`Self::preview`].
    pub async fn images(
        &self,
        namespace: &Namespace,
        may_lack_namespace: bool,
    ) -> Result<ImageList, RunError> {
        let request = PruneRequest {
            namespace: namespace.clone(),
            selection: PruneFilters {
                dangling: Some(false),
                ..PruneFilters::default()
            }
            .into(),
            target: None,
            may_empty_namespace: true,
            may_lack_namespace,
            history: BuildHistory::Keep,
        };
        let preview = Shared::new(self.preview(&request, &no_progress).await?);
        let name = namespace.clone();
        let snapshots = preview.read(move |it| image_objects(&it.inventory, &name).snapshots());
        let snapshots = snapshots.await;
        let bytes = retry(|| self.store.snapshot_bytes(namespace, &snapshots)).await?;
        Ok(preview.read(move |it| list(it, &bytes)).await)
    }
}

/// Lists what a preview has seen.
fn list(preview: &Preview, bytes: &SnapshotSizes) -> ImageList {
    let Preview { inventory, plan } = preview;
    let namespace = &plan.namespace;
    let objects = image_objects(inventory, namespace);
    let sizes = objects.sizes(bytes);
    let going = plan.steps.iter();
    let going = going.map(|it| (it.image.name.as_str(), Ok(it.reason)));
    let staying = plan.kept.iter();
    let staying = staying.map(|it| (it.name.as_str(), Err(it.reason)));
    let verdicts: BTreeMap<&str, _> = going.chain(staying).collect();
    let found = inventory.namespaces.get(namespace);
    let images = found.iter().flat_map(|namespace| &namespace.images);
    let images = images.map(|image| ListedImage {
        name: image.name.clone(),
        target: image.target.digest.clone(),
        created: image.created_at,
        size: sizes[&image.target.digest],
        pin: image.pin(),
        verdict: verdicts[image.name.as_str()],
    });
    ImageList {
        observed_at: inventory.observed_at,
        images: images.collect(),
        warnings: plan.warnings.clone(),
    }
}
