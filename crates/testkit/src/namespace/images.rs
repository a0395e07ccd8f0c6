//! The image store of one namespace: records from a name to a target.

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

/// What an image record points at, and what manifests and indexes list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Descriptor {
    /// Tells index, manifest, config and layer apart.
    pub media_type: String,
    /// The identity of the bytes.
    pub digest: Digest,
    /// The number of bytes.
    pub size: u64,
}

/// An image record as containerd returns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageRecord {
    /// The key of the record.
    pub name: String,
    /// What the record points at.
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

    /// Creates an image record. containerd does not look whether the target exists.
    pub async fn create_image(
        &self,
        name: &str,
        target: &Descriptor,
        labels: &Labels,
    ) -> Result<(), Status> {
        self.create_image_at(name, target, labels, None).await
    }

    /// Creates an image record that claims to be created at `created`.
    ///
    /// containerd keeps that time from 1.7 on; 1.6 ignores it and takes its own clock's.
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
        let answer = self.image_store().get(request).await?.into_inner();
        record(required(answer.image, "image")?)
    }

    /// Returns all image records by name.
    pub async fn image_records(&self) -> Result<BTreeMap<String, ImageRecord>, Status> {
        let request = self.request(ListImagesRequest::default());
        let answer = self.image_store().list(request).await?.into_inner();
        let records = answer.images.into_iter().map(record);
        records
            .map(|record| record.map(|record| (record.name.clone(), record)))
            .collect()
    }

    /// Returns the name of every image record with the digest it points at.
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
