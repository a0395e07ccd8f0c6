//! The projects of a namespace, put together from the labels of containers and images.

use std::collections::{BTreeMap, BTreeSet};

use reclaim_model::{Container, Digest, Inventory, Namespace, NamespaceInventory, Project};

use super::{Listed, labels_of, listed, normalized};
use crate::case::Case;

/// A project that labels tell of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenProject {
    /// The project, put together from labels.
    pub project: Project,
    /// How many containers it has.
    pub containers: usize,
    /// Its images, sorted by name: those labelled with it, and those that its services name.
    pub images: Vec<ProjectImage>,
}

/// An image of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectImage {
    /// The record's name.
    pub name: String,
    /// What it points at.
    pub target: Digest,
    /// The services that it is for.
    pub services: BTreeSet<String>,
}

/// Returns the projects of a namespace, sorted by name, as the labels of its containers and
/// images tell.
///
/// A service that only images tell of counts as one that names its image, unless that has the
/// default name. What cannot be a project's name is none.
pub fn projects(
    inventory: &Inventory,
    registered: &[Container],
    namespace: &Namespace,
) -> Vec<SeenProject> {
    let empty = NamespaceInventory::default();
    let namespace = inventory.namespaces.get(namespace).unwrap_or(&empty);
    let case = Case::new(inventory, namespace, registered);
    let listed = listed(&case);
    let mut services: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
    for image in &listed {
        if let Some((project, service)) = labels_of(&image.labels) {
            let name = image.names.first().map_or("", |it| it);
            services.entry(project).or_default().push((service, name));
        }
    }
    // After the images: what a container was created from decides.
    let containers = || namespace.containers.iter().chain(registered);
    for container in containers() {
        if let Some((project, service)) = labels_of(&container.labels) {
            let services = services.entry(project).or_default();
            services.push((service, &container.image));
        }
    }
    let projects = services.into_iter().filter_map(|(name, services)| {
        let project = Project::of_containers(name.parse().ok()?, services);
        let is_its = |it: &&Container| labels_of(&it.labels).is_some_and(|it| it.0 == name);
        Some(SeenProject {
            containers: containers().filter(is_its).count(),
            images: images_of(&case, &project, &listed),
            project,
        })
    });
    projects.collect()
}

fn images_of(case: &Case<'_>, project: &Project, listed: &[Listed]) -> Vec<ProjectImage> {
    let labels: BTreeMap<&str, &str> = listed
        .iter()
        .filter_map(|image| {
            let (name, service) = labels_of(&image.labels)?;
            (name == project.name.as_str()).then_some((&*image.id, service))
        })
        .collect();
    let services = project.services.iter();
    let meant: Vec<(String, &String)> = services
        .map(|(name, service)| {
            let image = service.image.clone();
            let image = image.unwrap_or_else(|| project.default_image(name));
            (normalized(&image), name)
        })
        .collect();
    let images = case.graph.namespace.images.iter().filter_map(|image| {
        let digest = image.target.digest.to_string();
        let mut services: BTreeSet<String> = labels
            .get(&*digest)
            .map(|it| (*it).to_owned())
            .into_iter()
            .collect();
        let name = normalized(&image.name);
        let by_name = meant.iter().filter(|(meant, _)| *meant == name);
        services.extend(by_name.map(|(_, service)| (*service).clone()));
        (!services.is_empty()).then(|| ProjectImage {
            name: image.name.clone(),
            target: image.target.digest.clone(),
            services,
        })
    });
    images.collect()
}
