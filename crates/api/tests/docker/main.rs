//! Docker's API on a containerd in memory.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod attestations;
mod containers;
mod engine;
mod events;
mod inspect;
mod list;
mod refused;
mod stage;
mod usage;
