//! A store of sixty images of every kind: exactly those go that the table says, and the bytes
//! reported are the bytes that left.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use reclaim_testkit::{
    BuiltImage, Labels, Layer, LeaseResource, Manifest, NamespaceClient, NewContainer, NewLease,
    image, index, labels,
};
use serde_json::Value;

use crate::rig::{Rig, entry, names};

/// What is expected of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Goes with a plain prune already.
    Dangling,
    /// Goes with prune -a.
    Unused,
    /// Stays, held by something of this kind.
    UsedBy(&'static str),
    /// Stays for this reason.
    Kept(&'static str),
}

/// The table: what every record is for.
type Fates = BTreeMap<String, Fate>;

/// The sixty images: five rounds of twelve kinds.
const ROUNDS: u64 = 5;

struct Census<'a> {
    namespace: &'a NamespaceClient,
    fates: Fates,
    round: u64,
}

impl Census<'_> {
    fn name(&self, kind: &str) -> String {
        format!("docker.io/library/{kind}:{}", self.round)
    }

    /// Every image of a round has the base of all, a layer of the round and one of its own.
    fn layers(&self, kind: &str) -> [Layer; 3] {
        [
            Layer::named("base", 40_000),
            Layer::named(&format!("round-{}", self.round), 5_000),
            Layer::named(&format!("{kind}-{}", self.round), 1_000 + 7 * kind.len()),
        ]
    }

    async fn single(&mut self, kind: &str, fate: Fate) -> BuiltImage {
        let name = self.name(kind);
        self.fates.insert(name.clone(), fate);
        image(&name)
            .layers(self.layers(kind))
            .config_labels(labels([("kind", kind)]))
            .unpack("native")
            .build(self.namespace)
            .await
            .unwrap()
    }

    async fn multi(&mut self, kind: &str, fate: Fate) -> BuiltImage {
        let name = self.name(kind);
        self.fates.insert(name.clone(), fate);
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
        let unused = self.single("unused", Fate::Unused).await;
        let tagged = self.name("unused-too");
        unused.tag(self.namespace, &tagged).await.unwrap();
        self.fates.insert(tagged, Fate::Unused);
        self.multi("platforms", Fate::Unused).await;
        let docker = self.name("schema2");
        self.fates.insert(docker.clone(), Fate::Unused);
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
        self.fates
            .insert(dangling.name().to_owned(), Fate::Dangling);
    }

    async fn add_used(&mut self) {
        let named = self.single("named", Fate::UsedBy("container")).await;
        let id = format!("web-{}", self.round);
        self.namespace.nerdctl_container(&id, &named).await.unwrap();

        let digest = self.multi("digest", Fate::UsedBy("container")).await;
        let by_digest = NewContainer::new(&format!("digest-{}", self.round))
            .image(&digest.target.digest.to_string());
        self.namespace.create_container(by_digest).await.unwrap();

        let stopped = self.single("stopped", Fate::UsedBy("lease")).await;
        let id = format!("{:064x}", 0xabc0 + self.round);
        self.namespace
            .docker_stopped_container(&id, &stopped)
            .await
            .unwrap();

        // Created by a name that has since moved to another image: the old one stays for the
        // snapshot, and the name for the name.
        let moved = self.single("moved", Fate::UsedBy("container")).await;
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
        let pulled = self.multi("pulled", Fate::UsedBy("lease")).await;
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

        let past = self.single("expired", Fate::Unused).await;
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
        self.fates.insert(pinned.clone(), Fate::Kept("pinned"));
        image(&pinned)
            .layers(self.layers("pinned"))
            .record_labels(labels([("io.cri-containerd.pinned", "pinned")]))
            .build(self.namespace)
            .await
            .unwrap();
    }
}

async fn populate(namespace: &NamespaceClient) -> Fates {
    let mut census = Census {
        namespace,
        fates: Fates::new(),
        round: 0,
    };
    for round in 0..ROUNDS {
        census.round = round;
        census.add_unused().await;
        census.add_dangling().await;
        census.add_used().await;
        census.add_held().await;
    }
    assert_eq!(census.fates.len(), 60, "{:#?}", census.fates);
    census.fates
}

/// Prune and prune -a should remove exactly what the table says, and nothing in use ever.
#[tokio::test]
async fn sixty_images_of_every_kind() {
    let rig = Rig::quiet().await;
    let fates = populate(&rig.namespace).await;
    let with = |wanted: &[Fate]| -> BTreeSet<String> {
        let chosen = fates.iter().filter(|(_, fate)| wanted.contains(fate));
        chosen.map(|(name, _)| name.clone()).collect()
    };
    // Nothing waits to be collected, so that what leaves is what the prune frees.
    rig.namespace.collect().await.unwrap();
    assert_eq!(rig.names().await, fates.keys().cloned().collect());

    let removed = prune(&rig, &["image", "prune"]).await;
    assert_eq!(removed, with(&[Fate::Dangling]));
    let removed = prune(&rig, &["image", "prune", "-a"]).await;
    assert_eq!(removed, with(&[Fate::Unused]));

    let args = ["image", "prune", "-a", "-f", "--format", "json"];
    let report = rig.reclaim(&args).exits(0).json();
    assert_eq!(
        names(&report["removed"]).len(),
        0,
        "a second prune finds nothing"
    );
    for (name, fate) in &fates {
        match fate {
            Fate::Dangling | Fate::Unused => {}
            Fate::UsedBy(kind) => {
                let kept = entry(&report["kept"], name);
                assert_eq!(kept["reason"], "in_use", "{name}");
                assert_eq!(kept["holders"][0]["kind"], *kind, "{name}");
            }
            Fate::Kept(reason) => {
                assert_eq!(entry(&report["kept"], name)["reason"], *reason, "{name}");
            }
        }
    }
}

/// Runs a dry run and then the same prune, checks the one against the other and both against
/// the store, and returns the names that went.
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

    let left = rig.namespace.blobs().await.unwrap();
    let gone = blobs_before
        .iter()
        .filter(|(digest, _)| !left.contains_key(*digest));
    let gone: BTreeMap<String, u64> = gone.map(|(it, size)| (it.to_string(), *size)).collect();
    assert_eq!(listed(&report["blobs"], "digest"), gone);
    let left = snapshots(&rig.namespace).await;
    let gone = snapshots_before
        .iter()
        .filter(|(key, _)| !left.contains_key(*key));
    let gone: BTreeMap<String, u64> = gone.map(|(key, bytes)| (key.clone(), *bytes)).collect();
    assert_eq!(listed(&report["snapshots"], "key"), gone);

    let disk = disk_before - rig.containerd.content_bytes_on_disk();
    assert_eq!(report["reclaimed"]["content_bytes"], disk);
    assert_eq!(
        report["reclaimed"]["snapshot_bytes"],
        gone.values().sum::<u64>()
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

/// A list of objects as a map from one field to `bytes`.
fn listed(list: &Value, field: &str) -> BTreeMap<String, u64> {
    let entries = list.as_array().unwrap().iter();
    let pairs = entries.map(|it| {
        let prefix = it
            .get("snapshotter")
            .map_or(String::new(), |it| format!("{}/", it.as_str().unwrap()));
        let key = format!("{prefix}{}", it[field].as_str().unwrap());
        (key, it["bytes"].as_u64().unwrap())
    });
    pairs.collect()
}

/// Every snapshot with what it occupies.
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
