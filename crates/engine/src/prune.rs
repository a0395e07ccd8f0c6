//! One run, from request to report.
//!
//! ```text
//! guard → observe → decide → check → hold → remove → look again → release → measure → report
//! ```
//!
//! A preview runs the same code up to the check, so it shows what a run would do.
//!
//! # Errors
//!
//! Up to the hold an error ends the run, and nothing has changed. From the first removal on, the
//! run always returns a [`Report`], which lists each failed image.

use std::sync::Arc;

use jiff::Timestamp;
use reclaim_model::{AuditRequest, Mode, Plan, PruneRequest, Report, RunId, chain};
use tokio::time::Instant;
use tracing::{Instrument, info_span, warn};

use crate::audit::enter_report;
use crate::cancel::unless_cancelled;
use crate::claim::Claimant;
use crate::confirm::{Restricted, restrict};
use crate::controls::Controls;
use crate::engine::Engine;
use crate::error::RunError;
use crate::grace::HoldTime;
use crate::hold::Hold;
use crate::host_guard;
use crate::measure::Measuring;
use crate::off_thread::blocking;
use crate::presence::Presence;
use crate::preview::{Preview, blank_report, enter_policy, exists, new_run};
use crate::retry::{Patience, retry};
use crate::run::Run;

impl Engine {
    /// Removes the images that the request selects; with `confirmed`, only those that are also in
    /// that plan.
    ///
    /// With a confirmed plan the run plans again, and takes a step only if it is in both plans.
    ///
    /// Do not drop the future; cancel the token instead: the removals under way end, the others are
    /// refused, and the run continues with the second look, the release and the report. Before the
    /// first removal it returns [`RunError::Cancelled`].
    ///
    /// # Errors
    ///
    /// Only if nothing has changed. Later failures are in the report.
    pub async fn prune(
        &self,
        request: &PruneRequest,
        confirmed: Option<&Plan>,
        controls: Controls<'_>,
    ) -> Result<Report, RunError> {
        let Controls {
            options,
            progress,
            cancel,
        } = controls;
        let id = new_run();
        let requested = Box::new(AuditRequest::of_prune(request));
        let resolved = self.resolve(request).map_err(RunError::Filter)?;
        let request = &self.by_current_use(&resolved).await;
        let audited = self.audited(&id, &request.namespace, *requested);
        // A run that an inhibitor stops cancels itself, and not what else its caller does.
        let cancel_run = &cancel.child_token();
        let run = Run {
            id: &id,
            request,
            audited: &audited,
            options,
            progress,
            cancel: cancel_run,
            measuring: Measuring::of_run(request, confirmed.is_some()),
            expires: Timestamp::MAX,
            patience: &Patience::to_end(self.patience, cancel),
            hold_time: &HoldTime::default(),
        };
        let span = info_span!("image_prune", run = %id, namespace = %request.namespace);
        let began = Instant::now();
        let mut done = self.prune_as(run, confirmed).instrument(span).await;
        if let Ok(report) = &mut done {
            report.took = began.elapsed();
            enter_policy(report, request);
        }
        self.audit_end(audited, |record| enter_report(record, &done))
            .await;
        Ok(self.publish(done?).await)
    }

    /// Sends a report to the receivers of [`Engine::reports`].
    async fn publish(&self, report: Report) -> Report {
        let finished = self.finished.clone();
        blocking(move || {
            // Cloning a large report takes long.
            if finished.receiver_count() > 0 {
                drop(finished.send(Arc::new(report.clone())));
            }
            report
        })
        .await
    }

    async fn prune_as(&self, run: Run<'_>, confirmed: Option<&Plan>) -> Result<Report, RunError> {
        let namespace = &run.request.namespace;
        // Checked before the guard is taken, because its lease would create the namespace.
        let existing = unless_cancelled(run.cancel, retry(|| self.store.namespaces())).await?;
        if !exists(
            &run.request.namespace,
            run.request.may_lack_namespace,
            &existing,
        )? {
            let previewing = self.preview_within(run.request, None, run.progress);
            let preview = unless_cancelled(run.cancel, previewing).await?;
            return Ok(idle_report(run.id.clone(), preview).await);
        }
        unless_cancelled(run.cancel, self.check_inhibitors_of(run)).await?;
        let presence = self.presence(run.id.clone(), namespace).await;
        let beginning = self.begin(Claimant {
            presence: &presence,
            namespace,
            grace: run.options.grace.longest(),
            max_deletes_per_second: run.options.max_deletes_per_second,
            wait: run.options.wait,
            cancel: run.cancel,
        });
        let (_running, expires) = self.phase(info_span!("guard"), beginning).await?;
        let run = Run { expires, ..run };
        let done = self.prune_guarded(run, &presence, confirmed).await;
        if done.is_err() {
            self.abort(run, &presence).await;
        }
        done
    }

    /// Deletes the leases of a run that has changed nothing.
    async fn abort(&self, run: Run<'_>, presence: &Presence) {
        let namespace = &run.request.namespace;
        let patience = Patience::default();
        // The journal may be written even though nothing was removed.
        let ended = Hold::finish(&self.store, namespace, run.id, false, &patience).await;
        let given = host_guard::release_with(&self.store, namespace, presence, &patience);
        if let Err(error) = ended.and(given.await) {
            let error = chain(&error);
            warn!(%error, "the guard stays until the next run");
        }
    }

    /// The part of a run under the guard. Releases the guard unless it fails.
    async fn prune_guarded(
        &self,
        run: Run<'_>,
        presence: &Presence,
        confirmed: Option<&Plan>,
    ) -> Result<Report, RunError> {
        let namespace = &run.request.namespace;
        let recovering = self.recover(presence, namespace, run.cancel);
        self.phase(info_span!("recover"), recovering).await?;
        let within = Some((run.id, run.measuring));
        let previewing = self.preview_within(run.request, within, run.progress);
        let preview = unless_cancelled(run.cancel, previewing).await?;
        let restricted = restrict(preview, confirmed).await;
        let plan = &restricted.preview.plan;
        if !plan.steps.is_empty() || !plan.cuts.is_empty() {
            run.audited.begin().await;
            // Boxed: it is by far the largest part of the future.
            return Box::pin(self.execute(run, presence, restricted)).await;
        }
        host_guard::release(&self.store, namespace, presence).await?;
        let Restricted { preview, refused } = restricted;
        Ok(Report {
            refused,
            ..idle_report(run.id.clone(), preview).await
        })
    }
}

/// Reports a run that has nothing to do, and drops the preview off the async threads.
async fn idle_report(run: RunId, preview: Preview) -> Report {
    blocking(move || {
        let preview = preview;
        blank_report(run, Mode::Apply, &preview.plan)
    })
    .await
}
