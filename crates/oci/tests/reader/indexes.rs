//! Indexes and manifest lists.

use reclaim_oci::{Document, Index, Kind, ReadError};
use serde_json::{Value, json};

use crate::fixtures::{self, bytes, descriptor};

fn read(document: &Value) -> Index {
    match fixtures::read(&bytes(document)) {
        Ok(Document::Index(index)) => index,
        other => panic!("{document} is read as {other:?}"),
    }
}

fn error_of(document: &Value) -> ReadError {
    fixtures::read(&bytes(document)).unwrap_err()
}

#[test]
fn reads_a_multi_platform_index_with_attestations() {
    let index = read(&fixtures::buildkit_index());
    let seen: Vec<_> = index
        .manifests
        .iter()
        .map(|manifest| {
            let platform = manifest.platform.as_ref().unwrap().to_string();
            (
                manifest.digest.clone(),
                manifest.size,
                platform,
                manifest.attestation,
            )
        })
        .collect();
    let unknown = "unknown/unknown".to_owned();
    assert_eq!(
        seen,
        [
            (
                fixtures::digest("amd64"),
                1234,
                "linux/amd64".to_owned(),
                false
            ),
            (
                fixtures::digest("arm"),
                1235,
                "linux/arm/v7".to_owned(),
                false
            ),
            (fixtures::digest("amd64-attestation"), 840, unknown, true),
        ]
    );
    assert!(
        index
            .manifests
            .iter()
            .all(|child| child.kind() == Kind::Manifest)
    );
    let document = Document::Index(index.clone());
    assert!(document.children().eq(&index.manifests));
}

#[test]
fn an_error_names_the_expected_type() {
    let error = error_of(&json!([])).to_string();
    assert!(error.contains("expected an object at"), "{error}");
    let mut index = fixtures::buildkit_index();
    index["manifests"][0]["annotations"] = json!("text");
    let error = error_of(&index).to_string();
    assert!(
        error.contains("expected an object of annotations"),
        "{error}"
    );
}

#[test]
fn reads_a_docker_manifest_list() {
    let index = read(&fixtures::docker_list());
    let [windows] = &index.manifests[..] else {
        panic!("one manifest is listed: {index:?}");
    };
    assert_eq!(windows.kind(), Kind::Manifest);
    assert_eq!(
        windows.platform.as_ref().unwrap().to_string(),
        "windows/amd64"
    );
}

#[test]
fn reads_an_attestation_whatever_the_value_of_its_annotation() {
    for value in [json!(""), json!("sbom"), json!(null), json!(["x"])] {
        let mut index = fixtures::docker_list();
        index["manifests"][0]["annotations"] =
            json!({"a": "b", "vnd.docker.reference.type": value, "x": "y"});
        assert!(read(&index).manifests[0].attestation);
    }
    for annotations in [
        json!(null),
        json!({}),
        json!({"Vnd.docker.reference.type": "x"}),
    ] {
        let mut index = fixtures::docker_list();
        index["manifests"][0]["annotations"] = annotations;
        assert!(!read(&index).manifests[0].attestation);
    }
}

#[test]
fn takes_an_empty_index_in_each_of_its_spellings() {
    for index in [
        json!({"schemaVersion": 2, "manifests": []}),
        json!({"schemaVersion": 2, "manifests": null}),
        json!({"mediaType": "", "manifests": []}),
        json!({"schemaVersion": 2}),
        json!({"schemaVersion": 0, "annotations": {}}),
        json!({"mediaType": fixtures::DOCKER_LIST}),
    ] {
        assert_eq!(read(&index).manifests, []);
    }
}

#[test]
fn keeps_the_platform_tolerant() {
    for platform in [
        json!(null),
        json!({}),
        json!({"os": 3, "architecture": ["x"]}),
    ] {
        let mut index = fixtures::docker_list();
        index["manifests"][0]["platform"] = platform;
        assert_eq!(read(&index).manifests[0].platform, None);
    }
}

#[test]
fn keeps_duplicates_in_order() {
    let twice = descriptor(fixtures::OCI_MANIFEST, "twice", 31);
    let other = descriptor(fixtures::OCI_INDEX, "other", 32);
    let index = json!({"manifests": [twice, other, twice]});
    let sizes: Vec<u64> = read(&index)
        .manifests
        .iter()
        .map(|child| child.size)
        .collect();
    assert_eq!(sizes, [31, 32, 31]);
}

#[test]
fn leaves_out_entries_that_name_no_blob() {
    let good = descriptor(fixtures::OCI_MANIFEST, "good", 33);
    let nameless = json!({"mediaType": fixtures::OCI_MANIFEST, "digest": "", "size": 1});
    let index = json!({"manifests": [null, good, {}, {"digest": null}, nameless]});
    let manifests = read(&index).manifests;
    assert_eq!(manifests.len(), 1);
    assert_eq!(manifests[0].digest, fixtures::digest("good"));
}

#[test]
fn reads_a_size_of_minus_zero_which_is_an_integer_to_go() {
    let digest = fixtures::digest("zero");
    let body = format!(r#"{{"manifests": [{{"digest": "{digest}", "size": -0}}]}}"#);
    let document = fixtures::read(body.as_bytes()).unwrap();
    assert_eq!(document.children().map(|child| child.size).max(), Some(0));
}

#[test]
fn reads_a_descriptor_with_nothing_but_a_digest() {
    let digest = fixtures::digest("bare");
    for entry in [
        json!({"digest": digest}),
        json!({"digest": digest, "size": null, "mediaType": null, "platform": null}),
        json!({"digest": digest, "size": -1, "mediaType": "", "annotations": null}),
    ] {
        let manifests = read(&json!({"manifests": [entry]})).manifests;
        assert_eq!(manifests[0].digest, digest);
        assert_eq!(manifests[0].size, 0);
        assert_eq!(manifests[0].kind(), Kind::Leaf);
        assert_eq!(manifests[0].platform, None);
    }
}

#[test]
fn refuses_malformed_descriptors() {
    let good = descriptor(fixtures::OCI_MANIFEST, "good", 33);
    let with = |key: &str, value: Value| {
        let mut bad = good.clone();
        bad[key] = value;
        json!({"manifests": [good, bad]})
    };
    for index in [
        json!({"manifests": [[fixtures::OCI_MANIFEST, "sha256:00", 1]]}),
        json!({"manifests": {"0": good}}),
        with("mediaType", json!(1)),
        with("digest", json!(1)),
        with("size", json!(1.5)),
        with("size", json!("33")),
        with("size", json!(i64::MAX as u64 + 1)),
        with("annotations", json!("text")),
        with("platform", json!("linux/amd64")),
    ] {
        let error = error_of(&index);
        assert!(
            matches!(error, ReadError::Malformed { .. }),
            "{index}: {error}"
        );
    }
    for digest in ["sha256:00".to_owned(), format!("md5:{}", "0".repeat(32))] {
        let error = error_of(&with("digest", json!(digest)));
        assert_eq!(error, ReadError::BadDigest(digest));
    }
    assert_eq!(
        error_of(&with("SIZE", json!(34))),
        ReadError::DuplicateKey("size")
    );
    let index = with("size", json!(i64::MAX));
    assert_eq!(read(&index).manifests[1].size, i64::MAX as u64);
}
