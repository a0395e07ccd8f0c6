//! Every byte in one column, and the columns of a prune as the prune has them.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use reclaim_model::{
    Amount, CollectorRules, Column, Container, Digest, DiskUsage, FreedBlob, FreedSnapshot, Gap,
    ImageUsage, Inventory, Namespace, NamespaceUsage, PruneFilters, ResolvedRequest, SnapshotId,
    SnapshotKind, SnapshotSizes, UsageByColumn,
};
use reclaim_plan::{UsageInput, decide, disk_usage, shortfall};

use crate::naive;
use crate::random::scenes;
use crate::world::{
    LeaseExt, OVERLAY, Part, RecordExt, World, all, bytes, chain, content, dangling, digest,
    library, request,
};

pub(crate) type Sizes = BTreeMap<Namespace, SnapshotSizes>;

/// A size for every snapshot, by its key.
pub(crate) fn sizes(inventory: &Inventory) -> Sizes {
    let namespaces = inventory.namespaces.iter().map(|(name, namespace)| {
        let lists = namespace.snapshots.iter().flat_map(|(snapshotter, list)| {
            let ids = list
                .iter()
                .map(|it| SnapshotId::new(snapshotter.clone(), &*it.key));
            ids.map(|id| (id.clone(), bytes(&id.key)))
        });
        (name.clone(), lists.collect())
    });
    namespaces.collect()
}

pub(crate) fn pruned() -> Namespace {
    World::NAMESPACE.parse().unwrap()
}

pub(crate) fn registered(world: &World) -> BTreeMap<Namespace, Vec<Container>> {
    BTreeMap::from([(pruned(), world.registered.clone())])
}

pub(crate) fn usage(world: &World) -> DiskUsage {
    let inventory = world.inventory();
    disk_usage(&UsageInput {
        inventory: &inventory,
        registered: &registered(world),
        snapshot_bytes: &sizes(&inventory),
        orphaned: Some(&[]),
        outside_records: None,
    })
}

fn of_namespace<'u>(usage: &'u DiskUsage, name: &Namespace) -> &'u NamespaceUsage {
    let mut namespaces = usage.namespaces.iter();
    namespaces.find(|found| found.namespace == *name).unwrap()
}

fn here(usage: &DiskUsage) -> &UsageByColumn {
    &of_namespace(usage, &pruned()).usage
}

fn images(usage: &NamespaceUsage) -> &[ImageUsage] {
    usage.image_usage.as_deref().unwrap()
}

/// What a prune frees, in the sizes of [`sizes`].
fn freed(world: &World, filters: PruneFilters) -> Amount {
    let inventory = world.inventory();
    let decision = decide(&inventory, &world.registered, &request(filters));
    let sizes = sizes(&inventory).remove(&pruned()).unwrap();
    decision.into_plan(&sizes).freed.amount()
}

/// The columns in which something is, with their bytes of content.
fn content_of(account: &UsageByColumn) -> Vec<(Column, u64)> {
    let columns = account.columns();
    let columns = columns.map(|(column, amount)| (column, amount.content_bytes));
    columns.filter(|(_, bytes)| *bytes > 0).collect()
}

#[test]
fn each_thing_is_in_the_first_column_that_claims_it() {
    let mut world = World::new();
    for (name, labels) in [
        ("root", &[("containerd.io/gc.root", "x")][..]),
        ("leased", &[]),
        ("cached", &[]),
        ("labelled", &[]),
        ("undone", &[]),
        ("expired", &[]),
        ("garbage", &[]),
    ] {
        world.blob(name, labels);
    }
    // In use already, even if it is leased, too.
    world.image(&library("web:1"), "W");
    world.container("web", "web:1");
    world.lease("pull", &[content("leased"), content("W")]);
    world.lease("record", &[content("cached")]).flat();
    world
        .lease("build", &[content("labelled")])
        .label("buildkit/lease.temporary", "x");
    world
        .lease("run", &[content("undone")])
        .flat()
        .label("reclaim/run", "r1");
    world.lease("over", &[content("expired")]).expired();
    let usage = usage(&world);
    let expected = [
        (
            Column::InUse,
            ["W", "W.config", "W.layer", "base"].map(bytes).iter().sum(),
        ),
        (Column::Rooted, bytes("root")),
        (Column::Leased, bytes("leased")),
        (Column::BuildCache, bytes("cached") + bytes("labelled")),
        (Column::Undo, bytes("undone")),
        (Column::Expired, bytes("expired")),
        (Column::Pending, bytes("garbage")),
    ];
    assert_eq!(content_of(&usage.total), expected);
    assert_eq!(content_of(here(&usage)), expected);
}

#[test]
fn a_layer_of_an_unused_and_a_dangling_image_needs_both_to_go() {
    let mut world = World::new();
    world.image(&library("old:1"), "A");
    world.image(&dangling("B"), "B");
    world
        .image(&library("pinned:1"), "P")
        .label("io.cri-containerd.pinned", "pinned");
    world.lose("base");
    world.blob("base", &[]);
    let usage = usage(&world);
    let of = |names: &[&str]| names.iter().map(|it| bytes(it)).sum::<u64>();
    let account = here(&usage);
    assert_eq!(
        account.column(Column::Dangling).content_bytes,
        of(&["B", "B.config", "B.layer"])
    );
    assert_eq!(
        account.column(Column::Unused).content_bytes,
        of(&["A", "A.config", "A.layer"])
    );
    assert_eq!(
        account.column(Column::Pinned).content_bytes,
        of(&["P", "P.config", "P.layer", "base"])
    );
}

#[test]
fn shared_content_counts_in_each_namespace_and_once_in_all() {
    let mut world = World::new();
    world.image(&library("a:1"), "A");
    world.within("other").image(&library("a:1"), "A");
    world.container("web", "a:1");
    world.container("worker", "a:1");
    world.blob("own", &[]);
    let usage = usage(&world);
    let all: u64 = ["A", "A.config", "A.layer", "base"].map(bytes).iter().sum();
    let own = (Column::Pending, bytes("own"));
    assert_eq!(content_of(&usage.total), [(Column::InUse, all), own]);
    assert_eq!(content_of(here(&usage)), [(Column::Elsewhere, all)]);
    let here = of_namespace(&usage, &pruned());
    assert_eq!(here.shared_bytes, all);
    let snapshots = here.usage.column(Column::Unused).snapshot_bytes;
    assert_eq!(
        images(here)[0].reclaimable_alone_bytes,
        snapshots,
        "of the bytes only these go"
    );
    let other = of_namespace(&usage, &"other".parse().unwrap());
    assert_eq!(images(other)[0].reclaimable_alone_bytes, 0);
    assert_eq!(images(other)[0].containers, 2);
    assert_eq!(other.shared_bytes, all, "but not its own");
    assert_eq!((here.active, other.active), (0, 1));
}

#[test]
fn what_one_image_has_twice_goes_with_it_alone() {
    let mut world = World::new();
    for name in ["amd64", "arm64"] {
        world.manifest(name, Part::default());
    }
    world.index("index", &["amd64", "arm64"]);
    world.record(&library("a:1"), "index");
    let usage = usage(&world);
    let all = usage.total.total();
    assert_eq!(
        usage.total.columns().collect::<UsageByColumn>(),
        usage.total
    );
    let image = &images(of_namespace(&usage, &pruned()))[0];
    assert_eq!(image.reclaimable_alone_bytes, all.total_bytes());
    assert_eq!(image.containers, 0);
}

#[test]
fn what_is_no_blob_of_a_namespace_counts_too() {
    let mut world = World::new();
    let gap = Gap::Content {
        digest: "sha384:x".to_owned(),
        bytes: 11,
        refs: Box::default(),
    };
    world.here().gaps.push(gap.clone());
    world.within("other").here().gaps.push(gap);
    world.here().ingests.push(reclaim_model::Ingest {
        reference: "pull".to_owned(),
        bytes: 13,
    });
    let inventory = world.inventory();
    let orphan = FreedBlob {
        digest: digest("orphan"),
        bytes: 17,
    };
    let request = ResolvedRequest::new("other".parse().unwrap(), all());
    let account = shortfall(&inventory, &[], &request, &SnapshotSizes::default());
    assert_eq!(content_of(&account), [(Column::Ingest, 13)]);
    let usage = disk_usage(&UsageInput {
        inventory: &inventory,
        registered: &BTreeMap::new(),
        snapshot_bytes: &BTreeMap::new(),
        orphaned: Some(&[orphan]),
        outside_records: None,
    });
    let expected = [
        (Column::Unknown, 11),
        (Column::Ingest, 13),
        (Column::Orphaned, 17),
    ];
    assert_eq!(content_of(&usage.total), expected);
    assert_eq!(usage.warnings.len(), 2);
}

#[test]
fn a_gap_makes_the_estimate_a_range() {
    let mut world = World::new();
    world.image(&library("a:1"), "A");
    world.image(&library("b:1"), "B");
    let certain = world.prune_all().plan;
    assert_eq!(certain.at_least(), certain.freed.amount());
    // Content that cannot be read may hold what its labels name.
    let mut refers = world.clone();
    refers.here().gaps.push(Gap::Content {
        digest: "sha384:x".to_owned(),
        bytes: 1,
        refs: [reclaim_model::GcRef::Content(digest("A.layer"))].into(),
    });
    let plan = refers.prune_all().plan;
    assert_eq!(plan.freed, certain.freed);
    let sure = plan.at_least();
    assert_eq!(
        sure.content_bytes,
        certain.freed.amount().content_bytes - bytes("A.layer")
    );
    assert_eq!(sure.snapshots, certain.freed.snapshots.len());
    // Snapshots that do not answer may hold anything.
    world.here().gaps.push(Gap::Snapshotter {
        is_configured: true,
        name: "zfs".into(),
        why: "not loaded".to_owned(),
    });
    let plan = world.prune_all().plan;
    assert_eq!(plan.freed, certain.freed);
    assert_eq!(plan.at_least(), Amount::default());
}

#[test]
fn a_gap_of_another_namespace_makes_a_range_of_what_it_has_too() {
    let mut world = World::new();
    world.image(&library("a:1"), "A");
    // There, too, but as garbage.
    let there = ["A.layer", "base"];
    world
        .within("other")
        .blob(there[0], &[])
        .blob(there[1], &[]);
    let certain = world.prune_all().plan;
    assert_eq!(certain.at_least(), certain.freed.amount());
    let with = |gap: Gap| {
        let mut world = world.clone();
        world.within("other").here().gaps.push(gap);
        let plan = world.prune_all().plan;
        assert_eq!(plan.freed, certain.freed);
        let doubtful = plan.not_counted.doubtful;
        assert_eq!(doubtful.snapshots, []);
        let blobs = doubtful.blobs.into_iter().map(|it| it.digest);
        blobs.collect::<BTreeSet<_>>()
    };
    let refers = with(Gap::Content {
        digest: "sha384:x".to_owned(),
        bytes: 1,
        refs: [reclaim_model::GcRef::Content(digest("A.layer"))].into(),
    });
    assert_eq!(refers, BTreeSet::from([digest("A.layer")]));
    let hides = with(Gap::Snapshotter {
        is_configured: true,
        name: "zfs".into(),
        why: "not loaded".to_owned(),
    });
    assert_eq!(hides, BTreeSet::from(there.map(digest)));
}

#[test]
fn what_another_namespace_keeps_is_neither_doubtful_nor_garbage() {
    let mut world = World::new();
    world.image(&library("a:1"), "A");
    world.blob("garbage", &[]).blob("kept there", &[]);
    world.here().gaps.push(Gap::Content {
        digest: "sha384:x".to_owned(),
        bytes: 1,
        refs: ["A.layer", "base"]
            .map(|it| reclaim_model::GcRef::Content(digest(it)))
            .into(),
    });
    let digests = |blobs: &[FreedBlob]| -> BTreeSet<Digest> {
        blobs.iter().map(|it| it.digest.clone()).collect()
    };
    // Of what goes it has nothing, of the garbage a part.
    let mut there = world.clone();
    there.within("other").blob("kept there", &[]);
    there.record(&library("b:1"), "kept there");
    let not_counted = there.prune_all().plan.not_counted;
    assert_eq!(
        digests(&not_counted.pending.blobs),
        [digest("garbage")].into()
    );
    let unsure = ["A.layer", "base"].map(digest);
    assert_eq!(digests(&not_counted.doubtful.blobs), unsure.into());
    // Of what may stay anyway it keeps a part for certain.
    world.within("other").blob("base", &[]);
    world.record(&library("b:1"), "base");
    let not_counted = world.prune_all().plan.not_counted;
    assert_eq!(
        digests(&not_counted.doubtful.blobs),
        [digest("A.layer")].into()
    );
    assert_eq!(
        digests(&not_counted.kept_elsewhere.blobs),
        [digest("base")].into()
    );
}

#[test]
fn garbage_and_what_others_keep_are_beside_the_plan() {
    let mut world = World::new();
    world.image(&library("a:1"), "A");
    world.blob("garbage", &[]);
    world.snapshot("left", Some(&chain("base")), SnapshotKind::Committed);
    world.within("other").image(&library("b:1"), "A");
    let plan = world.prune_all().plan;
    let garbage: Vec<&Digest> = plan
        .not_counted
        .pending
        .blobs
        .iter()
        .map(|it| &it.digest)
        .collect();
    assert_eq!(garbage, [&digest("garbage")]);
    let left = &plan.not_counted.pending.snapshots[..];
    let expected = FreedSnapshot {
        id: SnapshotId::new(OVERLAY, "left"),
        bytes: Some(bytes("left")),
    };
    assert_eq!(left, [expected]);
    let elsewhere: BTreeSet<_> = plan
        .not_counted
        .kept_elsewhere
        .blobs
        .iter()
        .map(|it| &it.digest)
        .collect();
    let expected = ["A", "A.config", "A.layer", "base"].map(digest);
    assert_eq!(elsewhere, expected.iter().collect());
}

proptest! {
    #[test]
    fn columns_are_what_prunes_free(scene in scenes()) {
        let world = scene.world();
        let usage = usage(&world);
        let account = here(&usage);
        prop_assert_eq!(account.reclaimable(), freed(&world, all()));
        prop_assert_eq!(account.column(Column::Dangling), freed(&world, PruneFilters::default()));
    }

    #[test]
    fn every_byte_is_counted_once(scene in scenes()) {
        let world = scene.world();
        let usage = usage(&world);
        let inventory = world.inventory();
        let sizes = sizes(&inventory);
        let mut distinct = BTreeMap::new();
        for (name, namespace) in &inventory.namespaces {
            let total = of_namespace(&usage, name).usage.total();
            let blobs = namespace.blobs.iter();
            distinct.extend(blobs.clone().map(|blob| (&blob.digest, blob.size)));
            prop_assert_eq!(total.content_bytes, blobs.map(|blob| blob.size).sum::<u64>());
            prop_assert_eq!(total.snapshot_bytes, sizes[name].iter().filter_map(|it| it.1).sum::<u64>());
        }
        let total = usage.total.total();
        prop_assert_eq!(total.content_bytes, distinct.values().sum::<u64>());
        prop_assert_eq!(total.blobs, distinct.len());
        let snapshots = sizes.values().flat_map(SnapshotSizes::iter);
        prop_assert_eq!(total.snapshot_bytes, snapshots.filter_map(|it| it.1).sum::<u64>());
    }

    /// A shortfall reports the same as disk usage, with dangling images among the unused.
    #[test]
    fn a_shortfall_is_the_usage_of_the_namespace(scene in scenes()) {
        let world = scene.world();
        let usage = usage(&world);
        let inventory = world.inventory();
        let sizes = &sizes(&inventory)[&pruned()];
        let reported = shortfall(&inventory, &world.registered, &request(all()), sizes);
        let columns = |account: &UsageByColumn| -> BTreeMap<Column, Amount> {
            let is_other = |it: &(Column, Amount)| {
                !matches!(it.0, Column::Unused | Column::Dangling | Column::Unknown)
            };
            account.columns().filter(is_other).collect()
        };
        prop_assert_eq!(columns(&reported), columns(here(&usage)));
        prop_assert_eq!(reported.reclaimable(), here(&usage).reclaimable());
    }

    #[test]
    fn an_image_alone_frees_what_the_collector_would(scene in scenes()) {
        let world = scene.world();
        let usage = usage(&world);
        let inventory = world.inventory();
        let sizes = &sizes(&inventory)[&pruned()];
        for image in images(of_namespace(&usage, &pruned())) {
            let namespace = &inventory.namespaces[&pruned()];
            let mut records = namespace.images.iter();
            let record = records.find(|it| it.name == image.name).unwrap();
            // A record that has expired holds nothing by itself.
            let is_expired = record.expires.is_some_and(|it| it < inventory.observed_at)
                && inventory.rules >= CollectorRules::V2_0;
            if image.verdict.is_err() || is_expired {
                prop_assert_eq!(image.reclaimable_alone_bytes, 0);
                continue;
            }
            let (blobs, snapshots) = naive::freed(&inventory, namespace, &[&image.name]);
            let content = namespace.blobs.iter().filter(|it| blobs.contains(&it.digest));
            let content: u64 = content.map(|it| it.size).sum();
            let unpacked: u64 = snapshots.iter().filter_map(|id| sizes.get(id)?).sum();
            prop_assert_eq!(image.reclaimable_alone_bytes, content + unpacked, "{}", image.name);
        }
    }
}
