//! Docker's API of images: lists, inspection, history, removal.

use reclaim_testkit::{Deletion, Layer, Manifest, image, index, labels};
use serde_json::{Value, json};

use crate::daemon::{Daemon, form_urlencoded};
use crate::rig::Rig;

async fn listed(daemon: &Daemon, query: &str) -> Vec<Value> {
    let answer = daemon
        .ask("GET", &format!("/v1.51/images/json?{query}"))
        .await;
    answer.done().as_array().unwrap().clone()
}

fn tags(list: &[Value]) -> Vec<&str> {
    let mut tags: Vec<&str> = list
        .iter()
        .flat_map(|image| image["RepoTags"].as_array().unwrap())
        .map(|tag| tag.as_str().unwrap())
        .collect();
    tags.sort_unstable();
    tags
}

#[tokio::test]
async fn lists_one_image_for_each_target() {
    let rig = Rig::start().await;
    let app = image("docker.io/library/app:1")
        .config_labels(labels([("k", "v")]))
        .layers([Layer::random(1, 3000)])
        .unpack("native")
        .build(&rig.namespace)
        .await
        .unwrap();
    app.tag(&rig.namespace, "quay.io/team/app:2").await.unwrap();
    image("docker.io/library/other:1")
        .build(&rig.namespace)
        .await
        .unwrap();
    rig.namespace.nerdctl_container("web", &app).await.unwrap();
    let daemon = Daemon::start(rig.containerd.address(), &[]).await;
    let list = listed(&daemon, "shared-size=1").await;
    assert_eq!(list.len(), 2);
    let digest = app.target.digest.to_string();
    let image = list.iter().find(|image| image["Id"] == digest).unwrap();
    assert_eq!(image["RepoTags"], json!(["app:1", "quay.io/team/app:2"]));
    let digests = [
        format!("app@{digest}"),
        format!("quay.io/team/app@{digest}"),
    ];
    assert_eq!(image["RepoDigests"], json!(digests));
    assert_eq!(image["Labels"], json!({"k": "v"}));
    assert_eq!(image["Containers"], 1);
    assert_eq!(image["Descriptor"]["digest"], digest);
    let content: u64 = app.blobs.values().sum();
    assert!(
        image["Size"].as_u64().unwrap() > content,
        "snapshots count: {image}"
    );

    for (filters, expected) in [
        (r#"{"reference":["app"]}"#, vec!["app:1"]),
        (
            r#"{"reference":["quay.io/*/app"]}"#,
            vec!["quay.io/team/app:2"],
        ),
        (r#"{"reference":["*"]}"#, vec!["app:1", "other:1"]),
        (
            r#"{"reference":["app:*","other"]}"#,
            vec!["app:1", "other:1"],
        ),
        (r#"{"reference":["["]}"#, vec![]),
        (r#"{"label":["k"]}"#, vec!["app:1", "quay.io/team/app:2"]),
        (r#"{"label!":["k=v"]}"#, vec!["other:1"]),
        (r#"{"dangling":["true"]}"#, vec![]),
        (r#"{"until":["1h"]}"#, vec![]),
        (r#"{"before":["app:1"],"since":["app:1"]}"#, vec![]),
    ] {
        let query = format!("filters={}", form_urlencoded(filters));
        assert_eq!(tags(&listed(&daemon, &query).await), expected, "{filters}");
    }
    let unknown = format!("/images/json?filters={}", form_urlencoded(r#"{"x":["y"]}"#));
    let refused = daemon.ask("GET", &unknown).await.refused(400);
    assert_eq!(refused, "invalid filter 'x'");
    let missing = format!(
        "/images/json?filters={}",
        form_urlencoded(r#"{"since":["y"]}"#)
    );
    let refused = daemon.ask("GET", &missing).await.refused(404);
    assert_eq!(refused, "No such image: y:latest");
}

#[tokio::test]
async fn older_api_versions_have_their_own_fields() {
    let rig = Rig::start().await;
    let app = image("docker.io/library/app:1")
        .build(&rig.namespace)
        .await
        .unwrap();
    app.dangling(&rig.namespace).await.unwrap();
    rig.namespace
        .delete_image(app.name(), Deletion::Async)
        .await
        .unwrap();
    let daemon = Daemon::start(rig.containerd.address(), &[]).await;
    let of = async |version: &str| {
        let path = format!("/v{version}/images/json");
        daemon.ask("GET", &path).await.done()[0].clone()
    };
    let newest = of("1.51").await;
    assert_eq!(newest["RepoTags"], json!([]));
    assert_eq!(newest.get("VirtualSize"), None);
    let old = of("1.42").await;
    assert_eq!(old["RepoTags"], json!(["<none>:<none>"]));
    assert_eq!(old["RepoDigests"], json!(["<none>@<none>"]));
    assert_eq!(old["VirtualSize"], newest["Size"]);
    assert_eq!(old["Containers"], -1);
    assert_eq!(old.get("Descriptor"), None);
}

#[tokio::test]
async fn inspects_by_name_and_by_id() {
    let rig = Rig::start().await;
    let app = image("docker.io/library/app:1")
        .config_labels(labels([("k", "v")]))
        .layers([Layer::random(1, 3000), Layer::random(2, 100)])
        .unpack("native")
        .build(&rig.namespace)
        .await
        .unwrap();
    let daemon = Daemon::start(rig.containerd.address(), &[]).await;
    let digest = app.target.digest.to_string();
    let hex = digest.strip_prefix("sha256:").unwrap();
    let by_name = daemon.ask("GET", "/v1.51/images/app:1/json").await.done();
    for name in [
        "docker.io/library/app:1",
        &digest,
        hex,
        &hex[..12],
        &format!("app@{digest}"),
    ] {
        let path = format!("/v1.51/images/{name}/json");
        assert_eq!(daemon.ask("GET", &path).await.done(), by_name, "{name}");
    }
    assert_eq!(by_name["Id"], digest);
    assert_eq!(by_name["RepoTags"], json!(["app:1"]));
    assert_eq!(by_name["Config"]["Labels"], json!({"k": "v"}));
    assert_eq!(by_name["RootFS"]["Layers"].as_array().unwrap().len(), 2);
    assert_eq!(by_name["GraphDriver"]["Name"], "native");
    assert_eq!(by_name["Os"], "linux");
    let legacy = daemon.ask("GET", "/v1.48/images/app:1/json").await.done();
    assert_eq!(legacy["Config"]["Hostname"], "");

    for path in ["/images/app/json", "/images/app/history"] {
        let none = daemon.ask("GET", path).await.refused(404);
        assert_eq!(none, "No such image: app:latest");
    }
    let wrong = daemon.ask("GET", "/images/UPPER/json").await.refused(400);
    let must = "invalid reference format: repository name (library/UPPER) must be lowercase";
    assert_eq!(wrong, must);
    let platform = form_urlencoded(r#"{"os":"plan9","architecture":"mips"}"#);
    let path = format!("/images/app:1/json?platform={platform}");
    let other = daemon.ask("GET", &path).await.refused(404);
    let lacking = "image with reference app:1 was found but does not provide the specified \
                   platform (plan9/mips)";
    assert_eq!(other, lacking);
}

/// The size is that of the content that is present.
#[tokio::test]
async fn lists_present_and_missing_platforms_of_an_index() {
    let rig = Rig::start().await;
    let multi = index("docker.io/library/multi:1")
        .manifest(Manifest::new("linux/amd64").layers([Layer::random(1, 900)]))
        .manifest(
            Manifest::new("linux/arm64")
                .layers([Layer::random(2, 900)])
                .absent(),
        )
        .build(&rig.namespace)
        .await
        .unwrap();
    let daemon = Daemon::start(rig.containerd.address(), &[]).await;
    let list = listed(&daemon, "manifests=1").await;
    let manifests = list[0]["Manifests"].as_array().unwrap();
    let available: Vec<&Value> = manifests
        .iter()
        .map(|manifest| &manifest["Available"])
        .collect();
    assert_eq!(available, [&json!(true), &json!(false)]);
    assert_eq!(
        manifests[0]["ImageData"]["Platform"]["architecture"],
        "amd64"
    );
    let index = multi.target.size;
    let content: u64 = multi.blobs.values().sum();
    assert_eq!(
        list[0]["Size"],
        content - index,
        "the index itself does not count"
    );
}

#[tokio::test]
async fn removes_like_docker() {
    let rig = Rig::start().await;
    let app = image("docker.io/library/app:1")
        .layers([Layer::random(1, 3000)])
        .unpack("native")
        .build(&rig.namespace)
        .await
        .unwrap();
    app.tag(&rig.namespace, "docker.io/library/app:2")
        .await
        .unwrap();
    let used = image("docker.io/library/used:1")
        .unpack("native")
        .layers([Layer::random(2, 100)])
        .build(&rig.namespace)
        .await
        .unwrap();
    rig.namespace.nerdctl_container("web", &used).await.unwrap();
    let daemon = Daemon::start(rig.containerd.address(), &[]).await;
    let digest = app.target.digest.to_string();

    let untagged = daemon.ask("DELETE", "/v1.51/images/app:1").await;
    assert_eq!(untagged.body, "[{\"Untagged\":\"app:1\"}]\n");
    let platforms = form_urlencoded(r#"{"os":"linux","architecture":"amd64"}"#);
    let path = format!("/v1.51/images/app:2?platforms={platforms}");
    let unforced = daemon.ask("DELETE", &path).await.refused(400);
    assert!(
        unforced.starts_with("Content will be removed from all images"),
        "{unforced}"
    );
    let deleted = daemon.ask("DELETE", "/v1.51/images/app:2").await;
    assert_eq!(
        deleted.done(),
        json!([{"Untagged": "app:2"}, {"Deleted": digest}])
    );
    assert!(deleted.headers.contains_key("reclaim-run"));
    let none = daemon
        .ask("DELETE", "/v1.51/images/app:2")
        .await
        .refused(404);
    assert_eq!(none, "No such image: app:2");
    let conflict = daemon
        .ask("DELETE", "/v1.51/images/used:1")
        .await
        .refused(409);
    let short = &used.target.digest.to_string()[7..19];
    let expected = format!(
        "conflict: unable to delete used:1 (must be forced) - container web is using its \
         referenced image {short}"
    );
    assert_eq!(conflict, expected);
    let blank = daemon.ask("DELETE", "/v1.51/images/%20").await.refused(400);
    assert_eq!(blank, "image name cannot be blank");
}

/// Compose removes all images of a project with parallel requests.
#[tokio::test]
async fn combines_parallel_removals_into_few_runs() {
    let rig = Rig::start().await;
    for number in 0..24 {
        let name = format!("docker.io/library/app:{number}");
        let own = Layer::random(number, 500);
        image(&name)
            .layers([own])
            .build(&rig.namespace)
            .await
            .unwrap();
    }
    let daemon = Daemon::start(rig.containerd.address(), &["--grace", "300ms"]).await;
    let removals = (0..25).map(async |number| {
        let path = format!("/v1.51/images/app:{number}?noprune=1");
        daemon.ask("DELETE", &path).await
    });
    let answers = futures::future::join_all(removals).await;
    assert_eq!(answers[24].refused(404), "No such image: app:24");
    let mut runs = std::collections::BTreeSet::new();
    for (number, answer) in answers[..24].iter().enumerate() {
        let rows = answer.done();
        assert_eq!(rows[0], json!({"Untagged": format!("app:{number}")}));
        runs.insert(answer.headers["reclaim-run"].to_str().unwrap().to_owned());
    }
    assert_eq!(rig.names().await.len(), 0);
    assert!(runs.len() <= 3, "{} runs", runs.len());
}

/// An image whose only name is generated is listed without a name, and pruned.
#[tokio::test]
async fn an_image_with_only_a_generated_name_is_dangling() {
    let rig = Rig::start().await;
    let old = image("docker.io/library/old:1")
        .layers([Layer::random(1, 500)])
        .build(&rig.namespace)
        .await
        .unwrap();
    let digest = old.target.digest.to_string();
    let generated = format!("overlayfs@{digest}");
    old.tag(&rig.namespace, &generated).await.unwrap();
    let daemon = Daemon::start(rig.containerd.address(), &[]).await;
    let dangling = format!("filters={}", form_urlencoded(r#"{"dangling":["true"]}"#));
    assert_eq!(listed(&daemon, &dangling).await.len(), 0);
    let deletion = rig.namespace.delete_image(old.name(), Deletion::Async);
    deletion.await.unwrap();
    let list = listed(&daemon, &dangling).await;
    assert_eq!(list.len(), 1);
    assert_eq!(list[0]["Id"], digest);
    assert_eq!(list[0]["RepoTags"], json!([]));
    assert_eq!(list[0]["RepoDigests"], json!([]));
    let pruned = daemon.ask("POST", "/v1.51/images/prune").await;
    assert_eq!(pruned.done()["ImagesDeleted"].as_array().unwrap().len(), 2);
    assert_eq!(listed(&daemon, "").await.len(), 0);
}
