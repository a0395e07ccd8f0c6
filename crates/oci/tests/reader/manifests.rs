//! Manifests of images and of artifacts.

use reclaim_oci::{Document, Kind, Manifest, ReadError};
use serde_json::{Value, json};

use crate::fixtures::{self, bytes, descriptor};

fn read(document: &Value) -> Manifest {
    match fixtures::read(&bytes(document)) {
        Ok(Document::Manifest(manifest)) => manifest,
        other => panic!("{document} is read as {other:?}"),
    }
}

/// Returns the names of the blobs in walk order, found by their digests among `names`.
fn walk<'a>(manifest: Manifest, names: &[&'a str]) -> Vec<&'a str> {
    Document::Manifest(manifest)
        .children()
        .map(|child| {
            let is_it = |name: &&&str| fixtures::digest(name) == child.digest;
            *names.iter().find(is_it).unwrap()
        })
        .collect()
}

#[test]
fn walks_the_config_and_then_the_layers() {
    let manifest = read(&fixtures::oci_manifest());
    let config = manifest.config.as_ref().unwrap();
    assert_eq!(config.kind(), Kind::Config);
    assert_eq!(config.size, 1470);
    assert_eq!(
        walk(manifest, &["app", "base", "config"]),
        ["config", "base", "app"]
    );
}

#[test]
fn reads_docker_schema_2_with_foreign_layers() {
    let manifest = read(&fixtures::docker_manifest());
    assert_eq!(manifest.config.as_ref().unwrap().kind(), Kind::Config);
    assert_eq!(manifest.layers[1].size, 1_612_893_008);
    assert_eq!(
        walk(manifest, &["foreign", "docker-base", "docker-config"]),
        ["docker-config", "docker-base", "foreign"]
    );
}

#[test]
fn reads_artifacts_whose_config_is_a_leaf() {
    let chart = read(&fixtures::helm_manifest());
    assert_eq!(chart.config.as_ref().unwrap().kind(), Kind::Leaf);
    assert_eq!(walk(chart, &["chart", "tgz"]), ["chart", "tgz"]);

    let signature = read(&fixtures::cosign_manifest());
    assert_eq!(signature.config.as_ref().unwrap().kind(), Kind::Leaf);
    assert_eq!(walk(signature, &["{}", "sig"]), ["{}", "sig"]);
}

#[test]
fn missing_layers_are_empty() {
    for layers in [json!(null), json!([])] {
        let mut manifest = fixtures::oci_manifest();
        manifest["layers"] = layers;
        assert_eq!(read(&manifest).layers, []);
    }
    let config = descriptor(fixtures::OCI_CONFIG, "only", 41);
    assert_eq!(read(&json!({"config": config})).layers, []);
}

#[test]
fn tolerates_unknown_keys_and_reads_known_ones_in_any_case() {
    let mut manifest = fixtures::oci_manifest();
    manifest["x-builder"] = json!({"deep": [[[1]]]});
    let layers = manifest["layers"].take();
    manifest.as_object_mut().unwrap().remove("layers");
    manifest["Layers"] = layers;
    assert_eq!(read(&manifest), read(&fixtures::oci_manifest()));
}

#[test]
fn reads_a_manifest_whose_config_names_no_blob() {
    for config in [
        json!(null),
        json!({}),
        json!({"mediaType": fixtures::OCI_CONFIG}),
    ] {
        let manifest = json!({"config": config, "layers": []});
        assert_eq!(read(&manifest), Manifest::default(), "{manifest}");
    }
    assert_eq!(read(&json!({"layers": null})), Manifest::default());
}

#[test]
fn refuses_duplicate_keys_and_trailing_bytes() {
    let text = String::from_utf8(bytes(&fixtures::oci_manifest())).unwrap();
    let twice = text.replacen('{', r#"{"layers": [],"#, 1);
    let trailing = format!("{text}\n{text}");
    let error = fixtures::read(twice.as_bytes()).unwrap_err();
    assert_eq!(error, ReadError::DuplicateKey("layers"));
    for body in [trailing, text.replacen('{', "[", 1)] {
        let error = fixtures::read(body.as_bytes()).unwrap_err();
        assert!(matches!(error, ReadError::NotJson { .. }), "{error}");
    }
    let error = fixtures::read(format!("[{text}]").as_bytes()).unwrap_err();
    assert!(matches!(error, ReadError::Malformed { .. }), "{error}");
    fixtures::read(format!(" {text}\n").as_bytes()).unwrap();
}
