//! Writing things into a world, with the labels that containerd's clients give them.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use reclaim_model::{
    Blob, Child, Config, Container, ContainerSource, Document, DocumentKind, GcLabelSet, GcLabels,
    ImageRecord, Lease, LeaseResource, Sandbox, Snapshot, SnapshotKind, Sources, Target,
};

use super::parts::gc;
use super::{OVERLAY, Part, World, ago, bytes, chain, digest, id};

impl World {
    /// An image of one platform with the layers `base` and `<target>.layer`, and a record of it.
    /// A target that is there already only gets another name.
    pub(crate) fn image(&mut self, name: &str, target: &str) -> &mut ImageRecord {
        let blobs = &self.here().blobs;
        if !blobs.iter().any(|blob| blob.digest == digest(target)) {
            let own = format!("{target}.layer");
            self.manifest(
                target,
                Part {
                    layers: &["base", &own],
                    ..Part::default()
                },
            );
        }
        self.record(name, target)
    }

    /// A record, whatever it points at.
    pub(crate) fn record(&mut self, name: &str, target: &str) -> &mut ImageRecord {
        self.name(id(target), target);
        let document = self.documents.get(&digest(target));
        let kind = document.and_then(Document::kind);
        let kind = kind.unwrap_or(DocumentKind::Manifest);
        let images = &mut self.here().images;
        images.push(ImageRecord {
            name: name.to_owned(),
            target: Target {
                media_type: media_type(kind).to_owned(),
                digest: digest(target),
                size: bytes(target),
                annotations: BTreeMap::new(),
            },
            labels: BTreeMap::new(),
            created_at: Some(ago(SignedDuration::from_hours(240))),
            updated_at: Some(ago(SignedDuration::from_hours(240))),
            gc: GcLabels::default(),
            expires: None,
        });
        images.last_mut().unwrap()
    }

    /// A manifest `name` with its config `<name>.config`, its layers and its snapshots.
    pub(crate) fn manifest(&mut self, name: &str, part: Part<'_>) -> &mut Self {
        let config = format!("{name}.config");
        let stack = part.stack();
        let mut children = vec![child(&config, DocumentKind::Config)];
        let mut labels = vec![reference("content.config", &id(&config))];
        for (index, layer) in part.layers.iter().enumerate() {
            children.push(child(layer, DocumentKind::Leaf));
            labels.push(reference(&format!("content.l.{index}"), &id(layer)));
            self.blob(layer, &[]);
        }
        self.labelled_blob(name, &labels);
        let mut config_labels = Vec::new();
        if part.is_unpacked && !part.layers.is_empty() {
            let key = format!("snapshot.{OVERLAY}");
            config_labels.push(reference(&key, &chain(&stack)));
            self.unpack(part.layers);
        }
        self.labelled_blob(&config, &config_labels);
        let labels = part.labels.iter();
        let labels = labels.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let chain_id = (!part.layers.is_empty()).then(|| chain(&stack).parse().unwrap());
        let document = Document::Config(Config {
            labels: labels.collect(),
            chain_id,
            ..Config::default()
        });
        self.documents.insert(digest(&config), document);
        self.documents
            .insert(digest(name), Document::Manifest(children));
        self
    }

    /// A second manifest `name` of the config of `of`, with a layer of its own, and a record of it.
    pub(crate) fn recompressed(&mut self, record: &str, name: &str, of: &str) -> &mut ImageRecord {
        let (config, layer) = (format!("{of}.config"), format!("{name}.layer"));
        let children = vec![
            child(&config, DocumentKind::Config),
            child(&layer, DocumentKind::Leaf),
        ];
        let labels = [
            reference("content.config", &id(&config)),
            reference("content.l.0", &id(&layer)),
        ];
        self.blob(&layer, &[]).labelled_blob(name, &labels);
        self.documents
            .insert(digest(name), Document::Manifest(children));
        self.record(record, name)
    }

    /// An index of manifests that are or are not there. Names in `attestations` say so.
    pub(crate) fn index(&mut self, name: &str, manifests: &[&str]) -> &mut Self {
        let children = manifests.iter().map(|manifest| Child {
            is_attestation: manifest.contains("attestation"),
            ..child(manifest, DocumentKind::Manifest)
        });
        let document = Document::Index(children.collect());
        self.documents.insert(digest(name), document);
        let labels = manifests.iter().enumerate();
        let labels = labels.map(|(index, it)| reference(&format!("content.m.{index}"), &id(it)));
        self.labelled_blob(name, &labels.collect::<Vec<_>>());
        for manifest in manifests {
            self.name(id(manifest), manifest);
        }
        self
    }

    /// An index of one other index.
    pub(crate) fn nest(&mut self, name: &str, below: &str) -> &mut Self {
        let document = Document::Index(vec![child(below, DocumentKind::Index)]);
        self.documents.insert(digest(name), document);
        self.labelled_blob(name, &[reference("content.m.0", &id(below))])
    }

    /// The snapshots of a stack of layers.
    pub(crate) fn unpack(&mut self, layers: &[&str]) -> &mut Self {
        for depth in 1..=layers.len() {
            let stack = layers[..depth].join("+");
            let parent = (depth > 1).then(|| chain(&layers[..depth - 1].join("+")));
            let key = chain(&stack);
            self.name(key.clone(), &stack);
            self.snapshot(&key, parent.as_deref(), SnapshotKind::Committed);
        }
        self
    }

    /// A snapshot; one of the same key is there already.
    pub(crate) fn snapshot(
        &mut self,
        key: &str,
        parent: Option<&str>,
        kind: SnapshotKind,
    ) -> &mut Snapshot {
        let list = self.here().snapshots.entry(OVERLAY.into()).or_default();
        let at = list.iter().position(|snapshot| *snapshot.key == *key);
        let at = at.unwrap_or_else(|| {
            list.push(Snapshot {
                key: key.into(),
                parent: parent.map(Into::into),
                kind,
                gc: GcLabels::default(),
            });
            list.len() - 1
        });
        &mut list[at]
    }

    /// An active snapshot.
    pub(crate) fn active(&mut self, key: &str, parent: &str) -> &mut Snapshot {
        self.snapshot(key, Some(parent), SnapshotKind::Active)
    }

    /// A blob with labels of these keys and values; one of the same name gets them in addition.
    pub(crate) fn blob(&mut self, name: &str, labels: &[(&str, &str)]) -> &mut Self {
        let labels: Vec<_> = labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        self.labelled_blob(name, &labels)
    }

    /// As [`Self::blob`], with labels made at run time.
    pub(crate) fn labelled_blob(&mut self, name: &str, labels: &[(String, String)]) -> &mut Self {
        self.name(id(name), name);
        let labels: BTreeMap<String, String> = labels.iter().cloned().collect();
        let sources = Sources::parse(labels.iter().map(|(key, value)| (&**key, &**value)));
        let blobs = &mut self.here().blobs;
        let digest = digest(name);
        match blobs.iter_mut().find(|blob| blob.digest == digest) {
            Some(blob) => {
                blob.gc = merged(&blob.gc, &gc(&labels));
                if !sources.is_empty() {
                    blob.sources = sources;
                }
            }
            None => blobs.push(Blob {
                digest,
                size: bytes(name),
                gc: gc(&labels),
                sources,
            }),
        }
        self
    }

    /// Takes a blob away from the current namespace.
    pub(crate) fn lose(&mut self, name: &str) -> &mut Self {
        let digest = digest(name);
        self.here().blobs.retain(|blob| blob.digest != digest);
        self
    }

    /// Makes a document one that was not read.
    pub(crate) fn corrupt(&mut self, name: &str) -> &mut Self {
        let document = Document::NotRead("input/output error".to_owned());
        self.documents.insert(digest(name), document);
        self
    }

    /// Makes a document one whose bytes are wrong.
    pub(crate) fn tear(&mut self, name: &str) -> &mut Self {
        let document = Document::Torn("not JSON".to_owned());
        self.documents.insert(digest(name), document);
        self
    }

    /// A container that was created from `image`.
    pub(crate) fn container(&mut self, id: &str, image: &str) -> &mut Container {
        let containers = &mut self.here().containers;
        containers.push(Container {
            id: id.to_owned(),
            image: image.to_owned(),
            ..Container::default()
        });
        containers.last_mut().unwrap()
    }

    /// A container in the list of an engine, created from `image`.
    pub(crate) fn listed(
        &mut self,
        id: &str,
        source: ContainerSource,
        image: &str,
    ) -> &mut Container {
        self.registered.push(Container {
            id: id.to_owned(),
            source,
            image: image.to_owned(),
            ..Container::default()
        });
        self.registered.last_mut().unwrap()
    }

    /// An image `target` that has the layers of `of` and other labels, and a record of it.
    pub(crate) fn rebuilt(&mut self, name: &str, target: &str, of: &str) -> &mut ImageRecord {
        let own = format!("{of}.layer");
        let part = Part {
            layers: &["base", &own],
            labels: &[("rebuilt", target)],
            ..Part::default()
        };
        self.manifest(target, part).record(name, target)
    }

    /// A lease on these resources, for good.
    pub(crate) fn lease(&mut self, id: &str, resources: &[LeaseResource]) -> &mut Lease {
        let leases = &mut self.here().leases;
        let mut resources = resources.to_vec();
        resources.sort();
        leases.push(Lease {
            id: id.to_owned(),
            labels: BTreeMap::new(),
            created: None,
            expires: None,
            is_flat: false,
            resources,
        });
        leases.last_mut().unwrap()
    }

    /// A sandbox record with one label.
    pub(crate) fn sandbox(&mut self, id: &str, key: &str, value: &str) -> &mut Self {
        let gc = GcLabels::parse([(key, value)]);
        let id = id.to_owned();
        self.here().sandboxes.push(Sandbox { id, gc });
        self
    }
}

fn child(name: &str, kind: DocumentKind) -> Child {
    Child {
        digest: digest(name),
        size: bytes(name),
        kind,
        is_attestation: false,
        is_layer: kind == DocumentKind::Leaf,
    }
}

fn reference(kind: &str, value: &str) -> (String, String) {
    (format!("containerd.io/gc.ref.{kind}"), value.to_owned())
}

fn merged(old: &GcLabels, new: &GcLabels) -> GcLabels {
    let sorted = |old: &[_], new: &[_]| {
        let mut all = [old, new].concat();
        all.sort();
        all.dedup();
        all.into()
    };
    let labels = GcLabelSet {
        root: if new.root == GcLabels::default().root {
            old.root
        } else {
            new.root
        },
        refs: sorted(&old.refs, &new.refs),
        back_refs: sorted(&old.back_refs, &new.back_refs),
        conditional: new.conditional.clone().or_else(|| old.conditional.clone()),
    };
    labels.into()
}

/// The media type by which a descriptor calls its blob this.
pub(crate) fn media_type(kind: DocumentKind) -> &'static str {
    match kind {
        DocumentKind::Index => "application/vnd.oci.image.index.v1+json",
        DocumentKind::Manifest => "application/vnd.oci.image.manifest.v1+json",
        DocumentKind::Config => "application/vnd.oci.image.config.v1+json",
        DocumentKind::Leaf => "application/vnd.oci.image.layer.v1.tar+gzip",
    }
}
