//! Images and containers of the real clients: made by BuildKit with its attestations, for several
//! platforms, and by the classic builder.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use reclaim_testkit::{
    Descriptor, Dockerd, Labels, Layer, Manifest, NamespaceClient, image, index, labels,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::command::{PATIENCE, command};
use crate::containers::measured;
use crate::side::{create, socket_of};

/// Environment variable with the path of docker-buildx.
const BUILDX_VARIABLE: &str = "RECLAIM_TEST_BUILDX";

/// Names of images that BuildKit makes: with an attestation, of several platforms, and without an
/// attestation.
pub(crate) const NAMES: [&str; 3] = ["attested:1", "several:1", "whole:1"];

/// The creation time of these images, so that ages are the same at each engine: in June 2024.
const EPOCH: &str = "1717200000";

/// The images of [`NAMES`] as archives.
static ARCHIVES: OnceCell<Vec<Vec<u8>>> = OnceCell::const_new();

/// Loads those of [`NAMES`] that do not exist. Every build has another digest, so that engines have the
/// same images only if these come from one build.
pub(crate) async fn load(dockerd: &Dockerd) {
    let existing = dockerd.namespace().images().await.unwrap();
    let archives = ARCHIVES.get_or_init(archives).await;
    for (name, archive) in NAMES.iter().zip(archives) {
        if !existing.contains_key(&format!("docker.io/library/{name}")) {
            let mut load = command(&socket_of(dockerd), &["load", "--quiet"]);
            finish_with(&mut load, archive).await;
        }
    }
}

/// Builds the images at an engine of their own.
async fn archives() -> Vec<Vec<u8>> {
    let dockerd = Dockerd::start().await;
    let socket = socket_of(&dockerd);
    build_with_buildx(&socket, Context::create().path()).await;
    let mut archives = Vec::new();
    for name in NAMES {
        archives.push(finish(&mut command(&socket, &["save", name])).await);
    }
    archives
}

/// Builds images with each builder, and adds some as a pull leaves them.
pub(crate) async fn build(dockerd: &Dockerd) {
    let socket = socket_of(dockerd);
    let context = Context::create();
    build_with_buildx(&socket, context.path()).await;
    let tag = ["tag", "attested:1", "attested:other"];
    finish(&mut command(&socket, &tag)).await;
    let classic = ["build", "-q", "-t", "classic:1", "-f", "whole", "."];
    let mut classic = command(&socket, &classic);
    classic
        .env("DOCKER_BUILDKIT", "0")
        .current_dir(context.path());
    finish(&mut classic).await;

    let pulled = index("docker.io/library/pulled:1")
        .manifest(part("linux/amd64"))
        .manifest(part("linux/arm64").absent())
        .manifest(part("linux/s390x").absent());
    pulled.build(&dockerd.namespace()).await.unwrap();
    let elsewhere = index("docker.io/library/elsewhere:1")
        .manifest(part("linux/amd64").absent())
        .manifest(part("linux/s390x"));
    elsewhere.build(&dockerd.namespace()).await.unwrap();
    // Until then Docker may fail to measure: BuildKit still removes snapshots of the builds.
    measured(&socket, "/v1.51/system/df").await;
}

/// A directory with Dockerfiles.
struct Context(TempDir);

impl Context {
    fn create() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
        write("file", "content");
        write(
            "Dockerfile",
            "FROM scratch\nCOPY file /file\nLABEL a=b\nCMD [\"x\"]\n",
        );
        write(
            "whole",
            "FROM scratch\nCOPY file /f\nCOPY whole /w\nENV A=1 B=2\nEXPOSE 80\nVOLUME /v\nUSER u\n\
             WORKDIR /d\nENTRYPOINT [\"/e\"]\nSTOPSIGNAL 9\nHEALTHCHECK CMD x\nSHELL [\"s\"]\n\
             ONBUILD RUN x\n",
        );
        Self(directory)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

/// Builds the images of [`NAMES`].
async fn build_with_buildx(socket: &Path, context: &Path) {
    let [attested, several, whole] = NAMES;
    run_buildx(socket, context, &["-t", attested]).await;
    let platforms = "linux/amd64,linux/arm64,linux/arm/v7";
    let options = [
        "--platform",
        platforms,
        "--label",
        "several=1",
        "-t",
        several,
    ];
    run_buildx(socket, context, &options).await;
    let options = ["-t", whole, "-f", "whole", "--provenance=false"];
    run_buildx(socket, context, &options).await;
}

/// Records images whose manifests are not what a builder writes: of another schema version, and without
/// a configuration. With one that cannot be decoded Docker answers no request for the disk usage.
pub(crate) async fn record_odd(namespace: &NamespaceClient) {
    let built = image("docker.io/library/odd:2")
        .layers([Layer::named("odd", 700)])
        .unpack("native");
    let target = built.build(namespace).await.unwrap().target;
    let labels_of_manifest = namespace.blob_labels(&target.digest).await.unwrap();
    let bytes = namespace.read_blob(&target.digest).await.unwrap();
    let manifest: Value = serde_json::from_slice(&bytes).unwrap();
    let changed = |key: &str, value: Value| {
        let mut manifest = manifest.clone();
        manifest[key] = value;
        manifest.to_string()
    };
    let mut without_config = manifest["config"].clone();
    without_config["digest"] = json!(format!("sha256:{}", "0".repeat(64)));
    for (tag, text) in [
        ("zero", changed("schemaVersion", json!(0))),
        ("one", changed("schemaVersion", json!(1))),
        ("without-config", changed("config", without_config)),
    ] {
        let written = namespace.write_blob(text.as_bytes(), &labels_of_manifest);
        let target = Descriptor {
            digest: written.await.unwrap(),
            size: text.len() as u64,
            ..target.clone()
        };
        let name = format!("docker.io/library/odd:{tag}");
        let none = Labels::new();
        let recorded = namespace.create_image(&name, &target, &none);
        recorded.await.unwrap();
    }
}

/// Creates containers of some of the images.
pub(crate) async fn create_containers(dockerd: &Dockerd) {
    for image in ["attested:1", "several:1", "whole:1", "pulled:1"] {
        create(dockerd, json!({"Image": image, "Cmd": ["x"]})).await;
    }
}

/// Returns the image of one platform, which is unpacked and has an attestation.
fn part(platform: &str) -> Manifest {
    let of_config: Labels = labels([("platform", platform)]);
    Manifest::new(platform)
        .layers([Layer::named("base", 2000), Layer::named(platform, 700)])
        .config_labels(of_config)
        .unpack("native")
        .attested()
}

async fn run_buildx(socket: &Path, context: &Path, args: &[&str]) {
    let mut build = buildx(socket);
    build
        .args(["build", "--quiet"])
        .args(args)
        .arg(".")
        .current_dir(context)
        .env("DOCKER_CONFIG", context)
        .env("SOURCE_DATE_EPOCH", EPOCH)
        .kill_on_drop(true);
    finish(&mut build).await;
}

/// Returns a call of buildx on a socket.
pub(crate) fn buildx(socket: &Path) -> Command {
    let binary = env::var_os(BUILDX_VARIABLE).map_or_else(|| "docker-buildx".into(), PathBuf::from);
    let mut command = Command::new(binary);
    command.env("DOCKER_HOST", format!("unix://{}", socket.display()));
    command
}

/// Waits for a command that succeeds, and returns what it prints.
async fn finish(command: &mut Command) -> Vec<u8> {
    finish_with(command, &[]).await
}

/// Like [`finish`], with `input`.
async fn finish_with(command: &mut Command, input: &[u8]) -> Vec<u8> {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let running = async {
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input).await.unwrap();
        drop(stdin);
        child.wait_with_output().await.unwrap()
    };
    let output = tokio::time::timeout(PATIENCE, running).await.unwrap();
    assert!(output.status.success(), "{command:?}: {output:#?}");
    output.stdout
}
