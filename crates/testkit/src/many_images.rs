//! A read-only server that lists very many images, as a containerd would.
//!
//! A real containerd takes minutes and gigabytes to store them, and a test of scale only lists.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use bytes::Bytes;
use containerd_client::services::v1::snapshots::{self, ListSnapshotsResponse, UsageResponse};
use containerd_client::services::v1::{
    self as services, ListContainersResponse, ListContentResponse, ListImagesResponse,
    ListNamespacesResponse, ListResponse, ListStatusesResponse, Plugin, PluginsResponse,
    ReadContentRequest, ReadContentResponse, VersionResponse,
};
use containerd_client::types::Descriptor as DescriptorMessage;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Collected, Empty, Full};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use reclaim_model::Digest;
use serde_json::json;
use tempfile::TempDir;
use tokio::net::UnixListener;
use tonic::Code;

use crate::namespace::digest_of;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// The only snapshotter.
const SNAPSHOTTER: &str = "overlayfs";

/// The layers of each manifest.
const LAYERS: usize = 2;

/// The items in one message of a streamed list, as in containerd.
const PER_MESSAGE: usize = 100;

/// The bytes before a gRPC message: whether it is compressed, and its length.
const FRAME: usize = 5;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A server with very many images in one namespace. It runs until the process ends, on its own
/// thread, so that its time does not count as its client's.
#[derive(Debug)]
pub struct ManyImages {
    socket: PathBuf,
    _directory: TempDir,
}

impl ManyImages {
    /// The only namespace.
    pub const NAMESPACE: &str = "default";

    /// Starts a server with `images` records that point at `manifests` manifests in turn. No
    /// container uses any of them.
    pub fn start(images: usize, manifests: usize) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("reclaim-many-")
            .tempdir_in("/tmp")
            .expect("a directory can be created in /tmp");
        let socket = directory.path().join("c.sock");
        let listener = std::os::unix::net::UnixListener::bind(&socket)
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .expect("a new directory is writable");
        let answers = Arc::new(Answers::new(images, manifests));
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime can be created");
            runtime.block_on(serve(listener, answers));
        });
        Self {
            socket,
            _directory: directory,
        }
    }

    /// Returns the address of the socket, as for `--address` and `CONTAINERD_ADDRESS`.
    pub fn address(&self) -> &str {
        let path = self.socket.to_str();
        path.expect("the path of the socket is ASCII")
    }
}

async fn serve(listener: std::os::unix::net::UnixListener, answers: Arc<Answers>) {
    let listener = UnixListener::from_std(listener).expect("the socket can be registered");
    while let Ok((client, _)) = listener.accept().await {
        let answers = Arc::clone(&answers);
        let service = service_fn(move |request| {
            let answers = Arc::clone(&answers);
            async move { Ok::<_, Infallible>(answers.answer(request).await) }
        });
        let serving = http2::Builder::new(TokioExecutor::new());
        tokio::spawn(serving.serve_connection(TokioIo::new(client), service));
    }
}

/// The encoded responses: every request of a method costs the same.
struct Answers {
    /// Constant responses, by the end of the method's path.
    fixed: BTreeMap<&'static str, Bytes>,
    documents: BTreeMap<String, Bytes>,
}

impl Answers {
    fn new(images: usize, manifests: usize) -> Self {
        let mut store = Store::default();
        let targets: Vec<DescriptorMessage> =
            (0..manifests).map(|number| store.add(number)).collect();
        let records = (0..images).map(|number| services::Image {
            name: format!("registry.example/team-{}/app-{number}:1", number % 100),
            target: Some(targets[number % manifests].clone()),
            ..services::Image::default()
        });
        let images = ListImagesResponse {
            images: records.collect(),
        };
        let namespaces = ListNamespacesResponse {
            namespaces: vec![services::Namespace {
                name: ManyImages::NAMESPACE.to_owned(),
                ..services::Namespace::default()
            }],
        };
        let plugins = PluginsResponse {
            plugins: vec![Plugin {
                r#type: "io.containerd.snapshotter.v1".to_owned(),
                id: SNAPSHOTTER.to_owned(),
                ..Plugin::default()
            }],
        };
        let version = VersionResponse {
            version: "2.1.0".to_owned(),
            ..VersionResponse::default()
        };
        let blobs = messages(&store.blobs, |info| ListContentResponse { info });
        let snapshots = messages(&store.snapshots, |info| ListSnapshotsResponse { info });
        let fixed = [
            ("Version/Version", framed([&version])),
            ("Introspection/Plugins", framed([&plugins])),
            ("Namespaces/List", framed([&namespaces])),
            ("Images/List", framed([&images])),
            ("Leases/List", framed([&ListResponse::default()])),
            (
                "Containers/ListStream",
                framed::<ListContainersResponse>([]),
            ),
            ("Content/List", framed(&blobs)),
            (
                "Content/ListStatuses",
                framed([&ListStatusesResponse::default()]),
            ),
            ("Snapshots/List", framed(&snapshots)),
            (
                "Snapshots/Usage",
                framed([&UsageResponse { size: 1, inodes: 1 }]),
            ),
        ];
        Self {
            fixed: fixed.into(),
            documents: store.documents,
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        // A client fails if the response ends before its request.
        let body = request
            .into_body()
            .collect()
            .await
            .map_or_else(|_| Bytes::new(), Collected::to_bytes);
        let fixed = self.fixed.iter().find(|(end, _)| path.ends_with(**end));
        let answer = match fixed {
            Some((_, messages)) => Ok(messages.clone()),
            None if path.ends_with("Content/Read") => self.document(&body),
            None => Err(Code::Unimplemented),
        };
        response(answer)
    }

    fn document(&self, request: &Bytes) -> Result<Bytes, Code> {
        let message = ReadContentRequest::decode(request.slice(FRAME..));
        let digest = message.map_err(|_| Code::InvalidArgument)?.digest;
        self.documents.get(&digest).cloned().ok_or(Code::NotFound)
    }
}

/// The content and snapshots of the images.
#[derive(Default)]
struct Store {
    blobs: Vec<services::Info>,
    snapshots: Vec<snapshots::Info>,
    documents: BTreeMap<String, Bytes>,
}

impl Store {
    /// Adds a manifest with its config, layers and snapshots, and returns its descriptor.
    fn add(&mut self, number: usize) -> DescriptorMessage {
        let layers: Vec<Digest> = (0..LAYERS)
            .map(|depth| digest_of(format!("{number}/{depth}").as_bytes()))
            .collect();
        for layer in &layers {
            self.add_blob(layer, 1000, &[]);
        }
        // Chain IDs, by the OCI image specification.
        let mut chain: Option<String> = None;
        for layer in &layers {
            let next = match &chain {
                None => layer.to_string(),
                Some(below) => digest_of(format!("{below} {layer}").as_bytes()).to_string(),
            };
            self.snapshots.push(snapshots::Info {
                name: next.clone(),
                parent: chain.unwrap_or_default(),
                kind: snapshots::Kind::Committed.into(),
                ..snapshots::Info::default()
            });
            chain = Some(next);
        }
        let diff_ids: Vec<String> = layers.iter().map(ToString::to_string).collect();
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "config": {"Labels": {"number": number.to_string()}},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let top = (
            format!("containerd.io/gc.ref.snapshot.{SNAPSHOTTER}"),
            chain.unwrap_or_default(),
        );
        let (config, config_size) = self.add_document(&config, &[top]);
        let named = layers
            .iter()
            .map(|layer| json!({"mediaType": LAYER, "digest": layer.to_string(), "size": 1000}));
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": CONFIG, "digest": config, "size": config_size},
            "layers": named.collect::<Vec<_>>(),
        });
        let children = std::iter::once(config).chain(diff_ids);
        let labels = children
            .enumerate()
            .map(|(index, child)| (format!("containerd.io/gc.ref.content.{index}"), child));
        let (digest, size) = self.add_document(&manifest, &labels.collect::<Vec<_>>());
        DescriptorMessage {
            media_type: MANIFEST.to_owned(),
            digest,
            size,
            ..DescriptorMessage::default()
        }
    }

    fn add_document(
        &mut self,
        document: &serde_json::Value,
        labels: &[(String, String)],
    ) -> (String, i64) {
        let data = document.to_string().into_bytes();
        let digest = digest_of(&data);
        let size = i64::try_from(data.len()).expect("a document is short");
        self.add_blob(&digest, size, labels);
        let part = ReadContentResponse { offset: 0, data };
        self.documents.insert(digest.to_string(), framed([&part]));
        (digest.to_string(), size)
    }

    fn add_blob(&mut self, digest: &Digest, size: i64, labels: &[(String, String)]) {
        self.blobs.push(services::Info {
            digest: digest.to_string(),
            size,
            labels: labels.iter().cloned().collect(),
            ..services::Info::default()
        });
    }
}

/// Divides a list into the messages of a stream.
fn messages<T: Clone, M>(list: &[T], message: impl Fn(Vec<T>) -> M) -> Vec<M> {
    list.chunks(PER_MESSAGE)
        .map(|chunk| message(chunk.to_vec()))
        .collect()
}

/// Encodes and concatenates messages, as gRPC sends them.
fn framed<'m, M: Message + 'm>(messages: impl IntoIterator<Item = &'m M>) -> Bytes {
    let mut framed = Vec::new();
    for message in messages {
        let length = u32::try_from(message.encoded_len()).expect("a message has a length");
        framed.push(0);
        framed.extend(length.to_be_bytes());
        framed.extend(message.encode_to_vec());
    }
    framed.into()
}

fn response(answer: Result<Bytes, Code>) -> Response<Body> {
    let mut status = HeaderMap::new();
    let code = answer.as_ref().err().map_or(Code::Ok, |code| *code);
    status.insert("grpc-status", HeaderValue::from(code as i32));
    let mut response = if let Ok(messages) = answer {
        let trailers = std::future::ready(Some(Ok(status)));
        Response::new(Full::new(messages).with_trailers(trailers).boxed_unsync())
    } else {
        let mut response = Response::new(Empty::new().boxed_unsync());
        *response.headers_mut() = status;
        response
    };
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("content-type", grpc);
    response
}
