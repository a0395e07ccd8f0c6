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
use crate::off_thread::blocking;

/// How many bodies are asked for at a time. Each is one small stream; more would only queue in
/// containerd.
const READS_AT_ONCE: usize = 32;

/// How long a body is that is read off the async threads: most are a tenth of that.
const LONG_BODY: usize = 64 << 10;

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
struct Wanted {
    digest: Digest,
    /// Where it is, with the size that the store has for it.
    namespace: Namespace,
    size: u64,
}

/// A body that was read, or the document that stands for it.
type Read = (Digest, Result<reclaim_oci::Document, Document>);

impl Wanted {
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
}

/// What was read so far, and what is to be read next. With 100,000 images each step over it takes
/// too long for an async thread.
struct Progress {
    namespaces: Arc<BTreeMap<Namespace, NamespaceInventory>>,
    judged: Vec<Namespace>,
    labels: Arc<LabelKeys>,
    documents: BTreeMap<Digest, Document>,
    seen: BTreeSet<Digest>,
    /// What is named by what was read last.
    level: BTreeSet<Digest>,
    /// Bytes of labels that may still be kept.
    label_bytes: usize,
}

impl Progress {
    fn judged(&self) -> impl Iterator<Item = &NamespaceInventory> {
        let judged = self.judged.iter();
        judged.filter_map(|name| self.namespaces.get(name))
    }

    /// Begins with the targets of all images.
    fn begin(&mut self) {
        let images = self.judged().flat_map(|inventory| &inventory.images);
        // What calls itself a leaf is not read, and that does not hide it from another image
        // that knows better.
        let targets = images.filter(|image| image.target.kind() != DocumentKind::Leaf);
        self.level = targets.map(|it| it.target.digest.clone()).collect();
    }

    /// Takes what is to be read next.
    fn wanted(&mut self) -> Vec<Wanted> {
        let mut wanted = Vec::new();
        for digest in std::mem::take(&mut self.level) {
            if self.seen.insert(digest.clone()) {
                wanted.extend(find(&self.namespaces, &digest));
            }
        }
        wanted
    }

    /// Enters what was read of a level.
    fn enter(&mut self, read: Vec<Read>) {
        for (digest, outcome) in read {
            let document = outcome.map(|document| {
                let children = document.children().filter(|it| it.kind() != Kind::Leaf);
                let children = children.map(|child| child.digest.clone());
                self.level.extend(children);
                self.document(document)
            });
            let document = document.unwrap_or_else(|unread| unread);
            self.documents.insert(digest, document);
        }
    }

    /// Returns content of one of the namespaces that build history may hold, and no image.
    fn wanted_of_history(&self, namespace: &Namespace) -> Vec<Wanted> {
        let inventory = self.namespaces.get(namespace).into_iter();
        let pinned = inventory.flat_map(pinned);
        let pinned = pinned.filter(|it| !self.seen.contains(it));
        let wanted = pinned.filter_map(|it| find(&self.namespaces, it));
        wanted.collect()
    }

    /// Enters what was read of that.
    fn enter_history(&mut self, read: Vec<Read>) {
        for (digest, outcome) in read {
            // Anything else that is part of no image concerns no one.
            if let Ok(config @ reclaim_oci::Document::Config(_)) = outcome {
                let config = self.document(config);
                self.documents.insert(digest, config);
            }
        }
    }

    fn into_documents(self) -> BTreeMap<Digest, Document> {
        self.documents
    }

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
        namespaces: &Arc<BTreeMap<Namespace, NamespaceInventory>>,
        judged: &[Namespace],
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
            judged: judged.to_vec(),
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
        // Deeper than that no image is looked at.
        for _ in 0..=reads.limits.max_depth {
            if wanted.is_empty() {
                break;
            }
            let read = self.read_level(wanted, &reads).await?;
            (progress, wanted) = blocking(move || {
                progress.enter(read);
                let wanted = progress.wanted();
                (progress, wanted)
            })
            .await;
        }
        for name in judged {
            let namespace = name.clone();
            (progress, wanted) = blocking(move || {
                let wanted = progress.wanted_of_history(&namespace);
                (progress, wanted)
            })
            .await;
            let read = self.read_level(wanted, &reads).await?;
            progress = blocking(move || {
                progress.enter_history(read);
                progress
            })
            .await;
        }
        Ok(blocking(move || progress.into_documents()).await)
    }

    /// Reads bodies that lie equally deep: from the files below the root, and what is not whole
    /// and sound there from containerd, whose word on it counts.
    async fn read_level(
        &self,
        mut wanted: Vec<Wanted>,
        reads: &Reads<'_>,
    ) -> Result<Vec<Read>, StoreError> {
        let mut read: Vec<Read> = Vec::new();
        let n_wanted = wanted.len();
        if let Some(root) = reads.root {
            let wishes;
            (wanted, wishes) = blocking(move || {
                let wishes = wanted.iter().map(Wanted::wish).collect();
                (wanted, wishes)
            })
            .await;
            let found = files::read(&self.looks, root, wishes, reads.limits, &reads.labels);
            let found = found.await;
            (wanted, read) = blocking(move || {
                let known: BTreeSet<&Digest> = found.iter().map(|(digest, _)| digest).collect();
                wanted.retain(|it| !known.contains(&it.digest));
                let found = found.into_iter();
                let read = found.map(|(digest, document)| (digest, Ok(document)));
                (wanted, read.collect())
            })
            .await;
        }
        let asked = wanted
            .into_iter()
            .map(|wanted| self.read(wanted, reads).boxed());
        let mut asked = stream::iter(asked).boxed().buffer_unordered(READS_AT_ONCE);
        // Or it would be copied whenever it grows.
        read.reserve(n_wanted.saturating_sub(read.len()));
        while let Some(found) = asked.try_next().await? {
            read.extend(found);
        }
        Ok(read)
    }

    /// `None` if it has gone in the meantime: then it is not there, which is not a gap.
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
        // It is never closed.
        let _memory = reads.memory.acquire_many(kib).await;
        for tries_left in (0..TRIES).rev() {
            if reads.timeouts.load(Ordering::Relaxed) >= MAX_TIMEOUTS {
                let why = format!("not asked for: {MAX_TIMEOUTS} reads before it had no answer");
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

/// Reads a body. A long one takes too long for an async thread.
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

/// Finds a namespace that has the blob. A digest means the same in each.
fn find(namespaces: &BTreeMap<Namespace, NamespaceInventory>, digest: &Digest) -> Option<Wanted> {
    namespaces.iter().find_map(|(namespace, inventory)| {
        let blobs = &inventory.blobs;
        let at = blobs
            .binary_search_by(|blob| blob.digest.cmp(digest))
            .ok()?;
        Some(Wanted {
            digest: digest.clone(),
            namespace: namespace.clone(),
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
