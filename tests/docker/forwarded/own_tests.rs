//! The tests that docker-py publishes, with the requests for images answered by Reclaim.

use std::env;
use std::fs;
use std::path::Path;

use tokio::process::Command;

use super::Engine;
use super::script::{Step, import};
use crate::command::PATIENCE;
use crate::libraries::DOCKER_PY;

/// The last release that comes with its tests; the library is a newer one.
const DIRECTORY: &str = "docker-7.0.0";

const FILES: [&str; 5] = [
    "tests/integration/api_client_test.py",
    "tests/integration/api_image_test.py",
    "tests/integration/client_test.py",
    "tests/integration/errors_test.py",
    "tests/integration/models_images_test.py",
];

/// Tests that pull from a registry on the Internet.
const PULLING: [&str; 12] = [
    "ImportImageTest::test_get_load_image",
    "InspectDistributionTest",
    "PruneImagesTest",
    "PullImageTest::test_pull",
    "PullImageTest::test_pull_streaming",
    "ImageCollectionTest::test_list",
    "ImageCollectionTest::test_list_with_repository",
    "ImageCollectionTest::test_pull",
    "ImageCollectionTest::test_pull_multiple",
    "ImageCollectionTest::test_pull_with_sha",
    "ImageCollectionTest::test_pull_with_tag",
    "ImageTest::test_tag_and_remove",
];

/// Tests that fail at Docker 28 itself: its images have no `Container`, and it counts their names.
const FAILING_AT_DOCKER: [&str; 3] = [
    "CommitTest::test_commit",
    "CommitTest::test_commit_with_changes",
    "ListImagesTest::test_images",
];

#[tokio::test]
async fn docker_py_passes_its_own_tests() {
    let except = "remove,list,inspect,history,df";
    let engine = Engine::forwarded(&["--forward-except", except]).await;
    let tags = "for name in alpine:3.10 alpine busybox; do docker tag base:1 $name; done";
    for step in [import(), Step::new("tag", tags)] {
        let answer = engine.run(&step).await;
        assert_eq!(answer.code, 0, "{answer:#?}");
    }
    let library = env::var_os(DOCKER_PY)
        .unwrap_or_else(|| panic!("{DOCKER_PY} is not set; see docs/contributing.md"));
    let library = Path::new(&library);
    // The tests import it for connections over SSH.
    let stub = tempfile::tempdir().unwrap();
    fs::write(stub.path().join("paramiko.py"), "").unwrap();
    let paths = env::join_paths([stub.path(), library]).unwrap();
    let mut python = Command::new("python3");
    python
        .args([
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-W",
            "ignore",
        ])
        .args(FILES)
        .current_dir(library.join(DIRECTORY))
        .env("PYTHONPATH", paths)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env(
            "DOCKER_HOST",
            format!("unix://{}", engine.socket().display()),
        )
        .kill_on_drop(true);
    for test in PULLING.iter().chain(&FAILING_AT_DOCKER) {
        let file = match test.split("::").next() {
            Some("ImageCollectionTest" | "ImageTest") => FILES[4],
            _ => FILES[1],
        };
        python.arg(format!("--deselect={file}::{test}"));
    }
    let output = tokio::time::timeout(PATIENCE, python.output());
    let output = output.await.unwrap().unwrap();
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}");
    assert!(printed.contains("26 passed"), "{printed}");
}
