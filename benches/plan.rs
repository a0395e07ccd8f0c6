//! How long the judge thinks about hosts of different sizes, and how much memory it takes for that.
//! Time and memory are those of `decide` alone; the inventory is there before.

mod host;

use divan::{AllocProfiler, Bencher, black_box};
use reclaim_plan::decide;

#[global_allocator]
static ALLOC: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

/// Judges a whole host with `-a`.
#[divan::bench(args = [1_000, 10_000, 100_000], sample_count = 9, sample_size = 1)]
fn prune_all(bencher: Bencher<'_, '_>, images: u64) {
    let inventory = host::inventory(images);
    let request = host::prune_all();
    bencher.bench(|| decide(black_box(&inventory), &[], &request));
}
