//! How much a test tries, by the environment.

use std::fmt::Debug;

/// Returns the number that the environment has under `name`, or `None` if it does not.
///
/// # Panics
///
/// If it is not a number: running with another one would mislead.
#[expect(
    clippy::disallowed_methods,
    reason = "who runs a test says how much; nothing but tests asks here"
)]
pub fn asked_number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}

/// Of so many cases of faults every run of the tests takes one. No call has a number of faults that
/// divides it or that it divides, so that every fault is among those that are taken.
const ONE_OF: usize = 7;

/// Returns the cases of faults that are to be tried: a share of them, or by `RECLAIM_TEST_FAULTS`
/// all, or those that contain it as they are printed, such as `Leases/List", nth: 5`. `title` tells
/// one matrix from another.
///
/// # Panics
///
/// If there are too few cases for a share.
#[expect(
    clippy::disallowed_methods,
    reason = "who runs a test says how much; nothing but tests asks here"
)]
pub fn asked_faults<C: Debug>(title: &str, cases: Vec<C>) -> Vec<C> {
    let cases = cases.into_iter();
    match std::env::var("RECLAIM_TEST_FAULTS") {
        Ok(asked) if asked == "all" => cases.collect(),
        Ok(asked) => cases
            .filter(|case| format!("{case:?}").contains(&asked))
            .collect(),
        Err(_) => cases.skip(title.len() % ONE_OF).step_by(ONE_OF).collect(),
    }
}
