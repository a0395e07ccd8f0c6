//! `project prune` and `project ls`: the images of Compose projects.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use reclaim_testkit::{BuiltImage, Layer, NewContainer, image, labels};
use serde_json::Value;
use tempfile::TempDir;

use crate::rig::{Called, Rig, entry, names};

const PROJECT: &str = "com.docker.compose.project";
const SERVICE: &str = "com.docker.compose.service";

/// The project of Compose's own tests: every way in which a service has an image.
const SHOP: &str = "
name: testproject
services:
  local-anonymous: {build: .}
  local-named: {build: ., image: local-named-image}
  remote: {image: remote-image}
  remote-tagged: {image: 'registry.example.com/remote-image-tagged:v1.0'}
  no-images-anonymous: {build: .}
  no-images-named: {build: ., image: missing-named-image}
";

const ANONYMOUS: &str = "docker.io/library/testproject-local-anonymous:latest";
const NAMED: &str = "docker.io/library/local-named-image:latest";
const REMOTE: &str = "docker.io/library/remote-image:latest";
const TAGGED: &str = "registry.example.com/remote-image-tagged:v1.0";
const ORPHAN: &str = "docker.io/library/testproject-gone:latest";
const OTHER: &str = "docker.io/library/other-web:latest";

async fn pulled(rig: &Rig, name: &str) -> BuiltImage {
    image(name)
        .layers([Layer::named("base", 2000), Layer::named(name, 500)])
        .unpack("native")
        .build(&rig.namespace)
        .await
        .unwrap()
}

/// An image as Compose leaves it.
async fn built(rig: &Rig, name: &str, project: &str, service: &str) -> BuiltImage {
    image(name)
        .layers([Layer::named("base", 2000), Layer::named(name, 500)])
        .config_labels(labels([(PROJECT, project), (SERVICE, service)]))
        .unpack("native")
        .build(&rig.namespace)
        .await
        .unwrap()
}

/// All images of the shop, one of a service that it has no longer, and one of another project.
async fn rig_with_shop() -> Rig {
    let rig = Rig::start().await;
    built(&rig, ANONYMOUS, "testproject", "local-anonymous").await;
    built(&rig, NAMED, "testproject", "local-named").await;
    pulled(&rig, REMOTE).await;
    pulled(&rig, TAGGED).await;
    built(&rig, ORPHAN, "testproject", "gone").await;
    built(&rig, OTHER, "other", "web").await;
    rig
}

fn file(text: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("compose.yaml"), text).unwrap();
    directory
}

fn prune(rig: &Rig, directory: &Path, args: &[&str]) -> Called {
    let file = directory.join("compose.yaml");
    let file = file.to_str().unwrap();
    let all = [&["project", "prune", "-f", file], args].concat();
    rig.reclaim(&all)
}

/// The images that a report says are gone, or would go.
fn gone(report: &Value) -> BTreeSet<String> {
    let images = report["images"].as_array().unwrap().iter();
    let done = images.filter(|it| it["problem"] == Value::Null);
    done.map(|it| it["name"].as_str().unwrap().to_owned())
        .collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|it| (*it).to_owned()).collect()
}

/// Each mode should take its images and no others, and a dry run should say which.
#[tokio::test]
async fn each_mode_takes_its_images() {
    let anonymous = "testproject-local-anonymous:latest";
    let named = "local-named-image:latest";
    let rig = rig_with_shop().await;
    let shop = file(SHOP);
    let dry = |args: &[&str]| {
        let args = [args, &["--dry-run", "--format", "json"]].concat();
        gone(&prune(&rig, shop.path(), &args).exits(0).json())
    };
    assert_eq!(dry(&["--rmi", "local"]), set(&[anonymous]));
    assert_eq!(dry(&["--rmi", "built"]), set(&[anonymous, named]));
    let remote = ["remote-image:latest", TAGGED];
    let all = [&[anonymous, named][..], &remote].concat();
    assert_eq!(dry(&["--rmi", "all"]), set(&all));
    let orphans = [anonymous, named, "testproject-gone:latest"];
    assert_eq!(dry(&["--rmi", "local", "--remove-orphans"]), set(&orphans));
    assert_eq!(dry(&["--rmi", "all", "remote"]), set(&remote[..1]));
    assert_eq!(rig.names().await.len(), 6);

    let called = prune(&rig, shop.path(), &["--rmi", "none"]).exits(0);
    assert_eq!(called.stdout, "Total reclaimed space: 0B\n");
    let called = prune(&rig, shop.path(), &["--rmi", "foo"]).exits(2);
    assert!(
        called.stderr.contains("unsupported image prune mode: foo"),
        "{}",
        called.stderr
    );

    let report = prune(&rig, shop.path(), &["--rmi", "all", "--format", "json"]);
    let report = report.exits(0).json();
    assert_eq!(gone(&report), set(&all));
    assert_eq!(
        entry(&report["images"], named)["services"][0],
        "local-named"
    );
    assert_eq!(names(&report["report"]["removed"]).len(), 4);
    assert_eq!(report["report"]["reclaimed"], report["report"]["estimate"]);
    assert_eq!(rig.names().await, set(&[ORPHAN, OTHER]));
    let called = prune(&rig, shop.path(), &["--rmi", "all"]).exits(0);
    assert!(
        called
            .stderr
            .contains("project testproject has no image to remove")
    );
}

/// What a container of any project uses should stay with a warning, and not fail the rest.
#[tokio::test]
async fn what_is_in_use_stays_with_a_warning() {
    let rig = Rig::start().await;
    let web = built(&rig, "docker.io/library/shop-web:latest", "shop", "web").await;
    built(&rig, "docker.io/library/shop-api:latest", "shop", "api").await;
    rig.namespace
        .nerdctl_container("of-other", &web)
        .await
        .unwrap();
    let shop = file("name: shop\nservices: {web: {build: .}, api: {build: .}}\n");
    let called = prune(&rig, shop.path(), &["--rmi", "local"]).exits(0);
    let lines: Vec<&str> = called.stdout.lines().map(str::trim_end).collect();
    assert_eq!(lines[0], "SERVICE   IMAGE             RESULT");
    assert_eq!(lines[1], "api       shop-api:latest   deleted");
    assert_eq!(lines[2], "web       shop-web:latest   in use");
    assert!(lines[4].starts_with("Total reclaimed space: "));
    assert!(
        called
            .stderr
            .starts_with("warning: shop-web:latest: conflict: unable to delete shop-web:latest"),
        "{}",
        called.stderr
    );
    assert_eq!(rig.names().await, set(&[web.name()]));
}

/// Without a file a project should be what the labels of its containers say.
#[tokio::test]
async fn a_project_without_a_file_is_what_its_containers_say() {
    let rig = rig_with_shop().await;
    let empty = tempfile::tempdir().unwrap();
    let call = |args: &[&str]| {
        let directory = empty.path().to_str().unwrap();
        let all = [
            &["project", "prune", "--project-directory", directory],
            args,
        ]
        .concat();
        rig.reclaim(&all)
    };
    let called = call(&["--rmi", "local"]).exits(1);
    assert!(
        called.stderr.contains("no compose.yaml"),
        "{}",
        called.stderr
    );
    assert!(called.stderr.contains("with -p"), "{}", called.stderr);
    let args = [
        "-p",
        "TestProject",
        "--rmi",
        "all",
        "--dry-run",
        "--format",
        "json",
    ];
    assert_eq!(gone(&call(&args).exits(0).json()), set(&[]));
    for (service, image) in [("local-anonymous", ANONYMOUS), ("remote", REMOTE)] {
        // One that has no snapshot, and names its image only for us.
        let container = NewContainer::new(service)
            .image(image)
            .labels(labels([(PROJECT, "testproject"), (SERVICE, service)]));
        rig.namespace.create_container(container).await.unwrap();
    }
    let report = call(&args).exits(0).json();
    // Both are in use by the very containers that tell of them.
    assert_eq!(
        names(&report["images"]),
        ["remote-image:latest", "testproject-local-anonymous:latest"]
    );
    let listed = rig
        .reclaim(&["project", "ls", "--format", "json"])
        .exits(0)
        .json();
    let projects = listed["projects"].as_array().unwrap();
    assert_eq!(projects.len(), 2);
    assert_eq!(projects[0]["project"], "other");
    assert!(projects[0]["rmi_local"]["content_bytes"].as_u64().unwrap() > 0);
    assert_eq!(projects[1]["project"], "testproject");
    assert_eq!(projects[1]["containers"], 2);
    assert_eq!(
        projects[1]["services"],
        serde_json::json!(["gone", "local-anonymous", "local-named", "remote"])
    );
    let table = rig.reclaim(&["project", "ls"]).exits(0).stdout;
    assert!(
        table.lines().next().unwrap().starts_with("PROJECT "),
        "{table}"
    );
}

/// A project whose files cannot be read should lose nothing.
#[tokio::test]
async fn bad_files_remove_nothing() {
    let rig = rig_with_shop().await;
    for (text, said) in [
        (
            "services: {a: {extends: b}, b: {extends: a}}",
            "extend each other in a circle",
        ),
        (
            "services: {a: {image: '${TAG:?which one}'}}",
            "services.a.image: required variable TAG",
        ),
        ("services: [", "is not YAML"),
        ("services: {a: 1}", "services.a: must be a map"),
    ] {
        let directory = file(text);
        let called = prune(
            &rig,
            directory.path(),
            &["--rmi", "all", "--remove-orphans"],
        )
        .exits(1);
        assert_eq!(called.stdout, "");
        assert!(called.stderr.contains(said), "{}", called.stderr);
        assert!(called.stderr.contains("compose.yaml"), "{}", called.stderr);
    }
    assert_eq!(rig.names().await.len(), 6);
}

/// The images of a project can be held and brought back like any others.
#[tokio::test]
async fn a_project_can_be_undone() {
    let rig = rig_with_shop().await;
    let shop = file(SHOP);
    prune(&rig, shop.path(), &["--rmi", "all", "--undo-window", "1h"]).exits(0);
    assert_eq!(rig.names().await.len(), 2);
    rig.reclaim(&["undo"]).exits(0);
    assert_eq!(rig.names().await.len(), 6);
}

/// An engine that cannot be asked, or asked for more than it has, should be told apart.
#[tokio::test]
async fn an_engine_that_cannot_be_asked_is_told() {
    let rig = rig_with_shop().await;
    let shop = file(SHOP);
    let call = |args: &[&str]| prune(&rig, shop.path(), &[&["--rmi", "all"], args].concat());
    let called = call(&["--engine", "ssh://somewhere"]).exits(2);
    assert!(
        called
            .stderr
            .contains("`ssh://somewhere` is no address of a Docker Engine; accepted are"),
        "{}",
        called.stderr
    );
    let called = call(&["--engine", "unix:///nonexistent/docker.sock"]).exits(1);
    assert!(
        called
            .stderr
            .contains("connect to the Docker Engine at unix:///nonexistent/docker.sock"),
        "{}",
        called.stderr
    );
    // containerd is no Docker Engine.
    let address = format!("unix://{}", rig.containerd.address());
    call(&["--engine", &address]).exits(1);
    let called = call(&["--engine", &address, "--undo-window", "1h"]).exits(2);
    assert!(called.stderr.contains("holds nothing"), "{}", called.stderr);
    assert_eq!(rig.names().await.len(), 6);
    call(&["--engine", "containerd"]).exits(0);
    assert_eq!(rig.names().await.len(), 2);
}
