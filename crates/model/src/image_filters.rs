//! Filters of images, in the words of policies.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

use crate::{
    ByteSize, ByteSizeError, Digest, GoDurationError, IdPrefix, ListedImage, Pattern, PatternError,
    parse_go_duration,
};

/// The keys of filters that only Reclaim has, sorted: lists of images take them, and policies, prunes
/// and slims in addition to Docker's.
pub const IMAGE_FILTER_KEYS: [&str; 4] = ["digest", "larger-than", "reference", "unused-for"];

/// Which images are meant. Several `reference` or several `digest` filters are alternatives; all others
/// must match together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageFilters {
    /// Names, of which one must match; empty matches any.
    pub references: Vec<Pattern>,
    /// Targets, of which one must match; empty matches any.
    pub digests: Vec<DigestFilter>,
    /// Only images whose content has at least this many bytes.
    pub larger_than: u64,
    /// Only images that are unused for this long.
    pub unused_for: Duration,
}

/// A value of `digest`: a whole digest, or the beginning of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DigestFilter {
    /// A whole digest.
    Whole(Digest),
    /// The beginning of a SHA-256 digest.
    Prefix(IdPrefix),
}

impl DigestFilter {
    fn parse(text: &str) -> Option<Self> {
        let whole = text.parse().ok().map(Self::Whole);
        whole.or_else(|| IdPrefix::parse(text).map(Self::Prefix))
    }

    /// Whether it means a target.
    pub fn matches(&self, target: &Digest) -> bool {
        match self {
            Self::Whole(digest) => digest == target,
            Self::Prefix(prefix) => prefix.matches(target),
        }
    }
}

impl fmt::Display for DigestFilter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(digest) => digest.fmt(formatter),
            Self::Prefix(prefix) => prefix.fmt(formatter),
        }
    }
}

/// Why a filter of images is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageFilterError {
    /// It has no `=`.
    #[error("filter `{0}` has no value; accepted are {keys} as KEY=VALUE", keys = IMAGE_FILTER_KEYS.join(", "))]
    NoValue(String),
    /// The key is unknown.
    #[error("filter `{0}` is unknown; accepted are {keys}", keys = IMAGE_FILTER_KEYS.join(", "))]
    UnknownKey(String),
    /// A value of `reference`.
    #[error("filter `reference`: {0}")]
    Reference(PatternError),
    /// A value of `digest`.
    #[error(
        "filter `digest`: `{0}` is not the beginning of a digest; accepted are 1 to 64 hexadecimal \
         digits, with or without `sha256:`"
    )]
    Digest(String),
    /// A value of `larger-than`.
    #[error("filter `larger-than`: {0}")]
    Size(ByteSizeError),
    /// A value of `unused-for`.
    #[error("filter `unused-for`: {0}")]
    Duration(GoDurationError),
    /// A negative value of `unused-for`.
    #[error("filter `unused-for` is negative: `{0}`")]
    Negative(String),
}

impl ImageFilters {
    /// Parses filters as `key=value`.
    ///
    /// # Errors
    ///
    /// [`ImageFilterError`] for the first that is not accepted.
    pub fn parse(pairs: &[String]) -> Result<Self, ImageFilterError> {
        let mut filters = Self::default();
        for pair in pairs {
            filters.add_pair(pair)?;
        }
        Ok(filters)
    }

    /// Whether a filter, as `key=value`, has one of [`IMAGE_FILTER_KEYS`].
    pub fn has_key_of(pair: &str) -> bool {
        let key = pair.split_once('=').map(|(key, _)| key_of(key));
        key.is_some_and(|key| IMAGE_FILTER_KEYS.contains(&&*key))
    }

    /// Adds a filter as `key=value`. Both parts are trimmed, and the key becomes lower-case.
    ///
    /// # Errors
    ///
    /// [`ImageFilterError`] if it is not accepted. Nothing was added then.
    pub fn add_pair(&mut self, pair: &str) -> Result<(), ImageFilterError> {
        let Some((key, value)) = pair.split_once('=') else {
            return Err(ImageFilterError::NoValue(pair.to_owned()));
        };
        let value = value.trim();
        match &*key_of(key) {
            "reference" => {
                let pattern = value.parse().map_err(ImageFilterError::Reference)?;
                self.references.push(pattern);
            }
            "digest" => {
                let digest = DigestFilter::parse(value);
                let refused = || ImageFilterError::Digest(value.to_owned());
                self.digests.push(digest.ok_or_else(refused)?);
            }
            "larger-than" => {
                let ByteSize(bytes) = value.parse().map_err(ImageFilterError::Size)?;
                self.larger_than = self.larger_than.max(bytes);
            }
            "unused-for" => {
                let unused = parse_go_duration(value).map_err(ImageFilterError::Duration)?;
                let unused = Duration::try_from(unused)
                    .map_err(|_| ImageFilterError::Negative(value.to_owned()))?;
                self.unused_for = self.unused_for.max(unused);
            }
            key => return Err(ImageFilterError::UnknownKey(key.to_owned())),
        }
        Ok(())
    }

    /// Writes the filters as `key=value`, which parse to the same value.
    pub fn pairs(&self) -> Vec<String> {
        let Self {
            references,
            digests,
            larger_than,
            unused_for,
        } = self;
        let references = references.iter().map(|it| format!("reference={it}"));
        let digests = digests.iter().map(|it| format!("digest={it}"));
        let mut pairs: Vec<String> = references.chain(digests).collect();
        if *larger_than > 0 {
            pairs.push(format!("larger-than={larger_than}B"));
        }
        if !unused_for.is_zero() {
            pairs.push(format!("unused-for={}ns", unused_for.as_nanos()));
        }
        pairs
    }

    /// Whether they depend on when images were last used.
    pub fn need_last_use(&self) -> bool {
        !self.unused_for.is_zero()
    }

    /// Whether a name is meant.
    pub fn selects_name(&self, name: &str) -> bool {
        let names = &self.references;
        names.is_empty() || names.iter().any(|pattern| pattern.matches(name))
    }

    /// Whether a target is meant.
    pub fn selects_target(&self, target: &Digest) -> bool {
        let digests = &self.digests;
        digests.is_empty() || digests.iter().any(|digest| digest.matches(target))
    }

    /// Returns whether the filters select an image of a list, which was made at `now`. An image whose last
    /// use is unknown counts as used now.
    pub fn selects(&self, image: &ListedImage, now: Timestamp) -> bool {
        let unused = image.last_used.map(|used| now.duration_since(used));
        let is_idle = || {
            let unused = unused.and_then(|unused| Duration::try_from(unused).ok());
            unused.is_some_and(|unused| unused >= self.unused_for)
        };
        self.selects_name(&image.name)
            && self.selects_target(&image.target)
            && image.size.content_bytes >= self.larger_than
            && (!self.need_last_use() || is_idle())
    }
}

fn key_of(text: &str) -> String {
    text.trim().to_lowercase()
}

#[cfg(test)]
mod tests;
