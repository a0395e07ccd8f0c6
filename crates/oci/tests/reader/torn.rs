//! Which bodies Go refuses, too.
//!
//! The expected results are those of `encoding/json` of Go 1.19 with image-spec 1.1's type of the
//! body's kind: `Index`, `Manifest` or `Image`.

use reclaim_model::Digest;
use reclaim_oci::{LabelKeys, Limits, ReadError, digest_of};

use crate::fixtures;

/// Bodies that Go refuses, with its reason.
const REFUSED: [(&str, &str); 27] = [
    ("", "unexpected end of JSON input"),
    (r#"{"manifests": []"#, "unexpected end of JSON input"),
    ("{} {}", "invalid character '{' after top-level value"),
    (
        "{'manifests': []}",
        "invalid character '\\'' looking for beginning of object key string",
    ),
    (
        "{\"a\": \"\n\"}",
        "invalid character '\\n' in string literal",
    ),
    (
        r#"{"a": "\x"}"#,
        "invalid character 'x' in string escape code",
    ),
    (
        "[]",
        "cannot unmarshal array into Go value of type v1.Image",
    ),
    (
        "\"text\"",
        "cannot unmarshal string into Go value of type v1.Image",
    ),
    (
        r#"{"manifests": {}}"#,
        "cannot unmarshal object into manifests of type []Descriptor",
    ),
    (
        r#"{"manifests": [[]]}"#,
        "cannot unmarshal array into manifests of type Descriptor",
    ),
    (
        r#"{"manifests": [], "mediaType": 1}"#,
        "cannot unmarshal number into mediaType",
    ),
    (
        r#"{"manifests": [], "schemaVersion": "2"}"#,
        "cannot unmarshal string into schemaVersion",
    ),
    (
        r#"{"manifests": [{"size": "1"}]}"#,
        "cannot unmarshal string into size of type int64",
    ),
    (
        r#"{"manifests": [{"size": 1.0}]}"#,
        "cannot unmarshal number 1.0 into size",
    ),
    (
        r#"{"manifests": [{"size": 9223372036854775808}]}"#,
        "cannot unmarshal number 9223372036854775808 into size",
    ),
    (
        r#"{"manifests": [{"digest": 1}]}"#,
        "cannot unmarshal number into digest",
    ),
    (
        r#"{"manifests": [{"mediaType": []}]}"#,
        "cannot unmarshal array into mediaType",
    ),
    (
        r#"{"manifests": [{"annotations": "a"}]}"#,
        "cannot unmarshal string into annotations of type map[string]string",
    ),
    (
        r#"{"manifests": [{"platform": "linux"}]}"#,
        "cannot unmarshal string into platform",
    ),
    (
        r#"{"layers": [], "mediaType": 1}"#,
        "cannot unmarshal number into mediaType",
    ),
    (
        r#"{"layers": [], "schemaVersion": "2"}"#,
        "cannot unmarshal string into schemaVersion",
    ),
    (
        r#"{"layers": "none"}"#,
        "cannot unmarshal string into layers of type []Descriptor",
    ),
    (
        r#"{"layers": [], "config": "none"}"#,
        "cannot unmarshal string into config",
    ),
    (
        r#"{"config": [], "rootfs": {}}"#,
        "cannot unmarshal array into config of type ImageConfig",
    ),
    (
        r#"{"config": {"Labels": {"a": 1}}}"#,
        "cannot unmarshal number into Labels of type string",
    ),
    (
        r#"{"config": {"Labels": ["a"]}}"#,
        "cannot unmarshal array into Labels",
    ),
    (
        r#"{"rootfs": {"diff_ids": "sha256:"}}"#,
        "cannot unmarshal string into diff_ids of type []digest.Digest",
    ),
];

/// Bodies that Go reads and only Reclaim refuses.
const READ: [(&str, &str); 18] = [
    (
        r#"{"manifests": [], "manifests": []}"#,
        "takes the last list",
    ),
    (
        r#"{"config": {"Labels": {}, "labels": {}}}"#,
        "merges the labels",
    ),
    (
        r#"{"layers": [{"size": 1, "Size": 2}]}"#,
        "takes the last number",
    ),
    (r#"{"rootfs": null, "rootfs": {}}"#, "merges the objects"),
    (
        r#"{"manifests": [{"digest": "sha256:00"}]}"#,
        "takes any text for a digest",
    ),
    (
        r#"{"layers": [{"digest": "md5:d41d8cd98f00b204e9800998ecf8427e"}]}"#,
        "takes any text",
    ),
    (
        r#"{"rootfs": {"diff_ids": [null]}}"#,
        "reads the empty digest",
    ),
    (
        r#"{"rootfs": {"diff_ids": [""]}}"#,
        "reads the empty digest",
    ),
    (
        r#"{"manifests": [], "layers": []}"#,
        "reads either; containerd refuses it",
    ),
    (
        r#"{"manifests": [], "config": null}"#,
        "reads either; containerd refuses it",
    ),
    (
        r#"{"layers": [], "rootfs": {}}"#,
        "reads a manifest and a config in it",
    ),
    (
        r#"{"layers": [], "config": {"Labels": {"a": "b"}}}"#,
        "reads both in it",
    ),
    (
        r#"{"rootfs": {}, "mediaType": "application/vnd.oci.image.manifest.v1+json"}"#,
        "reads a config, and a manifest without layers",
    ),
    (
        r#"{"fsLayers": [], "schemaVersion": 1}"#,
        "reads an empty manifest; containerd refuses it",
    ),
    (
        r#"{"mediaType": "application/vnd.docker.distribution.manifest.v1+json"}"#,
        "reads an empty manifest",
    ),
    (
        r#"{"rootfs": {}, "schemaVersion": 1e999}"#,
        "ignores what a config does not have",
    ),
    (
        r#"{"rootfs": {}, "os": "\ud800"}"#,
        "reads a replacement character",
    ),
    (
        r#"{"rootfs": {}, "mediaType": 1e999}"#,
        "ignores what a config does not have",
    ),
];

fn error_of(body: &[u8]) -> ReadError {
    match fixtures::read(body) {
        Err(error) => error,
        Ok(document) => panic!("{}: {document:?}", String::from_utf8_lossy(body)),
    }
}

#[test]
fn a_body_that_go_refuses_is_torn() {
    for (body, reason) in REFUSED {
        let error = error_of(body.as_bytes());
        assert!(error.is_torn(), "{body}: Go: {reason}; here: {error}");
    }
}

#[test]
fn a_body_that_only_reclaim_refuses_is_not_torn() {
    for (body, reason) in READ {
        let error = error_of(body.as_bytes());
        assert!(!error.is_torn(), "{body}: Go {reason}; here: {error}");
    }
    let error = error_of(b"{\"rootfs\": {}, \"os\": \"\xff\"}");
    assert!(
        !error.is_torn(),
        "Go reads a replacement character; here: {error}"
    );
}

#[test]
fn a_body_that_reclaim_refuses_earlier_than_go_is_not_torn() {
    for body in [
        r#"{"layers": [{"digest": "sha256:00"}], "config": 7}"#,
        r#"{"manifests": [{"size": 1, "size": 2}, {"size": "3"}]}"#,
    ] {
        assert!(!error_of(body.as_bytes()).is_torn(), "{body}");
    }
}

#[test]
fn wrong_bytes_are_torn_and_bodies_beyond_a_limit_are_not() {
    let body = br#"{"manifests": []}"#;
    let size = body.len() as u64;
    let read = |digest: &Digest, size, limits: &Limits| {
        reclaim_oci::read(digest, size, body, limits, &LabelKeys::default()).unwrap_err()
    };
    let limits = Limits::default();
    assert!(read(&digest_of(b"other"), Some(size), &limits).is_torn());
    assert!(read(&digest_of(b"other"), None, &limits).is_torn());
    for wrong in [0, size - 1, size + 1] {
        assert!(
            read(&digest_of(body), Some(wrong), &limits).is_torn(),
            "{wrong}"
        );
    }
    // A body beyond the size limit is not read, so it is unknown whether it is complete.
    for (max_manifest_bytes, max_config_bytes) in [(size - 1, size - 1), (size - 1, size)] {
        let limits = Limits {
            max_manifest_bytes,
            max_config_bytes,
            ..limits
        };
        assert!(!read(&digest_of(body), Some(size), &limits).is_torn());
    }
    assert!(!limits.check_size(u64::MAX).unwrap_err().is_torn());
    assert!(!limits.check_depth(usize::MAX).unwrap_err().is_torn());
}
