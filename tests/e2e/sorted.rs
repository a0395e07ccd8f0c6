//! The order of `image ls --sort`.

use reclaim_testkit::{Layer, image};

use crate::rig::{Rig, names};

/// Images that differ in size, in what they share, and in age.
async fn rig() -> Rig {
    let rig = Rig::start().await;
    let base = || Layer::random(1, 50_000);
    for (name, layers) in [
        ("b", vec![base(), Layer::random(2, 1_000)]),
        ("c", vec![Layer::random(3, 20_000)]),
        ("a", vec![base(), Layer::random(4, 9_000)]),
    ] {
        image(&format!("docker.io/library/{name}:1"))
            .layers(layers)
            .build(&rig.namespace)
            .await
            .unwrap();
    }
    rig
}

#[tokio::test]
async fn lists_images_in_the_requested_order() {
    let rig = rig().await;
    for (order, expected) in [
        (None, ["a", "b", "c"]),
        (Some("size"), ["a", "b", "c"]),
        (Some("unique"), ["c", "a", "b"]),
        (Some("age"), ["b", "c", "a"]),
    ] {
        let order = order.map(|order| ["--sort", order]);
        let order = order.as_ref().map_or(&[][..], |it| &it[..]);
        let args = [&["image", "ls"], order].concat();
        let json = [&args[..], &["--format=json"]].concat();
        let listed = rig.reclaim(&json).exits(0).json();
        let full = expected.map(|name| format!("docker.io/library/{name}:1"));
        assert_eq!(names(&listed["images"]), full, "{order:?}");
        for form in [&[][..], &["--flat"]] {
            let table = rig.reclaim(&[&args[..], form].concat()).exits(0).stdout;
            let rows: Vec<&str> = table.lines().skip(1).map(|line| &line[..1]).collect();
            assert_eq!(rows, expected, "{order:?} {form:?}");
        }
    }
    let refused = rig.reclaim(&["image", "ls", "--sort", "colour"]).exits(2);
    assert!(
        refused
            .stderr
            .contains("possible values: size, unique, age, used"),
        "{refused:#?}"
    );
}
