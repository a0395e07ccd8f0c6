//! Writing removed records again, never without their content.
//!
//! As long as the hold lasts, all that a record kept is there. A machine that slept in mid-run, or
//! whose clock jumped, may find its hold expired and the content collected: a record that is
//! written then names an image that nobody has.

use reclaim_model::{Digest, ImageRecord, Namespace};
use reclaim_store::{Containerd, StoreError};

use crate::retry::Patience;

/// What came of writing a record again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Restored {
    /// The name points at that: the record's target, or what another has put there meanwhile.
    PointsAt(Digest),
    /// Nothing was written: the content is gone, and no hold says that it was gone before.
    ContentGone,
}

/// Writes records again that a hold keeps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Restoring<'a> {
    pub(crate) store: &'a Containerd,
    pub(crate) namespace: &'a Namespace,
    /// The lease that holds their content, by ID.
    pub(crate) lease: &'a str,
    pub(crate) patience: &'a Patience,
}

impl Restoring<'_> {
    /// Writes a record again, as it was, if its content is there.
    ///
    /// A record whose target was missing before it was removed is written, too: while the hold
    /// lasts, nothing else can be missing.
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
