//! One part is permanently broken: a blob, a snapshot or a list of one namespace.
//!
//! The requests of an undisturbed dry run are recorded, and each of them always fails in dry runs
//! of its own. Images that are not related to the broken part have the same result as on the whole
//! store, and no image is removed that is kept there. A run may fail only if what it cannot list
//! may use any image of the namespace.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use futures::future::join_all;
use reclaim_testkit::fault::{Act, FaultProxy, Outage, Request};
use reclaim_testkit::{
    BuiltImage, Containerd, Layer, LeaseResource, Manifest, NamespaceClient, NewLease, image,
    index, labels, select_faults,
};
use serde_json::Value;
use tokio::time::Instant;
use tonic::Code;

use crate::matrix::{N_CONTAINERDS, Violations, announce};
use crate::run::{RunOutput, reclaim, run_with_outage};

/// The dry runs. `--remote` makes every read of a document a request.
const DRY_RUNS: [&[&str]; 2] = [
    &[
        "image",
        "prune",
        "-a",
        "--dry-run",
        "--format",
        "json",
        "--remote",
    ],
    &[
        "image",
        "prune",
        "-a",
        "--dry-run",
        "--format",
        "json",
        "--remote",
        "--filter",
        "label!=keep",
    ],
];

/// How long a dry run may take, all deadlines for answers included.
const PATIENCE: Duration = Duration::from_secs(120);

const READ: &str = "content.v1.Content/Read";
const USAGE: &str = "snapshots.v1.Snapshots/Usage";
const SNAPSHOTS: &str = "snapshots.v1.Snapshots/List";
const SANDBOXES: &str = "sandbox.v1.Store/List";

/// Lists without which a run may fail.
const NEEDED: [&str; 6] = [
    "namespaces.v1.Namespaces/List",
    "images.v1.Images/List",
    "containers.v1.Containers/ListStream",
    "leases.v1.Leases/List",
    "leases.v1.Leases/ListResources",
    "content.v1.Content/List",
];

/// Requests that do not depend on the store.
const ABOUT_THE_SERVER: [&str; 2] = [
    "version.v1.Version/Version",
    "introspection.v1.Introspection/Plugins",
];

/// How the request fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Harm {
    Refused(Code),
    Unanswered,
}

impl Harm {
    fn act(self) -> Act {
        match self {
            Self::Refused(code) => Act::Refuse(code),
            Self::Unanswered => Act::Hang,
        }
    }

    /// Returns the ways in which a request can fail.
    fn of(request: &Request) -> Vec<Self> {
        let mut harms = vec![
            Self::Refused(Code::Internal),
            Self::Refused(Code::Unavailable),
            Self::Refused(Code::Unknown),
            Self::Unanswered,
        ];
        // containerd never answers a list with "not found"; a blob or snapshot may be missing.
        if [READ, USAGE].contains(&&*request.method) {
            harms.push(Self::Refused(Code::NotFound));
        }
        harms
    }
}

/// A request that always fails.
#[derive(Debug, Clone)]
struct Case {
    request: Request,
    harm: Harm,
}

/// Whether each image is removed, and the reason, by name.
type Results = BTreeMap<String, (bool, String)>;

/// A containerd that cases share, because no case changes it.
struct Host {
    containerd: Containerd,
    socket: PathBuf,
    images: Vec<BuiltImage>,
    /// The result of each dry run on the whole store.
    whole: Vec<Results>,
    requests: BTreeSet<Request>,
}

impl Host {
    async fn start() -> Self {
        let containerd = Containerd::builder().log_level("warn").start().await;
        let socket = containerd.socket().to_owned();
        let images = fill(&containerd.namespace("default")).await;
        fill_other(&containerd.namespace("other")).await;
        let proxy = FaultProxy::with_outages(&socket, []);
        let mut whole = Vec::new();
        for args in DRY_RUNS {
            let ended = reclaim(proxy.address(), args).await;
            assert_eq!(ended.code, Some(0), "{ended:#?}");
            whole.push(results(&ended.report()));
        }
        let mut requests: BTreeSet<Request> = proxy.requests().into_iter().collect();
        requests.retain(|request| !ABOUT_THE_SERVER.contains(&&*request.method));
        Self {
            containerd,
            socket,
            images,
            whole,
            requests,
        }
    }

    /// Returns the images whose results may change when the request fails.
    fn related(&self, request: &Request) -> BTreeSet<&str> {
        if request.namespace == "other" {
            return BTreeSet::new();
        }
        let is_related = |image: &&BuiltImage| match &*request.method {
            READ => image
                .blobs
                .keys()
                .any(|digest| request.texts.contains(&digest.to_string())),
            SNAPSHOTS => {
                let mut manifests = image.manifests.iter();
                manifests.any(|manifest| {
                    manifest
                        .snapshotters
                        .iter()
                        .any(|snapshotter| request.texts.contains(snapshotter))
                })
            }
            // From 2.0 on any image may be used by a sandbox.
            SANDBOXES => self.containerd.version().at_least(2, 0),
            method => NEEDED.contains(&method),
        };
        let related = self.images.iter().filter(is_related);
        related.map(BuiltImage::name).collect()
    }

    async fn check(&self, case: &Case) -> Violations {
        let mut violations = Violations::new();
        // Each dry run would wait for the same deadline.
        let n_dry_runs = if case.harm == Harm::Unanswered {
            1
        } else {
            DRY_RUNS.len()
        };
        let mut n_struck = 0;
        for (args, whole) in DRY_RUNS.iter().zip(&self.whole).take(n_dry_runs) {
            let outage = Outage::of(&case.request, case.harm.act());
            let ended = run_with_outage(&self.socket, args, outage, PATIENCE).await;
            n_struck += usize::from(ended.struck);
            violations.extend(self.compare(case, whole, &ended));
        }
        if n_struck == 0 {
            violations.push("the request was not made".to_owned());
        }
        violations
    }

    /// Compares a dry run with an outage to one on the whole store.
    fn compare(&self, case: &Case, whole: &Results, ended: &RunOutput) -> Violations {
        let Case { request, .. } = case;
        let may_fail = request.namespace != "other" && NEEDED.contains(&&*request.method);
        match ended.code {
            Some(0) => {}
            Some(1) if may_fail && ended.stdout.is_empty() => return Violations::new(),
            _ => return vec![format!("{ended:?}")],
        }
        let related = self.related(request);
        let found = results(&ended.report());
        let mut violations = Violations::new();
        for (name, result) in whole {
            let Some(now) = found.get(name) else {
                violations.push(format!("{name} is missing"));
                continue;
            };
            let (was_removed, is_removed) = (result.0, now.0);
            if is_removed && !was_removed {
                violations.push(format!("{name}, kept as {}, is removed", result.1));
            } else if now != result && !related.contains(&**name) {
                violations.push(format!("{name}: {result:?} becomes {now:?}"));
            }
        }
        violations
    }
}

/// Builds unused images, and images that are used and held in several ways, in two snapshotters.
async fn fill(namespace: &NamespaceClient) -> Vec<BuiltImage> {
    let name = |short: &str| format!("docker.io/library/{short}:1");
    let plain = |short: &str, snapshotter: &str| {
        image(&name(short))
            .layers([Layer::named("base", 900), Layer::named(short, 500)])
            .unpack(snapshotter)
    };
    let mut built = Vec::new();
    for builder in [
        plain("used", "native"),
        plain("old", "native"),
        plain("alone", "native"),
        plain("over", "overlayfs"),
        plain("held", "overlayfs"),
        plain("labelled", "native").config_labels(labels([("keep", "yes")])),
    ] {
        built.push(builder.build(namespace).await.unwrap());
    }
    let here = Manifest::new("linux/amd64").layers([Layer::named("amd64", 600)]);
    let there = Manifest::new("linux/arm64").layers([Layer::named("arm64", 800)]);
    let platforms = index(&name("platforms"))
        .manifest(here.unpack("overlayfs").attested())
        .manifest(there.absent());
    built.push(platforms.build(namespace).await.unwrap());
    namespace.nerdctl_container("web", &built[0]).await.unwrap();
    // Below, this container's image name moves to another image: only its snapshot shows the use.
    namespace
        .nerdctl_container("moved", &built[1])
        .await
        .unwrap();
    built[1] = built[1].tag(namespace, &name("moved")).await.unwrap();
    let newer = plain("newer", "native").build(namespace).await.unwrap();
    built.push(newer.tag(namespace, &name("old")).await.unwrap());
    built.push(newer);
    let held = LeaseResource::content(&built[4].target.digest);
    namespace.create_lease(NewLease::new("held")).await.unwrap();
    namespace.add_lease_resource("held", &held).await.unwrap();
    namespace.collect().await.unwrap();
    built
}

/// Fills another namespace, which shares a layer and has its own container and lease.
async fn fill_other(namespace: &NamespaceClient) {
    let theirs = image("docker.io/library/theirs:1")
        .layers([Layer::named("base", 900)])
        .unpack("overlayfs")
        .build(namespace)
        .await
        .unwrap();
    namespace.nerdctl_container("web", &theirs).await.unwrap();
    namespace.create_lease(NewLease::new("held")).await.unwrap();
    let held = LeaseResource::content(&theirs.target.digest);
    namespace.add_lease_resource("held", &held).await.unwrap();
}

fn results(report: &Value) -> Results {
    let mut results = Results::new();
    for (list, is_removed) in [("removed", true), ("kept", false)] {
        for row in report[list].as_array().unwrap() {
            let text = |field: &str| row[field].as_str().unwrap().to_owned();
            results.insert(text("name"), (is_removed, text("reason")));
        }
    }
    results
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permanent_outage_changes_only_results_of_related_images() {
    let title = "permanent outages";
    let began = Instant::now();
    let host = Host::start().await;
    let all_cases = host.requests.iter().flat_map(|request| {
        Harm::of(request).into_iter().map(|harm| Case {
            request: request.clone(),
            harm,
        })
    });
    let cases = select_faults(title, all_cases.collect());
    let size = cases.len();
    let left = Mutex::new(cases);
    let violations = Mutex::new(Vec::new());
    let next = || left.lock().unwrap().pop();
    let workers = (0..N_CONTAINERDS).map(|_| async {
        while let Some(case) = next() {
            let found = host.check(&case).await;
            if !found.is_empty() {
                violations.lock().unwrap().push((case, found));
            }
        }
    });
    join_all(workers).await;
    announce(title, size, host.requests.len(), began.elapsed());
    let violations = violations.into_inner().unwrap();
    let bad = violations.len();
    assert!(
        bad == 0,
        "{title}: {bad} of {size} cases fail: {violations:#?}"
    );
}

/// The matrix covers only what the store has: it needs every kind of request, and images of every
/// result.
#[tokio::test(flavor = "multi_thread")]
async fn the_store_of_outages_has_every_request_and_result() {
    let host = Host::start().await;
    let methods: BTreeSet<(&str, &str)> = host
        .requests
        .iter()
        .map(|request| (&*request.namespace, &*request.method))
        .collect();
    for namespace in ["default", "other"] {
        for method in NEEDED[1..].iter().chain([&SNAPSHOTS]) {
            assert!(
                methods.contains(&(namespace, method)),
                "{namespace} {method}"
            );
        }
    }
    for method in [READ, USAGE] {
        assert!(methods.contains(&("default", method)), "{method}");
    }
    let reasons: BTreeSet<&str> = host
        .whole
        .iter()
        .flat_map(BTreeMap::values)
        .map(|(_, reason)| &**reason)
        .collect();
    assert_eq!(
        reasons,
        ["duplicate", "in_use", "label_filter", "unused"].into()
    );
}
