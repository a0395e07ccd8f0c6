//! The example of an engine that embeds Reclaim, on a containerd in memory.

#[path = "../examples/engine.rs"]
#[expect(dead_code, reason = "an example has a main of its own")]
mod engine;

use std::collections::BTreeMap;

use engine::{ContainerEngine, containerd_in_memory};
use reclaim_engine::{Containerd, Engine};

const OUTPUT: &str = "\
would remove docker.io/library/old:1
keeps docker.io/library/web:1: in use: container web
Observing
Planned { steps: 1, kept: 1 }
Step { done: 1, steps: 1 }
LookingAgain
removed docker.io/library/old:1
frees 4.693kB in an hour
restored docker.io/library/old:1
";

#[tokio::test(start_paused = true)]
async fn the_example_previews_prunes_and_undoes() {
    let fake = containerd_in_memory();
    let targets = || -> BTreeMap<_, _> {
        fake.look(|state| {
            let images = state.namespaces["default"].images.values();
            images
                .map(|image| (image.name.clone(), image.target.clone()))
                .collect()
        })
    };
    let before = targets();
    let store = Containerd::from_channel(fake.channel());
    let engine = ContainerEngine::new(Engine::new(store), "default".parse().unwrap());
    engine.create("web", "web:1");

    let mut output = Vec::new();
    let report = engine.prune(&mut output).await.unwrap();
    let left: Vec<String> = targets().into_keys().collect();
    assert_eq!(left, ["docker.io/library/web:1"]);
    engine.undo(&report, &mut output).await.unwrap();
    assert_eq!(targets(), before);
    assert_eq!(String::from_utf8(output).unwrap(), OUTPUT);
}
