//! The daemon: its configuration, its tasks, and the servers of `reclaim serve`.
//!
//! [`Host::open`] reads the configuration and the state and connects to containerd. [`serve()`] and
//! [`maintain`] run a daemon on that host until it is stopped.

pub mod config;
mod daemon;
mod error;
mod events;
#[cfg(feature = "fleet")]
mod fleet_lock;
mod host;
#[cfg(feature = "fleet")]
mod node_events;
mod reload;
mod serve;
mod systemd;

pub use error::DaemonError;
pub use host::{DEFAULT_ADDRESS, Host, HostOptions, Patience, connect};
pub use serve::{ForwardOptions, ServeOptions, maintain, serve};
