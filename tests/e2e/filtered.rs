//! `image ls --filter`.

use reclaim_testkit::{Layer, image};

use crate::rig::{Rig, names};

#[tokio::test]
async fn lists_only_the_images_that_the_filters_select() {
    let rig = Rig::start().await;
    let other = rig.containerd.namespace("other");
    for (namespace, name, seed, bytes) in [
        (&rig.namespace, "docker.io/library/app:1", 1, 1_000),
        (&rig.namespace, "docker.io/library/app:2", 2, 50_000),
        (&rig.namespace, "registry.example/web:1", 3, 90_000),
        (&other, "docker.io/library/app:3", 4, 70_000),
    ] {
        let layers = [Layer::random(seed, bytes)];
        let built = image(name).layers(layers).build(namespace).await;
        built.unwrap();
    }
    let json = ["image", "ls", "--format=json"];
    let all = rig.reclaim(&json).exits(0).json();
    let target = |at: usize| all["images"][at]["target"].as_str().unwrap().to_owned();
    let digest = |at: usize| format!("digest={}", &target(at)[..20]);
    let exact = format!("larger-than={}B", all["images"][1]["content_bytes"]);
    let [app1, app2, web] = [
        "docker.io/library/app:1",
        "docker.io/library/app:2",
        "registry.example/web:1",
    ];
    for (filters, expected) in [
        (vec!["reference=app:*"], &[app1, app2][..]),
        (vec!["reference=app"], &[]),
        (vec!["reference=~^registry"], &[web]),
        (vec!["reference=app:2", "reference=*/web:*"], &[app2, web]),
        (vec![&*digest(0), &*digest(2)], &[app1, web]),
        (vec![&*exact], &[app2, web]),
        (vec![&*exact, "reference=app:*"], &[app2]),
    ] {
        let filters: Vec<&str> = filters.iter().flat_map(|it| ["--filter", it]).collect();
        let listed = rig.reclaim(&[&json[..], &filters].concat()).exits(0);
        assert_eq!(names(&listed.json()["images"]), expected, "{filters:?}");
        let table = rig.reclaim(&[&["image", "ls"], &filters[..]].concat());
        let table = table.exits(0);
        assert_eq!(
            table.stdout.lines().count(),
            expected.len() + 1,
            "{table:#?}"
        );
        // There are images, so there is no hint where others are.
        assert_eq!(table.stderr, "", "{filters:?}");
    }
    let all = [
        "image",
        "ls",
        "-A",
        "--filter=larger-than=60kB",
        "--format=json",
    ];
    let all = rig.reclaim(&all).exits(0).json();
    let lists = all["namespaces"].as_array().unwrap();
    assert_eq!(names(&lists[0]["images"]), [web]);
    assert_eq!(names(&lists[1]["images"]), ["docker.io/library/app:3"]);
}

#[tokio::test]
async fn refuses_filters_that_it_does_not_know() {
    let rig = Rig::start().await;
    for (filter, reason) in [
        ("until=24h", "filter `until` is unknown"),
        ("", "filter `` has no value"),
        ("reference=", "filter `reference`: pattern is empty"),
        (
            "digest=",
            "filter `digest`: `` is not the beginning of a digest",
        ),
        ("larger-than=", "filter `larger-than`: "),
    ] {
        for scope in [&[][..], &["-A"]] {
            let args = [&["image", "ls", "--filter", filter], scope].concat();
            let refused = rig.reclaim(&args).exits(2);
            let expected = format!("error: {reason}");
            assert!(refused.stderr.starts_with(&expected), "{refused:#?}");
            assert_eq!(refused.stdout, "");
        }
    }
}
