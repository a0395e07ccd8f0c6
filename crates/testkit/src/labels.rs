//! Labels: the key-value pairs of containerd's objects.

use std::collections::BTreeMap;

/// Labels of a blob, snapshot, image, container, lease or namespace.
pub type Labels = BTreeMap<String, String>;

/// The label of a lease that holds only what it lists, without following labels.
pub(crate) const GC_FLAT: &str = "containerd.io/gc.flat";

/// The label with the time, in RFC 3339, at which a lease expires.
pub(crate) const GC_EXPIRE: &str = "containerd.io/gc.expire";

/// The prefix of labels that refer to a blob; a name such as `.config` follows.
pub(crate) const GC_REF_CONTENT: &str = "containerd.io/gc.ref.content";

/// The prefix of labels that refer to a snapshot; `.<snapshotter>` follows.
pub(crate) const GC_REF_SNAPSHOT: &str = "containerd.io/gc.ref.snapshot";

/// The label that makes an object a root of the collector.
pub(crate) const GC_ROOT: &str = "containerd.io/gc.root";

/// Returns the pairs as [`Labels`].
pub fn labels<K, V>(pairs: impl IntoIterator<Item = (K, V)>) -> Labels
where
    K: Into<String>,
    V: Into<String>,
{
    pairs
        .into_iter()
        .map(|(key, value)| (key.into(), value.into()))
        .collect()
}
