//! A filesystem without a free block.

use std::fs::File;
use std::io::Write;

use reclaim_testkit::{Layer, image};

use crate::host::{Host, removed};

const MIB: u64 = 1 << 20;

/// Writes until nothing more can be written.
fn fill(host: &Host) {
    fill_as(host, "ballast");
}

fn fill_as(host: &Host, name: &str) {
    let mut ballast = File::create(host.rig.containerd.root().join(name)).unwrap();
    for block in [1 << 20, 4096, 1] {
        let zeros = vec![0; block];
        while ballast.write_all(&zeros).is_ok() {}
    }
    assert_eq!(host.space().left, 0);
}

/// On a full filesystem the headroom should be given up, images removed, and the headroom taken
/// again.
#[tokio::test]
async fn headroom_is_given_up_and_taken_again() {
    let host = Host::start(192 * MIB).await;
    let headroom = host.rig.containerd.root().join("headroom");
    let file = headroom.to_str().unwrap();
    let policy = "[[policy]]\nname = \"p\"\nall = true\nmin_age = \"0s\"\nlast_copies = true\n\
                  high = \"90%\"\nlow = \"85%\"\n";
    host.configure(&format!(
        "[headroom]\nsize = \"8MiB\"\nfile = \"{file}\"\n{policy}"
    ));
    for number in 0..6 {
        host.image(&format!("i{number}:1"), number, 4 << 20).await;
    }
    assert_eq!(host.once(0)["outcome"], "nothing");
    assert_eq!(headroom.metadata().unwrap().len(), 8 << 20);
    fill(&host);

    let run = host.once(0);
    assert_eq!(run["outcome"], "done", "{run:#}");
    let space = host.space();
    assert!(space.left >= space.left_at(85), "{space:?}");
    assert!(removed(&run).len() < 6, "{run:#}");
    assert_eq!(headroom.metadata().unwrap().len(), 8 << 20);
}

/// Without headroom it should still try, and never say that it did what it could not.
#[tokio::test]
async fn without_headroom_it_does_what_it_can() {
    let host = Host::start(192 * MIB).await;
    host.policy("high = \"90%\"\nlow = \"85%\"");
    for number in 0..6 {
        host.image(&format!("i{number}:1"), number, 4 << 20).await;
    }
    host.once(0);
    fill(&host);
    let called = host.with_state(&["maintain", "--once", "--format", "json"]);
    let run = &called.json()["runs"][0];
    let names = host.names().await;
    assert_eq!(names.len() + removed(run).len(), 6, "{run:#}");
    let space = host.space();
    let is_met = space.left >= space.left_at(85);
    assert_eq!(run["outcome"] == "done", is_met, "{run:#}");
    assert_eq!(called.code == 0, is_met, "{called:?}");
}

const IMAGES: u64 = 120;

/// An ext4 of 96 MiB with many small images, filled to the last block.
async fn full_ext4() -> Host {
    let host = Host::on_ext4(96 * MIB).await;
    for number in 0..IMAGES {
        let name = format!("docker.io/library/i{number}:1");
        let built = image(&name).layers([Layer::random(number, 64 << 10)]);
        let built = built.unpack("overlayfs");
        built.build(&host.rig.namespace).await.unwrap();
    }
    host.rig.namespace.collect().await.unwrap();
    fill(&host);
    host
}

/// Where no journal can be written, images should go in parts that grow with the room: by name,
/// by a policy and by a prune.
#[tokio::test]
async fn removing_makes_its_own_room() {
    let host = full_ext4().await;
    let called = host.rig.reclaim(&["image", "rm", "i0:1"]);
    called.exits(0);
    let names = host.names().await;
    assert!(names.len() == 119 && !names.contains(&"i0:1".to_owned()));

    fill_as(&host, "more ballast");
    host.policy("high = \"99%\"\nlow = \"98%\"");
    let called = host.with_state(&["maintain", "--once", "--format", "json"]);
    let run = called.json()["runs"][0].take();
    let left = host.names().await.len();
    assert_eq!(left + removed(&run).len(), 119, "{run:#}");
    assert!(left < 119, "{run:#}");

    fill_as(&host, "still more ballast");
    let prune = ["image", "prune", "-a", "-f", "--format", "json"];
    let report = host.rig.reclaim(&prune).exits(0).json();
    let n_removed = report["removed"].as_array().unwrap().len();
    assert_eq!(n_removed, left, "{report:#}");
    assert!(host.names().await.is_empty());
    assert_eq!(report["reclaimed"], report["estimate"], "{report:#}");
    let warnings = report["warnings"].to_string();
    let words = "the disk is too full to hold all images at once";
    assert!(left == 0 || warnings.contains(words), "{warnings}");
    let leases = host.rig.namespace.leases().await.unwrap();
    assert!(leases.is_empty(), "{leases:?}");
}
