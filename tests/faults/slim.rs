//! Slims under faults: parts of images are freed while each call fails, is lost, or is the last.
//!
//! At any time each image has all layers, compressed or unpacked: its record keeps them, or a hold
//! does, from which the next run or an undo restores the labels.
//!
//! The engine runs in this process. A killed run is dropped at the call, with its connection;
//! [`killed`] kills the binary.

mod killed;

use std::collections::BTreeMap;
use std::time::Duration;

use reclaim_engine::{Controls, Engine, Grace, RunError, RunOptions, no_progress};
use reclaim_model::{
    Digest, FilterArgs, ImageParts, Namespace, Part, Platform, PruneRequest, Report,
};
use reclaim_testkit::fault::{Act, Call, Fault, FaultProxy, Hook, Moment, Then};
use reclaim_testkit::{
    BuiltImage, Containerd, Labels, Layer, Manifest, NamespaceClient, image, index, select_faults,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::matrix::{Case, Violations, announce, cases};
use crate::state::State;

/// An image that a container uses: it loses its compressed layers.
const USED: &str = "docker.io/library/used:1";
/// Images that nothing uses: they lose their snapshots.
const UNUSED: &str = "docker.io/library/unused:1";
const TWO: &str = "docker.io/library/two:1";
const PLATFORMS: &str = "docker.io/library/platforms:1";

const WRITE: &str = "content.v1.Content/Write";

const PARTS: [Part; 3] = [Part::Snapshots, Part::Layers, Part::Platforms];

/// The platform that goes.
const THERE: &str = "arm64";

const WINDOW: Duration = Duration::from_secs(3600);

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Harm {
    /// Its connection is lost.
    Cut,
    /// The server is busy.
    Unavailable,
    /// It fails with a permanent error.
    Refused,
    /// The run ends with it.
    Killed,
}

const HARMS: [(Moment, Harm); 8] = [
    (Moment::Before, Harm::Cut),
    (Moment::After, Harm::Cut),
    (Moment::Before, Harm::Unavailable),
    (Moment::After, Harm::Unavailable),
    (Moment::Before, Harm::Refused),
    (Moment::After, Harm::Refused),
    (Moment::Before, Harm::Killed),
    (Moment::After, Harm::Killed),
];

/// The store, with the labels of all blobs.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    state: State,
    labels: BTreeMap<Digest, Labels>,
}

impl Seen {
    async fn of(namespace: &NamespaceClient) -> Self {
        let infos = namespace.blob_infos().await.unwrap().into_iter();
        Self {
            state: State::of(namespace).await,
            labels: infos.map(|(digest, info)| (digest, info.labels)).collect(),
        }
    }

    fn differences(&self, expected: &Self) -> Violations {
        let mut differences = self.state.differences(&expected.state);
        for (digest, labels) in &expected.labels {
            if let Some(found) = self.labels.get(digest)
                && found != labels
            {
                differences.push(format!("{digest} has labels {found:?}, not {labels:?}"));
            }
        }
        differences
    }

    fn has_hold(&self) -> bool {
        let mut leases = self.state.leases.keys();
        leases.any(|id| id.starts_with("reclaim.hold."))
    }

    /// Returns what is missing of an image, without the platform that goes.
    fn lacks(&self, image: &BuiltImage) -> Violations {
        let Self { state, labels } = self;
        let mut lacks = Violations::new();
        if !state.images.contains_key(image.name()) {
            lacks.push(format!("lacks image {}", image.name()));
        }
        for manifest in &image.manifests {
            if manifest.platform.ends_with(THERE) {
                continue;
            }
            let has_blob = |digest: &Digest| labels.contains_key(digest);
            let has_snapshot =
                |chain: &Digest| state.snapshots.contains(&format!("native/{chain}"));
            let (config, digest) = (&manifest.config.digest, &manifest.manifest.digest);
            let is_packed = manifest.layers.iter().all(|it| has_blob(&it.digest));
            let is_unpacked = manifest.chain_ids.iter().all(has_snapshot);
            if !has_blob(digest) || !has_blob(config) || !(is_packed || is_unpacked) {
                lacks.push(format!("{} lacks both copies of a layer", image.name()));
            }
        }
        lacks
    }
}

/// A containerd with images of which parts can be freed.
struct Slims {
    containerd: Containerd,
    namespace: NamespaceClient,
    images: Vec<BuiltImage>,
    before: Seen,
    /// The store after an undisturbed slim.
    end: Seen,
    report: Report,
    /// The calls of a slim with this undo window.
    calls: Vec<Call>,
    window: Duration,
    /// Whether the disk has no room for a journal.
    is_full: bool,
}

/// How a run ended.
enum Ended {
    Killed,
    Failed(RunError),
    Done(Box<Report>),
}

impl Slims {
    async fn start(window: Duration, is_full: bool) -> Self {
        let containerd = Containerd::quiet().log_level("warn").start().await;
        let namespace = containerd.namespace("default");
        let images = fill(&namespace).await;
        let used = images.iter().find(|it| it.name() == USED).unwrap();
        namespace.nerdctl_container("web", used).await.unwrap();
        namespace.collect().await.unwrap();
        let before = Seen::of(&namespace).await;
        let report = undisturbed(&containerd, &slimming()).await;
        let slimmed: Vec<&str> = report.slimmed.iter().map(|it| &*it.name).collect();
        assert_eq!(slimmed.len(), images.len(), "{report:#?}");
        assert_eq!(report.reclaimed.0, report.estimate.0, "{report:#?}");
        let parts = report.cuts.iter().map(|cut| cut.part);
        for part in PARTS {
            assert!(parts.clone().any(|it| it == part), "{report:#?}");
        }
        let end = Seen::of(&namespace).await;
        let mut slims = Self {
            containerd,
            namespace,
            images,
            before,
            end,
            report,
            calls: Vec::new(),
            window,
            is_full,
        };
        slims.refill().await.unwrap();
        let proxy = FaultProxy::start(slims.containerd.socket(), slims.no_room());
        let engine = Engine::connect(proxy.address()).await.unwrap();
        let n_before = proxy.calls().len();
        let ended = run(&engine, &slimming(), window).await;
        assert!(ended.unwrap().unfinished.is_none());
        slims.calls = proxy.calls().split_off(n_before);
        if is_full {
            // Up to the first write, the run is the same as with room on the disk.
            let calls = slims.calls.into_iter().skip_while(|it| it.method != WRITE);
            slims.calls = calls.filter(|it| it.method != WRITE).collect();
        }
        slims
    }

    /// Refuses all writes of content if the disk is full.
    fn no_room(&self) -> impl Iterator<Item = Fault> + use<> {
        let writes = if self.is_full { 50 } else { 0 };
        (0..writes).map(|nth| Fault {
            call: Call {
                method: WRITE.to_owned(),
                nth,
            },
            moment: Moment::Before,
            act: Act::Refuse(Code::ResourceExhausted),
        })
    }

    /// Pulls and unpacks again what a slim freed.
    async fn refill(&self) -> Result<(), String> {
        for lease in self.namespace.leases().await.unwrap().into_keys() {
            let kind = reclaim_testkit::Deletion::Async;
            let deleted = self.namespace.delete_lease(&lease, kind);
            deleted.await.unwrap();
        }
        fill(&self.namespace).await;
        self.namespace.collect().await.unwrap();
        let differences = Seen::of(&self.namespace).await.differences(&self.before);
        if differences.is_empty() {
            Ok(())
        } else {
            Err(format!("cannot refill the store: {differences:#?}"))
        }
    }

    /// Slims while a fault strikes.
    async fn harmed(&self, case: &Case<Harm>) -> Ended {
        let killed = CancellationToken::new();
        let act = match case.harm {
            Harm::Cut => Act::Cut,
            Harm::Unavailable => Act::Refuse(Code::Unavailable),
            Harm::Refused => Act::Refuse(Code::Unknown),
            Harm::Killed => {
                let killed = killed.clone();
                Act::Run(Hook::new(move || {
                    killed.cancel();
                    async { Then::Cut }
                }))
            }
        };
        let fault = Fault {
            call: case.call.clone(),
            moment: case.moment,
            act,
        };
        let faults = self.no_room().chain([fault]);
        let proxy = FaultProxy::start(self.containerd.socket(), faults);
        let engine = Engine::connect(proxy.address()).await.unwrap();
        let slimming = slimming();
        tokio::select! {
            biased;
            () = killed.cancelled() => Ended::Killed,
            ended = run(&engine, &slimming, self.window) => match ended {
                Ok(report) => Ended::Done(Box::new(report)),
                Err(error) => Ended::Failed(error),
            }
        }
    }

    async fn check(&self, case: &Case<Harm>) -> Violations {
        let ended = self.harmed(case).await;
        self.namespace.collect().await.unwrap();
        let after = Seen::of(&self.namespace).await;
        let mut violations = self.sound(&after);
        match &ended {
            Ended::Killed if case.harm == Harm::Killed => {}
            Ended::Done(report) => violations.extend(self.reported(report, &after)),
            Ended::Failed(error) => {
                if case.harm != Harm::Refused {
                    violations.push(format!("fails: {error}"));
                }
                if after.labels != self.before.labels {
                    violations.push(format!("fails with {error}, and has changed labels"));
                }
            }
            Ended::Killed => violations.push("is killed".to_owned()),
        }
        if matches!(case.harm, Harm::Cut | Harm::Unavailable) {
            match &ended {
                Ended::Done(report) if self.is_undisturbed(report) => {}
                Ended::Done(report) => violations.push(format!("another report: {report:#?}")),
                Ended::Killed | Ended::Failed(_) => {}
            }
        }
        violations.extend(self.restored(&after).await);
        let again = undisturbed(&self.containerd, &slimming()).await;
        if again.unfinished.is_some() {
            violations.push(format!("a following slim: {again:#?}"));
        }
        let end = Seen::of(&self.namespace).await;
        let differences = end.differences(&self.end).into_iter();
        violations.extend(differences.map(|it| format!("after a following slim: {it}")));
        violations
    }

    /// Whether a report is that of a run without faults, as far as the undo window allows.
    fn is_undisturbed(&self, report: &Report) -> bool {
        report.slimmed == self.report.slimmed
            && report.cuts == self.report.cuts
            && report
                .warnings
                .iter()
                .all(|it| self.is_full && it.contains("too full"))
            && report.unfinished.is_none()
            && (!self.window.is_zero() || report.reclaimed == self.report.reclaimed)
    }

    /// After a collection no image lacks both copies of a layer, and a hold keeps everything.
    fn sound(&self, after: &Seen) -> Violations {
        let mut violations = Violations::new();
        for image in &self.images {
            violations.extend(after.lacks(image));
        }
        // On a full disk the hold is that of one batch.
        if after.has_hold() && !self.is_full {
            let lacks = after.state.lacks(&self.before.state).into_iter();
            violations.extend(lacks.map(|it| format!("with a hold, {it}")));
        }
        violations
    }

    /// The report agrees with the labels.
    fn reported(&self, report: &Report, after: &Seen) -> Violations {
        let mut violations = Violations::new();
        for cut in &report.cuts {
            let labels = after.labels.get(&cut.blob).into_iter().flatten();
            for (key, _) in labels.filter(|(key, value)| cut.includes(key, value)) {
                violations.push(format!("reports {key} of {} as removed", cut.blob));
            }
        }
        if report.unfinished.is_some() {
            return violations;
        }
        for cut in &self.report.cuts {
            if !report.cuts.contains(cut) {
                let (found, were) = (&after.labels[&cut.blob], &self.before.labels[&cut.blob]);
                let mut labels = were.iter().filter(|(key, value)| cut.includes(key, value));
                if labels.any(|(key, value)| found.get(key) != Some(value)) {
                    violations.push(format!("does not report the cut {cut:?}"));
                }
            }
        }
        let slimmed = report.slimmed.iter().map(|it| &it.name);
        let refused = report.refused.iter().map(|it| &it.name);
        let failed = report.failed.iter().map(|it| &it.name);
        let kept = report.kept.iter().map(|it| &it.name);
        let reported = slimmed.chain(refused).chain(failed).chain(kept);
        let mut reported: Vec<&String> = reported.collect();
        reported.sort_unstable();
        let images: Vec<&String> = self.before.state.images.keys().collect();
        if reported != images {
            violations.push(format!("reports on {reported:?}"));
        }
        violations
    }

    /// The next run of any kind restores what an unfinished one held, and an undo what a finished
    /// one holds.
    async fn restored(&self, after: &Seen) -> Violations {
        let dangling = PruneRequest::dangling(default_namespace());
        let next = undisturbed(&self.containerd, &dangling).await;
        let mut violations = Violations::new();
        if next.unfinished.is_some() || !next.failed.is_empty() {
            violations.push(format!("the next run: {next:#?}"));
        }
        if Seen::of(&self.namespace).await.has_hold() {
            let engine = Engine::connect(self.containerd.address()).await.unwrap();
            let undone = engine.undo(&default_namespace(), None, &[], false).await;
            violations.extend(undone.err().map(|error| format!("the undo: {error}")));
        }
        self.namespace.collect().await.unwrap();
        let now = Seen::of(&self.namespace).await;
        let differences = if after.has_hold() && !self.is_full {
            now.differences(&self.before)
        } else {
            let leases = now.state.leases.keys();
            leases.map(|id| format!("has lease {id}")).collect()
        };
        violations.extend(differences.into_iter().map(|it| format!("restored, {it}")));
        violations
    }
}

/// Frees snapshots of unused images, compressed layers of others, and a platform.
fn slimming() -> PruneRequest {
    let there = Platform {
        os: "linux".to_owned(),
        architecture: THERE.to_owned(),
        variant: String::new(),
    };
    let parts = ImageParts {
        parts: PARTS.into(),
        names: Vec::new(),
        filters: FilterArgs::default(),
        platforms: vec![there],
        docker_layers: false,
        mirrored_layers: false,
    };
    PruneRequest::new(default_namespace(), parts)
}

fn default_namespace() -> Namespace {
    "default".parse().unwrap()
}

async fn run(
    engine: &Engine,
    request: &PruneRequest,
    undo_window: Duration,
) -> Result<Report, RunError> {
    let options = RunOptions {
        grace: Grace::Fixed(Duration::ZERO),
        undo_window,
        max_deletes_per_second: None,
        wait: false,
    };
    let controls = Controls {
        options: &options,
        progress: &no_progress,
        cancel: &CancellationToken::new(),
    };
    engine.prune(request, None, controls).await
}

async fn undisturbed(containerd: &Containerd, request: &PruneRequest) -> Report {
    let engine = Engine::connect(containerd.address()).await.unwrap();
    run(&engine, request, Duration::ZERO).await.unwrap()
}

async fn fill(namespace: &NamespaceClient) -> Vec<BuiltImage> {
    let base = || Layer::named("base", 2000);
    let plain = |name: &str, bytes| {
        let layers = [base(), Layer::named(name, bytes)];
        image(name).layers(layers).unpack("native")
    };
    let mut built = Vec::new();
    for (name, bytes) in [(USED, 400), (UNUSED, 700), (TWO, 900)] {
        let image = plain(name, bytes).build(namespace).await.unwrap();
        built.push(image.pulled(namespace).await.unwrap());
    }
    let two = &built[2];
    let second = two.tag(namespace, "docker.io/library/two:2").await.unwrap();
    built.push(second);
    let here = Manifest::new("linux/amd64").layers([base(), Layer::named("amd64", 600)]);
    let there = Manifest::new(&format!("linux/{THERE}")).layers([Layer::named("arm64", 800)]);
    let platforms = index(PLATFORMS)
        .manifest(here.unpack("native").attested())
        .manifest(there);
    let platforms = platforms.build(namespace).await.unwrap();
    built.push(platforms.pulled(namespace).await.unwrap());
    built
}

/// Whatever happens to a call of a slim, no image loses both copies of a layer, the report is true,
/// and the next run or an undo restores what is held.
#[tokio::test(flavor = "multi_thread")]
async fn no_fault_of_a_slim_loses_a_layer() {
    for window in [Duration::ZERO, WINDOW] {
        Box::pin(work_through(window, false)).await;
    }
}

/// The same on a disk without room for a journal, where leases hold a few blobs at a time.
#[tokio::test(flavor = "multi_thread")]
async fn no_fault_of_a_slim_on_a_full_disk_loses_a_layer() {
    for window in [Duration::ZERO, WINDOW] {
        Box::pin(work_through(window, true)).await;
    }
}

async fn work_through(window: Duration, is_full: bool) {
    let began = Instant::now();
    let mut slims = Box::pin(Slims::start(window, is_full)).await;
    let place = if is_full { " on a full disk" } else { "" };
    let title = format!("faults of a slim{place}, held for {} s", window.as_secs());
    let cases = select_faults(&title, cases(&slims.calls, &HARMS));
    let (size, calls) = (cases.len(), slims.calls.len());
    let mut violations = Vec::new();
    for case in cases {
        let mut found = match slims.refill().await {
            Ok(()) => slims.check(&case).await,
            Err(violation) => vec![violation],
        };
        if !found.is_empty() {
            found.insert(0, format!("{case:?}"));
            violations.push(found);
            slims = Box::pin(Slims::start(window, is_full)).await;
        }
    }
    announce(&title, size, calls, began.elapsed());
    let bad = violations.len();
    assert!(
        bad == 0,
        "{title}: {bad} of {size} cases fail: {violations:#?}"
    );
}
