//! Runs that a Docker Engine refuses, by what it says or because it does not answer.

use std::sync::Arc;
use std::time::Duration;

use reclaim_engine::model::chain;
use reclaim_engine::{Containerd, Engine, PruneRequest, no_progress};
use reclaim_fake::Fake;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::engine::DockerDouble;

/// However much of a response has arrived, a run waits for a minute with the guard taken, and no longer.
#[tokio::test(start_paused = true)]
async fn an_engine_that_hangs_holds_the_guard_for_a_minute() {
    for path in ["/version", "/info", "/containers/json"] {
        let double = DockerDouble::start("1.51", &json!([]), [].into());
        double.hang_at(path);
        for _ in 0..2 {
            let began = Instant::now();
            let answer = double.stage.ask("POST", "/v1.51/images/prune").await;
            // Not 409, the second time either: the guard is free again.
            let message = answer.refused(503);
            assert!(
                message.contains("did not answer within 60 s"),
                "{path}: {message}"
            );
            let waited = began.elapsed();
            let minute = Duration::from_secs(60);
            assert!((minute..minute * 2).contains(&waited), "{path}: {waited:?}");
        }
    }
}

/// Plans a prune of a namespace on a host with several, and returns the error.
async fn refused(namespaces: Value, namespace: &str) -> Option<String> {
    let info = json!({"Containerd": {"Namespaces": namespaces}});
    let double = DockerDouble::start("1.51", &json!([]), [("/info", (200, info))].into());
    let fake = Fake::new("2.1.9");
    fake.change(|state| {
        for name in [
            "custom",
            "plugins.custom",
            "moby",
            "plugins.moby",
            "default",
        ] {
            drop(state.namespace(name).clone());
        }
    });
    let engine = Engine::new(Containerd::from_channel(fake.channel()))
        .with_containers(Arc::clone(&double.docker) as _);
    let request = PruneRequest::unused(namespace.parse().unwrap());
    let planned = engine.preview(&request, &no_progress).await;
    // A list is not a run, so the engine's plugins do not stop it.
    let plugins = "plugins.custom".parse().unwrap();
    assert_eq!(engine.registered(&plugins).await.unwrap(), []);
    planned.err().map(|error| chain(&error))
}

/// Docker's namespaces are those that the engine reports. `moby` stays Docker's in any case.
#[tokio::test]
async fn the_engine_says_which_namespaces_are_its_own() {
    let custom = json!({"Containers": "custom", "Plugins": "plugins.custom"});
    for (namespaces, namespace, error) in [
        (&custom, "custom", None),
        (
            &custom,
            "plugins.custom",
            Some("that of the engine's plugins"),
        ),
        (&custom, "default", None),
        (&custom, "plugins.moby", None),
        (&custom, "moby", Some("the Docker Engine of `moby`")),
        (
            &json!({"Containers": "moby", "Plugins": "plugins.moby"}),
            "moby",
            None,
        ),
        (
            &json!({"Containers": "moby", "Plugins": "plugins.moby"}),
            "plugins.moby",
            Some("plugins"),
        ),
        // An older engine says nothing, and its containers count everywhere.
        (&json!(null), "moby", None),
        (&json!(null), "plugins.moby", None),
        (
            &json!({"Containers": "custom", "Plugins": "custom"}),
            "custom",
            None,
        ),
    ] {
        let refused = refused(namespaces.clone(), namespace).await;
        match error {
            Some(error) => {
                let message = refused.unwrap_or_else(|| panic!("{namespaces} {namespace}"));
                assert!(
                    message.contains(error),
                    "{namespaces} {namespace}: {message}"
                );
            }
            None => assert_eq!(refused, None, "{namespaces} {namespace}"),
        }
    }
}
