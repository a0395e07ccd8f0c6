//! What registries answered about images.

use std::collections::BTreeMap;

use crate::{Digest, Reference};

/// An image in a repository.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RegistryImage {
    /// The registry, with its port if it has one, as in the image's name.
    pub registry: String,
    /// The path of the repository within the registry.
    pub path: String,
    /// The digest of the index or manifest.
    pub digest: Digest,
}

impl RegistryImage {
    /// Returns the image with this digest in the repository of a name.
    pub fn new(name: &Reference, digest: &Digest) -> Self {
        Self {
            registry: name.domain().to_owned(),
            path: name.path().to_owned(),
            digest: digest.clone(),
        }
    }
}

/// Whether a registry has an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistryAnswer {
    /// It has the image.
    Has,
    /// It is not known to have the image. The text says why.
    Unknown(String),
}

/// Registries of which a mirror on this machine may serve images to other machines, out of containerd's
/// content, and why.
pub type LocalMirrors = BTreeMap<String, String>;

/// What registries answered.
pub type RegistryAnswers = BTreeMap<RegistryImage, RegistryAnswer>;
