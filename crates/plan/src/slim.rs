//! Which parts of images can be freed while their records stay.
//!
//! # Never both copies
//!
//! A layer exists twice: compressed, as a blob, and unpacked, as a snapshot. The rules propose cuts
//! that free one of them. Then every record that keeps a blob which loses a reference is looked at as
//! the collector would see it, with nothing else that holds: what it could be started from before, it
//! can be started from after, except platforms that go whole, while another one stays. What a lease or
//! a hold keeps for a while does not count. If a record fails, the cuts of its blobs are dropped.
//!
//! # Only what frees something
//!
//! A cut whose target stays, because another image or a lease refers to it, is dropped. It would take
//! something from this image and free nothing.

mod held;
pub(crate) mod manifests;
mod mirror;
mod platforms;
mod refusals;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use reclaim_model::{
    Container, Cut, CutTarget, Digest, Gap, GcRef, Holder, HolderKind, ImageParts, Inventory,
    KeepReason, Named, NamedRemoval, Part, PruneFilters, ResolvedRequest, Selection, Slimmed,
    SnapshotId, SnapshotKind,
};

use crate::cuts::{is_plain, references, useful};
use crate::facts::Facts;
use crate::graph::{Node, NodeId};

use crate::history;
use crate::mark::Edge;
use crate::named::{group, ids_of_targets, matching};
use crate::protected;
use crate::roles::Roles;
use crate::rule::{Conditions, PartRules};
use crate::select::{Verdict, select};
use crate::targets::TargetsByDigest;
use manifests::{Held, Manifest, is_complete, manifests};

/// Parts of images to free.
#[derive(Debug)]
pub(crate) struct PartsRequest<'r> {
    parts: Cow<'r, ImageParts<PruneFilters>>,
    /// The conditions of the request, or of the policy that frees them.
    conditions: Option<Conditions<'r>>,
}

impl<'r> From<&'r ImageParts<PruneFilters>> for PartsRequest<'r> {
    fn from(parts: &'r ImageParts<PruneFilters>) -> Self {
        Self {
            parts: Cow::Borrowed(parts),
            conditions: None,
        }
    }
}

impl<'r> PartsRequest<'r> {
    /// Returns the parts that a request frees; `None` if it removes images.
    pub(crate) fn of(request: &'r ResolvedRequest) -> Option<Self> {
        match &request.selection {
            Selection::Parts(parts) => Some(Self {
                conditions: request.conditions.as_ref().map(Into::into),
                ..parts.into()
            }),
            Selection::Rule(images) => Some(Self {
                parts: Cow::Owned(images.parts()?),
                conditions: Some((&**images).into()),
            }),
            Selection::Filters(_) | Selection::Named(_) | Selection::Project(_) => None,
        }
    }
}

/// The result for every image.
#[derive(Debug, Default)]
pub(crate) struct Slim {
    /// Sorted.
    pub(crate) cuts: Vec<Cut>,
    /// The images that lose parts, by index.
    pub(crate) slimmed: BTreeMap<usize, Slimmed>,
    /// Why each of the others stays as it is, by index.
    pub(crate) kept: BTreeMap<usize, (KeepReason, BTreeSet<Holder>)>,
    /// The result for each name of the request.
    pub(crate) named: Vec<Named>,
}

/// Evaluates every image of a namespace.
pub(crate) fn slim(
    inventory: &Inventory,
    facts: &Facts<'_>,
    registered: &[Container],
    roles: &Roles<'_>,
    request: &PartsRequest<'_>,
) -> Slim {
    let evaluated = Evaluated::new(facts, &request.parts.filters);
    let scene = Scene {
        inventory,
        facts,
        registered,
        roles,
    };
    let (planner, named) = planned(&scene, request, &evaluated);
    planner.finish(named)
}

/// Returns only the cuts, sorted.
pub(crate) fn cuts<'a>(
    scene: &Scene<'_, 'a>,
    request: &PartsRequest<'_>,
    evaluated: &Evaluated<'a>,
) -> Vec<Cut> {
    let (planner, _) = planned(scene, request, evaluated);
    planner.cuts.into_iter().collect()
}

/// One namespace, and what is known of it.
pub(crate) struct Scene<'p, 'a> {
    pub(crate) inventory: &'p Inventory,
    pub(crate) facts: &'p Facts<'a>,
    pub(crate) registered: &'p [Container],
    pub(crate) roles: &'p Roles<'a>,
}

/// What does not depend on the parts that a request frees.
pub(crate) struct Evaluated<'a> {
    /// Those of a prune of all unused images with the filters of the request.
    verdicts: Vec<Verdict>,
    by_identity: TargetsByDigest<'a>,
    manifests: Vec<Manifest<'a>>,
}

impl<'a> Evaluated<'a> {
    pub(crate) fn new(facts: &Facts<'a>, filters: &PruneFilters) -> Self {
        Self {
            verdicts: select(facts, filters),
            by_identity: TargetsByDigest::by_identity(&facts.targets),
            manifests: manifests(&facts.graph, facts.documents),
        }
    }
}

fn planned<'p, 'a>(
    scene: &Scene<'p, 'a>,
    request: &'p PartsRequest<'_>,
    evaluated: &'p Evaluated<'a>,
) -> (Planner<'p, 'a>, Vec<Named>) {
    let Scene {
        inventory,
        facts,
        registered,
        roles,
    } = *scene;
    let PartsRequest {
        parts: request,
        conditions,
    } = request;
    let (selected, named) = selected(facts, request);
    let mut planner = Planner {
        facts,
        registered,
        roles,
        request,
        verdicts: &evaluated.verdicts,
        rule: conditions.map(|conditions| PartRules::new(facts, conditions)),
        by_identity: &evaluated.by_identity,
        manifests: &evaluated.manifests,
        selected,
        refusals: BTreeMap::new(),
        cuts: BTreeSet::new(),
    };
    if request.parts.contains(&Part::Snapshots) {
        planner.propose_snapshots(inventory);
    }
    if request.parts.contains(&Part::Layers) {
        planner.propose_layers();
    }
    if request.parts.contains(&Part::Platforms) {
        planner.propose_platforms();
    }
    planner.drop_unsafe();
    if request.parts.contains(&Part::BuildHistory) {
        let history = history::cuts(inventory, &facts.graph);
        planner.cuts.extend(history);
    }
    planner.drop_useless(inventory);
    (planner, named)
}

/// Returns which images the request is about, and the result for each name.
fn selected(facts: &Facts<'_>, request: &ImageParts<PruneFilters>) -> (Vec<bool>, Vec<Named>) {
    let images = &facts.graph.namespace.images;
    if request.names.is_empty() {
        return (vec![true; images.len()], Vec::new());
    }
    let ids = ids_of_targets(facts);
    let mut selected = vec![false; images.len()];
    let named = request.names.iter().map(|name| {
        let found = group(images, |prefix| matching(&ids, prefix), name);
        let found = found.map(|group| {
            for image in group {
                selected[image] = true;
            }
            NamedRemoval::default()
        });
        Named::new(name, found)
    });
    let named = named.collect();
    (selected, named)
}

type Refusal = (KeepReason, BTreeSet<Holder>);

struct Planner<'p, 'a> {
    facts: &'p Facts<'a>,
    registered: &'p [Container],
    roles: &'p Roles<'a>,
    request: &'p ImageParts<PruneFilters>,
    /// Those of a prune of all unused images with the same filters.
    verdicts: &'p [Verdict],
    /// What the conditions keep.
    rule: Option<PartRules<'p, 'a>>,
    by_identity: &'p TargetsByDigest<'a>,
    manifests: &'p [Manifest<'a>],
    selected: Vec<bool>,
    /// By index of the image: the first reason why a part of it stays.
    refusals: BTreeMap<usize, Refusal>,
    cuts: BTreeSet<Cut>,
}

impl Planner<'_, '_> {
    /// Returns the images that have a document, by index.
    fn images_with(&self, digest: &Digest) -> Vec<usize> {
        let targets = self.by_identity.get(digest);
        let images = targets.flat_map(|id| self.facts.targets.get(id).images.iter());
        let mut images: Vec<usize> = images.copied().collect();
        images.sort_unstable();
        images.dedup();
        images
    }

    fn refuse(&mut self, images: &[usize], reason: KeepReason, holders: &BTreeSet<Holder>) {
        for image in images {
            let refusal = || (reason, holders.clone());
            self.refusals.entry(*image).or_insert_with(refusal);
        }
    }

    /// Refuses a part that all of these images share if one of them must keep it. Returns whether
    /// none must.
    fn allows(&mut self, images: &[usize], why: impl Fn(&Self, usize) -> Option<Refusal>) -> bool {
        let refusals = images.iter().map(|image| (*image, why(self, *image)));
        let refusals: Vec<(usize, Option<Refusal>)> = refusals.collect();
        let first = refusals.iter().find(|(_, refusal)| refusal.is_some());
        let Some((first, _)) = first else {
            return true;
        };
        let first = &self.facts.graph.namespace.images[*first].name;
        let shared = BTreeSet::from([Holder::new(HolderKind::Image, first.clone())]);
        for (image, refusal) in &refusals {
            match refusal {
                Some((reason, holders)) => self.refuse(&[*image], *reason, holders),
                None => self.refuse(&[*image], KeepReason::SharedPart, &shared),
            }
        }
        false
    }

    /// Proposes to cut what was unpacked of images that nothing uses.
    fn propose_snapshots(&mut self, inventory: &Inventory) {
        let by_config = self.by_config();
        let held = self.held_without_image(inventory, &by_config);
        for (digest, manifests) in by_config {
            let labels = self.snapshot_labels(manifests[0]);
            let images = self.images_with(digest);
            if labels.is_empty() || !images.iter().any(|image| self.selected[*image]) {
                continue;
            }
            if !self.allows(&images, Self::needs_snapshots) {
                continue;
            }
            if held.contains(digest) {
                self.refuse(&images, KeepReason::SharedPart, &BTreeSet::new());
                continue;
            }
            let blobs = self.facts.graph.blobs();
            let layers = manifests.iter().flat_map(|manifest| manifest.layers);
            if !blobs.contains_all(layers.map(|layer| &layer.digest)) {
                self.refuse(&images, KeepReason::LayersMissing, &BTreeSet::new());
                continue;
            }
            self.cuts.extend(labels.into_iter().map(|id| Cut {
                part: Part::Snapshots,
                blob: digest.clone(),
                target: CutTarget::Snapshot(id),
            }));
        }
    }

    /// Proposes to cut the layers of images that are unpacked.
    fn propose_layers(&mut self) {
        let snapshotters = self.snapshotters();
        let packed: BTreeSet<Digest> = self.cuts.iter().map(|cut| cut.blob.clone()).collect();
        let manifests = self.manifests.iter().filter(|it| it.is_image());
        for manifest in manifests.copied().collect::<Vec<_>>() {
            let images = self.images_with(manifest.digest);
            if !images.iter().any(|image| self.selected[*image]) {
                continue;
            }
            let edges = self.layer_labels(manifest);
            if edges.is_empty() {
                continue;
            }
            // Its layers are the only copy once its snapshots are gone.
            let is_packed = packed.contains(manifest.config_digest);
            if is_packed || !self.allows(&images, Self::needs_layers) {
                continue;
            }
            if !self.allows_content(&images) {
                continue;
            }
            let unpacked = self.snapshot_labels(manifest).into_iter();
            let unpacked = unpacked.filter(|id| is_complete(&self.facts.graph, id, manifest));
            let unpacked: BTreeSet<String> =
                unpacked.map(|id| id.snapshotter.to_string()).collect();
            let is_unpacked = snapshotters
                .as_ref()
                .is_some_and(|all| !unpacked.is_empty() && all.is_subset(&unpacked));
            if !is_unpacked {
                self.refuse(&images, KeepReason::NotUnpacked, &BTreeSet::new());
                continue;
            }
            self.cuts.extend(edges);
        }
    }

    /// Returns the snapshots that the configuration's labels call its chain. None if other labels
    /// steer the collection of the configuration.
    fn snapshot_labels(&self, manifest: Manifest<'_>) -> Vec<SnapshotId> {
        let graph = &self.facts.graph;
        let Some(config) = graph.blobs().find(manifest.config_digest) else {
            return Vec::new();
        };
        let labels = &graph.blob(config).gc;
        let chain = manifest.chain().map(ToString::to_string);
        let ids = labels.refs.iter().filter_map(|reference| {
            let GcRef::Snapshot(id) = reference else {
                return None;
            };
            (Some(&*id.key) == chain.as_deref()).then(|| id.clone())
        });
        if is_plain(labels) {
            ids.filter(|id| graph.find_snapshot(id).is_some()).collect()
        } else {
            Vec::new()
        }
    }

    /// Returns the cuts of the labels by which a manifest keeps its layers.
    fn layer_labels(&self, manifest: Manifest<'_>) -> Vec<Cut> {
        let graph = &self.facts.graph;
        let Some(at) = graph.blobs().find(manifest.digest) else {
            return Vec::new();
        };
        let labels = &graph.blob(at).gc;
        let layers: BTreeSet<&Digest> = manifest.layers.iter().map(|it| &it.digest).collect();
        let mut cuts: Vec<Cut> = Vec::new();
        for reference in labels.refs.iter().filter(|_| is_plain(labels)) {
            let GcRef::Content(digest) = reference else {
                continue;
            };
            let is_layer = layers.contains(digest) && digest != manifest.config_digest;
            if is_layer && graph.blobs().contains(digest) {
                cuts.push(Cut {
                    part: Part::Layers,
                    blob: manifest.digest.clone(),
                    target: CutTarget::Content {
                        digest: digest.clone(),
                    },
                });
            }
        }
        cuts.dedup();
        cuts
    }

    /// Returns the snapshotters that have unpacked layers here; `None` if one does not answer. Any of
    /// them may be the one that an engine uses for the next container.
    fn snapshotters(&self) -> Option<BTreeSet<String>> {
        let namespace = self.facts.graph.namespace;
        let is_silent = |gap: &Gap| {
            matches!(
                gap,
                Gap::Snapshotter {
                    is_configured: true,
                    ..
                }
            )
        };
        if namespace.gaps.iter().any(is_silent) {
            return None;
        }
        let lists = namespace.snapshots.iter();
        let used = lists.filter(|(_, snapshots)| {
            let mut kinds = snapshots.iter().map(|it| it.kind);
            kinds.any(|kind| kind == SnapshotKind::Committed)
        });
        Some(used.map(|(name, _)| name.to_string()).collect())
    }

    /// Drops the cuts by which an image would lose the last copy of a layer.
    fn drop_unsafe(&mut self) {
        while !self.cuts.is_empty() {
            let unsafe_blobs = self.unsafe_blobs();
            if unsafe_blobs.is_empty() {
                return;
            }
            for blob in &unsafe_blobs {
                let images = self.images_with(blob);
                self.refuse(&images, KeepReason::NotUnpacked, &BTreeSet::new());
            }
            self.cuts.retain(|cut| !unsafe_blobs.contains(&cut.blob));
        }
    }

    /// Returns the blobs that lose references in images that could be started from what their records
    /// keep, and could not after the cuts.
    fn unsafe_blobs(&self) -> BTreeSet<Digest> {
        let graph = &self.facts.graph;
        let severed: BTreeSet<Edge> = references(graph, &self.cuts).into_iter().collect();
        let going: BTreeSet<&Digest> = self.cuts.iter().filter_map(Cut::platform).collect();
        let mut manifests = vec![None; graph.namespace.blobs.len()];
        for manifest in self.manifests {
            if let Some(node) = graph.find_blob(manifest.digest) {
                manifests[node as usize] = Some(manifest);
            }
        }
        let mut is_cut = vec![false; graph.namespace.blobs.len()];
        for cut in &self.cuts {
            if let Some(node) = graph.find_blob(&cut.blob) {
                is_cut[node as usize] = true;
            }
        }
        let [mut held_before, mut held_after] = [Held::new(graph), Held::new(graph)];
        let mut found = BTreeSet::new();
        for image in 0..graph.namespace.images.len() {
            held_before.follow(image, |_| false);
            let blobs = || held_before.blobs();
            let cut = blobs().filter(|(_, at)| is_cut[*at]);
            let cut: Vec<NodeId> = cut.map(|(node, _)| node).collect();
            if cut.is_empty() {
                continue;
            }
            held_after.follow(image, |edge| severed.contains(&edge));
            let mut manifests = blobs().filter_map(|(_, at)| manifests[at]);
            // A platform that goes loses both copies; another one stays.
            let stays =
                |it: &&Manifest<'_>| held_before.has_copy(**it) && !going.contains(it.digest);
            let before: Vec<&Manifest<'_>> = manifests.clone().filter(stays).collect();
            let was_startable = manifests.any(|it| held_before.has_copy(*it));
            let loses_any = before.iter().any(|it| !held_after.has_copy(**it));
            if loses_any || was_startable && before.is_empty() {
                found.extend(cut);
            }
        }
        let blobs = found.into_iter().filter_map(|node| match graph.node(node) {
            Node::Blob(index) => Some(graph.blob(index).digest.clone()),
            Node::Snapshot(_) | Node::Image(_) | Node::Container(_) | Node::Absent => None,
        });
        blobs.collect()
    }

    /// Drops the cuts whose target stays, or is garbage already.
    fn drop_useless(&mut self, inventory: &Inventory) {
        if self.cuts.is_empty() {
            return;
        }
        let cuts = std::mem::take(&mut self.cuts).into_iter().collect();
        self.cuts = useful(inventory, &self.facts.graph, cuts)
            .into_iter()
            .collect();
    }

    fn finish(self, named: Vec<Named>) -> Slim {
        let mut slim = Slim {
            named: self.with_missing_platforms(named),
            ..Slim::default()
        };
        let mut losing: BTreeMap<usize, BTreeMap<Part, Vec<Digest>>> = BTreeMap::new();
        for cut in &self.cuts {
            for image in self.images_with(&cut.blob) {
                let blobs = losing.entry(image).or_default();
                let blobs = blobs.entry(cut.part).or_default();
                if blobs.last() != Some(&cut.blob) {
                    blobs.push(cut.blob.clone());
                }
            }
        }
        for (index, image) in self.facts.graph.namespace.images.iter().enumerate() {
            if let Some(parts) = losing.remove(&index) {
                let slimmed = Slimmed {
                    name: image.name.clone(),
                    target: image.target.digest.clone(),
                    parts,
                    lifted: protected::lifted(self.facts, index),
                };
                slim.slimmed.insert(index, slimmed);
                continue;
            }
            let kept = if self.selected[index] {
                let refusal = self.refusals.get(&index).cloned();
                refusal.or_else(|| self.not_evaluated(index))
            } else {
                Some((KeepReason::NotNamed, BTreeSet::new()))
            };
            let nothing = || (KeepReason::NothingToFree, BTreeSet::new());
            slim.kept.insert(index, kept.unwrap_or_else(nothing));
        }
        slim.cuts = self.cuts.into_iter().collect();
        slim
    }

    /// Returns why an image with nothing to free was not evaluated: a filter spares it, or it cannot be
    /// read.
    fn not_evaluated(&self, image: usize) -> Option<Refusal> {
        match &self.verdicts[image] {
            Verdict::Keep(
                reason @ (KeepReason::NotDangling
                | KeepReason::TooRecent
                | KeepReason::LabelFilter
                | KeepReason::Unreadable),
                holders,
            ) => Some((*reason, holders.clone())),
            Verdict::Keep(_, _) | Verdict::Remove(_) => None,
        }
    }
}
