//! Undo of images that only some pods may use, by the kubelet's pull records (KEP-2535).

use std::fs;
use std::time::Duration;

use reclaim_model::Digest;
use reclaim_testkit::{BuiltImage, Containerd, KubeletDirectory, Labels, Layer, image};

use crate::protocol::{end, start, until_gone};
use crate::rig::{CommandOutput, Rig};

const PRUNE: [&str; 7] = ["-n", "k8s.io", "image", "prune", "-a", "-f", "--grace=10ms"];
const HELD: &str = "--undo-window=1h";
const UNDO: [&str; 3] = ["-n", "k8s.io", "undo"];
const ANYWAY: &str = "--without-credentials";

/// A node with images of the CRI plugin, and a kubelet that pulled them.
struct Node {
    rig: Rig,
    kubelet: KubeletDirectory,
    /// Pulled with a secret.
    private: BuiltImage,
    /// Pulled without credentials.
    public: BuiltImage,
    /// Without a record.
    preloaded: BuiltImage,
}

impl Node {
    async fn start() -> Self {
        let containerd = Containerd::start().await;
        let rig = Rig {
            namespace: containerd.namespace("k8s.io"),
            containerd,
        };
        let pull = async |name: &str| {
            let image = image(&format!("registry.example/{name}:1"))
                .layers([Layer::named(name, 500)])
                .unpack("native")
                .build(&rig.namespace)
                .await
                .unwrap();
            let labels = Labels::new();
            let records = rig.namespace.cri_image_records(&image, &labels);
            records.await.unwrap();
            image
        };
        let (private, public) = (pull("private").await, pull("public").await);
        let preloaded = pull("preloaded").await;
        let kubelet = KubeletDirectory::new();
        kubelet.pulled_with_secret(id(&private));
        kubelet.pulled_by_all(id(&public));
        Self {
            rig,
            kubelet,
            private,
            public,
            preloaded,
        }
    }

    fn args<'a>(&'a self, args: &[&'a str]) -> Vec<&'a str> {
        let directory = ["--kubelet-directory", self.kubelet.path().to_str().unwrap()];
        [&directory, args].concat()
    }

    fn reclaim(&self, args: &[&str]) -> CommandOutput {
        self.rig.reclaim(&self.args(args))
    }

    /// Removes all images, with an undo window.
    async fn prune(&self) {
        self.reclaim(&[&PRUNE[..], &[HELD]].concat()).exits(0);
        assert!(self.rig.names().await.is_empty());
    }

    /// Whether all three records of an image are there.
    async fn has(&self, image: &BuiltImage) -> bool {
        let records = self.rig.namespace.image_records().await.unwrap();
        let records = records.values();
        let of_image = records.filter(|it| it.target.digest == image.target.digest);
        match of_image.count() {
            0 => false,
            3 => true,
            some => panic!("{some} records of {}", image.name()),
        }
    }

    async fn leases(&self) -> usize {
        self.rig.namespace.leases().await.unwrap().len()
    }
}

/// The ID of an image for the kubelet.
fn id(image: &BuiltImage) -> &Digest {
    &image.manifests[0].config.digest
}

#[tokio::test]
async fn an_undo_refuses_private_images_without_a_pull_record() {
    let node = Node::start().await;
    node.prune().await;
    node.kubelet.forget(id(&node.private));
    node.kubelet.forget(id(&node.public));
    let undone = node.reclaim(&UNDO).exits(3);
    assert_eq!(undone.stdout.lines().count(), 6, "{undone:#?}");
    assert!(node.has(&node.public).await && node.has(&node.preloaded).await);
    assert!(!node.has(&node.private).await);
    let refused: Vec<&str> = undone.stderr.lines().collect();
    let name = format!("not restored: {}: ", node.private.name());
    assert_eq!(refused.len(), 4, "{undone:#?}");
    assert!(
        refused.iter().any(|line| line.starts_with(&name)),
        "{refused:?}"
    );
    assert!(refused[0].contains("pull record"), "{refused:?}");
    assert!(refused[3].contains(ANYWAY), "{refused:?}");

    // By name, too; the hold stays.
    let run = node
        .reclaim(&["-n", "k8s.io", "history", "--format=json"])
        .json();
    let run = run["runs"][0]["run"].as_str().unwrap().to_owned();
    node.reclaim(&[&UNDO[..], &[&run, node.private.name()]].concat())
        .exits(3);
    assert!(!node.has(&node.private).await);
    node.reclaim(&[&UNDO[..], &[ANYWAY]].concat()).exits(0);
    assert!(node.has(&node.private).await);
    assert_eq!(node.leases().await, 0);
}

/// A damaged record is there: with one, the kubelet requires credentials.
#[tokio::test]
async fn an_undo_restores_private_images_with_a_pull_record() {
    for damaged in [false, true] {
        let node = Node::start().await;
        if damaged {
            fs::write(node.kubelet.file(id(&node.public)), "{").unwrap();
        }
        node.prune().await;
        if damaged {
            fs::write(node.kubelet.file(id(&node.private)), "{").unwrap();
            node.kubelet.forget(id(&node.public));
        }
        node.reclaim(&UNDO).exits(if damaged { 3 } else { 0 });
        assert!(node.has(&node.private).await && node.has(&node.preloaded).await);
        assert_eq!(node.has(&node.public).await, !damaged);
    }
}

/// Without the kubelet's directory, at the removal or at the undo, nothing is known.
#[tokio::test]
async fn an_undo_without_the_kubelets_directory_restores_all() {
    let node = Node::start().await;
    node.prune().await;
    node.kubelet.forget(id(&node.private));
    let elsewhere = ["--kubelet-directory", "/nonexistent"];
    node.rig.reclaim(&[&elsewhere[..], &UNDO].concat()).exits(0);
    assert!(node.has(&node.private).await);

    let prune = [&elsewhere[..], &PRUNE, &[HELD]].concat();
    node.rig.reclaim(&prune).exits(0);
    node.reclaim(&UNDO).exits(0);
    assert!(node.has(&node.private).await);

    // If the directory is there and cannot be read, the record may be gone.
    node.kubelet.pulled_with_secret(id(&node.private));
    node.prune().await;
    fs::remove_dir_all(node.kubelet.pulled()).unwrap();
    fs::write(node.kubelet.pulled(), "").unwrap();
    let undone = node.reclaim(&UNDO).exits(3);
    assert!(
        undone
            .stderr
            .contains("cannot read the kubelet's pull records")
    );
    assert!(!node.has(&node.private).await && node.has(&node.public).await);
}

/// A run that is cut off is restored by the next one, which removes the unused images again. The second
/// look restores what a container uses, with or without a record.
#[tokio::test]
async fn a_run_restores_private_images_by_itself() {
    let node = Node::start().await;
    let prune = [&PRUNE[..6], &["--grace=1m"]].concat();
    let mut killed = start(&node.rig, &node.args(&prune));
    until_gone(&node.rig, node.private.name()).await;
    killed.kill().unwrap();
    killed.wait().unwrap();
    node.kubelet.forget(id(&node.private));
    let dangling = ["-n", "k8s.io", "image", "prune", "-f", "--grace=10ms"];
    let next = node.reclaim(&dangling).exits(0);
    let warning = "restoring a private image without the kubelet's pull record";
    assert!(next.stderr.contains(warning), "{next:#?}");
    assert!(node.has(&node.private).await);

    node.kubelet.pulled_with_secret(id(&node.private));
    let prune = [&PRUNE[..6], &["--grace=3s"]].concat();
    let pruning = start(&node.rig, &node.args(&prune));
    while !node.rig.names().await.is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    node.kubelet.forget(id(&node.private));
    let container = node.rig.namespace.nerdctl_container("web", &node.private);
    container.await.unwrap();
    end(pruning).exits(0);
    assert!(node.has(&node.private).await && !node.has(&node.public).await);
}
