//! What the CRI plugin writes down about its containers.
//!
//! containerd's own record of a container has the name that its image had at the time, and names
//! move. The plugin's metadata, which it keeps beside that, has the image's ID.
//!
//! Source: containerd, `internal/cri/store/container/metadata.go`.

use prost_types::Any;
use reclaim_model::Digest;
use serde::Deserialize;

use crate::convert::MapMessage;

/// Under which name a container's metadata is among the extensions of its record.
const METADATA: &str = "io.cri-containerd.container.metadata";

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

/// Returns the configuration of the image that a container of the CRI plugin was made from.
///
/// `None` for containers of anybody else, and for metadata of a form that is not known: then the
/// rest of the record has to tell.
pub(crate) fn image_of(extensions: &MapMessage<Any>) -> Option<Digest> {
    let metadata = extensions.get(METADATA)?;
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
        image_of(&[(METADATA.to_owned(), any)].into())
    }

    #[test]
    fn the_id_of_the_image_is_read_and_nothing_else() {
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
        assert_eq!(image_of(&MapMessage::new()), None);
    }
}
