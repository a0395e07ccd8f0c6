//! Changes single labels, of an image record or of an image's configuration, and leaves the rest
//! of the record as it is.

use std::collections::BTreeMap;

use containerd_client::services::v1::content_client::ContentClient;
use containerd_client::services::v1::images_client::ImagesClient;
use containerd_client::services::v1::{Info, InfoRequest, UpdateImageRequest, UpdateRequest};
use prost_types::FieldMask;
use reclaim_model::{Digest, ImageRecord, Namespace, Unpin};

use crate::client::Containerd;
use crate::convert;
use crate::error::{Class, StoreError};

/// The result of removing a configuration's label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unpinned {
    /// This call removed the label.
    Done,
    /// The label is gone already or refers to another snapshot; nothing was changed.
    Changed,
    /// The configuration no longer exists.
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

    /// Removes the label by which a configuration holds the unpacked snapshots of its image,
    /// unless the label now refers to another snapshot.
    ///
    /// # Errors
    ///
    /// If a call fails. The label may be gone nevertheless.
    pub async fn unpin(
        &self,
        namespace: &Namespace,
        unpin: &Unpin,
    ) -> Result<Unpinned, StoreError> {
        let Some(labels) = self.content_labels(namespace, &unpin.config).await? else {
            return Ok(Unpinned::Gone);
        };
        if labels.get(&label(unpin)).map(String::as_str) != Some(&*unpin.snapshot.key) {
            return Ok(Unpinned::Changed);
        }
        // An empty value deletes the label.
        let config_exists = self
            .set_label(namespace, &unpin.config, label(unpin), "")
            .await?;
        Ok(if config_exists {
            Unpinned::Done
        } else {
            Unpinned::Gone
        })
    }

    /// Restores the label that [`Self::unpin`] removed. Does nothing if the configuration is gone.
    ///
    /// # Errors
    ///
    /// If the call fails. The label may be set nevertheless.
    pub async fn repin(&self, namespace: &Namespace, unpin: &Unpin) -> Result<(), StoreError> {
        self.set_label(namespace, &unpin.config, label(unpin), &unpin.snapshot.key)
            .await
            .map(drop)
    }

    /// Sets one label of a blob. Returns whether the blob exists.
    async fn set_label(
        &self,
        namespace: &Namespace,
        digest: &Digest,
        key: String,
        value: &str,
    ) -> Result<bool, StoreError> {
        const OPERATION: &str = "change label of content";
        let message = UpdateRequest {
            update_mask: Some(FieldMask {
                paths: vec![format!("labels.{key}")],
            }),
            info: Some(Info {
                digest: digest.to_string(),
                labels: [(key, value.to_owned())].into(),
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

/// Returns the key of the label, as containerd's unpacker writes it.
fn label(unpin: &Unpin) -> String {
    format!(
        "containerd.io/gc.ref.snapshot.{}",
        unpin.snapshot.snapshotter
    )
}

#[cfg(test)]
mod tests {
    use containerd_client::services::v1::{InfoResponse, UpdateResponse};
    use reclaim_model::SnapshotId;
    use tonic::Code;

    use super::*;
    use crate::scripted::{Answer, ExpectedCall, namespace, recorded, scripted};

    fn history() -> Unpin {
        Unpin {
            config: format!("sha256:{:064x}", 1).parse().unwrap(),
            snapshot: SnapshotId::new("native", "chain"),
        }
    }

    fn refers_to(key: &str) -> ExpectedCall {
        let info = Info {
            labels: [(label(&history()), key.to_owned())].into(),
            ..Info::default()
        };
        let info = InfoResponse { info: Some(info) };
        ("Content/Info", Answer::of(&info))
    }

    fn updated() -> ExpectedCall {
        ("Content/Update", Answer::of(&UpdateResponse { info: None }))
    }

    #[tokio::test]
    async fn a_label_that_refers_to_another_snapshot_stays() {
        let lost = |call| (call, Code::Unavailable.into());
        let missing = |call| (call, Code::NotFound.into());
        let cases = [
            (vec![refers_to("chain"), updated()], Some(Unpinned::Done)),
            (vec![refers_to("another")], Some(Unpinned::Changed)),
            (vec![missing("Content/Info")], Some(Unpinned::Gone)),
            (
                vec![refers_to("chain"), missing("Content/Update")],
                Some(Unpinned::Gone),
            ),
            (vec![lost("Content/Info")], None),
            (vec![refers_to("chain"), lost("Content/Update")], None),
        ];
        for (script, expected) in cases {
            let case = format!("{script:?}");
            let (store, requests) = recorded("2.0.0", script);
            let unpinned = store.unpin(&namespace(), &history()).await;
            assert_eq!(unpinned.ok(), expected, "{case}");
            assert!(requests.is_over(), "{case}");
        }
    }

    #[tokio::test]
    async fn unpin_and_repin_change_one_label() {
        let key = "containerd.io/gc.ref.snapshot.native";
        let change = |value: &str| UpdateRequest {
            info: Some(Info {
                digest: history().config.to_string(),
                labels: [(key.to_owned(), value.to_owned())].into(),
                ..Info::default()
            }),
            update_mask: Some(FieldMask {
                paths: vec![format!("labels.{key}")],
            }),
        };
        let script = [refers_to("chain"), updated(), updated()];
        let (store, requests) = recorded("2.0.0", script);
        store.unpin(&namespace(), &history()).await.unwrap();
        assert_eq!(requests.last::<UpdateRequest>(), change(""));
        store.repin(&namespace(), &history()).await.unwrap();
        assert_eq!(requests.last::<UpdateRequest>(), change("chain"));
    }

    #[tokio::test]
    async fn repin_fails_unless_the_label_is_set_or_the_configuration_gone() {
        let cases = [
            (updated(), true),
            (("Content/Update", Code::NotFound.into()), true),
            (("Content/Update", Code::Unavailable.into()), false),
        ];
        for (call, expected) in cases {
            let store = scripted("2.0.0", [call]);
            let repinned = store.repin(&namespace(), &history()).await;
            assert_eq!(repinned.is_ok(), expected);
        }
    }
}
