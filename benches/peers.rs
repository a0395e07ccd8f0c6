//! What removing all images costs: ours beside what others do, on the same images.
//!
//! - *reclaim*: the real binary, `image prune -a -f --grace 0s`. The grace is time that is waited on
//!   purpose, and is left out.
//! - *one by one*: each record deleted synchronously, as nerdctl and crictl do.
//! - *floor*: the records deleted without a plan, a hold, a second look or a measurement, and one
//!   collection at the end. Nothing that is safe can be faster.
//! - *dockerd*: `POST /images/prune` of a real Docker Engine on its containerd image store, if
//!   `RECLAIM_TEST_DOCKERD` names one.
//!
//! Each is run several times, in turn, on images that are built anew, and the medians are printed:
//! how long it took; how often containerd collected, for how long in all and at the longest; how
//! long a client waited meanwhile that only reads a record, mostly and at worst; and how many
//! calls were made. At the end, the phases of one run of ours, with the calls of each.
//!
//! `RECLAIM_BENCH_IMAGES=50,200` asks for other numbers of images, `RECLAIM_BENCH_RUNS` of runs, and
//! `RECLAIM_BENCH_OTHERS=10000` for so many other blobs and snapshots on the node.
//! `RECLAIM_BENCH_PRUNERS=floor` leaves the other peers out: at thousands of images they take hours.

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a program that tells figures to whoever called it, and ends where one cannot be had"
)]

use std::cell::Cell;
use std::path::Path;
use std::time::{Duration, Instant};

use reclaim_testkit::{Containerd, Deletion, Dockerd, Layer, NamespaceClient, image};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::Command;

/// How many images share a base.
const PER_BASE: u64 = 10;

/// What one run came to.
#[derive(Debug, Clone)]
struct Cost {
    took: Duration,
    /// Each collection.
    pauses: Vec<Duration>,
    /// Each read of a bystander.
    waits: Vec<Duration>,
    /// Unknown where nobody stands between.
    calls: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pruner {
    Reclaim,
    Floor,
    OneByOne,
    Dockerd,
}

impl Pruner {
    const ALL: [Self; 4] = [Self::Reclaim, Self::Floor, Self::OneByOne, Self::Dockerd];

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|pruner| pruner.name() == name)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Reclaim => "reclaim",
            Self::Floor => "floor",
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
    let images = setting("RECLAIM_BENCH_IMAGES", "50,200,1000");
    let images = images.split(',');
    let images = images.map(|number| number.parse().expect("numbers of images"));
    let images: Vec<u64> = images.collect();
    let all = Pruner::ALL.map(Pruner::name).join(",");
    let asked = setting("RECLAIM_BENCH_PRUNERS", &all);
    let asked: Vec<Pruner> = asked
        .split(',')
        .map(|name| {
            Pruner::named(name).unwrap_or_else(|| panic!("no pruner `{name}`: there are {all}"))
        })
        .collect();
    // Ours first: the others are compared with it.
    let pruners: Vec<Pruner> = Pruner::ALL
        .into_iter()
        .filter(|pruner| *pruner == Pruner::Reclaim || asked.contains(pruner))
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
                costs.push(cost(*pruner, images, others).await);
            }
        }
        let medians: Vec<Cost> = costs.into_iter().map(median).collect();
        for (pruner, cost) in pruners.iter().zip(&medians) {
            print(images, *pruner, cost, &medians[0]);
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

/// By time; the rest is of that run.
fn median(mut costs: Vec<Cost>) -> Cost {
    costs.sort_by_key(|cost| cost.took);
    costs.swap_remove(costs.len() / 2)
}

async fn cost(pruner: Pruner, images: u64, others: u64) -> Cost {
    if pruner == Pruner::Dockerd {
        let dockerd = Dockerd::start().await;
        let prune = post_prune(dockerd.address());
        return measured(dockerd.containerd(), "moby", images, others, prune).await;
    }
    let containerd = Containerd::start().await;
    let namespace = containerd.namespace("default");
    let counted = Cell::new(0);
    let prune = async {
        match pruner {
            Pruner::Reclaim => counted.set(reclaim(containerd.socket()).await),
            Pruner::Floor => {
                for name in namespace.images().await.expect("containerd answers").keys() {
                    let deleted = namespace.delete_image(name, Deletion::Async).await;
                    deleted.expect("nobody else deletes");
                }
                namespace.collect().await.expect("containerd collects");
            }
            Pruner::OneByOne | Pruner::Dockerd => {
                for name in namespace.images().await.expect("containerd answers").keys() {
                    let deleted = namespace.delete_image(name, Deletion::Sync).await;
                    deleted.expect("nobody else deletes");
                }
            }
        }
    };
    let cost = measured(&containerd, "default", images, others, prune).await;
    let calls = usize::try_from(images).expect("a number of images");
    Cost {
        calls: Some(match pruner {
            Pruner::Reclaim => counted.get(),
            // The list, each image, and a lease made and deleted for the collection.
            Pruner::Floor => calls + 3,
            Pruner::OneByOne | Pruner::Dockerd => calls + 1,
        }),
        ..cost
    }
}

/// Fills the store, prunes, and watches meanwhile.
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
    demand_empty(&namespace).await;
    Cost {
        took,
        pauses,
        waits,
        calls: None,
    }
}

/// How long each collection took, as containerd logs it.
fn pauses(containerd: &Containerd) -> Vec<Duration> {
    let log = containerd.log();
    let lines = log.lines();
    let lines = lines.filter(|line| line.contains("msg=\"garbage collected\""));
    let pauses = lines.map(|line| {
        let time = line.split("d=").nth(1).unwrap_or_default();
        let time = reclaim_model::parse_go_duration(time.trim_matches('"')).ok();
        let time = time.and_then(|time| Duration::try_from(time).ok());
        time.expect("containerd tells how long it took")
    });
    pauses.collect()
}

/// The image that somebody reads while others are pruned.
const BYSTANDER: &str = "docker.io/library/bystander:1";

/// What else is on the node: nothing of it goes.
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

/// Returns how many calls were made, as the run itself counts them: who stood between would take
/// time of his own for each.
async fn reclaim(socket: &Path) -> usize {
    let log = logged(socket, "info").await;
    let calls = log.split("calls=").nth(1).unwrap_or_default();
    let calls = calls.split(|letter: char| !letter.is_ascii_digit()).next();
    let calls = calls.and_then(|text| text.parse().ok());
    calls.expect("a run tells its calls")
}

/// Prunes everything, and returns the log.
async fn logged(socket: &Path, level: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_reclaim"))
        .env_clear()
        .arg("--address")
        .arg(socket)
        .args(["--namespace", "default", "--log-level"])
        .arg(format!("reclaim_engine={level}"))
        .args(["image", "prune", "-a", "-f", "--grace", "0s"])
        .output()
        .await
        .expect("the binary runs");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Prints what each phase of a run of ours takes, and its calls, as the run's log tells.
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

/// A pruner that leaves something has not done the same.
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

/// Images of six layers, two of which ten of them share, all unpacked.
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
