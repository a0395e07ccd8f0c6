//! The projects of a namespace, put together from the labels of containers and images, and what
//! their images occupy.

use std::collections::{BTreeMap, BTreeSet};

use reclaim_model::{
    Container, Digest, ImageSize, Inventory, Namespace, NamespaceInventory, Project, ProjectImage,
    ProjectImageMode, ProjectImages, ProjectUsage, ResolvedRequest, Separator, SnapshotSizes,
};

use crate::decision::decide;
use crate::facts::Facts;
use crate::project::{Listed, labels_of, listed, normalized};
use crate::sizes::image_objects;

/// Returns the projects of a namespace, sorted by name, from the labels of its containers and
/// images.
///
/// A service that only image labels name counts as one that names its image, unless that has the
/// default name with the separator. A label that is not a valid project name is passed over.
pub fn projects(
    inventory: &Inventory,
    registered: &[Container],
    namespace: &Namespace,
    snapshot_bytes: &SnapshotSizes,
    separator: Separator,
) -> Vec<ProjectUsage> {
    let empty = NamespaceInventory::default();
    let found = inventory.namespaces.get(namespace).unwrap_or(&empty);
    let facts = Facts::new(inventory, found, registered);
    let objects = image_objects(inventory, namespace);
    let sizes = objects.sizes(snapshot_bytes);
    let listed = listed(&facts);
    let mut services: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
    for image in &listed {
        if let Some((project, service)) = labels_of(&image.labels) {
            let name = image.names.first().map_or("", |name| name);
            services.entry(project).or_default().push((service, name));
        }
    }
    // After the images: what a container was created from decides.
    let containers = || found.containers.iter().chain(registered);
    for container in containers() {
        if let Some((project, service)) = labels_of(&container.labels) {
            let services = services.entry(project).or_default();
            services.push((service, &container.image));
        }
    }
    let projects = services.into_iter().filter_map(|(name, services)| {
        let project = Project::of_containers(name.parse().ok()?, separator, services);
        let is_in_project = |container: &&Container| {
            labels_of(&container.labels).is_some_and(|(project, _)| project == name)
        };
        let images = images_of(&facts, &project, &listed, &sizes);
        let request = local_images(namespace, &project);
        let plan = decide(inventory, registered, &request).into_plan(snapshot_bytes);
        let named = project.services.iter();
        let named = named.filter_map(|(name, service)| Some((name, service.image.as_ref()?)));
        Some(ProjectUsage {
            service_images: named
                .map(|(name, image)| (name.clone(), image.clone()))
                .collect(),
            services: project.services.keys().cloned().collect(),
            project: project.name,
            containers: containers().filter(is_in_project).count(),
            images,
            rmi_local: plan.freed.amount(),
        })
    });
    projects.collect()
}

/// The request that removes the images of a project without names of their own.
fn local_images(namespace: &Namespace, project: &Project) -> ResolvedRequest {
    ResolvedRequest::new(
        namespace.clone(),
        ProjectImages {
            project: project.clone(),
            from_containers: false,
            mode: ProjectImageMode::Local,
            remove_orphans: false,
            services: None,
        },
    )
    .may_lack_namespace(true)
}

fn images_of(
    facts: &Facts<'_>,
    project: &Project,
    listed: &[Listed],
    sizes: &BTreeMap<&Digest, ImageSize>,
) -> Vec<ProjectImage> {
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
    let images = facts.graph.namespace.images.iter().filter_map(|image| {
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
            size: sizes.get(&image.target.digest).copied().unwrap_or_default(),
        })
    });
    images.collect()
}
