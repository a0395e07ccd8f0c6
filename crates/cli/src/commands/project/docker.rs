//! Removing a project's images through a Docker Engine, by the calls that Compose makes.
//!
//! The Docker Engine decides what may be untagged and deleted. Nothing is held, and nothing can be
//! undone.

use std::collections::BTreeMap;

use bollard_stubs::models::{ImageDeleteResponseItem, ImageInspect, ImageSummary};
use futures::stream::{self, StreamExt};
use reclaim_engine::{Audited, Chosen, DockerEngine, DockerError, Existence, Listed, choose};
use reclaim_model::{
    AuditImage, AuditOutcome, AuditRecord, Conflict, ConflictCause, Digest, Holder, HolderKind,
    ImageChange, Named, NamedRemoval, Namespace, NotRemoved, PROJECT_LABEL, Project, ProjectImages,
    Protection, Reference, RemoveReason, SERVICE_LABEL, Service, chain, lift_warning,
};

use crate::output;

/// How many requests are made at once.
const AT_ONCE: usize = 8;

/// The statuses for an image that does not exist, and for one that is in use.
const NOT_FOUND: u16 = 404;
const CONFLICT: u16 = 409;

/// The label that Compose gives to every container.
const CONFIG_LABEL: &str = "com.docker.compose.config-hash";

/// The namespace of a Docker Engine's images, if the engine does not report it.
const NAMESPACE: &str = "moby";

/// What a removal through a Docker Engine heeds and leaves behind.
pub(super) struct Rules<'a> {
    /// Which images stay.
    pub(super) protection: Option<&'a Protection>,
    /// Whether these are removed, too, with a warning.
    pub(super) is_lifted: bool,
    /// The record of the removal; `None` for a dry run.
    pub(super) audited: Option<&'a Audited>,
}

/// Removes the images of a project, or lists them in a dry run, in the order of their names.
///
/// # Errors
///
/// If the engine does not list its images and containers. A failure to remove an image is in its
/// outcome.
pub(super) async fn prune(
    engine: &DockerEngine,
    namespace: &Namespace,
    request: &ProjectImages,
    rules: Rules<'_>,
) -> Result<Vec<Named>, DockerError> {
    let Rules {
        protection,
        is_lifted,
        audited,
    } = rules;
    let mut request = request.clone();
    if request.from_containers {
        let services = services_of_containers(engine, &request).await?;
        request.project.services.extend(services);
    }
    let mut listed = images(engine, &request, false).await?;
    listed.extend(images(engine, &request, true).await?);
    let existing = existing(engine, &request.project).await;
    let chosen = choose(&request, &listed, |name| {
        existing.get(name).copied().unwrap_or(Existence::Unknown)
    });
    let removals = chosen.into_iter().map(async |chosen| {
        let Chosen { image, services } = chosen;
        let protected = match protection {
            Some(protection) => {
                let key = key(engine, &image, protection, namespace).await;
                key.and_then(|key| check(&image, key, is_lifted))
            }
            None => Ok(()),
        };
        let outcome = match (protected, audited) {
            (Err(error), _) => Err(error),
            (Ok(()), None) => Ok(NamedRemoval {
                records: vec![image.clone()],
                ..NamedRemoval::default()
            }),
            (Ok(()), Some(audited)) => {
                audited.begin().await;
                remove(engine, &image).await
            }
        };
        Named {
            services: services.into_iter().collect(),
            ..Named::new(image, outcome)
        }
    });
    let removals = stream::iter(removals).buffered(AT_ONCE);
    Ok(removals.collect().await)
}

/// Returns the namespace of the engine's images in containerd.
///
/// # Errors
///
/// If the engine does not answer.
pub(super) async fn namespace(engine: &DockerEngine) -> Result<Namespace, DockerError> {
    let reported = engine.namespaces().await?.containers;
    let reported = reported.and_then(|name| name.parse().ok());
    Ok(reported.unwrap_or_else(|| NAMESPACE.parse().expect("a valid name")))
}

/// Enters what was removed into a record.
pub(super) fn enter(record: &mut AuditRecord, removed: &Result<Vec<Named>, DockerError>) {
    let images = match removed {
        Ok(images) => images,
        Err(error) => {
            record.outcome = AuditOutcome::Failed;
            return record.set_error(&chain(error));
        }
    };
    let mut failures = images.iter().filter_map(|named| named.error.as_ref());
    if failures.any(|error| matches!(error, NotRemoved::Failed(_))) {
        record.outcome = AuditOutcome::Partial;
    }
    let removed = images.iter().filter(|named| named.error.is_none());
    record.set_images(removed.map(|named| AuditImage {
        name: named.name.clone(),
        digest: named.removal.deleted.first().cloned(),
        change: ImageChange::Removed,
        reason: Some(RemoveReason::Named),
        bytes: None,
    }));
}

/// Derives the services from the project's containers.
async fn services_of_containers(
    engine: &DockerEngine,
    request: &ProjectImages,
) -> Result<BTreeMap<String, Service>, DockerError> {
    let name = &request.project.name;
    let labels = [format!("{PROJECT_LABEL}={name}"), CONFIG_LABEL.to_owned()];
    let containers = engine.containers_with(&labels).await?;
    let found: Vec<(String, String)> = containers
        .into_iter()
        .filter_map(|container| Some((container.labels?.remove(SERVICE_LABEL)?, container.image?)))
        .collect();
    let services = found.iter().map(|(service, image)| (&**service, &**image));
    let separator = request.project.separator;
    Ok(Project::of_containers(name.clone(), separator, services).services)
}

/// Lists the images with the label of the project.
async fn images(
    engine: &DockerEngine,
    request: &ProjectImages,
    is_dangling: bool,
) -> Result<Vec<Listed>, DockerError> {
    let label = format!("{PROJECT_LABEL}={}", request.project.name);
    let images = engine.images_with(label, is_dangling).await?;
    Ok(images
        .into_iter()
        .map(|image| listed(image, is_dangling))
        .collect())
}

/// Returns which of the services' image names exist.
async fn existing(engine: &DockerEngine, project: &Project) -> BTreeMap<String, Existence> {
    let names = project.services.iter().map(|(name, service)| {
        let default = || project.default_image(name);
        service.image.clone().unwrap_or_else(default)
    });
    let inspections = names.map(async |name| {
        let existence = match engine.image(&name).await {
            Ok(_) => Existence::Yes,
            Err(error) if error.status() == Some(NOT_FOUND) => Existence::No,
            // Only a definite no counts as missing.
            Err(_) => Existence::Unknown,
        };
        (name, existence)
    });
    stream::iter(inspections)
        .buffer_unordered(AT_ONCE)
        .collect()
        .await
}

/// Refuses to remove an image that a key of the configuration protects. If the protection is lifted, only
/// warns.
fn check(image: &str, key: Option<String>, is_lifted: bool) -> Result<(), NotRemoved> {
    let Some(key) = key else {
        return Ok(());
    };
    let rule = Holder::new(HolderKind::Rule, key);
    if is_lifted {
        output::message(format!("warning: {}", lift_warning(image, &rule)));
        return Ok(());
    }
    Err(NotRemoved::Conflict(Conflict {
        image: image.to_owned(),
        can_be_forced: false,
        cause: ConflictCause::Other(format!("image is protected by {rule}")),
    }))
}

/// Returns the key of the configuration that protects an image, if one does.
///
/// # Errors
///
/// If the engine does not show the image.
async fn key(
    engine: &DockerEngine,
    image: &str,
    protection: &Protection,
    namespace: &Namespace,
) -> Result<Option<String>, NotRemoved> {
    match engine.image(image).await {
        Ok(seen) => Ok(key_of(image, seen, protection, namespace)),
        Err(error) if error.status() == Some(NOT_FOUND) => {
            Err(NotRemoved::NoSuchImage(image.to_owned()))
        }
        Err(error) => Err(NotRemoved::Failed(chain(&error))),
    }
}

fn key_of(
    image: &str,
    seen: ImageInspect,
    protection: &Protection,
    namespace: &Namespace,
) -> Option<String> {
    let full = Reference::parse_normalized(image);
    let full = full.map_or_else(|_| image.to_owned(), |reference| reference.to_string());
    let labels = seen.config.and_then(|config| config.labels);
    if let Some(key) = protection.of(&full, &labels.into_iter().flatten().collect()) {
        return Some(key);
    }
    let mut namespaces = protection.namespaces.iter();
    if namespaces.any(|protected| protected == namespace) {
        return Some(format!("protect.namespaces {namespace}"));
    }
    let digests = seen.repo_digests.into_iter().flatten();
    let digests = digests.filter_map(|digest| Some(digest.rsplit_once('@')?.1.to_owned()));
    let mut digests = digests.chain(seen.id);
    let is_protected = |digest: String| {
        let digest = digest.parse::<Digest>();
        digest.is_ok_and(|digest| protection.digests.contains(&digest))
    };
    digests
        .any(is_protected)
        .then(|| "protect.digests".to_owned())
}

async fn remove(engine: &DockerEngine, image: &str) -> Result<NamedRemoval, NotRemoved> {
    match engine.remove_image(image).await {
        Ok(items) => Ok(removal(image, items)),
        Err(error) if error.status() == Some(NOT_FOUND) => {
            Err(NotRemoved::NoSuchImage(image.to_owned()))
        }
        Err(DockerError::Refused {
            status: CONFLICT,
            message,
            ..
        }) => Err(NotRemoved::Conflict(conflict(image, &message))),
        Err(error) => Err(NotRemoved::Failed(chain(&error))),
    }
}

/// Returns an image of Docker's list.
fn listed(image: ImageSummary, is_dangling: bool) -> Listed {
    Listed {
        id: image.id,
        names: if is_dangling {
            Vec::new()
        } else {
            image.repo_tags
        },
        is_dangling,
        labels: image.labels.into_iter().collect(),
    }
}

fn removal(image: &str, items: Vec<ImageDeleteResponseItem>) -> NamedRemoval {
    let mut removal = NamedRemoval {
        records: vec![image.to_owned()],
        ..NamedRemoval::default()
    };
    for item in items {
        removal.untagged.extend(item.untagged);
        let digest = item.deleted.and_then(|text| text.parse().ok());
        removal.deleted.extend(digest);
    }
    removal
}

/// Takes apart the message of a conflict. If it has another form, the whole message is the cause.
fn conflict(image: &str, message: &str) -> Conflict {
    let cause = message
        .split_once(" - ")
        .map_or(message, |(_, cause)| cause);
    Conflict {
        image: image.to_owned(),
        can_be_forced: message.contains("(must be forced)"),
        cause: ConflictCause::Other(cause.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_conflict_messages() {
        let message = "conflict: unable to delete x:1 (must be forced) - container 4f1c7e0d92ab \
                       is using its referenced image cb200e00e0a0";
        assert_eq!(conflict("x:1", message).to_string(), message);
        let odd = conflict("x:1", "in use");
        assert_eq!(odd.cause, ConflictCause::Other("in use".to_owned()));
        assert!(!odd.can_be_forced);
    }
}
