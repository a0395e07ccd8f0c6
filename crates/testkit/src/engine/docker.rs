//! dockerd with the containerd image store.
//!
//! Every container owns a lease with its own ID, which never expires and has no labels. Only
//! while it runs is there a container record too, and that holds no snapshot.

use tonic::Status;

use crate::image::BuiltImage;
use crate::labels::{Labels, labels};
use crate::namespace::{NamespaceClient, NewContainer, NewLease};

impl NamespaceClient {
    /// Creates what is left of a stopped (or created) Docker container: the lease `id`, which
    /// holds the committed snapshot `<id>-init` on the image and the active one `<id>` on that.
    ///
    /// `id` is 64 hexadecimal characters, as Docker's are.
    pub async fn docker_stopped_container(
        &self,
        id: &str,
        image: &BuiltImage,
    ) -> Result<(), Status> {
        let (snapshotter, top) = image.unpacked();
        self.create_lease(NewLease::new(id)).await?;
        let leased = self.with_lease(id);
        let none = Labels::new();
        let init = format!("{id}-init");
        let init_key = format!("{id}-init-key");
        leased
            .prepare(snapshotter, &init_key, &top.to_string(), &none)
            .await?;
        leased.commit(snapshotter, &init, &init_key, &none).await?;
        leased.prepare(snapshotter, id, &init, &none).await?;
        Ok(())
    }

    /// Creates what a running Docker container has: all that a stopped one has, and a record
    /// with the image's name and without a snapshot.
    pub async fn docker_running_container(
        &self,
        id: &str,
        image: &BuiltImage,
    ) -> Result<(), Status> {
        self.docker_stopped_container(id, image).await?;
        let bundle = format!("/var/run/docker/containerd/{id}");
        let container = NewContainer::new(id)
            .image(image.name())
            .labels(labels([("com.docker/engine.bundle.path", bundle)]));
        self.create_container(container).await
    }

    /// Creates what `docker run --mount type=image` adds: a lease and an active snapshot, both
    /// with the key `id`, on the image itself.
    ///
    /// Docker's `id` is the SHA-256, in hexadecimal, of container, source and destination.
    pub async fn docker_image_mount(&self, id: &str, image: &BuiltImage) -> Result<(), Status> {
        let (snapshotter, top) = image.unpacked();
        self.create_lease(NewLease::new(id)).await?;
        let leased = self.with_lease(id);
        leased
            .prepare(snapshotter, id, &top.to_string(), &Labels::new())
            .await?;
        Ok(())
    }
}
