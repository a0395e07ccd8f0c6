//! The nouns of a question and its answer.

use std::collections::BTreeMap;

use jiff::Timestamp;
use reclaim_model::{Container, Holder, Inventory, KeepReason, Namespace, RemoveReason};
use serde::Serialize;

/// What is asked.
#[derive(Debug)]
pub struct Question<'a> {
    /// What was seen, with the documents behind the images of all namespaces.
    pub inventory: &'a Inventory,
    /// Containers of each namespace that only engines know of.
    pub registered: &'a BTreeMap<Namespace, Vec<Container>>,
    /// Where names and snapshots are looked for; content is looked for everywhere.
    pub namespace: &'a Namespace,
    /// A reference, a digest or the beginning of one, or a snapshot as `snapshotter/key` or key.
    pub text: &'a str,
}

/// One thing on a way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Thing {
    /// What it is.
    pub kind: ThingKind,
    /// Its name, digest, `snapshotter/key` or ID.
    pub id: String,
}

/// What a [`Thing`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
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
    /// Something that does not exist, across which a back reference leads.
    Absent,
}

/// What a prune would do with an image: remove it, or keep it for a reason and somebody.
pub type ImageVerdict = Result<RemoveReason, (KeepReason, Vec<Holder>)>;

/// Somebody who holds the thing.
#[derive(Debug, Clone, PartialEq)]
pub struct Held {
    /// Where.
    pub namespace: Namespace,
    /// Who.
    pub holder: Holder,
    /// When it ceases to hold; `None` is never.
    pub until: Option<Timestamp>,
    /// The things from the holder, which is not among them, to the one that was asked about,
    /// which is the last.
    pub chain: Vec<Thing>,
    /// For a holder that is an image: what a prune of all unused images would do with it.
    pub verdict: Option<ImageVerdict>,
}

/// What will become of the thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It stays as long as its holders.
    Held,
    /// It is an image that nobody uses: it stays until it is removed.
    Unused,
    /// It goes with the first collection after this moment, when the last holder has expired.
    Expires(Timestamp, Holder),
    /// Nothing holds it: it goes with the next collection.
    NextCollection,
}

/// The answer about one thing.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The namespace in which it was found.
    pub namespace: Namespace,
    /// What was found.
    pub thing: Thing,
    /// Who holds it; of an image, who uses it. Nearest first, those of the namespace before
    /// those of others.
    pub held: Vec<Held>,
    /// For an image, what a prune of dangling images would do with it, and one of all unused.
    pub verdicts: Option<[ImageVerdict; 2]>,
    /// What will become of it.
    pub fate: Fate,
    /// What could not be seen and may hold it, in words.
    pub warnings: Vec<String>,
}
