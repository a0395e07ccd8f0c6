//! The projects of a namespace, and what their images occupy.
//!
//! The JSON form of each type is its form in `docs/json.md`, under `reclaim project ls`.

use std::collections::{BTreeMap, BTreeSet};

use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};

use crate::{Amount, Digest, ImageSize, Namespace, ProjectName};

/// The projects of a namespace, sorted by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProjectList {
    /// Which namespace.
    pub namespace: Namespace,
    /// Its projects.
    pub projects: Vec<ProjectUsage>,
}

/// A project, put together from labels, with what its images occupy.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ProjectUsage {
    /// Its name.
    pub project: ProjectName,
    /// Its services.
    pub services: BTreeSet<String>,
    /// The images that services name, by service; a service without one is built.
    #[serde(default)]
    pub service_images: BTreeMap<String, String>,
    /// How many containers it has.
    pub containers: usize,
    /// Its images by name: those labelled with it, and those that its services name.
    pub images: Vec<ProjectImage>,
    /// What removing its images without names of their own would free now.
    pub rmi_local: Amount,
}

/// An image of a project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectImage {
    /// The record's name.
    pub name: String,
    /// What it points at.
    pub target: Digest,
    /// The services that it is for.
    pub services: BTreeSet<String>,
    /// What it occupies.
    #[serde(flatten)]
    pub size: ImageSize,
}

impl ProjectUsage {
    /// Returns what its images occupy, each target once. What they share with each other counts
    /// with each.
    pub fn bytes(&self) -> u64 {
        let mut seen: BTreeSet<&Digest> = BTreeSet::new();
        let images = self.images.iter();
        let once = images.filter(|image| seen.insert(&image.target));
        once.map(|image| image.size.total_bytes()).sum()
    }
}

impl Serialize for ProjectUsage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Everything by name, so that a new field cannot be forgotten here.
        let Self {
            project,
            services,
            service_images,
            containers,
            images,
            rmi_local,
        } = self;
        let mut form = serializer.serialize_struct("ProjectUsage", 7)?;
        form.serialize_field("project", project)?;
        form.serialize_field("services", services)?;
        form.serialize_field("service_images", service_images)?;
        form.serialize_field("containers", containers)?;
        form.serialize_field("images", images)?;
        form.serialize_field("bytes", &self.bytes())?;
        form.serialize_field("rmi_local", rmi_local)?;
        form.end()
    }
}
