//! One case: builds a store, prunes it, and reads it before and after. `check` evaluates the
//! result.

use std::process::Command;

use reclaim_testkit::{Containerd, RandomStore, Status, Version};
use serde_json::Value;

use crate::contents::StoreContents;
use crate::prune::RandomPrune;

/// What was observed in one case.
#[derive(Debug)]
pub(crate) struct Observation {
    pub(crate) version: Version,
    pub(crate) prune: RandomPrune,
    pub(crate) before: StoreContents,
    /// The report of the dry run.
    pub(crate) planned: Value,
    /// The report of the run.
    pub(crate) report: Value,
    pub(crate) after: StoreContents,
}

/// Runs a case on a containerd that has nothing else.
///
/// # Errors
///
/// If the case cannot be run, because of the test's setup or because the command fails.
pub(crate) async fn run(
    containerd: &Containerd,
    store: &RandomStore,
    prune: &RandomPrune,
) -> Result<Observation, String> {
    let before = set_up(containerd, store, prune)
        .await
        .map_err(|status| format!("set up: {status}"))?;
    if before.disk_bytes != before.blobs().values().sum::<u64>() {
        return Err("set up: there are content files that no namespace has".to_owned());
    }
    let planned = reclaim(containerd, prune, &["--dry-run"])?;
    let after_dry_run = look(containerd).await?;
    if after_dry_run != before {
        return Err(format!("a dry run changed the store: {after_dry_run:#?}"));
    }
    let report = reclaim(containerd, prune, &["--force", "--grace", "0s"])?;
    Ok(Observation {
        version: containerd.version(),
        prune: prune.clone(),
        before,
        planned,
        report,
        after: look(containerd).await?,
    })
}

pub(crate) async fn set_up(
    containerd: &Containerd,
    store: &RandomStore,
    prune: &RandomPrune,
) -> Result<StoreContents, Status> {
    containerd.empty().await?;
    store.build(containerd).await?;
    if prune.is_collected {
        containerd.namespace("default").collect().await?;
    }
    StoreContents::read(containerd).await
}

async fn look(containerd: &Containerd) -> Result<StoreContents, String> {
    StoreContents::read(containerd)
        .await
        .map_err(|status| format!("read the store: {status}"))
}

/// Runs the prune and parses its report.
fn reclaim(containerd: &Containerd, prune: &RandomPrune, mode: &[&str]) -> Result<Value, String> {
    call(containerd, &[&prune.arguments(), mode].concat())
}

/// Calls `reclaim` and parses its JSON output.
pub(crate) fn call(containerd: &Containerd, arguments: &[&str]) -> Result<Value, String> {
    let output = Command::new(env!("CARGO_BIN_EXE_reclaim"))
        .env_clear()
        .env("RECLAIM_AUDIT_DIR", "/dev/null")
        .args(arguments)
        .env("CONTAINERD_ADDRESS", containerd.address())
        .output()
        .map_err(|error| format!("start reclaim: {error}"))?;
    if !output.status.success() {
        return Err(format!("reclaim {arguments:?}: {output:#?}"));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("{error}: {output:#?}"))
}
