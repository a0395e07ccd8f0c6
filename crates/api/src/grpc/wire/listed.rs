//! Lists of images and of projects.

use reclaim_model::{ImageList, ImageSize, ListedImage, ProjectUsage};

use super::{moment, size};
use crate::grpc::proto;
use proto::listed_image::Verdict;

impl From<ImageSize> for proto::ImageSize {
    fn from(size: ImageSize) -> Self {
        Self {
            content: size.content_bytes,
            unpacked: size.unpacked_bytes,
            shared: size.shared_bytes,
        }
    }
}

impl From<&ImageList> for proto::ListImagesResponse {
    fn from(list: &ImageList) -> Self {
        Self {
            observed: Some(moment(list.observed_at)),
            images: list.images.iter().map(Into::into).collect(),
            warnings: list.warnings.clone(),
        }
    }
}

impl From<&ListedImage> for proto::ListedImage {
    fn from(image: &ListedImage) -> Self {
        Self {
            name: image.name.clone(),
            target: image.target.to_string(),
            created: image.created.map(moment),
            size: Some(image.size.into()),
            pin: image
                .pinned
                .map_or(proto::Pin::Unspecified, Into::into)
                .into(),
            verdict: Some(match image.verdict {
                Ok(reason) => Verdict::Remove(proto::RemoveReason::from(reason).into()),
                Err(reason) => Verdict::Keep(proto::KeepReason::from(reason).into()),
            }),
        }
    }
}

impl From<&ProjectUsage> for proto::ListedProject {
    fn from(usage: &ProjectUsage) -> Self {
        let services = usage.services.iter().map(|name| {
            let image = usage.service_images.get(name).cloned().unwrap_or_default();
            (name.clone(), proto::project_images::Service { image })
        });
        let images = usage.images.iter();
        let images = images.map(|image| proto::ListedProjectImage {
            name: image.name.clone(),
            target: image.target.to_string(),
            services: image.services.iter().cloned().collect(),
            size: Some(image.size.into()),
        });
        Self {
            project: usage.project.to_string(),
            services: services.collect(),
            containers: size(usage.containers),
            images: images.collect(),
            rmi_local: Some(usage.rmi_local.into()),
        }
    }
}
