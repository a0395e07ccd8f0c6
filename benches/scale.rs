//! The largest host that is planned for, in one process: 100,000 images, a million blobs, a
//! million snapshots. Prints what each judgement takes, and the most memory the process had.
//!
//! Memory is the kernel's (`VmHWM`), so the inventory itself is in it; what it takes alone is
//! printed first. `cargo bench --bench scale [IMAGES]`.

#![expect(clippy::print_stdout, reason = "a bench is for its numbers")]

mod host;

use std::collections::BTreeMap;
use std::fs;
use std::hint::black_box;
use std::time::{Duration, Instant};

use host::{inventory, namespace};
use reclaim_model::{NamespaceInventory, SnapshotId, SnapshotSizes};
use reclaim_plan::{Books, decide, disk_usage, limit};

const IMAGES: u64 = 100_000;

fn main() {
    // `cargo bench` adds switches of its own.
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
    let (limited, time) = timed(|| limit(plan, &inventory, half));
    report("limit to half", &time);
    drop(black_box(limited));
    let snapshot_bytes = BTreeMap::from([(namespace(), bytes)]);
    let books = Books {
        inventory: &inventory,
        registered: &BTreeMap::new(),
        snapshot_bytes: &snapshot_bytes,
        orphaned: None,
        outside_records: None,
    };
    let (usage, time) = timed(|| disk_usage(&books));
    report("disk usage", &time);
    drop(black_box(usage));
}

/// Time on the clock, and on a processor: other work on the machine is in the first only.
struct Spent {
    clock: Duration,
    processor: Duration,
}

#[expect(clippy::disallowed_methods, reason = "a bench reads the real clock")]
fn timed<T>(work: impl FnOnce() -> T) -> (T, Spent) {
    let processor = processor();
    let begun = Instant::now();
    let done = work();
    let spent = Spent {
        clock: begun.elapsed(),
        processor: self::processor().saturating_sub(processor),
    };
    (done, spent)
}

/// What this thread has had of a processor.
fn processor() -> Duration {
    let spent = fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let nanoseconds = spent.split(' ').next().and_then(|text| text.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or(0))
}

fn report(what: &str, spent: &Spent) {
    let [clock, processor] = [spent.clock, spent.processor].map(|time| time.as_millis());
    let peak = peak_mib();
    println!("{what}: {clock} ms, {processor} ms of a processor, peak {peak} MiB");
}

/// The most memory that the process ever had, by the kernel's account.
fn peak_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|text| text.trim().strip_suffix("kB"));
    kib.and_then(|number| number.trim().parse::<u64>().ok())
        .map_or(0, |kib| kib / 1024)
}

fn inventory_bytes(host: &NamespaceInventory) -> SnapshotSizes {
    let lists = host.snapshots.iter().flat_map(|(snapshotter, list)| {
        let ids = list
            .iter()
            .map(|snapshot| SnapshotId::new(snapshotter.clone(), &*snapshot.key));
        ids.map(|id| (id, 1))
    });
    lists.collect()
}
