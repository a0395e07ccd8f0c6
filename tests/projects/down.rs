//! Compares `compose down --rmi` with `project prune` on the same images.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::compose::{binaries, down, down_with, removes_nameless};
use crate::daemon::Daemon;
use crate::fixture::Fixture;

/// Compose's modes and Reclaim's: Compose's `local` removes what it built under any name.
const MODES: [(&str, &str); 2] = [("local", "built"), ("all", "all")];

fn nameless(names: &BTreeSet<String>) -> usize {
    names
        .iter()
        .filter(|name| name.starts_with("moby-dangling@"))
        .count()
}

fn named(names: &BTreeSet<String>) -> BTreeSet<&str> {
    names
        .iter()
        .map(String::as_str)
        .filter(|name| !name.starts_with("moby-dangling@"))
        .collect()
}

fn images(report: &Value) -> Vec<&str> {
    report["images"]
        .as_array()
        .unwrap()
        .iter()
        .map(|image| image["name"].as_str().unwrap())
        .collect()
}

/// Over the engine's API, over Reclaim's, and on containerd itself.
#[tokio::test]
async fn removes_the_images_that_compose_removes() {
    let fixture = Fixture::start().await;
    let engine = fixture.dockerd.address();
    let containerd = fixture.dockerd.containerd().address().to_owned();
    let daemon = Daemon::start(&containerd, &["--docker", &engine]).await;
    let served = format!("unix://{}", daemon.socket().display());
    let before = fixture.names().await;
    for compose in binaries() {
        for (theirs, ours) in MODES {
            for orphans in [&[][..], &["--remove-orphans"]] {
                let all = [&["--rmi", theirs], orphans].concat();
                let stderr = down(&compose, &engine, &fixture.file(), &all);
                let by_compose = fixture.names().await;
                let what = format!("{} {all:?}: {stderr}", compose.display());
                assert!(by_compose.len() < before.len(), "{what}");

                // Compose, with Reclaim as its engine.
                fixture.fill().await;
                let stderr = down(&compose, &served, &fixture.file(), &all);
                assert_eq!(fixture.names().await, by_compose, "{what}{stderr}");

                let connections = [
                    vec!["--engine", &engine],
                    vec!["--engine", &served],
                    vec![
                        "--address",
                        &containerd,
                        "--namespace",
                        "moby",
                        "--grace",
                        "0s",
                    ],
                ];
                for connection in connections {
                    fixture.fill().await;
                    assert_eq!(fixture.names().await, before, "{what}");
                    let args = [&["--rmi", ours], orphans, &connection[..]].concat();
                    let planned = fixture.prune(&[&args[..], &["--dry-run"]].concat());
                    assert_eq!(fixture.names().await, before, "{connection:?}");
                    let report = fixture.prune(&args);
                    let by_reclaim = fixture.names().await;
                    assert_eq!(
                        named(&by_reclaim),
                        named(&by_compose),
                        "{connection:?}, {what}"
                    );
                    let n_nameless = nameless(&before) - nameless(&by_reclaim);
                    let expected = if orphans.is_empty() { 1 } else { 2 };
                    assert_eq!(n_nameless, expected, "{connection:?}");
                    if removes_nameless(&compose) {
                        assert_eq!(by_reclaim, by_compose, "{connection:?}, {what}");
                    }
                    assert_eq!(images(&planned), images(&report), "{connection:?}");
                    let in_use: Vec<&str> = report["images"]
                        .as_array()
                        .unwrap()
                        .iter()
                        .filter(|image| image["problem"] == "conflict")
                        .map(|image| image["name"].as_str().unwrap())
                        .collect();
                    assert_eq!(in_use, ["shop-used:latest"], "{connection:?}");
                }
                fixture.fill().await;
            }
        }
    }
}

/// The names with an underscore instead of those with a hyphen, unless labels say otherwise.
#[tokio::test]
async fn removes_the_same_default_names_in_the_compatibility_mode() {
    let fixture = Fixture::start().await;
    let engine = fixture.dockerd.address();
    let containerd = fixture.dockerd.containerd().address().to_owned();
    let before = fixture.names().await;
    let compatible = [("COMPOSE_COMPATIBILITY", "true")];
    for compose in binaries() {
        let file = fixture.file();
        let stderr = down_with(&compatible, &compose, &engine, &file, &["--rmi", "local"]);
        let by_compose = fixture.names().await;
        let what = format!("{}: {stderr}", compose.display());
        let gone: BTreeSet<&str> = named(&before)
            .difference(&named(&by_compose))
            .copied()
            .collect();
        let expected = [
            "docker.io/acme/api:2",
            "docker.io/library/shop-web:latest",
            "docker.io/library/shop_old:latest",
            "docker.io/library/shop_web:latest",
        ];
        assert_eq!(gone, expected.into(), "{what}");
        let on_containerd = ["--address", &*containerd, "--namespace", "moby"];
        for (environment, arguments) in [
            (&compatible[..], &["--engine", &*engine][..]),
            (&[], &["--engine", &*engine, "--compatibility"]),
            (&compatible, &on_containerd),
        ] {
            fixture.fill().await;
            assert_eq!(fixture.names().await, before, "{what}");
            let args = [&["--rmi", "built"], arguments].concat();
            fixture.prune_with(environment, &args);
            let by_reclaim = fixture.names().await;
            assert_eq!(named(&by_reclaim), named(&by_compose), "{args:?}, {what}");
        }
        fixture.fill().await;
    }
}
