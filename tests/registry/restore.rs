//! `reclaim image restore`: layers that a slim cut come back from a registry.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use reclaim_model::Digest;
use reclaim_testkit::{
    Access, BuiltImage, Containerd, ContainerdBuilder, DockerRegistry, Labels, Layer, Manifest,
    Signal, host_platform, index,
};
use serde_json::Value;

use crate::rig::{CommandOutput, Rig};

const SLIM: [&str; 7] = [
    "image",
    "slim",
    "--layers",
    "--format=json",
    "--grace=10ms",
    "-f",
    "-a",
];
const RESTORE: [&str; 3] = ["image", "restore", "--format=json"];

/// A containerd with an image that it pulled from a real registry, and that lost its layers.
struct Host {
    rig: Rig,
    registry: DockerRegistry,
    image: BuiltImage,
    labels: Labels,
    blobs: BTreeMap<Digest, u64>,
}

impl Host {
    async fn pulled(access: Access) -> Self {
        let rig = Rig::on(builder(Containerd::quiet()).start().await);
        rig.namespace.collect().await.unwrap();
        let registry = DockerRegistry::start(access).await;
        let address = registry.address().to_owned();
        let image = registry.put(&address, "team/app:1", |image| {
            image.layers([Layer::named("base", 2000), Layer::random(1, 3 << 20)])
        });
        let user: &[&str] = match access {
            Access::Public => &[],
            Access::Private => &["--user", "user:password"],
        };
        pull(&rig, image.name(), user);
        let labels = rig
            .namespace
            .blob_labels(&image.target.digest)
            .await
            .unwrap();
        let blobs = rig.namespace.blobs().await.unwrap();
        Self {
            rig,
            registry,
            image,
            labels,
            blobs,
        }
    }

    async fn slimmed(access: Access) -> Self {
        let host = Self::pulled(access).await;
        let report = host.rig.reclaim(&SLIM).exits(0).json();
        assert_eq!(
            report["slimmed"][0]["name"],
            host.image.name(),
            "{report:#}"
        );
        assert_eq!(host.cut().await, host.layers());
        host
    }

    fn layers(&self) -> BTreeSet<String> {
        let layers = self.image.manifests[0].layers.iter();
        layers.map(|layer| layer.digest.to_string()).collect()
    }

    /// Returns the blobs that are no longer there.
    async fn cut(&self) -> BTreeSet<String> {
        let now = self.rig.namespace.blobs().await.unwrap();
        let gone = self.blobs.keys().filter(|digest| !now.contains_key(digest));
        gone.map(ToString::to_string).collect()
    }

    fn restore(&self, args: &[&str]) -> CommandOutput {
        self.rig.reclaim(&[&RESTORE, args].concat())
    }

    /// Asserts that the image is as it was pulled, also after a collection.
    async fn assert_whole(&self) {
        let namespace = &self.rig.namespace;
        assert_eq!(namespace.leases().await.unwrap(), BTreeMap::new());
        namespace.collect().await.unwrap();
        assert_eq!(namespace.blobs().await.unwrap(), self.blobs);
        let labels = namespace
            .blob_labels(&self.image.target.digest)
            .await
            .unwrap();
        assert_eq!(labels, self.labels);
    }

    fn export(&self) -> bool {
        let exported = ctr(
            &self.rig,
            &["images", "export", "/dev/null", self.image.name()],
        );
        exported.is_ok()
    }
}

/// Lets the pulls of `ctr` from 2.0 on unpack with the snapshotter of these tests.
fn builder(containerd: ContainerdBuilder) -> ContainerdBuilder {
    containerd.extra_config(&format!(
        "[[plugins.\"io.containerd.transfer.v1.local\".unpack_config]]\n\
         platform = \"{}\"\nsnapshotter = \"native\"\n",
        host_platform()
    ))
}

/// Runs the `ctr` of the containerd under test, or that of this machine.
fn ctr(rig: &Rig, args: &[&str]) -> Result<(), String> {
    let beside = env::var_os("RECLAIM_TEST_CONTAINERD").map(PathBuf::from);
    let beside = beside.map(|path| path.with_file_name("ctr"));
    let binary = beside.filter(|path| path.exists());
    let output = Command::new(binary.unwrap_or_else(|| PathBuf::from("ctr")))
        .args([
            "--address",
            rig.containerd.address(),
            "--namespace",
            "default",
        ])
        .args(args)
        .output()
        .unwrap();
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("{args:?}: {output:?}"))
    }
}

fn pull(rig: &Rig, name: &str, more: &[&str]) {
    let args = ["images", "pull", "--plain-http", "--snapshotter", "native"];
    ctr(rig, &[&args, more, &[name]].concat()).unwrap();
}

fn digests(image: &Value) -> BTreeSet<String> {
    let fetched = image["fetched"].as_array().unwrap().iter();
    fetched
        .map(|it| it["digest"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_restore_fetches_what_a_pull_does_not() {
    let host = Host::slimmed(Access::Public).await;
    let fetched = host.registry.fetched().len();
    assert!(!host.export(), "an export needs the layers");
    pull(&host.rig, host.image.name(), &[]);
    let by_pull: BTreeSet<String> = host
        .registry
        .fetched()
        .split_off(fetched)
        .into_iter()
        .collect();
    if host.rig.containerd.version().major >= 2 {
        // It unpacks while it fetches, and there is nothing to unpack.
        assert_eq!(
            by_pull.intersection(&host.layers()).count(),
            0,
            "{by_pull:?}"
        );
        // It wrote the labels. What they refer to is not there.
        assert_eq!(host.cut().await, host.layers());
    } else {
        // This `ctr` fetches all, and then unpacks.
        assert!(by_pull.is_superset(&host.layers()), "{by_pull:?}");
        host.rig.reclaim(&SLIM).exits(0);
    }
    let fetched = host.registry.fetched().len();

    let dry = host
        .restore(&["--dry-run", host.image.name()])
        .exits(0)
        .json();
    assert_eq!(digests(&dry["images"][0]), host.layers());
    assert_eq!(host.registry.fetched().len(), fetched);
    let done = host.restore(&["--all"]).exits(0).json();
    assert_eq!(done["images"][0]["fetched"], dry["images"][0]["fetched"]);
    let bytes: u64 = host.image.manifests[0]
        .layers
        .iter()
        .map(|layer| layer.size)
        .sum();
    assert_eq!(done["images"][0]["fetched_bytes"], bytes);
    let by_restore: BTreeSet<String> = host
        .registry
        .fetched()
        .split_off(fetched)
        .into_iter()
        .collect();
    assert_eq!(by_restore, host.layers());
    host.assert_whole().await;
    assert!(host.export());
    let push = ["images", "push", "--plain-http", host.image.name()];
    ctr(&host.rig, &push).unwrap();

    // Nothing is missing any more.
    let again = host.restore(&[host.image.name()]).exits(0);
    assert!(again.stderr.contains("lacks nothing"), "{again:#?}");
    assert_eq!(
        host.restore(&["-a"]).exits(0).json()["images"],
        Value::Array(Vec::new())
    );
}

#[tokio::test]
async fn a_restored_image_can_be_slimmed_and_removed_again() {
    let host = Host::slimmed(Access::Public).await;
    for _ in 0..2 {
        let done = host.restore(&[host.image.name()]).exits(0).json();
        assert_eq!(done["images"][0]["labels"], 2, "{done:#}");
        host.assert_whole().await;
        host.rig.reclaim(&SLIM).exits(0);
        assert_eq!(host.cut().await, host.layers());
    }
    host.restore(&[host.image.name()]).exits(0);
    let prune = [
        "image",
        "prune",
        "-a",
        "-f",
        "--grace=10ms",
        "--format=json",
    ];
    let report = host.rig.reclaim(&prune).exits(0).json();
    assert_eq!(report["reclaimed"], report["estimate"], "{report:#}");
    assert_eq!(host.rig.containerd.content_bytes_on_disk(), 0);
}

#[tokio::test]
async fn credentials_are_those_of_the_options_or_of_docker() {
    let host = Host::slimmed(Access::Private).await;
    let name = host.image.name();
    let refused = host.restore(&[name]).exits(1);
    let image = &refused.json()["images"][0];
    assert_eq!(image["problem"], "unauthorized", "{image:#}");
    assert!(
        refused.stderr.contains("hint: give credentials"),
        "{refused:#?}"
    );
    let user = ["--user=user", "--password-stdin", name];
    let args = [&RESTORE[..], &user].concat();
    let refused = host.rig.reclaim_with("wrong-secret\n", &args).exits(1);
    assert!(
        !format!("{refused:?}").contains("wrong-secret"),
        "{refused:#?}"
    );
    assert_eq!(host.cut().await, host.layers());
    host.rig.reclaim_with("password\n", &args).exits(0);
    host.assert_whole().await;

    host.rig.reclaim(&SLIM).exits(0);
    let directory = tempfile::tempdir().unwrap();
    let config = |text: &str| fs::write(directory.path().join("config.json"), text).unwrap();
    let restore = || {
        let path = directory.path().to_str().unwrap();
        let args = [&RESTORE[..], &[name]].concat();
        host.rig
            .reclaim_in(Path::new("/"), ("DOCKER_CONFIG", path), &args)
    };
    config("{\"credsStore\":\"pass\"}");
    let helper = restore().exits(1);
    assert!(
        helper.stderr.contains("docker-credential-pass"),
        "{helper:#?}"
    );
    // `printf user:password | base64`
    let address = host.registry.address();
    config(&format!(
        "{{\"auths\":{{\"{address}\":{{\"auth\":\"dXNlcjpwYXNzd29yZA==\"}}}}}}"
    ));
    restore().exits(0);
    host.assert_whole().await;
}

#[tokio::test]
async fn what_a_registry_forges_or_lacks_does_not_get_in() {
    let host = Host::slimmed(Access::Public).await;
    let layers = &host.image.manifests[0].layers;
    let forged = vec![0; usize::try_from(layers[1].size).unwrap()];
    host.registry.replace_blob(&layers[1].digest, &forged);
    let failed = host.restore(&[host.image.name()]).exits(3).json();
    let image = &failed["images"][0];
    assert_eq!(image["problem"], "fetch", "{image:#}");
    assert!(
        image["message"].as_str().unwrap().contains("digest"),
        "{image:#}"
    );
    // The other layer is there, and stays.
    host.rig.namespace.collect().await.unwrap();
    assert_eq!(host.cut().await, [layers[1].digest.to_string()].into());
    assert_eq!(host.rig.namespace.leases().await.unwrap(), BTreeMap::new());
    let unknown = host
        .restore(&["missing:1", host.image.name()])
        .exits(1)
        .json();
    assert_eq!(
        unknown["images"][0]["problem"], "no_such_image",
        "{unknown:#}"
    );
}

#[tokio::test]
async fn a_restore_that_is_killed_leaves_only_garbage() {
    let host = Host::slimmed(Access::Public).await;
    host.registry.signal(Signal::STOP);
    let mut command = Command::new(env!("CARGO_BIN_EXE_reclaim"));
    let mut child = command
        .env_clear()
        .env("CONTAINERD_ADDRESS", host.rig.containerd.address())
        .env("RECLAIM_AUDIT_DIR", "/dev/null")
        .args(RESTORE)
        .arg("--all")
        .spawn()
        .unwrap();
    let namespace = &host.rig.namespace;
    let leases = loop {
        let leases = namespace.leases().await.unwrap();
        if !leases.is_empty() {
            break leases;
        }
        thread::sleep(Duration::from_millis(10));
    };
    child.kill().unwrap();
    child.wait().unwrap();
    host.registry.signal(Signal::CONT);
    let (lease, labels) = leases.first_key_value().unwrap();
    assert!(lease.starts_with("reclaim.restore."), "{lease}");
    assert!(labels.contains_key("containerd.io/gc.expire"), "{labels:?}");
    // Another restore can begin at once, and the image stays as it is until then.
    host.restore(&["--all"]).exits(0);
    let done = host.cut().await;
    assert_eq!(done, BTreeSet::new());
}

#[tokio::test]
async fn a_platform_comes_back_if_it_is_named() {
    let rig = Rig::quiet().await;
    let registry = DockerRegistry::start(Access::Public).await;
    let name = format!("{}/team/app:1", registry.address());
    let other = if host_platform() == "linux/arm64" {
        "linux/s390x"
    } else {
        "linux/arm64"
    };
    let layers = |name: &str| [Layer::named("base", 2000), Layer::named(name, 900)];
    let built = index(&name)
        .manifest(
            Manifest::new(&host_platform())
                .layers(layers("here"))
                .unpack("native"),
        )
        .manifest(Manifest::new(other).layers(layers("there")))
        .build(&rig.namespace)
        .await
        .unwrap();
    let source = format!("containerd.io/distribution.source.{}", "127.0.0.1");
    let target = &built.target.digest;
    rig.namespace
        .set_blob_label(target, &source, "team/app")
        .await
        .unwrap();
    rig.namespace.collect().await.unwrap();
    let before = rig.namespace.blobs().await.unwrap();
    let manifests: BTreeSet<&Digest> = built
        .manifests
        .iter()
        .map(|it| &it.manifest.digest)
        .collect();
    for digest in before.keys() {
        let bytes = rig.namespace.read_blob(digest).await.unwrap();
        let is_manifest = digest == target || manifests.contains(digest);
        registry.put_blob("team/app", digest, &bytes, is_manifest);
    }
    let labels = rig.namespace.blob_labels(target).await.unwrap();
    let there = &built.manifests[1].manifest.digest;
    let labels_there = rig.namespace.blob_labels(there).await.unwrap();
    let slim = ["image", "slim", "--platforms", "-f", "--grace=10ms", &name];
    rig.reclaim(&slim).exits(0);
    assert!(!rig.namespace.blobs().await.unwrap().contains_key(there));

    // Absent platforms stay so, unless they are named.
    let all = rig
        .reclaim(&[&RESTORE[..], &["-a"]].concat())
        .exits(0)
        .json();
    assert_eq!(all["images"], Value::Array(Vec::new()));
    let none = rig.reclaim(&[&RESTORE[..], &["--platform=plan9/mips", &name]].concat());
    assert_eq!(none.exits(1).json()["images"][0]["problem"], "no_platform");
    let platform = format!("--platform={other}");
    let args = [&RESTORE[..], &[&platform, &name]].concat();
    let dry = rig
        .reclaim(&[&args[..], &["--dry-run"]].concat())
        .exits(0)
        .json();
    let done = rig.reclaim(&args).exits(0).json();
    assert_eq!(done["images"][0]["fetched"], dry["images"][0]["fetched"]);
    rig.namespace.collect().await.unwrap();
    assert_eq!(rig.namespace.blobs().await.unwrap(), before);
    assert_eq!(rig.namespace.blob_labels(target).await.unwrap(), labels);
    let mut now = rig.namespace.blob_labels(there).await.unwrap();
    now.retain(|key, _| labels_there.contains_key(key));
    assert_eq!(now, labels_there);
    assert!(rig.reclaim(&args).exits(0).stderr.contains("lacks nothing"));
}

#[tokio::test]
async fn a_full_disk_is_seen_before_the_first_byte() {
    let containerd = builder(Containerd::builder()).filesystem(64 << 20);
    let containerd = containerd.start().await;
    let rig = Rig::on(containerd);
    let registry = DockerRegistry::start(Access::Public).await;
    let address = registry.address().to_owned();
    let image = registry.put(&address, "team/app:1", |image| {
        image.layers([Layer::random(1, 8 << 20)])
    });
    pull(&rig, image.name(), &[]);
    rig.reclaim(&SLIM).exits(0);
    let filler = rig.containerd.root().join("filler");
    let status = Command::new("fallocate")
        .args(["-l", "52MiB"])
        .arg(&filler)
        .status();
    assert!(status.unwrap().success());
    let fetched = registry.fetched().len();
    let full = rig
        .reclaim(&[&RESTORE[..], &["-a"]].concat())
        .exits(1)
        .json();
    let problem = &full["images"][0];
    assert_eq!(problem["problem"], "no_room", "{problem:#}");
    assert_eq!(registry.fetched().len(), fetched);
    fs::remove_file(filler).unwrap();
    rig.reclaim(&[&RESTORE[..], &["-a"]].concat()).exits(0);
}
