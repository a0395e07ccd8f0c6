//! Reading with all checks: size, digest, shape, counts.

use reclaim_model::Digest;
use reclaim_oci::{Document, Kind, Limits, ReadError, digest_of, read};
use serde_json::json;

use crate::fixtures::{self, bytes, descriptor};

/// Reads a body under its own digest, without a known size.
fn read_as(kind: Kind, body: &[u8], limits: &Limits) -> Result<Document, ReadError> {
    read(kind, &digest_of(body), None, body, limits)
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
        let document = read(kind, &digest_of(&body), size, &body, &limits).unwrap();
        assert_eq!(document.children().count(), n_children, "{kind}");
    }
}

#[test]
fn checks_the_size_before_the_digest_and_the_digest_before_the_shape() {
    let limits = Limits::default();
    let body = b"not json";
    let elsewhere = fixtures::digest("elsewhere");
    assert_eq!(
        read(Kind::Index, &elsewhere, Some(9), body, &limits),
        Err(ReadError::WrongSize {
            expected: 9,
            got: 8
        })
    );
    assert_eq!(
        read(Kind::Index, &elsewhere, Some(8), body, &limits),
        Err(ReadError::WrongDigest {
            got: digest_of(body)
        })
    );
    let error = read(Kind::Index, &digest_of(body), Some(8), body, &limits).unwrap_err();
    assert!(
        error.to_string().starts_with("malformed index: expected"),
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
    assert!(read(Kind::Config, &digest, Some(2), b"{}", &limits).is_ok());
    assert!(read(Kind::Config, &digest, Some(2), b"[]", &limits).is_err());
}

#[test]
fn refuses_kinds_that_are_no_documents() {
    let limits = Limits::default();
    assert_eq!(
        read_as(Kind::Leaf, b"{}", &limits),
        Err(ReadError::NotADocument(Kind::Leaf))
    );
    assert_eq!(
        read_as(Kind::Schema1, b"{}", &limits),
        Err(ReadError::Schema1)
    );
}

#[test]
fn accepts_exactly_as_many_as_the_limits_allow() {
    let limits = Limits {
        max_children: 3,
        max_labels: 2,
        ..Limits::default()
    };
    let layer = |name: &str| descriptor(fixtures::OCI_LAYER, name, 51);
    let mut manifest = fixtures::oci_manifest();
    assert!(read_as(Kind::Manifest, &bytes(&manifest), &limits).is_ok());
    manifest["layers"] = json!([layer("a"), layer("b"), layer("c")]);
    let too_many = |what, limit, got| Err(ReadError::TooMany { what, limit, got });
    assert_eq!(
        read_as(Kind::Manifest, &bytes(&manifest), &limits),
        too_many("children", 3, 4)
    );

    let mut config = fixtures::image_config();
    assert!(read_as(Kind::Config, &bytes(&config), &limits).is_ok());
    config["config"]["Labels"]["third"] = json!("3");
    assert_eq!(
        read_as(Kind::Config, &bytes(&config), &limits),
        too_many("labels", 2, 3)
    );
    config["rootfs"]["diff_ids"] = json!(vec![fixtures::digest("same").to_string(); 5]);
    assert_eq!(
        read_as(Kind::Config, &bytes(&config), &limits),
        too_many("diff IDs", 3, 5)
    );
}

#[test]
fn bounds_the_body_by_kind() {
    let limits = Limits {
        max_manifest_bytes: 1,
        max_config_bytes: 2,
        ..Limits::default()
    };
    let kind = Kind::Index;
    assert_eq!(
        read_as(kind, b"{}", &limits),
        Err(ReadError::TooLarge {
            kind,
            limit: 1,
            got: 2
        })
    );
    assert!(read_as(Kind::Config, b"{}", &limits).is_ok());
    assert!(read_as(Kind::Config, b"{ }", &limits).is_err());
}
