//! The CRI plugin's metadata of a container.
//!
//! A container's record has the name of its image, and a name can move to another image. The CRI
//! plugin's metadata, an extension of the record, has the image's ID: the digest of its
//! configuration. From containerd 2.4 on it also has the target.
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
    #[serde(rename = "ImageRef", default)]
    config: String,
    #[serde(rename = "ImageDigest", default)]
    target: String,
    #[serde(rename = "ImageName", default)]
    name: String,
}

/// The image of a container, as the CRI plugin noted it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct CriImage {
    /// The target, or, before containerd 2.4, the configuration.
    pub(crate) digest: Option<Digest>,
    /// The configuration, if `digest` is the target: the ID by which the CRI plugin finds images.
    pub(crate) config: Option<Digest>,
    /// The name of the image's record.
    pub(crate) name: Option<String>,
}

/// Returns the image of a container; `None` for metadata of an unknown form.
pub(crate) fn image_of(metadata: &Any) -> Option<CriImage> {
    let versioned: Versioned = serde_json::from_slice(&metadata.value).ok()?;
    let Metadata {
        config,
        target,
        name,
    } = versioned.metadata;
    let config = config.parse().ok();
    let (digest, config) = match target.parse().ok() {
        Some(target) => (Some(target), config),
        None => (config, None),
    };
    Some(CriImage {
        digest,
        config,
        name: Some(name).filter(|name| !name.is_empty()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Option<CriImage> {
        let any = Any {
            type_url: "github.com/containerd/cri/pkg/store/container/Metadata".to_owned(),
            value: json.as_bytes().to_vec(),
        };
        image_of(&any)
    }

    fn digest(of: &str) -> Option<Digest> {
        format!("sha256:{}", of.repeat(64)).parse().ok()
    }

    #[test]
    fn reads_only_the_image() {
        let [config, target] = ["e", "f"].map(|of| digest(of).unwrap());
        let of = |image: String| {
            read(&format!(
                r#"{{"Version": "v1", "Metadata": {{"ID": "web", "Config": {{"ImageRef": 7}},
                    {image}, "LogPath": ""}}}}"#
            ))
        };
        let before_2_4 = of(format!(r#""ImageRef": "{config}""#)).unwrap();
        let expected = CriImage {
            digest: digest("e"),
            ..CriImage::default()
        };
        assert_eq!(before_2_4, expected);
        let since = of(format!(
            r#""ImageRef": "{config}", "ImageDigest": "{target}", "ImageName": "app:1""#
        ));
        let expected = CriImage {
            digest: digest("f"),
            config: digest("e"),
            name: Some("app:1".to_owned()),
        };
        assert_eq!(since.unwrap(), expected);
        // As containerd writes what it does not know.
        let empty = of(format!(
            r#""ImageRef": "{config}", "ImageDigest": "", "ImageName": """#
        ));
        assert_eq!(empty.unwrap(), before_2_4);
        let by_name = of(r#""ImageRef": "app:1""#.to_owned());
        assert_eq!(by_name, Some(CriImage::default()));
        assert_eq!(read(r#"{"Version": "v9"}"#), None);
        assert_eq!(read("{"), None);
    }
}
