//! Pods that really run: sandboxes and containers of the CRI plugin, started by runc.

use std::cell::Cell;
use std::time::Duration;

use reclaim_testkit::{BuiltImage, Containerd, Deletion, ImageBuilder, Layer, Pod, busybox};
use serde_json::json;
use tokio::time::timeout;
use tonic::Code;

use crate::node::{Node, PRUNE, image_id, records};
use crate::rig::{call, entry, names};

/// Adds a program that sleeps.
fn idle(image: ImageBuilder) -> ImageBuilder {
    image
        .layers([Layer::program("busybox", busybox())])
        .command(&["/busybox", "sleep", "100000"])
}

/// A node whose sandbox image is pinned.
async fn node() -> Node {
    // On disk, because a filesystem in memory may be mounted without execute permission.
    let node = Node::start_on(Containerd::builder().on_disk(), idle).await;
    node.reclaim(&["pin", node.pause.name()]).exits(0);
    node
}

/// Creates and starts a container. Returns its ID.
async fn run(node: &Node, pod: &Pod, image: &BuiltImage, name: &str) -> String {
    let id = node
        .cri
        .create_container(pod, name, &image_id(image))
        .await
        .unwrap();
    node.cri.start_container(&id).await.unwrap();
    id
}

/// Images of running and of stopped containers stay until the containers are removed, and running
/// containers keep running.
#[tokio::test]
async fn keeps_images_of_pods_until_the_pods_are_removed() {
    let node = node().await;
    let web = node.pulled_with("team/web:1", idle).await;
    let job = node.pulled_with("team/job:1", idle).await;
    let unused = node.pulled_with("team/unused:1", idle).await;
    let pod = node.cri.run_pod("shop").await.unwrap();
    let running = run(&node, &pod, &web, "web").await;
    let stopped = run(&node, &pod, &job, "job").await;
    node.cri.stop_container(&stopped).await.unwrap();

    let report = node.prune();
    let gone: Vec<String> = records(&unused).into_iter().collect();
    assert_eq!(names(&report["removed"]), gone);
    let holders = |image: &BuiltImage| entry(&report["kept"], image.name())["holders"].clone();
    let container = |id: &str| json!([{ "kind": "container", "id": id }]);
    assert_eq!(holders(&web), container(&running));
    assert_eq!(
        holders(&job),
        container(&stopped),
        "it may be started again"
    );
    assert!(node.cri.is_running(&running).await.unwrap());
    assert!(!node.cri.is_running(&stopped).await.unwrap());

    // Without the names, the plugin's metadata and the snapshots still show the use.
    let namespace = &node.rig.namespace;
    for name in records(&web) {
        namespace
            .delete_image(&name, Deletion::Async)
            .await
            .unwrap();
    }
    node.cri.remove_container(&stopped).await.unwrap();
    let report = node.prune();
    let gone: Vec<String> = records(&job).into_iter().collect();
    assert_eq!(names(&report["removed"]), gone);
    assert!(node.cri.is_running(&running).await.unwrap());
    node.cri.pull(web.name()).await.unwrap();
    assert_eq!(names(&node.prune()["removed"]).len(), 0);

    node.cri.remove_pod(&pod).await.unwrap();
    let report = node.prune();
    let gone: Vec<String> = records(&web).into_iter().collect();
    assert_eq!(names(&report["removed"]), gone);
    assert_eq!(node.agrees().await, records(&node.pause));
}

/// While prunes run one after the other, creating a container either fails with "not found", upon
/// which the kubelet pulls again, or gives a container that runs.
#[tokio::test]
async fn pods_start_while_images_are_pruned() {
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
            // A prune in progress may have removed the records, and restores them before it ends.
            let both = &records(&app) | &records(&node.pause);
            let restored = async {
                while node.agrees().await != both {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            };
            timeout(Duration::from_secs(60), restored).await.unwrap();
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
    // The last prune may still run.
    node.rig
        .reclaim(&[&PRUNE[..], &["--wait"]].concat())
        .exits(0);
    assert_eq!(node.agrees().await, records(&node.pause));
    assert!(removed.get() > 0, "no prune had anything to do");
}
