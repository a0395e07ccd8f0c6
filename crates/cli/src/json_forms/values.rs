//! A value of each form, with every field set. Structs are written out, so that a new field does
//! not compile until it is set here.

mod audit;

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use reclaim_api::json::{PolicyForecasts, PolicyHistory};
use reclaim_maintenance::{
    Breakdown, Excess, FilesystemForecast, FilesystemRecord, FillForecast, HighMark, Measure,
    NamespaceForecast, NamespaceRun, PolicyForecast, PolicyOutcome, PolicyRun, ReleasedHold,
    RunRecord, Trend, Trigger,
};
use reclaim_model::{
    Amount, Answer, Answers, ByNamespace, Column, Conflict, ConflictCause, Cut, CutTarget,
    DeleteGuard, Digest, DigestError, DiskUsage, Estimate, Failed, FailedNamespace, FetchedContent,
    Filesystem, Freeable, Freed, FreedBlob, FreedSnapshot, HeldRun, HeldRuns, Holder, HolderKind,
    HolderPath, HolderRole, ImageList, ImageSize, ImageUsage, ImageVerdict, InhibitScope,
    Inhibitor, KeepReason, Kept, LeaseHolding, Leased, Left, LeftHolder, LeftThing, Link,
    ListedImage, Mode, Named, NamedRemoval, Namespace, NamespaceUsage, NotCounted, NotPinned,
    NotRemoved, NotRestored, Outlook, OutsideRecords, Part, Pin, PinAction, PinOutcome, Pinned,
    Pins, Place, Platform, PlatformLayers, PolicyPart, ProjectImage, ProjectImageMode, ProjectList,
    ProjectUsage, PruneVerdicts, Reclaimed, ReferenceError, ReferenceKind, RefuseReason, Refused,
    RemoveReason, Removed, Report, ResolvedTarget, RestoreOutcome, Restores, Room, Row, RunId,
    Slimmed, SnapshotId, Thing, ThingKind, Unrecorded, UsageByColumn, Versioned,
};
use serde::Serialize;
use serde_json::{Value, json};

use audit::caller;

pub(super) use audit::audit_records;

use crate::commands::inhibit::Inhibitors;
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

pub(super) fn image_list() -> Value {
    let pins = [Pin::Ours, Pin::Others].into_iter().cycle();
    let images = verdicts().zip(pins).map(|(verdict, pin)| ListedImage {
        name: text(),
        target: digest(),
        size: size(),
        layers: vec![PlatformLayers {
            manifest: digest(),
            platform: Some(Platform::host()),
            total: 1,
            packed: 1,
            unpacked: [("overlayfs".into(), 1)].into(),
        }],
        created: Some(Timestamp::UNIX_EPOCH),
        pinned: Some(pin),
        verdict,
    });
    form(ImageList {
        namespace: namespace(),
        observed_at: Timestamp::UNIX_EPOCH,
        images: images.collect(),
        warnings: vec![text()],
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

fn columns() -> UsageByColumn {
    COLUMNS
        .map(|column| (column, amount()))
        .into_iter()
        .collect()
}

pub(super) fn disk_usage() -> Value {
    let images = verdicts().map(|verdict| ImageUsage {
        name: text(),
        target: digest(),
        created: Some(Timestamp::UNIX_EPOCH),
        size: size(),
        reclaimable_alone_bytes: 1,
        containers: 1,
        holders: holders(),
        verdict,
    });
    form(DiskUsage {
        total: columns(),
        namespaces: vec![NamespaceUsage {
            namespace: namespace(),
            images: 1,
            active: 1,
            shared_bytes: 1,
            usage: columns(),
            freeable: Some(Freeable {
                garbage: amount(),
                build_history: amount(),
                snapshots: amount(),
                layers: amount(),
                platforms: amount(),
                images: amount(),
            }),
            image_usage: Some(images.collect()),
            leases: Some(vec![lease()]),
        }],
        orphaned_known: true,
        outside_records: Some(OutsideRecords {
            unrecorded: unrecorded(),
            own_bytes: 1,
            unseen: vec!["zfs".into()],
        }),
        warnings: vec![text()],
    })
}

pub(super) fn answers() -> Value {
    let keep = || ImageVerdict::Keep {
        reason: KeepReason::InUse,
        holders: holders(),
    };
    let remove = ImageVerdict::Remove {
        reason: RemoveReason::Unused,
    };
    let outlooks = [
        Outlook::Held,
        Outlook::Unused,
        Outlook::Expires {
            at: Timestamp::UNIX_EPOCH,
            holder: holders().remove(0),
        },
        Outlook::Depends,
        Outlook::NextCollection,
    ];
    let chain = THINGS.map(|kind| Thing { kind, id: text() });
    let links = chain
        .iter()
        .cycle()
        .zip(REFERENCES)
        .map(|(thing, by)| Link {
            thing: thing.clone(),
            by,
            labels: vec![text()],
        });
    let links: Vec<Link> = links.collect();
    let answers = outlooks.map(|outlook| Answer {
        namespace: namespace(),
        thing: chain[0].clone(),
        holders: vec![HolderPath {
            namespace: namespace(),
            holder: holders().remove(0),
            until: Some(Timestamp::UNIX_EPOCH),
            chain: links.clone(),
            prune_all: Some(keep()),
        }],
        verdicts: Some(PruneVerdicts {
            prune: keep(),
            prune_all: remove.clone(),
        }),
        depends_on: vec![text()],
        dependents: vec![text()],
        outlook,
        warnings: vec![text()],
    });
    form(Answers {
        answers: answers.into(),
    })
}

fn filesystem() -> Filesystem {
    let room = Room { total: 2, left: 1 };
    Filesystem {
        mount_point: "/".into(),
        block: 1,
        bytes: room,
        inodes: room,
        has_content: true,
        snapshotters: BTreeSet::from(["overlayfs".into()]),
    }
}

fn excesses() -> Vec<Excess> {
    let measures = [
        Measure::Bytes("/".into()),
        Measure::Inodes("/".into()),
        Measure::Occupied,
    ];
    measures.map(|of| Excess { of, amount: 1 }).into()
}

pub(super) fn policy_runs() -> Value {
    let triggers = [Trigger::Schedule, Trigger::Demand].into_iter().cycle();
    let runs = PolicyOutcome::ALL.into_iter().zip(triggers);
    let runs = runs.map(|(outcome, trigger)| PolicyRun {
        policy: "p".parse().unwrap(),
        trigger,
        caller: Some(caller()),
        mode: Mode::Apply,
        began: Timestamp::UNIX_EPOCH,
        ended: Timestamp::UNIX_EPOCH,
        before: vec![filesystem()],
        after: vec![filesystem()],
        wanted: excesses(),
        missing: excesses(),
        not_yet_visible: excesses(),
        released: vec![ReleasedHold {
            namespace: namespace(),
            run: run_id(),
        }],
        reports: vec![whole_report()],
        outcome,
        error: Some(text()),
        breakdown: Some(Breakdown {
            usage: columns(),
            other_bytes: 1,
        }),
        warnings: vec![text()],
    });
    form(json!({"runs": runs.collect::<Vec<_>>()}))
}

pub(super) fn policy_forecasts() -> Value {
    form(PolicyForecasts {
        policies: vec![PolicyForecast {
            policy: "p".parse().unwrap(),
            schedule: text(),
            rules: vec![text()],
            filesystems: vec![filesystem()],
            wanted: excesses(),
            not_yet_visible: excesses(),
            namespaces: vec![NamespaceForecast {
                now: whole_report(),
                at_most: whole_report(),
            }],
            inhibitors: vec![inhibitor(InhibitScope::Policies)],
            warnings: vec![text()],
        }],
    })
}

pub(super) fn fill_forecast() -> Value {
    let filesystems =
        [Trend::Unknown, Trend::Steady, Trend::Growing].map(|trend| FilesystemForecast {
            mount_point: "/".into(),
            total_bytes: 1,
            left_bytes: 1,
            trend,
            bytes_per_day: Some(1),
            full_in_seconds: Some(1),
            high_marks: vec![HighMark {
                policy: "p".parse().unwrap(),
                left_bytes: 1,
                reached_in_seconds: Some(1),
            }],
        });
    form(FillForecast {
        filesystems: filesystems.into(),
        content_unmeasured: Some(text()),
        warnings: vec![text()],
    })
}

fn inhibitor(what: InhibitScope) -> Inhibitor {
    Inhibitor {
        what,
        command: text(),
        pid: Some(1),
        uid: Some(1),
        why: Some(text()),
        since: Some(Timestamp::UNIX_EPOCH),
        until: Some(Timestamp::UNIX_EPOCH),
        namespace: namespace(),
        lease: text(),
    }
}

pub(super) fn inhibitors() -> Value {
    form(Inhibitors {
        inhibitors: [InhibitScope::Policies, InhibitScope::All]
            .map(inhibitor)
            .into(),
    })
}

pub(super) fn policy_history() -> Value {
    form(PolicyHistory {
        runs: vec![RunRecord {
            version: 1,
            policy: text(),
            trigger: Trigger::Demand,
            caller: Some(caller()),
            dry_run: true,
            outcome: PolicyOutcome::Done,
            began: Timestamp::UNIX_EPOCH,
            ended: Timestamp::UNIX_EPOCH,
            filesystems: vec![FilesystemRecord {
                mount_point: "/".into(),
                total_bytes: 1,
                left_bytes_before: 1,
                left_bytes_after: 1,
                left_inodes_before: 1,
                left_inodes_after: 1,
            }],
            wanted: vec![text()],
            missing: vec![text()],
            not_yet_visible: excesses(),
            released: vec![text()],
            runs: vec![NamespaceRun {
                namespace: text(),
                run: text(),
                removed: 1,
                kept: 1,
                refused: 1,
                failed: 1,
                estimate_bytes: 1,
                reclaimed_bytes: 1,
                held_until: Some(Timestamp::UNIX_EPOCH),
                images: whole_report().removed,
                part: Some(PolicyPart::Images),
                slimmed: 1,
            }],
            error: Some(text()),
        }],
    })
}
