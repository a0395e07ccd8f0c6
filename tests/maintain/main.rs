//! Maintenance by the real binary: policies on a containerd whose root is a filesystem of its own.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends where something is not as it says"
)]

mod asked;
mod daemon;
mod explain;
mod full;
mod host;
mod once;
#[path = "../e2e/rig.rs"]
#[expect(dead_code, reason = "shared with others")]
mod rig;
mod turns;
