//! Compares the images that `project prune` removes with those that Compose removes, on a real
//! Docker Engine.
//!
//! Needs a dockerd and Compose binaries, which `cargo xtask test` fetches and names in
//! `RECLAIM_TEST_DOCKERD` and `RECLAIM_TEST_COMPOSE`.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

#[path = "../serve/daemon.rs"]
#[expect(dead_code, reason = "shared with tests that need more of it")]
mod daemon;

mod compose;
mod down;
mod fixture;
mod remove;
