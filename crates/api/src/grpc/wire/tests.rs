//! What goes over the wire comes back as it was.
//!
//! Random values would miss variants: every variant of every enumeration is in here by hand, and
//! what is added to the model fails to compile in the conversions until it is carried.

mod policies;
mod reports;

use std::fmt::Debug;
use std::time::Duration;

use prost::Message;
use reclaim_engine::{Hold, ImageList, ListedImage};
use reclaim_model::{
    Amount, Conflict, ConflictCause, Container, ContainerState, DeleteGuard, Digest, Estimate,
    Failed, Freed, FreedBlob, FreedSnapshot, GcLabels, Holder, HolderKind, HolderRole, ImageRecord,
    KeepReason, Kept, LeaseHolding, Leased, Left, LeftThing, Mode, Named, NamedRemoval, Namespace,
    NotCounted, NotPinned, NotRemoved, OutsideRecords, Pin, PinChange, PinOutcome, Pinned, Place,
    Project, Reclaimed, Reference, RefuseReason, Refused, RemoveReason, Removed, Report, Row,
    RunId, Service, SnapshotId, Target, Unpin, Unrecorded,
};

use super::*;
use crate::grpc::proto;

const REMOVE: [RemoveReason; 7] = [
    RemoveReason::Dangling,
    RemoveReason::Unused,
    RemoveReason::Duplicate,
    RemoveReason::Named,
    RemoveReason::Replaced,
    RemoveReason::Parent,
    RemoveReason::Torn,
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

const ROLES: [HolderRole; 5] = [
    HolderRole::Container,
    HolderRole::StoppedContainer,
    HolderRole::Pull,
    HolderRole::UnfinishedPull,
    HolderRole::BuildCache,
];

fn digest(hex: char) -> Digest {
    format!("sha256:{}", hex.to_string().repeat(64))
        .parse()
        .unwrap()
}

fn namespace(name: &str) -> Namespace {
    name.parse().unwrap()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn amount(seed: u64) -> Amount {
    Amount {
        content_bytes: seed,
        snapshot_bytes: seed + 1,
        blobs: 2,
        snapshots: 3,
        unmeasured: 1,
    }
}

fn freed(hex: char) -> Freed {
    Freed {
        blobs: vec![FreedBlob {
            digest: digest(hex),
            bytes: u64::MAX,
        }],
        snapshots: vec![FreedSnapshot {
            id: SnapshotId::new("overlayfs", "key"),
            bytes: Some(0),
        }],
    }
}

fn holders() -> Vec<Holder> {
    let holders = HOLDERS.into_iter();
    let holders = holders.map(|kind| Holder::new(kind, format!("{kind:?}")));
    let roles = ROLES.into_iter().map(|role| Holder {
        role: Some(role),
        ..Holder::new(HolderKind::Lease, format!("{role:?}"))
    });
    holders.chain(roles).collect()
}

fn unrecorded() -> Unrecorded {
    let place = |why: Option<&str>| Place {
        path: "/p".to_owned(),
        bytes: 3,
        why: why.map(str::to_owned),
    };
    Unrecorded {
        snapshotter: "native".into(),
        directories: 2,
        bytes: 6,
        is_exact: true,
        places: vec![place(None), place(Some("a mount"))],
    }
}

fn lease_holding() -> LeaseHolding {
    LeaseHolding {
        lease: holders().pop().unwrap(),
        since: None,
        until: Some(at("2026-01-02T03:04:05Z")),
        things: freed('9'),
    }
}

fn unpin() -> Unpin {
    Unpin {
        config: digest('c'),
        snapshot: SnapshotId::new("native", "chain"),
    }
}

/// Sends a value as bytes and looks at what arrives.
#[track_caller]
fn comes_back<T, M>(value: &T)
where
    T: Debug,
    T: TryFrom<M, Error = WireError>,
    M: Message + Default + for<'a> From<&'a T>,
{
    let bytes = M::from(value).encode_to_vec();
    let arrived = M::decode(bytes.as_slice()).unwrap();
    let again = T::try_from(arrived).unwrap();
    assert_eq!(format!("{again:#?}"), format!("{value:#?}"));
}

#[test]
fn usage_comes_back() {
    let columns = [
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
    let usage: UsageByColumn = columns.into_iter().zip((0..).map(amount)).collect();
    let image = |verdict| ImageUsage {
        name: "app".to_owned(),
        target: digest('a'),
        created: Some(at("1969-12-31T23:59:59.5Z")),
        size: ImageSize {
            content_bytes: 1,
            unpacked_bytes: 2,
            shared_bytes: 3,
        },
        reclaimable_alone_bytes: 4,
        containers: 1,
        holders: holders(),
        verdict,
    };
    let images = vec![
        image(Ok(RemoveReason::Unused)),
        image(Err(KeepReason::InUse)),
    ];
    let full = NamespaceUsage {
        usage: usage.clone(),
        shared_bytes: 5,
        ..NamespaceUsage::new(namespace("a"), images, vec![lease_holding()])
    };
    let empty = NamespaceUsage::new(namespace("b"), Vec::new(), Vec::new());
    comes_back::<DiskUsage, proto::DiskUsageResponse>(&DiskUsage {
        total: usage,
        namespaces: vec![full, empty],
        orphaned_known: true,
        warnings: vec!["w".to_owned()],
        outside_records: Some(OutsideRecords {
            unrecorded: vec![unrecorded()],
            own_bytes: 5,
            unseen: vec!["zfs".into()],
        }),
    });
}

#[test]
fn lists_come_back() {
    let size = ImageSize {
        content_bytes: 1,
        unpacked_bytes: u64::MAX,
        shared_bytes: 3,
    };
    let keep = KeepReason::ALL.iter().map(|it| Err(*it));
    let verdicts = REMOVE.map(Ok).into_iter().chain(keep);
    let mut pins = [None, Some(Pin::Ours), Some(Pin::Others)]
        .into_iter()
        .cycle();
    let images = verdicts.map(|verdict| ListedImage {
        name: format!("{verdict:?}"),
        target: digest('a'),
        created: verdict.is_ok().then(|| at("2026-01-02T03:04:05.5Z")),
        size,
        pin: pins.next().flatten(),
        verdict,
    });
    comes_back::<ImageList, proto::ListImagesResponse>(&ImageList {
        observed_at: at("2026-01-02T03:04:05.678901234Z"),
        images: images.collect(),
        warnings: vec!["w".to_owned()],
    });
    let image = ProjectImage {
        name: "shop-web".to_owned(),
        target: digest('b'),
        services: ["db", "web"].map(str::to_owned).into(),
        size,
    };
    comes_back::<ProjectUsage, proto::ListedProject>(&ProjectUsage {
        project: "shop".parse().unwrap(),
        services: ["db", "web"].map(str::to_owned).into(),
        service_images: [("db".to_owned(), "postgres:17".to_owned())].into(),
        containers: 4,
        images: vec![image],
        rmi_local: amount(5),
    });
}

#[test]
fn answers_come_back() {
    let kinds = [
        ThingKind::Image,
        ThingKind::Index,
        ThingKind::Manifest,
        ThingKind::Config,
        ThingKind::Content,
        ThingKind::Snapshot,
        ThingKind::Container,
        ThingKind::Absent,
    ];
    let chain = kinds.map(|kind| Thing {
        kind,
        id: format!("{kind:?}"),
    });
    let held = |until, prune_all| HolderPath {
        namespace: namespace("default"),
        holder: holders().remove(2),
        until,
        chain: chain.to_vec(),
        prune_all,
    };
    let moment = at("2026-01-02T03:04:05Z");
    let outlooks = [
        Outlook::Held,
        Outlook::Unused,
        Outlook::Expires {
            at: moment,
            holder: holders().remove(3),
        },
        Outlook::NextCollection,
    ];
    for (outlook, has_verdicts) in outlooks.into_iter().zip([true, false, true, false]) {
        let kept = ImageVerdict::Keep {
            reason: KeepReason::Pinned,
            holders: holders(),
        };
        let removed = ImageVerdict::Remove {
            reason: RemoveReason::Dangling,
        };
        comes_back::<Answer, proto::Answer>(&Answer {
            namespace: namespace("default"),
            thing: chain[0].clone(),
            holders: vec![held(Some(moment), None), held(None, Some(kept.clone()))],
            verdicts: has_verdicts.then_some(PruneVerdicts {
                prune: kept,
                prune_all: removed,
            }),
            outlook,
            warnings: vec!["w".to_owned()],
        });
    }
}

#[test]
fn holds_come_back() {
    let labels = [("containerd.io/gc.ref.content.0", "x"), ("k", "v")];
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let record = ImageRecord {
        name: "app".to_owned(),
        target: Target {
            media_type: "m".to_owned(),
            digest: digest('a'),
            size: 9,
            annotations: [("a".to_owned(), "b".to_owned())].into(),
        },
        gc: GcLabels::parse(labels.iter().map(|(key, value)| (&**key, &**value))),
        labels: labels.into(),
        created_at: Some(at("2026-01-02T03:04:05.000000001Z")),
        updated_at: None,
        expires: None,
    };
    comes_back::<Hold, proto::Hold>(&Hold {
        run: RunId("run".to_owned()),
        started: Some(at("2026-01-02T03:04:05Z")),
        expires: None,
        is_abandoned: true,
        is_whole: false,
        records: vec![record],
        unpins: vec![unpin()],
        leases: vec!["reclaim.hold.run".to_owned()],
    });
}

#[test]
fn containers_come_back() {
    for state in [
        ContainerState::Unknown,
        ContainerState::Running,
        ContainerState::Stopped,
    ] {
        let full = Container {
            id: "web".to_owned(),
            image: "app:1".to_owned(),
            image_digest: Some(digest('a')),
            mounts: vec!["tools:1".to_owned()],
            snapshot: Some(SnapshotId::new("overlayfs", "web")),
            labels: [("k".to_owned(), "v".to_owned())].into(),
            state,
            ..Container::default()
        };
        assert_eq!(container((&full).into()), Ok(full));
    }
    let bare = Container {
        id: "x".to_owned(),
        ..Container::default()
    };
    assert_eq!(container((&bare).into()), Ok(bare));
}

/// A daemon or a client of another version may say anything.
#[test]
fn what_is_unknown_is_refused_by_name() {
    let refused = |change: fn(&mut proto::Report)| {
        let mut message = proto::Report::from(&reports::report());
        change(&mut message);
        Report::try_from(message).unwrap_err().to_string()
    };
    assert_eq!(refused(|it| it.mode = 77), "mode: 77 is unknown here");
    assert_eq!(refused(|it| it.mode = 0), "mode: it is not specified");
    assert_eq!(
        refused(|it| it.removed[0].reason = 99),
        "reason: 99 is unknown here"
    );
    assert_eq!(refused(|it| it.estimate = None), "estimate: it is missing");
    assert!(refused(|it| it.removed[0].target.clear()).starts_with("target: "));
    assert!(refused(|it| it.namespace.clear()).starts_with("namespace: "));
    let late = |it: &mut proto::Report| {
        it.held_until = Some(prost_types::Timestamp {
            seconds: i64::MAX,
            nanos: 0,
        });
    };
    assert!(refused(late).starts_with("timestamp: "));
}
