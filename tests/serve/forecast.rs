//! When the filesystems will be full, by what a daemon recorded.

use std::fs;
use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::host::hosted;
use crate::measured::Measured;

const ROOT: &str = "/reclaim/v1";

async fn forecast(daemon: &Daemon) -> Value {
    let path = format!("{ROOT}/forecast");
    daemon.ask("GET", &path).await.done()
}

/// Writes that this filesystem fills by so many bytes an hour for two days.
fn record(state: &Path, filesystem: &Value, per_hour: u64) {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let uptime = fs::read_to_string("/proc/uptime").unwrap();
    let seconds = uptime.split('.').next().unwrap();
    let now: Timestamp = "2026-01-10T12:00:00Z".parse().unwrap();
    let left = filesystem["left_bytes"].as_u64().unwrap();
    let samples = (1..=48_u64).rev().map(|hours| {
        let before = SignedDuration::from_hours(i64::try_from(hours).unwrap());
        json!({
            "at": now - before,
            "total_bytes": filesystem["total_bytes"],
            "left_bytes": left + hours * per_hour,
        })
    });
    let contents = json!({
        "version": 1,
        "clock": {
            "now": now,
            "boot": boot.trim(),
            "since_boot": format!("PT{seconds}S"),
            "synchronized": null,
        },
        "filesystems": [{
            "mount_point": filesystem["mount_point"],
            "samples": samples.collect::<Vec<Value>>(),
        }],
    });
    fs::write(state.join("filling.json"), contents.to_string()).unwrap();
}

#[tokio::test]
async fn a_daemon_forecasts_by_what_it_recorded_and_the_check_warns() {
    let (rig, daemon, _) = hosted(&[]).await;
    let before = forecast(&daemon).await;
    let filesystem = &before["filesystems"][0];
    assert_eq!(filesystem["trend"], "unknown", "{before}");
    assert!(filesystem["full_in_seconds"].is_null(), "{before}");
    daemon.stop().await;
    let left = filesystem["left_bytes"].as_u64().unwrap();

    let state = tempfile::tempdir().unwrap();
    record(state.path(), filesystem, left / 48);
    let args = ["--state", state.path().to_str().unwrap()];
    let measured = Measured::start(rig.containerd.address(), &args).await;
    let daemon = &measured.daemon;
    let found = forecast(daemon).await;
    let filesystem = &found["filesystems"][0];
    assert_eq!(filesystem["trend"], "growing", "{found}");
    // Others write to the same disk, so it is not exact.
    let full_in = filesystem["full_in_seconds"].as_u64().unwrap();
    let hours = 36 * 3600..60 * 3600;
    assert!(hours.contains(&full_in), "{found}");

    let host = format!("unix://{}", daemon.socket().display());
    let marks = ["--warn", "1B", "--crit", "1B"];
    for (limits, code) in [
        (&["--warn-within", "1d"][..], 0),
        (&["--warn-within", "3d"], 1),
        (&["--warn-within", "3d", "--crit-within", "3d"], 2),
    ] {
        let args = [&["--host", &*host, "check"], &marks[..], limits].concat();
        let checked = rig.reclaim(&args).exits(code);
        assert!(checked.stdout.contains("% used, full in "), "{checked:?}");
        assert!(checked.stdout.contains(" full in'="), "{checked:?}");
        let can_go = checked.stdout.contains("nothing can go (prune -a)");
        assert_eq!(can_go, code > 0, "{checked:?}");
    }

    let place = filesystem["mount_point"].as_str().unwrap();
    let metric = format!("reclaim_filesystem_full_in_seconds{{filesystem=\"{place}\"}}");
    let hours = 36 * 3600..60 * 3600;
    let is_near = |seconds| hours.contains(&seconds);
    measured.until(&metric, is_near).await;

    // The sample of the start is on disk, after those that were there.
    for _ in 0..600 {
        let text = fs::read_to_string(state.path().join("filling.json")).unwrap();
        let contents: Value = serde_json::from_str(&text).unwrap();
        let samples = contents["filesystems"][0]["samples"].as_array().unwrap();
        if samples.len() == 49 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the daemon recorded nothing");
}
