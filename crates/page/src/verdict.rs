//! The colours of the page: a class for each kind of reason why bytes are on disk.

use reclaim_model::Column;

/// A kind of reason, with its class in the style sheet and its name in the legend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Used,
    Kept,
    Unknown,
    Held,
    Unused,
    Garbage,
    Elsewhere,
}

impl Kind {
    pub(crate) const ALL: [Self; 7] = [
        Self::Used,
        Self::Kept,
        Self::Unknown,
        Self::Held,
        Self::Unused,
        Self::Garbage,
        Self::Elsewhere,
    ];

    pub(crate) fn of(column: Column) -> Self {
        match column {
            Column::InUse => Self::Used,
            Column::Pinned | Column::Spared => Self::Kept,
            Column::Unjudged | Column::Unknown => Self::Unknown,
            Column::Rooted
            | Column::Leased
            | Column::BuildCache
            | Column::Undo
            | Column::Ingest => Self::Held,
            Column::Unused | Column::Dangling => Self::Unused,
            Column::Expired | Column::Pending | Column::Orphaned => Self::Garbage,
            Column::Elsewhere => Self::Elsewhere,
        }
    }

    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::Used => "used",
            Self::Kept => "kept",
            Self::Unknown => "unknown",
            Self::Held => "held",
            Self::Unused => "unused",
            Self::Garbage => "garbage",
            Self::Elsewhere => "elsewhere",
        }
    }

    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Used => "in use",
            Self::Kept => "pinned or protected",
            Self::Unknown => "use unknown",
            Self::Held => "held by leases, an undo window or a build cache",
            Self::Unused => "unused: a prune frees it",
            Self::Garbage => "garbage: the next collection frees it",
            Self::Elsewhere => "unused here, kept by another namespace",
        }
    }
}

/// Returns why bytes of a column are on disk.
pub(crate) fn why(column: Column) -> &'static str {
    match column {
        Column::InUse => "in use by a container",
        Column::Pinned => "of a pinned or protected image",
        Column::Unjudged => "of an image whose use is unknown",
        Column::Rooted => "held by a gc.root label",
        Column::Leased => "held by a lease",
        Column::BuildCache => "held by a build cache",
        Column::Undo => "removed, and held until its undo window ends",
        Column::Spared => "of an image that a filter keeps",
        Column::Unused => "unused: `image prune -a` frees it",
        Column::Dangling => "of an image without a name: `image prune` frees it",
        Column::Elsewhere => "unused here, kept by another namespace",
        Column::Expired => "garbage of an expired lease or image",
        Column::Pending => "garbage that containerd has not collected yet",
        Column::Unknown => "content of an unknown digest algorithm",
        Column::Ingest => "being written",
        Column::Orphaned => "a file that no namespace has",
    }
}
