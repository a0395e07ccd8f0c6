//! Names, paths, labels and owners that look like files or commands are only texts.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reclaim_api::grpc::proto::{self, Container};
use reclaim_testkit::{Labels, Layer, image, labels};
use tonic::Code;

use crate::daemon::{CHECKS, Daemon, PAUSE};
use crate::grpc::registrar;
use crate::rig::Rig;

/// Content of a file that no request may read or change.
const SECRET: &str = "precious";

/// Returns texts that would read or change a file in `directory` if they were used as a path or a
/// command.
fn texts(directory: &str) -> Vec<String> {
    let up = "../".repeat(20);
    let forms = [
        format!("{directory}/secret"),
        format!("{up}{directory}/secret"),
        format!("file://{directory}/secret"),
        format!("@{directory}/secret"),
        format!("..%2f..%2f{directory}/secret"),
        format!("$(touch {directory}/made)"),
        format!("`touch {directory}/made`"),
        format!("x; touch {directory}/made"),
        format!("x\ntouch {directory}/made"),
        format!("x | tee {directory}/secret"),
        format!("--output={directory}/made"),
        format!("%s%n{directory}/made"),
        "../secret".to_owned(),
        "..".to_owned(),
        "\u{0}".to_owned(),
    ];
    forms.into()
}

/// Starts a daemon that has written what it writes on its own after its start, next to a secret.
async fn daemon(rig: &Rig) -> Daemon {
    let daemon = Daemon::start(rig.containerd.address(), &[]).await;
    fs::write(daemon.directory().join("secret"), SECRET).unwrap();
    let history = daemon.directory().join("filling.json");
    for _ in 0..CHECKS {
        if history.exists() {
            return daemon;
        }
        tokio::time::sleep(PAUSE).await;
    }
    panic!("the daemon wrote no history of filling");
}

/// Returns all files below a directory with their contents. Sockets and locks are empty.
fn files(directory: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else {
                let text = fs::read_to_string(&path).unwrap_or_default();
                found.insert(path.to_str().unwrap().to_owned(), text);
            }
        }
    }
    found
}

/// In every part of Docker's API, encoded and, if it is a valid path, also not encoded.
#[tokio::test]
async fn no_text_of_a_request_reaches_a_file_or_a_shell() {
    let rig = Rig::start().await;
    let daemon = daemon(&rig).await;
    let before = files(daemon.directory());
    for text in texts(daemon.directory().to_str().unwrap()) {
        let name = utf8_percent_encode(&text, NON_ALPHANUMERIC).to_string();
        let filters = |key: &str| {
            let document = serde_json::json!({key: [text]}).to_string();
            utf8_percent_encode(&document, NON_ALPHANUMERIC).to_string()
        };
        let labels = filters("label");
        let mut requests = vec![
            ("GET", format!("/images/{name}/json")),
            ("GET", format!("/images/{name}/history")),
            ("GET", format!("/images/app/json?platform={name}")),
            ("DELETE", format!("/images/{name}?force=1")),
            ("POST", format!("/images/prune?filters={labels}")),
            (
                "GET",
                format!("/images/json?filters={}", filters("reference")),
            ),
            (
                "GET",
                format!("/containers/json?filters={}", filters("name")),
            ),
            ("GET", format!("/system/df?type={name}")),
            (
                "GET",
                format!("/events?until=1&filters={}", filters("image")),
            ),
            ("GET", format!("/{name}")),
            ("POST", format!("/containers/{name}/exec")),
        ];
        let is_path = text.bytes().all(|byte| byte.is_ascii_graphic());
        if is_path {
            requests.push(("GET", format!("/images/{text}/json")));
            requests.push(("DELETE", format!("/images/{text}")));
        }
        for (method, path) in requests {
            let answer = daemon.ask(method, &path).await;
            let status = answer.status.as_u16();
            assert!(
                [200, 400, 404, 501].contains(&status),
                "{path}: {answer:#?}"
            );
            assert!(!answer.body.contains(SECRET), "{path}: {answer:#?}");
        }
    }
    assert_eq!(files(daemon.directory()), before);
}

/// Images with such names and labels are listed and pruned.
#[tokio::test]
async fn no_text_of_an_image_reaches_a_file_or_a_shell() {
    let rig = Rig::start().await;
    let daemon = daemon(&rig).await;
    let before = files(daemon.directory());
    let mut names = Vec::new();
    for text in texts(daemon.directory().to_str().unwrap()) {
        if text.contains('\u{0}') {
            // containerd does not accept it.
            continue;
        }
        let own = labels([("note", &*text), (&*text, "x")]);
        let built = image(&text)
            .layers([Layer::named(&text, 600)])
            .config_labels(own)
            .record_labels(labels([("note", &*text)]));
        built.build(&rig.namespace).await.unwrap();
        names.push(text);
    }
    let listed = daemon.ask("GET", "/images/json?all=1").await.done();
    assert_eq!(listed.as_array().unwrap().len(), names.len());
    daemon.ask("GET", "/system/df").await.done();
    for args in [
        &["image", "ls"][..],
        &["image", "prune", "-a", "--dry-run"],
        &["df", "--verbose"],
    ] {
        let output = rig.reclaim(args).exits(0);
        assert!(!output.stdout.contains(SECRET), "{output:#?}");
    }
    let body = daemon.prune(r#"{"dangling":["false"]}"#).await.done();
    assert!(body.get("Failed").is_none(), "{body}");
    assert_eq!(rig.names().await.len(), 0);
    let mut after = files(daemon.directory());
    let mut take = |name: &str| {
        let path = daemon.directory().join(name);
        after.remove(path.to_str().unwrap()).unwrap()
    };
    // The audit has the names, on one line for the beginning of the run and one for its end.
    assert_eq!(take("audit.lock"), "");
    let audit = take("audit.jsonl");
    assert!(!audit.contains(SECRET), "{audit}");
    let lines = audit.lines().map(serde_json::from_str);
    let lines: Vec<serde_json::Value> = lines.collect::<Result<_, _>>().unwrap();
    assert_eq!(lines.len(), 2, "{audit}");
    assert_eq!(lines[1]["changed"], names.len(), "{audit}");
    assert_eq!(after, before);
}

/// The owner of registered containers is the only text that names a file, and must be a plain name.
#[tokio::test]
async fn refuses_an_owner_that_is_not_a_plain_name() {
    let rig = Rig::start().await;
    let daemon = daemon(&rig).await;
    let mut registrar = registrar(&daemon).await;
    let texts = texts(daemon.directory().to_str().unwrap());
    let before = files(daemon.directory());
    for owner in &texts {
        let request = proto::ReplaceRequest {
            owner: owner.clone(),
            ..proto::ReplaceRequest::default()
        };
        let refused = registrar.replace(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{owner}");
        let owner = owner.clone();
        let forget = registrar.forget(proto::ForgetRequest { owner }).await;
        assert_eq!(forget.unwrap_err().code(), Code::InvalidArgument);
    }
    assert_eq!(files(daemon.directory()), before);
    let containers = texts.iter().map(|text| Container {
        id: text.clone(),
        image: text.clone(),
        mounts: vec![text.clone()],
        labels: Labels::from([(text.clone(), text.clone())])
            .into_iter()
            .collect(),
        ..Container::default()
    });
    let request = proto::ReplaceRequest {
        owner: "engine".to_owned(),
        containers: containers.collect(),
        ..proto::ReplaceRequest::default()
    };
    registrar.replace(request).await.unwrap();
    let mut after = files(daemon.directory());
    after.retain(|path, _| !before.contains_key(path));
    let created: Vec<&String> = after.keys().collect();
    let expected = ["audit.jsonl", "audit.lock", "containers/engine.json"];
    let expected = expected.map(|name| daemon.directory().join(name).display().to_string());
    assert_eq!(created, expected.each_ref());
    let secret = fs::read_to_string(daemon.directory().join("secret"));
    assert_eq!(secret.unwrap(), SECRET);
}
