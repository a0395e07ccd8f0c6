//! The images that `project prune` chooses, against those that Compose itself removes, on a real
//! Docker Engine.
//!
//! It needs a dockerd and Compose binaries, which `cargo xtask test` fetches and names by
//! `RECLAIM_TEST_DOCKERD` and `RECLAIM_TEST_COMPOSE`.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends where something is not as it says"
)]

#[path = "../serve/daemon.rs"]
#[expect(dead_code, reason = "shared with tests that need more of it")]
mod daemon;

mod compose;
mod down;
mod remove;
mod stage;
