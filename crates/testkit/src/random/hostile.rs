//! Hostile images, whose documents misdescribe the documents of a store.
//!
//! A descriptor claims the kind of a document, and its author can claim anything: that another
//! image's manifest is a configuration, or that a layer is an index. The author can nest indexes
//! deeper than any reader goes, and choose by trailing spaces where a digest sorts. None of it may
//! change how other images are read.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::dice::Dice;
use super::store::{ObjectKind, RandomStore, StoreObject};
use crate::image::{Blob, descriptor_json};
use crate::labels::Labels;
use crate::namespace::{Descriptor, digest_of};

/// The bit of a seed that adds crossed images, which misdescribe other images of the store.
pub const CROSSED: u64 = 1 << 40;

/// The media types that a descriptor may claim: every kind, in both formats, and unknown ones.
const MEDIA_TYPES: [&str; 12] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
    "application/vnd.oci.empty.v1+json",
    "application/vnd.example.unknown",
    "",
];

const INDEX: &str = MEDIA_TYPES[0];
const MANIFEST: &str = MEDIA_TYPES[2];

/// The most spaces that pad a document until its digest sorts as wanted. Each has a chance of half.
const PADDINGS: usize = 200;

/// A blob that a hostile document refers to.
#[derive(Debug, Clone)]
struct Victim {
    descriptor: Descriptor,
    /// The documents that refer to it, by digest.
    parents: Vec<String>,
}

impl RandomStore {
    /// Returns a hostile image for `namespace`: blobs, and records whose names begin with `name`. Its
    /// documents misdescribe blobs of the store, of any namespace.
    pub fn hostile_image(&self, dice: &mut Dice, namespace: &str, name: &str) -> Vec<StoreObject> {
        let victims = self.victims();
        if victims.is_empty() {
            return Vec::new();
        }
        let mut hostile = Hostile {
            dice,
            namespace,
            victims,
            objects: Vec::new(),
        };
        let target = hostile.target();
        hostile.name(name, &target);
        hostile.objects
    }

    /// Adds a few hostile images, and containers of some of them.
    pub(super) fn cross(&mut self) {
        let mut dice = Dice::new(self.seed ^ 0x4352_4f53_5345_4421);
        let namespaces: BTreeSet<&String> = self
            .objects
            .iter()
            .map(|object| &object.namespace)
            .collect();
        let namespaces: Vec<String> = namespaces.into_iter().cloned().collect();
        for number in 0..dice.between(1, 3) {
            let namespace = dice.pick(&namespaces).clone();
            let name = format!("docker.io/library/crossed{number}");
            let objects = self.hostile_image(&mut dice, &namespace, &name);
            let mut digests = Vec::new();
            for object in &objects {
                if let ObjectKind::Image { target, .. } = &object.kind {
                    digests.push(target.digest.to_string());
                }
            }
            self.objects.extend(objects);
            if let Some(target) = digests.pop().filter(|_| dice.percent(30)) {
                let image = (*dice.pick(&[target.as_str(), &format!("{name}:1")])).to_owned();
                self.objects.push(StoreObject {
                    namespace,
                    labels: Labels::new(),
                    kind: ObjectKind::Container {
                        id: format!("of-crossed{number}"),
                        image,
                        snapshot: None,
                    },
                });
            }
        }
    }

    /// Returns every blob once, with the documents that refer to it.
    fn victims(&self) -> Vec<Victim> {
        let mut seen = BTreeSet::new();
        let mut blobs: Vec<(Descriptor, &[u8])> = Vec::new();
        for object in &self.objects {
            if let ObjectKind::Blob { bytes, note: _ } = &object.kind {
                let blob = Blob::new("", bytes.to_vec());
                if seen.insert(blob.descriptor.digest.clone()) {
                    blobs.push((blob.descriptor, bytes));
                }
            }
        }
        let documents: Vec<(String, String)> = blobs
            .iter()
            .filter(|(_, bytes)| bytes.starts_with(b"{"))
            .map(|(descriptor, bytes)| {
                let text = String::from_utf8_lossy(bytes).into();
                (descriptor.digest.to_string(), text)
            })
            .collect();
        blobs
            .iter()
            .map(|(descriptor, _)| {
                let digest = descriptor.digest.to_string();
                let parents = documents.iter().filter(|(_, text)| text.contains(&digest));
                Victim {
                    descriptor: descriptor.clone(),
                    parents: parents.map(|(parent, _)| parent.clone()).collect(),
                }
            })
            .collect()
    }
}

/// A hostile image under construction.
struct Hostile<'a> {
    dice: &'a mut Dice,
    namespace: &'a str,
    victims: Vec<Victim>,
    objects: Vec<StoreObject>,
}

impl Hostile<'_> {
    /// Adds the documents and returns the correct descriptor of the target.
    fn target(&mut self) -> Descriptor {
        if self.dice.percent(10) {
            // A document of another image.
            let victim = self.dice.pick(&self.victims).descriptor.clone();
            return Descriptor {
                media_type: (*self.dice.pick(&MEDIA_TYPES)).to_owned(),
                ..victim
            };
        }
        let (document, media_type, rival) = self.document();
        let mut inner = self.add(&document, media_type, &rival);
        for _ in 0..*self.dice.pick(&[0, 0, 0, 1, 2, 9, 12]) {
            let entry = self.misdescribed(inner.clone(), 20);
            let document = json!({
                "schemaVersion": 2,
                "mediaType": INDEX,
                "manifests": [descriptor_json(&entry)],
            });
            inner = self.add(&document, INDEX, &rival);
        }
        inner
    }

    /// Returns a document that refers to victims, its media type, and the digest of its rival, to sort
    /// before or after.
    fn document(&mut self) -> (Value, &'static str, String) {
        let number = self.dice.between(1, 3);
        let victims: Vec<Victim> = (0..number)
            .map(|_| self.dice.pick(&self.victims).clone())
            .collect();
        let first = &victims[0];
        let parent = first.parents.first().cloned();
        let rival = parent.unwrap_or_else(|| first.descriptor.digest.to_string());
        let entries: Vec<Value> = victims
            .into_iter()
            .map(|victim| self.entry(victim))
            .collect();
        let mut document = json!({ "schemaVersion": 2 });
        let is_index = self.dice.percent(70);
        let is_both = self.dice.percent(5);
        if is_index || is_both {
            document["manifests"] = json!(entries);
        }
        if !is_index || is_both {
            document["config"] = entries[0].clone();
            document["layers"] = json!(entries[1..]);
        }
        let media_type = if is_index { INDEX } else { MANIFEST };
        match self.dice.below(10) {
            0 => document["mediaType"] = json!(self.dice.pick(&MEDIA_TYPES)),
            1..=3 => {}
            _ => document["mediaType"] = json!(media_type),
        }
        (document, media_type, rival)
    }

    /// Returns an entry that misdescribes a victim, sometimes with a platform or as an attestation.
    fn entry(&mut self, victim: Victim) -> Value {
        let mut entry = descriptor_json(&self.misdescribed(victim.descriptor, 100));
        if self.dice.percent(10) {
            entry["size"] = json!(self.dice.below(3));
        }
        if self.dice.percent(20) {
            entry["annotations"] = json!({ "vnd.docker.reference.type": "attestation-manifest" });
        }
        if self.dice.percent(20) {
            entry["platform"] = json!({ "os": "linux", "architecture": "amd64" });
        }
        entry
    }

    /// Changes the media type of a descriptor, with a chance in percent.
    fn misdescribed(&mut self, descriptor: Descriptor, chance: usize) -> Descriptor {
        if !self.dice.percent(chance) {
            return descriptor;
        }
        Descriptor {
            media_type: (*self.dice.pick(&MEDIA_TYPES)).to_owned(),
            ..descriptor
        }
    }

    /// Adds a document, padded to sort before or after its rival, with or without the labels of a pull.
    fn add(&mut self, document: &Value, media_type: &str, rival: &str) -> Descriptor {
        let is_before = self.dice.percent(50);
        let mut blob = padded(document, media_type, rival, is_before);
        if self.dice.percent(70) {
            refer_to_all(&mut blob, document);
        }
        self.objects.push(StoreObject {
            namespace: self.namespace.to_owned(),
            labels: blob.labels,
            kind: ObjectKind::Blob {
                bytes: blob.bytes.into(),
                note: "hostile".to_owned(),
            },
        });
        blob.descriptor
    }

    /// Adds one record, or two that may describe the target differently.
    fn name(&mut self, name: &str, target: &Descriptor) {
        for number in 1..=*self.dice.pick(&[1, 1, 2]) {
            let mut target = self.misdescribed(target.clone(), 30);
            if target.media_type.is_empty() {
                // The server refuses a record without a media type.
                MANIFEST.clone_into(&mut target.media_type);
            }
            self.objects.push(StoreObject {
                namespace: self.namespace.to_owned(),
                labels: Labels::new(),
                kind: ObjectKind::Image {
                    name: format!("{name}:{number}"),
                    target,
                    created: Some(super::generate::PAST.to_owned()),
                },
            });
        }
    }
}

/// Renders a document, padded with spaces until its digest sorts as wanted.
fn padded(document: &Value, media_type: &str, rival: &str, is_before: bool) -> Blob {
    let mut bytes = document.to_string().into_bytes();
    for _ in 0..PADDINGS {
        if (digest_of(&bytes).to_string().as_str() < rival) == is_before {
            break;
        }
        bytes.push(b' ');
    }
    Blob::new(media_type, bytes)
}

/// Adds labels that refer to all that a document names, as a pull does.
fn refer_to_all(blob: &mut Blob, document: &Value) {
    let lists = ["manifests", "layers"].map(|key| document[key].as_array());
    let digests = lists
        .into_iter()
        .flatten()
        .flatten()
        .chain(Some(&document["config"]))
        .filter_map(|entry| entry["digest"].as_str());
    for (number, digest) in digests.enumerate() {
        let key = format!("{}.m.{number}", crate::labels::GC_REF_CONTENT);
        blob.labels.insert(key, digest.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crossed_store_extends_the_store_of_the_seed() {
        for seed in 0..20 {
            let plain = RandomStore::generate(seed);
            let crossed = RandomStore::generate(seed | CROSSED);
            let (same, more) = crossed.objects.split_at(plain.objects.len());
            assert_eq!(same, plain.objects);
            assert!(!more.is_empty(), "seed {seed}");
        }
    }

    #[test]
    fn a_padded_document_sorts_as_wanted() {
        let document = json!({ "schemaVersion": 2 });
        let rival = format!("sha256:8{}", "0".repeat(63));
        for is_before in [true, false] {
            let blob = padded(&document, INDEX, &rival, is_before);
            assert_eq!(blob.descriptor.digest.to_string() < rival, is_before);
            let read: Value = serde_json::from_slice(&blob.bytes).unwrap();
            assert_eq!(read, document);
        }
    }

    #[test]
    fn a_few_hundred_images_cover_everything() {
        let store = RandomStore::generate(3);
        let mut dice = Dice::new(1);
        let (mut texts, mut deepest, mut two_types) = (String::new(), 0, false);
        for _ in 0..300 {
            let objects = store.hostile_image(&mut dice, "default", "evil");
            let mut types = BTreeSet::new();
            let mut n_blobs = 0;
            for object in &objects {
                if let ObjectKind::Blob { bytes, .. } = &object.kind {
                    texts.push_str(&String::from_utf8_lossy(bytes));
                    n_blobs += 1;
                } else if let ObjectKind::Image { target, .. } = &object.kind {
                    types.insert(target.media_type.clone());
                }
            }
            deepest = deepest.max(n_blobs);
            two_types |= types.len() == 2;
        }
        for media_type in MEDIA_TYPES {
            let entry = format!(r#""mediaType":"{media_type}""#);
            assert!(texts.contains(&entry), "no {entry}");
        }
        for wanted in [
            "attestation-manifest",
            r#""platform""#,
            r#""config":{"#,
            "  ",
        ] {
            assert!(texts.contains(wanted), "no {wanted}");
        }
        assert!(deepest > 10, "{deepest} documents at most");
        assert!(two_types, "no two records differ about a target");
    }
}
