//! One thing is broken for good: a blob, a snapshot, a list, of one namespace.
//!
//! The requests of an undisturbed dry run are recorded, and each of them fails in dry runs of its
//! own, every time it is made. What has nothing to do with the broken thing is planned as on the
//! whole store, and nothing is removed that would stay there. A run may fail only if what it
//! cannot list may use any image of the namespace.

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

use crate::matrix::{Complaints, STAGES, announce};
use crate::run::{Ended, hindered, reclaim};

/// The dry runs: containerd's files are not looked at, so that every body is a request.
const QUESTIONS: [&[&str]; 2] = [
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

/// How long a dry run may take: nothing that does not answer is waited for longer.
const PATIENCE: Duration = Duration::from_secs(120);

const READ: &str = "content.v1.Content/Read";
const USAGE: &str = "snapshots.v1.Snapshots/Usage";
const SNAPSHOTS: &str = "snapshots.v1.Snapshots/List";
const SANDBOXES: &str = "sandbox.v1.Store/List";

/// Lists without which nothing can be planned.
const NEEDED: [&str; 6] = [
    "namespaces.v1.Namespaces/List",
    "images.v1.Images/List",
    "containers.v1.Containers/ListStream",
    "leases.v1.Leases/List",
    "leases.v1.Leases/ListResources",
    "content.v1.Content/List",
];

/// Requests that are about no thing of the store.
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

    /// All that may happen to a request.
    fn of(request: &Request) -> Vec<Self> {
        let mut harms = vec![
            Self::Refused(Code::Internal),
            Self::Refused(Code::Unavailable),
            Self::Refused(Code::Unknown),
            Self::Unanswered,
        ];
        // A list that is not found would be a lie; a thing may be gone.
        if [READ, USAGE].contains(&&*request.method) {
            harms.push(Self::Refused(Code::NotFound));
        }
        harms
    }
}

/// A request that fails for good.
#[derive(Debug, Clone)]
struct Case {
    request: Request,
    harm: Harm,
}

/// Whether an image goes, and why it does or does not.
type Results = BTreeMap<String, (bool, String)>;

/// A containerd that several cases look at side by side, since none changes it.
struct Host {
    containerd: Containerd,
    socket: PathBuf,
    images: Vec<BuiltImage>,
    /// What each question comes to on the whole store.
    whole: Vec<Results>,
    requests: BTreeSet<Request>,
}

impl Host {
    async fn set() -> Self {
        let containerd = Containerd::builder().log_level("warn").start().await;
        let socket = containerd.socket().to_owned();
        let images = fill(&containerd.namespace("default")).await;
        fill_other(&containerd.namespace("other")).await;
        let proxy = FaultProxy::with_outages(&socket, []);
        let mut whole = Vec::new();
        for question in QUESTIONS {
            let ended = reclaim(proxy.address(), question).await;
            assert_eq!(ended.code, Some(0), "{ended:#?}");
            whole.push(results(&ended.report()));
        }
        let mut requests: BTreeSet<Request> = proxy.requests().into_iter().collect();
        requests.retain(|it| !ABOUT_THE_SERVER.contains(&&*it.method));
        Self {
            containerd,
            socket,
            images,
            whole,
            requests,
        }
    }

    /// Names of the images of which the results may be others when the request fails.
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
                manifests.any(|it| it.snapshotters.iter().any(|it| request.texts.contains(it)))
            }
            // From 2.0 on any image may be used by a sandbox.
            SANDBOXES => self.containerd.version().at_least(2, 0),
            method => NEEDED.contains(&method),
        };
        let related = self.images.iter().filter(is_related);
        related.map(BuiltImage::name).collect()
    }

    async fn check(&self, case: &Case) -> Complaints {
        let mut complaints = Complaints::new();
        // Each run would wait for the same once more.
        let n_questions = if case.harm == Harm::Unanswered {
            1
        } else {
            QUESTIONS.len()
        };
        let mut n_struck = 0;
        for (question, whole) in QUESTIONS.iter().zip(&self.whole).take(n_questions) {
            let outage = Outage::of(&case.request, case.harm.act());
            let ended = hindered(&self.socket, question, outage, PATIENCE).await;
            n_struck += usize::from(ended.struck);
            complaints.extend(self.compare(case, whole, &ended));
        }
        if n_struck == 0 {
            complaints.push("the request was not made".to_owned());
        }
        complaints
    }

    /// Compares a hindered dry run with one of the whole store.
    fn compare(&self, case: &Case, whole: &Results, ended: &Ended) -> Complaints {
        let Case { request, .. } = case;
        let may_fail = request.namespace != "other" && NEEDED.contains(&&*request.method);
        match ended.code {
            Some(0) => {}
            Some(1) if may_fail && ended.stdout.is_empty() => return Complaints::new(),
            _ => return vec![format!("{ended:?}")],
        }
        let related = self.related(request);
        let found = results(&ended.report());
        let mut complaints = Complaints::new();
        for (name, result) in whole {
            let Some(now) = found.get(name) else {
                complaints.push(format!("{name} is left out"));
                continue;
            };
            let (was_removed, is_removed) = (result.0, now.0);
            if is_removed && !was_removed {
                complaints.push(format!("{name} stays, {}, and now goes", result.1));
            } else if now != result && !related.contains(&**name) {
                complaints.push(format!("{name}: {result:?} becomes {now:?}"));
            }
        }
        complaints
    }
}

/// Images of every kind, in two snapshotters, used and held in several ways, and unused.
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
    // This container's image name points to another image now; only its snapshot shows the use.
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

/// Another namespace that shares a layer and has users of its own.
async fn fill_other(namespace: &NamespaceClient) {
    let theirs = image("docker.io/library/theirs:1")
        .layers([Layer::named("base", 900)])
        .unpack("overlayfs");
    let theirs = theirs.build(namespace).await.unwrap();
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

/// A thing that stays broken keeps the images it may hide, and changes no other result.
#[tokio::test(flavor = "multi_thread")]
async fn one_broken_thing_costs_only_what_it_may_hide() {
    let title = "broken for good";
    let began = Instant::now();
    let host = Host::set().await;
    let requests = host.requests.iter();
    let cases = requests.flat_map(|request| {
        let harms = Harm::of(request).into_iter();
        harms.map(|harm| Case {
            request: request.clone(),
            harm,
        })
    });
    let cases = select_faults(title, cases.collect());
    let size = cases.len();
    let left = Mutex::new(cases);
    let complaints = Mutex::new(Vec::new());
    let next = || left.lock().unwrap().pop();
    let workers = (0..STAGES).map(|_| async {
        while let Some(case) = next() {
            let found = host.check(&case).await;
            if !found.is_empty() {
                complaints.lock().unwrap().push((case, found));
            }
        }
    });
    join_all(workers).await;
    announce(title, size, host.requests.len(), began.elapsed());
    let complaints = complaints.into_inner().unwrap();
    let bad = complaints.len();
    assert!(
        bad == 0,
        "{title}: {bad} of {size} cases fail: {complaints:#?}"
    );
}

/// The store has all that may break, and images of every result: a matrix over less would show
/// less.
#[tokio::test(flavor = "multi_thread")]
async fn the_store_of_outages_has_something_of_everything() {
    let host = Host::set().await;
    let methods: BTreeSet<(&str, &str)> = host
        .requests
        .iter()
        .map(|it| (&*it.namespace, &*it.method))
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
        .map(|it| &*it.1)
        .collect();
    assert_eq!(
        reasons,
        ["duplicate", "in_use", "label_filter", "unused"].into()
    );
}
