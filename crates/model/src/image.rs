//! Images: records, the documents behind them, and the meaning of names.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::Timestamp;

use crate::{Digest, EXPIRE, GcLabels, Platform, familiar_name, gc_ref_kind};

/// Label by which the CRI plugin marks the records that it manages.
const MANAGED_KEY: &str = "io.cri-containerd.image";
const MANAGED_VALUE: &str = "managed";
/// The prefix of Docker's name for an image that has lost its last name; its digest follows.
pub const DANGLING_PREFIX: &str = "moby-dangling@";

/// The maximum bytes of key and value of a containerd label together.
const MAX_LABEL: usize = 4096;

/// The maximum bytes at the end of a key that distinguish a label from others of its kind: a slash
/// or dot, and a number.
const MAX_INDEX: usize = 10;

/// Labels in which Docker repeats a record's name.
const NAME_LABELS: [&str; 2] = [
    "io.containerd.image.name",
    "org.opencontainers.image.ref.name",
];
/// Snapshotters of containerd, Docker, nerdctl and related projects. One that is no longer loaded
/// may have given its name to images earlier.
const SNAPSHOTTERS: [&str; 14] = [
    "blockfile",
    "btrfs",
    "cvmfs-snapshotter",
    "devmapper",
    "erofs",
    "fuse-overlayfs",
    "native",
    "nydus",
    "overlaybd",
    "overlayfs",
    "soci",
    "stargz",
    "windows",
    "zfs",
];

/// The prefix of ctr's name for an image that has no name in an archive; the day and the digest
/// follow.
const IMPORT_PREFIX: &str = "import-";
/// Label in which the classic builder stores the parent image.
const PARENT_KEY: &str = "org.mobyproject.image.parent";

/// What an image record points at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// What kind of document it is.
    pub media_type: String,
    /// Which blob.
    pub digest: Digest,
    /// Length of the blob in bytes, as the descriptor has it.
    pub size: u64,
    /// Annotations of the descriptor, needed to restore the record as it was.
    pub annotations: BTreeMap<String, String>,
}

impl Target {
    /// Returns the kind of the target by the record's descriptor.
    pub fn kind(&self) -> DocumentKind {
        DocumentKind::of_media_type(&self.media_type)
    }
}

/// An image: a record, name → target descriptor, in one namespace. Not its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRecord {
    /// The key: a reference, or any text.
    pub name: String,
    /// What it points at.
    pub target: Target,
    /// All labels of the record.
    pub labels: BTreeMap<String, String>,
    /// When the record was made; re-pulling a tag does not change it.
    pub created_at: Option<Timestamp>,
    /// When the record was last written.
    pub updated_at: Option<Timestamp>,
    /// What the collector follows from the record's own labels.
    pub gc: GcLabels,
    /// When the record ceases to hold its target (`gc.expire`, containerd 2.0 and newer).
    pub expires: Option<Timestamp>,
}

impl ImageRecord {
    /// Whether the CRI plugin manages the record; it keeps several for one image.
    pub fn is_cri_managed(&self) -> bool {
        self.has_label(MANAGED_KEY, MANAGED_VALUE)
    }

    /// Whether the references of the record's labels can be held while the record is removed: by a
    /// label of the same kind on another object, with a number of at most nine digits in its key.
    /// If a label is so long that no other can refer to the same, they cannot.
    pub fn is_holdable(&self) -> bool {
        self.labels.iter().all(|(key, value)| {
            gc_ref_kind(key).is_none_or(|kind| kind.len() + MAX_INDEX + value.len() <= MAX_LABEL)
        })
    }

    /// Whether the record has no usable name.
    ///
    /// That is Docker's `moby-dangling@<own target>` (a record of that form for another digest has
    /// a name), and the names by which nerdctl keeps an image whose last name was removed by
    /// force: `:` and `<none>…`. A name with only a digest, or one that is not a reference, is
    /// still a name. Whether a made-up name ([`Self::has_made_up_name`]) counts depends on the
    /// other names of the target, which a record does not know.
    pub fn is_dangling(&self) -> bool {
        is_nameless(&self.name, &self.target.digest)
    }

    /// Whether a tool made the name up, because the user gave none: `overlayfs@<own target>`, which
    /// nerdctl derives from the snapshotter's name when it loads or builds, or
    /// `import-2026-01-31@<own target>`, which ctr derives from the day.
    ///
    /// `is_snapshotter` recognises names in addition to the well-known ones. A name of that form
    /// for another digest was given by a user.
    pub fn has_made_up_name(&self, is_snapshotter: impl Fn(&str) -> bool) -> bool {
        let Some((prefix, digest)) = self.name.split_once('@') else {
            return false;
        };
        let is_own = || digest.parse().as_ref() == Ok(&self.target.digest);
        (is_import(prefix) || SNAPSHOTTERS.contains(&prefix) || is_snapshotter(prefix)) && is_own()
    }

    /// Returns the record under the name that Docker gives an image without one.
    ///
    /// It keeps what the record kept, but never expires; labels that repeat the name are left out.
    ///
    /// Source: moby, `daemon/containerd/soft_delete.go`.
    #[must_use]
    pub fn without_name(&self) -> Self {
        let mut labels = self.labels.clone();
        labels.retain(|key, _| !NAME_LABELS.contains(&key.as_str()) && key != EXPIRE);
        Self {
            name: format!("{DANGLING_PREFIX}{}", self.target.digest),
            target: self.target.clone(),
            gc: GcLabels::parse(labels.iter().map(|(key, value)| (&**key, &**value))),
            labels,
            created_at: self.created_at,
            updated_at: None,
            expires: None,
        }
    }

    /// Returns the target of the image from which the classic builder made this one.
    pub fn parent(&self) -> Option<Digest> {
        self.labels.get(PARENT_KEY)?.parse().ok()
    }

    fn has_label(&self, key: &str, value: &str) -> bool {
        self.labels.get(key).is_some_and(|found| found == value)
    }
}

/// Whether the name of a record is not a usable one; see [`ImageRecord::is_dangling`].
fn is_nameless(name: &str, target: &Digest) -> bool {
    let digest = name.strip_prefix(DANGLING_PREFIX);
    let is_mobys = digest.is_some_and(|digest| digest.parse().as_ref() == Ok(target));
    is_mobys || name == ":" || name.starts_with("<none>")
}

/// Whether a text is the prefix of a made-up name of ctr: `import-` and a day.
fn is_import(text: &str) -> bool {
    const DAY: &str = "0000-00-00";
    text.strip_prefix(IMPORT_PREFIX).is_some_and(|day| {
        let is_like = |(byte, like): (u8, u8)| match like {
            b'0' => byte.is_ascii_digit(),
            like => byte == like,
        };
        day.len() == DAY.len() && day.bytes().zip(DAY.bytes()).all(is_like)
    })
}

/// Returns a record's name as Docker shows it: the familiar form, or the digest of a record without
/// a usable name.
pub fn shown_name(name: &str, target: &Digest) -> String {
    if is_nameless(name, target) {
        target.to_string()
    } else {
        familiar_name(name)
    }
}

/// The deepest level at which a document is read; the target of an image is level 0.
///
/// The image specification allows an index in an index without a limit. Images nest one level
/// (index, manifest, config: levels 0 to 2), some two. Digests make cycles impossible,
/// but not a chain of a million indexes.
pub const MAX_DOCUMENT_DEPTH: usize = 8;

/// The kind of a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DocumentKind {
    /// Lists manifests.
    Index,
    /// Lists one config and its layers.
    Manifest,
    /// An image configuration.
    Config,
    /// Anything else: a layer, an artifact. Never read.
    Leaf,
}

impl DocumentKind {
    /// Returns the kind for the media type of a descriptor.
    ///
    /// The text is compared exactly, as in containerd.
    ///
    /// Source: containerd `core/images/mediatypes.go`; moby for the two config types.
    pub fn of_media_type(media_type: &str) -> Self {
        match media_type {
            "application/vnd.oci.image.index.v1+json"
            | "application/vnd.docker.distribution.manifest.list.v2+json" => Self::Index,
            // A schema 1 manifest cannot be read, but is not a leaf.
            "application/vnd.oci.image.manifest.v1+json"
            | "application/vnd.docker.distribution.manifest.v2+json"
            | "application/vnd.docker.distribution.manifest.v1+json"
            | "application/vnd.docker.distribution.manifest.v1+prettyjws" => Self::Manifest,
            "application/vnd.oci.image.config.v1+json"
            | "application/vnd.docker.container.image.v1+json" => Self::Config,
            _ => Self::Leaf,
        }
    }
}

impl fmt::Display for DocumentKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Index => "index",
            Self::Manifest => "manifest",
            Self::Config => "image config",
            Self::Leaf => "leaf",
        })
    }
}

/// One entry of an index or manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    /// Which blob.
    pub digest: Digest,
    /// Length in bytes as the parent's descriptor has it.
    pub size: u64,
    /// Its kind.
    pub kind: DocumentKind,
    /// Whether it is one of BuildKit's attestations.
    pub is_attestation: bool,
    /// Whether its media type is that of a layer of an image. Artifacts list other leaves.
    pub is_layer: bool,
}

/// The contents of a blob that is an index, manifest or config.
///
/// These are the edges of the manifests. The collector follows the labels ([`GcLabels`]) instead;
/// the two are kept apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Document {
    /// Manifests in order.
    Index(Vec<Child>),
    /// Config, then layers.
    Manifest(Vec<Child>),
    /// The parts of an image configuration that decisions depend on.
    Config(Config),
    /// Read to its end, but its bytes do not match its digest, or no reader accepts them: why. What
    /// it was before is unknown.
    Torn(String),
    /// Present, but not read: why. A read error, or beyond Reclaim's own limits.
    NotRead(String),
}

impl Document {
    /// Returns the kind of the bytes; `None` if unknown.
    pub fn kind(&self) -> Option<DocumentKind> {
        match self {
            Self::Index(_) => Some(DocumentKind::Index),
            Self::Manifest(_) => Some(DocumentKind::Manifest),
            Self::Config(_) => Some(DocumentKind::Config),
            Self::Torn(_) | Self::NotRead(_) => None,
        }
    }

    /// Returns what it lists; empty for a config, and if unknown.
    pub fn children(&self) -> &[Child] {
        match self {
            Self::Index(children) | Self::Manifest(children) => children,
            Self::Config(_) | Self::Torn(_) | Self::NotRead(_) => &[],
        }
    }
}

/// The parts of an image configuration that decisions depend on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    /// Docker's image labels; not those of the record.
    pub labels: BTreeMap<String, String>,
    /// How many labels were left out because all together are too long.
    pub labels_left_out: usize,
    /// Chain ID of all layers, by which the unpacked image is found; `None` without layers.
    pub chain_id: Option<Digest>,
    /// When the image was built, by its own field. This is not evidence of age: reproducible builds
    /// write constants.
    pub built_at: Option<Timestamp>,
    /// The platform of the image, by its own field; boxed to keep the many configurations small.
    pub platform: Option<Box<Platform>>,
}

impl Config {
    /// Returns whether the image may have this label though it is not in the list; `kept` are the
    /// keys of labels that were not left out.
    pub fn may_have(&self, key: &str, kept: &BTreeSet<String>) -> bool {
        self.labels_left_out > 0 && !self.labels.contains_key(key) && !kept.contains(key)
    }
}

#[cfg(test)]
mod tests;
