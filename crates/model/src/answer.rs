//! The answer to the question why something is on disk.
//!
//! The JSON form of each type is its form in `docs/json.md`, under `reclaim why`.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Holder, KeepReason, Namespace, RemoveReason};

/// All answers to one question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answers {
    /// One for each thing that the text of the question names.
    pub answers: Vec<Answer>,
}

/// The answer about one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The namespace in which it was found.
    pub namespace: Namespace,
    /// What was found.
    pub thing: Thing,
    /// What holds it; for an image, what uses it. Nearest first, those of the namespace before
    /// those of others.
    pub holders: Vec<HolderPath>,
    /// For an image that expires, the images that keep it as long as they are there, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<String>,
    /// For an image, the images that containerd removes with it, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dependents: Vec<String>,
    /// For an image, what a prune does with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdicts: Option<PruneVerdicts>,
    /// When it goes.
    #[serde(rename = "fate")]
    pub outlook: Outlook,
    /// What could not be seen and may hold it, for a person.
    pub warnings: Vec<String>,
}

/// A thing on a path of references.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Thing {
    /// What it is.
    pub kind: ThingKind,
    /// Its name, digest, `snapshotter/key` or ID.
    pub id: String,
}

/// What a [`Thing`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThingKind {
    /// An image record.
    Image,
    /// A blob that lists manifests.
    Index,
    /// A blob that lists a config and layers.
    Manifest,
    /// A blob that is an image's configuration.
    Config,
    /// Any other blob.
    Content,
    /// A snapshot.
    Snapshot,
    /// A container record.
    Container,
    /// A name that nothing has, across which a back reference leads.
    Absent,
}

/// How a thing on a path keeps the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReferenceKind {
    /// By a label (`gc.ref.*`, `gc.cond.*`).
    Label,
    /// By a label of the next one, which attaches it (`gc.bref.*`).
    BackLabel,
    /// The next one has the label `gc.root`.
    Root,
    /// A lease lists the next one.
    Lease,
    /// The next one is the snapshot of a container.
    Container,
    /// The next one is the parent of a snapshot.
    Parent,
    /// The next one is the target of an image record.
    Target,
    /// A container or a rule names the image.
    Name,
    /// It is a part of the next one: unpacked from it, or listed by it. Reclaim follows this, the
    /// collector does not. Also in answers of older daemons, which do not send it.
    #[default]
    PartOf,
}

/// A thing on a path, and how the one before it, or the holder, keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The thing.
    #[serde(flatten)]
    pub thing: Thing,
    /// How it is kept.
    #[serde(default)]
    pub by: ReferenceKind,
    /// The keys of the labels that keep it, sorted; empty if they are not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
}

/// A holder, and the path of references from it to the thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HolderPath {
    /// The namespace of the holder.
    pub namespace: Namespace,
    /// The holder.
    pub holder: Holder,
    /// When it ceases to hold; `None` is never.
    pub until: Option<Timestamp>,
    /// The things from the holder, which is not among them, to the one in question, which is the
    /// last.
    pub chain: Vec<Link>,
    /// For a holder that is an image: what a prune of all unused images does with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prune_all: Option<ImageVerdict>,
}

/// What prunes do with an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PruneVerdicts {
    /// A prune of dangling images only.
    pub prune: ImageVerdict,
    /// A prune of all unused images.
    pub prune_all: ImageVerdict,
}

/// What a prune does with an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum ImageVerdict {
    /// It removes it.
    Remove {
        /// Why.
        reason: RemoveReason,
    },
    /// It keeps it.
    Keep {
        /// Why.
        reason: KeepReason,
        /// What needs it, sorted; empty where the reason is not a use.
        holders: Vec<Holder>,
    },
}

/// When a thing goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fate", rename_all = "snake_case")]
pub enum Outlook {
    /// It stays as long as its holders.
    Held,
    /// It is an image that nothing uses: it stays until it is removed.
    Unused,
    /// It is an image that has expired, and that stays as long as another image keeps it.
    Depends,
    /// It goes with the first collection after the last holder has expired.
    Expires {
        /// When that is.
        at: Timestamp,
        /// The last holder.
        holder: Holder,
    },
    /// Nothing holds it: it goes with the next collection.
    NextCollection,
}
