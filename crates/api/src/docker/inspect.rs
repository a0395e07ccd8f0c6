//! `GET /images/{name}/json`.
//!
//! What cannot be read is left out or empty, and never guessed.
//!
//! Source: moby, `daemon/containerd/image_inspect.go` and
//! `daemon/server/router/image/image_routes.go`.

use axum::response::Response;
use http::StatusCode;
use jiff::Timestamp;
use reclaim_engine::{ImageDetails, Listing, ManifestDetails, Shared};
use reclaim_model::{DocumentKind, Target};
use serde_json::{Map, Value, json};

use super::api::{ApiRequest, DockerApi};
use super::descriptor::Descriptor;
use super::error::ApiError;
use super::identity::{NO_TIME, identity};
use super::list::{bytes, parent};
use super::manifests::{Entry, descriptors, entries, summaries};
use super::names::Names;
use super::platform::{DockerPlatform, best};
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

/// Keys of a run configuration that are returned only if they are not empty.
const OTHERS: [&str; 5] = [
    "ArgsEscaped",
    "ExposedPorts",
    "Healthcheck",
    "Shell",
    "StopSignal",
];

/// Keys of the image that are returned up to 1.51 even if they are empty.
const OPTIONAL: [&str; 4] = ["Parent", "Comment", "DockerVersion", "Author"];

/// The first version that leaves out empty values.
const OMITS_EMPTY_SINCE: &str = "1.52";

/// The first version whose size counts what is unpacked.
///
/// Docker made this change in August 2026, for all versions; this one is the first that came with
/// it.
const COUNTS_UNPACKED_SINCE: &str = "1.56";

pub(super) async fn inspect(
    api: &DockerApi,
    name: &str,
    request: &ApiRequest,
) -> Result<Response, ApiError> {
    let version = &request.version;
    let platform = if version.is_at_least("1.49") {
        DockerPlatform::parse(request.query.get("platform"))?
    } else {
        None
    };
    let wants_manifests = request.query.is_on("manifests") && version.is_at_least("1.48");
    if platform.is_some() && wants_manifests {
        let message = "conflicting options: manifests and platform options cannot both be set";
        return Err(ApiError::bad(message));
    }
    let listing = Shared::new(api.engine().listing(api.namespace()).await?);
    let (image, record) = listing.details.find_record(name)?;
    let entries = if platform.is_some() || wants_manifests {
        entries(image, &descriptors(api, &record.target).await?)
    } else {
        Vec::new()
    };
    let mut shown = Shown {
        image,
        target: &record.target,
        descriptor: (&record.target).into(),
        manifest: best(image),
    };
    if let Some(platform) = &platform {
        let entry = of_platform(&entries, platform).ok_or_else(|| lacks(name, Some(platform)))?;
        shown.descriptor = entry.descriptor.clone();
        shown.manifest = Some(entry.details);
    }
    let config = config(api, shown.manifest).await?;
    let mut body = describe(&listing, &shown, &config, version);
    if wants_manifests {
        let manifests = summaries(entries, None);
        if !manifests.is_empty() {
            body["Manifests"] = json!(manifests);
        }
    }
    if version.is_at_least("1.53")
        && let Some(identity) = identity(api, &record.target.digest).await?
    {
        body["Identity"] = json!(identity);
    }
    Ok(respond::json(StatusCode::OK, &body))
}

/// The part of an image that is described.
struct Shown<'a> {
    image: &'a ImageDetails,
    /// The target of the record that was named.
    target: &'a Target,
    /// Of the image, or of the manifest of the requested platform.
    descriptor: Descriptor,
    /// The manifest whose configuration is shown.
    manifest: Option<&'a ManifestDetails>,
}

/// Returns the manifest of a platform, whether it is there or not.
fn of_platform<'e, 'a>(
    entries: &'e [Entry<'a>],
    platform: &DockerPlatform,
) -> Option<&'e Entry<'a>> {
    let mut images = entries.iter().filter(|entry| entry.is_image());
    images.find(|entry| platform.is(&entry.platform()))
}

/// Returns the error for an image without the requested platform, or without any that is there.
pub(super) fn lacks(name: &str, platform: Option<&DockerPlatform>) -> ApiError {
    let lacking = platform.map_or_else(
        || "any platform".to_owned(),
        |platform| format!("the specified platform ({})", platform.text()),
    );
    let message = format!("image with reference {name} was found but does not provide {lacking}");
    ApiError::new(StatusCode::NOT_FOUND, message)
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

fn describe(listing: &Listing, shown: &Shown<'_>, config: &Value, version: &ApiVersion) -> Value {
    let image = shown.image;
    let names = Names::of(image, image.records.iter());
    let text = |key: &str| config[key].as_str().unwrap_or_default().to_owned();
    let comment = config["history"]
        .as_array()
        .and_then(|history| history.last()?["comment"].as_str());
    let size = bytes(size(shown, version));
    let records = image.records.iter();
    let tagged = records.filter_map(|record| record.updated_at).max();
    let mut body = json!({
        "Id": shown.descriptor.digest,
        "RepoTags": names.tags,
        "RepoDigests": names.digests,
        "Parent": parent(image),
        "Comment": comment.unwrap_or_default(),
        "Created": created(config),
        "DockerVersion": "",
        "Author": text("author"),
        "Architecture": text("architecture"),
        "Variant": text("variant"),
        "Os": text("os"),
        "OsVersion": text("os.version"),
        "Size": size,
        "RootFS": root_filesystem(config),
        "Metadata": {"LastTagTime": tagged.unwrap_or(Timestamp::UNIX_EPOCH).to_string()},
        "Config": run_config(&config["config"], version),
    });
    if let Some(body) = body.as_object_mut() {
        remove_empty(body, &["Created", "OsVersion", "Variant"]);
        if version.is_at_least(OMITS_EMPTY_SINCE) {
            remove_empty(body, &OPTIONAL);
        }
    }
    if !version.is_at_least(OMITS_EMPTY_SINCE) {
        body["GraphDriver"] = json!({"Data": null, "Name": snapshotter(listing)});
    }
    if version.is_at_least("1.48") {
        body["Descriptor"] = json!(shown.descriptor);
    }
    if !version.is_at_least("1.45") {
        body["Container"] = json!("");
        body["ContainerConfig"] = Value::Null;
    }
    if !version.is_at_least("1.44") {
        body["VirtualSize"] = json!(size);
        if body.get("Created").is_none() {
            body["Created"] = json!(NO_TIME);
        }
    }
    body
}

/// Returns the size of the described manifest: its content and what is unpacked; before, what
/// descriptors say of its content, with the index that lists it.
fn size(shown: &Shown<'_>, version: &ApiVersion) -> u64 {
    let Some(manifest) = shown.manifest else {
        // What it consists of is unknown, but not what is there of it.
        return shown.image.size.total_bytes();
    };
    if version.is_at_least(COUNTS_UNPACKED_SINCE) {
        return manifest
            .content_bytes
            .saturating_add(manifest.unpacked_bytes);
    }
    let index = if shown.target.kind() == DocumentKind::Index {
        shown.target.size
    } else {
        0
    };
    index.saturating_add(manifest.listed_bytes)
}

/// Returns the creation time without zeros at the end of the second, as Go prints it; empty if the
/// configuration has none.
fn created(config: &Value) -> String {
    let text = config["created"].as_str().unwrap_or_default();
    let Some((second, rest)) = text.split_once('.') else {
        return text.to_owned();
    };
    let digits = rest.trim_start_matches(|character: char| character.is_ascii_digit());
    let (fraction, zone) = rest.split_at(rest.len() - digits.len());
    match fraction.trim_end_matches('0') {
        "" => format!("{second}{zone}"),
        fraction => format!("{second}.{fraction}{zone}"),
    }
}

/// Returns type and layers of the root filesystem, each only if the configuration has it.
fn root_filesystem(config: &Value) -> Value {
    let mut filesystem = Map::new();
    filesystem.insert("Type".to_owned(), config["rootfs"]["type"].clone());
    filesystem.insert("Layers".to_owned(), config["rootfs"]["diff_ids"].clone());
    remove_empty(&mut filesystem, &["Type", "Layers"]);
    Value::Object(filesystem)
}

/// Returns the run configuration of the image, without keys that are not an image's.
fn run_config(config: &Value, version: &ApiVersion) -> Value {
    let known = [&LISTS[..], &TEXTS, &OTHERS].concat();
    let mut run = config.as_object().cloned().unwrap_or_default();
    run.retain(|key, _| known.contains(&key.as_str()));
    remove_empty(&mut run, &known);
    if version.is_at_least(OMITS_EMPTY_SINCE) {
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
        Value::Bool(flag) => !flag,
        Value::Number(_) => false,
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
