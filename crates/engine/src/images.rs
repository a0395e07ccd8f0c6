//! The images of a namespace, each with its size and what a prune of all unused ones does with it.

use std::collections::BTreeMap;

use reclaim_model::{ImageList, ListedImage, Namespace, PruneRequest, SnapshotSizes};
use reclaim_plan::image_objects;

use crate::engine::{Engine, RunError};
use crate::off_thread::Shared;
use crate::preview::Preview;
use crate::progress::no_progress;
use crate::retry::retry;

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
        let request = PruneRequest::unused(namespace.clone())
            .may_empty_namespace(true)
            .may_lack_namespace(may_lack_namespace);
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
        pinned: image.pin(),
        verdict: verdicts[image.name.as_str()],
    });
    ImageList {
        namespace: namespace.clone(),
        observed_at: inventory.observed_at,
        images: images.collect(),
        warnings: plan.warnings.clone(),
    }
}
