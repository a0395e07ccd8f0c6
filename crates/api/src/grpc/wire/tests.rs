//! Answers in the protocol: every reason and every list of the model has its message.

use reclaim_model::{
    Conflict, ConflictCause, Digest, Freed, FreedBlob, FreedSnapshot, Holder, HolderKind,
    HolderRole, KeepReason, LeaseHolding, Leased, Left, LeftHolder, LeftThing, Named, NamedRemoval,
    NotCounted, NotPinned, NotRemoved, PinOutcome, Pinned, ProjectImages, Reference, RefuseReason,
    Refused, SnapshotId,
};

use crate::grpc::proto;
use proto::conflict::Cause;
use proto::not_removed::Kind;

fn digest(digit: char) -> Digest {
    format!("sha256:{}", String::from(digit).repeat(64))
        .parse()
        .unwrap()
}

fn holder() -> Holder {
    Holder {
        role: Some(HolderRole::StoppedContainer),
        ..Holder::new(HolderKind::Lease, "web")
    }
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

#[test]
fn every_reason_of_a_refusal_has_its_number() {
    for (reason, expected) in [
        (RefuseReason::TargetMoved, proto::RefuseReason::TargetMoved),
        (RefuseReason::AlreadyGone, proto::RefuseReason::AlreadyGone),
        (RefuseReason::Cancelled, proto::RefuseReason::Cancelled),
        (RefuseReason::OutOfTime, proto::RefuseReason::OutOfTime),
    ] {
        let refused = Refused {
            name: "app:1".to_owned(),
            reason,
        };
        let message = proto::Refused::from(&refused);
        assert_eq!((&*message.name, message.reason()), ("app:1", expected));
        assert_eq!(message.keep(), proto::KeepReason::Unspecified);
    }
    let used = Refused {
        name: "app:2".to_owned(),
        reason: RefuseReason::MustStay {
            reason: KeepReason::InUse,
            holders: vec![holder()],
        },
    };
    let message = proto::Refused::from(&used);
    assert_eq!(message.reason(), proto::RefuseReason::MustStay);
    assert_eq!(message.keep(), proto::KeepReason::InUse);
    assert_eq!(message.holders, [proto::Holder::from(&holder())]);
}

#[test]
fn every_problem_of_a_name_has_its_kind_and_message() {
    let malformed = Reference::parse_normalized("A").unwrap_err();
    let conflict = |cause| {
        NotRemoved::Conflict(Conflict {
            image: "app:1".to_owned(),
            can_be_forced: true,
            cause,
        })
    };
    for (error, kind, subject) in [
        (NotRemoved::Blank, Kind::Blank, ""),
        (NotRemoved::Reference(malformed), Kind::Reference, ""),
        (
            NotRemoved::NoSuchImage("app:1".to_owned()),
            Kind::NoSuchImage,
            "app:1",
        ),
        (NotRemoved::Ambiguous, Kind::Ambiguous, ""),
        (
            NotRemoved::NoSuchPlatform {
                image: "app:1".to_owned(),
                wanted: vec!["linux/arm64".parse().unwrap()],
                present: Vec::new(),
            },
            Kind::NoSuchPlatform,
            "app:1",
        ),
        (conflict(ConflictCause::Pinned), Kind::Conflict, ""),
        (NotRemoved::Changed, Kind::Changed, ""),
        (NotRemoved::Cancelled, Kind::Cancelled, ""),
        (
            NotRemoved::Failed("no answer".to_owned()),
            Kind::Failed,
            "no answer",
        ),
    ] {
        let message = proto::NotRemoved::from(&error);
        assert_eq!(message.kind(), kind, "{error:?}");
        assert_eq!(message.message, error.to_string());
        assert_eq!(message.subject, subject, "{error:?}");
        assert_eq!(message.conflict.is_some(), kind == Kind::Conflict);
    }
    for (cause, expected) in [
        (
            ConflictCause::Referenced {
                container: "web".to_owned(),
                image: digest('a'),
            },
            Cause::ReferencedBy(proto::ReferencedBy {
                container: "web".to_owned(),
                image: digest('a').to_string(),
            }),
        ),
        (
            ConflictCause::RunningContainer("web".to_owned()),
            Cause::RunningContainer("web".to_owned()),
        ),
        (
            ConflictCause::StoppedContainer("web".to_owned()),
            Cause::StoppedContainer("web".to_owned()),
        ),
        (
            ConflictCause::MultipleRepositories,
            Cause::MultipleRepositories(true),
        ),
        (
            ConflictCause::Holder(holder()),
            Cause::Holder((&holder()).into()),
        ),
        (ConflictCause::Pinned, Cause::Pinned(true)),
        (
            ConflictCause::Other("odd".to_owned()),
            Cause::Other("odd".to_owned()),
        ),
    ] {
        let message = proto::NotRemoved::from(&conflict(cause)).conflict.unwrap();
        assert_eq!((&*message.image, message.can_be_forced), ("app:1", true));
        assert_eq!(message.cause, Some(expected));
    }
}

#[test]
fn a_name_has_its_removal_or_its_problem() {
    let removal = NamedRemoval {
        records: vec!["docker.io/library/app:1".to_owned()],
        untagged: vec!["app:1".to_owned()],
        deleted: vec![digest('a')],
    };
    let message = proto::Named::from(&Named::new("app", Ok(removal)));
    let Some(proto::named::Outcome::Removal(removal)) = message.outcome else {
        panic!("{message:?}");
    };
    assert_eq!(removal.records, ["docker.io/library/app:1"]);
    assert_eq!(removal.rows.len(), 2);
    let failed = proto::Named::from(&Named::new("app", Err(NotRemoved::Ambiguous)));
    assert!(matches!(
        failed.outcome,
        Some(proto::named::Outcome::NotRemoved(error)) if error.kind() == Kind::Ambiguous
    ));
    let unpinned = PinOutcome::failed("app", NotPinned::Others("app:1".to_owned()));
    let message = proto::PinOutcome::from(&unpinned);
    assert!(matches!(
        message.outcome,
        Some(proto::pin_outcome::Outcome::NotPinned(proto::NotPinned {
            why: Some(proto::not_pinned::Why::Others(image)),
        })) if image == "app:1"
    ));
}

#[test]
fn what_is_not_counted_is_listed() {
    let not_counted = NotCounted {
        pending: freed('1', 10),
        kept_elsewhere: Freed::new(freed('2', 20).blobs, Vec::new()),
        history: Pinned {
            configs: 3,
            freed: freed('3', 30),
        },
        doubtful: freed('4', 40),
        leased: Leased {
            things: freed('5', 50),
            leases: vec![LeaseHolding {
                id: "web".to_owned(),
                role: Some(HolderRole::StoppedContainer),
                since: None,
                until: None,
                things: freed('5', 50),
            }],
        },
    };
    let message = proto::Beside::from(&not_counted);
    let list = |freed: Freed| Some(proto::Freed::from(&freed));
    assert_eq!(message.pending, list(freed('1', 10)));
    assert_eq!(message.kept_elsewhere.len(), 1);
    assert_eq!(message.kept_elsewhere[0].bytes, 20);
    assert_eq!(message.history_configs, 3);
    assert_eq!(message.history, list(freed('3', 30)));
    assert_eq!(message.doubtful, list(freed('4', 40)));
    assert_eq!(message.leased, list(freed('5', 50)));
    assert_eq!(
        message.leases[0].lease,
        Some(proto::Holder::from(&holder()))
    );

    let left = Left {
        thing: LeftThing::Blob {
            digest: digest('6'),
        },
        bytes: 60,
        holders: vec![LeftHolder {
            namespace: "k8s.io".parse().unwrap(),
            holder: holder(),
        }],
    };
    let message = proto::Left::from(&left);
    let blob = proto::left::Thing::Blob(digest('6').to_string());
    assert_eq!((message.thing, message.bytes), (Some(blob), 60));
    assert_eq!(message.holders[0].namespace, "k8s.io");
}

#[test]
fn a_project_has_its_separator() {
    for (compatibility, expected) in [(false, "shop-web"), (true, "shop_web")] {
        let message = proto::ProjectImages {
            project: "shop".to_owned(),
            mode: "local".to_owned(),
            compatibility,
            ..proto::ProjectImages::default()
        };
        let images = ProjectImages::try_from(message).unwrap();
        assert_eq!(images.project.default_image("web"), expected);
    }
}
