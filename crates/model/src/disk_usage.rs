//! Disk usage: what images, namespaces and a whole containerd occupy.
//!
//! The JSON form of each type is its form in `docs/json.md`. Values that follow from others are
//! written there too, and are ignored when the form is read.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};

use crate::{
    Amount, Digest, Freeable, Holder, HolderKind, KeepReason, LeaseHolding, Namespace,
    OutsideRecords, RemoveReason,
};

/// The size of one image, in bytes: apparent bytes of content, allocated bytes of snapshots.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct ImageSize {
    /// All blobs of the image that are present.
    pub content_bytes: u64,
    /// All snapshots to which it is unpacked, in every snapshotter.
    pub unpacked_bytes: u64,
    /// The part of both that images with another target have too.
    pub shared_bytes: u64,
}

impl ImageSize {
    /// Returns content and snapshots together.
    pub fn total_bytes(self) -> u64 {
        self.content_bytes.saturating_add(self.unpacked_bytes)
    }

    /// Returns what no image with another target has.
    pub fn unique_bytes(self) -> u64 {
        self.total_bytes().saturating_sub(self.shared_bytes)
    }
}

impl Serialize for ImageSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut form = serializer.serialize_struct("ImageSize", 4)?;
        form.serialize_field("content_bytes", &self.content_bytes)?;
        form.serialize_field("unpacked_bytes", &self.unpacked_bytes)?;
        form.serialize_field("shared_bytes", &self.shared_bytes)?;
        form.serialize_field("unique_bytes", &self.unique_bytes())?;
        form.end()
    }
}

/// Why bytes are on disk, in the order in which the reasons claim them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Column {
    /// Containers, sandboxes, and images in use.
    InUse,
    /// Images that are pinned.
    Pinned,
    /// Images whose use is unknown.
    Unjudged,
    /// Held by a `gc.root` label.
    Rooted,
    /// Held by a lease.
    Leased,
    /// Held by a lease of a build cache.
    BuildCache,
    /// Removed by Reclaim, and held so that it can be restored.
    Undo,
    /// Images that a filter spares.
    Spared,
    /// Freed by a prune of all unused images, but not by one of dangling images only.
    Unused,
    /// Freed by a prune of dangling images.
    Dangling,
    /// Released in this namespace, and kept by another one.
    Elsewhere,
    /// Garbage that an expired lease or image still names.
    Expired,
    /// Garbage that nothing names any more.
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
    pub fn is_kept(self) -> bool {
        self < Self::Elsewhere
    }

    /// Whether removing images frees what is in this column, if no other namespace keeps it.
    pub fn is_released(self) -> bool {
        self >= Self::Unused
    }
}

/// How much is in each column. Columns with nothing in them are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct UsageByColumn {
    columns: BTreeMap<Column, Amount>,
}

impl UsageByColumn {
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

    /// Returns what the next collection frees without any removal.
    pub fn garbage(&self) -> Amount {
        self.sum(|column| matches!(column, Column::Expired | Column::Pending))
    }

    /// Adds a blob to a column.
    pub fn add_blob(&mut self, column: Column, bytes: u64) {
        let amount = self.columns.entry(column).or_default();
        amount.content_bytes += bytes;
        amount.blobs += 1;
    }

    /// Adds a snapshot to a column; `None` is an unknown size.
    pub fn add_snapshot(&mut self, column: Column, bytes: Option<u64>) {
        let amount = self.columns.entry(column).or_default();
        amount.snapshot_bytes += bytes.unwrap_or(0);
        amount.snapshots += 1;
        amount.unmeasured += usize::from(bytes.is_none());
    }
}

impl FromIterator<(Column, Amount)> for UsageByColumn {
    fn from_iter<T: IntoIterator<Item = (Column, Amount)>>(columns: T) -> Self {
        Self {
            columns: columns.into_iter().collect(),
        }
    }
}

impl Serialize for UsageByColumn {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Reclaimable {
            prune: Amount,
            prune_all: Amount,
        }
        let reclaimable = Reclaimable {
            prune: self.column(Column::Dangling),
            prune_all: self.reclaimable(),
        };
        let mut form = serializer.serialize_struct("UsageByColumn", 3)?;
        form.serialize_field("all", &self.total())?;
        form.serialize_field("columns", &self.columns)?;
        form.serialize_field("reclaimable", &reclaimable)?;
        form.end()
    }
}

/// Where the bytes of a containerd are.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct DiskUsage {
    /// Everything, each byte once.
    pub total: UsageByColumn,
    /// Each namespace by itself, sorted by name.
    pub namespaces: Vec<NamespaceUsage>,
    /// Whether the files that no namespace has could be seen.
    pub orphaned_known: bool,
    /// What containerd's directories hold outside of records; `None` if they cannot be seen.
    pub outside_records: Option<OutsideRecords>,
    /// What could not be seen, for a person.
    pub warnings: Vec<String>,
}

impl DiskUsage {
    /// Returns all bytes that are known of, and whether there are no others.
    pub fn on_disk(&self) -> (u64, bool) {
        let recorded = self.total.total().total_bytes();
        let Some(outside) = &self.outside_records else {
            return (recorded, false);
        };
        let unrecorded: u64 = outside.unrecorded.iter().map(|it| it.bytes).sum();
        let bytes = recorded
            .saturating_add(unrecorded)
            .saturating_add(outside.own_bytes);
        (bytes, outside.is_whole() && self.orphaned_known)
    }

    /// Leaves out the lists of images and leases.
    #[must_use]
    pub fn without_details(mut self) -> Self {
        for namespace in &mut self.namespaces {
            namespace.image_usage = None;
            namespace.leases = None;
        }
        self
    }
}

impl Serialize for DiskUsage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct OnDisk {
            bytes: u64,
            whole: bool,
        }
        let (bytes, whole) = self.on_disk();
        // Everything by name, so that a new field cannot be forgotten here.
        let Self {
            total,
            namespaces,
            orphaned_known,
            outside_records,
            warnings,
        } = self;
        let mut form = serializer.serialize_struct("DiskUsage", 6)?;
        form.serialize_field("total", total)?;
        form.serialize_field("orphaned_known", orphaned_known)?;
        form.serialize_field("outside_records", outside_records)?;
        form.serialize_field("on_disk", &OnDisk { bytes, whole })?;
        form.serialize_field("namespaces", namespaces)?;
        form.serialize_field("warnings", warnings)?;
        form.end()
    }
}

/// Where the bytes of one namespace are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NamespaceUsage {
    /// Which.
    pub namespace: Namespace,
    /// How many images it has.
    pub images: usize,
    /// How many of them are in use.
    pub active: usize,
    /// Content in it that other namespaces have too, in bytes.
    pub shared_bytes: u64,
    /// Everything that the namespace has.
    #[serde(flatten)]
    pub usage: UsageByColumn,
    /// What each step would free alone; `None` in the answer of an older daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub freeable: Option<Freeable>,
    /// Its images, sorted by name; `None` if they are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_usage: Option<Vec<ImageUsage>>,
    /// Other processes' leases, those of containers too, that hold what no image and no container
    /// record needs, sorted; `None` if they are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leases: Option<Vec<LeaseHolding>>,
}

impl NamespaceUsage {
    /// Counts the images; the columns are still empty.
    pub fn new(namespace: Namespace, images: Vec<ImageUsage>, leases: Vec<LeaseHolding>) -> Self {
        let is_active = |image: &&ImageUsage| !image.holders.is_empty();
        Self {
            namespace,
            images: images.len(),
            active: images.iter().filter(is_active).count(),
            shared_bytes: 0,
            usage: UsageByColumn::default(),
            freeable: None,
            image_usage: Some(images),
            leases: Some(leases),
        }
    }
}

/// One image, and what removing it alone would do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageUsage {
    /// The record's name.
    pub name: String,
    /// What it points at.
    pub target: Digest,
    /// When the record was made.
    pub created: Option<Timestamp>,
    /// Its content, its snapshots, and what of both it shares with other images.
    #[serde(flatten)]
    pub size: ImageSize,
    /// What removing this record and nothing else would free; zero if it would stay.
    pub reclaimable_alone_bytes: u64,
    /// How many of the holders are containers.
    pub containers: usize,
    /// What uses it, under this name or another, sorted.
    pub holders: Vec<Holder>,
    /// What a prune of all unused images would do with it.
    #[serde(flatten, with = "VerdictForm")]
    pub verdict: Result<RemoveReason, KeepReason>,
}

impl ImageUsage {
    /// Counts the containers among holders.
    pub fn containers(holders: &[Holder]) -> usize {
        let is_container = |holder: &&Holder| holder.kind == HolderKind::Container;
        holders.iter().filter(is_container).count()
    }
}

/// The JSON form of a verdict without its holders.
#[derive(Serialize, Deserialize)]
#[serde(
    remote = "Result<RemoveReason, KeepReason>",
    tag = "verdict",
    content = "reason"
)]
enum VerdictForm {
    #[serde(rename = "remove")]
    Ok(RemoveReason),
    #[serde(rename = "keep")]
    Err(KeepReason),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Unrecorded;

    fn amount(content_bytes: u64, blobs: usize) -> Amount {
        Amount {
            content_bytes,
            blobs,
            ..Amount::default()
        }
    }

    #[test]
    fn columns_count_what_is_added_to_them() {
        let mut usage = UsageByColumn::default();
        usage.add_blob(Column::Unused, 10);
        usage.add_blob(Column::Unused, 20);
        usage.add_blob(Column::Dangling, 5);
        usage.add_snapshot(Column::InUse, Some(7));
        usage.add_snapshot(Column::InUse, Some(8));
        usage.add_snapshot(Column::InUse, None);
        assert_eq!(usage.column(Column::Unused), amount(30, 2));
        let in_use = Amount {
            snapshot_bytes: 15,
            snapshots: 3,
            unmeasured: 1,
            ..Amount::default()
        };
        assert_eq!(usage.column(Column::InUse), in_use);
        assert_eq!(usage.column(Column::Pinned), Amount::default());
        let columns: Vec<Column> = usage.columns().map(|(column, _)| column).collect();
        assert_eq!(columns, [Column::InUse, Column::Unused, Column::Dangling]);
        assert_eq!(usage.sum(Column::is_released), amount(35, 3));
        assert_eq!(usage.reclaimable(), amount(35, 3));
        assert_eq!(usage.total(), amount(35, 3) + in_use);
    }

    #[test]
    fn garbage_is_not_kept_and_only_images_are_released() {
        for (column, is_kept, is_released) in [
            (Column::InUse, true, false),
            (Column::Spared, true, false),
            (Column::Unused, true, true),
            (Column::Dangling, true, true),
            (Column::Elsewhere, false, true),
            (Column::Pending, false, true),
        ] {
            assert_eq!(column.is_kept(), is_kept, "{column:?}");
            assert_eq!(column.is_released(), is_released, "{column:?}");
        }
    }

    #[test]
    fn the_bytes_on_disk_are_whole_only_if_everything_was_seen() {
        let unrecorded = Unrecorded {
            snapshotter: "native".into(),
            directories: 1,
            bytes: 100,
            is_exact: true,
            places: Vec::new(),
        };
        let mut usage = DiskUsage {
            total: UsageByColumn::from_iter([(Column::InUse, amount(1000, 1))]),
            namespaces: Vec::new(),
            orphaned_known: true,
            outside_records: Some(OutsideRecords {
                unrecorded: vec![unrecorded],
                own_bytes: 10,
                unseen: Vec::new(),
            }),
            warnings: Vec::new(),
        };
        assert_eq!(usage.on_disk(), (1110, true));
        usage.orphaned_known = false;
        assert_eq!(usage.on_disk(), (1110, false));
        usage.orphaned_known = true;
        usage.outside_records.as_mut().unwrap().unrecorded[0].is_exact = false;
        assert_eq!(usage.on_disk(), (1110, false));
        usage.outside_records = None;
        assert_eq!(usage.on_disk(), (1000, false));
    }

    #[test]
    fn a_namespace_counts_its_images_and_those_with_a_holder() {
        let image = |holders: Vec<Holder>| ImageUsage {
            name: "app:1".to_owned(),
            target: Digest::Sha256([1; 32]),
            created: None,
            size: ImageSize {
                content_bytes: 10,
                unpacked_bytes: 20,
                shared_bytes: 25,
            },
            reclaimable_alone_bytes: 0,
            containers: ImageUsage::containers(&holders),
            holders,
            verdict: Ok(RemoveReason::Unused),
        };
        let holders = [
            HolderKind::Container,
            HolderKind::Container,
            HolderKind::Lease,
        ]
        .map(|kind| Holder::new(kind, "a"));
        let (used, unused) = (image(holders.into()), image(Vec::new()));
        assert_eq!((used.containers, unused.containers), (2, 0));
        assert_eq!((used.size.total_bytes(), used.size.unique_bytes()), (30, 5));
        let usage = NamespaceUsage::new("a".parse().unwrap(), vec![used, unused], Vec::new());
        assert_eq!((usage.images, usage.active), (2, 1));
        let usage = DiskUsage {
            total: UsageByColumn::default(),
            namespaces: vec![usage],
            orphaned_known: true,
            outside_records: None,
            warnings: Vec::new(),
        };
        let short = usage.without_details();
        assert_eq!(short.namespaces[0].image_usage, None);
        assert_eq!(short.namespaces[0].leases, None);
        assert_eq!(short.namespaces[0].images, 2);
    }
}
