//! Private real containerd, image builder and engine fixtures for tests.
//!
//! Tests of a garbage collector are worth what the store below them is worth, so there is no
//! fake here: [`Containerd`] is the real daemon, private to one test and gone after it.
//! [`NamespaceClient`] speaks its API with typed helpers. [`image()`] and [`index()`] build images
//! as pullers do, with the labels that containerd's collector follows. The `engine` helpers of
//! [`NamespaceClient`] leave containers behind in the shapes in which nerdctl, Docker and
//! Kubernetes leave them. No container is ever run: to a collector, a container is records.
//!
//! ```no_run
//! # async fn example() -> Result<(), tonic::Status> {
//! use reclaim_testkit::{Containerd, Deletion, Layer, image};
//!
//! let containerd = Containerd::start().await;
//! let namespace = containerd.namespace("default");
//! let app = image("docker.io/library/app:1")
//!     .layers([Layer::named("base", 4096), Layer::random(1, 512)])
//!     .unpack("native")
//!     .build(&namespace)
//!     .await?;
//! namespace.nerdctl_container("web", &app).await?;
//! namespace.delete_image(app.name(), Deletion::Sync).await?;
//! # Ok(())
//! # }
//! ```
//!
//! [`Cri`] asks the CRI plugin as the kubelet does, and [`Registry`] has what it pulls.
//!
//! [`ProxySnapshotter`] is a snapshotter of a process of its own, well or broken.
//!
//! [`ManyImages`] is the exception: it lists more images than a real store could be filled with in
//! a test, and does nothing else.
//!
//! [`SmallDisk`] is a filesystem that can be filled to the last block.
//!
//! [`fault`] is a proxy between a client and the daemon that spoils chosen calls.
//!
//! # Errors and panics
//!
//! What asks containerd returns its [`tonic::Status`], because tests look at the code. What
//! only sets up (starting the daemon, reading its directory) panics with the reason, and with
//! the end of containerd's log where that helps.
//!
//! # What this crate never does
//!
//! It never talks to a containerd that it did not start, and never ends a process by name.

#![expect(
    clippy::missing_panics_doc,
    clippy::missing_errors_doc,
    reason = "both are told once, above, for the whole crate"
)]

mod api_server;
mod asked;
mod containerd;
mod cri;
mod disk;
mod dockerd;
mod engine;
pub mod fault;
mod image;
mod labels;
mod many_images;
mod namespace;
mod random;
mod registry;
mod snapshotter;

pub use crate::api_server::{ApiServer, Mood};
pub use crate::asked::{asked_faults, asked_number};
pub use crate::containerd::{Containerd, ContainerdBuilder, Version, busybox, signal};
pub use crate::cri::{Cri, CriImage, Pod};
pub use crate::disk::{Left, SmallDisk, Used};
pub use crate::dockerd::Dockerd;
pub use crate::image::{
    BuiltImage, BuiltManifest, Format, ImageBuilder, IndexBuilder, Layer, Manifest, image, index,
};
pub use crate::labels::{Labels, labels};
pub use crate::many_images::ManyImages;
pub use crate::namespace::{
    BlobInfo, ContainerRecord, Deletion, Descriptor, ImageRecord, LeaseResource, NamespaceClient,
    NewContainer, NewLease, SnapshotInfo, SnapshotKind, digest_of,
};
pub use crate::random::{CROSSED, Dice, RandomStore, Thing, What};
pub use crate::registry::Registry;
pub use crate::snapshotter::{Health, ProxySnapshotter};
pub use containerd_client::types::Mount;
pub use rustix::process::Signal;
pub use tonic::Status;
