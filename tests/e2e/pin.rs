//! `pin` and `unpin`: images that somebody wants kept.

use reclaim_testkit::fault::{Act, Call, Fault, FaultProxy, Hook, Moment, Then};
use reclaim_testkit::{BuiltImage, Labels, Layer, image, labels};
use serde_json::{Value, json};

use crate::protocol::{SLOWLY, end, rig_with_six_images, start, until_gone};
use crate::rig::{Called, Rig, call, entry, names};

const PIN: (&str, &str) = ("io.cri-containerd.pinned", "pinned");

async fn build(rig: &Rig, name: &str) -> BuiltImage {
    image(name)
        .layers([Layer::named(name, 500)])
        .record_labels(labels([("mark", name)]))
        .unpack("native")
        .build(&rig.namespace)
        .await
        .unwrap()
}

async fn labels_of(rig: &Rig, name: &str) -> Labels {
    rig.namespace.image_record(name).await.unwrap().labels
}

fn lines(called: &Called) -> Vec<&str> {
    called.stdout.lines().collect()
}

/// A pinned image should stay, whoever is told to remove it, with the pin as the reason; unpinned
/// its record should be as it was, and go.
#[tokio::test]
async fn a_pinned_image_stays_until_it_is_unpinned() {
    let rig = Rig::start().await;
    let app = build(&rig, "docker.io/library/app:1").await;
    build(&rig, "docker.io/library/other:1").await;
    let called = rig.reclaim(&["pin", "app:1"]).exits(0);
    assert_eq!(called.stdout, "Pinned: app:1\n");
    let record = rig.namespace.image_record(app.name()).await.unwrap();
    assert_eq!(record.target.digest, app.target.digest);
    let since = record.labels["reclaim/pinned"].clone();
    let expected = [("mark", app.name()), PIN, ("reclaim/pinned", &since)];
    assert_eq!(record.labels, labels(expected));
    assert!(since.parse::<jiff::Timestamp>().is_ok(), "{since}");

    let called = rig.reclaim(&["pin", "app:1"]).exits(0);
    assert_eq!(called.stdout, "");
    assert_eq!(called.stderr, "app:1 was pinned before\n");
    assert_eq!(labels_of(&rig, app.name()).await, record.labels);

    let listed = rig.reclaim(&["image", "ls", "--format", "json"]).json();
    let listed = entry(&listed["images"], app.name());
    assert_eq!(listed["pinned"], "reclaim");
    assert_eq!(listed["verdict"], "pinned");
    let called = rig.reclaim(&["image", "rm", "app:1"]).exits(1);
    let refused = "error: conflict: unable to delete app:1 (must be forced) - image is pinned\n";
    assert_eq!(called.stderr, refused);
    let args = ["image", "prune", "-a", "-f", "--format", "json"];
    let report = rig.reclaim(&args).exits(0).json();
    assert_eq!(names(&report["removed"]), ["docker.io/library/other:1"]);
    let kept = entry(&report["kept"], app.name());
    assert_eq!(kept["reason"], "pinned");
    let holders = json!([{"kind": "label", "id": "reclaim/pinned"}]);
    assert_eq!(kept["holders"], holders);

    let called = rig.reclaim(&["unpin", "app:1"]).exits(0);
    assert_eq!(called.stdout, "Unpinned: app:1\n");
    let expected = labels([("mark", app.name())]);
    assert_eq!(labels_of(&rig, app.name()).await, expected);
    let called = rig.reclaim(&["unpin", "app:1"]).exits(0);
    assert_eq!(called.stderr, "app:1 was not pinned\n");
    rig.reclaim(&["image", "rm", "app:1"]).exits(0);
    assert_eq!(rig.names().await.len(), 0);
}

/// All records of an image of the CRI plugin should be pinned together, by whichever of its names.
#[tokio::test]
async fn the_records_of_a_cri_image_are_pinned_together() {
    let rig = Rig::start().await;
    let app = build(&rig, "quay.io/team/pod:1").await;
    let none = Labels::new();
    let records = rig.namespace.cri_image_records(&app, &none).await.unwrap();
    app.tag(&rig.namespace, "quay.io/team/mine:1")
        .await
        .unwrap();
    let [by_digest, by_config] = &records;
    let of_the_plugin = [app.name(), by_digest, by_config];
    let pairs = [
        (app.name(), by_config.as_str()),
        (by_digest, app.name()),
        (by_config, by_digest),
    ];
    for (pins, unpins) in pairs {
        let called = rig.reclaim(&["pin", pins]).exits(0);
        assert_eq!(lines(&called).len(), if pins == by_config { 4 } else { 3 });
        for name in of_the_plugin {
            let found = labels_of(&rig, name).await;
            assert_eq!(found.get(PIN.0).map(String::as_str), Some(PIN.1), "{name}");
        }
        rig.reclaim(&["unpin", unpins]).exits(0);
        rig.reclaim(&["unpin", by_config]).exits(0);
        for name in of_the_plugin {
            let managed = labels([("io.cri-containerd.image", "managed")]);
            assert_eq!(labels_of(&rig, name).await, managed, "{name}");
        }
    }
    // As `crictl images` prints it.
    let short = &by_config["sha256:".len()..][..13];
    let called = rig.reclaim(&["pin", short]).exits(0);
    assert_eq!(lines(&called).len(), 4);
    rig.reclaim(&["unpin", short]).exits(0);
    rig.reclaim(&["image", "rm", "-f", short]).exits(0);
    assert_eq!(rig.names().await.len(), 0);
}

/// What the CRI plugin has pinned should only be unpinned by force.
#[tokio::test]
async fn a_pin_of_somebody_else_is_not_taken_away() {
    let rig = Rig::start().await;
    let pause = build(&rig, "registry.k8s.io/pause:3.9").await;
    let pinned = labels([PIN]);
    let records = rig.namespace.cri_image_records(&pause, &pinned).await;
    let [by_digest, _] = records.unwrap();
    let before = labels_of(&rig, pause.name()).await;
    // It needs no second pin, and gets none that could be taken for the first.
    rig.reclaim(&["pin", pause.name()]).exits(0);
    assert_eq!(labels_of(&rig, pause.name()).await, before);
    let called = rig.reclaim(&["unpin", pause.name()]).exits(1);
    assert_eq!(called.stdout, "");
    assert_eq!(
        called.stderr,
        format!(
            "error: {} was not pinned by reclaim: containerd's CRI plugin may need it to start \
             pods (must be forced)\n",
            pause.name()
        )
    );
    let args = ["unpin", "--format", "json", &by_digest];
    let called = rig.reclaim(&args).exits(1).json();
    assert_eq!(called["images"][0]["problem"], "not_ours");
    assert_eq!(labels_of(&rig, pause.name()).await, before);
    let called = rig.reclaim(&["unpin", "-f", pause.name()]).exits(0);
    assert_eq!(lines(&called).len(), 3);
    assert!(!labels_of(&rig, pause.name()).await.contains_key(PIN.0));
}

/// Of several names those that can be pinned should be, and the others be told.
#[tokio::test]
async fn one_bad_name_does_not_stop_the_others() {
    let rig = Rig::start().await;
    let app = build(&rig, "docker.io/library/app:1").await;
    let other = build(&rig, "docker.io/library/other:1").await;
    let id = other.target.digest.hex();
    let called = rig.reclaim(&["pin", "gone", "app:1", "UPPER", &id[..12]]);
    let called = called.exits(1);
    assert_eq!(called.stdout, "Pinned: app:1\nPinned: other:1\n");
    assert_eq!(
        called.stderr,
        "error: No such image: gone:latest\n\
         error: invalid reference format: repository name (library/UPPER) must be lowercase\n"
    );
    let args = ["unpin", "--format", "json", "gone", "app:1"];
    let told = rig.reclaim(&args).exits(1).json();
    assert_eq!(told["action"], "unpin");
    assert_eq!(told["images"][0]["problem"], "no_such_image");
    assert_eq!(told["images"][0]["target"], Value::Null);
    assert_eq!(
        told["images"][1],
        json!({
            "name": "app:1",
            "target": app.target.digest,
            "changed": [app.name()],
            "unchanged": [],
            "problem": null,
            "message": null,
        })
    );
    rig.reclaim(&["pin"]).exits(2);
    // What is not there is not made by looking for it.
    rig.reclaim(&["-n", "nowhere", "pin", "app:1"]).exits(1);
    let namespaces = rig.containerd.namespaces().await.unwrap();
    assert_eq!(namespaces, ["default"]);
}

/// While a prune is under way nothing should be said to be pinned: it may be judged already.
#[tokio::test]
async fn a_prune_that_is_under_way_goes_first() {
    let (rig, built) = rig_with_six_images().await;
    let prune = start(&rig, &SLOWLY);
    until_gone(&rig, built[1].name()).await;
    let called = rig.reclaim(&["pin", "f:1"]).exits(4);
    assert!(
        called.stderr.contains("already running"),
        "{}",
        called.stderr
    );
    // Whoever waits comes too late for what the prune had judged, and is told so.
    let called = rig.reclaim(&["pin", "--wait", "f:1"]).exits(1);
    assert_eq!(called.stderr, "error: No such image: f:1\n");
    let report = end(prune).exits(0).json();
    assert_eq!(names(&report["removed"]).len(), 6);
}

/// A tag that moves between the look and the pin should keep its new target, and the pin be
/// taken back and told.
#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_moves_meanwhile_keeps_its_new_target() {
    let rig = Rig::start().await;
    let app = build(&rig, "docker.io/library/app:1").await;
    let other = build(&rig, "docker.io/library/other:1").await;
    let (namespace, moved) = (rig.namespace.clone(), other.target.clone());
    let name = app.name().to_owned();
    let hook = Hook::new(move || {
        let (namespace, moved, name) = (namespace.clone(), moved.clone(), name.clone());
        async move {
            let mark = labels([("mark", "moved")]);
            namespace.update_image(&name, &moved, &mark).await.unwrap();
            Then::Continue
        }
    });
    let fault = Fault {
        call: Call {
            method: "images.v1.Images/Update".to_owned(),
            nth: 0,
        },
        moment: Moment::Before,
        act: Act::Run(hook),
    };
    let proxy = FaultProxy::start(rig.containerd.socket(), [fault]);
    let called = call(proxy.address(), "", &["pin", "app:1"]).exits(1);
    assert_eq!(proxy.struck(), 1);
    assert_eq!(
        called.stderr,
        "error: app:1 has come to mean another image meanwhile; retry\n"
    );
    let record = rig.namespace.image_record(app.name()).await.unwrap();
    assert_eq!(record.target.digest, other.target.digest);
    assert_eq!(record.labels, labels([("mark", "moved")]));
}

/// A pin should outlive the connection that it was set over: an answer that is lost is asked for
/// again.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_does_not_lose_the_pin() {
    let rig = Rig::start().await;
    let app = build(&rig, "docker.io/library/app:1").await;
    let fault = Fault {
        call: Call {
            method: "images.v1.Images/Update".to_owned(),
            nth: 0,
        },
        moment: Moment::After,
        act: Act::Cut,
    };
    let proxy = FaultProxy::start(rig.containerd.socket(), [fault]);
    let called = call(proxy.address(), "", &["pin", "app:1"]).exits(0);
    assert_eq!(called.stdout, "Pinned: app:1\n");
    assert_eq!(proxy.struck(), 1);
    let found = labels_of(&rig, app.name()).await;
    assert_eq!(found.get(PIN.0).map(String::as_str), Some(PIN.1));
    // The guard went with it.
    let leases = rig.namespace.leases().await.unwrap();
    assert!(leases.is_empty(), "{leases:?}");
}
