//! Lists of images and projects, disk usage, and answers of `why`.

use reclaim_model::{
    Answer, DiskUsage, Freeable, HolderPath, ImageList, ImageSize, ImageUsage, ImageVerdict, Link,
    ListedImage, Outlook, OutsideRecords, PlatformLayers, ProjectUsage, Thing, UsageByColumn,
};

use super::things::holders;
use super::{moment, size};
use crate::grpc::proto;

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
            last_used: image.last_used.map(moment),
            size: Some(image.size.into()),
            layers: image.layers.iter().map(Into::into).collect(),
            pin: image
                .pinned
                .map_or(proto::Pin::Unspecified, Into::into)
                .into(),
            verdict: Some(match image.verdict {
                Ok(reason) => {
                    proto::listed_image::Verdict::Remove(proto::RemoveReason::from(reason).into())
                }
                Err(reason) => {
                    proto::listed_image::Verdict::Keep(proto::KeepReason::from(reason).into())
                }
            }),
        }
    }
}

impl From<&PlatformLayers> for proto::PlatformLayers {
    fn from(layers: &PlatformLayers) -> Self {
        let platform = layers.platform.as_ref().map(ToString::to_string);
        let unpacked = layers.unpacked.iter();
        Self {
            manifest: layers.manifest.to_string(),
            platform: platform.unwrap_or_default(),
            total: size(layers.total),
            packed: size(layers.packed),
            unpacked: unpacked
                .map(|(snapshotter, unpacked)| (snapshotter.to_string(), size(*unpacked)))
                .collect(),
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

impl From<&UsageByColumn> for proto::Account {
    fn from(usage: &UsageByColumn) -> Self {
        let columns = usage.columns().map(|(column, amount)| proto::ColumnAmount {
            column: proto::Column::from(column).into(),
            amount: Some(amount.into()),
        });
        Self {
            columns: columns.collect(),
        }
    }
}

impl From<&DiskUsage> for proto::DiskUsageResponse {
    fn from(usage: &DiskUsage) -> Self {
        let namespaces = usage.namespaces.iter().map(|found| {
            let images = found.image_usage.iter().flatten();
            let leases = found.leases.iter().flatten();
            proto::NamespaceUsage {
                namespace: found.namespace.to_string(),
                account: Some((&found.usage).into()),
                shared_bytes: found.shared_bytes,
                images: images.map(Into::into).collect(),
                leases: leases.map(Into::into).collect(),
                freeable: found.freeable.map(Into::into),
            }
        });
        Self {
            total: Some((&usage.total).into()),
            namespaces: namespaces.collect(),
            is_orphaned_known: usage.orphaned_known,
            warnings: usage.warnings.clone(),
            outside_records: usage.outside_records.as_ref().map(Into::into),
        }
    }
}

impl From<Freeable> for proto::Freeable {
    fn from(freeable: Freeable) -> Self {
        let Freeable {
            garbage,
            build_history,
            snapshots,
            layers,
            platforms,
            images,
        } = freeable;
        Self {
            garbage: Some(garbage.into()),
            build_history: Some(build_history.into()),
            snapshots: Some(snapshots.into()),
            layers: Some(layers.into()),
            platforms: Some(platforms.into()),
            images: Some(images.into()),
        }
    }
}

impl From<&OutsideRecords> for proto::OutsideRecords {
    fn from(outside_records: &OutsideRecords) -> Self {
        Self {
            unrecorded: outside_records.unrecorded.iter().map(Into::into).collect(),
            own_bytes: outside_records.own_bytes,
            unseen: outside_records
                .unseen
                .iter()
                .map(ToString::to_string)
                .collect(),
        }
    }
}

impl From<&ImageUsage> for proto::ImageUsage {
    fn from(usage: &ImageUsage) -> Self {
        Self {
            name: usage.name.clone(),
            target: usage.target.to_string(),
            created: usage.created.map(moment),
            content: usage.size.content_bytes,
            unpacked: usage.size.unpacked_bytes,
            shared: usage.size.shared_bytes,
            reclaimable_alone: usage.reclaimable_alone_bytes,
            holders: holders(&usage.holders),
            verdict: Some(match usage.verdict {
                Ok(reason) => {
                    proto::image_usage::Verdict::Remove(proto::RemoveReason::from(reason).into())
                }
                Err(reason) => {
                    proto::image_usage::Verdict::Keep(proto::KeepReason::from(reason).into())
                }
            }),
        }
    }
}

impl From<&Thing> for proto::Thing {
    fn from(thing: &Thing) -> Self {
        Self {
            kind: proto::ThingKind::from(thing.kind).into(),
            id: thing.id.clone(),
        }
    }
}

impl From<&Link> for proto::Reference {
    fn from(link: &Link) -> Self {
        Self {
            by: proto::ReferenceKind::from(link.by).into(),
            labels: link.labels.clone(),
        }
    }
}

fn to_verdict(verdict: &ImageVerdict) -> proto::Verdict {
    proto::Verdict {
        verdict: Some(match verdict {
            ImageVerdict::Remove { reason } => {
                proto::verdict::Verdict::Remove(proto::RemoveReason::from(*reason).into())
            }
            ImageVerdict::Keep {
                reason,
                holders: by,
            } => proto::verdict::Verdict::Keep(proto::verdict::Keep {
                reason: proto::KeepReason::from(*reason).into(),
                holders: holders(by),
            }),
        }),
    }
}

impl From<&HolderPath> for proto::Held {
    fn from(held: &HolderPath) -> Self {
        Self {
            namespace: held.namespace.to_string(),
            holder: Some((&held.holder).into()),
            until: held.until.map(moment),
            chain: held.chain.iter().map(|link| (&link.thing).into()).collect(),
            references: held.chain.iter().map(Into::into).collect(),
            verdict: held.prune_all.as_ref().map(to_verdict),
        }
    }
}

impl From<&Answer> for proto::Answer {
    fn from(answer: &Answer) -> Self {
        let verdicts = answer.verdicts.as_ref();
        let mut message = Self {
            namespace: answer.namespace.to_string(),
            thing: Some((&answer.thing).into()),
            held: answer.holders.iter().map(Into::into).collect(),
            prune: verdicts.map(|verdicts| to_verdict(&verdicts.prune)),
            prune_all: verdicts.map(|verdicts| to_verdict(&verdicts.prune_all)),
            warnings: answer.warnings.clone(),
            depends_on: answer.depends_on.clone(),
            dependents: answer.dependents.clone(),
            ..Self::default()
        };
        let fate = match &answer.outlook {
            Outlook::Held => proto::answer::Fate::Held,
            Outlook::Unused => proto::answer::Fate::Unused,
            Outlook::Expires { at, holder } => {
                message.expires = Some(moment(*at));
                message.expires_holder = Some(holder.into());
                proto::answer::Fate::Expires
            }
            Outlook::Depends => proto::answer::Fate::Depends,
            Outlook::NextCollection => proto::answer::Fate::NextCollection,
        };
        message.fate = fate.into();
        message
    }
}
