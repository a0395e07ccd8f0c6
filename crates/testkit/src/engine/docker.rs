//! Containers of dockerd with the containerd image store.
//!
//! Every container has a lease with its ID, which never expires and has no labels. A running one
//! also has a container record, which holds no snapshot.

use tonic::Status;

use crate::image::BuiltImage;
use crate::labels::{Labels, labels};
use crate::namespace::{NamespaceClient, NewContainer, NewLease};

impl NamespaceClient {
    /// Creates a stopped (or created) Docker container: the lease `id`, which holds the committed
    /// snapshot `<id>-init` on the image and the active snapshot `<id>` on that.
    ///
    /// `id` has 64 hexadecimal characters, as in Docker.
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

    /// Creates a running Docker container: like a stopped one, with a record that names the image
    /// and no snapshot.
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

    /// Creates an image mount as `docker run --mount type=image` does: a lease and an active
    /// snapshot on the image, both with the key `id`.
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
