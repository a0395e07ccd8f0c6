//! `image rm`.

use std::time::Duration;

use reclaim_testkit::{BuiltImage, Layer, image, labels};

use crate::protocol::start;
use crate::rig::{Rig, entry, names};

const CONTAINER: &str = "4f1c7e0d92ab35864f1c7e0d92ab35864f1c7e0d92ab35864f1c7e0d92ab3586";

async fn build(rig: &Rig, name: &str) -> BuiltImage {
    image(name)
        .layers([Layer::named("base", 2000), Layer::named(name, 500)])
        .config_labels(labels([("name", name)]))
        .record_labels(labels([("io.containerd.image.name", name), ("mark", name)]))
        .unpack("native")
        .build(&rig.namespace)
        .await
        .unwrap()
}

#[tokio::test]
async fn untags_and_deletes_with_dockers_texts() {
    let rig = Rig::start().await;
    let app = build(&rig, "docker.io/library/app:1").await;
    app.tag(&rig.namespace, "quay.io/team/app:2").await.unwrap();
    build(&rig, "docker.io/library/other:1").await;

    let output = rig.reclaim(&["image", "rm", "app:1"]).exits(0);
    assert_eq!(output.stdout, "Untagged: app:1\n");
    let id = app.target.digest.hex();
    let output = rig
        .reclaim(&["image", "rm", "gone", &id[..12], "UPPER"])
        .exits(1);
    assert_eq!(
        output.stdout,
        format!(
            "Untagged: quay.io/team/app:2\nDeleted: {}\n",
            app.target.digest
        )
    );
    assert_eq!(
        output.stderr,
        "error: No such image: gone:latest\n\
         error: invalid reference format: repository name (library/UPPER) must be lowercase\n"
    );
    let blobs = rig.namespace.blobs().await.unwrap();
    assert!(!blobs.contains_key(&app.target.digest));
    assert_eq!(rig.names().await.len(), 1);
    // With --force, a missing image is not an error, as for Docker.
    let output = rig.reclaim(&["image", "rm", "-f", "gone"]).exits(0);
    assert_eq!(output.stdout, "");
    assert_eq!(output.stderr, "error: No such image: gone:latest\n");
    rig.reclaim(&["image", "rm"]).exits(2);
}

/// A dry run shows what the run does and changes nothing, and `undo` restores the image.
#[tokio::test]
async fn has_a_dry_run_and_an_undo() {
    let rig = Rig::start().await;
    let app = build(&rig, "docker.io/library/app:1").await;
    let output = rig.reclaim(&["image", "rm", "--dry-run", "app:1"]).exits(0);
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(lines[0], "Would untag: app:1");
    assert_eq!(lines[1], format!("Would delete: {}", app.target.digest));
    assert_eq!(lines.last(), Some(&"nothing was removed (dry run)"));
    assert_eq!(rig.names().await.len(), 1);

    let args = ["image", "rm", "--format", "json", "app:1"];
    let dry = [&args[..], &["--dry-run"]].concat();
    let planned = rig.reclaim(&dry).exits(0).json();
    let held = [&args[..], &["--undo-window", "1h"]].concat();
    let report = rig.reclaim(&held).exits(0).json();
    assert_eq!(names(&report["removed"]), ["docker.io/library/app:1"]);
    assert_eq!(report["named"], planned["named"]);
    assert_eq!(report["named"][0]["untagged"][0], "app:1");
    assert_eq!(rig.names().await.len(), 0);
    rig.reclaim(&["undo"]).exits(0);
    let record = rig.namespace.image_record(app.name()).await.unwrap();
    assert_eq!(record.target.digest, app.target.digest);
    assert_eq!(record.labels["mark"], app.name());

    // The run frees what the dry run planned.
    let report = rig.reclaim(&args).exits(0).json();
    assert_eq!(report["reclaimed"], planned["estimate"]);
    assert_eq!(report["blobs"], planned["blobs"]);
    assert_eq!(report["snapshots"], planned["snapshots"]);
}

/// With `--force`, an image that a container uses loses only its name.
#[tokio::test]
async fn keeps_an_image_that_a_container_uses() {
    let rig = Rig::start().await;
    let app = build(&rig, "docker.io/library/app:1").await;
    rig.namespace
        .docker_stopped_container(CONTAINER, &app)
        .await
        .unwrap();
    let id = app.target.digest.hex();
    let short = &id[..12];
    let output = rig.reclaim(&["image", "rm", "app:1"]).exits(1);
    assert_eq!(output.stdout, "");
    assert_eq!(
        output.stderr,
        format!(
            "error: conflict: unable to delete app:1 (must be forced) - container 4f1c7e0d92ab is \
             using its referenced image {short}\n"
        )
    );
    let output = rig.reclaim(&["image", "rm", &id]).exits(1);
    assert_eq!(
        output.stderr,
        format!(
            "error: conflict: unable to delete {short} (must be forced) - image is being used by \
             stopped container 4f1c7e0d92ab\n"
        )
    );
    let before = rig.namespace.blobs().await.unwrap();
    let output = rig.reclaim(&["image", "rm", "-f", "app:1"]).exits(0);
    assert_eq!(output.stdout, "Untagged: app:1\n");
    let nameless = format!("moby-dangling@{}", app.target.digest);
    assert_eq!(rig.names().await, [nameless.clone()].into());
    let record = rig.namespace.image_record(&nameless).await.unwrap();
    assert_eq!(record.target.digest, app.target.digest);
    assert_eq!(record.labels, labels([("mark", app.name())]));
    let after = rig.namespace.blobs().await.unwrap();
    assert!(before.keys().all(|digest| after.contains_key(digest)));
    // Without a name there is nothing left to remove.
    rig.reclaim(&["image", "rm", "-f", &id]).exits(1);
    assert_eq!(rig.names().await.len(), 1);
}

/// The report calls the name in conflict.
#[tokio::test]
async fn restores_an_image_from_which_a_container_is_created_meanwhile() {
    let rig = Rig::start().await;
    let one = build(&rig, "docker.io/library/one:1").await;
    let two = build(&rig, "docker.io/library/two:1").await;
    let args = ["image", "rm", "--format", "json", "--grace", "3s"];
    let removal = start(&rig, &[&args[..], &["one:1", "two:1"]].concat());
    for _ in 0..600 {
        if rig.names().await.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    rig.namespace.nerdctl_container("late", &one).await.unwrap();
    let output = removal.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(rig.names().await, [one.name().to_owned()].into());
    assert_eq!(names(&report["removed"]), [two.name()]);
    entry(&report["refused"], one.name());
    let named = entry(&report["named"], "one:1");
    assert_eq!(named["problem"], "conflict");
    let message = named["message"].as_str().unwrap();
    assert!(message.contains("container late is using"), "{message}");
    assert_eq!(
        entry(&report["named"], "two:1")["problem"],
        serde_json::Value::Null
    );
}
