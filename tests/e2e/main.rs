//! The real `reclaim` binary on a real containerd.
//!
//! Every test starts a containerd of its own. `RECLAIM_TEST_CONTAINERD=/path` runs them all
//! against another binary than the one on `PATH`.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends where something is not as it says"
)]

mod broken;
mod census;
mod cost;
mod cri;
mod df;
mod failures;
mod history;
mod holds;
mod left;
mod lists;
mod manual;
mod named;
mod node;
mod pin;
mod pods;
mod project;
mod protocol;
mod question;
mod rig;
mod sandbox;
mod target;
mod transcript;
mod why;
