//! What a person reads of `reclaim df`.

use comfy_table::{CellAlignment, Table};
use reclaim_model::{
    Amount, Column, DiskUsage, HumanSize, ImageUsage, OutsideRecords, UsageByColumn,
};

use super::{Ids, add_line, leased, shown_name, table, unrecorded};

/// Renders the namespaces, then where the bytes are, then the images and leases of each if they
/// are there.
pub(crate) fn usage(usage: &DiskUsage, ids: Ids) -> String {
    let mut text = format!("{}\n\n", namespaces(usage).trim_fmt());
    add_line(&mut text, format_args!("{}", columns(usage).trim_fmt()));
    if !usage.orphaned_known {
        text.push_str(
            "files that no namespace has are not counted: they cannot be seen from here\n",
        );
    }
    match &usage.outside_records {
        Some(outside_records) => add_outside_records(&mut text, outside_records, ids),
        None => text
            .push_str("containerd's directories are not counted: they cannot be seen from here\n"),
    }
    for found in &usage.namespaces {
        let name = &found.namespace;
        if let Some(images) = &found.image_usage {
            let images = image_table(images, ids);
            let line = format_args!("\nImages of namespace {name}:\n\n{}", images.trim_fmt());
            add_line(&mut text, line);
        }
        if let Some(leases) = found.leases.as_ref().filter(|leases| !leases.is_empty()) {
            let leases = leased::leases(leases, ids);
            let line = format_args!("\nLeases of namespace {name}:\n\n{}", leases.trim_fmt());
            add_line(&mut text, line);
        }
    }
    text
}

/// Says which directories no record knows, and what cannot be looked into.
fn add_outside_records(text: &mut String, outside_records: &OutsideRecords, ids: Ids) {
    for found in &outside_records.unrecorded {
        let amount = unrecorded::amount(found, ids);
        let outlook = unrecorded::outlook(found);
        let line = format_args!("without a record: {amount}; {outlook}");
        add_line(text, line);
    }
    if !outside_records.unseen.is_empty() {
        let names: Vec<&str> = outside_records.unseen.iter().map(|it| &**it).collect();
        let names = names.join(", ");
        let line = format_args!("what {names} has on the disk without a record cannot be seen");
        add_line(text, line);
    }
}

fn namespaces(usage: &DiskUsage) -> Table {
    let heads = [
        "NAMESPACE",
        "IMAGES",
        "ACTIVE",
        "SIZE",
        "SHARED",
        "PRUNE",
        "PRUNE -A",
    ];
    let mut table = table(heads);
    align_right(&mut table, 1..=6);
    for found in &usage.namespaces {
        table.add_row([
            found.namespace.to_string(),
            found.images.to_string(),
            found.active.to_string(),
            size(found.usage.total()),
            HumanSize(found.shared_bytes).to_string(),
            size(found.usage.column(Column::Dangling)),
            reclaimable(&found.usage),
        ]);
    }
    table
}

/// Docker's words for what could be had: the bytes, and their share of all in whole percents.
fn reclaimable(usage: &UsageByColumn) -> String {
    let reclaimable = usage.reclaimable().total_bytes();
    let all = u128::from(usage.total().total_bytes());
    match (u128::from(reclaimable) * 100).checked_div(all) {
        Some(percent) => format!("{} ({percent}%)", HumanSize(reclaimable)),
        None => HumanSize(reclaimable).to_string(),
    }
}

fn columns(usage: &DiskUsage) -> Table {
    let mut table = table(["TYPE", "BLOBS", "CONTENT", "SNAPSHOTS", "UNPACKED", "SIZE"]);
    align_right(&mut table, 1..=5);
    let mut add = |what: &str, amount: Amount, bytes: u64| {
        table.add_row([
            what.to_owned(),
            amount.blobs.to_string(),
            HumanSize(amount.content_bytes).to_string(),
            amount.snapshots.to_string(),
            HumanSize(amount.snapshot_bytes).to_string(),
            HumanSize(bytes).to_string(),
        ]);
    };
    let mut total = usage.total.total();
    for (column, amount) in usage.total.columns() {
        add(words(column), amount, amount.total_bytes());
    }
    if let Some(outside_records) = &usage.outside_records {
        let mut unrecorded = Amount::default();
        for found in &outside_records.unrecorded {
            unrecorded.snapshots += found.directories;
            unrecorded.snapshot_bytes += found.bytes;
        }
        if unrecorded.snapshots > 0 {
            let what = "Directories without a record";
            add(what, unrecorded, unrecorded.total_bytes());
            total.snapshots += unrecorded.snapshots;
            total.snapshot_bytes += unrecorded.snapshot_bytes;
        }
        add(
            "containerd's own files",
            Amount::default(),
            outside_records.own_bytes,
        );
    }
    let (bytes, is_whole) = usage.on_disk();
    let what = if is_whole {
        "Total on disk"
    } else {
        "Total on disk, at least"
    };
    add(what, total, bytes);
    table
}

fn words(column: Column) -> &'static str {
    match column {
        Column::InUse => "In use",
        Column::Pinned => "Pinned images",
        Column::Unjudged => "Images of unknown use",
        Column::Rooted => "Held by gc.root labels",
        Column::Leased => "Held by leases",
        Column::BuildCache => "Build cache",
        Column::Undo => "Held for undo",
        Column::Spared => "Spared by filters",
        Column::Unused => "Reclaimable by prune -a only",
        Column::Dangling => "Reclaimable by prune",
        Column::Elsewhere => "Kept by other namespaces",
        Column::Expired => "Garbage of expired leases",
        Column::Pending => "Garbage, not yet collected",
        Column::Unknown => "Unknown digest algorithm",
        Column::Ingest => "Being written",
        Column::Orphaned => "Orphaned files",
    }
}

fn image_table(images: &[ImageUsage], ids: Ids) -> Table {
    let heads = [
        "IMAGE",
        "TARGET",
        "SIZE",
        "SHARED",
        "UNIQUE",
        "ALONE",
        "CONTAINERS",
    ];
    let mut table = table(heads);
    align_right(&mut table, 2..=6);
    for image in images {
        table.add_row([
            shown_name(&image.name, &image.target),
            ids.digest(&image.target),
            HumanSize(image.size.total_bytes()).to_string(),
            HumanSize(image.size.shared_bytes).to_string(),
            HumanSize(image.size.unique_bytes()).to_string(),
            HumanSize(image.reclaimable_alone_bytes).to_string(),
            image.containers.to_string(),
        ]);
    }
    table
}

/// Says, for a target that cannot be met, what holds the rest.
pub(crate) fn breakdown(usage: &UsageByColumn) -> String {
    let parts: [(&str, &[Column]); 7] = [
        ("can be freed", &[Column::Unused, Column::Dangling]),
        ("in use", &[Column::InUse]),
        ("pinned", &[Column::Pinned]),
        (
            "held by leases",
            &[Column::Leased, Column::BuildCache, Column::Undo],
        ),
        ("spared by filters", &[Column::Spared]),
        ("kept by other namespaces", &[Column::Elsewhere]),
        ("of unknown use", &[Column::Unjudged]),
    ];
    let counted = |column| parts.iter().any(|(_, columns)| columns.contains(&column));
    let rest = ("not of images", usage.sum(|column| !counted(column)));
    let parts = parts.iter().map(|(what, columns)| {
        let amount = usage.sum(|column| columns.contains(&column));
        (*what, amount)
    });
    let parts = parts.chain([rest]);
    let parts = parts.map(|(what, amount)| format!("  {:>8}  {what}", size(amount)));
    let parts: Vec<String> = parts.collect();
    format!("the bytes of the namespace are:\n{}", parts.join("\n"))
}

fn size(amount: Amount) -> String {
    HumanSize(amount.total_bytes()).to_string()
}

pub(super) fn align_right(table: &mut Table, columns: impl Iterator<Item = usize>) {
    for column in columns {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}
