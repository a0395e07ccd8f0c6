//! Where an image came from.
//!
//! Docker also verifies signatures. This engine does not, so an identity has no `Signature`, which
//! to clients means that none was verified.
//!
//! Source: moby, `daemon/containerd/image_identity.go`.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use reclaim_model::{Digest, Reference};
use serde::{Deserialize, Serialize};

use super::api::DockerApi;
use super::error::ApiError;

/// The prefix of a label of content that was pulled from, or pushed to, a registry; the registry's
/// host follows. Its value is a list of repositories, separated by commas.
const SOURCE: &str = "containerd.io/distribution.source.";

/// The prefix of a label of content that Docker built; the ID of the build follows.
const BUILD: &str = "moby/build.ref.";

/// Go's zero time, for a build without a date.
pub(super) const NO_TIME: &str = "0001-01-01T00:00:00Z";

/// The origin of an image, by the labels that pulls, pushes and builds write.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Identity {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pull: Vec<Pull>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    build: Vec<Build>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Pull {
    repository: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Build {
    #[serde(rename = "Ref", skip_serializing_if = "String::is_empty")]
    id: String,
    created_at: String,
}

/// The value of the label of a build.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BuildLabel {
    #[serde(default)]
    created_at: Option<Timestamp>,
}

impl Identity {
    /// Reads the identity out of the labels of a target; `None` if they say nothing.
    fn of_labels(labels: &BTreeMap<String, String>) -> Option<Self> {
        let repositories: BTreeSet<String> = labels
            .iter()
            .filter_map(|(key, value)| Some((key.strip_prefix(SOURCE)?, value)))
            .flat_map(|(host, value)| value.split(',').map(move |path| format!("{host}/{path}")))
            .filter_map(|name| Reference::parse_normalized(&name).ok())
            .map(|reference| reference.repository())
            .collect();
        let builds = labels.iter().filter_map(|(key, value)| {
            let id = key.strip_prefix(BUILD)?.to_owned();
            let label: BuildLabel = serde_json::from_str(value).ok()?;
            let created_at = label.created_at;
            let created_at = created_at.map_or_else(|| NO_TIME.to_owned(), |at| at.to_string());
            Some(Build { id, created_at })
        });
        let repositories = repositories.into_iter();
        let identity = Self {
            pull: repositories.map(|repository| Pull { repository }).collect(),
            build: builds.collect(),
        };
        (identity != Self::default()).then_some(identity)
    }
}

/// Returns the identity of a target; `None` if nothing is known.
pub(super) async fn identity(
    api: &DockerApi,
    target: &Digest,
) -> Result<Option<Identity>, ApiError> {
    let labels = api.engine().content_labels(api.namespace(), target).await?;
    Ok(labels.as_ref().and_then(Identity::of_labels))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_identity_has_repositories_and_builds() {
        let labels = [
            (
                "containerd.io/distribution.source.docker.io",
                "library/app,team/app,",
            ),
            ("containerd.io/distribution.source.quay.io", "team/app"),
            (
                "moby/build.ref.z",
                r#"{"createdAt":"2026-01-02T03:04:05Z"}"#,
            ),
            ("moby/build.ref.a", "{}"),
            ("moby/build.ref.bad", "{not-json}"),
            ("containerd.io/gc.ref.content.m.0", "sha256:00"),
        ];
        let of = |labels: &[(&str, &str)]| {
            let labels = labels.iter();
            let owned = labels.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            Identity::of_labels(&owned.collect())
        };
        let expected = json!({
            "Pull": [
                {"Repository": "docker.io/library/app"},
                {"Repository": "docker.io/team/app"},
                {"Repository": "quay.io/team/app"},
            ],
            "Build": [
                {"Ref": "a", "CreatedAt": NO_TIME},
                {"Ref": "z", "CreatedAt": "2026-01-02T03:04:05Z"},
            ],
        });
        assert_eq!(json!(of(&labels)), expected);
        assert_eq!(of(&labels[5..]), None);
        assert_eq!(of(&[]), None);
    }
}
