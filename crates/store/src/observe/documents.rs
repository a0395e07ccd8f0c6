//! Reads the documents of images: indexes, manifests and configs, each digest once.
//!
//! It reads containerd's own files first, and requests the rest from containerd. A body that cannot
//! be read becomes a document with the reason: it keeps the images that it belongs to, and no
//! others. Only if containerd is away does the observation fail.

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

use super::files;
use crate::client::{Containerd, MAX_MESSAGE};
use crate::error::{Class, StoreError};
use crate::off_thread::blocking;

/// How many bodies are requested at a time. Each is one small stream; more would only queue in
/// containerd.
const READS_AT_ONCE: usize = 32;

/// A body of this many bytes is parsed off the async threads. Most have a tenth of that.
const LONG_BODY: usize = 64 << 10;

/// How many KiB of bodies are in memory at a time. One body has a few KiB, and at most 8 MiB.
const KIB_AT_ONCE: u32 = 32 << 10;

/// How often one body is requested, whatever the error: the next attempt may succeed.
const TRIES: usize = 3;

/// After so many timeouts the observation requests no more bodies: each request would wait as long,
/// and there may be many.
const MAX_TIMEOUTS: usize = 4;

/// How many bytes of labels are kept of all images together, in addition to the requested ones. The
/// limit for one image is in [`Limits`].
const MAX_LABEL_BYTES: usize = 64 << 20;

/// A body that is to be read.
#[derive(Debug)]
struct Wanted {
    digest: Digest,
    /// A namespace that has the blob, and the size there.
    namespace: Namespace,
    size: u64,
}

/// A body that was read, or the document that stands for it.
type Read = (Digest, Result<reclaim_oci::Document, Document>);

/// What all reads of one observation share.
struct Reads<'a> {
    /// The root of the content store, if containerd's files are on this machine.
    root: Option<&'a Path>,
    limits: Limits,
    labels: Arc<LabelKeys>,
    memory: Semaphore,
    timeouts: AtomicUsize,
}

/// The documents that were read so far, and those to be read next. With 100,000 images, each of its
/// methods takes too long for an async thread.
struct Progress {
    namespaces: Arc<BTreeMap<Namespace, NamespaceInventory>>,
    evaluated: Vec<Namespace>,
    labels: Arc<LabelKeys>,
    documents: BTreeMap<Digest, Document>,
    seen: BTreeSet<Digest>,
    /// The children of the documents that were read last.
    level: BTreeSet<Digest>,
    /// How many more bytes of labels may be kept.
    label_bytes: usize,
}

impl Progress {
    /// Starts with the targets of all images.
    fn begin(&mut self) {
        self.level = self
            .evaluated
            .iter()
            .filter_map(|name| self.namespaces.get(name))
            .flat_map(|inventory| &inventory.images)
            // A record may wrongly call its target a leaf; it is still read for an image that
            // calls it a document.
            .filter(|image| image.target.kind() != DocumentKind::Leaf)
            .map(|image| image.target.digest.clone())
            .collect();
    }

    /// Returns the bodies to be read next.
    fn wanted(&mut self) -> Vec<Wanted> {
        let mut wanted = Vec::new();
        for digest in std::mem::take(&mut self.level) {
            if self.seen.insert(digest.clone()) {
                wanted.extend(find(&self.namespaces, &digest));
            }
        }
        wanted
    }

    /// Adds the documents of a level.
    fn add(&mut self, read: Vec<Read>) {
        for (digest, result) in read {
            let document = match result {
                Ok(document) => {
                    let children = document
                        .children()
                        .filter(|child| child.kind() != Kind::Leaf)
                        .map(|child| child.digest.clone());
                    self.level.extend(children);
                    self.document(document)
                }
                Err(unread) => unread,
            };
            self.documents.insert(digest, document);
        }
    }

    /// Returns the blobs of a namespace that build history may hold, and that belong to no image.
    fn wanted_of_build_history(&self, namespace: &Namespace) -> Vec<Wanted> {
        self.namespaces
            .get(namespace)
            .into_iter()
            .flat_map(may_be_held_by_build_history)
            .filter(|digest| !self.seen.contains(digest))
            .filter_map(|digest| find(&self.namespaces, digest))
            .collect()
    }

    /// Adds the configurations among the blobs that build history may hold.
    fn add_build_history(&mut self, read: Vec<Read>) {
        for (digest, result) in read {
            // Other documents that belong to no image are not needed.
            if let Ok(config @ reclaim_oci::Document::Config(_)) = result {
                let config = self.document(config);
                self.documents.insert(digest, config);
            }
        }
    }

    fn into_documents(self) -> BTreeMap<Digest, Document> {
        self.documents
    }

    /// Converts a document for the inventory. Once the labels of all images exceed
    /// [`MAX_LABEL_BYTES`], it keeps only the requested ones.
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
    /// Reads the documents of all images of the `evaluated` namespaces, as far as a namespace has
    /// them.
    ///
    /// `root` is the root of the content store, a path that may not exist here. `labels` are kept
    /// of every configuration, others as far as there is room.
    ///
    /// # Errors
    ///
    /// If containerd is away.
    pub(super) async fn read_documents(
        &self,
        namespaces: &Arc<BTreeMap<Namespace, NamespaceInventory>>,
        evaluated: &[Namespace],
        root: Option<&Path>,
        labels: &BTreeSet<String>,
    ) -> Result<BTreeMap<Digest, Document>, StoreError> {
        let reads = Reads {
            root: root.filter(|_| self.sees_files()),
            limits: Limits::default(),
            labels: Arc::new(labels.iter().cloned().collect()),
            memory: Semaphore::new(KIB_AT_ONCE as usize),
            timeouts: AtomicUsize::new(0),
        };
        let mut progress = Progress {
            namespaces: Arc::clone(namespaces),
            evaluated: evaluated.to_vec(),
            labels: Arc::clone(&reads.labels),
            documents: BTreeMap::new(),
            seen: BTreeSet::new(),
            level: BTreeSet::new(),
            label_bytes: MAX_LABEL_BYTES,
        };
        let mut wanted;
        (progress, wanted) = blocking(move || {
            progress.begin();
            let wanted = progress.wanted();
            (progress, wanted)
        })
        .await;
        for _ in 0..=reads.limits.max_depth {
            if wanted.is_empty() {
                break;
            }
            let read = self.read_level(wanted, &reads).await?;
            (progress, wanted) = blocking(move || {
                progress.add(read);
                let wanted = progress.wanted();
                (progress, wanted)
            })
            .await;
        }
        for name in evaluated {
            let namespace = name.clone();
            (progress, wanted) = blocking(move || {
                let wanted = progress.wanted_of_build_history(&namespace);
                (progress, wanted)
            })
            .await;
            let read = self.read_level(wanted, &reads).await?;
            progress = blocking(move || {
                progress.add_build_history(read);
                progress
            })
            .await;
        }
        Ok(blocking(move || progress.into_documents()).await)
    }

    /// Reads the bodies of one level: from the files below the root, and from containerd those that
    /// are missing or damaged there.
    async fn read_level(
        &self,
        mut wanted: Vec<Wanted>,
        reads: &Reads<'_>,
    ) -> Result<Vec<Read>, StoreError> {
        let mut read: Vec<Read> = Vec::new();
        let n_wanted = wanted.len();
        if let Some(root) = reads.root {
            let blobs;
            (wanted, blobs) = blocking(move || {
                let blobs = wanted
                    .iter()
                    .map(|body| (body.digest.clone(), body.size))
                    .collect();
                (wanted, blobs)
            })
            .await;
            let found =
                files::read(&self.disk_tasks, root, blobs, reads.limits, &reads.labels).await;
            (wanted, read) = blocking(move || {
                let known: BTreeSet<&Digest> = found.iter().map(|(digest, _)| digest).collect();
                wanted.retain(|body| !known.contains(&body.digest));
                let read = found
                    .into_iter()
                    .map(|(digest, document)| (digest, Ok(document)))
                    .collect();
                (wanted, read)
            })
            .await;
        }
        let requests = wanted
            .into_iter()
            .map(|body| self.read(body, reads).boxed());
        let mut requested = stream::iter(requests)
            .boxed()
            .buffer_unordered(READS_AT_ONCE);
        // Without this, each growth would copy it on the async thread.
        read.reserve(n_wanted.saturating_sub(read.len()));
        while let Some(found) = requested.try_next().await? {
            read.extend(found);
        }
        Ok(read)
    }

    /// Requests a body; `None` if it was collected meanwhile, which is not a gap.
    async fn read(&self, wanted: Wanted, reads: &Reads<'_>) -> Result<Option<Read>, StoreError> {
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
        // The semaphore is never closed.
        let _memory = reads.memory.acquire_many(kib).await;
        for tries_left in (0..TRIES).rev() {
            if reads.timeouts.load(Ordering::Relaxed) >= MAX_TIMEOUTS {
                let why = format!("not read: {MAX_TIMEOUTS} earlier reads timed out");
                return Ok(Some((digest, Err(Document::NotRead(why)))));
            }
            let error = match self.read_blob(&namespace, &digest, size).await {
                Ok(body) => return Ok(Some(parsed(digest, size, body, reads).await)),
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

    /// Reads the bytes of an index, a manifest or a configuration; `None` if the namespace does not
    /// have the blob.
    ///
    /// # Errors
    ///
    /// If the call fails, or if the bytes do not have the digest, or are more than a document may
    /// have.
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
        let max_bytes = Limits::default().max_config_bytes;
        match self.read_blob(namespace, digest, max_bytes).await {
            Ok(body) => {
                reclaim_oci::verify(digest, &body).map_err(wrong)?;
                Ok(Some(body))
            }
            Err(error) if error.class() == Class::Gone => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads a blob, but not more than `size` bytes and one message.
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

/// Parses a body, off the async threads if it is long.
async fn parsed(digest: Digest, size: u64, body: Vec<u8>, reads: &Reads<'_>) -> Read {
    let (limits, labels) = (reads.limits, Arc::clone(&reads.labels));
    let is_long = body.len() > LONG_BODY;
    let parse = move || {
        let document = reclaim_oci::read(&digest, Some(size), &body, &limits, &labels);
        (digest, document.map_err(Document::from))
    };
    if is_long {
        blocking(parse).await
    } else {
        parse()
    }
}

/// Finds a namespace that has the blob. Any will do: they share content.
fn find(namespaces: &BTreeMap<Namespace, NamespaceInventory>, digest: &Digest) -> Option<Wanted> {
    namespaces.iter().find_map(|(namespace, inventory)| {
        let blobs = &inventory.blobs;
        let index = blobs
            .binary_search_by(|blob| blob.digest.cmp(digest))
            .ok()?;
        Some(Wanted {
            digest: digest.clone(),
            namespace: namespace.clone(),
            size: blobs[index].size,
        })
    })
}

/// Returns the blobs that refer to snapshots, if a lease may be one of build history.
fn may_be_held_by_build_history(inventory: &NamespaceInventory) -> impl Iterator<Item = &Digest> {
    let has_history = inventory.leases.iter().any(Lease::may_be_history);
    let is_snapshot = |reference: &GcRef| matches!(reference, GcRef::Snapshot(_));
    inventory
        .blobs
        .iter()
        .filter(move |blob| has_history && blob.gc.refs.iter().any(is_snapshot))
        .map(|blob| &blob.digest)
}
