//! Removing images by name: the request, the result for each name, and what prevents a removal.
//!
//! The texts are Docker's, because its clients show them.

use serde::{Deserialize, Serialize};

use crate::form::{self, Problem};
use crate::reference::ReferenceError;
use crate::{Digest, Holder, HolderKind, Platform, shortened};

/// How many characters of an ID Docker shows.
const SHORT_ID: usize = 12;

/// Images to untag or delete by name, as by `docker image rm`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedImages {
    /// Names, digests, or beginnings of digests, as typed. Each finds the images as the ones
    /// before it left them.
    pub names: Vec<String>,
    /// Whether to remove what can be removed only by force.
    ///
    /// An image that a container uses then loses its name and is kept without one.
    #[serde(default)]
    pub force: bool,
    /// Whether parents that the classic builder left go too, where they have no name and no
    /// other child.
    #[serde(default)]
    pub prune_parents: bool,
}

/// The result for one name: in a plan what a run would do for it, in a report what it did.
///
/// Invariant: with an `error` the `removal` is empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    /// As typed.
    pub name: String,
    /// The services of a project that the image is for, sorted; none outside of projects.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
    /// What is removed for it.
    #[serde(flatten)]
    pub removal: NamedRemoval,
    /// Why nothing is removed for it.
    #[serde(flatten, with = "form::problem")]
    pub error: Option<NotRemoved>,
}

impl Named {
    /// Returns the result for a name outside of projects.
    pub fn new(name: impl Into<String>, outcome: Result<NamedRemoval, NotRemoved>) -> Self {
        let (removal, error) = match outcome {
            Ok(removal) => (removal, None),
            Err(error) => (NamedRemoval::default(), Some(error)),
        };
        Self {
            name: name.into(),
            services: Vec::new(),
            removal,
            error,
        }
    }

    /// Returns what is removed, or why nothing is.
    ///
    /// # Errors
    ///
    /// [`Self::error`].
    pub fn outcome(&self) -> Result<&NamedRemoval, &NotRemoved> {
        self.error.as_ref().map_or(Ok(&self.removal), Err)
    }
}

/// What is removed for one name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NamedRemoval {
    /// The removed records, by their full names.
    pub records: Vec<String>,
    /// The names that are untagged, as Docker shows them.
    pub untagged: Vec<String>,
    /// The images that are deleted, by their targets.
    pub deleted: Vec<Digest>,
}

/// Why nothing, or not everything, is removed for a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NotRemoved {
    /// There is no name.
    #[error("image name cannot be blank")]
    Blank,
    /// It is neither a reference nor an ID, nor any record's name.
    #[error("{0}")]
    Reference(ReferenceError),
    /// There is no such image; its name in the familiar form is carried here.
    #[error("No such image: {0}")]
    NoSuchImage(String),
    /// It is the beginning of several IDs.
    #[error("ambiguous reference")]
    Ambiguous,
    /// The image has none of the platforms that were to be freed.
    #[error(
        "{image} does not have {}; its platforms here are {}",
        list(wanted),
        list(present)
    )]
    NoSuchPlatform {
        /// The image, as typed.
        image: String,
        /// The platforms of the request.
        wanted: Vec<Platform>,
        /// Those that the image has here, sorted.
        present: Vec<Platform>,
    },
    /// Something prevents the removal.
    #[error("{0}")]
    Conflict(Conflict),
    /// The name was moved to another image during the removal.
    #[error("consistency error: data changed during operation, retry")]
    Changed,
    /// The run was stopped first.
    #[error("the run was stopped first")]
    Cancelled,
    /// The removal failed: the error with its causes.
    #[error("{0}")]
    Failed(String),
}

impl Problem for NotRemoved {
    fn problem(&self) -> &'static str {
        match self {
            Self::Blank | Self::Reference(_) => "bad_name",
            Self::NoSuchImage(_) => "no_such_image",
            Self::Ambiguous => "ambiguous",
            Self::NoSuchPlatform { .. } => "no_such_platform",
            Self::Conflict(_) => "conflict",
            Self::Changed => "changed",
            Self::Cancelled => "cancelled",
            Self::Failed(_) => "failed",
        }
    }
}

/// What prevents the removal of an image by name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("conflict: unable to delete {image} ({}) - {cause}", force_words(*can_be_forced))]
pub struct Conflict {
    /// The image as Docker shows it: the name in the familiar form, or the beginning of the ID.
    pub image: String,
    /// Whether `force` gets it out of the way.
    pub can_be_forced: bool,
    /// What it is.
    pub cause: ConflictCause,
}

/// What a [`Conflict`] comes from. Identities are whole here, and cut short in the words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConflictCause {
    /// It is the last name of what a container was created from.
    #[error("container {} is using its referenced image {}", short(container), image.hex()[..SHORT_ID].to_owned())]
    Referenced {
        /// The container's ID.
        container: String,
        /// The target.
        image: Digest,
    },
    /// A running container, of this ID, was created from it.
    #[error("image is being used by running container {}", short(.0))]
    RunningContainer(String),
    /// A container that does not run, of this ID, was created from it.
    #[error("image is being used by stopped container {}", short(.0))]
    StoppedContainer(String),
    /// It was given by its ID, and has several names.
    #[error("image is referenced in multiple repositories")]
    MultipleRepositories,
    /// Something else uses it, or may.
    #[error("image is being used by {}", shortened(&.0.to_string()))]
    Holder(Holder),
    /// The image is pinned.
    #[error("image is pinned")]
    Pinned,
    /// It has to stay for a reason that has no words of Docker's.
    #[error("{0}")]
    Other(String),
}

impl ConflictCause {
    /// Returns the ID of the container that prevents the removal, if one does.
    pub fn container(&self) -> Option<&str> {
        match self {
            Self::Referenced { container, .. }
            | Self::RunningContainer(container)
            | Self::StoppedContainer(container) => Some(container),
            Self::Holder(holder) if holder.kind == HolderKind::Container => Some(&holder.id),
            Self::MultipleRepositories | Self::Holder(_) | Self::Pinned | Self::Other(_) => None,
        }
    }
}

fn list(platforms: &[Platform]) -> String {
    if platforms.is_empty() {
        return "unknown".to_owned();
    }
    let texts: Vec<String> = platforms.iter().map(ToString::to_string).collect();
    texts.join(", ")
}

fn force_words(can_be_forced: bool) -> &'static str {
    if can_be_forced {
        "must be forced"
    } else {
        "cannot be forced"
    }
}

fn short(id: &str) -> &str {
    id.char_indices()
        .nth(SHORT_ID)
        .map_or(id, |(end, _)| &id[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_conflicts_as_docker_does() {
        let id = "4f1c7e0d92ab35864f1c7e0d92ab35864f1c7e0d92ab35864f1c7e0d92ab3586";
        let image: Digest = format!("sha256:{id}").parse().unwrap();
        let container = id.replace('4', "5");
        let said = |image: &str, can_be_forced, cause| {
            let conflict = Conflict {
                image: image.to_owned(),
                can_be_forced,
                cause,
            };
            NotRemoved::Conflict(conflict).to_string()
        };
        assert_eq!(
            said(
                "x:latest",
                true,
                ConflictCause::Referenced {
                    container: container.clone(),
                    image,
                }
            ),
            "conflict: unable to delete x:latest (must be forced) - container 5f1c7e0d92ab is \
             using its referenced image 4f1c7e0d92ab"
        );
        assert_eq!(
            said(
                "4f1c7e0d92ab",
                false,
                ConflictCause::RunningContainer(container.clone())
            ),
            "conflict: unable to delete 4f1c7e0d92ab (cannot be forced) - image is being used by \
             running container 5f1c7e0d92ab"
        );
        assert_eq!(
            said(
                "4f1c7e0d92ab",
                true,
                ConflictCause::StoppedContainer(container)
            ),
            "conflict: unable to delete 4f1c7e0d92ab (must be forced) - image is being used by \
             stopped container 5f1c7e0d92ab"
        );
        assert_eq!(
            said("4f1c7e0d92ab", true, ConflictCause::MultipleRepositories),
            "conflict: unable to delete 4f1c7e0d92ab (must be forced) - image is referenced in \
             multiple repositories"
        );
    }

    #[test]
    fn a_conflict_names_the_container_that_is_in_the_way() {
        let image = format!("sha256:{}", "a7".repeat(32)).parse().unwrap();
        let id = || "c".to_owned();
        let holder = |kind| ConflictCause::Holder(Holder::new(kind, "c"));
        for (cause, container) in [
            (
                ConflictCause::Referenced {
                    container: id(),
                    image,
                },
                Some("c"),
            ),
            (ConflictCause::RunningContainer(id()), Some("c")),
            (ConflictCause::StoppedContainer(id()), Some("c")),
            (holder(HolderKind::Container), Some("c")),
            (holder(HolderKind::Lease), None),
            (ConflictCause::MultipleRepositories, None),
            (ConflictCause::Pinned, None),
            (ConflictCause::Other(id()), None),
        ] {
            assert_eq!(cause.container(), container, "{cause:?}");
        }
    }
}
