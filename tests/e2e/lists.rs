//! Lists that do not fit into one message of containerd.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use reclaim_testkit::fault::{Act, Call, Fault, FaultProxy, Hook, Moment, Then};
use reclaim_testkit::{BuiltImage, Labels, Layer, LeaseResource, NewLease, image};
use serde_json::json;

use crate::rig::{Rig, call, entry, names};

/// Records of 72 KiB; this many exceed the 16 MiB of a message.
const N_RECORDS: usize = 240;

const LIST_IMAGES: &str = "images.v1.Images/List";

/// Labels of 72 KiB.
fn long() -> Labels {
    let labels = (0..18).map(|number| (format!("long/{number}"), "x".repeat(4000)));
    labels.collect()
}

async fn build(rig: &Rig, name: &str) -> BuiltImage {
    let own = [Layer::named(name, 500)];
    image(name).layers(own).build(&rig.namespace).await.unwrap()
}

/// Names are listed in parts. The list has all of them, and also a tag that moves to another image
/// before each part is read.
#[tokio::test(flavor = "multi_thread")]
async fn lists_all_names_in_parts_while_a_tag_moves() {
    let rig = Rig::start().await;
    let targets = [
        build(&rig, "docker.io/library/app:one").await,
        build(&rig, "docker.io/library/app:two").await,
    ];
    let moving = "docker.io/library/app:moving";
    let long = long();
    let namespace = &rig.namespace;
    namespace
        .create_image(moving, &targets[0].target, &long)
        .await
        .unwrap();
    for number in 0..N_RECORDS {
        let name = format!("docker.io/library/app:build-{number}");
        let target = &targets[0].target;
        namespace.create_image(&name, target, &long).await.unwrap();
    }

    let n_moves = Arc::new(AtomicUsize::new(0));
    let hook = Hook::new({
        let (n_moves, namespace) = (Arc::clone(&n_moves), namespace.clone());
        let targets = targets.each_ref().map(|image| image.target.clone());
        move || {
            let (namespace, long) = (namespace.clone(), long.clone());
            let to = targets[(n_moves.fetch_add(1, Ordering::Relaxed) + 1) % 2].clone();
            async move {
                namespace.update_image(moving, &to, &long).await.unwrap();
                Then::Continue
            }
        }
    });
    let faults = (1..=20).map(|nth| Fault {
        call: Call {
            method: LIST_IMAGES.to_owned(),
            nth,
        },
        moment: Moment::Before,
        act: Act::Run(hook.clone()),
    });
    let proxy = FaultProxy::start(rig.containerd.socket(), faults);
    let list = call(proxy.address(), "", &["image", "ls", "--format", "json"])
        .exits(0)
        .json();
    assert!(n_moves.load(Ordering::Relaxed) > 4, "{:?}", proxy.calls());
    let listed: BTreeSet<&str> = names(&list["images"]).into_iter().collect();
    let built: BTreeSet<String> = (0..N_RECORDS)
        .map(|number| format!("docker.io/library/app:build-{number}"))
        .collect();
    let mut expected: BTreeSet<&str> = built.iter().map(String::as_str).collect();
    expected.extend([moving, targets[0].name(), targets[1].name()]);
    assert_eq!(listed, expected);
}

/// Leases with any ID are listed in parts, and what they hold is in use. So are sandboxes, from
/// containerd 1.7 on.
#[tokio::test]
async fn lists_leases_and_sandboxes_in_parts() {
    let rig = Rig::start().await;
    let namespace = &rig.namespace;
    let held = build(&rig, "docker.io/library/held:1").await;
    let idle = build(&rig, "docker.io/library/idle:1").await;
    for number in 0..N_RECORDS {
        let id = match number % 4 {
            0 => format!("{number:064x}"),
            1 => format!("a lease, \"{number}\""),
            2 => format!("{number}-é\n"),
            _ => format!("{number}"),
        };
        let lease = NewLease::new(&id).labels(long());
        namespace.create_lease(lease).await.unwrap();
    }
    let last = "a lease, \"237\"";
    let resource = LeaseResource::content(&held.target.digest);
    namespace.add_lease_resource(last, &resource).await.unwrap();
    let has_sandboxes = rig.containerd.version().at_least(1, 7);
    if has_sandboxes {
        for number in 0..N_RECORDS {
            let id = format!("sandbox-{number}");
            namespace.create_sandbox(&id, &long()).await.unwrap();
        }
    }
    let prune = ["image", "prune", "-a", "-f", "--format", "json"];
    let report = rig.reclaim(&prune).exits(0).json();
    assert_eq!(names(&report["removed"]), [idle.name()]);
    let holders = json!([{"kind": "lease", "id": last}]);
    assert_eq!(entry(&report["kept"], held.name())["holders"], holders);
}
