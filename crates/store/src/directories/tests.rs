use std::fs;
use std::os::unix::fs::symlink;

use reclaim_model::{GcLabels, NamespaceInventory};

use super::walk::walk;
use super::*;

/// Creates a snapshotter's root with these directories and as many bytes in each.
fn root(layout: Layout, directories: &[(&str, usize)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (name, bytes) in directories {
        let path = root.path().join("snapshots").join(name);
        fs::create_dir_all(layout.counted(&path)).unwrap();
        fs::write(layout.counted(&path).join("file"), vec![7; *bytes]).unwrap();
    }
    root
}

fn directories(root: &Path, layout: Layout) -> Directories {
    Directories {
        listings: BTreeMap::from([(name(layout), list(root, layout).unwrap())]),
        unseen: BTreeMap::new(),
    }
}

fn name(layout: Layout) -> Snapshotter {
    match layout {
        Layout::Overlay => "overlayfs",
        Layout::Native => "native",
    }
    .into()
}

/// Returns evidence about all directories below a root, of which `count` have no record; the
/// records have the sizes of the directories in `owned`.
fn evidence(root: &Path, layout: Layout, count: usize, owned: &[&str]) -> Evidence {
    let listing = list(root, layout).unwrap();
    let owned = owned.iter().map(|name| {
        let walked = walk(&layout.counted(&listing.path.join(name))).unwrap();
        Some((walked.bytes, walked.inodes))
    });
    Evidence {
        snapshotter: name(layout),
        listed_twice: listing.entries.keys().cloned().collect(),
        touched: BTreeSet::new(),
        mounted: BTreeSet::new(),
        owned: owned.collect(),
        count,
        listing,
    }
}

fn places(found: &Unrecorded) -> Vec<&str> {
    found
        .places
        .iter()
        .map(|place| {
            Path::new(&place.path)
                .file_name()
                .unwrap()
                .to_str()
                .unwrap()
        })
        .collect()
}

#[test]
fn finds_the_directory_whose_size_no_record_has() {
    let root = root(
        Layout::Overlay,
        &[("1", 10_000), ("2", 20_000), ("3", 50_000)],
    );
    let found = identify(&evidence(root.path(), Layout::Overlay, 1, &["1", "2"]));
    assert_eq!((places(&found), found.directories), (vec!["3"], 1));
    assert!(found.is_exact && found.bytes >= 50_000, "{found:?}");
}

#[test]
fn names_neither_of_two_directories_of_the_same_size() {
    let root = root(
        Layout::Overlay,
        &[("1", 10_000), ("2", 20_000), ("3", 20_000)],
    );
    let mut evidence = evidence(root.path(), Layout::Overlay, 1, &["1", "2"]);
    let found = identify(&evidence);
    assert_eq!((places(&found), found.directories), (vec![], 1));
    assert!(!found.is_exact && found.bytes == 0, "{found:?}");
    // Unless one is known to have a record: then only the others are candidates.
    evidence.mounted.insert("2".to_owned());
    evidence.owned.pop();
    assert_eq!(places(&identify(&evidence)), ["3"]);
    // Or an entry was removed in one of them.
    evidence.mounted.clear();
    evidence.touched.insert("2".to_owned());
    assert_eq!(places(&identify(&evidence)), ["2"]);
}

#[test]
fn records_of_unknown_size_prove_nothing() {
    let root = root(Layout::Overlay, &[("1", 10_000), ("2", 20_000)]);
    let mut evidence = evidence(root.path(), Layout::Overlay, 1, &[]);
    evidence.owned.push(None);
    assert_eq!(places(&identify(&evidence)), [""; 0]);
    // More unmatched directories than directories without a record prove nothing either.
    evidence.owned = vec![Some((1, 1))];
    assert_eq!(places(&identify(&evidence)), [""; 0]);
}

#[test]
fn a_directory_whose_name_is_not_a_number_has_no_record() {
    let root = root(Layout::Native, &[("1", 10), ("rm-2", 20), ("new-3", 30)]);
    let found = identify(&evidence(root.path(), Layout::Native, 1, &["1"]));
    // `new-3` is being created, so it is not a candidate.
    assert_eq!(places(&found), ["rm-2"]);
}

fn snapshot(key: &str, parent: Option<&str>, kind: SnapshotKind) -> Snapshot {
    Snapshot {
        key: key.into(),
        parent: parent.map(Into::into),
        kind,
        gc: GcLabels::default(),
    }
}

#[test]
fn counts_directories_in_excess_of_records() {
    for layout in [Layout::Overlay, Layout::Native] {
        let root = root(layout, &[("1", 1), ("2", 2), ("3", 3), ("4", 4)]);
        let before = directories(root.path(), layout);
        let records = vec![
            snapshot("base", None, SnapshotKind::Committed),
            snapshot("view", Some("base"), SnapshotKind::View),
        ];
        let mut inventory = Inventory::default();
        let namespace = NamespaceInventory {
            snapshots: BTreeMap::from([(name(layout), records)]),
            ..NamespaceInventory::default()
        };
        inventory
            .namespaces
            .insert("default".parse().unwrap(), namespace);
        // A view has no directory in native.
        let n_records = before.records(&inventory);
        let expected = if layout == Layout::Overlay { 2 } else { 1 };
        assert_eq!(n_records[&name(layout)], expected);
        // A new directory and a removed one do not count.
        let snapshots = root.path().join("snapshots");
        fs::remove_dir_all(snapshots.join("4")).unwrap();
        fs::create_dir(snapshots.join("5")).unwrap();
        let after = before.relist();
        let excess = before.excess(&after, &n_records);
        assert_eq!(excess[&name(layout)], 3 - expected);
        // A gap may hide records of all of them.
        let mut namespaces = inventory.namespaces.values_mut();
        namespaces.next().unwrap().gaps.push(Gap::Snapshotter {
            is_configured: true,
            name: name(layout),
            why: "no answer".to_owned(),
        });
        assert!(before.records(&inventory).is_empty());
    }
}

#[test]
fn recognizes_directories_that_a_removal_touched() {
    let overlay = root(Layout::Overlay, &[("1", 1), ("2", 2)]);
    let before = directories(overlay.path(), Layout::Overlay);
    let snapshots = overlay.path().join("snapshots");
    // A change within the layer proves nothing.
    fs::remove_file(snapshots.join("1/fs/file")).unwrap();
    fs::create_dir(snapshots.join("2/work")).unwrap();
    let after = before.relist();
    let is_touched = |directory: &str| {
        let path = snapshots.join(directory);
        before.is_touched(&after, &name(Layout::Overlay), path.to_str().unwrap())
    };
    assert!(is_touched("2") && !is_touched("1"));

    let native = root(Layout::Native, &[("1", 1), ("2", 2)]);
    let before = directories(native.path(), Layout::Native);
    let snapshots = native.path().join("snapshots");
    fs::write(snapshots.join("1/more"), b"a container's").unwrap();
    fs::rename(snapshots.join("2"), snapshots.join("rm-2")).unwrap();
    let after = before.relist();
    let touched = before.touched(&after, &name(Layout::Native));
    assert_eq!(touched, BTreeSet::from(["rm-2".to_owned()]));
}

#[test]
fn counts_each_inode_once_and_follows_no_link() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    fs::write(path.join("a"), vec![7; 10_000]).unwrap();
    let one = walk(path).unwrap();
    fs::hard_link(path.join("a"), path.join("b")).unwrap();
    assert_eq!(walk(path).unwrap().inodes, one.inodes);
    symlink("/", path.join("c")).unwrap();
    assert_eq!(walk(path).unwrap().inodes, one.inodes + 1);
}

#[test]
fn a_mount_names_a_snapshot_and_its_parents() {
    let list = [
        snapshot("base", None, SnapshotKind::Committed),
        snapshot("run", Some("top"), SnapshotKind::Active),
        snapshot("top", Some("base"), SnapshotKind::Committed),
        snapshot("view", Some("top"), SnapshotKind::View),
    ];
    let keys = |top: usize, layout| {
        let chain = chain(&list, &list[top], layout);
        chain.map(|it| it.key.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(keys(1, Layout::Overlay), ["run", "top", "base"]);
    assert_eq!(keys(3, Layout::Overlay), ["top", "base"]);
    assert_eq!(keys(1, Layout::Native), ["run"]);
    assert_eq!(keys(3, Layout::Native), ["top"]);
}
