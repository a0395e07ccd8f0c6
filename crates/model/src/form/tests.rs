//! The JSON forms: each reads back as the value that was written, and has the keys that
//! `docs/json.md` lists.

use std::collections::BTreeSet;
use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::{
    Amount, Answer, Answers, Column, Cut, CutTarget, DeleteGuard, Digest, DiskUsage, Estimate,
    Failed, FilterArgs, FreeAmount, FreeTarget, Freed, FreedBlob, FreedSnapshot, Holder,
    HolderKind, HolderPath, HolderRole, ImageSize, ImageUsage, ImageVerdict, KeepReason, Kept,
    LeaseHolding, Leased, Left, LeftHolder, LeftThing, Link, Mode, Named, NamedRemoval, Namespace,
    NamespaceUsage, NotCounted, NotRemoved, Outlook, OutsideRecords, Part, Pinned, Place,
    ProjectImage, ProjectList, ProjectUsage, PruneRequest, PruneVerdicts, Reclaimed, ReferenceKind,
    RefuseReason, Refused, RemoveReason, Removed, Report, Row, RunId, Selection, Slimmed,
    SnapshotId, Thing, ThingKind, Unrecorded, UsageByColumn, Versioned,
};

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

const KINDS: [ThingKind; 8] = [
    ThingKind::Image,
    ThingKind::Index,
    ThingKind::Manifest,
    ThingKind::Config,
    ThingKind::Content,
    ThingKind::Snapshot,
    ThingKind::Container,
    ThingKind::Absent,
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

fn digest(digit: char) -> Digest {
    let hex = String::from(digit).repeat(64);
    format!("sha256:{hex}").parse().unwrap()
}

fn namespace(name: &str) -> Namespace {
    name.parse().unwrap()
}

fn size() -> ImageSize {
    ImageSize {
        content_bytes: 11,
        unpacked_bytes: 22,
        shared_bytes: 3,
    }
}

/// Different numbers in each field; every other amount has no unmeasured snapshots.
fn amount(seed: u64) -> Amount {
    let count = usize::try_from(seed).unwrap();
    Amount {
        content_bytes: u64::MAX / 64 - seed,
        snapshot_bytes: seed + 1,
        blobs: count + 2,
        snapshots: count + 3,
        unmeasured: count % 2,
    }
}

fn holders() -> Vec<Holder> {
    let container = Holder::new(HolderKind::Container, "web");
    let lease = Holder {
        role: Some(HolderRole::Pull),
        ..Holder::new(HolderKind::Lease, "pull")
    };
    vec![container, lease]
}

/// Writes a value and reads it back, with and without an envelope; returns what was written.
#[track_caller]
fn comes_back<T: Debug + Clone + PartialEq + Serialize + DeserializeOwned>(value: &T) -> Value {
    let text = serde_json::to_string(value).unwrap();
    assert_eq!(serde_json::from_str::<T>(&text).unwrap(), *value, "{text}");
    let enveloped = Versioned::new(value.clone());
    let form = serde_json::to_value(&enveloped).unwrap();
    let again: Versioned<T> = serde_json::from_value(form.clone()).unwrap();
    assert_eq!(again, enveloped, "{form}");
    form
}

#[track_caller]
fn keys(form: &Value) -> BTreeSet<&str> {
    let fields = form.as_object().expect("an object");
    fields.keys().map(String::as_str).collect()
}

fn image_usage(verdict: Result<RemoveReason, KeepReason>) -> ImageUsage {
    ImageUsage {
        name: "docker.io/library/app:1".to_owned(),
        target: digest('a'),
        created: verdict
            .is_ok()
            .then(|| "2026-01-02T03:04:05Z".parse().unwrap()),
        size: size(),
        reclaimable_alone_bytes: 4,
        containers: 1,
        holders: holders(),
        verdict,
    }
}

fn disk_usage() -> DiskUsage {
    let columns: UsageByColumn = COLUMNS.into_iter().zip((0..).map(amount)).collect();
    let removed = REMOVE.into_iter().map(Ok);
    let verdicts = removed.chain(KeepReason::ALL.iter().copied().map(Err));
    let images = verdicts.map(image_usage).collect();
    DiskUsage {
        total: columns.clone(),
        namespaces: vec![
            NamespaceUsage {
                shared_bytes: 5,
                usage: columns,
                ..NamespaceUsage::new(namespace("a"), images, Vec::new())
            },
            NamespaceUsage::new(namespace("b"), Vec::new(), Vec::new()),
        ],
        orphaned_known: true,
        outside_records: Some(OutsideRecords {
            unrecorded: vec![Unrecorded {
                snapshotter: "native".into(),
                directories: 2,
                bytes: 6,
                is_exact: true,
                places: vec![Place {
                    path: "/p".to_owned(),
                    bytes: 3,
                    why: None,
                }],
            }],
            own_bytes: 7,
            unseen: vec!["zfs".into()],
        }),
        warnings: vec!["w".to_owned()],
    }
}

#[test]
fn disk_usage_comes_back() {
    let whole = disk_usage();
    let form = comes_back(&whole.clone().without_details());
    assert_eq!(form["version"], 1);
    let first = &form["namespaces"][0];
    let images = REMOVE.len() + KeepReason::ALL.len();
    assert_eq!(first["images"], images);
    assert_eq!(first["active"], images);
    let expected = [
        "namespace",
        "images",
        "active",
        "shared_bytes",
        "all",
        "columns",
        "reclaimable",
    ];
    assert_eq!(keys(first), BTreeSet::from(expected));
    let (bytes, is_whole) = whole.on_disk();
    assert_eq!(form["on_disk"], json!({"bytes": bytes, "whole": is_whole}));
    let total = &form["total"];
    assert_eq!(total["all"], json!(whole.total.total()));
    assert_eq!(total["reclaimable"]["prune"], total["columns"]["dangling"],);
    assert_eq!(
        total["reclaimable"]["prune_all"],
        json!(whole.total.reclaimable()),
    );
    assert_eq!(keys(&total["columns"]).len(), COLUMNS.len());

    let form = comes_back(&DiskUsage {
        outside_records: None,
        namespaces: Vec::new(),
        ..whole
    });
    assert_eq!(form["outside_records"], Value::Null);
    assert_eq!(form["on_disk"]["whole"], false);
}

#[test]
fn images_come_back() {
    for found in disk_usage().namespaces {
        for image in found.image_usage.unwrap() {
            let form = comes_back(&image);
            let (verdict, reason) = match image.verdict {
                Ok(reason) => ("remove", json!(reason)),
                Err(reason) => ("keep", json!(reason)),
            };
            assert_eq!(form["verdict"], verdict);
            assert_eq!(form["reason"], reason);
            assert_eq!(form["unique_bytes"], 30);
            assert_eq!(form["containers"], 1);
        }
    }
}

#[test]
fn leases_are_listed_with_what_they_hold() {
    let lease = LeaseHolding {
        id: "pull".to_owned(),
        role: Some(HolderRole::Pull),
        since: None,
        until: Some("2026-01-02T03:04:05Z".parse().unwrap()),
        things: Freed::default(),
    };
    let usage = NamespaceUsage::new(namespace("a"), Vec::new(), vec![lease]);
    let form = serde_json::to_value(&usage).unwrap();
    assert_eq!(
        form["leases"],
        json!([{
            "id": "pull", "role": "pull", "since": null, "until": "2026-01-02T03:04:05Z",
            "content_bytes": 0, "snapshot_bytes": 0, "blobs": 0, "snapshots": 0,
        }])
    );
}

/// An older daemon does not say what keeps a link.
#[test]
fn a_link_without_its_reference_is_read() {
    let form = json!({"kind": "image", "id": "a:1"});
    let link: Link = serde_json::from_value(form).unwrap();
    assert_eq!((link.by, link.labels.len()), (ReferenceKind::PartOf, 0));
}

#[test]
fn answers_come_back() {
    let moment = "2026-01-02T03:04:05Z".parse().unwrap();
    let kept = ImageVerdict::Keep {
        reason: KeepReason::InUse,
        holders: holders(),
    };
    let removed = ImageVerdict::Remove {
        reason: RemoveReason::Unused,
    };
    let chain = KINDS.map(|kind| Thing {
        kind,
        id: format!("{kind:?}"),
    });
    let path = |until, prune_all| HolderPath {
        namespace: namespace("default"),
        holder: holders().remove(1),
        until,
        chain: chain
            .iter()
            .map(|thing| Link {
                thing: thing.clone(),
                by: ReferenceKind::BackLabel,
                labels: vec!["containerd.io/gc.bref.content".to_owned()],
            })
            .collect(),
        prune_all,
    };
    let outlooks = [
        (Outlook::Held, json!({"fate": "held"})),
        (Outlook::Unused, json!({"fate": "unused"})),
        (
            Outlook::Expires {
                at: moment,
                holder: holders().remove(0),
            },
            json!({
                "fate": "expires",
                "at": "2026-01-02T03:04:05Z",
                "holder": {"kind": "container", "id": "web"},
            }),
        ),
        (Outlook::Depends, json!({"fate": "depends"})),
        (Outlook::NextCollection, json!({"fate": "next_collection"})),
    ];
    for (at, (outlook, expected)) in outlooks.into_iter().enumerate() {
        let form = comes_back(&Answers {
            answers: vec![Answer {
                namespace: namespace("default"),
                thing: chain[at].clone(),
                holders: vec![path(None, Some(kept.clone())), path(Some(moment), None)],
                verdicts: (at % 2 == 0).then(|| PruneVerdicts {
                    prune: kept.clone(),
                    prune_all: removed.clone(),
                }),
                depends_on: vec!["index:1".to_owned()],
                dependents: vec!["two:1".to_owned()],
                outlook,
                warnings: vec!["w".to_owned()],
            }],
        });
        let answer = &form["answers"][0];
        assert_eq!(answer["fate"], expected);
        assert_eq!(answer.get("verdicts").is_some(), at % 2 == 0);
        assert_eq!(answer["holders"][0]["prune_all"]["reason"], "in_use");
        assert_eq!(answer["holders"][1]["chain"][1]["kind"], "index");
    }
}

#[test]
fn projects_come_back() {
    let image = |name: &str, target| ProjectImage {
        name: name.to_owned(),
        target,
        services: ["db", "web"].map(str::to_owned).into(),
        size: size(),
    };
    let form = comes_back(&ProjectList {
        namespace: namespace("default"),
        projects: vec![ProjectUsage {
            project: "shop".parse().unwrap(),
            services: ["db", "web"].map(str::to_owned).into(),
            service_images: [("db".to_owned(), "postgres:17".to_owned())].into(),
            containers: 4,
            images: vec![
                image("a", digest('a')),
                image("b", digest('b')),
                image("other name of a", digest('a')),
            ],
            rmi_local: amount(7),
        }],
    });
    let project = &form["projects"][0];
    assert_eq!(project["project"], "shop");
    assert_eq!(project["services"], json!(["db", "web"]));
    assert_eq!(project["bytes"], 66, "each target once");
    assert_eq!(project["rmi_local"], json!(amount(7)));
}

fn freed(digit: char, bytes: u64) -> Freed {
    let blob = FreedBlob {
        digest: digest(digit),
        bytes,
    };
    let snapshot = FreedSnapshot {
        id: SnapshotId::new("overlayfs", "top"),
        bytes: None,
    };
    Freed::new(vec![blob], vec![snapshot])
}

fn not_counted() -> NotCounted {
    let lease = LeaseHolding {
        id: "pull".to_owned(),
        role: Some(HolderRole::Pull),
        since: Some("2026-01-02T03:04:05Z".parse().unwrap()),
        until: None,
        things: freed('6', 60),
    };
    NotCounted {
        pending: freed('3', 30),
        kept_elsewhere: freed('4', 40),
        history: Pinned {
            configs: 5,
            freed: freed('5', 50),
        },
        doubtful: Freed::default(),
        leased: Leased {
            things: freed('6', 60),
            leases: vec![lease],
        },
    }
}

fn left() -> Vec<Left> {
    vec![
        Left {
            thing: LeftThing::Blob {
                digest: digest('8'),
            },
            bytes: 80,
            holders: vec![LeftHolder {
                namespace: namespace("moby"),
                holder: holders().remove(0),
            }],
        },
        Left {
            thing: LeftThing::Snapshot(SnapshotId::new("native", "base")),
            bytes: 90,
            holders: Vec::new(),
        },
    ]
}

fn refused() -> Vec<Refused> {
    let refused = |reason| Refused {
        name: "app:3".to_owned(),
        reason,
    };
    vec![
        refused(RefuseReason::TargetMoved),
        refused(RefuseReason::AlreadyGone),
        refused(RefuseReason::MustStay {
            reason: KeepReason::Pinned,
            holders: holders(),
        }),
        refused(RefuseReason::Cancelled),
        refused(RefuseReason::OutOfTime),
    ]
}

fn report() -> Report {
    let run = RunId("019aa6f0".to_owned());
    Report {
        removed: vec![Removed {
            name: "app:1".to_owned(),
            target: digest('1'),
            reason: RemoveReason::Unused,
        }],
        kept: vec![Kept {
            name: "app:2".to_owned(),
            target: digest('2'),
            reason: KeepReason::InUse,
            holders: holders(),
        }],
        refused: refused(),
        failed: vec![Failed {
            name: "app:4".to_owned(),
            error: "no answer".to_owned(),
        }],
        estimate: Estimate(amount(1)),
        estimate_at_least: Estimate(amount(2)),
        not_counted: not_counted(),
        reclaimed: Reclaimed(amount(3)),
        freed: freed('7', 70),
        left: left(),
        slimmed: vec![Slimmed {
            name: "slim:1".to_owned(),
            target: digest('8'),
            parts: [(Part::Layers, vec![digest('8')])].into(),
            lifted: None,
        }],
        cuts: vec![
            Cut {
                part: Part::BuildHistory,
                blob: digest('9'),
                target: CutTarget::Snapshot(SnapshotId::new("native", "top")),
            },
            Cut {
                part: Part::Layers,
                blob: digest('8'),
                target: CutTarget::Content {
                    digest: digest('7'),
                },
            },
        ],
        rows: vec![Row::Untagged("app:1".to_owned()), Row::Deleted(digest('1'))],
        named: vec![
            Named::new(
                "app:1",
                Ok(NamedRemoval {
                    records: vec!["docker.io/library/app:1".to_owned()],
                    untagged: vec!["app:1".to_owned()],
                    deleted: vec![digest('1')],
                }),
            ),
            Named::new(
                "gone",
                Err(NotRemoved::NoSuchImage("gone:latest".to_owned())),
            ),
        ],
        warnings: vec!["odd".to_owned()],
        guard: Some(DeleteGuard::Server),
        held_until: Some("2026-01-02T03:04:05Z".parse().unwrap()),
        unfinished: Some("no answer".to_owned()),
        policy: Some("night".parse().unwrap()),
        ..Report::new(run, namespace("k8s.io"), Mode::DryRun)
    }
}

/// A report reads back as what it prints: of what is not counted it has the amounts alone.
#[test]
fn reports_come_back() {
    let report = report();
    let form = serde_json::to_value(Versioned::new(&report)).unwrap();
    let again: Versioned<Report> = serde_json::from_value(form.clone()).unwrap();
    assert_eq!(serde_json::to_value(&again).unwrap(), form);
    let Report { not_counted, .. } = &again.value;
    assert_eq!(not_counted.pending.amount().content_bytes, 30);
    assert_eq!(not_counted.kept_elsewhere.amount().content_bytes, 40);
    assert_eq!(
        not_counted.leased.leases[0].things.amount().content_bytes,
        60
    );
    // Everything else is the same value.
    let whole = Report {
        not_counted: not_counted.clone(),
        ..report
    };
    assert_eq!(again.value, whole);
    assert_eq!(form["dry_run"], true);
    assert_eq!(form["kept_elsewhere_bytes"], 40);
    assert_eq!(form["build_history"]["configs"], 5);
    assert_eq!(
        form["refused"][0]["reason"],
        "the name now points to a different image"
    );
    assert_eq!(form["named"][0]["problem"], Value::Null);
    assert_eq!(form["named"][1]["problem"], "no_such_image");
    assert_eq!(form["named"][1]["message"], "No such image: gone:latest");
}

/// As typed: a percentage stays one, and a size is exact.
#[test]
fn requests_come_back() {
    let mut filters = FilterArgs::default();
    filters.add("until", "24h");
    let typed = PruneRequest::new(namespace("default"), filters.clone());
    let named = PruneRequest::images(namespace("default"), ["app:1"]);
    for (request, target) in [
        (
            typed
                .clone()
                .with_target_free(FreeTarget::new(FreeAmount::Percent(10))),
            json!("10%"),
        ),
        (
            typed.with_target_free(FreeTarget::new(FreeAmount::Bytes(1_234_567))),
            json!("1234567B"),
        ),
        (named, Value::Null),
    ] {
        let form = serde_json::to_value(&request).unwrap();
        assert_eq!(form["target_free"], target);
        let again: PruneRequest = serde_json::from_value(form.clone()).unwrap();
        assert_eq!(serde_json::to_value(&again).unwrap(), form);
    }
    let short = json!({"namespace": "default", "selection": {"filters": {"until": ["24h"]}}});
    let read: PruneRequest = serde_json::from_value(short).unwrap();
    assert!(matches!(read.selection, Selection::Filters(read) if read == filters));
    for refused in [
        json!({"namespace": "default", "selection": {"filters": {}}, "force": true}),
        json!({"namespace": "a b", "selection": {"filters": {}}}),
        json!({"namespace": "default", "selection": {"rule": {}}}),
        json!({"namespace": "default"}),
    ] {
        assert!(
            serde_json::from_value::<PruneRequest>(refused.clone()).is_err(),
            "{refused}"
        );
    }
}
