//! Checks of policies on a store in which nothing changes.

use crate::daemon::{Daemon, with_metrics};
use crate::host::Host;

const MIB: u64 = 1 << 20;

const ATTEMPTS: usize = 10;

const POLICIES: &str = "[[policy]]\nname = \"p\"\nall = true\nmin_age = \"0s\"\nlast_copies = true\n\
                        interval = \"1s\"\nmax_unused = \"720h\"\nhigh = \"95%\"\nlow = \"90%\"\n\
                        [[policy]]\nname = \"q\"\nall = true\ninterval = \"1s\"\nunused_for = \"240h\"\n\
                        min_age = \"0s\"\nlast_copies = true\n";

/// The lists of snapshots, which every plan makes together with those of content. The latter would not tell:
/// measuring the filesystems reads a few of their entries, to recognise containerd's directory.
const LISTED: &str = "reclaim_containerd_call_seconds_count{method=\"Snapshots/List\"}";

fn checked(policy: &str) -> String {
    format!("reclaim_runs_total{{policy=\"{policy}\",trigger=\"schedule\",outcome=\"nothing\"}}")
}

/// Waits until both policies were checked so many times more, and returns how many lists that took.
async fn lists_of_checks(daemon: &Daemon, checks: i64) -> i64 {
    let listed = daemon.metric(LISTED).await.unwrap_or(0);
    for policy in ["p", "q"] {
        let series = checked(policy);
        let so_far = daemon.metric(&series).await.unwrap_or(0);
        let is_enough = |value| value >= so_far + checks;
        daemon.wait_for(&series, is_enough).await;
    }
    daemon.metric(LISTED).await.unwrap_or(0) - listed
}

/// Waits until so many checks in a row make no list. Scans of last use make some, a few seconds after an
/// event.
async fn becomes_quiet(daemon: &Daemon) {
    for _ in 0..ATTEMPTS {
        if lists_of_checks(daemon, 7).await == 0 {
            return;
        }
    }
    panic!("each check lists the store");
}

#[tokio::test]
async fn checks_list_nothing_until_something_changes() {
    let mut host = Host::start(64 * MIB).await;
    let used = host.image("used:1", 1, 1000).await;
    let container = host.rig.namespace.nerdctl_container("c", &used).await;
    container.unwrap();
    host.image("unused:1", 2, 1000).await;
    host.configure(&with_metrics(POLICIES));
    let daemon = Daemon::start(&host);
    for policy in ["p", "q"] {
        daemon.wait_for(&checked(policy), |value| value > 0).await;
    }
    daemon.wait_for(LISTED, |value| value > 0).await;
    becomes_quiet(&daemon).await;

    host.image("another:1", 3, 1000).await;
    assert!(lists_of_checks(&daemon, 3).await > 0, "an image is new");
    becomes_quiet(&daemon).await;

    let namespace = &host.rig.namespace;
    namespace.delete_container("c").await.unwrap();
    namespace.remove_snapshot("overlayfs", "c").await.unwrap();
    assert!(lists_of_checks(&daemon, 3).await > 0, "a container is gone");
    becomes_quiet(&daemon).await;

    host.rig.containerd.restart().await;
    assert!(
        lists_of_checks(&daemon, 3).await > 0,
        "containerd restarted"
    );
    becomes_quiet(&daemon).await;
    assert_eq!(host.names().await, ["another:1", "unused:1", "used:1"]);
    assert!(daemon.stop().await.success());
}
