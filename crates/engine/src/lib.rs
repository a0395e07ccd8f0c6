//! One run, from request to report, and what it needs: the guards, the hold, the second look,
//! and the container stores.
//!
//! Begin with [`Engine`]. An embedder adds its own containers through [`ContainerStore`].

mod catalog;
mod clock;
mod confirm;
mod containers;
#[cfg(feature = "docker")]
mod docker;
mod engine;
mod execute;
mod guard;
mod hold;
mod host_guard;
mod journal;
mod lease_labels;
mod named;
mod options;
mod owner;
mod policy;
mod preview;
mod progress;
mod projects;
mod prune;
mod remove;
mod retry;
mod second_look;
mod survey;
mod target;
mod undo;
mod unlisted;
mod unpin;

pub use catalog::Listing;
pub use clock::now;
pub use containers::{
    ContainerStore, ContainerStoreError, ContainerdContainers, InMemoryContainers, OwnerList,
    OwnerName, OwnerNameError, RegisterError, RegisteredContainers, TimeToLive,
};
#[cfg(feature = "docker")]
pub use docker::{DockerContainers, DockerEngine, DockerError};
pub use engine::{Engine, RunError};
pub use guard::{PruneGuard, PruneRunning};
pub use hold::Hold;
pub use host_guard::Busy;
pub use options::RunOptions;
pub use policy::{Cron, CronError, Policy, Pressure, Schedule};
pub use preview::Preview;
pub use progress::{Progress, ProgressSink, no_progress};
pub use projects::ProjectUsage;
pub use prune::Controls;
pub use reclaim_plan::{
    Account, Answer, Catalog, CatalogConfig, CatalogImage, CatalogManifest, Column, DiskUsage,
    Fate, Finding, Held, ImageSize, ImageUsage, ImageVerdict, NamespaceUsage, NotFound, Thing,
    ThingKind,
};
pub use reclaim_store::ConnectError;
pub use target::Unmet;
pub use undo::Undone;
pub use unlisted::{NoDockerEngine, UnlistedDocker};
