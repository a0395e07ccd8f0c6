//! A small containerd for the planner: described by names, and turned into an inventory.
//!
//! A fixture names its blobs (`A`, `A.config`, `base`); digests, sizes and chain IDs follow from
//! the names, so that a test reads and fails in names only. Labels are written as containerd's
//! clients write them and read as the store adapter reads them.

mod build;
mod outcome;
mod parts;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use reclaim_model::{
    CollectorRules, Container, Digest, Document, GcRef, Inventory, LeaseResource,
    NamespaceInventory, PruneFilters, ResolvedRequest,
};
use reclaim_plan::{check, decide};

pub(crate) use build::media_type;
pub(crate) use outcome::Outcome;
pub(crate) use parts::{ContainerExt, LeaseExt, Part, RecordExt, content, snapshot};

/// The snapshotter of every snapshot that does not say otherwise.
pub(crate) const OVERLAY: &str = "overlayfs";

/// The clock reading of every observation.
pub(crate) fn now() -> Timestamp {
    "2026-01-10T12:00:00Z".parse().unwrap()
}

/// A moment before [`now`].
pub(crate) fn ago(age: SignedDuration) -> Timestamp {
    now() - age
}

/// The digest of a name. Any injective function would do.
pub(crate) fn digest(name: &str) -> Digest {
    // FNV-1a, from a different offset for each word.
    let word = |seed: u64| {
        let offset = 0xcbf2_9ce4_8422_2325 ^ seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let hash = name.bytes().fold(offset, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        // The low bits alone of FNV tell short names apart; an ID begins with the high ones.
        (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
    };
    let mut bytes = [0; 32];
    for (seed, chunk) in (0..).zip(bytes.chunks_exact_mut(8)) {
        chunk.copy_from_slice(&word(seed).to_be_bytes());
    }
    Digest::Sha256(bytes)
}

/// The digest of a name, as text.
pub(crate) fn id(name: &str) -> String {
    digest(name).to_string()
}

/// Two names whose digests begin with the same four digits.
pub(crate) fn begin_alike() -> (String, String) {
    let names: Vec<String> = (0..2000).map(|number| format!("t{number}")).collect();
    let short = |name: &str| digest(name).hex()[..4].to_owned();
    let pairs = (0..names.len()).flat_map(|at| (0..at).map(move |before| (before, at)));
    let mut pairs = pairs.map(|(before, at)| (&names[before], &names[at]));
    let (one, other) = pairs
        .find(|(one, other)| short(one) == short(other))
        .unwrap();
    (one.clone(), other.clone())
}

/// The chain ID of a stack of layers, as text: the key of its topmost snapshot.
pub(crate) fn chain(layers: &str) -> String {
    id(&format!("chain {layers}"))
}

/// The bytes of a blob or snapshot, by its name. No two names of a fixture have the same.
pub(crate) fn bytes(name: &str) -> u64 {
    let digest = digest(name);
    let [a, b, c, ..] = digest.bytes() else {
        unreachable!("a digest has thirty-two bytes")
    };
    1 + u64::from(u32::from_be_bytes([0, *a, *b, *c]))
}

/// The canonical name of an image of Docker Hub's own.
pub(crate) fn library(name: &str) -> String {
    format!("docker.io/library/{name}")
}

/// The name that Docker gives an image that has lost its last one.
pub(crate) fn dangling(target: &str) -> String {
    format!("moby-dangling@{}", id(target))
}

/// One containerd. Methods write to the current namespace.
#[derive(Debug, Clone)]
pub(crate) struct World {
    pub(crate) rules: CollectorRules,
    pub(crate) namespaces: BTreeMap<String, NamespaceInventory>,
    pub(crate) documents: BTreeMap<Digest, Document>,
    /// Image labels that no configuration lacks.
    pub(crate) label_keys: BTreeSet<String>,
    /// Containers that an engine has registered for the pruned namespace.
    pub(crate) registered: Vec<Container>,
    /// Names of digests and snapshot keys.
    names: BTreeMap<String, String>,
    current: String,
}

impl World {
    /// The namespace that is pruned.
    pub(crate) const NAMESPACE: &str = "default";

    /// An empty namespace of a containerd 2.0.
    pub(crate) fn new() -> Self {
        Self {
            rules: CollectorRules::V2_0,
            namespaces: BTreeMap::from([(
                Self::NAMESPACE.to_owned(),
                NamespaceInventory::default(),
            )]),
            documents: BTreeMap::new(),
            label_keys: BTreeSet::new(),
            registered: Vec::new(),
            names: BTreeMap::new(),
            current: Self::NAMESPACE.to_owned(),
        }
    }

    /// Takes other collector rules.
    pub(crate) fn with_rules(mut self, rules: CollectorRules) -> Self {
        self.rules = rules;
        self
    }

    /// Writes to another namespace from here on.
    pub(crate) fn within(&mut self, namespace: &str) -> &mut Self {
        namespace.clone_into(&mut self.current);
        self.here();
        self
    }

    /// The namespace that is written to.
    pub(crate) fn here(&mut self) -> &mut NamespaceInventory {
        self.namespaces.entry(self.current.clone()).or_default()
    }

    /// Whether a lease or label of the pruned namespace refers to an image of this name.
    pub(crate) fn is_referred_to(&self, name: &str) -> bool {
        let here = &self.namespaces[Self::NAMESPACE];
        let mut leased = here.leases.iter().flat_map(|lease| &lease.resources);
        let labels = here.sandboxes.iter().map(|it| &it.gc);
        let labels = labels.chain(here.blobs.iter().map(|it| &it.gc));
        let labels = labels.chain(here.containers.iter().map(|it| &it.gc));
        let labels = labels.chain(here.images.iter().map(|it| &it.gc));
        let labels = labels.chain(here.snapshots.values().flatten().map(|it| &it.gc));
        let mut references = labels.flat_map(|it| it.refs.iter().chain(&it.back_refs));
        references.any(|it| matches!(it, GcRef::Image(it) if **it == *name))
            || leased.any(|it| matches!(it, LeaseResource::Image(it) if it == name))
    }

    /// Whether an image of the pruned namespace expires and may depend on another.
    pub(crate) fn has_dependents(&self) -> bool {
        let mut images = self.namespaces[Self::NAMESPACE].images.iter();
        images.any(|image| {
            let depends = !image.gc.back_refs.is_empty() || self.is_referred_to(&image.name);
            image.expires.is_some() && depends
        })
    }

    /// The observation of this containerd, in the order that an inventory promises. A document
    /// that is nowhere present is nowhere read.
    pub(crate) fn inventory(&self) -> Inventory {
        let mut namespaces = BTreeMap::new();
        for (name, mut namespace) in self.namespaces.clone() {
            sort(&mut namespace);
            namespaces.insert(name.parse().unwrap(), namespace);
        }
        let is_present = |digest: &Digest| {
            let mut blobs = self.namespaces.values().flat_map(|it| &it.blobs);
            blobs.any(|blob| blob.digest == *digest)
        };
        let mut documents = self.documents.clone();
        documents.retain(|digest, _| is_present(digest));
        Inventory {
            rules: self.rules,
            observed_at: now(),
            namespaces,
            documents,
            label_keys: self.label_keys.clone(),
            sandbox_image: None,
        }
    }

    /// Prunes dangling images.
    pub(crate) fn prune(&self) -> Outcome {
        self.prune_by(PruneFilters::default())
    }

    /// Prunes with `-a`.
    pub(crate) fn prune_all(&self) -> Outcome {
        self.prune_by(all())
    }

    /// Prunes by these filters; the plan must pass its own linter.
    pub(crate) fn prune_by(&self, filters: PruneFilters) -> Outcome {
        self.decide(&request(filters))
    }

    /// Decides by a request; the plan must pass its own linter.
    pub(crate) fn decide(&self, request: &ResolvedRequest) -> Outcome {
        let inventory = self.inventory();
        let decision = decide(&inventory, &self.registered, request);
        let snapshots = decision.snapshots().iter();
        let snapshots = snapshots.chain(decision.history_snapshots());
        let snapshots = snapshots.chain(decision.pending_snapshots());
        let sizes = snapshots.map(|id| {
            let key: &str = &id.key;
            (id.clone(), bytes(self.names.get(key).map_or(key, |it| it)))
        });
        let sizes = sizes.collect();
        let kept = decision.kept().to_vec();
        let plan = decision.into_plan(&sizes);
        assert_eq!(kept, plan.kept);
        check(&plan, &inventory, &self.registered, request).unwrap();
        Outcome::new(plan, inventory, self.names.clone())
    }

    fn name(&mut self, digest: String, name: &str) {
        self.names.insert(digest, name.to_owned());
    }
}

/// Filters of `-a`.
pub(crate) fn all() -> PruneFilters {
    PruneFilters {
        dangling: Some(false),
        ..PruneFilters::default()
    }
}

/// A request that may leave nothing behind.
pub(crate) fn request(filters: PruneFilters) -> ResolvedRequest {
    ResolvedRequest::new(World::NAMESPACE.parse().unwrap(), filters).may_empty_namespace(true)
}

/// Brings a namespace into the order that an inventory promises.
pub(crate) fn sort(namespace: &mut NamespaceInventory) {
    namespace.images.sort_by(|a, b| a.name.cmp(&b.name));
    namespace.blobs.sort_by(|a, b| a.digest.cmp(&b.digest));
    for shelf in namespace.snapshots.values_mut() {
        shelf.sort_by(|a, b| a.key.cmp(&b.key));
    }
    namespace.containers.sort_by(|a, b| a.id.cmp(&b.id));
    namespace.leases.sort_by(|a, b| a.id.cmp(&b.id));
    namespace.sandboxes.sort_by(|a, b| a.id.cmp(&b.id));
    namespace.gaps.sort();
}
