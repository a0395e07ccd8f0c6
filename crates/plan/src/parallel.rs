//! Works on the parts of long lists in parallel.
//!
//! The tables of a large host fit into no cache: lookups mostly wait for memory, and processors
//! wait independently of each other. The results of the parts are returned in their order, so
//! that nothing depends on how many there are.

use std::num::NonZero;
use std::ops::Range;
use std::panic::resume_unwind;
use std::thread::{self, Builder};

/// The minimum length of a part: a thread costs more than a shorter one saves. With debug
/// assertions it is so short that every test has several parts.
const LEAST: usize = if cfg!(debug_assertions) { 3 } else { 1 << 14 };

/// The maximum number of parts: all threads share one memory bus.
const MOST: usize = 8;

/// Calls `work` with ranges that together are `0..length`, and returns the results in order.
pub(crate) fn in_parts<T: Send>(length: usize, work: impl Fn(Range<usize>) -> T + Sync) -> Vec<T> {
    let processors = thread::available_parallelism().map_or(1, NonZero::get);
    let n_parts = (length / LEAST).clamp(1, processors.min(MOST));
    let size = length.div_ceil(n_parts);
    let part = |index: usize| (index * size).min(length)..((index + 1) * size).min(length);
    thread::scope(|scope| {
        let work = &work;
        let others = (1..n_parts).map(|index| {
            let other = Builder::new().spawn_scoped(scope, move || work(part(index)));
            (part(index), other)
        });
        let others: Vec<_> = others.collect();
        let mut done = vec![work(part(0))];
        done.extend(others.into_iter().map(|(part, other)| match other {
            Ok(other) => other.join().unwrap_or_else(|panic| resume_unwind(panic)),
            // The process may have reached its limit of threads.
            Err(_) => work(part),
        }));
        done
    })
}

/// Calls two functions in parallel.
pub(crate) fn both<A: Send, B>(one: impl Fn() -> A + Sync, other: impl FnOnce() -> B) -> (A, B) {
    thread::scope(|scope| {
        let first = Builder::new().spawn_scoped(scope, &one);
        let other = other();
        let first = match first {
            Ok(first) => first.join().unwrap_or_else(|panic| resume_unwind(panic)),
            Err(_) => one(),
        };
        (first, other)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_together_are_the_whole_in_order() {
        for length in [0, 1, 2, 3, 6, 7, 100, 1000] {
            let parts = in_parts(length, Vec::from_iter);
            let whole: Vec<usize> = parts.into_iter().flatten().collect();
            assert_eq!(whole, (0..length).collect::<Vec<_>>());
        }
    }

    #[test]
    fn both_are_done() {
        assert_eq!(both(|| 1, || "two"), (1, "two"));
    }
}
