//! Changes single labels, of an image record or of a blob, and leaves the rest of the record as it
//! is.

use std::collections::BTreeMap;

use containerd_client::services::v1::content_client::ContentClient;
use containerd_client::services::v1::images_client::ImagesClient;
use containerd_client::services::v1::{Info, InfoRequest, UpdateImageRequest, UpdateRequest};
use prost_types::FieldMask;
use reclaim_model::{BlobLabels, Digest, ImageRecord, Namespace};

use crate::client::Containerd;
use crate::convert;
use crate::error::{Class, StoreError};

/// The result of removing labels of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelRemoval {
    /// This call removed the labels.
    Done,
    /// One of the labels is gone already or has another value; nothing was changed.
    Changed,
    /// The blob no longer exists.
    Gone,
}

/// The result of adding labels to a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelAddition {
    /// The blob has the labels.
    Done,
    /// One of the labels has another value; nothing was changed.
    Changed,
    /// The blob does not exist.
    Gone,
}

impl Containerd {
    /// Returns the labels of a blob; `None` if the namespace does not have it.
    ///
    /// # Errors
    ///
    /// If the call fails.
    pub async fn content_labels(
        &self,
        namespace: &Namespace,
        digest: &Digest,
    ) -> Result<Option<BTreeMap<String, String>>, StoreError> {
        const OPERATION: &str = "read labels of content";
        let message = InfoRequest {
            digest: digest.to_string(),
        };
        let request = self.request(OPERATION, Some(namespace), message)?;
        let answer = ContentClient::new(self.channel()).info(request).await;
        match answer.map_err(|status| StoreError::new(OPERATION, status)) {
            Ok(answer) => {
                let labels = answer.into_inner().info.unwrap_or_default().labels;
                Ok(Some(labels.into_iter().collect()))
            }
            Err(error) if error.class() == Class::Gone => Ok(None),
            Err(error) => Err(error.within(namespace).about(digest)),
        }
    }

    /// Sets labels of an image record. Its other labels and its target stay, even if they changed
    /// since the record was read. An empty value removes a label.
    ///
    /// Returns the record after the change; `None` if there is no record of that name.
    ///
    /// # Errors
    ///
    /// If the call fails or the server refuses a label. The labels may be set nevertheless.
    pub async fn set_image_labels(
        &self,
        namespace: &Namespace,
        image: &ImageRecord,
        labels: &BTreeMap<&str, String>,
    ) -> Result<Option<ImageRecord>, StoreError> {
        const OPERATION: &str = "change labels of image";
        let paths = labels.keys().map(|key| format!("labels.{key}"));
        let mut record = convert::image_message(image);
        // The target stays in the message, although no path names it: containerd 1.7 reads the
        // target before it looks at the paths, and crashes if there is none.
        record.labels = labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone()))
            .collect();
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
                let message = answer
                    .into_inner()
                    .image
                    .ok_or_else(|| StoreError::incomplete(OPERATION, "image").within(namespace))?;
                Ok(convert::image(message).ok())
            }
            Err(error) if error.class() == Class::Gone => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes labels of a blob with one change, unless one of them is gone or has another value.
    ///
    /// # Errors
    ///
    /// If a call fails. The labels may be gone nevertheless.
    pub async fn remove_labels(
        &self,
        namespace: &Namespace,
        removed: &BlobLabels,
    ) -> Result<LabelRemoval, StoreError> {
        let BlobLabels { blob, labels } = removed;
        let Some(present) = self.content_labels(namespace, blob).await? else {
            return Ok(LabelRemoval::Gone);
        };
        if labels
            .iter()
            .any(|(key, value)| present.get(key) != Some(value))
        {
            return Ok(LabelRemoval::Changed);
        }
        // An empty value deletes a label.
        let emptied = labels.keys().map(|key| (key.clone(), String::new()));
        let blob_exists = self.set_labels(namespace, blob, emptied.collect()).await?;
        Ok(if blob_exists {
            LabelRemoval::Done
        } else {
            LabelRemoval::Gone
        })
    }

    /// Adds labels to a blob with one change, unless one of them exists with another value. Its other
    /// labels stay, even if they changed since they were read.
    ///
    /// # Errors
    ///
    /// If a call fails. The labels may be set nevertheless.
    pub async fn add_labels(
        &self,
        namespace: &Namespace,
        added: &BlobLabels,
    ) -> Result<LabelAddition, StoreError> {
        let BlobLabels { blob, labels } = added;
        let Some(present) = self.content_labels(namespace, blob).await? else {
            return Ok(LabelAddition::Gone);
        };
        let is_other =
            |(key, value): (&String, &String)| present.get(key).is_some_and(|other| other != value);
        if labels.iter().any(is_other) {
            return Ok(LabelAddition::Changed);
        }
        let blob_exists = self.set_labels(namespace, blob, labels.clone()).await?;
        Ok(if blob_exists {
            LabelAddition::Done
        } else {
            LabelAddition::Gone
        })
    }

    /// Restores the labels that [`Self::remove_labels`] removed. Does nothing if the blob is gone.
    ///
    /// # Errors
    ///
    /// If the call fails. The labels may be set nevertheless.
    pub async fn restore_labels(
        &self,
        namespace: &Namespace,
        removed: &BlobLabels,
    ) -> Result<(), StoreError> {
        self.set_labels(namespace, &removed.blob, removed.labels.clone())
            .await
            .map(drop)
    }

    /// Sets labels of a blob. Returns whether the blob exists.
    async fn set_labels(
        &self,
        namespace: &Namespace,
        digest: &Digest,
        labels: BTreeMap<String, String>,
    ) -> Result<bool, StoreError> {
        const OPERATION: &str = "change labels of content";
        let paths = labels.keys().map(|key| format!("labels.{key}"));
        let message = UpdateRequest {
            update_mask: Some(FieldMask {
                paths: paths.collect(),
            }),
            info: Some(Info {
                digest: digest.to_string(),
                labels: labels.into_iter().collect(),
                ..Info::default()
            }),
        };
        let request = self.request(OPERATION, Some(namespace), message)?;
        let answer = ContentClient::new(self.channel()).update(request).await;
        match answer.map_err(|status| StoreError::new(OPERATION, status)) {
            Ok(_) => Ok(true),
            Err(error) if error.class() == Class::Gone => Ok(false),
            Err(error) => Err(error.within(namespace).about(digest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use containerd_client::services::v1::{InfoResponse, UpdateResponse};
    use tonic::Code;

    use super::*;
    use crate::scripted::{Answer, ExpectedCall, namespace, recorded, scripted};

    const FIRST: &str = "containerd.io/gc.ref.content.l.0";
    const SECOND: &str = "containerd.io/gc.ref.content.l.1";

    fn removed() -> BlobLabels {
        let labels = [(FIRST, "one"), (SECOND, "two")];
        BlobLabels {
            blob: format!("sha256:{:064x}", 1).parse().unwrap(),
            labels: labels
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
        }
    }

    fn has(labels: &[(&str, &str)]) -> ExpectedCall {
        let labels = labels.iter();
        let info = Info {
            labels: labels
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            ..Info::default()
        };
        let info = InfoResponse { info: Some(info) };
        ("Content/Info", Answer::of(&info))
    }

    fn updated() -> ExpectedCall {
        ("Content/Update", Answer::of(&UpdateResponse { info: None }))
    }

    #[tokio::test]
    async fn labels_stay_if_one_of_them_has_changed() {
        let both = || has(&[(FIRST, "one"), (SECOND, "two"), ("other", "label")]);
        let lost = |call| (call, Code::Unavailable.into());
        let missing = |call| (call, Code::NotFound.into());
        let cases = [
            (vec![both(), updated()], Some(LabelRemoval::Done)),
            (
                vec![has(&[(FIRST, "one"), (SECOND, "another")])],
                Some(LabelRemoval::Changed),
            ),
            (vec![has(&[(FIRST, "one")])], Some(LabelRemoval::Changed)),
            (vec![missing("Content/Info")], Some(LabelRemoval::Gone)),
            (
                vec![both(), missing("Content/Update")],
                Some(LabelRemoval::Gone),
            ),
            (vec![lost("Content/Info")], None),
            (vec![both(), lost("Content/Update")], None),
        ];
        for (script, expected) in cases {
            let case = format!("{script:?}");
            let (store, requests) = recorded("2.0.0", script);
            let removal = store.remove_labels(&namespace(), &removed()).await;
            assert_eq!(removal.ok(), expected, "{case}");
            assert!(requests.is_over(), "{case}");
        }
    }

    #[tokio::test]
    async fn removing_and_restoring_change_these_labels_only() {
        let change = |values: [&str; 2]| UpdateRequest {
            info: Some(Info {
                digest: removed().blob.to_string(),
                labels: [FIRST, SECOND]
                    .into_iter()
                    .zip(values)
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .collect(),
                ..Info::default()
            }),
            update_mask: Some(FieldMask {
                paths: [FIRST, SECOND].map(|key| format!("labels.{key}")).into(),
            }),
        };
        let present = has(&[(FIRST, "one"), (SECOND, "two")]);
        let script = [present, updated(), updated()];
        let (store, requests) = recorded("2.0.0", script);
        store.remove_labels(&namespace(), &removed()).await.unwrap();
        assert_eq!(requests.last::<UpdateRequest>(), change(["", ""]));
        store
            .restore_labels(&namespace(), &removed())
            .await
            .unwrap();
        assert_eq!(requests.last::<UpdateRequest>(), change(["one", "two"]));
    }

    #[tokio::test]
    async fn restoring_fails_unless_the_labels_are_set_or_the_blob_is_gone() {
        let cases = [
            (updated(), true),
            (("Content/Update", Code::NotFound.into()), true),
            (("Content/Update", Code::Unavailable.into()), false),
        ];
        for (call, expected) in cases {
            let store = scripted("2.0.0", [call]);
            let restored = store.restore_labels(&namespace(), &removed()).await;
            assert_eq!(restored.is_ok(), expected);
        }
    }
}
