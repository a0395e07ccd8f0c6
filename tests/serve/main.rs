//! The daemon over its sockets: the real binary on a real containerd.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

#[path = "../e2e/rig.rs"]
#[expect(dead_code, reason = "shared with tests that need more of it")]
mod rig;

mod audit;
mod authority;
mod conditions;
mod connections;
mod containers;
mod daemon;
mod docker_tls;
mod embedded;
mod filters;
mod forecast;
mod forward;
mod grpc;
mod host;
mod hostile;
mod images;
mod inhibit;
mod json;
mod maintenance;
mod measured;
mod metrics;
mod newest;
mod one_core;
mod protected;
mod prune;
mod recorded;
mod registered;
mod roles;
mod same;
mod silence;
mod sockets;
mod tables;
mod telemetry;
mod tls;
mod tls_reload;
mod unfinished;
