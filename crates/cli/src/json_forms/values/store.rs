//! What is in the store: images, disk usage, and what keeps an object.

use jiff::Timestamp;
use reclaim_model::{
    Answer, Answers, DiskUsage, Freeable, HolderPath, ImageList, ImageUsage, ImageVerdict,
    KeepReason, Link, ListedImage, NamespaceUsage, Outlook, OutsideRecords, Pin, Platform,
    PlatformLayers, PruneVerdicts, RemoveReason, Thing, UsageByColumn,
};
use serde_json::Value;

use super::{
    COLUMNS, REFERENCES, THINGS, amount, digest, form, holders, lease, namespace, size, text,
    unrecorded, verdicts,
};

pub(in super::super) fn image_list() -> Value {
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
        last_used: Some(Timestamp::UNIX_EPOCH),
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

pub(super) fn columns() -> UsageByColumn {
    COLUMNS
        .map(|column| (column, amount()))
        .into_iter()
        .collect()
}

pub(in super::super) fn disk_usage() -> Value {
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

pub(in super::super) fn answers() -> Value {
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
