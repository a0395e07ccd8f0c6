//! Policies with `ask_registry`, and `reclaim image restore`, with a real registry: that of the
//! distribution project.
//!
//! Needs `docker-registry`, which `cargo xtask test` fetches and names in `RECLAIM_TEST_REGISTRY`.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

#[path = "../e2e/rig.rs"]
#[expect(dead_code, reason = "shared with others")]
mod rig;

mod restore;

use std::fs;
use std::net::TcpListener;

use reclaim_testkit::{Access, BuiltImage, Containerd, DockerRegistry, Layer, Signal, image};
use serde_json::Value;
use tempfile::TempDir;

use rig::{Rig, entry, names};

/// The registry in the names of all images.
const NAME: &str = "registry.internal:5000";

/// A containerd with two images that were built on it, and containerd's hosts configuration.
struct Host {
    rig: Rig,
    directory: TempDir,
}

impl Host {
    async fn start() -> Self {
        let host = Self {
            rig: Rig::on(Containerd::start().await),
            directory: tempfile::tempdir().unwrap(),
        };
        for name in ["pushed:1", "built:1"] {
            image(&format!("{NAME}/team/{name}"))
                .layers([Layer::named(name, 2000)])
                .build(&host.rig.namespace)
                .await
                .unwrap();
        }
        host.ask(true);
        host
    }

    fn file(&self, name: &str) -> String {
        self.directory
            .path()
            .join(name)
            .to_str()
            .unwrap()
            .to_owned()
    }

    /// Writes the configuration of a policy that asks registries, or not.
    fn ask(&self, ask_registry: bool) {
        let containerd = self.file("containerd.toml");
        let text = format!(
            "[containerd]\nconfig = {containerd:?}\n\
             [[policy]]\nname = \"p\"\nall = true\nmin_age = \"0s\"\nask_registry = {ask_registry}\n"
        );
        fs::write(self.file("config.toml"), text).unwrap();
        let plugin = "[plugins.'io.containerd.grpc.v1.cri'.registry]";
        let text = format!(
            "version = 2\n{plugin}\nconfig_path = {:?}\n",
            self.file("hosts")
        );
        fs::write(containerd, text).unwrap();
    }

    /// Writes the `hosts.toml` of the registry.
    fn hosts(&self, text: &str) {
        let directory = self.file("hosts/registry.internal_5000_");
        fs::create_dir_all(&directory).unwrap();
        fs::write(format!("{directory}/hosts.toml"), text).unwrap();
    }

    fn reclaim(&self, args: &[&str]) -> Value {
        let (config, state) = (self.file("config.toml"), self.file("state"));
        let paths = ["--config", &config, "--state", &state, "--format", "json"];
        let output = self.rig.reclaim(&[args, &paths].concat());
        output.exits(0).json()
    }

    /// Returns what `policy explain` shows.
    fn explain(&self) -> Value {
        let mut explained = self.reclaim(&["policy", "explain"]);
        explained["policies"][0]["namespaces"][0]["now"].take()
    }

    /// Asserts that both images stay, for this reason.
    #[track_caller]
    fn assert_stay(&self, why: &str) {
        let now = self.explain();
        assert_eq!(names(&now["removed"]), Vec::<&str>::new(), "{now:#}");
        for name in ["pushed:1", "built:1"] {
            assert_reason(&now, name, why);
        }
    }
}

/// Stores an image in a registry as it was built on the host.
fn push(registry: &DockerRegistry, name: &str) -> BuiltImage {
    registry.put(NAME, &format!("team/{name}"), |image| {
        image.layers([Layer::named(name, 2000)])
    })
}

#[track_caller]
fn assert_reason(report: &Value, name: &str, why: &str) {
    let kept = entry(&report["kept"], &format!("{NAME}/team/{name}"));
    assert_eq!(kept["reason"], "last_copy", "{kept:#}");
    let holder = kept["holders"][0].to_string();
    assert!(holder.contains(why), "{holder}");
}

#[tokio::test]
async fn an_image_that_its_registry_has_may_go() {
    let host = Host::start().await;
    let registry = DockerRegistry::start(Access::Public).await;
    let pushed = push(&registry, "pushed:1");
    let stored = host.rig.namespace.images().await.unwrap();
    assert_eq!(stored[pushed.name()], pushed.target.digest);
    host.hosts(&format!("server = \"http://{}\"\n", registry.address()));
    host.ask(false);
    host.assert_stay("p.last_copies");
    host.ask(true);
    let now = host.explain();
    assert_eq!(names(&now["removed"]), [pushed.name()]);
    let why = format!(
        "p.last_copies: {} answered 404 Not Found",
        registry.address()
    );
    assert_reason(&now, "built:1", &why);

    let runs = host.reclaim(&["maintain", "--once"]);
    let report = &runs["runs"][0]["reports"][0];
    assert_eq!(names(&report["removed"]), [pushed.name()]);
    assert_reason(report, "built:1", &why);
    assert_eq!(
        host.rig.names().await,
        [format!("{NAME}/team/built:1")].into()
    );
}

#[tokio::test]
async fn an_image_of_a_private_registry_stays() {
    let host = Host::start().await;
    let registry = DockerRegistry::start(Access::Private).await;
    push(&registry, "pushed:1");
    host.hosts(&format!("server = \"http://{}\"\n", registry.address()));
    host.assert_stay("answered 401 Unauthorized");
}

#[tokio::test]
async fn an_image_stays_if_its_registry_does_not_answer() {
    let host = Host::start().await;
    let registry = DockerRegistry::start(Access::Public).await;
    push(&registry, "pushed:1");
    host.hosts(&format!("server = \"http://{}\"\n", registry.address()));
    registry.signal(Signal::STOP);
    host.assert_stay("did not answer within 5s");
    registry.signal(Signal::CONT);
    assert_eq!(names(&host.explain()["removed"]).len(), 1);
    drop(registry);
    host.assert_stay("cannot be reached");
    // Not even its configuration can be read.
    host.hosts("server = [");
    host.assert_stay("hosts.toml");
}

#[tokio::test]
async fn a_mirror_may_have_the_image_in_place_of_its_registry() {
    let host = Host::start().await;
    let mirror = DockerRegistry::start(Access::Public).await;
    let pushed = push(&mirror, "pushed:1");
    let gone = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = gone.local_addr().unwrap();
    drop(gone);
    host.hosts(&format!(
        "server = \"http://{address}\"\n[host.\"http://{}\"]\ncapabilities = [\"pull\"]\n",
        mirror.address()
    ));
    let now = host.explain();
    assert_eq!(names(&now["removed"]), [pushed.name()]);
    let why = format!(
        "{} answered 404 Not Found, {address} cannot be reached",
        mirror.address()
    );
    assert_reason(&now, "built:1", &why);
}
