//! A maintenance policy: which images it removes, when, how much, and how.

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
    /// Which images it may remove.
    pub rule: Rule,
    /// The namespaces that it prunes, in this order.
    pub namespaces: Vec<Namespace>,
    /// When it runs.
    pub schedule: Schedule,
    /// How long after the start of the daemon it first runs.
    pub startup_delay: Duration,
    /// The marks at which it begins and ends.
    pub pressure: Pressure,
    /// Images that were unused for this long go without any pressure.
    pub max_unused: Option<Duration>,
    /// How many images a run removes at most; `None` is no cap.
    pub max_images: Option<usize>,
    /// How many bytes a run frees at most; `None` is no cap.
    pub max_bytes: Option<u64>,
    /// How long removed images can be restored.
    pub undo_window: Duration,
    /// How many records it removes per second at most; `None` is no limit.
    pub max_deletes_per_second: Option<u32>,
    /// The percentage of the last ten seconds with tasks waiting for I/O above which it is postponed;
    /// `None` is never.
    pub max_io_pressure: Option<u8>,
    /// Whether layers that only the build history holds are unpinned.
    pub history: BuildHistory,
    /// Whether it removes images, or only reports what it would remove.
    pub mode: Mode,
}

impl Policy {
    /// Returns a policy that runs on demand, in no namespace, with the defaults of a configuration
    /// otherwise.
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

    /// Returns the images that it selects at a moment, without any pressure.
    ///
    /// # Panics
    ///
    /// Never, with filters from [`RuleFilters::parse`], which has resolved them once.
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
            filters: filters.expect("the parser has resolved them once"),
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

    /// Returns the named ones of `policies`, or all if `names` is empty, in their order.
    ///
    /// # Errors
    ///
    /// [`UnknownPolicy`] for the first name that no policy has.
    pub fn chosen<'p>(
        policies: &'p [Self],
        names: &[PolicyName],
    ) -> Result<Vec<&'p Self>, UnknownPolicy> {
        let exists = |name: &&PolicyName| policies.iter().any(|policy| policy.name() == *name);
        if let Some(unknown) = names.iter().find(|name| !exists(name)) {
            return Err(UnknownPolicy {
                name: unknown.clone(),
                known: policies.iter().map(|it| it.name().clone()).collect(),
            });
        }
        let is_meant = |policy: &&Self| names.is_empty() || names.contains(policy.name());
        Ok(policies.iter().filter(is_meant).collect())
    }
}

/// A name that no enabled policy has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "there is no enabled policy `{name}`; those that are: {}",
    listed(known)
)]
pub struct UnknownPolicy {
    /// The name.
    pub name: PolicyName,
    /// The names of the enabled policies.
    pub known: Vec<PolicyName>,
}

fn listed(names: &[PolicyName]) -> String {
    let names: Vec<&str> = names.iter().map(PolicyName::as_str).collect();
    names.join(", ")
}

/// The marks at which a policy begins and ends. Without any of them a run removes every image that
/// the policy selects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pressure {
    /// Marks of bytes, on each filesystem that holds content or snapshots.
    pub bytes: Option<Watermarks>,
    /// Marks of inodes, on the same filesystems.
    pub inodes: Option<Watermarks>,
    /// The most bytes that content and snapshots may occupy together.
    pub max_used: Option<u64>,
    /// The bytes of content and snapshots that stay, whatever the pressure.
    pub reserved: u64,
}

impl Pressure {
    /// Whether there is any mark.
    pub fn is_any(&self) -> bool {
        self.bytes.is_some() || self.inodes.is_some() || self.max_used.is_some()
    }
}
