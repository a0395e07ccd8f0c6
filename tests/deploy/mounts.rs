//! The table of docs/kubernetes.md has each mount of the `DaemonSet`, and no other.

use std::collections::BTreeMap;

use crate::read;

/// Returns what is between two lines.
fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let (_, rest) = text.split_once(from).unwrap();
    rest.split_once(to).unwrap().0
}

/// Returns the mounts of the container, and whether each is read-only.
fn mounted() -> BTreeMap<String, bool> {
    let manifest = read("deploy/kubernetes/base/daemonset.yaml");
    let mounts = between(&manifest, " volumeMounts:\n", "\n      volumes:\n");
    let mounts = mounts.split("- name: ").skip(1).map(|mount| {
        let value = |key: &str| {
            let mut lines = mount.lines();
            lines.find_map(|line| line.trim().strip_prefix(key))
        };
        let path = value("mountPath: ").unwrap().to_owned();
        (path, value("readOnly: ") == Some("true"))
    });
    mounts.collect()
}

#[test]
fn the_documentation_has_every_mount_of_the_pods() {
    let page = read("docs/kubernetes.md");
    let table = between(&page, "## What the pods mount\n", "\n## ");
    let rows = table.lines().filter(|line| line.starts_with("| `/"));
    let documented: BTreeMap<String, bool> = rows
        .map(|row| {
            let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
            let [path, access, purpose, loss] = cells[..] else {
                panic!("{row}")
            };
            assert!(!purpose.is_empty() && !loss.is_empty(), "{row}");
            assert!(["read", "write"].contains(&access), "{row}");
            (path.trim_matches('`').to_owned(), access == "read")
        })
        .collect();
    assert_eq!(documented, mounted());
}
