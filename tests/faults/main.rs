//! The deletion protocol under faults: every call of a prune has every fault once, and afterwards
//! the invariants of the store hold.
//!
//! A fault proxy connects the real binary with a real containerd. The calls of an undisturbed run
//! on a small store are recorded. Then each of them has a fault in a run of its own, before and
//! after containerd acts on it. Each matrix prints its size.
//!
//! - [`invisible`]: a lost connection or a busy server costs only a retry.
//! - [`silence`]: one call, or every call from it on, is never answered; the run ends and loses
//!   nothing.
//! - [`reported`]: a permanent error is in the exit status and in the report.
//! - [`killed`]: the binary is killed; the next run restores what it removed, and finishes.
//! - [`full`]: there is no room for a journal, and one more call has a fault.
//! - [`state_disk`]: the filesystem of the daemon's state is full at each of its writes.
//! - [`recovery`]: the run that cleans up after a crash is killed, too.
//! - [`restarted`]: containerd is killed and restarted.
//! - [`elsewhere`]: the binary is killed in another PID namespace, or before a reboot.
//! - [`away`]: containerd is down for less and for more time than a run waits for it.
//! - [`creators`]: a container is created between any two calls.
//! - [`outages`]: one part is permanently broken; unrelated images have the same result.
//! - [`slim`]: every call of a slim has a fault, or the binary is killed during it; no image loses both
//!   copies of a layer.
//! - [`named`]: `image rm --force` on an image in use removes its name and nothing else.
//!
//! `RECLAIM_TEST_CONTAINERD=/path` chooses another containerd.

#![expect(
    clippy::unwrap_used,
    reason = "a failed unwrap fails the test, also in fixtures"
)]

mod away;
mod check;
mod creators;
mod elsewhere;
mod fixture;
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
mod slim;
mod state;
mod state_disk;
