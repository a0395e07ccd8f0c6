//! `GET /images/json`.
//!
//! Source: moby, `daemon/containerd/image_list.go`.

use std::collections::BTreeMap;

use axum::response::Response;
use http::StatusCode;
use jiff::tz::TimeZone;
use reclaim_engine::{ImageDetails, Listing, Shared};
use reclaim_model::{ImageRecord, TimeContext};
use serde::Serialize;

use super::api::{ApiRequest, DockerApi};
use super::error::ApiError;
use super::list_filters::ListFilters;
use super::names::Names;
use super::platform::{DockerPlatform, best, created, platform_of};
use super::respond::json;
use super::version::ApiVersion;

/// An image of the list.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Summary {
    pub(super) containers: i64,
    pub(super) created: i64,
    pub(super) id: String,
    labels: Option<BTreeMap<String, String>>,
    parent_id: String,
    repo_digests: Vec<String>,
    repo_tags: Vec<String>,
    pub(super) shared_size: i64,
    pub(super) size: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    virtual_size: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    descriptor: Option<Descriptor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    manifests: Option<Vec<ManifestSummary>>,
}

/// The descriptor of the target of a record.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Descriptor {
    media_type: String,
    digest: String,
    size: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

impl From<&ImageDetails> for Descriptor {
    fn from(image: &ImageDetails) -> Self {
        let target = &image.target;
        Self {
            media_type: target.media_type.clone(),
            digest: target.digest.to_string(),
            size: target.size,
            annotations: target.annotations.clone(),
        }
    }
}

/// A manifest of an image.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ManifestSummary {
    #[serde(rename = "ID")]
    id: String,
    descriptor: ManifestDescriptor,
    available: bool,
    size: ManifestSize,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    image_data: Option<ImageData>,
}

#[derive(Debug, Clone, Serialize)]
struct ManifestDescriptor {
    digest: String,
    size: u64,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ManifestSize {
    content: u64,
    total: u64,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
struct ImageData {
    platform: DockerPlatform,
    containers: Vec<String>,
    size: UnpackedSize,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
struct UnpackedSize {
    unpacked: u64,
}

pub(super) async fn list(api: &DockerApi, request: &ApiRequest) -> Result<Response, ApiError> {
    let args = request.query.filters()?;
    let now = reclaim_engine::now();
    let context = TimeContext {
        now,
        offset: TimeZone::system().to_offset(now),
    };
    let filters = ListFilters::from_args(&args, &context)?;
    let all = request.query.is_on("all");
    let fields = OptionalFields {
        shared_size: request.query.is_on("shared-size"),
        manifests: request.query.is_on("manifests") && request.version.is_at_least("1.47"),
        containers: request.version.is_at_least("1.51"),
    };
    let listing = Shared::new(api.engine().listing(api.namespace()).await?);
    let version = request.version.clone();
    let response = listing.read(move |listing| {
        let filters = filters.resolve(&listing.details)?;
        let mut summaries: Vec<Summary> = Vec::new();
        for image in &listing.details.images {
            if image.has_child && image.is_dangling() && !all {
                continue;
            }
            let records: Vec<&ImageRecord> = filters.records_of(image).collect();
            if !records.is_empty() {
                let names = Names::of(image, records.iter().copied());
                summaries.push(summary(listing, image, names, fields, &version));
            }
        }
        sort(&mut summaries);
        Ok(json(StatusCode::OK, &summaries))
    });
    response.await
}

/// Sorts a list as clients show it: the newest image first.
pub(super) fn sort(summaries: &mut [Summary]) {
    summaries.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
}

/// The optional fields that the client requested.
#[derive(Debug, Clone, Copy)]
pub(super) struct OptionalFields {
    /// The size that is shared with other images.
    pub(super) shared_size: bool,
    /// The manifests.
    pub(super) manifests: bool,
    /// The number of containers.
    pub(super) containers: bool,
}

pub(super) fn summary(
    listing: &Listing,
    image: &ImageDetails,
    names: Names,
    fields: OptionalFields,
    version: &ApiVersion,
) -> Summary {
    let config = best(image).and_then(|manifest| manifest.config.as_ref());
    let names = if version.is_at_least("1.43") {
        names
    } else {
        names.with_placeholders()
    };
    let size = bytes(size_of(image));
    // A number would be wrong while containers cannot be listed.
    let can_count = fields.containers && listing.unreadable.is_empty();
    Summary {
        containers: if can_count {
            i64::try_from(image.containers()).unwrap_or(i64::MAX)
        } else {
            -1
        },
        created: created(image).as_second(),
        id: image.target.digest.to_string(),
        labels: config.map(|config| config.config.labels.clone()),
        parent_id: parent(image),
        repo_digests: names.digests,
        repo_tags: names.tags,
        shared_size: if fields.shared_size {
            bytes(image.size.shared_bytes)
        } else {
            -1
        },
        size,
        virtual_size: (!version.is_at_least("1.44")).then_some(size),
        descriptor: version.is_at_least("1.48").then(|| image.into()),
        manifests: fields.manifests.then(|| manifests(image)),
    }
}

/// Returns a summary of each manifest of the image.
pub(super) fn manifests(image: &ImageDetails) -> Vec<ManifestSummary> {
    let summaries = image.manifests.iter().map(|manifest| {
        let platform = platform_of(manifest);
        ManifestSummary {
            id: manifest.digest.to_string(),
            descriptor: ManifestDescriptor {
                digest: manifest.digest.to_string(),
                size: manifest.size,
            },
            available: manifest.is_available,
            size: ManifestSize {
                content: manifest.content_bytes,
                total: manifest
                    .content_bytes
                    .saturating_add(manifest.unpacked_bytes),
            },
            kind: match (manifest.is_attestation, platform) {
                (true, _) => "attestation",
                (false, Some(_)) => "image",
                (false, None) => "unknown",
            },
            image_data: platform
                .filter(|_| !manifest.is_attestation)
                .map(|platform| ImageData {
                    platform: platform.into(),
                    containers: Vec::new(),
                    size: UnpackedSize {
                        unpacked: manifest.unpacked_bytes,
                    },
                }),
        }
    });
    summaries.collect()
}

/// Returns the size of content and snapshots of all manifests. An index itself does not count.
pub(super) fn size_of(image: &ImageDetails) -> u64 {
    image
        .manifests
        .iter()
        .map(|manifest| {
            manifest
                .content_bytes
                .saturating_add(manifest.unpacked_bytes)
        })
        .fold(0, u64::saturating_add)
}

/// Returns the ID of the image that the classic builder made this one from; empty if there is none.
pub(super) fn parent(image: &ImageDetails) -> String {
    let parent = image.records.iter().find_map(ImageRecord::parent);
    parent.map_or_else(String::new, |digest| digest.to_string())
}

pub(super) fn bytes(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}
