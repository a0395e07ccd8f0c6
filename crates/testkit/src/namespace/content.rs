//! The content store of a namespace: blobs and their labels.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use containerd_client::services::v1::content_client::ContentClient;
use containerd_client::services::v1::{
    DeleteContentRequest, Info, InfoRequest, ListContentRequest, ReadContentRequest, UpdateRequest,
    WriteAction, WriteContentRequest,
};
use futures::channel::mpsc;
use prost_types::FieldMask;
use reclaim_model::Digest;
use sha2::{Digest as _, Sha256};
use tonic::transport::Channel;
use tonic::{Code, Status};

use super::{MESSAGE_LIMIT, NamespaceClient, required, wire_labels};
use crate::labels::Labels;

/// The bytes of a blob in one message. containerd accepts at most 16 MiB.
const CHUNK: usize = 4 * 1024 * 1024;

/// Returns the SHA-256 digest of `bytes`.
pub fn digest_of(bytes: &[u8]) -> Digest {
    Digest::Sha256(Sha256::digest(bytes).into())
}

/// A blob as containerd lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobInfo {
    /// The size in bytes.
    pub size: u64,
    /// The labels in this namespace.
    pub labels: Labels,
}

impl NamespaceClient {
    pub(super) fn content(&self) -> ContentClient<Channel> {
        ContentClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_LIMIT)
    }

    /// Writes a blob and returns its digest.
    ///
    /// An existing blob gets those of `labels` that it lacks, and containerd adds it to the lease of
    /// the handle, if it has one.
    pub async fn write_blob(&self, bytes: &[u8], labels: &Labels) -> Result<Digest, Status> {
        let digest = digest_of(bytes);
        match self.write_new_blob(&digest, bytes, labels).await {
            Ok(()) => {}
            Err(status) if status.code() == Code::AlreadyExists => {
                let present = self.blob_labels(&digest).await?;
                let lacking: Labels = labels
                    .iter()
                    .filter(|(key, value)| present.get(*key) != Some(value))
                    .map(|(key, value)| (key.clone(), value.clone()))
                    .collect();
                if !lacking.is_empty() {
                    self.set_blob_labels(&digest, &lacking).await?;
                }
            }
            Err(status) => return Err(status),
        }
        Ok(digest)
    }

    /// Writes a blob as a pull does. It requests the offset first, because containerd adopts a blob of
    /// another namespace without receiving its bytes.
    async fn write_new_blob(
        &self,
        digest: &Digest,
        bytes: &[u8],
        labels: &Labels,
    ) -> Result<(), Status> {
        // Unique, because containerd allows one writer per reference.
        static WRITES: AtomicU64 = AtomicU64::new(0);
        let number = WRITES.fetch_add(1, Ordering::Relaxed);
        let opening = WriteContentRequest {
            action: WriteAction::Stat.into(),
            r#ref: format!("testkit-{}-{number}", std::process::id()),
            total: wire_size(bytes.len()),
            expected: digest.to_string(),
            ..Default::default()
        };
        let commit = WriteContentRequest {
            action: WriteAction::Commit.into(),
            labels: wire_labels(labels),
            ..opening.clone()
        };
        let (sender, requests) = mpsc::unbounded();
        let send = |request| {
            let sent = sender.unbounded_send(request);
            // Fails only if the call has ended, and then the response has the error.
            drop(sent);
        };
        send(opening);
        let mut responses = self
            .content()
            .write(self.request(requests))
            .await?
            .into_inner();
        let opened = required(responses.message().await?, "status")?;
        if opened.offset < wire_size(bytes.len()) {
            for (index, chunk) in bytes.chunks(CHUNK).enumerate() {
                send(WriteContentRequest {
                    action: WriteAction::Write.into(),
                    offset: wire_size(index * CHUNK),
                    data: chunk.to_vec(),
                    ..Default::default()
                });
            }
        }
        send(WriteContentRequest {
            offset: wire_size(bytes.len()),
            ..commit
        });
        drop(sender);
        while responses.message().await?.is_some() {}
        Ok(())
    }

    /// Returns the bytes of a blob.
    pub async fn read_blob(&self, digest: &Digest) -> Result<Vec<u8>, Status> {
        let request = ReadContentRequest {
            digest: digest.to_string(),
            offset: 0,
            size: 0,
        };
        let mut responses = self
            .content()
            .read(self.request(request))
            .await?
            .into_inner();
        let mut bytes = Vec::new();
        while let Some(response) = responses.message().await? {
            bytes.extend(response.data);
        }
        Ok(bytes)
    }

    /// Returns all blobs of the namespace with their sizes.
    pub async fn blobs(&self) -> Result<BTreeMap<Digest, u64>, Status> {
        let infos = self.blob_infos().await?.into_iter();
        Ok(infos.map(|(digest, info)| (digest, info.size)).collect())
    }

    /// Returns all blobs of the namespace with their sizes and labels.
    pub async fn blob_infos(&self) -> Result<BTreeMap<Digest, BlobInfo>, Status> {
        let request = self.request(ListContentRequest::default());
        let mut responses = self.content().list(request).await?.into_inner();
        let mut blobs = BTreeMap::new();
        while let Some(response) = responses.message().await? {
            for info in response.info {
                let blob = BlobInfo {
                    size: size(info.size)?,
                    labels: info.labels.into_iter().collect(),
                };
                blobs.insert(digest(&info.digest)?, blob);
            }
        }
        Ok(blobs)
    }

    /// Returns the labels of a blob.
    pub async fn blob_labels(&self, digest: &Digest) -> Result<Labels, Status> {
        let request = self.request(InfoRequest {
            digest: digest.to_string(),
        });
        let response = self.content().info(request).await?.into_inner();
        let info = required(response.info, "info")?;
        Ok(info.labels.into_iter().collect())
    }

    /// Sets one label of a blob. An empty value removes it.
    pub async fn set_blob_label(
        &self,
        digest: &Digest,
        key: &str,
        value: &str,
    ) -> Result<(), Status> {
        let label = Labels::from([(key.to_owned(), value.to_owned())]);
        self.set_blob_labels(digest, &label).await
    }

    /// Sets `labels` and keeps the blob's other labels.
    async fn set_blob_labels(&self, digest: &Digest, labels: &Labels) -> Result<(), Status> {
        let info = Info {
            digest: digest.to_string(),
            labels: wire_labels(labels),
            ..Default::default()
        };
        let paths = labels.keys().map(|key| format!("labels.{key}"));
        let request = self.request(UpdateRequest {
            info: Some(info),
            update_mask: Some(FieldMask {
                paths: paths.collect(),
            }),
        });
        self.content().update(request).await?;
        Ok(())
    }

    /// Deletes a blob from the namespace, even if it is referred to.
    pub async fn delete_blob(&self, digest: &Digest) -> Result<(), Status> {
        let request = self.request(DeleteContentRequest {
            digest: digest.to_string(),
        });
        self.content().delete(request).await?;
        Ok(())
    }
}

/// Parses a digest of a response.
pub(super) fn digest(text: &str) -> Result<Digest, Status> {
    text.parse()
        .map_err(|error| Status::data_loss(format!("the response has an invalid digest: {error}")))
}

/// Converts a size of a response.
pub(super) fn size(wire: i64) -> Result<u64, Status> {
    u64::try_from(wire)
        .map_err(|_| Status::data_loss(format!("the response has an invalid size: {wire}")))
}

fn wire_size(size: usize) -> i64 {
    i64::try_from(size).expect("no blob of a test has 2^63 bytes")
}
