//! Shows what `reclaim` does on a private containerd, which is removed afterwards.
//!
//! `cargo xtask demo` builds and runs it; the only argument is the path of the binary. All output but
//! the comments is printed by `reclaim`.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a demo prints to the terminal"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;
use std::{env, fs, io, thread};

use jiff::{Timestamp, ToSpan};
use reclaim_testkit::{
    BuiltImage, Containerd, Deletion, Layer, Manifest, NamespaceClient, NewLease, image, index,
    labels,
};
use tonic::Status;

/// The command of the screen.
const BROWSE: &str = "browse -n moby";

/// The command that changes the store.
const PRUNE: &str = "image prune -n moby --all --force";

/// The page of the store before that.
const PAGE: &str = "target/demo.html";

/// The scenes: captions and commands.
const SCENES: [(&str, &str); 5] = [
    (
        "Docker's images, and whether a prune would remove them",
        "image ls -n moby",
    ),
    (
        "Why? (A stopped Docker container is only a lease and a snapshot in containerd)",
        "image prune -n moby --all --dry-run",
    ),
    (
        "The prune: the same images, the same bytes (none of debian:12, which k8s.io has too)",
        PRUNE,
    ),
    ("The remaining images", "image ls -n moby"),
    (
        "Kubernetes and nerdctl: every image has a reason to stay",
        "image prune -n k8s.io --all --dry-run",
    ),
];

/// IDs of containers, with 64 hexadecimal characters as in Docker.
const STOPPED: &str = "4f1c7e0d92ab35864f1c7e0d92ab35864f1c7e0d92ab35864f1c7e0d92ab3586";
const RUNNING: &str = "a83b5d20c6e7f914a83b5d20c6e7f914a83b5d20c6e7f914a83b5d20c6e7f914";

#[tokio::main]
async fn main() -> ExitCode {
    let Some(reclaim) = env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("error: the path of a reclaim binary is missing");
        eprintln!("hint: cargo xtask demo");
        return ExitCode::from(2);
    };
    let containerd = Containerd::builder().log_level("info").start().await;
    println!(
        "# A private containerd {}, started for this demo",
        containerd.version()
    );
    if let Err(status) = Host::new(&containerd).await.fill().await {
        eprintln!("error: fill the private containerd: {status}");
        return ExitCode::FAILURE;
    }
    match show(&reclaim, containerd.address()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: run `{}`: {error}", reclaim.display());
            ExitCode::FAILURE
        }
    }
}

/// Plays the scenes.
fn show(reclaim: &Path, address: &str) -> io::Result<()> {
    let before = SCENES.iter().position(|(_, command)| *command == PRUNE);
    let (before, after) = SCENES.split_at(before.expect("the demo prunes"));
    let play = |scenes: &[(&str, &str)]| {
        scenes.iter().try_for_each(|(caption, arguments)| {
            println!("\n# {caption}\n$ reclaim {arguments}");
            run(reclaim, arguments, address)
        })
    };
    play(before)?;
    println!("\n# The screen, with two images marked: what both free together\n$ reclaim {BROWSE}");
    println!("{}", screen(reclaim, address)?);
    fs::create_dir_all("target")?;
    run(reclaim, &format!("df --html {PAGE}"), address)?;
    play(after)?;
    let page = fs::canonicalize(PAGE)?;
    println!(
        "\n# The store before the prune, for a browser\nfile://{}",
        page.display()
    );
    Ok(())
}

/// Opens the screen in a terminal, marks the first two images, and returns what it shows.
fn screen(reclaim: &Path, address: &str) -> io::Result<String> {
    let folder = tempfile::tempdir()?;
    let terminal = Terminal(folder.path().join("tmux"));
    let command = format!("{} --address {address} {BROWSE}", reclaim.display());
    terminal.tmux(&["new-session", "-d", "-x", "90", "-y", "14", &command])?;
    terminal.wait_for("nothing marked")?;
    terminal.tmux(&["send-keys", "Space", "Space"])?;
    terminal.wait_for("marked: 2 images")?;
    terminal.tmux(&["capture-pane", "-e", "-p"])
}

/// A server of tmux, by its socket. It ends with this value.
struct Terminal(PathBuf);

impl Terminal {
    fn tmux(&self, arguments: &[&str]) -> io::Result<String> {
        let mut command = Command::new("tmux");
        command
            .arg("-S")
            .arg(&self.0)
            .args(["-f", "/dev/null"])
            .args(arguments);
        command
            .env("TERM", "xterm-256color")
            .env("LC_ALL", "C.UTF-8");
        command
            .env_remove("CONTAINERD_NAMESPACE")
            .env_remove("RECLAIM_LOG");
        let output = command.stdin(Stdio::null()).output()?;
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).into_owned())
        } else {
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            Err(io::Error::other(format!("tmux: {error}")))
        }
    }

    fn wait_for(&self, text: &str) -> io::Result<()> {
        for _ in 0..200 {
            if self.tmux(&["capture-pane", "-p"])?.contains(text) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(50));
        }
        Err(io::Error::other(format!(
            "the screen does not show `{text}`"
        )))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]).ok();
    }
}

/// Runs a command and lets it print.
fn run(reclaim: &Path, arguments: &str, address: &str) -> io::Result<()> {
    let status = Command::new(reclaim)
        .args(arguments.split(' '))
        .env("CONTAINERD_ADDRESS", address)
        // These would change the output.
        .env_remove("CONTAINERD_NAMESPACE")
        .env_remove("RECLAIM_LOG")
        .env("NODE_NAME", "demo")
        .stdin(Stdio::null())
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other(status.to_string()))
    }
}

/// A host with Docker and a node of a cluster.
struct Host {
    docker: NamespaceClient,
    cluster: NamespaceClient,
    snapshotter: &'static str,
    now: Timestamp,
}

impl Host {
    async fn new(containerd: &Containerd) -> Self {
        let docker = containerd.namespace("moby");
        // Some containers have no overlay filesystem; the native snapshotter always works.
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
        self.start_pull_with_docker().await?;
        self.run_a_cluster().await
    }

    /// Builds an image of one platform.
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
            // containerd before 1.7 ignores it.
            .record_created(self.now - (days_ago * 24).hours())
            .build(namespace)
            .await
    }

    /// Builds several releases on one base, two of them with a container. One build has lost its name
    /// and is dangling.
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

    /// Starts a pull: a lease holds the content so far.
    async fn start_pull_with_docker(&self) -> Result<(), Status> {
        let lease = NewLease::new("pull-postgres").expires(self.now + 24.hours());
        self.docker.create_lease(lease).await?;
        image("docker.io/library/postgres:17")
            .layers([layer("debian", 2_600), layer("postgres", 2_150)])
            .build(&self.docker.with_lease("pull-postgres"))
            .await?;
        Ok(())
    }

    /// Creates a pod with an image of two platforms, one of them absent, and a nerdctl container with
    /// an image that Docker has too.
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
