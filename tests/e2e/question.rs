//! The confirmation question of a prune.

use reclaim_testkit::{Layer, image};

use crate::rig::Rig;

async fn rig_with_one_image() -> Rig {
    let rig = Rig::start().await;
    image("docker.io/library/app:1")
        .layers([Layer::random(1, 100)])
        .build(&rig.namespace)
        .await
        .unwrap();
    rig
}

/// Any answer but `y` declines, with exit status 0 and nothing on standard output.
#[tokio::test]
async fn removes_nothing_unless_the_answer_is_y() {
    let rig = rig_with_one_image().await;
    for typed in ["", "\n", "n\n", "yes\n", "no way\n"] {
        let output = rig.reclaim_with(typed, &["image", "prune", "-a"]).exits(0);
        assert_eq!(output.stdout, "", "{typed:?}");
        assert_eq!(rig.names().await.len(), 1, "{typed:?}");
    }
}

#[tokio::test]
async fn lists_images_before_dockers_question() {
    let rig = rig_with_one_image().await;
    let output = rig.reclaim_with("y\n", &["image", "prune", "-a"]).exits(0);
    let listed = output.stderr.find("app:1").unwrap();
    let question = output.stderr.find(
        "WARNING! This will remove all images without at least one container associated to \
         them.\nAre you sure you want to continue? [y/N] ",
    );
    assert!(listed < question.unwrap(), "{}", output.stderr);
    assert!(
        output
            .stdout
            .starts_with("Deleted Images:\nuntagged: app:1\n")
    );
    assert_eq!(rig.names().await.len(), 0);
}

#[tokio::test]
async fn asks_about_dangling_images_without_all() {
    let rig = rig_with_one_image().await;
    let other = image("docker.io/library/other:1")
        .layers([Layer::random(2, 100)])
        .build(&rig.namespace)
        .await
        .unwrap();
    other.dangling(&rig.namespace).await.unwrap();
    let delete = rig
        .namespace
        .delete_image(other.name(), reclaim_testkit::Deletion::Async);
    delete.await.unwrap();
    let output = rig.reclaim_with("Y\n", &["image", "prune"]).exits(0);
    assert!(
        output
            .stderr
            .contains("WARNING! This will remove all dangling images.\n")
    );
    let untagged = format!("untagged: {}\n", other.target.digest);
    assert!(output.stdout.contains(&untagged), "{}", output.stdout);
    let left: Vec<String> = rig.names().await.into_iter().collect();
    assert_eq!(left, ["docker.io/library/app:1"]);
}
