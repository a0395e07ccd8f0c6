//! A registry of images that share layers, manifests and configs.

use serde_json::json;

use crate::image::{Blob, BuiltManifest, Format, Layer, Manifest, Rendered, descriptor_json};
use crate::image::{image, index};
use crate::labels::{Labels, labels};
use crate::namespace::Descriptor;
use crate::random::dice::Dice;

/// The images that the namespaces of a store may pull.
#[derive(Debug)]
pub(super) struct Registry {
    pub(super) artifacts: Vec<Artifact>,
}

/// An image of the registry.
#[derive(Debug, Clone)]
pub(super) struct Artifact {
    /// The last part of its names.
    pub(super) stem: String,
    pub(super) target: Descriptor,
    pub(super) blobs: Vec<Blob>,
    pub(super) manifests: Vec<BuiltManifest>,
    /// A description for failure messages.
    pub(super) note: &'static str,
}

impl Artifact {
    fn new(stem: String, note: &'static str, rendered: Rendered) -> Self {
        let Rendered {
            target,
            mut blobs,
            manifests,
        } = rendered;
        let mut built = Vec::new();
        for manifest in manifests {
            blobs.extend(manifest.blobs);
            built.push(manifest.built);
        }
        Self {
            stem,
            target,
            blobs,
            manifests: built,
            note,
        }
    }
}

impl Registry {
    pub(super) fn generate(dice: &mut Dice) -> Self {
        let layers = layers(dice);
        let mut singles = Vec::new();
        let mut registry = Self {
            artifacts: Vec::new(),
        };
        for number in 0..dice.between(5, 12) {
            let stem = format!("app{number}");
            let artifact = match dice.below(20) {
                0 => unreadable(stem),
                1 => single_layer(stem, dice.pick(&layers)),
                2..=4 if !registry.artifacts.is_empty() => nested(stem, dice, &registry.artifacts),
                2..=8 => platforms(stem, dice, &layers, &singles),
                _ => single(stem, dice, &layers, &mut singles),
            };
            registry.artifacts.push(artifact);
        }
        registry
    }
}

/// Returns layers of odd lengths, some of several disk blocks, one empty.
fn layers(dice: &mut Dice) -> Vec<Layer> {
    let seed = dice.roll();
    let number = dice.between(3, 7);
    (0..number)
        .map(|index| {
            let bytes = if index == 0 { 0 } else { dice.between(1, 9000) };
            Layer::random(seed.wrapping_add(index as u64), bytes)
        })
        .collect()
}

fn manifest(dice: &mut Dice, layers: &[Layer]) -> Manifest {
    let platform = dice.pick(&["linux/amd64", "linux/arm64/v8", "linux/amd64"]);
    let n_layers = dice.below(5);
    let picked: Vec<Layer> = (0..n_layers).map(|_| dice.pick(layers).clone()).collect();
    Manifest::new(platform)
        .layers(picked)
        .config_labels(config_labels(dice))
}

fn config_labels(dice: &mut Dice) -> Labels {
    match dice.below(4) {
        0 => labels([("tier", "web")]),
        1 => labels([("tier", "db"), ("keep", "")]),
        2 => labels([("keep", "yes")]),
        _ => Labels::new(),
    }
}

/// Returns an image of one platform. The format varies, so that manifests can share a config.
fn single(
    stem: String,
    dice: &mut Dice,
    layers: &[Layer],
    singles: &mut Vec<Manifest>,
) -> Artifact {
    let manifest = if !singles.is_empty() && dice.percent(25) {
        dice.pick(singles).clone()
    } else {
        manifest(dice, layers)
    };
    singles.push(manifest.clone());
    let mut builder = image(&stem).manifest(manifest);
    if dice.percent(30) {
        builder = builder.docker_schema2();
    }
    if dice.percent(10) {
        builder = builder.discard_layers();
    }
    let rendered = builder.render();
    Artifact::new(stem, "image", rendered)
}

/// Returns an image of several platforms: some absent, some attested, some also single images.
fn platforms(stem: String, dice: &mut Dice, layers: &[Layer], singles: &[Manifest]) -> Artifact {
    let mut builder = index(&stem);
    if dice.percent(20) {
        builder = builder.docker_schema2();
    }
    for _ in 0..dice.between(1, 3) {
        let mut manifest = if !singles.is_empty() && dice.percent(40) {
            dice.pick(singles).clone()
        } else {
            manifest(dice, layers)
        };
        if dice.percent(30) {
            manifest = manifest.absent();
        }
        if dice.percent(40) {
            manifest = manifest.attested();
        }
        builder = builder.manifest(manifest);
    }
    Artifact::new(stem, "index", builder.render())
}

/// Returns an index of existing images and indexes.
fn nested(stem: String, dice: &mut Dice, artifacts: &[Artifact]) -> Artifact {
    let inner: Vec<&Artifact> = (0..dice.between(1, 2))
        .map(|_| dice.pick(artifacts))
        .collect();
    let entries = inner
        .iter()
        .map(|artifact| descriptor_json(&artifact.target));
    let document = json!({
        "schemaVersion": 2,
        "mediaType": Format::Oci.index(),
        "manifests": entries.collect::<Vec<_>>(),
        "annotations": { "stem": stem },
    });
    let mut outer = Blob::json(Format::Oci.index(), &document);
    for (index, artifact) in inner.iter().enumerate() {
        outer.refer(&format!("m.{index}"), &artifact.target);
    }
    let mut artifact = Artifact {
        stem,
        target: outer.descriptor.clone(),
        blobs: vec![outer],
        manifests: Vec::new(),
        note: "nested index",
    };
    for inner in inner {
        artifact.blobs.extend(inner.blobs.iter().cloned());
        artifact.manifests.extend(inner.manifests.iter().cloned());
    }
    artifact
}

/// Returns an image whose manifest is not JSON, so that its content is unknown.
fn unreadable(stem: String) -> Artifact {
    let bytes = format!("{{ \"{stem}\": this is not JSON").into_bytes();
    of_one_blob(stem, "unreadable", Blob::new(Format::Oci.manifest(), bytes))
}

/// Returns a bare layer, for a record that points at one.
fn single_layer(stem: String, layer: &Layer) -> Artifact {
    let rendered = image(&stem).layers([layer.clone()]).render();
    let blob = rendered
        .manifests
        .into_iter()
        .flat_map(|manifest| manifest.blobs)
        .last()
        .expect("an image of one layer has a blob");
    of_one_blob(stem, "bare layer", blob)
}

fn of_one_blob(stem: String, note: &'static str, blob: Blob) -> Artifact {
    Artifact {
        stem,
        target: blob.descriptor.clone(),
        blobs: vec![blob],
        manifests: Vec::new(),
        note,
    }
}
