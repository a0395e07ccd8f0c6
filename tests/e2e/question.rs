//! The question before a prune, and what comes of the answers.

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

/// Anything but y should decline, with exit status 0 and nothing on standard output.
#[tokio::test]
async fn declining_is_no_failure() {
    let rig = rig_with_one_image().await;
    for typed in ["", "\n", "n\n", "yes\n", "no way\n"] {
        let called = rig.reclaim_with(typed, &["image", "prune", "-a"]).exits(0);
        assert_eq!(called.stdout, "", "{typed:?}");
        assert_eq!(rig.names().await.len(), 1, "{typed:?}");
    }
}

/// The list of what goes should come before docker's question.
#[tokio::test]
async fn what_will_go_is_listed_before_the_question() {
    let rig = rig_with_one_image().await;
    let called = rig.reclaim_with("y\n", &["image", "prune", "-a"]).exits(0);
    let listed = called.stderr.find("app:1").unwrap();
    let question = called.stderr.find(
        "WARNING! This will remove all images without at least one container associated to \
         them.\nAre you sure you want to continue? [y/N] ",
    );
    assert!(listed < question.unwrap(), "{}", called.stderr);
    assert!(
        called
            .stdout
            .starts_with("Deleted Images:\nuntagged: app:1\n")
    );
    assert_eq!(rig.names().await.len(), 0);
}

/// Without -a the question should speak of dangling images, and only those go.
#[tokio::test]
async fn dangling_images_have_their_own_question() {
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
    let called = rig.reclaim_with("Y\n", &["image", "prune"]).exits(0);
    assert!(
        called
            .stderr
            .contains("WARNING! This will remove all dangling images.\n")
    );
    let untagged = format!("untagged: {}\n", other.target.digest);
    assert!(called.stdout.contains(&untagged), "{}", called.stdout);
    let left: Vec<String> = rig.names().await.into_iter().collect();
    assert_eq!(left, ["docker.io/library/app:1"]);
}
