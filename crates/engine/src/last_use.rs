//! Where a run learns when images were last used.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use reclaim_model::{LastUses, Namespace, ResolvedRequest, Selection};

use crate::engine::Engine;
use crate::off_thread::blocking;

/// A record of when images were last used.
pub trait LastUseSource: fmt::Debug + Send + Sync {
    /// Returns the last uses of the images of a namespace, none later than `now`. It may block.
    fn uses_at(&self, namespace: &Namespace, now: Timestamp) -> LastUses;
}

impl Engine {
    /// Reads last use from this source whenever a plan is made for a policy.
    #[must_use]
    pub fn with_last_use(self, source: Arc<dyn LastUseSource>) -> Self {
        Self {
            last_use: Some(source),
            ..self
        }
    }

    /// Returns a request with the last uses of this moment. Reading the store takes long, and
    /// images may have been used since the policy made the request.
    pub(crate) async fn by_current_use(&self, request: &ResolvedRequest) -> ResolvedRequest {
        let mut request = request.clone();
        if let (Some(source), Selection::Rule(images)) = (&self.last_use, &mut request.selection) {
            let (source, namespace) = (Arc::clone(source), request.namespace.clone());
            let now = self.store.now();
            let uses = blocking(move || source.uses_at(&namespace, now));
            images.uses = Arc::new(uses.await);
        }
        request
    }
}
