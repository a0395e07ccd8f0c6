//! Shows what `reclaim` does, on a containerd of its own that is gone afterwards.
//!
//! `cargo xtask demo` builds and runs it; the only argument is the path of the binary. Between
//! the comments, everything is printed by `reclaim` itself.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a demo speaks to the person who started it"
)]

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use jiff::{Timestamp, ToSpan};
use reclaim_testkit::{
    BuiltImage, Containerd, Deletion, Layer, Manifest, NamespaceClient, NewLease, image, index,
    labels,
};
use tonic::Status;

/// What is shown, in order: what to look at, and the command.
const SCENES: [(&str, &str); 5] = [
    (
        "Docker's images, and what a prune would do with each",
        "image ls -n moby",
    ),
    (
        "Why? (Of a stopped container, Docker leaves containerd only a lease and a snapshot)",
        "image prune -n moby --all --dry-run",
    ),
    (
        "For real: the same images, the same bytes (of debian:12 none: k8s.io has it too)",
        "image prune -n moby --all --force",
    ),
    ("What is left", "image ls -n moby"),
    (
        "Next door, Kubernetes and nerdctl: every image has its reason to stay",
        "image prune -n k8s.io --all --dry-run",
    ),
];

/// IDs as Docker's: 64 hexadecimal characters.
const STOPPED: &str = "4f1c7e0d92ab35864f1c7e0d92ab35864f1c7e0d92ab35864f1c7e0d92ab3586";
const RUNNING: &str = "a83b5d20c6e7f914a83b5d20c6e7f914a83b5d20c6e7f914a83b5d20c6e7f914";

#[tokio::main]
async fn main() -> ExitCode {
    let Some(reclaim) = env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("error: no path of a reclaim binary given");
        eprintln!("hint: cargo xtask demo");
        return ExitCode::from(2);
    };
    let containerd = Containerd::builder().log_level("info").start().await;
    println!(
        "# On a containerd {} that was started for this, and ends with it",
        containerd.version()
    );
    if let Err(status) = Host::new(&containerd).await.fill().await {
        eprintln!("error: fill the private containerd: {status}");
        return ExitCode::FAILURE;
    }
    for (caption, arguments) in SCENES {
        println!("\n# {caption}\n$ reclaim {arguments}");
        if let Err(error) = run(&reclaim, arguments, containerd.address()) {
            eprintln!("error: run `{}`: {error}", reclaim.display());
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Runs a command and lets it print.
fn run(reclaim: &Path, arguments: &str, address: &str) -> io::Result<()> {
    let status = Command::new(reclaim)
        .args(arguments.split(' '))
        .env("CONTAINERD_ADDRESS", address)
        // Where these are set, the answers would be others.
        .env_remove("CONTAINERD_NAMESPACE")
        .env_remove("RECLAIM_LOG")
        .stdin(Stdio::null())
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other(status.to_string()))
    }
}

/// A host on which people build with Docker, beside a cluster.
struct Host {
    docker: NamespaceClient,
    cluster: NamespaceClient,
    snapshotter: &'static str,
    now: Timestamp,
}

impl Host {
    async fn new(containerd: &Containerd) -> Self {
        let docker = containerd.namespace("moby");
        // Not in every container is there an overlay filesystem; copies of directories always work.
        let has_overlay = docker.snapshots("overlayfs").await.is_ok();
        Self {
            docker,
            cluster: containerd.namespace("k8s.io"),
            snapshotter: if has_overlay { "overlayfs" } else { "native" },
            now: Timestamp::now(),
        }
    }

    async fn fill(&self) -> Result<(), Status> {
        self.build_with_docker().await?;
        self.be_pulling_with_docker().await?;
        self.run_a_cluster().await
    }

    /// Builds and pulls an image of one platform.
    async fn image(
        &self,
        namespace: &NamespaceClient,
        name: &str,
        days_ago: i64,
        layers: impl IntoIterator<Item = Layer>,
    ) -> Result<BuiltImage, Status> {
        image(name)
            .layers(layers)
            .unpack(self.snapshotter)
            // containerd before 1.7 takes no such time: there, all are as young as they are.
            .record_created(self.now - (days_ago * 24).hours())
            .build(namespace)
            .await
    }

    /// Builds release after release on one base. Every build that lost its name to the next is
    /// dangling; of two, there is a container.
    async fn build_with_docker(&self) -> Result<(), Status> {
        let moby = &self.docker;
        let node = [layer("debian", 2_600), layer("node", 1_500)];
        self.image(moby, "docker.io/library/debian:12", 60, node[..1].to_vec())
            .await?;
        for (release, days_ago, kib) in [("1.0", 40, 720), ("1.1", 25, 735), ("1.2", 3, 748)] {
            let name = format!("docker.io/acme/shop:{release}");
            let layers = [&node[..], &[layer(&name, kib)]].concat();
            let shop = self.image(moby, &name, days_ago, layers).await?;
            match release {
                "1.1" => moby.docker_stopped_container(STOPPED, &shop).await?,
                "1.2" => moby.docker_running_container(RUNNING, &shop).await?,
                _ => {}
            }
        }
        let layers = [&node[..], &[layer("a build before the last", 741)]].concat();
        let lost = self
            .image(moby, "docker.io/acme/shop:dev", 4, layers)
            .await?;
        lost.dangling(moby).await?;
        moby.delete_image(lost.name(), Deletion::Async).await
    }

    /// Is in the middle of a pull: a lease holds what has come so far.
    async fn be_pulling_with_docker(&self) -> Result<(), Status> {
        let lease = NewLease::new("pull-postgres").expires(self.now + 24.hours());
        self.docker.create_lease(lease).await?;
        image("docker.io/library/postgres:17")
            .layers([layer("debian", 2_600), layer("postgres", 2_150)])
            .build(&self.docker.with_lease("pull-postgres"))
            .await?;
        Ok(())
    }

    /// Runs a pod, of an image for two platforms of which one is there, and a container of
    /// nerdctl's, of an image that Docker has too.
    async fn run_a_cluster(&self) -> Result<(), Status> {
        let cluster = &self.cluster;
        let pause = "registry.k8s.io/pause:3.9";
        let pause = self
            .image(cluster, pause, 200, [layer("pause", 310)])
            .await?;
        let pinned = labels([("io.cri-containerd.pinned", "pinned")]);
        cluster.cri_image_records(&pause, &pinned).await?;
        cluster.cri_sandbox("web-0", &pause).await?;

        let amd64 = Manifest::new("linux/amd64").layers([layer("nginx", 980)]);
        let arm64 = Manifest::new("linux/arm64/v8").layers([layer("nginx for arm64", 955)]);
        let nginx = index("docker.io/library/nginx:1.27")
            .manifest(amd64.unpack(self.snapshotter).attested())
            .manifest(arm64.absent().attested())
            .build(cluster)
            .await?;
        cluster.cri_container("nginx-0", "web-0", &nginx).await?;

        let debian = [layer("debian", 2_600)];
        let debian = self
            .image(cluster, "docker.io/library/debian:12", 60, debian)
            .await?;
        cluster.nerdctl_container("toolbox", &debian).await
    }
}

fn layer(name: &str, kib: usize) -> Layer {
    Layer::named(name, kib * 1024)
}
