//! Bad input and a bad environment: a clear error, the right exit status, nothing removed.

use std::os::unix::net::UnixListener;

use reclaim_testkit::{Deletion, Descriptor, Labels, Layer, NewContainer, NewLease, image};

use crate::output::assert_output_snapshot;
use crate::rig::{Rig, call, names};

#[tokio::test]
async fn says_why_an_address_cannot_be_used() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let prune = &["image", "prune", "-f"][..];

    let output = call(&path("missing.sock"), "", prune).exits(1);
    assert_output_snapshot!(output.stderr, @"error: connect to containerd: socket `FOLDER/missing.sock` does not exist; is containerd running?");

    std::fs::write(path("file"), "").unwrap();
    let output = call(&path("file"), "", prune).exits(1);
    assert_output_snapshot!(output.stderr, @"error: connect to containerd: open socket `FOLDER/file`: Connection refused (os error 111)");

    let listener = UnixListener::bind(path("other.sock")).unwrap();
    // The client tries again for as long as it likes.
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let output = call(&path("other.sock"), "", prune).exits(1);
    // How the connection ends differs, and the cause may be missing.
    let expected = "other.sock` is not containerd: transport error";
    assert!(output.stderr.contains(expected), "{}", output.stderr);

    let output = call("tcp://localhost:1", "", prune).exits(2);
    assert_output_snapshot!(output.stderr, @"error: invalid containerd address `tcp://localhost:1`: expected a path, or `unix://` and a path");
    assert_eq!(output.stdout, "");
}

/// Bad filters are refused with Docker's texts and a hint, without a call to containerd.
#[tokio::test]
async fn bad_filters_are_usage_errors() {
    let filters = [
        "name=app",
        "reference=",
        "digest=xyz",
        "larger-than=big",
        "unused-for=never",
        "until=1d",
        "until",
        "dangling=false",
        "since=x",
    ];
    let errors = filters.map(|filter| {
        let args = ["image", "prune", "-f", "--filter", filter];
        call("/nonexistent", "", &args).exits(2).stderr
    });
    assert_output_snapshot!(errors.concat(), @r#"
    error: invalid filter 'name'
    hint: accepted filters are dangling, label, label!, until, digest, larger-than, reference, unused-for
    error: filter `reference`: pattern is empty
    error: filter `digest`: `xyz` is not the beginning of a digest; accepted are 1 to 64 hexadecimal digits, with or without `sha256:`
    error: filter `larger-than`: size is not 0, or a number and B, kB, MB, GB, TB, PB, KiB, MiB, GiB, TiB or PiB, such as SIZE: `big`
    error: filter `unused-for`: time: invalid duration "never"
    error: invalid value for 'until' filter: failed to parse value as time or duration: invalid seconds "1d": invalid syntax
    error: bad format of filter (expected name=value)
    error: invalid filter 'dangling=[false true]'
    error: invalid filter 'since'
    hint: accepted filters are dangling, label, label!, until, digest, larger-than, reference, unused-for
    "#);
    call("/nonexistent", "", &["image", "prune", "--nonsense"]).exits(2);
    let output = call("/nonexistent", "", &["-n", "no/such", "image", "prune"]).exits(2);
    assert_output_snapshot!(output.stderr, @"error: namespace is not letters and digits joined by single `.`, `_` or `-`, at most 76 characters: `no/such`");
}

#[tokio::test]
async fn errors_about_bad_values_name_accepted_ones() {
    let options = [
        ["--grace", "soon"],
        ["--undo-window", "721h"],
        ["--max-deletes-per-second", "0"],
        ["--log-level", "a=b=c"],
    ];
    let errors = options.map(|option| {
        let args = [&["image", "prune", "-f"][..], &option].concat();
        call("/nonexistent", "", &args).exits(2).stderr
    });
    assert_output_snapshot!(errors.concat(), @r#"
    error: invalid value 'soon' for '--grace <DURATION>': it is not `auto`, and the duration is not one such as 90s, 10m or 1h30m, from 0s to 1m: `soon`

    For more information, try '--help'.
    error: invalid value '721h' for '--undo-window <DURATION>': duration is not one such as 90s, 10m or 1h30m, from 0s to 720h: `721h`

    For more information, try '--help'.
    error: invalid value '0' for '--max-deletes-per-second <N>': 0 is not in 1..=10000

    For more information, try '--help'.
    error: invalid value 'a=b=c' for '--log-level <FILTER>': error parsing level filter: expected one of "off", "error", "warn", "info", "debug", "trace", or a number 0-5; accepted are off, error, warn, info, debug and trace, and filters such as info,reclaim_engine=debug

    For more information, try '--help'.
    "#);
}

/// A namespace given by name must exist; the default one need not.
#[tokio::test]
async fn the_error_about_an_unknown_namespace_names_existing_ones() {
    let rig = Rig::start().await;
    for name in ["here", "there"] {
        rig.containerd
            .namespace(name)
            .create_namespace(&Labels::new())
            .await
            .unwrap();
    }
    let output = rig
        .reclaim(&["--namespace", "nowhere", "image", "prune", "-a", "-f"])
        .exits(1);
    assert_output_snapshot!(output.stderr, @"error: namespace `nowhere` does not exist; existing: here, there");
    let output = rig.reclaim(&["image", "prune", "-a", "-f"]).exits(0);
    assert_eq!(output.stdout, "Total reclaimed space: 0B\n");
    let namespaces = rig.containerd.namespaces().await.unwrap();
    assert_eq!(
        namespaces,
        ["here", "there"],
        "a prune does not create a namespace"
    );
}

/// A plan that removes every image of a namespace with containers is refused, unless
/// `--allow-empty` names the namespace.
#[tokio::test]
async fn emptying_a_namespace_with_containers_needs_allow_empty() {
    let rig = Rig::start().await;
    image("docker.io/library/app:1")
        .layers([Layer::random(1, 100)])
        .build(&rig.namespace)
        .await
        .unwrap();
    let lost = NewContainer::new("lost").image("docker.io/library/gone:1");
    rig.namespace.create_container(lost).await.unwrap();
    let [error, dry] = ["-f", "--dry-run"].map(|mode| {
        let args = ["image", "prune", "-a", mode];
        rig.reclaim(&args).exits(1).stderr
    });
    assert_eq!(error, dry);
    assert_output_snapshot!(error, @"
    error: refused: the plan would remove every image of namespace `default`, which has 1 container
    hint: if this is intended, use --allow-empty default
    ");
    assert_eq!(rig.names().await.len(), 1);
    rig.reclaim(&["image", "prune", "-a", "-f", "--allow-empty", "other"])
        .exits(1);
    rig.reclaim(&["image", "prune", "-a", "-f", "--allow-empty", "default"])
        .exits(0);
    assert_eq!(rig.names().await.len(), 0);
}

#[tokio::test]
async fn removes_a_torn_image_with_a_warning() {
    let rig = Rig::start().await;
    image("docker.io/library/good:1")
        .layers([Layer::random(1, 100)])
        .build(&rig.namespace)
        .await
        .unwrap();
    let body = br#"{"schemaVersion":2,"config":"nonsense"}"#;
    let none = Labels::new();
    rig.namespace
        .create_lease(NewLease::new("l"))
        .await
        .unwrap();
    let leased = rig.namespace.with_lease("l");
    let digest = leased.write_blob(body, &none).await.unwrap();
    let target = Descriptor {
        media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
        digest: digest.clone(),
        size: body.len() as u64,
    };
    let bad = "docker.io/library/bad:1";
    rig.namespace
        .create_image(bad, &target, &none)
        .await
        .unwrap();
    rig.namespace
        .delete_lease("l", Deletion::Async)
        .await
        .unwrap();
    let output = rig
        .reclaim(&["image", "prune", "-a", "-f", "--format", "json"])
        .exits(0);
    let report = output.json();
    assert_eq!(
        names(&report["removed"]),
        ["docker.io/library/bad:1", "docker.io/library/good:1"]
    );
    assert_eq!(report["removed"][0]["reason"], "torn");
    assert_eq!(report["removed"][1]["reason"], "unused");
    assert!(
        report["warnings"][0]
            .as_str()
            .unwrap()
            .contains(&digest.to_string())
    );
    assert!(
        output
            .stderr
            .contains("warning: image `docker.io/library/bad:1`: ")
    );
}

/// A reference in a record's labels can be held if its value is short enough, however long the key.
/// An image that cannot be held is kept, also by a dry run, and others are removed.
#[tokio::test]
async fn keeps_an_image_whose_label_is_too_long_to_be_held() {
    let rig = Rig::start().await;
    let long_key = format!("containerd.io/gc.ref.snapshot.native/{}", "k".repeat(4000));
    let long_value = "v".repeat(4060);
    for (name, key, value) in [
        ("long-key", long_key.as_str(), "none"),
        (
            "long-value",
            "containerd.io/gc.ref.snapshot.native",
            &*long_value,
        ),
        ("plain", "k", "v"),
    ] {
        image(&format!("docker.io/library/{name}:1"))
            .record_labels(reclaim_testkit::labels([(key, value)]))
            .layers([Layer::named(name, 900)])
            .build(&rig.namespace)
            .await
            .unwrap();
    }
    let removed = ["docker.io/library/long-key:1", "docker.io/library/plain:1"];
    let stays = "docker.io/library/long-value:1";
    for mode in ["--dry-run", "--force"] {
        let args = ["image", "prune", "-a", mode, "--format", "json"];
        let report = rig.reclaim(&args).exits(0).json();
        assert_eq!(names(&report["removed"]), removed, "{mode}");
        assert_eq!(names(&report["kept"]), [stays], "{mode}");
        assert_eq!(report["kept"][0]["reason"], "unholdable", "{mode}");
    }
    for args in [&["long-value:1"][..], &["--force", "long-value:1"]] {
        let refused = rig.reclaim(&[&["image", "rm"], args].concat()).exits(1);
        let text = "(cannot be forced) - a label of it is too long to be held";
        assert!(refused.stderr.contains(text), "{refused:#?}");
    }
    assert_eq!(rig.names().await, [stays.to_owned()].into());
}
