//! When the kubelet removes images, by its configuration file.
//!
//! Only settings that concern images are read. Flags of the kubelet and files of a `--config-dir`
//! are not.
//!
//! Source: Kubernetes, `KubeletConfiguration` of `kubelet.config.k8s.io/v1beta1`.

mod overlaps;
mod yaml;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reclaim_engine::read_text;
use reclaim_model::{chain, parse_go_duration};

use self::yaml::{Scalars, scalars};
use crate::policy::Policy;

pub use overlaps::kubelet_overlaps;

/// The kind that the document must be of.
const KIND: &str = "KubeletConfiguration";

/// An eviction threshold: with less of a filesystem available, the kubelet evicts pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Available {
    /// Hundredths of a percent of the filesystem.
    Part(u32),
    /// Bytes.
    Bytes(u64),
}

/// The thresholds at which the kubelet removes images, and evicts pods for lack of space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KubeletThresholds {
    /// Above this used percentage of the images' filesystem it begins to remove images. At 100 it
    /// never does.
    pub high: u8,
    /// It removes images down to this percentage.
    pub low: u8,
    /// It keeps images that it first saw more recently than this.
    pub min_age: Duration,
    /// It removes images that were unused for longer without any pressure; `None` is never.
    pub max_age: Option<Duration>,
    /// With less available where images are, it removes all it can and evicts pods.
    pub imagefs: Option<Available>,
    /// With less available where the kubelet's own files are, it evicts pods.
    pub nodefs: Option<Available>,
}

impl Default for KubeletThresholds {
    fn default() -> Self {
        Self {
            high: 85,
            low: 80,
            min_age: Duration::from_secs(120),
            max_age: None,
            imagefs: Some(Available::Part(1_500)),
            nodefs: Some(Available::Part(1_000)),
        }
    }
}

impl fmt::Display for Available {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Part(part) if part % 100 == 0 => write!(formatter, "{}%", part / 100),
            Self::Part(part) => write!(formatter, "{}.{:02}%", part / 100, part % 100),
            Self::Bytes(bytes) => write!(formatter, "{bytes} bytes"),
        }
    }
}

/// Why the kubelet's configuration is unknown.
#[derive(Debug, thiserror::Error)]
pub enum KubeletError {
    /// The file cannot be read.
    #[error("read the kubelet's configuration `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The kubelet would not accept the file.
    #[error("the kubelet's configuration `{}`: {problem}", path.display())]
    Text {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// Reads the kubelet's configuration; `None` if there is no file.
///
/// # Errors
///
/// [`KubeletError`] if the file cannot be read.
pub fn read_kubelet(path: &Path) -> Result<Option<KubeletThresholds>, KubeletError> {
    let text = match read_text(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(KubeletError::Read {
                path: path.to_owned(),
                source,
            });
        }
    };
    let read = text.parse().map_err(|problem| KubeletError::Text {
        path: path.to_owned(),
        problem,
    });
    read.map(Some)
}

/// Returns how a policy and the kubelet with the configuration at `path` interfere, or why that is
/// unknown. Without such a file there is nothing to say.
pub fn kubelet_warnings(policy: &Policy, path: &Path) -> Vec<String> {
    match read_kubelet(path) {
        Ok(Some(kubelet)) => kubelet_overlaps(policy, &kubelet),
        Ok(None) => Vec::new(),
        Err(error) => vec![chain(&error)],
    }
}

impl std::str::FromStr for KubeletThresholds {
    type Err = String;

    /// Reads the text of a configuration.
    fn from_str(text: &str) -> Result<Self, String> {
        let scalars = scalars(text)?;
        match scalars.get("", "kind") {
            Some(KIND) => {}
            Some(other) => return Err(format!("kind is not {KIND}: `{other}`")),
            None => return Err(format!("no kind; expected {KIND}")),
        }
        let defaults = Self::default();
        let max_age = duration(&scalars, "imageMaximumGCAge", Duration::ZERO)?;
        // A configuration that sets one threshold replaces all defaults, unless it merges them.
        let keeps_defaults = scalars.get("", "mergeDefaultEvictionSettings") == Some("true")
            || !scalars.has_map("evictionHard");
        let hard =
            |signal: &str, default: Option<Available>| match scalars.get("evictionHard", signal) {
                Some(text) => available(signal, text),
                None => Ok(default.filter(|_| keeps_defaults)),
            };
        Ok(Self {
            high: percent(&scalars, "imageGCHighThresholdPercent", defaults.high)?,
            low: percent(&scalars, "imageGCLowThresholdPercent", defaults.low)?,
            min_age: duration(&scalars, "imageMinimumGCAge", defaults.min_age)?,
            max_age: Some(max_age).filter(|it| !it.is_zero()),
            imagefs: hard("imagefs.available", defaults.imagefs)?,
            nodefs: hard("nodefs.available", defaults.nodefs)?,
        })
    }
}

fn percent(scalars: &Scalars, key: &str, default: u8) -> Result<u8, String> {
    let Some(text) = scalars.get("", key) else {
        return Ok(default);
    };
    let percent = text.parse().ok().filter(|it| *it <= 100);
    percent.ok_or_else(|| format!("{key} is not from 0 to 100: `{text}`"))
}

fn duration(scalars: &Scalars, key: &str, default: Duration) -> Result<Duration, String> {
    let Some(text) = scalars.get("", key) else {
        return Ok(default);
    };
    let parsed = parse_go_duration(text).ok();
    let parsed = parsed.and_then(|it| Duration::try_from(it).ok());
    let duration =
        parsed.ok_or_else(|| format!("{key} is not a duration such as 2m0s: `{text}`"))?;
    // The kubelet takes zero for unset.
    Ok(if duration.is_zero() {
        default
    } else {
        duration
    })
}

/// Reads a threshold; `None` if it is disabled, by 0% or 100%.
fn available(signal: &str, text: &str) -> Result<Option<Available>, String> {
    let wrong = || {
        format!(
            "evictionHard.{signal} is neither a percentage such as 15% nor a quantity: `{text}`"
        )
    };
    if let Some(percent) = text.strip_suffix('%') {
        let hundredths = hundredths(percent).ok_or_else(wrong)?;
        return Ok((1..10_000)
            .contains(&hundredths)
            .then_some(Available::Part(hundredths)));
    }
    let bytes = quantity(text).ok_or_else(wrong)?;
    Ok((bytes > 0).then_some(Available::Bytes(bytes)))
}

/// Reads a decimal number in hundredths, and ignores further digits.
fn hundredths(text: &str) -> Option<u32> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    if !part.bytes().all(|it| it.is_ascii_digit()) {
        return None;
    }
    let part: String = part.chars().chain("00".chars()).take(2).collect();
    let whole: u32 = whole.parse().ok()?;
    whole.checked_mul(100)?.checked_add(part.parse().ok()?)
}

/// Reads a Kubernetes quantity: a number with a decimal or binary suffix.
fn quantity(text: &str) -> Option<u64> {
    const SUFFIXES: [(&str, u64); 13] = [
        ("Ki", 1 << 10),
        ("Mi", 1 << 20),
        ("Gi", 1 << 30),
        ("Ti", 1 << 40),
        ("Pi", 1 << 50),
        ("Ei", 1 << 60),
        ("k", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("T", 1_000_000_000_000),
        ("P", 1_000_000_000_000_000),
        ("E", 1_000_000_000_000_000_000),
        ("", 1),
    ];
    let (number, unit) = SUFFIXES
        .iter()
        .find_map(|(suffix, unit)| Some((text.strip_suffix(suffix)?, *unit)))?;
    let hundredths = u128::from(hundredths(number)?);
    u64::try_from(hundredths * u128::from(unit) / 100).ok()
}

#[cfg(test)]
mod tests;
