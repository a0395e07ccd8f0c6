//! A containerd in memory: its API for images, content, snapshots, containers and leases, its
//! events, and its garbage collection, without a process, a disk or root.
//!
//! It works by the rules of the real one, and leaves out what tests of a collector do not need, such
//! as running containers. With tokio's paused time, days on a host pass in seconds. Calls can be made
//! to fail, to hang or to get lost ([`Fake::on_call`]).
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use reclaim_fake::Fake;
//!
//! let fake = Fake::new("2.1.9");
//! // Any client of containerd's API works on this channel.
//! let channel = fake.channel();
//! // The state can be read and changed without a call.
//! fake.change(|state| state.put_blob("default", b"layer".to_vec(), []));
//! # Ok(())
//! # }
//! ```
//!
//! `tests/exact` compares it with a real containerd: both get the same random stores, and must collect
//! the same.

mod collector;
mod events;
mod fake;
mod filter;
mod image;
mod reply;
mod server;
mod services;
mod state;

/// containerd's messages, which the state consists of.
pub use containerd_client as api;

pub use collector::{Kind, Node, closure};
pub use fake::{Call, Fake, Fault};
pub use image::{Image, Layer};
pub use state::{Labels, Lease, Namespace, Snapshot, SnapshotKey, State};
