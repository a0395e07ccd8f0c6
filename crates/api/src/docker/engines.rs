//! Responses of the Docker Engines of `--docker`, which are passed on as they are.
//!
//! An engine knows all about its containers, volumes and build cache; the fields that clients read
//! differ between versions. So a response is read no further than is needed to add to it.

use bytes::Bytes;
use http::StatusCode;
use reclaim_engine::{DockerEngine, DockerError};
use reclaim_model::chain;
use serde::Deserialize;

use super::api::DockerApi;
use super::error::ApiError;
use super::version::ApiVersion;

/// The body of an engine's error.
#[derive(Deserialize)]
struct Message {
    message: String,
}

impl From<DockerError> for ApiError {
    fn from(error: DockerError) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, chain(&error))
    }
}

impl DockerApi {
    /// Returns the engines that keep their images in the namespace of this API.
    pub(super) async fn engines(&self) -> Result<Vec<DockerEngine>, ApiError> {
        match &self.shared.options.docker {
            Some(engines) => Ok(engines.engines(self.namespace()).await?),
            None => Ok(Vec::new()),
        }
    }
}

/// Returns the body of an engine's response to a GET request in a version of the API, or in the nearest
/// that the engine has.
///
/// # Errors
///
/// The engine's own error, or 503 if it does not answer.
pub(super) async fn get(
    engine: &DockerEngine,
    version: &ApiVersion,
    path: &str,
) -> Result<Bytes, ApiError> {
    let version = version_of(engine, version);
    let answer = engine.get(&format!("/v{version}{path}")).await?;
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::BAD_GATEWAY);
    if status == StatusCode::OK {
        return Ok(answer.body);
    }
    let message = match serde_json::from_slice::<Message>(&answer.body) {
        Ok(error) => error.message,
        Err(_) => String::from_utf8_lossy(&answer.body).into_owned(),
    };
    Err(ApiError::new(status, message))
}

/// Returns the version of the API in which an engine is asked.
pub(super) fn version_of(engine: &DockerEngine, wanted: &ApiVersion) -> ApiVersion {
    let [oldest, newest] = engine.api_versions();
    nearest(wanted, oldest, newest)
}

fn nearest(wanted: &ApiVersion, oldest: Option<&str>, newest: Option<&str>) -> ApiVersion {
    match (oldest, newest) {
        (_, Some(newest)) if wanted.is_at_least(newest) => ApiVersion::parse(newest),
        (Some(oldest), _) if !wanted.is_at_least(oldest) => ApiVersion::parse(oldest),
        (_, _) => wanted.clone(),
    }
}

/// Parses an engine's response.
///
/// # Errors
///
/// 502 if it is not what Docker sends.
pub(super) fn parsed<'b, T: Deserialize<'b>>(body: &'b Bytes) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| {
        let message = format!("cannot read the response of the Docker Engine: {error}");
        ApiError::new(StatusCode::BAD_GATEWAY, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asks_in_the_nearest_version_that_an_engine_has() {
        let asked = |wanted, oldest, newest| {
            nearest(&ApiVersion::parse(wanted), oldest, newest).to_string()
        };
        assert_eq!(asked("1.45", Some("1.24"), Some("1.51")), "1.45");
        assert_eq!(asked("1.57", Some("1.24"), Some("1.51")), "1.51");
        assert_eq!(asked("1.40", Some("1.44"), Some("1.55")), "1.44");
        assert_eq!(asked("1.40", None, None), "1.40");
    }
}
