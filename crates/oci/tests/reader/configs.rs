//! Image configs.

use reclaim_oci::{Document, ImageConfig, ReadError, chain_ids, top_chain_id};
use serde_json::{Value, json};

use crate::fixtures::{self, bytes, digest};

fn read(document: &Value) -> ImageConfig {
    read_bytes(&bytes(document)).unwrap()
}

fn read_bytes(body: &[u8]) -> Result<ImageConfig, ReadError> {
    match fixtures::read(body)? {
        Document::Config(config) => Ok(config),
        other @ (Document::Index(_) | Document::Manifest(_)) => {
            panic!("{} is read as {other:?}", String::from_utf8_lossy(body))
        }
    }
}

#[test]
fn reads_labels_diff_ids_and_platform() {
    let config = read(&fixtures::image_config());
    let labels: Vec<(&str, &str)> = config
        .labels
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    assert_eq!(labels, [("keep", ""), ("maintainer", "someone")]);
    assert_eq!(config.diff_ids, [digest("diff-1"), digest("diff-2")]);
    assert_eq!(config.platform.unwrap().to_string(), "linux/arm64/v8");
    assert_eq!(
        config.created.as_deref(),
        Some("2025-11-04T10:20:30.405060708Z")
    );
    let chain = chain_ids(&config.diff_ids);
    assert_eq!(chain.len(), 2);
    assert_eq!(top_chain_id(&config.diff_ids).as_ref(), chain.last());
}

#[test]
fn missing_keys_are_empty() {
    for config in [
        json!(null),
        json!({}),
        json!({"config": null, "rootfs": null, "os": null, "created": null}),
        json!({"config": {}, "rootfs": {}}),
        json!({"config": {"Labels": null}, "rootfs": {"type": "layers", "diff_ids": null}}),
        json!({"config": {"Labels": {}}, "rootfs": {"diff_ids": []}, "history": 3}),
        json!({"os": 1, "architecture": [], "variant": {}, "created": false}),
    ] {
        assert_eq!(read(&config), ImageConfig::default(), "{config}");
    }
}

#[test]
fn reads_keys_in_any_case() {
    let config = read(&json!({
        "Config": {"labels": {"Key": "Value", "key": "value"}},
        "RootFS": {"Diff_IDs": [digest("diff-3").to_string()]},
    }));
    assert_eq!(config.diff_ids, [digest("diff-3")]);
    assert_eq!(config.labels["Key"], "Value");
    assert_eq!(config.labels["key"], "value");
}

#[test]
fn takes_the_last_value_of_a_label_written_twice() {
    let config = read_bytes(br#"{"config": {"Labels": {"a": "1", "a": "2"}}}"#).unwrap();
    assert_eq!(config.labels["a"], "2");
}

#[test]
fn refuses_labels_and_diff_ids_of_other_types() {
    let good = digest("diff-4").to_string();
    for config in [
        json!({"config": []}),
        json!({"config": "text"}),
        json!({"config": {"Labels": []}}),
        json!({"config": {"Labels": ["a=b"]}}),
        json!({"config": {"Labels": "a=b"}}),
        json!({"config": {"Labels": {"a": 1}}}),
        json!({"config": {"Labels": {"a": ["b"]}}}),
        json!({"rootfs": []}),
        json!({"rootfs": {"diff_ids": good}}),
        json!({"rootfs": {"diff_ids": {"0": good}}}),
        json!([]),
        json!("{}"),
    ] {
        let error = read_bytes(&bytes(&config)).unwrap_err();
        assert!(
            matches!(error, ReadError::Malformed { .. }),
            "{config}: {error}"
        );
    }
}

#[test]
fn refuses_what_go_reads_differently() {
    let good = digest("diff-4").to_string();
    for twice in [
        json!({"config": {"Labels": {"a": "b"}, "labels": {}}}),
        json!({"config": {"Labels": {"a": "b"}, "label\u{17f}": null}}),
    ] {
        let error = read_bytes(&bytes(&twice)).unwrap_err();
        assert_eq!(error, ReadError::DuplicateKey("Labels"), "{twice}");
    }
    for (diff_id, got) in [
        (json!(null), ""),
        (json!("sha256:00"), "sha256:00"),
        (json!(good.to_uppercase()), good.to_uppercase().as_str()),
    ] {
        let config = json!({"rootfs": {"diff_ids": [good, diff_id]}});
        let error = read_bytes(&bytes(&config)).unwrap_err();
        assert_eq!(error, ReadError::BadDigest(got.to_owned()), "{config}");
    }
}

#[test]
fn reads_a_label_that_is_null_as_empty() {
    let config = read_bytes(br#"{"config": {"Labels": {"a": null, "b": "1", "b": null}}}"#);
    let labels = config.unwrap().labels;
    assert_eq!(labels["a"], "");
    assert_eq!(labels["b"], "");
}

#[test]
fn quotes_a_value_on_one_short_line() {
    let label = "\u{1b}]0;\n".repeat(9_999);
    let config = json!({"rootfs": {"diff_ids": [label]}});
    let text = read_bytes(&bytes(&config)).unwrap_err().to_string();
    assert!(text.len() < 2_000, "{}", text.len());
    assert!(!text.contains(char::is_control), "{text}");
}

#[test]
fn survives_deep_nesting() {
    let nest = |key: &str, depth: usize| {
        let (open, close) = ("[".repeat(depth), "]".repeat(depth));
        format!("{{\"{key}\": {open}{close}}}")
    };
    // The decoder recurses only into values that are read, and to a limited depth.
    assert_eq!(
        read_bytes(nest("history", 1_000_000).as_bytes()),
        Ok(ImageConfig::default())
    );
    for key in ["config", "rootfs"] {
        let error = read_bytes(nest(key, 1_000_000).as_bytes()).unwrap_err();
        assert!(matches!(error, ReadError::Malformed { .. }), "{error}");
    }
    for key in ["os", "created"] {
        assert!(read_bytes(nest(key, 1_000_000).as_bytes()).is_ok(), "{key}");
    }
}
