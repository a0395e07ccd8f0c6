//! `docker image rm` and `image rm`, one after the other on the same images.

use std::collections::BTreeSet;
use std::process::Command;

use bollard::Docker;
use bollard::errors::Error as ApiError;
use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{
    CreateContainerOptions, RemoveContainerOptions, RemoveImageOptions,
};
use reclaim_testkit::{BuiltImage, Deletion, Dockerd, Labels, Layer, NewLease, Status, image};

/// What is removed of what. In names `L/` is Docker Hub's library and `<A>` the digest of A.
#[derive(Clone, Copy)]
struct Case {
    images: &'static [(&'static str, &'static str)],
    name: &'static str,
    force: bool,
    /// From what a container is created that never runs.
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

/// What a removal came to.
#[derive(Debug, PartialEq, Eq)]
struct Came {
    /// Docker's lines, or its words of the error.
    said: Result<Vec<String>, String>,
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
        // Held, so that every case begins with records alone.
        let leased = namespace.with_lease("content");
        let build = async |seed: &str| {
            let image = image("docker.io/library/passing:1")
                .layers([Layer::named(seed, 500)])
                .config_labels(Labels::new())
                .unpack("native");
            let built = image.build(&leased).await.unwrap();
            namespace
                .delete_image(built.name(), Deletion::Sync)
                .await
                .unwrap();
            built
        };
        let images = [build("A").await, build("B").await];
        let address = dockerd.address();
        let docker = Docker::connect_with_unix(&address, 60, bollard::API_DEFAULT_VERSION);
        let docker = docker.unwrap().negotiate_version().await.unwrap();
        Self {
            dockerd,
            docker,
            images,
        }
    }

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

    /// Brings about what a case begins with. Returns the container's ID.
    async fn begin(&self, case: &Case) -> Option<String> {
        let namespace = self.dockerd.namespace();
        for (name, target) in case.images {
            let image = &self.images[usize::from(*target == "B")];
            let (name, none) = (self.text(name), Labels::new());
            let made = namespace.create_image(&name, &image.target, &none);
            made.await.unwrap();
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

    async fn by_docker(&self, case: &Case) -> Came {
        let container = self.begin(case).await;
        let options = RemoveImageOptions {
            force: case.force,
            ..RemoveImageOptions::default()
        };
        let name = self.text(case.name);
        let said = match self.docker.remove_image(&name, Some(options), None).await {
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
        Came { said, left }
    }

    async fn by_us(&self, case: &Case) -> Came {
        let container = self.begin(case).await;
        let mut command = Command::new(env!("CARGO_BIN_EXE_reclaim"));
        command
            .env_clear()
            .args(["image", "rm", "--grace", "0s", "--namespace", "moby"]);
        command.args(["--address", self.dockerd.containerd().address()]);
        command.args(case.force.then_some("--force"));
        let output = command.arg(self.text(case.name)).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        // What leases hold is said on stderr, and no failure.
        let said = if output.status.success() {
            Ok(text(output.stdout).lines().map(str::to_owned).collect())
        } else {
            let error = text(output.stderr);
            let error = error.trim_end().strip_prefix("error: ").unwrap();
            Err(without_container(error, container.as_deref()))
        };
        let left = self.end(container.as_deref()).await;
        Came { said, left }
    }
}

/// Each begins with a container of its own.
fn without_container(text: &str, container: Option<&str>) -> String {
    match container {
        Some(id) => text.replace(&id[..12], "CONTAINER"),
        None => text.to_owned(),
    }
}

/// What goes, what stays, and every word should be Docker's.
#[tokio::test]
async fn what_goes_is_what_docker_removes() {
    let bench = Bench::set_up().await;
    for case in CASES {
        let by_docker = bench.by_docker(case).await;
        let by_us = bench.by_us(case).await;
        let Case {
            images,
            name,
            force,
            container,
        } = case;
        assert_eq!(
            by_us, by_docker,
            "{name} of {images:?}, {force}, {container:?}"
        );
    }
}

/// Where Docker takes from a container what it was created from, it should stay without a name.
#[tokio::test]
async fn what_a_container_needs_stays() {
    let bench = Bench::set_up().await;
    let by_id = used(forced(case(&[("L/x:1", "A")], "<A>")), "x:1");
    assert_eq!(bench.by_docker(&by_id).await.left, BTreeSet::new());
    let by_us = bench.by_us(&by_id).await;
    assert_eq!(by_us.left, [bench.text("moby-dangling@<A>")].into());
    assert_eq!(by_us.said, Ok(vec!["Untagged: x:1".to_owned()]));
}
