//! A Docker Engine with the images of a project, of every kind.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use bollard::Docker;
use bollard::models::ContainerCreateBody;
use bollard::query_parameters::CreateContainerOptions;
use reclaim_testkit::{Dockerd, Labels, Layer, image, labels};
use serde_json::Value;
use tempfile::TempDir;

const PROJECT: &str = "com.docker.compose.project";
const SERVICE: &str = "com.docker.compose.service";

/// A project in which services have images in every way.
const FILE: &str = "
name: shop
services:
  web: {build: .}
  api: {build: ., image: 'acme/api:2'}
  db: {image: 'postgres:17'}
  cache: {image: redis}
  shared: {image: 'docker.io/library/shared:1'}
  used: {build: .}
  missing: {image: missing}
  never: {build: .}
  old: {build: .}
";

/// Names, and the services that Compose built them for; what nobody built was pulled.
const IMAGES: &[(&str, Option<&str>)] = &[
    ("docker.io/library/shop-web:latest", Some("web")),
    ("docker.io/acme/api:2", Some("api")),
    ("docker.io/library/postgres:17", None),
    ("docker.io/library/redis:latest", None),
    ("docker.io/library/shared:1", None),
    ("docker.io/library/shop-used:latest", Some("used")),
    // From before Compose labelled what it builds.
    ("docker.io/library/shop-old:latest", None),
    // Of a service that is no longer there.
    ("docker.io/library/shop-gone:latest", Some("gone")),
    // Nobody's.
    ("docker.io/library/unrelated:1", None),
];

/// Images without a name, and what they were built for.
const NAMELESS: &[&str] = &["web", "gone"];

pub(crate) struct Stage {
    pub(crate) dockerd: Dockerd,
    directory: TempDir,
}

impl Stage {
    pub(crate) async fn set() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("compose.yaml"), FILE).unwrap();
        let stage = Self {
            dockerd: Dockerd::start().await,
            directory,
        };
        stage.fill().await;
        // Of another project.
        stage.create_container("shop-used").await;
        stage
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.directory.path().join("compose.yaml")
    }

    /// Builds what is not there.
    pub(crate) async fn fill(&self) {
        let namespace = self.dockerd.namespace();
        let there = self.names().await;
        let build = async |name: &str, seed: &str, labels: Labels| {
            if there.contains(name) {
                return;
            }
            let image = image(name)
                .layers([Layer::named("base", 2000), Layer::named(seed, 500)])
                .config_labels(labels)
                .unpack("native");
            image.build(&namespace).await.unwrap();
        };
        let of = |service: &str| labels([(PROJECT, "shop"), (SERVICE, service)]);
        for (name, service) in IMAGES {
            build(name, name, service.map_or_else(Labels::new, of)).await;
        }
        for service in NAMELESS {
            // Built under a name first, which tells its digest.
            let seed = format!("nameless {service}");
            let image = image("docker.io/library/passing:1")
                .layers([Layer::named("base", 2000), Layer::named(&seed, 500)])
                .config_labels(of(service))
                .unpack("native");
            let passing = image.build(&namespace).await.unwrap();
            let name = format!("moby-dangling@{}", passing.target.digest);
            if !there.contains(&name) {
                passing.tag(&namespace, &name).await.unwrap();
            }
            let sync = reclaim_testkit::Deletion::Sync;
            namespace.delete_image(passing.name(), sync).await.unwrap();
        }
        let shared = "quay.io/somebody/shared:mine";
        if !there.contains(shared) {
            let records = namespace.images().await.unwrap();
            let record = namespace
                .image_record("docker.io/library/shared:1")
                .await
                .unwrap();
            assert!(records.contains_key("docker.io/library/shared:1"));
            namespace
                .create_image(shared, &record.target, &Labels::new())
                .await
                .unwrap();
        }
    }

    /// The names of all images, as they are stored.
    pub(crate) async fn names(&self) -> BTreeSet<String> {
        let images = self.dockerd.namespace().images().await.unwrap();
        images.into_keys().collect()
    }

    async fn create_container(&self, image: &str) {
        let address = self.dockerd.address();
        let docker = Docker::connect_with_unix(&address, 60, bollard::API_DEFAULT_VERSION);
        let docker = docker.unwrap().negotiate_version().await.unwrap();
        let body = ContainerCreateBody {
            image: Some(image.to_owned()),
            cmd: Some(vec!["sleep".to_owned()]),
            ..ContainerCreateBody::default()
        };
        let options = None::<CreateContainerOptions>;
        docker.create_container(options, body).await.unwrap();
    }

    /// Calls `reclaim project prune` on the project's file.
    pub(crate) fn prune(&self, args: &[&str]) -> Value {
        let output = Command::new(env!("CARGO_BIN_EXE_reclaim"))
            .env_clear()
            .args(["project", "prune", "--format", "json", "--file"])
            .arg(self.file())
            .args(args)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}
