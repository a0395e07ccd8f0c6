//! A containerd with the images of the bench, compressed and unpacked as a pull leaves them.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use reclaim_model::{Digest, Platform};
use reclaim_testkit::{
    Containerd, Deletion, Descriptor, Labels, LeaseResource, NamespaceClient, NewContainer,
    NewLease, digest_of, labels,
};
use serde_json::{Value, json};

use crate::images::{GARBAGE, IMAGES, LEASED, Shape, layers};
use crate::layers::{Layer, Layers, garbage};

const SNAPSHOTTER: &str = "overlayfs";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// Returns the platforms that the host has of an image, its own first.
pub(crate) fn platforms(shape: &Shape) -> Vec<Platform> {
    let host = Platform::host();
    let other = Platform {
        architecture: "s390x".to_owned(),
        ..host.clone()
    };
    let mut platforms = vec![host];
    if shape.how.has_all_platforms() {
        platforms.push(other);
    }
    platforms
}

/// Returns the names and sizes of the layers for a platform.
pub(crate) fn named(shape: &Shape, platform: &Platform) -> Vec<(String, u32)> {
    let layers = layers(shape.name).into_iter();
    let named = layers.map(|(name, size)| (format!("{} {name}", platform.architecture), size));
    named.collect()
}

/// An image on the host.
pub(crate) struct Image {
    pub(crate) name: String,
    target: Descriptor,
    chain: Digest,
    /// The time of the first unpacking.
    pub(crate) first: Duration,
}

pub(crate) struct Host {
    pub(crate) containerd: Containerd,
    pub(crate) namespace: NamespaceClient,
    pub(crate) images: Vec<Image>,
}

impl Host {
    pub(crate) async fn start(layers: &Layers) -> Self {
        let containerd = Containerd::quiet()
            .log_level("warn")
            .on_disk()
            .start()
            .await;
        let namespace = containerd.namespace("default");
        let mut host = Self {
            containerd,
            namespace,
            images: Vec::new(),
        };
        host.namespace
            .create_lease(NewLease::new("filling"))
            .await
            .expect("containerd answers");
        for shape in &IMAGES {
            let image = host.add(shape, layers).await;
            host.images.push(image);
        }
        host.namespace
            .delete_lease("filling", Deletion::Sync)
            .await
            .expect("containerd answers");
        host.add_garbage(layers).await;
        host
    }

    /// Writes an image as a pull does, and unpacks it.
    async fn add(&self, shape: &Shape, layers: &Layers) -> Image {
        let leased = self.namespace.with_lease("filling");
        let mut manifests = Vec::new();
        for platform in platforms(shape) {
            let names = named(shape, &platform);
            let layers: Vec<&Layer> = names.iter().map(|(name, _)| layers.get(name)).collect();
            let target = write_manifest(&leased, &platform, &layers).await;
            manifests.push((platform, target, chain(&layers)));
        }
        let (_, manifest, chain) = manifests[0].clone();
        let target = if shape.how.has_all_platforms() {
            write_index(&leased, &manifests).await
        } else {
            manifest
        };
        let path = if shape.name.contains('/') {
            shape.name.to_owned()
        } else {
            format!("library/{}", shape.name)
        };
        let name = format!("docker.io/{path}");
        let source = "containerd.io/distribution.source.docker.io";
        let (repository, _) = path.split_once(':').expect("the name has a tag");
        leased
            .set_blob_label(&target.digest, source, repository)
            .await
            .expect("containerd answers");
        leased
            .create_image(&name, &target, &Labels::new())
            .await
            .expect("containerd answers");
        let mut image = Image {
            name,
            target,
            chain,
            first: Duration::ZERO,
        };
        image.first = self.unpack(&image);
        if shape.how.is_used() {
            self.use_image(&image).await;
        }
        image
    }

    async fn use_image(&self, image: &Image) {
        let id = format!("of {}", image.name).replace(['/', ':', ' '], "-");
        let leased = self.namespace.with_lease("filling");
        let parent = image.chain.to_string();
        leased
            .prepare(SNAPSHOTTER, &id, &parent, &Labels::new())
            .await
            .expect("the image is unpacked");
        let container = NewContainer::new(&id).image(&image.name);
        self.namespace
            .create_container(container.snapshot(SNAPSHOTTER, &id))
            .await
            .expect("containerd answers");
    }

    /// Adds what a collection frees: layers without an image, and others that an expired lease holds.
    async fn add_garbage(&self, layers: &Layers) {
        let expired = Timestamp::now() - SignedDuration::from_hours(1);
        let lease = NewLease::new("expired").expires(expired);
        self.namespace
            .create_lease(lease)
            .await
            .expect("containerd answers");
        for number in 0..GARBAGE.len() + LEASED.len() {
            let bytes = &layers.get(&garbage(number)).bytes;
            let written = self.namespace.write_blob(bytes, &Labels::new()).await;
            let digest = written.expect("containerd takes a blob");
            if number >= GARBAGE.len() {
                let resource = LeaseResource::content(&digest);
                let held = self.namespace.add_lease_resource("expired", &resource);
                held.await.expect("containerd answers");
            }
        }
    }

    /// Unpacks an image with containerd's own client, and returns how long it takes.
    #[expect(clippy::disallowed_methods, reason = "a bench reads the real clock")]
    pub(crate) fn unpack(&self, image: &Image) -> Duration {
        let began = Instant::now();
        let output = self
            .containerd
            .ctr("default")
            .args(["snapshots", "--snapshotter", SNAPSHOTTER, "unpack"])
            .arg(image.target.digest.to_string())
            .output()
            .expect("ctr is installed with containerd");
        assert!(output.status.success(), "{}: {output:#?}", image.name);
        began.elapsed()
    }

    /// Returns the bytes of all blobs and of all files in snapshots.
    pub(crate) fn bytes(&self) -> u64 {
        let root = self.containerd.root();
        let snapshots = root.join(format!(
            "io.containerd.snapshotter.v1.{SNAPSHOTTER}/snapshots"
        ));
        self.containerd.content_bytes_on_disk() + bytes_below(&snapshots)
    }
}

fn bytes_below(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).expect("the directory is readable");
    entries
        .map(|entry| {
            let entry = entry.expect("the directory is readable");
            let metadata = entry.metadata().expect("nothing removes it meanwhile");
            if metadata.is_dir() {
                bytes_below(&entry.path())
            } else {
                metadata.len()
            }
        })
        .sum()
}

/// Writes a document that refers to others, and returns its descriptor.
async fn write(
    namespace: &NamespaceClient,
    media_type: &str,
    document: &Value,
    labels: &Labels,
) -> Descriptor {
    let bytes = document.to_string().into_bytes();
    let written = namespace.write_blob(&bytes, labels).await;
    Descriptor {
        media_type: media_type.to_owned(),
        digest: written.expect("containerd takes a blob"),
        size: bytes.len() as u64,
    }
}

async fn write_manifest(
    namespace: &NamespaceClient,
    platform: &Platform,
    layers: &[&Layer],
) -> Descriptor {
    let diff_ids: Vec<&Digest> = layers.iter().map(|layer| &layer.diff_id).collect();
    let config = json!({
        "os": platform.os,
        "architecture": platform.architecture,
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    let config = write(namespace, CONFIG, &config, &Labels::new()).await;
    let mut refs = labels([(
        "containerd.io/gc.ref.content.config",
        &*config.digest.to_string(),
    )]);
    let mut descriptors = Vec::new();
    for (number, layer) in layers.iter().enumerate() {
        let diff_id = layer.diff_id.to_string();
        let of_layer = labels([("containerd.io/uncompressed", &*diff_id)]);
        let written = namespace.write_blob(&layer.bytes, &of_layer).await;
        let digest = written.expect("containerd takes a blob");
        let key = format!("containerd.io/gc.ref.content.l.{number}");
        refs.insert(key, digest.to_string());
        descriptors.push(json!({
            "mediaType": LAYER, "digest": digest, "size": layer.bytes.len(),
        }));
    }
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": config.digest, "size": config.size},
        "layers": descriptors,
    });
    write(namespace, MANIFEST, &manifest, &refs).await
}

async fn write_index(
    namespace: &NamespaceClient,
    manifests: &[(Platform, Descriptor, Digest)],
) -> Descriptor {
    let mut refs = Labels::new();
    let mut descriptors = Vec::new();
    for (number, (platform, manifest, _)) in manifests.iter().enumerate() {
        let key = format!("containerd.io/gc.ref.content.m.{number}");
        refs.insert(key, manifest.digest.to_string());
        descriptors.push(json!({
            "mediaType": MANIFEST, "digest": manifest.digest, "size": manifest.size,
            "platform": {"os": platform.os, "architecture": platform.architecture},
        }));
    }
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": descriptors});
    write(namespace, INDEX, &index, &refs).await
}

/// Returns the chain ID of the top layer.
fn chain(layers: &[&Layer]) -> Digest {
    let mut diff_ids = layers.iter().map(|layer| layer.diff_id.clone());
    let lowest = diff_ids.next().expect("an image has layers");
    diff_ids.fold(lowest, |chain, diff_id| {
        digest_of(format!("{chain} {diff_id}").as_bytes())
    })
}
