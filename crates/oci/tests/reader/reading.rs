//! Reading with all checks: size, digest and shape.

use reclaim_model::Digest;
use reclaim_oci::{Document, Kind, LabelKeys, Limits, ReadError, digest_of};

use crate::fixtures::{self, bytes};

fn read(
    digest: &Digest,
    size: Option<u64>,
    body: &[u8],
    limits: &Limits,
) -> Result<Document, ReadError> {
    reclaim_oci::read(digest, size, body, limits, &LabelKeys::default())
}

#[test]
fn reads_each_kind_and_counts_its_children() {
    let limits = Limits::default();
    for (kind, document, n_children) in [
        (Kind::Index, fixtures::buildkit_index(), 3),
        (Kind::Manifest, fixtures::oci_manifest(), 3),
        (Kind::Config, fixtures::image_config(), 0),
    ] {
        let body = bytes(&document);
        let size = Some(body.len() as u64);
        let document = read(&digest_of(&body), size, &body, &limits).unwrap();
        assert_eq!(document.kind(), kind);
        assert_eq!(document.children().count(), n_children, "{kind}");
    }
}

#[test]
fn checks_the_size_before_the_digest_and_the_digest_before_the_shape() {
    let limits = Limits::default();
    let body = b"not json";
    let elsewhere = fixtures::digest("elsewhere");
    assert_eq!(
        read(&elsewhere, Some(9), body, &limits),
        Err(ReadError::WrongSize {
            expected: 9,
            got: 8
        })
    );
    assert_eq!(
        read(&elsewhere, Some(8), body, &limits),
        Err(ReadError::WrongDigest {
            got: digest_of(body)
        })
    );
    let error = read(&digest_of(body), Some(8), body, &limits).unwrap_err();
    assert!(
        error.to_string().starts_with("not JSON: expected"),
        "{error}"
    );
}

#[test]
fn verifies_sha512_documents() {
    // The SHA-512 of `{}`, computed with Python's hashlib.
    let digest: Digest = "sha512:27c74670adb75075fad058d5ceaf7b20c4e7786c83bae8a32f626f9782af34c9a33c2046ef60fd2a7878d378e29fec851806bbd9a67878f3a9f1cda4830763fd"
        .parse()
        .unwrap();
    let limits = Limits::default();
    assert!(read(&digest, Some(2), b"{}", &limits).is_ok());
    assert!(read(&digest, Some(2), b"[]", &limits).is_err());
}

#[test]
fn the_size_limit_depends_on_the_kind() {
    let limits = Limits {
        max_manifest_bytes: 17,
        max_config_bytes: 18,
        ..Limits::default()
    };
    let read = |body: &[u8]| read(&digest_of(body), None, body, &limits);
    let too_large = |limit, got| Err(ReadError::TooLarge { limit, got });
    assert!(read(br#"{"manifests":[] }"#).is_ok());
    assert_eq!(read(br#"{"manifests": [] }"#), too_large(17, 18));
    assert_eq!(read(br#"{"layers":      []}"#), too_large(18, 19));
    assert!(read(br#"{"rootfs":   null}"#).is_ok());
    assert_eq!(read(br#"{"rootfs":    null}"#), too_large(18, 19));
}

#[test]
fn reads_as_many_children_and_diff_ids_as_the_bytes_hold() {
    let digest = fixtures::digest("same").to_string();
    let layers = serde_json::json!({"layers": vec![serde_json::json!({"digest": digest}); 20_000]});
    let Ok(document) = fixtures::read(&bytes(&layers)) else {
        panic!("20,000 layers are too many");
    };
    assert_eq!(document.children().count(), 20_000);
    let config = serde_json::json!({"rootfs": {"diff_ids": vec![digest; 20_000]}});
    let Ok(Document::Config(config)) = fixtures::read(&bytes(&config)) else {
        panic!("20,000 diff IDs are too many");
    };
    assert_eq!(config.diff_ids.len(), 20_000);
}
