//! Pins and unpins images by name.
//!
//! A pin is a label of the record, so it does not depend on Reclaim, and other programs respect it:
//! the kubelet does not collect a pinned image, and the CRI plugin does not remove it. Pins change
//! under the guard of the namespace, because a prune under way could still remove a newly pinned
//! image.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use reclaim_model::{
    AuditOutcome, AuditRecord, AuditRequest, ImageChange, ImageRecord, Namespace, NotPinned,
    NotRemoved, OUR_PIN_LABEL, PIN_LABEL, PIN_VALUE, Pin, PinAction, PinOutcome, PinRequest, chain,
    familiar_name,
};
use reclaim_plan::pin_group;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::audit::{Audited, changed, enter_error};
use crate::cancel::unless_cancelled;
use crate::claim::Claimant;
use crate::engine::Engine;
use crate::error::RunError;
use crate::host_guard;
use crate::preview::new_run;
use crate::retry::retry;

/// Enters the images whose pin changed.
fn enter_pins(record: &mut AuditRecord, action: PinAction, outcomes: &[PinOutcome]) {
    let change = match action {
        PinAction::Pin => ImageChange::Pinned,
        PinAction::Unpin | PinAction::UnpinAny => ImageChange::Unpinned,
    };
    if outcomes.iter().any(|outcome| outcome.error.is_some()) {
        record.outcome = AuditOutcome::Partial;
    }
    record.set_images(outcomes.iter().flat_map(|outcome| {
        let names = outcome.changed.iter();
        names.map(|name| changed(name, outcome.target.as_ref(), change))
    }));
}

impl Engine {
    /// Pins or unpins images, one name after the other. If one fails, the others still change.
    ///
    /// Not cancellation safe: if it is dropped, some names may have changed. The token cancels the
    /// wait for another run.
    ///
    /// # Errors
    ///
    /// Only if nothing has changed: the namespace does not exist, another run is under way, or the
    /// images cannot be listed.
    pub async fn pin(
        &self,
        request: &PinRequest,
        cancel: &CancellationToken,
    ) -> Result<Vec<PinOutcome>, RunError> {
        let namespace = &request.namespace;
        let id = new_run();
        let audited = AuditRequest::Pin(request.clone()).bounded();
        let audited = self.audited(&id, namespace, audited);
        // Checked before the guard is taken, because its lease would create the namespace.
        let existing = unless_cancelled(cancel, retry(|| self.store.namespaces())).await?;
        if !existing.contains(namespace) {
            if !request.may_lack_namespace {
                return Err(RunError::UnknownNamespace {
                    namespace: namespace.clone(),
                    existing,
                });
            }
            return Ok(self.pin_all(request, Vec::new(), &audited).await);
        }
        let presence = self.presence(id, namespace).await;
        let beginning = self.begin(Claimant {
            presence: &presence,
            namespace,
            grace: Duration::ZERO,
            max_deletes_per_second: None,
            wait: request.wait,
            cancel,
        });
        let (_running, _) = beginning.await?;
        let listed = retry(|| self.store.images(namespace)).await;
        let pinned = match listed {
            Ok((images, _)) => Ok(self.pin_all(request, images, &audited).await),
            Err(error) => Err(error.into()),
        };
        self.audit_end(audited, |record| match &pinned {
            Ok(outcomes) => enter_pins(record, request.action, outcomes),
            Err(error) => enter_error(record, error),
        })
        .await;
        host_guard::release(&self.store, namespace, &presence).await?;
        pinned
    }

    async fn pin_all(
        &self,
        request: &PinRequest,
        mut images: Vec<ImageRecord>,
        audited: &Audited,
    ) -> Vec<PinOutcome> {
        let mut outcomes = Vec::new();
        for name in &request.names {
            let outcome = self.pin_one(request, name, &mut images, audited).await;
            outcomes.push(outcome.unwrap_or_else(|error| PinOutcome::failed(name, error)));
        }
        outcomes
    }

    async fn pin_one(
        &self,
        request: &PinRequest,
        name: &str,
        images: &mut [ImageRecord],
        audited: &Audited,
    ) -> Result<PinOutcome, NotPinned> {
        let group = pin_group(images, name).map_err(NotPinned::NotFound)?;
        let is_foreign = |index: &&usize| images[**index].pin() == Some(Pin::Others);
        if request.action == PinAction::Unpin
            && let Some(other) = group.iter().find(is_foreign)
        {
            return Err(NotPinned::Others(familiar_name(&images[*other].name)));
        }
        let mut outcome = PinOutcome {
            name: name.to_owned(),
            target: Some(images[group[0]].target.digest.clone()),
            changed: Vec::new(),
            unchanged: Vec::new(),
            error: None,
        };
        for index in group {
            let image = &mut images[index];
            let labels = labels(image, request.action, self.store.now());
            if labels.is_empty() {
                outcome.unchanged.push(image.name.clone());
            } else {
                audited.begin().await;
                *image = self.relabel(&request.namespace, image, &labels).await?;
                info!(image = %image.name, action = ?request.action, "pin changed");
                outcome.changed.push(image.name.clone());
            }
        }
        Ok(outcome)
    }

    /// Sets the labels if the record still has its target. containerd cannot compare it, so a change
    /// of another image is reverted.
    async fn relabel(
        &self,
        namespace: &Namespace,
        image: &ImageRecord,
        labels: &BTreeMap<&str, String>,
    ) -> Result<ImageRecord, NotPinned> {
        let Some(written) = self.set_labels(namespace, image, labels).await? else {
            let gone = NotRemoved::NoSuchImage(familiar_name(&image.name));
            return Err(NotPinned::NotFound(gone));
        };
        if written.target.digest == image.target.digest {
            return Ok(written);
        }
        // The new image's own values of these labels are overwritten and unknown; those of the old
        // image are the best guess.
        let before = labels.keys().map(|key| {
            let value = image.labels.get(*key).cloned();
            (*key, value.unwrap_or_default())
        });
        self.set_labels(namespace, image, &before.collect()).await?;
        Err(NotPinned::Changed(familiar_name(&image.name)))
    }

    async fn set_labels(
        &self,
        namespace: &Namespace,
        image: &ImageRecord,
        labels: &BTreeMap<&str, String>,
    ) -> Result<Option<ImageRecord>, NotPinned> {
        let setting = retry(|| self.store.set_image_labels(namespace, image, labels));
        let set = setting.await;
        set.map_err(|error| NotPinned::Failed(chain(&error)))
    }
}

/// Returns the labels to set on a record; none if it needs no change.
fn labels(
    image: &ImageRecord,
    action: PinAction,
    now: Timestamp,
) -> BTreeMap<&'static str, String> {
    match (action, image.pin()) {
        (PinAction::Pin, Some(_)) => BTreeMap::new(),
        (PinAction::Pin, None) => BTreeMap::from([
            (PIN_LABEL, PIN_VALUE.to_owned()),
            (OUR_PIN_LABEL, format!("{now:.0}")),
        ]),
        (PinAction::Unpin | PinAction::UnpinAny, _) => {
            let there = [PIN_LABEL, OUR_PIN_LABEL].into_iter();
            // Another value is not a pin, and was set by another program.
            let ours = there.filter(|key| match *key {
                PIN_LABEL => image.is_pinned(),
                key => image.labels.contains_key(key),
            });
            ours.map(|key| (key, String::new())).collect()
        }
    }
}
