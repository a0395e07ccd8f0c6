//! What a file means: policies and protection, checked as a whole.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use reclaim_maintenance::{Cron, HeadroomSize, Policy, Pressure, Schedule};
use reclaim_model::{
    BuildHistory, ByteSize, LabelFilter, Mode, Namespace, Protection, Rule, RuleFilters, Watermark,
    Watermarks,
};

use super::fleet::Fleet;
use super::text::{ConfigText, HeadroomText, PolicyText, ProtectText};
use super::values::{SizeOrAuto, Text, duration_text};

/// Names of what pods and the node itself cannot do without, whoever runs them.
const INFRASTRUCTURE: [&str; 7] = [
    "registry.k8s.io/pause:*",
    "k8s.gcr.io/pause:*",
    "*/pause:*",
    "*/mirrored-pause:*",
    "*/kube-proxy:*",
    "*/coredns:*",
    "*/reclaim:*",
];

/// Whether the node's own images are protected from all policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Infrastructure {
    /// They are.
    Protected,
    /// They are not.
    Free,
}

/// The configuration, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The address of containerd, if the file names one.
    pub address: Option<String>,
    /// Where containerd's own configuration is.
    pub containerd_toml: PathBuf,
    /// Where the kubelet's own configuration is.
    pub kubelet_yaml: PathBuf,
    /// Where the daemon keeps what it learned.
    pub state: PathBuf,
    /// Where metrics are served.
    pub metrics: Option<SocketAddr>,
    /// What is given up when the filesystem is full.
    pub headroom: Headroom,
    /// Whether the node's own images are protected.
    pub infrastructure: Infrastructure,
    /// What no policy removes. Without what containerd's configuration says.
    pub protection: Protection,
    /// Whose turns this node takes before it removes anything, if any.
    pub fleet: Option<Fleet>,
    /// Enabled policies, in their order.
    pub policies: Vec<Policy>,
    /// The file with every default filled in.
    effective: String,
}

/// A file that takes room until it is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Headroom {
    /// How large, if there is to be one.
    pub size: Option<HeadroomSize>,
    /// Where, unless in the state directory.
    pub file: Option<PathBuf>,
}

/// What is wrong with values that are right each by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeaningError {
    place: String,
    problem: String,
}

impl fmt::Display for MeaningError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.place, self.problem)
    }
}

impl MeaningError {
    pub(super) fn new(place: &str, problem: String) -> Self {
        Self {
            place: place.to_owned(),
            problem,
        }
    }
}

impl Config {
    /// Checks what was typed.
    pub(super) fn new(typed: ConfigText) -> Result<Self, MeaningError> {
        let effective = toml::to_string(&typed).expect("every value has a form in TOML");
        let ConfigText {
            containerd,
            kubernetes,
            state,
            metrics,
            headroom,
            protect,
            fleet,
            policy: policies,
        } = typed;
        let namespaces = plain(containerd.namespaces);
        let mut names = BTreeSet::new();
        let mut checked = Vec::new();
        for typed in policies {
            let name = typed.name.0.to_string();
            let is_enabled = typed.enabled;
            let policy = policy(typed, &namespaces).map_err(|problem| MeaningError {
                place: format!("policy `{name}`"),
                problem,
            })?;
            if !names.insert(name.clone()) {
                return Err(MeaningError {
                    place: format!("policy `{name}`"),
                    problem: "there are two of that name".to_owned(),
                });
            }
            if is_enabled {
                checked.push(policy);
            }
        }
        let infrastructure = if protect.infrastructure {
            Infrastructure::Protected
        } else {
            Infrastructure::Free
        };
        Ok(Self {
            address: containerd.address,
            containerd_toml: containerd.config,
            kubelet_yaml: kubernetes.kubelet_config,
            headroom: meaning_of_headroom(headroom),
            state: state.directory,
            metrics: metrics.listen,
            infrastructure,
            protection: protection(protect)?,
            fleet: Fleet::new(fleet)?,
            policies: checked,
            effective,
        })
    }

    /// Returns the file with every default filled in.
    pub fn effective(&self) -> &str {
        &self.effective
    }
}

fn plain<T>(texts: Vec<Text<T>>) -> Vec<T> {
    texts.into_iter().map(|it| it.0).collect()
}

fn meaning_of_headroom(typed: HeadroomText) -> Headroom {
    let HeadroomText { size, file } = typed;
    let size = match size.0 {
        SizeOrAuto::Auto => Some(HeadroomSize::Auto),
        SizeOrAuto::Size(ByteSize(bytes)) => some(bytes).map(HeadroomSize::Bytes),
    };
    Headroom { size, file }
}

fn protection(typed: ProtectText) -> Result<Protection, MeaningError> {
    let ProtectText {
        references,
        digests,
        labels,
        namespaces,
        infrastructure,
    } = typed;
    let mut references = plain(references);
    if infrastructure {
        references.extend(INFRASTRUCTURE.map(|it| it.parse().expect("a glob")));
    }
    let labels = labels.iter().map(|label| LabelFilter::parse(true, label));
    let labels = labels.collect::<Result<_, _>>();
    Ok(Protection {
        references,
        digests: plain(digests).into_iter().collect(),
        labels: labels.map_err(|error| MeaningError {
            place: "protect.labels".to_owned(),
            problem: error.to_string(),
        })?,
        namespaces: plain(namespaces).into_iter().collect(),
        sandbox_images: Vec::new(),
    })
}

fn policy(typed: PolicyText, all_namespaces: &[Namespace]) -> Result<Policy, String> {
    let schedule = schedule(&typed)?;
    let pressure = Pressure {
        bytes: marks("high", typed.high.as_ref(), "low", typed.low.as_ref())?,
        inodes: marks(
            "inodes_high",
            typed.inodes_high.as_ref(),
            "inodes_low",
            typed.inodes_low.as_ref(),
        )?,
        max_used: some(typed.max_used.0.0),
        reserved: typed.reserved.0.0,
    };
    if pressure.max_used.is_some_and(|it| it <= pressure.reserved) {
        return Err(format!(
            "max_used `{}` is not more than reserved `{}`",
            typed.max_used.0, typed.reserved.0
        ));
    }
    let max_unused = typed.max_unused.0;
    if !max_unused.is_zero() && max_unused <= typed.min_age.0 {
        return Err(format!(
            "max_unused `{}` is not more than min_age `{}`",
            duration_text(max_unused),
            duration_text(typed.min_age.0)
        ));
    }
    let namespaces = match typed.namespaces {
        None => all_namespaces.to_vec(),
        Some(namespaces) => plain(namespaces),
    };
    if let Some(other) = namespaces.iter().find(|it| !all_namespaces.contains(it)) {
        return Err(format!(
            "namespace `{other}` is not among those of containerd.namespaces"
        ));
    }
    if namespaces.is_empty() {
        return Err("there is no namespace that it may remove from".to_owned());
    }
    let filters = RuleFilters::parse(&typed.filters, typed.all);
    Ok(Policy {
        rule: Rule {
            name: typed.name.0,
            filters: filters.map_err(|error| format!("filters: {error}"))?,
            min_age: typed.min_age.0,
            unused_for: typed.unused_for.0,
            keep_newest: typed.keep_newest.0 as usize,
            last_copies: typed.last_copies,
        },
        namespaces,
        schedule,
        startup_delay: typed.startup_delay.0,
        pressure,
        max_unused: (!max_unused.is_zero()).then_some(max_unused),
        max_images: some(typed.max_images.0 as usize),
        max_bytes: some(typed.max_bytes.0.0),
        undo_window: typed.undo_window.0,
        max_deletes_per_second: some(typed.max_deletes_per_second.0),
        max_io_pressure: some(u8::try_from(typed.max_io_pressure.0).unwrap_or(u8::MAX)),
        history: if typed.unpin_build_history {
            BuildHistory::Unpin
        } else {
            BuildHistory::Keep
        },
        mode: if typed.dry_run {
            Mode::DryRun
        } else {
            Mode::Apply
        },
    })
}

/// Zero is none.
fn some<T: PartialEq + Default>(number: T) -> Option<T> {
    (number != T::default()).then_some(number)
}

fn schedule(typed: &PolicyText) -> Result<Schedule, String> {
    if typed.time_zone.is_some() && typed.cron.is_none() {
        return Err("time_zone is for cron, which is not set".to_owned());
    }
    let jitter = typed.jitter.0;
    if !jitter.is_zero() && typed.interval.is_none() {
        return Err("jitter is for interval, which is not set".to_owned());
    }
    match (&typed.cron, &typed.interval) {
        (Some(_), Some(_)) => Err("it has both cron and interval; accepted is one".to_owned()),
        (Some(cron), None) => {
            let zone = typed.time_zone.as_deref().unwrap_or("UTC");
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

fn marks(
    high_key: &str,
    high: Option<&Text<Watermark>>,
    low_key: &str,
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
