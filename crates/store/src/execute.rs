//! Single changes: image records, and leases of our own. Nothing else is ever written.

use std::collections::BTreeMap;

use containerd_client::services::v1::images_client::ImagesClient;
use containerd_client::services::v1::leases_client::LeasesClient;
use containerd_client::services::v1::{
    CreateImageRequest, CreateRequest, DeleteImageRequest, DeleteRequest, GetImageRequest,
};
use reclaim_model::{CollectorRules, DeleteGuard, Digest, ImageRecord, Namespace};

use crate::client::Containerd;
use crate::convert;
use crate::error::{Class, StoreError};

/// What became of a removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// The record is gone by our doing.
    Removed,
    /// The record points elsewhere and was left alone.
    Moved,
    /// There was no such record any more.
    Gone,
}

impl Containerd {
    /// Returns how removals are guarded on this server.
    ///
    /// Source: containerd honours `DeleteImageRequest.target` from 2.0 on; 1.6 and 1.7 ignore
    /// it and delete anyway.
    pub fn delete_guard(&self) -> DeleteGuard {
        if self
            .rules()
            .is_some_and(|rules| rules >= CollectorRules::V2_0)
        {
            DeleteGuard::Server
        } else {
            DeleteGuard::ReadFirst
        }
    }

    /// Removes an image record, unless it no longer points at what was judged.
    ///
    /// The removal does not wait for a collection and does not start one.
    ///
    /// Not cancellation safe: once sent, it may have happened even if the answer is lost.
    ///
    /// # Errors
    ///
    /// If the server cannot be asked. The record may be gone all the same.
    pub async fn delete_image(
        &self,
        namespace: &Namespace,
        image: &ImageRecord,
    ) -> Result<Deletion, StoreError> {
        const OPERATION: &str = "delete image";
        let guard = self.delete_guard();
        if guard == DeleteGuard::ReadFirst {
            match self.image_target(namespace, &image.name).await? {
                None => return Ok(Deletion::Gone),
                Some(target) if target != image.target.digest => return Ok(Deletion::Moved),
                Some(_) => {}
            }
        }
        let message = DeleteImageRequest {
            name: image.name.clone(),
            sync: false,
            target: (guard == DeleteGuard::Server).then(|| convert::descriptor(&image.target)),
        };
        let request = self.request(OPERATION, Some(namespace), message)?;
        let answer = ImagesClient::new(self.channel()).delete(request).await;
        match answer.map_err(|status| StoreError::new(OPERATION, status)) {
            Ok(_) => Ok(Deletion::Removed),
            // With a target, "not found" is also the answer for a record that moved.
            Err(error) if error.class() == Class::Gone => {
                let there = self.image_target(namespace, &image.name).await?;
                Ok(there.map_or(Deletion::Gone, |_| Deletion::Moved))
            }
            Err(error) => Err(error.within(namespace).about(&image.name)),
        }
    }

    /// Reads what an image points at by now; `None` if there is no such record.
    ///
    /// # Errors
    ///
    /// If the server cannot be asked.
    pub async fn image_target(
        &self,
        namespace: &Namespace,
        name: &str,
    ) -> Result<Option<Digest>, StoreError> {
        let image = self.image_record(namespace, name).await?;
        Ok(image.map(|image| image.target.digest))
    }

    /// Reads an image record as it is by now; `None` if there is no such record.
    ///
    /// # Errors
    ///
    /// If the server cannot be asked.
    pub async fn image_record(
        &self,
        namespace: &Namespace,
        name: &str,
    ) -> Result<Option<ImageRecord>, StoreError> {
        const OPERATION: &str = "get image";
        let message = GetImageRequest {
            name: name.to_owned(),
        };
        let request = self.request(OPERATION, Some(namespace), message)?;
        let answer = ImagesClient::new(self.channel()).get(request).await;
        let answer = answer.map_err(|status| {
            StoreError::new(OPERATION, status)
                .within(namespace)
                .about(name)
        });
        match answer {
            Ok(answer) => {
                let image = answer.into_inner().image;
                let image = image.ok_or_else(|| {
                    StoreError::incomplete(OPERATION, "image")
                        .within(namespace)
                        .about(name)
                })?;
                Ok(Some(convert::image(image)?))
            }
            Err(error) if error.class() == Class::Gone => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes an image record again as it was: name, target, labels, and from containerd 1.7 on
    /// the time of its creation.
    ///
    /// Returns what the name points at: the restored target, or another if somebody has put the
    /// name to use in the meantime; that record is left alone.
    ///
    /// # Errors
    ///
    /// If the server cannot be asked. The record may be there all the same.
    pub async fn restore_image(
        &self,
        namespace: &Namespace,
        image: &ImageRecord,
    ) -> Result<Digest, StoreError> {
        const OPERATION: &str = "restore image";
        let message = CreateImageRequest {
            image: Some(convert::image_message(image)),
            source_date_epoch: image.created_at.map(convert::timestamp_message),
        };
        let request = self.request(OPERATION, Some(namespace), message)?;
        let answer = ImagesClient::new(self.channel()).create(request).await;
        let failed = |status| {
            StoreError::new(OPERATION, status)
                .within(namespace)
                .about(&image.name)
        };
        match answer {
            Ok(_) => Ok(image.target.digest.clone()),
            Err(status) if status.code() == tonic::Code::AlreadyExists => {
                let there = self.image_target(namespace, &image.name).await?;
                // Gone again at once: whoever removed it did so after we would have been done.
                Ok(there.unwrap_or_else(|| image.target.digest.clone()))
            }
            Err(status) => Err(failed(status)),
        }
    }

    /// Creates a lease. Returns whether it was made; `false` if there is one of that ID.
    ///
    /// # Errors
    ///
    /// If the server cannot be asked, or refuses for another reason.
    pub async fn create_lease(
        &self,
        namespace: &Namespace,
        id: &str,
        labels: BTreeMap<String, String>,
    ) -> Result<bool, StoreError> {
        const OPERATION: &str = "create lease";
        let message = CreateRequest {
            id: id.to_owned(),
            labels: labels.into_iter().collect(),
        };
        let request = self.request(OPERATION, Some(namespace), message)?;
        match LeasesClient::new(self.channel()).create(request).await {
            Ok(_) => Ok(true),
            Err(status) if status.code() == tonic::Code::AlreadyExists => Ok(false),
            Err(status) => Err(StoreError::new(OPERATION, status)
                .within(namespace)
                .about(id)),
        }
    }

    /// Deletes a lease of ours. Returns whether there was one.
    ///
    /// With `collect` the answer comes after a collection that began after the deletion: that
    /// is how a run collects once for everything it removed. Without, it comes at once and
    /// starts none by itself.
    ///
    /// # Errors
    ///
    /// If the server cannot be asked, or the collection failed.
    pub async fn delete_lease(
        &self,
        namespace: &Namespace,
        id: &str,
        collect: bool,
    ) -> Result<bool, StoreError> {
        const OPERATION: &str = "delete lease";
        let message = DeleteRequest {
            id: id.to_owned(),
            sync: collect,
        };
        let request = self.request(OPERATION, Some(namespace), message)?;
        match LeasesClient::new(self.channel()).delete(request).await {
            Ok(_) => Ok(true),
            Err(status) if status.code() == tonic::Code::NotFound => Ok(false),
            Err(status) => Err(StoreError::new(OPERATION, status)
                .within(namespace)
                .about(id)),
        }
    }
}
