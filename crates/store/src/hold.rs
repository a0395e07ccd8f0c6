//! Blobs that hold other content: written under one of our leases, and read again for an undo.

use std::collections::BTreeMap;

use containerd_client::services::v1::content_client::ContentClient;
use containerd_client::services::v1::leases_client::LeasesClient;
use containerd_client::services::v1::{
    AbortRequest, AddResourceRequest, InfoRequest, WriteAction, WriteContentRequest,
};
use reclaim_model::{Digest, LeaseResource, Namespace};

use crate::client::Containerd;
use crate::convert;
use crate::error::{Class, StoreError};
use crate::off_thread::blocking;

/// How many bytes of a body one message carries. containerd accepts at most 16 MiB.
const PART: usize = 1 << 20;

const WRITE: &str = "write hold";

/// A blob to be written, with the labels by which the collector follows it.
#[derive(Debug, Clone)]
pub struct HeldBlob {
    /// The bytes.
    pub body: Vec<u8>,
    /// The labels.
    pub labels: BTreeMap<String, String>,
}

impl Containerd {
    /// Writes a blob under a lease. Once written, the lease holds the blob and everything that its
    /// labels refer to.
    ///
    /// # Errors
    ///
    /// If the blob cannot be written completely. Then nothing is held.
    pub async fn write_held(
        &self,
        namespace: &Namespace,
        lease: &str,
        blob: HeldBlob,
    ) -> Result<Digest, StoreError> {
        let (blob, digest) = blocking(move || {
            let digest = reclaim_oci::digest_of(&blob.body);
            (blob, digest)
        })
        .await;
        let written = self.write_blob(namespace, lease, &digest, blob).await;
        if let Err(error) = &written
            && error.is_out_of_space()
        {
            // The part that was written would occupy room until the lease ends.
            self.abort_ingest(namespace, lease, &digest).await;
        }
        written.map(|()| digest)
    }

    async fn write_blob(
        &self,
        namespace: &Namespace,
        lease: &str,
        digest: &Digest,
        blob: HeldBlob,
    ) -> Result<(), StoreError> {
        let failed = |status| {
            StoreError::new(WRITE, status)
                .within(namespace)
                .about(lease)
        };
        let messages = futures::stream::iter(messages(lease, digest, blob));
        let request = self.leased_request(WRITE, namespace, lease, messages)?;
        let mut stream = match ContentClient::new(self.channel()).write(request).await {
            Ok(answer) => answer.into_inner(),
            Err(status) if status.code() == tonic::Code::AlreadyExists => return Ok(()),
            Err(status) => return Err(failed(status)),
        };
        loop {
            match stream.message().await {
                Ok(Some(part)) if part.action == i32::from(WriteAction::Commit) => {
                    return Ok(());
                }
                Ok(Some(_)) => {}
                Ok(None) => {
                    return Err(StoreError::incomplete(WRITE, "commit").within(namespace));
                }
                // The same blob exists, and the lease holds it now.
                Err(status) if status.code() == tonic::Code::AlreadyExists => return Ok(()),
                Err(status) => return Err(failed(status)),
            }
        }
    }

    /// Drops the written part of a blob that does not fit. An error is ignored: the part goes with
    /// the lease at the latest.
    async fn abort_ingest(&self, namespace: &Namespace, lease: &str, digest: &Digest) {
        const OPERATION: &str = "abort write of hold";
        let message = AbortRequest {
            r#ref: ingest(lease, digest),
        };
        if let Ok(request) = self.request(OPERATION, Some(namespace), message) {
            drop(ContentClient::new(self.channel()).abort(request).await);
        }
    }

    /// Reads a blob that [`Self::write_held`] wrote; `None` if it does not exist or does not have
    /// its digest.
    ///
    /// # Errors
    ///
    /// If the call fails.
    pub async fn read_held(
        &self,
        namespace: &Namespace,
        digest: &Digest,
        max_bytes: u64,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        match self.read_blob(namespace, digest, max_bytes).await {
            Ok(body) => {
                let digest = digest.clone();
                let verifying = move || reclaim_oci::verify(&digest, &body).is_ok().then_some(body);
                Ok(blocking(verifying).await)
            }
            Err(error) if error.class() == Class::Gone => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns whether a blob exists in a namespace.
    ///
    /// # Errors
    ///
    /// If the call fails.
    pub async fn has_content(
        &self,
        namespace: &Namespace,
        digest: &Digest,
    ) -> Result<bool, StoreError> {
        const OPERATION: &str = "look for content";
        let message = InfoRequest {
            digest: digest.to_string(),
        };
        let request = self.request(OPERATION, Some(namespace), message)?;
        let answer = ContentClient::new(self.channel()).info(request).await;
        match answer.map_err(|status| StoreError::new(OPERATION, status)) {
            Ok(_) => Ok(true),
            Err(error) if error.class() == Class::Gone => Ok(false),
            Err(error) => Err(error.within(namespace).about(digest)),
        }
    }

    /// Adds a blob to one of our leases.
    ///
    /// # Errors
    ///
    /// If the call fails, or the lease does not exist.
    pub async fn add_to_lease(
        &self,
        namespace: &Namespace,
        lease: &str,
        digest: &Digest,
    ) -> Result<(), StoreError> {
        let resource = LeaseResource::Content(digest.clone());
        self.add_resource(namespace, lease, &resource).await
    }

    /// Adds a resource, which need not exist, to one of our leases.
    ///
    /// # Errors
    ///
    /// If the call fails, or the lease does not exist.
    pub async fn add_resource(
        &self,
        namespace: &Namespace,
        lease: &str,
        resource: &LeaseResource,
    ) -> Result<(), StoreError> {
        const OPERATION: &str = "add to lease";
        let message = AddResourceRequest {
            id: lease.to_owned(),
            resource: Some(convert::lease_resource_message(resource)),
        };
        let request = self.request(OPERATION, Some(namespace), message)?;
        LeasesClient::new(self.channel())
            .add_resource(request)
            .await
            .map(drop)
            .map_err(|status| {
                StoreError::new(OPERATION, status)
                    .within(namespace)
                    .about(lease)
            })
    }
}

/// Returns the reference of the ingest that writes a blob. It is unique to the lease and the bytes,
/// so that two writers never share an ingest.
fn ingest(lease: &str, digest: &Digest) -> String {
    format!("{lease}-{digest}")
}

/// Returns the messages that write a blob: its parts, then the commit.
fn messages(lease: &str, digest: &Digest, blob: HeldBlob) -> Vec<WriteContentRequest> {
    let HeldBlob { body, labels } = blob;
    let total = i64::try_from(body.len()).unwrap_or(i64::MAX);
    let message = |action: WriteAction, offset: usize| WriteContentRequest {
        action: action.into(),
        r#ref: ingest(lease, digest),
        total,
        expected: digest.to_string(),
        offset: i64::try_from(offset).unwrap_or(i64::MAX),
        ..WriteContentRequest::default()
    };
    let parts = body
        .chunks(PART)
        .enumerate()
        .map(|(index, part)| WriteContentRequest {
            data: part.to_vec(),
            ..message(WriteAction::Write, index * PART)
        });
    let commit = WriteContentRequest {
        labels: labels.into_iter().collect(),
        ..message(WriteAction::Commit, body.len())
    };
    parts.chain([commit]).collect()
}

#[cfg(test)]
mod tests {
    use containerd_client::services::v1::{ReadContentResponse, Resource, WriteContentResponse};
    use tonic::Code;

    use super::*;
    use crate::scripted::{Answer, namespace, recorded, scripted};

    fn part(action: WriteAction) -> WriteContentResponse {
        WriteContentResponse {
            action: action.into(),
            ..WriteContentResponse::default()
        }
    }

    #[tokio::test]
    async fn only_a_commit_or_an_existing_blob_counts_as_written() {
        let blob = HeldBlob {
            body: b"journal".to_vec(),
            labels: BTreeMap::new(),
        };
        let written = part(WriteAction::Write);
        let committed = part(WriteAction::Commit);
        let nothing: [WriteContentResponse; 0] = [];
        let parts = std::slice::from_ref(&written);
        let cases = [
            (
                Answer::stream(&[written.clone(), committed], Code::Ok),
                None,
            ),
            (Code::AlreadyExists.into(), None),
            (Answer::stream(parts, Code::AlreadyExists), None),
            (Answer::stream(parts, Code::Ok), Some(Class::Broken)),
            (Answer::stream(&nothing, Code::Ok), Some(Class::Broken)),
            (Answer::stream(parts, Code::Aborted), Some(Class::Retry)),
            (Code::Unavailable.into(), Some(Class::Retry)),
        ];
        for (answer, expected) in cases {
            let case = format!("{answer:?}");
            let store = scripted("2.0.0", [("Content/Write", answer)]);
            let written = store.write_held(&namespace(), "ours", blob.clone()).await;
            let class = written.as_ref().err().map(StoreError::class);
            assert_eq!(class, expected, "{case}");
            if let Ok(digest) = written {
                assert_eq!(digest, reclaim_oci::digest_of(b"journal"));
            }
        }
    }

    #[tokio::test]
    async fn read_held_returns_only_the_blob_of_the_digest() {
        let body = |data: &[u8]| {
            Answer::of(&ReadContentResponse {
                offset: 0,
                data: data.to_vec(),
            })
        };
        let digest = reclaim_oci::digest_of(b"journal");
        let cases = [
            (body(b"journal"), Some(Some(b"journal".to_vec()))),
            (body(b"another"), Some(None)),
            (Code::NotFound.into(), Some(None)),
            (Code::Unavailable.into(), None),
        ];
        for (answer, expected) in cases {
            let store = scripted("2.0.0", [("Content/Read", answer)]);
            let read = store.read_held(&namespace(), &digest, 100).await;
            assert_eq!(read.ok(), expected);
        }
    }

    #[tokio::test]
    async fn add_to_lease_adds_content_and_fails_without_a_lease() {
        let digest = reclaim_oci::digest_of(b"journal");
        let script = [
            ("Leases/AddResource", Answer::done()),
            ("Leases/AddResource", Code::NotFound.into()),
        ];
        let (store, requests) = recorded("2.0.0", script);
        let held = store.add_to_lease(&namespace(), "ours", &digest).await;
        held.unwrap();
        let expected = AddResourceRequest {
            id: "ours".to_owned(),
            resource: Some(Resource {
                id: digest.to_string(),
                r#type: "content".to_owned(),
            }),
        };
        assert_eq!(requests.last::<AddResourceRequest>(), expected);
        let held = store.add_to_lease(&namespace(), "ours", &digest).await;
        assert_eq!(held.unwrap_err().class(), Class::Gone);
    }

    #[tokio::test]
    async fn has_content_fails_without_an_answer() {
        let cases = [
            (Answer::done(), Some(true)),
            (Code::NotFound.into(), Some(false)),
            (Code::Unavailable.into(), None),
        ];
        for (answer, expected) in cases {
            let store = scripted("2.0.0", [("Content/Info", answer)]);
            let digest = reclaim_oci::digest_of(b"layer");
            let has_content = store.has_content(&namespace(), &digest).await;
            assert_eq!(has_content.ok(), expected);
        }
    }

    #[test]
    fn a_large_body_is_sent_in_consecutive_parts() {
        let body: Vec<u8> = (0..=250).cycle().take(2 * PART + 5).collect();
        let digest = reclaim_oci::digest_of(&body);
        let labels = BTreeMap::from([("key".to_owned(), "value".to_owned())]);
        let blob = HeldBlob {
            body: body.clone(),
            labels,
        };
        let messages = messages("lease", &digest, blob);
        let [parts @ .., commit] = &messages[..] else {
            unreachable!("there is a commit")
        };
        let offsets: Vec<i64> = messages.iter().map(|message| message.offset).collect();
        assert_eq!(offsets, [0, 1 << 20, 2 << 20, (2 << 20) + 5]);
        let sent: Vec<u8> = parts.iter().flat_map(|part| part.data.clone()).collect();
        assert!(sent == body, "not a byte is missing");
        assert_eq!(commit.action, i32::from(WriteAction::Commit));
        assert_eq!(commit.labels["key"], "value");
        for message in &messages {
            assert_eq!(message.total, (2 << 20) + 5);
            assert_eq!(message.expected, digest.to_string());
            assert_eq!(message.r#ref, format!("lease-{digest}"));
        }
    }
}
