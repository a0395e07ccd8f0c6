//! Single labels of image records: set and taken away, while everything else of the record stays
//! as it is.

use std::collections::BTreeMap;

use containerd_client::services::v1::UpdateImageRequest;
use containerd_client::services::v1::images_client::ImagesClient;
use prost_types::FieldMask;
use reclaim_model::{ImageRecord, Namespace};

use crate::client::Containerd;
use crate::convert;
use crate::error::{Class, StoreError};

impl Containerd {
    /// Sets labels of a record and leaves all else of it alone: its other labels, and what it
    /// points at, also if that has changed since it was read. An empty value takes a label away.
    ///
    /// Returns the record as it is afterwards; `None` if there is none of that name.
    ///
    /// # Errors
    ///
    /// If the server cannot be asked, or refuses a label. They may be set all the same.
    pub async fn set_image_labels(
        &self,
        namespace: &Namespace,
        image: &ImageRecord,
        labels: &BTreeMap<&str, String>,
    ) -> Result<Option<ImageRecord>, StoreError> {
        const OPERATION: &str = "change labels of image";
        let paths = labels.keys().map(|key| format!("labels.{key}"));
        let set = labels.iter();
        let set = set.map(|(key, value)| ((*key).to_owned(), value.clone()));
        let mut record = convert::image_message(image);
        // With the target, though no path names it: containerd 1.7 reads it before it looks at
        // the paths, and a message without one would be its end.
        record.labels = set.collect();
        let message = UpdateImageRequest {
            image: Some(record),
            update_mask: Some(FieldMask {
                paths: paths.collect(),
            }),
            source_date_epoch: None,
        };
        let request = self.request(OPERATION, Some(namespace), message)?;
        let answer = ImagesClient::new(self.channel()).update(request).await;
        let failed = |status| {
            StoreError::new(OPERATION, status)
                .within(namespace)
                .about(&image.name)
        };
        match answer.map_err(failed) {
            Ok(answer) => {
                let image = answer.into_inner().image;
                let image = image
                    .ok_or_else(|| StoreError::incomplete(OPERATION, "image").within(namespace))?;
                Ok(convert::image(image).ok())
            }
            Err(error) if error.class() == Class::Gone => Ok(None),
            Err(error) => Err(error),
        }
    }
}
