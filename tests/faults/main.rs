//! The deletion protocol under faults: every call that a prune makes is spoiled once in every
//! way, and afterwards the store is as it should be.
//!
//! A fault proxy stands between the real binary and a real containerd. The calls of an
//! undisturbed run over a small store are recorded; then each of them is spoiled in a run of
//! its own, before and after containerd has acted on it. Each matrix prints its size.
//!
//! - [`invisible`]: what a lost connection or a busy server costs is a retry, nothing else.
//! - [`silence`]: one call is never answered, or none from it on; the run ends, and nothing is lost.
//! - [`reported`]: an error for good is in the exit status and in the report, which stays true.
//! - [`killed`]: the binary is killed; nothing is lost, and the next run ends as this one would.
//! - [`full`]: there is no room for a journal, and a call beside is spoiled.
//! - [`state_disk`]: the filesystem of the daemon's state is full at each of its writes.
//! - [`recovery`]: the run that cleans up after a crash is killed as well.
//! - [`restarted`]: containerd is killed and comes back.
//! - [`elsewhere`]: the binary is killed in another PID namespace, or before a reboot.
//! - [`away`]: containerd is away for less and for more than a run waits for it.
//! - [`creators`]: a container is created between any two calls.
//! - [`outages`]: one thing is broken for good; what has nothing to do with it is planned as ever.
//! - [`named`]: an image in use loses its name by force, and nothing else.
//!
//! `RECLAIM_TEST_CONTAINERD=/path` runs them against another containerd.

#![expect(
    clippy::unwrap_used,
    reason = "a stage that cannot be set or looked at ends the test, as in a test's own body"
)]

mod away;
mod check;
mod creators;
mod elsewhere;
mod full;
mod invisible;
mod killed;
mod matrix;
mod named;
mod outages;
mod recovery;
mod reported;
mod restarted;
mod run;
mod silence;
mod stage;
mod state;
mod state_disk;
