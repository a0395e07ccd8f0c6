//! The builder of images with several platforms: an index of manifests, some of them absent.

use jiff::Timestamp;
use serde_json::{Value, json};
use tonic::Status;

use super::blob::{Blob, Format, descriptor_json};
use super::builder::Record;
use super::built::BuiltImage;
use super::manifest::{Manifest, RenderedManifest, manifest_json, platform_json};
use super::store::{Rendered, store};
use crate::labels::Labels;
use crate::namespace::{Descriptor, NamespaceClient};

/// Returns a builder of an image with several platforms, without manifests.
pub fn index(name: &str) -> IndexBuilder {
    IndexBuilder {
        record: Record {
            name: Some(name.to_owned()),
            ..Record::default()
        },
        format: Format::default(),
        manifests: Vec::new(),
    }
}

/// Builds an image whose record points at an index.
///
/// The labels of the index refer to all its manifests, including absent ones, as after a pull. The
/// collector ignores a reference to nothing.
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `build`"]
pub struct IndexBuilder {
    record: Record,
    format: Format,
    manifests: Vec<Manifest>,
}

impl IndexBuilder {
    /// Builds only the content, without a record.
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

    /// Adds the image of one platform.
    pub fn manifest(mut self, manifest: Manifest) -> Self {
        self.manifests.push(manifest);
        self
    }

    /// Builds the image in `namespace`, under a lease as [`super::ImageBuilder::build`] does.
    pub async fn build(self, namespace: &NamespaceClient) -> Result<BuiltImage, Status> {
        let rendered = self.render();
        store(namespace, self.record, rendered).await
    }

    /// Renders the blobs.
    pub(crate) fn render(&self) -> Rendered {
        let mut children: Vec<Descriptor> = Vec::new();
        let mut entries: Vec<Value> = Vec::new();
        let mut blobs: Vec<Blob> = Vec::new();
        let mut manifests: Vec<RenderedManifest> = Vec::new();
        for manifest in &self.manifests {
            let rendered = manifest.render(self.format);
            let mut entry = descriptor_json(&rendered.built.manifest);
            entry["platform"] = platform_json(&rendered.built.platform);
            entries.push(entry);
            children.push(rendered.built.manifest.clone());
            manifests.push(rendered);
        }
        // BuildKit lists attestations after all platforms.
        for (manifest, rendered) in self.manifests.iter().zip(&manifests) {
            if manifest.is_attested() {
                let attestation = attestation(&rendered.built.manifest);
                children.push(attestation[0].descriptor.clone());
                entries.push(attestation_entry(
                    &attestation[0].descriptor,
                    &rendered.built.manifest,
                ));
                if rendered.built.present {
                    blobs.extend(attestation);
                }
            }
        }
        let document = json!({
            "schemaVersion": 2,
            "mediaType": self.format.index(),
            "manifests": entries,
        });
        let mut index = Blob::json(self.format.index(), &document);
        for (number, child) in children.iter().enumerate() {
            index.refer(&format!("m.{number}"), child);
        }
        let target = index.descriptor.clone();
        blobs.push(index);
        Rendered {
            target,
            blobs,
            manifests,
        }
    }
}

/// Returns manifest, config and statement of the attestation of `subject`, in OCI's media types as
/// `BuildKit` writes them.
fn attestation(subject: &Descriptor) -> [Blob; 3] {
    let statement = json!({
        "_type": "https://in-toto.io/Statement/v0.1",
        "predicateType": "https://slsa.dev/provenance/v0.2",
        "subject": [{ "name": "_", "digest": { "sha256": subject.digest.hex() } }],
        "predicate": { "builder": { "id": "" }, "buildType": "testkit" },
    });
    let statement = Blob::json("application/vnd.in-toto+json", &statement);
    let mut config = platform_json("unknown/unknown");
    config["config"] = json!({});
    config["rootfs"] = json!({ "type": "layers", "diff_ids": [statement.descriptor.digest] });
    let config = Blob::json(Format::Oci.config(), &config);
    let layers = [statement.descriptor.clone()];
    let mut document = manifest_json(Format::Oci, &config.descriptor, &layers);
    document["layers"][0]["annotations"] =
        json!({ "in-toto.io/predicate-type": "https://slsa.dev/provenance/v0.2" });
    let mut manifest = Blob::json(Format::Oci.manifest(), &document);
    manifest.refer("config", &config.descriptor);
    manifest.refer("l.0", &statement.descriptor);
    [manifest, config, statement]
}

fn attestation_entry(attestation: &Descriptor, subject: &Descriptor) -> Value {
    let mut entry = descriptor_json(attestation);
    entry["platform"] = platform_json("unknown/unknown");
    entry["annotations"] = json!({
        "vnd.docker.reference.digest": subject.digest,
        "vnd.docker.reference.type": "attestation-manifest",
    });
    entry
}
