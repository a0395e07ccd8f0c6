//! One rendered blob, and the media types of the two formats.

use serde_json::{Value, json};

use crate::labels::{GC_REF_CONTENT, Labels};
use crate::namespace::{Descriptor, digest_of};

/// The media types that an image is written with.
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

    /// An uncompressed layer, in either format.
    pub(super) fn layer(self) -> &'static str {
        match self {
            Self::Oci => "application/vnd.oci.image.layer.v1.tar",
            Self::DockerSchema2 => "application/vnd.docker.image.rootfs.diff.tar",
        }
    }
}

/// A blob to write: its bytes, what they are, and what they refer to.
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

    /// Adds the label by which the collector finds `child` from here. `suffix` is what
    /// containerd's client calls it: `config`, `l.<i>` or `m.<i>`.
    pub(crate) fn refer(&mut self, suffix: &str, child: &Descriptor) {
        self.labels.insert(
            format!("{GC_REF_CONTENT}.{suffix}"),
            child.digest.to_string(),
        );
    }
}

/// Returns a descriptor as manifests and indexes spell it.
pub(crate) fn descriptor_json(descriptor: &Descriptor) -> Value {
    json!({
        "mediaType": descriptor.media_type,
        "digest": descriptor.digest,
        "size": descriptor.size,
    })
}
