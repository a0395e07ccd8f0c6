//! The CRI plugin's metadata of a container.
//!
//! A container's record has the name of its image, and a name can move to another image. The CRI
//! plugin's metadata, an extension of the record, has the image's ID.
//!
//! Source: containerd, `internal/cri/store/container/metadata.go`.

use prost_types::Any;
use reclaim_model::Digest;
use serde::Deserialize;

/// The key of the metadata among the extensions of a container's record.
pub(crate) const METADATA: &str = "io.cri-containerd.container.metadata";

#[derive(Debug, Deserialize)]
struct Versioned {
    #[serde(rename = "Metadata")]
    metadata: Metadata,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    #[serde(rename = "ImageRef")]
    image_ref: String,
}

/// Returns the digest of the configuration of the container's image; `None` for metadata of an
/// unknown form.
pub(crate) fn image_of(metadata: &Any) -> Option<Digest> {
    let versioned: Versioned = serde_json::from_slice(&metadata.value).ok()?;
    versioned.metadata.image_ref.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Option<Digest> {
        let any = Any {
            type_url: "github.com/containerd/cri/pkg/store/container/Metadata".to_owned(),
            value: json.as_bytes().to_vec(),
        };
        image_of(&any)
    }

    #[test]
    fn reads_only_the_image_id() {
        let id = format!("sha256:{}", "e".repeat(64));
        let json = format!(
            r#"{{"Version": "v1", "Metadata": {{"ID": "web", "Config": {{"ImageRef": 7}},
                "ImageRef": "{id}", "LogPath": ""}}}}"#
        );
        assert_eq!(read(&json), id.parse().ok());
        assert_eq!(
            read(r#"{"Version": "v1", "Metadata": {"ImageRef": "app:1"}}"#),
            None
        );
        assert_eq!(read(r#"{"Version": "v9"}"#), None);
        assert_eq!(read("{"), None);
    }
}
