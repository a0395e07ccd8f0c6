//! `reclaim policy try`: replays the timeline against policies.
//!
//! The replay makes the host of each observation as it would be if the tried policies had run instead of
//! those that did, and runs them on it. What a policy selects, when it is due, and how much has to go is
//! decided by the code of real runs: the timetable, [`Pressure`](crate::Pressure), `PolicyProgress`, the
//! rules of last use, and the planner. Only what those read is simulated ([`host`]), and only
//! what they write is counted here.
//!
//! Pure: no clock, no call.

mod filling;
mod holdings;
mod host;
mod inventory;
mod run;

use jiff::{SignedDuration, Timestamp};
use reclaim_model::{Digest, Namespace, PolicyName, PolicyPart, Protection};
use serde::{Deserialize, Serialize};

use crate::policy::{Policy, Schedule};
use crate::policy_run::PolicyOutcome;
use crate::time::Moment;
use crate::timeline::{Observation, Timeline};
use crate::timetable::Timetable;
use host::TriedHost;

pub use filling::{FillMark, FillPoint, TriedFilesystem};

/// How many images all moments that are evaluated have together, at most. Of a longer replay only every
/// so many moments are evaluated.
const MAX_WORK: usize = 5_000_000;

/// A time without any observation that is reported.
const GAP: SignedDuration = SignedDuration::from_hours(24);

/// How often a policy without a schedule is tried.
const ON_DEMAND: std::time::Duration = std::time::Duration::from_secs(24 * 60 * 60);

/// What policies would have done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyTrial {
    /// The policies that were tried, in their order.
    pub policies: Vec<PolicyName>,
    /// Since when the images and their uses are known, by the wall clock; `None` if nothing is recorded.
    pub since: Option<Timestamp>,
    /// Until when.
    pub until: Option<Timestamp>,
    /// How many images would have been removed; one that was pulled again may count again.
    pub removed_images: usize,
    /// How many bytes that would have freed.
    pub freed_bytes: u64,
    /// How many of them would have been pulled again.
    pub pulled_again: usize,
    /// How many bytes would have been pulled again.
    pub pulled_bytes: u64,
    /// The runs that would have removed something, or missed their low mark, oldest first.
    pub runs: Vec<TriedRun>,
    /// The images that would have been removed, oldest removal first.
    pub images: Vec<TriedImage>,
    /// How full the filesystems would have been.
    pub filesystems: Vec<TriedFilesystem>,
    /// What the replay leaves out or estimates.
    pub notes: Vec<String>,
}

/// A run that would have removed something, or missed its low mark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TriedRun {
    /// When, by the wall clock.
    pub at: Timestamp,
    /// The policy.
    pub policy: PolicyName,
    /// How it would have ended.
    pub outcome: PolicyOutcome,
    /// How many images it would have removed.
    pub images: usize,
    /// How many bytes it would have freed.
    pub bytes: u64,
}

/// An image that would have been removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TriedImage {
    /// When, by the wall clock.
    pub at: Timestamp,
    /// The policy.
    pub policy: PolicyName,
    /// The namespace.
    pub namespace: Namespace,
    /// Its names.
    pub names: Vec<String>,
    /// What they pointed at.
    pub target: Digest,
    /// For how long it had not been used, in seconds.
    pub unused_seconds: u64,
    /// How many bytes went with it.
    pub bytes: u64,
    /// When it was used next and so pulled again, by the wall clock.
    pub pulled_again: Option<Timestamp>,
}

/// Replays a timeline against policies, as if they alone had run. `protection` is what protects images
/// from them.
pub fn try_policies(
    timeline: &Timeline,
    policies: &[Policy],
    protection: &Protection,
) -> PolicyTrial {
    let names = policies.iter().map(|policy| policy.name().clone());
    let names = names.collect();
    let (policies, mut notes) = replayable(policies);
    let observations = &timeline.observations;
    let (first, last) = (observations.first(), observations.last());
    notes.extend(gaps(observations));
    let mut host = TriedHost::new(&policies, protection);
    let every = spacing(observations);
    if !every.is_zero() {
        notes.push(format!(
            "because of the number of images, policies are evaluated {} apart at least",
            crate::settings::duration_text(every.unsigned_abs())
        ));
    }
    let mut timetable: Option<Timetable> = None;
    let mut evaluated: Option<Timestamp> = None;
    for (n, observation) in observations.iter().enumerate() {
        let moment = Moment::new(observation.at, observation.wall);
        host.observe(observation);
        let is_last = n + 1 == observations.len();
        let is_near = evaluated.is_some_and(|at| observation.at.duration_since(at) < every);
        if is_near && !is_last {
            continue;
        }
        evaluated = Some(observation.at);
        host.scan(moment);
        let timetable = timetable
            .get_or_insert_with(|| Timetable::new(&policies, observation.wall, |_| None, || 0.0));
        // A policy without progress is due again only later, so this ends.
        let mut left = policies.len();
        while let Some(due) = timetable.next(observation.wall)
            && due.at <= observation.wall
            && left > 0
        {
            left -= 1;
            let is_unsuccessful = host.run(&policies[due.policy], moment);
            timetable.done(due.policy, observation.wall, is_unsuccessful, 0.0);
        }
        host.sample(observation);
    }
    let wall = |observation: Option<&Observation>| observation.map(|it| it.wall);
    PolicyTrial {
        policies: names,
        since: wall(first),
        until: wall(last),
        ..host.into_trial(notes)
    }
}

/// Returns the policies as the replay can run them, and notes on what it leaves out.
fn replayable(policies: &[Policy]) -> (Vec<Policy>, Vec<String>) {
    let mut notes = Vec::new();
    let mut tried = Vec::new();
    for policy in policies {
        let name = policy.name();
        let mut policy = policy.clone();
        if policy.free != [PolicyPart::Images] {
            policy.free.retain(|part| *part == PolicyPart::Images);
            if policy.free.is_empty() {
                notes.push(format!(
                    "policy {name} is left out: it frees parts of images only, which are not recorded"
                ));
                continue;
            }
            notes.push(format!(
                "policy {name}: parts of images are not recorded, so it frees whole images only"
            ));
        }
        if policy.pressure.inodes.take().is_some() {
            if !policy.pressure.is_any() {
                notes.push(format!(
                    "policy {name} is left out: it has marks for inodes only, which are not recorded for \
                     images"
                ));
                continue;
            }
            notes.push(format!("policy {name}: its marks for inodes are left out"));
        }
        if policy.pressure.needs_occupied() {
            notes.push(format!(
                "policy {name}: max_used and reserved count images only, without build cache and containers"
            ));
        }
        if policy.ask_registry && !policy.rule.last_copies {
            notes.push(format!(
                "policy {name}: no registry is asked, so images of unknown source stay"
            ));
        }
        if !policy.undo_window.is_zero() {
            notes.push(format!(
                "policy {name}: what it holds for undo counts as freed at once"
            ));
        }
        if matches!(policy.schedule, Schedule::OnDemand) {
            notes.push(format!(
                "policy {name} has neither cron nor interval: it is tried once a day"
            ));
            policy.schedule = Schedule::Interval {
                every: ON_DEMAND,
                jitter: std::time::Duration::ZERO,
            };
        }
        policy.mode = reclaim_model::Mode::Apply;
        tried.push(policy);
    }
    (tried, notes)
}

/// Returns notes on times about which nothing is recorded.
fn gaps(observations: &[Observation]) -> Vec<String> {
    let pairs = observations.windows(2);
    let gaps = pairs.filter(|pair| pair[1].at.duration_since(pair[0].at) > GAP);
    let note = |pair: &[Observation]| {
        format!(
            "nothing is recorded from {:.0} to {:.0}",
            pair[0].wall, pair[1].wall
        )
    };
    gaps.map(note).collect()
}

/// Returns the shortest time between two moments that are evaluated.
fn spacing(observations: &[Observation]) -> SignedDuration {
    let mut current = crate::timeline::Current::default();
    let mut work = 0_usize;
    for observation in observations {
        drop(current.apply(observation));
        work = work.saturating_add(current.images.len());
    }
    let (Some(first), Some(last)) = (observations.first(), observations.last()) else {
        return SignedDuration::ZERO;
    };
    if work <= MAX_WORK {
        return SignedDuration::ZERO;
    }
    let kept = observations.len().saturating_mul(MAX_WORK) / work.max(1);
    let kept = i32::try_from(kept.max(1)).unwrap_or(i32::MAX);
    last.at.duration_since(first.at) / kept
}
