//! Pods of the real CRI plugin start throughout while the parts of their images are freed.
//!
//! Each worker has an image of its own, runs containers of it one after the other, and pulls it again
//! from time to time, because an image that lost its layers keeps its snapshots. The slims know nothing
//! of the workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use reclaim_testkit::{BuiltImage, Containerd, Layer, Pod, busybox};
use tokio::task::{JoinSet, spawn_blocking};
use tonic::Status;

use crate::node::{Node, image_id};
use crate::rig::call;

const WORKERS: usize = 3;

/// How many containers of an image a worker runs before it pulls the image again.
const PER_PULL: usize = 3;

/// How many containers must have started without snapshots, and how many without layers.
const MIN_STARTS: usize = 12;

/// How many slims may take place before the test gives up.
const MAX_SLIMS: usize = 300;

#[derive(Default)]
struct Seen {
    is_over: AtomicBool,
    slims: AtomicUsize,
    /// Containers that started: all, those of an image without its top snapshot, and those of one
    /// without layers.
    started: AtomicUsize,
    without_snapshots: AtomicUsize,
    without_layers: AtomicUsize,
}

impl Seen {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// Waits until one more slim has ended, which may find an image that nothing uses.
    async fn one_more_slim(&self) {
        let before = self.slims.load(Ordering::Acquire);
        while !self.is_over() && self.slims.load(Ordering::Acquire) == before {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn is_enough(&self) -> bool {
        let counts = [&self.without_snapshots, &self.without_layers];
        let counts = counts.map(|count| count.load(Ordering::Acquire));
        counts.into_iter().all(|count| count >= MIN_STARTS)
    }
}

/// The worker of one image.
struct Worker {
    node: Arc<Node>,
    seen: Arc<Seen>,
    image: BuiltImage,
    pod: Pod,
}

impl Worker {
    async fn work(self) -> Result<(), String> {
        let name = self.image.name();
        for round in 0_usize.. {
            if self.seen.is_over() {
                break;
            }
            if round % PER_PULL == PER_PULL - 1 {
                let pulled = self.pull_again().await;
                pulled.map_err(|status| format!("pull {name}: {status}"))?;
                self.seen.one_more_slim().await;
            }
            let ran = self.run(&format!("c{round}")).await;
            ran.map_err(|status| format!("container {round} of {name}: {status}"))?;
        }
        let removed = self.node.cri.remove_pod(&self.pod).await;
        removed.map_err(|status| format!("remove the pod of {name}: {status}"))
    }

    /// Runs a container and removes it.
    async fn run(&self, container: &str) -> Result<(), Status> {
        let manifest = &self.image.manifests[0];
        let namespace = &self.node.rig.namespace;
        let (_, top) = self.image.unpacked();
        let is_unpacked = namespace.snapshot("native", &top.to_string()).await.is_ok();
        let lowest = &manifest.layers[0].digest;
        let is_packed = namespace.blobs().await?.contains_key(lowest);
        let cri = &self.node.cri;
        let image = image_id(&self.image);
        let id = cri.create_container(&self.pod, container, &image).await?;
        cri.start_container(&id).await?;
        if !cri.is_running(&id).await? {
            return Err(Status::internal("it does not run"));
        }
        self.seen.started.fetch_add(1, Ordering::AcqRel);
        if !is_unpacked {
            self.seen.without_snapshots.fetch_add(1, Ordering::AcqRel);
        }
        if !is_packed {
            self.seen.without_layers.fetch_add(1, Ordering::AcqRel);
        }
        cri.remove_container(&id).await
    }

    async fn pull_again(&self) -> Result<(), Status> {
        let name = self.image.name();
        self.node.cri.remove(name).await?;
        self.node.cri.pull(name).await?;
        Ok(())
    }
}

/// Frees snapshots and layers in turn, with the real binary. Returns how many images lost each.
async fn slim(node: &Node, names: &[String], seen: &Seen) -> [usize; 2] {
    let mut slimmed = [0, 0];
    for round in 0..MAX_SLIMS {
        if seen.is_enough() || seen.is_over() {
            break;
        }
        let which = round % 2;
        let part = ["--snapshots", "--layers"][which];
        let mut args = vec!["-n", "k8s.io", "image", "slim", part, "-f", "--wait"];
        args.extend(["--grace=0s", "--format=json"]);
        let mut args: Vec<String> = args.into_iter().map(str::to_owned).collect();
        args.extend_from_slice(names);
        let address = node.rig.containerd.address().to_owned();
        let calling = spawn_blocking(move || {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            call(&address, "", &args)
        });
        let output = calling.await.expect("the call does not panic");
        // A name is unknown while its image is pulled again.
        assert!(matches!(output.code, 0 | 1), "{output:#?}");
        let report = output.json();
        assert_eq!(report["failed"], serde_json::json!([]), "{report:#}");
        seen.slims.fetch_add(1, Ordering::AcqRel);
        let images = report["slimmed"].as_array();
        slimmed[which] += images.map_or(0, Vec::len);
    }
    seen.is_over.store(true, Ordering::Release);
    slimmed
}

/// No container fails to start, with no grace period at all: the plugin unpacks an image again if a
/// snapshot that it found is gone when it prepares the container's.
#[tokio::test(flavor = "multi_thread")]
async fn pods_start_while_their_images_are_slimmed() {
    // On disk, because a filesystem in memory may be mounted without execute permission.
    let containerd = Containerd::builder().log_level("warn").on_disk();
    let node = Node::start_on(containerd, |image| {
        image
            .layers([Layer::program("busybox-pause", busybox())])
            .command(&["/busybox-pause", "sleep", "100000"])
    });
    let node = Arc::new(node.await);
    let seen = Arc::<Seen>::default();
    let mut workers = JoinSet::new();
    let mut names = Vec::new();
    for number in 0..WORKERS {
        let image = node.registry.put(&format!("team/app-{number}:1"), |image| {
            let program = format!("busybox-{number}");
            let layers = [
                Layer::named(&format!("base {number}"), 3000),
                Layer::program(&program, busybox()),
            ];
            image
                .layers(layers)
                .command(&[&format!("/{program}"), "sleep", "100000"])
                .unpack("native")
        });
        node.cri.pull(image.name()).await.unwrap();
        names.push(image.name().to_owned());
        let worker = Worker {
            pod: node.cri.run_pod(&format!("pod-{number}")).await.unwrap(),
            node: Arc::clone(&node),
            seen: Arc::clone(&seen),
            image,
        };
        workers.spawn(worker.work());
    }
    let slims = slim(&node, &names, &seen);
    let mut failed = Vec::new();
    let ends = async {
        while let Some(ended) = workers.join_next().await {
            let error = ended.expect("no worker panics").err();
            // The others end, too.
            seen.is_over.fetch_or(error.is_some(), Ordering::AcqRel);
            failed.extend(error);
        }
    };
    let (slimmed, ()) = tokio::join!(slims, ends);
    let [started, without_snapshots, without_layers] =
        [&seen.started, &seen.without_snapshots, &seen.without_layers]
            .map(|count| count.load(Ordering::Acquire));
    println!(
        "{started} containers, {without_snapshots} without snapshots, {without_layers} without layers; \
         {slimmed:?} images slimmed"
    );
    assert_eq!(failed, Vec::<String>::new());
    assert!(seen.is_enough(), "{slimmed:?}");
}
