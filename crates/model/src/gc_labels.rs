//! What containerd's collector reads from an object's labels.
//!
//! Every object may carry labels that steer collection. They are parsed once, when the object is
//! listed, into the references below. Which of them count depends on the server's version and is
//! decided when the graph is built.
//!
//! Source: containerd `docs/garbage-collection.md` and `core/metadata/gc.go`.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::LazyLock;

use jiff::Timestamp;

use crate::until::parse_rfc3339;
use crate::{ConditionalLabels, Digest, SnapshotId};

const PREFIX: &str = "containerd.io/gc.";
/// The prefix of labels that name what an object keeps.
const REF: &str = "containerd.io/gc.ref.";
const CONTENT_REF: &str = "containerd.io/gc.ref.content";
const SNAPSHOT_REF: &str = "containerd.io/gc.ref.snapshot";
const IMAGE_REF: &str = "containerd.io/gc.ref.image";
/// Label of leases and images: when they stop holding, RFC 3339.
pub const EXPIRE: &str = "containerd.io/gc.expire";
/// Label of leases: they hold what they list, but not what that refers to.
pub const FLAT: &str = "containerd.io/gc.flat";

/// One end of a reference between objects of the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum GcRef {
    /// A blob.
    Content(Digest),
    /// Content under a key that is not a digest. There is no such blob, but if one object refers to
    /// the key and another attaches itself to it, the first keeps the second.
    NoContent(Box<str>),
    /// A snapshot.
    Snapshot(SnapshotId),
    /// An image record, by name (containerd 2.0 and newer).
    Image(Box<str>),
    /// A container record, by ID (containerd 2.2 and newer).
    Container(Box<str>),
}

/// Whether an object is kept for its own sake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RootMark {
    /// No `gc.root` label.
    #[default]
    None,
    /// The exact label `containerd.io/gc.root`.
    Exact,
    /// Only labels with that prefix: a root from containerd 2.2 on.
    Prefixed,
}

/// The collector's view of one object's labels: a [`GcLabelSet`], which is one pointer because millions
/// of objects have no such label.
#[derive(Clone, Default)]
pub struct GcLabels(Option<Box<GcLabelSet>>);

/// The labels of one object that steer its collection.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GcLabelSet {
    /// `gc.root`.
    pub root: RootMark,
    /// `gc.ref.*`: what this object keeps.
    pub refs: Box<[GcRef]>,
    /// `gc.bref.*`: what keeps this object.
    pub back_refs: Box<[GcRef]>,
    /// `gc.cond.*`. Boxed: few objects have any.
    pub conditional: Option<Box<ConditionalLabels>>,
}

static NONE: LazyLock<GcLabelSet> = LazyLock::new(GcLabelSet::default);

impl Deref for GcLabels {
    type Target = GcLabelSet;

    fn deref(&self) -> &GcLabelSet {
        self.get().unwrap_or_else(|| &NONE)
    }
}

impl DerefMut for GcLabels {
    fn deref_mut(&mut self) -> &mut GcLabelSet {
        self.0.get_or_insert_default()
    }
}

impl PartialEq for GcLabels {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for GcLabels {}

impl fmt::Debug for GcLabels {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, formatter)
    }
}

impl From<GcLabelSet> for GcLabels {
    fn from(labels: GcLabelSet) -> Self {
        Self((labels != GcLabelSet::default()).then(|| Box::new(labels)))
    }
}

impl GcLabels {
    /// Reads the references out of an object's labels.
    ///
    /// Labels that containerd's collector ignores are ignored here: unknown kinds, and names that
    /// do not continue with `.` or `/`.
    pub fn parse<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut root = RootMark::None;
        let mut refs = Vec::new();
        let mut back_refs = Vec::new();
        let mut conditional = ConditionalLabels::default();
        for (key, value) in labels {
            let Some(rest) = key.strip_prefix(PREFIX) else {
                continue;
            };
            if rest == "root" {
                root = RootMark::Exact;
            } else if rest.starts_with("root") && root == RootMark::None {
                root = RootMark::Prefixed;
            } else if let Some(kind) = rest.strip_prefix("ref.") {
                refs.extend(parse_reference(kind, value));
            } else if let Some(kind) = rest.strip_prefix("bref.") {
                back_refs.extend(parse_back_reference(kind, value));
            } else if let Some(rest) = rest.strip_prefix("cond.") {
                conditional.add(rest, value);
            }
        }
        // A label map has no order; the inventory has one.
        refs.sort_unstable();
        back_refs.sort_unstable();
        conditional.sort();
        let labels = GcLabelSet {
            root,
            refs: refs.into(),
            back_refs: back_refs.into(),
            conditional: (!conditional.is_empty()).then(|| Box::new(conditional)),
        };
        labels.into()
    }

    /// Returns the labels; `None` if the object may have none.
    pub fn get(&self) -> Option<&GcLabelSet> {
        self.0.as_deref()
    }
}

/// Returns the keys of the labels by which an object keeps another one, sorted.
pub fn keys_that_refer<'a>(
    labels: impl IntoIterator<Item = (&'a str, &'a str)>,
    to: &GcRef,
) -> Vec<String> {
    keys(labels, |labels| {
        let GcLabelSet {
            root: _,
            refs,
            back_refs: _,
            conditional,
        } = &**labels;
        let conditional = conditional.iter().flat_map(|it| &it.refs);
        let mut conditional = conditional.map(|it| &it.snapshot);
        refs.contains(to) || conditional.any(|it| matches!(to, GcRef::Snapshot(id) if id == it))
    })
}

/// Returns the keys of the labels by which an object attaches itself to another one, sorted.
pub fn keys_that_attach<'a>(
    labels: impl IntoIterator<Item = (&'a str, &'a str)>,
    to: &GcRef,
) -> Vec<String> {
    keys(labels, |labels| labels.back_refs.contains(to))
}

fn keys<'a>(
    labels: impl IntoIterator<Item = (&'a str, &'a str)>,
    is_meant: impl Fn(&GcLabels) -> bool,
) -> Vec<String> {
    let labels = labels.into_iter();
    let meant = labels.filter(|(key, value)| is_meant(&GcLabels::parse([(*key, *value)])));
    let mut keys: Vec<String> = meant.map(|(key, _)| key.to_owned()).collect();
    keys.sort_unstable();
    keys
}

/// Returns the kind of a label that names what an object keeps (`gc.ref.*`): its key without the
/// suffix that only distinguishes it from others of its kind. An unknown kind stays whole; other
/// labels return `None`.
///
/// Source: containerd, `core/metadata/gc.go`: after `content` and `image` anything may follow, after
/// a snapshotter's name what begins with a slash.
pub fn gc_ref_kind(key: &str) -> Option<&str> {
    key.strip_prefix(REF)?;
    for kind in [CONTENT_REF, IMAGE_REF] {
        let rest = key.strip_prefix(kind);
        if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '/'])) {
            return Some(kind);
        }
    }
    let rest = key.strip_prefix(SNAPSHOT_REF);
    let slash = rest.and_then(|rest| rest.find('/'));
    Some(slash.map_or(key, |slash| &key[..SNAPSHOT_REF.len() + slash]))
}

/// Whether `kind` is `word`, alone or with a name after `.` or `/`.
fn is_kind(kind: &str, word: &str) -> bool {
    kind.strip_prefix(word)
        .is_some_and(|name| name.is_empty() || name.starts_with(['.', '/']))
}

fn parse_reference(kind: &str, value: &str) -> Option<GcRef> {
    if is_kind(kind, "content") {
        let digest = value.parse().map(GcRef::Content);
        Some(digest.unwrap_or_else(|_| GcRef::NoContent(value.into())))
    } else if is_kind(kind, "image") {
        Some(GcRef::Image(value.into()))
    } else {
        parse_snapshot_reference(kind, value)
    }
}

fn parse_back_reference(kind: &str, value: &str) -> Option<GcRef> {
    if is_kind(kind, "container") {
        Some(GcRef::Container(value.into()))
    } else {
        parse_reference(kind, value)
    }
}

fn parse_snapshot_reference(kind: &str, value: &str) -> Option<GcRef> {
    let named = kind.strip_prefix("snapshot.")?;
    let snapshotter = named.split('/').next().unwrap_or(named);
    Some(GcRef::Snapshot(SnapshotId::new(snapshotter, value)))
}

/// Reads a `gc.expire` value; like containerd, a value that is not a time returns `None`, which
/// means "never".
///
/// Exactly Go's rules apply: a value that containerd does not understand never expires for it, and
/// must not for Reclaim; one that it does understand expires for both.
pub fn parse_expiry(value: &str) -> Option<Timestamp> {
    parse_rfc3339(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    fn refs(key: &str, value: &str) -> Vec<GcRef> {
        GcLabels::parse([(key, value)]).refs.to_vec()
    }

    #[test]
    fn reads_every_spelling_that_containerd_follows() {
        let content = GcRef::Content(A.parse().unwrap());
        for key in [
            "content",
            "content.config",
            "content.l.0",
            "content/x",
            "content.m.1/y",
        ] {
            let key = format!("containerd.io/gc.ref.{key}");
            assert_eq!(refs(&key, A), std::slice::from_ref(&content), "{key}");
        }
        for key in [
            "snapshot.overlayfs",
            "snapshot.overlayfs/x",
            "snapshot.overlayfs/x/y",
        ] {
            let key = format!("containerd.io/gc.ref.{key}");
            let expected = GcRef::Snapshot(SnapshotId::new("overlayfs", "k/1"));
            assert_eq!(refs(&key, "k/1"), [expected], "{key}");
        }
        let back = GcLabels::parse([("containerd.io/gc.bref.container.x", "web")]);
        let back = &back.back_refs;
        assert_eq!(back.to_vec(), [GcRef::Container("web".into())]);
    }

    #[test]
    fn a_key_that_is_no_digest_is_a_key_all_the_same() {
        for key in [
            "containerd.io/gc.ref.content",
            "containerd.io/gc.bref.content",
        ] {
            let labels = GcLabels::parse([(key, "not a digest")]);
            let both = [&*labels.refs, &*labels.back_refs].concat();
            assert_eq!(both, [GcRef::NoContent("not a digest".into())]);
        }
    }

    #[test]
    fn finds_the_labels_of_a_reference() {
        let b = format!("sha256:{}", "b".repeat(64));
        let labels = [
            ("containerd.io/gc.ref.content.l.1", A),
            ("containerd.io/gc.ref.content.0", A),
            ("containerd.io/gc.ref.content.2", &*b),
            ("containerd.io/gc.ref.snapshot.native", A),
            ("containerd.io/gc.bref.content.x", A),
            ("containerd.io/distribution.source.x", A),
        ];
        let a = GcRef::Content(A.parse().unwrap());
        let expected = [
            "containerd.io/gc.ref.content.0",
            "containerd.io/gc.ref.content.l.1",
        ];
        assert_eq!(keys_that_refer(labels, &a), expected);
        let attached = ["containerd.io/gc.bref.content.x"];
        assert_eq!(keys_that_attach(labels, &a), attached);
        let top = GcRef::Snapshot(SnapshotId::new("native", A));
        let snapshot = ["containerd.io/gc.ref.snapshot.native"];
        assert_eq!(keys_that_refer(labels, &top), snapshot);
        let other = GcRef::Snapshot(SnapshotId::new("overlayfs", A));
        assert_eq!(keys_that_refer(labels, &other), Vec::<String>::new());
    }

    #[test]
    fn ignores_what_containerd_ignores() {
        for (key, value) in [
            ("containerd.io/gc.ref.contentX", A),
            ("containerd.io/gc.ref.snapshot", "key"),
            ("containerd.io/gc.ref.container", "web"),
            ("containerd.io/gc.ref", A),
            ("example.com/gc.ref.content", A),
        ] {
            assert_eq!(
                GcLabels::parse([(key, value)]),
                GcLabels::default(),
                "{key}"
            );
        }
    }

    #[test]
    fn tells_exact_from_prefixed_roots() {
        let root = |keys: &[&str]| GcLabels::parse(keys.iter().map(|key| (*key, "x"))).root;
        assert_eq!(root(&["containerd.io/gc.root"]), RootMark::Exact);
        assert_eq!(root(&["containerd.io/gc.rooted"]), RootMark::Prefixed);
        assert_eq!(
            root(&["containerd.io/gc.root", "containerd.io/gc.root.x"]),
            RootMark::Exact
        );
        assert_eq!(root(&["containerd.io/gc.roo"]), RootMark::None);
    }

    #[test]
    fn an_expiry_that_containerd_cannot_parse_never_comes() {
        for good in [
            "2026-01-02T03:04:05Z",
            "2026-01-02T03:04:05.999999999Z",
            "2026-01-02T03:04:05+07:00",
            // More than RFC 3339 allows, and Go does.
            "2026-01-02T3:04:05Z",
            "2026-01-02T03:04:05,5Z",
            "2026-01-02T03:04:05.1234567890123Z",
            "2026-01-02T03:04:05+24:60",
            "0000-01-01T00:00:00+23:59",
            "9999-12-31T23:59:59-23:59",
        ] {
            assert!(parse_expiry(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "soon",
            "2026-01-02",
            "2026-01-02 03:04:05Z",
            "2026-01-02T03:04:05",
            "2026-01-02T03:04:05+0700",
            "2026-01-02T03:04:05.Z",
            "2026-01-02t03:04:05z",
            "2026-13-02T03:04:05Z",
            "2026-02-30T03:04:05Z",
            "2026-01-02T24:00:00Z",
            // A leap second, which Go does not accept.
            "2026-01-02T03:04:60Z",
            "2026-01-02T03:04:05+25:00",
            "2026-01-02T03:04:05+00:61",
            "2026-01-02T03:04:05z",
            "2026-01-02T03:04:05Z[UTC]",
            "2026-01-02T03:04:0é",
        ] {
            assert_eq!(parse_expiry(bad), None, "{bad}");
        }
    }

    #[test]
    fn an_ending_that_only_tells_labels_apart_is_no_part_of_their_kind() {
        for (key, kind) in [
            ("content", Some("content")),
            ("content.l.0", Some("content")),
            ("content/x", Some("content")),
            ("image.a", Some("image")),
            ("snapshot.native", Some("snapshot.native")),
            ("snapshot.native/x/y", Some("snapshot.native")),
            ("contents", Some("contents")),
            ("volume.x/y", Some("volume.x/y")),
        ] {
            let of = |it| format!("containerd.io/gc.ref.{it}");
            assert_eq!(gc_ref_kind(&of(key)), kind.map(of).as_deref(), "{key}");
        }
        assert_eq!(gc_ref_kind("containerd.io/gc.root"), None);
        assert_eq!(gc_ref_kind("team"), None);
    }
}
