//! Working through the cases of a matrix, several containerds side by side.

use std::fmt::Debug;
use std::io::Write;
use std::sync::Mutex;
use std::time::Duration;

use futures::future::join_all;
use reclaim_testkit::fault::{Call, Moment};
use reclaim_testkit::select_faults;
use tokio::time::Instant;

use crate::stage::Stage;

/// How many containerds one matrix keeps busy. A case mostly waits for processes to start.
pub(crate) const STAGES: usize = 2;

/// A call to be spoiled in some way.
#[derive(Debug, Clone)]
pub(crate) struct Case<T> {
    pub(crate) call: Call,
    pub(crate) moment: Moment,
    pub(crate) harm: T,
}

/// What a case complains about; nothing if it holds.
pub(crate) type Complaints = Vec<String>;

/// All calls of a run, each spoiled in every one of `harms`.
pub(crate) fn cases<T: Copy>(calls: &[Call], harms: &[(Moment, T)]) -> Vec<Case<T>> {
    let of_call = |call: &Call| {
        let call = call.clone();
        let harms = harms.iter().filter({
            let call = call.clone();
            move |(moment, _)| *moment == Moment::Before || ends(&call)
        });
        harms.map(move |&(moment, harm)| Case {
            call: call.clone(),
            moment,
            harm,
        })
    };
    calls.iter().flat_map(of_call).collect()
}

/// Whether a call is answered as a whole: the event stream ends only with the run.
fn ends(call: &Call) -> bool {
    call.method != "events.v1.Events/Subscribe"
}

/// Puts every case to the test, prints how many there are, and fails with all complaints.
pub(crate) async fn work_through<C: Debug>(
    title: &str,
    first: Stage,
    cases: Vec<C>,
    check: impl AsyncFn(&Stage, &C) -> Complaints,
) {
    work_through_on(STAGES, title, first, cases, check).await;
}

/// As [`work_through`], with so many containerds side by side.
pub(crate) async fn work_through_on<C: Debug>(
    stages: usize,
    title: &str,
    first: Stage,
    cases: Vec<C>,
    check: impl AsyncFn(&Stage, &C) -> Complaints,
) {
    let began = Instant::now();
    let cases = select_faults(title, cases);
    let (calls, size) = (first.calls.len(), cases.len());
    let left = Mutex::new(cases);
    let firsts = Mutex::new(Some(first));
    let complaints = Mutex::new(Vec::new());
    let next = || left.lock().unwrap().pop();
    let workers = (0..stages).map(|_| async {
        let ready = firsts.lock().unwrap().take();
        let mut stage = match ready {
            Some(stage) => stage,
            None => Stage::set().await,
        };
        while let Some(case) = next() {
            let mut found = match stage.restock().await {
                Ok(()) => check(&stage, &case).await,
                Err(complaint) => vec![complaint],
            };
            if !found.is_empty() {
                found.insert(0, format!("{case:?}"));
                complaints.lock().unwrap().push(found);
                // What went wrong must not go on to spoil the next case.
                stage = Stage::set().await;
            }
        }
    });
    join_all(workers).await;
    let complaints = complaints.into_inner().unwrap();
    announce(title, size, calls, began.elapsed());
    let bad = complaints.len();
    assert!(
        bad == 0,
        "{title}: {bad} of {size} cases fail: {complaints:#?}"
    );
}

/// Prints the size of a matrix to where the test runner does not swallow it.
pub(crate) fn announce(title: &str, size: usize, calls: usize, took: Duration) {
    let seconds = took.as_secs_f32();
    let line = format!("{title}: {size} faults over {calls} calls in {seconds:.0} s\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}
