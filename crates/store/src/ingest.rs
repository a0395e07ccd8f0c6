//! Writes content of any length under one of our leases, part by part.

use std::collections::BTreeMap;
use std::time::Duration;

use containerd_client::services::v1::content_client::ContentClient;
use containerd_client::services::v1::{
    AbortRequest, WriteAction, WriteContentRequest, WriteContentResponse,
};
use reclaim_model::{Digest, Namespace};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::{Code, Status, Streaming};

use crate::client::Containerd;
use crate::deadline::CallKind;
use crate::error::StoreError;

const OPERATION: &str = "write content";

/// How long containerd may take to store one part.
const PART_TIMEOUT: Duration = Duration::from_secs(60);

/// How long containerd may take to verify the last part and to write all of it to the disk.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// Content to be written.
#[derive(Debug, Clone, Copy)]
pub struct IngestTarget<'t> {
    /// The namespace.
    pub namespace: &'t Namespace,
    /// The lease that holds it, also while it is written.
    pub lease: &'t str,
    /// The reference of the ingest. Two writers must not share one.
    pub reference: &'t str,
    /// The digest, which containerd verifies.
    pub digest: &'t Digest,
    /// The length in bytes, which containerd verifies.
    pub size: u64,
}

/// Content that is being written.
#[derive(Debug)]
pub struct Ingest {
    store: Containerd,
    namespace: Namespace,
    message: WriteContentRequest,
    messages: mpsc::Sender<WriteContentRequest>,
    answers: Streaming<WriteContentResponse>,
    /// Whether another namespace has the content, so that no byte has to be written.
    is_shared: bool,
}

/// The beginning of a write.
#[derive(Debug)]
pub enum Begun {
    /// The namespace has the content already, and the lease holds it now.
    Exists,
    /// The content is to be written.
    New(Box<Ingest>),
}

impl Containerd {
    /// Begins to write content.
    ///
    /// # Errors
    ///
    /// If the call fails. Then nothing is written.
    pub async fn begin_ingest(&self, target: IngestTarget<'_>) -> Result<Begun, StoreError> {
        let IngestTarget {
            namespace,
            lease,
            reference,
            digest,
            size,
        } = target;
        let failed = |status| {
            StoreError::new(OPERATION, status)
                .within(namespace)
                .about(digest)
        };
        let message = WriteContentRequest {
            action: WriteAction::Stat.into(),
            r#ref: reference.to_owned(),
            total: i64::try_from(size).unwrap_or(i64::MAX),
            expected: digest.to_string(),
            ..WriteContentRequest::default()
        };
        let (messages, sent) = mpsc::channel(1);
        let sent = futures::stream::unfold(sent, |mut sent| async move {
            let message = sent.recv().await?;
            Some((message, sent))
        });
        let mut request = self.leased_request(OPERATION, namespace, lease, sent)?;
        // Between two parts it waits for the source; each part has a limit of its own.
        request.extensions_mut().insert(CallKind::Collect);
        // The channel has room for it.
        drop(messages.send(message.clone()).await);
        let mut client = ContentClient::new(self.channel());
        let calling = timeout(PART_TIMEOUT, client.write(request));
        let mut answers = match calling.await {
            Ok(Ok(answer)) => answer.into_inner(),
            Ok(Err(status)) if status.code() == Code::AlreadyExists => return Ok(Begun::Exists),
            Ok(Err(status)) => return Err(failed(status)),
            Err(_) => return Err(failed(late(PART_TIMEOUT))),
        };
        let offset = match timeout(PART_TIMEOUT, answers.message()).await {
            Ok(Ok(Some(answer))) => answer.offset,
            Ok(Ok(None)) => return Err(failed(Status::data_loss("no status of the content"))),
            Ok(Err(status)) if status.code() == Code::AlreadyExists => return Ok(Begun::Exists),
            Ok(Err(status)) => return Err(failed(status)),
            Err(_) => return Err(failed(late(PART_TIMEOUT))),
        };
        let is_shared = offset > 0 && offset == message.total;
        let mut ingest = Ingest {
            store: self.clone(),
            namespace: namespace.clone(),
            message,
            messages,
            answers,
            is_shared,
        };
        if is_shared {
            ingest.message.offset = offset;
        }
        Ok(Begun::New(Box::new(ingest)))
    }
}

impl Ingest {
    /// Whether another namespace has the content, so that it only has to be committed.
    pub fn is_shared(&self) -> bool {
        self.is_shared
    }

    /// Writes the next bytes: at most 1 MiB.
    ///
    /// # Errors
    ///
    /// If the call fails. Then the content has to be written again from its beginning.
    pub async fn write(&mut self, data: Vec<u8>) -> Result<(), StoreError> {
        let length = i64::try_from(data.len()).unwrap_or(i64::MAX);
        let message = WriteContentRequest {
            action: WriteAction::Write.into(),
            data,
            ..self.message.clone()
        };
        self.exchange(message, PART_TIMEOUT).await?;
        self.message.offset = self.message.offset.saturating_add(length);
        Ok(())
    }

    /// Ends the content. containerd verifies its length and its digest.
    ///
    /// # Errors
    ///
    /// If the call fails, or the content is another.
    pub async fn commit(mut self, labels: BTreeMap<String, String>) -> Result<(), StoreError> {
        let message = WriteContentRequest {
            action: WriteAction::Commit.into(),
            labels: labels.into_iter().collect(),
            ..self.message.clone()
        };
        let committed = self.exchange(message, COMMIT_TIMEOUT).await;
        match committed {
            Err(error) if error.code() == Some(Code::AlreadyExists) => Ok(()),
            other => other,
        }
    }

    /// Drops what was written. An error is ignored: it goes with the lease at the latest.
    pub async fn abort(self) {
        let Self {
            store,
            namespace,
            message,
            messages,
            answers,
            is_shared: _,
        } = self;
        // An ingest with a writer is locked.
        drop((messages, answers));
        let message = AbortRequest {
            r#ref: message.r#ref,
        };
        if let Ok(request) = store.request("abort write", Some(&namespace), message) {
            drop(ContentClient::new(store.channel()).abort(request).await);
        }
    }

    /// Sends a message and waits for its answer.
    async fn exchange(
        &mut self,
        message: WriteContentRequest,
        limit: Duration,
    ) -> Result<(), StoreError> {
        let digest = message.expected.clone();
        // If the call has ended, its status says why.
        drop(self.messages.send(message).await);
        let answer = timeout(limit, self.answers.message()).await;
        let status = match answer {
            Ok(Ok(Some(_))) => return Ok(()),
            Ok(Ok(None)) => Status::data_loss("the call ended before the content was written"),
            Ok(Err(status)) => status,
            Err(_) => late(limit),
        };
        Err(StoreError::new(OPERATION, status)
            .within(&self.namespace)
            .about(&digest))
    }
}

fn late(limit: Duration) -> Status {
    Status::deadline_exceeded(format!(
        "no answer from containerd within {} s",
        limit.as_secs()
    ))
}
