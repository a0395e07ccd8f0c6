//! Reading the bodies behind images: indexes, manifests and configs, each digest once.
//!
//! From containerd's own files first; what is not found so is asked of containerd.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use containerd_client::services::v1::ReadContentRequest;
use containerd_client::services::v1::content_client::ContentClient;
use futures::FutureExt;
use futures::stream::{self, StreamExt, TryStreamExt};
use reclaim_model::{
    Child, Config, Digest, Document, DocumentKind, GcRef, Lease, Namespace, NamespaceInventory,
    Platform,
};
use reclaim_oci::{Kind, LabelKeys, Limits, ReadError};
use tonic::Status;

use crate::client::{Containerd, MAX_MESSAGE};
use crate::error::{Class, StoreError};
use crate::observe::files::{self, Wish};

/// How many bodies are asked for at a time. Each is one small stream; more would only queue in
/// containerd.
const READS_AT_ONCE: usize = 32;

/// A body that is to be read.
#[derive(Debug)]
struct Wanted<'a> {
    digest: Digest,
    kind: Kind,
    /// Where it is, with the size that the store has for it.
    namespace: &'a Namespace,
    size: u64,
}

/// A body that was read, or why it is none.
type Read = (Digest, Result<reclaim_oci::Document, ReadError>);

impl Wanted<'_> {
    fn wish(&self) -> Wish {
        Wish {
            digest: self.digest.clone(),
            size: self.size,
        }
    }
}

impl Containerd {
    /// Reads everything behind the images of the `judged` namespaces that is present in any.
    ///
    /// `root` is where containerd says that its content is. It need not mean anything here.
    pub(super) async fn read_documents(
        &self,
        namespaces: &BTreeMap<Namespace, NamespaceInventory>,
        judged: &[Namespace],
        root: Option<&Path>,
    ) -> Result<BTreeMap<Digest, Document>, StoreError> {
        let root = root.filter(|_| self.sees_files());
        let mut documents = BTreeMap::new();
        let mut level: BTreeMap<Digest, Kind> = BTreeMap::new();
        for inventory in judged.iter().filter_map(|name| namespaces.get(name)) {
            for target in inventory.images.iter().map(|image| &image.target) {
                enqueue(&mut level, &target.digest, Kind::of(&target.media_type));
            }
        }
        let mut seen: BTreeSet<Digest> = BTreeSet::new();
        for depth in 0.. {
            let mut wanted = Vec::new();
            for (digest, kind) in std::mem::take(&mut level) {
                if seen.insert(digest.clone()) {
                    wanted.extend(find(namespaces, &digest, kind));
                }
            }
            if wanted.is_empty() {
                break;
            }
            for (digest, outcome) in self.read_level(wanted, depth, root).await? {
                let document = match outcome {
                    Ok(document) => {
                        for child in document.children() {
                            enqueue(&mut level, &child.digest, child.kind());
                        }
                        model_document(document)
                    }
                    Err(error) => Document::Unreadable(reclaim_model::chain(&error)),
                };
                documents.insert(digest, document);
            }
        }
        for inventory in judged.iter().filter_map(|name| namespaces.get(name)) {
            let pinned = pinned(inventory).filter(|it| !seen.contains(it));
            let wanted = pinned.filter_map(|it| find(namespaces, it, Kind::Config));
            for (digest, outcome) in self.read_level(wanted.collect(), 0, root).await? {
                // What is none, and is part of no image, concerns nobody.
                if let Ok(config) = outcome {
                    documents.insert(digest, model_document(config));
                }
            }
        }
        Ok(documents)
    }

    /// Reads bodies that lie equally deep: from the files below `root`, and what is not whole and
    /// sound there from containerd, whose word on it counts.
    async fn read_level(
        &self,
        wanted: Vec<Wanted<'_>>,
        depth: usize,
        root: Option<&Path>,
    ) -> Result<Vec<Read>, StoreError> {
        let limits = Limits::default();
        let mut read: Vec<Read> = Vec::with_capacity(wanted.len());
        if let Some(root) = root.filter(|_| limits.check_depth(depth).is_ok()) {
            let wishes = wanted.iter().map(Wanted::wish).collect();
            let found = files::read(root, wishes, limits).await.into_iter();
            read.extend(found.map(|(digest, document)| (digest, Ok(document))));
        }
        let found: BTreeSet<Digest> = read.iter().map(|(digest, _)| digest.clone()).collect();
        let rest = wanted.into_iter().filter(|it| !found.contains(&it.digest));
        let asked = rest.map(|wanted| self.read(wanted, depth, limits).boxed());
        let asked = stream::iter(asked).boxed();
        let asked: Vec<_> = asked.buffer_unordered(READS_AT_ONCE).try_collect().await?;
        read.extend(asked.into_iter().flatten());
        Ok(read)
    }

    /// `None` if it has gone in the meantime: then it is not there, which is not a gap.
    async fn read(
        &self,
        wanted: Wanted<'_>,
        depth: usize,
        limits: Limits,
    ) -> Result<Option<Read>, StoreError> {
        let Wanted {
            digest,
            kind,
            namespace,
            size,
        } = wanted;
        let checked = limits.check_depth(depth);
        if let Err(error) = checked.and_then(|()| limits.check_size(size)) {
            return Ok(Some((digest, Err(error))));
        }
        if kind == Kind::Schema1 {
            return Ok(Some((digest, Err(ReadError::Schema1))));
        }
        match self.read_blob(namespace, &digest, size).await {
            Ok(body) => {
                let document =
                    reclaim_oci::read(&digest, Some(size), &body, &limits, &LabelKeys::default());
                Ok(Some((digest, document)))
            }
            Err(error) if error.class() == Class::Gone => Ok(None),
            Err(error) => Err(error),
        }
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

/// Notes a document to be read. Leaves are not read, and a descriptor that calls a document a
/// leaf does not hide it from another that knows better.
fn enqueue(level: &mut BTreeMap<Digest, Kind>, digest: &Digest, kind: Kind) {
    if kind != Kind::Leaf {
        level.insert(digest.clone(), kind);
    }
}

/// Finds a namespace that has the blob. A digest means the same in each.
fn find<'a>(
    namespaces: &'a BTreeMap<Namespace, NamespaceInventory>,
    digest: &Digest,
    kind: Kind,
) -> Option<Wanted<'a>> {
    namespaces.iter().find_map(|(namespace, inventory)| {
        let blobs = &inventory.blobs;
        let at = blobs
            .binary_search_by(|blob| blob.digest.cmp(digest))
            .ok()?;
        Some(Wanted {
            digest: digest.clone(),
            kind,
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

fn model_document(document: reclaim_oci::Document) -> Document {
    let children: Vec<Child> = document.children().map(child).collect();
    match document {
        reclaim_oci::Document::Index(_) => Document::Index(children),
        reclaim_oci::Document::Manifest(_) => Document::Manifest(children),
        reclaim_oci::Document::Config(config) => Document::Config(Config {
            chain_id: reclaim_oci::top_chain_id(&config.diff_ids),
            labels: config.labels,
            built_at: config.created.and_then(|created| created.parse().ok()),
            platform: config
                .platform
                .map(|platform| Box::new(model_platform(platform))),
        }),
    }
}

fn model_platform(platform: reclaim_oci::Platform) -> Platform {
    Platform {
        os: platform.os.unwrap_or_default(),
        architecture: platform.architecture.unwrap_or_default(),
        variant: platform.variant.unwrap_or_default(),
    }
}

fn child(descriptor: &reclaim_oci::Descriptor) -> Child {
    Child {
        digest: descriptor.digest.clone(),
        size: descriptor.size,
        kind: match descriptor.kind() {
            Kind::Index => DocumentKind::Index,
            // A schema 1 manifest is unreadable, not a leaf.
            Kind::Manifest | Kind::Schema1 => DocumentKind::Manifest,
            Kind::Config => DocumentKind::Config,
            Kind::Leaf => DocumentKind::Leaf,
        },
        is_attestation: descriptor.attestation,
    }
}
