//! The JSON form of `reclaim df`.

use jiff::Timestamp;
use reclaim_model::{
    Amount, Digest, Holder, KeepReason, Namespace, OutsideRecords, RemoveReason, Snapshotter,
    Unrecorded,
};
use reclaim_plan::{Account, Column, DiskUsage, ImageUsage, NamespaceUsage};
use serde::Serialize;

use super::{VERSION, leased, render};

#[derive(Serialize)]
struct UsageJson<'a> {
    version: u32,
    total: AccountJson<'a>,
    orphaned_known: bool,
    outside_records: Option<OutsideJson<'a>>,
    on_disk: OnDisk,
    namespaces: Vec<NamespaceJson<'a>>,
    warnings: &'a [String],
}

/// What containerd's directories hold in addition to the bytes of records.
#[derive(Serialize)]
struct OutsideJson<'a> {
    unrecorded: &'a [Unrecorded],
    own_bytes: u64,
    unseen: &'a [Snapshotter],
}

#[derive(Serialize)]
struct OnDisk {
    bytes: u64,
    whole: bool,
}

#[derive(Serialize)]
struct AccountJson<'a> {
    all: Amount,
    columns: &'a Account,
    reclaimable: Reclaimable,
}

#[derive(Serialize)]
struct Reclaimable {
    prune: Amount,
    prune_all: Amount,
}

#[derive(Serialize)]
struct NamespaceJson<'a> {
    namespace: &'a Namespace,
    images: usize,
    active: usize,
    shared_bytes: u64,
    #[serde(flatten)]
    account: AccountJson<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_usage: Option<Vec<ImageJson<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    leases: Option<Vec<leased::LeaseJson<'a>>>,
}

#[derive(Serialize)]
struct ImageJson<'a> {
    name: &'a str,
    target: &'a Digest,
    created: Option<Timestamp>,
    content_bytes: u64,
    unpacked_bytes: u64,
    shared_bytes: u64,
    unique_bytes: u64,
    reclaimable_alone_bytes: u64,
    containers: usize,
    holders: &'a [Holder],
    #[serde(flatten)]
    verdict: VerdictJson,
}

/// What a prune --all would do with an image.
#[derive(Serialize)]
#[serde(tag = "verdict", content = "reason", rename_all = "snake_case")]
enum VerdictJson {
    Remove(RemoveReason),
    Keep(KeepReason),
}

/// Renders the disk usage as one object and a newline.
pub(crate) fn usage(usage: &DiskUsage, is_verbose: bool) -> String {
    let (bytes, whole) = usage.on_disk();
    let namespaces = usage.namespaces.iter();
    let namespaces = namespaces.map(|(name, found)| namespace(name, found, is_verbose));
    render(&UsageJson {
        version: VERSION,
        total: account(&usage.total),
        orphaned_known: usage.is_orphaned_known,
        outside_records: usage.outside_records.as_ref().map(outside_records),
        on_disk: OnDisk { bytes, whole },
        namespaces: namespaces.collect(),
        warnings: &usage.warnings,
    })
}

fn outside_records(outside_records: &OutsideRecords) -> OutsideJson<'_> {
    let OutsideRecords {
        unrecorded,
        own_bytes,
        unseen,
    } = outside_records;
    OutsideJson {
        unrecorded,
        own_bytes: *own_bytes,
        unseen,
    }
}

fn account(account: &Account) -> AccountJson<'_> {
    AccountJson {
        all: account.total(),
        columns: account,
        reclaimable: Reclaimable {
            prune: account.column(Column::Dangling),
            prune_all: account.reclaimable(),
        },
    }
}

fn namespace<'a>(
    name: &'a Namespace,
    found: &'a NamespaceUsage,
    is_verbose: bool,
) -> NamespaceJson<'a> {
    NamespaceJson {
        namespace: name,
        images: found.images.len(),
        active: found.active(),
        shared_bytes: found.shared_bytes,
        account: account(&found.account),
        image_usage: is_verbose.then(|| found.images.iter().map(image).collect()),
        leases: is_verbose.then(|| found.leases.iter().map(leased::lease).collect()),
    }
}

fn image(image: &ImageUsage) -> ImageJson<'_> {
    ImageJson {
        name: &image.name,
        target: &image.target,
        created: image.created,
        content_bytes: image.size.content,
        unpacked_bytes: image.size.unpacked,
        shared_bytes: image.size.shared,
        unique_bytes: image.size.unique(),
        reclaimable_alone_bytes: image.reclaimable_alone,
        containers: image.containers(),
        holders: &image.holders,
        verdict: match image.verdict {
            Ok(reason) => VerdictJson::Remove(reason),
            Err(reason) => VerdictJson::Keep(reason),
        },
    }
}
