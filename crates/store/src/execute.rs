//! Single changes: image records, and leases of our own. Nothing else is ever written.

use std::collections::BTreeMap;

use containerd_client::services::v1::images_client::ImagesClient;
use containerd_client::services::v1::leases_client::LeasesClient;
use containerd_client::services::v1::{
    CreateImageRequest, CreateRequest, DeleteImageRequest, DeleteRequest, GetImageRequest,
};
use reclaim_model::{CollectorRules, DeleteGuard, Digest, ImageRecord, Namespace};
use tonic::Status;

use crate::client::Containerd;
use crate::convert;
use crate::deadline;
use crate::error::{Class, StoreError};

/// What became of the deletion of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseDeletion {
    /// It is deleted, and the collection that was asked for is over.
    Deleted,
    /// There was no such lease any more.
    Gone,
    /// It is deleted, and the collection goes on: it took longer than one is waited for.
    Collecting,
}

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
                // It points at nothing that was evaluated here.
                Ok(convert::image(image).ok())
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

    /// Deletes a lease of ours.
    ///
    /// With `collect` the answer comes after a collection that began after the deletion: that
    /// is how a run collects once for everything it removed. Without, it comes at once and
    /// starts none by itself.
    ///
    /// Not cancellation safe: once sent, it may have happened even if the answer is lost.
    ///
    /// # Errors
    ///
    /// If the server cannot be asked, or the collection failed.
    pub async fn delete_lease(
        &self,
        namespace: &Namespace,
        id: &str,
        collect: bool,
    ) -> Result<LeaseDeletion, StoreError> {
        const OPERATION: &str = "delete lease";
        let message = DeleteRequest {
            id: id.to_owned(),
            sync: collect,
        };
        let mut request = self.request(OPERATION, Some(namespace), message)?;
        if collect {
            request.extensions_mut().insert(deadline::Class::Collect);
        }
        let mut client = LeasesClient::new(self.channel());
        let failed = |status| {
            StoreError::new(OPERATION, status)
                .within(namespace)
                .about(id)
        };
        match deadline::within_ceiling(client.delete(request)).await {
            Some(Ok(_)) => Ok(LeaseDeletion::Deleted),
            Some(Err(status)) if status.code() == tonic::Code::NotFound => Ok(LeaseDeletion::Gone),
            Some(Err(status)) => Err(failed(status)),
            None if self.lease(namespace, id).await?.is_none() => Ok(LeaseDeletion::Collecting),
            None => Err(failed(Status::deadline_exceeded(
                "containerd has not deleted it yet",
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use containerd_client::services::v1::{GetImageResponse, Image};
    use containerd_client::types::Descriptor;
    use tonic::Code;

    use super::*;
    use crate::scripted::{Answer, Line, namespace, recorded, scripted};

    fn image(digit: char) -> ImageRecord {
        let hex = String::from_iter([digit; 64]);
        let target = Descriptor {
            digest: format!("sha256:{hex}"),
            size: 1,
            ..Descriptor::default()
        };
        convert::image(Image {
            name: "app".to_owned(),
            target: Some(target),
            ..Image::default()
        })
        .unwrap()
    }

    fn there(digit: char) -> Line {
        let image = Some(convert::image_message(&image(digit)));
        ("Images/Get", Answer::of(&GetImageResponse { image }))
    }

    fn gone() -> Line {
        ("Images/Get", Code::NotFound.into())
    }

    #[tokio::test]
    async fn a_record_that_moved_or_went_is_not_removed() {
        let deleted = || ("Images/Delete", Answer::done());
        let refused = || ("Images/Delete", Code::NotFound.into());
        let cases = [
            // Compared by us,
            ("1.7.0", vec![there('1'), deleted()], Deletion::Removed),
            ("1.7.0", vec![there('2')], Deletion::Moved),
            ("1.7.0", vec![gone()], Deletion::Gone),
            ("1.7.0", vec![there('1'), refused(), gone()], Deletion::Gone),
            // and by the server, which has one answer for both.
            ("2.0.0", vec![deleted()], Deletion::Removed),
            ("2.0.0", vec![refused(), there('2')], Deletion::Moved),
            ("2.0.0", vec![refused(), gone()], Deletion::Gone),
        ];
        for (version, script, expected) in cases {
            let told = format!("{version}: {script:?}");
            let (store, asked) = recorded(version, script);
            let deletion = store.delete_image(&namespace(), &image('1')).await;
            assert_eq!(deletion.unwrap(), expected, "{told}");
            assert!(asked.is_over(), "{told}");
        }
    }

    /// A server that compares must be told with what; one that does not has nothing from it.
    #[tokio::test]
    async fn a_removal_names_the_target_where_that_is_compared() {
        let deleted = || ("Images/Delete", Answer::done());
        let judged = Some(convert::descriptor(&image('1').target));
        let cases = [
            ("1.7.0", vec![there('1'), deleted()], None),
            ("2.0.0", vec![deleted()], judged),
        ];
        for (version, script, target) in cases {
            let (store, asked) = recorded(version, script);
            let deletion = store.delete_image(&namespace(), &image('1')).await;
            deletion.unwrap();
            let expected = DeleteImageRequest {
                name: "app".to_owned(),
                sync: false,
                target,
            };
            assert_eq!(asked.last::<DeleteImageRequest>(), expected, "{version}");
        }
    }

    #[tokio::test]
    async fn a_removal_that_cannot_be_told_is_an_error() {
        let lost = |call| (call, Code::Unavailable.into());
        let cases = [
            ("1.7.0", vec![lost("Images/Get")], "get image"),
            (
                "1.7.0",
                vec![there('1'), lost("Images/Delete")],
                "delete image",
            ),
            ("2.0.0", vec![lost("Images/Delete")], "delete image"),
        ];
        for (version, script, operation) in cases {
            let store = scripted(version, script);
            let error = store.delete_image(&namespace(), &image('1')).await;
            let error = error.unwrap_err();
            assert!(error.is_passing());
            let expected = format!("{operation} `app` in namespace `default`");
            assert_eq!(error.to_string(), expected);
        }
    }

    #[tokio::test]
    async fn an_answer_without_a_record_is_no_absence() {
        let empty = Answer::of(&GetImageResponse { image: None });
        let store = scripted("2.0.0", [("Images/Get", empty)]);
        let error = store.image_record(&namespace(), "app").await.unwrap_err();
        assert_eq!(error.class(), Class::Broken);
    }

    #[tokio::test]
    async fn a_name_that_is_taken_is_left_alone() {
        let exists = || ("Images/Create", Code::AlreadyExists.into());
        let made = ("Images/Create", Answer::done());
        let cases = [
            (vec![made], '1'),
            (vec![exists(), there('1')], '1'),
            (vec![exists(), there('2')], '2'),
            (vec![exists(), gone()], '1'),
        ];
        for (script, expected) in cases {
            let store = scripted("2.0.0", script);
            let there = store.restore_image(&namespace(), &image('1')).await;
            assert_eq!(there.unwrap(), image(expected).target.digest);
        }
        let script = [("Images/Create", Code::PermissionDenied.into()), there('2')];
        let store = scripted("2.0.0", script);
        let error = store.restore_image(&namespace(), &image('1')).await;
        assert_eq!(error.unwrap_err().class(), Class::Refused);
    }

    #[tokio::test]
    async fn a_lease_is_made_once_and_deleted_once() {
        let script = [
            ("Leases/Create", Answer::done()),
            ("Leases/Create", Code::AlreadyExists.into()),
            ("Leases/Create", Code::ResourceExhausted.into()),
            ("Leases/Delete", Answer::done()),
            ("Leases/Delete", Code::NotFound.into()),
            ("Leases/Delete", Code::Unavailable.into()),
        ];
        let store = scripted("2.0.0", script);
        let namespace = &namespace();
        for expected in [Some(true), Some(false), None] {
            let made = store.create_lease(namespace, "ours", BTreeMap::new()).await;
            assert_eq!(made.ok(), expected);
        }
        let expected = [LeaseDeletion::Deleted, LeaseDeletion::Gone].map(Some);
        for expected in expected.into_iter().chain([None]) {
            let deleted = store.delete_lease(namespace, "ours", true).await;
            assert_eq!(deleted.ok(), expected);
        }
    }

    #[test]
    fn only_a_server_that_compares_is_trusted_to() {
        let cases = [
            ("1.6.20", DeleteGuard::ReadFirst),
            ("1.7.27", DeleteGuard::ReadFirst),
            ("2.0.0", DeleteGuard::Server),
            ("2.1.4", DeleteGuard::Server),
            ("a fork", DeleteGuard::ReadFirst),
        ];
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let _runtime = runtime.as_ref().unwrap().enter();
        for (version, expected) in cases {
            assert_eq!(scripted(version, []).delete_guard(), expected, "{version}");
        }
    }
}
