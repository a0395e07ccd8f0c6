//! Steps of policies that had nothing to do, and are left out while nothing can have changed that.
//!
//! A step that is left out removes nothing, and one that is made reads and plans everything. So a
//! change that is missed here delays a removal, and never causes one; no delay is longer than
//! [`LONGEST`].
//!
//! What may give a step something to do, and what ends its quiet then:
//!
//! | Change | Ended by |
//! |---|---|
//! | Images, containers and snapshots come, change and go | [`Basis::events`]: events arrived |
//! | Events are lost: the stream breaks, containerd restarts | [`Basis::events`]: no connection, or another one |
//! | The daemon starts, or has another configuration | other [`QuietSteps`] |
//! | `[protect]` is read again | [`Basis::protection`] |
//! | Containers that containerd does not have: of Docker, registered ones that expire | [`Basis::containers`] |
//! | The clock is set, the host was off | [`Basis::clock`] |
//! | Time passes since the last use or a re-pull | [`lasts`]: only until then |
//! | Time passes otherwise, leases expire, registries answer | [`is_lasting`]: the result does not count |
//! | Filesystems fill | the run itself, which measures them first |
//! | Anything else without an event, such as labels of content, containerd's configuration | [`LONGEST`] |

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::SignedDuration;
use reclaim_engine::Engine;
use reclaim_model::{
    Container, HolderKind, KeepReason, Kept, LastUses, Namespace, PolicyName, PolicyPart,
    Protection, Report, chain,
};
use tracing::debug;

use crate::last_use::LastUseIndex;
use crate::policy::Policy;
use crate::time::ClockReading;

/// How long a result counts at most.
const LONGEST: SignedDuration = SignedDuration::from_hours(1);

/// By how much the wall clock may run apart from the time since boot before it counts as set. Within
/// [`LONGEST`] a clock that is synchronized smoothly stays far below.
const CLOCK_SET: SignedDuration = SignedDuration::from_secs(10);

/// How long ago a scan must have found an image unused for the first time. The planner wants two checks
/// that are at most this far apart.
const SECOND_CHECK: SignedDuration = SignedDuration::from_mins(1);

/// What one step of a policy is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step<'s> {
    pub(crate) policy: &'s Policy,
    pub(crate) part: PolicyPart,
    pub(crate) namespace: &'s Namespace,
}

type Key = (PolicyName, PolicyPart, Namespace);

impl Step<'_> {
    fn key(self) -> Key {
        let name = self.policy.name().clone();
        (name, self.part, self.namespace.clone())
    }
}

/// What the result of a step depends on, as far as it is known without listing the store.
#[derive(Debug, Clone)]
pub(crate) struct Basis {
    /// How much the event stream has reported, over all connections.
    events: u64,
    /// The containers of the namespace that containerd has no record of, by ID.
    containers: Vec<Container>,
    /// What the configuration protects.
    protection: Arc<Protection>,
    clock: ClockReading,
}

impl Basis {
    /// Reads it. `None` while no result may count: the event stream is not connected, or a list of
    /// containers cannot be read.
    pub(crate) async fn read(
        engine: &Engine,
        index: &LastUseIndex,
        namespace: &Namespace,
    ) -> Option<Self> {
        let events = index.changes()?;
        let clock = index.clock_reading();
        let protection = engine.protection();
        let mut containers = match engine.registered(namespace).await {
            Ok(containers) => containers,
            Err(error) => {
                debug!(error = chain(&error), "cannot list the containers");
                return None;
            }
        };
        containers.sort_by(|one, other| one.id.cmp(&other.id));
        Some(Self {
            events,
            containers,
            protection,
            clock,
        })
    }

    /// Whether nothing of it has changed. Each reading of a configuration makes another protection.
    fn is_same(&self, now: &Self) -> bool {
        self.events == now.events
            && self.containers == now.containers
            && Arc::ptr_eq(&self.protection, &now.protection)
            && !self.is_clock_set(&now.clock)
    }

    fn is_clock_set(&self, now: &ClockReading) -> bool {
        let passed = now.since_boot.saturating_sub(self.clock.since_boot);
        let shown = now.wall.duration_since(self.clock.wall);
        now.boot != self.clock.boot || shown.saturating_sub(passed).abs() > CLOCK_SET
    }
}

/// The steps that had nothing to do. Runs of all policies of a configuration share it.
#[derive(Debug, Default)]
pub struct QuietSteps(Mutex<BTreeMap<Key, Quiet>>);

/// The result of a step that had nothing to do.
#[derive(Debug)]
struct Quiet {
    /// What it depends on, as read before the step.
    basis: Basis,
    /// How long it counts.
    lasts: SignedDuration,
}

impl QuietSteps {
    /// Whether the last such step had nothing to do, and nothing can have changed that. `now` is what a
    /// step would depend on.
    pub(crate) fn is_quiet(&self, step: Step<'_>, now: &Basis) -> bool {
        let steps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        steps.get(&step.key()).is_some_and(|last| {
            let began = last.basis.clock.since_boot;
            let passed = now.clock.since_boot.saturating_sub(began);
            let is_recent = (SignedDuration::ZERO..last.lasts).contains(&passed);
            is_recent && last.basis.is_same(now)
        })
    }

    /// Notes the result of a step. `before` is what it depends on, and the last uses of the namespace, as
    /// read before it; `None` if the result must not count.
    pub(crate) fn note(&self, step: Step<'_>, before: Option<(Basis, LastUses)>, report: &Report) {
        let quiet = before.and_then(|(basis, uses)| {
            let lasts = lasts(step, report, &uses)?;
            Some(Quiet { basis, lasts })
        });
        let mut steps = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match quiet {
            Some(quiet) => drop(steps.insert(step.key(), quiet)),
            None => drop(steps.remove(&step.key())),
        }
    }
}

/// Returns how long the result of a step counts if nothing else changes; `None` if it does not count.
fn lasts(step: Step<'_>, report: &Report, uses: &LastUses) -> Option<SignedDuration> {
    let Step { policy, part, .. } = step;
    let had_nothing_to_do = part == PolicyPart::Images
        && !report.has_changes()
        && report.refused.is_empty()
        && report.failed.is_empty()
        && report.warnings.is_empty()
        && report.unfinished.is_none();
    if !had_nothing_to_do || !report.kept.iter().all(|kept| is_lasting(kept, policy)) {
        return None;
    }
    let until_due = report.kept.iter().map(|kept| until_due(kept, policy, uses));
    let lasts = until_due.min().unwrap_or(LONGEST).min(LONGEST);
    lasts.is_positive().then_some(lasts)
}

/// Whether an image stays for a reason that time alone does not end, or only at a time that the last use
/// tells.
fn is_lasting(kept: &Kept, policy: &Policy) -> bool {
    match kept.reason {
        KeepReason::NotDangling
        | KeepReason::LabelFilter
        | KeepReason::Pinned
        | KeepReason::Unholdable
        | KeepReason::CriGroup
        | KeepReason::NotNeeded
        | KeepReason::Protected
        | KeepReason::RuleFilter
        | KeepReason::UsedRecently
        | KeepReason::Repulled
        | KeepReason::Newest => true,
        // Leases and sandboxes end without an event.
        KeepReason::InUse => kept
            .holders
            .iter()
            .any(|holder| holder.kind == HolderKind::Container),
        KeepReason::LastCopy => !policy.ask_registry,
        // Time ends these, in ways that are not computed here.
        KeepReason::TooRecent | KeepReason::TooYoung
        // The next run continues.
        | KeepReason::Capped
        // Content and what depends on it come and go without an event.
        | KeepReason::Unreadable
        | KeepReason::UsageUnknown
        | KeepReason::DependentStays
        // These are not reasons of a policy's step for whole images.
        | KeepReason::NotConfirmed
        | KeepReason::NotNamed
        | KeepReason::NotForced
        | KeepReason::SharedPart
        | KeepReason::LayersMissing
        | KeepReason::NotUnpacked
        | KeepReason::LastPlatform
        | KeepReason::DockerLayers
        | KeepReason::RegistryMirror
        | KeepReason::NothingToFree => false,
    }
}

/// Returns how much later an image may be due by its last use, if it is not used meanwhile.
fn until_due(kept: &Kept, policy: &Policy, uses: &LastUses) -> SignedDuration {
    let max_unused = policy.max_unused.map(|age| {
        let age = SignedDuration::try_from(age);
        age.unwrap_or(SignedDuration::MAX)
    });
    let ages = [max_unused, Some(policy.rule.idle())];
    let ages = ages
        .into_iter()
        .flatten()
        .filter(SignedDuration::is_positive);
    let Some(seen) = uses.targets.get(&kept.target) else {
        // It counts as used now.
        return ages.min().unwrap_or(SignedDuration::MAX);
    };
    let unused = uses.now.duration_since(seen.last_used);
    let is_seen_twice = seen
        .unused_since
        .is_some_and(|since| uses.now.duration_since(since) >= SECOND_CHECK);
    let by_use = ages.filter_map(|age| match age.saturating_sub(unused) {
        left if left.is_positive() => Some(left),
        _ if is_seen_twice => None,
        // A scan makes it due.
        _ => Some(SignedDuration::ZERO),
    });
    let spared = seen
        .spared_until
        .map(|until| until.duration_since(uses.now))
        .filter(SignedDuration::is_positive);
    by_use.chain(spared).min().unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests;
