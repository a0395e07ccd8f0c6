//! What each step of "slim before evict" frees on a host with 30 images, and what it costs to have it
//! again.
//!
//! The images ([`images`]) have the layers of real ones, smaller by a factor. The real binary frees, one
//! step after the other: snapshots of unused images, compressed layers, platforms, images. Before, one
//! collection frees garbage, as a policy requests it, and dry runs tell what each step would free alone. After the second step, containerd's own
//! client unpacks the slimmed images again, and they are slimmed again.
//!
//! `RECLAIM_BENCH_SCALE=10` is the factor, `RECLAIM_BENCH_RUNS=3` the number of runs; the table has
//! medians.

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    reason = "a program that prints figures, and ends if it cannot get one"
)]

mod host;
mod images;
mod layers;

use std::collections::BTreeSet;
use std::iter;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;

use host::Host;
use layers::Layers;

/// The steps after a collection of garbage: name, and arguments of the binary.
const STEPS: [(&str, &[&str]); 4] = [
    ("snapshots", &["slim", "--snapshots", "--all"]),
    ("layers", &["slim", "--layers", "--all"]),
    ("platforms", &["slim", "--platforms", "--all"]),
    ("images", &["prune", "--all"]),
];

/// The figures of one run.
struct Figures {
    /// Bytes before the first step.
    before: u64,
    steps: Vec<Step>,
    /// Unpacking again what the step `snapshots` freed: the time now, and that of the same images at
    /// first.
    again: Duration,
    first: Duration,
    /// The time to unpack all images at first.
    first_of_all: Duration,
}

/// The figures of one step.
struct Step {
    /// Bytes that it would free alone.
    alone: u64,
    freed: u64,
    /// Freed bytes that a registry would have to send.
    fetch: u64,
    /// Images that lost something.
    images: u64,
    /// Bytes on disk after it.
    after: u64,
}

#[tokio::main]
async fn main() {
    let scale = setting("RECLAIM_BENCH_SCALE", 10);
    let runs = setting("RECLAIM_BENCH_RUNS", 3);
    let layers = Layers::generate(scale);
    let mut figures = Vec::new();
    for _ in 0..runs {
        figures.push(run(&layers).await);
    }
    print(&figures);
}

fn setting(name: &str, otherwise: u32) -> u32 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

async fn run(layers: &Layers) -> Figures {
    let host = Host::start(layers).await;
    let before = host.bytes();
    host.namespace.collect().await.expect("containerd collects");
    let after = host.bytes();
    let mut steps = vec![Step {
        alone: before - after,
        freed: before - after,
        fetch: 0,
        images: 0,
        after,
    }];
    let mut alone = Vec::new();
    for (_, args) in STEPS {
        let report = reclaim(&host, &[args, &["--dry-run"]].concat()).await;
        alone.push(total(&report["estimate"]));
    }
    let (mut first, mut again) = (Duration::ZERO, Duration::ZERO);
    for ((name, args), alone) in STEPS.into_iter().zip(alone) {
        let there = host.bytes();
        let report = reclaim(&host, args).await;
        let after = host.bytes();
        let changed = changed(&report);
        if name == "snapshots" {
            for image in &host.images {
                if changed.contains(&image.name) {
                    first += image.first;
                    again += host.unpack(image);
                }
            }
            assert_eq!(host.bytes(), there, "the images are unpacked again");
            reclaim(&host, args).await;
            assert_eq!(host.bytes(), after, "the same is freed again");
        }
        steps.push(Step {
            alone,
            freed: total(&report["reclaimed"]),
            fetch: content(&report["reclaimed"]),
            images: changed.len() as u64,
            after,
        });
    }
    Figures {
        before,
        steps,
        again,
        first,
        first_of_all: host.images.iter().map(|image| image.first).sum(),
    }
}

/// Returns the names of the images that lost parts, or are gone.
fn changed(report: &Value) -> BTreeSet<String> {
    let lists = ["slimmed", "removed"].map(|list| report[list].as_array());
    let images = lists.into_iter().flatten().flatten();
    let names = images.map(|image| image["name"].as_str().expect("an image has a name"));
    names.map(str::to_owned).collect()
}

/// Calls the binary, and returns its report.
async fn reclaim(host: &Host, args: &[&str]) -> Value {
    let socket: &Path = host.containerd.socket();
    let output = Command::new(env!("CARGO_BIN_EXE_reclaim"))
        .env_clear()
        .env("RECLAIM_AUDIT_DIR", "/dev/null")
        .arg("--address")
        .arg(socket)
        .args(["--namespace", "default", "image"])
        .args(args)
        .args(["--force", "--grace=0s", "--format=json"])
        .output()
        .await
        .expect("the binary runs");
    assert!(output.status.success(), "{args:?}: {output:#?}");
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

fn content(amount: &Value) -> u64 {
    amount["content_bytes"].as_u64().expect("a number of bytes")
}

fn total(amount: &Value) -> u64 {
    let snapshots = amount["snapshot_bytes"].as_u64();
    content(amount) + snapshots.expect("a number of bytes")
}

/// Prints the medians as the table of `docs/benchmarks.md`.
fn print(figures: &[Figures]) {
    println!(
        "| Step | Images | Freed alone, MB | Freed in this order, MB | On disk after, MB | To fetch again, MB |"
    );
    println!("|---|---|---|---|---|---|");
    let before = figures.iter().map(|run| run.before);
    let before = megabytes(median(before.collect()));
    println!("| before | {} | | | {before} | |", images::IMAGES.len());
    let names = STEPS.iter().map(|(name, _)| *name);
    for (number, name) in iter::once("garbage").chain(names).enumerate() {
        let of_steps = |of: fn(&Step) -> u64| {
            let values = figures.iter().map(|run| of(&run.steps[number]));
            median(values.collect())
        };
        println!(
            "| {name} | {} | {} | {} | {} | {} |",
            of_steps(|step| step.images),
            megabytes(of_steps(|step| step.alone)),
            megabytes(of_steps(|step| step.freed)),
            megabytes(of_steps(|step| step.after)),
            megabytes(of_steps(|step| step.fetch)),
        );
    }
    let seconds = |of: fn(&Figures) -> Duration| {
        let times: Vec<Duration> = figures.iter().map(of).collect();
        median(times).as_secs_f64()
    };
    let (again, first) = (seconds(|run| run.again), seconds(|run| run.first));
    println!(
        "Unpacking all images at first: {:.1} s. Those that lost snapshots: {first:.1} s at first, {again:.1} s \
         again ({:.2} times).",
        seconds(|run| run.first_of_all),
        again / first,
    );
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1e6)
}

fn median<T: Ord + Copy>(mut values: Vec<T>) -> T {
    values.sort_unstable();
    values[values.len() / 2]
}
