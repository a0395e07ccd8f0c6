//! One run, from request to report, and what it needs: the guards and the container stores.

mod clock;
mod containers;
mod guard;
mod host_guard;
mod owner;
mod progress;
mod run;

pub use clock::now;
pub use containers::{
    ContainerStore, ContainerStoreError, ContainerdContainers, InMemoryContainers,
};
pub use guard::{PruneGuard, PruneRunning};
pub use host_guard::Busy;
pub use progress::{Progress, ProgressSink, no_progress};
pub use reclaim_plan::Finding;
pub use run::{Engine, Preview, RunError};
