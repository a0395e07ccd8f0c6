//! Compares Reclaim's answers with those of a real Docker Engine that has the same images and
//! containers.
//!
//! Needs a dockerd, the `docker` command, its plugin buildx, docker-py, Compose and docker-registry,
//! which `cargo xtask test` fetches and names in `RECLAIM_TEST_DOCKERD`, `RECLAIM_TEST_DOCKER`,
//! `RECLAIM_TEST_BUILDX`, `RECLAIM_TEST_DOCKER_PY`, `RECLAIM_TEST_COMPOSE` and
//! `RECLAIM_TEST_REGISTRY`.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

#[path = "../serve/daemon.rs"]
#[expect(dead_code, reason = "shared with tests that need more of it")]
mod daemon;

#[path = "../e2e/rig.rs"]
#[expect(dead_code, reason = "shared with tests that need more of it")]
mod rig;

mod about;
mod built;
mod command;
mod containers;
mod differences;
mod differential;
mod forwarded;
mod images;
mod json_difference;
mod libraries;
mod requests;
mod side;
mod slimmed;
mod table;
mod transcript;
mod usage;
mod views;
