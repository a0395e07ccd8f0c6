//! `df`: its columns add up to its totals, and these to what is on disk.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use reclaim_testkit::{
    Deletion, Labels, Layer, LeaseResource, Manifest, NamespaceClient, NewLease, image, index,
    labels,
};
use serde_json::Value;

use crate::output::assert_output_snapshot;
use crate::rig::{Rig, entry};

/// A block of the filesystem, in bytes.
const BLOCK: u64 = 4096;

/// Fills two namespaces with something for every column.
pub(crate) async fn populate(rig: &Rig) {
    let here = &rig.namespace;
    let there = rig.containerd.namespace("k8s.io");
    let build = |name: &'static str, seed, snapshotter, namespace| {
        image(name)
            .layers([Layer::named("base", 40_000), Layer::random(seed, 7_000)])
            .unpack(snapshotter)
            .build(namespace)
    };
    let web = build("docker.io/library/web:1", 1, "overlayfs", here)
        .await
        .unwrap();
    here.nerdctl_container("web", &web).await.unwrap();
    build("docker.io/library/old:1", 2, "native", here)
        .await
        .unwrap();
    let lost = build("docker.io/library/lost:1", 3, "native", here)
        .await
        .unwrap();
    lost.dangling(here).await.unwrap();
    here.delete_image("docker.io/library/lost:1", Deletion::Async)
        .await
        .unwrap();
    // Both namespaces have this image; only the other one has a container of it.
    build("docker.io/library/both:1", 4, "native", here)
        .await
        .unwrap();
    let both = build("docker.io/library/both:1", 4, "overlayfs", &there)
        .await
        .unwrap();
    there.nerdctl_container("both", &both).await.unwrap();
    let platforms = Manifest::new("linux/amd64").layers([Layer::random(5, 3_000)]);
    index("docker.io/library/index:1")
        .manifest(platforms)
        .build(here)
        .await
        .unwrap();
    here.collect().await.unwrap();

    hold(here, "pull", NewLease::new("pull"), b"pulled").await;
    hold(
        here,
        "cache",
        NewLease::new("cache").flat(),
        b"cached by a build",
    )
    .await;
    let undo = NewLease::new("undo").labels(labels([("reclaim/run", "r1")]));
    hold(here, "undo", undo, b"removed a moment ago").await;
    let past = Timestamp::now() - SignedDuration::from_secs(60);
    hold(
        here,
        "expired",
        NewLease::new("expired").expires(past),
        b"of an expired lease",
    )
    .await;
    hold(
        here,
        "gone",
        NewLease::new("gone"),
        b"garbage of a lease that is gone",
    )
    .await;
    here.delete_lease("gone", Deletion::Async).await.unwrap();
    let root = labels([("containerd.io/gc.root", "x")]);
    here.create_lease(NewLease::new("root")).await.unwrap();
    here.with_lease("root")
        .write_blob(b"a root", &root)
        .await
        .unwrap();
    here.delete_lease("root", Deletion::Async).await.unwrap();
}

/// Writes a blob and creates a lease that holds it.
async fn hold(namespace: &NamespaceClient, id: &str, lease: NewLease, body: &[u8]) {
    namespace
        .create_lease(NewLease::new("writer"))
        .await
        .unwrap();
    let writer = namespace.with_lease("writer");
    let digest = writer.write_blob(body, &Labels::new()).await.unwrap();
    namespace.create_lease(lease).await.unwrap();
    let resource = LeaseResource::content(&digest);
    namespace.add_lease_resource(id, &resource).await.unwrap();
    namespace
        .delete_lease("writer", Deletion::Async)
        .await
        .unwrap();
}

/// Adds up a field of all columns.
fn sum(usage: &Value, field: &str) -> u64 {
    let columns = usage["columns"].as_object().unwrap().values();
    columns.map(|column| column[field].as_u64().unwrap()).sum()
}

/// Returns the size and the number of the snapshots of both namespaces in a snapshotter.
async fn snapshot_usage(rig: &Rig, snapshotter: &str) -> (u64, u64) {
    let (mut bytes, mut n_snapshots) = (0, 0);
    for name in ["default", "k8s.io"] {
        let namespace = rig.containerd.namespace(name);
        for key in namespace.snapshots(snapshotter).await.unwrap().into_keys() {
            bytes += namespace.usage(snapshotter, &key).await.unwrap().0;
            n_snapshots += 1;
        }
    }
    (bytes, n_snapshots)
}

/// Returns the bytes that a directory tree occupies, and the number of its files and directories.
pub(crate) fn occupied(path: &Path) -> (u64, u64) {
    let metadata = fs::symlink_metadata(path).unwrap();
    let (mut bytes, mut inodes) = (metadata.blocks() * 512, 1);
    if metadata.is_dir() {
        for file in fs::read_dir(path).unwrap() {
            let (more, n_more) = occupied(&file.unwrap().path());
            bytes += more;
            inodes += n_more;
        }
    }
    (bytes, inodes)
}

/// `df` counts every byte on disk once, and no others.
#[tokio::test]
async fn the_columns_add_up_to_what_is_on_disk() {
    let rig = Rig::quiet().await;
    populate(&rig).await;
    let usage = rig
        .reclaim(&["df", "-v", "--format", "json"])
        .exits(0)
        .json();
    let total = &usage["total"];
    let namespaces = usage["namespaces"].as_array().unwrap();
    for part in namespaces.iter().chain([total]) {
        for field in ["content_bytes", "snapshot_bytes", "blobs", "snapshots"] {
            assert_eq!(sum(part, field), part["all"][field], "{field} of {part:#}");
        }
    }
    for column in [
        "in_use",
        "rooted",
        "leased",
        "build_cache",
        "undo",
        "unused",
        "dangling",
        "expired",
        "pending",
    ] {
        assert!(
            total["columns"][column]["content_bytes"].as_u64() > Some(0),
            "{column}: {total:#}"
        );
    }
    assert_eq!(
        total["columns"]["build_cache"]["content_bytes"],
        "cached by a build".len()
    );
    assert_eq!(total["columns"]["orphaned"], Value::Null);
    assert_eq!(usage["orphaned_known"], true);

    // What `du` counts below containerd's root, except that blobs are rounded up to blocks.
    let on_disk = &usage["on_disk"];
    assert_eq!(on_disk["whole"], true, "{usage:#}");
    let n_blobs = total["all"]["blobs"].as_u64().unwrap();
    let (du, _) = occupied(&rig.containerd.root());
    let counted = on_disk["bytes"].as_u64().unwrap();
    assert!(
        du.abs_diff(counted) <= n_blobs * BLOCK,
        "{du} {counted}: {usage:#}"
    );

    let content = total["all"]["content_bytes"].as_u64().unwrap();
    assert_eq!(content, rig.containerd.content_bytes_on_disk());
    let (occupied_bytes, inodes) = occupied(&rig.containerd.content_dir());
    assert!(
        occupied_bytes.abs_diff(content) <= inodes * BLOCK,
        "{occupied_bytes} {content}"
    );

    let mut snapshots = 0;
    for snapshotter in ["native", "overlayfs"] {
        let (bytes, n_snapshots) = snapshot_usage(&rig, snapshotter).await;
        let plugin = format!("io.containerd.snapshotter.v1.{snapshotter}/snapshots");
        let (occupied_bytes, _) = occupied(&rig.containerd.root().join(plugin));
        // overlayfs does not count a snapshot's own directory and its work directory.
        let rounding = (1 + 3 * n_snapshots) * BLOCK;
        assert!(
            occupied_bytes.abs_diff(bytes) <= rounding,
            "{snapshotter}: {occupied_bytes} {bytes}"
        );
        snapshots += bytes;
    }
    assert_eq!(total["all"]["snapshot_bytes"], snapshots);
}

#[tokio::test]
async fn a_prune_plans_and_frees_what_df_calls_reclaimable() {
    let rig = Rig::quiet().await;
    populate(&rig).await;
    let usage = rig
        .reclaim(&["df", "-v", "--format", "json"])
        .exits(0)
        .json();
    let here = &usage["namespaces"][0];
    assert_eq!(here["namespace"], "default");
    for (args, field) in [
        (&["image", "prune"][..], "prune"),
        (&["image", "prune", "-a"], "prune_all"),
    ] {
        let args = [args, &["--dry-run", "--format", "json"]].concat();
        let plan = rig.reclaim(&args).exits(0).json();
        assert_eq!(plan["estimate"], here["reclaimable"][field], "{field}");
        assert_eq!(plan["estimate_at_least"], plan["estimate"]);
        let pending =
            ["pending", "expired"].map(|column| here["columns"][column]["blobs"].as_u64());
        assert_eq!(plan["pending"]["blobs"].as_u64(), pending.into_iter().sum());
    }
    // A container of the other namespace uses the same content, which therefore stays on disk.
    let both = entry(&here["image_usage"], "docker.io/library/both:1");
    let unpacked = both["reclaimable_alone_bytes"].as_u64().unwrap();
    assert!(
        unpacked > 0 && unpacked < both["unique_bytes"].as_u64().unwrap(),
        "{both:#}"
    );
    assert!(here["columns"]["elsewhere"]["content_bytes"].as_u64() > Some(7_000));
    let web = entry(&here["image_usage"], "docker.io/library/web:1");
    assert_eq!(web["containers"], 1);
    assert_eq!(web["reclaimable_alone_bytes"], 0);

    let args = [
        "image", "prune", "-a", "-f", "--grace", "0s", "--format", "json",
    ];
    let report = rig.reclaim(&args).exits(0).json();
    assert_eq!(report["reclaimed"], here["reclaimable"]["prune_all"]);
    let usage = rig.reclaim(&["df", "--format", "json"]).exits(0).json();
    assert_eq!(
        usage["namespaces"][0]["reclaimable"]["prune_all"]["blobs"],
        0
    );
    assert_eq!(
        usage["total"]["columns"]["pending"],
        Value::Null,
        "the collection of the prune frees it, too"
    );
}

/// A content file that no namespace has is counted in a column of its own.
#[tokio::test]
async fn finds_orphaned_content_files() {
    let rig = Rig::quiet().await;
    let built = image("docker.io/library/app:1").layers([Layer::random(1, 900)]);
    built.build(&rig.namespace).await.unwrap();
    let body = b"orphaned";
    let digest = reclaim_testkit::digest_of(body);
    let path = rig
        .containerd
        .content_dir()
        .join("sha256")
        .join(digest.hex());
    fs::write(path, body).unwrap();
    let usage = rig.reclaim(&["df", "--format", "json"]).exits(0).json();
    assert_eq!(
        usage["total"]["columns"]["orphaned"]["content_bytes"],
        body.len()
    );
    assert_eq!(
        usage["total"]["all"]["content_bytes"],
        rig.containerd.content_bytes_on_disk()
    );
    let text = rig.reclaim(&["df"]).exits(0).stdout;
    assert!(text.contains("Orphaned files"), "{text}");
}

#[tokio::test]
async fn the_table_shows_columns_totals_and_images() {
    let rig = Rig::quiet().await;
    populate(&rig).await;
    let text = rig.reclaim(&["df", "-v"]).exits(0).stdout;
    assert_output_snapshot!(text, @"
    NAMESPACE  IMAGES  ACTIVE  SIZE  SHARED  PRUNE  PRUNE --ALL
    default  5  1  SIZE  SIZE  SIZE  SIZE (PERCENT)
    k8s.io  1  1  SIZE  SIZE  SIZE  SIZE (PERCENT)

    Each step alone would free now:

    NAMESPACE  GARBAGE  HISTORY  SNAPSHOTS  LAYERS  PLATFORMS  IMAGES
    default  SIZE  SIZE  SIZE  SIZE  SIZE  SIZE
    k8s.io  SIZE  SIZE  SIZE  SIZE  SIZE  SIZE

    TYPE  BLOBS  CONTENT  SNAPSHOTS  UNPACKED  SIZE
    In use  7  SIZE  6  SIZE  SIZE
    Held by gc.root labels  1  SIZE  0  SIZE  SIZE
    Held by leases  1  SIZE  0  SIZE  SIZE
    Build cache  1  SIZE  0  SIZE  SIZE
    Held for undo  1  SIZE  0  SIZE  SIZE
    Reclaimable by prune -a only  7  SIZE  3  SIZE  SIZE
    Reclaimable by prune  3  SIZE  1  SIZE  SIZE
    Garbage of expired leases  1  SIZE  0  SIZE  SIZE
    Garbage, not yet collected  1  SIZE  0  SIZE  SIZE
    containerd's own files  0  SIZE  0  SIZE  SIZE
    Total on disk  23  SIZE  10  SIZE  SIZE

    Images of namespace default:

    IMAGE  TARGET  SIZE  SHARED  UNIQUE  ALONE  CONTAINERS
    both:1  ID  SIZE  SIZE  SIZE  SIZE  0
    index:1  ID  SIZE  SIZE  SIZE  SIZE  0
    old:1  ID  SIZE  SIZE  SIZE  SIZE  0
    web:1  ID  SIZE  SIZE  SIZE  SIZE  1
    <none>  ID  SIZE  SIZE  SIZE  SIZE  0

    Leases of namespace default:

    LEASE  SIZE  SINCE  UNTIL
    build cache cache  SIZE  TIME  no end
    lease pull  SIZE  TIME  no end

    Images of namespace k8s.io:

    IMAGE  TARGET  SIZE  SHARED  UNIQUE  ALONE  CONTAINERS
    both:1  ID  SIZE  SIZE  SIZE  SIZE  1
    ");
    let one = rig.reclaim(&["-n", "k8s.io", "df"]).exits(0).stdout;
    assert_output_snapshot!(one, @"
    NAMESPACE  IMAGES  ACTIVE  SIZE  SHARED  PRUNE  PRUNE --ALL
    k8s.io  1  1  SIZE  SIZE  SIZE  SIZE (PERCENT)

    Each step alone would free now:

    NAMESPACE  GARBAGE  HISTORY  SNAPSHOTS  LAYERS  PLATFORMS  IMAGES
    k8s.io  SIZE  SIZE  SIZE  SIZE  SIZE  SIZE

    TYPE  BLOBS  CONTENT  SNAPSHOTS  UNPACKED  SIZE
    In use  7  SIZE  6  SIZE  SIZE
    Held by gc.root labels  1  SIZE  0  SIZE  SIZE
    Held by leases  1  SIZE  0  SIZE  SIZE
    Build cache  1  SIZE  0  SIZE  SIZE
    Held for undo  1  SIZE  0  SIZE  SIZE
    Reclaimable by prune -a only  7  SIZE  3  SIZE  SIZE
    Reclaimable by prune  3  SIZE  1  SIZE  SIZE
    Garbage of expired leases  1  SIZE  0  SIZE  SIZE
    Garbage, not yet collected  1  SIZE  0  SIZE  SIZE
    containerd's own files  0  SIZE  0  SIZE  SIZE
    Total on disk  23  SIZE  10  SIZE  SIZE
    ");
    let unknown = rig.reclaim(&["-n", "nowhere", "df"]).exits(1).stderr;
    assert_output_snapshot!(unknown, @"error: namespace `nowhere` does not exist; existing: default, k8s.io");
}
