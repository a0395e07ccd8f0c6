//! A maintenance policy: which images it removes, when, how much, and how.
//!
//! [`PolicySettings`] is its form in the configuration file. A new key is a field there, with its
//! default and its meaning, and a line in `docs/configuration.md`.

mod schedule;

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use reclaim_model::{
    ByteSize, LastUses, Mode, Namespace, PolicyName, PolicyPart, Rule, RuleFilters, RuleImages,
    SnapshotSizes, TimeContext, Watermark, Watermarks,
};

use crate::settings::{Age, Count, Period, Span, Text, Wait, duration_text};

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
    /// Whether registries are asked for images that would stay as last copies.
    pub ask_registry: bool,
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
    /// What it frees, in this order; not empty, and without duplicates.
    pub free: Vec<PolicyPart>,
    /// Whether images of Docker lose layers, too.
    pub docker_layers: bool,
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
            ask_registry: false,
            max_images: None,
            max_bytes: None,
            undo_window: Duration::ZERO,
            max_deletes_per_second: None,
            max_io_pressure: None,
            free: vec![PolicyPart::Images],
            docker_layers: false,
            mode: Mode::Apply,
        }
    }

    /// Returns the images of which a step may free something at a moment, without any pressure.
    ///
    /// # Panics
    ///
    /// Never, with filters from [`RuleFilters::parse`], which has resolved them once.
    pub fn images(&self, part: PolicyPart, uses: LastUses, now: Timestamp) -> RuleImages {
        let context = TimeContext {
            now,
            offset: TimeZone::system().to_offset(now),
        };
        let filters = self.rule.filters.at(&context);
        RuleImages {
            rule: self.rule.clone(),
            filters: filters.expect("the parser has resolved them once"),
            uses: Arc::new(uses),
            registries: Arc::default(),
            part,
            docker_layers: self.docker_layers,
            goals: None,
            max_unused: self.max_unused_of(part),
            max_images: self.max_images,
            max_bytes: self.max_bytes,
            inodes: SnapshotSizes::default(),
        }
    }

    /// Returns after which time without use a step frees something without any pressure. Parts of images
    /// that go then anyway are not freed before.
    pub(crate) fn max_unused_of(&self, part: PolicyPart) -> Option<Duration> {
        let is_whole = part == PolicyPart::Images || !self.free.contains(&PolicyPart::Images);
        self.max_unused.filter(|_| is_whole)
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

/// The marks at which a policy begins and ends. Without any of them a run frees everything that the
/// policy selects.
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

crate::settings! {
    /// A `[[policy]]` of the configuration file, as written.
    #[expect(clippy::doc_markdown, reason = "docs/configuration.md has the same texts")]
    pub struct PolicySettings in "policy" {
        /// Name of the policy in reasons, metrics and commands. Required.
        name: Text<PolicyName>;
        /// Whether the policy is active.
        enabled: bool = true;
        /// Namespaces in which the policy removes images, in this order.
        namespaces: Option<Vec<Text<Namespace>>>,
            accepts "some of containerd.namespaces",
            unset "containerd.namespaces";
        /// true removes all unused images, false only dangling ones.
        all: bool = false;
        /// What an image must match to be removed. Several `reference` or several `digest` filters are alternatives; all others must hold together.
        filters: Vec<String> = Vec::new(),
            accepts "label=, label!=, until=, reference=, digest=, larger-than=, unused-for=";
        /// What the policy frees, in this order: parts of images that stay, and whole images. Under pressure each step frees only what is still needed then. See [Parts of images](#parts-of-images).
        free: Vec<Text<PolicyPart>> = vec![Text(PolicyPart::Images)],
            accepts "some of snapshots, layers, platforms, build-history and images";
        /// Whether the policy frees layers in the namespaces of Docker, too: `docker save` then leaves them out, and `docker push` may fail.
        docker_layers: bool = false;
        /// When the policy is checked. Times missed while the daemon is down are not made up. Without cron and interval the policy runs only on request, by `reclaim maintain --once`.
        cron: Option<String>, accepts "minute hour day-of-month month day-of-week";
        /// Time zone of cron.
        time_zone: Option<String>,
            accepts "a name of the time zone database",
            unset "\"UTC\"";
        /// Time from one check of the policy to the next.
        interval: Option<Span<Period>>;
        /// Longest random delay of a check, so that nodes do not act in step.
        jitter: Span<Wait> = Span::of_secs(0), accepts "0s to interval";
        /// Time from the start of the daemon to the first check.
        startup_delay: Span<Wait> = Span::of_secs(0);
        /// Start only above this, on any filesystem that holds content or snapshots. Without a watermark or max_used every run frees all that it may.
        high: Option<Text<Watermark>>;
        /// Stop as soon as this is reached. Required with high.
        low: Option<Text<Watermark>>, accepts "below high";
        /// As high, for inodes.
        inodes_high: Option<Text<Watermark>>,
            accepts "1% to 99% used, or a number that must stay free";
        /// As low, for inodes.
        inodes_low: Option<Text<Watermark>>, accepts "below inodes_high";
        /// Also start when content and snapshots of all namespaces occupy more than this, and stop at it.
        max_used: Text<ByteSize> = Text(ByteSize(0)), note "0 is no limit";
        /// Size that content and snapshots may keep occupying, whatever the pressure.
        reserved: Text<ByteSize> = Text(ByteSize(0)), accepts "a size below max_used";
        /// Remove only images that were pulled, first seen and last used longer ago than this.
        min_age: Span<Age> = Span::of_secs(120);
        /// Remove only images that were not used for this long.
        unused_for: Span<Age> = Span::of_secs(0);
        /// Remove images that were not used for this long even without pressure.
        max_unused: Span<Age> = Span::of_secs(0),
            accepts "more than min_age, up to 87600h; 0 is never";
        /// Number of images that stay in each repository: those pulled or built last.
        keep_newest: Count<0, 1_000> = Count(0);
        /// Whether to remove images that no registry is known to have, because the repository of their name is not in containerd's label of their source: built here, imported, or given another name.
        last_copies: bool = false;
        /// Whether to ask the registry of an image that would stay as a last copy, without credentials: the image may go if the registry answers with its digest. See [Last copies](#last-copies).
        ask_registry: bool = false;
        /// Most images that one run removes.
        max_images: Count<0, 1_000_000> = Count(0), note "0 is no limit";
        /// Most bytes that one run frees.
        max_bytes: Text<ByteSize> = Text(ByteSize(0)), note "0 is no limit";
        /// Most records that are removed per second.
        max_deletes_per_second: Count<0, 10_000> = Count(0), note "0 is no limit";
        /// Percentage of the last ten seconds. While tasks waited for I/O for longer, the run is delayed, by ten minutes at most.
        max_io_pressure: Count<0, 99> = Count(0), note "0 is off";
        /// How long removed images are held, so that `reclaim undo` can restore them. Under pressure holds are released first.
        undo_window: Span<Wait> = Span::of_secs(0);
        /// Whether to free unpacked layers that only build history holds, before everything else: the same as build-history at the beginning of free.
        unpin_build_history: bool = false;
        /// Only report what would be removed.
        dry_run: bool = false;
    }
}

impl PolicySettings {
    /// Checks the settings as a whole and returns their policy, which may remove images from
    /// `all_namespaces` unless the settings name some of these.
    ///
    /// # Errors
    ///
    /// A message if settings contradict each other.
    pub fn policy(self, all_namespaces: &[Namespace]) -> Result<Policy, String> {
        let schedule = self.schedule()?;
        let pressure = self.pressure()?;
        let free = self.free()?;
        let (min_age, max_unused) = (self.min_age.0, self.max_unused.0);
        if !max_unused.is_zero() && max_unused <= min_age {
            return Err(format!(
                "max_unused `{}` is not more than min_age `{}`",
                duration_text(max_unused),
                duration_text(min_age)
            ));
        }
        let namespaces = match self.namespaces {
            None => all_namespaces.to_vec(),
            Some(named) => named.into_iter().map(|namespace| namespace.0).collect(),
        };
        if let Some(other) = namespaces.iter().find(|it| !all_namespaces.contains(it)) {
            return Err(format!(
                "namespace `{other}` is not among those of containerd.namespaces"
            ));
        }
        if namespaces.is_empty() {
            return Err("there is no namespace that it may remove from".to_owned());
        }
        let filters = RuleFilters::parse(&self.filters, self.all);
        Ok(Policy {
            rule: Rule {
                name: self.name.0,
                filters: filters.map_err(|error| format!("filters: {error}"))?,
                min_age,
                unused_for: self.unused_for.0,
                keep_newest: self.keep_newest.0 as usize,
                last_copies: self.last_copies,
            },
            namespaces,
            schedule,
            startup_delay: self.startup_delay.0,
            pressure,
            max_unused: nonzero(max_unused),
            ask_registry: self.ask_registry,
            max_images: nonzero(self.max_images.0 as usize),
            max_bytes: nonzero(self.max_bytes.0.0),
            undo_window: self.undo_window.0,
            max_deletes_per_second: nonzero(self.max_deletes_per_second.0),
            max_io_pressure: nonzero(u8::try_from(self.max_io_pressure.0).unwrap_or(u8::MAX)),
            free,
            docker_layers: self.docker_layers,
            mode: if self.dry_run {
                Mode::DryRun
            } else {
                Mode::Apply
            },
        })
    }

    fn schedule(&self) -> Result<Schedule, String> {
        if self.time_zone.is_some() && self.cron.is_none() {
            return Err("time_zone is for cron, which is not set".to_owned());
        }
        let jitter = self.jitter.0;
        if !jitter.is_zero() && self.interval.is_none() {
            return Err("jitter is for interval, which is not set".to_owned());
        }
        match (&self.cron, &self.interval) {
            (Some(_), Some(_)) => Err("it has both cron and interval; accepted is one".to_owned()),
            (Some(cron), None) => {
                let zone = self.time_zone.as_deref().unwrap_or("UTC");
                let cron = Cron::new(cron, zone).map_err(|error| error.to_string())?;
                Ok(Schedule::Cron(cron))
            }
            (None, Some(interval)) if jitter > interval.0 => Err(format!(
                "jitter `{}` is more than interval `{}`",
                duration_text(jitter),
                duration_text(interval.0)
            )),
            (None, Some(interval)) => Ok(Schedule::Interval {
                every: interval.0,
                jitter,
            }),
            (None, None) => Ok(Schedule::OnDemand),
        }
    }

    fn free(&self) -> Result<Vec<PolicyPart>, String> {
        let mut free: Vec<PolicyPart> = Vec::new();
        for Text(part) in &self.free {
            if free.contains(part) {
                return Err(format!("free has `{part}` twice"));
            }
            free.push(*part);
        }
        if free.is_empty() {
            let all = PolicyPart::ALL.map(|part| part.to_string()).join(", ");
            return Err(format!("free is empty; accepted are some of {all}"));
        }
        if self.docker_layers && !free.contains(&PolicyPart::Layers) {
            return Err("docker_layers is for layers, which free does not have".to_owned());
        }
        if self.unpin_build_history && !free.contains(&PolicyPart::BuildHistory) {
            free.insert(0, PolicyPart::BuildHistory);
        }
        Ok(free)
    }

    fn pressure(&self) -> Result<Pressure, String> {
        let (inodes_high, inodes_low) = (self.inodes_high.as_ref(), self.inodes_low.as_ref());
        let pressure = Pressure {
            bytes: marks(["high", "low"], self.high.as_ref(), self.low.as_ref())?,
            inodes: marks(["inodes_high", "inodes_low"], inodes_high, inodes_low)?,
            max_used: nonzero(self.max_used.0.0),
            reserved: self.reserved.0.0,
        };
        if pressure
            .max_used
            .is_some_and(|max| max <= pressure.reserved)
        {
            return Err(format!(
                "max_used `{}` is not more than reserved `{}`",
                self.max_used.0, self.reserved.0
            ));
        }
        Ok(pressure)
    }
}

/// Returns `None` for zero, which means no limit.
fn nonzero<T: PartialEq + Default>(number: T) -> Option<T> {
    (number != T::default()).then_some(number)
}

/// Returns the marks of a pair of keys, which have to be set together.
fn marks(
    [high_key, low_key]: [&str; 2],
    high: Option<&Text<Watermark>>,
    low: Option<&Text<Watermark>>,
) -> Result<Option<Watermarks>, String> {
    match (high, low) {
        (None, None) => Ok(None),
        (Some(_), None) => Err(format!("{high_key} is set and {low_key} is not")),
        (None, Some(_)) => Err(format!("{low_key} is set and {high_key} is not")),
        (Some(high), Some(low)) => Watermarks::new(high.0, low.0)
            .map(Some)
            .map_err(|error| format!("{high_key} and {low_key}: {error}")),
    }
}
