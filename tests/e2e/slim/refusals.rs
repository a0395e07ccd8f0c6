//! Images that stay whole: each has its reason, and none loses both copies of a layer.

use std::collections::BTreeSet;
use std::fs;

use reclaim_model::Digest;
use reclaim_testkit::{Layer, image};

use super::{APP, LAYERS, SLIM, WEB, blobs, layers, pulled, reasons, rig, snapshots, top, with};
use crate::rig::{Rig, names};

/// An image that must stay whole has the reason in the report, whichever part is to go.
#[tokio::test]
async fn keeps_what_is_pinned_protected_or_the_only_copy() {
    let rig = Rig::quiet().await;
    let name = |short: &str| format!("docker.io/library/{short}:1");
    for short in ["pinned", "protected", "sound"] {
        pulled(&rig.namespace, &name(short)).await;
    }
    let build = |short: &str| {
        let name = name(short);
        image(&name).layers([Layer::named(short, 700)])
    };
    for built in [
        build("copy").unpack("native"),
        build("discarded").unpack("native").discard_layers(),
        build("packed"),
    ] {
        built.build(&rig.namespace).await.unwrap();
    }
    let source = "containerd.io/distribution.source.docker.io";
    for short in ["packed", "discarded"] {
        let target = rig.namespace.images().await.unwrap()[&name(short)].clone();
        let repository = format!("library/{short}");
        let label = rig.namespace.set_blob_label(&target, source, &repository);
        label.await.unwrap();
    }
    rig.reclaim(&["pin", "pinned:1"]).exits(0);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    fs::write(&file, "[protect]\nreferences = ['protected:*']\n").unwrap();
    let config = ["--config", file.to_str().unwrap()];
    let reported = |args: &[&str]| {
        let args = [&config[..], &SLIM, &["--dry-run"], args].concat();
        rig.reclaim(&args).exits(0).json()
    };

    let by_snapshots = reported(&[]);
    let copy = name("copy");
    assert_eq!(names(&by_snapshots["slimmed"]), [&*copy, &*name("sound")]);
    let by_layers = reported(&LAYERS);
    assert_eq!(names(&by_layers["slimmed"]), [&*name("sound")]);
    for (short, by, reason) in [
        ("pinned", &by_snapshots, "pinned"),
        ("pinned", &by_layers, "pinned"),
        ("protected", &by_snapshots, "protected"),
        ("protected", &by_layers, "protected"),
        ("copy", &by_layers, "last_copy"),
        ("packed", &by_snapshots, "nothing_to_free"),
        ("packed", &by_layers, "not_unpacked"),
        ("discarded", &by_snapshots, "layers_missing"),
        ("discarded", &by_layers, "nothing_to_free"),
    ] {
        assert_eq!(reasons(by)[&*name(short)], reason, "{short}");
    }

    let lifted = reported(&["--lift-protection"]);
    assert!(names(&lifted["slimmed"]).contains(&&*name("protected")));
    let warning = lifted["warnings"][0].as_str().unwrap();
    assert!(
        warning.contains("protected:1` is protected by rule"),
        "{warning}"
    );
}

/// Neither two runs nor one with both parts leave a layer without a copy.
#[tokio::test]
async fn no_image_loses_both_its_snapshots_and_its_layers() {
    let (rig, app, web) = rig().await;
    let report = rig.reclaim(&SLIM).exits(0).json();
    assert_eq!(names(&report["slimmed"]), [APP]);
    let report = rig.reclaim(&with(&SLIM, &LAYERS)).exits(0).json();
    assert_eq!(names(&report["slimmed"]), [WEB]);
    assert_eq!(reasons(&report)[APP], "not_unpacked");
    assert!(layers(&app).is_subset(&blobs(&rig).await));
    rig.namespace.delete_container("web").await.unwrap();
    let report = rig.reclaim(&SLIM).exits(0).json();
    assert_eq!(reasons(&report)[WEB], "layers_missing");
    assert!(snapshots(&rig).await.contains(&top(&web)));

    let both = Rig::quiet().await;
    let unused = pulled(&both.namespace, APP).await;
    let args = with(&SLIM, &["--layers", "--snapshots"]);
    let report = both.reclaim(&args).exits(0).json();
    let parts = report["slimmed"][0]["parts"].as_object().unwrap();
    assert_eq!(parts.keys().collect::<Vec<_>>(), ["snapshots"]);
    both.reclaim(&args).exits(0);
    assert!(layers(&unused).is_subset(&blobs(&both).await));
}

/// Docker needs the layers of its images for `save` and `push`.
#[tokio::test]
async fn layers_of_dockers_images_need_an_option() {
    let rig = Rig::quiet().await;
    let moby = rig.containerd.namespace("moby");
    let app = pulled(&moby, APP).await;
    let args = with(&SLIM, &["--layers", "--namespace=moby"]);
    let output = rig.reclaim(&args).exits(0);
    assert_eq!(reasons(&output.json())[APP], "docker_layers");
    assert!(
        output.stderr.contains("hint: --docker-layers frees"),
        "{output:#?}"
    );
    let report = rig
        .reclaim(&with(&args, &["--docker-layers"]))
        .exits(0)
        .json();
    assert_eq!(names(&report["slimmed"]), [APP]);
    let left: BTreeSet<Digest> = moby.blobs().await.unwrap().into_keys().collect();
    assert!(left.is_disjoint(&layers(&app)));
}

/// A mirror on the machine serves layers out of containerd's content.
#[tokio::test]
async fn layers_that_a_mirror_serves_need_an_option() {
    let rig = Rig::quiet().await;
    let app = pulled(&rig.namespace, APP).await;
    let directory = tempfile::tempdir().unwrap();
    let containerd = directory.path().join("containerd.toml");
    let hosts = directory.path().join("hosts");
    let plugin = "[plugins.'io.containerd.grpc.v1.cri'.registry]";
    let text = format!("version = 2\n{plugin}\nconfig_path = {hosts:?}\n");
    fs::write(&containerd, text).unwrap();
    fs::create_dir_all(hosts.join("_default")).unwrap();
    let write = |text: &str| fs::write(hosts.join("_default/hosts.toml"), text).unwrap();
    let config = format!("--containerd-config={}", containerd.display());
    let args = with(&SLIM, &["--layers", &config]);
    for text in ["[host.\"http://127.0.0.1:30020\"]\n", "host = ["] {
        write(text);
        let output = rig.reclaim(&args).exits(0);
        let report = output.json();
        assert_eq!(reasons(&report)[APP], "registry_mirror");
        let kept = report["kept"][0]["holders"][0].to_string();
        assert!(kept.contains("_default/hosts.toml"), "{kept}");
        assert!(
            output.stderr.contains("hint: --mirrored-layers"),
            "{output:#?}"
        );
    }
    let reclaim = directory.path().join("config.toml");
    fs::write(&reclaim, "[containerd]\nserves_peers = true\n").unwrap();
    let serving = format!("--config={}", reclaim.display());
    write("[host.\"https://mirror.example\"]\n");
    let report = rig.reclaim(&with(&args, &[&serving])).exits(0).json();
    assert_eq!(reasons(&report)[APP], "registry_mirror");
    assert!(layers(&app).is_subset(&blobs(&rig).await));
    // Its snapshots do not matter to a mirror, and with the option neither do its layers.
    let dry = with(&SLIM, &["--dry-run", &serving]);
    assert_eq!(names(&rig.reclaim(&dry).exits(0).json()["slimmed"]), [APP]);
    let all = with(&args, &[&serving, "--mirrored-layers"]);
    assert_eq!(names(&rig.reclaim(&all).exits(0).json()["slimmed"]), [APP]);
}
