//! What containerd's collector keeps: its source, line by line, without any cleverness.
//!
//! Keys are text as in containerd, and a set of nodes grows until it grows no more. Slow and plain
//! on purpose: the product's own graph is checked against this, and this against containerd.
//!
//! Source: containerd `metadata/gc.go` of 1.6 and 1.7, `core/metadata/gc.go` of 2.0 to 2.3:
//! `scanRoots`, `references` and `sendLabelRefs`.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use reclaim_model::{CollectorRules, GcLabels};

use crate::state::{Lease, Namespace, has_expired};

/// What a collector's node stands for.
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

/// A kind and a key.
pub type Node = (Kind, String);

/// A node, and whether it is kept without what its labels refer to.
type Reached = (Kind, String, bool);

/// Labels as pairs.
type Pairs<'a> = Vec<(&'a str, &'a str)>;

/// Returns what a collection keeps in a namespace at a moment if the images in `without` were
/// gone: kinds and keys, also of objects that do not exist.
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
    let nodes = reached.into_iter();
    nodes.map(|(kind, key, _)| (kind, key)).collect()
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
        // 1.7 has sandboxes, but writes them elsewhere than its collector reads: in
        // `<namespace>/sandboxes`, not in `v1/<namespace>/sandboxes` (metadata/buckets.go).
        let sandboxes = self.namespace.sandboxes.values();
        for labels in sandboxes.filter(|_| self.rules >= CollectorRules::V2_0) {
            roots.extend(self.label_references(&pairs(labels)));
        }
        roots
    }

    /// What a lease holds, if it has not expired.
    fn leased(&self, lease: &Lease) -> Vec<Reached> {
        if has_expired(&lease.message.labels, self.now) {
            return Vec::new();
        }
        let is_flat = lease.message.labels.contains_key(reclaim_model::FLAT);
        let nodes = lease.resources.iter().filter_map(|(kind, id)| {
            if kind == "content" {
                Some((Kind::Content, id.clone(), is_flat))
            } else if kind == "images" {
                Some((Kind::Image, id.clone(), is_flat))
            } else {
                let snapshotter = kind.strip_prefix("snapshots/")?;
                Some((Kind::Snapshot, format!("{snapshotter}/{id}"), is_flat))
            }
        });
        nodes.collect()
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
            Kind::Content => self.namespace.content.get(key).map(|it| pairs(&it.labels)),
            Kind::Snapshot => {
                let (snapshotter, name) = key.split_once('/').unwrap_or_default();
                let place = (snapshotter.to_owned(), name.to_owned());
                self.namespace.snapshots.get(&place).map(|snapshot| {
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
                let target = target.map(|it| (Kind::Content, it.digest.clone(), *is_flat));
                references.extend(target);
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
        let named = named_by(labels, "containerd.io/gc.ref.").into_iter();
        let counts = |kind: Kind| match kind {
            Kind::Content | Kind::Snapshot => true,
            Kind::Image => self.rules >= CollectorRules::V2_0,
            Kind::Container => false,
        };
        named.filter(|it| counts(it.0)).collect()
    }

    /// What has attached itself to each node, by back references and conditions.
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
        let images = self.namespace.images.iter();
        let images = images.filter(|(name, _)| !self.without.contains(*name));
        let node = |kind, key: &str| (kind, key.to_owned(), false);
        let mut labelled: Vec<(Reached, Pairs<'_>)> = Vec::new();
        labelled.extend(images.map(|(name, it)| (node(Kind::Image, name), pairs(&it.labels))));
        let blobs = self.namespace.content.iter();
        labelled.extend(blobs.map(|(key, it)| (node(Kind::Content, key), pairs(&it.labels))));
        let snapshots = self.namespace.snapshots.iter();
        labelled.extend(snapshots.map(|((snapshotter, key), it)| {
            let key = format!("{snapshotter}/{key}");
            (node(Kind::Snapshot, &key), pairs(&it.info.labels))
        }));
        labelled
    }

    /// The snapshots to which labels refer on a condition that holds.
    fn conditional(&self, labels: &Pairs<'_>) -> Vec<Reached> {
        let Some(conditional) = GcLabels::parse(labels.iter().copied()).conditional else {
            return Vec::new();
        };
        let references = conditional.refs.into_iter().filter_map(|reference| {
            let id = reference.snapshot;
            let place = (id.snapshotter.to_string(), id.key.to_string());
            let snapshot = self.namespace.snapshots.get(&place)?;
            let labels = GcLabels::parse(pairs(&snapshot.info.labels));
            let used = labels.conditional?.used_at;
            let mut used = used.into_iter();
            let is_met = used.any(|used| reference.condition.is_met(used, self.now));
            is_met.then(|| (Kind::Snapshot, format!("{}/{}", place.0, place.1), false))
        });
        references.collect()
    }
}

/// Returns labels as pairs, sorted: those of messages have no order.
fn pairs<'a, M>(labels: &'a M) -> Pairs<'a>
where
    &'a M: IntoIterator<Item = (&'a String, &'a String)>,
{
    let pairs = labels.into_iter();
    let mut pairs: Pairs<'a> = pairs.map(|(key, value)| (&**key, &**value)).collect();
    pairs.sort_unstable();
    pairs
}

/// The nodes that labels with a prefix name.
fn named_by(labels: &Pairs<'_>, prefix: &str) -> Vec<Reached> {
    let named = labels.iter().filter_map(|(label, value)| {
        let kind = label.strip_prefix(prefix)?;
        if let Some(named) = kind.strip_prefix("snapshot.") {
            let snapshotter = named.split('/').next()?;
            return Some((Kind::Snapshot, format!("{snapshotter}/{value}"), false));
        }
        let words = [
            ("content", Kind::Content),
            ("image", Kind::Image),
            ("container", Kind::Container),
        ];
        words.into_iter().find_map(|(word, found)| {
            let rest = kind.strip_prefix(word)?;
            let is_it = rest.is_empty() || rest.starts_with(['.', '/']);
            is_it.then(|| (found, (*value).to_owned(), false))
        })
    });
    named.collect()
}
