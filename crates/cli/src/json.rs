//! The JSON forms: contracts, described in `docs/json.md`. A field is never taken away or given
//! another meaning without a new `version`.

mod leased;
mod named;
mod pin;
pub(crate) mod policy;
pub(crate) mod project;

use jiff::Timestamp;
use reclaim_engine::{Hold, ListedImage};
use reclaim_model::{
    Amount, DeleteGuard, Digest, Estimate, Freed, FreedBlob, FreedSnapshot, Holder, KeepReason,
    Kept, Left, LeftThing, Mode, Namespace, Pin, PinOutcome, PinRequest, Reclaimed, RemoveReason,
    Report, SnapshotId, Unpin, Unrecorded,
};
use serde::Serialize;

use crate::commands::ls::verdict;

/// The version of all forms.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct ReportJson<'a> {
    version: u32,
    run: &'a str,
    namespace: &'a Namespace,
    dry_run: bool,
    removed: Vec<RemovedJson<'a>>,
    kept: Vec<KeptJson<'a>>,
    refused: Vec<RefusedJson<'a>>,
    failed: Vec<FailedJson<'a>>,
    estimate: Estimate,
    estimate_at_least: Estimate,
    pending: Amount,
    kept_elsewhere_bytes: u64,
    reclaimed: Reclaimed,
    blobs: &'a [FreedBlob],
    snapshots: &'a [FreedSnapshot],
    left: Vec<LeftJson<'a>>,
    stranded: &'a [Unrecorded],
    unpinned: &'a [Unpin],
    build_history: PinnedJson,
    leased: leased::LeasedJson<'a>,
    warnings: Vec<&'a str>,
    guard: Option<DeleteGuard>,
    held_until: Option<Timestamp>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    named: Vec<named::NamedJson<'a>>,
}

#[derive(Serialize)]
struct LeftJson<'a> {
    #[serde(flatten)]
    thing: LeftThingJson<'a>,
    bytes: u64,
    holders: Vec<HolderJson<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum LeftThingJson<'a> {
    Blob {
        digest: &'a Digest,
    },
    Snapshot {
        #[serde(flatten)]
        id: &'a SnapshotId,
    },
}

#[derive(Serialize)]
struct HolderJson<'a> {
    namespace: &'a Namespace,
    #[serde(flatten)]
    holder: &'a Holder,
}

#[derive(Serialize)]
struct PinnedJson {
    configs: usize,
    #[serde(flatten)]
    freed: Amount,
}

#[derive(Serialize)]
struct RemovedJson<'a> {
    name: &'a str,
    target: &'a Digest,
    reason: RemoveReason,
}

#[derive(Serialize)]
struct KeptJson<'a> {
    name: &'a str,
    target: &'a Digest,
    reason: KeepReason,
    holders: &'a [Holder],
}

#[derive(Serialize)]
struct RefusedJson<'a> {
    name: &'a str,
    reason: String,
}

#[derive(Serialize)]
struct FailedJson<'a> {
    name: &'a str,
    error: &'a str,
}

fn left_json(left: &Left) -> LeftJson<'_> {
    let Left {
        thing,
        bytes,
        holders,
    } = left;
    let holders = holders.iter();
    LeftJson {
        thing: match thing {
            LeftThing::Blob(digest) => LeftThingJson::Blob { digest },
            LeftThing::Snapshot(id) => LeftThingJson::Snapshot { id },
        },
        bytes: *bytes,
        holders: holders
            .map(|(namespace, holder)| HolderJson { namespace, holder })
            .collect(),
    }
}

/// Renders a report as one object and a newline.
pub(crate) fn report(report: &Report) -> String {
    render(&report_json(report))
}

fn kept_json(kept: &Kept) -> KeptJson<'_> {
    let Kept {
        name,
        target,
        reason,
        holders,
    } = kept;
    KeptJson {
        name,
        target,
        reason: *reason,
        holders,
    }
}

fn report_json(report: &Report) -> ReportJson<'_> {
    // Everything by name, so that a new field cannot be forgotten here.
    let Report {
        run,
        namespace,
        mode,
        removed,
        kept,
        refused,
        failed,
        estimate,
        estimate_at_least,
        beside,
        reclaimed,
        freed: Freed { blobs, snapshots },
        left,
        stranded,
        unpinned,
        rows: _,
        named,
        warnings,
        guard,
        held_until,
        unfinished,
        // Whoever wrote the policy knows it; how long a run took is in the history and in metrics.
        policy: _,
        took: _,
        collection: _,
    } = report;
    let removed = removed.iter().map(|it| RemovedJson {
        name: &it.name,
        target: &it.target,
        reason: it.reason,
    });
    let kept = kept.iter().map(kept_json);
    let refused = refused.iter().map(|it| RefusedJson {
        name: &it.name,
        reason: it.reason.to_string(),
    });
    let failed = failed.iter().map(|it| FailedJson {
        name: &it.name,
        error: &it.error,
    });
    ReportJson {
        version: VERSION,
        run: &run.0,
        namespace,
        dry_run: *mode == Mode::DryRun,
        removed: removed.collect(),
        kept: kept.collect(),
        refused: refused.collect(),
        failed: failed.collect(),
        estimate: *estimate,
        estimate_at_least: *estimate_at_least,
        pending: beside.pending.amount(),
        kept_elsewhere_bytes: beside.kept_elsewhere.iter().map(|it| it.bytes).sum(),
        reclaimed: *reclaimed,
        blobs,
        snapshots,
        left: left.iter().map(left_json).collect(),
        stranded,
        unpinned,
        build_history: PinnedJson {
            configs: beside.history.configs,
            freed: beside.history.freed.amount(),
        },
        leased: leased::of(&beside.leased),
        warnings: warnings
            .iter()
            .chain(unfinished)
            .map(String::as_str)
            .collect(),
        guard: *guard,
        held_until: *held_until,
        named: named.iter().map(named::of).collect(),
    }
}

#[derive(Serialize)]
struct ImagesJson<'a> {
    version: u32,
    namespace: &'a Namespace,
    images: Vec<ImageJson<'a>>,
}

#[derive(Serialize)]
struct ImageJson<'a> {
    name: &'a str,
    target: &'a Digest,
    content_bytes: u64,
    unpacked_bytes: u64,
    shared_bytes: u64,
    created: Option<jiff::Timestamp>,
    pinned: Option<&'static str>,
    verdict: &'static str,
}

/// Renders the list of images as one object and a newline.
pub(crate) fn images(namespace: &Namespace, images: &[ListedImage]) -> String {
    let images = images.iter().map(|image| ImageJson {
        name: &image.name,
        target: &image.target,
        content_bytes: image.size.content_bytes,
        unpacked_bytes: image.size.unpacked_bytes,
        shared_bytes: image.size.shared_bytes,
        created: image.created,
        pinned: image.pin.map(|pin| match pin {
            Pin::Ours => "reclaim",
            Pin::Others => "other",
        }),
        verdict: verdict(image),
    });
    render(&ImagesJson {
        version: VERSION,
        namespace,
        images: images.collect(),
    })
}

#[derive(Serialize)]
struct HistoryJson<'a> {
    version: u32,
    namespace: &'a Namespace,
    runs: Vec<HoldJson<'a>>,
}

#[derive(Serialize)]
struct HoldJson<'a> {
    run: &'a str,
    started: Option<Timestamp>,
    held_until: Option<Timestamp>,
    crashed: bool,
    images: Vec<&'a str>,
}

/// Renders the runs of which something is held as one object and a newline.
pub(crate) fn history(namespace: &Namespace, holds: &[Hold]) -> String {
    let runs = holds.iter().map(|hold| HoldJson {
        run: &hold.run.0,
        started: hold.started,
        held_until: hold.expires,
        crashed: hold.is_abandoned,
        images: hold.records.iter().map(|it| it.name.as_str()).collect(),
    });
    render(&HistoryJson {
        version: VERSION,
        namespace,
        runs: runs.collect(),
    })
}

/// Renders what came of pins as one object and a newline.
pub(crate) fn pins(request: &PinRequest, outcomes: &[PinOutcome]) -> String {
    render(&pin::of(request, outcomes))
}

/// Renders a form as one object and a newline.
pub(crate) fn render(form: &impl Serialize) -> String {
    let mut text = serde_json::to_string_pretty(form).expect("maps with text keys and no floats");
    text.push('\n');
    text
}
