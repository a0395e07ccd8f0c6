//! When images were last used, for policies, for requests with conditions, and for lists.

use std::sync::Arc;

use reclaim_model::{LastUses, Namespace, ResolvedRequest, Selection};

use crate::engine::Engine;
use crate::off_thread::blocking;

impl Engine {
    /// Returns the request with current last uses. Reading containerd takes long, so images may
    /// have been used since the policy made the request.
    pub(crate) async fn by_current_use(&self, request: &ResolvedRequest) -> ResolvedRequest {
        let mut request = request.clone();
        let conditions = request.conditions.as_mut();
        let uses = match &mut request.selection {
            Selection::Rule(images) => Some(&mut images.uses),
            Selection::Filters(_)
            | Selection::Named(_)
            | Selection::Project(_)
            | Selection::Parts(_) => conditions.map(|conditions| &mut conditions.uses),
        };
        if let Some(uses) = uses
            && let Some(current) = self.uses(&request.namespace).await
        {
            *uses = Arc::new(current);
        }
        request
    }

    /// Returns the request of a run for its second look. Images that the run removed may not be on record any
    /// more: what was known about them before still counts.
    pub(crate) async fn by_use_since(&self, request: &ResolvedRequest) -> ResolvedRequest {
        let mut request = request.clone();
        if let Some(conditions) = &mut request.conditions
            && let Some(mut current) = self.uses(&request.namespace).await
        {
            for (target, before) in &conditions.uses.targets {
                let known = current.targets.entry(target.clone());
                known.or_insert(*before);
            }
            conditions.uses = Arc::new(current);
        }
        request
    }

    /// Returns when the images of a namespace were last used; `None` if nothing records it.
    pub(crate) async fn uses(&self, namespace: &Namespace) -> Option<LastUses> {
        let (source, namespace) = (Arc::clone(self.last_use.as_ref()?), namespace.clone());
        Some(blocking(move || source.uses(&namespace)).await)
    }
}
