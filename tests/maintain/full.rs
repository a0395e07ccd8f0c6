//! A filesystem without a free block.

use std::fs::File;
use std::io::Write;

use reclaim_testkit::{Layer, image};

use crate::host::{Host, removed};

const MIB: u64 = 1 << 20;

/// Writes until nothing more can be written.
fn fill(host: &Host) {
    let mut ballast = File::create(host.rig.containerd.root().join("ballast")).unwrap();
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

/// Where no journal can be written, a few images should go under a smaller hold, and then the
/// rest.
#[tokio::test]
async fn a_prune_makes_its_own_room() {
    let host = full_ext4().await;
    let prune = ["image", "prune", "-a", "-f", "--format", "json"];
    let called = host.rig.reclaim(&prune);
    let log = std::fs::read_to_string(host.rig.containerd.root().with_file_name("containerd.log"));
    let log = log.unwrap_or_else(|e| format!("{e}"));
    for line in log
        .lines()
        .rev()
        .take(4000)
        .filter(|l| l.contains("space") || l.contains("failed"))
        .take(12)
    {
        eprintln!("LOG {line}");
    }
    let report = called.exits(0).json();
    assert_eq!(
        report["removed"].as_array().unwrap().len(),
        120,
        "{report:#}"
    );
    assert!(host.names().await.is_empty());
    assert!(host.space().left > 8 * MIB);
    let warnings = report["warnings"].to_string();
    assert!(
        warnings.contains("too full to hold all images at once"),
        "{warnings}"
    );
    let leases = host.rig.namespace.leases().await.unwrap();
    assert!(leases.is_empty(), "{leases:?}");
}
