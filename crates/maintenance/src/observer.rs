//! What the tasks of this crate report while they run.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use reclaim_model::{Namespace, PolicyName};
use reclaim_store::Filesystems;

use crate::filling::FillForecast;
use crate::policy_run::PolicyRun;

/// Receives what the scheduler and the other tasks measure and do. It is called between two steps of
/// a task, so it must not block. Each method does nothing by default.
pub trait MaintenanceObserver: fmt::Debug + Send + Sync {
    /// The filesystems were measured; `None` if containerd did not answer.
    fn measured(&self, _filesystems: Option<&Filesystems>) {}

    /// The filesystems were measured, and their history evaluated.
    fn forecast(&self, _forecast: &FillForecast) {}

    /// A policy is due; whether a command keeps it from running.
    fn inhibited(&self, _is_inhibited: bool) {}

    /// A policy ran.
    fn ran(&self, _run: &PolicyRun) {}

    /// A policy is due at this time; `None` if it runs only on request.
    fn due(&self, _policy: &PolicyName, _at: Option<Timestamp>) {}

    /// A policy waits for the cluster lock since this time; `None` when the wait is over.
    fn waits_for_lock(&self, _since: Option<Timestamp>) {}

    /// The cluster lock could not be acquired, so that a policy did not run.
    fn lock_failed(&self) {}

    /// containerd's event stream was connected or lost.
    fn event_stream(&self, _is_connected: bool) {}

    /// containerd was scanned. Each namespace has the number of its image records that a prune keeps
    /// because their image cannot be read.
    fn scanned(&self, _unreadable: &BTreeMap<Namespace, usize>) {}

    /// The holds of all namespaces were listed: how many bytes their ends free, by estimates.
    fn held(&self, _bytes: u64) {}
}

/// Observes nothing.
impl MaintenanceObserver for () {}

/// Reports to each of several observers, in their order.
impl MaintenanceObserver for Vec<Arc<dyn MaintenanceObserver>> {
    fn measured(&self, filesystems: Option<&Filesystems>) {
        for each in self {
            each.measured(filesystems);
        }
    }

    fn forecast(&self, forecast: &FillForecast) {
        for each in self {
            each.forecast(forecast);
        }
    }

    fn inhibited(&self, is_inhibited: bool) {
        for each in self {
            each.inhibited(is_inhibited);
        }
    }

    fn ran(&self, run: &PolicyRun) {
        for each in self {
            each.ran(run);
        }
    }

    fn due(&self, policy: &PolicyName, at: Option<Timestamp>) {
        for each in self {
            each.due(policy, at);
        }
    }

    fn waits_for_lock(&self, since: Option<Timestamp>) {
        for each in self {
            each.waits_for_lock(since);
        }
    }

    fn lock_failed(&self) {
        for each in self {
            each.lock_failed();
        }
    }

    fn event_stream(&self, is_connected: bool) {
        for each in self {
            each.event_stream(is_connected);
        }
    }

    fn scanned(&self, unreadable: &BTreeMap<Namespace, usize>) {
        for each in self {
            each.scanned(unreadable);
        }
    }

    fn held(&self, bytes: u64) {
        for each in self {
            each.held(bytes);
        }
    }
}
