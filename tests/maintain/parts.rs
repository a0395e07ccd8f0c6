//! Policies that free parts of images before images, on real filesystems.

use reclaim_testkit::Containerd;
use serde_json::Value;

use crate::disks::TwoDisks;
use crate::full::fill;
use crate::host::{Host, reclaimed, removed};

const MIB: u64 = 1 << 20;

const SNAPSHOTS_FIRST: &str = "free = [\"snapshots\", \"images\"]";

/// Returns the parts that a run freed and how many images lost them, in order.
fn slimmed(run: &Value) -> Vec<(String, usize)> {
    let reports = run["reports"].as_array().unwrap().iter();
    let slims = reports.filter_map(|report| {
        let slimmed = report["slimmed"].as_array()?.len();
        Some((report["part"].as_str().unwrap().to_owned(), slimmed))
    });
    slims.filter(|(_, slimmed)| *slimmed > 0).collect()
}

/// On an ext4 that fills up, images keep their names while their snapshots go, as far as needed; only
/// when no snapshots are left, images go.
#[tokio::test]
async fn snapshots_go_before_images_on_one_disk() {
    let host = Host::on(Containerd::quiet().ext4(256 * MIB)).await;
    for number in 0..10 {
        host.image(&format!("i{number}:1"), number, 8 << 20).await;
    }
    let used = host.space().used_percent();
    let marks =
        |high: u64, low: u64| format!("{SNAPSHOTS_FIRST}\nhigh = \"{high}%\"\nlow = \"{low}%\"");
    host.policy(&marks(used - 1, used - 8));
    let explained = host.with_state(&["policy", "explain"]).exits(0).stdout;
    for text in [
        "  frees snapshots, then images, of unused images\n",
        "  snapshots   default     ",
        "  images      default     0 images, 0B ",
    ] {
        assert!(explained.contains(text), "no {text:?} in {explained}");
    }
    let run = host.once(0);
    assert_eq!(run["outcome"], "done", "{run:#}");
    let first = slimmed(&run);
    let [(part, n_slimmed)] = &first[..] else {
        panic!("{run:#}")
    };
    assert!(
        part == "snapshots" && (2..=4).contains(n_slimmed),
        "{first:?}"
    );
    assert_eq!(removed(&run), Vec::<String>::new());
    assert_eq!(host.names().await.len(), 10);
    let space = host.space();
    assert!(space.left >= space.left_at(used - 8), "{run:#}");
    assert!(
        reclaimed(&run) >= (*n_slimmed as u64) * (8 << 20),
        "{run:#}"
    );

    // All snapshots together do not suffice for this.
    host.policy(&marks(30, 20));
    let run = host.once(0);
    assert_eq!(run["outcome"], "done", "{run:#}");
    assert_eq!(slimmed(&run), [("snapshots".to_owned(), 10 - n_slimmed)]);
    let gone = removed(&run);
    assert!(!gone.is_empty() && gone.len() < 10, "{run:#}");
    assert_eq!(host.names().await.len(), 10 - gone.len());
    let history = host.with_state(&["policy", "history"]).exits(0).stdout;
    let expected = format!("snapshots of {} images ", 10 - n_slimmed);
    assert!(
        history.contains("PARTS") && history.contains(&expected),
        "{history}"
    );
    let reports = run["reports"].as_array().unwrap();
    assert_eq!(reports[0]["part"], "snapshots");
    assert_eq!(reports.last().unwrap()["part"], "images");
}

/// With content and snapshots on disks of their own, only what is on the full one goes.
#[tokio::test]
async fn each_disk_gets_room_by_its_own_parts() {
    const ALL: &str = "free = [\"layers\", \"snapshots\", \"images\"]";
    let disks = TwoDisks::start(256 * MIB, 64 * MIB).await;
    let host = &disks.host;
    for number in 0..8 {
        host.image(&format!("i{number}:1"), number, 4 << 20).await;
    }
    host.policy(&format!("{ALL}\nhigh = \"45%\"\nlow = \"40%\""));
    let run = host.once(0);
    assert_eq!(run["outcome"], "done", "{run:#}");
    let freed = slimmed(&run);
    let [(part, n_slimmed)] = &freed[..] else {
        panic!("{run:#}")
    };
    assert!(part == "snapshots" && *n_slimmed > 0, "{freed:?}");
    assert_eq!(host.names().await.len(), 8);
    assert_eq!(removed(&run), Vec::<String>::new());
    for report in run["reports"].as_array().unwrap() {
        assert_eq!(report["reclaimed"]["content_bytes"], 0, "{report:#}");
    }

    // The content disk is filled by others; layers of images that are unpacked make room.
    let space = host.space();
    let ballast = disks.content.join("ballast");
    let file = std::fs::File::create(ballast).unwrap();
    let most = space.left - space.left_at(80) - 4 * MIB;
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, most).unwrap();
    let used = host.space().used_percent();
    let marks = format!("high = \"{}%\"\nlow = \"{}%\"", used - 1, used - 5);
    host.policy(&format!("{ALL}\n{marks}"));
    let run = host.once(0);
    assert_eq!(run["outcome"], "done", "{run:#}");
    let freed = slimmed(&run);
    let [(part, n_layers)] = &freed[..] else {
        panic!("{run:#}")
    };
    assert!(
        part == "layers" && (1..=8 - n_slimmed).contains(n_layers),
        "{freed:?}"
    );
    assert_eq!(host.names().await.len(), 8);
    let space = host.space();
    assert!(space.left >= space.left_at(used - 5), "{run:#}");
}

/// Without a free block for a journal, small leases hold what loses its labels.
#[tokio::test]
async fn frees_snapshots_on_a_filesystem_without_a_free_block() {
    let host = Host::on(Containerd::quiet().ext4(96 * MIB)).await;
    for number in 0..12 {
        host.image(&format!("i{number}:1"), number, 2 << 20).await;
    }
    fill(&host);
    host.policy(&format!("{SNAPSHOTS_FIRST}\nhigh = \"95%\"\nlow = \"80%\""));
    let output = host.with_state(&["maintain", "--once", "--format", "json"]);
    let run = output.json()["runs"][0].take();
    assert_eq!(run["outcome"], "done", "{run:#}");
    let freed = slimmed(&run);
    assert_eq!(freed[0].0, "snapshots", "{run:#}");
    assert_eq!(host.names().await.len(), 12, "{run:#}");
    let warnings = run["reports"][0]["warnings"].to_string();
    assert!(warnings.contains("too full to hold all changes"), "{run:#}");
    let leases = host.rig.namespace.leases().await.unwrap();
    assert!(leases.is_empty(), "{leases:?}");
}
