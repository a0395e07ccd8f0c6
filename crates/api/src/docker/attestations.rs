//! `GET /images/{name}/attestations`: what `BuildKit` attested about one platform of an image.
//!
//! Source: moby, `daemon/containerd/image_attestations.go`, and moby/policy-helpers,
//! `image/resolve.go`.

use axum::response::Response;
use http::StatusCode;
use reclaim_model::Digest;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::api::{ApiRequest, DockerApi};
use super::descriptor::Descriptor;
use super::error::ApiError;
use super::manifests::index;
use super::platform::DockerPlatform;
use super::respond::json;

/// The first version with this request.
const SINCE: &str = "1.55";

/// The only media type of targets that can list attestations.
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// The annotation with the type of a statement, on the layers of an attestation.
const PREDICATE_TYPE: &str = "in-toto.io/predicate-type";

/// An attestation of an image: a statement, with its body if that is requested.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Attestation {
    descriptor: Descriptor,
    predicate_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    statement: Option<Box<RawValue>>,
}

/// A manifest, as far as its statements matter.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Manifest {
    layers: Option<Vec<Descriptor>>,
}

pub(super) async fn attestations(
    api: &DockerApi,
    name: &str,
    request: &ApiRequest,
) -> Result<Response, ApiError> {
    if !request.version.is_at_least(SINCE) {
        return Err(ApiError::bad(format!(
            "GET /images/{{name:.*}}/attestations requires minimum API version {SINCE}"
        )));
    }
    let platform = match request.query.all("platform") {
        [] => None,
        [one] => DockerPlatform::parse(one)?,
        _ => {
            let message = "only one platform value is currently supported";
            return Err(ApiError::bad(message));
        }
    };
    let types: Vec<&str> = request
        .query
        .all("type")
        .iter()
        .map(|wanted| wanted.trim())
        .filter(|wanted| !wanted.is_empty())
        .collect();
    let listing = api.engine().listing(api.namespace()).await?;
    let (_, record) = listing.details.find_record(name)?;
    if record.target.media_type != INDEX {
        return Ok(json(StatusCode::OK, &[(); 0]));
    }
    let descriptors = index(api, &record.target.digest).await?;
    let platform = platform.unwrap_or_else(DockerPlatform::host);
    let manifest = manifest_of(&descriptors, &platform)?;
    let attests = |descriptor: &&Descriptor| descriptor.attests(&manifest.digest);
    let Some(attestation) = descriptors.iter().find(attests) else {
        return Ok(json(StatusCode::OK, &[(); 0]));
    };
    let document = read(api, attestation, "attestation manifest").await?;
    let manifest: Manifest = serde_json::from_slice(&document)
        .map_err(|error| unreadable("attestation manifest", attestation, &error))?;
    let mut attestations = Vec::new();
    for layer in manifest.layers.unwrap_or_default() {
        let predicate_type = layer.annotation(PREDICATE_TYPE).unwrap_or_default();
        let predicate_type = predicate_type.to_owned();
        let is_wanted = types.is_empty() || types.contains(&&*predicate_type);
        if predicate_type.is_empty() || !is_wanted {
            continue;
        }
        let statement = if request.query.is_on("statement") {
            let body = read(api, &layer, "attestation statement").await?;
            let statement = serde_json::from_slice(&body);
            Some(statement.map_err(|error| unreadable("attestation statement", &layer, &error))?)
        } else {
            None
        };
        attestations.push(Attestation {
            descriptor: layer,
            predicate_type,
            statement,
        });
    }
    Ok(json(StatusCode::OK, &attestations))
}

/// Returns the best manifest of an index for a machine of the platform; one without a platform only
/// if there is no other.
fn manifest_of<'a>(
    descriptors: &'a [Descriptor],
    wanted: &DockerPlatform,
) -> Result<&'a Descriptor, ApiError> {
    let ranked = descriptors.iter().filter_map(|descriptor| {
        let rank = match &descriptor.platform {
            None => (true, 0),
            Some(platform) => (false, wanted.rank(platform)?),
        };
        descriptor.is_manifest().then_some((rank, descriptor))
    });
    let best = ranked.min_by_key(|(rank, _)| *rank);
    best.map(|(_, descriptor)| descriptor).ok_or_else(|| {
        let message = format!(
            "resolving image manifest for platform {}: no manifest for platform {}: not found",
            wanted.in_go(),
            wanted.text(),
        );
        ApiError::new(StatusCode::NOT_FOUND, message)
    })
}

/// Reads what a descriptor names.
async fn read(
    api: &DockerApi,
    descriptor: &Descriptor,
    what: &'static str,
) -> Result<Vec<u8>, ApiError> {
    let absent = || {
        let digest = &descriptor.digest;
        let message = format!("{what} {digest} is not available locally: not found");
        ApiError::new(StatusCode::NOT_FOUND, message)
    };
    let digest: Digest = descriptor.digest.parse().map_err(|_| absent())?;
    let document = api.engine().document(api.namespace(), &digest).await?;
    document.ok_or_else(absent)
}

fn unreadable(what: &str, descriptor: &Descriptor, error: &serde_json::Error) -> ApiError {
    let message = format!("failed to read {what} {}: {error}", descriptor.digest);
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, message)
}
