//! Tables of names, and what Docker makes of them.

use proptest::prelude::*;

use super::*;

const HEX: &str = "1a3f5e7d9c1b3a5f7e9d1c3b5a7f9e1d3c5b7a9f1e3d5d7c9b1a3f5e7d9c1b3a";

/// Typed text, domain, path, familiar form. Neither tag nor digest.
const NAMES: &[(&str, &str, &str, &str)] = &[
    ("alpine", "docker.io", "library/alpine", "alpine"),
    ("library/alpine", "docker.io", "library/alpine", "alpine"),
    ("docker.io/alpine", "docker.io", "library/alpine", "alpine"),
    (
        "index.docker.io/alpine",
        "docker.io",
        "library/alpine",
        "alpine",
    ),
    ("index.docker.io/a/b", "docker.io", "a/b", "a/b"),
    (
        "docker.io/library/a/b",
        "docker.io",
        "library/a/b",
        "library/a/b",
    ),
    ("docker.io:443/a", "docker.io:443", "a", "docker.io:443/a"),
    ("DOCKER.IO/a", "DOCKER.IO", "a", "DOCKER.IO/a"),
    (
        "other/library",
        "docker.io",
        "other/library",
        "other/library",
    ),
    (
        "192.168.0.1",
        "docker.io",
        "library/192.168.0.1",
        "192.168.0.1",
    ),
    ("192.168.0.1:8/a", "192.168.0.1:8", "a", "192.168.0.1:8/a"),
    ("localhost", "docker.io", "library/localhost", "localhost"),
    ("localhost/a", "localhost", "a", "localhost/a"),
    ("localhosts/a", "docker.io", "localhosts/a", "localhosts/a"),
    ("host:5000/a/b", "host:5000", "a/b", "host:5000/a/b"),
    ("FOO/bar", "FOO", "bar", "FOO/bar"),
    ("LOCALDOMAIN/a/b", "LOCALDOMAIN", "a/b", "LOCALDOMAIN/a/b"),
    (
        "[fc00::1]:5000/a",
        "[fc00::1]:5000",
        "a",
        "[fc00::1]:5000/a",
    ),
    ("[::1]/a", "[::1]", "a", "[::1]/a"),
    ("xn--n3h.com/a", "xn--n3h.com", "a", "xn--n3h.com/a"),
    ("quay.io/x", "quay.io", "x", "quay.io/x"),
    (
        "a---b/c__d.e_f",
        "docker.io",
        "a---b/c__d.e_f",
        "a---b/c__d.e_f",
    ),
    (
        "my_host.local/app",
        "",
        "my_host.local/app",
        "my_host.local/app",
    ),
    ("docker.io/a.b/c", "docker.io", "a.b/c", "a.b/c"),
];

#[test]
fn normalises_names() {
    for &(text, domain, path, familiar) in NAMES {
        let reference = Reference::parse_normalized(text).expect(text);
        assert_eq!(reference.domain(), domain, "{text}");
        assert_eq!(reference.path(), path, "{text}");
        assert_eq!(reference.familiar(), familiar, "{text}");
        assert_eq!(
            (reference.tag(), reference.digest()),
            (None, None),
            "{text}"
        );
        assert_eq!(reference.to_string(), reference.repository(), "{text}");
    }
}

#[test]
fn parses_tags_and_digests() {
    let at = format!("@sha256:{HEX}");
    let long_tag = "t".repeat(128);
    for (text, full) in [
        ("a:1", "docker.io/library/a:1".to_owned()),
        (
            "localhost:5000",
            "docker.io/library/localhost:5000".to_owned(),
        ),
        ("h:5/a:_x.Y-z", "h:5/a:_x.Y-z".to_owned()),
        (
            &format!("a:{long_tag}"),
            format!("docker.io/library/a:{long_tag}"),
        ),
        (&format!("a{at}"), format!("docker.io/library/a{at}")),
        (&format!("h:5/b/c:1{at}"), format!("h:5/b/c:1{at}")),
        (
            &format!("a@sha512:{HEX}{HEX}"),
            format!("docker.io/library/a@sha512:{HEX}{HEX}"),
        ),
        (
            "sha256:defcab",
            "docker.io/library/sha256:defcab".to_owned(),
        ),
        (
            &format!("docker.io/{HEX}"),
            format!("docker.io/library/{HEX}"),
        ),
        (&format!("{HEX}:1"), format!("docker.io/library/{HEX}:1")),
    ] {
        let reference = Reference::parse_normalized(text).expect(text);
        assert_eq!(reference.to_string(), full);
        let repository = full.split('@').next().unwrap();
        assert!(repository.starts_with(&reference.repository()), "{text}");
    }
    let both = Reference::parse_normalized(&format!("h:5/b/c:1{at}")).unwrap();
    assert_eq!(both.tag(), Some("1"));
    assert_eq!(both.digest().map(Digest::hex).as_deref(), Some(HEX));
}

#[test]
fn adds_the_default_tag_only_to_bare_names() {
    for (text, full) in [
        ("a", "docker.io/library/a:latest".to_owned()),
        ("a:1", "docker.io/library/a:1".to_owned()),
        (
            &format!("a@sha256:{HEX}"),
            format!("docker.io/library/a@sha256:{HEX}"),
        ),
    ] {
        let reference = Reference::parse_normalized(text).unwrap();
        assert_eq!(reference.with_default_tag().to_string(), full);
    }
}

#[test]
fn rejects_what_docker_rejects() {
    let of_a_digit = format!("a@256sha:{HEX}");
    let of_a_sign = format!("a@sha!256:{HEX}");
    for text in [
        "",
        &of_a_digit,
        &of_a_sign,
        "/",
        "a/",
        "/a",
        "a//b",
        "a:",
        "a@",
        ":1",
        "<none>",
        "<none>:<none>",
        "-a",
        "a-",
        "_a",
        "a_",
        "a..b",
        "a_.b",
        "a-.b",
        "a___b",
        "-a/b",
        "-a.io/b",
        "a-.io/b",
        "https://a.io/b",
        "[fc00::1]",
        "[fc00::1]:5000",
        "fc00::1:5000/a",
        "[fe80::1%eth0]/a",
        "[::192.0.2.3]/a",
        "[]:5/a",
        "[::1/a",
        "a.io:/b",
        "a.io:5x/b",
        "a:1:2",
        "a@b@c",
        "a:.x",
        "a:-x",
        "a b",
        "ä",
        "ä/a",
        "a:ä",
        "a\n",
        "moby-dangling@sha256:1234",
        "a/b@sha256:x/y",
    ] {
        let error = Reference::parse_normalized(text).expect_err(text);
        assert!(
            matches!(error, ReferenceError::Format(_)),
            "{text}: {error:?}"
        );
    }
}

#[test]
fn says_what_is_wrong_in_dockers_words() {
    for (text, message) in [
        (
            HEX,
            format!("invalid repository name ({HEX}), cannot specify 64-byte hexadecimal strings"),
        ),
        (
            "FOO",
            "invalid reference format: repository name (library/FOO) must be lowercase".into(),
        ),
        (
            "a/B:C",
            "invalid reference format: repository name (a/B) must be lowercase".into(),
        ),
        (":", "invalid reference format".into()),
        (
            &"a".repeat(300),
            "repository name must not be more than 255 characters".into(),
        ),
        (
            "Weird Name",
            "invalid reference format: repository name (library/Weird Name) must be lowercase"
                .into(),
        ),
        ("Foo_bar/x", "repository name must be lowercase".into()),
        (
            &format!("a@sha224:{HEX}"),
            "unsupported digest algorithm".into(),
        ),
        (
            &format!("a@sha256:{}", &HEX[1..]),
            "invalid checksum digest length".into(),
        ),
        (
            &format!("a@sha256:{}", HEX.to_uppercase()),
            "invalid checksum digest format".into(),
        ),
        (
            &format!("a:{}", "t".repeat(129)),
            "invalid reference format".into(),
        ),
    ] {
        let error = Reference::parse_normalized(text).expect_err(text);
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn counts_the_path_without_the_registry() {
    let path = "p".repeat(255);
    assert!(Reference::parse_normalized(&format!("example.com/{path}")).is_ok());
    let error = Reference::parse_normalized(&format!("example.com/{path}p")).unwrap_err();
    assert_eq!(error, ReferenceError::TooLong);
}

#[test]
fn shows_canonical_records_short_and_others_raw() {
    for (record, shown) in [
        ("docker.io/library/alpine:latest", "alpine:latest"),
        ("docker.io/library/alpine", "alpine"),
        ("docker.io/foo/bar:1", "foo/bar:1"),
        ("docker.io/library/sha256:defcab", "sha256:defcab"),
        ("quay.io/x:1", "quay.io/x:1"),
        (
            "index.docker.io/library/alpine:3",
            "index.docker.io/library/alpine:3",
        ),
        ("myimg", "myimg"),
        ("library/myimg:1", "library/myimg:1"),
        ("Weird Name", "Weird Name"),
        (HEX, HEX),
        ("", ""),
    ] {
        assert_eq!(familiar_name(record), shown);
    }
    let digested = format!("u@sha256:{HEX}");
    assert_eq!(
        familiar_name(&format!("docker.io/library/{digested}")),
        digested
    );
}

proptest! {
    #[test]
    fn never_panics(text in any::<String>()) {
        let shown = familiar_name(&text);
        prop_assert!(shown.len() <= text.len());
    }

    #[test]
    fn parses_its_full_form_back(
        text in "([a-zA-Z0-9.:_-]{1,8}/)?[a-z0-9._/-]{1,12}(:[a-z0-9._-]{1,4})?",
        digested in any::<bool>(),
    ) {
        let text = if digested { format!("{text}@sha256:{HEX}") } else { text };
        if let Ok(reference) = Reference::parse_normalized(&text) {
            let again = Reference::parse_normalized(&reference.to_string());
            prop_assert_eq!(again.as_ref(), Ok(&reference));
            prop_assert_eq!(familiar_name(&reference.to_string()), reference.familiar());
        }
    }
}
