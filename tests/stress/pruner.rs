//! The two pruners.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use reclaim_testkit::{Deletion, NamespaceClient};
use serde_json::Value;
use tokio::process::Command;

/// The label of leases that a prune may drop, which Docker's pulls set.
pub(crate) const DROPPABLE: &str = "moby/prune.images";

/// The grace period: how long a prune waits for creations in progress.
pub(crate) const GRACE: Duration = Duration::from_millis(300);

/// How to prune.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pruner {
    /// The real binary.
    Reclaim,
    /// List containers, list images, drop the leases of pulls, delete each image that no
    /// container names, synchronously and by name.
    LookOnceAndDelete,
}

impl Pruner {
    /// Prunes once. Returns the removed names, each with the target in the plan.
    pub(crate) async fn prune(
        self,
        address: &str,
        namespace: &NamespaceClient,
    ) -> BTreeSet<(String, String)> {
        match self {
            Self::Reclaim => reclaim(address).await,
            Self::LookOnceAndDelete => look_once_and_delete(namespace).await,
        }
    }
}

async fn reclaim(address: &str) -> BTreeSet<(String, String)> {
    let output = Command::new(env!("CARGO_BIN_EXE_reclaim"))
        .env_clear()
        .env("RECLAIM_AUDIT_DIR", "/dev/null")
        .args(["image", "prune", "-a", "-f", "--format", "json"])
        .args(["--allow-empty", "default", "--grace"])
        .arg(format!("{}ms", GRACE.as_millis()))
        .env("CONTAINERD_ADDRESS", address)
        .stdin(Stdio::null())
        .output()
        .await
        .expect("the binary runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    report["removed"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|image| (text(&image["name"]), text(&image["target"])))
        .collect()
}

async fn look_once_and_delete(namespace: &NamespaceClient) -> BTreeSet<(String, String)> {
    let mut removed = BTreeSet::new();
    for (lease, labels) in namespace.leases().await.expect("containerd answers") {
        if labels.contains_key(DROPPABLE) {
            // It may have ended by itself.
            namespace.delete_lease(&lease, Deletion::Async).await.ok();
        }
    }
    let containers = namespace.containers().await.expect("containerd answers");
    let used: BTreeSet<String> = containers
        .into_values()
        .map(|container| container.image)
        .collect();
    for (name, target) in namespace.images().await.expect("containerd answers") {
        if !used.contains(&name) && namespace.delete_image(&name, Deletion::Sync).await.is_ok() {
            removed.insert((name, target.to_string()));
        }
    }
    removed
}
