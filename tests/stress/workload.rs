//! The workload of a busy node, and the harm that a pruner does to it.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reclaim_testkit::{
    BuiltImage, Deletion, Descriptor, Labels, Layer, NamespaceClient, NewContainer, NewLease,
    digest_of, image, labels,
};
use tokio::time::Instant;
use tonic::{Code, Status};

use crate::pruner::{DROPPABLE, GRACE, Pruner};

/// Number of workers of each kind.
const CREATORS: u64 = 4;
const PULLERS: u64 = 3;
const MOVERS: u64 = 2;

/// Number of images that the creators share, so that they use images that a prune plans to remove.
const SHARED_IMAGES: u64 = 12;

/// Number of images that a pruner must remove, so that the test proves something.
const MIN_REMOVED: usize = 60;

/// How many prunes in a row may remove nothing before the test gives up.
const MAX_IDLE_PRUNES: usize = 200;

/// The harm done, with the size of the workload.
#[derive(Debug, Default, Clone)]
pub(crate) struct Harm {
    /// Calls that the workload made.
    pub(crate) operations: u64,
    /// Images that were pruned.
    pub(crate) removed: usize,
    /// Containers that were inspected.
    pub(crate) containers: u64,
    /// Creations that took longer than the grace period, for which nothing is guaranteed.
    pub(crate) too_slow: u64,
    /// Containers whose image's record or content was gone while they existed.
    pub(crate) containers_without_image: Vec<String>,
    /// Pulls that lost content while they held a lease on it.
    pub(crate) broken_pulls: Vec<String>,
    /// Tags that were deleted although they had moved to a target that no plan had.
    pub(crate) deleted_moved_tags: Vec<String>,
}

impl fmt::Display for Harm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} operations, {} images pruned, {} containers, {} creations too slow, {} containers without image, \
             {} broken pulls, {} deleted moved tags",
            self.operations,
            self.removed,
            self.containers,
            self.too_slow,
            self.containers_without_image.len(),
            self.broken_pulls.len(),
            self.deleted_moved_tags.len()
        )
    }
}

/// All workers on one namespace.
pub(crate) struct Workload {
    namespace: NamespaceClient,
    /// The top chain ID of each shared image, the parent of its containers' snapshots.
    chains: Vec<String>,
    is_over: AtomicBool,
    operations: AtomicU64,
    /// Number of finished prunes.
    prunes: AtomicU64,
    harm: Mutex<Harm>,
    /// Tags that were deleted, with their last targets.
    lost_tags: Mutex<Vec<(String, String)>>,
}

impl Workload {
    /// Builds the shared images.
    pub(crate) async fn new(namespace: NamespaceClient) -> Arc<Self> {
        let mut chains = Vec::new();
        for which in 0..SHARED_IMAGES {
            let built = build(&namespace, which).await.expect("containerd answers");
            chains.push(built.unpacked().1.to_string());
        }
        Arc::new(Self {
            namespace,
            chains,
            is_over: AtomicBool::new(false),
            operations: AtomicU64::new(0),
            prunes: AtomicU64::new(0),
            harm: Mutex::default(),
            lost_tags: Mutex::default(),
        })
    }

    /// Runs all workers while `pruner` prunes without a pause, until there were `operations`, and
    /// [`MIN_REMOVED`] images were pruned.
    pub(crate) async fn run(
        self: Arc<Self>,
        pruner: Pruner,
        address: &str,
        operations: u64,
    ) -> Harm {
        let mut workers = tokio::task::JoinSet::new();
        for seed in 0..CREATORS {
            let this = Arc::clone(&self);
            workers.spawn(async move { this.create_containers(seed).await });
        }
        for seed in 0..PULLERS {
            let this = Arc::clone(&self);
            workers.spawn(async move { this.pull(seed).await });
        }
        for seed in 0..MOVERS {
            let this = Arc::clone(&self);
            workers.spawn(async move { this.move_tags(seed).await });
        }
        let mut removed = BTreeSet::new();
        let mut n_removed = 0;
        let is_enough = |n_removed| {
            self.operations.load(Ordering::Acquire) >= operations && n_removed >= MIN_REMOVED
        };
        let mut n_idle = 0;
        while !is_enough(n_removed) {
            let now = pruner.prune(address, &self.namespace).await;
            self.prunes.fetch_add(1, Ordering::AcqRel);
            n_idle = if now.is_empty() { n_idle + 1 } else { 0 };
            assert!(
                n_idle < MAX_IDLE_PRUNES,
                "{n_idle} prunes in a row remove nothing"
            );
            n_removed += now.len();
            removed.extend(now);
        }
        self.is_over.store(true, Ordering::Release);
        while let Some(worker) = workers.join_next().await {
            worker.expect("no worker panics");
        }
        let lost = std::mem::take(&mut *self.lost_tags.lock().unwrap());
        let mut harm = self.harm.lock().unwrap().clone();
        harm.deleted_moved_tags = lost
            .into_iter()
            .filter(|tag| !removed.contains(tag))
            .map(|(name, target)| format!("{name} → {target}"))
            .collect();
        harm.operations = self.operations.load(Ordering::Acquire);
        harm.removed = n_removed;
        harm
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    fn count(&self, operations: u64) {
        self.operations.fetch_add(operations, Ordering::AcqRel);
    }

    /// Creates containers, checks a moment later that their images are there, and deletes them.
    async fn create_containers(&self, seed: u64) {
        for round in 0_u64.. {
            if self.is_over() {
                return;
            }
            let which = (seed * 7 + round * 5) % SHARED_IMAGES;
            let name = shared_name(which);
            let id = format!("c{seed}-{round}");
            let Ok(took) = self.create_container(&id, &name, which).await else {
                continue;
            };
            if took < GRACE {
                tokio::time::sleep(Duration::from_millis(20 + which * 7)).await;
                self.inspect(&id, &name).await;
                self.harm.lock().unwrap().containers += 1;
            } else {
                self.harm.lock().unwrap().too_slow += 1;
            }
            self.end_container(&id).await;
        }
    }

    /// Creates a container like nerdctl and the CRI plugin: resolves the name, prepares a snapshot
    /// under a lease, creates the record, and deletes the lease. Returns the time from the name to
    /// the snapshot.
    async fn create_container(&self, id: &str, name: &str, which: u64) -> Result<Duration, Status> {
        let mut resolving = Instant::now();
        if let Err(status) = self.namespace.image_record(name).await {
            if status.code() != Code::NotFound {
                return Err(status);
            }
            self.build(which).await?;
            resolving = Instant::now();
            self.namespace.image_record(name).await?;
        }
        let expires = Timestamp::now() + SignedDuration::from_hours(1);
        self.namespace
            .create_lease(NewLease::new(id).expires(expires))
            .await?;
        let leased = self.namespace.with_lease(id);
        let chain = &self.chains[usize::try_from(which).expect("a dozen")];
        let prepared = leased.prepare("native", id, chain, &Labels::new()).await;
        let took = resolving.elapsed();
        let created = match prepared {
            Ok(_) => {
                let container = NewContainer::new(id).image(name).snapshot("native", id);
                self.namespace.create_container(container).await
            }
            // A clean failure: the client pulls again.
            Err(status) => Err(status),
        };
        self.namespace.delete_lease(id, Deletion::Async).await.ok();
        self.count(6);
        created.map(|()| took)
    }

    /// Checks that the record of a container's image and its content are there. A running prune may
    /// have removed the record, and must restore it before it ends. The next prune may begin before
    /// the check, so it waits for the end of two.
    async fn inspect(&self, id: &str, name: &str) {
        let at_first = self.prunes.load(Ordering::Acquire);
        loop {
            self.count(2);
            let is_over = self.is_over() || self.prunes.load(Ordering::Acquire) > at_first + 1;
            let missing = match self.namespace.image_record(name).await {
                Ok(record) => self.namespace.read_blob(&record.target.digest).await.err(),
                Err(status) => Some(status),
            };
            let Some(missing) = missing else {
                return;
            };
            if is_over {
                let what = format!("{id} of {name}: {missing}");
                self.harm
                    .lock()
                    .unwrap()
                    .containers_without_image
                    .push(what);
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn end_container(&self, id: &str) {
        self.count(2);
        self.namespace.delete_container(id).await.ok();
        self.namespace.remove_snapshot("native", id).await.ok();
    }

    async fn build(&self, which: u64) -> Result<BuiltImage, Status> {
        self.count(12);
        build(&self.namespace, which).await
    }

    /// Pulls slowly under a lease, whose content must stay.
    async fn pull(&self, seed: u64) {
        for round in 0_u64.. {
            if self.is_over() {
                return;
            }
            let id = format!("pull-{seed}-{round}");
            if let Err(error) = self.pull_once(&id, seed * 1_000_000 + round).await {
                self.harm
                    .lock()
                    .unwrap()
                    .broken_pulls
                    .push(format!("{id}: {error}"));
            }
        }
    }

    async fn pull_once(&self, id: &str, number: u64) -> Result<(), String> {
        let expires = Timestamp::now() + SignedDuration::from_hours(1);
        let lease = NewLease::new(id)
            .expires(expires)
            .labels(labels([(DROPPABLE, "true")]));
        let text = |status: Status| status.to_string();
        self.namespace.create_lease(lease).await.map_err(text)?;
        let leased = self.namespace.with_lease(id);
        let name = format!("docker.io/library/pulled:{number}");
        let built = image(&name)
            .layers([Layer::random(500_000 + number, 400)])
            .build(&leased)
            .await
            .map_err(text)?;
        tokio::time::sleep(Duration::from_millis(30)).await;
        self.count(12);
        for digest in built.blobs.keys() {
            leased
                .read_blob(digest)
                .await
                .map_err(|error| format!("{digest}: {error}"))?;
        }
        self.namespace
            .delete_lease(id, Deletion::Async)
            .await
            .map_err(text)
    }

    /// Moves a tag again and again, each time to a new target.
    async fn move_tags(&self, seed: u64) {
        let name = format!("docker.io/library/moving:{seed}");
        let mut last: Option<String> = None;
        for round in 0_u64.. {
            if self.is_over() {
                return;
            }
            self.count(2);
            let target = Descriptor {
                media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
                digest: digest_of(format!("{seed}-{round}").as_bytes()),
                size: 1,
            };
            let none = Labels::new();
            if self
                .namespace
                .update_image(&name, &target, &none)
                .await
                .is_err()
            {
                // The tag was deleted after it was last written.
                if let Some(last) = last.take() {
                    self.lost_tags.lock().unwrap().push((name.clone(), last));
                }
                self.namespace
                    .create_image(&name, &target, &none)
                    .await
                    .ok();
            }
            last = Some(target.digest.to_string());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

fn shared_name(which: u64) -> String {
    format!("docker.io/library/shared:{which}")
}

async fn build(namespace: &NamespaceClient, which: u64) -> Result<BuiltImage, Status> {
    image(&shared_name(which))
        .layers([Layer::random(which, 300)])
        .config_labels(labels([("which", which.to_string().as_str())]))
        .unpack("native")
        .build(namespace)
        .await
}
