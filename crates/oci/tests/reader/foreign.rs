//! Documents that oci-spec writes: this reader finds all that they contain.

#![expect(clippy::disallowed_types, reason = "oci-spec's maps")]

use std::collections::HashMap;

use oci_spec::image::{
    self, Arch, ConfigBuilder, DescriptorBuilder, ImageConfigurationBuilder, ImageIndexBuilder,
    ImageManifestBuilder, MediaType, Os, PlatformBuilder, RootFsBuilder,
};
use proptest::collection::{hash_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use reclaim_oci::{ATTESTATION_ANNOTATION, Descriptor, Document, Kind};
use serde::Serialize;

use crate::fixtures::{self, DOCKER_CONFIG, DOCKER_LAYER, DOCKER_MANIFEST};

/// Media types of entries. The types of configs are only for configs.
const ENTRIES: [&str; 6] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    DOCKER_MANIFEST,
    DOCKER_LAYER,
    "text/plain",
];

fn digests() -> impl Strategy<Value = String> {
    any::<u16>().prop_map(|name| fixtures::digest(&name.to_string()).to_string())
}

fn platforms() -> impl Strategy<Value = image::Platform> {
    // `armbe` becomes `arm64be` when oci-spec reads it, but these are written.
    let architectures = select(vec!["amd64", "arm", "arm64", "riscv64", "unknown"]);
    let systems = select(vec!["linux", "windows", "unknown"]);
    (systems, architectures, option::of("v[0-9]")).prop_map(|(os, architecture, variant)| {
        let builder = PlatformBuilder::default()
            .os(Os::from(os))
            .architecture(Arch::from(architecture));
        match variant {
            Some(variant) => builder.variant(variant),
            None => builder,
        }
        .build()
        .unwrap()
    })
}

fn annotations() -> impl Strategy<Value = HashMap<String, String>> {
    let keys = prop_oneof![Just(ATTESTATION_ANNOTATION.to_owned()), any::<String>()];
    hash_map(keys, any::<String>(), 0..3)
}

fn descriptors(types: &'static [&'static str]) -> impl Strategy<Value = image::Descriptor> {
    let size = 0..=i64::MAX.unsigned_abs();
    let platform = option::of(platforms());
    (select(types), digests(), size, platform, annotations()).prop_map(
        |(media_type, digest, size, platform, annotations)| {
            let builder = DescriptorBuilder::default()
                .media_type(MediaType::from(media_type))
                .digest(digest.parse::<image::Digest>().unwrap())
                .size(size)
                .annotations(annotations);
            match platform {
                Some(platform) => builder.platform(platform),
                None => builder,
            }
            .build()
            .unwrap()
        },
    )
}

fn read(document: &impl Serialize) -> Document {
    fixtures::read(&serde_json::to_vec(document).unwrap()).unwrap()
}

/// Compares a descriptor with the one that was read.
fn assert_same(read: &Descriptor, written: &image::Descriptor) {
    assert_eq!(&read.media_type, written.media_type());
    assert_eq!(read.digest.to_string(), written.digest().to_string());
    assert_eq!(read.size, written.size());
    let annotations = written.annotations().as_ref();
    let is_attestation = annotations.is_some_and(|it| it.contains_key(ATTESTATION_ANNOTATION));
    assert_eq!(read.attestation, is_attestation);
    let platform = written.platform().as_ref().map(|platform| {
        let variant = platform.variant().as_ref();
        let variant = variant.map(|variant| format!("/{variant}"));
        let variant = variant.unwrap_or_default();
        format!("{}/{}{variant}", platform.os(), platform.architecture())
    });
    assert_eq!(read.platform.as_ref().map(ToString::to_string), platform);
}

fn assert_all_same(read: &[Descriptor], written: &[image::Descriptor]) {
    assert_eq!(read.len(), written.len());
    for (read, written) in read.iter().zip(written) {
        assert_same(read, written);
    }
}

proptest! {
    #[test]
    fn manifests(
        config in descriptors(&["application/vnd.oci.image.config.v1+json", DOCKER_CONFIG]),
        layers in vec(descriptors(&ENTRIES), 0..4),
        media_type in option::of(select(vec![MediaType::ImageManifest, MediaType::from(DOCKER_MANIFEST)])),
        annotations in annotations(),
    ) {
        let builder = ImageManifestBuilder::default()
            .schema_version(2_u32)
            .config(config)
            .layers(layers)
            .annotations(annotations);
        let builder = match media_type {
            Some(media_type) => builder.media_type(media_type),
            None => builder,
        };
        let written = builder.build().unwrap();
        let Document::Manifest(manifest) = read(&written) else {
            panic!("{written:?}");
        };
        let config = manifest.config.unwrap();
        assert_same(&config, written.config());
        prop_assert_eq!(config.kind(), Kind::Config);
        assert_all_same(&manifest.layers, written.layers());
    }

    #[test]
    fn indexes(manifests in vec(descriptors(&ENTRIES), 0..4), annotations in annotations()) {
        let written = ImageIndexBuilder::default()
            .schema_version(2_u32)
            .manifests(manifests)
            .annotations(annotations)
            .build()
            .unwrap();
        let Document::Index(index) = read(&written) else {
            panic!("{written:?}");
        };
        assert_all_same(&index.manifests, written.manifests());
    }

    #[test]
    fn configurations(
        platform in platforms(),
        diff_ids in vec(digests(), 0..4),
        labels in hash_map(any::<String>(), any::<String>(), 0..4),
    ) {
        let config = ConfigBuilder::default().labels(labels.clone()).build().unwrap();
        let rootfs = RootFsBuilder::default()
            .typ("layers")
            .diff_ids(diff_ids.clone())
            .build()
            .unwrap();
        let written = ImageConfigurationBuilder::default()
            .os(platform.os().clone())
            .architecture(platform.architecture().clone())
            .config(config)
            .rootfs(rootfs)
            .created("2026-11-30T00:00:00Z")
            .build()
            .unwrap();
        let Document::Config(config) = read(&written) else {
            panic!("{written:?}");
        };
        let read: Vec<String> = config.diff_ids.iter().map(ToString::to_string).collect();
        prop_assert_eq!(read, diff_ids);
        prop_assert_eq!(config.labels, labels.into_iter().collect());
        prop_assert_eq!(config.labels_left_out, 0);
        let expected = format!("{}/{}", platform.os(), platform.architecture());
        prop_assert_eq!(config.platform.unwrap().to_string(), expected);
        prop_assert_eq!(config.created.as_deref(), Some("2026-11-30T00:00:00Z"));
    }
}
