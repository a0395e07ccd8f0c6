//! Why a thing is there: every holder, and the shortest reference path from each to the thing.
//!
//! # Two kinds of paths
//!
//! The collector decides what keeps a blob or a snapshot: these paths follow its references.
//! Reclaim decides what uses an image: a container names it, or is based on a snapshot that the
//! image's configuration implies, which the collector does not connect with the image. Such a
//! path follows the collector's references to a part of the image, and from there up through
//! config, manifest and index. A holder without a path names the image itself.
//!
//! # Cost
//!
//! One search backwards from the thing, however many holders it has.

mod paths;
mod subject;

use std::collections::BTreeSet;

use jiff::Timestamp;
use reclaim_model::{
    Answer, Container, Holder, HolderKind, HolderPath, HolderRole, ImageVerdict, Inventory, Link,
    Namespace, Outlook, PruneVerdicts, ReferenceKind, Thing, ThingKind,
};

use crate::dependents::{Dependents, unheld};
use crate::facts::Facts;
use crate::graph::{Graph, Node, NodeId};
use crate::holdings::{Hold, holdings};
use crate::image_mounts;
use crate::mark::is_root_image;
use crate::roles::Roles;
use crate::select::{Verdict, select_dangling, select_unused};

use paths::{ReferencePaths, image_seeds, link, node_seed};
pub use subject::{NotFound, Question};
use subject::{Subject, find};

/// Answers about everything that the text of the question means: images first, then content,
/// then snapshots. It is rarely more than one thing.
///
/// # Errors
///
/// [`NotFound`] if it means nothing, or is ambiguous.
pub fn why(question: &Question<'_>) -> Result<Vec<Answer>, NotFound> {
    let subjects = find(question)?;
    Ok(subjects.iter().map(|it| answer(question, it)).collect())
}

fn answer(question: &Question<'_>, subject: &Subject) -> Answer {
    let inventory = question.inventory;
    let mut held = Vec::new();
    let mut verdicts = None;
    let mut dependence = Dependence::default();
    let mut warnings = Vec::new();
    for (name, namespace) in &inventory.namespaces {
        if !subject.is_in(name, namespace) {
            continue;
        }
        let registered = question.registered.get(name).map_or(&[][..], Vec::as_slice);
        let facts = Facts::new(inventory, namespace, registered);
        let search = NamespaceSearch {
            name,
            inventory,
            registered,
            all: select_unused(&facts),
            roles: Roles::new(namespace, registered),
            facts,
        };
        match subject {
            Subject::Image { index, .. } => {
                held.extend(search.users(*index));
                dependence = search.dependence(*index);
                let plain = select_dangling(&search.facts);
                verdicts = Some(PruneVerdicts {
                    prune: search.verdict(&plain[*index]),
                    prune_all: search.verdict(&search.all[*index]),
                });
            }
            Subject::Blob { digest, .. } => {
                let id = search.facts.graph.find_blob(digest);
                held.extend(id.into_iter().flat_map(|id| search.holders(id)));
            }
            Subject::Snapshot { id, .. } => {
                let id = search.facts.graph.find_snapshot(id);
                held.extend(id.into_iter().flat_map(|id| search.holders(id)));
            }
        }
        let gaps = namespace.gaps.iter();
        warnings.extend(gaps.map(|gap| format!("namespace `{name}`: {gap}")));
    }
    let leaked = held
        .iter()
        .filter(|it| it.holder.role == Some(HolderRole::LeakedImageMount));
    warnings.extend(leaked.filter_map(|it| {
        let (snapshotter, key) = it.holder.id.split_once('/')?;
        Some(image_mounts::warning(&it.namespace, snapshotter, key))
    }));
    held.sort_by(|a, b| {
        let rank = |it: &HolderPath| (it.namespace != *question.namespace, it.chain.len());
        let by_rank = rank(a).cmp(&rank(b));
        by_rank.then_with(|| (&a.namespace, &a.holder).cmp(&(&b.namespace, &b.holder)))
    });
    Answer {
        namespace: subject.namespace().clone(),
        thing: subject.thing(inventory),
        outlook: outlook(subject, inventory, &held, &dependence),
        holders: held,
        depends_on: dependence.depends_on,
        dependents: dependence.dependents,
        verdicts,
        warnings,
    }
}

/// What an image depends on, and what depends on it.
#[derive(Debug, Default)]
struct Dependence {
    depends_on: Vec<String>,
    dependents: Vec<String>,
    /// Whether nothing holds the record itself.
    is_unheld: bool,
}

fn outlook(
    subject: &Subject,
    inventory: &Inventory,
    held: &[HolderPath],
    dependence: &Dependence,
) -> Outlook {
    if let Subject::Image {
        namespace, index, ..
    } = subject
    {
        let namespace = &inventory.namespaces[namespace];
        let image = &namespace.images[*index];
        let is_root = is_root_image(image, inventory.rules, inventory.observed_at);
        return if dependence.is_unheld {
            Outlook::NextCollection
        } else if !held.is_empty() {
            Outlook::Held
        } else if is_root {
            Outlook::Unused
        } else {
            Outlook::Depends
        };
    }
    let last = held
        .iter()
        .max_by_key(|it| it.until.unwrap_or(Timestamp::MAX));
    match last {
        None => Outlook::NextCollection,
        Some(HolderPath {
            until: Some(until),
            holder,
            ..
        }) => Outlook::Expires {
            at: *until,
            holder: holder.clone(),
        },
        Some(_) => Outlook::Held,
    }
}

/// One namespace in which holders are searched.
struct NamespaceSearch<'a> {
    name: &'a Namespace,
    inventory: &'a Inventory,
    registered: &'a [Container],
    facts: Facts<'a>,
    all: Vec<Verdict>,
    roles: Roles<'a>,
}

impl NamespaceSearch<'_> {
    fn verdict(&self, verdict: &Verdict) -> ImageVerdict {
        match verdict {
            Verdict::Remove(reason) => ImageVerdict::Remove { reason: *reason },
            Verdict::Keep(reason, holders) => ImageVerdict::Keep {
                reason: *reason,
                holders: self.roles.assign(holders.iter().cloned()),
            },
        }
    }

    /// Returns what keeps a node, by the collector's rules.
    fn holders(&self, id: NodeId) -> Vec<HolderPath> {
        let graph = &self.facts.graph;
        let now = self.inventory.observed_at;
        let documents = &self.inventory.documents;
        let paths = ReferencePaths::search(graph, documents, vec![node_seed(graph, documents, id)]);
        let mut held = Vec::new();
        for holding in holdings(graph, now) {
            let roots = holding.roots.iter().map(|root| (*root, holding.hold));
            if let Some(chain) = paths.shortest(roots, first_reference(&holding.holder)) {
                held.push(self.held(holding.holder, chain));
            }
        }
        for (index, image) in graph.namespace.images.iter().enumerate() {
            let root = (graph.image(index), Hold::Deep);
            if is_root_image(image, graph.rules, now)
                && let Some(mut chain) = paths.shortest([root], ReferenceKind::Name)
            {
                // The image is the holder itself.
                chain.remove(0);
                let holder = Holder::new(HolderKind::Image, image.name.clone());
                held.push(HolderPath {
                    prune_all: Some(self.verdict(&self.all[index])),
                    ..self.held(holder, chain)
                });
            }
        }
        held
    }

    /// Returns which images keep an image, and which it keeps.
    fn dependence(&self, image: usize) -> Dependence {
        let graph = &self.facts.graph;
        let records = &graph.namespace.images;
        let names = |images: BTreeSet<usize>| {
            let names = images.into_iter().map(|index| records[index].name.clone());
            names.collect()
        };
        let is_unheld = unheld(graph).contains(&image);
        let Some(dependents) = Dependents::new(graph) else {
            return Dependence {
                is_unheld,
                ..Dependence::default()
            };
        };
        let depends_on = if records[image].expires.is_some() {
            dependents.leading_to(image)
        } else {
            BTreeSet::new()
        };
        let now = self.inventory.observed_at;
        Dependence {
            depends_on: names(depends_on),
            dependents: names(dependents.lost(&BTreeSet::from([image]), &[], now)),
            is_unheld,
        }
    }

    /// Returns what uses an image.
    fn users(&self, image: usize) -> Vec<HolderPath> {
        let graph = &self.facts.graph;
        let documents = &self.inventory.documents;
        let paths = ReferencePaths::search(graph, documents, image_seeds(graph, documents, image));
        let holdings = holdings(graph, self.inventory.observed_at);
        let users = self.facts.users_of(image).into_iter().map(|holder| {
            let own = holdings.iter().filter(|it| it.holder == holder);
            let roots = own.flat_map(|it| it.roots.iter().map(|root| (*root, it.hold)));
            let registered = self.registered.iter();
            let registered =
                registered.filter(|it| holder.kind == HolderKind::Container && it.id == holder.id);
            let stands_on = registered.filter_map(|it| graph.find_snapshot(it.snapshot.as_ref()?));
            let roots = roots.chain(stands_on.map(|id| (id, Hold::Deep)));
            let named = || {
                let image = Thing {
                    kind: ThingKind::Image,
                    id: graph.namespace.images[image].name.clone(),
                };
                vec![link(image, ReferenceKind::Name)]
            };
            let chain = paths.shortest(roots, first_reference(&holder));
            let chain = chain.unwrap_or_else(named);
            self.held(holder, chain)
        });
        users.collect()
    }

    fn held(&self, holder: Holder, mut chain: Vec<Link>) -> HolderPath {
        // A container is its own first node.
        let is_itself =
            |Link { thing, .. }: &Link| thing.kind == ThingKind::Container && thing.id == holder.id;
        if holder.kind == HolderKind::Container && chain.first().is_some_and(is_itself) {
            chain.remove(0);
        }
        HolderPath {
            namespace: self.name.clone(),
            until: until(&self.facts.graph, &holder),
            holder: self.roles.assigned(holder),
            chain,
            prune_all: None,
        }
    }
}

/// Returns how a holder keeps the first thing of its path.
fn first_reference(holder: &Holder) -> ReferenceKind {
    match holder.kind {
        HolderKind::Lease => ReferenceKind::Lease,
        HolderKind::Container => ReferenceKind::Container,
        HolderKind::Sandbox => ReferenceKind::Label,
        HolderKind::Content | HolderKind::Snapshot => ReferenceKind::Root,
        HolderKind::Image | HolderKind::Rule | HolderKind::Label | HolderKind::Snapshotter => {
            ReferenceKind::Name
        }
    }
}

/// Returns when a holder ceases to hold.
fn until(graph: &Graph<'_>, holder: &Holder) -> Option<Timestamp> {
    match holder.kind {
        HolderKind::Lease => {
            let mut leases = graph.namespace.leases.iter();
            leases.find(|lease| lease.id == holder.id)?.expires
        }
        HolderKind::Image => {
            let Node::Image(index) = graph.node(graph.find_image(&holder.id)?) else {
                return None;
            };
            // Before 2.0 images do not expire.
            let does_expire = graph.rules >= reclaim_model::CollectorRules::V2_0;
            graph.namespace.images[index]
                .expires
                .filter(|_| does_expire)
        }
        HolderKind::Container
        | HolderKind::Snapshot
        | HolderKind::Content
        | HolderKind::Sandbox
        | HolderKind::Rule
        | HolderKind::Label
        | HolderKind::Snapshotter => None,
    }
}
