//! nerdctl's image mounts: views of images that are roots by their own label.
//!
//! The label of the container that mounts one names it. nerdctl removes the view with the
//! container; if it is killed, or the container is removed by another client, the view stays and
//! keeps the image: it leaks.
//!
//! Source: nerdctl, `setupImageMount` in `pkg/cmd/container/run_mount.go` and `RemoveContainer` in
//! `pkg/cmd/container/remove.go`.

use reclaim_model::{
    Container, Namespace, NamespaceInventory, RootMark, Snapshot, SnapshotKind, Snapshotter,
};

/// The end of the key of every image mount.
const SUFFIX: &str = "-image-mount";

/// Returns the container that mounts a view, if the view is an image mount.
pub(crate) fn container_of<'a>(
    namespace: &'a NamespaceInventory,
    snapshotter: &Snapshotter,
    key: &str,
) -> Option<&'a Container> {
    if !key.ends_with(SUFFIX) {
        return None;
    }
    // nerdctl makes the view in the snapshotter of the container.
    let may_mount = |container: &&Container| {
        let own = container.snapshot.as_ref();
        own.is_none_or(|own| own.snapshotter == *snapshotter)
    };
    let mut containers = namespace.containers.iter().filter(may_mount);
    containers.find(|it| it.mounted_snapshots.iter().any(|mounted| mounted == key))
}

/// Whether a snapshot is an image mount without a container.
pub(crate) fn is_leaked(
    namespace: &NamespaceInventory,
    snapshotter: &Snapshotter,
    snapshot: &Snapshot,
) -> bool {
    snapshot.key.ends_with(SUFFIX)
        && snapshot.kind == SnapshotKind::View
        && snapshot.gc.root != RootMark::None
        && container_of(namespace, snapshotter, &snapshot.key).is_none()
}

/// Returns a warning for every image mount without a container, with the way to remove it.
pub(crate) fn warnings<'a>(
    name: &'a Namespace,
    namespace: &'a NamespaceInventory,
) -> impl Iterator<Item = String> + 'a {
    let lists = namespace.snapshots.iter();
    let snapshots =
        lists.flat_map(|(snapshotter, list)| list.iter().map(move |it| (snapshotter, it)));
    let leaked = snapshots.filter(|(snapshotter, it)| is_leaked(namespace, snapshotter, it));
    leaked.map(move |(snapshotter, snapshot)| warning(name, snapshotter, &snapshot.key))
}

/// Returns the warning for one image mount. A key that a shell would not read as it is has no command.
pub(crate) fn warning(namespace: &Namespace, snapshotter: &str, key: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "._-:/".contains(letter);
    let remove = if key.chars().all(is_plain) {
        format!("`ctr -n {namespace} snapshots --snapshotter {snapshotter} rm {key}`")
    } else {
        "`ctr snapshots rm`".to_owned()
    };
    format!(
        "namespace `{namespace}`: no container has the image mount `{snapshotter}/{key}`; unless \
         nerdctl is creating one, remove it with {remove}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_shown_only_for_a_plain_key() {
        let namespace: Namespace = "default".parse().unwrap();
        let shown = warning(&namespace, "overlayfs", "a1-image-mount");
        assert!(
            shown.ends_with("--snapshotter overlayfs rm a1-image-mount`"),
            "{shown}"
        );
        let shown = warning(&namespace, "overlayfs", "$(reboot)-image-mount");
        assert!(
            shown.ends_with("remove it with `ctr snapshots rm`"),
            "{shown}"
        );
    }
}
