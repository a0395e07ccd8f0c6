//! How much a prune is to free, and where: `20GB`, or `10%:/var/lib/containerd`.

use std::fmt;
use std::num::IntErrorKind;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::HumanSize;

/// Units and their bytes. Those of one letter and those with `B` are powers of 1000, as
/// Docker prints them; those with `iB` are powers of 1024.
const UNITS: [(&str, u64); 17] = [
    ("", 1),
    ("b", 1),
    ("k", 1_000),
    ("kb", 1_000),
    ("kib", 1 << 10),
    ("m", 1_000_000),
    ("mb", 1_000_000),
    ("mib", 1 << 20),
    ("g", 1_000_000_000),
    ("gb", 1_000_000_000),
    ("gib", 1 << 30),
    ("t", 1_000_000_000_000),
    ("tb", 1_000_000_000_000),
    ("tib", 1 << 40),
    ("p", 1_000_000_000_000_000),
    ("pb", 1_000_000_000_000_000),
    ("pib", 1 << 50),
];

/// More digits after the point than any unit has bytes to give them a meaning.
const MAX_FRACTION_DIGITS: usize = 15;

/// How much a prune is to free, and on which filesystem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FreeTarget {
    /// How much.
    pub amount: FreeAmount,
    /// A path on the filesystem; `None` is the fullest of those that hold content or snapshots.
    pub path: Option<PathBuf>,
}

/// How much a prune is to free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FreeAmount {
    /// A number of bytes; never zero.
    Bytes(u64),
    /// A percentage of the filesystem, from 1 to 100.
    Percent(u8),
}

/// What a prune had to free.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedTarget {
    /// The bytes.
    pub bytes: u64,
    /// Where the filesystem is mounted; `None` if none can be measured. Then all content and
    /// snapshots count.
    pub mount_point: Option<PathBuf>,
}

/// Why a text is not a [`FreeTarget`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FreeTargetError {
    /// The amount is wrong.
    #[error(transparent)]
    Amount(#[from] FreeAmountError),
    /// The path is relative or empty.
    #[error("path of the filesystem is not absolute: `{0}`")]
    Path(String),
}

/// Why a text is not a [`FreeAmount`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FreeAmountError {
    /// It is not a number with a known unit.
    #[error(
        "size is not a number and B, kB, MB, GB, TB, PB, KiB, MiB, GiB, TiB, PiB or %, without a \
         space: `{0}`"
    )]
    Form(String),
    /// The number of bytes is zero or does not fit.
    #[error("size is not from 1B to {max}: `{0}`", max = HumanSize(u64::MAX))]
    BytesRange(String),
    /// The percentage is zero, or more than 100.
    #[error("percentage is not a whole number from 1% to 100%: `{0}`")]
    PercentRange(String),
}

impl FreeTarget {
    /// Returns the target to free this much on the fullest filesystem.
    pub fn new(amount: FreeAmount) -> Self {
        Self { amount, path: None }
    }
}

impl FromStr for FreeTarget {
    type Err = FreeTargetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (amount, path) = match text.split_once(':') {
            Some((amount, path)) => (amount, Some(PathBuf::from(path))),
            None => (text, None),
        };
        let amount = amount.parse()?;
        match path {
            Some(path) if !path.is_absolute() => {
                Err(FreeTargetError::Path(path.display().to_string()))
            }
            path => Ok(Self { amount, path }),
        }
    }
}

impl Serialize for FreeTarget {
    /// Writes the amount to the byte: for people it is rounded.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let amount = match self.amount {
            FreeAmount::Bytes(bytes) => format!("{bytes}B"),
            FreeAmount::Percent(percent) => format!("{percent}%"),
        };
        match &self.path {
            Some(path) => serializer.collect_str(&format_args!("{amount}:{}", path.display())),
            None => serializer.serialize_str(&amount),
        }
    }
}

impl<'de> Deserialize<'de> for FreeTarget {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl fmt::Display for ResolvedTarget {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = HumanSize(self.bytes);
        match &self.mount_point {
            Some(mount_point) => write!(formatter, "{bytes} on `{}`", mount_point.display()),
            None => write!(formatter, "{bytes} on any filesystem: none can be measured"),
        }
    }
}

impl FreeAmount {
    /// Returns the target in bytes, given the size of the filesystem.
    pub fn bytes_of(self, filesystem: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Percent(percent) => {
                let bytes = u128::from(filesystem) * u128::from(percent) / 100;
                u64::try_from(bytes).unwrap_or(u64::MAX)
            }
        }
    }
}

impl FromStr for FreeAmount {
    type Err = FreeAmountError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_suffix('%') {
            Some(number) => parse_percent(text, number),
            None => parse_bytes(text),
        }
    }
}

impl fmt::Display for FreeAmount {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => HumanSize(*bytes).fmt(formatter),
            Self::Percent(percent) => write!(formatter, "{percent}%"),
        }
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn parse_percent(text: &str, number: &str) -> Result<FreeAmount, FreeAmountError> {
    let range = || FreeAmountError::PercentRange(text.to_owned());
    if !is_digits(number) {
        return Err(range());
    }
    let percent = number.parse().map_err(|_| range())?;
    if (1..=100).contains(&percent) {
        Ok(FreeAmount::Percent(percent))
    } else {
        Err(range())
    }
}

/// Reads digits, an optional fraction, and a unit. A fraction of a byte is dropped.
fn parse_bytes(text: &str) -> Result<FreeAmount, FreeAmountError> {
    let form = || FreeAmountError::Form(text.to_owned());
    let range = || FreeAmountError::BytesRange(text.to_owned());
    let end = text.find(|it: char| !it.is_ascii_digit() && it != '.');
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let unit = unit.to_ascii_lowercase();
    let unit = UNITS.iter().find(|(name, _)| *name == unit);
    let (_, unit) = unit.ok_or_else(form)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if !is_digits(whole) || !is_digits(fraction) || fraction.len() > MAX_FRACTION_DIGITS {
        return Err(form());
    }
    let whole: u64 = whole.parse().map_err(|error: std::num::ParseIntError| {
        debug_assert_eq!(*error.kind(), IntErrorKind::PosOverflow);
        range()
    })?;
    let scale = (0..fraction.len()).fold(1_u128, |scale, _| scale * 10);
    let fraction: u128 = fraction.parse().map_err(|_| form())?;
    let bytes = u128::from(whole) * u128::from(*unit) + fraction * u128::from(*unit) / scale;
    match u64::try_from(bytes) {
        Ok(bytes) if bytes > 0 => Ok(FreeAmount::Bytes(bytes)),
        Ok(_) | Err(_) => Err(range()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolved_target_names_its_filesystem() {
        let mut target = ResolvedTarget {
            bytes: 2_500_000,
            mount_point: Some("/var/lib".into()),
        };
        assert_eq!(target.to_string(), "2.5MB on `/var/lib`");
        target.mount_point = None;
        let text = target.to_string();
        assert_eq!(text, "2.5MB on any filesystem: none can be measured");
    }

    #[test]
    fn reads_sizes_as_docker_prints_them_and_more() {
        for (text, bytes) in [
            ("1", 1),
            ("20GB", 20_000_000_000),
            ("20gb", 20_000_000_000),
            ("20G", 20_000_000_000),
            ("512MB", 512_000_000),
            ("10GiB", 10 << 30),
            ("1.235MB", 1_235_000),
            ("0.5KiB", 512),
            ("1.9999B", 1),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(text.parse(), Ok(FreeAmount::Bytes(bytes)), "{text}");
        }
    }

    #[test]
    fn knows_the_powers_of_1000_and_of_1024() {
        for (unit, power) in [("k", 1), ("M", 2), ("g", 3), ("T", 4), ("p", 5)] {
            let thousands = FreeAmount::Bytes(1000_u64.pow(power));
            assert_eq!(format!("1{unit}").parse(), Ok(thousands));
            assert_eq!(format!("1{unit}B").parse(), Ok(thousands));
            let binary = FreeAmount::Bytes(1024_u64.pow(power));
            assert_eq!(format!("1{unit}iB").parse(), Ok(binary));
        }
        // As many digits as are read.
        assert_eq!(
            "1.000000000000001PB".parse(),
            Ok(FreeAmount::Bytes(1_000_000_000_000_001))
        );
    }

    #[test]
    fn prints_what_reads_the_same() {
        for text in ["1.5GB", "20MB", "7B", "15%"] {
            assert_eq!(text.parse::<FreeAmount>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn reads_whole_percentages() {
        assert_eq!("1%".parse(), Ok(FreeAmount::Percent(1)));
        assert_eq!("100%".parse(), Ok(FreeAmount::Percent(100)));
        for text in ["0%", "101%", "300%", "%", "-1%", "+5%", "1.5%", " 5%"] {
            let error = FreeAmountError::PercentRange(text.to_owned());
            assert_eq!(text.parse::<FreeAmount>(), Err(error), "{text}");
        }
        assert_eq!(FreeAmount::Percent(10).bytes_of(12_345), 1_234);
        assert_eq!(FreeAmount::Percent(100).bytes_of(u64::MAX), u64::MAX);
    }

    #[test]
    fn a_path_names_the_filesystem() {
        let read = |text: &str| text.parse::<FreeTarget>();
        let alone = FreeTarget::new(FreeAmount::Percent(10));
        assert_eq!(read("10%"), Ok(alone.clone()));
        let path = Some("/var/lib:x".into());
        let target = FreeTarget { path, ..alone };
        assert_eq!(read("10%:/var/lib:x"), Ok(target));
        for text in ["10%:", "10%:var", "1GB::/var"] {
            let error = read(text).unwrap_err();
            assert!(matches!(error, FreeTargetError::Path(_)), "{text}: {error}");
        }
        let error = read("x:/var").unwrap_err();
        assert!(matches!(error, FreeTargetError::Amount(_)), "{error}");
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for text in [
            "",
            "GB",
            ".5GB",
            "5.GB",
            "1.2.3GB",
            "20 GB",
            " 20GB",
            "20GB ",
            "-20GB",
            "+20GB",
            "1e3",
            "20XB",
            "20Gi",
            "20GBs",
            "0x10",
            "1_000",
            "²GB",
            "1.0000000000000000GB",
        ] {
            let error = FreeAmountError::Form(text.to_owned());
            assert_eq!(text.parse::<FreeAmount>(), Err(error), "{text}");
        }
        for text in [
            "0",
            "0.0GB",
            "0.4B",
            "18446744073709551616",
            "20000PB",
            "99999999999999999999",
        ] {
            let error = FreeAmountError::BytesRange(text.to_owned());
            assert_eq!(text.parse::<FreeAmount>(), Err(error), "{text}");
        }
    }
}
