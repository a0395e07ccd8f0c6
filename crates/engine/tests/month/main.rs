//! Simulated months: a host with its images, containers, clock and disk, and the daemon on it.
//!
//! Everything follows from a seed. What decides is the real thing: the index of last use with its
//! file, the timetable, the marks, the judge, the limit, the second judgement. What acts is a
//! model: containerd's records and collection, and time, which passes as fast as it can.
//!
//! A month that breaks a promise is told event by event, with the command to run it again:
//! `RECLAIM_MONTH_SEED` is the first seed, `RECLAIM_MONTHS` how many.

mod campaign;
mod clock;
mod daemon;
mod days;
mod diary;
mod memory;
mod month;
mod policies;
mod promises;
mod registry;
mod run;
mod world;

#[test]
fn months_keep_what_the_rules_promise() {
    campaign::run();
}
