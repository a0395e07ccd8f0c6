//! `GET /images/json` and `/system/df`.

use reclaim_engine::Container;
use reclaim_fake::Labels;
use serde_json::{Value, json};

use crate::stage::{CONFIG, MANIFEST, Stage};

/// Returns the only image of the list.
async fn only(stage: &Stage, path: &str) -> Value {
    let list = stage.get(path).await;
    let [image] = &list.as_array().unwrap()[..] else {
        panic!("{list:#}")
    };
    image.clone()
}

/// Docker's client follows a null pointer if an attestation does not say what it attests.
#[tokio::test]
async fn an_attestation_names_the_manifest_that_it_is_about() {
    let stage = Stage::set();
    let amd64 = stage.platform("linux/amd64");
    let attestation = stage.attestation(&amd64);
    let arm64 = Stage::absent("linux/arm64");
    let mut unnamed = stage.attestation(&arm64);
    unnamed["annotations"] = json!({"vnd.docker.reference.type": "attestation-manifest"});
    stage.index("app:1", &[&amd64, &arm64, &attestation, &unnamed]);
    let image = only(&stage, "/v1.51/images/json?manifests=1").await;
    let manifests = image["Manifests"].as_array().unwrap();
    let kinds: Vec<&Value> = manifests.iter().map(|manifest| &manifest["Kind"]).collect();
    assert_eq!(kinds, ["image", "image", "attestation", "unknown"]);
    for manifest in manifests {
        let is = |kind: &str| manifest["Kind"] == kind;
        let has = |key: &str| manifest.get(key).is_some();
        assert_eq!(has("AttestationData"), is("attestation"), "{manifest:#}");
        assert_eq!(has("ImageData"), is("image"), "{manifest:#}");
    }
    let descriptors: Vec<&Value> = manifests.iter().map(|it| &it["Descriptor"]).collect();
    assert_eq!(descriptors, [&amd64, &arm64, &attestation, &unnamed]);
    assert_eq!(manifests[2]["AttestationData"]["For"], amd64["digest"]);
    let inspected = stage.get("/v1.51/images/app:1/json?manifests=1").await;
    assert_eq!(inspected["Manifests"], image["Manifests"]);
}

#[tokio::test]
async fn an_absent_platform_is_an_image_that_is_not_available() {
    let stage = Stage::set();
    let amd64 = stage.platform("linux/amd64");
    stage.index("app:1", &[&Stage::absent("linux/arm64"), &amd64]);
    let image = only(&stage, "/v1.47/images/json?manifests=1").await;
    let [absent, present] = &image["Manifests"].as_array().unwrap()[..] else {
        panic!("{image:#}")
    };
    assert_eq!(absent["Available"], false);
    assert_eq!(absent["Size"], json!({"Content": 0, "Total": 0}));
    let data = json!({
        "Platform": {"os": "linux", "architecture": "arm64"},
        "Size": {"Unpacked": 0},
        "Containers": null,
    });
    assert_eq!(absent["ImageData"], data);
    assert_eq!(present["Available"], true);
    assert_eq!(image["Labels"], json!({"platform": "linux/amd64"}));
}

/// An index can name a platform that the configuration does not, and artifacts.
#[tokio::test]
async fn a_manifest_without_layers_of_an_image_is_unknown() {
    let stage = Stage::set();
    let config = stage.document(CONFIG, &json!({"os": "linux", "architecture": "amd64"}));
    let artifact = stage.blob("text/plain", b"text", Labels::new());
    let document = json!({"mediaType": MANIFEST, "config": config, "layers": [artifact]});
    let artifact = stage.document(MANIFEST, &document);
    let document = json!({"mediaType": MANIFEST, "config": config, "layers": []});
    let mut empty = stage.document(MANIFEST, &document);
    empty["platform"] = json!({"os": "linux", "architecture": "s390x"});
    let mut pseudo = stage.platform("linux/amd64");
    pseudo["platform"] = json!({"os": "unknown", "architecture": "unknown"});
    let torn = stage.blob(MANIFEST, b"{", Labels::new());
    stage.index("app:1", &[&artifact, &empty, &pseudo, &torn]);
    let image = only(&stage, "/v1.47/images/json?manifests=1").await;
    let manifests = image["Manifests"].as_array().unwrap();
    let kinds: Vec<&Value> = manifests.iter().map(|manifest| &manifest["Kind"]).collect();
    assert_eq!(kinds, ["unknown", "image", "unknown", "unknown"]);
    let platform = json!({"os": "linux", "architecture": "s390x"});
    assert_eq!(manifests[1]["ImageData"]["Platform"], platform);
}

#[tokio::test]
async fn a_platform_lists_the_containers_that_use_it() {
    let stage = Stage::set();
    let amd64 = stage.platform("linux/amd64");
    let arm64 = stage.platform("linux/arm64");
    let both = stage.index("both:1", &[&amd64, &arm64]);
    let digest = |value: &Value| value["digest"].as_str().unwrap().parse().ok();
    stage.container(Container {
        id: "reported".to_owned(),
        image: "both:1".to_owned(),
        image_digest: both.parse().ok(),
        image_manifest: digest(&arm64),
        ..Container::default()
    });
    // Which of two platforms it uses is unknown.
    stage.container(Container {
        id: "unknown".to_owned(),
        image: "both:1".to_owned(),
        ..Container::default()
    });
    let one = stage.platform("linux/s390x");
    stage.record("one:1", &one);
    stage.container(Container {
        id: "only".to_owned(),
        image: "one:1".to_owned(),
        ..Container::default()
    });
    let list = stage.get("/v1.51/images/json?manifests=1").await;
    let containers = |name: &str| -> Vec<Value> {
        let images = list.as_array().unwrap();
        let image = images.iter().find(|image| image["RepoTags"][0] == name);
        let manifests = image.unwrap()["Manifests"].as_array().unwrap();
        let of = |manifest: &Value| manifest["ImageData"]["Containers"].clone();
        manifests.iter().map(of).collect()
    };
    assert_eq!(containers("both:1"), [json!(null), json!(["reported"])]);
    assert_eq!(containers("one:1"), [json!(["only"])]);
}

#[tokio::test]
async fn names_are_in_the_order_of_the_records() {
    let stage = Stage::set();
    let target = stage.platform("linux/amd64");
    for name in ["ghcr.io/b:1", "z:1", "quay.io/a:1", "a:1"] {
        stage.record(name, &target);
    }
    let tags = json!(["a:1", "z:1", "ghcr.io/b:1", "quay.io/a:1"]);
    let listed = only(&stage, "/v1.51/images/json").await;
    assert_eq!(listed["RepoTags"], tags);
    let inspected = stage.get("/v1.51/images/z:1/json").await;
    assert_eq!(inspected["RepoTags"], tags);
}

#[tokio::test]
async fn missing_names_are_null_in_disk_usage() {
    let stage = Stage::set();
    let target = stage.platform("linux/amd64");
    stage.record("moby-dangling@", &target);
    for version in ["1.40", "1.51", "1.52"] {
        let usage = stage.get(&format!("/v{version}/system/df")).await;
        let image = &usage["Images"][0];
        assert_eq!(image["RepoTags"], Value::Null, "{version}");
        assert_eq!(image["RepoDigests"], Value::Null, "{version}");
        assert_eq!(image["Descriptor"]["digest"], target["digest"], "{version}");
    }
    let listed = only(&stage, "/v1.43/images/json").await;
    assert_eq!(listed["RepoTags"], json!([]));
}

#[tokio::test]
async fn an_identity_needs_the_manifests() {
    let stage = Stage::set();
    let amd64 = stage.platform("linux/amd64");
    let digest = stage.index("app:1", &[&amd64, &Stage::absent("linux/arm64")]);
    let refused = stage.ask("GET", "/v1.54/images/json?identity=1").await;
    let message = "conflicting options: identity requires manifests=1";
    assert_eq!(refused.refused(400), message);
    let path = "/images/json?manifests=1&identity=1";
    let unknown = only(&stage, &format!("/v1.54{path}")).await;
    assert_eq!(unknown["Manifests"][0]["ImageData"].get("Identity"), None);
    let source = "containerd.io/distribution.source.quay.io".to_owned();
    stage.fake.change(|state| {
        let content = &mut state.namespace(crate::stage::NAMESPACE).content;
        let labels = &mut content.get_mut(&digest).unwrap().labels;
        labels.insert(source, "team/app".to_owned());
    });
    let known = only(&stage, &format!("/v1.54{path}")).await;
    let identity = json!({"Pull": [{"Repository": "quay.io/team/app"}]});
    let [present, absent] = &known["Manifests"].as_array().unwrap()[..] else {
        panic!("{known:#}")
    };
    assert_eq!(present["ImageData"]["Identity"], identity);
    assert_eq!(absent["ImageData"].get("Identity"), None);
    let before = only(&stage, &format!("/v1.53{path}")).await;
    assert_eq!(before["Manifests"][0]["ImageData"].get("Identity"), None);
    let inspected = stage.get("/v1.53/images/app:1/json").await;
    assert_eq!(inspected["Identity"], identity);
    assert_eq!(
        stage.get("/v1.52/images/app:1/json").await.get("Identity"),
        None
    );
}
