//! The inventory: everything that one observation of a containerd has seen.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;

use crate::LocalMirrors;
use crate::{
    Digest, Document, Gap, GcLabels, ImageRecord, Namespace, NamespaceProtection, SnapshotId,
    Snapshotter, Sources,
};

/// All namespaces of one containerd at one time. Immutable, and stale from the start.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    /// The rules of the server's collector.
    pub rules: CollectorRules,
    /// The one clock reading of the observation.
    pub observed_at: Timestamp,
    /// Every namespace that the server listed.
    pub namespaces: BTreeMap<Namespace, NamespaceInventory>,
    /// The documents behind the images, each read once.
    pub documents: BTreeMap<Digest, Document>,
    /// The image labels that were kept of every configuration, however many it has.
    pub label_keys: BTreeSet<String>,
    /// The image of pods' sandboxes, if the server says which one it is (containerd 2.4 and newer).
    pub sandbox_image: Option<String>,
}

/// What one namespace holds.
#[derive(Debug, Clone, Default)]
pub struct NamespaceInventory {
    /// Image records, sorted by name.
    pub images: Vec<ImageRecord>,
    /// Blobs that are present, sorted by digest.
    pub blobs: Vec<Blob>,
    /// Snapshots by snapshotter, each list sorted by key.
    pub snapshots: BTreeMap<Snapshotter, Vec<Snapshot>>,
    /// Containers of every state, sorted by ID.
    pub containers: Vec<Container>,
    /// Leases, sorted by ID.
    pub leases: Vec<Lease>,
    /// Sandbox records (containerd 1.7 and newer), sorted by ID.
    pub sandboxes: Vec<Sandbox>,
    /// Blobs being written, sorted by reference.
    pub ingests: Vec<Ingest>,
    /// What could not be read.
    pub gaps: Vec<Gap>,
    /// Whether an engine has containers here that only the engine lists, and it was not queried:
    /// Docker's stopped ones, which leave leases and snapshots.
    pub has_unlisted_containers: bool,
    /// Whether a Docker Engine keeps its images here.
    pub is_dockers: bool,
    /// The images that containerd needs to run pods.
    pub pod_images: PodImages,
    /// What else protects the images here.
    pub protection: NamespaceProtection,
    /// The registries whose layers other machines may fetch from here.
    pub mirrors: Arc<LocalMirrors>,
}

impl NamespaceInventory {
    /// Whether pods need the image with this name.
    pub fn needs_for_pods(&self, name: &str) -> bool {
        let is_cri = || self.images.iter().any(ImageRecord::is_cri_managed);
        self.pod_images.needs(name) && (self.pod_images.stay_without_cri || is_cri())
    }
}

/// The images that containerd needs to run pods, by its configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PodImages {
    /// The names that their records may have.
    pub names: Vec<String>,
    /// Whether a part of the configuration could not be read, so that others may be needed.
    pub is_partial: bool,
    /// Whether they stay in a namespace without records of the CRI plugin, too.
    pub stay_without_cri: bool,
}

impl PodImages {
    /// Parts of the names that sandbox images usually have.
    const LIKELY: [&'static str; 2] = ["pause", "sandbox"];

    /// Whether an image with this name may be needed.
    fn needs(&self, name: &str) -> bool {
        self.is_partial && Self::is_likely(name) || self.names.iter().any(|it| it == name)
    }

    /// Whether an image of this name may be one that pods need.
    pub fn is_likely(name: &str) -> bool {
        Self::LIKELY.iter().any(|it| name.contains(it))
    }
}

/// A blob of the content store, as one namespace has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// Its identity.
    pub digest: Digest,
    /// Length in bytes.
    pub size: u64,
    /// What the collector follows from it.
    pub gc: GcLabels,
    /// Where it came from. Empty for a blob that refers to no other: an image's layers may be those
    /// of its base, so their sources say nothing about the image.
    pub sources: Sources,
}

/// A blob being written. containerd forgets it a day after it was begun, unless a lease holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ingest {
    /// The reference that its writer gave it.
    pub reference: String,
    /// Length in bytes of what was written so far.
    pub bytes: u64,
}

/// A containerd snapshot: one filesystem state in a snapshotter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its key; for a committed image layer the chain ID. Shared with the [`SnapshotId`]s made from
    /// it, since a plan may name a million.
    pub key: Arc<str>,
    /// Key of its parent. The reader shares it with the parent itself ([`Texts`](crate::Texts)).
    pub parent: Option<Arc<str>>,
    /// Whether it is in use itself or only a parent of others.
    pub kind: SnapshotKind,
    /// What the collector follows from it.
    pub gc: GcLabels,
}

/// The state of a [`Snapshot`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotKind {
    /// Immutable; it may be the parent of others.
    Committed,
    /// Writable: a root filesystem.
    Active,
    /// Read-only use of a committed one.
    View,
}

/// A container of any state, from containerd or from an engine's own list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Container {
    /// Its ID.
    pub id: String,
    /// Where the facts about its image come from.
    pub source: ContainerSource,
    /// What it was created from, as its engine wrote it: a name, an ID, or nothing.
    pub image: String,
    /// What it was created from, if an engine knows: the target, or the part of it that is the
    /// image's ID, such as the configuration for the CRI plugin.
    pub image_digest: Option<Digest>,
    /// The manifest of the platform that it was created from, if an engine knows. It counts unless
    /// `image_digest` is here and has it: another image may have the same manifest.
    pub image_manifest: Option<Digest>,
    /// The configuration that it was created from, if an engine knows and finds images by it in
    /// addition to `image_digest`.
    pub image_config: Option<Digest>,
    /// Images that it mounts in addition, as its engine wrote them.
    pub mounts: Vec<String>,
    /// The keys of the snapshots of images that it mounts in addition, as its engine wrote them.
    pub mounted_snapshots: Vec<String>,
    /// Its root filesystem.
    pub snapshot: Option<SnapshotId>,
    /// What the collector follows from it.
    pub gc: GcLabels,
    /// The labels by which Compose recognises its containers.
    pub labels: BTreeMap<String, String>,
    /// Whether it runs.
    pub state: ContainerState,
    /// When it was created, if containerd or an engine reports it.
    pub created: Option<Timestamp>,
}

/// Where the facts about a container's image come from, and so how far they are trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ContainerSource {
    /// The engine that created it: its own list, or what it alone writes into containerd's record.
    #[default]
    Engine,
    /// The list of a Docker Engine. Its name is the one that people use; the one in containerd's
    /// record is the first by name of all that the image had when the container was started.
    Docker,
    /// A label of containerd's record, [`IMAGE_DIGEST_LABEL`]. The author of an image may have
    /// written it.
    Label,
}

/// The label by which nerdctl 2.4 and newer note the target from which a container was created.
///
/// nerdctl, ctr and the CRI plugin copy the labels of the image's configuration to the container,
/// and only newer versions of nerdctl write their own over it. So the value proves nothing if an
/// image has the label itself.
///
/// Source: nerdctl `pkg/cmd/container/create.go` (`WithImageConfigLabels`, then
/// `withInternalLabels`); containerd `client/container_opts.go` and `internal/cri/util/util.go`
/// leave out only `containerd.io/` and `io.cri-containerd`, from 2.3.2 on.
pub const IMAGE_DIGEST_LABEL: &str = "nerdctl/image-digest";

/// Whether a container runs. It uses its image in any state; only texts depend on the state, and
/// whether a removal can be forced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ContainerState {
    /// Unknown. It counts as running.
    #[default]
    Unknown,
    /// It runs, or is paused.
    Running,
    /// It was created but not started, or has ended.
    Stopped,
}

/// A sandbox record: a pod of the CRI plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sandbox {
    /// Its ID.
    pub id: String,
    /// What the collector follows from it; the record itself is never collected.
    pub gc: GcLabels,
}

/// A lease: it holds its resources until it is deleted or expires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Its ID.
    pub id: String,
    /// All labels.
    pub labels: BTreeMap<String, String>,
    /// When it was created, as the server reports.
    pub created: Option<Timestamp>,
    /// When it ceases to hold; `None` is never.
    pub expires: Option<Timestamp>,
    /// Whether it holds only what it lists, but not what that refers to.
    pub is_flat: bool,
    /// What it lists. The things need not exist.
    pub resources: Vec<LeaseResource>,
}

/// The label of Reclaim's own leases: which run created it.
pub const RUN_LABEL: &str = "reclaim/run";

impl Lease {
    /// Whether a run of Reclaim created it. It holds what the run removed, and uses nothing.
    pub fn is_ours(&self) -> bool {
        self.labels.contains_key(RUN_LABEL)
    }

    /// Whether it is part of a build cache: `BuildKit` labels some of its leases, and holds each
    /// record of its cache by a flat one that never expires. Pulls and containers have neither.
    pub fn is_build_cache(&self) -> bool {
        let is_labelled = || self.labels.keys().any(|key| key.starts_with("buildkit/"));
        !self.is_ours() && (self.is_flat && self.expires.is_none() || is_labelled())
    }

    /// Whether it may be build history: another process's lease that never expires, and holds
    /// content with everything that it refers to.
    pub fn may_be_history(&self) -> bool {
        let mut resources = self.resources.iter();
        let has_content = resources.any(|it| matches!(it, LeaseResource::Content(_)));
        has_content && self.expires.is_none() && !self.is_flat && !self.is_ours()
    }

    /// Whether it holds at `now`. At the exact time of expiry it still does, as in containerd.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.expires.is_none_or(|expires| expires >= now)
    }
}

/// One thing that a lease lists.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeaseResource {
    /// A blob.
    Content(Digest),
    /// A snapshot.
    Snapshot(SnapshotId),
    /// An image record (containerd 2.0 and newer).
    Image(String),
    /// A blob being written, by its reference.
    Ingest(String),
    /// A kind that the collector rules here ignore, such as a stream or a mount.
    Other {
        /// The kind as the server names it.
        kind: String,
        /// Its ID.
        id: String,
    },
}

/// The rules of the server's collector, by its version.
///
/// Source: containerd `core/metadata/gc.go` at its release tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum CollectorRules {
    /// 1.6 and 1.7: images are always roots; only content and snapshots can be referred to.
    /// Sandboxes hold nothing: the collector of 1.7 does not read where they are stored.
    #[default]
    V1,
    /// 2.0 and 2.1: images may expire, be leased and be referred to, and sandboxes hold.
    V2_0,
    /// 2.2: back references, and every label that begins with `gc.root` is a root.
    V2_2,
    /// 2.3 and newer: conditional references.
    V2_3,
}

impl CollectorRules {
    /// Chooses the rules by the version that the server reports, such as `1.6.20~ds1` or
    /// `v2.3.4`; `None` if it does not begin with two numbers.
    pub fn for_version(version: &str) -> Option<Self> {
        let mut numbers = version.trim_start_matches('v').split('.');
        let major: u32 = numbers.next()?.parse().ok()?;
        let minor: &str = numbers.next()?;
        let digits = minor.bytes().take_while(u8::is_ascii_digit).count();
        let minor: u32 = minor[..digits].parse().ok()?;
        Some(match (major, minor) {
            (0 | 1, _) => Self::V1,
            (2, 0 | 1) => Self::V2_0,
            (2, 2) => Self::V2_2,
            _ => Self::V2_3,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_need_listed_names_and_likely_ones_if_others_are_unknown() {
        let mut pod_images = PodImages {
            names: vec!["registry.example/base:1".to_owned()],
            ..PodImages::default()
        };
        assert!(pod_images.needs("registry.example/base:1"));
        assert!(!pod_images.needs("registry.k8s.io/pause:3.9"));
        pod_images.is_partial = true;
        assert!(pod_images.needs("registry.k8s.io/pause:3.9"));
        assert!(!pod_images.needs("docker.io/library/app:1"));
    }

    #[test]
    fn chooses_rules_by_version() {
        for (version, rules) in [
            ("1.6.20~ds1", Some(CollectorRules::V1)),
            ("v1.7.34", Some(CollectorRules::V1)),
            ("2.0.11", Some(CollectorRules::V2_0)),
            ("v2.1.9-k3s1", Some(CollectorRules::V2_0)),
            ("2.2.7", Some(CollectorRules::V2_2)),
            ("2.3.4", Some(CollectorRules::V2_3)),
            ("2.4-beta", Some(CollectorRules::V2_3)),
            ("3.0.0", Some(CollectorRules::V2_3)),
            ("", None),
            ("unknown", None),
            ("2", None),
            ("2.x", None),
        ] {
            assert_eq!(CollectorRules::for_version(version), rules, "{version}");
        }
    }

    fn lease(labels: &[&str], is_flat: bool, expires: Option<&str>) -> Lease {
        let labels = labels.iter().map(|it| ((*it).to_owned(), String::new()));
        let digest = format!("sha256:{}", "a".repeat(64)).parse().unwrap();
        Lease {
            id: "l".to_owned(),
            labels: labels.collect(),
            created: None,
            expires: expires.map(|it| it.parse().unwrap()),
            is_flat,
            resources: vec![LeaseResource::Content(digest)],
        }
    }

    #[test]
    fn tells_whose_leases_are() {
        const LATER: Option<&str> = Some("2026-01-02T03:04:05Z");
        // Labels, flat, expiry; whether it is ours, part of a build cache, build history.
        for (labels, is_flat, expires, expected) in [
            (&[][..], false, None, [false, false, true]),
            (&[], false, LATER, [false, false, false]),
            (&[], true, None, [false, true, false]),
            (&[], true, LATER, [false, false, false]),
            (
                &["buildkit/lease.temporary"],
                false,
                LATER,
                [false, true, false],
            ),
            (&["buildkit/x"], false, None, [false, true, true]),
            (&[RUN_LABEL], false, None, [true, false, false]),
            (&[RUN_LABEL], true, None, [true, false, false]),
            (
                &[RUN_LABEL, "buildkit/x"],
                false,
                LATER,
                [true, false, false],
            ),
        ] {
            let lease = lease(labels, is_flat, expires);
            let found = [
                lease.is_ours(),
                lease.is_build_cache(),
                lease.may_be_history(),
            ];
            assert_eq!(found, expected, "{lease:?}");
        }
        let mut without_content = lease(&[], false, None);
        without_content.resources = vec![LeaseResource::Image("app:1".to_owned())];
        assert!(!without_content.may_be_history());
    }

    #[test]
    fn a_lease_holds_at_the_instant_of_its_expiry_and_not_after() {
        let at: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
        let lease_until = |expires| lease(&[], false, expires);
        let nanosecond = jiff::SignedDuration::from_nanos(1);
        let expiring = lease_until(Some("2026-01-02T03:04:05Z"));
        assert!(expiring.is_live(at - nanosecond));
        assert!(expiring.is_live(at));
        assert!(!expiring.is_live(at + nanosecond));
        assert!(lease_until(None).is_live(Timestamp::MAX));
    }
}
