//! A registry on this machine, for tests in which images are really pulled.
//!
//! It answers the part of the distribution API that a pull asks for, over plain HTTP on a port of
//! its own; clients of containerd take that from an address of this machine.

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

/// A registry that ends when it is dropped.
#[derive(Debug)]
pub struct Registry {
    address: String,
    shelves: Arc<Mutex<Shelves>>,
    listener: JoinHandle<()>,
}

/// What there is to pull.
#[derive(Debug, Default)]
struct Shelves {
    /// By digest: what it is, and its bytes.
    blobs: BTreeMap<String, (String, Bytes)>,
    /// By repository and tag, `team/app:1`: the digest.
    tags: BTreeMap<String, String>,
}

impl Registry {
    /// Starts an empty one.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("this machine has an address of its own");
        let address = listener.local_addr().expect("it was just bound");
        let shelves = Arc::<Mutex<Shelves>>::default();
        Self {
            address: address.to_string(),
            listener: tokio::spawn(listen(listener, Arc::clone(&shelves))),
            shelves,
        }
    }

    /// Returns the name by which an image of the registry is pulled, of one such as `team/app:1`.
    pub fn name(&self, image: &str) -> String {
        format!("{}/{image}", self.address)
    }

    /// Puts an image there, as `build` makes it of one of that name without anything, for this
    /// machine, and takes the tag over if it was another's. Returns the image as it will be once it is pulled.
    pub fn put(&self, name: &str, build: impl FnOnce(ImageBuilder) -> ImageBuilder) -> BuiltImage {
        let image = image(&self.name(name)).platform(&host_platform());
        let (put, blobs) = build(image).rendered();
        let mut shelves = self.shelves.lock().unwrap_or_else(PoisonError::into_inner);
        for blob in blobs {
            let digest = blob.descriptor.digest.to_string();
            let bytes = Bytes::from(blob.bytes);
            let known = (blob.descriptor.media_type, bytes);
            shelves.blobs.insert(digest, known);
        }
        let target = put.target.digest.to_string();
        shelves.tags.insert(name.to_owned(), target);
        put
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

impl Shelves {
    /// Finds what a path asks for: its digest, what it is, and its bytes.
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

/// Serves clients until it is dropped, and they with it.
async fn listen(listener: TcpListener, shelves: Arc<Mutex<Shelves>>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((client, _)) = listener.accept() => {
                let shelves = Arc::clone(&shelves);
                let service = service_fn(move |request: Request<Incoming>| {
                    let answer = answer(&request, &shelves);
                    async move { Ok::<_, Infallible>(answer) }
                });
                let serving = http1::Builder::new().serve_connection(TokioIo::new(client), service);
                // A client that goes away in the middle is no matter of the test's.
                connections.spawn(async move { drop(serving.await) });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

fn answer(request: &Request<Incoming>, shelves: &Mutex<Shelves>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let shelves = shelves.lock().unwrap_or_else(PoisonError::into_inner);
    let response = Response::builder();
    let response = match shelves.find(path) {
        Some((digest, media_type, bytes)) => {
            let response = response
                .header(header::CONTENT_TYPE, media_type)
                .header(header::CONTENT_LENGTH, bytes.len())
                .header("docker-content-digest", digest);
            let is_head = request.method() == Method::HEAD;
            response.body(if is_head { Bytes::new() } else { bytes }.into())
        }
        None if path == "/v2/" => response.body(Full::default()),
        None => response.status(StatusCode::NOT_FOUND).body(Full::default()),
    };
    response.expect("media types and digests are headers")
}
