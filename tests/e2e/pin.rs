//! `pin` and `unpin`.

use reclaim_testkit::fault::{Act, Call, Fault, FaultProxy, Hook, Moment, Then};
use reclaim_testkit::{BuiltImage, Labels, Layer, image, labels};
use serde_json::{Value, json};

use crate::protocol::{SLOWLY, end, rig_with_six_images, start, until_gone};
use crate::rig::{CommandOutput, Rig, call, entry, names};

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

fn lines(output: &CommandOutput) -> Vec<&str> {
    output.stdout.lines().collect()
}

/// Every command keeps a pinned image and names the pin as the reason. `unpin` restores its record.
#[tokio::test]
async fn keeps_a_pinned_image_until_it_is_unpinned() {
    let rig = Rig::start().await;
    let app = build(&rig, "docker.io/library/app:1").await;
    build(&rig, "docker.io/library/other:1").await;
    let output = rig.reclaim(&["pin", "app:1"]).exits(0);
    assert_eq!(output.stdout, "Pinned: app:1\n");
    let record = rig.namespace.image_record(app.name()).await.unwrap();
    assert_eq!(record.target.digest, app.target.digest);
    let since = record.labels["reclaim/pinned"].clone();
    let expected = [("mark", app.name()), PIN, ("reclaim/pinned", &since)];
    assert_eq!(record.labels, labels(expected));
    assert!(since.parse::<jiff::Timestamp>().is_ok(), "{since}");

    let output = rig.reclaim(&["pin", "app:1"]).exits(0);
    assert_eq!(output.stdout, "");
    assert_eq!(output.stderr, "app:1 was already pinned\n");
    assert_eq!(labels_of(&rig, app.name()).await, record.labels);

    let list = rig.reclaim(&["image", "ls", "--format", "json"]).json();
    let row = entry(&list["images"], app.name());
    assert_eq!(row["pinned"], "reclaim");
    assert_eq!(row["verdict"], "pinned");
    let output = rig.reclaim(&["image", "rm", "app:1"]).exits(1);
    let refused = "error: conflict: unable to delete app:1 (must be forced) - image is pinned\n";
    assert_eq!(output.stderr, refused);
    let args = ["image", "prune", "-a", "-f", "--format", "json"];
    let report = rig.reclaim(&args).exits(0).json();
    assert_eq!(names(&report["removed"]), ["docker.io/library/other:1"]);
    let kept = entry(&report["kept"], app.name());
    assert_eq!(kept["reason"], "pinned");
    let holders = json!([{"kind": "label", "id": "reclaim/pinned"}]);
    assert_eq!(kept["holders"], holders);

    let output = rig.reclaim(&["unpin", "app:1"]).exits(0);
    assert_eq!(output.stdout, "Unpinned: app:1\n");
    let expected = labels([("mark", app.name())]);
    assert_eq!(labels_of(&rig, app.name()).await, expected);
    let output = rig.reclaim(&["unpin", "app:1"]).exits(0);
    assert_eq!(output.stderr, "app:1 was not pinned\n");
    rig.reclaim(&["image", "rm", "app:1"]).exits(0);
    assert_eq!(rig.names().await.len(), 0);
}

/// Any of the names pins all records of an image that the CRI plugin manages.
#[tokio::test]
async fn pins_all_records_of_a_cri_image() {
    let rig = Rig::start().await;
    let app = build(&rig, "quay.io/team/pod:1").await;
    let none = Labels::new();
    let records = rig.namespace.cri_image_records(&app, &none).await.unwrap();
    app.tag(&rig.namespace, "quay.io/team/mine:1")
        .await
        .unwrap();
    let [by_digest, by_config] = &records;
    let plugin_records = [app.name(), by_digest, by_config];
    let pairs = [
        (app.name(), by_config.as_str()),
        (by_digest, app.name()),
        (by_config, by_digest),
    ];
    for (pins, unpins) in pairs {
        let output = rig.reclaim(&["pin", pins]).exits(0);
        assert_eq!(lines(&output).len(), if pins == by_config { 4 } else { 3 });
        for name in plugin_records {
            let found = labels_of(&rig, name).await;
            assert_eq!(found.get(PIN.0).map(String::as_str), Some(PIN.1), "{name}");
        }
        rig.reclaim(&["unpin", unpins]).exits(0);
        rig.reclaim(&["unpin", by_config]).exits(0);
        for name in plugin_records {
            let managed = labels([("io.cri-containerd.image", "managed")]);
            assert_eq!(labels_of(&rig, name).await, managed, "{name}");
        }
    }
    // As `crictl images` prints it.
    let short = &by_config["sha256:".len()..][..13];
    let output = rig.reclaim(&["pin", short]).exits(0);
    assert_eq!(lines(&output).len(), 4);
    rig.reclaim(&["unpin", short]).exits(0);
    rig.reclaim(&["image", "rm", "-f", short]).exits(0);
    assert_eq!(rig.names().await.len(), 0);
}

#[tokio::test]
async fn unpins_what_the_cri_plugin_pinned_only_with_force() {
    let rig = Rig::start().await;
    let pause = build(&rig, "registry.k8s.io/pause:3.9").await;
    let pinned = labels([PIN]);
    let records = rig.namespace.cri_image_records(&pause, &pinned).await;
    let [by_digest, _] = records.unwrap();
    let before = labels_of(&rig, pause.name()).await;
    // `pin` does not add a second pin, which would look like the only one.
    rig.reclaim(&["pin", pause.name()]).exits(0);
    assert_eq!(labels_of(&rig, pause.name()).await, before);
    let output = rig.reclaim(&["unpin", pause.name()]).exits(1);
    assert_eq!(output.stdout, "");
    assert_eq!(
        output.stderr,
        format!(
            "error: {} was not pinned by reclaim: containerd's CRI plugin may need it to start \
             pods (must be forced)\n",
            pause.name()
        )
    );
    let args = ["unpin", "--format", "json", &by_digest];
    let output = rig.reclaim(&args).exits(1).json();
    assert_eq!(output["images"][0]["problem"], "not_ours");
    assert_eq!(labels_of(&rig, pause.name()).await, before);
    let output = rig.reclaim(&["unpin", "-f", pause.name()]).exits(0);
    assert_eq!(lines(&output).len(), 3);
    assert!(!labels_of(&rig, pause.name()).await.contains_key(PIN.0));
}

#[tokio::test]
async fn a_bad_name_does_not_stop_the_others() {
    let rig = Rig::start().await;
    let app = build(&rig, "docker.io/library/app:1").await;
    let other = build(&rig, "docker.io/library/other:1").await;
    let id = other.target.digest.hex();
    let output = rig.reclaim(&["pin", "gone", "app:1", "UPPER", &id[..12]]);
    let output = output.exits(1);
    assert_eq!(output.stdout, "Pinned: app:1\nPinned: other:1\n");
    assert_eq!(
        output.stderr,
        "error: No such image: gone:latest\n\
         error: invalid reference format: repository name (library/UPPER) must be lowercase\n"
    );
    let args = ["unpin", "--format", "json", "gone", "app:1"];
    let report = rig.reclaim(&args).exits(1).json();
    assert_eq!(report["action"], "unpin");
    assert_eq!(report["images"][0]["problem"], "no_such_image");
    assert_eq!(report["images"][0]["target"], Value::Null);
    assert_eq!(
        report["images"][1],
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
    // Looking for an image does not create the namespace.
    rig.reclaim(&["-n", "nowhere", "pin", "app:1"]).exits(1);
    let namespaces = rig.containerd.namespaces().await.unwrap();
    assert_eq!(namespaces, ["default"]);
}

/// A prune that is running may already have planned to remove the image.
#[tokio::test]
async fn does_not_pin_while_a_prune_runs() {
    let (rig, built) = rig_with_six_images().await;
    let prune = start(&rig, &SLOWLY);
    until_gone(&rig, built[1].name()).await;
    let output = rig.reclaim(&["pin", "f:1"]).exits(4);
    assert!(
        output.stderr.contains("already running"),
        "{}",
        output.stderr
    );
    // With --wait, the prune has removed the image by then.
    let output = rig.reclaim(&["pin", "--wait", "f:1"]).exits(1);
    assert_eq!(output.stderr, "error: No such image: f:1\n");
    let report = end(prune).exits(0).json();
    assert_eq!(names(&report["removed"]).len(), 6);
}

/// A tag that moves while it is being pinned keeps its new target and is not pinned.
#[tokio::test(flavor = "multi_thread")]
async fn does_not_pin_a_tag_that_moves_meanwhile() {
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
    let output = call(proxy.address(), "", &["pin", "app:1"]).exits(1);
    assert_eq!(proxy.struck(), 1);
    assert_eq!(
        output.stderr,
        "error: app:1 now points to a different image; retry\n"
    );
    let record = rig.namespace.image_record(app.name()).await.unwrap();
    assert_eq!(record.target.digest, other.target.digest);
    assert_eq!(record.labels, labels([("mark", "moved")]));
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_after_the_answer_to_a_pin_is_lost() {
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
    let output = call(proxy.address(), "", &["pin", "app:1"]).exits(0);
    assert_eq!(output.stdout, "Pinned: app:1\n");
    assert_eq!(proxy.struck(), 1);
    let found = labels_of(&rig, app.name()).await;
    assert_eq!(found.get(PIN.0).map(String::as_str), Some(PIN.1));
    // The guard is gone, too.
    let leases = rig.namespace.leases().await.unwrap();
    assert!(leases.is_empty(), "{leases:?}");
}
