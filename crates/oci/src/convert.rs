//! Converts documents to those of the model.

use reclaim_model::{Child, Config, Document, DocumentKind, Platform};

use crate::chain::top_chain_id;
use crate::descriptor::Descriptor;
use crate::document::Document as ReadDocument;
use crate::error::ReadError;
use crate::kind::is_layer;

impl From<ReadDocument> for Document {
    fn from(document: ReadDocument) -> Self {
        let children: Vec<Child> = document.children().map(child).collect();
        match document {
            ReadDocument::Index(_) => Self::Index(children),
            ReadDocument::Manifest(_) => Self::Manifest(children),
            ReadDocument::Config(config) => Self::Config(Config {
                chain_id: top_chain_id(&config.diff_ids),
                labels: config.labels,
                labels_left_out: config.labels_left_out,
                built_at: config.created.and_then(|created| created.parse().ok()),
                platform: config.platform.map(|platform| Box::new(platform.into())),
            }),
        }
    }
}

/// A document that cannot be read.
impl From<ReadError> for Document {
    fn from(error: ReadError) -> Self {
        let why = reclaim_model::chain(&error);
        if error.is_torn() {
            Self::Torn(why)
        } else {
            Self::NotRead(why)
        }
    }
}

fn child(descriptor: &Descriptor) -> Child {
    Child {
        digest: descriptor.digest.clone(),
        size: descriptor.size,
        kind: DocumentKind::of_media_type(descriptor.media_type.as_ref()),
        is_attestation: descriptor.attestation,
        is_layer: is_layer(&descriptor.media_type),
    }
}

/// What is not stated is empty.
impl From<crate::Platform> for Platform {
    fn from(platform: crate::Platform) -> Self {
        Self {
            os: platform.os.unwrap_or_default(),
            architecture: platform.architecture.unwrap_or_default(),
            variant: platform.variant.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::Kind;

    #[test]
    fn a_media_type_has_the_same_kind_here_and_in_the_model() {
        for media_type in [
            "application/vnd.oci.image.index.v1+json",
            "application/vnd.docker.distribution.manifest.list.v2+json",
            "application/vnd.oci.image.manifest.v1+json",
            "application/vnd.docker.distribution.manifest.v2+json",
            "application/vnd.docker.distribution.manifest.v1+json",
            "application/vnd.docker.distribution.manifest.v1+prettyjws",
            "application/vnd.oci.image.config.v1+json",
            "application/vnd.docker.container.image.v1+json",
            "application/vnd.oci.image.layer.v1.tar+gzip",
            "application/vnd.oci.empty.v1+json",
            "",
        ] {
            let expected = match Kind::of(media_type) {
                Kind::Index => DocumentKind::Index,
                // Schema 1 cannot be read, but is not a leaf.
                Kind::Manifest | Kind::Schema1 => DocumentKind::Manifest,
                Kind::Config => DocumentKind::Config,
                Kind::Leaf => DocumentKind::Leaf,
            };
            let kind = DocumentKind::of_media_type(media_type);
            assert_eq!(kind, expected, "{media_type}");
        }
    }
}
