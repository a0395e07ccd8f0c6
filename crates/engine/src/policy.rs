//! A maintenance policy as a whole: what may go, when, how much, and how.

mod schedule;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use reclaim_model::{
    BuildHistory, LastUses, Mode, Namespace, PolicyName, Protection, Rule, RuleFilters, RuleImages,
    SnapshotSizes, TimeContext, Watermarks,
};

pub use schedule::{Cron, CronError, Schedule};

/// A maintenance policy, checked.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Which images may go.
    pub rule: Rule,
    /// Where, in this order.
    pub namespaces: Vec<Namespace>,
    /// When it is looked at.
    pub schedule: Schedule,
    /// How long after a start it is looked at for the first time.
    pub startup_delay: Duration,
    /// What makes it begin, and end.
    pub pressure: Pressure,
    /// Images that nobody has used for so long go without any pressure.
    pub max_unused: Option<Duration>,
    /// How many images a run removes at most; `None` is no cap.
    pub max_images: Option<usize>,
    /// How many bytes a run frees at most; `None` is no cap.
    pub max_bytes: Option<u64>,
    /// How long what was removed can be restored.
    pub undo_window: Duration,
    /// How many records may be removed in a second; `None` is as fast as containerd goes.
    pub max_deletes_per_second: Option<u32>,
    /// The part of the last ten seconds, in hundredths, above which it is put off because tasks
    /// have waited for I/O; `None` is never.
    pub max_io_pressure: Option<u8>,
    /// What becomes of what only build history holds.
    pub history: BuildHistory,
    /// Whether it removes, or only says what it would.
    pub mode: Mode,
}

impl Policy {
    /// Returns a policy that removes nothing by itself: looked at on demand, in no namespace.
    /// All else is as in a configuration that does not say.
    pub fn of_name(name: PolicyName) -> Self {
        Self {
            rule: Rule {
                name,
                filters: RuleFilters::default(),
                min_age: Duration::from_secs(120),
                unused_for: Duration::ZERO,
                keep_newest: 0,
                last_copies: false,
            },
            namespaces: Vec::new(),
            schedule: Schedule::OnDemand,
            startup_delay: Duration::ZERO,
            pressure: Pressure::default(),
            max_unused: None,
            max_images: None,
            max_bytes: None,
            undo_window: Duration::ZERO,
            max_deletes_per_second: None,
            max_io_pressure: None,
            history: BuildHistory::Keep,
            mode: Mode::Apply,
        }
    }

    /// Returns the images that it lets go at a moment, without any pressure.
    ///
    /// # Panics
    ///
    /// Never, with filters that [`RuleFilters::parse`] returned: it has tried.
    pub fn images(
        &self,
        protection: &Arc<Protection>,
        uses: LastUses,
        now: Timestamp,
    ) -> RuleImages {
        let context = TimeContext {
            now,
            offset: TimeZone::system().to_offset(now),
        };
        let filters = self.rule.filters.at(&context);
        RuleImages {
            rule: self.rule.clone(),
            filters: filters.expect("they were accepted when they were parsed"),
            protection: Arc::clone(protection),
            uses: Arc::new(uses),
            goals: None,
            max_unused: self.max_unused,
            max_images: self.max_images,
            max_bytes: self.max_bytes,
            inodes: SnapshotSizes::default(),
        }
    }

    /// Returns its name.
    pub fn name(&self) -> &PolicyName {
        &self.rule.name
    }

    /// Returns those of `policies` that are named, or all if none is, in their order.
    ///
    /// # Errors
    ///
    /// [`UnknownPolicy`] for the first name that none has.
    pub fn chosen<'p>(
        policies: &'p [Self],
        names: &[PolicyName],
    ) -> Result<Vec<&'p Self>, UnknownPolicy> {
        let is_there = |name: &&PolicyName| policies.iter().any(|it| it.name() == *name);
        if let Some(unknown) = names.iter().find(|name| !is_there(name)) {
            return Err(UnknownPolicy {
                name: unknown.clone(),
                there: policies.iter().map(|it| it.name().clone()).collect(),
            });
        }
        let is_meant = |policy: &&Self| names.is_empty() || names.contains(policy.name());
        Ok(policies.iter().filter(is_meant).collect())
    }
}

/// A policy was named that is not there, or not enabled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no enabled policy `{name}`; those that are: {}",
    listed(there)
)]
pub struct UnknownPolicy {
    /// The name.
    pub name: PolicyName,
    /// Those that are there.
    pub there: Vec<PolicyName>,
}

fn listed(names: &[PolicyName]) -> String {
    let names: Vec<&str> = names.iter().map(PolicyName::as_str).collect();
    names.join(", ")
}

/// What makes a policy begin and end. Without any of it a run removes all that may go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pressure {
    /// By bytes, on each filesystem that holds content or snapshots.
    pub bytes: Option<Watermarks>,
    /// By inodes, on the same.
    pub inodes: Option<Watermarks>,
    /// By what content and snapshots occupy together.
    pub max_used: Option<u64>,
    /// What content and snapshots may keep occupying, whatever the pressure.
    pub reserved: u64,
}

impl Pressure {
    /// Whether there is anything to begin at.
    pub fn is_any(&self) -> bool {
        self.bytes.is_some() || self.inodes.is_some() || self.max_used.is_some()
    }
}
