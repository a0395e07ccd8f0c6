//! What a daemon is asked to remove.

use reclaim_model::{FreeTarget, NamedImages, Namespace, ProjectImages};

use crate::grpc::proto;

/// What a daemon is asked to remove, as it was typed: the daemon reads it by its own clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRequest {
    /// Where.
    pub namespace: Namespace,
    /// Which images.
    pub selection: HostSelection,
    /// How much to free; all if there is none.
    pub target_free: Option<FreeTarget>,
    /// Whether the namespace may be left with containers and without an image.
    pub may_empty_namespace: bool,
    /// Whether a namespace that does not exist counts as one without images.
    pub may_lack_namespace: bool,
    /// Whether unpacked layers go that only build history holds.
    pub unpin_build_history: bool,
}

/// Which images a daemon is asked to remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostSelection {
    /// Unused ones.
    Filters {
        /// Also those that have a name.
        all: bool,
        /// As typed.
        filters: Vec<String>,
    },
    /// Those that are named.
    Named(NamedImages),
    /// Those of a project.
    Project(ProjectImages),
}

impl From<NamedImages> for HostSelection {
    fn from(images: NamedImages) -> Self {
        Self::Named(images)
    }
}

impl From<ProjectImages> for HostSelection {
    fn from(images: ProjectImages) -> Self {
        Self::Project(images)
    }
}

impl From<HostRequest> for proto::Request {
    fn from(request: HostRequest) -> Self {
        use proto::selection::Which;
        let which = match request.selection {
            HostSelection::Filters { all, filters } => {
                Which::Filters(proto::Filters { all, filters })
            }
            HostSelection::Named(images) => Which::Named(proto::NamedImages {
                names: images.names,
                force: images.force,
                prune_parents: images.prune_parents,
            }),
            HostSelection::Project(images) => Which::Project(images.into()),
        };
        let namespace = request.namespace.to_string();
        Self {
            selection: Some(proto::Selection { which: Some(which) }),
            target_free: request.target_free.map(exactly).unwrap_or_default(),
            allow_empty: if request.may_empty_namespace {
                namespace.clone()
            } else {
                String::new()
            },
            may_lack_namespace: request.may_lack_namespace,
            unpin_build_history: request.unpin_build_history,
            namespace,
        }
    }
}

/// To the byte: what is printed for people is rounded.
fn exactly(target: FreeTarget) -> String {
    match target {
        FreeTarget::Bytes(bytes) => format!("{bytes}B"),
        FreeTarget::Percent(percent) => format!("{percent}%"),
    }
}
