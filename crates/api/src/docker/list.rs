//! `GET /images/json`.
//!
//! Source: moby, `daemon/containerd/image_list.go`.

use std::collections::BTreeMap;

use axum::response::Response;
use futures::stream::{self, StreamExt, TryStreamExt};
use http::StatusCode;
use jiff::tz::TimeZone;
use reclaim_engine::{ImageDetails, Listing, Shared};
use reclaim_model::{ImageRecord, Target, TimeContext};
use serde::Serialize;

use super::api::{ApiRequest, DockerApi};
use super::descriptor::Descriptor;
use super::error::ApiError;
use super::identity::{Identity, identity};
use super::list_filters::ListFilters;
use super::manifests::{ManifestSummary, descriptors, entries, summaries};
use super::names::Names;
use super::platform::{best, created};
use super::respond::json;
use super::version::ApiVersion;

/// How many indexes are read at the same time.
const CONCURRENT_READS: usize = 16;

/// An image of the list.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Summary {
    pub(super) containers: i64,
    pub(super) created: i64,
    pub(super) id: String,
    labels: Option<BTreeMap<String, String>>,
    parent_id: String,
    repo_digests: Option<Vec<String>>,
    repo_tags: Option<Vec<String>>,
    pub(super) shared_size: i64,
    pub(super) size: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    virtual_size: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) descriptor: Option<Descriptor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    manifests: Option<Vec<ManifestSummary>>,
}

pub(super) async fn list(api: &DockerApi, request: &ApiRequest) -> Result<Response, ApiError> {
    let mut args = request.query.filters()?;
    let name = request.query.get("filter");
    if !name.is_empty() && !request.version.is_at_least("1.41") {
        args.add("reference", name);
    }
    let now = reclaim_engine::now();
    let context = TimeContext {
        now,
        offset: TimeZone::system().to_offset(now),
    };
    let filters = ListFilters::from_args(&args, &context)?;
    let all = request.query.is_on("all");
    let version = request.version.clone();
    let wants_manifests = version.is_at_least("1.47") && request.query.is_on("manifests");
    let wants_identity = version.is_at_least("1.54") && request.query.is_on("identity");
    if wants_identity && !wants_manifests {
        let message = "conflicting options: identity requires manifests=1";
        return Err(ApiError::bad(message));
    }
    let fields = OptionalFields {
        shared_size: version.is_at_least("1.42") && request.query.is_on("shared-size"),
        containers: version.is_at_least("1.51"),
        names: if version.is_at_least("1.43") {
            NoNames::Empty
        } else {
            NoNames::Placeholders
        },
    };
    let listing = Shared::new(api.engine().listing(api.namespace()).await?);
    let selecting = listing.read(move |listing| select(listing, filters, all));
    let selected = selecting.await?;
    let targets = selected
        .iter()
        .map(|selected| selected.descriptor(&listing).clone())
        .collect();
    let parts = if wants_manifests {
        read_parts(api, targets, wants_identity).await?
    } else {
        Vec::new()
    };
    let response = listing.read(move |listing| {
        let mut parts = parts.into_iter();
        let summaries = selected.into_iter().map(|selected| {
            let image = &listing.details.images[selected.image];
            let target = selected.descriptor(listing);
            let mut summary = summary(listing, image, selected.names, fields, &version);
            summary.descriptor = summary.descriptor.map(|_| target.into());
            summary.manifests = parts.next().and_then(|(descriptors, identity)| {
                let manifests = summaries(entries(image, &descriptors), identity.as_ref());
                (!manifests.is_empty()).then_some(manifests)
            });
            summary
        });
        let mut summaries: Vec<Summary> = summaries.collect();
        sort(&mut summaries);
        json(StatusCode::OK, &summaries)
    });
    Ok(response.await)
}

/// An image of the list, and which of its records match the filters.
struct Selected {
    /// The position in the listing.
    image: usize,
    /// The position of the record whose descriptor is shown.
    record: usize,
    names: Names,
}

impl Selected {
    fn descriptor<'a>(&self, listing: &'a Listing) -> &'a Target {
        &listing.details.images[self.image].records[self.record].target
    }
}

fn select(listing: &Listing, filters: ListFilters, all: bool) -> Result<Vec<Selected>, ApiError> {
    let filters = filters.resolve(&listing.details)?;
    let mut selected = Vec::new();
    for (position, image) in listing.details.images.iter().enumerate() {
        if image.has_child && image.is_dangling() && !all {
            continue;
        }
        let records: Vec<&ImageRecord> = filters.records_of(image).collect();
        // As in Docker, the last record with a name represents the others.
        let is_named = |record: &&&ImageRecord| !image.is_dangling_record(record);
        let shown = records.iter().rev().find(is_named).or(records.first());
        if let Some(shown) = shown {
            let is_shown = |record: &ImageRecord| record.name == shown.name;
            selected.push(Selected {
                image: position,
                record: image.records.iter().position(is_shown).unwrap_or(0),
                names: Names::of(image, records.iter().copied()),
            });
        }
    }
    Ok(selected)
}

/// Reads the descriptors of the manifests of each target, and the identity if it is wanted.
async fn read_parts(
    api: &DockerApi,
    targets: Vec<Target>,
    wants_identity: bool,
) -> Result<Vec<(Vec<Descriptor>, Option<Identity>)>, ApiError> {
    let reading = targets.into_iter().map(async |target| {
        let descriptors = descriptors(api, &target).await?;
        let identity = if wants_identity {
            identity(api, &target.digest).await?
        } else {
            None
        };
        Ok((descriptors, identity))
    });
    stream::iter(reading)
        .buffered(CONCURRENT_READS)
        .try_collect()
        .await
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
    /// The number of containers.
    pub(super) containers: bool,
    /// What to return if there are no names.
    pub(super) names: NoNames,
}

/// What represents names that do not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoNames {
    /// `[]`
    Empty,
    /// `null`
    Null,
    /// `<none>:<none>` and `<none>@<none>`, up to API 1.42
    Placeholders,
}

impl NoNames {
    /// Returns the lists of names as the API returns them.
    fn lists(self, names: Names) -> (Option<Vec<String>>, Option<Vec<String>>) {
        let Names { tags, digests } = match self {
            Self::Placeholders => names.with_placeholders(),
            Self::Empty | Self::Null => names,
        };
        let list = |list: Vec<String>| (self == Self::Empty || !list.is_empty()).then_some(list);
        (list(tags), list(digests))
    }
}

pub(super) fn summary(
    listing: &Listing,
    image: &ImageDetails,
    names: Names,
    fields: OptionalFields,
    version: &ApiVersion,
) -> Summary {
    let config = best(image).and_then(|manifest| manifest.config.as_ref());
    let (repo_tags, repo_digests) = fields.names.lists(names);
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
        repo_digests,
        repo_tags,
        shared_size: if fields.shared_size {
            bytes(image.size.shared_bytes)
        } else {
            -1
        },
        size,
        virtual_size: (size > 0 && !version.is_at_least("1.44")).then_some(size),
        descriptor: version.is_at_least("1.48").then(|| (&image.target).into()),
        manifests: None,
    }
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
