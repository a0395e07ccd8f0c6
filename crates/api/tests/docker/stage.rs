//! A containerd in memory with images of any shape, and Docker's API for them.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use http::{Request, StatusCode};
use reclaim_api::docker::{DockerApi, DockerOptions};
use reclaim_engine::{
    CancellationToken, Container, Containerd, DockerContainers, Engine, InMemoryContainers,
    RunOptions,
};
use reclaim_fake::api::services::v1::Image as Record;
use reclaim_fake::api::types::Descriptor;
use reclaim_fake::{Fake, Labels};
use serde_json::{Value, json};
use tower::ServiceExt;

pub(crate) const NAMESPACE: &str = "moby";
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// The type of the statement of [`Stage::attestation`].
pub(crate) const PROVENANCE: &str = "https://slsa.dev/provenance/v1";

pub(crate) struct Stage {
    pub(crate) fake: Fake,
    pub(crate) containers: Arc<InMemoryContainers>,
    router: Router,
}

/// A status and a body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn done(self) -> Value {
        assert_eq!(self.status, 200, "{self:#?}");
        self.body
    }

    /// Returns the error's text.
    pub(crate) fn refused(&self, status: u16) -> &str {
        assert_eq!(self.status, status, "{self:#?}");
        self.body["message"].as_str().unwrap()
    }
}

impl Stage {
    pub(crate) fn set() -> Self {
        Self::beside(None)
    }

    /// With a Docker Engine whose containers keep their images.
    pub(crate) fn beside(docker: Option<Arc<DockerContainers>>) -> Self {
        let fake = Fake::new("2.1.9");
        fake.change(|state| drop(state.namespace(NAMESPACE).clone()));
        let containers = Arc::new(InMemoryContainers::new());
        let engine = Engine::new(Containerd::from_channel(fake.channel()))
            .with_containers(Arc::clone(&containers) as _);
        let engine = match &docker {
            Some(docker) => engine.with_containers(Arc::clone(docker) as _),
            None => engine,
        };
        let options = DockerOptions {
            namespace: NAMESPACE.parse().unwrap(),
            run: RunOptions::default(),
            cancel: CancellationToken::new(),
            docker,
        };
        Self {
            fake,
            containers,
            router: DockerApi::new(Arc::new(engine), options).router(),
        }
    }

    pub(crate) async fn ask(&self, method: &str, path: &str) -> Answer {
        let (status, body) = self.send(method, path).await;
        let body = serde_json::from_slice(&body).unwrap();
        Answer { status, body }
    }

    async fn send(&self, method: &str, path: &str) -> (StatusCode, Bytes) {
        let request = Request::builder().method(method).uri(path);
        let request = request.body(Body::empty()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        (status, body)
    }

    /// Returns the values of a body that has one on each line.
    pub(crate) async fn lines(&self, path: &str) -> Vec<Value> {
        let (_, body) = self.send("GET", path).await;
        let lines = body
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty());
        lines
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect()
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        self.ask("GET", path).await.done()
    }

    /// Stores a document, with labels for the digests that it names. Returns its descriptor.
    pub(crate) fn document(&self, media_type: &str, document: &Value) -> Value {
        let mut children = Vec::new();
        for list in ["manifests", "layers"] {
            children.extend(document[list].as_array().into_iter().flatten());
        }
        if document["config"]["digest"].is_string() {
            children.push(&document["config"]);
        }
        let labels = children.iter().enumerate().map(|(number, child)| {
            let digest = child["digest"].as_str().unwrap().to_owned();
            (format!("containerd.io/gc.ref.content.{number}"), digest)
        });
        let labels: Labels = labels.collect();
        self.blob(media_type, document.to_string().as_bytes(), labels)
    }

    /// Stores a blob. Returns its descriptor.
    pub(crate) fn blob(&self, media_type: &str, body: &[u8], labels: Labels) -> Value {
        let put =
            |state: &mut reclaim_fake::State| state.put_blob(NAMESPACE, body.to_vec(), labels);
        let digest = self.fake.change(put);
        json!({"mediaType": media_type, "digest": digest, "size": body.len()})
    }

    /// Stores the image of a platform such as `linux/arm64`, with one layer. Returns its descriptor,
    /// as an index has it.
    pub(crate) fn platform(&self, platform: &str) -> Value {
        let (os, architecture) = platform.split_once('/').unwrap();
        let layer = self.blob(LAYER, platform.as_bytes(), Labels::new());
        let config = json!({
            "os": os,
            "architecture": architecture,
            "created": "2026-01-02T03:04:05.120Z",
            "config": {"Labels": {"platform": platform}, "Cmd": ["x"], "Hostname": "builder"},
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
        });
        let config = self.document(CONFIG, &config);
        let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config,
                              "layers": [layer]});
        let mut manifest = self.document(MANIFEST, &manifest);
        manifest["platform"] = json!({"os": os, "architecture": architecture});
        manifest
    }

    /// Returns the descriptor of a platform that is not there.
    pub(crate) fn absent(platform: &str) -> Value {
        let (os, architecture) = platform.split_once('/').unwrap();
        let digest = format!("sha256:{}", "7".repeat(64));
        json!({"mediaType": MANIFEST, "digest": digest, "size": 500,
               "platform": {"os": os, "architecture": architecture}})
    }

    /// Stores an attestation of a manifest, as `BuildKit` does.
    pub(crate) fn attestation(&self, manifest: &Value) -> Value {
        let statement = json!({"predicateType": PROVENANCE, "subject": [manifest["digest"]]});
        let mut layer = self.document("application/vnd.in-toto+json", &statement);
        layer["annotations"] = json!({"in-toto.io/predicate-type": PROVENANCE});
        let config = json!({"architecture": "unknown", "os": "unknown", "config": {},
                            "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]}});
        let config = self.document(CONFIG, &config);
        let document = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config,
                              "layers": [layer]});
        let mut attestation = self.document(MANIFEST, &document);
        attestation["platform"] = json!({"os": "unknown", "architecture": "unknown"});
        attestation["annotations"] = json!({
            "vnd.docker.reference.digest": manifest["digest"],
            "vnd.docker.reference.type": "attestation-manifest",
        });
        attestation
    }

    /// Stores an index of manifests under a name. Returns its digest.
    pub(crate) fn index(&self, name: &str, manifests: &[&Value]) -> String {
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
        let target = self.document(INDEX, &index);
        self.record(name, &target)
    }

    /// Creates a record. Returns the digest of its target.
    pub(crate) fn record(&self, name: &str, target: &Value) -> String {
        let digest = target["digest"].as_str().unwrap().to_owned();
        let name = match name.strip_prefix("moby-dangling@") {
            Some(_) => format!("moby-dangling@{digest}"),
            None if name.split('/').next().unwrap().contains('.') => name.to_owned(),
            None => format!("docker.io/library/{name}"),
        };
        let record = Record {
            name,
            target: Some(Descriptor {
                media_type: target["mediaType"].as_str().unwrap().to_owned(),
                digest: digest.clone(),
                size: target["size"].as_i64().unwrap(),
                ..Descriptor::default()
            }),
            ..Record::default()
        };
        let now = self.fake.now();
        self.fake
            .change(|state| state.put_image(NAMESPACE, record, now));
        digest
    }

    /// Registers a container, as a Docker Engine reports it.
    pub(crate) fn container(&self, container: Container) {
        let namespace = NAMESPACE.parse().unwrap();
        self.containers.upsert(&namespace, container);
    }
}

/// Encodes the parameter `platform`.
pub(crate) fn platform(text: &str) -> String {
    let json = match text.split('/').collect::<Vec<_>>()[..] {
        [os, architecture] => json!({"os": os, "architecture": architecture}).to_string(),
        _ => text.to_owned(),
    };
    let encoded: String = form_urlencoded::byte_serialize(json.as_bytes()).collect();
    format!("platform={encoded}")
}
