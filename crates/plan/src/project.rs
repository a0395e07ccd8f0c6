//! Which images belong to a project and go with it: Compose's rule for `down --rmi`.
//!
//! Candidates come from three sources: images that services name (only in the mode `all`),
//! images that carry the project's label, and images with the default name of a service that
//! names none. The engine says whether such a name exists, and only a definite no drops it. What
//! may then be untagged or deleted follows the engine's own rule for named images.
//!
//! Source: docker/compose, `pkg/compose/image_pruner.go`. In addition
//! to what Compose does, every name of a labelled image goes, not only its first; images without
//! a name go too; and each image lists its services.

use std::collections::{BTreeMap, BTreeSet};

use reclaim_model::{
    Container, Named, NamedImages, PROJECT_LABEL, Project, ProjectImageMode, ProjectImages,
    Reference, SERVICE_LABEL, familiar_name,
};

use crate::facts::Facts;
use crate::named::{exists, named};
use crate::select::Verdict;

/// An image as an engine lists it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listed {
    /// Its ID.
    pub id: String,
    /// Its names as people write them, with tags; empty if it has lost them all.
    pub names: Vec<String>,
    /// Whether it has no name at all, not even one with a digest.
    pub is_dangling: bool,
    /// The labels of its configuration.
    pub labels: BTreeMap<String, String>,
}

/// Whether an engine has an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existence {
    /// It has the image.
    Yes,
    /// It reports that it does not have the image.
    No,
    /// It did not answer.
    Unknown,
}

/// An image that is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// Its name in the familiar form, with its tag; its ID, if it has none.
    pub image: String,
    /// The services that it is for, sorted: several may share it.
    pub services: BTreeSet<String>,
}

/// Chooses the images of a project among those that are labelled with it (`listed`; others are
/// ignored) and those that its services mean. Those with names come first, both sorted.
pub fn choose(
    request: &ProjectImages,
    listed: &[Listed],
    mut exists: impl FnMut(&str) -> Existence,
) -> Vec<Chosen> {
    let ProjectImages { project, mode, .. } = request;
    if *mode == ProjectImageMode::None {
        return Vec::new();
    }
    let mut named: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut nameless: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, service) in &project.services {
        let image = match (&service.image, mode) {
            (Some(image), ProjectImageMode::All) => image.clone(),
            (Some(_), _) => continue,
            (None, _) => project.default_image(name),
        };
        if is_meant(request, Some(name)) && exists(&image) != Existence::No {
            let services = named.entry(normalized(&image)).or_default();
            services.insert(name.clone());
        }
    }
    for image in listed {
        if image.labels.get(PROJECT_LABEL).map(String::as_str) != Some(project.name.as_str()) {
            continue;
        }
        let label = image.labels.get(SERVICE_LABEL);
        if !is_meant(request, label) || !may_go(request, label, image.is_dangling) {
            continue;
        }
        let services: BTreeSet<String> = label.into_iter().cloned().collect();
        for name in &image.names {
            let entry = named.entry(normalized(name)).or_default();
            entry.extend(services.iter().cloned());
        }
        if image.is_dangling {
            nameless
                .entry(image.id.clone())
                .or_default()
                .extend(services);
        }
    }
    let needed = needed_by_others(request);
    named.retain(|image, _| !needed.contains(image));
    let chosen = named.into_iter().chain(nameless);
    chosen
        .map(|(image, services)| Chosen { image, services })
        .collect()
}

/// Whether a service is among those that were named, if any were.
fn is_meant(request: &ProjectImages, service: Option<&String>) -> bool {
    match (&request.services, service) {
        (None, _) => true,
        (Some(services), Some(service)) => services.contains(service),
        (Some(_), None) => false,
    }
}

/// Whether a labelled image may go, by the service that its label names.
fn may_go(request: &ProjectImages, service: Option<&String>, is_dangling: bool) -> bool {
    let service = service.and_then(|it| request.project.services.get(it));
    match service {
        _ if request.remove_orphans => true,
        None => false,
        Some(service) => match request.mode {
            // A service's own image name was chosen by a user, so its image stays unless it has
            // lost all names.
            ProjectImageMode::Local => service.image.is_none() || is_dangling,
            ProjectImageMode::Built | ProjectImageMode::All => true,
            ProjectImageMode::None => false,
        },
    }
}

/// Returns the images that services outside the request need.
fn needed_by_others(request: &ProjectImages) -> BTreeSet<String> {
    let services = request.project.services.iter();
    let others = services.filter(|(name, _)| !is_meant(request, Some(name)));
    let images = others.map(|(name, service)| {
        let default = || request.project.default_image(name);
        normalized(&service.image.clone().unwrap_or_else(default))
    });
    images.collect()
}

/// Returns the familiar form with the default tag; text that is not a reference stays as it is.
pub(crate) fn normalized(image: &str) -> String {
    match Reference::parse_normalized(image) {
        Ok(reference) => reference.with_default_tag().familiar(),
        Err(_) => image.to_owned(),
    }
}

/// Evaluates every image of a namespace by what goes with a project, and each name that does.
pub(crate) fn evaluate(
    facts: &Facts<'_>,
    registered: &[Container],
    request: &ProjectImages,
) -> (Vec<Verdict>, Vec<Named>) {
    let mut request = request.clone();
    if request.from_containers {
        let containers = facts.graph.namespace.containers.iter().chain(registered);
        let name = request.project.name.clone();
        let seen = Project::of_containers(
            name.clone(),
            request.project.separator,
            containers.filter_map(|container| {
                let (project, service) = labels_of(&container.labels)?;
                (project == name.as_str()).then_some((service, &*container.image))
            }),
        );
        request.project.services.extend(seen.services);
    }
    let images = &facts.graph.namespace.images;
    let chosen = choose(&request, &listed(facts), |name| {
        if exists(images, name) {
            Existence::Yes
        } else {
            Existence::No
        }
    });
    // Like Compose: without force, and without removing parents.
    let removal = NamedImages {
        names: chosen.iter().map(|it| it.image.clone()).collect(),
        force: false,
        prune_parents: false,
    };
    let (verdicts, mut named) = named(facts, registered, &removal);
    for (named, chosen) in named.iter_mut().zip(chosen) {
        named.services = chosen.services.into_iter().collect();
    }
    (verdicts, named)
}

/// Returns the project and service that labels name.
pub(crate) fn labels_of(labels: &BTreeMap<String, String>) -> Option<(&str, &str)> {
    let project = labels.get(PROJECT_LABEL)?;
    Some((project, labels.get(SERVICE_LABEL)?))
}

/// Lists the images of a namespace that belong to any project.
pub(crate) fn listed(facts: &Facts<'_>) -> Vec<Listed> {
    let images = &facts.graph.namespace.images;
    let listed = facts.targets.iter().filter_map(|(_, target)| {
        let mut configs = target.contents.configs.iter();
        let config = configs.find(|it| it.labels.contains_key(PROJECT_LABEL))?;
        let records = target.images.iter();
        let with_names = records.filter(|it| !facts.names.is_dangling(**it));
        let names: Vec<String> = with_names
            .map(|it| familiar_name(&images[*it].name))
            .collect();
        Some(Listed {
            id: target.digest.to_string(),
            is_dangling: names.is_empty(),
            names,
            labels: config.labels.clone(),
        })
    });
    listed.collect()
}
