//! Events about this node for policy runs that failed or did not reach the low watermark.
//!
//! Sending never delays a run, and a failure to send is only logged: the history and the log have the
//! same run.

use std::sync::OnceLock;

use reclaim_fleet::{NodeEvent, NodeEvents};
use reclaim_maintenance::{PolicyOutcome, PolicyRun};
use reclaim_model::chain;
use tokio::sync::mpsc;
use tracing::{debug, warn};

use crate::config::Fleet;
use crate::fleet_lock::{FleetError, node_of};

/// How many Events wait for a slow API server. More are dropped.
const QUEUED: usize = 16;

/// The Events that wait to be sent. Dropping it ends the task that sends them.
pub(crate) struct NodeEventQueue {
    fleet: Fleet,
    /// Starts with the first Event, because most commands have none.
    events: OnceLock<mpsc::Sender<NodeEvent>>,
}

impl NodeEventQueue {
    /// Creates the queue of Events about the node of `fleet`.
    pub(crate) fn new(fleet: Fleet) -> Self {
        Self {
            fleet,
            events: OnceLock::new(),
        }
    }

    /// Puts the Event of a run into the queue, if it has one.
    pub(crate) fn put(&self, run: &PolicyRun) {
        let Some(event) = event(run) else {
            return;
        };
        let events = self.events.get_or_init(|| {
            let (events, waiting) = mpsc::channel(QUEUED);
            tokio::spawn(send(self.fleet.clone(), waiting));
            events
        });
        if events.try_send(event).is_err() {
            debug!(policy = %run.policy, "the API server is too slow; one event is dropped");
        }
    }
}

async fn send(fleet: Fleet, mut waiting: mpsc::Receiver<NodeEvent>) {
    let mut connected = None;
    let mut is_logged = false;
    while let Some(event) = waiting.recv().await {
        let reported = report(&fleet, &mut connected, event).await;
        is_logged = match reported {
            Ok(()) => false,
            Err(error) if is_logged => {
                debug!(
                    error = chain(&error),
                    "cannot send an event about this node"
                );
                true
            }
            Err(error) => {
                warn!(
                    error = chain(&error),
                    "cannot send an event about this node"
                );
                true
            }
        };
    }
}

/// Sends an Event, and connects before the first one.
async fn report(
    fleet: &Fleet,
    connected: &mut Option<NodeEvents>,
    event: NodeEvent,
) -> Result<(), FleetError> {
    let events = match connected {
        Some(events) => events,
        None => connected.insert(NodeEvents::connect(node_of(fleet.node.clone())?).await?),
    };
    Ok(events.report(event).await?)
}

/// Returns the Event of a run; `None` if operators need not look at it.
fn event(run: &PolicyRun) -> Option<NodeEvent> {
    if run.is_rehearsal() {
        return None;
    }
    let policy = &run.policy;
    let (reason, note) = match run.outcome {
        PolicyOutcome::Failed => {
            let error = run.error.as_deref().unwrap_or("unknown error");
            let note = format!("Policy {policy} failed: {error}");
            ("ReclaimRunFailed", note)
        }
        PolicyOutcome::Unmet => {
            let missing = run.outstanding();
            let missing: Vec<String> = missing.iter().map(ToString::to_string).collect();
            let note = format!(
                "Policy {policy} did not reach the low watermark. Still missing: {}",
                missing.join(", ")
            );
            ("ReclaimTargetUnmet", note)
        }
        PolicyOutcome::Nothing
        | PolicyOutcome::Done
        | PolicyOutcome::Capped
        | PolicyOutcome::Partial
        | PolicyOutcome::Busy
        | PolicyOutcome::Inhibited => return None,
    };
    Some(NodeEvent {
        reason,
        subject: policy.to_string(),
        note,
    })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use reclaim_maintenance::Trigger;
    use reclaim_model::Mode;

    use super::*;

    #[test]
    fn only_failed_and_unmet_runs_become_events() {
        let run = |outcome, trigger, mode| PolicyRun {
            outcome,
            error: Some("containerd is away".to_owned()),
            ..PolicyRun::begun("p".parse().unwrap(), trigger, mode, Timestamp::UNIX_EPOCH)
        };
        let reasons: Vec<_> = PolicyOutcome::ALL
            .into_iter()
            .filter_map(|outcome| event(&run(outcome, Trigger::Schedule, Mode::Apply)))
            .map(|event| event.reason)
            .collect();
        assert_eq!(reasons, ["ReclaimTargetUnmet", "ReclaimRunFailed"]);
        let failed = run(PolicyOutcome::Failed, Trigger::Demand, Mode::Apply);
        let note = event(&failed).unwrap().note;
        assert_eq!(note, "Policy p failed: containerd is away");
        let rehearsal = run(PolicyOutcome::Failed, Trigger::Demand, Mode::DryRun);
        assert_eq!(event(&rehearsal), None);
    }
}
