//! Policies of the real binary, on a containerd whose root is a filesystem of its own.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod cluster_lock;
mod daemon;
mod disks;
mod events;
mod explain;
mod full;
mod holds;
mod host;
mod inhibit;
mod late;
mod mounts;
mod once;
mod parts;
mod quiet;
mod requested;
#[path = "../e2e/rig.rs"]
#[expect(dead_code, reason = "shared with others")]
mod rig;
mod trial;
