//! One run, from request to report, and what it needs: the guards, the hold, the second look,
//! and the container stores.
//!
//! # For whoever embeds it
//!
//! An [`Engine`] works on one containerd and lets one run go on at a time. It knows the containers
//! of containerd by itself; those that containerd has no record of it learns from
//! [`ContainerStore`]s. Bring your own, or use one of these:
//!
//! - [`InMemoryContainers`]: what this process registers. Register a container before you create
//!   it, and take it off when nothing of it is left.
//! - [`RegisteredContainers`]: what others register, on disk, with a time to live after which it
//!   goes on keeping images and is told about.
//! - `DockerContainers` (feature `docker`): those of Docker Engines, stopped ones too.
//!
//! A store that cannot be read stops a run before anything is removed: what it would have named is
//! unknown, and unknown means in use.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use reclaim_engine::{Controls, Engine, InMemoryContainers, RunOptions, no_progress};
//! use reclaim_model::{BuildHistory, Container, PruneFilters, PruneRequest};
//! use tokio_util::sync::CancellationToken;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let containers = Arc::new(InMemoryContainers::new());
//! let engine = Engine::connect("/run/containerd/containerd.sock").await?;
//! let engine = engine.with_containers(Arc::clone(&containers) as _);
//!
//! let namespace = "default".parse()?;
//! let web = Container {
//!     id: "web".to_owned(),
//!     image: "app:1".to_owned(),
//!     ..Container::default()
//! };
//! containers.upsert(&namespace, web);
//!
//! let unused = PruneFilters {
//!     dangling: Some(false),
//!     ..PruneFilters::default()
//! };
//! let request = PruneRequest {
//!     namespace,
//!     selection: unused.into(),
//!     target: None,
//!     may_empty_namespace: false,
//!     may_lack_namespace: true,
//!     history: BuildHistory::Keep,
//! };
//! // What would go, what stays and why, to the byte; nothing is changed.
//! let preview = engine.preview(&request, &no_progress).await?;
//! println!("{:?}", preview.report().estimate);
//! // Only what was shown goes, and of that only what still may.
//! let controls = Controls {
//!     options: &RunOptions::default(),
//!     progress: &no_progress,
//!     cancel: &CancellationToken::new(),
//! };
//! let report = engine.prune(&request, Some(&preview.plan), controls).await?;
//! for failed in &report.failed {
//!     eprintln!("{}: {}", failed.name, failed.error);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! All futures may be sent between threads, so a run can be spawned: it should outlive whoever
//! asked for it. Stop it by its token, not by dropping it; the report of every run, by whatever
//! door it came, is heard by [`Engine::reports`].
//!
//! `reclaim-api` has the routes of Docker's Engine API and a gRPC service on top of this, to be
//! mounted on a server of yours.

mod batch_hold;
mod cancel;
mod claim;
mod confirm;
mod containers;
mod controls;
#[cfg(feature = "docker")]
mod docker;
mod engine;
mod error;
mod execute;
#[cfg(test)]
mod fixture;
mod full_disk;
mod guard;
mod handle;
mod health;
mod heartbeat;
mod hold;
mod host_guard;
mod identity;
mod journal;
mod kubernetes;
mod lease;
mod measure;
mod named;
mod off_thread;
mod outcomes;
mod owner;
mod pin;
mod presence;
mod preview;
mod prune;
mod query;
mod remove;
mod restore;
mod retry;
mod run;
mod run_lock;
mod second_look;
pub mod state;
mod stranded;
mod undo;
mod unfinished;
mod unlisted;
mod unpin;

pub use cancel::unless_cancelled;
pub use containers::{
    ContainerStore, ContainerStoreError, ContainerdContainers, InMemoryContainers, OwnerList,
    OwnerName, OwnerNameError, RegisterError, RegisteredContainers, TimeToLive,
};
pub use controls::{Controls, Progress, ProgressSink, RunOptions, no_progress};
#[cfg(feature = "docker")]
pub use docker::{DockerContainers, DockerEngine, DockerError};
pub use engine::{Engine, LastUseSource};
pub use error::{Busy, RunError, Unmet};
pub use guard::{PruneGuard, PruneRunning};
pub use handle::RunHandle;
pub use health::Health;
pub use heartbeat::Heartbeat;
pub use hold::Hold;
pub use kubernetes::{
    ContainerdConfig, ContainerdFile, ContainerdFileError, DEFAULT_SANDBOX_IMAGES,
    KUBELET_NAMESPACE, NeededImages, SandboxImages, read_sandbox_images, read_text,
};
pub use off_thread::{Shared, blocking};
pub use preview::Preview;
pub use query::Listing;
pub use reclaim_plan::{
    Chosen, ConfigDetails, DetailedImages, Existence, ImageDetails, InvalidPlan, Listed,
    ManifestDetails, NotFound, choose,
};
#[doc(hidden)]
pub use reclaim_store::set_deadline_for_test;
pub use reclaim_store::{Clock, ConnectError, now};
pub use undo::Undone;
pub use unlisted::{NoDockerEngine, UnlistedDocker};
