//! Reading the bodies behind images: indexes, manifests and configs, each digest once.
//!
//! From containerd's own files first; what is not found so is asked of containerd. A body that
//! cannot be read is a document that says why: it holds back the images that it is a part of and
//! no others. Only a containerd that is away ends the observation.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use containerd_client::services::v1::ReadContentRequest;
use containerd_client::services::v1::content_client::ContentClient;
use futures::FutureExt;
use futures::stream::{self, StreamExt, TryStreamExt};
use reclaim_model::{Digest, Document, DocumentKind, GcRef, Lease, Namespace, NamespaceInventory};
use reclaim_oci::{Kind, LabelKeys, Limits, ReadError};
use tokio::sync::Semaphore;
use tonic::Status;

use crate::client::{Containerd, MAX_MESSAGE};

use crate::error::{Class, StoreError};
use crate::observe::files::{self, Wish};

/// How many bodies are asked for at a time. Each is one small stream; more would only queue in
/// containerd.
const READS_AT_ONCE: usize = 32;

/// How many KiB of bodies are in memory at a time. One is a few KiB, and 8 MiB at most.
const KIB_AT_ONCE: u32 = 32 << 10;

/// How often one body is asked for: whatever the error, it may have been there once only.
const TRIES: usize = 3;

/// After so many reads without an answer in time no more are made in this observation: each
/// would wait as long, and they may be many.
const MAX_TIMEOUTS: usize = 4;

/// How many bytes of labels are kept of all images together, beyond those that are asked for. The
/// most that one image keeps is in [`Limits`].
const MAX_LABEL_BYTES: usize = 64 << 20;

/// A body that is to be read.
#[derive(Debug)]
struct Wanted<'a> {
    digest: Digest,
    /// Where it is, with the size that the store has for it.
    namespace: &'a Namespace,
    size: u64,
}

/// A body that was read, or the document that stands for it.
type Read = (Digest, Result<reclaim_oci::Document, Document>);

impl Wanted<'_> {
    fn wish(&self) -> Wish {
        Wish {
            digest: self.digest.clone(),
            size: self.size,
        }
    }
}

/// What holds for all reads of one observation.
struct Reads<'a> {
    /// Where containerd says that its content is, if that may mean something here.
    root: Option<&'a Path>,
    limits: Limits,
    labels: Arc<LabelKeys>,
    memory: Semaphore,
    timeouts: AtomicUsize,
    /// Bytes of labels that may still be kept.
    label_bytes: usize,
}

impl Reads<'_> {
    /// Takes a document into the inventory. Once the labels of all images are too many together,
    /// only those that are asked for are kept.
    fn document(&mut self, document: reclaim_oci::Document) -> Document {
        let mut document = Document::from(document);
        if let Document::Config(config) = &mut document {
            let size = |(key, value): (&String, &String)| key.len() + value.len();
            let bytes: usize = config.labels.iter().map(size).sum();
            if let Some(left) = self.label_bytes.checked_sub(bytes) {
                self.label_bytes = left;
            } else {
                let before = config.labels.len();
                config.labels.retain(|key, _| self.labels.contains(key));
                config.labels_left_out += before - config.labels.len();
            }
        }
        document
    }
}

impl Containerd {
    /// Reads everything behind the images of the `judged` namespaces that is present in any.
    ///
    /// `root` is where containerd says that its content is. It need not mean anything here.
    /// `labels` are kept of every configuration, others as far as there is room.
    ///
    /// # Errors
    ///
    /// If containerd is away.
    pub(super) async fn read_documents(
        &self,
        namespaces: &BTreeMap<Namespace, NamespaceInventory>,
        judged: &[Namespace],
        root: Option<&Path>,
        labels: &BTreeSet<String>,
    ) -> Result<BTreeMap<Digest, Document>, StoreError> {
        let mut reads = Reads {
            root: root.filter(|_| self.sees_files()),
            limits: Limits::default(),
            labels: Arc::new(labels.iter().cloned().collect()),
            memory: Semaphore::new(KIB_AT_ONCE as usize),
            timeouts: AtomicUsize::new(0),
            label_bytes: MAX_LABEL_BYTES,
        };
        let judged = || judged.iter().filter_map(|name| namespaces.get(name));
        let mut documents = BTreeMap::new();
        let images = judged().flat_map(|inventory| &inventory.images);
        // What calls itself a leaf is not read, and that does not hide it from another image
        // that knows better.
        let targets = images.filter(|image| image.target.kind() != DocumentKind::Leaf);
        let mut level: BTreeSet<Digest> = targets.map(|it| it.target.digest.clone()).collect();
        let mut seen: BTreeSet<Digest> = BTreeSet::new();
        // Deeper than that no image is looked at.
        for _ in 0..=reads.limits.max_depth {
            let mut wanted = Vec::new();
            for digest in std::mem::take(&mut level) {
                if seen.insert(digest.clone()) {
                    wanted.extend(find(namespaces, &digest));
                }
            }
            if wanted.is_empty() {
                break;
            }
            for (digest, outcome) in self.read_level(wanted, &reads).await? {
                let document = outcome.map(|document| {
                    let children = document.children().filter(|it| it.kind() != Kind::Leaf);
                    level.extend(children.map(|child| child.digest.clone()));
                    reads.document(document)
                });
                documents.insert(digest, document.unwrap_or_else(|unread| unread));
            }
        }
        for inventory in judged() {
            let pinned = pinned(inventory).filter(|it| !seen.contains(it));
            let wanted = pinned.filter_map(|it| find(namespaces, it));
            for (digest, outcome) in self.read_level(wanted.collect(), &reads).await? {
                // Anything else that is part of no image concerns no one.
                if let Ok(config @ reclaim_oci::Document::Config(_)) = outcome {
                    documents.insert(digest, reads.document(config));
                }
            }
        }
        Ok(documents)
    }

    /// Reads bodies that lie equally deep: from the files below the root, and what is not whole
    /// and sound there from containerd, whose word on it counts.
    async fn read_level(
        &self,
        wanted: Vec<Wanted<'_>>,
        reads: &Reads<'_>,
    ) -> Result<Vec<Read>, StoreError> {
        let mut read: Vec<Read> = Vec::with_capacity(wanted.len());
        if let Some(root) = reads.root {
            let wishes = wanted.iter().map(Wanted::wish).collect();
            let found = files::read(root, wishes, reads.limits, &reads.labels).await;
            let found = found.into_iter();
            read.extend(found.map(|(digest, document)| (digest, Ok(document))));
        }
        let found: BTreeSet<Digest> = read.iter().map(|(digest, _)| digest.clone()).collect();
        let rest = wanted.into_iter().filter(|it| !found.contains(&it.digest));
        let asked = rest.map(|wanted| self.read(wanted, reads).boxed());
        let asked = stream::iter(asked).boxed();
        let asked: Vec<_> = asked.buffer_unordered(READS_AT_ONCE).try_collect().await?;
        read.extend(asked.into_iter().flatten());
        Ok(read)
    }

    /// `None` if it has gone in the meantime: then it is not there, which is not a gap.
    async fn read(
        &self,
        wanted: Wanted<'_>,
        reads: &Reads<'_>,
    ) -> Result<Option<Read>, StoreError> {
        let Wanted {
            digest,
            namespace,
            size,
        } = wanted;
        if let Err(error) = reads.limits.check_size(size) {
            return Ok(Some((digest, Err(error.into()))));
        }
        let kib = u32::try_from(size >> 10).unwrap_or(KIB_AT_ONCE);
        let kib = (kib + 1).min(KIB_AT_ONCE);
        // It is never closed.
        let _memory = reads.memory.acquire_many(kib).await;
        for tries_left in (0..TRIES).rev() {
            if reads.timeouts.load(Ordering::Relaxed) >= MAX_TIMEOUTS {
                let why = format!("not asked for: {MAX_TIMEOUTS} reads before it had no answer");
                return Ok(Some((digest, Err(Document::NotRead(why)))));
            }
            let error = match self.read_blob(namespace, &digest, size).await {
                Ok(body) => {
                    let (limits, labels) = (&reads.limits, &*reads.labels);
                    let document = reclaim_oci::read(&digest, Some(size), &body, limits, labels);
                    return Ok(Some((digest, document.map_err(Document::from))));
                }
                Err(error) => error,
            };
            if error.class() == Class::Gone {
                return Ok(None);
            }
            if error.is_from_transport() {
                return Err(error);
            }
            if error.is_timeout() {
                reads.timeouts.fetch_add(1, Ordering::Relaxed);
            }
            if tries_left == 0 || error.is_timeout() {
                let why = reclaim_model::chain(&error);
                return Ok(Some((digest, Err(Document::NotRead(why)))));
            }
        }
        unreachable!("the last try returns")
    }

    /// Reads an index, a manifest or a configuration whole; `None` if the namespace does not have
    /// it.
    ///
    /// # Errors
    ///
    /// If the server cannot be asked, or if it has something else under that digest, or more
    /// than any document may have.
    pub async fn document(
        &self,
        namespace: &Namespace,
        digest: &Digest,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        const OPERATION: &str = "read document";
        let wrong = |error: ReadError| {
            StoreError::new(OPERATION, Status::data_loss(reclaim_model::chain(&error)))
                .within(namespace)
                .about(digest)
        };
        let limits = Limits::default();
        match self
            .read_blob(namespace, digest, limits.max_config_bytes)
            .await
        {
            Ok(body) => {
                reclaim_oci::verify(digest, &body).map_err(wrong)?;
                Ok(Some(body))
            }
            Err(error) if error.class() == Class::Gone => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads a blob whole, but no more than `size` bytes and one message.
    pub(crate) async fn read_blob(
        &self,
        namespace: &Namespace,
        digest: &Digest,
        size: u64,
    ) -> Result<Vec<u8>, StoreError> {
        const OPERATION: &str = "read content";
        let failed = |status| {
            StoreError::new(OPERATION, status)
                .within(namespace)
                .about(digest)
        };
        let message = ReadContentRequest {
            digest: digest.to_string(),
            offset: 0,
            size: 0,
        };
        let request = self.request(OPERATION, Some(namespace), message)?;
        let mut client = ContentClient::new(self.channel()).max_decoding_message_size(MAX_MESSAGE);
        let mut stream = client.read(request).await.map_err(failed)?.into_inner();
        let mut body = Vec::new();
        while let Some(part) = stream.message().await.map_err(failed)? {
            body.extend(part.data);
            if body.len() as u64 > size {
                break;
            }
        }
        Ok(body)
    }
}

/// Finds a namespace that has the blob. A digest means the same in each.
fn find<'a>(
    namespaces: &'a BTreeMap<Namespace, NamespaceInventory>,
    digest: &Digest,
) -> Option<Wanted<'a>> {
    namespaces.iter().find_map(|(namespace, inventory)| {
        let blobs = &inventory.blobs;
        let at = blobs
            .binary_search_by(|blob| blob.digest.cmp(digest))
            .ok()?;
        Some(Wanted {
            digest: digest.clone(),
            namespace,
            size: blobs[at].size,
        })
    })
}

/// Content that build history may hold with what was unpacked of it.
fn pinned(inventory: &NamespaceInventory) -> impl Iterator<Item = &Digest> {
    let is_any = inventory.leases.iter().any(Lease::may_be_history);
    let blobs = inventory.blobs.iter().filter(move |_| is_any);
    let is_snapshot = |it: &GcRef| matches!(it, GcRef::Snapshot(_));
    let pinned = blobs.filter(move |blob| blob.gc.refs.iter().any(is_snapshot));
    pinned.map(|blob| &blob.digest)
}
