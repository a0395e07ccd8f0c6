//! Simulated months: a host with its images, containers, clock and disk, and the daemon on it.
//!
//! The daemon is the real one: scheduler, policies, runs, index of last use, recovery, over gRPC.
//! containerd is the one in memory (`reclaim-fake`), time is tokio's, which passes as fast as it
//! can, and the wall clock jumps, also by years. Calls fail, hang or are lost, containerd is down
//! for minutes, and the daemon is killed. Everything follows from a seed except the order in which
//! blocking work on other threads ends.
//!
//! Simpler code than the code under test checks the promises (`promises`). A month that breaks one
//! is printed event by event, with the command that runs it again: `RECLAIM_MONTH_SEED` is the first
//! seed, `RECLAIM_MONTHS` the number of months.

mod campaign;
mod clock;
mod daemon;
mod days;
mod diary;
mod disk;
mod faults;
mod holds;
mod host;
mod month;
mod picture;
mod policies;
mod promises;
mod registry;
mod store;
mod uses;

#[test]
fn policies_keep_their_promises_for_months() {
    campaign::run();
}
