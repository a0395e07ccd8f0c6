//! Our answers beside those of a real Docker Engine, for the same images and containers.
//!
//! It needs a dockerd and the `docker` command, which `cargo xtask test` fetches and names by
//! `RECLAIM_TEST_DOCKERD` and `RECLAIM_TEST_DOCKER`.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends where something is not as it says"
)]

#[path = "../serve/daemon.rs"]
#[expect(dead_code, reason = "shared with tests that need more of it")]
mod daemon;

mod command;
mod differences;
mod differential;
mod images;
mod itself;
mod requests;
mod side;
mod transcript;
