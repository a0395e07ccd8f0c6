//! Lists of images and of projects.

use reclaim_engine::{ImageList, ImageSize, ListedImage, ProjectImage, ProjectUsage};
use reclaim_model::{Project, Service};

use super::enums::known;
use super::{WireError, count, list, moment, parsed, size, timestamp};
use crate::grpc::proto;
use proto::listed_image::Verdict;

impl From<ImageSize> for proto::ImageSize {
    fn from(size: ImageSize) -> Self {
        Self {
            content: size.content,
            unpacked: size.unpacked,
            shared: size.shared,
        }
    }
}

impl From<proto::ImageSize> for ImageSize {
    fn from(message: proto::ImageSize) -> Self {
        Self {
            content: message.content,
            unpacked: message.unpacked,
            shared: message.shared,
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
        let services = usage.project.services.iter().map(|(name, service)| {
            let image = service.image.clone().unwrap_or_default();
            (name.clone(), proto::project_images::Service { image })
        });
        let images = usage.images.iter();
        let images = images.map(|(image, size)| proto::ListedProjectImage {
            name: image.name.clone(),
            target: image.target.to_string(),
            services: image.services.iter().cloned().collect(),
            size: Some((*size).into()),
        });
        Self {
            project: usage.project.name.to_string(),
            services: services.collect(),
            containers: size(usage.containers),
            images: images.collect(),
            rmi_local: Some(usage.local.into()),
        }
    }
}

impl TryFrom<proto::ListedProject> for ProjectUsage {
    type Error = WireError;

    fn try_from(message: proto::ListedProject) -> Result<Self, WireError> {
        let services = message.services.into_iter().map(|(name, service)| {
            let image = Some(service.image).filter(|it| !it.is_empty());
            (name, Service { image })
        });
        let images = message.images.into_iter().map(|image| {
            let size = of_size(image.size)?;
            let image = ProjectImage {
                name: image.name,
                target: parsed("target", &image.target)?,
                services: image.services.into_iter().collect(),
            };
            Ok((image, size))
        });
        let local = message.rmi_local;
        Ok(Self {
            project: Project {
                name: parsed("project", &message.project)?,
                services: services.collect(),
            },
            containers: count("containers", message.containers)?,
            images: images.collect::<Result<_, WireError>>()?,
            local: local
                .ok_or_else(|| WireError::missing("rmi_local"))?
                .try_into()?,
        })
    }
}
