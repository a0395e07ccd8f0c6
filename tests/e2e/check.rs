//! `reclaim check` without a daemon.

use std::os::unix::net::UnixListener;

use reclaim_testkit::{Layer, image};

use crate::rig::{Rig, call};

/// A mark that every filesystem is above, and one that none is.
const ALWAYS: &str = "900PB";
const NEVER: &str = "1B";

#[tokio::test]
async fn the_exit_status_is_that_of_a_monitoring_plugin() {
    let rig = Rig::quiet().await;
    image("docker.io/library/app:1")
        .layers([Layer::random(1, 900_000)])
        .build(&rig.namespace)
        .await
        .unwrap();
    for (warn, crit, code, word) in [
        (NEVER, NEVER, 0, "OK"),
        (ALWAYS, NEVER, 1, "WARNING"),
        (ALWAYS, ALWAYS, 2, "CRITICAL"),
        ("1%", ALWAYS, 2, "CRITICAL"),
    ] {
        let args = ["check", "--warn", warn, "--crit", crit];
        let checked = rig.reclaim(&args).exits(code);
        assert_eq!(checked.stderr, "");
        assert_eq!(checked.stdout.lines().count(), 1, "{checked:?}");
        let (text, data) = checked.stdout.split_once(" | ").unwrap();
        assert!(text.starts_with(&format!("DISK {word}: /")), "{text}");
        assert!(text.contains("no forecast without a daemon"), "{text}");
        // What can go takes a look at the whole store, so it is there only if it matters.
        let freed = text.contains("kB can go (prune -a)");
        assert_eq!(freed, code > 0, "{text}");
        assert!(data.starts_with("'/"), "{data}");
        let npd = rig.reclaim(&[&args[..], &["--npd"]].concat());
        let npd = npd.exits(i32::from(code > 0));
        assert!(npd.stdout.contains("% used"), "{npd:?}");
        assert!(npd.stdout.trim_end().len() <= 80, "{npd:?}");
    }
}

#[tokio::test]
async fn a_forecast_needs_a_daemon() {
    let rig = Rig::quiet().await;
    for option in ["--warn-within", "--crit-within"] {
        let checked = rig.reclaim(&["check", option, "7d"]).exits(3);
        let text = "DISK UNKNOWN: --warn-within and --crit-within need --host";
        assert!(checked.stdout.starts_with(text), "{checked:?}");
    }
}

#[test]
fn what_does_not_answer_is_unknown_within_the_time() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("silent");
    let path = path.to_str().unwrap();
    let missing = directory.path().join("missing");
    let missing = missing.to_str().unwrap();
    let _silent = UnixListener::bind(path).unwrap();
    let daemon = format!("unix://{path}");
    for (address, host, text) in [
        (path, "", "no answer from containerd within 1s"),
        (missing, "", "missing"),
        (path, &*daemon, "no answer from the daemon within 1s"),
    ] {
        for npd in [false, true] {
            let mut args = vec!["--host", host, "check", "--timeout", "1s"];
            args.extend(npd.then_some("--npd"));
            let checked = call(address, "", &args).exits(3);
            assert_eq!(checked.stdout.lines().count(), 1, "{checked:?}");
            if !npd {
                let is_unknown = checked.stdout.starts_with("DISK UNKNOWN: ");
                assert!(is_unknown && checked.stdout.contains(text), "{checked:?}");
            }
        }
    }
}

/// Status 2 would mean that a disk is full.
#[test]
fn wrong_usage_is_unknown() {
    for (args, code) in [
        (&["check", "--warn", "many"][..], 3),
        (&["--host", "unix:///nowhere", "check", "--bogus"], 3),
        (&["check", "--warn-within", "7"], 3),
        (&["check", "--help"], 0),
        (&["why", "check", "--bogus"], 2),
        (&["--bogus"], 2),
    ] {
        call("", "", args).exits(code);
    }
}
