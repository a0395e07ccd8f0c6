//! A host with used and unused images, and a daemon.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use reclaim_engine::{Clock, Controls, Engine, RunError, RunOptions, no_progress};
use reclaim_fake::api::services::v1::Container;
use reclaim_fake::api::services::v1::snapshots::{Info as SnapshotInfo, Kind};
use reclaim_fake::{Fake, Image, Labels, Layer, Namespace, Snapshot};
use reclaim_model::{Part, PruneRequest, Report};
use reclaim_store::Containerd;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(crate) const NAMESPACE: &str = "default";

const SNAPSHOTTER: &str = "overlayfs";

/// The label by which a configuration keeps what was unpacked.
const UNPACKED: &str = "containerd.io/gc.ref.snapshot.overlayfs";

/// The unused images. All of their records may be removed.
pub(crate) const UNUSED: [&str; 4] = ["old:1", "old:2", "alone:1", "alone:again"];

/// The images that containers use, by name and by snapshot.
const USED: [&str; 2] = ["web:1", "db:1"];

/// What a run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// It removes unused images.
    Prune,
    /// It frees what was unpacked of unused images, and the compressed layers of others.
    Slim,
}

#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) fake: Fake,
    pub(crate) engine: Arc<Engine>,
    work: Work,
    is_held: bool,
    images: BTreeMap<&'static str, Image>,
}

impl Stage {
    /// Creates the host in a runtime with paused time. If `is_held`, the undo window is an hour.
    pub(crate) fn set(version: &str, work: Work, is_held: bool) -> Self {
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
            work,
            is_held,
            images: BTreeMap::new(),
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
            stage.put(name, Image::new(layers, &Labels::new()));
        }
        stage.run_container("web", "web:1", "web:1");
        // Its name points to another image now.
        stage.run_container("db", "db:1", "db:0");
        stage
    }

    fn put(&mut self, name: &'static str, image: Image) {
        let now = self.fake.now();
        self.fake.change(|state| {
            let repository = name.split(':').next().unwrap_or(name);
            let source = format!("library/{repository}");
            image.store(state, NAMESPACE, SNAPSHOTTER, Some(&source));
            let full = format!("docker.io/library/{name}");
            state.put_image(NAMESPACE, image.record(&full), now);
        });
        self.images.insert(name, image);
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
            config.labels[UNPACKED].clone()
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

    /// Does the work.
    pub(crate) async fn run(&self) -> Result<Report, RunError> {
        let namespace = NAMESPACE.parse().expect("a name");
        let request = match self.work {
            Work::Prune => PruneRequest::unused(namespace),
            Work::Slim => PruneRequest::parts(namespace, [Part::Snapshots, Part::Layers], [""; 0]),
        };
        let request = request.may_lack_namespace(true);
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

    /// Ends all undo windows: what a hold keeps, of refused images too, cannot be freed.
    pub(crate) async fn release(&self) -> Result<(), RunError> {
        let namespace = NAMESPACE.parse().expect("a name");
        let released = self.engine.release_holds(&namespace, &|| false);
        released.await.map(drop)
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

    /// Checks that no used image is gone, and none incomplete: after a slim it has its layers, or its
    /// snapshots.
    pub(crate) fn check_whole(&self) -> Result<(), String> {
        let (images, space) = (self.images(), self.space());
        for name in USED {
            if !images.iter().any(|it| it == name) {
                return Err(format!("`{name}` is used and gone"));
            }
        }
        for name in &images {
            let image = &self.images[name.as_str()];
            let mut blobs = image.blobs();
            if self.work == Work::Slim && has_snapshots(&space, image) {
                // The manifest and the configuration.
                blobs.truncate(2);
            }
            let missing = blobs.iter().find(|it| !space.content.contains_key(*it));
            if let Some(missing) = missing {
                return Err(format!("`{name}` lacks {missing}"));
            }
        }
        Ok(())
    }

    /// Checks that the work is done.
    pub(crate) fn check_done(&self) -> Result<(), String> {
        let (there, space) = (self.images(), self.space());
        for (name, image) in &self.images {
            let is_unused = UNUSED.contains(name);
            let is_there = there.iter().any(|it| it == name);
            let is_done = match self.work {
                Work::Prune => is_there != is_unused,
                Work::Slim if is_unused => {
                    let labels = &space.content[&image.config()].labels;
                    is_there && !labels.contains_key(UNPACKED)
                }
                Work::Slim => {
                    let blobs = image.blobs();
                    let (manifest, own) = (&space.content[&blobs[0]], blobs.last());
                    is_there && !manifest.labels.values().any(|it| Some(it) == own)
                }
            };
            if !is_done {
                return Err(format!("`{name}` is as before after the next run"));
            }
        }
        Ok(())
    }

    /// Returns the number of calls of a run without an outage.
    pub(crate) fn count_calls(version: &str, work: Work, is_held: bool) -> u64 {
        runtime().block_on(async {
            let stage = Self::set(version, work, is_held);
            let report = stage.run().await.expect("nothing is wrong");
            let (removed, slimmed) = match work {
                Work::Prune => (UNUSED.len(), 0),
                Work::Slim => (0, UNUSED.len() + USED.len()),
            };
            let changed = (report.removed.len(), report.slimmed.len());
            assert_eq!(changed, (removed, slimmed), "{report:?}");
            stage.fake.calls()
        })
    }
}

/// Whether the whole chain of an image is there.
fn has_snapshots(space: &Namespace, image: &Image) -> bool {
    let mut chains = image.chains().into_iter();
    chains.all(|chain| {
        let key = (SNAPSHOTTER.to_owned(), chain);
        space.snapshots.contains_key(&key)
    })
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
