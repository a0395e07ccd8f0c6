//! The kind of a body, from its bytes alone.

use proptest::prelude::*;
use proptest::sample::select;
use reclaim_oci::{Kind, ReadError};
use serde_json::{Value, json};

use crate::fixtures::{self, bytes, descriptor};

fn kind_of(document: &Value) -> Result<Kind, ReadError> {
    fixtures::read(&bytes(document)).map(|document| document.kind())
}

#[test]
fn recognizes_ordinary_documents() {
    let mut artifact = fixtures::cosign_manifest();
    artifact["config"]["mediaType"] = json!(fixtures::EMPTY_CONFIG);
    let mut referrers = fixtures::buildkit_index();
    referrers["artifactType"] = json!("application/vnd.example+type");
    referrers["subject"] = descriptor(fixtures::OCI_MANIFEST, "subject", 7);
    let mut old_index = fixtures::docker_list();
    old_index["schemaVersion"] = json!(1);
    let mut stray = fixtures::image_config();
    stray["mediaType"] = json!("text/plain");
    let mut named = fixtures::image_config();
    named["mediaType"] = json!(fixtures::DOCKER_CONFIG);
    let mut scratch = fixtures::image_config();
    scratch["config"] = json!(null);
    let mut numbered = fixtures::image_config();
    numbered["schemaVersion"] = json!(2);
    for (name, document, kind) in [
        ("OCI manifest", fixtures::oci_manifest(), Kind::Manifest),
        (
            "Docker manifest",
            fixtures::docker_manifest(),
            Kind::Manifest,
        ),
        ("Helm chart", fixtures::helm_manifest(), Kind::Manifest),
        (
            "signature with a subject",
            fixtures::cosign_manifest(),
            Kind::Manifest,
        ),
        ("artifact with the empty config", artifact, Kind::Manifest),
        ("attestation", attestation(), Kind::Manifest),
        ("index", fixtures::buildkit_index(), Kind::Index),
        ("list of referrers", referrers, Kind::Index),
        ("Docker manifest list", fixtures::docker_list(), Kind::Index),
        ("list of schema version 1", old_index, Kind::Index),
        ("image config", fixtures::image_config(), Kind::Config),
        ("config with a stray media type", stray, Kind::Config),
        ("config with its media type", named, Kind::Config),
        ("config without a run configuration", scratch, Kind::Config),
        ("config with a schema version", numbered, Kind::Config),
        ("empty config", json!({}), Kind::Config),
        (
            "config of an attestation",
            attestation_config(),
            Kind::Config,
        ),
        (
            "config of a WebAssembly component",
            wasm_config(),
            Kind::Config,
        ),
        ("config of a Helm chart", helm_config(), Kind::Config),
        (
            "CNAB bundle",
            json!({"schemaVersion": "v1.0.0", "name": "x"}),
            Kind::Config,
        ),
        (
            "OCI layout",
            json!({"imageLayoutVersion": "1.0.0"}),
            Kind::Config,
        ),
    ] {
        assert_eq!(kind_of(&document), Ok(kind), "{name}");
    }
}

fn attestation() -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": fixtures::OCI_MANIFEST,
        "config": descriptor(fixtures::OCI_CONFIG, "attestation-config", 167),
        "layers": [{
            "mediaType": "application/vnd.in-toto+json",
            "digest": fixtures::digest("provenance").to_string(),
            "size": 1041,
            "annotations": {"in-toto.io/predicate-type": "https://slsa.dev/provenance/v0.2"},
        }],
    })
}

fn attestation_config() -> Value {
    json!({
        "architecture": "unknown",
        "os": "unknown",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [fixtures::digest("provenance").to_string()]},
    })
}

fn wasm_config() -> Value {
    json!({
        "created": "2025-01-02T03:04:05Z",
        "architecture": "wasm",
        "os": "wasip2",
        "layerDigests": [fixtures::digest("module").to_string()],
        "component": {"exports": ["wasi:http/proxy"], "imports": []},
    })
}

fn helm_config() -> Value {
    json!({"name": "chart", "version": "0.1.0", "apiVersion": "v2", "type": "application"})
}

#[test]
fn the_media_type_decides_if_the_keys_do_not() {
    for (document, kind) in [
        (json!({"mediaType": fixtures::OCI_INDEX}), Kind::Index),
        (
            json!({"mediaType": fixtures::DOCKER_MANIFEST}),
            Kind::Manifest,
        ),
        (
            json!({"mediaType": fixtures::OCI_MANIFEST, "config": null}),
            Kind::Manifest,
        ),
        (
            json!({"mediaType": fixtures::OCI_MANIFEST, "config": {}}),
            Kind::Manifest,
        ),
        (
            json!({"mediaType": fixtures::OCI_CONFIG, "schemaVersion": 2}),
            Kind::Config,
        ),
        (json!({"mediaType": "x", "schemaVersion": 2}), Kind::Index),
        (json!({"schemaVersion": 2, "config": {}}), Kind::Config),
        (json!({"schemaVersion": 2, "config": null}), Kind::Config),
        (
            json!({"config": {"digest": fixtures::digest("half")}}),
            Kind::Config,
        ),
        (json!({"config": {"Env": []}}), Kind::Config),
        (
            json!({"layers": [], "config": {"digest": fixtures::digest("half")}}),
            Kind::Manifest,
        ),
        (json!({"manifests": null}), Kind::Index),
        (json!({"layers": null, "schemaVersion": 0}), Kind::Manifest),
        (
            json!({"config": descriptor("x", "whole", 1)}),
            Kind::Manifest,
        ),
        (json!({"rootfs": null}), Kind::Config),
    ] {
        assert_eq!(kind_of(&document), Ok(kind), "{document}");
    }
}

#[test]
fn refuses_ambiguous_documents() {
    let whole = descriptor(fixtures::OCI_CONFIG, "whole", 1);
    let mut labelled = whole.clone();
    labelled["labels"] = json!({"keep": "1"});
    for (document, first, second) in [
        (
            json!({"manifests": [], "layers": []}),
            "manifests",
            "layers",
        ),
        (
            json!({"manifests": null, "Layers": null}),
            "manifests",
            "layers",
        ),
        (
            json!({"manifests": [], "config": whole}),
            "manifests",
            "config.digest",
        ),
        (
            json!({"manifests": [], "config": null}),
            "manifests",
            "config",
        ),
        (
            json!({"manifests": [], "config": {}}),
            "manifests",
            "config",
        ),
        (
            json!({"manifests": [], "config": []}),
            "manifests",
            "config",
        ),
        (
            json!({"manifests": [], "rootfs": null}),
            "manifests",
            "rootfs",
        ),
        (json!({"layers": [], "rootfs": null}), "layers", "rootfs"),
        (
            json!({"layers": [], "config": {"Labels": {}}}),
            "layers",
            "config",
        ),
        (
            json!({"layers": [], "config": {"Env": []}}),
            "layers",
            "config",
        ),
        (
            json!({"rootfs": {}, "config": whole}),
            "config.digest",
            "rootfs",
        ),
        (json!({"config": labelled}), "config.digest", "config"),
    ] {
        let error = kind_of(&document).unwrap_err();
        assert_eq!(error, ReadError::Ambiguous { first, second }, "{document}");
        assert!(!error.is_torn());
    }
}

#[test]
fn refuses_a_media_type_that_disagrees_with_the_keys() {
    for (document, kind, wrong) in [
        (
            json!({"manifests": []}),
            Kind::Index,
            fixtures::OCI_MANIFEST,
        ),
        (
            json!({"manifests": []}),
            Kind::Index,
            fixtures::DOCKER_CONFIG,
        ),
        (json!({"layers": []}), Kind::Manifest, fixtures::DOCKER_LIST),
        (json!({"layers": []}), Kind::Manifest, fixtures::OCI_CONFIG),
        (json!({"rootfs": null}), Kind::Config, fixtures::OCI_INDEX),
        (
            json!({"rootfs": null}),
            Kind::Config,
            fixtures::OCI_MANIFEST,
        ),
        (
            json!({"config": {"Labels": {}}}),
            Kind::Config,
            fixtures::OCI_MANIFEST,
        ),
        (json!({"config": null}), Kind::Config, fixtures::OCI_INDEX),
        (json!({"layers": []}), Kind::Manifest, SCHEMA_1),
    ] {
        let mut stated = document.clone();
        stated["mediaType"] = json!(wrong);
        let got = wrong.to_owned();
        let error = kind_of(&stated).unwrap_err();
        assert_eq!(error, ReadError::WrongMediaType { kind, got }, "{stated}");
        assert!(!error.is_torn());
        // containerd only requires that the media type is not one of the others.
        for unknown in [json!(""), json!(null), json!("text/plain")] {
            stated["mediaType"] = unknown;
            assert_eq!(kind_of(&stated), Ok(kind), "{stated}");
        }
    }
}

const SCHEMA_1: &str = "application/vnd.docker.distribution.manifest.v1+prettyjws";

#[test]
fn refuses_schema_1_in_any_form() {
    let mut both = fixtures::oci_manifest();
    both["fsLayers"] = json!(null);
    let mut config = fixtures::image_config();
    config["FSLayers"] = json!([]);
    for document in [
        json!({
            "schemaVersion": 1,
            "name": "library/busybox",
            "tag": "latest",
            "architecture": "amd64",
            "fsLayers": [{"blobSum": fixtures::digest("sum").to_string()}],
            "history": [{"v1Compatibility": "{}"}],
        }),
        both,
        config,
        json!({"mediaType": SCHEMA_1}),
    ] {
        let error = kind_of(&document).unwrap_err();
        assert_eq!(error, ReadError::Schema1, "{document}");
        assert!(!error.is_torn());
    }
}

#[test]
fn ignores_a_schema_version_as_containerd_does() {
    for version in [json!(0), json!(1), json!(3), json!(null), json!(-1)] {
        let mut manifest = fixtures::oci_manifest();
        manifest["schemaVersion"] = version;
        assert_eq!(kind_of(&manifest), Ok(Kind::Manifest), "{manifest}");
    }
    for version in [json!("2"), json!(2.5), json!([])] {
        let mut index = fixtures::buildkit_index();
        index["schemaVersion"] = version;
        let error = kind_of(&index).unwrap_err();
        assert!(matches!(error, ReadError::Malformed { .. }), "{error}");
    }
}

/// One key of a document with a possible value.
fn entry() -> impl Strategy<Value = (&'static str, Value)> {
    let whole = descriptor(fixtures::OCI_CONFIG, "whole", 1);
    let mut labelled = whole.clone();
    labelled["Labels"] = json!({"keep": "1"});
    let list = || select(vec![json!(null), json!([]), json!([{"digest": ""}])]);
    prop_oneof![
        select(vec![
            json!(fixtures::OCI_INDEX),
            json!(fixtures::DOCKER_MANIFEST),
            json!(fixtures::OCI_CONFIG),
            json!(SCHEMA_1),
            json!("text/plain"),
            json!(null),
            json!(7),
        ])
        .prop_map(|value| ("mediaType", value)),
        select(vec![json!(2), json!(1), json!(null), json!("2")])
            .prop_map(|value| ("schemaVersion", value)),
        list().prop_map(|value| ("manifests", value)),
        list().prop_map(|value| ("layers", value)),
        list().prop_map(|value| ("fsLayers", value)),
        select(vec![json!(null), json!({}), json!({"diff_ids": []})])
            .prop_map(|value| ("rootfs", value)),
        select(vec![
            json!(null),
            json!({}),
            json!([]),
            whole,
            labelled,
            json!({"digest": fixtures::digest("half")}),
            json!({"Labels": {"keep": "1"}}),
            json!({"Env": []}),
        ])
        .prop_map(|value| ("config", value)),
        Just(("os", json!("linux"))),
    ]
}

/// Writes an object with these keys in this order.
fn written<'a>(entries: impl Iterator<Item = (String, &'a Value)>) -> Vec<u8> {
    let entries: Vec<String> = entries
        .map(|(key, value)| format!("{}: {value}", json!(key)))
        .collect();
    format!("{{{}}}", entries.join(", ")).into_bytes()
}

/// Removes line and column, which depend on the order.
fn without_position(outcome: &Result<Kind, ReadError>) -> Result<Kind, ReadError> {
    let mut outcome = outcome.clone();
    if let Err(ReadError::Malformed { detail, .. }) = &mut outcome {
        detail.clear();
    }
    outcome
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_kind_does_not_depend_on_order_or_case(
        entries in proptest::collection::vec(entry(), 0..6),
        order in Just([0, 1, 2, 3, 4, 5]).prop_shuffle(),
        upper in any::<bool>(),
    ) {
        let entries: std::collections::BTreeMap<&str, Value> = entries.into_iter().collect();
        let plain = written(entries.iter().map(|(key, value)| ((*key).to_owned(), value)));
        let mut shuffled: Vec<_> = order.iter().zip(&entries).collect();
        shuffled.sort_by_key(|(place, _)| **place);
        let shuffled = shuffled.into_iter().map(|(_, entry)| entry);
        let cased = |key: &str| if upper { key.to_uppercase() } else { key.to_owned() };
        let shuffled = written(shuffled.map(|(key, value)| (cased(key), value)));

        let outcome = fixtures::read(&plain).map(|document| document.kind());
        let again = fixtures::read(&shuffled).map(|document| document.kind());
        prop_assert_eq!(without_position(&outcome), without_position(&again));

        let has = |key: &str| entries.contains_key(key);
        let config = entries.get("config");
        let stated = entries.get("mediaType").and_then(Value::as_str).map_or(Kind::Leaf, Kind::of);
        let is_descriptor = config.is_some_and(|it| it["mediaType"].is_string() && it["digest"].is_string());
        let labels = config.is_some_and(|it| it["Labels"].is_object());
        if has("fsLayers") {
            prop_assert_eq!(&outcome, &Err(ReadError::Schema1));
        }
        // If Go could read labels or diff IDs from a body, it is a config or refused.
        if labels || has("rootfs") {
            prop_assert!(!matches!(outcome, Ok(Kind::Index | Kind::Manifest)));
        }
        match outcome {
            // What containerd's `validateMediaType` requires of an index and of a manifest.
            Ok(Kind::Index) => {
                prop_assert!(!has("config") && !has("layers") && stated != Kind::Manifest);
            }
            Ok(Kind::Manifest) => prop_assert!(!has("manifests") && stated != Kind::Index),
            Ok(Kind::Config) => {
                prop_assert!(!has("manifests") && !has("layers") && !is_descriptor);
                prop_assert!(matches!(stated, Kind::Config | Kind::Leaf));
            }
            Ok(kind @ (Kind::Schema1 | Kind::Leaf)) => prop_assert!(false, "{kind}"),
            // Go cannot read labels or diff IDs from a torn document.
            Err(error) if error.is_torn() => {
                let is_refused_as_config = config.is_some_and(Value::is_array);
                prop_assert!(is_refused_as_config || (!labels && !has("rootfs")), "{error}");
            }
            Err(_) => {}
        }
    }
}
