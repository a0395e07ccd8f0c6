//! Labels: the key-value pairs on every record of containerd, ordered.

use std::collections::BTreeMap;

/// Labels of a blob, snapshot, image, container, lease or namespace.
pub type Labels = BTreeMap<String, String>;

/// Label that keeps a lease from following the labels of what it holds.
pub(crate) const GC_FLAT: &str = "containerd.io/gc.flat";

/// Label with the time, in RFC 3339, from which a lease no longer holds anything.
pub(crate) const GC_EXPIRE: &str = "containerd.io/gc.expire";

/// Label prefix of edges from a record to a blob; a name such as `.config` follows.
pub(crate) const GC_REF_CONTENT: &str = "containerd.io/gc.ref.content";

/// Label prefix of edges from a record to a snapshot; `.<snapshotter>` follows.
pub(crate) const GC_REF_SNAPSHOT: &str = "containerd.io/gc.ref.snapshot";

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
