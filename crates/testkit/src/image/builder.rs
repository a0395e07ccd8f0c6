//! The builder of images with one platform.

use jiff::Timestamp;
use tonic::Status;

use super::blob::{Blob, Format};
use super::built::BuiltImage;
use super::layer::Layer;
use super::manifest::Manifest;
use super::store::{Rendered, store};
use crate::labels::Labels;
use crate::namespace::NamespaceClient;

/// The record to create for an image, if any.
#[derive(Debug, Clone, Default)]
pub(super) struct Record {
    pub(super) name: Option<String>,
    pub(super) labels: Labels,
    pub(super) created: Option<Timestamp>,
}

/// Returns a builder of an image with one platform, by default `linux/amd64`, without layers.
pub fn image(name: &str) -> ImageBuilder {
    ImageBuilder {
        record: Record {
            name: Some(name.to_owned()),
            ..Record::default()
        },
        format: Format::default(),
        manifest: Manifest::new("linux/amd64"),
    }
}

/// Builds an image whose record points at a manifest.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct ImageBuilder {
    record: Record,
    format: Format,
    manifest: Manifest,
}

impl ImageBuilder {
    /// Builds only the content, without a record. The next collection frees it unless a lease holds
    /// it.
    pub fn unnamed(mut self) -> Self {
        self.record.name = None;
        self
    }

    /// Adds labels to the record.
    pub fn record_labels(mut self, labels: Labels) -> Self {
        self.record.labels.extend(labels);
        self
    }

    /// Sets the creation time of the record. containerd 1.6 ignores it.
    pub fn record_created(mut self, created: Timestamp) -> Self {
        self.record.created = Some(created);
        self
    }

    /// Uses Docker's media types.
    pub fn docker_schema2(mut self) -> Self {
        self.format = Format::DockerSchema2;
        self
    }

    /// Sets the manifest.
    pub(crate) fn manifest(mut self, manifest: Manifest) -> Self {
        self.manifest = manifest;
        self
    }

    /// Sets the platform; see [`Manifest::platform`].
    pub fn platform(mut self, platform: &str) -> Self {
        self.manifest = self.manifest.platform(platform);
        self
    }

    /// Adds layers; see [`Manifest::layers`].
    pub fn layers(mut self, layers: impl IntoIterator<Item = Layer>) -> Self {
        self.manifest = self.manifest.layers(layers);
        self
    }

    /// Adds labels to the config; see [`Manifest::config_labels`].
    pub fn config_labels(mut self, labels: Labels) -> Self {
        self.manifest = self.manifest.config_labels(labels);
        self
    }

    /// Sets the command of its containers; see [`Manifest::command`].
    pub fn command(mut self, command: &[&str]) -> Self {
        self.manifest = self.manifest.command(command);
        self
    }

    /// Unpacks into a snapshotter; see [`Manifest::unpack`].
    pub fn unpack(mut self, snapshotter: &str) -> Self {
        self.manifest = self.manifest.unpack(snapshotter);
        self
    }

    /// Leaves out the layer blobs; see [`Manifest::discard_layers`].
    pub fn discard_layers(mut self) -> Self {
        self.manifest = self.manifest.discard_layers();
        self
    }

    /// Builds the image in `namespace`, under the handle's lease, which keeps holding it. Without
    /// one, a lease is created, and deleted asynchronously at the end.
    pub async fn build(self, namespace: &NamespaceClient) -> Result<BuiltImage, Status> {
        let rendered = self.render();
        store(namespace, self.record, rendered).await
    }

    /// Returns the image as it would be built, and all its blobs, without storing them.
    pub(crate) fn rendered(self) -> (BuiltImage, Vec<Blob>) {
        let rendered = self.render();
        let of_manifests = rendered
            .manifests
            .iter()
            .flat_map(|manifest| &manifest.blobs);
        let blobs: Vec<Blob> = rendered.blobs.iter().chain(of_manifests).cloned().collect();
        let manifests = rendered.manifests.into_iter();
        let built = BuiltImage {
            name: self.record.name,
            record_labels: self.record.labels,
            blobs: blobs
                .iter()
                .map(|blob| (blob.descriptor.digest.clone(), blob.descriptor.size))
                .collect(),
            target: rendered.target,
            manifests: manifests.map(|manifest| manifest.built).collect(),
        };
        (built, blobs)
    }

    /// Renders the blobs.
    pub(crate) fn render(&self) -> Rendered {
        let manifest = self.manifest.render(self.format);
        Rendered {
            target: manifest.built.manifest.clone(),
            blobs: Vec::new(),
            manifests: vec![manifest],
        }
    }
}
