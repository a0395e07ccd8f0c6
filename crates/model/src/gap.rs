//! Gaps: what could not be read, as values.

use std::fmt;

use crate::{GcRef, Snapshotter};

/// Something that could not be read. Everything that it may hide is kept, and nothing else.
///
/// | Gap | may use an image | may hold bytes |
/// |---|---|---|
/// | `Snapshotter`, configured | one that is unpacked there, or whose contents are unknown | everything in the namespace |
/// | `Snapshotter`, not configured | the same, if a container, lease or sandbox names a snapshot there and neither its image name nor its digest leads to an image | everything in the namespace |
/// | `Content` | none | what its labels refer to |
/// | `Image` | none; the record itself stays | what its labels refer to |
/// | `List` of the namespace that is pruned | any, but for sandboxes only if they can hold; none for ingests | likewise |
/// | `List` of another namespace | none | the content that this namespace has, too |
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gap {
    /// The snapshots of one snapshotter.
    Snapshotter {
        /// Its name.
        name: Snapshotter,
        /// Whether containerd has it loaded. If not, only a record or a lease still names it.
        is_configured: bool,
        /// The server's error.
        why: String,
    },
    /// A list that could not be read.
    List {
        /// What it lists.
        list: List,
        /// The server's error.
        why: String,
    },
    /// An image record whose target has an unknown digest algorithm.
    Image {
        /// The record's name.
        name: String,
        /// The target's digest as the server gave it.
        target: String,
        /// What the record's labels refer to, and so may keep.
        refs: Box<[GcRef]>,
    },
    /// Content with an unknown digest algorithm.
    Content {
        /// The digest as the server gave it.
        digest: String,
        /// Length in bytes.
        bytes: u64,
        /// What its labels refer to, and so may keep.
        refs: Box<[GcRef]>,
    },
}

impl fmt::Display for Gap {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Snapshotter {
                name,
                is_configured: true,
                why,
            } => write!(
                formatter,
                "snapshots of `{name}` cannot be listed; images unpacked there are kept: {why}"
            ),
            Self::Snapshotter {
                name,
                is_configured: false,
                why,
            } => write!(
                formatter,
                "snapshotter `{name}` is not configured any more, but a container or lease \
                 still names it: {why}; hint: configure it again, or remove that container or \
                 lease"
            ),
            Self::List { list, why } => write!(formatter, "{list} cannot be listed: {why}"),
            Self::Image { name, target, .. } => write!(
                formatter,
                "image `{name}` is kept: its target `{target}` is of an unknown algorithm"
            ),
            Self::Content { digest, .. } => {
                write!(formatter, "content `{digest}` is of an unknown algorithm")
            }
        }
    }
}

/// What a [`Gap::List`] lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum List {
    /// Image records.
    Images,
    /// Leases and their resources.
    Leases,
    /// Containers.
    Containers,
    /// Sandboxes.
    Sandboxes,
    /// Blobs.
    Content,
    /// Blobs being written.
    Ingests,
}

impl fmt::Display for List {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Images => "images",
            Self::Leases => "leases",
            Self::Containers => "containers",
            Self::Sandboxes => "sandboxes",
            Self::Content => "content",
            Self::Ingests => "ingests",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_says_what_cannot_be_seen() {
        let snapshotter = |is_configured| Gap::Snapshotter {
            name: "stargz".into(),
            is_configured,
            why: "no such plugin".to_owned(),
        };
        assert_eq!(
            snapshotter(true).to_string(),
            "snapshots of `stargz` cannot be listed; images unpacked there are kept: no such plugin"
        );
        assert_eq!(
            snapshotter(false).to_string(),
            "snapshotter `stargz` is not configured any more, but a container or lease still \
             names it: no such plugin; hint: configure it again, or remove that container or lease"
        );
        let list = Gap::List {
            list: List::Sandboxes,
            why: "too large".to_owned(),
        };
        assert_eq!(list.to_string(), "sandboxes cannot be listed: too large");
        let image = Gap::Image {
            name: "app:1".to_owned(),
            target: "blake3:00".to_owned(),
            refs: Box::default(),
        };
        assert_eq!(
            image.to_string(),
            "image `app:1` is kept: its target `blake3:00` is of an unknown algorithm"
        );
        let content = Gap::Content {
            digest: "blake3:00".to_owned(),
            bytes: 1,
            refs: Box::default(),
        };
        assert_eq!(
            content.to_string(),
            "content `blake3:00` is of an unknown algorithm"
        );
    }
}
