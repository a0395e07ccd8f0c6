//! What containerd's collector keeps: its source, line by line, without any cleverness.
//!
//! Keys are text as in containerd, a set of nodes grows until it grows no more. Slow and plain
//! on purpose: this is what the judge's graph is judged by, and where a store was collected
//! first, it is itself judged by containerd.
//!
//! Source: containerd `metadata/gc.go` of 1.6 and 1.7, `core/metadata/gc.go` of 2.0 to 2.3:
//! `scanRoots`, `references` and `sendLabelRefs`.

use std::collections::{BTreeMap, BTreeSet};

use reclaim_testkit::{Labels, Version};

use crate::moments::{Moment, holds, moment};
use crate::picture::{Contents, Lease};

/// What a collector's node stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Content,
    Snapshot,
    Image,
    Container,
}

/// A node: its kind, its key (of a snapshot `snapshotter/key`), whether it is kept flat.
type Node = (Kind, String, bool);

/// Returns what is kept: kinds and keys, also of what does not exist.
pub(crate) fn closure(
    contents: &Contents,
    version: Version,
    without: &BTreeSet<String>,
) -> BTreeSet<(Kind, String)> {
    let collector = Collector {
        contents,
        version,
        without,
    };
    let attached = collector.attached();
    let mut reached: BTreeSet<Node> = BTreeSet::new();
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

/// Returns what is kept by holders other than images.
pub(crate) fn held(contents: &Contents, version: Version) -> BTreeSet<(Kind, String)> {
    let all = contents.images.keys().cloned().collect();
    closure(contents, version, &all)
}

/// Whether the server deletes a lease or, from 2.0 on, an image with these labels by itself.
pub(crate) fn is_expired(labels: &Labels) -> bool {
    let expire = labels.get("containerd.io/gc.expire");
    expire.and_then(|it| moment(it)) == Some(Moment::Past)
}

struct Collector<'a> {
    contents: &'a Contents,
    version: Version,
    without: &'a BTreeSet<String>,
}

impl Collector<'_> {
    fn roots(&self) -> Vec<Node> {
        let mut roots = Vec::new();
        for lease in self.contents.leases.values() {
            roots.extend(leased(lease));
        }
        for (name, image) in &self.contents.images {
            let has_expired = self.version.at_least(2, 0) && is_expired(&image.labels);
            if !has_expired && !self.without.contains(name) {
                roots.push((Kind::Image, name.clone(), false));
            }
        }
        for (digest, blob) in &self.contents.blobs {
            if self.is_root(&blob.labels) {
                roots.push((Kind::Content, digest.clone(), false));
            }
        }
        for (key, snapshot) in &self.contents.snapshots {
            if self.is_root(&snapshot.info.labels) {
                roots.push((Kind::Snapshot, key.clone(), false));
            }
        }
        for id in self.contents.containers.keys() {
            roots.push((Kind::Container, id.clone(), false));
        }
        // 1.7 has sandboxes, but writes them elsewhere than its collector reads: in
        // `<namespace>/sandboxes`, not in `v1/<namespace>/sandboxes` (metadata/buckets.go).
        let sandboxes = self.contents.sandboxes.values();
        for labels in sandboxes.filter(|_| self.version.at_least(2, 0)) {
            roots.extend(self.label_references(labels));
        }
        roots
    }

    fn is_root(&self, labels: &Labels) -> bool {
        let root = "containerd.io/gc.root";
        let mut keys = labels.keys();
        keys.any(|key| key == root || self.version.at_least(2, 2) && key.starts_with(root))
    }

    fn references(&self, (kind, key, is_flat): &Node) -> Vec<Node> {
        let mut references = Vec::new();
        let labels = match kind {
            Kind::Content => self.contents.blobs.get(key).map(|it| &it.labels),
            Kind::Snapshot => self.contents.snapshots.get(key).map(|snapshot| {
                let parent = snapshot.parent.iter();
                references.extend(parent.map(|it| (Kind::Snapshot, it.clone(), *is_flat)));
                &snapshot.info.labels
            }),
            Kind::Image if self.without.contains(key) => None,
            Kind::Image => self.contents.images.get(key).map(|image| {
                references.push((Kind::Content, image.target.digest.to_string(), *is_flat));
                &image.labels
            }),
            Kind::Container => self.contents.containers.get(key).map(|container| {
                if let Some((snapshotter, key)) = &container.snapshot {
                    references.push((Kind::Snapshot, format!("{snapshotter}/{key}"), false));
                }
                &container.labels
            }),
        };
        if let Some(labels) = labels.filter(|_| !is_flat) {
            references.extend(self.label_references(labels));
        }
        references
    }

    fn label_references(&self, labels: &Labels) -> Vec<Node> {
        named_by(labels, "containerd.io/gc.ref.")
            .filter(|(kind, _, _)| match kind {
                Kind::Content | Kind::Snapshot => true,
                Kind::Image => self.version.at_least(2, 0),
                Kind::Container => false,
            })
            .collect()
    }

    /// What has attached itself to each node, by back references and conditions.
    fn attached(&self) -> BTreeMap<Node, Vec<Node>> {
        let mut attached: BTreeMap<Node, Vec<Node>> = BTreeMap::new();
        for (child, labels) in self.labelled() {
            if self.version.at_least(2, 2) {
                for parent in named_by(labels, "containerd.io/gc.bref.") {
                    attached.entry(parent).or_default().push(child.clone());
                }
            }
            if self.version.at_least(2, 3) && matches!(child.0, Kind::Content | Kind::Image) {
                let children = self.conditional(labels);
                attached.entry(child).or_default().extend(children);
            }
        }
        attached
    }

    fn labelled(&self) -> Vec<(Node, &Labels)> {
        let images = self.contents.images.iter();
        let images = images.filter(|(name, _)| !self.without.contains(*name));
        let node = |kind, key: &String| (kind, key.clone(), false);
        let mut labelled: Vec<(Node, &Labels)> = Vec::new();
        labelled.extend(images.map(|(name, it)| (node(Kind::Image, name), &it.labels)));
        let blobs = self.contents.blobs.iter();
        labelled.extend(blobs.map(|(key, it)| (node(Kind::Content, key), &it.labels)));
        let snapshots = self.contents.snapshots.iter();
        labelled.extend(snapshots.map(|(key, it)| (node(Kind::Snapshot, key), &it.info.labels)));
        labelled
    }

    /// The snapshots to which labels refer on a condition that holds.
    fn conditional(&self, labels: &Labels) -> Vec<Node> {
        let references = labels.iter().filter_map(|(label, value)| {
            let rest = label.strip_prefix("containerd.io/gc.cond.snapshot")?;
            let snapshotter = rest.trim_start_matches(['.', '/']).split('/').next()?;
            let (conditions, key) = value.split_once('|')?;
            let key = format!("{snapshotter}/{key}");
            let snapshot = self.contents.snapshots.get(&key)?;
            let used = snapshot
                .info
                .labels
                .iter()
                .filter(|(label, _)| label.starts_with("containerd.io/gc.cond.value-usedat"));
            let mut used = used.filter_map(|(_, value)| moment(value));
            let is_met = used.any(|used| conditions.split(',').any(|it| holds(it, used)));
            is_met.then_some((Kind::Snapshot, key, false))
        });
        references.collect()
    }
}

/// What a lease holds, if it has not expired.
fn leased(lease: &Lease) -> Vec<Node> {
    if is_expired(&lease.labels) {
        return Vec::new();
    }
    let is_flat = lease.labels.contains_key("containerd.io/gc.flat");
    let resources = lease.resources.iter();
    let nodes = resources.filter_map(|it| {
        if it.kind == "content" {
            Some((Kind::Content, it.id.clone(), is_flat))
        } else if it.kind == "images" {
            Some((Kind::Image, it.id.clone(), is_flat))
        } else {
            let snapshotter = it.kind.strip_prefix("snapshots/")?;
            Some((Kind::Snapshot, format!("{snapshotter}/{}", it.id), is_flat))
        }
    });
    nodes.collect()
}

/// The nodes that labels with a prefix name.
fn named_by<'a>(labels: &'a Labels, prefix: &'a str) -> impl Iterator<Item = Node> + 'a {
    labels.iter().filter_map(move |(label, value)| {
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
            is_it.then(|| (found, value.clone(), false))
        })
    })
}
