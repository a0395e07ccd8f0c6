//! A store of sixty images of every kind: exactly the expected ones are removed, and the reported
//! bytes are the freed bytes.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use reclaim_testkit::{
    BuiltImage, Labels, Layer, LeaseResource, Manifest, NamespaceClient, NewContainer, NewLease,
    image, index, labels,
};
use serde_json::Value;

use crate::rig::{Rig, entry, names};

/// The expected result of pruning a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// `prune` removes it.
    Dangling,
    /// `prune -a` removes it.
    Unused,
    /// Kept, because a holder of this kind uses it.
    UsedBy(&'static str),
    /// Kept for this reason.
    Kept(&'static str),
}

/// The expected result of each record, by name.
type Table = BTreeMap<String, Expected>;

/// Five rounds of twelve kinds are sixty images.
const ROUNDS: u64 = 5;

struct Census<'a> {
    namespace: &'a NamespaceClient,
    table: Table,
    round: u64,
}

impl Census<'_> {
    fn name(&self, kind: &str) -> String {
        format!("docker.io/library/{kind}:{}", self.round)
    }

    /// Returns a layer that all images have, one that all of the round have, and one of this kind.
    fn layers(&self, kind: &str) -> [Layer; 3] {
        [
            Layer::named("base", 40_000),
            Layer::named(&format!("round-{}", self.round), 5_000),
            Layer::named(&format!("{kind}-{}", self.round), 1_000 + 7 * kind.len()),
        ]
    }

    async fn single(&mut self, kind: &str, expected: Expected) -> BuiltImage {
        let name = self.name(kind);
        self.table.insert(name.clone(), expected);
        image(&name)
            .layers(self.layers(kind))
            .config_labels(labels([("kind", kind)]))
            .unpack("native")
            .build(self.namespace)
            .await
            .unwrap()
    }

    async fn multi(&mut self, kind: &str, expected: Expected) -> BuiltImage {
        let name = self.name(kind);
        self.table.insert(name.clone(), expected);
        let here = Manifest::new("linux/amd64").layers(self.layers(kind));
        let absent = Manifest::new("linux/arm64").layers([Layer::random(self.round, 900)]);
        index(&name)
            .manifest(here.unpack("overlayfs").attested())
            .manifest(absent.absent())
            .build(self.namespace)
            .await
            .unwrap()
    }

    async fn add_unused(&mut self) {
        let unused = self.single("unused", Expected::Unused).await;
        let tagged = self.name("unused-too");
        unused.tag(self.namespace, &tagged).await.unwrap();
        self.table.insert(tagged, Expected::Unused);
        self.multi("platforms", Expected::Unused).await;
        let docker = self.name("schema2");
        self.table.insert(docker.clone(), Expected::Unused);
        image(&docker)
            .layers(self.layers("schema2"))
            .docker_schema2()
            .build(self.namespace)
            .await
            .unwrap();
    }

    async fn add_dangling(&mut self) {
        let lost = image("lost")
            .unnamed()
            .layers(self.layers("lost"))
            .unpack("native")
            .build(self.namespace)
            .await
            .unwrap();
        let dangling = lost.dangling(self.namespace).await.unwrap();
        self.table
            .insert(dangling.name().to_owned(), Expected::Dangling);
    }

    async fn add_used(&mut self) {
        let named = self.single("named", Expected::UsedBy("container")).await;
        let id = format!("web-{}", self.round);
        self.namespace.nerdctl_container(&id, &named).await.unwrap();

        let digest = self.multi("digest", Expected::UsedBy("container")).await;
        let by_digest = NewContainer::new(&format!("digest-{}", self.round))
            .image(&digest.target.digest.to_string());
        self.namespace.create_container(by_digest).await.unwrap();

        let stopped = self.single("stopped", Expected::UsedBy("lease")).await;
        let id = format!("{:064x}", 0xabc0 + self.round);
        self.namespace
            .docker_stopped_container(&id, &stopped)
            .await
            .unwrap();

        // The container names another image: only its snapshot shows that it uses this one.
        let moved = self.single("moved", Expected::UsedBy("container")).await;
        let (snapshotter, chain) = moved.unpacked();
        let key = format!("moved-{}", self.round);
        let lease = self.namespace.with_lease(&key);
        self.namespace
            .create_lease(NewLease::new(&key))
            .await
            .unwrap();
        let chain = chain.to_string();
        lease
            .prepare(snapshotter, &key, &chain, &Labels::new())
            .await
            .unwrap();
        let container = NewContainer::new(&key)
            .image("docker.io/library/elsewhere:1")
            .snapshot(snapshotter, &key);
        self.namespace.create_container(container).await.unwrap();
        self.namespace
            .delete_lease(&key, reclaim_testkit::Deletion::Async)
            .await
            .unwrap();
    }

    async fn add_held(&mut self) {
        let pulled = self.multi("pulled", Expected::UsedBy("lease")).await;
        let id = format!("pull-{}", self.round);
        let expires = Timestamp::now() + SignedDuration::from_hours(1);
        self.namespace
            .create_lease(NewLease::new(&id).expires(expires))
            .await
            .unwrap();
        let resource = LeaseResource::content(&pulled.manifests[0].manifest.digest);
        self.namespace
            .add_lease_resource(&id, &resource)
            .await
            .unwrap();

        let past = self.single("expired", Expected::Unused).await;
        let id = format!("expired-{}", self.round);
        let expires = Timestamp::now() - SignedDuration::from_secs(60);
        self.namespace
            .create_lease(NewLease::new(&id).expires(expires))
            .await
            .unwrap();
        let resource = LeaseResource::content(&past.target.digest);
        self.namespace
            .add_lease_resource(&id, &resource)
            .await
            .unwrap();

        let pinned = self.name("pinned");
        self.table.insert(pinned.clone(), Expected::Kept("pinned"));
        image(&pinned)
            .layers(self.layers("pinned"))
            .record_labels(labels([("io.cri-containerd.pinned", "pinned")]))
            .build(self.namespace)
            .await
            .unwrap();
    }
}

async fn populate(namespace: &NamespaceClient) -> Table {
    let mut census = Census {
        namespace,
        table: Table::new(),
        round: 0,
    };
    for round in 0..ROUNDS {
        census.round = round;
        census.add_unused().await;
        census.add_dangling().await;
        census.add_used().await;
        census.add_held().await;
    }
    assert_eq!(census.table.len(), 60, "{:#?}", census.table);
    census.table
}

#[tokio::test]
async fn prunes_exactly_the_expected_images_of_sixty() {
    let rig = Rig::quiet().await;
    let table = populate(&rig.namespace).await;
    let with = |wanted: Expected| -> BTreeSet<String> {
        let chosen = table.iter().filter(|(_, expected)| **expected == wanted);
        chosen.map(|(name, _)| name.clone()).collect()
    };
    // Without garbage from before, the freed bytes are those of the prune.
    rig.namespace.collect().await.unwrap();
    assert_eq!(rig.names().await, table.keys().cloned().collect());

    let removed = prune(&rig, &["image", "prune"]).await;
    assert_eq!(removed, with(Expected::Dangling));
    let removed = prune(&rig, &["image", "prune", "-a"]).await;
    assert_eq!(removed, with(Expected::Unused));

    let args = ["image", "prune", "-a", "-f", "--format", "json"];
    let report = rig.reclaim(&args).exits(0).json();
    assert_eq!(
        names(&report["removed"]).len(),
        0,
        "a second prune finds nothing"
    );
    for (name, expected) in &table {
        match expected {
            Expected::Dangling | Expected::Unused => {}
            Expected::UsedBy(kind) => {
                let kept = entry(&report["kept"], name);
                assert_eq!(kept["reason"], "in_use", "{name}");
                assert_eq!(kept["holders"][0]["kind"], *kind, "{name}");
            }
            Expected::Kept(reason) => {
                assert_eq!(entry(&report["kept"], name)["reason"], *reason, "{name}");
            }
        }
    }
}

/// Runs a dry run and then the prune, compares both with each other and with the store, and
/// returns the names that were removed.
async fn prune(rig: &Rig, args: &[&str]) -> BTreeSet<String> {
    let dry = [args, &["--dry-run", "--format", "json"]].concat();
    let planned = rig.reclaim(&dry).exits(0).json();
    let names_before = rig.names().await;
    let blobs_before = rig.namespace.blobs().await.unwrap();
    let disk_before = rig.containerd.content_bytes_on_disk();
    let snapshots_before = snapshots(&rig.namespace).await;

    let wet = [args, &["-f", "--format", "json"]].concat();
    let report = rig.reclaim(&wet).exits(0).json();
    assert_eq!(report["removed"], planned["removed"]);
    assert_eq!(report["kept"], planned["kept"]);
    assert_eq!(report["estimate"], planned["estimate"]);
    assert_eq!(report["reclaimed"], report["estimate"]);
    assert_eq!(report["blobs"], planned["blobs"]);
    assert_eq!(report["snapshots"], planned["snapshots"]);
    assert_eq!(planned["reclaimed"]["content_bytes"], 0);

    let blobs_left = rig.namespace.blobs().await.unwrap();
    let freed_blobs: BTreeMap<String, u64> = blobs_before
        .iter()
        .filter(|(digest, _)| !blobs_left.contains_key(*digest))
        .map(|(digest, size)| (digest.to_string(), *size))
        .collect();
    assert_eq!(listed(&report["blobs"], "digest"), freed_blobs);
    let snapshots_left = snapshots(&rig.namespace).await;
    let freed_snapshots: BTreeMap<String, u64> = snapshots_before
        .into_iter()
        .filter(|(key, _)| !snapshots_left.contains_key(key))
        .collect();
    assert_eq!(listed(&report["snapshots"], "key"), freed_snapshots);

    let disk = disk_before - rig.containerd.content_bytes_on_disk();
    assert_eq!(report["reclaimed"]["content_bytes"], disk);
    assert_eq!(
        report["reclaimed"]["snapshot_bytes"],
        freed_snapshots.values().sum::<u64>()
    );

    let names_after = rig.names().await;
    let removed: BTreeSet<String> = names_before.difference(&names_after).cloned().collect();
    let reported: BTreeSet<String> = names(&report["removed"])
        .into_iter()
        .map(Into::into)
        .collect();
    assert_eq!(removed, reported);
    removed
}

/// Returns a list of objects as a map from `field`, after the snapshotter if there is one, to
/// `bytes`.
fn listed(list: &Value, field: &str) -> BTreeMap<String, u64> {
    let entries = list.as_array().unwrap().iter();
    let pairs = entries.map(|entry| {
        let prefix = entry
            .get("snapshotter")
            .map_or(String::new(), |snapshotter| {
                format!("{}/", snapshotter.as_str().unwrap())
            });
        let key = format!("{prefix}{}", entry[field].as_str().unwrap());
        (key, entry["bytes"].as_u64().unwrap())
    });
    pairs.collect()
}

/// Returns the size of every snapshot.
async fn snapshots(namespace: &NamespaceClient) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    for snapshotter in ["native", "overlayfs"] {
        for key in namespace.snapshots(snapshotter).await.unwrap().into_keys() {
            let (bytes, _) = namespace.usage(snapshotter, &key).await.unwrap();
            found.insert(format!("{snapshotter}/{key}"), bytes);
        }
    }
    found
}
