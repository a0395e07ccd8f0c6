//! What a prune is asked to do.

use std::collections::BTreeSet;

use crate::{
    BuildHistory, FreeTarget, NamedImages, Namespace, ProjectImages, PruneFilters, RuleImages,
};

/// Whether a run ends with the plan or carries it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Stop before anything is changed.
    DryRun,
    /// Remove.
    Apply,
}

/// Which images a request is about.
#[derive(Debug, Clone)]
pub enum Selection {
    /// Those that the filters let go and nothing uses: a prune. Without `dangling=false` only
    /// dangling ones.
    Filters(PruneFilters),
    /// Those that somebody names: a removal.
    Named(NamedImages),
    /// Those of a project, named by its services and by labels.
    Project(ProjectImages),
    /// Those that a maintenance policy lets go. Boxed: it knows a lot.
    Rule(Box<RuleImages>),
}

impl From<PruneFilters> for Selection {
    fn from(filters: PruneFilters) -> Self {
        Self::Filters(filters)
    }
}

impl From<ProjectImages> for Selection {
    fn from(images: ProjectImages) -> Self {
        Self::Project(images)
    }
}

impl From<RuleImages> for Selection {
    fn from(images: RuleImages) -> Self {
        Self::Rule(Box::new(images))
    }
}

impl From<NamedImages> for Selection {
    fn from(images: NamedImages) -> Self {
        Self::Named(images)
    }
}

/// One request to remove images of a namespace.
#[derive(Debug, Clone)]
pub struct PruneRequest {
    /// Where.
    pub namespace: Namespace,
    /// Which images.
    pub selection: Selection,
    /// How much to free: of what the filters select only as much goes, oldest first. All of it
    /// without a target. Not looked at where images are named.
    pub target: Option<FreeTarget>,
    /// Whether a prune may leave a namespace that has containers without any image.
    pub may_empty_namespace: bool,
    /// Whether a namespace that does not exist counts as one without images.
    pub may_lack_namespace: bool,
    /// What becomes of what only build history holds. It is not counted towards a target: with
    /// one it stays.
    pub history: BuildHistory,
}

impl PruneRequest {
    /// Returns the keys of the image labels that the request asks for.
    pub fn label_keys(&self) -> BTreeSet<String> {
        let (filters, protected) = match &self.selection {
            Selection::Filters(filters) => (filters.labels.as_slice(), &[][..]),
            Selection::Rule(images) => (
                images.filters.labels.as_slice(),
                images.protection.labels.as_slice(),
            ),
            Selection::Named(_) | Selection::Project(_) => (&[][..], &[][..]),
        };
        let asked = filters.iter().chain(protected);
        asked.map(|filter| filter.key.clone()).collect()
    }
}
