//! Who holds what was to go and is still there.

use std::collections::BTreeMap;

use reclaim_model::{
    EXPIRE, Holder, HolderKind, HolderRole, Left, LeftHolder, LeftThing, SnapshotId,
};
use reclaim_plan::left;

use crate::world::{
    LeaseExt, OVERLAY, RecordExt, World, ago, bytes, chain, content, digest, library, snapshot,
};

/// Names what `later` has left of all that a prune of `before` was to free, with the holders.
fn found(before: &World, later: &World) -> Vec<Left> {
    let plan = before.prune_all().plan;
    left(&later.inventory(), &plan.namespace, &plan.freed)
}

fn held(namespace: &str, kind: HolderKind, id: &str) -> LeftHolder {
    LeftHolder {
        namespace: namespace.parse().unwrap(),
        holder: Holder::new(kind, id),
    }
}

fn blob(name: &str) -> LeftThing {
    LeftThing::Blob {
        digest: digest(name),
    }
}

fn of(key: &str) -> LeftThing {
    LeftThing::Snapshot(SnapshotId::new(OVERLAY, key))
}

/// An unused image, and what is left of it after its record is gone.
fn worlds() -> (World, World) {
    let mut before = World::new();
    before.image(&library("app:1"), "A");
    let mut later = before.clone();
    later.here().images.clear();
    (before, later)
}

#[test]
fn what_has_no_holder_is_reported_without_one_and_what_is_gone_is_not_reported() {
    let (before, mut later) = worlds();
    later.lose("A").lose("base");
    later.here().snapshots.clear();
    let left = found(&before, &later);
    let reported: BTreeMap<_, _> = left.into_iter().map(|it| (it.thing.clone(), it)).collect();
    let expected = ["A.config", "A.layer"].map(|name| {
        let thing = blob(name);
        let bytes = bytes(name);
        let holders = Vec::new();
        (
            thing.clone(),
            Left {
                thing,
                bytes,
                holders,
            },
        )
    });
    assert_eq!(reported, expected.into());
}

#[test]
fn each_holder_is_named_once_wherever_it_is() {
    let (before, mut later) = worlds();
    let top = chain("base+A.layer");
    // Reaches the layer on two ways.
    later.lease("both", &[content("A"), content("A.layer")]);
    later.lease("flat", &[content("A.config")]).flat();
    later.lease("unpacked", &[snapshot(&top)]);
    later.lease("over", &[content("A.config")]).expired();
    let other = later.within("other");
    other.image(&library("copy:1"), "B");
    other.blob("A.layer", &[]).blob(
        "B",
        &[(
            "containerd.io/gc.ref.content.l.9",
            &*digest("A.layer").to_string(),
        )],
    );
    // One of the same key is another snapshot, and an image whose time is over holds nothing.
    other.snapshot(&chain("base"), None, reclaim_model::SnapshotKind::Committed);
    other.lease("elsewhere", &[snapshot(&chain("base"))]);
    let over = ago(jiff::SignedDuration::from_hours(1)).to_string();
    other.image(&library("over:1"), "B").label(EXPIRE, &over);
    let left = found(&before, &later);
    let reported: BTreeMap<_, _> = left.into_iter().map(|it| (it.thing, it.holders)).collect();
    let lease = |id: &str| held("default", HolderKind::Lease, id);
    let mut cache = lease("flat");
    cache.holder.role = Some(HolderRole::BuildCache);
    let copy = held("other", HolderKind::Image, &library("copy:1"));
    let copied = |mut holders: Vec<_>| {
        holders.push(copy.clone());
        holders
    };
    let base = chain("base");
    let expected = BTreeMap::from([
        (blob("A"), vec![lease("both")]),
        (blob("A.config"), vec![lease("both"), cache]),
        (blob("A.layer"), copied(vec![lease("both")])),
        (blob("base"), copied(vec![lease("both")])),
        (of(&base), vec![lease("both"), lease("unpacked")]),
        (of(&top), vec![lease("both"), lease("unpacked")]),
    ]);
    assert_eq!(reported, expected);
}
