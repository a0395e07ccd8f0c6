//! What a pod loses without one of its mounts: no more than docs/kubernetes.md says. Each directory is
//! hidden by an empty, read-only filesystem, in a mount namespace of the command.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::host::{Host, reclaimed, removed};
use crate::rig::{CommandOutput, run};

const MIB: u64 = 1 << 20;

/// A shell script that hides a directory and executes a program. The arguments are both.
const HIDE: &str = "mount -t tmpfs -o ro tmpfs \"$0\" && exec \"$@\"";

/// Runs the policy once without a directory.
fn call_without(host: &Host, directory: &Path) -> CommandOutput {
    let (config, state) = (host.config(), host.state());
    let [config, state] = [&config, &state].map(|path| path.to_str().unwrap());
    let args = ["--config", config, "maintain", "--once", "--state", state];
    let args = [&args[..], &["--format", "json"]].concat();
    let mut command = Command::new("/usr/bin/unshare");
    command.args(["--mount", "--propagation", "private", "/bin/sh", "-c", HIDE]);
    command
        .arg(directory)
        .arg(env!("CARGO_BIN_EXE_reclaim"))
        .env_clear();
    run(&mut command, host.rig.containerd.address(), "", &args)
}

/// Runs the policy once without a directory, and returns its run.
fn once_without(host: &Host, directory: &Path) -> Value {
    call_without(host, directory).exits(0).json()["runs"][0].take()
}

fn warnings(run: &Value) -> Vec<&str> {
    let warnings = run["warnings"].as_array().unwrap().iter();
    warnings.map(|warning| warning.as_str().unwrap()).collect()
}

/// A watermark does not count what cannot be measured, with a warning. Without a watermark the same
/// images go, and as many bytes.
#[tokio::test]
async fn without_containerds_directory_watermarks_count_nothing_and_prunes_are_the_same() {
    let host = Host::start(64 * MIB).await;
    host.image("app:1", 1, 1 << 20).await;
    let root = host.rig.containerd.root();

    host.policy("high = \"2%\"\nlow = \"1%\"\ndry_run = true");
    assert_eq!(removed(&host.once(0)), ["app:1"]);
    let run = once_without(&host, &root);
    assert_eq!(run["outcome"], "nothing", "{run:#}");
    let warned = warnings(&run);
    for what in ["content: ", "snapshots of `overlayfs`: "] {
        let warning = format!("no watermark counts {what}`{}", root.display());
        let is_warned = warned.iter().any(|it| it.starts_with(&warning));
        assert!(is_warned, "{warning} is not in {warned:?}");
    }

    host.policy("dry_run = true");
    let (seen, hidden) = (host.once(0), once_without(&host, &root));
    assert_eq!(removed(&hidden), ["app:1"]);
    let reclaimable = |run: &Value| {
        let estimate = &run["reports"][0]["estimate"];
        let [content, snapshots] = ["content_bytes", "snapshot_bytes"].map(|key| &estimate[key]);
        content.as_u64().unwrap() + snapshots.as_u64().unwrap()
    };
    assert_eq!(reclaimable(&hidden), reclaimable(&seen));

    host.policy("");
    let run = once_without(&host, &root);
    assert_eq!(run["outcome"], "done", "{run:#}");
    assert!(host.names().await.is_empty());
    assert_eq!(reclaimed(&run), reclaimable(&seen));
}

/// Nothing begins without the state: it has the containers that engines registered.
#[tokio::test]
async fn without_a_state_directory_nothing_is_removed() {
    let host = Host::start(64 * MIB).await;
    host.image("app:1", 1, 1 << 20).await;
    host.policy("");
    std::fs::create_dir(host.state()).unwrap();
    let output = call_without(&host, &host.state()).exits(1);
    let state = host.state();
    let expected = format!("error: read registered containers in `{}", state.display());
    assert!(output.stderr.starts_with(&expected), "{output:?}");
    assert_eq!(host.names().await, ["app:1"]);
}

/// Neither the sandbox image of containerd's configuration nor the kubelet's files are needed by a run.
#[tokio::test]
async fn without_configurations_of_others_policies_run() {
    let host = Host::start(64 * MIB).await;
    host.image("app:1", 1, 1 << 20).await;
    let missing = "[containerd]\nconfig = \"/nowhere/config.toml\"\n[kubernetes]\n\
                   kubelet_config = \"/nowhere/config.yaml\"\nkubelet_directory = \"/nowhere\"\n";
    host.configure(&format!(
        "{missing}[[policy]]\nname = \"p\"\nall = true\nmin_age = \"0s\"\nlast_copies = true\n"
    ));
    let run = host.once(0);
    assert_eq!(run["outcome"], "done", "{run:#}");
    assert!(host.names().await.is_empty());
}
