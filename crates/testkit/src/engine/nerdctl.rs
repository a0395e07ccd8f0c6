//! Containers of nerdctl and ctr: a record with image name and snapshot.

use tonic::Status;

use crate::image::BuiltImage;
use crate::labels::{GC_REF_SNAPSHOT, GC_ROOT, Labels, labels};
use crate::namespace::{Deletion, NamespaceClient, NewContainer, NewLease, unique_lease_id};

impl NamespaceClient {
    /// Creates a container as `nerdctl create` does: an active snapshot on the image, and a
    /// record that names the image and holds the snapshot. Both have the key `id`.
    pub async fn nerdctl_container(&self, id: &str, image: &BuiltImage) -> Result<(), Status> {
        self.nerdctl_container_with(id, image, Labels::new()).await
    }

    /// Like [`Self::nerdctl_container`], with more labels.
    pub async fn nerdctl_container_with(
        &self,
        id: &str,
        image: &BuiltImage,
        more: Labels,
    ) -> Result<(), Status> {
        let labels = labels([
            ("nerdctl/name", id),
            ("nerdctl/namespace", self.name()),
            ("nerdctl/platform", &image.manifests[0].platform),
        ]);
        let (snapshotter, _) = image.unpacked();
        let container = NewContainer::new(id)
            .image(image.name())
            .snapshot(snapshotter, id)
            .labels(labels)
            .labels(more);
        self.container_on_snapshot(id, image, container).await
    }

    /// Creates the view `key` of an image as nerdctl does for `--mount type=image`: a root by its
    /// own label.
    pub async fn nerdctl_image_mount(&self, key: &str, image: &BuiltImage) -> Result<(), Status> {
        let (snapshotter, top) = image.unpacked();
        let parent = top.to_string();
        let root = labels([(GC_ROOT, "2026-01-02T03:04:05Z")]);
        self.view(snapshotter, key, &parent, &root).await?;
        Ok(())
    }

    /// Creates the active snapshot `key` on the image and the record that holds it, under a lease
    /// meanwhile, as containerd's client does in `NewContainer`.
    pub(super) async fn container_on_snapshot(
        &self,
        key: &str,
        image: &BuiltImage,
        container: NewContainer,
    ) -> Result<(), Status> {
        let (snapshotter, top) = image.unpacked();
        let lease = unique_lease_id("container");
        self.create_lease(NewLease::new(&lease)).await?;
        let leased = self.with_lease(&lease);
        let parent = top.to_string();
        leased
            .prepare(snapshotter, key, &parent, &Labels::new())
            .await?;
        leased.create_container(container).await?;
        self.delete_lease(&lease, Deletion::Async).await
    }

    /// Mounts an image as `ctr images mount` does: a view with the target's path as key, held
    /// by a lease of the same name that refers to it by label. Nothing is mounted.
    ///
    /// In ctr the lease expires after 24 hours; here it never does.
    pub async fn image_mount(&self, target: &str, image: &BuiltImage) -> Result<(), Status> {
        let (snapshotter, top) = image.unpacked();
        let label = format!("{GC_REF_SNAPSHOT}.{snapshotter}");
        let lease = NewLease::new(target).labels(labels([(label.as_str(), target)]));
        self.create_lease(lease).await?;
        let parent = top.to_string();
        let leased = self.with_lease(target);
        leased
            .view(snapshotter, target, &parent, &Labels::new())
            .await?;
        Ok(())
    }
}
