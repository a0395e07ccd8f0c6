//! The kinds of blobs that are read.

use std::fmt;

use oci_spec::image::{MediaType, ToDockerV2S2};

/// The kind of a blob: as a media type claims it ([`Kind::of`]), or as its bytes show it
/// ([`Document::kind`](crate::Document::kind)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Lists manifests or further indexes: an OCI index or a Docker manifest list.
    Index,
    /// Lists one config and its layers: an OCI manifest or a Docker schema 2 manifest.
    Manifest,
    /// The config of a container image: labels and diff IDs.
    Config,
    /// A Docker schema 1 manifest, which is not supported: it names neither config nor sizes, and
    /// the versions of containerd that pull it convert it.
    Schema1,
    /// Everything else, without children: layers, the empty config, configs of artifacts such as
    /// Helm charts, and unknown types. containerd follows none of them either.
    Leaf,
}

/// Docker schema 1, unsigned and signed; oci-spec has no name for them.
const SCHEMA_1: [&str; 2] = [
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
];

/// Docker's media types of layers, except the one that oci-spec knows.
const DOCKER_LAYERS: [&str; 4] = [
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
];

const OCI_LAYER: &str = "application/vnd.oci.image.layer.";

/// The OCI media types with an equivalent of Docker's.
static OF_DOCKER: [MediaType; 4] = [
    MediaType::ImageIndex,
    MediaType::ImageManifest,
    MediaType::ImageConfig,
    MediaType::ImageLayerGzip,
];

/// Returns the OCI media type that is equivalent to one of Docker's, or else the same.
fn in_oci(media_type: &MediaType) -> &MediaType {
    let MediaType::Other(text) = media_type else {
        return media_type;
    };
    let is_equivalent = |oci: &&MediaType| oci.to_docker_v2s2().is_ok_and(|docker| docker == text);
    OF_DOCKER.iter().find(is_equivalent).unwrap_or(media_type)
}

/// Whether a media type is that of a layer of an image. A suffix such as `+encrypted` does not
/// matter.
///
/// Source: containerd `core/images/mediatypes.go`, `IsLayerType`.
pub(crate) fn is_layer(media_type: &MediaType) -> bool {
    let text = media_type.as_ref();
    let base = text.split('+').next().unwrap_or_default();
    text.starts_with(OCI_LAYER)
        || DOCKER_LAYERS.contains(&base)
        || in_oci(&MediaType::from(base)) == &MediaType::ImageLayerGzip
}

impl Kind {
    /// Returns the kind that `media_type` claims, which determines whether the blob is read.
    ///
    /// The text is compared exactly. `Application/…` and `…+json; charset=utf-8` are other media
    /// types and therefore [`Kind::Leaf`]: RFC 6838 calls media types case-insensitive, but
    /// containerd and moby compare strings, and an edge that the collector does not follow protects
    /// nothing.
    ///
    /// Source: containerd `core/images/mediatypes.go`, `IsIndexType`, `IsManifestType`; moby
    /// for the two config types (its label filter considers no others).
    pub fn of(media_type: &str) -> Self {
        Self::from(&MediaType::from(media_type))
    }
}

impl From<&MediaType> for Kind {
    /// As [`Kind::of`].
    fn from(media_type: &MediaType) -> Self {
        match in_oci(media_type) {
            MediaType::ImageIndex => Self::Index,
            MediaType::ImageManifest => Self::Manifest,
            MediaType::ImageConfig => Self::Config,
            MediaType::Other(text) if SCHEMA_1.contains(&text.as_str()) => Self::Schema1,
            MediaType::Descriptor
            | MediaType::LayoutHeader
            | MediaType::ImageLayer
            | MediaType::ImageLayerGzip
            | MediaType::ImageLayerZstd
            | MediaType::ImageLayerNonDistributable
            | MediaType::ImageLayerNonDistributableGzip
            | MediaType::ImageLayerNonDistributableZstd
            | MediaType::ArtifactManifest
            | MediaType::EmptyJSON
            | MediaType::Other(_) => Self::Leaf,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Self::Index => "index",
            Self::Manifest => "manifest",
            Self::Config => "image config",
            Self::Schema1 => "schema 1 manifest",
            Self::Leaf => "leaf",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_types_that_containerd_and_moby_read() {
        for (media_type, kind) in [
            ("application/vnd.oci.image.index.v1+json", Kind::Index),
            (
                "application/vnd.docker.distribution.manifest.list.v2+json",
                Kind::Index,
            ),
            ("application/vnd.oci.image.manifest.v1+json", Kind::Manifest),
            (
                "application/vnd.docker.distribution.manifest.v2+json",
                Kind::Manifest,
            ),
            ("application/vnd.oci.image.config.v1+json", Kind::Config),
            (
                "application/vnd.docker.container.image.v1+json",
                Kind::Config,
            ),
            (
                "application/vnd.docker.distribution.manifest.v1+json",
                Kind::Schema1,
            ),
            (
                "application/vnd.docker.distribution.manifest.v1+prettyjws",
                Kind::Schema1,
            ),
        ] {
            assert_eq!(Kind::of(media_type), kind, "{media_type}");
        }
    }

    #[test]
    fn treats_everything_else_as_a_leaf() {
        for media_type in [
            "",
            "application/vnd.oci.image.layer.v1.tar+gzip",
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
            "application/vnd.oci.empty.v1+json",
            "application/vnd.oci.artifact.manifest.v1+json",
            "application/vnd.cncf.helm.config.v1+json",
            "application/vnd.in-toto+json",
            "application/json",
        ] {
            assert_eq!(Kind::of(media_type), Kind::Leaf, "{media_type}");
        }
    }

    #[test]
    fn knows_the_layers_of_images() {
        for media_type in DOCKER_LAYERS.into_iter().chain([
            "application/vnd.oci.image.layer.v1.tar",
            "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
            "application/vnd.docker.image.rootfs.diff.tar.gzip",
            "application/vnd.docker.image.rootfs.diff.tar.gzip+encrypted",
        ]) {
            assert!(is_layer(&media_type.into()), "{media_type}");
        }
        for media_type in [
            "",
            "text/plain",
            "application/vnd.in-toto+json",
            "application/vnd.dev.cosign.simplesigning.v1+json",
            "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
        ] {
            assert!(!is_layer(&media_type.into()), "{media_type}");
        }
    }

    #[test]
    fn compares_media_types_as_strict_strings() {
        for media_type in [
            "Application/vnd.oci.image.index.v1+json",
            "application/vnd.oci.image.index.v1+json; charset=utf-8",
            " application/vnd.oci.image.index.v1+json",
        ] {
            assert_eq!(Kind::of(media_type), Kind::Leaf, "{media_type}");
        }
    }
}
