//! The size of tests, from the environment.

use std::fmt::Debug;

/// Returns the number in the environment variable `name`, or `None` if it is not set.
///
/// # Panics
///
/// If the value is not a number: a default would mislead.
#[expect(
    clippy::disallowed_methods,
    reason = "the environment sets the size of a test; only tests call this"
)]
pub fn number_from_env(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}

/// A run of the tests takes one in so many cases of faults. The number of faults of a call neither
/// divides it nor is a multiple of it, so every kind of fault is among those taken.
const ONE_OF: usize = 7;

/// Returns the cases of faults to try: by default a share, which differs between the matrices by
/// `title`. `RECLAIM_TEST_FAULTS=all` takes all; another value takes those whose debug text contains
/// it, such as `Leases/List", nth: 5`.
///
/// # Panics
///
/// If there are too few cases for a share.
#[expect(
    clippy::disallowed_methods,
    reason = "the environment sets the size of a test; only tests call this"
)]
pub fn select_faults<C: Debug>(title: &str, cases: Vec<C>) -> Vec<C> {
    let cases = cases.into_iter();
    match std::env::var("RECLAIM_TEST_FAULTS") {
        Ok(text) if text == "all" => cases.collect(),
        Ok(text) => cases
            .filter(|case| format!("{case:?}").contains(&text))
            .collect(),
        Err(_) => cases.skip(title.len() % ONE_OF).step_by(ONE_OF).collect(),
    }
}
