//! Runs the cases of a matrix, on several containerds in parallel.

use std::fmt::Debug;
use std::io::Write;
use std::sync::Mutex;
use std::time::Duration;

use futures::future::join_all;
use reclaim_testkit::fault::{Call, Moment};
use reclaim_testkit::select_faults;
use tokio::time::Instant;

use crate::fixture::Fixture;

/// Number of containerds per matrix. A case mostly waits for processes to start.
pub(crate) const N_CONTAINERDS: usize = 2;

/// A call, and what happens to it.
#[derive(Debug, Clone)]
pub(crate) struct Case<T> {
    pub(crate) call: Call,
    pub(crate) moment: Moment,
    pub(crate) harm: T,
}

/// Violated invariants of a case, as texts. Empty if the case passes.
pub(crate) type Violations = Vec<String>;

/// Returns a case for each call with each of `harms`.
pub(crate) fn cases<T: Copy>(calls: &[Call], harms: &[(Moment, T)]) -> Vec<Case<T>> {
    let mut cases = Vec::new();
    for call in calls {
        for &(moment, harm) in harms {
            if moment == Moment::Before || ends(call) {
                let call = call.clone();
                cases.push(Case { call, moment, harm });
            }
        }
    }
    cases
}

/// Whether a call ends before the run. The event stream does not.
fn ends(call: &Call) -> bool {
    call.method != "events.v1.Events/Subscribe"
}

/// Checks every case, prints their number, and panics with all violations.
pub(crate) async fn work_through<C: Debug>(
    title: &str,
    first: Fixture,
    cases: Vec<C>,
    check: impl AsyncFn(&Fixture, &C) -> Violations,
) {
    work_through_on(N_CONTAINERDS, title, first, cases, check).await;
}

/// Like [`work_through`], on this many containerds in parallel.
pub(crate) async fn work_through_on<C: Debug>(
    n_containerds: usize,
    title: &str,
    first: Fixture,
    cases: Vec<C>,
    check: impl AsyncFn(&Fixture, &C) -> Violations,
) {
    let began = Instant::now();
    let cases = select_faults(title, cases);
    let (calls, size) = (first.calls.len(), cases.len());
    let left = Mutex::new(cases);
    let firsts = Mutex::new(Some(first));
    let violations = Mutex::new(Vec::new());
    let next = || left.lock().unwrap().pop();
    let workers = (0..n_containerds).map(|_| async {
        let ready = firsts.lock().unwrap().take();
        let mut fixture = match ready {
            Some(fixture) => fixture,
            None => Fixture::start().await,
        };
        while let Some(case) = next() {
            let mut found = match fixture.refill().await {
                Ok(()) => check(&fixture, &case).await,
                Err(violation) => vec![violation],
            };
            if !found.is_empty() {
                found.insert(0, format!("{case:?}"));
                violations.lock().unwrap().push(found);
                // A store with violations is not used for other cases.
                fixture = Fixture::start().await;
            }
        }
    });
    join_all(workers).await;
    let violations = violations.into_inner().unwrap();
    announce(title, size, calls, began.elapsed());
    let bad = violations.len();
    assert!(
        bad == 0,
        "{title}: {bad} of {size} cases fail: {violations:#?}"
    );
}

/// Prints the size of a matrix, in a way that the test runner does not capture.
pub(crate) fn announce(title: &str, size: usize, calls: usize, took: Duration) {
    let seconds = took.as_secs_f32();
    let line = format!("{title}: {size} faults over {calls} calls in {seconds:.0} s\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}
