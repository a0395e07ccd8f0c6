//! Private real containerd, image builder and engine fixtures for tests.
//!
//! A garbage collector must be tested on a real store: [`Containerd`] is the real daemon, private to
//! one test and removed after it. [`NamespaceClient`] is a client with typed helpers. [`image()`] and
//! [`index()`] build images as a pull does, with the labels that containerd's collector follows.
//! Helpers such as [`NamespaceClient::nerdctl_container`] create containers as nerdctl, Docker and
//! Kubernetes represent them. They run nothing: to the collector, a container is its records.
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
//! - [`Cri`] is a client of the CRI plugin, as the kubelet is; [`Registry`] serves images to pull.
//! - [`KubeletDirectory`] has the pull records of a kubelet.
//! - [`ProxySnapshotter`] is a remote snapshotter, which can be made to fail.
//! - [`ManyImages`] is the exception, a fake: it lists more images than a test could put into a
//!   real store.
//! - [`SmallDisk`] is a filesystem that can be filled to the last block.
//! - [`fault`] is a proxy between a client and the daemon that makes chosen calls fail.
//!
//! # Errors and panics
//!
//! Calls of containerd return its [`tonic::Status`], because tests check the code. Setting up
//! (starting the daemon, reading its directory) panics with the reason, and with the end of
//! containerd's log where that helps.
//!
//! # What this crate never does
//!
//! It never connects to a containerd that it did not start, and never ends a process by name.

#![expect(
    clippy::missing_panics_doc,
    clippy::missing_errors_doc,
    reason = "described above for the whole crate"
)]

mod api_server;
mod browser;
mod containerd;
mod cri;
mod disk;
mod docker_registry;
mod dockerd;
mod engine;
mod env;
pub mod fault;
mod image;
mod kubelet;
mod labels;
mod many_images;
mod namespace;
mod random;
mod registry;
mod snapshotter;

pub use crate::api_server::{ApiServer, ServerMode};
pub use crate::browser::Browser;
pub use crate::containerd::{Containerd, ContainerdBuilder, Prepares, Version, busybox, signal};
pub use crate::cri::{Cri, CriImage, Pod};
pub use crate::disk::{Left, SmallDisk, Used};
pub use crate::docker_registry::{Access, DockerRegistry};
pub use crate::dockerd::Dockerd;
pub use crate::env::{number_from_env, select_faults};
pub use crate::image::{
    BuiltImage, BuiltManifest, Format, ImageBuilder, IndexBuilder, Layer, Manifest, host_platform,
    image, index,
};
pub use crate::kubelet::KubeletDirectory;
pub use crate::labels::{Labels, labels};
pub use crate::many_images::ManyImages;
pub use crate::namespace::{
    BlobInfo, ContainerRecord, Deletion, Descriptor, ImageRecord, LeaseResource, NamespaceClient,
    NewContainer, NewLease, SnapshotInfo, SnapshotKind, digest_of,
};
pub use crate::random::{CROSSED, Dice, ObjectKind, RandomStore, StoreObject};
pub use crate::registry::Registry;
pub use crate::snapshotter::{Health, ProxySnapshotter};
pub use containerd_client::types::Mount;
pub use rustix::process::Signal;
pub use tonic::Status;
