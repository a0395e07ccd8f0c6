//! Reports name leases that hold what nothing else needs, and shorten IDs as Docker does.

use jiff::{SignedDuration, Timestamp};
use reclaim_model::HumanSize;
use reclaim_testkit::{BuiltImage, Deletion, Layer, LeaseResource, NewLease, image};

use crate::rig::Rig;

/// A lease ID of 64 hexadecimal digits.
fn hex() -> String {
    "0123456789abcdef".repeat(4)
}

/// An image without a record, and the lease of an unfinished pull, which holds it for another 23
/// hours.
async fn rig_with_dead_pull() -> (Rig, BuiltImage, Timestamp) {
    let rig = Rig::start().await;
    let here = &rig.namespace;
    let app = image("docker.io/library/app:1")
        .layers([Layer::random(1, 30_000)])
        .unpack("native")
        .build(here)
        .await
        .unwrap();
    let until = Timestamp::now() + SignedDuration::from_hours(23);
    here.create_lease(NewLease::new(&hex()).expires(until))
        .await
        .unwrap();
    let target = LeaseResource::content(&app.manifests[0].manifest.digest);
    here.add_lease_resource(&hex(), &target).await.unwrap();
    here.delete_image(app.name(), Deletion::Async)
        .await
        .unwrap();
    (rig, app, until)
}

/// Returns the size of an image's content and snapshots.
async fn bytes(rig: &Rig, app: &BuiltImage) -> u64 {
    let mut bytes: u64 = app.blobs.values().sum();
    for chain in &app.manifests[0].chain_ids {
        let chain = chain.to_string();
        bytes += rig.namespace.usage("native", &chain).await.unwrap().0;
    }
    bytes
}

/// A prune that frees nothing because a lease holds everything says which lease, how much and until
/// when, and does not delete the lease.
#[tokio::test]
async fn a_prune_names_the_lease_that_holds_the_rest() {
    let (rig, app, until) = rig_with_dead_pull().await;
    let bytes = bytes(&rig, &app).await;
    let size = HumanSize(bytes);
    let output = rig.reclaim(&["image", "prune", "-a", "-f"]).exits(0);
    assert_eq!(output.stdout, "Total reclaimed space: 0B\n");
    let begin = format!("not freed, held only by leases: {size}: 3 blobs of ");
    let [line] = output.stderr.lines().collect::<Vec<_>>()[..] else {
        panic!("{}", output.stderr)
    };
    assert!(line.starts_with(&begin), "{line}");
    let named = format!("; unfinished pull 0123456789ab ({size}, since 20");
    assert!(line.contains(&named), "{line}");
    assert!(line.ends_with(&format!("Z, until {until:.0})")), "{line}");
    assert!(rig.namespace.leases().await.unwrap().contains_key(&hex()));

    let dry = rig.reclaim(&["image", "prune", "-a", "--dry-run"]).exits(0);
    let begin = format!("Held only by leases, not counted: {size}: ");
    let line = dry.stdout.lines().find(|line| line.starts_with(&begin));
    assert!(line.is_some(), "{}", dry.stdout);
    let whole = rig
        .reclaim(&["image", "prune", "-a", "-f", "--no-trunc"])
        .exits(0);
    assert!(whole.stderr.contains(&hex()), "{}", whole.stderr);

    let args = ["image", "prune", "-a", "-f", "--format", "json"];
    let report = rig.reclaim(&args).exits(0).json();
    let leased = &report["leased"];
    let lease = &leased["leases"][0];
    assert_eq!(
        (&lease["id"], &lease["role"]),
        (&hex().into(), &"unfinished_pull".into())
    );
    assert_eq!(lease["until"], format!("{until:.0}"));
    assert!(lease["since"].is_string(), "{leased:#}");
    for amount in [leased, lease] {
        let sum = ["content_bytes", "snapshot_bytes"].map(|field| amount[field].as_u64().unwrap());
        assert_eq!(sum.iter().sum::<u64>(), bytes);
    }
}

/// `df -v` lists each lease, and its bytes are those of the `leased` column.
#[tokio::test]
async fn df_lists_leases_with_what_they_hold() {
    let (rig, app, until) = rig_with_dead_pull().await;
    let bytes = bytes(&rig, &app).await;
    let usage = rig
        .reclaim(&["df", "-v", "--format", "json"])
        .exits(0)
        .json();
    let here = &usage["namespaces"][0];
    let [lease] = &here["leases"].as_array().unwrap()[..] else {
        panic!("{usage:#}")
    };
    assert_eq!(lease["id"], hex());
    let leased = &here["columns"]["leased"];
    for field in ["content_bytes", "snapshot_bytes", "blobs", "snapshots"] {
        assert_eq!(lease[field], leased[field], "{field}");
    }
    let text = rig.reclaim(&["df", "-v"]).exits(0).stdout;
    let row = text
        .lines()
        .find(|line| line.starts_with("unfinished pull 0123456789ab "))
        .unwrap_or_else(|| panic!("{text}"));
    assert!(row.contains(&HumanSize(bytes).to_string()), "{row}");
    assert!(row.trim_end().ends_with(&format!("{until:.0}")), "{row}");
}

/// A pull that is writing a layer is in progress. Bytes that an image needs are not reported as
/// held only by leases.
#[tokio::test]
async fn a_pull_that_writes_a_layer_is_in_progress() {
    let (rig, app, _) = rig_with_dead_pull().await;
    let here = &rig.namespace;
    here.with_lease(&hex())
        .begin_ingest("layer-sha256:1", b"the beginning")
        .await
        .unwrap();
    app.tag(here, "docker.io/library/back:1").await.unwrap();
    let text = rig.reclaim(&["why", "back:1"]).exits(0).stdout;
    assert!(
        text.contains("  pull in progress 0123456789ab, until "),
        "{text}"
    );
    let args = ["image", "prune", "-a", "-f"];
    let stderr = rig.reclaim(&args).exits(0).stderr;
    assert_eq!(stderr, "", "the image needs what the lease holds");
}

/// JSON and `--no-trunc` have all holders.
#[tokio::test]
async fn text_shows_three_holders_and_the_number_of_others() {
    let rig = Rig::start().await;
    let here = &rig.namespace;
    let app = image("docker.io/library/app:1")
        .layers([Layer::random(1, 100)])
        .unpack("native")
        .build(here)
        .await
        .unwrap();
    let ids: Vec<String> = ["a", "b", "c", "d", "e"]
        .map(|letter| letter.repeat(64))
        .into();
    for id in &ids {
        here.docker_stopped_container(id, &app).await.unwrap();
    }
    let dry = ["image", "prune", "-a", "--dry-run"];
    let text = rig.reclaim(&dry).exits(0).stdout;
    let expected = "in use: stopped container aaaaaaaaaaaa, bbbbbbbbbbbb, cccccccccccc and 2 more";
    assert!(text.contains(expected), "{text}");
    let whole = rig.reclaim(&[&dry[..], &["--no-trunc"]].concat()).exits(0);
    assert!(whole.stdout.contains(&ids.join(", ")), "{}", whole.stdout);
    let target = app.manifests[0].manifest.digest.to_string();
    assert!(whole.stdout.contains(&target), "{}", whole.stdout);
    let json = rig.reclaim(&[&dry[..], &["--format", "json"]].concat());
    let kept = &json.exits(0).json()["kept"][0];
    let holders = kept["holders"].as_array().unwrap().iter();
    let listed: Vec<_> = holders
        .map(|holder| (&holder["id"], &holder["role"]))
        .collect();
    let role = "stopped_container".into();
    let all: Vec<serde_json::Value> = ids.into_iter().map(Into::into).collect();
    assert_eq!(listed, all.iter().map(|id| (id, &role)).collect::<Vec<_>>());

    let why = rig.reclaim(&["why", "app:1"]).exits(0).stdout;
    assert!(
        why.contains("\n  stopped container aaaaaaaaaaaa\n"),
        "{why}"
    );
    assert!(!why.contains(&"a".repeat(13)), "{why}");
    assert!(why.trim_end().ends_with(expected), "{why}");
    let rm = rig.reclaim(&["image", "rm", "app:1"]).exits(1).stderr;
    assert!(rm.contains(" container aaaaaaaaaaaa is using "), "{rm}");
    assert!(!rm.contains(&"a".repeat(13)), "{rm}");
}
