//! Descriptors as Docker's API returns them.

use std::collections::BTreeMap;

use reclaim_model::Target;
use serde::{Deserialize, Deserializer, Serialize};

use super::platform::DockerPlatform;

/// The annotation that marks a manifest of an index as an attestation, whatever its value.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";

/// The annotation with the digest of the manifest that an attestation is about.
const REFERENCE_DIGEST: &str = "vnd.docker.reference.digest";

/// The value of [`REFERENCE_TYPE`] that `BuildKit` writes.
const ATTESTATION: &str = "attestation-manifest";

/// The media types of manifests that Docker reads.
///
/// Source: containerd `core/images/mediatypes.go`, `IsManifestType`.
const MANIFESTS: [&str; 2] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// A descriptor: of the target of a record, or as an index has it. Empty fields are left out.
///
/// Source: OCI image specification, `descriptor.md`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Descriptor {
    pub(super) media_type: String,
    pub(super) digest: String,
    pub(super) size: i64,
    #[serde(deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    urls: Vec<String>,
    #[serde(
        deserialize_with = "or_default",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    annotations: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) platform: Option<DockerPlatform>,
    #[serde(skip_serializing_if = "String::is_empty")]
    artifact_type: String,
}

/// Reads `null` as the default, as Go does.
fn or_default<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Default + Deserialize<'de>,
    D: Deserializer<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

impl Descriptor {
    pub(super) fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.get(key).map(String::as_str)
    }

    /// Whether it is of a manifest.
    pub(super) fn is_manifest(&self) -> bool {
        MANIFESTS.contains(&&*self.media_type)
    }

    pub(super) fn is_attestation(&self) -> bool {
        self.annotation(REFERENCE_TYPE).is_some()
    }

    /// Returns the digest of the manifest that it is an attestation of; `None` if it does not name
    /// one.
    pub(super) fn attested(&self) -> Option<&str> {
        let digest = self.annotation(REFERENCE_DIGEST)?;
        let is_digest = digest.parse::<reclaim_model::Digest>().is_ok();
        (self.is_attestation() && is_digest).then_some(digest)
    }

    /// Whether it is of `BuildKit`'s attestations of a manifest.
    pub(super) fn attests(&self, manifest: &str) -> bool {
        self.annotation(REFERENCE_TYPE) == Some(ATTESTATION) && self.attested() == Some(manifest)
    }
}

impl From<&Target> for Descriptor {
    fn from(target: &Target) -> Self {
        Self {
            media_type: target.media_type.clone(),
            digest: target.digest.to_string(),
            size: i64::try_from(target.size).unwrap_or(i64::MAX),
            annotations: target.annotations.clone(),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn returns_a_descriptor_as_the_index_has_it() {
        let entry = json!({
            "mediaType": MANIFESTS[0],
            "digest": "sha256:00",
            "size": 3,
            "urls": ["https://example.com"],
            "annotations": {"a": "b"},
            "data": "e30=",
            "platform": {"architecture": "arm", "os": "linux", "os.version": "1",
                         "os.features": ["x"], "variant": "v7"},
            "artifactType": "x/y",
        });
        let read: Descriptor = serde_json::from_value(entry.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), entry);
        let sparse = json!({"mediaType": "", "digest": "sha256:00", "size": 3,
                            "annotations": null, "urls": [], "unknown": 1});
        let read: Descriptor = serde_json::from_value(sparse).unwrap();
        let written = json!({"mediaType": "", "digest": "sha256:00", "size": 3});
        assert_eq!(serde_json::to_value(&read).unwrap(), written);
    }

    #[test]
    fn an_attestation_names_the_digest_of_a_manifest() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let descriptor = |annotations: serde_json::Value| -> Descriptor {
            serde_json::from_value(json!({"annotations": annotations})).unwrap()
        };
        let named = descriptor(json!({REFERENCE_TYPE: ATTESTATION, REFERENCE_DIGEST: digest}));
        assert_eq!(named.attested(), Some(&*digest));
        assert!(named.attests(&digest) && !named.attests("sha256:00"));
        for annotations in [
            json!({REFERENCE_TYPE: ATTESTATION}),
            json!({REFERENCE_TYPE: ATTESTATION, REFERENCE_DIGEST: ""}),
            json!({REFERENCE_TYPE: ATTESTATION, REFERENCE_DIGEST: "sha256:00"}),
        ] {
            let unnamed = descriptor(annotations);
            assert!(unnamed.is_attestation());
            assert_eq!(unnamed.attested(), None);
        }
        assert_eq!(
            descriptor(json!({REFERENCE_DIGEST: digest})).attested(),
            None
        );
    }
}
