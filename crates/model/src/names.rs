//! Names of containerd's own things: namespaces and snapshots.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A containerd namespace: its partition of images, content, snapshots, leases and containers.
///
/// Invariant: a valid containerd identifier, hence safe as a gRPC metadata value.
///
/// Source: containerd's `identifiers.Validate`: runs of letters and digits, joined by single
/// `.`, `_` or `-`, 76 characters at most.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Namespace(Arc<str>);

/// Why a text is not a [`Namespace`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "namespace is not letters and digits joined by single `.`, `_` or `-`, at most {limit} \
     characters: `{text}`",
    limit = Namespace::MAX_LENGTH
)]
pub struct NamespaceError {
    text: String,
}

impl Namespace {
    /// The longest identifier that containerd accepts, in bytes.
    pub const MAX_LENGTH: usize = 76;

    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Namespace {
    type Err = NamespaceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_run = |run: &str| !run.is_empty() && run.bytes().all(|b| b.is_ascii_alphanumeric());
        if text.len() <= Self::MAX_LENGTH && text.split(['.', '_', '-']).all(is_run) {
            Ok(Self(text.into()))
        } else {
            Err(NamespaceError {
                text: text.to_owned(),
            })
        }
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The name of a snapshotter plugin, such as `overlayfs`. Cheap to clone.
pub type Snapshotter = Arc<str>;

/// Where a snapshot is found within a namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SnapshotId {
    /// The plugin that stores it.
    pub snapshotter: Snapshotter,
    /// Its key; for a committed image layer the chain ID.
    pub key: Arc<str>,
}

impl SnapshotId {
    /// Joins the two parts.
    pub fn new(snapshotter: impl Into<Snapshotter>, key: impl Into<Arc<str>>) -> Self {
        Self {
            snapshotter: snapshotter.into(),
            key: key.into(),
        }
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.snapshotter, self.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_shown_with_its_snapshotter() {
        let id = SnapshotId::new("native", "sha256:1");
        assert_eq!(id.to_string(), "native/sha256:1");
    }

    #[test]
    fn accepts_containerds_identifiers_only() {
        for good in [
            "default",
            "k8s.io",
            "moby_history",
            "a-b_c.d",
            &"a".repeat(76),
        ] {
            let namespace: Namespace = good.parse().unwrap();
            assert_eq!((namespace.as_str(), &*namespace.to_string()), (good, good));
        }
        for bad in [
            "",
            ".",
            "a..b",
            "-a",
            "a-",
            "a b",
            "a/b",
            "é",
            "a\nb",
            &"a".repeat(77),
        ] {
            assert!(bad.parse::<Namespace>().is_err(), "{bad}");
        }
    }
}
