//! The phases of a run in the log: what each took, and which calls it made.

use std::collections::BTreeMap;

use tokio::time::Instant;
use tracing::{Instrument, Span, debug};

use crate::engine::Engine;

impl Engine {
    /// Does the work of one phase within `span`, whose name is the phase's, and tells its cost at
    /// debug level. What others ask over the same connection meanwhile is counted with it.
    pub(crate) fn phase<T>(
        &self,
        span: Span,
        work: impl Future<Output = T>,
    ) -> impl Future<Output = T> {
        let name = span.metadata().map(tracing::Metadata::name);
        // Boxed, or each phase would take its place twice in the future of the run.
        let work = Box::pin(work.instrument(span));
        async move {
            let (began, before) = (Instant::now(), self.store.calls());
            self.motion.step();
            let done = work.await;
            self.motion.step();
            let calls = since(&before, self.store.calls());
            debug!(
                phase = name,
                took_ms = began.elapsed().as_millis(),
                ?calls,
                "phase is over"
            );
            done
        }
    }
}

/// The calls that were made since there were so many.
fn since(
    before: &BTreeMap<&'static str, u64>,
    mut calls: BTreeMap<&'static str, u64>,
) -> BTreeMap<&'static str, u64> {
    calls.retain(|operation, count| {
        *count -= before.get(operation).copied().unwrap_or_default();
        *count > 0
    });
    calls
}
