//! `compose down --rmi` and `project prune`, one after the other on the same images.

use std::collections::BTreeSet;

use crate::compose::{binaries, down, removes_nameless};
use crate::daemon::Daemon;
use crate::stage::Stage;

/// What Compose's modes are called here: its `local` takes what it built under any name.
const MODES: [(&str, &str); 2] = [("local", "built"), ("all", "all")];

fn nameless(names: &BTreeSet<String>) -> usize {
    names
        .iter()
        .filter(|name| name.starts_with("moby-dangling@"))
        .count()
}

fn named(names: &BTreeSet<String>) -> BTreeSet<&str> {
    let names = names.iter().map(String::as_str);
    names
        .filter(|name| !name.starts_with("moby-dangling@"))
        .collect()
}

/// Over the engine's API, over our own, and straight on containerd, the images that go should be those that
/// Compose removes.
#[tokio::test]
async fn what_goes_is_what_compose_removes() {
    let stage = Stage::set().await;
    let engine = stage.dockerd.address();
    let containerd = stage.dockerd.containerd().address().to_owned();
    let daemon = Daemon::start(&containerd, &["--docker", &engine]).await;
    let served = format!("unix://{}", daemon.socket().display());
    let before = stage.names().await;
    for compose in binaries() {
        for (theirs, ours) in MODES {
            for orphans in [&[][..], &["--remove-orphans"]] {
                let all = [&["--rmi", theirs], orphans].concat();
                let said = down(&compose, &engine, &stage.file(), &all);
                let by_compose = stage.names().await;
                let what = format!("{} {all:?}: {said}", compose.display());
                assert!(by_compose.len() < before.len(), "{what}");

                // Compose itself, with us as its engine.
                stage.fill().await;
                let said = down(&compose, &served, &stage.file(), &all);
                assert_eq!(stage.names().await, by_compose, "{what}{said}");

                let ways = [
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
                for way in ways {
                    stage.fill().await;
                    assert_eq!(stage.names().await, before, "{what}");
                    let args = [&["--rmi", ours], orphans, &way[..]].concat();
                    let foreseen = stage.prune(&[&args[..], &["--dry-run"]].concat());
                    assert_eq!(stage.names().await, before, "{way:?}");
                    let report = stage.prune(&args);
                    let by_us = stage.names().await;
                    assert_eq!(named(&by_us), named(&by_compose), "{way:?}, {what}");
                    let gone = nameless(&before) - nameless(&by_us);
                    assert_eq!(gone, if orphans.is_empty() { 1 } else { 2 }, "{way:?}");
                    if removes_nameless(&compose) {
                        assert_eq!(by_us, by_compose, "{way:?}, {what}");
                    }
                    let images = |report: &serde_json::Value| -> Vec<String> {
                        let images = report["images"].as_array().unwrap().iter();
                        images
                            .map(|image| image["name"].as_str().unwrap().to_owned())
                            .collect()
                    };
                    assert_eq!(images(&foreseen), images(&report), "{way:?}");
                    let used = report["images"].as_array().unwrap().iter();
                    let used = used.filter(|image| image["problem"] == "conflict");
                    let used: Vec<&str> =
                        used.map(|image| image["name"].as_str().unwrap()).collect();
                    assert_eq!(used, ["shop-used:latest"], "{way:?}");
                }
                stage.fill().await;
            }
        }
    }
}
