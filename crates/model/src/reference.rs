//! Docker references: the names that people type, and the full names they stand for.
//!
//! `alpine` means `docker.io/library/alpine`. Docker stores the full form as the name of the
//! image record and shows the short, *familiar* one; containers carry whatever was typed.
//! Comparing a container with a record therefore starts here. Not every record name is a
//! reference: other engines choose freely, and such a name is kept as it is.
//!
//! Source of the rules: distribution/reference, `normalize.go` and `regexp.go`.

mod grammar;
mod id_prefix;
#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Digest, DigestError};

pub use id_prefix::IdPrefix;

/// The registry that a name without one belongs to.
const DEFAULT_DOMAIN: &str = "docker.io";

/// The former name of Docker Hub; old clients and files still use it.
const LEGACY_DEFAULT_DOMAIN: &str = "index.docker.io";

/// The path on Docker Hub of images without an owner.
const OFFICIAL_PREFIX: &str = "library/";

/// The tag of a name that has neither tag nor digest.
const DEFAULT_TAG: &str = "latest";

/// The maximum bytes of a path; the registry's domain does not count.
const MAX_PATH_LEN: usize = 255;

/// A normalised image reference: registry, path, and perhaps a tag, a digest, or both.
///
/// It prints in its full form, which parses back to the same value. Ordering is by the parts
/// in the order of the fields.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is not a [`Reference`]. Texts as Docker's, because its clients show them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReferenceError {
    /// 64 hexadecimal characters are an image ID, never a name.
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    HexIdentifier(String),
    /// The path, which is carried here, has an upper-case letter.
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    UpperCase(String),
    /// The text, which is carried here, would do if it were lower-case.
    #[error("repository name must be lowercase")]
    NotLowerCase(String),
    /// The text, which is carried here, does not follow the grammar.
    #[error("invalid reference format")]
    Format(String),
    /// The path is too long.
    #[error("repository name must not be more than {max} characters", max = MAX_PATH_LEN)]
    TooLong,
    /// The part after the `@` looks like a digest, but its algorithm is unknown.
    #[error("{}", digest_problem(.0))]
    Digest(#[source] DigestError),
}

impl Reference {
    /// Parses a name as typed, and fills in what it leaves out: registry and `library/`.
    ///
    /// The first component is a registry when it is `localhost`, has a dot or a colon, or has
    /// an upper-case letter (paths have none). A tag is not filled in; see
    /// [`Self::with_default_tag`].
    ///
    /// Stricter than Docker in one point: digests are those of [`Digest`], hence no `sha384`.
    ///
    /// # Errors
    ///
    /// A [`ReferenceError`] that says which rule the text breaks. For a record's name this is
    /// no failure: the name is then one that Docker cannot address.
    pub fn parse_normalized(text: &str) -> Result<Self, ReferenceError> {
        if grammar::is_hex_identifier(text) {
            return Err(ReferenceError::HexIdentifier(text.to_owned()));
        }
        let (domain, remainder) = split_domain(text);
        let prefix = if domain == DEFAULT_DOMAIN && !remainder.contains('/') {
            OFFICIAL_PREFIX
        } else {
            ""
        };
        let remainder = format!("{prefix}{remainder}");
        let path = remainder.split(':').next().unwrap_or_default();
        if path.to_lowercase() != path {
            return Err(ReferenceError::UpperCase(path.to_owned()));
        }
        Self::parse_full(&format!("{domain}/{remainder}"))
    }

    /// Parses a text in which nothing is left out.
    fn parse_full(text: &str) -> Result<Self, ReferenceError> {
        let Some(parts) = grammar::split(text) else {
            return Err(if grammar::split(&text.to_lowercase()).is_some() {
                ReferenceError::NotLowerCase(text.to_owned())
            } else {
                ReferenceError::Format(text.to_owned())
            });
        };
        if parts.path.len() > MAX_PATH_LEN {
            return Err(ReferenceError::TooLong);
        }
        let digest = parts.digest.map(str::parse).transpose();
        Ok(Self {
            domain: parts.domain.to_owned(),
            path: parts.path.to_owned(),
            tag: parts.tag.map(str::to_owned),
            digest: digest.map_err(ReferenceError::Digest)?,
        })
    }

    /// Adds the tag `latest` when there is neither a tag nor a digest.
    #[must_use]
    pub fn with_default_tag(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some(DEFAULT_TAG.to_owned());
        }
        self
    }

    /// Returns the registry, with its port if it has one.
    ///
    /// Empty for the odd name whose first component has a dot but is no host name, such as
    /// `my_host.local/app`: Docker takes it for a registry, then reads all of it as the path.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// Returns the path within the registry, such as `library/alpine`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns registry and path, without tag and digest.
    pub fn repository(&self) -> String {
        if self.domain.is_empty() {
            return self.path.clone();
        }
        format!("{}/{}", self.domain, self.path)
    }

    /// Returns the tag, if there is one.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// Returns the digest, if there is one.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Returns the short form that Docker shows, with tag and digest.
    ///
    /// It is for people. A few names do not parse back: `docker.io/a.b/c` is shown as `a.b/c`.
    pub fn familiar(&self) -> String {
        self.with_suffix(self.familiar_repository())
    }

    /// Returns the short form without tag and digest: the column `REPOSITORY` of `image ls`.
    pub fn familiar_repository(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return self.repository();
        }
        match self.path.strip_prefix(OFFICIAL_PREFIX) {
            Some(name) if !name.contains('/') => name.to_owned(),
            Some(_) | None => self.path.clone(),
        }
    }

    fn with_suffix(&self, mut repository: String) -> String {
        if let Some(tag) = &self.tag {
            repository.push(':');
            repository.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            repository.push('@');
            repository.push_str(&digest.to_string());
        }
        repository
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.with_suffix(self.repository()))
    }
}

/// Returns Docker's text for an invalid digest; the cause has Reclaim's own.
fn digest_problem(error: &DigestError) -> &'static str {
    match error {
        DigestError::UnknownAlgorithm(_) => "unsupported digest algorithm",
        DigestError::BadHex { expected, got } => {
            let hex = got.split_once(':').map_or("", |(_, hex)| hex);
            if hex.len() == *expected {
                "invalid checksum digest format"
            } else {
                "invalid checksum digest length"
            }
        }
        DigestError::NoAlgorithm(_) => "invalid checksum digest format",
    }
}

/// Splits a text as typed into registry and the rest; the rest keeps tag and digest.
fn split_domain(text: &str) -> (&str, &str) {
    // Without a slash, a colon separates a tag: `localhost:5000` is an image.
    let Some((first, rest)) = text.split_once('/') else {
        return (DEFAULT_DOMAIN, text);
    };
    if first == LEGACY_DEFAULT_DOMAIN {
        return (DEFAULT_DOMAIN, rest);
    }
    let is_domain =
        first == "localhost" || first.contains(['.', ':']) || first.to_lowercase() != first;
    if is_domain {
        (first, rest)
    } else {
        (DEFAULT_DOMAIN, text)
    }
}

/// Returns the name that Docker shows for an image record: short if canonical, else as it is.
///
/// Canonical means that normalising changes nothing. A record called `alpine` is therefore
/// shown as `alpine` and yet is not what Docker means by that name.
///
/// Dangling records are shown by their digest; that is for the caller, who has the target.
///
/// Source: moby, `daemon/containerd/image.go`.
pub fn familiar_name(record_name: &str) -> String {
    match Reference::parse_normalized(record_name) {
        Ok(reference) if reference.to_string() == record_name => reference.familiar(),
        Ok(_) | Err(_) => record_name.to_owned(),
    }
}
