//! The images of a project, by the calls that Compose makes.

use std::collections::BTreeMap;

use bollard::errors::Error as ApiError;
use bollard::models::{ImageDeleteResponseItem, ImageSummary};
use bollard::query_parameters::{ListContainersOptions, ListImagesOptions, RemoveImageOptions};
use futures::stream::{self, StreamExt};
use reclaim_model::{
    Conflict, ConflictCause, Mode, Named, NamedRemoval, NotRemoved, PROJECT_LABEL, Project,
    ProjectImages, SERVICE_LABEL, Service, chain,
};
use reclaim_plan::{Chosen, Existence, Listed, choose};

use super::{DockerEngine, DockerError};

/// How many images are asked for, or removed, at a time.
const AT_ONCE: usize = 8;

/// The label that Compose gives to every container of a project.
const CONFIG_LABEL: &str = "com.docker.compose.config-hash";

impl DockerEngine {
    /// Removes the images of a project, or tells which those are. In the order of their names.
    ///
    /// # Errors
    ///
    /// If the engine cannot be asked which images and containers there are. What becomes of
    /// each image is told with it.
    pub async fn prune_project(
        &self,
        request: &ProjectImages,
        mode: Mode,
    ) -> Result<Vec<Named>, DockerError> {
        let mut request = request.clone();
        if request.from_containers {
            let seen = self.project_of_containers(&request).await?;
            request.project.services.extend(seen);
        }
        let mut listed = self.images(&request, false).await?;
        listed.extend(self.images(&request, true).await?);
        let existing = self.existing(&request.project).await;
        let chosen = choose(&request, &listed, |name| {
            existing.get(name).copied().unwrap_or(Existence::Unknown)
        });
        let removals = chosen.into_iter().map(async |chosen| {
            let Chosen { image, services } = chosen;
            let outcome = match mode {
                Mode::DryRun => Ok(NamedRemoval {
                    records: vec![image.clone()],
                    ..NamedRemoval::default()
                }),
                Mode::Apply => self.remove(&image).await,
            };
            Named {
                services: services.into_iter().collect(),
                ..Named::new(image, outcome)
            }
        });
        // In order, whichever is done first.
        let removals = stream::iter(removals).buffered(AT_ONCE);
        Ok(removals.collect().await)
    }

    /// Puts services together from what the project's containers say.
    async fn project_of_containers(
        &self,
        request: &ProjectImages,
    ) -> Result<BTreeMap<String, Service>, DockerError> {
        let name = &request.project.name;
        let labels = vec![format!("{PROJECT_LABEL}={name}"), CONFIG_LABEL.to_owned()];
        let options = ListContainersOptions {
            all: true,
            filters: Some([("label".to_owned(), labels)].into_iter().collect()),
            ..ListContainersOptions::default()
        };
        let containers = self.docker.list_containers(Some(options)).await;
        let containers = containers.map_err(|source| DockerError::Call {
            operation: "list containers",
            source,
        })?;
        let services: Vec<(String, String)> = containers
            .into_iter()
            .filter_map(|it| Some((it.labels?.remove(SERVICE_LABEL)?, it.image?)))
            .collect();
        let services = services
            .iter()
            .map(|(service, image)| (&**service, &**image));
        Ok(Project::of_containers(name.clone(), services).services)
    }

    /// Lists the images that are labelled with the project.
    async fn images(
        &self,
        request: &ProjectImages,
        is_dangling: bool,
    ) -> Result<Vec<Listed>, DockerError> {
        let label = format!("{PROJECT_LABEL}={}", request.project.name);
        let filters = [
            ("label".to_owned(), vec![label]),
            ("dangling".to_owned(), vec![is_dangling.to_string()]),
        ];
        let options = ListImagesOptions {
            filters: Some(filters.into_iter().collect()),
            ..ListImagesOptions::default()
        };
        let images = self.docker.list_images(Some(options)).await;
        let images = images.map_err(|source| DockerError::Call {
            operation: "list images",
            source,
        })?;
        Ok(images.into_iter().map(|it| of(it, is_dangling)).collect())
    }

    /// Asks which of the names that services mean exist.
    async fn existing(&self, project: &Project) -> BTreeMap<String, Existence> {
        let names = project.services.iter().map(|(name, service)| {
            let default = || project.default_image(name);
            service.image.clone().unwrap_or_else(default)
        });
        let asked = names.map(async |name| {
            let existence = match self.docker.inspect_image(&name).await {
                Ok(_) => Existence::Yes,
                Err(ApiError::DockerResponseServerError {
                    status_code: 404, ..
                }) => Existence::No,
                // Only a definite no counts.
                Err(_) => Existence::Unknown,
            };
            (name, existence)
        });
        stream::iter(asked)
            .buffer_unordered(AT_ONCE)
            .collect()
            .await
    }

    async fn remove(&self, image: &str) -> Result<NamedRemoval, NotRemoved> {
        let options = RemoveImageOptions {
            noprune: true,
            ..RemoveImageOptions::default()
        };
        match self.docker.remove_image(image, Some(options), None).await {
            Ok(items) => Ok(removal(image, items)),
            Err(ApiError::DockerResponseServerError {
                status_code: 404, ..
            }) => Err(NotRemoved::NoSuchImage(image.to_owned())),
            Err(ApiError::DockerResponseServerError {
                status_code: 409,
                message,
            }) => Err(NotRemoved::Conflict(conflict(image, &message))),
            Err(error) => Err(NotRemoved::Failed(chain(&error))),
        }
    }
}

fn of(image: ImageSummary, is_dangling: bool) -> Listed {
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

/// Takes Docker's words of a conflict apart. Words of another form are the cause themselves.
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
    fn takes_conflicts_apart() {
        let message = "conflict: unable to delete x:1 (must be forced) - container 4f1c7e0d92ab \
                       is using its referenced image cb200e00e0a0";
        assert_eq!(conflict("x:1", message).to_string(), message);
        let odd = conflict("x:1", "in use");
        assert_eq!(odd.cause, ConflictCause::Other("in use".to_owned()));
        assert!(!odd.can_be_forced);
    }
}
