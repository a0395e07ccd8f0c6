//! `reclaim maintain --once`: which images it removes, with and without pressure, and in which
//! order.

use reclaim_testkit::{BuiltImage, Deletion};

use crate::host::{Host, reclaimed, removed};

const MIB: u64 = 1 << 20;

/// Bytes of a layer. With its snapshot, an image takes about twice as much.
const LAYER: usize = 5 << 20;

/// Builds the images `i<number>:1`, each in its own repository.
async fn images(host: &Host, numbers: std::ops::Range<u64>) -> Vec<BuiltImage> {
    let mut images = Vec::new();
    for number in numbers {
        images.push(host.image(&format!("i{number}:1"), number, LAYER).await);
    }
    images
}

/// Above the high mark, the least recently used images are removed down to the low mark, and not
/// one more. The report agrees with the filesystem.
#[tokio::test]
async fn removes_the_least_recently_used_images_down_to_the_low_mark() {
    let host = Host::start(256 * MIB).await;
    host.policy("high = \"60%\"\nlow = \"40%\"");
    let all = images(&host, 0..13).await;
    assert!(host.space().used_percent() < 60, "{:?}", host.space());
    let run = host.once(0);
    assert_eq!(
        (&run["outcome"], removed(&run).len()),
        (&"nothing".into(), 0)
    );

    // Use them in another order than they were built.
    let order = [4, 1, 0, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12];
    for number in order {
        host.use_image(&all[number]).await;
    }
    let late = images(&host, 13..17).await;
    let before = host.space();
    assert!(before.used_percent() >= 60, "{before:?}");

    let run = host.once(0);
    assert_eq!(run["outcome"], "done", "{run:#}");
    let after = host.space();
    let gone = removed(&run);
    let mut expected: Vec<String> = order[..gone.len()]
        .iter()
        .map(|number| format!("i{number}:1"))
        .collect();
    expected.sort();
    assert_eq!(gone, expected);
    assert!(after.left >= after.left_at(40), "{after:?}");
    let of_one = reclaimed(&run) / gone.len() as u64;
    assert!(
        after.left - of_one < after.left_at(40),
        "one image too many: {after:?}"
    );
    // Files take whole blocks, and the database of containerd may grow.
    let freed = after.left - before.left;
    assert!(
        freed.abs_diff(reclaimed(&run)) < MIB,
        "{freed} of {}",
        reclaimed(&run)
    );
    let reported = run["after"][0]["left_bytes"].as_u64().unwrap();
    assert!(reported.abs_diff(after.left) < MIB / 4);
    assert_eq!(
        host.names().await.len(),
        all.len() + late.len() - gone.len()
    );
}

#[tokio::test]
async fn releases_holds_and_garbage_before_it_removes_images() {
    let host = Host::start(256 * MIB).await;
    host.policy("high = \"50%\"\nlow = \"48%\"");
    images(&host, 0..12).await;
    let held = ["image", "rm", "i0:1", "i1:1", "--undo-window", "1h"];
    host.rig.reclaim(&held).exits(0);
    images(&host, 20..22).await;
    assert!(host.space().used_percent() >= 50, "{:?}", host.space());
    let run = host.once(0);
    assert_eq!(run["outcome"], "done", "{run:#}");
    assert_eq!(run["released"].as_array().unwrap().len(), 1, "{run:#}");
    assert_eq!(removed(&run), Vec::<String>::new());

    // Deleting records without a collection leaves garbage.
    let mut garbage = Vec::new();
    while host.space().used_percent() < 50 {
        let number = 30 + garbage.len() as u64;
        garbage.extend(images(&host, number..number + 1).await);
    }
    for image in &garbage {
        let deleted = host
            .rig
            .namespace
            .delete_image(image.name(), Deletion::Async);
        deleted.await.unwrap();
    }
    let run = host.once(0);
    assert_eq!(run["outcome"], "done", "{run:#}");
    assert_eq!(removed(&run), Vec::<String>::new());
}

/// The exit status is 5, and the report shows where the bytes are.
#[tokio::test]
async fn explains_a_low_mark_that_it_cannot_reach() {
    let host = Host::start(128 * MIB).await;
    host.policy("high = \"40%\"\nlow = \"20%\"");
    let all = images(&host, 0..3).await;
    for (number, image) in all.iter().enumerate().skip(1) {
        let id = format!("c{number}");
        host.rig
            .namespace
            .nerdctl_container(&id, image)
            .await
            .unwrap();
    }
    std::fs::write(host.rig.containerd.root().join("other"), vec![1; 30 << 20]).unwrap();
    let run = host.once(5);
    assert_eq!(run["outcome"], "unmet", "{run:#}");
    assert_eq!(removed(&run), ["i0:1"]);
    let other = run["breakdown"]["other_bytes"].as_u64().unwrap();
    assert!((30 * MIB..40 * MIB).contains(&other), "{run:#}");
    let in_use = &run["breakdown"]["columns"]["in_use"];
    assert!(
        in_use["content_bytes"].as_u64().unwrap() > 2 * LAYER as u64,
        "{run:#}"
    );
    let missing = run["missing"][0]["amount"].as_u64().unwrap();
    let space = host.space();
    assert!((space.left_at(20) - space.left).abs_diff(missing) < MIB);

    host.policy("high = \"30%\"\nlow = \"20%\"");
    let output = host.with_state(&["maintain", "--once"]).exits(5);
    assert!(
        output.stdout.contains("the low mark cannot be reached"),
        "{output:?}"
    );
    assert!(
        output.stderr.contains("other data on the same filesystems"),
        "{output:?}"
    );
}

/// Without marks, a policy removes all unused images, except for caps, ages, and the newest images
/// of a repository.
#[tokio::test]
async fn caps_ages_and_keep_newest_keep_images() {
    let host = Host::start(256 * MIB).await;
    for tag in 1..=4 {
        host.image(&format!("app:{tag}"), tag, 1 << 20).await;
    }
    host.policy("unused_for = \"1h\"");
    assert_eq!(host.once(0)["outcome"], "nothing");

    host.policy("keep_newest = 1\nmax_images = 2");
    let run = host.once(0);
    assert_eq!(
        (run["outcome"].as_str().unwrap(), removed(&run).len()),
        ("capped", 2)
    );
    assert!(!removed(&run).contains(&"app:4".to_owned()), "{run:#}");
    let run = host.once(0);
    assert_eq!(
        (run["outcome"].as_str().unwrap(), removed(&run).len()),
        ("done", 1)
    );
    let kept = &run["reports"][0]["kept"][0];
    assert_eq!(
        (&kept["reason"], &kept["holders"][0]["id"]),
        (&"newest".into(), &"p.keep_newest".into())
    );
    assert_eq!(host.names().await, ["app:4"]);

    host.policy("dry_run = true");
    let run = host.once(0);
    assert_eq!(
        (removed(&run), reclaimed(&run)),
        (vec!["app:4".to_owned()], 0)
    );
    assert_eq!(host.names().await, ["app:4"]);

    host.policy("undo_window = \"1h\"");
    assert_eq!(removed(&host.once(0)), ["app:4"]);
    host.rig.reclaim(&["undo"]).exits(0);
    assert_eq!(host.names().await, ["app:4"]);
}

/// An unknown policy, an invalid configuration, and no policy at all.
#[tokio::test]
async fn an_error_removes_nothing() {
    let host = Host::start(64 * MIB).await;
    host.image("a:1", 1, 1000).await;
    host.policy("");
    let wrong = host
        .with_state(&["maintain", "--once", "--policy", "q"])
        .exits(2);
    assert!(
        wrong
            .stderr
            .contains("no enabled policy `q`; those that are: p"),
        "{wrong:?}"
    );
    host.policy("high = \"80%\"");
    let wrong = host.with_state(&["maintain", "--once"]).exits(2);
    assert!(
        wrong.stderr.contains("high is set and low is not"),
        "{wrong:?}"
    );
    host.configure("");
    let none = host.with_state(&["maintain", "--once"]).exits(0);
    assert!(none.stderr.contains("no policy is enabled"), "{none:?}");
    assert_eq!(host.names().await, ["a:1"]);
}

#[tokio::test]
async fn sets_damaged_state_aside_and_runs() {
    let host = Host::start(64 << 20).await;
    host.policy("high = \"90%\"\nlow = \"85%\"");
    let state = host.state();
    std::fs::create_dir(&state).unwrap();
    std::fs::write(state.join("runs.jsonl"), "{\"version\":1,\"pol{}\n{}\n").unwrap();
    std::fs::write(state.join("last-use.redb"), "torn").unwrap();
    assert_eq!(host.once(0)["outcome"], "nothing");
    let names: Vec<String> = std::fs::read_dir(&state)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    for name in ["runs.jsonl", "last-use.redb"] {
        let aside = format!("{name}.damaged-");
        assert!(
            names.iter().any(|name| name.starts_with(&aside)),
            "{names:?}"
        );
    }
    assert_eq!(host.once(0)["outcome"], "nothing");
    assert_eq!(std::fs::read_dir(&state).unwrap().count(), names.len());
}
