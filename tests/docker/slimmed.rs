//! What a Docker Engine does with images of which `reclaim image slim` freed parts. `docs/slim.md` says
//! the same, in "With Docker".

mod runs;

use std::collections::BTreeSet;
use std::process::Stdio;

use reclaim_testkit::{
    Access, BuiltImage, DockerRegistry, Dockerd, Layer, Signal, busybox, labels,
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use crate::built::buildx;
use crate::command::{Output, PATIENCE, command, docker};
use crate::rig::call;
use crate::side::socket_of;

const NAME: &str = "team/app:1";

/// A Docker Engine that has pulled an image from a registry.
struct Host {
    dockerd: Dockerd,
    registry: DockerRegistry,
    image: BuiltImage,
    files: TempDir,
}

impl Host {
    async fn start() -> Self {
        let (dockerd, registry) =
            tokio::join!(Dockerd::start(), DockerRegistry::start(Access::Public));
        let image = registry.put(registry.address(), NAME, |image| {
            let layers = [
                Layer::named("base", 3000),
                Layer::program("busybox", busybox()),
                Layer::named("top", 700),
            ];
            image
                .layers(layers)
                .config_labels(labels([("keep", "1")]))
                .command(&["/busybox", "echo", "it runs"])
        });
        let host = Self {
            dockerd,
            registry,
            image,
            files: tempfile::tempdir().unwrap(),
        };
        host.done(&["pull", "--quiet", host.name()]).await;
        host.assert_has(true, true).await;
        host
    }

    /// Starts an engine, and frees the layers of its image.
    async fn without_layers() -> Self {
        let host = Self::start().await;
        host.slim(&["--layers", "--docker-layers"]);
        host.assert_has(true, false).await;
        host
    }

    fn name(&self) -> &str {
        self.image.name()
    }

    fn file(&self, name: &str) -> String {
        let path = self.files.path().join(name);
        path.to_str().unwrap().to_owned()
    }

    async fn docker(&self, args: &[&str]) -> Output {
        docker(&socket_of(&self.dockerd), args).await
    }

    /// Calls `docker`, which must succeed, and returns what it prints.
    async fn done(&self, args: &[&str]) -> String {
        let output = self.docker(args).await;
        assert_eq!(output.code, 0, "{args:?}: {output:#?}");
        output.stdout
    }

    /// Frees parts of the image, and returns the report.
    fn slim(&self, parts: &[&str]) -> Value {
        let args = ["-n", "moby", "image", "slim", "-f", "--grace=10ms"];
        let args = [&args[..], &["--format=json"], parts, &[self.name()]].concat();
        let address = self.dockerd.containerd().address();
        call(address, "", &args).exits(0).json()
    }

    fn layers(&self) -> BTreeSet<String> {
        let layers = self.image.manifests[0].layers.iter();
        layers.map(|layer| layer.digest.to_string()).collect()
    }

    /// Returns which copies of the image's layers exist: unpacked, compressed. All or none of each kind do.
    async fn has(&self) -> (bool, bool) {
        let namespace = self.dockerd.namespace();
        let snapshots = namespace.snapshots("native").await.unwrap();
        let blobs = namespace.blobs().await.unwrap();
        let manifest = &self.image.manifests[0];
        assert!(blobs.contains_key(&manifest.config.digest));
        let chain = manifest.chain_ids.iter();
        let unpacked = chain.filter(|chain| snapshots.contains_key(&chain.to_string()));
        let layers = manifest.layers.iter();
        let packed = layers.filter(|layer| blobs.contains_key(&layer.digest));
        let all = manifest.layers.len();
        let counts = [unpacked.count(), packed.count()];
        assert!(
            counts.iter().all(|count| [0, all].contains(count)),
            "{snapshots:#?} {blobs:#?}"
        );
        (counts[0] == all, counts[1] == all)
    }

    /// Asserts which copies of the image's layers exist: unpacked, compressed.
    async fn assert_has(&self, is_unpacked: bool, is_packed: bool) {
        assert_eq!(self.has().await, (is_unpacked, is_packed));
    }

    async fn inspect(&self, name: &str) -> Value {
        let printed = self.done(&["image", "inspect", name]).await;
        let mut list: Vec<Value> = serde_json::from_str(&printed).unwrap();
        list.swap_remove(0)
    }

    /// Runs a container of an image, by `docker run` and by `docker create` and `docker start`.
    async fn assert_runs(&self, name: &str) {
        let run = ["run", "--rm", "--pull=never", "--network=none", name];
        assert_eq!(self.done(&run).await, "it runs\n");
        let create = [
            "create",
            "--name=made",
            "--pull=never",
            "--network=none",
            name,
        ];
        self.done(&create).await;
        assert_eq!(self.done(&["start", "--attach", "made"]).await, "it runs\n");
        self.done(&["rm", "made"]).await;
    }

    /// Saves an image. Returns the digests of the blobs in the archive.
    async fn saved(&self, name: &str, file: &str) -> BTreeSet<String> {
        let path = self.file(file);
        self.done(&["save", "--output", &path, name]).await;
        let tar = std::process::Command::new("tar")
            .args(["-tf", &path])
            .output()
            .unwrap();
        let names = String::from_utf8(tar.stdout).unwrap();
        let blobs = names
            .lines()
            .filter_map(|name| name.strip_prefix("blobs/sha256/"));
        let digests = blobs.filter(|hex| !hex.is_empty());
        digests.map(|hex| format!("sha256:{hex}")).collect()
    }

    /// Builds on the image, with a builder: adds a file, and runs a program.
    async fn build(&self, builder: Builder, tag: &str) -> Output {
        let dockerfile = format!(
            "FROM {}\nCOPY Dockerfile /added\nRUN [\"/busybox\", \"touch\", \"/ran\"]\n",
            self.name()
        );
        std::fs::write(self.files.path().join("Dockerfile"), dockerfile).unwrap();
        let socket = socket_of(&self.dockerd);
        let args = ["build", "--network=none", "-t", tag, "."];
        let mut build = match builder {
            Builder::Classic => {
                let mut build = command(&socket, &args);
                build.env("DOCKER_BUILDKIT", "0");
                build
            }
            Builder::BuildKit => {
                let mut build = buildx(&socket);
                build.args(args).env("DOCKER_CONFIG", self.files.path());
                build
            }
        };
        output(build.current_dir(self.files.path())).await
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Builder {
    Classic,
    BuildKit,
}

async fn output(command: &mut Command) -> Output {
    let running = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(PATIENCE, running).await;
    let output = output.unwrap().unwrap();
    Output {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Removes the size, which is that of what is on disk.
fn sizeless(mut image: Value) -> Value {
    image["Size"].take();
    image
}

fn absent(value: &Value) -> bool {
    matches!(value, Value::Null) || *value == "" || *value == serde_json::json!({})
}

/// Without its snapshots an image looks as before, runs, and is saved whole.
#[tokio::test]
async fn an_image_without_snapshots_is_the_same_to_docker() {
    let host = Host::start().await;
    let name = host.name();
    let whole = host.inspect(name).await;
    let list = [
        "image",
        "ls",
        "--no-trunc",
        "--format",
        "{{.ID}} {{.Tag}} {{.CreatedAt}}",
    ];
    let listed = host.done(&list).await;
    let size = ["image", "ls", "--format", "{{.Size}}"];
    let whole_size = host.done(&size).await;
    let report = host.slim(&["--snapshots"]);
    assert_eq!(report["slimmed"][0]["name"], name);
    host.assert_has(false, true).await;
    assert_ne!(host.done(&size).await, whole_size);
    host.done(&["tag", name, "tagged:1"]).await;
    host.done(&["rmi", "tagged:1"]).await;
    host.done(&["push", name]).await;
    assert_eq!(sizeless(host.inspect(name).await), sizeless(whole.clone()));
    assert_eq!(host.done(&list).await, listed);
    assert!(
        host.layers()
            .is_subset(&host.saved(name, "saved.tar").await)
    );
    host.assert_has(false, true).await;
    host.assert_runs(name).await;
    host.assert_has(true, true).await;
    assert_eq!(host.inspect(name).await, whole);

    // A container that does not run keeps them.
    host.done(&["create", "--name=stopped", "--network=none", name])
        .await;
    let report = host.slim(&["--snapshots"]);
    assert_eq!(report["kept"][0]["reason"], "in_use", "{report:#}");
    host.done(&["rm", "stopped"]).await;
    host.slim(&["--snapshots"]);
    host.assert_has(false, true).await;
}

/// BuildKit unpacks an image without snapshots. The classic builder does not, unless its first step
/// runs a program, but a pull does.
#[tokio::test]
async fn builds_on_an_image_without_snapshots() {
    let host = Host::start().await;
    host.slim(&["--snapshots"]);
    let built = host.build(Builder::BuildKit, "built:1").await;
    assert_eq!(built.code, 0, "{built:#?}");
    host.assert_runs("built:1").await;

    let host = Host::start().await;
    host.slim(&["--snapshots"]);
    let failed = host.build(Builder::Classic, "classic:1").await;
    assert_eq!(failed.code, 1, "{failed:#?}");
    assert!(
        failed.stderr.contains("NotFound: parent snapshot"),
        "{failed:#?}"
    );
    host.assert_has(false, true).await;
    host.done(&["pull", "--quiet", host.name()]).await;
    host.assert_has(true, true).await;
    let built = host.build(Builder::Classic, "classic:1").await;
    assert_eq!(built.code, 0, "{built:#?}");
    host.assert_runs("classic:1").await;
}

/// Without its layers an image is listed, tagged, committed and run, but `docker image inspect` shows
/// neither its platform nor its configuration.
#[tokio::test]
async fn an_image_without_layers_runs_and_shows_less() {
    let host = Host::start().await;
    let name = host.name();
    let whole = host.inspect(name).await;
    let report = host.slim(&["--layers"]);
    assert_eq!(report["kept"][0]["reason"], "docker_layers", "{report:#}");
    host.assert_has(true, true).await;
    let size = ["image", "ls", "--format", "{{.Size}}"];
    let whole_size = host.done(&size).await;
    let report = host.slim(&["--layers", "--docker-layers"]);
    assert_eq!(report["slimmed"][0]["name"], name);
    host.assert_has(true, false).await;
    assert_ne!(host.done(&size).await, whole_size);
    host.assert_runs(name).await;

    let cut = host.inspect(name).await;
    for key in ["Id", "RepoTags", "RepoDigests", "Descriptor"] {
        assert_eq!(cut[key], whole[key], "{key}");
    }
    for pointer in [
        "/Architecture",
        "/Os",
        "/Created",
        "/RootFS/Layers",
        "/Config/Cmd",
        "/Config/Labels",
    ] {
        let [was, is] = [&whole, &cut].map(|image| image.pointer(pointer).unwrap_or(&Value::Null));
        let was_there = pointer == "/Created" || !absent(was);
        assert!(was_there && absent(is), "{pointer}: {whole:#} {cut:#}");
    }
    let platform = ["image", "inspect", "--platform", "linux/amd64", name];
    let refused = host.docker(&platform).await;
    assert_eq!(refused.code, 1, "{refused:#?}");
    let message = "does not provide the specified platform";
    assert!(refused.stderr.contains(message), "{refused:#?}");
    let label = ["image", "ls", "--quiet", "--filter", "label=keep=1"];
    assert_ne!(host.done(&label).await, "");
    let listed = host
        .done(&["image", "ls", "--format", "{{.CreatedAt}}"])
        .await;
    assert!(listed.starts_with("1970-01-01"), "{listed}");

    host.done(&["tag", name, "tagged:1"]).await;
    host.assert_runs("tagged:1").await;
    host.done(&["create", "--name=made", "--network=none", name])
        .await;
    host.done(&["commit", "made", "committed:1"]).await;
    host.done(&["rm", "made"]).await;
    host.assert_runs("committed:1").await;
    let saved = host.saved("committed:1", "committed.tar").await;
    assert!(host.layers().is_disjoint(&saved), "{saved:#?}");

    // In sequence: the snapshots are the only copy.
    let report = host.slim(&["--snapshots"]);
    let kept = crate::rig::entry(&report["kept"], name);
    assert_eq!(kept["reason"], "layers_missing", "{report:#}");
    host.assert_runs(name).await;
}

/// `docker save` succeeds without the layers and the configuration. `docker load` takes such an
/// archive, and its image does not run at another engine.
#[tokio::test]
async fn docker_save_leaves_out_layers_without_an_error() {
    let (host, other) = tokio::join!(Host::without_layers(), Dockerd::start());
    let saved = host.saved(host.name(), "saved.tar").await;
    assert_eq!(saved, [host.image.target.digest.to_string()].into());
    let other = socket_of(&other);
    let archive = host.file("saved.tar");
    let loaded = docker(&other, &["load", "--input", &archive]).await;
    assert_eq!(loaded.code, 0, "{loaded:#?}");
    assert!(loaded.stdout.starts_with("Loaded image: "), "{loaded:#?}");
    let run = ["run", "--pull=never", "--network=none", host.name()];
    let failed = docker(&other, &run).await;
    assert_eq!(failed.code, 125, "{failed:#?}");
    assert!(failed.stderr.contains("not found"), "{failed:#?}");
}

/// `docker push` succeeds to the registry that has the layers, in any repository, and fails to another.
#[tokio::test]
async fn docker_push_needs_a_registry_that_has_the_layers() {
    let (host, empty) = tokio::join!(
        Host::without_layers(),
        DockerRegistry::start(Access::Public)
    );
    let name = host.name();
    host.done(&["push", name]).await;
    let beside = format!("{}/other/app:1", host.registry.address());
    let elsewhere = format!("{}/{NAME}", empty.address());
    for tag in [&beside, &elsewhere] {
        host.done(&["tag", name, tag]).await;
    }
    host.done(&["push", &beside]).await;
    host.assert_has(true, false).await;
    let failed = host.docker(&["push", &elsewhere]).await;
    assert_eq!(failed.code, 1, "{failed:#?}");
    let is_named = |layer: &String| failed.stderr.contains(&format!("{layer}: not found"));
    assert!(host.layers().iter().any(is_named), "{failed:#?}");
    // The same of an image that was built on it.
    let built = host.build(Builder::Classic, &elsewhere).await;
    assert_eq!(built.code, 0, "{built:#?}");
    let failed = host.docker(&["push", &elsewhere]).await;
    assert_eq!(failed.code, 1, "{failed:#?}");
}

/// The classic builder needs no layers. BuildKit fetches them from the registry, or fails.
#[tokio::test]
async fn builds_on_an_image_without_layers() {
    let host = Host::without_layers().await;
    let classic = host.build(Builder::Classic, "classic:1").await;
    assert_eq!(classic.code, 0, "{classic:#?}");
    host.assert_runs("classic:1").await;
    host.assert_has(true, false).await;
    let saved = host.saved("classic:1", "classic.tar").await;
    assert!(host.layers().is_disjoint(&saved), "{saved:#?}");

    let built = host.build(Builder::BuildKit, "built:1").await;
    assert_eq!(built.code, 0, "{built:#?}");
    host.assert_runs("built:1").await;
    host.assert_has(true, true).await;
    assert!(
        host.layers()
            .is_subset(&host.saved("built:1", "built.tar").await)
    );

    let host = Host::without_layers().await;
    host.registry.signal(Signal::KILL);
    let failed = host.build(Builder::BuildKit, "built:1").await;
    assert_eq!(failed.code, 1, "{failed:#?}");
    let classic = host.build(Builder::Classic, "classic:1").await;
    assert_eq!(classic.code, 0, "{classic:#?}");
    host.assert_runs("classic:1").await;
}

/// `docker pull` finds the image up to date. After `docker rmi` it fetches everything.
#[tokio::test]
async fn docker_pull_does_not_fetch_freed_layers() {
    let host = Host::without_layers().await;
    let name = host.name();
    let pulled = host.done(&["pull", name]).await;
    assert!(pulled.contains("Image is up to date"), "{pulled}");
    host.assert_has(true, false).await;
    host.done(&["rmi", name]).await;
    host.done(&["pull", "--quiet", name]).await;
    host.assert_has(true, true).await;
    host.assert_runs(name).await;
}
