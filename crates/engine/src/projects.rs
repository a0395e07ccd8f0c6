//! Which projects a namespace has, and what their images occupy.

use reclaim_model::{Namespace, ProjectList};
use reclaim_plan::{image_objects, projects};
use reclaim_store::NO_LABELS;

use crate::engine::{Engine, RunError, exists};
use crate::off_thread::Shared;
use crate::retry::retry;

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
    ) -> Result<ProjectList, RunError> {
        let judged = std::slice::from_ref(namespace);
        let inventory = retry(|| self.store.observe(judged, &NO_LABELS, self.store.now())).await?;
        let existing: Vec<Namespace> = inventory.namespaces.keys().cloned().collect();
        exists(namespace, may_lack_namespace, &existing)?;
        let registered = self.registered(namespace).await?;
        let inventory = Shared::new(inventory);
        let name = namespace.clone();
        let snapshots = inventory.read(move |it| image_objects(it, &name).snapshots());
        let snapshots = snapshots.await;
        let sizing = retry(|| self.store.snapshot_bytes(namespace, &snapshots));
        let bytes = sizing.await?;
        let name = namespace.clone();
        let counting = inventory.read(move |it| projects(it, &registered, &name, &bytes));
        Ok(ProjectList {
            namespace: namespace.clone(),
            projects: counting.await,
        })
    }
}
