//! Time and memory to plan a prune of hosts of different sizes, without those of the inventory.

mod host;

use divan::{AllocProfiler, Bencher, black_box};
use reclaim_plan::decide;

#[global_allocator]
static ALLOC: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

/// Plans `prune -a`.
#[divan::bench(args = [1_000, 10_000, 100_000], sample_count = 9, sample_size = 1)]
fn prune_all(bencher: Bencher<'_, '_>, images: u64) {
    let inventory = host::inventory(images);
    let request = host::prune_all();
    bencher.bench(|| decide(black_box(&inventory), &[], &request));
}
