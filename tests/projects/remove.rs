//! Compares `docker image rm` with `image rm` on the same images.

use std::collections::BTreeSet;
use std::process::Command;

use bollard::Docker;
use bollard::errors::Error as ApiError;
use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{
    CreateContainerOptions, RemoveContainerOptions, RemoveImageOptions,
};
use reclaim_testkit::{BuiltImage, Deletion, Dockerd, Labels, Layer, NewLease, Status, image};

/// A removal. In names, `L/` stands for Docker Hub's library, `<A>` for the digest of image A, and
/// `<A:12>` for its first 12 digits.
#[derive(Clone, Copy)]
struct Case {
    /// Names and images of the records.
    images: &'static [(&'static str, &'static str)],
    /// What is removed.
    name: &'static str,
    force: bool,
    /// The image of a container that is created and never started.
    container: Option<&'static str>,
}

const fn case(images: &'static [(&'static str, &'static str)], name: &'static str) -> Case {
    Case {
        images,
        name,
        force: false,
        container: None,
    }
}

const fn forced(case: Case) -> Case {
    Case {
        force: true,
        ..case
    }
}

const fn used(case: Case, container: &'static str) -> Case {
    Case {
        container: Some(container),
        ..case
    }
}

const TWO_TAGS: &[(&str, &str)] = &[("L/x:1", "A"), ("L/x:2", "A")];
const TWO_REPOSITORIES: &[(&str, &str)] = &[("L/x:1", "A"), ("L/y:1", "A")];
const WITH_DIGEST: &[(&str, &str)] = &[("L/x:1", "A"), ("L/x@<A>", "A")];
const OTHER_TAGS: &[(&str, &str)] = &[
    ("L/o:v1", "A"),
    ("L/o:v1@<A>", "A"),
    ("L/o:v2", "A"),
    ("L/o:v2@<A>", "A"),
    ("L/p:latest", "A"),
];
const UBUNTU: &[(&str, &str)] = &[
    ("L/ubuntu:latest", "A"),
    ("L/ubuntu:latest@<A>", "A"),
    ("L/ubuntu:latest@<B>", "B"),
    ("L/sha256:defcab", "B"),
];

#[rustfmt::skip]
const CASES: &[Case] = &[
    case(&[], "nothingthere"),
    case(&[("L/one:latest", "A")], "one"),
    case(&[("L/one:latest", "A")], "index.docker.io/library/one:latest"),
    case(&[("L/one:latest", "A"), ("L/two:latest", "A")], "one"),
    case(&[("L/d:latest", "A"), ("L/d@<A>", "A")], "d"),
    case(&[("L/d:latest", "A"), ("L/d@<A>", "A")], "<A>"),
    case(&[("L/d:latest", "A"), ("L/d@<A>", "A")], "<A:12>"),
    case(&[("L/d:latest", "A"), ("L/d@<A>", "A")], "d@<A>"),
    case(&[("L/d:latest", "A"), ("L/d:other", "A"), ("L/d@<A>", "A")], "d"),
    case(&[("L/d:latest", "A"), ("L/d@<A>", "A"), ("L/e:latest", "A")], "d"),
    case(&[("L/d:latest", "A"), ("L/d:latest@<A>", "A"), ("L/e:latest", "A")], "d@<A>"),
    case(OTHER_TAGS, "o@<A>"),
    case(OTHER_TAGS, "o:v1"),
    case(&[("L/e:latest", "A")], "z@<A>"),
    case(UBUNTU, "ubuntu"),
    case(UBUNTU, "<A>"),
    case(UBUNTU, "ubuntu:latest@<B>"),
    case(UBUNTU, "ubuntu:nonexistent"),
    case(UBUNTU, "sha256:abcdef"),
    case(UBUNTU, "sha256:defcab"),
    case(UBUNTU, "UBUNTU"),
    case(UBUNTU, "ubuntu:not a tag"),
    case(TWO_REPOSITORIES, "<A>"),
    forced(case(TWO_REPOSITORIES, "<A>")),
    case(TWO_TAGS, "<A:12>"),
    case(&[("moby-dangling@<A>", "A")], "<A>"),
    case(&[("moby-dangling@<A>", "A")], "<A:12>"),
    case(&[("moby-dangling@<A>", "A"), ("L/x:1", "A")], "x:1"),
    case(&[("moby-dangling@<A>", "A"), ("L/x:1", "A"), ("L/y:1", "A")], "x:1"),
    used(case(&[("L/x:1", "A")], "x:1"), "x:1"),
    used(case(&[("L/x:1", "A")], "<A>"), "x:1"),
    used(case(&[("L/x:1", "A")], "x:1"), "<A>"),
    used(forced(case(&[("L/x:1", "A")], "x:1")), "x:1"),
    used(case(TWO_TAGS, "x:1"), "x:1"),
    used(case(TWO_TAGS, "<A>"), "x:1"),
    used(case(WITH_DIGEST, "x:1"), "x:1"),
    used(forced(case(WITH_DIGEST, "x:1")), "x:1"),
    used(case(&[("L/x:1", "A"), ("L/y:1", "B")], "y:1"), "x:1"),
];

/// The result of a removal.
#[derive(Debug, PartialEq, Eq)]
struct Removal {
    /// The lines of the output, or the text of the error.
    output: Result<Vec<String>, String>,
    /// The names that are left.
    left: BTreeSet<String>,
}

struct Bench {
    dockerd: Dockerd,
    docker: Docker,
    images: [BuiltImage; 2],
}

impl Bench {
    async fn set_up() -> Self {
        let dockerd = Dockerd::start().await;
        let namespace = dockerd.namespace();
        namespace
            .create_lease(NewLease::new("content"))
            .await
            .unwrap();
        // The lease holds the content, so that a case only creates records.
        let leased = namespace.with_lease("content");
        let build = async |seed: &str| {
            let built = image("docker.io/library/passing:1")
                .layers([Layer::named(seed, 500)])
                .config_labels(Labels::new())
                .unpack("native")
                .build(&leased)
                .await
                .unwrap();
            namespace
                .delete_image(built.name(), Deletion::Sync)
                .await
                .unwrap();
            built
        };
        let images = [build("A").await, build("B").await];
        let address = dockerd.address();
        let docker = Docker::connect_with_unix(&address, 60, bollard::API_DEFAULT_VERSION)
            .unwrap()
            .negotiate_version()
            .await
            .unwrap();
        Self {
            dockerd,
            docker,
            images,
        }
    }

    /// Replaces the placeholders of a name.
    fn text(&self, template: &str) -> String {
        let mut text = template.to_owned();
        for (target, image) in ["A", "B"].iter().zip(&self.images) {
            let digest = &image.target.digest;
            text = text
                .replace(&format!("<{target}>"), &digest.to_string())
                .replace(&format!("<{target}:12>"), &digest.hex()[..12]);
        }
        match text.strip_prefix("L/") {
            Some(rest) => format!("docker.io/library/{rest}"),
            None => text,
        }
    }

    /// Creates the records and the container of a case. Returns the container's ID.
    async fn begin(&self, case: &Case) -> Option<String> {
        let namespace = self.dockerd.namespace();
        for (name, target) in case.images {
            let image = &self.images[usize::from(*target == "B")];
            let (name, none) = (self.text(name), Labels::new());
            namespace
                .create_image(&name, &image.target, &none)
                .await
                .unwrap();
        }
        let image = self.text(case.container?);
        let body = ContainerCreateBody {
            image: Some(image),
            cmd: Some(vec!["sleep".to_owned()]),
            ..ContainerCreateBody::default()
        };
        let options = None::<CreateContainerOptions>;
        let created = self.docker.create_container(options, body).await.unwrap();
        Some(created.id)
    }

    /// Removes the container and the records. Returns the names of the records.
    async fn end(&self, container: Option<&str>) -> BTreeSet<String> {
        let namespace = self.dockerd.namespace();
        if let Some(id) = container {
            let options = None::<RemoveContainerOptions>;
            self.docker.remove_container(id, options).await.unwrap();
        }
        let left = namespace.images().await.unwrap();
        for name in left.keys() {
            let deleted: Result<_, Status> = namespace.delete_image(name, Deletion::Async).await;
            deleted.unwrap();
        }
        left.into_keys().collect()
    }

    async fn by_docker(&self, case: &Case) -> Removal {
        let container = self.begin(case).await;
        let options = RemoveImageOptions {
            force: case.force,
            ..RemoveImageOptions::default()
        };
        let name = self.text(case.name);
        let output = match self.docker.remove_image(&name, Some(options), None).await {
            Ok(items) => Ok(items
                .into_iter()
                .map(|item| match (item.untagged, item.deleted) {
                    (Some(name), _) => format!("Untagged: {name}"),
                    (None, deleted) => format!("Deleted: {}", deleted.unwrap()),
                })
                .collect()),
            Err(ApiError::DockerResponseServerError { message, .. }) => {
                Err(without_container(&message, container.as_deref()))
            }
            Err(error) => panic!("{name}: {error}"),
        };
        let left = self.end(container.as_deref()).await;
        Removal { output, left }
    }

    async fn by_reclaim(&self, case: &Case) -> Removal {
        let container = self.begin(case).await;
        let mut command = Command::new(env!("CARGO_BIN_EXE_reclaim"));
        command
            .env_clear()
            .env("RECLAIM_AUDIT_DIR", "/dev/null")
            .args(["image", "rm", "--grace", "0s", "--namespace", "moby"]);
        command.args(["--address", self.dockerd.containerd().address()]);
        command.args(case.force.then_some("--force"));
        let ended = command.arg(self.text(case.name)).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        // A successful removal may print on stderr what leases hold.
        let output = if ended.status.success() {
            Ok(text(ended.stdout).lines().map(str::to_owned).collect())
        } else {
            let stderr = text(ended.stderr);
            let error = stderr.trim_end().strip_prefix("error: ").unwrap();
            Err(without_container(error, container.as_deref()))
        };
        let left = self.end(container.as_deref()).await;
        Removal { output, left }
    }
}

/// Replaces the container's ID, because each removal has its own container.
fn without_container(text: &str, container: Option<&str>) -> String {
    match container {
        Some(id) => text.replace(&id[..12], "CONTAINER"),
        None => text.to_owned(),
    }
}

/// What is removed, what is left and every text are the same.
#[tokio::test]
async fn removes_what_docker_removes() {
    let bench = Bench::set_up().await;
    for case in CASES {
        let by_docker = bench.by_docker(case).await;
        let by_reclaim = bench.by_reclaim(case).await;
        let Case {
            images,
            name,
            force,
            container,
        } = case;
        assert_eq!(
            by_reclaim, by_docker,
            "{name} of {images:?}, {force}, {container:?}"
        );
    }
}

/// Docker removes the image of a container here. Reclaim keeps it without a name.
#[tokio::test]
async fn keeps_an_image_that_a_container_uses() {
    let bench = Bench::set_up().await;
    let by_id = used(forced(case(&[("L/x:1", "A")], "<A>")), "x:1");
    assert_eq!(bench.by_docker(&by_id).await.left, BTreeSet::new());
    let by_reclaim = bench.by_reclaim(&by_id).await;
    assert_eq!(by_reclaim.left, [bench.text("moby-dangling@<A>")].into());
    assert_eq!(by_reclaim.output, Ok(vec!["Untagged: x:1".to_owned()]));
}
