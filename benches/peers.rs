//! The cost of removing all images, compared with other tools on the same images.
//!
//! - *reclaim*: the real binary, `image prune -a -f`, with its grace period.
//! - *ctr*: `ctr images prune --all` of the containerd under test, from 1.7 on. It removes the images that
//!   containers use, too.
//! - *one by one*: deletes each record synchronously, like nerdctl and crictl.
//! - *floor*: deletes the records without a plan, a hold, a second look or a measurement, and then
//!   collects once. No safe way is faster.
//! - *dockerd*: `POST /images/prune` of a real Docker Engine on its containerd image store, if
//!   `RECLAIM_TEST_DOCKERD` names one.
//!
//! Each runs several times, in turn, on newly built images, and the medians are printed: the time;
//! the number of collections, their total and their longest time; the median and the longest time
//! that another client waits for a record meanwhile; and the number of calls. At the end, the
//! phases of one run of Reclaim, with their calls.
//!
//! `RECLAIM_BENCH_IMAGES=50,200` changes the numbers of images, `RECLAIM_BENCH_RUNS` that of runs,
//! and `RECLAIM_BENCH_OTHERS=10000` adds this many other blobs and snapshots to the node.
//! `RECLAIM_BENCH_PRUNERS=floor` leaves out the other pruners, which take hours on thousands of
//! images.

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a program that prints figures, and ends if it cannot get one"
)]

use std::cell::Cell;
use std::path::Path;
use std::time::{Duration, Instant};

use reclaim_testkit::{Containerd, Deletion, Dockerd, Layer, NamespaceClient, image};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::Command;

/// Number of images that share a base.
const PER_BASE: u64 = 10;

/// The cost of one run.
#[derive(Debug, Clone)]
struct Cost {
    took: Duration,
    /// The time of each collection.
    pauses: Vec<Duration>,
    /// The time of each read by another client.
    waits: Vec<Duration>,
    /// Unknown for dockerd.
    calls: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pruner {
    Reclaim,
    Floor,
    Ctr,
    OneByOne,
    Dockerd,
}

impl Pruner {
    const ALL: [Self; 5] = [
        Self::Reclaim,
        Self::Floor,
        Self::Ctr,
        Self::OneByOne,
        Self::Dockerd,
    ];

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|pruner| pruner.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Reclaim => "reclaim",
            Self::Floor => "floor",
            Self::Ctr => "ctr",
            Self::OneByOne => "one by one",
            Self::Dockerd => "dockerd",
        }
    }
}

#[tokio::main]
async fn main() {
    let has_dockerd = std::env::var_os("RECLAIM_TEST_DOCKERD").is_some();
    let runs: usize = setting("RECLAIM_BENCH_RUNS", "3")
        .parse()
        .expect("a number of runs");
    let images: Vec<u64> = setting("RECLAIM_BENCH_IMAGES", "50,200,1000")
        .split(',')
        .map(|number| number.parse().expect("numbers of images"))
        .collect();
    let all = Pruner::ALL.map(Pruner::name).join(",");
    let chosen: Vec<Pruner> = setting("RECLAIM_BENCH_PRUNERS", &all)
        .split(',')
        .map(|name| {
            Pruner::named(name).unwrap_or_else(|| panic!("no pruner `{name}`: there are {all}"))
        })
        .collect();
    // Reclaim first, because the others are compared with it.
    let pruners: Vec<Pruner> = Pruner::ALL
        .into_iter()
        .filter(|pruner| *pruner == Pruner::Reclaim || chosen.contains(pruner))
        .filter(|pruner| *pruner != Pruner::Dockerd || has_dockerd)
        .collect();
    let others: u64 = setting("RECLAIM_BENCH_OTHERS", "0")
        .parse()
        .expect("a number");
    println!(
        "images  pruner        seconds  times ours  collections  paused ms  longest ms  \
         read ms  worst ms   calls"
    );
    for images in images.iter().copied() {
        let mut costs = vec![Vec::new(); pruners.len()];
        for _ in 0..runs {
            for (pruner, costs) in pruners.iter().zip(&mut costs) {
                costs.extend(cost(*pruner, images, others).await);
            }
        }
        let medians: Vec<Option<Cost>> = costs.into_iter().map(median).collect();
        let ours = medians[0].as_ref().expect("Reclaim prunes on each version");
        for (pruner, cost) in pruners.iter().zip(&medians) {
            if let Some(cost) = cost {
                print(images, *pruner, cost, ours);
            }
        }
    }
    for images in images {
        print_phases(images, others).await;
    }
}

fn print(images: u64, pruner: Pruner, cost: &Cost, ours: &Cost) {
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    let ratio = cost.took.as_secs_f64() / ours.took.as_secs_f64();
    let calls = cost
        .calls
        .map_or_else(|| "?".to_owned(), |calls| calls.to_string());
    let mut waits = cost.waits.clone();
    waits.sort();
    println!(
        "{images:6}  {:12}  {:7.2}  {ratio:10.1}  {:11}  {:9.0}  {:10.0}  {:7.1}  {:8.0}  {calls:>6}",
        pruner.name(),
        cost.took.as_secs_f64(),
        cost.pauses.len(),
        ms(cost.pauses.iter().sum()),
        ms(cost.pauses.iter().max().copied().unwrap_or_default()),
        ms(waits.get(waits.len() / 2).copied().unwrap_or_default()),
        ms(waits.last().copied().unwrap_or_default()),
    );
}

fn setting(name: &str, otherwise: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| otherwise.to_owned())
}

/// Returns the run with the median time; `None` of no run.
fn median(mut costs: Vec<Cost>) -> Option<Cost> {
    costs.sort_by_key(|cost| cost.took);
    let middle = costs.len() / 2;
    (middle < costs.len()).then(|| costs.swap_remove(middle))
}

/// Returns `None` if containerd comes without the pruner.
async fn cost(pruner: Pruner, images: u64, others: u64) -> Option<Cost> {
    if pruner == Pruner::Dockerd {
        let dockerd = Dockerd::start().await;
        let prune = post_prune(dockerd.address());
        return Some(measured(dockerd.containerd(), "moby", images, others, prune).await);
    }
    let containerd = Containerd::start().await;
    if pruner == Pruner::Ctr && !containerd.version().at_least(1, 7) {
        return None;
    }
    let namespace = containerd.namespace("default");
    let counted = Cell::new(0);
    let prune = async {
        match pruner {
            Pruner::Reclaim => counted.set(reclaim(containerd.socket()).await),
            Pruner::Floor => {
                for name in namespace.images().await.expect("containerd answers").keys() {
                    let deleted = namespace.delete_image(name, Deletion::Async).await;
                    deleted.expect("nothing else deletes images");
                }
                namespace.collect().await.expect("containerd collects");
            }
            Pruner::Ctr => {
                let mut ctr = Command::from(containerd.ctr("default"));
                let output = ctr.args(["images", "prune", "--all"]).output().await;
                let output = output.expect("ctr comes with containerd");
                assert!(output.status.success(), "{output:?}");
            }
            Pruner::OneByOne | Pruner::Dockerd => {
                for name in namespace.images().await.expect("containerd answers").keys() {
                    let deleted = namespace.delete_image(name, Deletion::Sync).await;
                    deleted.expect("nothing else deletes images");
                }
            }
        }
    };
    let cost = measured(&containerd, "default", images, others, prune).await;
    let calls = usize::try_from(images).expect("a number of images");
    Some(Cost {
        calls: Some(match pruner {
            Pruner::Reclaim => counted.get(),
            // The list, each image, and a lease made and deleted for the collection.
            Pruner::Floor => calls + 3,
            Pruner::Ctr | Pruner::OneByOne | Pruner::Dockerd => calls + 1,
        }),
        ..cost
    })
}

/// Fills the store, prunes it, and reads a record of another namespace meanwhile.
async fn measured(
    containerd: &Containerd,
    namespace: &str,
    images: u64,
    others: u64,
    prune: impl Future<Output = ()>,
) -> Cost {
    let namespace = containerd.namespace(namespace);
    let bystander = containerd.namespace("bystander");
    crowd(&bystander, others).await;
    fill(&namespace, images).await;
    let before = pauses(containerd).len();
    let began = Instant::now();
    let mut waits = Vec::new();
    let reading = async {
        loop {
            let began = Instant::now();
            bystander.image_record(BYSTANDER).await.expect("it stays");
            waits.push(began.elapsed());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::select! {
        () = prune => {}
        () = reading => {}
    }
    let took = began.elapsed();
    let pauses = pauses(containerd).split_off(before);
    // ctr does not wait for the collection that it causes.
    namespace.collect().await.expect("containerd collects");
    demand_empty(&namespace).await;
    Cost {
        took,
        pauses,
        waits,
        calls: None,
    }
}

/// Returns the time of each collection, from containerd's log.
fn pauses(containerd: &Containerd) -> Vec<Duration> {
    let time = |line: &str| {
        let text = line.split("d=").nth(1)?.trim_matches('"');
        let time = reclaim_model::parse_go_duration(text).ok()?;
        Duration::try_from(time).ok()
    };
    containerd
        .log()
        .lines()
        .filter(|line| line.contains("msg=\"garbage collected\""))
        .map(|line| time(line).expect("containerd logs how long it took"))
        .collect()
}

/// The image that another client reads during the prune.
const BYSTANDER: &str = "docker.io/library/bystander:1";

/// Adds other content to the node, which is not removed.
async fn crowd(namespace: &NamespaceClient, others: u64) {
    image(BYSTANDER)
        .build(namespace)
        .await
        .expect("containerd takes an image");
    let root = reclaim_testkit::labels([("containerd.io/gc.root", "2026-01-01T00:00:00Z")]);
    for number in 0..others {
        let body = format!("other {number}");
        let written = namespace.write_blob(body.as_bytes(), &root).await;
        written.expect("containerd takes a blob");
        let key = format!("other-{number}");
        let prepared = namespace.prepare("native", &key, "", &root).await;
        prepared.expect("containerd takes a snapshot");
    }
}

async fn post_prune(address: String) {
    let socket = address.strip_prefix("unix://").expect("a Unix socket");
    let mut stream = UnixStream::connect(socket).await.expect("dockerd listens");
    let request =
        b"POST /images/prune?filters=%7B%22dangling%22%3A%5B%22false%22%5D%7D HTTP/1.0\r\n\
                    Host: d\r\nContent-Length: 0\r\n\r\n";
    stream.write_all(request).await.expect("dockerd reads");
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .await
        .expect("dockerd answers");
    assert!(answer.contains(" 200 OK"), "{answer}");
}

/// Prunes with the binary. Returns the number of calls from its log, because counting them in a
/// proxy would take time.
async fn reclaim(socket: &Path) -> usize {
    let log = logged(socket, "info").await;
    let calls = log.split("calls=").nth(1).unwrap_or_default();
    calls
        .split(|letter: char| !letter.is_ascii_digit())
        .next()
        .and_then(|number| number.parse().ok())
        .expect("a run logs its calls")
}

/// Prunes all images with the binary, and returns its log.
async fn logged(socket: &Path, level: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_reclaim"))
        .env_clear()
        .arg("--address")
        .arg(socket)
        .args(["--namespace", "default", "--log-level"])
        .arg(format!("reclaim_engine={level}"))
        .args(["image", "prune", "-a", "-f"])
        .output()
        .await
        .expect("the binary runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Prints the time and the calls of each phase of a run of Reclaim, from its log.
async fn print_phases(images: u64, others: u64) {
    let containerd = Containerd::start().await;
    crowd(&containerd.namespace("bystander"), others).await;
    fill(&containerd.namespace("default"), images).await;
    let log = logged(containerd.socket(), "debug").await;
    println!("images  phase         ms  calls");
    for line in log.lines() {
        let after = |key: &str| line.split_once(key).map(|(_, rest)| rest);
        let word = |key: &str| after(key).and_then(|rest| rest.split(' ').next());
        if let (Some(phase), Some(took)) = (word(" phase="), word("took_ms=")) {
            let calls = after("calls=").unwrap_or_default();
            println!(
                "{images:6}  {:10}  {took:>4}  {calls}",
                phase.trim_matches('"')
            );
        }
    }
}

/// Panics if a pruner left something, because the results would not be comparable.
async fn demand_empty(namespace: &NamespaceClient) {
    assert_eq!(
        namespace.images().await.expect("containerd answers").len(),
        0
    );
    assert_eq!(
        namespace.blobs().await.expect("containerd answers").len(),
        0
    );
}

/// Builds and unpacks images of six layers, two of which [`PER_BASE`] images share.
async fn fill(namespace: &NamespaceClient, images: u64) {
    for number in 0..images {
        let base = number / PER_BASE;
        let shared = (0..2).map(|layer| Layer::named(&format!("base {base} {layer}"), 3000));
        let own = (0..4).map(|layer| Layer::random(4 * number + layer, 300));
        image(&format!("docker.io/library/app:{number}"))
            .layers(shared.chain(own))
            .unpack("native")
            .build(namespace)
            .await
            .expect("containerd takes an image");
    }
    namespace.collect().await.expect("containerd collects");
}
