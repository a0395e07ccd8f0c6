//! One run, from request to report.
//!
//! ```text
//! guard → observe → decide → check → hold → remove → look again → release → measure → report
//! ```
//!
//! A preview stops after the check. It is the same code up to there, so what it shows is what
//! a run would do.
//!
//! # What can go wrong
//!
//! Up to the hold an error ends the run and nothing has changed. From the first removal on a
//! [`Report`] always comes back: what failed is in it, image by image.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use reclaim_model::{Mode, Namespace, PruneRequest, Report, RunId, Selection, chain};
use reclaim_store::StoreError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info, info_span, warn};

use crate::clock;
use crate::confirm::{Restricted, restrict};
use crate::engine::{Engine, RunError, exists};
use crate::execute::Run;
use crate::guard::PruneRunning;
use crate::hold::Hold;
use crate::host_guard::{self, Busy, Claim};
use crate::lease_labels::{self, MAX_RUN};
use crate::measure::Measuring;
use crate::options::RunOptions;
use crate::preview::{Preview, blank_report, new_run};
use crate::progress::ProgressSink;
use crate::retry::retry;

/// How often a run that waits asks whether the guard is free.
pub(crate) const WAIT: Duration = Duration::from_millis(500);

/// How a caller steers a run.
#[derive(Clone, Copy)]
pub struct Controls<'a> {
    /// How the run goes about its work.
    pub options: &'a RunOptions,
    /// Hears what the run is at.
    pub progress: &'a ProgressSink<'a>,
    /// Stops the run.
    pub cancel: &'a CancellationToken,
}

impl fmt::Debug for Controls<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = formatter.debug_struct("Controls");
        debug.field("options", self.options);
        debug.field("cancel", self.cancel).finish_non_exhaustive()
    }
}

impl Engine {
    /// Removes what a prune selects, or of that only what was `confirmed`.
    ///
    /// With a confirmed preview the store is judged again, and a step is taken only if both
    /// judgements agree on it.
    ///
    /// Not cancellation safe by dropping; by the token: the removals under way end, those not
    /// begun are refused, and the run goes on to look again, release and report.
    ///
    /// # Errors
    ///
    /// As long as nothing has changed. Later failures are in the report.
    pub async fn prune(
        &self,
        request: &PruneRequest,
        confirmed: Option<&Preview>,
        controls: Controls<'_>,
    ) -> Result<Report, RunError> {
        let Controls {
            options,
            progress,
            cancel,
        } = controls;
        let id = new_run();
        let run = Run {
            id: &id,
            request,
            options,
            progress,
            cancel,
            measuring: Measuring::of_run(request, confirmed.is_some()),
            expires: Timestamp::MAX,
        };
        let span = info_span!("image_prune", run = %id, namespace = %request.namespace);
        let began = Instant::now();
        let mut done = self.prune_as(run, confirmed).instrument(span).await;
        if let Ok(report) = &mut done {
            report.took = began.elapsed();
            if let Selection::Rule(images) = &request.selection {
                report.policy = Some(images.rule.name.clone());
            }
            // Without a listener there is nobody to tell.
            drop(self.finished.send(Arc::new(report.clone())));
        }
        done
    }

    async fn prune_as(
        &self,
        run: Run<'_>,
        confirmed: Option<&Preview>,
    ) -> Result<Report, RunError> {
        let namespace = &run.request.namespace;
        // Asked before the guard is taken: its lease would bring the namespace about.
        let existing = retry(|| self.store.namespaces()).await?;
        if !exists(
            &run.request.namespace,
            run.request.may_lack_namespace,
            &existing,
        )? {
            let preview = self.preview(run.request, run.progress).await?;
            return Ok(blank_report(run.id.clone(), Mode::Apply, &preview.plan));
        }
        let beginning = self.begin(run);
        let (_running, expires) = self.phase(info_span!("guard"), beginning).await?;
        let run = Run { expires, ..run };
        let done = self.prune_guarded(run, confirmed).await;
        if done.is_err()
            && let Err(error) = host_guard::give_back(&self.store, namespace, run.id).await
        {
            let error = chain(&error);
            warn!(%error, "the guard stays until it expires or this process ends");
        }
        done
    }

    /// Takes both guards. Returns until when they are ours.
    async fn begin(&self, run: Run<'_>) -> Result<(PruneRunning, Timestamp), RunError> {
        loop {
            let lifetime = self.lifetime(run).await?;
            let expires = lease_labels::expiry(clock::now(), lifetime);
            match self
                .begin_for(run.id, &run.request.namespace, lifetime)
                .await
            {
                Err(RunError::Busy(busy)) if run.options.wait && !run.cancel.is_cancelled() => {
                    info!(%busy, "waiting");
                    tokio::time::sleep(WAIT).await;
                }
                begun => return begun.map(|running| (running, expires)),
            }
        }
    }

    /// How long a run may take: what it waits on purpose comes to what anyone takes.
    async fn lifetime(&self, run: Run<'_>) -> Result<Duration, StoreError> {
        let mut lifetime = MAX_RUN.saturating_add(run.options.grace);
        if let Some(per_second) = run.options.max_deletes_per_second {
            let namespace = &run.request.namespace;
            let (images, _) = retry(|| self.store.images(namespace)).await?;
            let images = u32::try_from(images.len()).unwrap_or(u32::MAX);
            let pause = Duration::from_secs(1) / per_second.max(1);
            lifetime = lifetime.saturating_add(pause.saturating_mul(images));
        }
        Ok(lifetime)
    }

    pub(crate) async fn try_begin(
        &self,
        id: &RunId,
        namespace: &Namespace,
    ) -> Result<PruneRunning, RunError> {
        self.begin_for(id, namespace, MAX_RUN).await
    }

    async fn begin_for(
        &self,
        id: &RunId,
        namespace: &Namespace,
        lifetime: Duration,
    ) -> Result<PruneRunning, RunError> {
        let Some(running) = self.guard.try_begin() else {
            return Err(RunError::Busy(Busy {
                namespace: namespace.clone(),
                run: None,
                since: None,
                progress: None,
            }));
        };
        match host_guard::claim(&self.store, namespace, id, lifetime).await {
            Ok(Claim::Taken) => Ok(running),
            Ok(Claim::Busy(busy)) => Err(RunError::Busy(busy)),
            Err(error) if error.is_out_of_space() => Err(RunError::DiskFull(error)),
            Err(error) => Err(error.into()),
        }
    }

    /// The run while it has the guard. On success the guard is given back.
    async fn prune_guarded(
        &self,
        run: Run<'_>,
        confirmed: Option<&Preview>,
    ) -> Result<Report, RunError> {
        let namespace = &run.request.namespace;
        self.phase(info_span!("recover"), self.recover(namespace))
            .await?;
        let preview = self
            .preview_within(run.request, Some((run.id, run.measuring)), run.progress)
            .await?;
        let restricted = restrict(preview, confirmed);
        let plan = &restricted.preview.plan;
        if !plan.steps.is_empty() || !plan.unpins.is_empty() {
            return self.execute(run, restricted).await;
        }
        host_guard::give_back(&self.store, namespace, run.id).await?;
        let Restricted { preview, refused } = restricted;
        Ok(Report {
            refused,
            ..blank_report(run.id.clone(), Mode::Apply, &preview.plan)
        })
    }

    /// Restores what a crashed run had removed, so that it is judged afresh.
    async fn recover(&self, namespace: &Namespace) -> Result<(), RunError> {
        let leases = retry(|| self.store.leases(namespace)).await?;
        host_guard::delete_leftovers(&self.store, namespace, &leases).await?;
        for hold in Hold::among(&self.store, namespace, &leases).await? {
            if hold.is_abandoned && !hold.is_whole {
                warn!(run = %hold.run, "what a crashed run removed cannot be read; its hold stays");
            } else if hold.is_abandoned {
                info!(run = %hold.run, records = hold.records.len(), "restoring after a crash");
                for image in &hold.records {
                    retry(|| self.store.restore_image(namespace, image)).await?;
                }
                self.repin_all(namespace, &hold.unpins).await?;
                hold.end(&self.store, namespace, false).await?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::no_progress;

    #[test]
    fn controls_can_be_looked_at() {
        let controls = Controls {
            options: &RunOptions::default(),
            progress: &no_progress,
            cancel: &CancellationToken::new(),
        };
        let text = format!("{controls:?}");
        assert!(
            text.starts_with("Controls { options: RunOptions { grace: 1s"),
            "{text}"
        );
    }
}
