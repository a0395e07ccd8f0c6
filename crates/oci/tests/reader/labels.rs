//! The labels that a config keeps.

use std::fmt::Write;

use proptest::collection::vec;
use proptest::prelude::*;
use reclaim_oci::{Document, ImageConfig, LabelKeys, Limits, digest_of};
use serde_json::json;

use crate::fixtures::bytes;

/// The bytes that the map uses for one label in addition to key and value.
const OVERHEAD: usize = 48;

fn read(body: &[u8], max_label_bytes: usize, wanted: &[&str]) -> ImageConfig {
    let limits = Limits {
        max_label_bytes,
        ..Limits::default()
    };
    let wanted: LabelKeys = wanted.iter().map(|key| (*key).to_owned()).collect();
    match reclaim_oci::read(&digest_of(body), None, body, &limits, &wanted) {
        Ok(Document::Config(config)) => config,
        other => panic!("read as {other:?}"),
    }
}

/// Writes a config with these labels in this order, with repetitions.
fn config(labels: &[(&str, &str)]) -> Vec<u8> {
    let labels: Vec<String> = labels
        .iter()
        .map(|(key, value)| format!("{}: {}", json!(key), json!(value)))
        .collect();
    format!(r#"{{"config": {{"Labels": {{{}}}}}}}"#, labels.join(", ")).into_bytes()
}

fn keys(config: &ImageConfig) -> Vec<&str> {
    config.labels.keys().map(String::as_str).collect()
}

#[test]
fn keeps_labels_in_order_up_to_the_bound() {
    let body = config(&[("c", "1"), ("b", "22"), ("a", "3")]);
    let sum = 3 * OVERHEAD + 7;
    for (bound, kept, left_out) in [
        (sum, vec!["a", "b", "c"], 0),
        (sum - 1, vec!["b", "c"], 1),
        (2 * OVERHEAD + 5, vec!["b", "c"], 1),
        (2 * OVERHEAD + 4, vec!["c"], 2),
        (0, vec![], 3),
    ] {
        let config = read(&body, bound, &[]);
        assert_eq!(keys(&config), kept, "{bound}");
        assert_eq!(config.labels_left_out, left_out, "{bound}");
    }
}

#[test]
fn keeps_no_label_after_one_that_does_not_fit() {
    let long = "x".repeat(200);
    let body = config(&[("a", "1"), ("b", &long), ("c", "3")]);
    let config = read(&body, 200, &[]);
    assert_eq!(keys(&config), ["a"]);
    assert_eq!(config.labels_left_out, 2);
}

#[test]
fn always_keeps_requested_labels() {
    let long = "x".repeat(100_000);
    let body = config(&[("a", "1"), ("wanted", &long), ("late", "2"), (&long, "3")]);
    let config = read(&body, 0, &["wanted", "late", "absent", &long]);
    assert_eq!(config.labels["wanted"], long);
    assert_eq!(config.labels["late"], "2");
    assert_eq!(config.labels[&long], "3");
    assert_eq!(config.labels.len(), 3);
    assert_eq!(config.labels_left_out, 1);
}

#[test]
fn always_keeps_the_project_and_the_service() {
    let long = "x".repeat(100_000);
    let project = "com.docker.compose.project";
    let service = "com.docker.compose.service";
    let body = config(&[("a", &long), (project, "shop"), (service, &long)]);
    let config = read(&body, 0, &[]);
    assert_eq!(keys(&config), [project, service]);
    assert_eq!(config.labels[service], long);
    assert_eq!(config.labels_left_out, 1);
}

#[test]
fn other_labels_do_not_displace_those_of_compose() {
    let long = "x".repeat(200);
    let version = "com.docker.compose.version";
    let mut labels = vec![("a", long.as_str()); 50];
    labels.push((version, "2"));
    labels.push(("com.docker.composer", "not it"));
    let kept = read(&config(&labels), 200, &[]);
    assert_eq!(keys(&kept), [version]);
    assert_eq!(kept.labels_left_out, 51);
    // Labels of Compose are limited, too.
    labels.push(("com.docker.compose.x", &long));
    let kept = read(&config(&labels), 200, &[]);
    assert_eq!(keys(&kept), [version]);
    assert_eq!(kept.labels_left_out, 52);
}

#[test]
fn does_not_keep_an_earlier_value_of_a_label() {
    let long = "x".repeat(200);
    let body = config(&[("a", "old"), ("b", "1"), ("a", &long)]);
    let config = read(&body, 200, &[]);
    assert_eq!(keys(&config), ["b"]);
    assert_eq!(config.labels_left_out, 1);
    let config = read(&body, 200, &["a"]);
    assert_eq!(config.labels["a"], long);
    assert_eq!(config.labels_left_out, 0);
}

#[test]
fn reads_an_image_with_more_labels_than_are_kept() {
    let mut labels = String::new();
    for number in 0..5_000 {
        let value = "v".repeat(number % 100);
        write!(labels, r#""label-{number}": "{value}","#).unwrap();
    }
    let body = format!(r#"{{"config": {{"Labels": {{{labels} "keep": "1"}}}}}}"#).into_bytes();
    let config = read(&body, Limits::default().max_label_bytes, &["keep"]);
    assert_eq!(config.labels["keep"], "1");
    assert_eq!(config.labels.len() + config.labels_left_out, 5_001);
    assert!(config.labels_left_out > 4_000);
}

#[test]
fn refuses_a_malformed_label_even_if_it_is_left_out() {
    for value in [json!(1), json!(["b"]), json!({}), json!(true)] {
        let body = bytes(&json!({"config": {"Labels": {"a": "1", "b": value}}}));
        let limits = Limits {
            max_label_bytes: 0,
            ..Limits::default()
        };
        let none = LabelKeys::default();
        let error = reclaim_oci::read(&digest_of(&body), None, &body, &limits, &none).unwrap_err();
        assert!(error.is_torn(), "{value}: {error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn keeps_the_last_value_or_none_and_counts_the_rest(
        labels in vec(("[a-d\u{e9}]{1,2}", "[x\n\u{e9}]{0,20}"), 0..12),
        bound in 0..600_usize,
        wanted in "[a-d]{1}",
    ) {
        let labels: Vec<(&str, &str)> =
            labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let kept = read(&config(&labels), bound, &[&wanted]);
        let all: std::collections::BTreeMap<&str, &str> = labels.iter().copied().collect();
        let mut bytes = 0;
        for (key, value) in &kept.labels {
            prop_assert_eq!(all.get(key.as_str()), Some(&value.as_str()));
            if *key != wanted {
                bytes += key.len() + value.len() + OVERHEAD;
            }
        }
        prop_assert!(bytes <= bound);
        prop_assert_eq!(kept.labels.contains_key(&wanted), all.contains_key(wanted.as_str()));
        // A repeated label counts each time, so more may be left out than are missing.
        prop_assert!(kept.labels.len() + kept.labels_left_out >= all.len());
        prop_assert!(kept.labels.len() + kept.labels_left_out <= labels.len());
        prop_assert_eq!(kept.labels_left_out == 0, kept.labels.len() == all.len());
    }
}
