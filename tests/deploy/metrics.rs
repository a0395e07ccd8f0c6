//! The dashboard and the alerts query metrics and labels that the daemon has.
use std::collections::{BTreeMap, BTreeSet};

use reclaim_api::metrics::FAMILIES;

use crate::read;

/// Suffixes that a histogram adds to its name.
const PARTS: [&str; 3] = ["_bucket", "_sum", "_count"];

/// Labels that Prometheus adds.
const ADDED: [&str; 2] = ["instance", "job"];

/// The metric that Prometheus adds for each scraped daemon.
const UP: &str = "up";

/// Returns the metrics of the daemon, and of its scrape, with their labels.
fn declared() -> BTreeMap<String, BTreeSet<&'static str>> {
    let of_scrape: (&str, &[&str]) = (UP, &[]);
    FAMILIES
        .iter()
        .chain([&of_scrape])
        .map(|(name, labels)| {
            let labels = labels.iter().copied().chain(ADDED);
            ((*name).to_owned(), labels.collect())
        })
        .collect()
}

/// Returns the queries of the dashboard and of the alerts.
fn queries() -> Vec<String> {
    let dashboard: serde_json::Value =
        serde_json::from_str(&read("deploy/grafana/reclaim.json")).unwrap();
    let mut found = Vec::new();
    collect(&dashboard, &mut found);
    let rules = read("deploy/prometheus/reclaim.rules.yaml");
    let expressions = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("expr: "));
    let before = found.len();
    found.extend(expressions.map(str::to_owned));
    assert!(before > 15 && found.len() - before == rules.matches("alert:").count());
    found
}

fn collect(value: &serde_json::Value, found: &mut Vec<String>) {
    if let Some(fields) = value.as_object() {
        for (name, value) in fields {
            match value.as_str() {
                Some(query) if matches!(name.as_str(), "expr" | "query" | "definition") => {
                    found.push(query.to_owned());
                }
                _ => collect(value, found),
            }
        }
    }
    for value in value.as_array().into_iter().flatten() {
        collect(value, found);
    }
}

/// Returns the metrics in a query, without the suffixes of a histogram.
fn names(query: &str) -> BTreeSet<&str> {
    query
        .split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
        .filter(|word| *word == UP || word.starts_with("reclaim_") || word.starts_with("process_"))
        .map(|name| {
            let stem = PARTS.iter().find_map(|part| name.strip_suffix(part));
            stem.filter(|stem| stem.ends_with("_seconds"))
                .unwrap_or(name)
        })
        .collect()
}

/// Returns the labels that a query matches and groups by.
fn labels(query: &str) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    for matchers in query.split('{').skip(1) {
        let (matchers, _) = matchers.split_once('}').unwrap();
        let labels = matchers
            .split(',')
            .filter_map(|matcher| matcher.split(['=', '!']).next());
        found.extend(labels.map(str::trim));
    }
    for grouping in query.split("by (").skip(1) {
        let (grouping, _) = grouping.split_once(')').unwrap();
        found.extend(grouping.split(',').map(str::trim));
    }
    found
}

#[test]
fn the_daemon_has_every_queried_metric_and_label() {
    let declared = declared();
    let mut queried = BTreeSet::new();
    for query in queries() {
        let names = names(&query);
        let mut known = BTreeSet::new();
        for name in &names {
            let labels = declared
                .get(*name)
                .unwrap_or_else(|| panic!("no metric {name}: {query}"));
            known.extend(labels.iter().copied());
            queried.insert((*name).to_owned());
        }
        for label in labels(&query) {
            assert!(
                known.contains(label),
                "{names:?} has no label {label}: {query}"
            );
        }
    }
    // Every metric is used.
    for name in declared.keys() {
        assert!(
            queried.contains(name),
            "{name} is neither on the dashboard nor in an alert"
        );
    }
}

#[test]
fn reads_names_and_labels_of_a_query() {
    let query = "histogram_quantile(0.5, sum by (le) (rate(reclaim_run_seconds_bucket{a=~\"b\",c!=\"d\"}[5m])))";
    assert_eq!(names(query), ["reclaim_run_seconds"].into());
    assert_eq!(labels(query), ["a", "c", "le"].into());
    assert_eq!(
        names("reclaim_images_kept + x == on (job) up"),
        ["reclaim_images_kept", "up"].into()
    );
}

/// Returns the names of the alerts in a text, each after `before`.
fn alerts<'t>(text: &'t str, before: &str) -> BTreeSet<&'t str> {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix(before))
        .filter_map(|rest| rest.split(',').next())
        .collect()
}

#[test]
fn each_alert_has_a_test_that_it_fires_and_one_that_it_does_not() {
    let rules = read("deploy/prometheus/reclaim.rules.yaml");
    let tests = ["daemon", "reclaim"]
        .map(|name| read(&format!("deploy/prometheus/{name}.rules.test.yaml")))
        .concat();
    let all = alerts(&rules, "- alert: ");
    assert!(all.len() > 30, "{all:?}");
    // In these files a test without alerts has one line.
    assert_eq!(alerts(&tests, "- alertname: "), all, "fires");
    assert_eq!(alerts(&tests, "- { alertname: "), all, "does not fire");
    let documented = read("docs/operations.md");
    for alert in all {
        assert!(documented.contains(&format!("`{alert}`")), "{alert}");
    }
}
