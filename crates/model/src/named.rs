//! Removing images by name: what is asked for, what comes of it, and what may be in the way.
//!
//! The texts are Docker's, because its clients show them.

use crate::reference::ReferenceError;
use crate::{Digest, Holder, HolderKind, Row, shortened};

/// How many characters of an ID Docker shows.
const SHORT_ID: usize = 12;

/// Images that somebody names, to be untagged or deleted as by `docker image rm`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NamedImages {
    /// Names, digests, or beginnings of digests, as typed. Each finds the images as the ones
    /// before it left them.
    pub names: Vec<String>,
    /// Whether to remove what can be removed only by force.
    ///
    /// What a container uses then loses its name and is kept without one.
    pub force: bool,
    /// Whether parents that the classic builder left go too, where they have no name and no
    /// other child.
    pub prune_parents: bool,
}

/// One name, and what it came to: before a run what will be done for it, afterwards what was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// As typed.
    pub name: String,
    /// The services of a project that the image is for, sorted; none outside of projects.
    pub services: Vec<String>,
    /// What goes for it, or why nothing does.
    pub outcome: Result<NamedRemoval, NotRemoved>,
}

/// What goes for one name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NamedRemoval {
    /// The records that go, by their full names.
    pub records: Vec<String>,
    /// Docker's rows: the names that are untagged, then the images that are deleted.
    pub rows: Vec<Row>,
}

/// Why nothing, or not everything, goes for a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
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
    /// Something is in the way.
    #[error("{0}")]
    Conflict(Conflict),
    /// The name has come to mean another image while it was being removed.
    #[error("consistency error: data changed during operation, retry")]
    Changed,
    /// The run was stopped before its turn came.
    #[error("the run was stopped first")]
    Cancelled,
    /// The removal failed: the error with its causes.
    #[error("{0}")]
    Failed(String),
}

/// What is in the way of removing an image that was named.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
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
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
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
    /// The CRI plugin is told to keep it.
    #[error("image is pinned")]
    Pinned,
    /// It has to stay for a reason that has no words of Docker's.
    #[error("{0}")]
    Other(String),
}

impl ConflictCause {
    /// Returns the ID of the container that is in the way, if one is.
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
