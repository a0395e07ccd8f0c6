#![doc = include_str!("../README.md")]
//!
//! # Runs
//!
//! [`Engine::start`] returns a [`RunHandle`]. Its [`progress`](RunHandle::progress) ends with the run,
//! [`cancel`](RunHandle::cancel) stops the run, and awaiting the handle returns the
//! [`Report`]. Dropping the handle is safe: the run goes on, and its report is sent to
//! [`Engine::reports`], like the report of every run. An engine makes one run at a time; another
//! request gets [`RunError::Busy`] or waits, see [`RunOptions::wait`].
//!
//! # Register your containers
//!
//! The engine reads container records, snapshots and leases from containerd. Containers without any
//! of these come from a [`ContainerStore`]. Use one of these, or write your own:
//!
//! - [`InMemoryContainers`]: containers that this process registers. Register a container before you
//!   create it, and remove it after nothing of it is left.
//! - [`RegisteredContainers`]: containers that other processes register, kept on disk. Each list has a
//!   time to live. An expired list still keeps its images, and every report warns of it.
//! - `DockerContainers` (feature `docker`): all containers of Docker Engines, stopped ones too.
//!
//! If a store cannot be read, the run fails before anything is removed.
//!
//! ```
//! use std::sync::Arc;
//!
//! use reclaim_engine::model::Container;
//! use reclaim_engine::{Engine, InMemoryContainers, Namespace, PruneRequest, no_progress};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let fake = reclaim_fake::Fake::new("2.1.9");
//! # let now = fake.now();
//! # fake.change(|state| {
//! #     for name in ["app:1", "app:2"] {
//! #         let layers = vec![reclaim_fake::Layer::of(name)];
//! #         let image = reclaim_fake::Image::new(layers, &reclaim_fake::Labels::new());
//! #         image.store(state, "default", "overlayfs", None);
//! #         let record = image.record(&format!("docker.io/library/{name}"));
//! #         state.put_image("default", record, now);
//! #     }
//! # });
//! # let engine = Engine::new(reclaim_engine::Containerd::from_channel(fake.channel()));
//! let containers = Arc::new(InMemoryContainers::new());
//! let engine = engine.with_containers(Arc::clone(&containers) as _);
//!
//! let namespace: Namespace = "default".parse()?;
//! let web = Container {
//!     id: "web".to_owned(),
//!     image: "app:1".to_owned(),
//!     ..Container::default()
//! };
//! containers.upsert(&namespace, web);
//!
//! // A preview changes nothing. It lists each image with the reason why it goes or stays.
//! let request = PruneRequest::unused(namespace);
//! let preview = engine.preview(&request, &no_progress).await?;
//! assert_eq!(preview.plan.steps[0].image.name, "docker.io/library/app:2");
//! assert_eq!(preview.plan.kept[0].name, "docker.io/library/app:1");
//! assert_eq!(preview.plan.kept[0].holders[0].id, "web");
//! # Ok(())
//! # }
//! ```
//!
//! Pass the plan of a preview to [`Engine::start`] to remove only what it lists, and of that only what
//! may still be removed.
//!
//! # Find your way
//!
//! | You want to | Use |
//! |---|---|
//! | connect | [`Engine::connect`], or [`Engine::new`] with a [`Containerd`] |
//! | prune | [`PruneRequest`], [`Engine::preview`], [`Engine::start`], [`RunOptions`], [`Report`] |
//! | undo a prune, or free what it holds | [`RunOptions::undo_window`], [`Engine::history`], [`Engine::undo`], [`Engine::release`] |
//! | list images and disk usage | [`Engine::images`], [`Engine::listing`], [`Engine::disk_usage`] |
//! | ask why an image stays | [`Engine::why`] |
//! | keep runs from starting | [`Engine::inhibit`], [`Engine::inhibitors`] |
//! | fetch layers again that images lack | [`Engine::restore_layers`], with a [`LayerSource`] |
//! | keep images | [`Engine::pin`], [`Engine::protect`], [`ContainerdConfig`] on nodes of Kubernetes |
//! | serve Docker's API or gRPC | the package `reclaim-api`, whose servers take an [`Engine`] |
//! | test without containerd | the package `reclaim-fake` |
//!
//! The whole data model is [`model`]; types that the engine's functions take and return are here, too.
//! `crates/engine/examples/engine.rs` embeds the engine in a small container engine, and
//! `docs/engines.md` says what an engine has to do.

mod audit;
mod batch_hold;
mod cancel;
mod claim;
mod confirm;
mod containers;
mod controls;
mod cuts;
mod dependents;
#[cfg(feature = "docker")]
mod docker;
mod engine;
mod error;
mod execute;
mod fetch;
#[cfg(test)]
mod fixture;
mod full_disk;
mod grace;
mod guard;
mod handle;
mod health;
mod heartbeat;
mod hold;
mod host_guard;
mod identity;
mod inhibit;
mod journal;
mod kept_holds;
mod kubernetes;
mod last_use;
mod lease;
mod measure;
mod named;
mod namespaces;
mod off_thread;
mod outcomes;
mod owner;
mod pin;
mod presence;
mod preview;
mod protection;
mod prune;
mod query;
mod remove;
mod restore;
mod retry;
mod run;
mod run_lock;
mod second_look;
#[doc(hidden)]
pub mod state;
mod stranded;
mod undo;
mod unfinished;
mod unlisted;
mod why;

// The engine and its runs.
pub use audit::{AuditError, AuditLimits, AuditLog, Audited};
pub use controls::{
    Controls, Progress, ProgressSink, RunOptions, command_name, no_progress, this_process,
};
pub use engine::Engine;
pub use error::{Busy, RunError, Unmet};
pub use grace::Grace;
pub use handle::RunHandle;
pub use preview::{PolicyPreview, Preview};
pub use reclaim_plan::{InvalidPlan, NotFound};
pub use tokio_util::sync::CancellationToken;

// The data model, and the types of it that are in the engine's functions.
pub use reclaim_model as model;
pub use reclaim_model::{
    Answer, Container, Digest, DiskUsage, FilterError, ImageList, Inventory, Namespace, PinOutcome,
    PinRequest, Plan, ProjectList, PruneRequest, Report, RunId,
};

// The connection to containerd.
pub use health::Health;
pub use heartbeat::Heartbeat;
pub use reclaim_store::{CallObserver, Clock, ConnectError, Containerd, EndedCall, StoreError};

// Sources of containers, and of what else is in use.
pub use async_trait::async_trait;
pub use containers::{
    ContainerStore, ContainerStoreError, ContainerdContainers, InMemoryContainers, ListChange,
    OwnerList, OwnerName, OwnerNameError, RegisterError, RegisteredContainers, Renewed, TimeToLive,
};
#[cfg(feature = "docker")]
pub use docker::{
    DockerAddress, DockerAnswer, DockerContainers, DockerEngine, DockerError, DockerStream,
    DockerTls,
};
pub use engine::LastUseSource;
pub use kubernetes::ContainerdConfig;
pub use unlisted::UnlistedDocker;

// Layers that images lack.
pub use fetch::{FetchControls, FetchProgress, LayerSource, SourceError};

// What keeps runs from starting.
pub use inhibit::{InhibitRequest, Inhibition};

// Undo.
pub use hold::Hold;
pub use kept_holds::KeptHold;
pub use undo::Undone;

// Images in detail, as Docker's API shows them.
pub use query::{ContainerList, Listing};
pub use reclaim_plan::{ConfigDetails, DetailedImages, ImageDetails, ManifestDetails};

// For the other packages of Reclaim only. Embedders should not use these: they change without notice.
#[doc(hidden)]
pub use cancel::unless_cancelled;
#[doc(hidden)]
pub use kubernetes::{
    KUBELET_NAMESPACE, SandboxImages, read_all_registry_hosts, read_registry_hosts,
    read_sandbox_images, read_text,
};
#[doc(hidden)]
pub use off_thread::{Shared, blocking};
#[doc(hidden)]
pub use reclaim_plan::{Chosen, Existence, Listed, choose};
#[doc(hidden)]
pub use reclaim_store::{now, set_deadline_for_test};
