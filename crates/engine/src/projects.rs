//! Which projects a namespace has, and what their images occupy.

use std::collections::BTreeSet;

use reclaim_model::{
    Amount, BuildHistory, Container, Digest, Inventory, Namespace, Project, ProjectImageMode,
    ProjectImages, PruneRequest, SnapshotSizes,
};
use reclaim_plan::{ImageSize, ProjectImage, SeenProject, decide, makeup, projects};

use reclaim_store::NO_LABELS;

use crate::engine::{Engine, RunError, exists};
use crate::off_thread::Shared;
use crate::retry::retry;

/// A project, with what its images occupy.
#[derive(Debug, Clone, PartialEq)]
pub struct ProjectUsage {
    /// The project, as labels tell of it.
    pub project: Project,
    /// How many containers it has.
    pub containers: usize,
    /// Its images by name: those labelled with it, and those that its services name.
    pub images: Vec<(ProjectImage, ImageSize)>,
    /// What removing its images without names of their own would free now.
    pub local: Amount,
}

impl ProjectUsage {
    /// Returns what its images occupy, each counted once; what they share with each other is
    /// counted with each.
    pub fn bytes(&self) -> u64 {
        let mut seen: BTreeSet<&Digest> = BTreeSet::new();
        let images = self.images.iter();
        let once = images.filter(|(image, _)| seen.insert(&image.target));
        once.map(|(_, size)| size.content.saturating_add(size.unpacked))
            .sum()
    }
}

impl Engine {
    /// Lists the projects of a namespace, sorted by name; none if it does not exist and need not.
    ///
    /// Cancellation safe: it only reads.
    ///
    /// # Errors
    ///
    /// [`RunError::UnknownNamespace`], or if the store, or a container store, cannot be read
    /// whole.
    pub async fn projects(
        &self,
        namespace: &Namespace,
        may_lack_namespace: bool,
    ) -> Result<Vec<ProjectUsage>, RunError> {
        let judged = std::slice::from_ref(namespace);
        let inventory = retry(|| self.store.observe(judged, &NO_LABELS, self.store.now())).await?;
        let existing: Vec<Namespace> = inventory.namespaces.keys().cloned().collect();
        exists(namespace, may_lack_namespace, &existing)?;
        let registered = self.registered(namespace).await?;
        let inventory = Shared::new(inventory);
        let name = namespace.clone();
        let snapshots = inventory.read(move |it| makeup(it, &name).snapshots());
        let snapshots = snapshots.await;
        let sizing = retry(|| self.store.snapshot_bytes(namespace, &snapshots));
        let bytes = sizing.await?;
        let name = namespace.clone();
        let counting = inventory.read(move |it| usages(it, &registered, &name, &bytes));
        Ok(counting.await)
    }
}

/// Finds the projects of a namespace, and what removing the images of each would free.
fn usages(
    inventory: &Inventory,
    registered: &[Container],
    namespace: &Namespace,
    bytes: &SnapshotSizes,
) -> Vec<ProjectUsage> {
    let makeup = makeup(inventory, namespace);
    let sizes = makeup.sizes(bytes);
    let seen = projects(inventory, registered, namespace).into_iter();
    let usages = seen.map(|seen| {
        let SeenProject {
            project,
            containers,
            images,
        } = seen;
        let request = PruneRequest {
            namespace: namespace.clone(),
            selection: ProjectImages {
                project: project.clone(),
                from_containers: false,
                mode: ProjectImageMode::Local,
                remove_orphans: false,
                services: None,
            }
            .into(),
            target: None,
            history: BuildHistory::Keep,
            may_empty_namespace: true,
            may_lack_namespace: true,
        };
        let plan = decide(inventory, registered, &request).into_plan(bytes);
        let images = images.into_iter().map(|image| {
            let size = sizes.get(&image.target).copied().unwrap_or_default();
            (image, size)
        });
        ProjectUsage {
            project,
            containers,
            images: images.collect(),
            local: plan.freed.amount(),
        }
    });
    usages.collect()
}
