//! The namespaces of containerd, and values of several namespaces.
//!
//! The JSON form of each type is its form in `docs/json.md`.

use serde::{Deserialize, Serialize};

use crate::Namespace;

/// The namespaces that containerd lists, with the number of their images.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceList {
    /// One for each namespace, sorted by name.
    pub namespaces: Vec<NamespaceImages>,
}

/// A namespace, and how many images it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamespaceImages {
    /// The namespace.
    pub namespace: Namespace,
    /// The number of images, each counted once whatever the number of its names; `None` if they
    /// could not be listed.
    pub images: Option<u64>,
}

/// A value for each of several namespaces.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ByNamespace<T> {
    /// One for each namespace that has a value, in the order of the namespaces.
    pub namespaces: Vec<T>,
    /// The namespaces without a value, and why.
    pub failed: Vec<FailedNamespace>,
}

impl<T> Default for ByNamespace<T> {
    fn default() -> Self {
        Self {
            namespaces: Vec::new(),
            failed: Vec::new(),
        }
    }
}

/// A namespace for which a command failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedNamespace {
    /// The namespace.
    pub namespace: Namespace,
    /// The error, causes included.
    pub error: String,
}
