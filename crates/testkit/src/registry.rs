//! A local registry, for tests that pull images.
//!
//! It serves the part of the distribution API that a pull needs, over plain HTTP, which clients of
//! containerd accept from a loopback address.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

use crate::image::{BuiltImage, ImageBuilder, host_platform, image};

/// A local registry. Dropping it stops it.
#[derive(Debug)]
pub struct Registry {
    address: String,
    stored: Arc<Mutex<Stored>>,
    listener: JoinHandle<()>,
}

/// The content of the registry.
#[derive(Debug, Default)]
struct Stored {
    /// Media type and bytes by digest.
    blobs: BTreeMap<String, (String, Bytes)>,
    /// Digests by repository and tag, such as `team/app:1`.
    tags: BTreeMap<String, String>,
}

impl Registry {
    /// Starts an empty registry.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a loopback address can be bound");
        let address = listener.local_addr().expect("it was just bound");
        let stored = Arc::<Mutex<Stored>>::default();
        Self {
            address: address.to_string(),
            listener: tokio::spawn(listen(listener, Arc::clone(&stored))),
            stored,
        }
    }

    /// Returns the full name of an image such as `team/app:1`, by which it is pulled.
    pub fn name(&self, image: &str) -> String {
        format!("{}/{image}", self.address)
    }

    /// Stores an image under `name`, and moves the tag if it exists. `build` adds to an empty image
    /// of this machine's platform. Returns the image as a pull stores it.
    pub fn put(&self, name: &str, build: impl FnOnce(ImageBuilder) -> ImageBuilder) -> BuiltImage {
        let image = image(&self.name(name)).platform(&host_platform());
        let (pulled, blobs) = build(image).rendered();
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        for blob in blobs {
            let digest = blob.descriptor.digest.to_string();
            let content = (blob.descriptor.media_type, Bytes::from(blob.bytes));
            stored.blobs.insert(digest, content);
        }
        let target = pulled.target.digest.to_string();
        stored.tags.insert(name.to_owned(), target);
        pulled
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

impl Stored {
    /// Returns digest, media type and bytes of the manifest or blob at a path.
    fn find(&self, path: &str) -> Option<(String, String, Bytes)> {
        let path = path.strip_prefix("/v2/")?;
        let digest = if let Some((repository, reference)) = path.split_once("/manifests/") {
            let tag = self.tags.get(&format!("{repository}:{reference}"));
            tag.map_or(reference, String::as_str)
        } else {
            path.split_once("/blobs/")?.1
        };
        let (media_type, bytes) = self.blobs.get(digest)?;
        Some((digest.to_owned(), media_type.clone(), bytes.clone()))
    }
}

/// Serves clients until it is dropped, which closes their connections.
async fn listen(listener: TcpListener, stored: Arc<Mutex<Stored>>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((client, _)) = listener.accept() => {
                let stored = Arc::clone(&stored);
                let service = service_fn(move |request: Request<Incoming>| {
                    let answer = answer(&request, &stored);
                    async move { Ok::<_, Infallible>(answer) }
                });
                let serving = http1::Builder::new().serve_connection(TokioIo::new(client), service);
                // A client may disconnect at any time.
                connections.spawn(async move { drop(serving.await) });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

fn answer(request: &Request<Incoming>, stored: &Mutex<Stored>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let stored = stored.lock().unwrap_or_else(PoisonError::into_inner);
    let builder = Response::builder();
    let response = match stored.find(path) {
        Some((digest, media_type, bytes)) => {
            let builder = builder
                .header(header::CONTENT_TYPE, media_type)
                .header(header::CONTENT_LENGTH, bytes.len())
                .header("docker-content-digest", digest);
            let is_head = request.method() == Method::HEAD;
            builder.body(if is_head { Bytes::new() } else { bytes }.into())
        }
        None if path == "/v2/" => builder.body(Full::default()),
        None => builder.status(StatusCode::NOT_FOUND).body(Full::default()),
    };
    response.expect("media types and digests are valid headers")
}
