//! No image changes how another one is read.
//!
//! The author of an image writes its documents: any descriptor may call any blob anything, at
//! any depth. Whatever they write, an image that stayed without it stays with it, and one that
//! could be read still can.

use std::collections::BTreeSet;

use proptest::prelude::*;
use reclaim_model::{
    Child, Config, Digest, Document, DocumentKind, KeepReason, LabelFilter, PruneFilters,
    RemoveReason,
};

use super::oracle::is_proven;
use crate::random::{BLOBS, pick, scenes};
use crate::world::{Outcome, World, all, bytes, chain, digest, library, media_type};

/// A document that is written in order to confuse: its kind, and what it calls others.
#[derive(Debug, Clone)]
struct Written {
    kind: DocumentKind,
    children: Vec<(usize, DocumentKind)>,
    is_labelled: bool,
}

/// Documents that may name each other and everything else, and records of any of these.
#[derive(Debug, Clone)]
pub(super) struct Hostile {
    documents: Vec<Written>,
    records: Vec<(usize, DocumentKind)>,
}

fn kinds() -> impl Strategy<Value = DocumentKind> {
    prop_oneof![
        Just(DocumentKind::Index),
        Just(DocumentKind::Manifest),
        Just(DocumentKind::Config),
        Just(DocumentKind::Leaf),
    ]
}

pub(super) fn hostile() -> impl Strategy<Value = Hostile> {
    let children = prop::collection::vec((0..100_usize, kinds()), 0..4);
    let written = (kinds(), children, any::<bool>());
    let written = written.prop_map(|(kind, children, is_labelled)| Written {
        kind,
        children,
        is_labelled,
    });
    let documents = prop::collection::vec(written, 1..12);
    let records = prop::collection::vec((0..100_usize, kinds()), 1..4);
    (documents, records).prop_map(|(documents, records)| Hostile { documents, records })
}

impl Hostile {
    /// What a number means among the documents written so far and all other blobs. A document
    /// cannot name one that is written later: it would have to know its digest.
    fn name(number: usize, n_written: usize) -> String {
        match number % (BLOBS.len() + n_written) {
            own if own < n_written => format!("evil{own}"),
            _ => pick(&BLOBS, number).to_owned(),
        }
    }

    fn write(&self, world: &mut World) {
        world.within(World::NAMESPACE);
        for (at, written) in self.documents.iter().enumerate() {
            let children = written.children.iter().map(|(number, kind)| {
                let name = Self::name(*number, at);
                Child {
                    digest: digest(&name),
                    size: bytes(&name),
                    kind: *kind,
                    is_attestation: false,
                    is_layer: *kind == DocumentKind::Leaf,
                }
            });
            let children: Vec<Child> = children.collect();
            let labels = written.is_labelled.then_some(("team", "web"));
            let document = match written.kind {
                DocumentKind::Index => Document::Index(children.clone()),
                DocumentKind::Manifest => Document::Manifest(children.clone()),
                DocumentKind::Config | DocumentKind::Leaf => Document::Config(Config {
                    labels: labels
                        .iter()
                        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                        .collect(),
                    chain_id: chain("base+A.layer").parse().ok(),
                    ..Config::default()
                }),
            };
            let name = format!("evil{at}");
            let refs = children.iter().enumerate();
            let refs = refs.map(|(at, child)| {
                let key = format!("containerd.io/gc.ref.content.{at}");
                (key, child.digest.to_string())
            });
            world.labelled_blob(&name, &refs.collect::<Vec<_>>());
            if written.kind != DocumentKind::Leaf {
                world.documents.insert(digest(&name), document);
            }
        }
        for (at, (number, kind)) in self.records.iter().enumerate() {
            let target = Self::name(*number, self.documents.len());
            let record = world.record(&library(&format!("evil:{at}")), &target);
            media_type(*kind).clone_into(&mut record.target.media_type);
        }
    }
}

/// Whether a container names, by a digest, something that the documents name, too. That image
/// then explains what the container uses, as any image would that its engine names.
fn is_named_by_container(world: &World, hostile: &Hostile) -> bool {
    let documents = hostile.documents.iter().enumerate();
    let children = documents.flat_map(|(at, it)| it.children.iter().map(move |it| (it.0, at)));
    let records = hostile.records.iter();
    let records = records.map(|(number, _)| (*number, hostile.documents.len()));
    let blobs = children.chain(records);
    let blobs: Vec<String> = blobs.map(|(it, at)| Hostile::name(it, at)).collect();
    let containers = world.namespaces[World::NAMESPACE].containers.iter();
    containers.chain(&world.registered).any(|container| {
        blobs.iter().map(|blob| digest(blob)).any(|digest| {
            container.image_digest.as_ref() == Some(&digest)
                || container.image.contains(&digest.hex()[..12])
        })
    })
}

/// Whether a digest that an engine gives proves more than before, because an image has it now:
/// then the container's snapshots are of that image, and of no other with the same layers.
fn is_proven_for_container(before: &World, after: &World) -> bool {
    let [before_inventory, after_inventory] = [before, after].map(World::inventory);
    let namespace = World::NAMESPACE.parse().unwrap();
    let (was, is) = (
        &before_inventory.namespaces[&namespace],
        &after_inventory.namespaces[&namespace],
    );
    let configs = after.documents.values().filter_map(|it| match it {
        Document::Config(config) => config.chain_id.clone(),
        Document::Index(_) | Document::Manifest(_) | Document::Torn(_) | Document::NotRead(_) => {
            None
        }
    });
    let chains: BTreeSet<Digest> = configs.collect();
    let mut containers = is.containers.iter().chain(&after.registered);
    containers.any(|container| {
        chains.iter().any(|chain| {
            is_proven(&after_inventory, is, &[container], chain)
                && !is_proven(&before_inventory, was, &[container], chain)
        })
    })
}

/// Every image that stayed still does, or another name of its target does so in its place; and
/// what could be read still can.
fn harms_nothing(
    before: &Outcome,
    after: &Outcome,
    is_explained: bool,
    is_proven: bool,
) -> Result<(), TestCaseError> {
    let kept = before.plan.kept.iter();
    let kept = kept.filter(|it| !is_explained || it.reason != KeepReason::UsageUnknown);
    for kept in kept.filter(|it| !is_proven || it.reason != KeepReason::InUse) {
        let stays = after.plan.kept.iter().find(|it| it.name == kept.name);
        if let Some(stays) = stays {
            let is_unreadable = |reason| reason == KeepReason::Unreadable;
            prop_assert_eq!(is_unreadable(kept.reason), is_unreadable(stays.reason));
            continue;
        }
        let mut steps = after.plan.steps.iter();
        let step = steps.find(|it| it.image.name == kept.name).unwrap();
        prop_assert_eq!(step.reason, RemoveReason::Duplicate, "{:?}", kept);
        prop_assert!(after.plan.kept.iter().any(|it| it.target == kept.target));
    }
    Ok(())
}

proptest! {
    #[test]
    fn no_image_turns_the_keep_of_another_into_a_removal(
        scene in scenes(),
        hostile in hostile(),
        label in prop::option::of(prop_oneof![Just("team"), Just("absent")]),
        is_negated in any::<bool>(),
    ) {
        let mut world = scene.world();
        let labels = label.map(|label| LabelFilter::parse(!is_negated, label).unwrap());
        let filters = PruneFilters { labels: labels.into_iter().collect(), ..all() };
        let before = world.prune_by(filters.clone());
        let is_explained = is_named_by_container(&world, &hostile);
        let world_before = world.clone();
        hostile.write(&mut world);
        let is_proven = is_proven_for_container(&world_before, &world);
        harms_nothing(&before, &world.prune_by(filters), is_explained, is_proven)?;
    }
}
