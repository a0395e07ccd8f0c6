//! `project prune` and `project ls`: the images of Compose projects.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Command;

use reclaim_testkit::{BuiltImage, Layer, NewContainer, image, labels};
use serde_json::Value;
use tempfile::TempDir;

use crate::output::assert_output_snapshot;
use crate::rig::{CommandOutput, Rig, entry, names};

const PROJECT: &str = "com.docker.compose.project";
const SERVICE: &str = "com.docker.compose.service";

/// The project of Compose's own tests, with every kind of image that a service can have.
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

/// A user who owns a file that root reads.
const USER: u32 = 4_000;

async fn pulled(rig: &Rig, name: &str) -> BuiltImage {
    image(name)
        .layers([Layer::named("base", 2000), Layer::named(name, 500)])
        .unpack("native")
        .build(&rig.namespace)
        .await
        .unwrap()
}

/// Builds an image with the labels that Compose sets.
async fn built(rig: &Rig, name: &str, project: &str, service: &str) -> BuiltImage {
    image(name)
        .layers([Layer::named("base", 2000), Layer::named(name, 500)])
        .config_labels(labels([(PROJECT, project), (SERVICE, service)]))
        .unpack("native")
        .build(&rig.namespace)
        .await
        .unwrap()
}

/// All images of [`SHOP`], one of a service that the file no longer has, and one of another
/// project.
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

fn prune(rig: &Rig, directory: &Path, args: &[&str]) -> CommandOutput {
    let file = directory.join("compose.yaml");
    let file = file.to_str().unwrap();
    let all = [&["project", "prune", "-f", file], args].concat();
    rig.reclaim(&all)
}

/// Returns the images that a report removes, or would remove.
fn removed(report: &Value) -> BTreeSet<String> {
    report["images"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|image| image["problem"] == Value::Null)
        .map(|image| image["name"].as_str().unwrap().to_owned())
        .collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// A dry run shows the same images.
#[tokio::test]
async fn each_mode_removes_its_images_and_no_others() {
    let anonymous = "testproject-local-anonymous:latest";
    let named = "local-named-image:latest";
    let rig = rig_with_shop().await;
    let shop = file(SHOP);
    let dry = |args: &[&str]| {
        let args = [args, &["--dry-run", "--format", "json"]].concat();
        removed(&prune(&rig, shop.path(), &args).exits(0).json())
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

    let output = prune(&rig, shop.path(), &["--rmi", "none"]).exits(0);
    assert_eq!(output.stdout, "Total reclaimed space: 0B\n");
    let output = prune(&rig, shop.path(), &["--rmi", "foo"]).exits(2);
    assert_output_snapshot!(output.stderr, @"
    error: invalid value 'foo' for '--rmi <MODE>': unsupported image prune mode: foo; accepted are local, built and all

    For more information, try '--help'.
    ");

    let report = prune(&rig, shop.path(), &["--rmi", "all", "--format", "json"])
        .exits(0)
        .json();
    assert_eq!(removed(&report), set(&all));
    assert_eq!(
        entry(&report["images"], named)["services"][0],
        "local-named"
    );
    assert_eq!(names(&report["report"]["removed"]).len(), 4);
    assert_eq!(report["report"]["reclaimed"], report["report"]["estimate"]);
    assert_eq!(rig.names().await, set(&[ORPHAN, OTHER]));
    let output = prune(&rig, shop.path(), &["--rmi", "all"]).exits(0);
    assert_output_snapshot!(output.stderr, @"warning: project testproject has no image to remove");
}

/// A container of any project keeps its image with a warning, and the others are removed.
#[tokio::test]
async fn keeps_an_image_in_use_with_a_warning() {
    let rig = Rig::start().await;
    let web = built(&rig, "docker.io/library/shop-web:latest", "shop", "web").await;
    built(&rig, "docker.io/library/shop-api:latest", "shop", "api").await;
    rig.namespace
        .nerdctl_container("of-other", &web)
        .await
        .unwrap();
    let shop = file("name: shop\nservices: {web: {build: .}, api: {build: .}}\n");
    let output = prune(&rig, shop.path(), &["--rmi", "local"]).exits(0);
    assert_output_snapshot!(output.stdout, @"
    SERVICE  IMAGE  RESULT
    api  shop-api:latest  deleted
    web  shop-web:latest  in use

    Total reclaimed space: SIZE
    ");
    assert_output_snapshot!(output.stderr, @"warning: shop-web:latest: conflict: unable to delete shop-web:latest (must be forced) - container of-other is using its referenced image ID");
    assert_eq!(rig.names().await, set(&[web.name()]));
}

#[tokio::test]
async fn finds_a_project_without_a_file_by_the_labels_of_its_containers() {
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
    let output = call(&["--rmi", "local"]).exits(1);
    assert_output_snapshot!(output.stderr, @"
    error: no compose.yaml, compose.yml, docker-compose.yml or docker-compose.yaml in `FOLDER` or any directory above it
    hint: name its files with -f, or the project with -p to read it from its containers
    ");
    let args = [
        "-p",
        "TestProject",
        "--rmi",
        "all",
        "--dry-run",
        "--format",
        "json",
    ];
    assert_eq!(removed(&call(&args).exits(0).json()), set(&[]));
    for (service, image) in [("local-anonymous", ANONYMOUS), ("remote", REMOTE)] {
        // Without a snapshot, the container's image field alone shows the use.
        let container = NewContainer::new(service)
            .image(image)
            .labels(labels([(PROJECT, "testproject"), (SERVICE, service)]));
        rig.namespace.create_container(container).await.unwrap();
    }
    let report = call(&args).exits(0).json();
    // The containers that name the images also use them.
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

/// By option, environment and `.env`, as `project prune` does it.
#[tokio::test]
async fn lists_and_prunes_the_default_names_of_compose_1() {
    let rig = Rig::start().await;
    let [hyphen, underscore] =
        ["shop-web", "shop_web"].map(|name| format!("docker.io/library/{name}:latest"));
    for name in [&hyphen, &underscore] {
        pulled(&rig, name).await;
    }
    let container = NewContainer::new("web").labels(labels([(PROJECT, "shop"), (SERVICE, "web")]));
    rig.namespace.create_container(container).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let list = |value: &str, option: &[&str]| {
        let args = [&["project", "ls", "--format", "json"], option].concat();
        let variable = ("COMPOSE_COMPATIBILITY", value);
        rig.reclaim_in(directory.path(), variable, &args).exits(0)
    };
    let listed = |output: CommandOutput| {
        let list = output.json();
        names(&list["projects"][0]["images"])
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(listed(list("", &[])), [&*hyphen]);
    assert_eq!(listed(list("true", &[])), [&*underscore]);
    assert_eq!(listed(list("", &["--compatibility"])), [&*underscore]);

    // The environment precedes the file.
    let other = ("OTHER", "x");
    let file = directory.path().join(".env");
    fs::write(&file, "COMPOSE_COMPATIBILITY=1\n").unwrap();
    let ls = ["project", "ls", "--format", "json"];
    let by_file = rig.reclaim_in(directory.path(), other, &ls).exits(0);
    assert_eq!(by_file.stderr, "");
    assert_eq!(listed(by_file), [&*underscore]);
    assert_eq!(listed(list("false", &[])), [&*hyphen]);

    // Another user's file decides only with a warning.
    chown(&file, Some(USER), None).unwrap();
    let warning = format!(
        "warning: user {USER} can change `{}`, and so decide which images are a project's\n",
        file.display()
    );
    let by_file = rig.reclaim_in(directory.path(), other, &ls).exits(0);
    assert_eq!(by_file.stderr, warning);
    assert_eq!(listed(by_file), [&*underscore]);
    assert_eq!(list("", &["--compatibility"]).stderr, "");
    let prune = ["project", "prune", "--project-name=shop", "--rmi=local"];
    let pruned = rig.reclaim_in(directory.path(), other, &prune).exits(0);
    assert!(pruned.stderr.contains(&warning), "{pruned:#?}");
    assert_eq!(rig.names().await, set(&[&hyphen]));

    fs::write(&file, "COMPOSE_COMPATIBILITY='1\n").unwrap();
    let output = rig.reclaim_in(directory.path(), other, &ls).exits(0);
    assert!(output.stderr.starts_with("warning: "), "{output:#?}");
    assert!(output.stderr.contains(".env"), "{output:#?}");
    assert_eq!(listed(output), [&*hyphen]);
}

#[tokio::test]
async fn a_bad_file_removes_nothing() {
    let rig = rig_with_shop().await;
    let files = [
        "services: {a: {extends: b}, b: {extends: a}}",
        "services: {a: {image: '${TAG:?which one}'}}",
        "services: [",
        "services: {a: 1}",
    ];
    let errors = files.map(|text| {
        let directory = file(text);
        let args = ["--rmi", "all", "--remove-orphans"];
        let output = prune(&rig, directory.path(), &args).exits(1);
        assert_eq!(output.stdout, "");
        output.stderr
    });
    assert_output_snapshot!(errors.concat(), @"
    error: FOLDER/compose.yaml:1: services.a.extends: services extend each other in a circle: a in FOLDER/compose.yaml, b in FOLDER/compose.yaml, a in FOLDER/compose.yaml
    error: FOLDER/compose.yaml:1: services.a.image: required variable TAG is missing a value: which one
    error: FOLDER/compose.yaml:2: is not YAML: while parsing a node, did not find expected node content
    error: FOLDER/compose.yaml:1: services.a: must be a map
    ");
    assert_eq!(rig.names().await.len(), 6);
}

#[tokio::test]
async fn undo_restores_the_images_of_a_project() {
    let rig = rig_with_shop().await;
    let shop = file(SHOP);
    prune(&rig, shop.path(), &["--rmi", "all", "--undo-window", "1h"]).exits(0);
    assert_eq!(rig.names().await.len(), 2);
    rig.reclaim(&["undo"]).exits(0);
    assert_eq!(rig.names().await.len(), 6);
}

#[tokio::test]
async fn says_why_an_engine_cannot_be_used() {
    let rig = rig_with_shop().await;
    let shop = file(SHOP);
    let call = |args: &[&str]| prune(&rig, shop.path(), &[&["--rmi", "all"], args].concat());
    let output = call(&["--engine", "ssh://somewhere"]).exits(2);
    assert_output_snapshot!(output.stderr, @"error: `ssh://somewhere` is not an address of a Docker Engine; accepted are unix:///PATH and tcp://HOST:PORT");
    let output = call(&["--engine", "unix:///nonexistent/docker.sock"]).exits(1);
    assert_output_snapshot!(output.stderr, @"error: connect to the Docker Engine at unix:///nonexistent/docker.sock: No such file or directory (os error 2)");
    // containerd is not a Docker Engine.
    let address = format!("unix://{}", rig.containerd.address());
    call(&["--engine", &address]).exits(1);
    let output = call(&["--engine", &address, "--undo-window", "1h"]).exits(2);
    assert_output_snapshot!(output.stderr, @"error: cannot use --undo-window with the Docker Engine at unix://FOLDER/c.sock, which holds nothing");
    assert_eq!(rig.names().await.len(), 6);
    call(&["--engine", "containerd"]).exits(0);
    assert_eq!(rig.names().await.len(), 2);
}

/// A user who can write to a directory above does not decide what root removes.
#[tokio::test]
async fn a_project_of_another_user_is_not_taken_from_above() {
    let rig = rig_with_shop().await;
    let shop = file(SHOP);
    let path = shop.path().join("compose.yaml");
    chown(&path, Some(USER), None).unwrap();
    let below = shop.path().join("below");
    fs::create_dir(&below).unwrap();
    let call = |directory: &Path, environment: &[(&str, String)], args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reclaim"));
        command
            .env_clear()
            .env("RECLAIM_AUDIT_DIR", "/dev/null")
            .env("CONTAINERD_ADDRESS", rig.containerd.address())
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .current_dir(directory)
            .args(["project", "prune", "--rmi", "all"])
            .args(args);
        let output = command.output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        (output.status.code(), text)
    };
    let before = rig.names().await;
    let problem = format!("user {USER} can change it, and it was found above");
    for args in [&[][..], &["--dry-run"]] {
        let (code, text) = call(&below, &[], args);
        assert_eq!(code, Some(1), "{text}");
        assert!(text.contains(&problem), "{text}");
    }
    assert_eq!(rig.names().await, before);

    // The user who calls `sudo` may change it, and it may be named.
    let warning = format!("warning: user {USER} can change");
    let sudo = [("SUDO_UID", USER.to_string())];
    let (code, text) = call(&below, &sudo, &["--dry-run"]);
    assert_eq!((code, text.contains(&warning)), (Some(0), false), "{text}");
    let named = ["--dry-run", "--file", path.to_str().unwrap()];
    let (code, text) = call(&below, &[], &named);
    assert_eq!((code, text.contains(&warning)), (Some(0), true), "{text}");
    let (code, text) = call(shop.path(), &[], &[]);
    assert_eq!((code, text.contains(&warning)), (Some(0), true), "{text}");
    assert!(rig.names().await.len() < before.len());
}
