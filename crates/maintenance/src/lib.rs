//! Maintenance policies: what they are, when they run, and what a run of one does.
//!
//! Deciding is apart from doing. When a policy is due ([`timetable`]) and how much has to go
//! ([`Excess`]) are computed from values that are passed in; `reclaim-plan` selects the images. A
//! run of a policy ([`Maintenance::run`]) consists of ordinary runs of the engine.

// The macro `settings!` names this crate, here too.
extern crate self as reclaim_maintenance;

mod cluster_lock;
mod explain;
mod filling;
mod headroom;
mod history;
mod holds;
mod io_pressure;
mod kubelet;
mod last_use;
mod late;
mod observer;
mod policy;
mod policy_run;
mod pressure;
mod progress;
mod quiet;
mod registry_lookup;
mod registry_source;
mod requests;
mod rules;
mod run;
mod scheduler;
pub mod settings;
mod time;
mod timeline;
mod timetable;
mod trial;

pub use cluster_lock::{ClusterLock, ClusterLockGuard, SharedLock};
pub use explain::{NamespaceForecast, PolicyForecast};
pub use filling::{
    FilesystemForecast, FillForecast, FillHistory, FillRate, FillSample, FillTrend, HighMark, Trend,
};
pub use headroom::{Headroom, HeadroomSize};
pub use history::{FilesystemRecord, HistoryError, NamespaceRun, RunHistory, RunRecord};
pub use kubelet::{
    Available, KubeletError, KubeletThresholds, kubelet_overlaps, kubelet_warnings, read_kubelet,
};
pub use last_use::{IndexError, LastUseIndex, Observed};
pub use late::LateRoom;
pub use observer::MaintenanceObserver;
pub use policy::{Cron, CronError, Policy, PolicySettings, Pressure, Schedule, UnknownPolicy};
pub use policy_run::{Breakdown, PolicyOutcome, PolicyRun, ReleasedHold, Trigger};
pub use pressure::{Excess, Measure, Occupied, goals, outstanding};
pub use quiet::QuietSteps;
pub use reclaim_registry::Registries;
pub use reclaim_store::{Filesystems, Unmeasured};
pub use registry_source::RegistrySource;
pub use requests::{RequestError, RequestedRuns, SchedulerHandle};
pub use run::Maintenance;
pub use scheduler::{PolicySet, Scheduler};
pub use time::{ClockReading, HostClock, Moment};
pub use timeline::{
    ImageUse, ObjectKey, Observation, RemovedImage, SeenConfig, SeenImage, SeenName, SeenObject,
    Timeline,
};
pub use trial::{
    FillMark, FillPoint, PolicyTrial, TriedFilesystem, TriedImage, TriedRun, try_policies,
};
