//! Nodes that share a cluster lock through an API server, in one process and in simulated time.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends where something is not as it says"
)]

mod cluster;

mod away;
mod chaos;
mod holders;
mod node_events;
