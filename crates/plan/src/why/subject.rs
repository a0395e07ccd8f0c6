//! What a text means: images, blobs or snapshots.
//!
//! A whole name, digest or key means everything with that name: the CRI plugin names images by
//! their configuration's digest, the lowest snapshot of a layer that is not compressed has the
//! layer's digest as its key, and containers name snapshots freely. Only without such a thing the
//! text is read as the beginning of a digest, as people copy it from a list. Names belong to one
//! namespace; content is the same in all.

use std::collections::{BTreeMap, BTreeSet};

use reclaim_model::{
    Container, Digest, IdPrefix, Inventory, Namespace, NamespaceInventory, Reference, SnapshotId,
    Thing, ThingKind, familiar_name,
};

use super::paths::{blob_thing, snapshot_thing};

/// The shortest beginning of a digest that is looked for, as for Docker.
const MIN_PREFIX: usize = 4;

/// How many things with a similar name are suggested.
const MAX_NEAR: usize = 5;

/// A question why a thing is on disk.
#[derive(Debug)]
pub struct Question<'a> {
    /// The inventory, with the documents behind the images of all namespaces.
    pub inventory: &'a Inventory,
    /// Containers of each namespace that only engines know of.
    pub registered: &'a BTreeMap<Namespace, Vec<Container>>,
    /// Where names and snapshots are looked for; content is looked for everywhere.
    pub namespace: &'a Namespace,
    /// A reference, a digest or the beginning of one, or a snapshot as `snapshotter/key` or key.
    pub text: &'a str,
}

/// Why a text names nothing that could be explained.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotFound {
    /// There is no such thing.
    #[error("no image, content or snapshot `{text}` in namespace `{namespace}`")]
    Unknown {
        /// The text.
        text: String,
        /// The namespace of the question.
        namespace: Namespace,
        /// Suggestions for what may have been meant, for a person.
        near: Vec<String>,
    },
    /// There are several.
    #[error("`{text}` is the beginning of {} digests", found.len())]
    Ambiguous {
        /// The text.
        text: String,
        /// The digests with that beginning, sorted.
        found: Vec<Digest>,
    },
}

/// The thing in question.
#[derive(Debug)]
pub(super) enum Subject {
    Image {
        namespace: Namespace,
        name: String,
        index: usize,
    },
    Blob {
        namespace: Namespace,
        digest: Digest,
    },
    Snapshot {
        namespace: Namespace,
        id: SnapshotId,
    },
}

impl Subject {
    /// The namespace in which it was found.
    pub(super) fn namespace(&self) -> &Namespace {
        match self {
            Self::Image { namespace, .. }
            | Self::Blob { namespace, .. }
            | Self::Snapshot { namespace, .. } => namespace,
        }
    }

    /// Whether a namespace can have holders of it.
    pub(super) fn is_in(&self, name: &Namespace, inventory: &NamespaceInventory) -> bool {
        match self {
            Self::Image { namespace, .. } | Self::Snapshot { namespace, .. } => namespace == name,
            Self::Blob { digest, .. } => has_blob(inventory, digest),
        }
    }

    pub(super) fn thing(&self, inventory: &Inventory) -> Thing {
        match self {
            Self::Image { name, .. } => Thing {
                kind: ThingKind::Image,
                id: name.clone(),
            },
            Self::Blob { digest, .. } => blob_thing(&inventory.documents, digest),
            Self::Snapshot { id, .. } => snapshot_thing(id),
        }
    }
}

/// Finds what the text of the question means.
pub(super) fn find(question: &Question<'_>) -> Result<Vec<Subject>, NotFound> {
    let Question {
        inventory,
        namespace,
        text,
        ..
    } = question;
    let here = inventory.namespaces.get(*namespace);
    let image = here.and_then(|here| Some((here, find_image(here, text)?)));
    let image = image.map(|(here, index)| Subject::Image {
        namespace: (*namespace).clone(),
        name: here.images[index].name.clone(),
        index,
    });
    let blob = text.parse().ok();
    let blob = blob.and_then(|digest| find_blob(question, &digest));
    let snapshots = here.map_or_else(Vec::new, |here| find_snapshots(here, text));
    let snapshots = snapshots.into_iter().map(|id| Subject::Snapshot {
        namespace: (*namespace).clone(),
        id,
    });
    let exact: Vec<Subject> = image.into_iter().chain(blob).chain(snapshots).collect();
    if !exact.is_empty() {
        return Ok(exact);
    }
    let found = digests_that_begin(inventory, text);
    match found.first() {
        Some(digest) if found.len() == 1 => Ok(find_blob(question, digest).into_iter().collect()),
        Some(_) => Err(NotFound::Ambiguous {
            text: (*text).to_owned(),
            found: found.into_iter().collect(),
        }),
        None => Err(NotFound::Unknown {
            text: (*text).to_owned(),
            namespace: (*namespace).clone(),
            near: near(inventory, namespace, text),
        }),
    }
}

/// Finds an image by the exact name of the record, or by its full reference.
fn find_image(namespace: &NamespaceInventory, text: &str) -> Option<usize> {
    let images = &namespace.images;
    let exact = |name: &str| images.binary_search_by(|image| image.name.as_str().cmp(name));
    exact(text).ok().or_else(|| {
        let reference = Reference::parse_normalized(text).ok()?;
        exact(&reference.with_default_tag().to_string()).ok()
    })
}

/// Finds a blob in the namespace of the question, or else in any.
fn find_blob(question: &Question<'_>, digest: &Digest) -> Option<Subject> {
    let namespaces = &question.inventory.namespaces;
    let own = namespaces.get_key_value(question.namespace);
    let mut all = own.into_iter().chain(namespaces);
    let (namespace, _) = all.find(|(_, inventory)| has_blob(inventory, digest))?;
    Some(Subject::Blob {
        namespace: namespace.clone(),
        digest: digest.clone(),
    })
}

fn has_blob(inventory: &NamespaceInventory, digest: &Digest) -> bool {
    let found = inventory
        .blobs
        .binary_search_by(|blob| blob.digest.cmp(digest));
    found.is_ok()
}

/// Finds snapshots by `snapshotter/key`, or by the key in every snapshotter that has it.
fn find_snapshots(namespace: &NamespaceInventory, text: &str) -> Vec<SnapshotId> {
    let found = namespace
        .snapshots
        .iter()
        .filter_map(|(snapshotter, snapshots)| {
            let has = |key: &str| snapshots.binary_search_by(|it| (*it.key).cmp(key)).is_ok();
            let within = text.strip_prefix(&**snapshotter);
            let within = within.and_then(|rest| rest.strip_prefix('/'));
            let key = [Some(text), within]
                .into_iter()
                .flatten()
                .find(|key| has(key))?;
            Some(SnapshotId::new(snapshotter.clone(), key))
        });
    found.collect()
}

fn digests_that_begin(inventory: &Inventory, text: &str) -> BTreeSet<Digest> {
    let Some(prefix) = IdPrefix::parse(text).filter(|it| it.hex_len() >= MIN_PREFIX) else {
        return BTreeSet::new();
    };
    let blobs = inventory.namespaces.values().flat_map(|it| &it.blobs);
    let digests = blobs.map(|blob| &blob.digest);
    digests.filter(|it| prefix.matches(it)).cloned().collect()
}

/// Suggests images with the same last path component, and the same name in other namespaces.
fn near(inventory: &Inventory, namespace: &Namespace, text: &str) -> Vec<String> {
    let elsewhere = inventory
        .namespaces
        .iter()
        .filter(|(name, _)| *name != namespace);
    let elsewhere = elsewhere.filter_map(|(name, other)| {
        let image = find_image(other, text)?;
        let image = familiar_name(&other.images[image].name);
        Some(format!("{image} in namespace {name}"))
    });
    let wanted = last_component(text);
    let here = inventory.namespaces.get(namespace);
    let images = here.into_iter().flat_map(|here| &here.images);
    let alike = images.filter(|image| {
        let component = last_component(&image.name);
        wanted.len() > 1 && (component.contains(&wanted) || wanted.contains(&component))
    });
    let alike = alike.map(|image| familiar_name(&image.name));
    elsewhere.chain(alike).take(MAX_NEAR).collect()
}

/// Returns the part of a name after the last slash, without tag and digest, in lower case.
fn last_component(name: &str) -> String {
    let name = name.split('@').next().unwrap_or(name);
    let last = name.rsplit('/').next().unwrap_or(name);
    last.split(':').next().unwrap_or(last).to_lowercase()
}
