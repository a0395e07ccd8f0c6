//! Cuts: references that blobs lose, so that containerd's collector frees parts of images whose
//! records stay.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    Digest, FilterArgs, FilterError, Freed, GcLabels, GcRef, Holder, Platform, PruneFilters,
    SnapshotId, TimeContext, form, lift_warning,
};

/// What becomes of unpacked layers that nothing but build history holds.
///
/// Builders keep the results of past builds by leases that never expire. Such a lease holds an
/// image's configuration and, through a label of it, all that was unpacked of the image, long
/// after the last record of the image went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BuildHistory {
    /// They stay. The plan says how much they are.
    #[default]
    Keep,
    /// The configurations release them. The configurations and the leases stay.
    Unpin,
}

/// A part of an image that can be freed while the image's record stays, in the order of what it
/// costs to have it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// What was unpacked of images that no longer exist, held by build history only.
    BuildHistory,
    /// What was unpacked. The engine unpacks it again, without a network, when it creates the next
    /// container.
    Snapshots,
    /// The compressed layers of an image that is unpacked. Containers start without them; a push, an
    /// export or another snapshotter needs them, and a pull of the image does not fetch them.
    Layers,
    /// Platforms that this machine does not run, of images for several.
    Platforms,
}

impl Part {
    /// All of them, in order.
    pub const ALL: [Self; 4] = [
        Self::BuildHistory,
        Self::Snapshots,
        Self::Layers,
        Self::Platforms,
    ];

    /// Returns the word for the part in JSON and on the command line.
    pub fn key(self) -> &'static str {
        match self {
            Self::BuildHistory => "build_history",
            Self::Snapshots => "snapshots",
            Self::Layers => "layers",
            Self::Platforms => "platforms",
        }
    }

    /// Returns the part as people read it.
    pub fn text(self) -> &'static str {
        match self {
            Self::BuildHistory => "build history",
            Self::Snapshots => "snapshots",
            Self::Layers => "layers",
            Self::Platforms => "platforms",
        }
    }
}

/// Parts of images to free. `F` are its filters: as typed, or resolved.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageParts<F = FilterArgs> {
    /// Which parts.
    pub parts: BTreeSet<Part>,
    /// The images, by names, digests or beginnings of digests, as typed. Empty is all images.
    #[serde(default)]
    pub names: Vec<String>,
    /// Which of the images; without `dangling` all.
    #[serde(default)]
    pub filters: F,
    /// The platforms to free; empty is all that this machine does not run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<Platform>,
    /// Whether images of Docker lose layers, too: its `docker save` leaves out what is missing, and
    /// its `docker push` may fail.
    #[serde(default)]
    pub docker_layers: bool,
    /// Whether images lose layers, too, that a registry mirror on this machine may serve to other
    /// machines out of containerd's content.
    #[serde(default)]
    pub mirrored_layers: bool,
}

impl ImageParts {
    /// Resolves the filters.
    ///
    /// # Errors
    ///
    /// A [`FilterError`] if the filters mean nothing.
    pub fn resolve(self, context: &TimeContext) -> Result<ImageParts<PruneFilters>, FilterError> {
        let Self {
            parts,
            names,
            filters,
            platforms,
            docker_layers,
            mirrored_layers,
        } = self;
        let mut filters = PruneFilters::from_args(&filters, context)?;
        filters.dangling.get_or_insert(false);
        Ok(ImageParts {
            parts,
            names,
            filters,
            platforms,
            docker_layers,
            mirrored_layers,
        })
    }
}

/// A reference that a blob loses: all labels of the blob by which the collector goes from it to the
/// target. The blob stays.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cut {
    /// What it frees.
    pub part: Part,
    /// The blob that has the labels: a configuration, a manifest or an index.
    pub blob: Digest,
    /// What the labels refer to.
    #[serde(flatten)]
    pub target: CutTarget,
}

/// What the labels of a [`Cut`] refer to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum CutTarget {
    /// The top of the chain that was unpacked of a configuration.
    Snapshot(SnapshotId),
    /// A blob.
    Content {
        /// Its digest.
        digest: Digest,
    },
}

impl CutTarget {
    /// Whether a label with this meaning refers to the target.
    pub fn is_of(&self, reference: &GcRef) -> bool {
        match (self, reference) {
            (Self::Snapshot(id), GcRef::Snapshot(other)) => id == other,
            (Self::Content { digest }, GcRef::Content(other)) => digest == other,
            (
                Self::Snapshot(_) | Self::Content { .. },
                GcRef::Content(_)
                | GcRef::NoContent(_)
                | GcRef::Snapshot(_)
                | GcRef::Image(_)
                | GcRef::Container(_),
            ) => false,
        }
    }

    /// Returns it as what a label refers to.
    pub fn reference(&self) -> GcRef {
        match self {
            Self::Snapshot(id) => GcRef::Snapshot(id.clone()),
            Self::Content { digest } => GcRef::Content(digest.clone()),
        }
    }
}

impl Cut {
    /// Returns the manifest of the platform that the cut frees, if it frees one.
    pub fn platform(&self) -> Option<&Digest> {
        match (self.part, &self.target) {
            (Part::Platforms, CutTarget::Content { digest }) => Some(digest),
            _ => None,
        }
    }

    /// Whether a label of the blob goes with the cut.
    pub fn includes(&self, key: &str, value: &str) -> bool {
        let labels = GcLabels::parse([(key, value)]);
        let references = &labels.refs;
        references
            .iter()
            .any(|reference| self.target.is_of(reference))
    }
}

/// Labels of a blob, as they were before they were removed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlobLabels {
    /// The blob.
    pub blob: Digest,
    /// Values by key.
    pub labels: BTreeMap<String, String>,
}

/// An image that loses parts and whose record stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slimmed {
    /// The record's name.
    pub name: String,
    /// What it points at.
    pub target: Digest,
    /// The parts that it loses, and for each the blobs that lose labels, sorted.
    pub parts: BTreeMap<Part, Vec<Digest>>,
    /// The rule that protects it, if the request lifts the protection. Not in JSON: a warning has it.
    #[serde(skip)]
    pub lifted: Option<Holder>,
}

impl Slimmed {
    /// Returns the warning that the request lifts the protection of the image, if it does.
    pub fn warning(&self) -> Option<String> {
        Some(lift_warning(&self.name, self.lifted.as_ref()?))
    }
}

/// What only build history holds, and would be freed if the request had it so.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pinned {
    /// How many configurations hold it.
    pub configs: usize,
    /// What it is.
    #[serde(flatten, with = "form::amount")]
    pub freed: Freed,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(hex: char) -> Digest {
        format!("sha256:{}", String::from(hex).repeat(64))
            .parse()
            .unwrap()
    }

    /// Pullers write keys of several forms, builders others.
    #[test]
    fn a_cut_includes_every_label_with_its_target() {
        let layers = Cut {
            part: Part::Layers,
            blob: digest('a'),
            target: CutTarget::Content {
                digest: digest('b'),
            },
        };
        let value = digest('b').to_string();
        for key in [
            "containerd.io/gc.ref.content",
            "containerd.io/gc.ref.content.0",
            "containerd.io/gc.ref.content.l.3",
            "containerd.io/gc.ref.content/odd",
        ] {
            assert!(layers.includes(key, &value), "{key}");
            assert!(!layers.includes(key, &digest('c').to_string()), "{key}");
        }
        for key in [
            "containerd.io/gc.bref.content.0",
            "containerd.io/gc.ref.contents",
            "containerd.io/gc.ref.snapshot.native",
            "containerd.io/distribution.source.registry",
        ] {
            assert!(!layers.includes(key, &value), "{key}");
        }
        let snapshots = Cut {
            part: Part::Snapshots,
            blob: digest('a'),
            target: CutTarget::Snapshot(SnapshotId::new("native", value.as_str())),
        };
        assert!(snapshots.includes("containerd.io/gc.ref.snapshot.native", &value));
        assert!(snapshots.includes("containerd.io/gc.ref.snapshot.native/x", &value));
        assert!(!snapshots.includes("containerd.io/gc.ref.snapshot.overlayfs", &value));
        assert!(!snapshots.includes("containerd.io/gc.ref.content.0", &value));
    }

    #[test]
    fn is_written_with_the_fields_of_its_target() {
        let cuts = [
            Cut {
                part: Part::Layers,
                blob: digest('a'),
                target: CutTarget::Content {
                    digest: digest('b'),
                },
            },
            Cut {
                part: Part::Snapshots,
                blob: digest('a'),
                target: CutTarget::Snapshot(SnapshotId::new("native", "top")),
            },
        ];
        let (a, b) = (digest('a').to_string(), digest('b').to_string());
        let json = serde_json::json!([
            {"part": "layers", "blob": a, "digest": b},
            {"part": "snapshots", "blob": a, "snapshotter": "native", "key": "top"},
        ]);
        assert_eq!(serde_json::to_value(&cuts).unwrap(), json);
        let read: Vec<Cut> = serde_json::from_value(json).unwrap();
        assert_eq!(read, cuts);
    }
}
