//! Registered containers survive restarts, silent owners and damaged files.

use std::fs;

use reclaim_model::{ContainerState, SnapshotId};
use tempfile::TempDir;

use super::*;

fn owner(name: &str) -> OwnerName {
    name.parse().unwrap()
}

fn here() -> Namespace {
    "default".parse().unwrap()
}

fn container(id: &str) -> Container {
    Container {
        id: id.to_owned(),
        image: "app:1".to_owned(),
        image_digest: format!("sha256:{}", "a".repeat(64)).parse().ok(),
        mounts: vec!["tools:1".to_owned()],
        snapshot: Some(SnapshotId::new("overlayfs", id)),
        labels: [("k".to_owned(), "v".to_owned())].into(),
        state: ContainerState::Stopped,
        ..Container::default()
    }
}

fn ids(lists: &[OwnerList]) -> Vec<String> {
    let containers = lists.iter().flat_map(|it| &it.containers);
    containers.map(|it| it.id.clone()).collect()
}

fn store(directory: &TempDir) -> RegisteredContainers {
    RegisteredContainers::open(directory.path().to_owned()).unwrap()
}

#[tokio::test]
async fn a_restart_keeps_all_lists() {
    let directory = tempfile::tempdir().unwrap();
    let lives = TimeToLive::DEFAULT;
    {
        let store = store(&directory);
        let list = vec![container("a"), container("b")];
        store
            .replace(&owner("engine"), &here(), list, lives)
            .unwrap();
        store
            .upsert(&owner("other"), &here(), vec![container("c")], lives)
            .unwrap();
        store
            .remove(
                &owner("engine"),
                &here(),
                &["a".to_owned(), "x".to_owned()],
                lives,
            )
            .unwrap();
    }
    let again = store(&directory);
    let mut found = again.containers(&here()).await.unwrap();
    found.sort_by(|a, b| a.id.cmp(&b.id));
    assert_eq!(found, [container("b"), container("c")]);
    again.forget(&owner("engine")).unwrap();
    assert_eq!(ids(&again.lists()), ["c"]);
    assert_eq!(ids(&store(&directory).lists()), ["c"]);
}

/// A file of an earlier version, from before the crates were divided.
#[tokio::test]
async fn reads_the_file_of_an_earlier_version() {
    const FILE: &str = concat!(
        r#"{"version":1,"owner":"engine","lists":{"default":{"expires":"2026-01-02T03:04:05Z","#,
        r#""containers":[{"id":"a","image":"app:1","image_digest":"sha256:"#,
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        r#"","mounts":["tools:1"],"snapshot":["overlayfs","a"],"labels":{"k":"v"},"#,
        r#""is_running":false},{"id":"b","image":"","image_digest":null,"mounts":[],"#,
        r#""snapshot":null,"labels":{},"is_running":null}]}}}"#,
    );
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("engine.json"), FILE).unwrap();
    let found = store(&directory);
    let plain = Container {
        id: "b".to_owned(),
        ..Container::default()
    };
    let containers = found.containers(&here()).await.unwrap();
    assert_eq!(containers, [container("a"), plain]);
    let lists = found.lists();
    let expires: Timestamp = "2026-01-02T03:04:05Z".parse().unwrap();
    assert_eq!(
        (lists.len(), &lists[0].owner, lists[0].expires),
        (1, &owner("engine"), expires)
    );
}

#[tokio::test]
async fn a_silent_owner_keeps_its_list_and_is_named() {
    let store = RegisteredContainers::in_memory();
    let lives = TimeToLive(Duration::ZERO);
    store
        .replace(&owner("dead"), &here(), vec![container("a")], lives)
        .unwrap();
    assert_eq!(store.containers(&here()).await.unwrap().len(), 1);
    let warnings = store.warnings(&here());
    assert_eq!(warnings.len(), 1);
    assert!(
        warnings[0].starts_with("`dead` has not renewed its list since "),
        "{warnings:?}"
    );
    assert_eq!(
        store.warnings(&"other".parse().unwrap()),
        Vec::<String>::new()
    );
    store
        .upsert(&owner("dead"), &here(), Vec::new(), TimeToLive::DEFAULT)
        .unwrap();
    assert_eq!(store.warnings(&here()), Vec::<String>::new());
}

#[tokio::test]
async fn an_unreadable_file_is_an_error_that_names_it() {
    for (text, words) in [
        ("", "is damaged"),
        ("{", "is damaged"),
        (r#"{"version": 2}"#, "is of version 2"),
        (
            r#"{"version": 1, "owner": "../x", "lists": {}}"#,
            "is damaged",
        ),
        (
            r#"{"version": 1, "owner": "x", "lists": {}, "more": 1}"#,
            "is damaged",
        ),
    ] {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("x.json"), text).unwrap();
        let error = store(&directory)
            .containers(&here())
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("x.json") && error.contains(words),
            "{text}: {error}"
        );
    }
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("x.new"), "half").unwrap();
    assert!(
        store(&directory)
            .containers(&here())
            .await
            .unwrap()
            .is_empty()
    );
}

/// An unreadable file is not overwritten; only forgetting the owner removes it.
#[tokio::test]
async fn an_unreadable_list_is_not_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("engine.json");
    fs::write(&path, "half").unwrap();
    let damaged = store(&directory);
    let (engine, lives) = (owner("engine"), TimeToLive::DEFAULT);
    let refused = [
        damaged.upsert(&engine, &here(), vec![container("a")], lives),
        damaged.replace(&engine, &here(), vec![container("a")], lives),
        damaged.remove(&engine, &here(), &[], lives),
    ];
    for refused in refused {
        let error = chain(&refused.unwrap_err());
        assert!(
            error.contains("engine.json") && error.contains("forget the owner"),
            "{error}"
        );
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), "half");
    damaged
        .upsert(&owner("other"), &here(), vec![container("b")], lives)
        .unwrap();
    damaged.containers(&here()).await.unwrap_err();
    damaged.forget(&engine).unwrap();
    assert_eq!(damaged.containers(&here()).await.unwrap().len(), 1);
    damaged
        .upsert(&engine, &here(), vec![container("a")], lives)
        .unwrap();
    assert_eq!(ids(&store(&directory).lists()), ["a", "b"]);
}

/// With two files of an owner, it is unknown which has the last list.
#[tokio::test]
async fn a_copy_of_a_list_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let list = vec![container("a")];
    store(&directory)
        .replace(&owner("engine"), &here(), list, TimeToLive::DEFAULT)
        .unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::copy(at("engine.json"), at("engine.old.json")).unwrap();
    let found = store(&directory).containers(&here()).await;
    let error = found.unwrap_err().to_string();
    assert!(
        error.contains("engine.old.json") && error.contains("holds the lists of `engine`"),
        "{error}"
    );
}

#[test]
fn an_owner_name_is_not_a_path() {
    for name in [
        "",
        ".",
        "..",
        ".hidden",
        "a/b",
        "a b",
        "é",
        "-a",
        &"a".repeat(65),
    ] {
        let error = name.parse::<OwnerName>().unwrap_err().to_string();
        assert!(error.contains("accepted are"), "{error}");
    }
    for name in ["a", "engine-1", "my.engine_2", &"a".repeat(64)] {
        assert_eq!(owner(name).as_str(), name);
    }
}

#[test]
fn times_to_live_are_bounded() {
    let new = |seconds| TimeToLive::new(Duration::from_secs(seconds));
    assert_eq!(new(0), None);
    assert!(new(1).is_some() && new(86_400).is_some());
    assert_eq!(new(86_401), None);
}
