//! A value of each form, with every field set. Structs are written out, so that a new field does
//! not compile until it is set here.

mod audit;
mod policies;
mod store;
mod timeline;

use std::time::Duration;

use jiff::Timestamp;
use reclaim_model::{
    Amount, ByNamespace, Column, Conflict, ConflictCause, Cut, CutTarget, DeleteGuard, Digest,
    DigestError, Estimate, Failed, FailedNamespace, FetchedContent, Freed, FreedBlob,
    FreedSnapshot, HeldRun, HeldRuns, Holder, HolderKind, HolderRole, ImageSize, KeepReason, Kept,
    LeaseHolding, Leased, Left, LeftHolder, LeftThing, Mode, Named, NamedRemoval, Namespace,
    NotCounted, NotPinned, NotRemoved, NotRestored, Part, PinAction, PinOutcome, Pinned, Pins,
    Place, Platform, PolicyPart, ProjectImage, ProjectImageMode, ProjectList, ProjectUsage,
    Reclaimed, ReferenceError, ReferenceKind, RefuseReason, Refused, RemoveReason, Removed, Report,
    ResolvedTarget, RestoreOutcome, Restores, Row, RunId, Slimmed, SnapshotId, ThingKind,
    Unrecorded, Versioned,
};
use serde::Serialize;
use serde_json::Value;

pub(super) use audit::audit_records;
pub(super) use policies::{
    fill_forecast, inhibitors, policy_forecasts, policy_history, policy_runs,
};
pub(super) use store::{answers, disk_usage, image_list};
pub(super) use timeline::{policy_trial, timeline};

use crate::commands::project::prune::PruneResult;

const COLUMNS: [Column; 16] = [
    Column::InUse,
    Column::Pinned,
    Column::Unjudged,
    Column::Rooted,
    Column::Leased,
    Column::BuildCache,
    Column::Undo,
    Column::Spared,
    Column::Unused,
    Column::Dangling,
    Column::Elsewhere,
    Column::Expired,
    Column::Pending,
    Column::Unknown,
    Column::Ingest,
    Column::Orphaned,
];

const REMOVE: [RemoveReason; 8] = [
    RemoveReason::Dangling,
    RemoveReason::Unused,
    RemoveReason::Duplicate,
    RemoveReason::Named,
    RemoveReason::Replaced,
    RemoveReason::Parent,
    RemoveReason::Torn,
    RemoveReason::Dependent,
];

const HOLDERS: [HolderKind; 9] = [
    HolderKind::Container,
    HolderKind::Lease,
    HolderKind::Snapshot,
    HolderKind::Content,
    HolderKind::Sandbox,
    HolderKind::Image,
    HolderKind::Rule,
    HolderKind::Label,
    HolderKind::Snapshotter,
];

const ROLES: [HolderRole; 6] = [
    HolderRole::Container,
    HolderRole::StoppedContainer,
    HolderRole::Pull,
    HolderRole::UnfinishedPull,
    HolderRole::BuildCache,
    HolderRole::LeakedImageMount,
];

const THINGS: [ThingKind; 8] = [
    ThingKind::Image,
    ThingKind::Index,
    ThingKind::Manifest,
    ThingKind::Config,
    ThingKind::Content,
    ThingKind::Snapshot,
    ThingKind::Container,
    ThingKind::Absent,
];

const REFERENCES: [ReferenceKind; 9] = [
    ReferenceKind::Label,
    ReferenceKind::BackLabel,
    ReferenceKind::Root,
    ReferenceKind::Lease,
    ReferenceKind::Container,
    ReferenceKind::Parent,
    ReferenceKind::Target,
    ReferenceKind::Name,
    ReferenceKind::PartOf,
];

fn form(value: impl Serialize) -> Value {
    serde_json::to_value(Versioned::new(value)).unwrap()
}

fn text() -> String {
    "x".to_owned()
}

fn digest() -> Digest {
    format!("sha256:{}", "a".repeat(64)).parse().unwrap()
}

fn namespace() -> Namespace {
    "default".parse().unwrap()
}

fn run_id() -> RunId {
    RunId(text())
}

fn snapshot() -> SnapshotId {
    SnapshotId::new("overlayfs", "key")
}

fn amount() -> Amount {
    Amount {
        content_bytes: 1,
        snapshot_bytes: 1,
        blobs: 1,
        snapshots: 1,
        unmeasured: 1,
    }
}

fn size() -> ImageSize {
    ImageSize {
        content_bytes: 1,
        unpacked_bytes: 1,
        shared_bytes: 1,
    }
}

fn freed() -> Freed {
    let blob = FreedBlob {
        digest: digest(),
        bytes: 1,
    };
    let snapshot = FreedSnapshot {
        id: snapshot(),
        bytes: None,
    };
    Freed::new(vec![blob], vec![snapshot])
}

fn holders() -> Vec<Holder> {
    let kinds = HOLDERS.map(|kind| Holder::new(kind, "x"));
    let roles = ROLES.map(|role| Holder {
        kind: HolderKind::Lease,
        id: text(),
        role: Some(role),
    });
    [&kinds[..], &roles].concat()
}

fn verdicts() -> impl Iterator<Item = Result<RemoveReason, KeepReason>> {
    let kept = KeepReason::ALL.iter().copied().map(Err);
    REMOVE.into_iter().map(Ok).chain(kept)
}

fn unrecorded() -> Vec<Unrecorded> {
    vec![Unrecorded {
        snapshotter: "overlayfs".into(),
        directories: 1,
        bytes: 1,
        is_exact: true,
        places: vec![Place {
            path: text(),
            bytes: 1,
            why: Some(text()),
        }],
    }]
}

fn lease() -> LeaseHolding {
    LeaseHolding {
        id: text(),
        role: Some(HolderRole::UnfinishedPull),
        since: Some(Timestamp::UNIX_EPOCH),
        until: Some(Timestamp::UNIX_EPOCH),
        things: freed(),
    }
}

fn not_removed() -> Vec<NotRemoved> {
    let causes = [
        ConflictCause::Referenced {
            container: text(),
            image: digest(),
        },
        ConflictCause::RunningContainer(text()),
        ConflictCause::StoppedContainer(text()),
        ConflictCause::MultipleRepositories,
        ConflictCause::Holder(Holder::new(HolderKind::Container, "x")),
        ConflictCause::Pinned,
        ConflictCause::Other(text()),
    ];
    let digests = [
        DigestError::NoAlgorithm(text()),
        DigestError::UnknownAlgorithm(text()),
        DigestError::BadHex {
            expected: 1,
            got: text(),
        },
    ];
    let references = [
        ReferenceError::HexIdentifier(text()),
        ReferenceError::UpperCase(text()),
        ReferenceError::NotLowerCase(text()),
        ReferenceError::Format(text()),
        ReferenceError::TooLong,
    ];
    let references = references
        .into_iter()
        .chain(digests.map(ReferenceError::Digest));
    let conflicts = causes.map(|cause| {
        NotRemoved::Conflict(Conflict {
            image: text(),
            can_be_forced: true,
            cause,
        })
    });
    let others = [
        NotRemoved::Blank,
        NotRemoved::NoSuchImage(text()),
        NotRemoved::NoSuchPlatform {
            image: text(),
            wanted: vec![Platform::host()],
            present: vec![Platform::host()],
        },
        NotRemoved::Ambiguous,
        NotRemoved::Changed,
        NotRemoved::Cancelled,
        NotRemoved::Failed(text()),
    ];
    references
        .map(NotRemoved::Reference)
        .chain(conflicts)
        .chain(others)
        .collect()
}

fn named() -> Vec<Named> {
    not_removed()
        .into_iter()
        .map(|error| Named {
            name: text(),
            services: vec![text()],
            removal: NamedRemoval {
                records: vec![text()],
                untagged: vec![text()],
                deleted: vec![digest()],
            },
            error: Some(error),
        })
        .collect()
}

fn cuts() -> Vec<Cut> {
    let targets = [
        (Part::BuildHistory, CutTarget::Snapshot(snapshot())),
        (Part::Snapshots, CutTarget::Snapshot(snapshot())),
        (Part::Layers, CutTarget::Content { digest: digest() }),
    ];
    targets
        .map(|(part, target)| Cut {
            part,
            blob: digest(),
            target,
        })
        .into()
}

fn refused() -> Vec<Refused> {
    let reasons = [
        RefuseReason::TargetMoved,
        RefuseReason::AlreadyGone,
        RefuseReason::MustStay {
            reason: KeepReason::InUse,
            holders: holders(),
        },
        RefuseReason::PartsStay,
        RefuseReason::Cancelled,
        RefuseReason::OutOfTime,
    ];
    reasons
        .map(|reason| Refused {
            name: text(),
            reason,
        })
        .into()
}

fn removed() -> Vec<Removed> {
    REMOVE
        .map(|reason| Removed {
            name: text(),
            target: digest(),
            reason,
        })
        .into()
}

fn kept() -> Vec<Kept> {
    KeepReason::ALL
        .iter()
        .map(|reason| Kept {
            name: text(),
            target: digest(),
            reason: *reason,
            holders: holders(),
        })
        .collect()
}

fn not_counted() -> NotCounted {
    NotCounted {
        pending: freed(),
        kept_elsewhere: freed(),
        history: Pinned {
            configs: 1,
            freed: freed(),
        },
        doubtful: freed(),
        leased: Leased {
            things: freed(),
            leases: vec![lease()],
        },
    }
}

fn left() -> Vec<Left> {
    let things = [
        LeftThing::Blob { digest: digest() },
        LeftThing::Snapshot(snapshot()),
    ];
    things
        .map(|thing| Left {
            thing,
            bytes: 1,
            holders: vec![LeftHolder {
                namespace: namespace(),
                holder: holders().remove(0),
            }],
        })
        .into()
}

fn whole_report() -> Report {
    Report {
        run: run_id(),
        namespace: namespace(),
        mode: Mode::DryRun,
        removed: removed(),
        kept: kept(),
        refused: refused(),
        failed: vec![Failed {
            name: text(),
            error: text(),
        }],
        estimate: Estimate(amount()),
        estimate_at_least: Estimate(amount()),
        not_counted: not_counted(),
        reclaimed: Reclaimed(amount()),
        freed: freed(),
        left: left(),
        stranded: unrecorded(),
        slimmed: vec![Slimmed {
            name: text(),
            target: digest(),
            parts: [(Part::Layers, vec![digest()])].into(),
            lifted: None,
        }],
        cuts: cuts(),
        rows: vec![Row::Untagged(text()), Row::Deleted(digest())],
        named: named(),
        warnings: vec![text()],
        target_free: Some(ResolvedTarget {
            bytes: 1,
            mount_point: Some("/".into()),
        }),
        guard: Some(DeleteGuard::Server),
        held_until: Some(Timestamp::UNIX_EPOCH),
        unfinished: Some(text()),
        policy: Some("p".parse().unwrap()),
        part: Some(PolicyPart::Images),
        took: Duration::from_millis(1),
        content_bytes: [(digest(), 1)].into(),
        collection: Some(Duration::from_millis(1)),
    }
}

pub(super) fn report() -> Value {
    form(whole_report())
}

/// The form of a command in all namespaces, with nothing in them.
pub(super) fn by_namespace() -> Value {
    form(ByNamespace::<()> {
        namespaces: Vec::new(),
        failed: vec![FailedNamespace {
            namespace: namespace(),
            error: text(),
        }],
    })
}

pub(super) fn held_runs() -> Value {
    form(HeldRuns {
        namespace: namespace(),
        runs: vec![HeldRun {
            run: run_id(),
            started: Some(Timestamp::UNIX_EPOCH),
            held_until: Some(Timestamp::UNIX_EPOCH),
            crashed: true,
            images: vec![text()],
            labels: 1,
        }],
    })
}

pub(super) fn project_prune() -> Value {
    form(PruneResult {
        project: "shop".parse().unwrap(),
        rmi: ProjectImageMode::Local,
        mode: Mode::DryRun,
        engine: text(),
        images: named(),
        report: Some(whole_report()),
    })
}

pub(super) fn project_list() -> Value {
    form(ProjectList {
        namespace: namespace(),
        projects: vec![ProjectUsage {
            project: "shop".parse().unwrap(),
            services: [text()].into(),
            service_images: [(text(), text())].into(),
            containers: 1,
            images: vec![ProjectImage {
                name: text(),
                target: digest(),
                services: [text()].into(),
                size: size(),
            }],
            rmi_local: amount(),
        }],
    })
}

pub(super) fn pins() -> Value {
    let not_found = not_removed().into_iter().map(NotPinned::NotFound);
    let others = [
        NotPinned::Others(text()),
        NotPinned::Changed(text()),
        NotPinned::Failed(text()),
    ];
    let images = not_found.chain(others).map(|error| PinOutcome {
        name: text(),
        target: Some(digest()),
        changed: vec![text()],
        unchanged: vec![text()],
        error: Some(error),
    });
    form(Pins {
        namespace: namespace(),
        action: PinAction::Pin,
        images: images.collect(),
    })
}

pub(super) fn restores() -> Value {
    let not_found = not_removed().into_iter().map(NotRestored::NotFound);
    let others = [
        NotRestored::NoRegistry(text()),
        NotRestored::Unreadable(text()),
        NotRestored::NoPlatform(text()),
        NotRestored::NoRoom { needed: 1, left: 1 },
        NotRestored::Fetch(text()),
        NotRestored::Unauthorized(text()),
        NotRestored::Changed(text()),
        NotRestored::Cancelled,
        NotRestored::Failed(text()),
    ];
    let images = not_found.chain(others).map(|error| {
        let mut outcome = RestoreOutcome::new(text(), Some(digest()));
        outcome.registry = Some(text());
        outcome.labels = 1;
        outcome.set_fetched(vec![FetchedContent {
            digest: digest(),
            bytes: 1,
        }]);
        outcome.error = Some(error);
        outcome
    });
    form(Restores {
        namespace: namespace(),
        mode: Mode::Apply,
        images: images.collect(),
    })
}
