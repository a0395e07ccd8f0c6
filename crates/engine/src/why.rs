//! Why something is on disk, with the labels that keep it.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt};
use reclaim_model::{
    Answer, Digest, GcRef, HolderKind, Inventory, Link, Namespace, ReferenceKind, Thing, ThingKind,
    keys_that_attach, keys_that_refer,
};
use reclaim_plan::{Question, why};

use crate::engine::Engine;
use crate::error::RunError;
use crate::off_thread::Shared;
use crate::retry::retry;

/// How many blobs of all paths are read for their labels: a base layer may have thousands of paths.
const MAX_BLOBS: usize = 256;

const READS_AT_ONCE: usize = 16;

type Labels = BTreeMap<String, String>;

/// The object whose labels make a link, and the object to which they refer.
#[derive(Debug)]
struct Reference<'p> {
    labelled: &'p Thing,
    to: GcRef,
}

impl Engine {
    /// Returns the holders of the objects that `text` matches in `namespace`, and their outcome.
    ///
    /// The labels of the paths are read afterwards, of a few hundred blobs at most. One that changed
    /// meanwhile is left out.
    ///
    /// Cancellation safe: it only reads.
    ///
    /// # Errors
    ///
    /// [`RunError::NotFound`] if it matches nothing or is ambiguous; otherwise as
    /// [`Self::disk_usage`].
    pub async fn why(&self, namespace: &Namespace, text: &str) -> Result<Vec<Answer>, RunError> {
        let inventory = self.observe_all().await?;
        let registered = self.registered_everywhere(&inventory).await?;
        let (namespace, text) = (namespace.clone(), text.to_owned());
        let inventory = Shared::new(inventory);
        let explaining = inventory.read(move |inventory| {
            why(&Question {
                inventory,
                registered: &registered,
                namespace: &namespace,
                text: &text,
            })
        });
        let mut answers = explaining.await.map_err(RunError::NotFound)?;
        let labels = self.labels_of_paths(&answers).await?;
        add_labels(&mut answers, &labels, &inventory);
        Ok(answers)
    }

    /// Reads the labels of the blobs on the paths.
    async fn labels_of_paths(
        &self,
        answers: &[Answer],
    ) -> Result<BTreeMap<(Namespace, Digest), Labels>, RunError> {
        let mut blobs: Vec<(Namespace, Digest)> = Vec::new();
        for path in answers.iter().flat_map(|answer| &answer.holders) {
            for at in 0..path.chain.len() {
                let Some(reference) = reference(&path.chain, at) else {
                    continue;
                };
                let digest = reference.labelled.id.parse::<Digest>();
                let blob = digest.map(|digest| (path.namespace.clone(), digest));
                if let Ok(blob) = blob
                    && is_blob(reference.labelled)
                    && blobs.len() < MAX_BLOBS
                    && !blobs.contains(&blob)
                {
                    blobs.push(blob);
                }
            }
        }
        let reading = futures::stream::iter(blobs).map(async |(namespace, digest)| {
            let labels = retry(|| self.store.content_labels(&namespace, &digest)).await?;
            Ok::<_, RunError>(((namespace, digest), labels.unwrap_or_default()))
        });
        reading.buffer_unordered(READS_AT_ONCE).try_collect().await
    }
}

/// Enters the keys of the labels that make the links.
fn add_labels(
    answers: &mut [Answer],
    of_blobs: &BTreeMap<(Namespace, Digest), Labels>,
    inventory: &Inventory,
) {
    let of_image = |namespace: &Namespace, name: &str| {
        let images = &inventory.namespaces.get(namespace)?.images;
        let found = images.binary_search_by(|image| (*image.name).cmp(name));
        Some(&images[found.ok()?].labels)
    };
    for path in answers.iter_mut().flat_map(|answer| &mut answer.holders) {
        // The holder of a path is not on it; an image has labels of its own.
        let holder = (path.holder.kind == HolderKind::Image).then(|| Thing {
            kind: ThingKind::Image,
            id: path.holder.id.clone(),
        });
        for at in 0..path.chain.len() {
            let first = holder.as_ref().filter(|_| at == 0);
            let reference = match first {
                Some(labelled) if path.chain[at].by == ReferenceKind::Label => {
                    to(&path.chain[at].thing).map(|to| Reference { labelled, to })
                }
                Some(_) | None => reference(&path.chain, at),
            };
            let Some(Reference { labelled, to }) = reference else {
                continue;
            };
            let labels = match labelled.id.parse::<Digest>() {
                Ok(digest) if is_blob(labelled) => of_blobs.get(&(path.namespace.clone(), digest)),
                Ok(_) | Err(_) if labelled.kind == ThingKind::Image => {
                    of_image(&path.namespace, &labelled.id)
                }
                Ok(_) | Err(_) => None,
            };
            let labels = labels.into_iter().flatten();
            let labels = labels.map(|(key, value)| (&**key, &**value));
            let keys = if path.chain[at].by == ReferenceKind::BackLabel {
                keys_that_attach(labels, &to)
            } else {
                keys_that_refer(labels, &to)
            };
            path.chain[at].labels = keys;
        }
    }
}

/// Returns what makes a link of a path, if it is a label.
fn reference(chain: &[Link], at: usize) -> Option<Reference<'_>> {
    let link = &chain[at];
    let before = at.checked_sub(1).map(|before| &chain[before].thing)?;
    match link.by {
        ReferenceKind::Label => Some(Reference {
            labelled: before,
            to: to(&link.thing)?,
        }),
        ReferenceKind::BackLabel => Some(Reference {
            labelled: &link.thing,
            to: to(before)?,
        }),
        ReferenceKind::Root
        | ReferenceKind::Lease
        | ReferenceKind::Container
        | ReferenceKind::Parent
        | ReferenceKind::Target
        | ReferenceKind::Name
        | ReferenceKind::PartOf => None,
    }
}

/// Returns a thing as what a label refers to.
fn to(thing: &Thing) -> Option<GcRef> {
    match thing.kind {
        ThingKind::Image => Some(GcRef::Image(thing.id.as_str().into())),
        ThingKind::Container => Some(GcRef::Container(thing.id.as_str().into())),
        ThingKind::Snapshot => {
            let (snapshotter, key) = thing.id.split_once('/')?;
            let id = reclaim_model::SnapshotId::new(snapshotter, key);
            Some(GcRef::Snapshot(id))
        }
        ThingKind::Index | ThingKind::Manifest | ThingKind::Config | ThingKind::Content => {
            Some(GcRef::Content(thing.id.parse().ok()?))
        }
        ThingKind::Absent => None,
    }
}

fn is_blob(thing: &Thing) -> bool {
    match thing.kind {
        ThingKind::Index | ThingKind::Manifest | ThingKind::Config | ThingKind::Content => true,
        ThingKind::Image | ThingKind::Snapshot | ThingKind::Container | ThingKind::Absent => false,
    }
}
