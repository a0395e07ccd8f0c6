//! Which images a policy removes.

use std::time::Duration;

use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};

use crate::{
    Digest, DigestError, FilterArgs, FilterError, IMAGE_FILTER_KEYS, ImageFilterError,
    ImageFilters, PRUNE_FILTER_KEYS, PolicyName, PruneFilters, TimeContext,
};

/// The filters of a policy: Docker's, and Reclaim's own. All must match.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RuleFilters {
    /// Docker's. Ages in them count back from each run.
    pub docker: FilterArgs,
    /// Reclaim's own.
    pub images: ImageFilters,
}

/// Why a filter of a policy is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleFilterError {
    /// One of Docker's.
    #[error("{0}")]
    Docker(FilterError),
    /// The key is unknown.
    #[error(
        "filter `{0}` is unknown; accepted are {docker}, {own}",
        docker = PRUNE_FILTER_KEYS.join(", "),
        own = IMAGE_FILTER_KEYS.join(", ")
    )]
    UnknownKey(String),
    /// A value of `digest`: policies take whole digests only.
    #[error("filter `digest`: {0}")]
    Digest(DigestError),
    /// Another of Reclaim's own.
    #[error(transparent)]
    Image(#[from] ImageFilterError),
}

impl From<FilterError> for RuleFilterError {
    fn from(error: FilterError) -> Self {
        match error.unknown_key() {
            Some(key) => Self::UnknownKey(key.to_owned()),
            None => Self::Docker(error),
        }
    }
}

impl RuleFilters {
    /// Parses filters as `key=value`. `all` is whether images with a name may go too.
    ///
    /// # Errors
    ///
    /// [`RuleFilterError`] for the first that is not accepted.
    pub fn parse(pairs: &[String], all: bool) -> Result<Self, RuleFilterError> {
        let mut filters = Self::default();
        for pair in pairs {
            let Some((key, value)) = pair.split_once('=') else {
                return Err(FilterError::Pair(pair.clone()).into());
            };
            if key.trim().eq_ignore_ascii_case("digest") {
                // A prefix may mean another image tomorrow.
                let whole: Result<Digest, DigestError> = value.trim().parse();
                whole.map_err(RuleFilterError::Digest)?;
            }
            if ImageFilters::has_key_of(pair) {
                filters.images.add_pair(pair)?;
            } else {
                filters.docker.add_pair(pair)?;
            }
        }
        filters
            .docker
            .add("dangling", if all { "false" } else { "true" });
        // Any moment will do: what is accepted does not depend on it.
        filters.at(&TimeContext {
            now: Timestamp::UNIX_EPOCH,
            offset: Offset::UTC,
        })?;
        Ok(filters)
    }

    /// Whether images with a name may go too.
    pub fn all(&self) -> bool {
        self.docker.values("dangling").any(|it| it == "false")
    }

    /// Writes the filters as `key=value`. With [`Self::all`] they parse to the same value.
    pub fn pairs(&self) -> Vec<String> {
        let Self { docker, images } = self;
        let mut pairs = Vec::new();
        for key in PRUNE_FILTER_KEYS {
            // Whether all may go says this one.
            let values = docker.values(key).filter(|_| key != "dangling");
            pairs.extend(values.map(|value| format!("{key}={value}")));
        }
        pairs.extend(images.pairs());
        pairs
    }

    /// Returns Docker's filters as they are at a moment.
    ///
    /// # Errors
    ///
    /// None, for filters that [`Self::parse`] returned.
    pub fn at(&self, context: &TimeContext) -> Result<PruneFilters, FilterError> {
        PruneFilters::from_args(&self.docker, context)
    }
}

/// Which images one policy removes.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The policy, for the reasons.
    pub name: PolicyName,
    /// What an image must match to go.
    pub filters: RuleFilters,
    /// Only images that were pulled or created, and last used, at least this long ago.
    pub min_age: Duration,
    /// Only images that are unused for this long.
    pub unused_for: Duration,
    /// How many of the newest images of each repository stay.
    pub keep_newest: usize,
    /// Whether images go that no registry is known to have.
    pub last_copies: bool,
}

impl Rule {
    /// Returns how long an image must be unused to go.
    pub fn idle(&self) -> SignedDuration {
        let idle = self.unused_for.max(self.filters.images.unused_for);
        SignedDuration::try_from(idle).unwrap_or(SignedDuration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[&str], all: bool) -> Result<RuleFilters, RuleFilterError> {
        let pairs: Vec<String> = pairs.iter().map(|it| (*it).to_owned()).collect();
        RuleFilters::parse(&pairs, all)
    }

    #[test]
    fn what_is_printed_parses_to_the_same() {
        let digest = format!("digest=sha256:{}", "a".repeat(64));
        let pairs = [
            "label=keep=no",
            "until=240h",
            "reference=*/app:*",
            "reference=~^registry",
            &digest,
            "larger-than=100B",
            "unused-for=3600000000000ns",
        ];
        for all in [true, false] {
            let filters = parse(&pairs, all).unwrap();
            assert_eq!(filters.all(), all);
            let mut printed = filters.pairs();
            assert_eq!(RuleFilters::parse(&printed, all), Ok(filters));
            printed.sort();
            let mut typed = pairs;
            typed.sort_unstable();
            assert_eq!(printed, typed);
        }
        assert_eq!(parse(&[], true).unwrap().pairs(), Vec::<String>::new());
    }

    #[test]
    fn of_several_the_strictest_counts() {
        let pairs = [
            "larger-than=2kB",
            "larger-than=1kB",
            "unused-for=1h",
            "unused-for=2h",
        ];
        let filters = parse(&pairs, true).unwrap();
        assert_eq!(filters.images.larger_than, 2000);
        assert_eq!(filters.images.unused_for, Duration::from_secs(7200));
        let rule = |unused_for| Rule {
            name: "p".parse().unwrap(),
            filters: filters.clone(),
            min_age: Duration::ZERO,
            unused_for,
            keep_newest: 0,
            last_copies: false,
        };
        let idle = |hours: u64| rule(Duration::from_secs(hours * 3600)).idle();
        assert_eq!(idle(1), SignedDuration::from_hours(2));
        assert_eq!(idle(3), SignedDuration::from_hours(3));
        assert_eq!(rule(Duration::MAX).idle(), SignedDuration::MAX);
    }

    #[test]
    fn says_what_is_wrong_with_a_filter() {
        for (pair, expected) in [
            ("label", "expected name=value"),
            ("colour=red", "filter `colour` is unknown; accepted are"),
            (
                "reference=~(",
                "filter `reference`: pattern is not a regular expression",
            ),
            ("digest=sha256:1", "filter `digest`:"),
            ("DIGEST=sha256:1", "filter `digest`:"),
            ("larger-than=much", "filter `larger-than`:"),
            ("unused-for=soon", "filter `unused-for`:"),
            ("unused-for=-1h", "filter `unused-for` is negative: `-1h`"),
            ("until=yesterday", "until"),
        ] {
            let error = parse(&[pair], true).unwrap_err().to_string();
            assert!(error.contains(expected), "{pair}: {error}");
        }
    }
}
