//! A containerd in memory: its API for images, content, snapshots, containers and leases, its
//! events, and its garbage collection, without a process, a disk or root.
//!
//! It is a fake in the sense of the testing literature: it works, by the rules of the real one,
//! and leaves out what tests of a collector do not need, such as running containers. Together
//! with tokio's paused time, days on a host pass in seconds, and calls can be made to fail, to
//! hang or to be lost ([`Fake::on_call`]).
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use reclaim_fake::Fake;
//!
//! let fake = Fake::new("2.1.9");
//! // Any client of containerd's API works on this channel.
//! let channel = fake.channel();
//! // What is in it can be looked at and changed without a call.
//! fake.change(|state| state.put_blob("default", b"layer".to_vec(), []));
//! # Ok(())
//! # }
//! ```
//!
//! How far it can be trusted is tested: `tests/exact` loads random stores into it and into a real
//! containerd, and both must collect the same.

mod collector;
mod events;
mod fake;
mod fault;
mod filter;
mod image;
mod reply;
mod server;
mod services;
mod state;

/// containerd's messages, of which what is stored is made.
pub use containerd_client as api;

pub use collector::{Kind, Node, closure};
pub use fake::Fake;
pub use fault::{Call, Fault};
pub use image::{Image, Layer};
pub use state::{Labels, Lease, Namespace, Snapshot, SnapshotKey, State};
