//! Tests of the index with the events and lists of a real containerd.

use std::sync::Arc;
use std::time::Duration;

use containerd_client::events::TaskStart;
use containerd_client::services::v1::PublishRequest;
use containerd_client::services::v1::events_client::EventsClient;
use containerd_client::to_any;
use jiff::Timestamp;
use reclaim_engine::{Controls, Engine, Grace, RunOptions, no_progress};
use reclaim_maintenance::LastUseIndex;
use reclaim_model::{Digest, Namespace, PruneRequest, Report};
use reclaim_testkit::fault::{Act, Call, Fault, FaultProxy, Hook, Moment, Then};
use reclaim_testkit::{BuiltImage, Containerd, Layer, NamespaceClient, image};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::common::{known, namespace};

const SUBSCRIBE: &str = "events.v1.Events/Subscribe";

/// How long a condition may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// A containerd, and an index that follows it.
struct Scene {
    containerd: Containerd,
    namespace: NamespaceClient,
    engine: Arc<Engine>,
    index: Arc<LastUseIndex>,
    directory: tempfile::TempDir,
    cancel: CancellationToken,
    watching: JoinHandle<()>,
}

impl Scene {
    async fn start(containerd: Containerd, address: &str) -> Self {
        let engine = Arc::new(Engine::connect(address).await.unwrap());
        let directory = tempfile::tempdir().unwrap();
        let index = Arc::new(LastUseIndex::open(directory.path()).unwrap());
        let cancel = CancellationToken::new();
        let watching = spawn(&engine, &index, &cancel);
        Self {
            namespace: containerd.namespace(Namespace::as_str(&namespace())),
            containerd,
            engine,
            index,
            directory,
            cancel,
            watching,
        }
    }

    async fn until(&self, what: &str, is_reached: impl Fn(&LastUseIndex) -> bool) {
        let patience = Instant::now() + PATIENCE;
        while !is_reached(&self.index) {
            assert!(Instant::now() < patience, "never: {what}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn until_used(&self, target: &Digest) {
        self.until("it is in use", |it| is_used(it, target)).await;
    }

    async fn until_unused(&self, target: &Digest) {
        let is_unused = |it: &LastUseIndex| known(it, target).is_some() && !is_used(it, target);
        self.until("it is not in use", is_unused).await;
    }

    fn last_used(&self, target: &Digest) -> Timestamp {
        known(&self.index, target).unwrap().last_used
    }

    /// Returns how many scans of the whole store there were.
    fn scans(&self) -> u64 {
        let calls = self.engine.store().calls();
        // Measuring filesystems lists namespaces, too.
        calls.get("list leases").copied().unwrap_or(0)
    }

    async fn build(&self, name: &str) -> BuiltImage {
        build(&self.namespace, name).await
    }

    async fn prune_all(&self, undo_window: Duration) -> Report {
        let request = PruneRequest::unused(namespace()).may_empty_namespace(true);
        let options = RunOptions {
            grace: Grace::Fixed(Duration::ZERO),
            undo_window,
            ..RunOptions::default()
        };
        let controls = Controls {
            options: &options,
            progress: &no_progress,
            cancel: &CancellationToken::new(),
        };
        let report = self.engine.prune(&request, None, controls).await;
        report.unwrap()
    }

    /// Stops the task. The index is on disk then.
    async fn stop(&mut self) {
        self.cancel.cancel();
        (&mut self.watching).await.unwrap();
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

fn spawn(
    engine: &Arc<Engine>,
    index: &Arc<LastUseIndex>,
    cancel: &CancellationToken,
) -> JoinHandle<()> {
    let (engine, index) = (Arc::clone(engine), Arc::clone(index));
    let cancel = cancel.clone();
    tokio::spawn(async move { index.watch(&engine, &(), &cancel).await })
}

async fn build(namespace: &NamespaceClient, name: &str) -> BuiltImage {
    let name = format!("docker.io/library/{name}");
    let layers = [Layer::named(&name, 700)];
    let built = image(&name).layers(layers).unpack("native");
    built.build(namespace).await.unwrap()
}

fn is_used(index: &LastUseIndex, target: &Digest) -> bool {
    let uses = index.uses(&namespace());
    let seen = uses.targets.get(target);
    seen.is_some_and(|seen| seen.last_used == uses.now)
}

#[tokio::test]
async fn events_report_containers_tasks_and_pulls() {
    let containerd = Containerd::start().await;
    let address = containerd.address().to_owned();
    let before = containerd.namespace(Namespace::as_str(&namespace()));
    let app = build(&before, "app:1").await;
    let other = build(&before, "other:1").await;
    let mut scene = Scene::start(containerd, &address).await;
    let (app_id, other_id) = (&app.target.digest, &other.target.digest);
    scene
        .until("the first scan", |it| known(it, other_id).is_some())
        .await;
    scene.until_unused(app_id).await;
    let (seen, looks) = (scene.last_used(other_id), scene.scans());

    let container = scene.namespace.nerdctl_container("web", &app);
    container.await.unwrap();
    scene.until_used(app_id).await;
    assert_eq!(scene.scans(), looks, "that was learnt from events");
    assert_eq!(scene.last_used(other_id), seen);

    // A process of a container counts while the container is there, and its end is a use.
    let container_id = "web".to_owned();
    let begun = TaskStart {
        container_id,
        pid: 7,
    };
    publish(&scene.containerd, "/tasks/start", to_any(&begun)).await;
    let before = scene.index.uses(&namespace()).now;
    scene.namespace.delete_container("web").await.unwrap();
    scene.until_unused(app_id).await;
    assert!(scene.last_used(app_id) >= before);
    assert_eq!(scene.last_used(other_id), seen);

    let before = scene.index.uses(&namespace()).now;
    let new = scene.build("new:1").await;
    let new = &new.target.digest;
    scene.until("the pull", |it| known(it, new).is_some()).await;
    assert!(known(&scene.index, new).unwrap().first_seen >= before);

    let uses = scene.index.uses(&namespace());
    scene.stop().await;
    let directory = scene.directory.path().to_owned();
    scene.index = Arc::new(LastUseIndex::in_memory());
    let index = LastUseIndex::open(&directory).unwrap();
    let read = index.uses(&namespace());
    assert_eq!(
        read.targets.keys().collect::<Vec<_>>(),
        uses.targets.keys().collect::<Vec<_>>()
    );
}

async fn publish(containerd: &Containerd, topic: &str, event: prost_types::Any) {
    let mut request = tonic::Request::new(PublishRequest {
        topic: topic.to_owned(),
        event: Some(event),
    });
    let header = Namespace::as_str(&namespace()).parse().unwrap();
    request
        .metadata_mut()
        .insert("containerd-namespace", header);
    let mut client = EventsClient::new(containerd.channel());
    client.publish(request).await.unwrap();
}

/// Delays all subscriptions after the first until they are released.
fn held_back(released: &watch::Receiver<bool>) -> Vec<Fault> {
    let hold = |nth| {
        let released = released.clone();
        let hook = Hook::new(move || {
            let mut released = released.clone();
            async move {
                released.wait_for(|it| *it).await.unwrap();
                Then::Continue
            }
        });
        Fault {
            call: Call {
                method: SUBSCRIBE.to_owned(),
                nth,
            },
            moment: Moment::Before,
            act: Act::Run(hook),
        }
    };
    (1..20).map(hold).collect()
}

#[tokio::test]
async fn a_scan_finds_what_happened_while_the_event_stream_was_down() {
    let containerd = Containerd::start().await;
    let before = containerd.namespace(Namespace::as_str(&namespace()));
    let app = build(&before, "app:1").await;
    let gone = build(&before, "gone:1").await;
    before.nerdctl_container("web", &app).await.unwrap();
    let (release, released) = watch::channel(false);
    let proxy = FaultProxy::start(containerd.socket(), held_back(&released));
    let mut scene = Scene::start(containerd, proxy.address()).await;
    let (app, gone) = (app.target.digest.clone(), gone.target.digest.clone());
    scene.until_used(&app).await;
    scene
        .until("the first scan", |it| known(it, &gone).is_some())
        .await;

    scene.containerd.kill().await;
    scene.containerd.restart().await;
    scene.namespace = scene.containerd.namespace(Namespace::as_str(&namespace()));
    let missed = reclaim_engine::now();
    scene.namespace.delete_container("web").await.unwrap();
    let new = scene.build("new:1").await;
    scene
        .namespace
        .nerdctl_container("next", &new)
        .await
        .unwrap();
    let new = new.target.digest.clone();
    assert!(known(&scene.index, &new).is_none(), "nothing was heard");
    assert!(
        is_used(&scene.index, &app),
        "what is not known any better is in use"
    );

    release.send(true).unwrap();
    scene.until_used(&new).await;
    scene.until_unused(&app).await;
    assert!(scene.last_used(&app) >= missed);
    // And it hears again.
    scene.namespace.delete_container("next").await.unwrap();
    scene.until_unused(&new).await;
    scene.stop().await;
}

#[tokio::test]
async fn re_pulls_count_and_undos_do_not() {
    let containerd = Containerd::start().await;
    let address = containerd.address().to_owned();
    let before = containerd.namespace(Namespace::as_str(&namespace()));
    let app = build(&before, "app:1").await.target.digest;
    let mut scene = Scene::start(containerd, &address).await;
    scene
        .until("the first scan", |it| known(it, &app).is_some())
        .await;

    let report = scene.prune_all(Duration::from_secs(600)).await;
    assert_eq!(report.removed.len(), 1);
    scene.until("the run", |it| known(it, &app).is_none()).await;
    let undone = scene
        .engine
        .undo(&namespace(), None, &[], false)
        .await
        .unwrap();
    assert_eq!(undone.restored.len(), 1);
    scene
        .until("the undo", |it| known(it, &app).is_some())
        .await;
    let looks = scene.scans();
    let another = scene.build("another:1").await.target.digest;
    scene
        .until("another pull", |it| known(it, &another).is_some())
        .await;
    scene.until("a look", |_| scene.scans() > looks).await;
    assert_eq!(scene.index.repulls(), 0);

    let report = scene.prune_all(Duration::ZERO).await;
    assert_eq!(report.removed.len(), 2);
    scene.until("the run", |it| known(it, &app).is_none()).await;
    scene.build("app:1").await;
    scene.until("the re-pull", |it| it.repulls() == 1).await;
    let uses = scene.index.uses(&namespace()).targets;
    assert!(uses[&app].spared_until.is_some());
    scene.stop().await;
}
