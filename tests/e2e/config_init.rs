//! `config init`: configurations to begin with.

use std::fs;

use reclaim_testkit::{Layer, image};

use crate::rig::Rig;

#[tokio::test]
async fn each_is_valid_and_removes_nothing() {
    let rig = Rig::start().await;
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    for (preset, namespace, policies) in [
        ("laptop", "default", 2),
        ("ci", "default", 2),
        ("kubernetes", "k8s.io", 1),
    ] {
        let client = rig.containerd.namespace(namespace);
        let built = image("docker.io/library/app:1").layers([Layer::random(1, 1_000)]);
        built.build(&client).await.unwrap();
        let (file, state) = (path(preset), path("state"));
        let printed = rig.reclaim(&["config", "init", preset]).exits(0);
        let written = rig.reclaim(&["config", "init", preset, &file]).exits(0);
        assert_eq!(written.stdout, "");
        assert_eq!(fs::read_to_string(&file).unwrap(), printed.stdout);
        let check = rig
            .reclaim(&["config", "check", "--config", &file])
            .exits(0);
        let valid = format!("configuration is valid; enabled policies: {policies}\n");
        assert!(check.stderr.ends_with(&valid), "{check:#?}");

        // Every policy has the line, so that no run removes anything, not even of one without pressure.
        let dry = printed.stdout.matches("\ndry_run = true\n").count();
        assert_eq!(dry, printed.stdout.matches("\n[[policy]]\n").count());
        let once = ["maintain", "--once", "--config", &file, "--state", &state];
        for mode in [&["--dry-run"][..], &[]] {
            let args = [&once[..], mode, &["--format", "json"]].concat();
            let runs = rig.reclaim(&args).exits(0).json();
            let runs = runs["runs"].as_array().unwrap().clone();
            assert_eq!(runs.len(), policies, "{runs:#?}");
            assert!(runs.iter().all(|run| run["dry_run"] == true), "{runs:#?}");
        }
        assert_eq!(client.images().await.unwrap().len(), 1, "{preset}");
    }
}

#[test]
fn overwrites_only_with_force() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.toml");
    fs::write(&file, "mine").unwrap();
    let path = file.to_str().unwrap();
    let init = ["config", "init", "ci", path];
    let call = |args: &[&str]| crate::rig::call("/missing", "", args);
    let refused = call(&init).exits(1);
    let expected =
        format!("error: write {path}: File exists (os error 17)\nhint: --force overwrites it\n");
    assert_eq!(refused.stderr, expected);
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
    call(&[&init[..], &["--force"]].concat()).exits(0);
    assert!(fs::read_to_string(&file).unwrap().contains("[[policy]]"));
    call(&["config", "init", "desktop"]).exits(2);
    call(&["config", "init", "ci", "--force"]).exits(2);
}
