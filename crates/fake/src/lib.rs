//! A containerd in memory, for tests of its clients: its API for images, content, snapshots,
//! containers and leases, its events and its garbage collection, without a process, a disk or root.
//!
//! Give [`Fake::channel`] to the client under test, and read and change the state of the server in the
//! test with [`Fake::look`] and [`Fake::change`]:
//!
//! ```
//! use reclaim_fake::api::services::v1::ListImagesRequest;
//! use reclaim_fake::api::services::v1::images_client::ImagesClient;
//! use reclaim_fake::{Fake, Image, Labels, Layer};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let fake = Fake::new("2.1.9");
//! let now = fake.now();
//! fake.change(|state| {
//!     // As after a pull: blobs, snapshots and a record.
//!     let image = Image::new(vec![Layer::of("files")], &Labels::new());
//!     image.store(state, "default", "overlayfs", None);
//!     state.put_image("default", image.record("docker.io/library/app:1"), now);
//! });
//!
//! // Any client of containerd's API works on the channel.
//! let mut images = ImagesClient::new(fake.channel());
//! let mut request = tonic::Request::new(ListImagesRequest::default());
//! let namespace = "default".parse()?;
//! request.metadata_mut().insert("containerd-namespace", namespace);
//! let listed = images.list(request).await?.into_inner().images;
//! assert_eq!(listed[0].name, "docker.io/library/app:1");
//!
//! // An image record keeps its content. Without the record, a collection removes it.
//! fake.change(|state| state.remove_image("default", "docker.io/library/app:1"));
//! fake.collect();
//! assert!(fake.look(|state| state.namespaces["default"].content.is_empty()));
//! # Ok(())
//! # }
//! ```
//!
//! An engine that embeds `reclaim-engine` passes the channel to `Containerd::from_channel`; see
//! `docs/engines.md`.
//!
//! - [`Fake::on_call`] makes calls fail, hang or get lost; [`Fake::stop`] and [`Fake::start`] restart
//!   the server, which keeps its state.
//! - With tokio's paused time, and a clock that follows it ([`Fake::with_clock`]), days pass in
//!   seconds.
//! - It runs no containers: [`State::put_container`] and [`State::set_running`] say that they run.
//!
//! The collection follows the rules of the given version of containerd. `tests/exact` compares it with
//! a real containerd: both get the same random stores, and must collect the same.

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
