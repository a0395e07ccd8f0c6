//! Disk usage.

use reclaim_model::{
    Amount, Column, DiskUsage, Freeable, HumanSize, ImageUsage, NamespaceUsage, OutsideRecords,
    UsageByColumn,
};

use crate::args::format::{Fields, Template, UsageFields};

use super::style::Style;
use super::{Table, Text, Truncation, not_freed, shown_name};

/// Renders the namespaces, the bytes by use, and the images and leases of each namespace if `usage`
/// has them.
pub(crate) fn usage(usage: &DiskUsage, trunc: Truncation) -> Text {
    let mut text = Text::of(&namespaces(usage));
    text.blank();
    if usage.namespaces.iter().any(|it| it.freeable.is_some()) {
        text.line("Each step alone would free now:");
        text.blank();
        text.table(&freeable(usage));
        text.blank();
    }
    text.table(&columns(usage));
    if !usage.orphaned_known {
        text.line(
            "orphaned files are not counted: containerd's directories cannot be read from here",
        );
    }
    match &usage.outside_records {
        Some(outside_records) => add_outside_records(&mut text, outside_records, trunc),
        None => text.line(
            "containerd's own files are not counted: its directories cannot be read from here",
        ),
    }
    for found in &usage.namespaces {
        let name = &found.namespace;
        if let Some(images) = &found.image_usage {
            text.blank();
            text.line(format_args!("Images of namespace {name}:"));
            text.blank();
            text.table(&image_table(images, trunc));
        }
        if let Some(leases) = found.leases.as_ref().filter(|leases| !leases.is_empty()) {
            text.blank();
            text.line(format_args!("Leases of namespace {name}:"));
            text.blank();
            text.table(&not_freed::lease_table(leases, trunc));
        }
    }
    text
}

/// Adds the snapshot directories without a record, and the snapshotters that cannot be checked for
/// them.
fn add_outside_records(text: &mut Text, outside_records: &OutsideRecords, trunc: Truncation) {
    for found in &outside_records.unrecorded {
        let amount = not_freed::unrecorded(found, trunc);
        let outlook = not_freed::outlook(found);
        let line = format_args!("without a record: {amount}; {outlook}");
        text.line(line);
    }
    if !outside_records.unseen.is_empty() {
        let names: Vec<&str> = outside_records.unseen.iter().map(|it| &**it).collect();
        let names = names.join(", ");
        let line = format_args!(
            "directories of {names} without a record are not counted: they cannot be listed"
        );
        text.line(line);
    }
}

fn namespaces(usage: &DiskUsage) -> Table {
    let mut table = Table::new(UsageFields::FIELDS.iter().map(|(_, heading)| *heading));
    table.align_right(1..=6);
    for found in &usage.namespaces {
        table.add_styled_row(namespace_row(found), (6, Style::Amount));
    }
    table
}

/// Returns the cells of a namespace, in the order of [`UsageFields`].
fn namespace_row(found: &NamespaceUsage) -> [String; 7] {
    [
        found.namespace.to_string(),
        found.images.to_string(),
        found.active.to_string(),
        size(found.usage.total()),
        HumanSize(found.shared_bytes).to_string(),
        size(found.usage.column(Column::Dangling)),
        reclaimable(&found.usage),
    ]
}

/// Renders the namespaces as a template says.
pub(crate) fn templated(usage: &DiskUsage, template: &Template<UsageFields>) -> Text {
    let rows = usage.namespaces.iter();
    Text::templated(template, rows.map(namespace_row))
}

/// Renders what each step would free, from what is never needed again to whole images.
fn freeable(usage: &DiskUsage) -> Table {
    let heads = [
        "NAMESPACE",
        "GARBAGE",
        "HISTORY",
        "SNAPSHOTS",
        "LAYERS",
        "PLATFORMS",
        "IMAGES",
    ];
    let mut table = Table::new(heads);
    table.align_right(1..=6);
    for found in &usage.namespaces {
        let Some(freeable) = found.freeable else {
            continue;
        };
        let Freeable {
            garbage,
            build_history,
            snapshots,
            layers,
            platforms,
            images,
        } = freeable;
        table.add_row([
            found.namespace.to_string(),
            size(garbage),
            size(build_history),
            size(snapshots),
            size(layers),
            size(platforms),
            size(images),
        ]);
    }
    table
}

/// Renders what could be freed as docker does: the bytes, and their share of all in whole percents.
fn reclaimable(usage: &UsageByColumn) -> String {
    let reclaimable = usage.reclaimable().total_bytes();
    let all = u128::from(usage.total().total_bytes());
    match (u128::from(reclaimable) * 100).checked_div(all) {
        Some(percent) => format!("{} ({percent}%)", HumanSize(reclaimable)),
        None => HumanSize(reclaimable).to_string(),
    }
}

fn columns(usage: &DiskUsage) -> Table {
    let mut table = Table::new(["TYPE", "BLOBS", "CONTENT", "SNAPSHOTS", "UNPACKED", "SIZE"]);
    table.align_right(1..=5);
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
        add(column_name(column), amount, amount.total_bytes());
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

pub(crate) fn column_name(column: Column) -> &'static str {
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

fn image_table(images: &[ImageUsage], trunc: Truncation) -> Table {
    let heads = [
        "IMAGE",
        "TARGET",
        "SIZE",
        "SHARED",
        "UNIQUE",
        "ALONE",
        "CONTAINERS",
    ];
    let mut table = Table::new(heads);
    table.align_right(2..=6);
    for image in images {
        table.add_row([
            shown_name(&image.name, &image.target),
            trunc.digest(&image.target),
            HumanSize(image.size.total_bytes()).to_string(),
            HumanSize(image.size.shared_bytes).to_string(),
            HumanSize(image.size.unique_bytes()).to_string(),
            HumanSize(image.reclaimable_alone_bytes).to_string(),
            image.containers.to_string(),
        ]);
    }
    table
}

/// Renders how the bytes of a namespace are used, for a target that cannot be met:
/// a line for each use.
pub(crate) fn breakdown(usage: &UsageByColumn) -> Vec<String> {
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
    let amounts = parts.iter().map(|(what, columns)| {
        let amount = usage.sum(|column| columns.contains(&column));
        (*what, amount)
    });
    let lines = amounts
        .chain([rest])
        .map(|(what, amount)| format!("  {:>8}  {what}", size(amount)));
    std::iter::once("disk usage of the namespace:".to_owned())
        .chain(lines)
        .collect()
}

fn size(amount: Amount) -> String {
    HumanSize(amount.total_bytes()).to_string()
}
