//! Restores removed records, never without their content.
//!
//! While the hold lasts, all content of a record exists. If the machine sleeps during a run, or its
//! clock jumps, the hold may expire and the content be collected. A record restored after that would
//! name an image without content.

use reclaim_model::{Digest, ImageRecord, Namespace};
use reclaim_store::{Containerd, StoreError};

use crate::retry::Patience;

/// The result of restoring a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Restored {
    /// The name points to this digest: the record's target, or that of a newer record.
    PointsAt(Digest),
    /// Nothing was written, because the content is gone and the hold has expired.
    ContentGone,
}

/// Restores the records of a hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Restoring<'a> {
    pub(crate) store: &'a Containerd,
    pub(crate) namespace: &'a Namespace,
    /// The lease that holds their content, by ID.
    pub(crate) lease: &'a str,
    pub(crate) patience: &'a Patience,
}

impl Restoring<'_> {
    /// Writes a record as it was, if its content exists.
    ///
    /// While the hold lasts, a missing target was missing before the removal, so the record is
    /// written, too.
    pub(crate) async fn write(self, image: &ImageRecord) -> Result<Restored, StoreError> {
        let Self {
            store, namespace, ..
        } = self;
        let digest = &image.target.digest;
        let looking = self.patience.retry(|| store.has_content(namespace, digest));
        if !looking.await? && !self.is_held().await? {
            return Ok(Restored::ContentGone);
        }
        let writing = self
            .patience
            .retry(|| store.restore_image(namespace, image));
        Ok(Restored::PointsAt(writing.await?))
    }

    async fn is_held(self) -> Result<bool, StoreError> {
        let Self {
            store, namespace, ..
        } = self;
        let reading = self.patience.retry(|| store.lease(namespace, self.lease));
        let lease = reading.await?;
        Ok(lease.is_some_and(|it| it.is_live(self.store.now()) && !it.resources.is_empty()))
    }
}
