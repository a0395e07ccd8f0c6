//! A private registry of the distribution project: Debian's `docker-registry`.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use reclaim_model::Digest;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::containerd::process::{Process, bound_command, find_on_path};
use crate::image::{BuiltImage, ImageBuilder, host_platform, image};

/// The environment variable with the path of the registry.
const BINARY_VARIABLE: &str = "RECLAIM_TEST_REGISTRY";

/// The pause between two checks of a starting registry, and the number of checks: 60 s in all.
const PAUSE: Duration = Duration::from_millis(10);
const CHECKS: u32 = 6000;

/// A user `user` with the password `password`, as htpasswd writes it with bcrypt.
const HTPASSWD: &str = "user:$2y$05$YX3cVSd2dYEEFOKWbJ2LkOsD14W05tx8VBXMwEvEkxIfv9aOAesiO\n";

/// Who may pull from a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// All clients.
    Public,
    /// Only clients with a password.
    Private,
}

/// A running registry that belongs to one test, on a loopback address with plain HTTP. Dropping it
/// ends it.
#[derive(Debug)]
pub struct DockerRegistry {
    process: Process,
    address: String,
    directory: TempDir,
}

impl DockerRegistry {
    /// Starts an empty registry.
    pub async fn start(access: Access) -> Self {
        tokio::task::spawn_blocking(move || Self::launch(access))
            .await
            .expect("the registry starts")
    }

    fn launch(access: Access) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("reclaim-")
            .tempdir_in("/tmp")
            .expect("a directory can be created below /tmp");
        let path = directory.path();
        let write = |name: &str, text: &str| {
            let file = path.join(name);
            fs::write(&file, text).expect("the private directory is writable");
            file
        };
        let auth = match access {
            Access::Public => String::new(),
            Access::Private => {
                let users = write("htpasswd", HTPASSWD);
                format!(
                    "auth: {{htpasswd: {{realm: test, path: {}}}}}\n",
                    users.display()
                )
            }
        };
        let data = path.join("data");
        let config = format!(
            "version: 0.1\nlog: {{level: info}}\nhttp: {{addr: \"127.0.0.1:0\"}}\n\
             storage: {{filesystem: {{rootdirectory: {}}}}}\n{auth}",
            data.display()
        );
        let config = write("config.yml", &config);
        let log = path.join("log");
        let log_file = File::create(&log).expect("the private directory is writable");
        let same_log = log_file.try_clone().expect("a file handle can be cloned");
        let binary = binary();
        let mut command = bound_command(&binary);
        command
            .arg("serve")
            .arg(config)
            .env("OTEL_TRACES_EXPORTER", "none")
            .stdin(Stdio::null())
            .stdout(log_file)
            .stderr(same_log);
        let mut process = Process::spawn(command)
            .unwrap_or_else(|error| panic!("start `{}`: {error}", binary.display()));
        let address = wait(&mut process, &log);
        Self {
            process,
            address,
            directory,
        }
    }

    /// Returns its address: host and port.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Sends a signal to the registry. Stopped, it does not answer.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Stores an image under `name`, a repository and a tag in another registry, as a push to this
    /// one would. `build` adds to an empty image of this machine's platform.
    pub fn put(
        &self,
        registry: &str,
        name: &str,
        build: impl FnOnce(ImageBuilder) -> ImageBuilder,
    ) -> BuiltImage {
        let image = image(&format!("{registry}/{name}")).platform(&host_platform());
        let (pushed, blobs) = build(image).rendered();
        let (repository, tag) = name.split_once(':').expect("the name has a tag");
        let target = &pushed.target.digest;
        for blob in &blobs {
            let digest = &blob.descriptor.digest;
            self.put_blob(repository, digest, &blob.bytes, digest == target);
        }
        let tags = self
            .repository(repository)
            .join("_manifests/tags")
            .join(tag);
        write(&tags.join("current/link"), target.to_string().as_bytes());
        pushed
    }

    /// Stores the bytes of one blob of a repository, which may be a manifest or an index.
    pub fn put_blob(&self, repository: &str, digest: &Digest, bytes: &[u8], is_manifest: bool) {
        let hex = digest.hex();
        write(&self.data(digest), bytes);
        let links = if is_manifest {
            "_manifests/revisions/sha256"
        } else {
            "_layers/sha256"
        };
        let link = self.repository(repository).join(links).join(hex);
        write(&link.join("link"), digest.to_string().as_bytes());
    }

    /// Replaces the bytes of a blob, as a registry that is broken or lies.
    pub fn replace_blob(&self, digest: &Digest, bytes: &[u8]) {
        write(&self.data(digest), bytes);
    }

    /// Returns the digests of the blobs and manifests that clients fetched so far, in order, by the
    /// registry's own log.
    pub fn fetched(&self) -> Vec<String> {
        let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
        let answered = log.lines().filter(|line| {
            line.contains("response completed") && line.contains("http.request.method=GET")
        });
        let digests = answered.filter_map(|line| {
            let uri = line.split("http.request.uri=").nth(1)?;
            let uri = uri.trim_start_matches('"').split(['"', ' ', '?']).next()?;
            let digest = uri.rsplit('/').next()?;
            let is_fetched = line.contains("http.response.status=200");
            (is_fetched && digest.starts_with("sha256:")).then(|| digest.to_owned())
        });
        digests.collect()
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("data/docker/registry/v2")
    }

    fn repository(&self, name: &str) -> PathBuf {
        self.root().join("repositories").join(name)
    }

    fn data(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        self.root()
            .join("blobs/sha256")
            .join(&hex[..2])
            .join(&hex)
            .join("data")
    }
}

fn write(file: &Path, bytes: &[u8]) {
    let directory = file.parent().expect("it is below the root");
    fs::create_dir_all(directory).expect("the private directory is writable");
    fs::write(file, bytes).expect("the private directory is writable");
}

/// Waits until the registry listens, and returns its address.
fn wait(process: &mut Process, log: &Path) -> String {
    for _ in 0..CHECKS {
        let text = fs::read_to_string(log).unwrap_or_default();
        let listening = text.split("listening on ").nth(1);
        let address = listening.and_then(|text| text.split(['"', ' ', '\n']).next());
        if let Some(address) = address.filter(|address| text.contains(&format!("{address}\""))) {
            return address.to_owned();
        }
        if let Some(status) = process.exit_status() {
            panic!("docker-registry ended while starting ({status})\n{text}");
        }
        thread::sleep(PAUSE);
    }
    panic!("docker-registry does not listen");
}

fn binary() -> PathBuf {
    env::var_os(BINARY_VARIABLE)
        .map(PathBuf::from)
        .or_else(|| find_on_path("docker-registry"))
        .unwrap_or_else(|| {
            panic!(
                "docker-registry is not on PATH; run `cargo xtask dockerd` and set \
                 {BINARY_VARIABLE}"
            )
        })
}
