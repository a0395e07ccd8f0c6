//! A host with used and unused images, and a daemon.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reclaim_engine::{Clock, Controls, Engine, RunError, RunOptions, no_progress};
use reclaim_fake::api::services::v1::Container;
use reclaim_fake::api::services::v1::snapshots::{Info as SnapshotInfo, Kind};
use reclaim_fake::{Fake, Image, Labels, Layer, Namespace, Snapshot};
use reclaim_model::{PruneRequest, Report};
use reclaim_store::Containerd;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(crate) const NAMESPACE: &str = "default";

const SNAPSHOTTER: &str = "overlayfs";

/// The unused images. All of their records may be removed.
pub(crate) const UNUSED: [&str; 4] = ["old:1", "old:2", "alone:1", "alone:again"];

/// The images that containers use, by name and by snapshot.
const USED: [&str; 2] = ["web:1", "db:1"];

#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) fake: Fake,
    pub(crate) engine: Arc<Engine>,
    is_held: bool,
    blobs: BTreeMap<&'static str, Vec<String>>,
}

impl Stage {
    /// Creates the host in a runtime with paused time. If `is_held`, the undo window is an hour.
    pub(crate) fn set(version: &str, is_held: bool) -> Self {
        let start = Instant::now();
        let began: Timestamp = "2026-03-15T04:30:00Z".parse().expect("a time");
        let now = move || {
            let passed = SignedDuration::try_from(start.elapsed());
            began + passed.expect("a day is short")
        };
        let fake = Fake::with_clock(version, now);
        let mut stage = Self {
            engine: Arc::new(engine(&fake, now)),
            fake,
            is_held,
            blobs: BTreeMap::new(),
        };
        let base = Layer::of(&"base".repeat(1000));
        for (name, own) in [
            ("old:1", "one"),
            ("old:2", "two"),
            ("alone:1", "three"),
            ("alone:again", "three"),
            ("web:1", "four"),
            ("db:1", "five"),
        ] {
            let mut layers = vec![base.clone(), Layer::of(own)];
            if own == "three" {
                layers.remove(0);
            }
            stage.put(name, &Image::new(layers, &Labels::new()));
        }
        stage.run_container("web", "web:1", "web:1");
        // Its name points to another image now.
        stage.run_container("db", "db:1", "db:0");
        stage
    }

    fn put(&mut self, name: &'static str, image: &Image) {
        let now = self.fake.now();
        self.fake.change(|state| {
            image.store(state, NAMESPACE, SNAPSHOTTER, Some("library/app"));
            let full = format!("docker.io/library/{name}");
            state.put_image(NAMESPACE, image.record(&full), now);
        });
        self.blobs.insert(name, image.blobs());
    }

    fn run_container(&self, id: &str, image: &str, name: &str) {
        let key = format!("active-{id}");
        let parent = self.fake.look(|state| {
            let space = &state.namespaces[NAMESPACE];
            let target = space.images[&format!("docker.io/library/{image}")]
                .target
                .clone();
            let manifest = &space.content[&target.unwrap_or_default().digest];
            let config = &space.content[&manifest.labels["containerd.io/gc.ref.content.config"]];
            config.labels["containerd.io/gc.ref.snapshot.overlayfs"].clone()
        });
        let snapshot = Snapshot {
            info: SnapshotInfo {
                name: key.clone(),
                parent,
                kind: Kind::Active.into(),
                ..SnapshotInfo::default()
            },
            bytes: 4096,
            inodes: 1,
        };
        let container = Container {
            id: id.to_owned(),
            image: format!("docker.io/library/{name}"),
            snapshotter: SNAPSHOTTER.to_owned(),
            snapshot_key: key.clone(),
            ..Container::default()
        };
        self.fake.change(|state| {
            state.put_snapshot(NAMESPACE, (SNAPSHOTTER.to_owned(), key), snapshot);
            state.put_container(NAMESPACE, container);
        });
    }

    /// Removes unused images.
    pub(crate) async fn prune(&self) -> Result<Report, RunError> {
        let namespace = NAMESPACE.parse().expect("a name");
        let request = PruneRequest::unused(namespace).may_lack_namespace(true);
        let window = if self.is_held { 3600 } else { 0 };
        let options = RunOptions {
            undo_window: Duration::from_secs(window),
            ..RunOptions::default()
        };
        let controls = Controls {
            options: &options,
            progress: &no_progress,
            cancel: &CancellationToken::new(),
        };
        self.engine.prune(&request, None, controls).await
    }

    pub(crate) fn space(&self) -> Namespace {
        self.fake.look(|state| state.namespaces[NAMESPACE].clone())
    }

    /// Returns the short names of the existing records.
    pub(crate) fn images(&self) -> Vec<String> {
        let names = self.space().images.into_keys();
        let short = names.map(|it| it.trim_start_matches("docker.io/library/").to_owned());
        short.collect()
    }

    /// Checks that no used image is incomplete.
    pub(crate) fn check_whole(&self) -> Result<(), String> {
        let (images, content) = (self.images(), self.space().content);
        for name in USED {
            if !images.iter().any(|it| it == name) {
                return Err(format!("`{name}` is used and gone"));
            }
        }
        for name in &images {
            let mut blobs = self.blobs[name.as_str()].iter();
            if let Some(missing) = blobs.find(|it| !content.contains_key(*it)) {
                return Err(format!("`{name}` lacks {missing}"));
            }
        }
        Ok(())
    }

    /// Returns the number of calls of a prune without an outage.
    pub(crate) fn count_calls(version: &str, is_held: bool) -> u64 {
        runtime().block_on(async {
            let stage = Self::set(version, is_held);
            let report = stage.prune().await.expect("nothing is wrong");
            assert_eq!(report.removed.len(), UNUSED.len(), "{report:?}");
            stage.fake.calls()
        })
    }
}

fn engine(fake: &Fake, now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Engine {
    let store = Containerd::from_channel(fake.channel()).with_clock(Clock::new(now));
    Engine::new(store).with_machine(&"1".repeat(32), "boot")
}

/// Returns a runtime with simulated time.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build();
    runtime.expect("a runtime")
}
