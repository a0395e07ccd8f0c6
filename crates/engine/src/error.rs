//! Errors of runs and queries.

use std::fmt;

use jiff::Timestamp;
use reclaim_model::{
    FilterError, HumanSize, Inhibitor, Lease, Namespace, ResolvedTarget, RunId, UsageByColumn,
};
use reclaim_plan::{InvalidPlan, NotFound};
use reclaim_store::StoreError;

use crate::containers::ContainerStoreError;
use crate::lease;

/// Why a run ended before it changed anything, or a query failed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The filters of the request are invalid. The cause is part of the text.
    #[error("{0}")]
    Filter(FilterError),
    /// Another run of this process or host holds the guard.
    #[error("{0}")]
    Busy(Busy),
    /// A command that runs on the host forbids it: `reclaim inhibit`.
    #[error("{0}")]
    Inhibited(Box<Inhibitor>),
    /// The namespace does not exist.
    #[error(
        "namespace `{namespace}` does not exist; existing: {}",
        namespaces(existing)
    )]
    UnknownNamespace {
        /// The requested one.
        namespace: Namespace,
        /// The namespaces that exist.
        existing: Vec<Namespace>,
    },
    /// The task of the run ended without a report. The next run restores what it removed.
    #[error("the run ended without a report")]
    Ended,
    /// The caller cancelled it before it changed anything.
    #[error("stopped before anything was removed")]
    Cancelled,
    /// containerd could not be listed completely, or the guard could not be taken.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The disk is too full for a hold, and nothing is removed without one.
    #[error(
        "nothing was removed: the disk is too full to hold even one image; free a few kilobytes"
    )]
    DiskFull(#[source] StoreError),
    /// A container store could not be read, so the images in use are unknown.
    #[error("list {store}")]
    Containers {
        /// The name of the container store.
        store: String,
        /// The cause.
        #[source]
        source: ContainerStoreError,
    },
    /// The plan did not pass its check.
    #[error("refused: {0}")]
    Check(InvalidPlan),
    /// Removing all candidates would not free as much as was requested.
    #[error(
        "{} cannot be freed, only {}",
        _0.target,
        HumanSize(_0.available)
    )]
    TargetNotMet(Box<Unmet>),
    /// The filesystem of a target is unknown: its path is on none of containerd's, or there is no
    /// path and none can be measured.
    #[error("the filesystem to free is unknown: {why}")]
    UnknownFilesystem {
        /// The cause.
        why: String,
    },
    /// The name of a query matches nothing, or several things.
    #[error(transparent)]
    NotFound(NotFound),
    /// There is no hold of this run.
    #[error(
        "run `{run}` has no hold in namespace `{namespace}`; runs with a hold: {}",
        runs(held)
    )]
    UnknownRun {
        /// The namespace.
        namespace: Namespace,
        /// The requested run, or `latest`.
        run: String,
        /// The runs that have a hold.
        held: Vec<RunId>,
    },
    /// The hold of a run has expired, and its content was collected.
    #[error(
        "restore image `{name}`: its content is gone, because the hold of run {run} has expired"
    )]
    ContentGone {
        /// The run.
        run: RunId,
        /// The image.
        name: String,
    },
    /// The hold of a run has no record of this name.
    #[error("run {run} removed no image `{name}`")]
    NotInRun {
        /// The run.
        run: RunId,
        /// The requested name.
        name: String,
    },
}

fn namespaces(namespaces: &[Namespace]) -> String {
    let names: Vec<&str> = namespaces.iter().map(Namespace::as_str).collect();
    or_none(&names.join(", "))
}

fn runs(runs: &[RunId]) -> String {
    let names: Vec<&str> = runs.iter().map(|run| run.0.as_str()).collect();
    or_none(&names.join(", "))
}

fn or_none(list: &str) -> String {
    (if list.is_empty() { "none" } else { list }).to_owned()
}

/// A target for freed space that cannot be met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmet {
    /// What was to be freed.
    pub target: ResolvedTarget,
    /// The bytes that removing all candidates would free.
    pub available: u64,
    /// What uses the rest of the namespace's bytes.
    pub usage: UsageByColumn,
}

/// Another run holds the guard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Busy {
    /// The namespace.
    pub namespace: Namespace,
    /// The run, if its lease names it.
    pub run: Option<RunId>,
    /// When it began.
    pub since: Option<Timestamp>,
    /// How many records it has removed, and how many it removes in total.
    pub progress: Option<(usize, usize)>,
    /// How many callers wait for it already, if the queue is full.
    pub waiting: Option<usize>,
}

impl Busy {
    /// Returns a run of this process.
    pub(crate) fn of_this_process(namespace: &Namespace) -> Self {
        Self {
            namespace: namespace.clone(),
            run: None,
            since: None,
            progress: None,
            waiting: None,
        }
    }

    /// Returns the run that created the guard's lease, as far as the lease names it.
    pub(crate) fn of_lease(namespace: &Namespace, lease: Option<&Lease>) -> Self {
        Self {
            run: lease.and_then(lease::run),
            since: lease.and_then(lease::started),
            ..Self::of_this_process(namespace)
        }
    }
}

impl fmt::Display for Busy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            namespace,
            run,
            since,
            progress,
            waiting,
        } = self;
        write!(
            formatter,
            "a prune operation is already running in namespace `{namespace}`"
        )?;
        if let Some(run) = run {
            write!(formatter, ", run {run}")?;
        }
        if let Some(since) = since {
            write!(formatter, ", since {since:.0}")?;
        }
        if let Some((done, of)) = progress {
            write!(formatter, ", {done} of {of} images removed")?;
        }
        if let Some(waiting) = waiting {
            write!(formatter, "; {waiting} callers wait for it already")?;
        }
        Ok(())
    }
}
