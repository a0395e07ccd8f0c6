//! Which removed images come back, without a containerd.

use reclaim_model::{
    Blob, Child, Config, ContainerSource, Document, DocumentKind, GcLabels, Namespace,
    PruneFilters, Snapshot, Sources,
};

use super::*;
use crate::fixture::{digest, inventory, record};

fn snapshot(key: &str, kind: SnapshotKind) -> Snapshot {
    Snapshot {
        key: key.into(),
        parent: None,
        kind,
        gc: GcLabels::default(),
    }
}

fn with(snapshots: Vec<Snapshot>) -> NamespaceInventory {
    NamespaceInventory {
        snapshots: [("overlayfs".into(), snapshots)].into(),
        ..NamespaceInventory::default()
    }
}

#[test]
fn only_new_active_snapshots_and_views_count_as_uses() {
    let before = with(vec![
        snapshot("layer", SnapshotKind::Committed),
        snapshot("old", SnapshotKind::Active),
    ]);
    let mut seen = with(vec![
        snapshot("layer", SnapshotKind::Committed),
        snapshot("new", SnapshotKind::Active),
        snapshot("new layer", SnapshotKind::Committed),
        snapshot("old", SnapshotKind::Active),
        snapshot("view", SnapshotKind::View),
    ]);
    mark_new_snapshots(&mut seen, &mut [], &before);
    let lists = seen.snapshots.values().flatten();
    let counted = lists.filter(|it| it.gc.root != RootMark::None);
    assert_eq!(
        counted.map(|it| &*it.key).collect::<Vec<_>>(),
        ["new", "view"]
    );
    // All snapshots of a new snapshotter are new.
    let mut seen = with(vec![snapshot("new", SnapshotKind::Active)]);
    mark_new_snapshots(&mut seen, &mut [], &NamespaceInventory::default());
    let mut lists = seen.snapshots.values().flatten();
    assert!(lists.all(|it| it.gc.root == RootMark::Exact));
}

#[test]
fn a_new_snapshot_is_of_the_container_that_an_engine_lists() {
    let container = |id: &str, key: Option<&str>| Container {
        id: id.to_owned(),
        snapshot: key.map(|key| SnapshotId::new("overlayfs", key)),
        ..Container::default()
    };
    let keys = ["listed", "other", "recorded", "without"];
    let mut seen = with(keys.map(|key| snapshot(key, SnapshotKind::Active)).into());
    seen.containers = vec![
        container("other", Some("elsewhere")),
        container("recorded", Some("recorded")),
    ];
    let mut registered = [container("listed", None)];
    mark_new_snapshots(&mut seen, &mut registered, &NamespaceInventory::default());
    let lists = seen.snapshots.values().flatten();
    let marked = lists.filter(|it| it.gc.root != RootMark::None);
    let marked: Vec<&str> = marked.map(|it| &*it.key).collect();
    assert_eq!(marked, ["other", "without"]);
    let own = SnapshotId::new("overlayfs", "listed");
    assert_eq!(registered[0].snapshot, Some(own));
}

/// Two images with the same layers have been removed, and a container of one is new.
#[test]
fn only_the_image_of_a_new_container_is_needed() {
    let child = |digit, kind| Child {
        digest: digest(digit),
        size: 1,
        kind,
        is_attestation: false,
        is_layer: false,
    };
    let chain = digest('c');
    let mut first = inventory();
    for (manifest, config) in [('1', '3'), ('2', '4')] {
        let children = vec![child(config, DocumentKind::Config)];
        let manifest = (digest(manifest), Document::Manifest(children));
        let of_config = Config {
            chain_id: Some(chain.clone()),
            ..Config::default()
        };
        let config = (digest(config), Document::Config(of_config));
        first.documents.extend([manifest, config]);
    }
    let blob = |digit| Blob {
        digest: digest(digit),
        size: 1,
        gc: GcLabels::default(),
        sources: Sources::default(),
    };
    let before = NamespaceInventory {
        blobs: ['1', '2', '3', '4'].map(blob).into(),
        ..with(vec![snapshot(&chain.to_string(), SnapshotKind::Committed)])
    };
    let namespace: Namespace = "default".parse().unwrap();
    first.namespaces.insert(namespace.clone(), before.clone());
    let removed = ['1', '2'].map(|digit| {
        let mut record = record(&format!("docker.io/library/lab:{digit}"), digit);
        "application/vnd.oci.image.manifest.v1+json".clone_into(&mut record.target.media_type);
        record
    });
    let needed = |image_digest| {
        let mut root = snapshot("new", SnapshotKind::Active);
        root.parent = Some(chain.to_string().into());
        let mut seen = before.clone();
        seen.blobs.clear();
        seen.snapshots
            .values_mut()
            .for_each(|list| list.insert(0, root.clone()));
        let evaluation = Evaluation {
            observed_at: Timestamp::UNIX_EPOCH,
            has_unlisted_containers: false,
            request: ResolvedRequest::new(
                namespace.clone(),
                PruneFilters {
                    dangling: Some(false),
                    ..PruneFilters::default()
                },
            ),
            registered: vec![Container {
                id: "new".to_owned(),
                source: ContainerSource::Docker,
                image_digest,
                ..Container::default()
            }],
            seen,
        };
        let (needed, _) = evaluation.evaluate(&mut first.clone(), &removed);
        let names = needed.into_iter().map(|it| it.name);
        names.collect::<Vec<_>>()
    };
    let [one, other] = ["docker.io/library/lab:1", "docker.io/library/lab:2"];
    assert_eq!(needed(Some(digest('2'))), [other]);
    assert_eq!(needed(Some(digest('9'))), [one, other]);
    assert_eq!(needed(None), [one, other]);
}

#[test]
fn removed_records_are_added_under_free_names() {
    let images = vec![
        record("docker.io/library/made:1", '1'),
        record("docker.io/library/moved:1", '2'),
        record("docker.io/library/moved:2", '2'),
        record("odd name", '2'),
    ];
    let mut seen = NamespaceInventory {
        images,
        ..NamespaceInventory::default()
    };
    let removed = [
        record("docker.io/library/gone:1", '1'),
        // Created again with the same target.
        record("docker.io/library/made:1", '1'),
        record("docker.io/library/moved:1", '1'),
        record("docker.io/library/moved:2", '1'),
        record("odd name", '1'),
    ];
    let injected = inject(&mut seen, &removed);
    let names: Vec<_> = injected
        .iter()
        .map(|(name, it)| (&**name, &*it.name))
        .collect();
    let moved = format!("docker.io/library/moved@{}", digest('1'));
    let nameless = format!("{DANGLING_PREFIX}{}", digest('1'));
    let expected = [
        ("docker.io/library/gone:1", "docker.io/library/gone:1"),
        ("docker.io/library/moved:1", &*moved),
        ("docker.io/library/moved:2", &*moved),
        ("odd name", &*nameless),
    ];
    assert_eq!(names, expected);
    let names: Vec<&str> = seen.images.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names.len(), 7, "a name is there once: {names:?}");
    assert!(names.is_sorted());
    let unknown = usage_unknown(&removed[0]);
    assert_eq!(unknown.name, unknown.image.name);
    assert_eq!(unknown.reason, KeepReason::UsageUnknown);
}
