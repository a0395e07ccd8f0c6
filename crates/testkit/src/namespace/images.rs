//! The image records of a namespace.

use std::collections::BTreeMap;

use containerd_client::services::v1::images_client::ImagesClient;
use containerd_client::services::v1::{
    CreateImageRequest, DeleteImageRequest, GetImageRequest, Image, ListImagesRequest,
    UpdateImageRequest,
};
use containerd_client::types;
use jiff::Timestamp;
use reclaim_model::Digest;
use tonic::Status;
use tonic::transport::Channel;

use super::content::{digest, size};
use super::{Deletion, MESSAGE_LIMIT, NamespaceClient, required, time, wire_labels, wire_time};
use crate::labels::Labels;

/// A descriptor, as in image records, manifests and indexes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Descriptor {
    /// The media type.
    pub media_type: String,
    /// The digest of the bytes.
    pub digest: Digest,
    /// The number of bytes.
    pub size: u64,
}

/// An image record as containerd returns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRecord {
    /// The name, which is the key of the record.
    pub name: String,
    /// The target of the record.
    pub target: Descriptor,
    /// The labels of the record, not those of the image's config.
    pub labels: Labels,
    /// When the record was created.
    pub created_at: Timestamp,
    /// When the record was last changed.
    pub updated_at: Timestamp,
}

impl NamespaceClient {
    fn image_store(&self) -> ImagesClient<Channel> {
        ImagesClient::new(self.channel.clone()).max_decoding_message_size(MESSAGE_LIMIT)
    }

    /// Creates an image record. containerd does not check that the target exists.
    pub async fn create_image(
        &self,
        name: &str,
        target: &Descriptor,
        labels: &Labels,
    ) -> Result<(), Status> {
        self.create_image_at(name, target, labels, None).await
    }

    /// Creates an image record with the creation time `created`.
    ///
    /// containerd keeps that time from 1.7 on; 1.6 uses its own clock.
    pub async fn create_image_at(
        &self,
        name: &str,
        target: &Descriptor,
        labels: &Labels,
        created: Option<Timestamp>,
    ) -> Result<(), Status> {
        let request = CreateImageRequest {
            image: Some(wire_image(name, target, labels)),
            source_date_epoch: created.map(wire_time),
        };
        self.image_store().create(self.request(request)).await?;
        Ok(())
    }

    /// Points an existing image record at another target and replaces its labels.
    pub async fn update_image(
        &self,
        name: &str,
        target: &Descriptor,
        labels: &Labels,
    ) -> Result<(), Status> {
        let request = UpdateImageRequest {
            image: Some(wire_image(name, target, labels)),
            // Without a mask, the whole record is replaced.
            update_mask: None,
            source_date_epoch: None,
        };
        self.image_store().update(self.request(request)).await?;
        Ok(())
    }

    /// Deletes an image record.
    pub async fn delete_image(&self, name: &str, deletion: Deletion) -> Result<(), Status> {
        let request = DeleteImageRequest {
            name: name.to_owned(),
            sync: deletion == Deletion::Sync,
            target: None,
        };
        self.image_store().delete(self.request(request)).await?;
        Ok(())
    }

    /// Returns one image record.
    pub async fn image_record(&self, name: &str) -> Result<ImageRecord, Status> {
        let request = self.request(GetImageRequest {
            name: name.to_owned(),
        });
        let response = self.image_store().get(request).await?.into_inner();
        record(required(response.image, "image")?)
    }

    /// Returns all image records by name.
    pub async fn image_records(&self) -> Result<BTreeMap<String, ImageRecord>, Status> {
        let request = self.request(ListImagesRequest::default());
        let response = self.image_store().list(request).await?.into_inner();
        response
            .images
            .into_iter()
            .map(|image| record(image).map(|record| (record.name.clone(), record)))
            .collect()
    }

    /// Returns the digest of the target of every image record, by name.
    pub async fn images(&self) -> Result<BTreeMap<String, Digest>, Status> {
        let records = self.image_records().await?.into_values();
        Ok(records
            .map(|record| (record.name, record.target.digest))
            .collect())
    }
}

fn wire_image(name: &str, target: &Descriptor, labels: &Labels) -> Image {
    let target = types::Descriptor {
        media_type: target.media_type.clone(),
        digest: target.digest.to_string(),
        size: i64::try_from(target.size).expect("no blob of a test has 2^63 bytes"),
        ..Default::default()
    };
    Image {
        name: name.to_owned(),
        labels: wire_labels(labels),
        target: Some(target),
        ..Default::default()
    }
}

fn record(image: Image) -> Result<ImageRecord, Status> {
    let target = required(image.target, "target")?;
    Ok(ImageRecord {
        name: image.name,
        target: Descriptor {
            digest: digest(&target.digest)?,
            size: size(target.size)?,
            media_type: target.media_type,
        },
        labels: image.labels.into_iter().collect(),
        created_at: time(required(image.created_at, "created_at")?)?,
        updated_at: time(required(image.updated_at, "updated_at")?)?,
    })
}
