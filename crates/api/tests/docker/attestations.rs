//! `GET /images/{name}/attestations`.

use reclaim_fake::Labels;
use serde_json::json;

use crate::stage::{INDEX, NAMESPACE, PROVENANCE, Stage, platform};

#[tokio::test]
async fn statements_are_those_of_one_platform() {
    let stage = Stage::set();
    let amd64 = stage.platform("linux/amd64");
    let arm64 = stage.platform("linux/arm64");
    let attestation = stage.attestation(&arm64);
    stage.index("app:1", &[&amd64, &arm64, &attestation]);
    let path = "/v1.55/images/app:1/attestations";
    let of_arm = format!("{path}?{}", platform("linux/arm64"));
    let listed = stage.get(&of_arm).await;
    let descriptor = &listed[0]["Descriptor"];
    assert_eq!(
        descriptor["annotations"]["in-toto.io/predicate-type"],
        PROVENANCE
    );
    let statement = json!({"Descriptor": descriptor, "PredicateType": PROVENANCE});
    assert_eq!(listed, json!([statement]));
    for (query, count) in [
        ("type=other", 0),
        ("type=other&type=https://slsa.dev/provenance/v1", 1),
        ("type=%20", 1),
    ] {
        let listed = stage.get(&format!("{of_arm}&{query}")).await;
        assert_eq!(listed.as_array().unwrap().len(), count, "{query}");
    }
    let whole = stage.get(&format!("{of_arm}&statement=1")).await;
    assert_eq!(whole[0]["Statement"]["subject"], json!([arm64["digest"]]));
    let unattested = stage
        .get(&format!("{path}?{}", platform("linux/amd64")))
        .await;
    assert_eq!(unattested, json!([]));

    let lacking = stage
        .ask("GET", &format!("{path}?{}", platform("linux/s390x")))
        .await;
    let message = "resolving image manifest for platform &{Architecture:s390x OS:linux OSVersion: \
                   OSFeatures:[] Variant:}: no manifest for platform linux/s390x: not found";
    assert_eq!(lacking.refused(404), message);
    let two = format!("{of_arm}&{}", platform("linux/amd64"));
    let message = "only one platform value is currently supported";
    assert_eq!(stage.ask("GET", &two).await.refused(400), message);
    let old = stage.ask("GET", "/v1.54/images/app:1/attestations").await;
    let message = "GET /images/{name:.*}/attestations requires minimum API version 1.55";
    assert_eq!(old.refused(400), message);
    let missing = stage.ask("GET", "/v1.55/images/nothing/attestations").await;
    assert_eq!(missing.refused(404), "No such image: nothing:latest");

    let digest = descriptor["digest"].as_str().unwrap();
    stage
        .fake
        .change(|state| state.namespace(NAMESPACE).content.remove(digest));
    stage.get(&of_arm).await;
    let lost = stage.ask("GET", &format!("{of_arm}&statement=1")).await;
    let message = format!("attestation statement {digest} is not available locally: not found");
    assert_eq!(lost.refused(404), message);
}

#[tokio::test]
async fn only_an_index_has_attestations() {
    let stage = Stage::set();
    stage.record("one:1", &stage.platform("linux/amd64"));
    let torn = stage.blob(INDEX, b"{", Labels::new());
    stage.record("torn:1", &torn);
    let path = "/v1.57/images/one:1/attestations";
    assert_eq!(stage.get(path).await, json!([]));
    stage
        .ask("GET", "/v1.57/images/torn:1/attestations")
        .await
        .refused(404);
}
