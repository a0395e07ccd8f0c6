//! containerd's garbage collector, as a direct translation of its source.
//!
//! Keys are texts as in containerd, and a set of nodes grows until nothing is added. It is slow and
//! simple on purpose: tests compare the graph of `reclaim-plan` with it, and it with containerd.
//!
//! Source: containerd `metadata/gc.go` of 1.6 and 1.7, `core/metadata/gc.go` of 2.0 to 2.3:
//! `scanRoots`, `references` and `sendLabelRefs`.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use reclaim_model::{CollectorRules, GcLabels};

use crate::events::Event;
use crate::state::{Lease, Namespace, State, has_expired};

/// The kind of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A blob, by digest.
    Content,
    /// A snapshot, by `snapshotter/key`.
    Snapshot,
    /// An image record, by name.
    Image,
    /// A container record, by ID.
    Container,
}

/// A node of the collector's graph: a kind and a key.
pub type Node = (Kind, String);

/// A node, and whether its labels are not followed.
type Reached = (Kind, String, bool);

/// Labels as pairs.
type Pairs<'a> = Vec<(&'a str, &'a str)>;

/// Returns the nodes that a collection keeps in a namespace at a time, without the images in
/// `without`. They may name objects that do not exist.
pub fn closure(
    namespace: &Namespace,
    rules: CollectorRules,
    now: Timestamp,
    without: &BTreeSet<String>,
) -> BTreeSet<Node> {
    let collector = Collector {
        namespace,
        rules,
        now,
        without,
    };
    let attached = collector.attached();
    let mut reached: BTreeSet<Reached> = BTreeSet::new();
    let mut queue = collector.roots();
    while let Some(node) = queue.pop() {
        if reached.insert(node.clone()) {
            queue.extend(attached.get(&node).into_iter().flatten().cloned());
            queue.extend(collector.references(&node));
        }
    }
    reached
        .into_iter()
        .map(|(kind, key, _)| (kind, key))
        .collect()
}

impl State {
    /// Collects in one pass as containerd does: expired leases and images, then content and snapshots
    /// that nothing holds.
    pub fn collect(&mut self, now: Timestamp) {
        self.collections += 1;
        let rules = self.rules();
        let names: Vec<String> = self.namespaces.keys().cloned().collect();
        for name in names {
            self.collect_namespace(&name, rules, now);
        }
        let held: BTreeSet<&String> = self
            .namespaces
            .values()
            .flat_map(|namespace| namespace.content.keys())
            .collect();
        self.bodies.retain(|digest, _| held.contains(digest));
    }

    fn collect_namespace(&mut self, name: &str, rules: CollectorRules, now: Timestamp) {
        let Some(space) = self.namespaces.get_mut(name) else {
            return;
        };
        let kept = closure(space, rules, now, &BTreeSet::new());
        let keeps = |kind: Kind, key: &String| kept.contains(&(kind, key.clone()));
        space
            .leases
            .retain(|_, lease| !has_expired(&lease.message.labels, now));
        if rules >= CollectorRules::V2_0 {
            let events = &mut self.events;
            space.images.retain(|image, _| {
                let is_kept = keeps(Kind::Image, image);
                if !is_kept {
                    events.push(Event::image_deleted(name, image));
                }
                is_kept
            });
        }
        space
            .content
            .retain(|digest, _| keeps(Kind::Content, digest));
        let has_events = !self.version.trim_start_matches('v').starts_with("1.6.");
        let events = &mut self.events;
        space.snapshots.retain(|(snapshotter, key), _| {
            let is_kept = kept.contains(&(Kind::Snapshot, format!("{snapshotter}/{key}")));
            if !is_kept && has_events {
                events.push(Event::snapshot_removed(name, key));
            }
            is_kept
        });
    }
}

struct Collector<'a> {
    namespace: &'a Namespace,
    rules: CollectorRules,
    now: Timestamp,
    without: &'a BTreeSet<String>,
}

impl Collector<'_> {
    fn roots(&self) -> Vec<Reached> {
        let mut roots = Vec::new();
        for lease in self.namespace.leases.values() {
            roots.extend(self.leased(lease));
        }
        for (name, image) in &self.namespace.images {
            let is_gone =
                self.rules >= CollectorRules::V2_0 && has_expired(&image.labels, self.now);
            if !is_gone && !self.without.contains(name) {
                roots.push((Kind::Image, name.clone(), false));
            }
        }
        for (digest, blob) in &self.namespace.content {
            if self.is_root(&pairs(&blob.labels)) {
                roots.push((Kind::Content, digest.clone(), false));
            }
        }
        for ((snapshotter, key), snapshot) in &self.namespace.snapshots {
            if self.is_root(&pairs(&snapshot.info.labels)) {
                roots.push((Kind::Snapshot, format!("{snapshotter}/{key}"), false));
            }
        }
        for id in self.namespace.containers.keys() {
            roots.push((Kind::Container, id.clone(), false));
        }
        // 1.7 stores sandboxes where its collector does not read them: in
        // `<namespace>/sandboxes`, not in `v1/<namespace>/sandboxes` (metadata/buckets.go).
        let sandboxes = self.namespace.sandboxes.values();
        for labels in sandboxes.filter(|_| self.rules >= CollectorRules::V2_0) {
            roots.extend(self.label_references(&pairs(labels)));
        }
        roots
    }

    /// Returns the nodes that a lease holds, unless it has expired.
    fn leased(&self, lease: &Lease) -> Vec<Reached> {
        if has_expired(&lease.message.labels, self.now) {
            return Vec::new();
        }
        let is_flat = lease.message.labels.contains_key(reclaim_model::FLAT);
        let node = |(kind, id): &(String, String)| {
            if kind == "content" {
                Some((Kind::Content, id.clone(), is_flat))
            } else if kind == "images" {
                Some((Kind::Image, id.clone(), is_flat))
            } else {
                let snapshotter = kind.strip_prefix("snapshots/")?;
                Some((Kind::Snapshot, format!("{snapshotter}/{id}"), is_flat))
            }
        };
        lease.resources.iter().filter_map(node).collect()
    }

    fn is_root(&self, labels: &Pairs<'_>) -> bool {
        let root = "containerd.io/gc.root";
        let by_prefix = self.rules >= CollectorRules::V2_2;
        let mut keys = labels.iter().map(|(key, _)| key);
        keys.any(|key| *key == root || by_prefix && key.starts_with(root))
    }

    fn references(&self, (kind, key, is_flat): &Reached) -> Vec<Reached> {
        let mut references = Vec::new();
        let labels = match kind {
            Kind::Content => {
                let blob = self.namespace.content.get(key);
                blob.map(|blob| pairs(&blob.labels))
            }
            Kind::Snapshot => {
                let (snapshotter, name) = key.split_once('/').unwrap_or_default();
                let id = (snapshotter.to_owned(), name.to_owned());
                self.namespace.snapshots.get(&id).map(|snapshot| {
                    let parent = &snapshot.info.parent;
                    if !parent.is_empty() {
                        let parent = format!("{snapshotter}/{parent}");
                        references.push((Kind::Snapshot, parent, *is_flat));
                    }
                    pairs(&snapshot.info.labels)
                })
            }
            Kind::Image if self.without.contains(key) => None,
            Kind::Image => self.namespace.images.get(key).map(|image| {
                let target = image.target.as_ref();
                references
                    .extend(target.map(|target| (Kind::Content, target.digest.clone(), *is_flat)));
                pairs(&image.labels)
            }),
            Kind::Container => self.namespace.containers.get(key).map(|container| {
                let (snapshotter, name) = (&container.snapshotter, &container.snapshot_key);
                if !snapshotter.is_empty() && !name.is_empty() {
                    references.push((Kind::Snapshot, format!("{snapshotter}/{name}"), false));
                }
                pairs(&container.labels)
            }),
        };
        if let Some(labels) = labels.filter(|_| !is_flat) {
            references.extend(self.label_references(&labels));
        }
        references
    }

    fn label_references(&self, labels: &Pairs<'_>) -> Vec<Reached> {
        let is_followed = |kind: Kind| match kind {
            Kind::Content | Kind::Snapshot => true,
            Kind::Image => self.rules >= CollectorRules::V2_0,
            Kind::Container => false,
        };
        named_by(labels, "containerd.io/gc.ref.")
            .into_iter()
            .filter(|(kind, _, _)| is_followed(*kind))
            .collect()
    }

    /// Returns the nodes attached to each node by back references and conditional references.
    fn attached(&self) -> BTreeMap<Reached, Vec<Reached>> {
        let mut attached: BTreeMap<Reached, Vec<Reached>> = BTreeMap::new();
        if self.rules < CollectorRules::V2_2 {
            return attached;
        }
        for (child, labels) in self.labelled() {
            for parent in named_by(&labels, "containerd.io/gc.bref.") {
                attached.entry(parent).or_default().push(child.clone());
            }
            if self.rules >= CollectorRules::V2_3 && matches!(child.0, Kind::Content | Kind::Image)
            {
                let children = self.conditional(&labels);
                attached.entry(child).or_default().extend(children);
            }
        }
        attached
    }

    fn labelled(&self) -> Vec<(Reached, Pairs<'_>)> {
        let images = self
            .namespace
            .images
            .iter()
            .filter(|(name, _)| !self.without.contains(*name));
        let node = |kind, key: &str| (kind, key.to_owned(), false);
        let mut labelled: Vec<(Reached, Pairs<'_>)> = Vec::new();
        labelled
            .extend(images.map(|(name, image)| (node(Kind::Image, name), pairs(&image.labels))));
        let blobs = self.namespace.content.iter();
        labelled.extend(blobs.map(|(key, blob)| (node(Kind::Content, key), pairs(&blob.labels))));
        let snapshots = self.namespace.snapshots.iter();
        labelled.extend(snapshots.map(|((snapshotter, key), snapshot)| {
            let key = format!("{snapshotter}/{key}");
            (node(Kind::Snapshot, &key), pairs(&snapshot.info.labels))
        }));
        labelled
    }

    /// Returns the snapshots of conditional references whose condition is met.
    fn conditional(&self, labels: &Pairs<'_>) -> Vec<Reached> {
        let labels = GcLabels::parse(labels.iter().copied());
        let Some(conditional) = &labels.conditional else {
            return Vec::new();
        };
        let references = conditional.refs.iter().filter_map(|reference| {
            let id = &reference.snapshot;
            let id = (id.snapshotter.to_string(), id.key.to_string());
            let snapshot = self.namespace.snapshots.get(&id)?;
            let labels = GcLabels::parse(pairs(&snapshot.info.labels));
            let mut times = labels.conditional.as_ref()?.used_at.iter();
            let is_met = times.any(|used_at| reference.condition.is_met(*used_at, self.now));
            is_met.then(|| (Kind::Snapshot, format!("{}/{}", id.0, id.1), false))
        });
        references.collect()
    }
}

/// Returns labels as sorted pairs: the maps of messages have no order.
fn pairs<'a, M>(labels: &'a M) -> Pairs<'a>
where
    &'a M: IntoIterator<Item = (&'a String, &'a String)>,
{
    let labels = labels.into_iter();
    let mut pairs: Pairs<'a> = labels.map(|(key, value)| (&**key, &**value)).collect();
    pairs.sort_unstable();
    pairs
}

/// Returns the nodes that labels with a prefix name.
fn named_by(labels: &Pairs<'_>, prefix: &str) -> Vec<Reached> {
    let node = |(label, value): &(&str, &str)| {
        let kind = label.strip_prefix(prefix)?;
        if let Some(named) = kind.strip_prefix("snapshot.") {
            let snapshotter = named.split('/').next()?;
            return Some((Kind::Snapshot, format!("{snapshotter}/{value}"), false));
        }
        let kinds = [
            ("content", Kind::Content),
            ("image", Kind::Image),
            ("container", Kind::Container),
        ];
        kinds.into_iter().find_map(|(name, found)| {
            let suffix = kind.strip_prefix(name)?;
            let is_match = suffix.is_empty() || suffix.starts_with(['.', '/']);
            is_match.then(|| (found, (*value).to_owned(), false))
        })
    };
    labels.iter().filter_map(node).collect()
}
