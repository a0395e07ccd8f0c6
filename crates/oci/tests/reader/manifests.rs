//! Manifests of images and of artifacts.

use reclaim_oci::{Document, Kind, Manifest, ReadError, parse_index, parse_manifest};
use serde_json::{Value, json};

use crate::fixtures::{self, bytes, descriptor};

fn read(document: &Value) -> Manifest {
    parse_manifest(&bytes(document)).unwrap()
}

fn error_of(document: &Value) -> ReadError {
    parse_manifest(&bytes(document)).unwrap_err()
}

/// Names of the blobs in walk order, looked up among `names`.
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
    assert_eq!(manifest.config.kind(), Kind::Config);
    assert_eq!(manifest.config.size, 1470);
    assert_eq!(manifest.subject, None);
    assert_eq!(manifest.artifact_type, None);
    assert_eq!(
        walk(manifest, &["app", "base", "config"]),
        ["config", "base", "app"]
    );
}

#[test]
fn reads_docker_schema_2_with_foreign_layers() {
    let manifest = read(&fixtures::docker_manifest());
    assert_eq!(manifest.config.kind(), Kind::Config);
    assert_eq!(manifest.layers[1].size, 1_612_893_008);
    assert_eq!(
        walk(manifest, &["foreign", "docker-base", "docker-config"]),
        ["docker-config", "docker-base", "foreign"]
    );
}

#[test]
fn reads_artifacts_whose_config_is_a_leaf() {
    let chart = read(&fixtures::helm_manifest());
    assert_eq!(chart.config.kind(), Kind::Leaf);
    assert_eq!(walk(chart, &["chart", "tgz"]), ["chart", "tgz"]);

    let signature = read(&fixtures::cosign_manifest());
    assert_eq!(signature.config.kind(), Kind::Leaf);
    assert_eq!(
        signature.artifact_type.as_deref(),
        Some("application/vnd.dev.cosign.artifact.sig.v1+json")
    );
    let subject = signature.subject.clone().unwrap();
    assert_eq!(subject.digest, fixtures::digest("signed"));
    assert_eq!(walk(signature, &["{}", "sig"]), ["{}", "sig"]);
}

#[test]
fn takes_missing_layers_as_none() {
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
fn refuses_an_index_in_disguise() {
    let expected = Kind::Manifest;
    for (media_type, document) in [
        (fixtures::OCI_INDEX, fixtures::buildkit_index()),
        (fixtures::DOCKER_LIST, fixtures::docker_list()),
    ] {
        let got = media_type.to_owned();
        assert_eq!(
            error_of(&document),
            ReadError::WrongMediaType { expected, got }
        );
    }
    for value in [
        json!(null),
        json!([]),
        fixtures::buildkit_index()["manifests"].take(),
    ] {
        let mut manifest = fixtures::oci_manifest();
        manifest["manifests"] = value;
        let key = "manifests";
        assert_eq!(error_of(&manifest), ReadError::Ambiguous { expected, key });
        manifest["mediaType"] = json!(fixtures::OCI_INDEX);
        parse_index(&bytes(&manifest)).unwrap_err();
    }
}

#[test]
fn accepts_the_media_type_of_the_twin_and_refuses_every_other() {
    let mut manifest = fixtures::oci_manifest();
    manifest["mediaType"] = json!(fixtures::DOCKER_MANIFEST);
    read(&manifest);
    for media_type in [fixtures::OCI_CONFIG, fixtures::OCI_LAYER, "text/plain"] {
        manifest["mediaType"] = json!(media_type);
        let error = error_of(&manifest);
        assert!(matches!(error, ReadError::WrongMediaType { .. }), "{error}");
    }
    manifest["mediaType"] = json!(2);
    let error = error_of(&manifest);
    assert!(matches!(error, ReadError::Malformed { .. }), "{error}");
}

#[test]
fn refuses_schema_1_however_it_shows() {
    let schema_1 = json!({
        "schemaVersion": 1,
        "name": "library/busybox",
        "tag": "latest",
        "architecture": "amd64",
        "fsLayers": [{"blobSum": fixtures::digest("sum").to_string()}],
        "history": [{"v1Compatibility": "{}"}],
    });
    assert_eq!(error_of(&schema_1), ReadError::Schema1);
    let mut version = fixtures::oci_manifest();
    version["schemaVersion"] = json!(1);
    assert_eq!(error_of(&version), ReadError::Schema1);
    let mut layers = fixtures::oci_manifest();
    layers["fsLayers"] = json!(null);
    assert_eq!(error_of(&layers), ReadError::Schema1);
    let mut signed = fixtures::oci_manifest();
    signed["mediaType"] = json!("application/vnd.docker.distribution.manifest.v1+prettyjws");
    assert_eq!(error_of(&signed), ReadError::Schema1);
}

#[test]
fn refuses_a_schema_version_that_nobody_has_defined() {
    let mut manifest = fixtures::oci_manifest();
    manifest["schemaVersion"] = json!(3);
    assert_eq!(error_of(&manifest), ReadError::UnknownVersion(3));
}

#[test]
fn refuses_a_manifest_without_a_config() {
    for manifest in [json!({}), json!({"config": null}), json!({"layers": []})] {
        let error = error_of(&manifest);
        assert!(matches!(error, ReadError::Malformed { .. }), "{error}");
    }
}

#[test]
fn refuses_duplicate_keys_and_trailing_bytes() {
    let text = String::from_utf8(bytes(&fixtures::oci_manifest())).unwrap();
    let twice = text.replacen('{', r#"{"layers": [],"#, 1);
    let trailing = format!("{text}\n{text}");
    for body in [
        twice,
        trailing,
        text.replacen('{', "[", 1),
        format!("[{text}]"),
    ] {
        let error = parse_manifest(body.as_bytes()).unwrap_err();
        assert!(matches!(error, ReadError::Malformed { .. }), "{error}");
    }
    parse_manifest(format!(" {text}\n").as_bytes()).unwrap();
}
