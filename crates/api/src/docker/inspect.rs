//! `GET /images/{name}/json`.
//!
//! Source: moby, `daemon/containerd/image_inspect.go`.

use axum::response::Response;
use http::StatusCode;
use jiff::Timestamp;
use reclaim_engine::{ImageDetails, Listing, ManifestDetails, Shared};
use serde_json::{Map, Value, json};

use super::api::{ApiRequest, DockerApi};
use super::error::ApiError;
use super::list::{Descriptor, manifests, parent};
use super::names::Names;
use super::platform::{DockerPlatform, architecture, best, created, platform_of, platforms};
use super::respond;
use super::version::ApiVersion;

/// Keys of a container's configuration that older versions return, though images do not have them.
const LEGACY_FLAGS: [&str; 6] = [
    "AttachStderr",
    "AttachStdin",
    "AttachStdout",
    "OpenStdin",
    "StdinOnce",
    "Tty",
];
const LEGACY_TEXTS: [&str; 3] = ["Domainname", "Hostname", "Image"];

/// Keys of a run configuration that are returned up to 1.51 even if they are empty, and from 1.52
/// on only if they are not.
const LISTS: [&str; 6] = ["Cmd", "Entrypoint", "Env", "OnBuild", "Volumes", "Labels"];
const TEXTS: [&str; 2] = ["User", "WorkingDir"];

/// Keys of the image for which the same is true.
const OPTIONAL: [&str; 4] = ["Parent", "Comment", "DockerVersion", "Author"];

/// The first version that leaves out empty values.
const OMITS_EMPTY_SINCE: &str = "1.52";

pub(super) async fn inspect(
    api: &DockerApi,
    name: &str,
    request: &ApiRequest,
) -> Result<Response, ApiError> {
    let platform = DockerPlatform::parse(request.query.get("platform"))?;
    let wants_manifests = request.query.is_on("manifests") && request.version.is_at_least("1.48");
    if platform.is_some() && wants_manifests {
        let message = "conflicting options: manifests and platform options cannot both be set";
        return Err(ApiError::bad(message));
    }
    let listing = Shared::new(api.engine().listing(api.namespace()).await?);
    let image = listing.details.find(name)?;
    let manifest = choose(image, name, platform.as_ref())?;
    let config = config(api, manifest).await?;
    let mut body = describe(&listing, image, manifest, &config, &request.version);
    if wants_manifests {
        body["Manifests"] = json!(manifests(image));
    }
    Ok(respond::json(StatusCode::OK, &body))
}

/// Returns the manifest of the requested platform, or the one that represents the image.
pub(super) fn choose<'a>(
    image: &'a ImageDetails,
    name: &str,
    platform: Option<&DockerPlatform>,
) -> Result<Option<&'a ManifestDetails>, ApiError> {
    let Some(platform) = platform else {
        return Ok(best(image));
    };
    let found = platforms(image)
        .filter(|manifest| manifest.is_available)
        .find(|manifest| platform_of(manifest).is_some_and(|found| platform.fits(found)));
    found.map(Some).ok_or_else(|| {
        let DockerPlatform {
            os,
            architecture,
            variant,
        } = platform;
        let slash = if variant.is_empty() { "" } else { "/" };
        let message = format!(
            "image with reference {name} was found but does not provide the specified platform \
             ({os}/{architecture}{slash}{variant})"
        );
        ApiError::new(StatusCode::NOT_FOUND, message)
    })
}

/// Returns the configuration as JSON; an empty object if it is missing or unreadable.
pub(super) async fn config(
    api: &DockerApi,
    manifest: Option<&ManifestDetails>,
) -> Result<Value, ApiError> {
    let Some(config) = manifest.and_then(|manifest| manifest.config.as_ref()) else {
        return Ok(json!({}));
    };
    let document = api.engine().document(api.namespace(), &config.digest);
    let bytes = document.await?.unwrap_or_default();
    Ok(serde_json::from_slice(&bytes).unwrap_or_else(|_| json!({})))
}

fn describe(
    listing: &Listing,
    image: &ImageDetails,
    manifest: Option<&ManifestDetails>,
    config: &Value,
    version: &ApiVersion,
) -> Value {
    let names = Names::of(image, image.records.iter());
    let text = |key: &str| config[key].as_str().unwrap_or_default().to_owned();
    let comment = config["history"]
        .as_array()
        .and_then(|history| history.last()?["comment"].as_str());
    let size = manifest.map_or(0, |manifest| manifest.content_bytes);
    let records = image.records.iter();
    let tagged = records.filter_map(|record| record.updated_at).max();
    let mut body = json!({
        "Id": image.target.digest.to_string(),
        "RepoTags": names.tags,
        "RepoDigests": names.digests,
        "Parent": parent(image),
        "Comment": comment.unwrap_or_default(),
        "Created": config["created"].as_str().map_or_else(|| created(image).to_string(), str::to_owned),
        "DockerVersion": "",
        "Author": text("author"),
        "Architecture": config["architecture"].as_str().unwrap_or_else(|| architecture()),
        "Os": config["os"].as_str().unwrap_or("linux"),
        "Size": size,
        "RootFS": {"Type": "layers", "Layers": config["rootfs"]["diff_ids"]},
        "Metadata": {"LastTagTime": tagged.unwrap_or(Timestamp::UNIX_EPOCH).to_string()},
        "Config": run_config(&config["config"], version),
    });
    if version.is_at_least(OMITS_EMPTY_SINCE) {
        if let Some(body) = body.as_object_mut() {
            remove_empty(body, &OPTIONAL);
        }
    } else {
        body["GraphDriver"] = json!({"Data": null, "Name": snapshotter(listing)});
    }
    if let Some(variant) = config["variant"].as_str() {
        body["Variant"] = json!(variant);
    }
    if version.is_at_least("1.48") {
        body["Descriptor"] = json!(Descriptor::from(image));
    }
    if !version.is_at_least("1.44") {
        body["VirtualSize"] = json!(size);
    }
    body
}

/// Returns the run configuration of the image.
fn run_config(config: &Value, version: &ApiVersion) -> Value {
    let mut run = config.as_object().cloned().unwrap_or_default();
    if version.is_at_least(OMITS_EMPTY_SINCE) {
        remove_empty(&mut run, &[&LISTS[..], &TEXTS[..]].concat());
        return Value::Object(run);
    }
    let mut ensure = |keys: &[&str], value: &Value| {
        for key in keys {
            run.entry(*key).or_insert_with(|| value.clone());
        }
    };
    ensure(&LISTS, &Value::Null);
    ensure(&TEXTS, &json!(""));
    if !version.is_at_least("1.50") {
        ensure(&LEGACY_FLAGS, &json!(false));
        ensure(&LEGACY_TEXTS, &json!(""));
    }
    Value::Object(run)
}

/// Removes those of the keys whose values are empty.
fn remove_empty(object: &mut Map<String, Value>, keys: &[&str]) {
    object.retain(|key, value| !(keys.contains(&key.as_str()) && is_empty(value)));
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Returns the snapshotter with the most snapshots; containerd's default if there are none.
pub(super) fn snapshotter(listing: &Listing) -> String {
    let mut counts = std::collections::BTreeMap::new();
    for (id, _) in listing.snapshot_bytes.iter() {
        *counts.entry(&id.snapshotter).or_insert(0_usize) += 1;
    }
    let most = counts.into_iter().max_by_key(|(_, count)| *count);
    most.map_or_else(|| "overlayfs".to_owned(), |(name, _)| name.to_string())
}
