//! Lists of images and of projects.

use reclaim_engine::{ImageList, ListedImage};
use reclaim_model::{ImageSize, ProjectImage, ProjectUsage};

use super::enums::known;
use super::{WireError, count, list, moment, parsed, size, timestamp};
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

impl From<proto::ImageSize> for ImageSize {
    fn from(message: proto::ImageSize) -> Self {
        Self {
            content_bytes: message.content,
            unpacked_bytes: message.unpacked,
            shared_bytes: message.shared,
        }
    }
}

fn of_size(message: Option<proto::ImageSize>) -> Result<ImageSize, WireError> {
    Ok(message.ok_or_else(|| WireError::missing("size"))?.into())
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

impl TryFrom<proto::ListImagesResponse> for ImageList {
    type Error = WireError;

    fn try_from(message: proto::ListImagesResponse) -> Result<Self, WireError> {
        let observed = message.observed;
        Ok(Self {
            observed_at: timestamp(observed.ok_or_else(|| WireError::missing("observed"))?)?,
            images: list(message.images)?,
            warnings: message.warnings,
        })
    }
}

impl From<&ListedImage> for proto::ListedImage {
    fn from(image: &ListedImage) -> Self {
        Self {
            name: image.name.clone(),
            target: image.target.to_string(),
            created: image.created.map(moment),
            size: Some(image.size.into()),
            pin: image.pin.map_or(proto::Pin::Unspecified, Into::into).into(),
            verdict: Some(match image.verdict {
                Ok(reason) => Verdict::Remove(proto::RemoveReason::from(reason).into()),
                Err(reason) => Verdict::Keep(proto::KeepReason::from(reason).into()),
            }),
        }
    }
}

impl TryFrom<proto::ListedImage> for ListedImage {
    type Error = WireError;

    fn try_from(message: proto::ListedImage) -> Result<Self, WireError> {
        let verdict = message.verdict;
        let none = i32::from(proto::Pin::Unspecified);
        let pin = Some(message.pin).filter(|it| *it != none);
        let pin = pin.map(|it| known::<proto::Pin, _>("pin", it));
        Ok(Self {
            name: message.name,
            target: parsed("target", &message.target)?,
            created: message.created.map(timestamp).transpose()?,
            size: of_size(message.size)?,
            pin: pin.transpose()?,
            verdict: match verdict.ok_or_else(|| WireError::missing("verdict"))? {
                Verdict::Remove(reason) => Ok(known::<proto::RemoveReason, _>("remove", reason)?),
                Verdict::Keep(reason) => Err(known::<proto::KeepReason, _>("keep", reason)?),
            },
        })
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

impl TryFrom<proto::ListedProject> for ProjectUsage {
    type Error = WireError;

    fn try_from(message: proto::ListedProject) -> Result<Self, WireError> {
        let services = message.services.keys().cloned().collect();
        let named = message.services.into_iter();
        let named = named.filter(|(_, service)| !service.image.is_empty());
        let images = message.images.into_iter().map(|image| {
            Ok(ProjectImage {
                name: image.name,
                target: parsed("target", &image.target)?,
                services: image.services.into_iter().collect(),
                size: of_size(image.size)?,
            })
        });
        let rmi_local = message.rmi_local;
        Ok(Self {
            project: parsed("project", &message.project)?,
            services,
            service_images: named.map(|(name, service)| (name, service.image)).collect(),
            containers: count("containers", message.containers)?,
            images: images.collect::<Result<_, WireError>>()?,
            rmi_local: rmi_local
                .ok_or_else(|| WireError::missing("rmi_local"))?
                .try_into()?,
        })
    }
}
