//! Blobs that hold other content: written under a lease of ours, read back to undo.

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

/// How much of a body one message carries. containerd takes 16 MiB at most.
const PART: usize = 1 << 20;

const WRITE: &str = "write hold";

/// A blob to be written, with the labels by which the collector follows it.
#[derive(Debug, Clone)]
pub struct HeldBlob {
    /// Its bytes.
    pub body: Vec<u8>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

impl Containerd {
    /// Writes a blob under a lease. As soon as it is there the lease holds it, and with it all
    /// that its labels refer to.
    ///
    /// # Errors
    ///
    /// If it cannot be written whole; nothing is held then.
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
            // What was written of it takes room until the lease ends.
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
        let answer = ContentClient::new(self.channel()).write(request).await;
        let answer = match answer {
            Err(status) if status.code() == tonic::Code::AlreadyExists => return Ok(()),
            answer => answer.map_err(failed)?,
        };
        let mut stream = answer.into_inner();
        loop {
            match stream.message().await {
                Ok(Some(part)) if part.action == i32::from(WriteAction::Commit) => {
                    return Ok(());
                }
                Ok(Some(_)) => {}
                Ok(None) => {
                    return Err(StoreError::incomplete(WRITE, "commit").within(namespace));
                }
                // The same bytes are there, and the lease has them now.
                Err(status) if status.code() == tonic::Code::AlreadyExists => return Ok(()),
                Err(status) => return Err(failed(status)),
            }
        }
    }

    /// Drops what was written of a blob that does not fit. The lease drops it at the latest.
    async fn abort_ingest(&self, namespace: &Namespace, lease: &str, digest: &Digest) {
        const OPERATION: &str = "abort write of hold";
        let message = AbortRequest {
            r#ref: ingest(lease, digest),
        };
        if let Ok(request) = self.request(OPERATION, Some(namespace), message) {
            // If it cannot be aborted, it is in the way until the lease ends, no longer.
            drop(ContentClient::new(self.channel()).abort(request).await);
        }
    }

    /// Reads back what [`Self::write_held`] wrote, checked against its digest; `None` if it is
    /// not there or not what it should be.
    ///
    /// # Errors
    ///
    /// If the server cannot be asked.
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

    /// Says whether a blob is there, in that namespace.
    ///
    /// # Errors
    ///
    /// If the server cannot be asked.
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
        let answer = answer.map_err(|status| {
            StoreError::new(OPERATION, status)
                .within(namespace)
                .about(digest)
        });
        match answer {
            Ok(_) => Ok(true),
            Err(error) if error.class() == Class::Gone => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Adds a blob to a lease of ours.
    ///
    /// # Errors
    ///
    /// If the server cannot be asked, or the lease does not exist.
    pub async fn add_to_lease(
        &self,
        namespace: &Namespace,
        lease: &str,
        digest: &Digest,
    ) -> Result<(), StoreError> {
        let resource = LeaseResource::Content(digest.clone());
        self.add_resource(namespace, lease, &resource).await
    }

    /// Adds anything to a lease of ours. It need not exist.
    ///
    /// # Errors
    ///
    /// If the server cannot be asked, or the lease does not exist.
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
        let answer = LeasesClient::new(self.channel())
            .add_resource(request)
            .await;
        answer.map(drop).map_err(|status| {
            StoreError::new(OPERATION, status)
                .within(namespace)
                .about(lease)
        })
    }
}

/// The name under which a blob is written. Unique to the lease and the bytes, so that two
/// writers never share an ingest.
fn ingest(lease: &str, digest: &Digest) -> String {
    format!("{lease}-{digest}")
}

/// The stream that writes a blob: its parts, then the commit.
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
    let mut messages: Vec<_> = parts.collect();
    messages.push(WriteContentRequest {
        labels: labels.into_iter().collect(),
        ..message(WriteAction::Commit, body.len())
    });
    messages
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

    /// What holds must be there for certain: nothing but a commit, or that it is there, says so.
    #[tokio::test]
    async fn a_blob_is_written_when_it_is_committed_or_there() {
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
            let told = format!("{answer:?}");
            let store = scripted("2.0.0", [("Content/Write", answer)]);
            let written = store.write_held(&namespace(), "ours", blob.clone()).await;
            let class = written.as_ref().err().map(StoreError::class);
            assert_eq!(class, expected, "{told}");
            if let Ok(digest) = written {
                assert_eq!(digest, reclaim_oci::digest_of(b"journal"));
            }
        }
    }

    #[tokio::test]
    async fn only_what_was_written_is_read_back() {
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
    async fn a_blob_is_held_when_the_lease_has_it() {
        let digest = reclaim_oci::digest_of(b"journal");
        let script = [
            ("Leases/AddResource", Answer::done()),
            ("Leases/AddResource", Code::NotFound.into()),
        ];
        let (store, asked) = recorded("2.0.0", script);
        let held = store.add_to_lease(&namespace(), "ours", &digest).await;
        held.unwrap();
        let expected = AddResourceRequest {
            id: "ours".to_owned(),
            resource: Some(Resource {
                id: digest.to_string(),
                r#type: "content".to_owned(),
            }),
        };
        assert_eq!(asked.last::<AddResourceRequest>(), expected);
        let held = store.add_to_lease(&namespace(), "ours", &digest).await;
        assert_eq!(held.unwrap_err().class(), Class::Gone);
    }

    #[tokio::test]
    async fn content_is_there_or_not_and_no_answer_is_neither() {
        let cases = [
            (Answer::done(), Some(true)),
            (Code::NotFound.into(), Some(false)),
            (Code::Unavailable.into(), None),
        ];
        for (answer, expected) in cases {
            let store = scripted("2.0.0", [("Content/Info", answer)]);
            let digest = reclaim_oci::digest_of(b"layer");
            let there = store.has_content(&namespace(), &digest).await;
            assert_eq!(there.ok(), expected);
        }
    }

    #[test]
    fn a_large_body_goes_in_parts_that_follow_each_other() {
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
        let offsets: Vec<i64> = messages.iter().map(|it| it.offset).collect();
        assert_eq!(offsets, [0, 1 << 20, 2 << 20, (2 << 20) + 5]);
        let sent: Vec<u8> = parts.iter().flat_map(|it| it.data.clone()).collect();
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
