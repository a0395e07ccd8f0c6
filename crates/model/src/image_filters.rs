//! Filters of lists of images, in the words of policies.

use crate::{ByteSize, ByteSizeError, IdPrefix, ListedImage, Pattern, PatternError};

/// The keys of filters of lists of images, sorted.
pub const IMAGE_FILTER_KEYS: [&str; 3] = ["digest", "larger-than", "reference"];

/// Which images of a list are shown. Several `reference` or several `digest` filters are
/// alternatives; all others must match together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageFilters {
    /// Names, of which one must match; empty matches any.
    references: Vec<Pattern>,
    /// Beginnings of targets, of which one must match; empty matches any.
    digests: Vec<IdPrefix>,
    /// Only images whose content has at least this many bytes.
    larger_than: u64,
}

/// Why a filter of a list of images is refused.
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
            let Some((key, value)) = pair.split_once('=') else {
                return Err(ImageFilterError::NoValue(pair.clone()));
            };
            let value = value.trim();
            match key.trim() {
                "reference" => {
                    let pattern = value.parse().map_err(ImageFilterError::Reference)?;
                    filters.references.push(pattern);
                }
                "digest" => {
                    let prefix = IdPrefix::parse(value);
                    let refused = || ImageFilterError::Digest(value.to_owned());
                    filters.digests.push(prefix.ok_or_else(refused)?);
                }
                "larger-than" => {
                    let ByteSize(bytes) = value.parse().map_err(ImageFilterError::Size)?;
                    filters.larger_than = filters.larger_than.max(bytes);
                }
                key => return Err(ImageFilterError::UnknownKey(key.to_owned())),
            }
        }
        Ok(filters)
    }

    /// Returns whether the filters select an image.
    pub fn selects(&self, image: &ListedImage) -> bool {
        let names = &self.references;
        let is_named = names.is_empty() || names.iter().any(|name| name.matches(&image.name));
        let digests = &self.digests;
        let is_target =
            digests.is_empty() || digests.iter().any(|digest| digest.matches(&image.target));
        is_named && is_target && image.size.content_bytes >= self.larger_than
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ImageSize, RemoveReason};

    fn parse(pairs: &[&str]) -> Result<ImageFilters, ImageFilterError> {
        let pairs: Vec<String> = pairs.iter().map(|pair| (*pair).to_owned()).collect();
        ImageFilters::parse(&pairs)
    }

    #[test]
    fn selects_by_name_digest_and_size() {
        let image = ListedImage {
            name: "docker.io/library/app:1".to_owned(),
            target: format!("sha256:{}", "ab".repeat(32)).parse().unwrap(),
            size: ImageSize {
                content_bytes: 1000,
                ..ImageSize::default()
            },
            layers: Vec::new(),
            created: None,
            pinned: None,
            verdict: Ok(RemoveReason::Unused),
        };
        for (pairs, expected) in [
            (&[][..], true),
            (&["reference=app:*"], true),
            (&["reference=~library/app"], true),
            (&["reference=web:*"], false),
            (&["reference=web:*", "reference=app:*"], true),
            (&["digest=abab"], true),
            (&["digest=sha256:abab"], true),
            (&["digest=ba"], false),
            (&["digest=ba", "digest=ab"], true),
            (&["larger-than=1kB"], true),
            (&["larger-than=1001B"], false),
            (&["larger-than=1B", "larger-than=2kB"], false),
            (&["reference=app:*", "digest=ba"], false),
            (&["reference=web:*", "larger-than=1B"], false),
        ] {
            assert_eq!(parse(pairs).unwrap().selects(&image), expected, "{pairs:?}");
        }
    }

    #[test]
    fn says_what_is_wrong_with_a_filter() {
        assert!(IMAGE_FILTER_KEYS.is_sorted());
        for (pair, expected) in [
            (
                "",
                "filter `` has no value; accepted are digest, larger-than, reference",
            ),
            ("reference", "filter `reference` has no value; accepted are"),
            ("=app", "filter `` is unknown; accepted are"),
            ("colour=red", "filter `colour` is unknown; accepted are"),
            ("until=24h", "filter `until` is unknown; accepted are"),
            ("reference=", "filter `reference`: pattern is empty"),
            (
                "reference=~(",
                "filter `reference`: pattern is not a regular expression",
            ),
            (
                "digest=",
                "filter `digest`: `` is not the beginning of a digest",
            ),
            ("digest=app", "filter `digest`: `app` is not the beginning"),
            ("larger-than=", "filter `larger-than`: "),
            ("larger-than=much", "filter `larger-than`: "),
        ] {
            let error = parse(&[pair]).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{pair}: {error}");
        }
    }
}
