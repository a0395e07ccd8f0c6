//! What there is to pull: images that share layers, manifests and configs.

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

/// What can be pulled as one.
#[derive(Debug, Clone)]
pub(super) struct Artifact {
    /// The last part of its names.
    pub(super) stem: String,
    pub(super) target: Descriptor,
    pub(super) blobs: Vec<Blob>,
    pub(super) manifests: Vec<BuiltManifest>,
    /// What it is meant to be; for people.
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

/// Layers of odd lengths, some of them of several disk blocks, one of nothing.
fn layers(dice: &mut Dice) -> Vec<Layer> {
    let seed = dice.roll();
    let number = dice.between(3, 7);
    let lengths = (0..number).map(|at| if at == 0 { 0 } else { dice.between(1, 9000) });
    let lengths: Vec<usize> = lengths.collect();
    let layers = (0..).zip(lengths);
    layers
        .map(|(at, bytes)| Layer::random(seed.wrapping_add(at), bytes))
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

/// One platform. Of two formats, so that two manifests have one config now and then.
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

/// Several platforms, some absent, some attested, some that exist as an image of their own.
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

/// An index over what is there already: images and indexes.
fn nested(stem: String, dice: &mut Dice, artifacts: &[Artifact]) -> Artifact {
    let inner: Vec<&Artifact> = (0..dice.between(1, 2))
        .map(|_| dice.pick(artifacts))
        .collect();
    let entries = inner.iter().map(|it| descriptor_json(&it.target));
    let document = json!({
        "schemaVersion": 2,
        "mediaType": Format::Oci.index(),
        "manifests": entries.collect::<Vec<_>>(),
        "annotations": { "stem": stem },
    });
    let mut outer = Blob::json(Format::Oci.index(), &document);
    for (at, artifact) in inner.iter().enumerate() {
        outer.refer(&format!("m.{at}"), &artifact.target);
    }
    let mut artifact = Artifact {
        stem,
        target: outer.descriptor.clone(),
        blobs: vec![outer],
        manifests: Vec::new(),
        note: "nested index",
    };
    for it in inner {
        artifact.blobs.extend(it.blobs.iter().cloned());
        artifact.manifests.extend(it.manifests.iter().cloned());
    }
    artifact
}

/// Something that calls itself a manifest and is none: what lies behind it cannot be known.
fn unreadable(stem: String) -> Artifact {
    let bytes = format!("{{ \"{stem}\": this is no JSON").into_bytes();
    of_one_blob(stem, "unreadable", Blob::new(Format::Oci.manifest(), bytes))
}

/// A record that points at a layer: content that nothing explains.
fn single_layer(stem: String, layer: &Layer) -> Artifact {
    let rendered = image(&stem).layers([layer.clone()]).render();
    let layer = rendered
        .manifests
        .into_iter()
        .flat_map(|it| it.blobs)
        .last();
    let layer = layer.expect("an image of one layer has a blob");
    of_one_blob(stem, "bare layer", layer)
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
