//! Beside pods that really run: sandboxes and containers of the CRI plugin, by runc.

use std::cell::Cell;

use reclaim_testkit::{BuiltImage, Containerd, Deletion, ImageBuilder, Layer, Pod, busybox};
use serde_json::json;
use tonic::Code;

use crate::node::{Node, PRUNE, image_id, records};
use crate::rig::{call, entry, names};

/// An image whose containers do nothing for as long as anybody waits.
fn idle(image: ImageBuilder) -> ImageBuilder {
    image
        .layers([Layer::program("busybox", busybox())])
        .command(&["/busybox", "sleep", "100000"])
}

/// A node whose sandbox image stays whether pods run or not.
async fn node() -> Node {
    // Programs run from there, which memory may forbid.
    let node = Node::start_on(Containerd::builder().on_disk(), idle).await;
    node.reclaim(&["pin", node.pause.name()]).exits(0);
    node
}

/// Creates and starts a container.
async fn run(node: &Node, pod: &Pod, image: &BuiltImage, name: &str) -> String {
    let created = node.cri.create_container(pod, name, &image_id(image)).await;
    let id = created.unwrap();
    node.cri.start_container(&id).await.unwrap();
    id
}

/// What pods use should stay while they run and after, until they are removed; and every
/// container should go on running.
#[tokio::test]
async fn images_of_pods_stay_until_the_pods_are_gone() {
    let node = node().await;
    let web = node.pulled_with("team/web:1", idle).await;
    let job = node.pulled_with("team/job:1", idle).await;
    let unused = node.pulled_with("team/unused:1", idle).await;
    let pod = node.cri.run_pod("shop").await.unwrap();
    let runs = run(&node, &pod, &web, "web").await;
    let ended = run(&node, &pod, &job, "job").await;
    node.cri.stop_container(&ended).await.unwrap();

    let report = node.prune();
    let gone: Vec<String> = records(&unused).into_iter().collect();
    assert_eq!(names(&report["removed"]), gone);
    let holders = |image: &BuiltImage| entry(&report["kept"], image.name())["holders"].clone();
    let container = |id: &str| json!([{ "kind": "container", "id": id }]);
    assert_eq!(holders(&web), container(&runs));
    assert_eq!(holders(&job), container(&ended), "it may be started again");
    assert!(node.cri.is_running(&runs).await.unwrap());
    assert!(!node.cri.is_running(&ended).await.unwrap());

    // What is used is found without the names, too: by the plugin's metadata and by snapshots.
    let namespace = &node.rig.namespace;
    for name in records(&web) {
        let deleted = namespace.delete_image(&name, Deletion::Async).await;
        deleted.unwrap();
    }
    node.cri.remove_container(&ended).await.unwrap();
    let report = node.prune();
    let gone: Vec<String> = records(&job).into_iter().collect();
    assert_eq!(names(&report["removed"]), gone);
    assert!(node.cri.is_running(&runs).await.unwrap());
    node.cri.pull(web.name()).await.unwrap();
    assert_eq!(names(&node.prune()["removed"]).len(), 0);

    node.cri.remove_pod(&pod).await.unwrap();
    let report = node.prune();
    let gone: Vec<String> = records(&web).into_iter().collect();
    assert_eq!(names(&report["removed"]), gone);
    assert_eq!(node.agrees().await, records(&node.pause));
}

/// While images are pruned without a pause, a pod should either be told that its image is not
/// there, upon which the kubelet pulls it again, or get a container that runs.
#[tokio::test]
async fn pods_may_begin_while_images_are_pruned() {
    const PODS: usize = 8;
    let node = node().await;
    let app = node.pulled_with("team/app:1", idle).await;
    let image = image_id(&app);
    let pods = async {
        for n in 0..PODS {
            let pod = node.cri.run_pod(&format!("pod-{n}")).await.unwrap();
            let id = loop {
                let created = node.cri.create_container(&pod, "app", &image);
                match created.await {
                    Ok(id) => break id,
                    Err(status) if status.code() == Code::NotFound => {
                        node.cri.pull(app.name()).await.unwrap();
                    }
                    Err(status) => panic!("{status}"),
                }
            };
            node.cri.start_container(&id).await.unwrap();
            assert!(node.cri.is_running(&id).await.unwrap());
            let both = &records(&app) | &records(&node.pause);
            assert_eq!(node.agrees().await, both);
            node.cri.remove_pod(&pod).await.unwrap();
        }
    };
    let removed = Cell::new(0);
    let pruning = async {
        loop {
            let address = node.rig.containerd.address().to_owned();
            let args = [&PRUNE[..], &["--grace", "0s"]].concat();
            let calling = tokio::task::spawn_blocking(move || call(&address, "", &args));
            let report = calling.await.unwrap().exits(0).json();
            removed.set(removed.get() + names(&report["removed"]).len());
        }
    };
    tokio::select! {
        () = pods => {}
        () = pruning => {}
    }
    // The last prune may not be over.
    node.rig
        .reclaim(&[&PRUNE[..], &["--wait"]].concat())
        .exits(0);
    assert_eq!(node.agrees().await, records(&node.pause));
    assert!(removed.get() > 0, "no prune had anything to do");
}
