//! The cells of the picture: what belongs to the same images is one cell, so a shared layer is
//! drawn once.

use std::collections::BTreeMap;

use reclaim_model::{Column, NamespaceMap, NamespaceUsage};

/// The most cells of a namespace; the smallest are one cell for each column.
const MOST: usize = 600;

/// Objects of one column that the same images keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cell<'a> {
    pub(crate) column: Column,
    /// The images by position; none for what no image keeps.
    pub(crate) images: &'a [u32],
    /// What is in the cell: several small ones if `merged` is not 0.
    pub(crate) content_bytes: u64,
    pub(crate) unpacked_bytes: u64,
    pub(crate) objects: usize,
    /// How many cells of other images were added to this one, because they are small.
    pub(crate) merged: usize,
}

impl Cell<'_> {
    pub(crate) fn bytes(&self) -> u64 {
        self.content_bytes.saturating_add(self.unpacked_bytes)
    }

    fn add(&mut self, other: &Self) {
        self.content_bytes += other.content_bytes;
        self.unpacked_bytes += other.unpacked_bytes;
        self.objects += other.objects;
        self.merged += 1;
    }
}

/// Returns the cells of a namespace, largest first.
pub(crate) fn cells<'a>(usage: &NamespaceUsage, map: &'a NamespaceMap) -> Vec<Cell<'a>> {
    let mut by_images: BTreeMap<(Column, &[u32]), Cell<'_>> = BTreeMap::new();
    for object in &map.objects {
        let images = &object.images[..];
        let cell = by_images.entry((object.column, images)).or_insert(Cell {
            column: object.column,
            images,
            content_bytes: 0,
            unpacked_bytes: 0,
            objects: 0,
            merged: 0,
        });
        let bytes = object.bytes.unwrap_or(0);
        if object.kind == reclaim_model::ObjectKind::Snapshot {
            cell.unpacked_bytes += bytes;
        } else {
            cell.content_bytes += bytes;
        }
        cell.objects += 1;
    }
    let mut cells: Vec<Cell<'_>> = by_images.into_values().collect();
    for column in [Column::Ingest, Column::Unknown] {
        let amount = usage.usage.column(column);
        cells.push(Cell {
            column,
            images: &[],
            content_bytes: amount.content_bytes,
            unpacked_bytes: amount.snapshot_bytes,
            objects: amount.blobs + amount.snapshots,
            merged: 0,
        });
    }
    cells.retain(|cell| cell.bytes() > 0);
    sort(&mut cells);
    let small = cells.split_off(MOST.min(cells.len()));
    let mut merged: BTreeMap<Column, Cell<'_>> = BTreeMap::new();
    for cell in small {
        let into = merged.entry(cell.column).or_insert(Cell {
            images: &[],
            content_bytes: 0,
            unpacked_bytes: 0,
            objects: 0,
            merged: 0,
            ..cell
        });
        into.add(&cell);
    }
    cells.extend(merged.into_values());
    sort(&mut cells);
    cells
}

/// Sorts cells, largest first; equal ones by what they are, so that the same store gives the same page.
fn sort(cells: &mut [Cell<'_>]) {
    cells.sort_by(|a, b| {
        let by_size = b.bytes().cmp(&a.bytes());
        by_size.then_with(|| (a.column, a.images).cmp(&(b.column, b.images)))
    });
}
