//! The columns, and how much is in each.

use std::collections::BTreeMap;

use reclaim_model::Amount;
use serde::Serialize;

/// Why bytes are on disk, in the order in which the reasons claim them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Column {
    /// Containers, sandboxes, and images that somebody uses.
    InUse,
    /// Images that are pinned.
    Pinned,
    /// Images of which it cannot be told whether somebody uses them.
    Unjudged,
    /// Held by a `gc.root` label.
    Rooted,
    /// Held by a lease.
    Leased,
    /// Held by a lease of a build cache.
    BuildCache,
    /// Removed by us, and held so that it can be restored.
    Undo,
    /// Images that a filter spares.
    Spared,
    /// Freed by a prune of all unused images, but not by one of dangling images only.
    Unused,
    /// Freed by a prune of dangling images.
    Dangling,
    /// Let go here, and kept by another namespace.
    Elsewhere,
    /// Garbage that an expired lease or image still names.
    Expired,
    /// Garbage: nothing names it any more.
    Pending,
    /// Content of an algorithm that is not known here.
    Unknown,
    /// Being written.
    Ingest,
    /// Files of the content store that no namespace has.
    Orphaned,
}

impl Column {
    /// Whether something keeps what is in this column from the next collection.
    pub(super) fn is_kept(self) -> bool {
        self < Self::Elsewhere
    }
}

/// How much is in each column. Columns with nothing in them are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Account {
    columns: BTreeMap<Column, Amount>,
}

impl Account {
    /// Returns what is in a column.
    pub fn column(&self, column: Column) -> Amount {
        self.columns.get(&column).copied().unwrap_or_default()
    }

    /// Returns every column that has something in it, in order.
    pub fn columns(&self) -> impl Iterator<Item = (Column, Amount)> {
        self.columns
            .iter()
            .map(|(column, amount)| (*column, *amount))
    }

    /// Adds up some columns.
    pub fn sum(&self, of: impl Fn(Column) -> bool) -> Amount {
        let columns = self.columns().filter(|(column, _)| of(*column));
        columns.fold(Amount::default(), |sum, (_, amount)| sum + amount)
    }

    /// Adds up all columns.
    pub fn total(&self) -> Amount {
        self.sum(|_| true)
    }

    /// Returns what a prune of all unused images frees, dangling ones included.
    pub fn reclaimable(&self) -> Amount {
        self.sum(|column| matches!(column, Column::Unused | Column::Dangling))
    }

    pub(crate) fn add_blob(&mut self, column: Column, bytes: u64) {
        let amount = self.columns.entry(column).or_default();
        amount.content_bytes += bytes;
        amount.blobs += 1;
    }

    pub(crate) fn add_snapshot(&mut self, column: Column, bytes: Option<u64>) {
        let amount = self.columns.entry(column).or_default();
        amount.snapshot_bytes += bytes.unwrap_or(0);
        amount.snapshots += 1;
        amount.unmeasured += usize::from(bytes.is_none());
    }
}

impl FromIterator<(Column, Amount)> for Account {
    fn from_iter<T: IntoIterator<Item = (Column, Amount)>>(columns: T) -> Self {
        Self {
            columns: columns.into_iter().collect(),
        }
    }
}
