//! Why a run fails before it changes anything.

use std::fmt;

use jiff::Timestamp;
use reclaim_model::{FilterError, HumanSize, Lease, Namespace, RunId, UsageByColumn};
use reclaim_plan::{InvalidPlan, NotFound};
use reclaim_store::StoreError;

use crate::containers::ContainerStoreError;
use crate::lease;

/// Why a run ended before it changed anything.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The filters of the request mean nothing. The cause is part of the text.
    #[error("{0}")]
    Filter(FilterError),
    /// Another run of this process or host holds the guard.
    #[error("{0}")]
    Busy(Busy),
    /// The namespace does not exist.
    #[error(
        "namespace `{namespace}` does not exist; those that do: {}",
        listed(existing)
    )]
    UnknownNamespace {
        /// The one that was asked for.
        namespace: Namespace,
        /// Those that the server has.
        existing: Vec<Namespace>,
    },
    /// The task of the run ended without a report. What it removed is held, and restored by the
    /// next run.
    #[error("the run ended without a report")]
    Ended,
    /// It was stopped before it changed anything.
    #[error("stopped before anything was removed")]
    Cancelled,
    /// The store could not be listed whole, or the guard not be taken.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The disk is so full that nothing can be held, and so nothing may be removed.
    #[error("nothing was removed: the disk is too full to write even what holds one image")]
    DiskFull(#[source] StoreError),
    /// A container store could not be read; what it would have named is unknown.
    #[error("list {store}")]
    Containers {
        /// Its name.
        store: String,
        /// Why.
        #[source]
        source: ContainerStoreError,
    },
    /// The plan did not pass its own check.
    #[error("refused: {0}")]
    Check(InvalidPlan),
    /// Removing everything that may go would not free as much as was asked for.
    #[error(
        "{} cannot be freed, only {}",
        HumanSize(_0.target),
        HumanSize(_0.available)
    )]
    TargetNotMet(Box<Unmet>),
    /// The size of the filesystem with the content is not known, so a percentage means nothing.
    #[error("the filesystem of the content store cannot be seen: {why}")]
    UnknownFilesystem {
        /// What is in the way.
        why: String,
    },
    /// What was asked about is not there, or not one thing.
    #[error(transparent)]
    NotFound(NotFound),
    /// There is no hold of that run.
    #[error(
        "nothing is held of run `{run}` in namespace `{namespace}`; held: {}",
        runs(held)
    )]
    UnknownRun {
        /// Where.
        namespace: Namespace,
        /// The run that was asked for, or `latest`.
        run: String,
        /// Those of which something is held.
        held: Vec<RunId>,
    },
    /// What a run held has expired, and been collected.
    #[error(
        "restore image `{name}`: its content is gone, because the hold of run {run} has expired"
    )]
    ContentGone {
        /// The run.
        run: RunId,
        /// The image.
        name: String,
    },
    /// A run holds no record of that name.
    #[error("run {run} removed no image `{name}`")]
    NotInRun {
        /// The run.
        run: RunId,
        /// The name that was asked for.
        name: String,
    },
}

fn listed(namespaces: &[Namespace]) -> String {
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

/// A target that cannot be met, with the reasons.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmet {
    /// What was asked for, in bytes.
    pub target: u64,
    /// What removing every image that may go would free.
    pub available: u64,
    /// What holds the rest of the namespace.
    pub usage: UsageByColumn,
}

/// Who holds the guard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Busy {
    /// Where.
    pub namespace: Namespace,
    /// Which run, if its lease says so.
    pub run: Option<RunId>,
    /// Since when.
    pub since: Option<Timestamp>,
    /// How far it is: so many of so many records are removed.
    pub progress: Option<(usize, usize)>,
    /// How many callers wait for its end already, if that is why another may not.
    pub waiting: Option<usize>,
}

impl Busy {
    /// A run of this process, of which nothing else is known.
    pub(crate) fn of_this_process(namespace: &Namespace) -> Self {
        Self {
            namespace: namespace.clone(),
            run: None,
            since: None,
            progress: None,
            waiting: None,
        }
    }

    /// The run that made the guard's lease, as far as the lease says.
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
