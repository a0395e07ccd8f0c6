//! `GET /images/{name}/json`.
//!
//! Source: moby, `daemon/containerd/image_inspect.go`.

use axum::response::Response;
use http::StatusCode;
use jiff::Timestamp;
use reclaim_engine::{ImageDetails, Listing, ManifestDetails, Shared};
use serde_json::{Map, Value, json};

use super::error::ApiError;
use super::list::{Descriptor, created, manifests, parent};
use super::names::Names;
use super::platform::{PlatformWords, architecture, best, platform_of, platforms};
use super::version::ApiVersion;
use super::{Asked, DockerApi, respond};

/// What older answers have of a container's configuration, though images have none of it.
const LEGACY_FLAGS: [&str; 6] = [
    "AttachStderr",
    "AttachStdin",
    "AttachStdout",
    "OpenStdin",
    "StdinOnce",
    "Tty",
];
const LEGACY_TEXTS: [&str; 3] = ["Domainname", "Hostname", "Image"];

/// Parts of a run configuration that are there up to 1.51 also if they say nothing, and from 1.52
/// on only if they say something.
const LISTS: [&str; 6] = ["Cmd", "Entrypoint", "Env", "OnBuild", "Volumes", "Labels"];
const TEXTS: [&str; 2] = ["User", "WorkingDir"];

/// Parts of the description of which the same is true.
const OPTIONAL: [&str; 4] = ["Parent", "Comment", "DockerVersion", "Author"];

/// From here on what says nothing is left out.
const TERSE: &str = "1.52";

pub(super) async fn inspect(
    api: &DockerApi,
    name: &str,
    asked: &Asked,
) -> Result<Response, ApiError> {
    let platform = PlatformWords::parse(asked.query.get("platform"))?;
    let wants_manifests = asked.query.is_on("manifests") && asked.version.is_at_least("1.48");
    if platform.is_some() && wants_manifests {
        let message = "conflicting options: manifests and platform options cannot both be set";
        return Err(ApiError::bad(message));
    }
    let listing = Shared::new(api.engine().listing(api.namespace()).await?);
    let image = listing.details.find(name)?;
    let manifest = choose(image, name, platform.as_ref())?;
    let config = config(api, manifest).await?;
    let mut body = describe(&listing, image, manifest, &config, &asked.version);
    if wants_manifests {
        body["Manifests"] = json!(manifests(image));
    }
    Ok(respond::json(StatusCode::OK, &body))
}

/// Chooses the manifest that is asked for, or that stands for the image.
pub(super) fn choose<'a>(
    image: &'a ImageDetails,
    name: &str,
    platform: Option<&PlatformWords>,
) -> Result<Option<&'a ManifestDetails>, ApiError> {
    let Some(platform) = platform else {
        return Ok(best(image));
    };
    let fits = |it: &&ManifestDetails| platform_of(it).is_some_and(|it| platform.fits(it));
    let found = platforms(image).filter(|it| it.is_available).find(fits);
    found.map(Some).ok_or_else(|| {
        let PlatformWords {
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

/// Reads the configuration whole; an empty one if there is none that can be read.
pub(super) async fn config(
    api: &DockerApi,
    manifest: Option<&ManifestDetails>,
) -> Result<Value, ApiError> {
    let Some(config) = manifest.and_then(|it| it.config.as_ref()) else {
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
    let comment = config["history"].as_array().and_then(|it| it.last());
    let comment = comment.and_then(|it| it["comment"].as_str());
    let size = manifest.map_or(0, |it| it.content_bytes);
    let tagged = image.records.iter().filter_map(|it| it.updated_at).max();
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
    if version.is_at_least(TERSE) {
        if let Some(body) = body.as_object_mut() {
            leave_out(body, &OPTIONAL);
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

/// What containers of the image begin with.
fn run_config(config: &Value, version: &ApiVersion) -> Value {
    let mut run = config.as_object().cloned().unwrap_or_default();
    if version.is_at_least(TERSE) {
        leave_out(&mut run, &[&LISTS[..], &TEXTS[..]].concat());
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

/// Takes out those of the keys that say nothing.
fn leave_out(object: &mut Map<String, Value>, keys: &[&str]) {
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

/// The snapshotter that has most of the images' snapshots; containerd's default if none has any.
pub(super) fn snapshotter(listing: &Listing) -> String {
    let mut counts = std::collections::BTreeMap::new();
    for (id, _) in listing.snapshot_bytes.iter() {
        *counts.entry(&id.snapshotter).or_insert(0_usize) += 1;
    }
    let most = counts.into_iter().max_by_key(|(_, count)| *count);
    most.map_or_else(|| "overlayfs".to_owned(), |(name, _)| name.to_string())
}
