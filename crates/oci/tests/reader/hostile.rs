//! Any bytes give an error or a document: never a panic, never more edges than fit into their size.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index as Position, select};
use reclaim_oci::{Document, Kind, chain_ids, digest_of, verify};
use serde_json::{Value, json};

use crate::fixtures::{self, bytes};

/// The lengths of the shortest descriptor, digest and label, which limit how many fit into a body.
const SHORTEST_DESCRIPTOR: usize = 84;
const SHORTEST_DIGEST: usize = 73;
const SHORTEST_LABEL: usize = 5;

/// Reads the bytes and checks the properties of any result.
fn check(body: &[u8]) -> Result<(), TestCaseError> {
    let outcome = fixtures::read(body);
    match &outcome {
        Ok(document) => check_bounds(document, body.len())?,
        Err(error) => {
            let text = error.to_string();
            prop_assert!(
                text.len() < 2_500 && !text.contains(char::is_control),
                "{text}"
            );
        }
    }
    prop_assert_eq!(fixtures::read(body), outcome);
    Ok(())
}

fn check_bounds(document: &Document, size: usize) -> Result<(), TestCaseError> {
    prop_assert!(document.children().count() * SHORTEST_DESCRIPTOR <= size);
    if let Document::Config(config) = document {
        prop_assert!(config.diff_ids.len() * SHORTEST_DIGEST <= size);
        prop_assert!(config.labels.len() * SHORTEST_LABEL <= size);
        prop_assert_eq!(chain_ids(&config.diff_ids).len(), config.diff_ids.len());
    }
    Ok(())
}

#[derive(Debug, Clone)]
enum Edit {
    Flip(Position, u8),
    Insert(Position, Vec<u8>),
    Delete(Position, usize),
    Repeat(Position, usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    let noise = prop_oneof![
        vec(any::<u8>(), 1..4),
        vec(select(b"{}[]\",:0-nul\\".to_vec()), 1..4),
    ];
    prop_oneof![
        (any::<Position>(), 1..=u8::MAX).prop_map(|(at, mask)| Edit::Flip(at, mask)),
        (any::<Position>(), noise).prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        (any::<Position>(), 1..40_usize).prop_map(|(at, count)| Edit::Delete(at, count)),
        (any::<Position>(), 1..400_usize).prop_map(|(at, count)| Edit::Repeat(at, count)),
    ]
}

fn apply(body: &mut Vec<u8>, edit: Edit) {
    if body.is_empty() {
        return;
    }
    let span = |at: usize, count: usize, length: usize| at..length.min(at + count);
    match edit {
        Edit::Flip(at, mask) => {
            let at = at.index(body.len());
            body[at] ^= mask;
        }
        Edit::Insert(at, bytes) => {
            let at = at.index(body.len());
            body.splice(at..at, bytes);
        }
        Edit::Delete(at, count) => {
            body.drain(span(at.index(body.len()), count, body.len()));
        }
        Edit::Repeat(at, count) => {
            let copy = body[span(at.index(body.len()), count, body.len())].to_vec();
            let at = at.index(body.len());
            body.splice(at..at, copy);
        }
    }
}

fn real_document() -> impl Strategy<Value = Value> {
    select(vec![
        fixtures::oci_manifest(),
        fixtures::docker_manifest(),
        fixtures::buildkit_index(),
        fixtures::docker_list(),
        fixtures::helm_manifest(),
        fixtures::cosign_manifest(),
        fixtures::image_config(),
    ])
}

/// Objects with known keys in wrong places.
fn confused_document() -> impl Strategy<Value = Value> {
    let key = prop_oneof![
        4 => select(vec![
            "schemaVersion", "mediaType", "MediaType", "manifests", "config", "Config", "layers",
            "Layers", "fsLayers", "digest", "size", "platform", "os", "architecture",
            "annotations", "subject", "artifactType", "Labels", "rootfs", "diff_ids", "created",
            "vnd.docker.reference.type",
        ]).prop_map(str::to_owned),
        1 => ".{0,6}",
    ];
    let digest = fixtures::digest("confused").to_string();
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        select(vec![0_u64, 1, 2, 3, u64::MAX]).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        select(vec![
            digest,
            "sha256:".to_owned(),
            fixtures::OCI_INDEX.to_owned(),
            fixtures::DOCKER_MANIFEST.to_owned(),
            fixtures::OCI_CONFIG.to_owned(),
        ])
        .prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        Just(fixtures::descriptor(fixtures::OCI_LAYER, "confused", 61)),
    ];
    leaf.prop_recursive(5, 64, 6, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((key.clone(), inner), 0..6).prop_map(|entries| entries.into_iter().collect()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn survives_any_bytes(body in vec(any::<u8>(), 0..512)) {
        check(&body)?;
    }

    #[test]
    fn survives_damaged_documents(
        document in real_document(),
        edits in vec(edit(), 1..6),
    ) {
        let sound = bytes(&document);
        let mut damaged = sound.clone();
        for edit in edits {
            apply(&mut damaged, edit);
        }
        check(&damaged)?;
        let is_sound = damaged == sound;
        prop_assert_eq!(verify(&digest_of(&sound), &damaged).is_ok(), is_sound);
    }

    #[test]
    fn survives_confused_documents(document in confused_document()) {
        check(&bytes(&document))?;
    }

    #[test]
    fn reads_back_every_child_in_order(
        children in vec(("[a-z]{1,20}", 0..=i64::MAX as u64, any::<bool>()), 1..40),
    ) {
        let descriptors: Vec<Value> = children
            .iter()
            .map(|(name, size, attestation)| {
                let mut child = fixtures::descriptor("application/x", name, *size);
                if *attestation {
                    child["annotations"] = json!({"vnd.docker.reference.type": name});
                }
                child
            })
            .collect();
        let index = json!({"manifests": descriptors});
        let manifest = json!({"config": descriptors[0], "layers": descriptors[1..]});
        for (kind, document) in [(Kind::Index, index), (Kind::Manifest, manifest)] {
            let body = bytes(&document);
            let document = fixtures::read(&body).unwrap();
            prop_assert_eq!(document.kind(), kind);
            prop_assert_eq!(document.children().count(), children.len());
            for (child, (name, size, attestation)) in document.children().zip(&children) {
                prop_assert_eq!(&child.digest, &fixtures::digest(name));
                prop_assert_eq!(child.size, *size);
                prop_assert_eq!(child.attestation, *attestation);
            }
        }
    }
}
