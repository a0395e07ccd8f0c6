//! Single changes of image records and of our own leases.

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

/// The result of deleting a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseDeletion {
    /// The lease is deleted, and the requested collection has ended.
    Deleted,
    /// The lease no longer existed.
    Gone,
    /// The lease is deleted, and the requested collection has not ended within the time limit.
    Collecting,
}

/// The result of deleting an image record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// This call deleted the record.
    Removed,
    /// The record has another target now and was not deleted.
    Moved,
    /// The record no longer existed.
    Gone,
}

impl Containerd {
    /// Returns whether this server compares the target of a record before it deletes it, or the
    /// client has to.
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

    /// Deletes an image record, unless its target has changed since it was evaluated.
    ///
    /// It neither starts a collection nor waits for one.
    ///
    /// Not cancellation safe: once sent, it may take effect even if the answer is lost.
    ///
    /// # Errors
    ///
    /// If a call fails. The record may be gone nevertheless.
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
                let current = self.image_target(namespace, &image.name).await?;
                Ok(current.map_or(Deletion::Gone, |_| Deletion::Moved))
            }
            Err(error) => Err(error.within(namespace).about(&image.name)),
        }
    }

    /// Reads the present target of an image record; `None` if the record does not exist.
    ///
    /// # Errors
    ///
    /// If the call fails.
    pub async fn image_target(
        &self,
        namespace: &Namespace,
        name: &str,
    ) -> Result<Option<Digest>, StoreError> {
        let image = self.image_record(namespace, name).await?;
        Ok(image.map(|image| image.target.digest))
    }

    /// Reads an image record; `None` if it does not exist.
    ///
    /// # Errors
    ///
    /// If the call fails.
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
        match answer.map_err(|status| StoreError::new(OPERATION, status)) {
            Ok(answer) => {
                let message = answer.into_inner().image.ok_or_else(|| {
                    StoreError::incomplete(OPERATION, "image")
                        .within(namespace)
                        .about(name)
                })?;
                // A target that cannot be parsed is not one that was evaluated.
                Ok(convert::image(message).ok())
            }
            Err(error) if error.class() == Class::Gone => Ok(None),
            Err(error) => Err(error.within(namespace).about(name)),
        }
    }

    /// Writes a deleted image record again: name, target, labels, and from containerd 1.7 on the
    /// time of its creation.
    ///
    /// Returns the target of the name: the restored one, or another if the name has been used for
    /// another image meanwhile; that record stays unchanged.
    ///
    /// # Errors
    ///
    /// If a call fails. The record may exist nevertheless.
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
                let current = self.image_target(namespace, &image.name).await?;
                // If the record is gone again, it was deleted after it existed, as if after the
                // restore.
                Ok(current.unwrap_or_else(|| image.target.digest.clone()))
            }
            Err(status) => Err(failed(status)),
        }
    }

    /// Creates a lease. Returns `false` if a lease of that ID exists.
    ///
    /// # Errors
    ///
    /// If the call fails for another reason.
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

    /// Deletes one of our own leases.
    ///
    /// With `collect` it returns after a collection that began after the deletion: so a run
    /// collects once for everything that it removed. Without, it starts no collection.
    ///
    /// Not cancellation safe: once sent, it may take effect even if the answer is lost.
    ///
    /// # Errors
    ///
    /// If a call or the collection fails.
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
            request.extensions_mut().insert(deadline::CallKind::Collect);
        }
        let mut client = LeasesClient::new(self.channel());
        let failed = |status| {
            StoreError::new(OPERATION, status)
                .within(namespace)
                .about(id)
        };
        match deadline::within_collection_timeout(client.delete(request)).await {
            Some(Ok(_)) => Ok(LeaseDeletion::Deleted),
            Some(Err(status)) if status.code() == tonic::Code::NotFound => Ok(LeaseDeletion::Gone),
            Some(Err(status)) => Err(failed(status)),
            None if self.lease(namespace, id).await?.is_none() => Ok(LeaseDeletion::Collecting),
            None => Err(failed(Status::deadline_exceeded(
                "containerd has not deleted the lease yet",
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
    use crate::scripted::{Answer, ExpectedCall, namespace, recorded, scripted};

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

    fn exists(digit: char) -> ExpectedCall {
        let image = Some(convert::image_message(&image(digit)));
        ("Images/Get", Answer::of(&GetImageResponse { image }))
    }

    fn gone() -> ExpectedCall {
        ("Images/Get", Code::NotFound.into())
    }

    #[tokio::test]
    async fn a_record_with_another_target_is_not_deleted() {
        let deleted = || ("Images/Delete", Answer::done());
        let refused = || ("Images/Delete", Code::NotFound.into());
        let cases = [
            // The client compares the target before 2.0,
            ("1.7.0", vec![exists('1'), deleted()], Deletion::Removed),
            ("1.7.0", vec![exists('2')], Deletion::Moved),
            ("1.7.0", vec![gone()], Deletion::Gone),
            (
                "1.7.0",
                vec![exists('1'), refused(), gone()],
                Deletion::Gone,
            ),
            // and the server from 2.0 on, with one answer for moved and gone records.
            ("2.0.0", vec![deleted()], Deletion::Removed),
            ("2.0.0", vec![refused(), exists('2')], Deletion::Moved),
            ("2.0.0", vec![refused(), gone()], Deletion::Gone),
        ];
        for (version, script, expected) in cases {
            let case = format!("{version}: {script:?}");
            let (store, requests) = recorded(version, script);
            let deletion = store.delete_image(&namespace(), &image('1')).await;
            assert_eq!(deletion.unwrap(), expected, "{case}");
            assert!(requests.is_over(), "{case}");
        }
    }

    #[tokio::test]
    async fn delete_sends_the_target_to_a_server_that_compares_it() {
        let deleted = || ("Images/Delete", Answer::done());
        let evaluated = Some(convert::descriptor(&image('1').target));
        let cases = [
            ("1.7.0", vec![exists('1'), deleted()], None),
            ("2.0.0", vec![deleted()], evaluated),
        ];
        for (version, script, target) in cases {
            let (store, requests) = recorded(version, script);
            let deletion = store.delete_image(&namespace(), &image('1')).await;
            deletion.unwrap();
            let expected = DeleteImageRequest {
                name: "app".to_owned(),
                sync: false,
                target,
            };
            assert_eq!(requests.last::<DeleteImageRequest>(), expected, "{version}");
        }
    }

    #[tokio::test]
    async fn a_lost_answer_to_a_delete_is_an_error() {
        let lost = |call| (call, Code::Unavailable.into());
        let cases = [
            ("1.7.0", vec![lost("Images/Get")], "get image"),
            (
                "1.7.0",
                vec![exists('1'), lost("Images/Delete")],
                "delete image",
            ),
            ("2.0.0", vec![lost("Images/Delete")], "delete image"),
        ];
        for (version, script, operation) in cases {
            let store = scripted(version, script);
            let error = store.delete_image(&namespace(), &image('1')).await;
            let error = error.unwrap_err();
            assert!(error.is_transient());
            let expected = format!("{operation} `app` in namespace `default`");
            assert_eq!(error.to_string(), expected);
        }
    }

    #[tokio::test]
    async fn an_answer_without_a_record_does_not_mean_that_it_is_gone() {
        let empty = Answer::of(&GetImageResponse { image: None });
        let store = scripted("2.0.0", [("Images/Get", empty)]);
        let error = store.image_record(&namespace(), "app").await.unwrap_err();
        assert_eq!(error.class(), Class::Broken);
    }

    #[tokio::test]
    async fn restore_does_not_change_an_existing_record() {
        let refused = || ("Images/Create", Code::AlreadyExists.into());
        let created = ("Images/Create", Answer::done());
        let cases = [
            (vec![created], '1'),
            (vec![refused(), exists('1')], '1'),
            (vec![refused(), exists('2')], '2'),
            (vec![refused(), gone()], '1'),
        ];
        for (script, expected) in cases {
            let store = scripted("2.0.0", script);
            let target = store.restore_image(&namespace(), &image('1')).await;
            assert_eq!(target.unwrap(), image(expected).target.digest);
        }
        let script = [
            ("Images/Create", Code::PermissionDenied.into()),
            exists('2'),
        ];
        let store = scripted("2.0.0", script);
        let error = store.restore_image(&namespace(), &image('1')).await;
        assert_eq!(error.unwrap_err().class(), Class::Refused);
    }

    #[tokio::test]
    async fn a_lease_is_created_once_and_deleted_once() {
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
            let created = store.create_lease(namespace, "ours", BTreeMap::new()).await;
            assert_eq!(created.ok(), expected);
        }
        let expected = [LeaseDeletion::Deleted, LeaseDeletion::Gone].map(Some);
        for expected in expected.into_iter().chain([None]) {
            let deleted = store.delete_lease(namespace, "ours", true).await;
            assert_eq!(deleted.ok(), expected);
        }
    }

    #[test]
    fn the_server_guards_deletes_from_2_0_on() {
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
