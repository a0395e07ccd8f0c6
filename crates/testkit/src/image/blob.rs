//! Rendered blobs, and the media types of the two formats.

use serde_json::{Value, json};

use crate::labels::{GC_REF_CONTENT, Labels};
use crate::namespace::{Descriptor, digest_of};

/// The media types of an image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// Those of the OCI image specification.
    #[default]
    Oci,
    /// Those of Docker's image manifest version 2, schema 2.
    DockerSchema2,
}

impl Format {
    pub(crate) fn index(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.index.v1+json",
            Self::DockerSchema2 => "application/vnd.docker.distribution.manifest.list.v2+json",
        }
    }

    pub(crate) fn manifest(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.manifest.v1+json",
            Self::DockerSchema2 => "application/vnd.docker.distribution.manifest.v2+json",
        }
    }

    pub(super) fn config(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.config.v1+json",
            Self::DockerSchema2 => "application/vnd.docker.container.image.v1+json",
        }
    }

    /// Returns the media type of an uncompressed layer.
    pub(super) fn layer(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.layer.v1.tar",
            Self::DockerSchema2 => "application/vnd.docker.image.rootfs.diff.tar",
        }
    }
}

/// A blob to write: its descriptor, its bytes and its labels.
#[derive(Debug, Clone)]
pub(crate) struct Blob {
    pub(crate) descriptor: Descriptor,
    pub(crate) bytes: Vec<u8>,
    pub(crate) labels: Labels,
}

impl Blob {
    pub(crate) fn new(media_type: &str, bytes: Vec<u8>) -> Self {
        let descriptor = Descriptor {
            media_type: media_type.to_owned(),
            digest: digest_of(&bytes),
            size: bytes.len() as u64,
        };
        Self {
            descriptor,
            bytes,
            labels: Labels::new(),
        }
    }

    pub(crate) fn json(media_type: &str, document: &Value) -> Self {
        Self::new(media_type, document.to_string().into_bytes())
    }

    /// Adds the label by which this blob refers to `child`. The suffixes of containerd's client are
    /// `config`, `l.<i>` and `m.<i>`.
    pub(crate) fn refer(&mut self, suffix: &str, child: &Descriptor) {
        self.labels.insert(
            format!("{GC_REF_CONTENT}.{suffix}"),
            child.digest.to_string(),
        );
    }
}

/// Returns the JSON of a descriptor, as in manifests and indexes.
pub(crate) fn descriptor_json(descriptor: &Descriptor) -> Value {
    json!({
        "mediaType": descriptor.media_type,
        "digest": descriptor.digest,
        "size": descriptor.size,
    })
}
