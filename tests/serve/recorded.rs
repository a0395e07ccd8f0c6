//! What records of the audit say of their callers, and of what is not a run of the engine.

use std::time::Duration;

use rcgen::{DistinguishedName, DnType, SanType};
use reclaim_api::grpc::proto::{self, Container};
use reclaim_model::is_printable;
use reclaim_testkit::{Layer, image, labels};
use serde_json::{Value, json};

use crate::audit::Stage;
use crate::authority::{Authority, ask, free_port, params};
use crate::grpc::{built, registrar};
use crate::host::fill;

/// Sets the title of a terminal, begins a line, and reverses the rest of it.
const HOSTILE: &str = "x\u{1b}]0;t\u{7}\r\nforged: \u{9b}2J\u{202e}y";

fn words<'r>(records: &'r [Value], key: &str) -> Vec<&'r str> {
    let records = records.iter();
    records
        .map(|record| record["caller"][key].as_str().unwrap())
        .collect()
}

/// A policy that is due, without anybody who requests it.
#[tokio::test(flavor = "multi_thread")]
async fn a_scheduled_run_names_the_schedule_and_its_policy() {
    let stage = Stage::start_with("interval = \"1s\"\n", &[]).await;
    built(&stage.rig, "app:1").await;
    let all = ["history", "--all", "--format", "json"];
    while stage.reclaim(&all).exits(0).json()["records"][0]["outcome"] != "done" {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let records = stage.records().await;
    let [record] = &records[..] else {
        panic!("{records:#?}");
    };
    let caller = &record["caller"];
    assert_eq!(caller["entry_point"], "schedule", "{record:#?}");
    assert_eq!(caller["policy"], "p", "{record:#?}");
    // The daemon itself.
    assert_eq!(caller["process"]["command"], "reclaim", "{record:#?}");
    assert_eq!(record["request"], json!({"policy": "p"}));
    assert_eq!(record["images"][0]["name"], "docker.io/library/app:1");
    let text = stage.reclaim(&["history", "--all"]).exits(0).stdout;
    assert!(
        text.contains(" policy in default by the schedule, policy p"),
        "{text}"
    );
}

/// The record has the names of the certificate, which the client proved to have, and its host. All names
/// are hostile: they are exact in JSON, and cannot forge a line of the text.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_and_hostile_names_are_exact_in_json_and_replaced_in_text() {
    let authority = Authority::new();
    let port = free_port();
    let mut args = authority.options(&authority.sign("server"));
    args.extend(["--listen".to_owned(), format!("tcp://127.0.0.1:{port}")]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let stage = Stage::start_with("", &args).await;
    let name = format!("docker.io/library/{HOSTILE}");
    let built = image(&name).layers([Layer::named("hostile", 900)]);
    built.build(&stage.rig.namespace).await.unwrap();

    let mut params = params();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, HOSTILE);
    params.subject_alt_names = vec![
        SanType::URI("spiffe://example/ci".try_into().unwrap()),
        SanType::Rfc822Name("ci@example.org".try_into().unwrap()),
    ];
    let certificate = authority.sign_params("client", &params);
    let path = "/images/prune?filters=%7B%22dangling%22%3A%5B%22false%22%5D%7D";
    let answer = ask(port, &authority, Some(&certificate), ["POST", path, ""]).await;
    answer.unwrap().done();

    let records = stage.records().await;
    let [record] = &records[..] else {
        panic!("{records:#?}");
    };
    let caller = &record["caller"];
    assert_eq!(caller["entry_point"], "docker", "{record:#?}");
    assert_eq!(caller["host"], "127.0.0.1", "{record:#?}");
    let found = &caller["certificate"];
    assert_eq!(found["common_name"], HOSTILE, "{record:#?}");
    assert!(
        !found["subject"].as_str().unwrap().is_empty(),
        "{record:#?}"
    );
    let alternative = json!(["URI:spiffe://example/ci", "email:ci@example.org"]);
    assert_eq!(found["alternative_names"], alternative, "{record:#?}");
    assert_eq!(record["images"][0]["name"], name.as_str(), "{record:#?}");

    let text = stage.reclaim(&["history", "--all"]).exits(0).stdout;
    assert_eq!(text.lines().count(), 2, "{text}");
    for line in text.lines() {
        assert!(line.chars().all(is_printable), "{line:?}");
    }
}

/// Registrations are recorded by what they change. Calls that only renew a list are not.
#[tokio::test(flavor = "multi_thread")]
async fn registrations_are_recorded_if_they_change_a_list() {
    let stage = Stage::start_with("", &[]).await;
    let container = |id: &str, image: &str| Container {
        id: id.to_owned(),
        image: image.to_owned(),
        ..Container::default()
    };
    let owner = "engine".to_owned();
    let replace = |containers: Vec<Container>| proto::ReplaceRequest {
        owner: owner.clone(),
        containers,
        ..proto::ReplaceRequest::default()
    };
    let upsert = proto::UpsertRequest {
        owner: owner.clone(),
        containers: vec![container("b", "b:2"), container(HOSTILE, "c:1")],
        ..proto::UpsertRequest::default()
    };
    let remove = proto::RemoveRequest {
        owner: owner.clone(),
        ids: vec![HOSTILE.to_owned(), "unknown".to_owned()],
        ..proto::RemoveRequest::default()
    };
    let both = vec![container("a", "a:1"), container("b", "b:1")];
    let mut client = registrar(&stage.daemon).await;
    for _ in 0..2 {
        client.replace(replace(both.clone())).await.unwrap();
    }
    for _ in 0..2 {
        client.upsert(upsert.clone()).await.unwrap();
        client.upsert(upsert.clone()).await.unwrap();
        client.remove(remove.clone()).await.unwrap();
        client.remove(remove.clone()).await.unwrap();
    }
    let forget = proto::ForgetRequest {
        owner: owner.clone(),
    };
    for _ in 0..2 {
        client.forget(forget.clone()).await.unwrap();
    }
    let records = stage.records().await;
    let requests: Vec<&Value> = records.iter().map(|record| &record["request"]).collect();
    let change = |added: &[&str], removed: &[&str]| json!({"containers": {"owner": "engine", "added": added, "removed": removed}});
    let expected = [
        change(&["a", "b"], &[]),
        change(&["b", HOSTILE], &[]),
        change(&[], &[HOSTILE]),
        change(&[HOSTILE], &[]),
        change(&[], &[HOSTILE]),
        change(&[], &["a", "b"]),
    ];
    assert_eq!(requests, expected.iter().collect::<Vec<_>>());
    assert_eq!(words(&records, "entry_point"), ["grpc"; 6]);
    for record in &records {
        assert_eq!(record["caller"]["process"]["pid"], std::process::id());
        assert_eq!(record["outcome"], "done", "{record:#?}");
        assert_eq!(record["images"], json!([]), "{record:#?}");
    }
    let text = stage.reclaim(&["history", "--all"]).exits(0).stdout;
    let last = text.lines().last().unwrap();
    assert!(
        last.contains(" register in default by the gRPC API, user 0, "),
        "{text}"
    );
    assert!(
        last.ends_with(": done, 0 containers added and 2 removed for engine"),
        "{text}"
    );
}

/// `project prune` through a Docker Engine, which is the daemon here. The command has a record, and the
/// daemon one for each removal that it was asked for.
#[tokio::test(flavor = "multi_thread")]
async fn a_removal_through_a_docker_engine_is_recorded() {
    let stage = Stage::start_with("", &[]).await;
    fill(&stage.rig.namespace).await;
    let image = image("docker.io/library/shop-web:latest")
        .layers([Layer::named("shop", 900)])
        .config_labels(labels([
            ("com.docker.compose.project", "shop"),
            ("com.docker.compose.service", "web"),
        ]));
    image.build(&stage.rig.namespace).await.unwrap();
    let engine = format!("unix://{}", stage.daemon.socket().display());
    let prune = |further: &[&str]| {
        let args = [
            "project",
            "prune",
            "-p",
            "shop",
            "--rmi",
            "local",
            "--remove-orphans",
            "--engine",
            &engine,
        ];
        stage.reclaim(&[&args[..], further].concat()).exits(0)
    };
    prune(&["--dry-run"]);
    assert!(stage.records().await.is_empty());
    prune(&[]);
    // Nothing is left to be removed.
    prune(&[]);
    let records = stage.records().await;
    let mut points = words(&records, "entry_point");
    points.sort_unstable();
    assert_eq!(points, ["command_line", "docker"], "{records:#?}");
    let mut records_of_command = records.iter();
    let record = records_of_command
        .find(|record| record["caller"]["entry_point"] == "command_line")
        .unwrap();
    let request = &record["request"]["docker"];
    assert_eq!(request["engine"], engine.as_str(), "{record:#?}");
    let project = &request["request"]["selection"]["project"];
    assert_eq!(project["project"]["name"], "shop", "{record:#?}");
    assert_eq!(record["caller"]["process"]["command"], "reclaim");
    assert_eq!(
        (&record["outcome"], &record["changed"]),
        (&json!("done"), &json!(1))
    );
    let removed = &record["images"][0];
    assert_eq!(removed["name"], "shop-web:latest", "{record:#?}");
    assert_eq!(removed["change"], "removed", "{record:#?}");
    let text = stage.reclaim(&["history", "--all"]).exits(0).stdout;
    assert!(text.contains(" project prune in "), "{text}");
    assert!(
        text.contains(&format!(": done, 1 image through {engine}\n")),
        "{text}"
    );
}
