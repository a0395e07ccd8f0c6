//! Fetching the layers again that images lost: the request, and the result for each image.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::form::{self, Problem};
use crate::{Digest, HumanSize, Mode, Namespace, NotRemoved, Platform};

/// Images whose missing layers are to be fetched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestoreRequest {
    /// Where.
    pub namespace: Namespace,
    /// Names, digests, or beginnings of digests, as typed. Empty is every image that lacks layers.
    #[serde(default)]
    pub names: Vec<String>,
    /// The platforms; empty is all whose manifest and configuration are present. One that is absent is
    /// fetched if it is named here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<Platform>,
    /// Whether a namespace that does not exist is one without images, rather than an error.
    #[serde(default)]
    pub may_lack_namespace: bool,
    /// Whether to report only what would be fetched.
    #[serde(default)]
    pub dry_run: bool,
}

impl RestoreRequest {
    /// Returns the mode of the request.
    pub fn mode(&self) -> Mode {
        if self.dry_run {
            Mode::DryRun
        } else {
            Mode::Apply
        }
    }

    /// Returns the results of the request.
    pub fn restores(&self, images: Vec<RestoreOutcome>) -> Restores {
        Restores {
            namespace: self.namespace.clone(),
            mode: self.mode(),
            images,
        }
    }
}

/// A user of a registry. Its `Debug` form leaves out the password.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistryCredentials {
    /// The name of the user.
    pub user: String,
    /// The password, or a token in place of one.
    pub password: String,
}

impl fmt::Debug for RegistryCredentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RegistryCredentials")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// Credentials by registry: its host, with its port if it has one, as in names of images.
pub type CredentialsByRegistry = BTreeMap<String, RegistryCredentials>;

/// A request with the credentials that it needs, as a daemon receives it. The credentials are neither
/// recorded nor logged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestoreCall {
    /// What to fetch.
    pub request: RestoreRequest,
    /// Whose credentials are sent to which registry.
    #[serde(default)]
    pub credentials: CredentialsByRegistry,
}

/// Content in a repository of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegistryContent {
    /// The registry, with its port if it has one, as in the image's name.
    pub registry: String,
    /// The path of the repository within the registry.
    pub path: String,
    /// Which content.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// Whether it is a manifest, for which registries have an address of its own.
    pub is_manifest: bool,
}

/// A part of content that is being fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FetchedPart {
    /// The content follows from its first byte. What was sent before is not part of it.
    Begin,
    /// The next bytes.
    Data(Vec<u8>),
}

/// Content that was fetched, or would be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FetchedContent {
    /// Which content.
    pub digest: Digest,
    /// Its length in bytes.
    pub bytes: u64,
}

/// The result for one image.
///
/// With an `error`, what was fetched before it is listed and stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreOutcome {
    /// As typed; without names in the request, the full name of the record.
    pub name: String,
    /// What the record points at; `None` if there is no such image.
    pub target: Option<Digest>,
    /// The registry from which the content is fetched, if the image's name has one.
    pub registry: Option<String>,
    /// What was fetched, or would be, sorted.
    pub fetched: Vec<FetchedContent>,
    /// How many bytes these are.
    pub fetched_bytes: u64,
    /// How many labels were written, or would be, by which containerd keeps the content.
    pub labels: usize,
    /// Why the image still lacks content.
    #[serde(flatten, with = "form::problem")]
    pub error: Option<NotRestored>,
}

impl RestoreOutcome {
    /// Returns the result for an image of which nothing was done yet.
    pub fn new(name: impl Into<String>, target: Option<Digest>) -> Self {
        Self {
            name: name.into(),
            target,
            registry: None,
            fetched: Vec::new(),
            fetched_bytes: 0,
            labels: 0,
            error: None,
        }
    }

    /// Returns the result for a name for which nothing could be done.
    pub fn failed(name: impl Into<String>, error: NotRestored) -> Self {
        Self {
            error: Some(error),
            ..Self::new(name, None)
        }
    }

    /// Enters the content, and its bytes.
    pub fn set_fetched(&mut self, mut fetched: Vec<FetchedContent>) {
        fetched.sort_unstable();
        let bytes = fetched.iter().map(|it| it.bytes);
        self.fetched_bytes = bytes.fold(0, u64::saturating_add);
        self.fetched = fetched;
    }

    /// Whether it changed the image, or in a dry run would.
    pub fn is_change(&self) -> bool {
        !self.fetched.is_empty() || self.labels > 0
    }
}

/// The results of a [`RestoreRequest`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restores {
    /// The namespace.
    pub namespace: Namespace,
    /// Whether it was a dry run.
    #[serde(rename = "dry_run", with = "form::dry_run")]
    pub mode: Mode,
    /// One for each name that was given, or for each image that lacked layers.
    pub images: Vec<RestoreOutcome>,
}

/// Why an image still lacks content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotRestored {
    /// The name means no image, or several.
    #[error("{0}")]
    NotFound(NotRemoved),
    /// No name of the image has a registry.
    #[error("no registry is known for {0}: none of its names is one of a repository")]
    NoRegistry(String),
    /// A manifest of the image cannot be read: which, and why.
    #[error("{0}")]
    Unreadable(String),
    /// The image does not have a platform of the request.
    #[error("the image has no platform {0}")]
    NoPlatform(String),
    /// The filesystem of the content store has too little room. Nothing was fetched.
    #[error(
        "{} are to be fetched, but the filesystem of the content store has {} left",
        HumanSize(*needed),
        HumanSize(*left)
    )]
    NoRoom {
        /// The bytes to fetch.
        needed: u64,
        /// The bytes that are left.
        left: u64,
    },
    /// A registry did not give the content: which, and why.
    #[error("{0}")]
    Fetch(String),
    /// A registry demands credentials, or refuses those that it got: which, and how.
    #[error("{0}")]
    Unauthorized(String),
    /// The image changed meanwhile, so labels could not be written: which.
    #[error("{0} changed meanwhile; retry")]
    Changed(String),
    /// It was stopped first.
    #[error("stopped before everything was fetched")]
    Cancelled,
    /// containerd failed: the error with its causes.
    #[error("{0}")]
    Failed(String),
}

impl NotRestored {
    /// Returns the word for the error in JSON and gRPC.
    pub fn word(&self) -> &'static str {
        self.problem()
    }
}

impl Problem for NotRestored {
    fn problem(&self) -> &'static str {
        match self {
            Self::NotFound(error) => error.problem(),
            Self::NoRegistry(_) => "no_registry",
            Self::Unreadable(_) => "unreadable",
            Self::NoPlatform(_) => "no_platform",
            Self::NoRoom { .. } => "no_room",
            Self::Fetch(_) => "fetch",
            Self::Unauthorized(_) => "unauthorized",
            Self::Changed(_) => "changed",
            Self::Cancelled => "cancelled",
            Self::Failed(_) => "failed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_debug_form_has_a_password() {
        let credentials = RegistryCredentials {
            user: "me".to_owned(),
            password: "secret".to_owned(),
        };
        let call = RestoreCall {
            request: RestoreRequest {
                namespace: "default".parse().unwrap(),
                names: Vec::new(),
                platforms: Vec::new(),
                may_lack_namespace: false,
                dry_run: false,
            },
            credentials: [("registry.example".to_owned(), credentials)].into(),
        };
        let text = format!("{call:?}");
        assert!(
            text.contains("\"me\"") && !text.contains("secret"),
            "{text}"
        );
    }
}
