//! The largest supported host in one process: 100,000 images, a million blobs, a million snapshots.
//! Prints the median and the shortest time of each evaluation, its ratio to that of a plan, and the
//! peak memory.
//!
//! The memory is that of the process (`VmHWM`) with the inventory, whose memory is printed first. `cargo bench -p reclaim-plan --bench scale
//! [IMAGES] [EVALUATION]…` makes only these evaluations. `RECLAIM_BENCH_RUNS` is the number of times
//! that each is made.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench prints figures, and reads its settings and the real clock"
)]

mod host;

use std::collections::BTreeMap;
use std::fs;
use std::hint::black_box;
use std::time::{Duration, Instant};

use host::{inventory, namespace};
use reclaim_model::{NamespaceInventory, SnapshotId, SnapshotSizes};
use reclaim_plan::{UsageInput, decide, disk_usage, limit, store_map};

const IMAGES: u64 = 100_000;

fn main() {
    // `cargo bench` adds options.
    let arguments = || std::env::args().skip(1).filter(|it| !it.starts_with('-'));
    let images = arguments().find_map(|argument| argument.parse().ok());
    let chosen: Vec<String> = arguments()
        .filter(|argument| argument.parse::<u64>().is_err())
        .collect();
    let runs = std::env::var("RECLAIM_BENCH_RUNS").ok();
    let runs = runs.map_or(3, |runs| runs.parse().expect("a number of runs"));
    let inventory = inventory(images.unwrap_or(IMAGES));
    forget_peak();
    let host = &inventory.namespaces[&namespace()];
    let n_snapshots: usize = host.snapshots.values().map(Vec::len).sum();
    println!(
        "{} images, {} blobs, {n_snapshots} snapshots, {} containers: {} MiB",
        host.images.len(),
        host.blobs.len(),
        host.containers.len(),
        peak_mib(),
    );
    println!("evaluation      median ms  shortest ms  CPU ms  × a plan  peak MiB");
    let mut table = Table {
        chosen,
        runs,
        plan: None,
    };
    let request = host::prune_all();
    table.add("decide", || decide(&inventory, &[], &request));
    let bytes = inventory_bytes(host);
    if table.has("limit") {
        let plan = || decide(&inventory, &[], &request).into_plan(&bytes);
        let half = plan().freed.amount().total_bytes() / 2;
        table.add_prepared("limit", plan, |plan| limit(plan, &inventory, half, None));
    }
    let snapshot_bytes = BTreeMap::from([(namespace(), bytes)]);
    let input = UsageInput {
        inventory: &inventory,
        registered: &BTreeMap::new(),
        snapshot_bytes: &snapshot_bytes,
        orphaned: None,
        outside_records: None,
    };
    table.add("disk-usage", || disk_usage(&input));
    table.add("store-map", || store_map(&input));
}

struct Table {
    /// The evaluations to make; all if it is empty.
    chosen: Vec<String>,
    runs: usize,
    /// The median time of a plan.
    plan: Option<Duration>,
}

impl Table {
    fn has(&self, what: &str) -> bool {
        self.chosen.is_empty() || self.chosen.iter().any(|it| it == what)
    }

    fn add<T>(&mut self, what: &str, work: impl Fn() -> T) {
        if self.has(what) {
            self.add_prepared(what, || (), |()| work());
        }
    }

    fn add_prepared<P, T>(&mut self, what: &str, prepare: impl Fn() -> P, work: impl Fn(P) -> T) {
        forget_peak();
        let runs = (0..self.runs).map(|_| timed(prepare(), &work));
        let mut runs: Vec<Spent> = runs.collect();
        let peak = peak_mib();
        runs.sort_by_key(|spent| spent.clock);
        let median = &runs[runs.len() / 2];
        let plan = *self.plan.get_or_insert(median.clock);
        println!(
            "{what:14}  {:9}  {:11}  {:6}  {:8.2}  {:8}",
            median.clock.as_millis(),
            runs[0].clock.as_millis(),
            median.processor.as_millis(),
            median.clock.as_secs_f64() / plan.as_secs_f64(),
            peak,
        );
    }
}

/// Elapsed time, and time of all threads on a processor, which other work on the machine changes less.
struct Spent {
    clock: Duration,
    processor: Duration,
}

fn timed<P, T>(prepared: P, work: impl Fn(P) -> T) -> Spent {
    let processor_before = processor_time();
    let began = Instant::now();
    let result = work(prepared);
    let spent = Spent {
        clock: began.elapsed(),
        processor: processor_time().saturating_sub(processor_before),
    };
    drop(black_box(result));
    spent
}

/// Returns the processor time of the process, of threads that ended as well.
fn processor_time() -> Duration {
    const TICK: Duration = Duration::from_millis(10);
    let stat = fs::read_to_string("/proc/self/stat").expect("Linux has this file");
    // The name in parentheses may have spaces. User and system time are the fields 14 and 15.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let times = fields.split_whitespace().skip(11).take(2);
    times
        .filter_map(|ticks| ticks.parse::<u32>().ok())
        .map(|ticks| TICK * ticks)
        .sum()
}

/// Makes the present memory the peak: what generated the inventory does not count.
fn forget_peak() {
    fs::write("/proc/self/clear_refs", "5").expect("Linux has this file");
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
