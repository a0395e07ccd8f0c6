//! A Docker Engine with every kind of image that a project can have.

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

/// A project with every kind of service.
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

/// Names, and the services for which Compose built the images. Images without a service were
/// pulled.
const IMAGES: &[(&str, Option<&str>)] = &[
    ("docker.io/library/shop-web:latest", Some("web")),
    ("docker.io/acme/api:2", Some("api")),
    ("docker.io/library/postgres:17", None),
    ("docker.io/library/redis:latest", None),
    ("docker.io/library/shared:1", None),
    ("docker.io/library/shop-used:latest", Some("used")),
    // Built by an old Compose, which set no labels.
    ("docker.io/library/shop-old:latest", None),
    // By Compose 1, or in the compatibility mode.
    ("docker.io/library/shop_old:latest", None),
    ("docker.io/library/shop_web:latest", None),
    // Of a service that the file no longer has.
    ("docker.io/library/shop-gone:latest", Some("gone")),
    // Of no project.
    ("docker.io/library/unrelated:1", None),
];

/// The services of images without a name.
const NAMELESS: &[&str] = &["web", "gone"];

pub(crate) struct Fixture {
    pub(crate) dockerd: Dockerd,
    directory: TempDir,
}

impl Fixture {
    pub(crate) async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("compose.yaml"), FILE).unwrap();
        let fixture = Self {
            dockerd: Dockerd::start().await,
            directory,
        };
        fixture.fill().await;
        // The container belongs to another project.
        fixture.create_container("shop-used").await;
        fixture
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.directory.path().join("compose.yaml")
    }

    /// Builds images that do not exist.
    pub(crate) async fn fill(&self) {
        let namespace = self.dockerd.namespace();
        let existing = self.names().await;
        let build = async |name: &str, labels: Labels| {
            if existing.contains(name) {
                return;
            }
            image(name)
                .layers([Layer::named("base", 2000), Layer::named(name, 500)])
                .config_labels(labels)
                .unpack("native")
                .build(&namespace)
                .await
                .unwrap();
        };
        let of = |service: &str| labels([(PROJECT, "shop"), (SERVICE, service)]);
        for (name, service) in IMAGES {
            build(name, service.map_or_else(Labels::new, of)).await;
        }
        for service in NAMELESS {
            // The digest is known only after building it under a name.
            let seed = format!("nameless {service}");
            let passing = image("docker.io/library/passing:1")
                .layers([Layer::named("base", 2000), Layer::named(&seed, 500)])
                .config_labels(of(service))
                .unpack("native")
                .build(&namespace)
                .await
                .unwrap();
            let name = format!("moby-dangling@{}", passing.target.digest);
            if !existing.contains(&name) {
                passing.tag(&namespace, &name).await.unwrap();
            }
            let sync = reclaim_testkit::Deletion::Sync;
            namespace.delete_image(passing.name(), sync).await.unwrap();
        }
        let shared = "quay.io/somebody/shared:mine";
        if !existing.contains(shared) {
            let record = namespace
                .image_record("docker.io/library/shared:1")
                .await
                .unwrap();
            namespace
                .create_image(shared, &record.target, &Labels::new())
                .await
                .unwrap();
        }
    }

    /// Returns the names of all records.
    pub(crate) async fn names(&self) -> BTreeSet<String> {
        let images = self.dockerd.namespace().images().await.unwrap();
        images.into_keys().collect()
    }

    async fn create_container(&self, image: &str) {
        let address = self.dockerd.address();
        let docker = Docker::connect_with_unix(&address, 60, bollard::API_DEFAULT_VERSION)
            .unwrap()
            .negotiate_version()
            .await
            .unwrap();
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
        self.prune_with(&[], args)
    }

    /// As [`Self::prune`], with environment variables.
    pub(crate) fn prune_with(&self, environment: &[(&str, &str)], args: &[&str]) -> Value {
        let output = Command::new(env!("CARGO_BIN_EXE_reclaim"))
            .env_clear()
            .env("RECLAIM_AUDIT_DIR", "/dev/null")
            .envs(environment.iter().copied())
            .args(["project", "prune", "--format", "json", "--file"])
            .arg(self.file())
            .args(args)
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{stderr}");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}
