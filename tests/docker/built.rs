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

use crate::command::{PATIENCE, command};
use crate::side::{create, socket_of};

/// Environment variable with the path of docker-buildx.
const BUILDX_VARIABLE: &str = "RECLAIM_TEST_BUILDX";

/// Builds the images.
pub(crate) async fn build(dockerd: &Dockerd) {
    let socket = socket_of(dockerd);
    let context = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(context.path().join(name), text).unwrap();
    write("file", "content");
    write(
        "Dockerfile",
        "FROM scratch\nCOPY file /file\nLABEL a=b\nCMD [\"x\"]\n",
    );
    write(
        "whole",
        "FROM scratch\nCOPY file /f\nCOPY whole /w\nENV A=1 B=2\nEXPOSE 80\nVOLUME /v\nUSER u\n\
         WORKDIR /d\nENTRYPOINT [\"/e\"]\nSTOPSIGNAL 9\nHEALTHCHECK CMD x\nSHELL [\"s\"]\nONBUILD RUN x\n",
    );
    let buildx = |args: &'static [&'static str]| run_buildx(&socket, context.path(), args);
    buildx(&["-t", "attested:1", "-t", "attested:other"]).await;
    let platforms = "linux/amd64,linux/arm64,linux/arm/v7";
    let several = &[
        "-t",
        "several:1",
        "--platform",
        platforms,
        "--label",
        "several=1",
    ];
    run_buildx(&socket, context.path(), several).await;
    buildx(&["-t", "whole:1", "-f", "whole", "--provenance=false"]).await;
    let mut classic = command(
        &socket,
        &["build", "-q", "-t", "classic:1", "-f", "whole", "."],
    );
    finish(
        classic
            .env("DOCKER_BUILDKIT", "0")
            .current_dir(context.path()),
    )
    .await;

    let pulled = index("docker.io/library/pulled:1")
        .manifest(part("linux/amd64"))
        .manifest(part("linux/arm64").absent())
        .manifest(part("linux/s390x").absent());
    pulled.build(&dockerd.namespace()).await.unwrap();
    let elsewhere = index("docker.io/library/elsewhere:1")
        .manifest(part("linux/amd64").absent())
        .manifest(part("linux/s390x"));
    elsewhere.build(&dockerd.namespace()).await.unwrap();
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
    let binary = env::var_os(BUILDX_VARIABLE).map_or_else(|| "docker-buildx".into(), PathBuf::from);
    let mut build = tokio::process::Command::new(binary);
    build
        .args(["build", "--quiet"])
        .args(args)
        .arg(".")
        .current_dir(context)
        .env("DOCKER_HOST", format!("unix://{}", socket.display()))
        .env("DOCKER_CONFIG", context)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    finish(&mut build).await;
}

async fn finish(command: &mut tokio::process::Command) {
    let output = tokio::time::timeout(PATIENCE, command.output())
        .await
        .unwrap()
        .unwrap();
    assert!(output.status.success(), "{command:?}: {output:#?}");
}
