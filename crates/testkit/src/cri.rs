//! A client of containerd's CRI plugin, for the requests of the kubelet.
//!
//! The messages are defined here, with only the fields that are used. The numbers are those of
//! Kubernetes' CRI API, `runtime.v1`.

mod pods;

use std::collections::BTreeSet;

use http::uri::PathAndQuery;
use prost::Message;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

pub use self::pods::Pod;

/// The CRI plugin of one containerd.
#[derive(Debug, Clone)]
pub struct Cri {
    channel: Channel,
}

/// An image as the CRI plugin lists it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CriImage {
    /// The ID: the digest of the config.
    pub id: String,
    /// The names with a tag.
    pub tags: BTreeSet<String>,
    /// The names with a digest.
    pub digests: BTreeSet<String>,
    /// The size in bytes.
    pub size: u64,
    /// Whether the kubelet must not collect it.
    pub pinned: bool,
}

impl CriImage {
    /// Returns the names of its image records.
    pub fn records(&self) -> BTreeSet<String> {
        let names = self.tags.iter().chain(&self.digests);
        names.chain([&self.id]).cloned().collect()
    }
}

#[derive(Clone, PartialEq, Message)]
struct ImageSpec {
    #[prost(string, tag = "1")]
    image: String,
}

#[derive(Clone, PartialEq, Message)]
struct ImageRequest {
    #[prost(message, optional, tag = "1")]
    image: Option<ImageSpec>,
}

#[derive(Clone, PartialEq, Message)]
struct ImageMessage {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, repeated, tag = "2")]
    repo_tags: Vec<String>,
    #[prost(string, repeated, tag = "3")]
    repo_digests: Vec<String>,
    #[prost(uint64, tag = "4")]
    size: u64,
    #[prost(bool, tag = "8")]
    pinned: bool,
}

#[derive(Clone, PartialEq, Message)]
struct ListImagesResponse {
    #[prost(message, repeated, tag = "1")]
    images: Vec<ImageMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct ImageStatusResponse {
    #[prost(message, optional, tag = "1")]
    image: Option<ImageMessage>,
}

#[derive(Clone, PartialEq, Message)]
struct PullImageResponse {
    #[prost(string, tag = "1")]
    image_ref: String,
}

#[derive(Clone, PartialEq, Message)]
struct Empty {}

impl Cri {
    pub(crate) fn new(channel: Channel) -> Self {
        Self { channel }
    }

    /// Returns all images, sorted by ID.
    pub async fn images(&self) -> Result<Vec<CriImage>, Status> {
        let path = "/runtime.v1.ImageService/ListImages";
        let answer: ListImagesResponse = self.call(path, Empty {}).await?;
        let mut images: Vec<CriImage> = answer.images.into_iter().map(image).collect();
        images.sort();
        Ok(images)
    }

    /// Returns the names of all image records, including the IDs.
    pub async fn records(&self) -> Result<BTreeSet<String>, Status> {
        let images = self.images().await?;
        Ok(images.iter().flat_map(CriImage::records).collect())
    }

    /// Returns an image by a name or its ID.
    pub async fn image(&self, name: &str) -> Result<Option<CriImage>, Status> {
        let path = "/runtime.v1.ImageService/ImageStatus";
        let answer: ImageStatusResponse = self.call(path, request(name)).await?;
        Ok(answer.image.map(image))
    }

    /// Pulls an image as the kubelet does. Returns its ID.
    pub async fn pull(&self, name: &str) -> Result<String, Status> {
        let path = "/runtime.v1.ImageService/PullImage";
        let answer: PullImageResponse = self.call(path, request(name)).await?;
        Ok(answer.image_ref)
    }

    /// Removes an image with all its names, as the kubelet does when it collects.
    pub async fn remove(&self, name: &str) -> Result<(), Status> {
        let path = "/runtime.v1.ImageService/RemoveImage";
        let Empty {} = self.call(path, request(name)).await?;
        Ok(())
    }

    async fn call<Q, A>(&self, path: &'static str, request: Q) -> Result<A, Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let mut client = tonic::client::Grpc::new(self.channel.clone());
        client
            .ready()
            .await
            .map_err(|error| Status::new(Code::Unavailable, error.to_string()))?;
        let path = PathAndQuery::from_static(path);
        let codec = ProstCodec::<Q, A>::default();
        let answer = client.unary(Request::new(request), path, codec).await?;
        Ok(answer.into_inner())
    }
}

fn request(name: &str) -> ImageRequest {
    ImageRequest {
        image: Some(ImageSpec {
            image: name.to_owned(),
        }),
    }
}

fn image(message: ImageMessage) -> CriImage {
    CriImage {
        id: message.id,
        tags: message.repo_tags.into_iter().collect(),
        digests: message.repo_digests.into_iter().collect(),
        size: message.size,
        pinned: message.pinned,
    }
}
