//! Containers of Kubernetes, as containerd's CRI plugin represents them.

use serde_json::{Value, json};
use tonic::Status;

use crate::image::BuiltImage;
use crate::labels::{Labels, labels};
use crate::namespace::{NamespaceClient, NewContainer};

/// The label that distinguishes sandboxes from containers.
const KIND_LABEL: &str = "io.cri-containerd.kind";

impl NamespaceClient {
    /// Adds the records of an image that CRI keeps in addition to its tag: `<repository>@<digest>`
    /// and the config digest. Returns their names.
    pub async fn cri_image_records(
        &self,
        image: &BuiltImage,
        extra: &Labels,
    ) -> Result<[String; 2], Status> {
        let mut labels = labels([("io.cri-containerd.image", "managed")]);
        labels.extend(extra.clone());
        let target = &image.target;
        let name = image.name();
        // The tag begins at the last colon, unless that precedes the port of the registry.
        let repository = name
            .rsplit_once(':')
            .filter(|(_, tag)| !tag.contains('/'))
            .map_or(name, |(repository, _)| repository);
        let by_digest = format!("{repository}@{}", target.digest);
        let by_config = image.manifests[0].config.digest.to_string();
        self.update_image(name, target, &labels).await?;
        self.create_image(&by_digest, target, &labels).await?;
        self.create_image(&by_config, target, &labels).await?;
        Ok([by_digest, by_config])
    }

    /// Creates a container of the sandbox `sandbox` as CRI does: an active snapshot `id` on the
    /// image and a record that holds it, with CRI's metadata as an extension.
    pub async fn cri_container(
        &self,
        id: &str,
        sandbox: &str,
        image: &BuiltImage,
    ) -> Result<(), Status> {
        let metadata = json!({
            "ID": id,
            "Name": format!("{id}_pod_default_uid_0"),
            "SandboxID": sandbox,
            "Config": { "metadata": { "name": id }, "image": { "image": image.name() } },
            "ImageRef": image.manifests[0].config.digest,
        });
        let labels = labels([(KIND_LABEL, "container"), ("io.kubernetes.pod.name", "pod")]);
        let extension = Extension {
            name: "io.cri-containerd.container.metadata",
            type_url: "github.com/containerd/cri/pkg/store/container/Metadata",
            metadata,
        };
        self.cri_record(id, image, labels, extension).await
    }

    /// Creates a sandbox as CRI does up to containerd 1.7: like a container, on the pause image.
    pub async fn cri_sandbox(&self, id: &str, pause: &BuiltImage) -> Result<(), Status> {
        let metadata = json!({
            "ID": id,
            "Name": format!("{id}_default_uid_0"),
            "Config": { "metadata": { "name": id, "namespace": "default" } },
        });
        let labels = labels([(KIND_LABEL, "sandbox"), ("io.kubernetes.pod.name", "pod")]);
        let extension = Extension {
            name: "io.cri-containerd.sandbox.metadata",
            type_url: "github.com/containerd/cri/pkg/store/sandbox/Metadata",
            metadata,
        };
        self.cri_record(id, pause, labels, extension).await
    }

    async fn cri_record(
        &self,
        id: &str,
        image: &BuiltImage,
        labels: Labels,
        extension: Extension,
    ) -> Result<(), Status> {
        let (snapshotter, _) = image.unpacked();
        let metadata = json!({ "Version": "v1", "Metadata": extension.metadata });
        let value = metadata.to_string().into_bytes();
        let container = NewContainer::new(id)
            .image(image.name())
            .snapshot(snapshotter, id)
            .labels(labels)
            .extension(extension.name, extension.type_url, value);
        self.container_on_snapshot(id, image, container).await
    }
}

/// CRI's metadata in a container record.
struct Extension {
    name: &'static str,
    type_url: &'static str,
    metadata: Value,
}
