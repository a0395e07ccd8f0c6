//! One store and one question: build, ask, prune, look; what was seen is judged elsewhere.

use std::process::Command;

use reclaim_testkit::{Containerd, RandomStore, Status, Version};
use serde_json::Value;

use crate::picture::Picture;
use crate::question::Question;

/// All that was seen of one case.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) version: Version,
    pub(crate) question: Question,
    pub(crate) before: Picture,
    /// The report of the dry run.
    pub(crate) planned: Value,
    /// The report of the run.
    pub(crate) report: Value,
    pub(crate) after: Picture,
}

/// Runs a case on a containerd that is there for cases only.
///
/// # Errors
///
/// If it cannot even be run: then something is wrong with the rig, or with the command.
pub(crate) async fn run(
    containerd: &Containerd,
    store: &RandomStore,
    question: &Question,
) -> Result<Seen, String> {
    let before = set_up(containerd, store, question).await;
    let before = before.map_err(|status| format!("set up: {status}"))?;
    if before.disk_bytes != before.blobs().values().sum::<u64>() {
        return Err("set up: files that no namespace knows of are on disk".to_owned());
    }
    let planned = reclaim(containerd, question, &["--dry-run"])?;
    let untouched = look(containerd).await?;
    if untouched != before {
        return Err(format!("a dry run changed the store: {untouched:#?}"));
    }
    let report = reclaim(containerd, question, &["--force", "--grace", "0s"])?;
    Ok(Seen {
        version: containerd.version(),
        question: question.clone(),
        before,
        planned,
        report,
        after: look(containerd).await?,
    })
}

pub(crate) async fn set_up(
    containerd: &Containerd,
    store: &RandomStore,
    question: &Question,
) -> Result<Picture, Status> {
    containerd.empty().await?;
    store.build(containerd).await?;
    if question.is_collected {
        containerd.namespace("default").collect().await?;
    }
    Picture::take(containerd).await
}

async fn look(containerd: &Containerd) -> Result<Picture, String> {
    let picture = Picture::take(containerd).await;
    picture.map_err(|status| format!("look: {status}"))
}

/// Asks the question and reads the report.
fn reclaim(containerd: &Containerd, question: &Question, mode: &[&str]) -> Result<Value, String> {
    call(containerd, &[&question.arguments(), mode].concat())
}

/// Calls the command and reads what it prints.
pub(crate) fn call(containerd: &Containerd, arguments: &[&str]) -> Result<Value, String> {
    let output = Command::new(env!("CARGO_BIN_EXE_reclaim"))
        .env_clear()
        .args(arguments)
        .env("CONTAINERD_ADDRESS", containerd.address())
        .output()
        .map_err(|error| format!("start reclaim: {error}"))?;
    if !output.status.success() {
        return Err(format!("reclaim {arguments:?}: {output:#?}"));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| format!("{error}: {output:#?}"))
}
