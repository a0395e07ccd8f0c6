//! An undo of an image that only some pods may use, whose pull record is gone, and of those that depend
//! on it.

use std::time::Duration;

use reclaim_engine::{Controls, Engine, Grace, RunOptions, Undone};
use reclaim_fake::{Fake, Image, Labels, Layer};
use reclaim_model::PruneRequest;
use reclaim_store::Containerd;
use reclaim_testkit::KubeletDirectory;
use tokio_util::sync::CancellationToken;

const NAMESPACE: &str = "k8s.io";
const PRIVATE: &str = "registry.example/team/app:1";
const ALIAS: &str = "registry.example/team/app-platform:1";
/// Depends on the alias.
const SECOND: &str = "registry.example/team/second:1";
/// Depends on the private image and on another one.
const SHARED: &str = "registry.example/team/shared:1";
const OTHER: &str = "registry.example/team/other:1";

struct Node {
    fake: Fake,
    engine: Engine,
    _kubelet: KubeletDirectory,
}

impl Node {
    /// A node after a prune of all images, where the kubelet has forgotten the private one.
    async fn pruned() -> Self {
        let fake = Fake::new("2.3.4");
        let kubelet = KubeletDirectory::new();
        let now = fake.now();
        let mut ids = Vec::new();
        fake.change(|state| {
            for (name, depends_on) in [
                (PRIVATE, &[][..]),
                (OTHER, &[]),
                (ALIAS, &[PRIVATE]),
                (SECOND, &[ALIAS]),
                (SHARED, &[PRIVATE, OTHER]),
            ] {
                let image = Image::new(vec![Layer::of(name)], &Labels::new());
                image.store(state, NAMESPACE, "overlayfs", None);
                let mut record = image.record(name);
                for (at, on) in depends_on.iter().enumerate() {
                    let key = format!("containerd.io/gc.bref.image.{at}");
                    record.labels.insert(key, (*on).to_owned());
                }
                if !depends_on.is_empty() {
                    let past = "2026-01-01T00:00:00Z".to_owned();
                    record
                        .labels
                        .insert("containerd.io/gc.expire".to_owned(), past);
                }
                state.put_image(NAMESPACE, record, now);
                ids.push(image.config().parse().unwrap());
            }
        });
        kubelet.pulled_with_secret(&ids[0]);
        let engine = Engine::new(Containerd::from_channel(fake.channel()))
            .with_kubelet_directory(kubelet.path());
        let request = PruneRequest::unused(NAMESPACE.parse().unwrap()).may_empty_namespace(true);
        let options = RunOptions {
            grace: Grace::Fixed(Duration::ZERO),
            undo_window: Duration::from_hours(1),
            ..RunOptions::default()
        };
        let controls = Controls {
            options: &options,
            progress: &|_| {},
            cancel: &CancellationToken::new(),
        };
        let report = engine.prune(&request, None, controls).await.unwrap();
        assert_eq!(report.removed.len(), 5, "{report:?}");
        kubelet.forget(&ids[0]);
        Self {
            fake,
            engine,
            _kubelet: kubelet,
        }
    }

    async fn undo(&self, names: &[&str], without_credentials: bool) -> Undone {
        let namespace = NAMESPACE.parse().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let undoing = self
            .engine
            .undo(&namespace, None, &names, without_credentials);
        undoing.await.unwrap()
    }

    /// The names after a collection.
    fn names(&self) -> Vec<String> {
        self.fake.collect();
        let names = |state: &reclaim_fake::State| {
            let images = state.namespaces[NAMESPACE].images.keys();
            images.cloned().collect()
        };
        self.fake.look(names)
    }
}

fn dependent(pairs: &[(&str, &str)]) -> Undone {
    let owned = |(name, on): &(&str, &str)| ((*name).to_owned(), (*on).to_owned());
    Undone {
        refused: vec![PRIVATE.to_owned()],
        dependent: pairs.iter().map(owned).collect(),
        ..Undone::default()
    }
}

/// What would be collected again is not restored, and stays held.
#[tokio::test]
async fn what_depends_on_a_refused_image_stays_held_with_it() {
    let node = Node::pruned().await;
    let undone = node.undo(&[], false).await;
    let expected = Undone {
        restored: vec![OTHER.to_owned(), SHARED.to_owned()],
        ..dependent(&[(ALIAS, PRIVATE), (SECOND, ALIAS)])
    };
    assert_eq!(undone, expected);
    assert_eq!(node.names(), [OTHER, SHARED]);
    let undone = node.undo(&[SECOND], false).await;
    assert_eq!(undone, dependent(&[(ALIAS, PRIVATE), (SECOND, ALIAS)]));
    assert_eq!(node.names(), [OTHER, SHARED]);

    let undone = node.undo(&[], true).await;
    assert_eq!(undone.restored.len(), 5, "{undone:?}");
    let mut all = [PRIVATE, ALIAS, SECOND, SHARED, OTHER];
    all.sort_unstable();
    assert_eq!(node.names(), all);
}

/// The kubelet has pulled the image again.
#[tokio::test]
async fn what_depends_on_a_name_that_exists_again_is_restored() {
    let node = Node::pruned().await;
    let now = node.fake.now();
    node.fake.change(|state| {
        let image = Image::new(vec![Layer::of(PRIVATE)], &Labels::new());
        image.store(state, NAMESPACE, "overlayfs", None);
        state.put_image(NAMESPACE, image.record(PRIVATE), now);
    });
    let undone = node.undo(&[], false).await;
    assert_eq!(undone.refused, [PRIVATE]);
    assert_eq!(undone.dependent, [].into());
    assert_eq!(node.names().len(), 5);
}
