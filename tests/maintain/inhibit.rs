//! Policies while `reclaim inhibit` runs.

use reclaim_testkit::{NewLease, labels};
use serde_json::json;

use crate::daemon::{CHECKS, Daemon, PAUSE, with_metrics};
use crate::host::{Host, removed};

const MIB: u64 = 1 << 20;

const INHIBITED: &str = "reclaim_policies_inhibited";

async fn inhibit(host: &Host) {
    let lease = NewLease::new("build").labels(labels([
        ("reclaim/inhibits", "policies"),
        ("reclaim/inhibit-command", "make"),
        ("reclaim/inhibit-pid", "12"),
        ("reclaim/inhibit-uid", "1000"),
        ("reclaim/inhibit-why", "nightly build"),
        ("reclaim/started", "2026-01-02T03:04:05Z"),
    ]));
    host.rig.namespace.create_lease(lease).await.unwrap();
}

async fn end(host: &Host) {
    let deletion = reclaim_testkit::Deletion::Async;
    let namespace = &host.rig.namespace;
    namespace.delete_lease("build", deletion).await.unwrap();
}

const TEXT: &str = "policies are inhibited by `make` (process 12 of user 1000) since \
                    2026-01-02T03:04:05Z: nightly build";

#[tokio::test]
async fn a_run_reports_the_inhibitor_and_a_dry_run_works() {
    let host = Host::start(64 * MIB).await;
    host.policy("max_images = 9");
    host.image("a:1", 1, 1 << 20).await;
    inhibit(&host).await;
    let run = host.once(4);
    assert_eq!(run["outcome"], "inhibited");
    assert_eq!(run["error"], TEXT);
    assert_eq!(run["reports"], json!([]));
    let rehearsal = ["maintain", "--once", "--dry-run", "--format", "json"];
    let rehearsal = host.with_state(&rehearsal).exits(0).json();
    assert_eq!(removed(&rehearsal["runs"][0]), ["a:1"]);

    let explained = host.with_state(&["policy", "explain"]).exits(0).stdout;
    let line = format!("\n  does not run now: {TEXT}\n");
    assert!(explained.contains(&line), "{explained}");
    let json = ["policy", "explain", "--format", "json"];
    let explained = host.with_state(&json).exits(0).json();
    let inhibitors = &explained["policies"][0]["inhibitors"];
    assert_eq!(inhibitors[0]["why"], "nightly build");
    assert_eq!(inhibitors[0]["what"], "policies");
    let history = host.with_state(&["policy", "history"]).exits(0).stdout;
    assert!(history.contains("inhibited"), "{history}");

    end(&host).await;
    assert_eq!(removed(&host.once(0)), ["a:1"]);
}

/// A policy on a full filesystem has nothing to do below its mark, and nothing inhibits that.
#[tokio::test]
async fn a_run_with_nothing_to_do_is_not_inhibited() {
    let host = Host::start(64 * MIB).await;
    host.policy("high = \"99%\"\nlow = \"98%\"");
    inhibit(&host).await;
    assert_eq!(host.once(0)["outcome"], "nothing");
}

/// A policy stays due while it is inhibited, also one that is due once in a while.
#[tokio::test]
async fn the_daemon_runs_a_due_policy_once_the_inhibitor_ends() {
    let host = Host::start(64 * MIB).await;
    let policy = "[[policy]]\nname = \"p\"\nall = true\nmin_age = \"0s\"\nlast_copies = true\n\
                  interval = \"24h\"\nstartup_delay = \"0s\"\njitter = \"0s\"\n";
    host.configure(&with_metrics(policy));
    host.image("a:1", 1, 1 << 20).await;
    inhibit(&host).await;
    let daemon = Daemon::start_as(&host, &["maintain"]);
    daemon.wait_for(INHIBITED, |value| value == 1).await;
    assert_eq!(host.names().await, ["a:1"]);
    end(&host).await;
    daemon.wait_for(INHIBITED, |value| value == 0).await;
    for _ in 0..CHECKS {
        if host.names().await.is_empty() {
            break;
        }
        tokio::time::sleep(PAUSE).await;
    }
    assert!(host.names().await.is_empty());
    let status = daemon.stop().await;
    assert!(status.success(), "{status}");
}
