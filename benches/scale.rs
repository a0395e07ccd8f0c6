//! The largest supported host in one process: 100,000 images, a million blobs, a million snapshots.
//! Prints the time of each evaluation and the peak memory.
//!
//! The memory is that of the process (`VmHWM`), including the inventory, whose memory is printed
//! first. `cargo bench --bench scale [IMAGES]`.

#![expect(clippy::print_stdout, reason = "a bench prints figures")]

mod host;

use std::collections::BTreeMap;
use std::fs;
use std::hint::black_box;
use std::time::{Duration, Instant};

use host::{inventory, namespace};
use reclaim_model::{NamespaceInventory, SnapshotId, SnapshotSizes};
use reclaim_plan::{UsageInput, decide, disk_usage, limit};

const IMAGES: u64 = 100_000;

fn main() {
    // `cargo bench` adds options.
    let mut arguments = std::env::args().skip(1);
    let images = arguments
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(IMAGES);
    let inventory = inventory(images);
    let host = &inventory.namespaces[&namespace()];
    let n_snapshots: usize = host.snapshots.values().map(Vec::len).sum();
    println!(
        "{} images, {} blobs, {n_snapshots} snapshots, {} containers: {} MiB",
        host.images.len(),
        host.blobs.len(),
        host.containers.len(),
        peak_mib(),
    );
    let request = host::prune_all();
    let (decision, time) = timed(|| decide(&inventory, &[], &request));
    report("decide", &time);
    let bytes = inventory_bytes(host);
    let plan = decision.into_plan(&bytes);
    let half = plan.freed.amount().total_bytes() / 2;
    let (limited, time) = timed(|| limit(plan, &inventory, half, None));
    report("limit to half", &time);
    drop(black_box(limited));
    let snapshot_bytes = BTreeMap::from([(namespace(), bytes)]);
    let input = UsageInput {
        inventory: &inventory,
        registered: &BTreeMap::new(),
        snapshot_bytes: &snapshot_bytes,
        orphaned: None,
        outside_records: None,
    };
    let (usage, time) = timed(|| disk_usage(&input));
    report("disk usage", &time);
    drop(black_box(usage));
}

/// Elapsed time, and time on a processor, which other work on the machine does not change.
struct Spent {
    clock: Duration,
    processor: Duration,
}

#[expect(clippy::disallowed_methods, reason = "a bench reads the real clock")]
fn timed<T>(work: impl FnOnce() -> T) -> (T, Spent) {
    let processor_before = processor_time();
    let began = Instant::now();
    let result = work();
    let spent = Spent {
        clock: began.elapsed(),
        processor: processor_time().saturating_sub(processor_before),
    };
    (result, spent)
}

/// Returns the processor time of this thread.
fn processor_time() -> Duration {
    let times = fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let nanoseconds = times.split(' ').next().and_then(|text| text.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or(0))
}

fn report(what: &str, spent: &Spent) {
    let [clock, processor] = [spent.clock, spent.processor].map(|time| time.as_millis());
    let peak = peak_mib();
    println!("{what}: {clock} ms, {processor} ms of a processor, peak {peak} MiB");
}

/// Returns the peak memory of the process.
fn peak_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux has this file");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|text| text.trim().strip_suffix("kB"));
    kib.and_then(|number| number.trim().parse::<u64>().ok())
        .map_or(0, |kib| kib / 1024)
}

fn inventory_bytes(host: &NamespaceInventory) -> SnapshotSizes {
    host.snapshots
        .iter()
        .flat_map(|(snapshotter, list)| {
            list.iter().map(|snapshot| {
                let id = SnapshotId::new(snapshotter.clone(), &*snapshot.key);
                (id, 1)
            })
        })
        .collect()
}
