//! How long creators take from resolving the name of an image to leaving a trace: the time within which
//! a removal of the image goes unnoticed, so [`Grace::Adapted`] follows from it.
//!
//! - *ctr*: `ctr container create`, from its first request that names the image.
//! - *dockerd*: `POST /containers/create` of a real Docker Engine on its containerd image store, from its
//!   first request to containerd that names the image. Needs `RECLAIM_TEST_DOCKERD`.
//! - *CRI*: `CreateContainer` of containerd's CRI plugin, as the kubelet requests it. The plugin resolves
//!   the name inside containerd, so the time is from the request: more than the real one.
//!
//! The trace is the container's snapshot, by the time of containerd's own event. Each creator works
//! alone at rest, and under load with [`WORKERS`] at once while two threads a core do nothing but compute.
//! containerd is on a disk.
//!
//! Before each creation, the changes of a run that removes one image are made, and tell which grace period
//! the run would choose. The last two columns are how many creations of 1000 take longer than this, and
//! than [`Grace::LONG`].
//!
//! `RECLAIM_BENCH_SAMPLES=1000` is the number of containers of each creator, and
//! `RECLAIM_BENCH_CREATORS=ctr,dockerd,CRI` chooses them.

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a program that prints figures, and ends if it cannot get one"
)]

use std::hint::black_box;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use reclaim_engine::Grace;
use reclaim_testkit::fault::FaultProxy;
use reclaim_testkit::{
    Containerd, Cri, Deletion, Descriptor, Dockerd, Labels, Layer, NamespaceClient, NewLease, Pod,
    Prepares, Registry, busybox, image,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::{JoinSet, spawn_blocking};

/// Creators at once under load.
const WORKERS: usize = 8;

/// Samples of a worker that are not counted: the first few have no event, and fill caches.
const WARM_UP: usize = 3;

/// How long to wait for the event of a creation.
const PATIENCE: Duration = Duration::from_secs(30);

/// One way of creating containers, from the image of a worker.
enum Creator {
    Ctr {
        containerd: Containerd,
        proxy: FaultProxy,
    },
    Dockerd {
        dockerd: Dockerd,
        proxy: FaultProxy,
    },
    Cri {
        cri: Cri,
        pods: Vec<Pod>,
        images: Vec<String>,
        containerd: Containerd,
        // It ends with this.
        _registry: Registry,
    },
}

/// One creation.
#[derive(Clone)]
struct Sample {
    /// From the name to the trace.
    creation: Duration,
    /// How long the changes of a run took just before: writing a hold, and deleting one record.
    changes: Duration,
}

/// A created container: when its image was resolved, and what the keys of its snapshots begin with.
struct Created {
    resolved: Timestamp,
    key: String,
}

#[tokio::main]
async fn main() {
    let samples = setting("RECLAIM_BENCH_SAMPLES", "1000");
    let samples: usize = samples.parse().expect("a number of samples");
    let creators = setting("RECLAIM_BENCH_CREATORS", "ctr,dockerd,CRI");
    println!(
        "creator   load  samples   p50 ms   p99 ms  p99.9 ms   max ms  grace p1  grace p50  later, ‰  \
         later than 1 s, ‰"
    );
    for name in creators.split(',') {
        if name == "dockerd" && std::env::var_os("RECLAIM_TEST_DOCKERD").is_none() {
            continue;
        }
        let (creator, prepares) = Creator::start(name).await;
        let (creator, prepares) = (Arc::new(creator), Arc::new(prepares));
        for (load, workers) in [("no", 1), ("yes", WORKERS)] {
            let spinning = (workers > 1).then(Spinning::start);
            let samples = measured(&creator, &prepares, workers, samples).await;
            drop(spinning);
            print(name, load, &samples);
        }
    }
}

fn print(name: &str, load: &str, samples: &[Sample]) {
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    let later_than = |grace: Grace| {
        let late = |it: &&Sample| it.creation > grace.after(it.changes);
        let late = u32::try_from(samples.iter().filter(late).count());
        let all = u32::try_from(samples.len());
        let count = |it: Result<u32, _>| f64::from(it.expect("a number of samples"));
        1000.0 * count(late) / count(all)
    };
    let creation = quantiles(samples.iter().map(|it| ms(it.creation)).collect());
    let grace = |it: &Sample| ms(Grace::Adapted.after(it.changes));
    let grace = quantiles(samples.iter().map(grace).collect());
    println!(
        "{name:8}  {load:4}  {:7}  {:7.1}  {:7.1}  {:8.1}  {:7.1}  {:8.0}  {:8.0}  {:8.1}  {:6.1}",
        samples.len(),
        creation(500),
        creation(990),
        creation(999),
        creation(1000),
        grace(10),
        grace(500),
        later_than(Grace::Adapted),
        later_than(Grace::Fixed(Grace::LONG)),
    );
}

/// Returns a function to the smallest figure that this many of 1000 do not exceed.
fn quantiles(mut figures: Vec<f64>) -> impl Fn(usize) -> f64 {
    figures.sort_by(f64::total_cmp);
    move |of_1000| figures[(figures.len() * of_1000).div_ceil(1000) - 1]
}

fn setting(name: &str, otherwise: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| otherwise.to_owned())
}

/// Creates containers with so many workers at once, and returns the time of each.
async fn measured(
    creator: &Arc<Creator>,
    prepares: &Arc<Prepares>,
    workers: usize,
    samples: usize,
) -> Vec<Sample> {
    let left = Arc::new(AtomicUsize::new(samples));
    let mut working = JoinSet::new();
    for worker in 0..workers {
        let (creator, prepares) = (Arc::clone(creator), Arc::clone(prepares));
        let left = Arc::clone(&left);
        working.spawn(async move {
            let mut samples = Vec::new();
            for number in 0.. {
                let is_counted = number >= WARM_UP;
                let take = |left: usize| left.checked_sub(1);
                if is_counted
                    && left
                        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
                        .is_err()
                {
                    break;
                }
                let id = format!("c-{workers}-{worker}-{number}-x");
                let changes = changes(&creator.other_namespace(), &id).await;
                let created = creator.create(worker, &id).await;
                let patience = if is_counted {
                    PATIENCE
                } else {
                    Duration::from_secs(1)
                };
                let trace = prepares.first(&created.key, patience).await;
                if is_counted {
                    let trace = trace.expect("containerd tells of each snapshot");
                    let creation = trace.duration_since(created.resolved);
                    samples.push(Sample {
                        creation: creation.try_into().expect("resolved before"),
                        changes,
                    });
                }
            }
            samples
        });
    }
    working.join_all().await.concat()
}

impl Creator {
    async fn start(name: &str) -> (Self, Prepares) {
        match name {
            "ctr" => {
                let containerd = Containerd::builder().on_disk().log_level("warn");
                let containerd = containerd.start().await;
                build(&containerd.namespace("default")).await;
                let prepares = containerd.prepares();
                let proxy = FaultProxy::start(containerd.socket(), []);
                (Self::Ctr { containerd, proxy }, prepares)
            }
            "dockerd" => {
                let containerd = Containerd::builder().on_disk().log_level("warn");
                let containerd = containerd.start().await;
                let proxy = FaultProxy::start(containerd.socket(), []);
                let socket = proxy.address().to_owned();
                let dockerd = Dockerd::start_on(containerd, socket.as_ref()).await;
                build(&dockerd.namespace()).await;
                let prepares = dockerd.containerd().prepares();
                (Self::Dockerd { dockerd, proxy }, prepares)
            }
            "CRI" => Self::start_cri().await,
            _ => panic!("no creator `{name}`: there are ctr, dockerd and CRI"),
        }
    }

    async fn start_cri() -> (Self, Prepares) {
        let registry = Registry::start().await;
        let pause = "infra/pause:1";
        let containerd = Containerd::builder().on_disk().log_level("warn");
        let containerd = containerd.cri(&registry.name(pause)).start().await;
        let cri = containerd.cri().await;
        let program = |name: &str| {
            let layers = [Layer::program("busybox", busybox())];
            registry.put(name, |image| {
                image
                    .layers(layers)
                    .command(&["/busybox", "sleep", "100000"])
                    .unpack("native")
            })
        };
        let pause = program(pause);
        cri.pull(pause.name()).await.expect("the plugin pulls");
        let (mut pods, mut images) = (Vec::new(), Vec::new());
        for worker in 0..WORKERS {
            let app = program(&format!("team/app:{worker}"));
            cri.pull(app.name()).await.expect("the plugin pulls");
            images.push(app.manifests[0].config.digest.to_string());
            let pod = cri.run_pod(&format!("pod-{worker}")).await;
            pods.push(pod.expect("the plugin runs a pod"));
        }
        let prepares = containerd.prepares();
        let creator = Self::Cri {
            cri,
            pods,
            images,
            containerd,
            _registry: registry,
        };
        (creator, prepares)
    }

    /// The namespace in which the changes of a run are made. No creator looks there.
    fn other_namespace(&self) -> NamespaceClient {
        let containerd = match self {
            Self::Ctr { containerd, .. } | Self::Cri { containerd, .. } => containerd,
            Self::Dockerd { dockerd, .. } => dockerd.containerd(),
        };
        containerd.namespace("other")
    }

    /// Creates a container, and removes it.
    async fn create(&self, worker: usize, id: &str) -> Created {
        match self {
            Self::Ctr { containerd, proxy } => {
                let name = image_name(worker);
                let earlier = proxy.request_count();
                let ctr = || containerd.ctr_through(proxy.address().as_ref(), "default");
                let mut create = ctr();
                create.args(["container", "create", "--snapshotter", "native", &name, id]);
                run(create).await;
                let resolved = resolved(proxy, earlier, &name);
                let mut remove = ctr();
                remove.args(["container", "rm", id]);
                run(remove).await;
                Created {
                    resolved,
                    key: id.to_owned(),
                }
            }
            Self::Dockerd { dockerd, proxy } => {
                let name = image_name(worker);
                let earlier = proxy.request_count();
                let body = format!(r#"{{"Image":"{name}","Cmd":["/x"]}}"#);
                let path = format!("/v1.44/containers/create?name={id}");
                let answer = ask(dockerd, "POST", &path, &body).await;
                let (_, rest) = answer.split_once(r#""Id":""#).expect("dockerd creates it");
                let resolved = resolved(proxy, earlier, &name);
                let key = rest[..64].to_owned();
                ask(dockerd, "DELETE", &format!("/v1.44/containers/{key}"), "").await;
                Created { resolved, key }
            }
            Self::Cri {
                cri, pods, images, ..
            } => {
                let resolved = Timestamp::now();
                let (pod, image) = (&pods[worker], &images[worker]);
                let key = cri.create_container(pod, id, image).await;
                let key = key.expect("the plugin creates it");
                cri.remove_container(&key).await.expect("it exists");
                Created { resolved, key }
            }
        }
    }
}

/// Makes the changes of a run that removes one image: a lease, a blob under it, and the deletion of a
/// record. Returns how long the hold and the deletion took together.
async fn changes(namespace: &NamespaceClient, id: &str) -> Duration {
    let lease = format!("hold-{id}");
    let began = Instant::now();
    let created = namespace.create_lease(NewLease::new(&lease)).await;
    created.expect("the lease is new");
    let body = format!("journal of {id}");
    let (writer, labels) = (namespace.with_lease(&lease), Labels::new());
    let written = writer.write_blob(body.as_bytes(), &labels).await;
    let journal = written.expect("the disk has room");
    let hold = began.elapsed();
    let unused = format!("docker.io/library/unused:{id}");
    let target = Descriptor {
        digest: journal,
        media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
        size: 1,
    };
    let created = namespace.create_image(&unused, &target, &labels).await;
    created.expect("the name is new");
    let began = Instant::now();
    let deleted = namespace.delete_image(&unused, Deletion::Async).await;
    deleted.expect("the record exists");
    let deletion = began.elapsed();
    let deleted = namespace.delete_lease(&lease, Deletion::Async).await;
    deleted.expect("the lease exists");
    hold + deletion
}

/// Returns when the first request came that names an image.
fn resolved(proxy: &FaultProxy, earlier: usize, name: &str) -> Timestamp {
    let time = proxy.first_time(earlier, |request| {
        request.method.starts_with("images.v1.Images/")
            && request.texts.iter().any(|text| text.contains(name))
    });
    time.expect("a creator asks for its image")
}

fn image_name(worker: usize) -> String {
    format!("docker.io/library/app:{worker}")
}

/// Builds the images of all workers.
async fn build(namespace: &NamespaceClient) {
    for worker in 0..WORKERS {
        let layers = (0..6).map(|layer| Layer::named(&format!("layer {layer}"), 3000));
        let built = image(&image_name(worker)).layers(layers).command(&["/x"]);
        let built = built.unpack("native").build(namespace).await;
        built.expect("containerd takes an image");
    }
}

async fn run(mut command: Command) {
    command.stdout(Stdio::null());
    let output = spawn_blocking(move || command.output()).await;
    let output = output.expect("waiting does not panic").expect("ctr starts");
    assert!(output.status.success(), "{output:?}");
}

async fn ask(dockerd: &Dockerd, method: &str, path: &str, body: &str) -> String {
    let address = dockerd.address();
    let socket = address.strip_prefix("unix://").expect("a socket");
    let mut stream = UnixStream::connect(socket).await.expect("dockerd listens");
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.0\r\nHost: docker\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    let sent = stream.write_all(request.as_bytes()).await;
    sent.expect("dockerd reads");
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer).await;
    read.expect("dockerd answers");
    assert!(answer.contains(" 20"), "{answer}");
    answer
}

/// Threads that compute until this is dropped, two a core.
struct Spinning {
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Spinning {
    fn start() -> Self {
        let is_over = Arc::<AtomicBool>::default();
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let spin = || {
            let is_over = Arc::clone(&is_over);
            thread::spawn(move || {
                let mut number = 0_u64;
                while !is_over.load(Ordering::Relaxed) {
                    number = black_box(number.wrapping_add(1));
                }
            })
        };
        Self {
            threads: (0..2 * cores).map(|_| spin()).collect(),
            is_over,
        }
    }
}

impl Drop for Spinning {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("it does not panic");
        }
    }
}
