//! Containers start throughout while the parts of their images are freed and fetched again.
//!
//! A container starts as with the CRI plugin: if its snapshot cannot be prepared, its image is
//! unpacked from the compressed layers, and it is prepared again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reclaim_engine::{Controls, Engine, Grace, RunOptions, no_progress};
use reclaim_model::{Part, PruneRequest};
use reclaim_testkit::{
    BuiltImage, Containerd, Deletion, Labels, Layer, NamespaceClient, NewContainer, NewLease, image,
};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use crate::pruner::GRACE;

const IMAGES: u64 = 6;
const STARTERS: u64 = 3;

/// How many containers must have started from an image that was unpacked again, and how many times
/// parts of each kind must have gone.
const MIN_EVENTS: usize = 15;

/// How many slims may take place before the test gives up.
const MAX_SLIMS: usize = 400;

struct Host {
    namespace: NamespaceClient,
    images: Vec<BuiltImage>,
    is_over: AtomicBool,
    started: AtomicUsize,
    unpacked_again: AtomicUsize,
}

impl Host {
    async fn start_containers(&self, seed: u64) -> Result<(), String> {
        for round in 0_u64.. {
            if self.is_over.load(Ordering::Acquire) {
                break;
            }
            let id = format!("slim{seed}-{round}");
            let which = (seed * 5 + round * 7) % IMAGES;
            let image = &self.images[usize::try_from(which).expect("a few")];
            let began = Instant::now();
            if let Err(wrong) = self.start(&id, which, image).await {
                return Err(format!("{id} of {}: {wrong}", image.name()));
            }
            // What is slower than the grace period has no promise.
            if began.elapsed() < GRACE {
                tokio::time::sleep(Duration::from_millis(30)).await;
                let checked = self.check(&id, image).await;
                checked.map_err(|wrong| format!("{id} of {}: {wrong}", image.name()))?;
                self.started.fetch_add(1, Ordering::AcqRel);
            }
            self.namespace.delete_container(&id).await.ok();
            self.namespace.remove_snapshot("native", &id).await.ok();
        }
        Ok(())
    }

    /// Creates a container under a lease.
    async fn start(&self, id: &str, which: u64, image: &BuiltImage) -> Result<(), Status> {
        let expires = Timestamp::now() + SignedDuration::from_hours(1);
        let lease = NewLease::new(id).expires(expires);
        self.namespace.create_lease(lease).await?;
        let leased = self.namespace.with_lease(id);
        let prepared = self.prepare(&leased, id, which, image).await;
        let created = match prepared {
            Ok(()) => {
                let container = NewContainer::new(id).image(image.name());
                let container = container.snapshot("native", id);
                self.namespace.create_container(container).await
            }
            Err(status) => Err(status),
        };
        self.namespace.delete_lease(id, Deletion::Async).await?;
        created
    }

    async fn prepare(
        &self,
        leased: &NamespaceClient,
        id: &str,
        which: u64,
        image: &BuiltImage,
    ) -> Result<(), Status> {
        let parent = image.unpacked().1.to_string();
        let none = Labels::new();
        let prepared = leased.prepare("native", id, &parent, &none).await;
        let Err(status) = prepared else {
            return Ok(());
        };
        if status.code() != Code::NotFound {
            return Err(status);
        }
        for layer in &image.manifests[0].layers {
            leased.read_blob(&layer.digest).await?;
        }
        build(leased, which).await?;
        self.unpacked_again.fetch_add(1, Ordering::AcqRel);
        leased.prepare("native", id, &parent, &none).await?;
        Ok(())
    }

    /// The container has its image's record and its snapshots.
    async fn check(&self, id: &str, image: &BuiltImage) -> Result<(), Status> {
        self.namespace.image_record(image.name()).await?;
        self.namespace.snapshot("native", id).await?;
        let chain = &image.manifests[0].chain_ids;
        for key in chain {
            let key = key.to_string();
            self.namespace.snapshot("native", &key).await?;
        }
        Ok(())
    }

    /// Pulls one image after the other, which fetches compressed layers again.
    async fn pull(&self) -> Result<(), String> {
        for round in 0_u64.. {
            if self.is_over.load(Ordering::Acquire) {
                break;
            }
            let pulled = build(&self.namespace, round % IMAGES).await;
            pulled.map_err(|status| format!("pull: {status}"))?;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    }
}

async fn build(namespace: &NamespaceClient, which: u64) -> Result<BuiltImage, Status> {
    let name = format!("docker.io/library/slim:{which}");
    let layers = [Layer::named("base", 2000), Layer::random(which, 300)];
    let built = image(&name).layers(layers).unpack("native");
    built.build(namespace).await?.pulled(namespace).await
}

/// Slims until enough happened. Returns how many images lost snapshots, and how many layers.
async fn slim(host: &Host, engine: &Engine) -> [usize; 2] {
    let options = RunOptions {
        grace: Grace::Fixed(GRACE),
        undo_window: Duration::ZERO,
        max_deletes_per_second: None,
        wait: false,
    };
    let controls = Controls {
        options: &options,
        progress: &no_progress,
        cancel: &CancellationToken::new(),
    };
    let mut slimmed = [0, 0];
    for round in 0..MAX_SLIMS {
        let (index, part) = [(0, Part::Snapshots), (1, Part::Layers)][round % 2];
        let namespace = "default".parse().expect("a name");
        let request = PruneRequest::parts(namespace, [part], [""; 0]);
        let report = engine.prune(&request, None, controls).await;
        let report = report.expect("the slim succeeds");
        assert_eq!(report.unfinished, None, "{report:?}");
        slimmed[index] += report.slimmed.len();
        let again = host.unpacked_again.load(Ordering::Acquire);
        if again.min(slimmed[0]).min(slimmed[1]) >= MIN_EVENTS {
            break;
        }
    }
    host.is_over.store(true, Ordering::Release);
    slimmed
}

/// No container fails to start, and none loses its snapshots.
#[tokio::test(flavor = "multi_thread")]
async fn containers_start_while_their_images_are_slimmed() {
    let containerd = Containerd::builder().log_level("warn").start().await;
    let namespace = containerd.namespace("default");
    let mut images = Vec::new();
    for which in 0..IMAGES {
        images.push(build(&namespace, which).await.unwrap());
    }
    let engine = Engine::connect(containerd.address()).await.unwrap();
    let host = Arc::new(Host {
        namespace,
        images,
        is_over: AtomicBool::new(false),
        started: AtomicUsize::new(0),
        unpacked_again: AtomicUsize::new(0),
    });
    let mut workers = JoinSet::new();
    for seed in 0..STARTERS {
        let host = Arc::clone(&host);
        workers.spawn(async move { host.start_containers(seed).await });
    }
    let pulling = Arc::clone(&host);
    workers.spawn(async move { pulling.pull().await });
    let slimmed = slim(&host, &engine).await;
    let mut failed = Vec::new();
    while let Some(ended) = workers.join_next().await {
        failed.extend(ended.expect("no worker panics").err());
    }
    let started = host.started.load(Ordering::Acquire);
    let again = host.unpacked_again.load(Ordering::Acquire);
    println!("{started} containers, {again} unpacked again; {slimmed:?} images slimmed");
    assert_eq!(failed, Vec::<String>::new());
    assert!(
        again.min(slimmed[0]).min(slimmed[1]) >= MIN_EVENTS,
        "{slimmed:?}, {again}"
    );
}
