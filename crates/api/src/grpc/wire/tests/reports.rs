//! Reports, with all that images were named by, and the outcomes of pins.

use super::*;

fn not_removed() -> Vec<NotRemoved> {
    let conflicts = [
        ConflictCause::Referenced {
            container: "c".to_owned(),
            image: digest('1'),
        },
        ConflictCause::RunningContainer("r".to_owned()),
        ConflictCause::StoppedContainer("s".to_owned()),
        ConflictCause::MultipleRepositories,
        ConflictCause::Holder(holders().remove(1)),
        ConflictCause::Pinned,
        ConflictCause::Other("words".to_owned()),
    ];
    let conflicts = conflicts.into_iter().enumerate().map(|(number, cause)| {
        NotRemoved::Conflict(Conflict {
            image: "app:1".to_owned(),
            can_be_forced: number % 2 == 0,
            cause,
        })
    });
    let others = [
        NotRemoved::Blank,
        NotRemoved::NoSuchImage("x:latest".to_owned()),
        NotRemoved::Ambiguous,
        NotRemoved::Changed,
        NotRemoved::Cancelled,
        NotRemoved::Failed("why: cause".to_owned()),
    ];
    conflicts.chain(others).collect()
}

#[test]
fn outcomes_of_pins_come_back() {
    let errors = not_removed().into_iter().map(NotPinned::NotFound);
    let errors = errors.chain([
        NotPinned::Others("app:1".to_owned()),
        NotPinned::Changed("app:2".to_owned()),
        NotPinned::Failed("why: cause".to_owned()),
    ]);
    let change = PinChange {
        target: digest('2'),
        changed: vec!["docker.io/library/app:1".to_owned()],
        unchanged: vec!["docker.io/library/app:3".to_owned()],
    };
    for outcome in errors.map(Err).chain([Ok(change)]) {
        comes_back::<_, proto::PinOutcome>(&PinOutcome {
            name: "app:1".to_owned(),
            outcome,
        });
    }
}

fn named() -> Vec<Named> {
    let wrong = "UPPER";
    let error = Reference::parse_normalized(wrong).unwrap_err();
    let removal = NamedRemoval {
        records: vec!["docker.io/library/app:1".to_owned()],
        rows: vec![Row::Untagged("app:1".to_owned()), Row::Deleted(digest('a'))],
    };
    let outcomes = not_removed().into_iter().map(|it| ("app:1", Err(it)));
    let outcomes = outcomes.chain([
        (wrong, Err(NotRemoved::Reference(error))),
        ("app:1", Ok(removal)),
    ]);
    let all = outcomes.map(|(name, outcome)| Named {
        name: name.to_owned(),
        services: vec!["web".to_owned()],
        outcome,
    });
    all.collect()
}

fn beside() -> NotCounted {
    NotCounted {
        pending: freed('1'),
        kept_elsewhere: freed('2').blobs,
        history: Pinned {
            configs: 4,
            freed: freed('3'),
        },
        doubtful: freed('4'),
        leased: Leased {
            things: freed('8'),
            leases: vec![lease_holding()],
        },
    }
}

pub(super) fn report() -> Report {
    let refused = [
        RefuseReason::TargetMoved,
        RefuseReason::AlreadyGone,
        RefuseReason::MustStay(KeepReason::InUse, holders()),
        RefuseReason::Cancelled,
        RefuseReason::OutOfTime,
    ];
    Report {
        run: RunId("run".to_owned()),
        namespace: namespace("k8s.io"),
        mode: Mode::Apply,
        removed: REMOVE
            .into_iter()
            .map(|reason| Removed {
                name: format!("{reason:?}"),
                target: digest('a'),
                reason,
            })
            .collect(),
        kept: KeepReason::ALL
            .iter()
            .copied()
            .map(|reason| Kept {
                name: format!("{reason:?}"),
                target: digest('b'),
                reason,
                holders: holders(),
            })
            .collect(),
        refused: refused
            .into_iter()
            .map(|reason| Refused {
                name: "moved".to_owned(),
                reason,
            })
            .collect(),
        failed: vec![Failed {
            name: "f".to_owned(),
            error: "e".to_owned(),
        }],
        estimate: Estimate(amount(1)),
        estimate_at_least: Estimate(amount(2)),
        beside: beside(),
        reclaimed: Reclaimed(amount(3)),
        freed: freed('5'),
        left: vec![
            Left {
                thing: LeftThing::Blob(digest('6')),
                bytes: 7,
                holders: vec![(namespace("moby"), holders().remove(0))],
            },
            Left {
                thing: LeftThing::Snapshot(SnapshotId::new("s", "k")),
                bytes: 0,
                holders: Vec::new(),
            },
        ],
        stranded: vec![unrecorded()],
        unpinned: vec![unpin()],
        rows: vec![Row::Untagged("x".to_owned()), Row::Deleted(digest('7'))],
        named: named(),
        warnings: vec!["w".to_owned()],
        guard: Some(DeleteGuard::ReadFirst),
        held_until: Some(at("2026-01-02T03:04:05.678901234Z")),
        unfinished: Some(String::new()),
        policy: Some("nightly".parse().unwrap()),
        took: Duration::from_millis(1500),
        collection: Some(Duration::from_micros(7)),
    }
}

#[test]
fn reports_come_back() {
    comes_back::<Report, proto::Report>(&report());
    for (mode, guard) in [
        (Mode::DryRun, None),
        (Mode::Apply, Some(DeleteGuard::Server)),
    ] {
        comes_back::<Report, proto::Report>(&Report {
            mode,
            guard,
            held_until: None,
            unfinished: None,
            beside: NotCounted::default(),
            ..report()
        });
    }
}
