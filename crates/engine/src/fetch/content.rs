//! Fetches one blob and writes it to containerd.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use reclaim_model::{
    Child, DocumentKind, FetchedPart, NotRestored, Reference, RegistryContent, Sources,
};
use reclaim_store::{Begun, Ingest, IngestTarget, StoreError};
use tokio::sync::mpsc;

use super::{LayerSource, Restoring, SourceError, failed};
use crate::retry::retry;

/// How many bytes one message to containerd carries.
const PART: usize = 1 << 20;

/// How many received parts wait to be written.
const WAITING: usize = 16;

/// How many repositories of one image are asked.
const MAX_REPOSITORIES: usize = 4;

/// The largest manifest that is read.
const MAX_MANIFEST: u64 = 4 << 20;

/// The blobs of one image on their way.
pub(super) struct Fetching<'f> {
    pub(super) restoring: &'f Restoring<'f>,
    pub(super) repositories: &'f [Reference],
    pub(super) done: &'f AtomicU64,
    pub(super) total: u64,
}

impl Fetching<'_> {
    /// Stores a blob under the lease: from its bytes, if they are given, or else from a registry.
    /// Returns whether it was written, or taken from another namespace; if not, it is there already.
    pub(super) async fn store(
        &self,
        child: &Child,
        body: Option<Arc<[u8]>>,
    ) -> Result<bool, NotRestored> {
        let Restoring { engine, lease, .. } = self.restoring;
        let (store, namespace) = (&engine.store, self.restoring.namespace());
        // In this order: what is there then stays.
        let holding = retry(|| store.add_to_lease(namespace, lease, &child.digest));
        holding.await.map_err(|error| failed(&error))?;
        let looking = retry(|| store.has_content(namespace, &child.digest));
        if looking.await.map_err(|error| failed(&error))? {
            return Ok(false);
        }
        let ingest = match self.begin(child, 0).await.map_err(|error| failed(&error))? {
            Begun::Exists => return Ok(false),
            Begun::New(ingest) => *ingest,
        };
        if ingest.is_shared() {
            let committing = ingest.commit(self.labels());
            return committing
                .await
                .map(|()| true)
                .map_err(|error| failed(&error));
        }
        match body {
            Some(body) => self.write(ingest, &body).await.map(|()| true),
            None => self.fetch(child, ingest).await.map(|()| true),
        }
    }

    async fn begin(&self, child: &Child, attempt: usize) -> Result<Begun, StoreError> {
        let lease = &self.restoring.lease;
        let reference = format!("{lease}-{}-{attempt}", child.digest);
        let target = IngestTarget {
            namespace: self.restoring.namespace(),
            lease,
            reference: &reference,
            digest: &child.digest,
            size: child.size,
        };
        self.restoring.engine.store.begin_ingest(target).await
    }

    async fn write(&self, mut ingest: Ingest, body: &[u8]) -> Result<(), NotRestored> {
        for part in body.chunks(PART) {
            let writing = ingest.write(part.to_vec());
            writing.await.map_err(|error| failed(&error))?;
            self.advance(part.len());
        }
        let committing = ingest.commit(self.labels());
        committing.await.map_err(|error| failed(&error))
    }

    /// Fetches a blob from one of the image's repositories.
    async fn fetch(&self, child: &Child, ingest: Ingest) -> Result<(), NotRestored> {
        let mut ingest = Some(ingest);
        let mut attempts = 0;
        let mut failures = Vec::new();
        let mut is_unauthorized = false;
        for content in contents(self.repositories, child) {
            let (sender, receiver) = mpsc::channel(WAITING);
            let source = self.restoring.source()?;
            let user = self.restoring.controls.credentials.get(&content.registry);
            let fetching = async {
                let fetched = source.fetch(&content, user, &sender).await;
                drop(sender);
                fetched
            };
            let writing = self.receive(child, receiver, ingest.take(), &mut attempts);
            let (fetched, written) = tokio::join!(fetching, writing);
            let written = match written {
                // containerd failed: no other registry helps.
                Err(error) => return Err(failed(&error)),
                Ok(written) => written,
            };
            match (fetched, written) {
                (Ok(()), Some(written)) => {
                    let committing = written.commit(self.labels());
                    return committing.await.map_err(|error| failed(&error));
                }
                // Another process stored it meanwhile.
                (_, None) if attempts > 0 => return Ok(()),
                (Ok(()), None) => failures.push("the source sent nothing".to_owned()),
                (Err(error), written) => {
                    if let Some(written) = written {
                        written.abort().await;
                    }
                    let (SourceError::Failed(text) | SourceError::Unauthorized(text)) = &error;
                    is_unauthorized |= matches!(error, SourceError::Unauthorized(_));
                    failures.push(format!("{}/{}: {text}", content.registry, content.path));
                }
            }
        }
        let text = format!("fetch {}: {}", child.digest, failures.join("; "));
        Err(if is_unauthorized {
            NotRestored::Unauthorized(text)
        } else {
            NotRestored::Fetch(text)
        })
    }

    /// Writes what a source sends. Returns the last attempt of it, without a commit; `None` if the
    /// content is there already.
    async fn receive(
        &self,
        child: &Child,
        mut parts: mpsc::Receiver<FetchedPart>,
        mut unused: Option<Ingest>,
        attempts: &mut usize,
    ) -> Result<Option<Ingest>, StoreError> {
        let mut ingest: Option<Ingest> = None;
        let mut waiting = Vec::new();
        while let Some(part) = parts.recv().await {
            match part {
                FetchedPart::Begin => {
                    waiting.clear();
                    if let Some(ingest) = ingest.take() {
                        ingest.abort().await;
                    }
                    *attempts += 1;
                    ingest = match unused.take() {
                        Some(unused) => Some(unused),
                        None => match self.begin(child, *attempts).await? {
                            Begun::New(new) => Some(*new),
                            Begun::Exists => return Ok(None),
                        },
                    };
                }
                FetchedPart::Data(mut data) => {
                    waiting.append(&mut data);
                    while waiting.len() >= PART {
                        let rest = waiting.split_off(PART);
                        self.append(ingest.as_mut(), std::mem::replace(&mut waiting, rest))
                            .await?;
                    }
                }
            }
        }
        if !waiting.is_empty() {
            self.append(ingest.as_mut(), waiting).await?;
        }
        Ok(ingest.or(unused))
    }

    async fn append(&self, ingest: Option<&mut Ingest>, data: Vec<u8>) -> Result<(), StoreError> {
        let length = data.len();
        if let Some(ingest) = ingest {
            ingest.write(data).await?;
            self.advance(length);
        }
        Ok(())
    }

    fn advance(&self, bytes: usize) {
        self.restoring.advance(self.done, bytes as u64, self.total);
    }

    /// Returns the labels of what is written: where it came from, as a pull writes it.
    fn labels(&self) -> std::collections::BTreeMap<String, String> {
        self.repositories
            .first()
            .map(Sources::label)
            .into_iter()
            .collect()
    }
}

impl Restoring<'_> {
    fn source(&self) -> Result<&dyn LayerSource, NotRestored> {
        let source = self.engine.layer_source.as_deref();
        let none = || NotRestored::Fetch("no source of layers is configured".to_owned());
        source.ok_or_else(none)
    }
}

/// Returns a blob in each of the repositories, once.
fn contents(repositories: &[Reference], child: &Child) -> Vec<RegistryContent> {
    let mut seen = BTreeSet::new();
    let repositories = repositories.iter();
    let once =
        repositories.filter(|it| seen.insert((it.domain().to_owned(), it.path().to_owned())));
    let contents = once
        .take(MAX_REPOSITORIES)
        .map(|repository| RegistryContent {
            registry: repository.domain().to_owned(),
            path: repository.path().to_owned(),
            digest: child.digest.clone(),
            size: child.size,
            is_manifest: matches!(child.kind, DocumentKind::Manifest | DocumentKind::Index),
        });
    contents.collect()
}

/// Fetches a manifest without storing it.
pub(super) async fn in_memory(
    restoring: &Restoring<'_>,
    repositories: &[Reference],
    child: &Child,
) -> Result<Vec<u8>, NotRestored> {
    if child.size > MAX_MANIFEST {
        let text = format!("{} is larger than {MAX_MANIFEST} bytes", child.digest);
        return Err(NotRestored::Unreadable(text));
    }
    let mut last = NotRestored::Fetch(format!("fetch {}: nothing to ask", child.digest));
    for content in contents(repositories, child) {
        let (sender, mut receiver) = mpsc::channel(WAITING);
        let source = restoring.source()?;
        let user = restoring.controls.credentials.get(&content.registry);
        let fetching = async {
            let fetched = source.fetch(&content, user, &sender).await;
            drop(sender);
            fetched
        };
        let receiving = async {
            let mut body = Vec::new();
            while let Some(part) = receiver.recv().await {
                match part {
                    FetchedPart::Begin => body.clear(),
                    FetchedPart::Data(mut data) => body.append(&mut data),
                }
            }
            body
        };
        let (fetched, body) = tokio::join!(fetching, receiving);
        let text = |text: String| format!("fetch {}: {text}", child.digest);
        last = match fetched {
            Ok(()) => return Ok(body),
            Err(SourceError::Failed(why)) => NotRestored::Fetch(text(why)),
            Err(SourceError::Unauthorized(why)) => NotRestored::Unauthorized(text(why)),
        };
    }
    Err(last)
}
