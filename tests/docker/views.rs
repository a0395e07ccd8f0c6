//! What `docker` shows of an image with several platforms and an attestation, as BuildKit makes it.

use reclaim_testkit::{Layer, Manifest, NamespaceClient, index};
use serde_json::{Value, json};

use crate::command::{Output, docker};
use crate::side::{Side, create};
use crate::transcript::both;

const NAME: &str = "several:1";

/// An attested platform of this machine that a container uses, one that is present, and one that is
/// not.
async fn build(namespace: &NamespaceClient) {
    let ours = Manifest::new("linux/amd64")
        .layers([Layer::named("several", 900)])
        .command(&["x"])
        .unpack("native")
        .attested();
    let other = Manifest::new("linux/arm64").layers([Layer::named("other", 500)]);
    let absent = Manifest::new("linux/s390x").absent();
    index(&format!("docker.io/library/{NAME}"))
        .manifest(ours)
        .manifest(other)
        .manifest(absent)
        .build(namespace)
        .await
        .unwrap();
}

async fn sides() -> (Side, Side) {
    let (theirs, ours) = tokio::join!(Side::docker(), Side::reclaim());
    for side in [&theirs, &ours] {
        build(&side.dockerd().namespace()).await;
        create(side.dockerd(), json!({"Image": NAME})).await;
    }
    (theirs, ours)
}

/// Returns the text without the times of a run, which differ on each side.
fn agree(args: &[&str], (theirs, ours): &(Output, Output)) {
    let case = format!("docker {}\n{theirs:#?}\n{ours:#?}", args.join(" "));
    assert_eq!(ours, theirs, "{case}");
}

#[tokio::test]
async fn shows_platforms_and_attestations_like_a_docker_engine() {
    let (theirs, ours) = sides().await;
    let digest = ours.names().await[&format!("docker.io/library/{NAME}")].clone();
    for args in [
        &["images", "--tree", NAME][..],
        &["images", "--tree", "--filter", "reference=several"],
        &["inspect", "--format", FIELDS, NAME],
        &["inspect", "--format", FIELDS, &digest],
        &["inspect", "nothing"],
        &["inspect", "--type", "container", "nothing"],
        &[
            "image",
            "inspect",
            "--platform",
            "linux/arm64",
            "--format",
            FIELDS,
            NAME,
        ],
        &["image", "inspect", "--platform", "linux/riscv64", NAME],
        &[
            "image",
            "history",
            "--platform",
            "linux/arm64",
            "--no-trunc",
            NAME,
        ],
        &["image", "history", "--platform", "linux/s390x", NAME],
        &["image", "history", "--platform", "linux/riscv64", &digest],
    ] {
        agree(args, &both(&theirs, &ours, args).await);
    }
    let tree = docker(&ours.socket(), &["images", "--tree", NAME]).await;
    let line = |platform: &str| {
        let mut lines = tree.stdout.lines();
        let line = lines.find(|line| line.contains(platform));
        line.unwrap_or_else(|| panic!("{tree:#?}")).trim_end()
    };
    assert!(line("linux/amd64").ends_with('U'), "{tree:#?}");
    assert!(!line("linux/arm64").ends_with('U'), "{tree:#?}");

    let path = "/v1.51/images/json?manifests=1&filters=%7B%22reference%22%3A%5B%22several%22%5D%7D";
    let (their_list, our_list) = tokio::join!(theirs.ask("GET", path), ours.ask("GET", path));
    let without_containers = |mut list: Value| {
        for manifest in list[0]["Manifests"].as_array_mut().unwrap() {
            // Each side has containers of its own.
            let containers = manifest.pointer_mut("/ImageData/Containers");
            if let Some(Value::Array(containers)) = containers {
                *containers = vec![json!(containers.len())];
            }
        }
        list[0]["Manifests"].clone()
    };
    let [theirs_shown, ours_shown] =
        [their_list, our_list].map(|list| without_containers(list.json()));
    assert_eq!(ours_shown, theirs_shown);
    let kinds: Vec<&Value> = ours_shown
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["Kind"])
        .collect();
    assert_eq!(kinds, ["image", "image", "image", "attestation"]);
}

/// Docker 28 refuses an absent platform; since 29.1.2 it describes it.
#[tokio::test]
async fn shows_the_age_of_containers_and_absent_platforms() {
    let (theirs, ours) = sides().await;
    let usage = docker(&ours.socket(), &["system", "df", "--verbose"]).await;
    assert_eq!(usage.code, 0, "{usage:#?}");
    assert!(!usage.stdout.contains("56 years ago"), "{usage:#?}");
    let args = [
        "image",
        "inspect",
        "--platform",
        "linux/s390x",
        "--format",
        "{{.Id}}",
        NAME,
    ];
    let (their_answer, our_answer) = both(&theirs, &ours, &args).await;
    assert_eq!(
        (their_answer.code, our_answer.code),
        (1, 0),
        "{our_answer:#?}"
    );
    assert!(our_answer.stdout.starts_with("sha256:"), "{our_answer:#?}");
}

const FIELDS: &str = "{{.Id}} {{json .RepoTags}} {{json .RepoDigests}} {{json .Config}} \
                      {{json .RootFS}} {{.Created}} {{.Architecture}} {{.Os}} {{.Size}} \
                      {{json .Descriptor}}";
