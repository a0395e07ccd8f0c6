//! The requests of the table.

use serde_json::{Value, json};

use super::VERSIONS;
use crate::daemon::form_urlencoded;

/// A request without a version.
pub(super) struct Row {
    pub(super) method: &'static str,
    pub(super) path: String,
    /// Whether some versions have another response.
    is_versioned: bool,
}

impl Row {
    /// Whether it is about disk usage.
    pub(super) fn is_usage(&self) -> bool {
        self.path.starts_with("/system/df")
    }

    /// Returns the minor versions in which it is sent: all, or the oldest and the newest.
    pub(super) fn versions(&self) -> impl Iterator<Item = u32> + use<> {
        let every = self.is_versioned;
        VERSIONS.filter(move |minor| every || minor == VERSIONS.start() || minor == VERSIONS.end())
    }
}

/// Digests and IDs that requests need.
pub(super) struct Images {
    /// The image that BuildKit made with an attestation.
    attested: String,
    /// One of its platforms.
    platform: String,
    /// Its name with its digest.
    by_digest: String,
    /// Its attestation.
    attestation: String,
    /// The image without a name.
    nameless: String,
    containers: Vec<String>,
}

impl Images {
    /// Finds them in Docker's lists.
    pub(super) fn of(images: &Value, containers: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let list = images.as_array().unwrap();
        let find = |is_it: &dyn Fn(&Value) -> bool| list.iter().find(|image| is_it(image)).unwrap();
        let attested = find(&|image| image["RepoTags"][0] == "attested:1");
        let nameless = find(&|image| image["RepoTags"] == json!([]));
        let manifest = |kind: &str| {
            let manifests = attested["Manifests"].as_array().unwrap();
            let found = manifests.iter().find(|manifest| manifest["Kind"] == kind);
            text(&found.unwrap()["ID"])
        };
        let containers = containers.as_array().unwrap();
        Self {
            attested: text(&attested["Id"]),
            platform: manifest("image"),
            attestation: manifest("attestation"),
            nameless: text(&nameless["Id"]),
            containers: containers.iter().map(|it| text(&it["Id"])).collect(),
            by_digest: format!("attested@{}", text(&attested["Id"])),
        }
    }

    /// Returns a name of each kind of image.
    fn names(&self) -> [&str; 11] {
        [
            "attested:1",
            "several:1",
            "whole:1",
            "classic:1",
            "pulled:1",
            "elsewhere:1",
            "plain:1",
            "keep:1",
            "odd:zero",
            "odd:without-config",
            &self.nameless,
        ]
    }

    /// Returns names and IDs in all other forms.
    fn other_names(&self) -> [&str; 7] {
        let id = &self.attested;
        [
            "attested:other",
            "quay.io/other/keep:one",
            "docker.io/library/attested:1",
            id,
            &id["sha256:".len()..][..12],
            &id["sha256:".len()..],
            &self.by_digest,
        ]
    }
}

/// Returns all rows.
pub(super) fn rows(images: &Images) -> Vec<Row> {
    let containers = || images.containers.iter().map(String::as_str);
    let versioned = [
        lists(),
        details(&images.names(), &["json", "json?manifests=1"]),
        vec!["/containers/json?all=1".to_owned()],
        container_details(containers().take(2)),
    ];
    let others = [
        filtered_lists(),
        details(&images.names(), &["history"]),
        details(&images.other_names(), &["json", "history"]),
        container_details(containers().skip(2)),
        errors(images),
        platforms(images),
    ];
    let read = |is_versioned: bool| {
        move |path| Row {
            method: "GET",
            path,
            is_versioned,
        }
    };
    let reads = versioned.into_iter().flatten().map(read(true));
    let reads = reads.chain(others.into_iter().flatten().map(read(false)));
    reads.chain(refused_removals(images)).collect()
}

fn filtered(path: &str, filters: &Value) -> String {
    let filters = form_urlencoded(&filters.to_string());
    format!("{path}?filters={filters}")
}

fn lists() -> Vec<String> {
    let images = [
        "",
        "?all=1",
        "?manifests=1",
        "?manifests=1&all=1",
        "?shared-size=1",
        "?digests=1",
        "?filter=attested",
        "?filter=attested&filters=%7B%22label%22%3A%5B%22a%3Db%22%5D%7D",
    ];
    let usage = ["", "?type=image", "?type=image&type=container"];
    let images = images.map(|query| format!("/images/json{query}"));
    let usage = usage.map(|query| format!("/system/df{query}"));
    images.into_iter().chain(usage).collect()
}

fn filtered_lists() -> Vec<String> {
    let filters = [
        json!({"dangling": ["true"]}),
        json!({"dangling": {"false": true}}),
        json!({"label": ["a=b"]}),
        json!({"label": ["several"], "reference": ["several"]}),
        json!({"label!": ["a=b"]}),
        json!({"reference": ["attested:*"]}),
        json!({"before": ["several:1"]}),
        json!({"since": ["attested:1"]}),
        json!({"until": ["1h"]}),
        json!({"until": ["0s"]}),
    ];
    filters
        .iter()
        .map(|filters| filtered("/images/json", filters))
        .collect()
}

fn details(names: &[&str], whats: &[&str]) -> Vec<String> {
    let mut paths = Vec::new();
    for name in names {
        paths.extend(whats.iter().map(|what| format!("/images/{name}/{what}")));
    }
    paths
}

fn container_details<'a>(ids: impl Iterator<Item = &'a str>) -> Vec<String> {
    ids.map(|id| format!("/containers/{id}/json")).collect()
}

/// Requests that fail in every version, or name no image.
fn errors(images: &Images) -> Vec<String> {
    let mut paths = vec![
        "/system/df?type=unknown".to_owned(),
        "/containers/json".to_owned(),
        "/containers/attested:1/json".to_owned(),
        "/containers/missing/json".to_owned(),
        format!("/containers/{}/json", &images.containers[0][..12]),
    ];
    for name in [
        "attested",
        &images.platform,
        &images.attestation,
        "missing",
        "missing:1",
        "sha256:00",
        "UPPER",
        "missing@sha256:00",
    ] {
        for what in ["json", "history", "json?manifests=1"] {
            paths.push(format!("/images/{name}/{what}"));
        }
    }
    for filters in [
        json!({"before": ["missing"]}),
        json!({"since": ["missing:1"]}),
        json!({"unknown": ["x"]}),
        json!({"dangling": ["perhaps"]}),
        json!({"until": ["soon"]}),
        json!({"label": "text"}),
        json!([]),
    ] {
        paths.push(filtered("/images/json", &filters));
    }
    for filters in [
        json!({"label": ["none"]}),
        json!({"status": ["created"]}),
        json!({"unknown": ["x"]}),
    ] {
        paths.push(filtered("/containers/json", &filters));
    }
    paths
}

/// Platforms that exist here, elsewhere or nowhere, and texts that are none.
fn platforms(images: &Images) -> Vec<String> {
    let mut paths = Vec::new();
    let mut add = |name: &str, platform: &str| {
        let platform = form_urlencoded(platform);
        paths.push(format!("/images/{name}/json?platform={platform}"));
        paths.push(format!("/images/{name}/history?platform={platform}"));
    };
    for name in [
        "attested:1",
        "several:1",
        "pulled:1",
        "elsewhere:1",
        "plain:1",
        "missing:1",
        &images.attested,
    ] {
        for platform in [
            json!({"os": "linux", "architecture": "amd64"}),
            json!({"os": "linux", "architecture": "arm64"}),
            json!({"os": "linux", "architecture": "arm", "variant": "v7"}),
            json!({"os": "linux", "architecture": "arm", "variant": "v6"}),
            json!({"os": "linux", "architecture": "s390x"}),
            json!({"os": "windows", "architecture": "amd64"}),
        ] {
            add(name, &platform.to_string());
        }
    }
    for platform in [
        r#"{"os": "Linux", "architecture": "x86_64"}"#,
        r#"{"os": "linux"}"#,
        r#"{"architecture": "amd64"}"#,
        r#"{"variant": "v7"}"#,
        r#"{"os": 1}"#,
        r#"{"os.features": ["a", 1]}"#,
        "{}",
        "[]",
        "null",
        "linux/amd64",
        "{",
    ] {
        add("attested:1", platform);
    }
    let amd64 = form_urlencoded(r#"{"os": "linux", "architecture": "amd64"}"#);
    paths.push(format!(
        "/images/attested:1/json?manifests=1&platform={amd64}"
    ));
    paths
}

/// Removals of images that containers use, or that do not exist.
fn refused_removals(images: &Images) -> Vec<Row> {
    let names = [
        "several:1",
        &images.platform,
        "missing",
        "missing:1",
        "sha256:00",
        "UPPER",
    ];
    let remove = |name: &str| Row {
        method: "DELETE",
        path: format!("/images/{name}"),
        is_versioned: false,
    };
    names.into_iter().map(remove).collect()
}
